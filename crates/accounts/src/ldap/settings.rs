//! Where a directory is, and what in it says what.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use interchange_adapter::Password;
use interchange_model::Domain;
use ldap_codec::Filter;
use url::{Host, Url};

/// A member's directory, and how people are found in it.
#[derive(Debug, Clone)]
pub struct LdapSettings {
    /// Where it is.
    pub place: LdapPlace,
    /// Who searches it; absent: nobody in particular (an anonymous search).
    pub service: Option<ServiceAccount>,
    /// The distinguished name below which people are.
    pub base: String,
    /// Which entries are people.
    pub people: Filter,
    /// The attributes in which the name is that somebody types to sign in; at least one.
    pub login_attributes: Vec<String>,
    /// The attribute with the part of their address before the `@`. Where it has whole addresses, the domain must be one of the link's.
    pub user_attribute: String,
    /// The attribute with how they are called.
    pub name_attribute: String,
}

/// Who searches.
#[derive(Clone)]
pub struct ServiceAccount {
    /// The distinguished name.
    pub name: String,
    /// Reads the password, from where it is kept: anew for each connection, so that another one counts at once.
    pub password: Arc<ReadPassword>,
}

/// The password, or why it cannot be read, in one sentence.
pub type ReadPassword = dyn Fn() -> Result<Password, String> + Send + Sync;

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How passwords travel to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte, with a server of this name: `ldaps`.
    Tls(Domain),
    /// TLS after StartTLS, with a server of this name.
    StartTls(Domain),
    /// In the clear: only to addresses that are not public.
    None,
}

/// The address of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapPlace {
    /// A name, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How passwords travel.
    pub security: Security,
}

impl LdapPlace {
    /// From `ldaps://HOST[:PORT]` or `ldap://HOST[:PORT]`; the latter with StartTLS unless `clear` is said. `server_name`: the name that the server's certificate
    /// has, where it is not the host's.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(url: &str, clear: bool, server_name: Option<&str>) -> Result<Self, String> {
        let wanted = "write ldaps://ldap.acme.example, or ldap://ldap.acme.example for StartTLS, with a port behind it where it is another";
        let parsed = Url::parse(url).map_err(|error| format!("it is no address ({error}): {wanted}"))?;
        let only_a_place = parsed.username().is_empty()
            && parsed.password().is_none()
            && matches!(parsed.path(), "" | "/")
            && parsed.query().is_none()
            && parsed.fragment().is_none();
        if !only_a_place {
            return Err(format!("there is more in it than host and port: {wanted}"));
        }
        // Of schemes that it does not know the library reads names of hosts as they are.
        let host = match parsed.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Domain(name)) if name.parse::<IpAddr>().is_ok() => name.to_owned(),
            Some(Host::Domain(name)) => {
                Domain::parse(name).map_err(|error| format!("`{}`: {error}", name.escape_debug()))?.to_string()
            }
            None => return Err(format!("it names no host: {wanted}")),
        };
        let named = || -> Result<Domain, String> {
            let name = server_name.unwrap_or(&host);
            Domain::parse(name).map_err(|_| {
                format!(
                    "`{}` is no name that a certificate could show: give the server's name as server_name",
                    name.escape_debug()
                )
            })
        };
        let (port, security) = match (parsed.scheme(), clear) {
            ("ldaps", false) => (636, Security::Tls(named()?)),
            ("ldap", false) => (389, Security::StartTls(named()?)),
            ("ldap", true) => (389, Security::None),
            ("ldaps", true) => return Err("ldaps is TLS: leave security away, or write ldap://".to_owned()),
            _ => return Err(format!("it is no address of a directory: {wanted}")),
        };
        Ok(Self { host, port: parsed.port().unwrap_or(port), security })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_directories() {
        let name = |name: &str| Domain::parse(name).unwrap();
        for (url, clear, server_name, host, port, security) in [
            ("ldaps://ldap.acme.example", false, None, "ldap.acme.example", 636, Security::Tls(name("ldap.acme.example"))),
            (
                "ldap://LDAP.acme.example:3389/",
                false,
                None,
                "ldap.acme.example",
                3389,
                Security::StartTls(name("ldap.acme.example")),
            ),
            ("ldap://10.0.0.1", false, Some("dc1.acme.example"), "10.0.0.1", 389, Security::StartTls(name("dc1.acme.example"))),
            ("ldap://[fd00::1]:1389", true, None, "fd00::1", 1389, Security::None),
            ("ldap://localhost", true, None, "localhost", 389, Security::None),
        ] {
            assert_eq!(LdapPlace::parse(url, clear, server_name), Ok(LdapPlace { host: host.into(), port, security }), "{url}");
        }
        for (url, clear, says) in [
            ("ldap.acme.example", false, "it is no address"),
            ("https://ldap.acme.example", false, "no address of a directory"),
            ("ldaps://", false, "it names no host"),
            ("ldap://user:secret@ldap.acme.example", false, "more in it"),
            ("ldap://ldap.acme.example/dc=acme", false, "more in it"),
            ("ldap://ldap.acme.example?x", false, "more in it"),
            ("ldaps://ldap.acme.example", true, "ldaps is TLS"),
            ("ldaps://10.0.0.1", false, "server_name"),
            ("ldap://a..b", true, "a..b"),
        ] {
            let error = LdapPlace::parse(url, clear, None).expect_err(url);
            assert!(error.contains(says) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
