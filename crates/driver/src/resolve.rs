//! Names to addresses: A, AAAA and SRV records.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};
use interchange_adapter::Transport;
use interchange_model::{Domain, Fault, Trouble};

use crate::text;

/// Looks names up. Clones share one cache, which keeps answers as long as their records say, at most an hour.
#[derive(Clone)]
pub struct Resolver(Arc<TokioResolver>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

/// The resolver cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name look-ups cannot be set up: {0}")]
pub struct ResolverError(String);

impl Resolver {
    /// As the operating system is configured (`/etc/resolv.conf`, `/etc/hosts`), read once. Where nothing is configured, the
    /// name server of this machine is asked, as resolv.conf(5) says.
    ///
    /// # Errors
    /// [`ResolverError`], when the configuration cannot be understood.
    pub fn system() -> Result<Self, ResolverError> {
        let (mut config, mut options) = match hickory_resolver::system_conf::read_system_conf() {
            Ok(read) => read,
            Err(NetError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(ResolverError(format!("/etc/resolv.conf: {error}"))),
        };
        if config.name_servers().is_empty() {
            config.add_name_server(NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into()));
        }
        options.use_hosts_file = ResolveHosts::Auto;
        Self::build(config, options)
    }

    /// Asks these name servers and nobody else, over UDP and TCP; `/etc/hosts` is not read.
    ///
    /// # Errors
    /// [`ResolverError`].
    pub fn with_name_servers(servers: &[SocketAddr]) -> Result<Self, ResolverError> {
        let servers = servers.iter().copied().map(name_server);
        let mut options = ResolverOpts::default();
        options.use_hosts_file = ResolveHosts::Never;
        Self::build(ResolverConfig::from_name_servers(servers.collect()), options)
    }

    fn build(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, ResolverError> {
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        // A question is asked twice; SRV and address look-ups must fit into the 30 s of a dial, with time left to connect.
        options.timeout = options.timeout.min(Duration::from_secs(4));
        options.attempts = options.attempts.min(1);
        options.positive_max_ttl = Some(Duration::from_secs(3600));
        // A name that appears is to be found soon: operators fix a missing record and look whether the link comes up.
        options.negative_max_ttl = Some(Duration::from_secs(15));
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        builder.build().map(|resolver| Self(Arc::new(resolver))).map_err(|error| ResolverError(error.to_string()))
    }

    pub(crate) fn inner(&self) -> &TokioResolver {
        &self.0
    }

    /// All addresses of a host, IPv6 and IPv4 in turn; never none. An address literal is its own address.
    ///
    /// # Errors
    /// [`Fault::NoAddress`], or [`Fault::DnsFailed`] where DNS does not say; with one sentence for a person.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Trouble> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let shown = text::escaped(host, 100);
        let found = match self.0.lookup_ip(host).await {
            Ok(found) => found,
            Err(error) if error.is_nx_domain() => {
                return Err(Trouble::new(
                    Fault::NoAddress,
                    format!("the name {shown} does not exist in DNS; check its spelling"),
                ));
            }
            Err(error) if error.is_no_records_found() => {
                return Err(Trouble::new(Fault::NoAddress, format!("the name {shown} has no address in DNS")));
            }
            Err(error) => {
                let why = format!("looking up {shown} failed: {}; check the name servers", explain(&error));
                return Err(Trouble::new(Fault::DnsFailed, why));
            }
        };
        let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(IpAddr::is_ipv6);
        // RFC 8305 §4: families in turn, so that a broken one costs one attempt.
        let longest = v6.len().max(v4.len());
        let addresses: Vec<_> = (0..longest).flat_map(|i| [v6.get(i), v4.get(i)]).flatten().copied().collect();
        if addresses.is_empty() {
            return Err(Trouble::new(Fault::NoAddress, format!("the name {shown} has no address in DNS")));
        }
        Ok(addresses)
    }

    /// The SRV records of a name, as they are: host and port of each, at most 16. None where there are none, or where DNS does not say.
    pub async fn service_records(&self, name: &str) -> Vec<(String, u16)> {
        let Ok(parsed) = Name::from_ascii(format!("{name}.")) else { return Vec::new() };
        let Ok(lookup) = self.0.srv_lookup(parsed).await else { return Vec::new() };
        let record = |record: &hickory_resolver::proto::rr::Record| match &record.data {
            RData::SRV(srv) => Some((srv.target.to_ascii(), srv.port)),
            _ => None,
        };
        lookup.answers().iter().filter_map(record).take(16).collect()
    }

    /// Where a domain offers a service.
    ///
    /// # Errors
    /// One sentence for a person; a domain without such records is no error.
    pub(crate) async fn services(&self, service: &str, transport: Transport, domain: &Domain) -> Result<Service, String> {
        let name = service_name(service, transport, domain);
        let parsed = Name::from_ascii(format!("{name}.")).map_err(|_| format!("{name} is not a name that DNS can hold"))?;
        let lookup = match self.0.srv_lookup(parsed).await {
            Ok(lookup) => lookup,
            Err(error) if error.is_no_records_found() => return Ok(Service::Unknown),
            Err(error) => return Err(format!("looking up {name} (SRV) failed: {}; check the name servers", explain(&error))),
        };
        let mut targets = Vec::new();
        let mut refused = false;
        for record in lookup.answers() {
            let RData::SRV(srv) = &record.data else { continue };
            if srv.target.is_root() {
                refused = true;
                continue;
            }
            let host = srv.target.to_ascii().trim_end_matches('.').to_owned();
            targets.push(Place { priority: srv.priority, weight: srv.weight, host, port: srv.port });
        }
        Ok(match (targets.is_empty(), refused) {
            // RFC 2782: a target of "." means that the service is decidedly not available at this domain.
            (true, true) => Service::NotOffered,
            (true, false) => Service::Unknown,
            (false, _) => Service::At(in_order(targets, rand::random_range)),
        })
    }
}

/// The name under which SRV records of a service are kept.
pub(crate) fn service_name(service: &str, transport: Transport, domain: &Domain) -> String {
    let protocol = if transport == Transport::Udp { "udp" } else { "tcp" };
    format!("_{service}._{protocol}.{domain}")
}

/// What SRV records say of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Service {
    /// There are none.
    Unknown,
    /// It is not offered.
    NotOffered,
    /// Here, the first to be tried first.
    At(Vec<Place>),
}

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    priority: u16,
    weight: u16,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// RFC 2782, "Usage rules": lowest priority first; among equals each next one drawn with a chance in proportion to its weight,
/// those of weight 0 standing first so that they have a very small chance of being drawn early.
/// `draw` gives a number of the range, all equally likely.
fn in_order(mut places: Vec<Place>, mut draw: impl FnMut(std::ops::RangeInclusive<u32>) -> u32) -> Vec<Place> {
    places.sort_by_key(|place| (place.priority, place.weight != 0));
    let mut ordered = Vec::with_capacity(places.len());
    while let Some(first) = places.first() {
        let equals = places.iter().take_while(|place| place.priority == first.priority).count();
        let sum: u32 = places[..equals].iter().map(|place| u32::from(place.weight)).sum();
        let drawn = draw(0..=sum);
        let mut running = 0;
        let chosen = places[..equals].iter().position(|place| {
            running += u32::from(place.weight);
            running >= drawn
        });
        ordered.push(places.remove(chosen.unwrap_or(0)));
    }
    ordered
}

/// A name server that is asked over UDP and TCP.
pub(crate) fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

pub(crate) fn explain(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no name server answered in time".to_owned(),
        NetError::NoConnections => "no name server can be reached".to_owned(),
        other => text::escaped(&other.to_string(), 120),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(priority: u16, weight: u16, host: &str) -> Place {
        Place { priority, weight, host: host.into(), port: 5269 }
    }

    fn hosts(places: Vec<Place>) -> Vec<String> {
        places.into_iter().map(|place| place.host).collect()
    }

    #[test]
    fn priority_comes_before_weight() {
        let places = || vec![place(20, 100, "c"), place(10, 1, "a"), place(10, 3, "b")];
        assert_eq!(hosts(in_order(places(), |_| 0)), ["a", "b", "c"]);
        assert_eq!(hosts(in_order(places(), |range| *range.end())), ["b", "a", "c"]);
    }

    #[test]
    fn weight_is_a_chance() {
        let mut first_b = 0;
        for _ in 0..4_000 {
            let ordered = in_order(vec![place(0, 1, "a"), place(0, 3, "b"), place(0, 0, "z")], rand::random_range);
            assert_eq!(ordered.len(), 3);
            first_b += u32::from(ordered[0].host == "b");
        }
        // 3 of the 5 equally likely numbers 0..=4 draw `b`: 2,400, give or take 7 standard deviations.
        assert!((2_180..2_620).contains(&first_b), "{first_b}");
    }
}
