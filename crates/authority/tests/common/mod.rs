//! An authority in a directory of its own, and the openssl program as a second opinion.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::Command;

use interchange_authority::{Authority, KeySource, Lifetime, Order, Platforms};
use interchange_model::Domain;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

pub const DAY: Duration = Duration::DAY;

pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

pub fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

pub fn order<'a>(domains: &[&str], key: KeySource<'a>) -> Order<'a> {
    Order {
        domains: domains.iter().map(|name| domain(name)).collect(),
        platforms: Platforms::ALL,
        key,
        lifetime: Lifetime::default(),
    }
}

/// Removed at the end of the test.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn authority(&self) -> PathBuf {
        self.0.path().join("authority")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn create(&self) -> Authority {
        Authority::create(&self.authority(), "Interchange links", now()).unwrap()
    }

    /// A request made by the openssl program: key options, subject, extensions.
    pub fn request(&self, key: &[&str], names: &str, more: &[&str]) -> Vec<u8> {
        let (private, out) = (self.path("member.key"), self.path("member.csr"));
        let mut command = Command::new("openssl");
        command.args(["req", "-new", "-nodes", "-subj", "/CN=whoever.example"]).args(key);
        command.arg("-keyout").arg(&private).arg("-out").arg(&out);
        if !names.is_empty() {
            command.args(["-addext", &format!("subjectAltName={names}")]);
        }
        let run = command.args(more).output().expect("openssl is installed");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        std::fs::read(out).unwrap()
    }
}

pub const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// What openssl says about a certificate, with the list of what was revoked, for a purpose.
pub fn verify(authority: &Authority, certificate: &Path, purpose: &str) -> Result<(), String> {
    let directory = authority.directory();
    let mut command = Command::new("openssl");
    command.args(["verify", "-x509_strict", "-crl_check", "-purpose", purpose]);
    command.arg("-CAfile").arg(directory.join("ca.pem")).arg("-CRLfile").arg(directory.join("crl.pem")).arg(certificate);
    let run = command.output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    if run.status.success() { Ok(()) } else { Err(said) }
}

pub fn text(kind: &str, path: &Path) -> String {
    let run = Command::new("openssl").args([kind, "-noout", "-text", "-in"]).arg(path).output().expect("openssl is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8_lossy(&run.stdout).into_owned()
}
