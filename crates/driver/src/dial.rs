//! Dialling: look-ups, the choice among addresses, and the connection; beside the loop, within 30 s.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use interchange_adapter::{CloseReason, ConnId, Target, Transport, Via};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::conn::Conn;
use crate::outbox::{Command, Outbox};
use crate::reach::Reach;
use crate::resolve::{Resolver, Service, service_name};
use crate::shared::{Event, Shared};
use crate::stream::set_options;
use crate::text;

/// A dial and its look-ups together.
const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// One address.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long one address of a name has before the next is tried beside it. RFC 8305 §5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Dials under way at once: a hub that starts with thousands of links shall not drown its name server.
pub(crate) const DIALS_AT_ONCE: usize = 256;

/// Why a dial failed.
#[derive(Debug)]
struct Failure {
    why: CloseReason,
    detail: String,
}

impl Failure {
    fn new(why: CloseReason, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into() }
    }
}

/// Dials `to` and, when that succeeds, is the connection until its end. `ipv4`: of which family the UDP socket is that a dial
/// over UDP leaves from.
pub(crate) async fn dial(
    id: ConnId,
    to: Target,
    avoid: Vec<SocketAddr>,
    ipv4: bool,
    outbox: Arc<Outbox>,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
) {
    let transport = match &to {
        Target::Host { transport, .. } | Target::Srv { transport, .. } => *transport,
    };
    let mut early = VecDeque::new();
    let outcome = if transport == Transport::Udp {
        let found = unless_closed(&outbox, &mut early, limited(&shared, first_address(&shared, &to, ipv4))).await;
        match found {
            Ok(peer) => {
                // The loop opens it: only the loop knows whether the adapter still wants it.
                let _ = events.send(Event::Resolved { conn: id, peer }).await;
                return;
            }
            Err(failure) => Err(failure),
        }
    } else {
        let progress = Progress::default();
        let dialled = limited_with(&shared, &progress, connect(&shared, &to, &avoid, &progress));
        unless_closed(&outbox, &mut early, dialled).await
    };
    match outcome {
        Ok((tcp, peer)) => {
            set_options(&tcp);
            let local = tcp.local_addr().unwrap_or(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0));
            let via = Box::new(Via::Dialled { transport, local, peer });
            tracing::debug!(conn = %id, %peer, transport = transport.label(), "dialled");
            let reading = transport == Transport::Tcp;
            let conn = Conn::new(id, tcp, peer, reading, outbox, early, events, shared, None);
            conn.serve(Event::Opened { conn: id, via, by: crate::shared::Opener::Dial }).await;
        }
        Err(failure) => {
            tracing::debug!(conn = %id, why = %failure.why, detail = %failure.detail, "dial failed");
            shared.stats.count_failed(failure.why);
            let detail = text::escaped(&failure.detail, 300);
            let _ = events.send(Event::Closed { conn: id, why: failure.why, detail }).await;
        }
    }
}

/// Runs `work` until it is done, or the adapter closes the connection that is not there yet. What else the adapter says
/// gathers in `early`.
async fn unless_closed<T>(
    outbox: &Outbox,
    early: &mut VecDeque<Command>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Some(why) = outbox.take(cx, early) {
            return Poll::Ready(Err(Failure::new(why, "the hub gave the dial up")));
        }
        let asked = early.iter().find_map(|command| match command {
            Command::Close(why) => Some(*why),
            _ => None,
        });
        if let Some(why) = asked {
            return Poll::Ready(Err(Failure::new(why, "closed before it was connected")));
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// What a dial is doing, for the sentence when its time is over.
#[derive(Default)]
struct Progress(Mutex<String>);

impl Progress {
    fn set(&self, doing: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }

    fn doing(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn limited<T>(shared: &Shared, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    limited_with(shared, &Progress::default(), work).await
}

async fn limited_with<T>(
    shared: &Shared,
    progress: &Progress,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    progress.set("waiting for other dials".to_owned());
    let turn = async {
        let _permit = shared.dials.acquire().await;
        work.await
    };
    match timeout(DIAL_LIMIT, turn).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(CloseReason::TimedOut, format!("not connected within 30 s; last: {}", progress.doing()))),
    }
}

/// The first address of the target, of one family, that may be dialled.
async fn first_address(shared: &Shared, to: &Target, ipv4: bool) -> Result<SocketAddr, Failure> {
    let progress = Progress::default();
    let mut last = None;
    for (host, port) in places(shared, to, &progress).await? {
        let found = addresses(&shared.resolver, &shared.reach, &host, port).await;
        match found.map(|addresses| addresses.into_iter().find(|address| address.is_ipv4() == ipv4)) {
            Ok(Some(address)) => return Ok(address),
            Ok(None) => {
                let family = if ipv4 { "IPv4" } else { "IPv6" };
                let host = text::escaped(&host, 100);
                let detail = format!("{host} has no {family} address, which the first UDP listener could send to");
                last = Some(Failure::new(CloseReason::Unreachable, detail));
            }
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::new(CloseReason::Unresolved, "no place to dial")))
}

async fn connect(
    shared: &Shared,
    to: &Target,
    avoid: &[SocketAddr],
    progress: &Progress,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut last: Option<Failure> = None;
    let places = places(shared, to, progress).await?;
    // First the addresses of all places that are not to be avoided, then the others.
    let mut turns: Vec<(bool, String, u16)> = places.iter().map(|(host, port)| (false, host.clone(), *port)).collect();
    if !avoid.is_empty() {
        turns.extend(places.into_iter().map(|(host, port)| (true, host, port)));
    }
    for (avoided, host, port) in turns {
        progress.set(format!("looking up {}", text::escaped(&host, 100)));
        let tried = match addresses(&shared.resolver, &shared.reach, &host, port).await {
            Ok(mut addresses) => {
                addresses.retain(|address| avoid.contains(address) == avoided);
                if addresses.is_empty() {
                    continue;
                }
                progress.set(format!("connecting to {} port {port}", text::escaped(&host, 100)));
                race(&addresses).await.map_err(|(why, tried)| Failure::new(why, refused(&host, &addresses, &tried)))
            }
            Err(failure) => Err(failure),
        };
        match tried {
            Ok(connected) => return Ok(connected),
            Err(mut failure) => {
                if let Some(earlier) = last {
                    failure.detail = format!("{}; {}", earlier.detail, failure.detail);
                }
                last = Some(failure);
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::new(CloseReason::Unresolved, "no place to dial")))
}

/// Which hosts and ports a target means, the first to be tried first; never none.
async fn places(shared: &Shared, to: &Target, progress: &Progress) -> Result<Vec<(String, u16)>, Failure> {
    let unresolved = |detail| Failure::new(CloseReason::Unresolved, detail);
    match to {
        Target::Host { host, port, .. } => Ok(vec![(host.clone(), *port)]),
        Target::Srv { service, domain, transport, fallback_port } => {
            let name = service_name(service, *transport, domain);
            progress.set(format!("looking up {name} (SRV)"));
            match shared.resolver.services(service, *transport, domain).await.map_err(unresolved)? {
                Service::At(places) => Ok(places.into_iter().map(|place| (place.host, place.port)).collect()),
                Service::NotOffered => Err(unresolved(format!(
                    "{domain} does not offer this service: the target of {name} (SRV) is `.`; \
                     give the link a host of its own if the domain's DNS is right"
                ))),
                // RFC 6120 §3.2.2.
                Service::Unknown => match fallback_port {
                    Some(port) => Ok(vec![(domain.as_str().to_owned(), *port)]),
                    None => {
                        Err(unresolved(format!("there is no record {name} (SRV) in DNS; publish one, or give the link a host")))
                    }
                },
            }
        }
    }
}

/// The addresses of a host that may be dialled; never none.
async fn addresses(resolver: &Resolver, reach: &Reach, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = resolver.addresses(host).await.map_err(|detail| Failure::new(CloseReason::Unresolved, detail))?;
    let mut allowed = Vec::with_capacity(found.len());
    let mut kept = None;
    for address in found {
        match reach.check(address) {
            Ok(()) => allowed.push(SocketAddr::new(address, port)),
            Err(kind) => kept = Some((address, kind)),
        }
    }
    match kept {
        Some((address, kind)) if allowed.is_empty() => Err(Failure::new(
            CloseReason::Unreachable,
            format!(
                "{} is {address}, a {kind} address, which the hub does not dial; list its network in allow_targets of the hub's configuration",
                text::escaped(host, 100)
            ),
        )),
        _ => Ok(allowed),
    }
}

/// Connects to whichever address of a host answers first, and says why when none does.
pub(crate) async fn connect_host(resolver: &Resolver, reach: &Reach, host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = addresses(resolver, reach, host, port).await.map_err(|failure| failure.detail)?;
    let (tcp, _) = race(&addresses).await.map_err(|(_, tried)| refused(host, &addresses, &tried))?;
    set_options(&tcp);
    Ok(tcp)
}

/// Connects to whichever address answers first, each begun a little after the one before it, or as soon as that has failed.
/// Failing that: the reason, and what each address said.
async fn race(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), (CloseReason, Vec<String>)> {
    let mut tries = JoinSet::new();
    let mut waiting = addresses.iter().copied();
    let mut failures = Vec::new();
    let mut reason = CloseReason::TimedOut;
    let mut next = waiting.next();
    loop {
        if let Some(address) = next.take() {
            tries.spawn(async move { (address, timeout(CONNECT_LIMIT, TcpStream::connect(address)).await) });
        }
        let more = waiting.len() > 0;
        let joined = tokio::select! {
            joined = tries.join_next() => joined,
            () = sleep(HEAD_START), if more => {
                next = waiting.next();
                continue;
            }
        };
        match joined {
            // The other tries are dropped with the set.
            Some(Ok((address, Ok(Ok(tcp))))) => return Ok((tcp, address)),
            Some(Ok((address, Ok(Err(error))))) => {
                reason = CloseReason::Unreachable;
                failures.push(format!("{address}: {error}"));
                next = waiting.next();
            }
            Some(Ok((address, Err(_)))) => {
                failures.push(format!("{address}: no answer within 5 s"));
                next = waiting.next();
            }
            Some(Err(_)) => next = waiting.next(),
            None if more => next = waiting.next(),
            None => return Err((reason, failures)),
        }
    }
}

fn refused(host: &str, addresses: &[SocketAddr], tried: &[String]) -> String {
    let literal = addresses.iter().any(|address| address.ip().to_string() == host);
    let of = if literal { String::new() } else { format!(" of {}", text::escaped(host, 100)) };
    format!("no connection to any address{of}: {}; check host, port and firewall", tried.join(", "))
}
