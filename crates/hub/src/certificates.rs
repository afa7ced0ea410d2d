//! The certificates, authorities and revocation lists that the hub uses: read whole, taken into use at once, watched for their ends.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use interchange_driver::{HubCertificate, Roots, Tls, TlsError, expiry_is_due};

use crate::config::{Config, Faults};
use crate::platforms::PLATFORMS;

/// Everything that the configuration names, read and found usable, and not in use yet.
#[derive(Debug)]
pub struct CertificateFiles {
    certificates: Vec<(PathBuf, HubCertificate)>,
    roots: Roots,
    /// What could not be read and is not needed: authorities of the operating system.
    left_out: Vec<String>,
}

impl CertificateFiles {
    /// Reads all files. Blocking, some milliseconds.
    ///
    /// # Errors
    /// The first file that cannot be used, with the reason.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let certificates = config
            .identities
            .iter()
            .map(|files| Ok((files.certificate.clone(), HubCertificate::read(&files.certificate, &files.key)?)))
            .collect::<anyhow::Result<_>>()?;
        let (mut roots, unreadable) = if config.system_authorities { Roots::system() } else { (Roots::none(), Vec::new()) };
        for authority in &config.authorities {
            roots.add_file(authority)?;
        }
        for list in &config.revocation_lists {
            roots.add_revocation_lists(list)?;
        }
        let left_out = unreadable.iter().map(|error| format!("an authority of the system cannot be read: {error}")).collect();
        Ok(Self { certificates, roots, left_out })
    }

    fn parts(&self) -> (Vec<HubCertificate>, usize, Roots) {
        (self.certificates.iter().map(|(_, certificate)| certificate.clone()).collect(), 0, self.roots.clone())
    }

    fn all_warnings(&self, now: SystemTime) -> Vec<String> {
        self.left_out.iter().cloned().chain(self.warnings(now, |_| true)).collect()
    }

    /// Warnings of revocation lists, and of those certificates that `worth` chooses.
    fn warnings(&self, now: SystemTime, worth: impl Fn(&HubCertificate) -> bool) -> Vec<String> {
        let certificates = self.certificates.iter().filter(|(_, certificate)| worth(certificate));
        let of_certificates = certificates
            .flat_map(|(path, certificate)| certificate.warnings(now).into_iter().map(move |warning| (path, warning)));
        let of_certificates = of_certificates.map(|(path, warning)| format!("{}: {warning}", path.display()));
        of_certificates.chain(self.roots.warnings(now).iter().map(ToString::to_string)).collect()
    }
}

/// What is in use.
#[derive(Debug)]
pub struct Certificates {
    tls: Tls,
    files: CertificateFiles,
    looked: SystemTime,
}

impl Certificates {
    /// Takes files into use; and what an operator should know about them now.
    ///
    /// # Errors
    /// When TLS cannot be configured with them.
    pub fn new(files: CertificateFiles, now: SystemTime) -> Result<(Self, Vec<String>), TlsError> {
        let (certificates, default, roots) = files.parts();
        let tls = Tls::new(certificates, default, roots)?;
        let warnings = files.all_warnings(now);
        Ok((Self { tls, files, looked: now }, warnings))
    }

    /// What the hub shows, the default first.
    #[must_use]
    pub fn shown(&self) -> Vec<HubCertificate> {
        self.files.certificates.iter().map(|(_, certificate)| certificate.clone()).collect()
    }

    /// Each certificate's file with its end.
    #[must_use]
    pub fn ends(&self) -> Vec<(String, SystemTime)> {
        self.files
            .certificates
            .iter()
            .map(|(path, certificate)| (path.display().to_string(), certificate.valid_until()))
            .collect()
    }

    /// For drivers; follows every change.
    #[must_use]
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Takes other files into use, for connections that are made from now on, all or none of them; and what an operator should know about them now.
    ///
    /// # Errors
    /// When TLS cannot be configured with them; then the old ones stay.
    pub fn replace(&mut self, files: CertificateFiles, now: SystemTime) -> Result<Vec<String>, TlsError> {
        let (certificates, default, roots) = files.parts();
        self.tls.replace(certificates, default, roots)?;
        self.files = files;
        self.looked = now;
        Ok(self.files.all_warnings(now))
    }

    /// To be called once a day: certificates 30, 14 and 3 days before their end and daily from then on; lists that are outdated.
    #[must_use]
    pub fn look(&mut self, now: SystemTime) -> Vec<String> {
        let before = std::mem::replace(&mut self.looked, now);
        self.files.warnings(now, |certificate| expiry_is_due(certificate.valid_until(), Some(before), now))
    }

    /// Reads the configuration and the files that it names anew, and takes them into use; or keeps what was in use, and logs why. `directories` makes those
    /// of the configuration ready, and is answered by what it made, if all can be used; `None`: everything stays as it was.
    pub(crate) async fn reload<T: Send + 'static>(
        &mut self,
        path: &Path,
        directories: impl FnOnce(&Config) -> anyhow::Result<Vec<T>> + Send + 'static,
    ) -> Option<Vec<T>> {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::load(&path, PLATFORMS)?;
            Ok((CertificateFiles::read(&config)?, directories(&config)?))
        });
        let replaced = read.await.map_err(anyhow::Error::from).flatten().and_then(|(files, directories)| {
            let count = files.certificates.len();
            Ok((count, self.replace(files, SystemTime::now())?, directories))
        });
        match replaced {
            Ok((certificates, warnings, directories)) => {
                tracing::info!(
                    certificates,
                    authorities = self.files.roots.len(),
                    directories = directories.len(),
                    "certificates, authorities, revocation lists and directories of people were read again: they count for new \
                     connections and sign-ins; everything else in the configuration counts from the next start"
                );
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                Some(directories)
            }
            Err(error) => {
                for why in reasons(&error) {
                    tracing::error!(
                        "the reload failed and the old certificates stay in use, and so do the directories of people: {why}"
                    );
                }
                None
            }
        }
    }
}

fn reasons(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<Faults>() {
        Some(faults) => faults.all.iter().map(|fault| faults.line(fault)).collect(),
        None => vec![format!("{error:#}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interchange_authority::{Authority, KeySource, Lifetime, Order, Platforms};
    use interchange_model::Domain;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    /// A folder with an authority that has issued a certificate for so many days, and a configuration that names them.
    fn configured(days: u16) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let now = time::OffsetDateTime::now_utc();
        let mut authority = Authority::create(&folder.path().join("authority"), "Test", now).unwrap();
        let order = Order {
            domains: vec![Domain::parse("hub.example").unwrap()],
            platforms: Platforms::ALL,
            key: KeySource::New,
            lifetime: Lifetime::days(days).unwrap(),
        };
        authority.issue(&order, now).unwrap();
        let path = folder.path().join("hub.toml");
        let text = "[hub]\ndomain = \"hub.example\"\ndata_directory = \"data\"\n[tls]\nsystem_authorities = false\n\
                    authorities = [\"authority/ca.pem\"]\nrevocation_lists = [\"authority/crl.pem\"]\n[[tls.identity]]\n\
                    certificate = \"authority/current/hub.example/certificate.pem\"\nkey = \"authority/current/hub.example/key.pem\"\n";
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn read(path: &Path) -> anyhow::Result<CertificateFiles> {
        CertificateFiles::read(&Config::load(path, PLATFORMS)?)
    }

    #[test]
    fn ends_are_told_at_the_start_and_then_at_their_days() {
        let (_folder, path) = configured(20);
        let now = SystemTime::now();
        let (mut certificates, warnings) = Certificates::new(read(&path).unwrap(), now).unwrap();
        assert!(
            matches!(&warnings[..], [one] if one.contains("certificate.pem") && one.contains("expires in 19 days")),
            "{warnings:?}"
        );
        let mut told = Vec::new();
        for day in 1..23 {
            let warnings = certificates.look(now + DAY * day);
            // From the eighth day on the list is outdated too.
            assert_eq!(warnings.iter().any(|warning| warning.contains("outdated")), day >= 7, "{day}: {warnings:?}");
            if warnings.iter().any(|warning| warning.contains("certificate.pem")) {
                told.push(20 - i64::from(day));
            }
        }
        assert_eq!(told, [14, 3, 2, 1, 0, -1, -2]);
    }

    #[tokio::test]
    async fn a_reload_that_fails_keeps_everything_as_it_was() {
        let (folder, path) = configured(90);
        let (mut certificates, warnings) = Certificates::new(read(&path).unwrap(), SystemTime::now()).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let current = folder.path().join("authority/current/hub.example");
        let good = std::fs::read_to_string(&path).unwrap();
        let names_and_roots =
            |certificates: &Certificates| (certificates.files.certificates.len(), certificates.files.roots.len());
        assert_eq!(names_and_roots(&certificates), (1, 1));

        // Each with the authorities changed too, so that half of it would show.
        let bare = good.replace("authorities = [\"authority/ca.pem\"]", "authorities = []");
        let key = std::fs::read(current.join("key.pem")).unwrap();
        for (text, key, why) in [
            (bare.replace("[tls]", "[tls]\nauthority = 1"), &key[..], "hub.toml:5:1: unknown field `authority`"),
            (bare.replace("crl.pem", "none.pem"), &key, "none.pem"),
            (bare.replace("crl.pem", "ca.pem"), &key, "X509 CRL"),
            (bare.clone(), b"nonsense", "no private key in it"),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::write(current.join("key.pem"), key).unwrap();
            let error = read(&path).unwrap_err();
            assert!(reasons(&error).iter().any(|reason| reason.contains(why)), "{why}: {:?}", reasons(&error));
            assert_eq!(certificates.reload(&path, |_| Ok(vec![()])).await, None, "{why}");
            assert_eq!(names_and_roots(&certificates), (1, 1), "{why}");
        }
        std::fs::write(&path, bare).unwrap();
        std::fs::write(current.join("key.pem"), key).unwrap();
        // What else is read has a fault.
        assert_eq!(certificates.reload(&path, |_| Err::<Vec<()>, _>(anyhow::anyhow!("no directory"))).await, None);
        assert_eq!(names_and_roots(&certificates), (1, 1));
        assert_eq!(certificates.reload(&path, |_| Ok(vec![()])).await, Some(vec![()]));
        assert_eq!(names_and_roots(&certificates), (1, 0));
    }
}
