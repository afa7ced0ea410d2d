//! Which hosts a target means, and which of their addresses may be dialled: for dialling, and for whoever surveys a link.

use std::net::IpAddr;

use interchange_adapter::Target;
use interchange_model::{Fault, Trouble};

use crate::reach::Reach;
use crate::resolve::{Resolver, Service, service_name};
use crate::text;

/// Which hosts and ports a target means, the first to be tried first; never none.
pub(crate) async fn places(resolver: &Resolver, to: &Target) -> Result<Vec<(String, u16)>, Trouble> {
    let (service, domain, transport, fallback_port) = match to {
        Target::Host { host, port, .. } => return Ok(vec![(host.clone(), *port)]),
        Target::Srv { service, domain, transport, fallback_port } => (service, domain, transport, fallback_port),
    };
    let name = service_name(service, *transport, domain);
    let found = resolver.services(service, *transport, domain).await;
    match (found.map_err(|why| Trouble::new(Fault::DnsFailed, why))?, fallback_port) {
        (Service::At(places), _) => Ok(places.into_iter().map(|place| (place.host, place.port)).collect()),
        (Service::NotOffered, _) => Err(Trouble::new(
            Fault::ServiceNotOffered,
            format!("{domain} does not offer this service: the target of {name} (SRV) is `.`"),
        )),
        // RFC 6120 §3.2.2.
        (Service::Unknown, Some(port)) => Ok(vec![(domain.as_str().to_owned(), *port)]),
        (Service::Unknown, None) => Err(Trouble::new(Fault::NoService, format!("there is no record {name} (SRV) in DNS"))),
    }
}

/// The addresses of a host that may be dialled; never none.
pub(crate) async fn allowed(resolver: &Resolver, reach: &Reach, host: &str) -> Result<Vec<IpAddr>, Trouble> {
    let found = resolver.addresses(host).await?;
    let mut kept = None;
    let mut allowed = Vec::with_capacity(found.len());
    for address in found {
        match reach.check(address) {
            Ok(()) => allowed.push(address),
            Err(kind) => kept = Some((address, kind)),
        }
    }
    match kept {
        Some((address, kind)) if allowed.is_empty() => Err(Trouble::new(
            Fault::AddressNotAllowed,
            format!("{} is {address}, a {kind} address, which the hub does not dial", text::escaped(host, 100)),
        )),
        _ => Ok(allowed),
    }
}
