//! The XMPP server-to-server adapter: one-to-one messages and presence between the hub's many domains and its members' servers.
//!
//! Streams both ways with STARTTLS or direct TLS, SASL EXTERNAL, dialback, acknowledgement of what comes in
//! (XEP-0198), pings that show what went out to have arrived, answers on the peer's own streams (XEP-0288); presence, typing and receipts. Left out:
//! rooms, file transfer, components (XEP-0114), client connections.
//!
//! Reading order: [`codec`] (bytes and elements), `stream` (what may come when), `core` (links, pairs, deliveries),
//! `translate` (stanza and envelope). This file finds the stream that an input is for, and hands on.

mod address;
mod certificate;
pub mod codec;
mod core;
mod directory;
mod errors;
mod link;
mod pair;
mod relay;
mod settings;
mod sink;
mod stream;
mod timers;
mod translate;

use std::collections::HashMap;
use std::time::Instant;

use bytes::BytesMut;
use interchange_adapter::{Adapter, Build, ConnId, Input, Now, Output, Platform, Target, Via};
use interchange_model::{Domain, Down, Settings, SettingsError};

use crate::codec::Document;
use crate::core::Core;
use crate::directory::Directory;
pub use crate::settings::{Authentication, LinkSettings, PlatformSettings};
use crate::sink::Sink;
use crate::stream::inbound::Inbound;
use crate::stream::tell_sender;
use crate::timers::Sleeper;

/// The platform `xmpp`.
pub const PLATFORM: Platform = Platform { name: "xmpp", build, check_link, target };

fn check_link(settings: &Settings) -> Result<(), SettingsError> {
    LinkSettings::read(settings).map(|_| ())
}

fn target(settings: &Settings, domain: &Domain) -> Option<Target> {
    LinkSettings::read(settings).ok().map(|settings| settings.target(domain))
}

fn build(build: Build<'_>) -> Result<Box<dyn Adapter>, SettingsError> {
    let settings = PlatformSettings::read(build.settings)?;
    Ok(Box::new(Xmpp {
        core: Core::new(settings, &build.secret, build.seed),
        inbound: HashMap::new(),
        document: Document::default(),
        buffer: BytesMut::new(),
        stopped: false,
    }))
}

#[derive(Debug)]
struct Xmpp {
    core: Core,
    inbound: HashMap<ConnId, Inbound>,
    /// Memory for the element that is being read.
    document: Document,
    /// Memory for the bytes that are being written.
    buffer: BytesMut,
    stopped: bool,
}

impl Adapter for Xmpp {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut sink = Sink::new(out, &mut buffer);
        match input {
            Input::Opened { conn, via } => self.opened(now, &mut sink, conn, &via),
            Input::Received { conn, bytes } => {
                if let Some(stream) = self.inbound.get_mut(&conn) {
                    stream.received(now, &mut self.core, &mut sink, &bytes, &mut self.document);
                } else if let Some(mut stream) = self.core.outbound.remove(&conn)
                    && stream.received(now, &mut self.core, &mut sink, &bytes, &mut self.document)
                {
                    self.core.outbound.insert(conn, stream);
                }
            }
            Input::Secured { conn, peer } => {
                if let Some(stream) = self.inbound.get_mut(&conn) {
                    stream.secured(peer);
                } else if let Some(mut stream) = self.core.outbound.remove(&conn)
                    && stream.secured(now, &mut self.core, &mut sink, &peer)
                {
                    self.core.outbound.insert(conn, stream);
                }
            }
            Input::Closed { conn, why, detail } => {
                if let Some(mut stream) = self.inbound.remove(&conn) {
                    stream.gone(&mut self.core);
                    self.core.lender_gone(now, &mut sink, conn, &detail);
                } else if let Some(mut stream) = self.core.outbound.remove(&conn) {
                    stream.closed(now, &mut self.core, &mut sink, why, &detail);
                }
            }
            Input::Tick => self.tick(now, &mut sink),
            Input::Broker(down) => self.broker(now, &mut sink, down),
            // Not asked for: people sign in at their own server.
            Input::Authenticated { .. } | Input::Found { .. } => {}
            Input::Stop => {
                self.stopped = true;
                self.core.stop(&mut sink);
                for stream in self.inbound.values_mut() {
                    stream.stop(&mut self.core, &mut sink);
                }
            }
        }
        while let Some(conn) = self.core.silent.pop() {
            if let Some(stream) = self.inbound.get_mut(&conn) {
                stream.give_up(&mut self.core, &mut sink);
            }
        }
        // Answers to questions that incoming streams have asked.
        while let Some(verdict) = self.core.verdicts.pop() {
            if let Some(stream) = self.inbound.get_mut(&verdict.conn) {
                stream.verdict(now, &mut self.core, &mut sink, &verdict);
            }
        }
        sink.flush();
        self.buffer = buffer;
    }

    fn deadline(&self) -> Option<Instant> {
        self.core.timers.next()
    }
}

impl Xmpp {
    fn opened(&mut self, now: Now, sink: &mut Sink<'_>, conn: ConnId, via: &Via) {
        if conn.is_dialled() {
            if let Some(mut stream) = self.core.outbound.remove(&conn) {
                stream.opened(now, &mut self.core, sink);
                self.core.outbound.insert(conn, stream);
            }
        } else if self.stopped {
            sink.close(conn, interchange_adapter::CloseReason::Shutdown);
        } else if let Some(stream) = Inbound::new(now, conn, via, &mut self.core, sink) {
            self.inbound.insert(conn, stream);
        }
    }

    fn tick(&mut self, now: Now, sink: &mut Sink<'_>) {
        while let Some(sleeper) = self.core.timers.due(now.instant) {
            match sleeper {
                Sleeper::Inbound(conn) => {
                    if let Some(stream) = self.inbound.get_mut(&conn) {
                        stream.wake(now, &mut self.core, sink);
                    }
                }
                Sleeper::Outbound(conn) => {
                    if let Some(mut stream) = self.core.outbound.remove(&conn)
                        && stream.wake(now, &mut self.core, sink)
                    {
                        self.core.outbound.insert(conn, stream);
                    }
                }
                Sleeper::Pair(key) => self.core.wake_pair(now, sink, &key),
                Sleeper::Link(link) => self.core.wake_link(now, sink, &link),
            }
        }
    }

    fn broker(&mut self, now: Now, sink: &mut Sink<'_>, down: Down) {
        match down {
            Down::Links { links, hosted } => {
                let (directory, unusable) = Directory::new(&self.core.directory, &links, hosted);
                self.core.links_changed(now, sink, directory, unusable);
                for stream in self.inbound.values_mut() {
                    stream.links_changed(&mut self.core, sink);
                }
            }
            Down::Submitted { token, result } => {
                let Some(submission) = self.core.submissions.remove(&token) else { return };
                // The error first: answers that waited behind this message must not come before it.
                if let Err(why) = result {
                    tell_sender(now, &mut self.core, sink, &submission.envelope, why);
                }
                if let Some(stream) = self.inbound.get_mut(&submission.conn) {
                    stream.submitted(now, &mut self.core, sink, &submission, result);
                    stream.read(now, &mut self.core, sink, &mut self.document);
                }
            }
            Down::Deliver { link, delivery, envelope } => self.core.deliver(now, sink, &link, delivery, envelope),
            // A stream says nothing about a message beyond having taken it.
            Down::Delivered { .. } => {}
            Down::Told { link, envelope } => self.core.told(now, &mut *sink, &link, envelope),
            Down::Check { link, from, to } => self.core.check(now, sink, link, from, to),
            // People are signed in at the member's own server.
            Down::Notice { .. } => {}
            // It keeps nothing.
            Down::Remembered { .. } => {}
            Down::Relayed { link, payload } => {
                if let Some((key, id)) = relay::read(&payload)
                    && self.core.directory.owner(&key.partner).is_some_and(|owner| owner.id == link)
                {
                    self.core.answered(now, sink, &key, &id);
                }
            }
        }
    }
}
