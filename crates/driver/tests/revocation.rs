//! Lists of revoked certificates: who is refused, and which lists are refused.

mod common;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::authority::{Authority, Issued, numbered, only};
use common::*;
use interchange_adapter::{ChainFault, ConnId, Identity, Input, Output, Target, TlsRole, Transport};
use interchange_driver::{HubCertificate, RevocationWarning, Roots, Tls};
use rcgen::{ExtendedKeyUsagePurpose as Purpose, IsCa};

/// A server that starts TLS at once and echoes.
fn direct(input: &Input, out: &mut Vec<Output>) {
    match input {
        Input::Opened { conn, via } if !conn.is_dialled() && via.transport() == Transport::Tls => {
            out.push(Output::StartTls { conn: *conn, role: TlsRole::Server { identity: Identity::Default, alpn: &[] } });
        }
        Input::Received { conn, bytes } if !conn.is_dialled() => out.push(Output::Send { conn: *conn, bytes: bytes.clone() }),
        _ => {}
    }
}

async fn puppet(tls: Tls) -> Puppet {
    Puppet::start(Options { listen: vec![Transport::Tls], tls: Some(tls), ..Options::default() }, direct).await
}

/// Dials over TLS; what the server thinks of the client's chain, and the client of the server's.
async fn meet(client: &mut Puppet, number: u64, server: &mut Puppet) -> [Result<(), ChainFault>; 2] {
    let conn = ConnId::dialled(number);
    let to = Target::Host { host: "127.0.0.1".into(), port: server.address().port(), transport: Transport::Tls };
    client.act([Output::Dial { conn, to, avoid: Vec::new() }]).await;
    client.opened().await;
    let role = TlsRole::Client { server_name: "a.example".into(), identity: Identity::Default, alpn: &[] };
    client.act([Output::StartTls { conn, role }]).await;
    server.opened().await;
    [server.secured().await.certificate.unwrap().chain, client.secured().await.certificate.unwrap().chain]
}

/// Roots of these authorities, with the lists in this text.
struct Lists(tempfile::TempDir);

impl Lists {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join("crl.pem");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn roots(&self, authorities: &[&Authority], text: impl AsRef<[u8]>) -> Result<Roots, String> {
        let mut roots = Roots::none();
        for authority in authorities {
            roots.add(authority.certificate.clone()).unwrap();
        }
        roots.add_revocation_lists(&self.file(text)).map_err(|error| error.to_string())?;
        Ok(roots)
    }
}

fn tls(certificate: &Issued, roots: Roots) -> Tls {
    Tls::new(vec![certificate.hub()], 0, roots).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_the_list_is_refused_on_both_sides_and_nothing_else() {
    let files = Lists::new();
    let authority = Authority::new("The Authority");
    let other = Authority::new("Another Authority");
    let list = authority.revocation_list(&[7, 8], 7);
    let cases = [
        (authority.issue(&["a.example"], numbered(7)), Err(ChainFault::Revoked)),
        (authority.issue(&["a.example"], numbered(9)), Ok(())),
        // Also what is for clients only.
        (
            authority.issue(&["a.example"], |params| {
                numbered(8)(params);
                only(Purpose::ClientAuth)(params);
            }),
            Err(ChainFault::Revoked),
        ),
        // The same number of an authority without a list.
        (other.issue(&["a.example"], numbered(7)), Ok(())),
        // What is wrong in more than one way is wrong.
        (
            authority.issue(&["a.example"], |params| {
                numbered(7)(params);
                params.is_ca = IsCa::ExplicitNoCa;
            }),
            Err(ChainFault::Revoked),
        ),
    ];
    for (number, (issued, wanted)) in cases.into_iter().enumerate() {
        let ours = || tls(&issued, files.roots(&[&authority, &other], &list).unwrap());
        let (mut server, mut client) = (puppet(ours()).await, puppet(ours()).await);
        let seen = meet(&mut client, 1, &mut server).await;
        assert_eq!(seen, [wanted.clone(), wanted], "case {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_revoked_intermediate_has_signed_is_refused() {
    let files = Lists::new();
    let authority = Authority::new("The Authority");
    for (serial, wanted) in [(7, Err(ChainFault::Revoked)), (9, Ok(()))] {
        let below = authority.intermediate("Below", serial);
        let issued = below.issue(&["a.example"], |_| {});
        let chain = vec![issued.certificate.clone(), below.certificate.clone()];
        let certificate = HubCertificate::new(chain, issued.private_key()).unwrap();
        let roots = files.roots(&[&authority], authority.revocation_list(&[7], 7)).unwrap();
        let ours = Tls::new(vec![certificate], 0, roots).unwrap();
        let (mut server, mut client) = (puppet(ours.clone()).await, puppet(ours).await);
        assert_eq!(meet(&mut client, 1, &mut server).await, [wanted.clone(), wanted]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outdated_list_still_counts_and_is_warned_about() {
    let files = Lists::new();
    let authority = Authority::new("The Authority");
    for (serial, wanted) in [(7, Err(ChainFault::Revoked)), (9, Ok(()))] {
        let roots = files.roots(&[&authority], authority.revocation_list(&[7], -2)).unwrap();
        let warnings = roots.warnings(SystemTime::now());
        assert!(matches!(&warnings[..], [RevocationWarning::Outdated { issuer, .. }] if issuer.contains("The Authority")));
        let said = warnings[0].to_string();
        assert!(said.contains("due 2 days ago") && said.contains("CN=The Authority"), "{said}");
        let ours = tls(&authority.issue(&["a.example"], numbered(serial)), roots);
        let (mut server, mut client) = (puppet(ours.clone()).await, puppet(ours).await);
        assert_eq!(meet(&mut client, 1, &mut server).await, [wanted.clone(), wanted]);
    }
    let fresh = files.roots(&[&authority], authority.revocation_list(&[7], 7)).unwrap();
    assert_eq!(fresh.warnings(SystemTime::now()), []);
    assert_eq!(fresh.warnings(SystemTime::now() + Duration::from_secs(8 * 86_400)).len(), 1);
}

/// The whole of an operator's day: a certificate is revoked, the list is taken into use, the standing connection stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_list_counts_from_the_next_connection_on() {
    let files = Lists::new();
    let authority = Authority::new("The Authority");
    let member = authority.issue(&["a.example"], numbered(7));
    let hub = authority.issue(&["hub.example"], numbered(9));
    let hub_tls = tls(&hub, files.roots(&[&authority], authority.revocation_list(&[], 7)).unwrap());
    let mut server = puppet(hub_tls.clone()).await;
    let mut client = puppet(tls(&member, authority.roots())).await;
    assert_eq!(meet(&mut client, 1, &mut server).await, [Ok(()), Ok(())]);

    let roots = files.roots(&[&authority], authority.revocation_list(&[7], 7)).unwrap();
    hub_tls.replace(vec![hub.hub()], 0, roots).unwrap();
    assert_eq!(meet(&mut client, 2, &mut server).await, [Err(ChainFault::Revoked), Ok(())]);
    client.send(ConnId::dialled(1), "still").await;
    server.received(b"still").await;
    client.received(b"still").await;
}

#[test]
fn lists_that_are_not_what_they_say_are_refused_when_they_are_read() {
    let files = Lists::new();
    let authority = Authority::new("The Authority");
    let impostor = Authority::new("The Authority");
    let stranger = Authority::new("A Stranger");
    let good = authority.revocation_list(&[7], 7);
    let reading = |text: &[u8]| files.roots(&[&authority], text).map(|roots| roots.warnings(SystemTime::now()));

    assert_eq!(reading(good.as_bytes()), Ok(vec![]));
    let both = good.clone() + &stranger.revocation_list(&[], 7);
    let warnings = reading(both.as_bytes()).unwrap();
    assert!(matches!(&warnings[..], [RevocationWarning::UnknownIssuer { .. }]), "{warnings:?}");
    let der = rustls_pki_types::pem::PemObject::from_pem_slice(good.as_bytes());
    let der: rustls_pki_types::CertificateRevocationListDer<'_> = der.unwrap();
    assert_eq!(reading(&der), Ok(vec![]));

    let mut damaged = der.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    for (text, why) in [
        (impostor.revocation_list(&[7], 7).into_bytes(), "list 1: it is not signed with the key of CN=The Authority"),
        ((good.clone() + &impostor.revocation_list(&[], 7)).into_bytes(), "list 2: it is not signed"),
        (damaged, "it is not signed"),
        (der[..der.len() - 1].to_vec(), "cannot be read as a list"),
        ([&der[..], b"x"].concat(), "cannot be read as a list"),
        (b"".to_vec(), "expected `-----BEGIN X509 CRL-----`"),
        (authority.issue(&["a.example"], |_| {}).certificate_pem.into_bytes(), "expected `-----BEGIN X509 CRL-----`"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_vec(), "cannot be read as a list"),
        (b"-----BEGIN X509 CRL-----\n????".to_vec(), "not PEM"),
    ] {
        let error = reading(&text).unwrap_err();
        assert!(error.contains(why) && error.contains("crl.pem"), "{error}: {why}");
    }
    assert!(Roots::none().add_revocation_lists(&files.0.path().join("none")).is_err());
}
