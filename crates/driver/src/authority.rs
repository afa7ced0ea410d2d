//! What the authoritative name servers of a domain say of a TXT record: asked one by one and with no cache between, so that a member who has just
//! published it is not told of an old answer, and each answer can be shown.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use interchange_model::Domain;

use crate::resolve::{Resolver, explain, name_server};
use crate::{Reach, text};

/// The most servers of one domain that are asked.
const MOST_SERVERS: usize = 8;
/// The most texts of one answer that are looked at, and the longest of them, in bytes.
const MOST_TEXTS: usize = 20;
const LONGEST_TEXT: usize = 255;
/// How long one server may take; it is asked twice.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// What one authoritative server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityAnswer {
    /// Its name.
    pub server: String,
    /// Its address, if it has one.
    pub address: Option<IpAddr>,
    /// The texts, none for a name that does not exist there; or why there is no answer, in a sentence.
    pub texts: Result<Vec<String>, String>,
}

impl Resolver {
    /// Asks every authoritative server of a domain, at this port (53, but in laboratories), for the TXT records of a name. One address of each
    /// server is asked, and only such as `reach` allows: who runs a domain says where its servers are.
    ///
    /// # Errors
    /// One sentence, when the servers cannot be found.
    pub async fn authoritative_texts(
        &self,
        domain: &Domain,
        name: &str,
        reach: &Reach,
        port: u16,
    ) -> Result<Vec<AuthorityAnswer>, String> {
        let asked =
            Name::from_ascii(name).map_err(|_| format!("{} is not a name that DNS can hold", text::escaped(name, 100)))?;
        let servers = self.authorities(domain).await?;
        let mut asking = tokio::task::JoinSet::new();
        for (place, server) in servers.into_iter().enumerate() {
            let (resolver, reach, asked) = (self.clone(), reach.clone(), asked.clone());
            asking.spawn(async move { (place, resolver.ask(server, asked, &reach, port).await) });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// The names of the servers of the zone that a domain is in.
    async fn authorities(&self, domain: &Domain) -> Result<Vec<String>, String> {
        let mut zone = domain.as_str();
        loop {
            let name = Name::from_ascii(format!("{zone}.")).map_err(|_| format!("{domain} is not a name that DNS can hold"))?;
            match self.inner().lookup(name, RecordType::NS).await {
                Ok(lookup) => {
                    let mut names: Vec<String> = lookup
                        .answers()
                        .iter()
                        .filter_map(|record| match &record.data {
                            RData::NS(server) => Some(server.0.to_ascii()),
                            _ => None,
                        })
                        .collect();
                    names.sort();
                    names.dedup();
                    names.truncate(MOST_SERVERS);
                    if !names.is_empty() {
                        return Ok(names);
                    }
                }
                Err(error) if error.is_no_records_found() || error.is_nx_domain() => {}
                Err(error) => return Err(format!("looking up the name servers of {zone} failed: {}", explain(&error))),
            }
            // The zone may be cut further up, but never at a single label: that is not the member's.
            zone = match zone.split_once('.') {
                Some((_, above)) if above.contains('.') => above,
                _ => return Err(format!("{domain} has no name servers in DNS: is it registered?")),
            };
        }
    }

    /// Asks one server.
    async fn ask(&self, server: String, asked: Name, reach: &Reach, port: u16) -> AuthorityAnswer {
        let shown = text::escaped(server.trim_end_matches('.'), 100);
        let failed = |address, why: String| AuthorityAnswer { server: shown.clone(), address, texts: Err(why) };
        let addresses = match self.addresses(server.trim_end_matches('.')).await {
            Ok(addresses) => addresses,
            Err(trouble) => return failed(None, trouble.text),
        };
        // IPv4 reaches from more places.
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied();
        let Some(address) = address else { return failed(None, "it has no address".to_owned()) };
        if let Err(kind) = reach.check(address) {
            return failed(Some(address), format!("its address is {kind}, and the hub asks only public ones"));
        }
        let texts = match alone(SocketAddr::new(address, port)) {
            Ok(resolver) => resolver.lookup(asked, RecordType::TXT).await,
            Err(why) => return failed(Some(address), why),
        };
        let texts = match texts {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::TXT(text) => Some(joined(&text.txt_data)),
                    _ => None,
                })
                .take(MOST_TEXTS)
                .collect()),
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Err(error) => Err(format!("it did not answer: {}", explain(&error))),
        };
        AuthorityAnswer { server: shown, address: Some(address), texts }
    }
}

/// The strings of one record make one text (RFC 7208 §3.3 for SPF, and what every such proof does).
fn joined(strings: &[Box<[u8]>]) -> String {
    let bytes: Vec<u8> = strings.iter().flat_map(|part| part.iter().copied()).take(LONGEST_TEXT).collect();
    text::escaped(&String::from_utf8_lossy(&bytes), LONGEST_TEXT)
}

/// Asks one address and remembers nothing.
fn alone(address: SocketAddr) -> Result<TokioResolver, String> {
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.timeout = ANSWERS_WITHIN;
    options.attempts = 1;
    // An authority answers for its own zone; it is asked for nothing else.
    options.recursion_desired = false;
    let config = ResolverConfig::from_name_servers(vec![name_server(address)]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(|error| error.to_string())
}
