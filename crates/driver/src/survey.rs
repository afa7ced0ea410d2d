//! Where a server is, and whether anybody listens there: every place and every address, not just the first that works.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use interchange_adapter::{Target, Transport};
use interchange_model::{Fault, Trouble};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::places;
use crate::reach::Reach;
use crate::resolve::{Resolver, service_name};

/// For one address.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Places and addresses that are looked at; more are left out.
const MOST_PLACES: usize = 8;
const MOST_ADDRESSES: usize = 16;

/// What was found out about a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The name of the SRV records that were asked for, if any were.
    pub service: Option<String>,
    /// The hosts, the first to be tried first; or why there are none.
    pub places: Result<Vec<Place>, Trouble>,
}

/// An address, and how long a connection took to stand, or why there is none.
pub type Tried = (SocketAddr, Result<Duration, Trouble>);

/// A host, and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name, or an address.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Each address; or why there is none. Over UDP nothing is
    /// sent, so every address that may be used is good.
    pub addresses: Result<Vec<Tried>, Trouble>,
}

impl Survey {
    /// Whether at least one address can be connected to.
    #[must_use]
    pub fn leads_somewhere(&self) -> bool {
        let good = |place: &Place| place.addresses.as_ref().is_ok_and(|all| all.iter().any(|(_, result)| result.is_ok()));
        self.places.as_ref().is_ok_and(|places| places.iter().any(good))
    }

    /// Everything that is wrong, in the order in which it would be met.
    pub fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        let places = self.places.as_ref().map(Vec::as_slice).unwrap_or_default();
        let of_place = places.iter().flat_map(|place| {
            let all = place.addresses.as_ref().map(Vec::as_slice).unwrap_or_default();
            place.addresses.as_ref().err().into_iter().chain(all.iter().filter_map(|(_, result)| result.as_ref().err()))
        });
        self.places.as_ref().err().into_iter().chain(of_place)
    }
}

/// Looks a target up and connects, for a moment, to every address of it that may be dialled; at most 16 addresses of 8 hosts. At most some 15 s.
pub async fn survey(resolver: &Resolver, reach: &Reach, target: &Target) -> Survey {
    let (service, transport) = match target {
        Target::Host { transport, .. } => (None, *transport),
        Target::Srv { service, domain, transport, .. } => (Some(service_name(service, *transport, domain)), *transport),
    };
    let hosts = match places::places(resolver, target).await {
        Ok(hosts) => hosts,
        Err(trouble) => return Survey { service, places: Err(trouble) },
    };
    let mut places = Vec::new();
    let mut tries = JoinSet::new();
    for (index, (host, port)) in hosts.into_iter().take(MOST_PLACES).enumerate() {
        let found = places::allowed(resolver, reach, &host).await;
        let addresses = found.map(|found| {
            let room = MOST_ADDRESSES.saturating_sub(tries.len());
            for address in found.into_iter().take(room) {
                let address = SocketAddr::new(address, port);
                tries.spawn(async move { (index, address, connect(address, transport).await) });
            }
            Vec::new()
        });
        places.push(Place { host, port, addresses });
    }
    while let Some(tried) = tries.join_next().await {
        let Ok((index, address, result)) = tried else { continue };
        if let Some(Place { addresses: Ok(addresses), .. }) = places.get_mut(index) {
            addresses.push((address, result));
        }
    }
    for place in &mut places {
        if let Ok(addresses) = &mut place.addresses {
            addresses.sort_unstable_by_key(|(address, _)| *address);
        }
    }
    Survey { service, places: Ok(places) }
}

async fn connect(address: SocketAddr, transport: Transport) -> Result<Duration, Trouble> {
    let begun = Instant::now();
    if transport == Transport::Udp {
        return Ok(Duration::ZERO);
    }
    match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(begun.elapsed()),
        Ok(Err(error)) => {
            let fault = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => Fault::PortClosed,
                _ => Fault::NoConnection,
            };
            Err(Trouble::new(fault, format!("no connection to {address}: {error}")))
        }
        Err(_) => Err(Trouble::new(Fault::NoConnection, format!("no answer from {address} within 5 s"))),
    }
}
