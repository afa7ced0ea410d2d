//! SIP transactions (RFC 3261 §17 with RFC 4320 and RFC 6026) without IO, clock or randomness, on `sip-codec`.
//!
//! One [`TransactionLayer`] serves all connections of an adapter. Messages, time and closed flows go in; [`Action`]s come
//! out of the call that caused them: bytes to transmit, and events for the transaction user.
//!
//! ```
//! use std::time::Instant;
//! use sip_codec::{Host, Method, NameAddr, Request, Transport, Uri, Via};
//! use sip_stack::{Action, Flow, FlowId, PeerId, Settings, TransactionLayer};
//!
//! let mut layer = TransactionLayer::new(Settings::default(), 7);
//! let flow = Flow { id: FlowId(1), peer: PeerId(1), reliable: true, source: None };
//! let host = Host::new("b.example").unwrap();
//! let request = Request::builder(Method::Options, Uri::sip(host.clone()))
//!     .from(NameAddr::new(Uri::sip(host.clone())).with_tag("1").unwrap())
//!     .to(NameAddr::new(Uri::sip(host.clone())))
//!     .call_id("c1").unwrap()
//!     .cseq(1);
//! let mut out = Vec::new();
//! let now = Instant::now();
//! let client = layer.send_request(now, request, Via::new(Transport::Tls, host, Some(5061)), flow, &mut out).unwrap();
//! assert!(matches!(&out[..], [Action::Transmit { flow: FlowId(1), .. }]));
//! // ... later: layer.receive(now, flow, message, &mut out), layer.tick(now, &mut out) at layer.deadline()
//! # let _ = client;
//! ```
//!
//! A [`Dialog`] is what two sides keep beyond a transaction; what they do in it is not known here.
//!
//! Left out: subscriptions, sessions, routing, connections, and every decision about who may do what. [`Rules`] holds the checks of RFC 3261
//! §8.2 that need no policy.
#![forbid(unsafe_code)]

mod branch;
mod checks;
mod client;
mod dialog;
mod key;
mod layer;
mod server;
mod timers;

pub use checks::{Refused, Rules};
pub use client::SendError;
pub use dialog::{Dialog, DialogFault, Parts};
pub use layer::{Action, ClientId, Flow, FlowId, PeerId, ServerId, Settings, TransactionLayer};
pub use server::{Delivery, RespondError};
pub use timers::Timers;
