//! Server transactions: RFC 3261 §17.2, RFC 4320, and the accepted state of RFC 6026 §7.1.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_codec::{Method, Name, Request, Response, Value};

use crate::key::{CallKey, ServerKey};
use crate::layer::{Action, Flow, ServerId, TransactionLayer, next_after};
use crate::timers::{Kind, Owner};

/// An answer that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// The transaction is over: the peer has long given up (RFC 4320 §4.2), or there never was one.
    #[error("no such request, or its sender has given up")]
    Unknown,
    /// A final answer was given before.
    #[error("answered already")]
    AlreadyFinal,
    /// RFC 4320 §4.1 and §4.2: to anything but INVITE no 408, no 1xx but 100, and that one on UDP not before 3.5 s.
    #[error("this status may not answer this request now")]
    NotAllowed,
}

/// What became of an answer that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was transmitted.
    Sent,
    /// Its flow is closed: it waits for a repeat of the request, or for [`TransactionLayer::reroute`].
    Held,
}

/// One request of a peer.
pub(crate) struct Server {
    key: ServerKey,
    call: CallKey,
    flow: Flow,
    is_open: bool,
    is_invite: bool,
    state: State,
    began: Instant,
    /// The last answer; before any, `None`.
    last: Option<Bytes>,
    /// A 100, ready to go when the user is slow.
    trying: Option<Bytes>,
    to_tag: Option<Box<str>>,
    interval: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No answer yet.
    Trying,
    /// A provisional answer was given.
    Proceeding,
    /// A final answer was given; for an INVITE, one other than 2xx that waits for its ACK.
    Completed,
    /// The ACK came; repeats of it are absorbed.
    Confirmed,
    /// RFC 6026: a 2xx was given to an INVITE, and is repeated until its ACK comes.
    Accepted { acknowledged: bool },
}

impl TransactionLayer {
    /// Answers a request. Repeats of the request are answered alike from here on, and what must be repeated is.
    pub fn respond(
        &mut self,
        now: Instant,
        server: ServerId,
        response: &Response,
        out: &mut Vec<Action>,
    ) -> Result<Delivery, RespondError> {
        let timers = self.settings.timers;
        let owner = Owner::Server(server);
        let transaction = self.servers.get_mut(&server).ok_or(RespondError::Unknown)?;
        if !matches!(transaction.state, State::Trying | State::Proceeding) {
            return Err(RespondError::AlreadyFinal);
        }
        let status = response.status();
        if !transaction.is_invite {
            let too_soon = !transaction.flow.reliable && now < transaction.began + timers.silence();
            // RFC 4320 §4.1, §4.2
            if status == 408 || (101..=199).contains(&status) || (status == 100 && too_soon) {
                return Err(RespondError::NotAllowed);
            }
        }
        let bytes = response.encode();
        transaction.last = Some(bytes.clone());
        transaction.trying = None;
        transaction.to_tag = response.to().tag().map(Into::into).or(transaction.to_tag.take());
        let delivery = if transaction.is_open {
            out.push(Action::Transmit { flow: transaction.flow.id, bytes });
            Delivery::Sent
        } else {
            Delivery::Held
        };
        self.timers.clear(owner, Kind::Trying);
        match status {
            100..=199 => transaction.state = State::Proceeding,
            // RFC 3261 §13.3.1.4: a 2xx is repeated on every transport, until the ACK
            200..=299 if transaction.is_invite => {
                transaction.state = State::Accepted { acknowledged: false };
                self.timers.set(owner, Kind::Retransmit, now + timers.t1);
                // Timer L
                self.timers.set(owner, Kind::End, now + timers.whole());
            }
            _ => {
                transaction.state = State::Completed;
                if transaction.is_invite && !transaction.flow.reliable {
                    // Timer G
                    self.timers.set(owner, Kind::Retransmit, now + timers.t1);
                }
                // Timers H and J. J is 0 on reliable flows in the book; peers that reconnect and repeat want it there too
                let lingers = !transaction.is_invite && transaction.flow.reliable && transaction.is_open;
                let linger = if lingers { timers.reliable_linger } else { timers.whole() };
                self.timers.set(owner, Kind::End, now + linger);
            }
        }
        Ok(delivery)
    }

    /// Gives a server transaction another flow to answer on (RFC 3261 §18.2.2), and transmits an answer that was held.
    pub fn reroute(&mut self, server: ServerId, flow: Flow, out: &mut Vec<Action>) -> Result<(), RespondError> {
        let held = self.servers.get(&server).is_some_and(|transaction| !transaction.is_open);
        self.move_server(server, flow);
        let transaction = self.servers.get(&server).ok_or(RespondError::Unknown)?;
        if let Some(bytes) = transaction.last.as_ref().filter(|_| held) {
            out.push(Action::Transmit { flow: flow.id, bytes: bytes.clone() });
        }
        Ok(())
    }

    pub(crate) fn receive_request(&mut self, now: Instant, flow: Flow, request: Request, out: &mut Vec<Action>) {
        let key = ServerKey::of(flow.peer, &request);
        let known = self.server_keys.get(&key).copied();
        match (request.method(), known) {
            (Method::Ack, _) => self.receive_ack(now, flow, request, known, out),
            (_, Some(server)) => self.repeat(server, flow, out),
            (Method::Cancel, None) => self.receive_cancel(now, key, flow, request, out),
            (_, None) => {
                if self.is_full(flow) {
                    return self.refuse_for_load(flow, &request, out);
                }
                let first = self.calls.get(&CallKey::of(flow.peer, &request)).copied();
                // RFC 3261 §8.2.2.2: only without a To tag; and without a From tag nothing tells one sender from another
                let merged_with = first.filter(|_| request.to().tag().is_none() && request.from().tag().is_some());
                let server = self.start_server(now, key, flow, &request);
                out.push(Action::Request { server, flow, request: Box::new(request), merged_with });
            }
        }
    }

    fn is_full(&self, flow: Flow) -> bool {
        let of_peer = self.servers_of.get(&flow.peer).copied().unwrap_or(0);
        self.servers.len() >= self.settings.servers || of_peer >= self.settings.servers_per_peer
    }

    /// Without a transaction: there is no room for one.
    fn refuse_for_load(&mut self, flow: Flow, request: &Request, out: &mut Vec<Action>) {
        let tag = self.branches.tag();
        let retry_after = Value::from(self.settings.overload_retry_after);
        let response = Response::to_request(request, 503, Some(&tag), flow.source)
            .and_then(|response| response.with_header(Name::RetryAfter, retry_after));
        if let Ok(response) = response {
            out.push(Action::Transmit { flow: flow.id, bytes: response.encode() });
        }
    }

    fn start_server(&mut self, now: Instant, key: ServerKey, flow: Flow, request: &Request) -> ServerId {
        let timers = self.settings.timers;
        let server = self.new_server_id();
        let owner = Owner::Server(server);
        let is_invite = *request.method() == Method::Invite;
        let wants_trying = is_invite || !flow.reliable;
        let trying =
            Response::to_request(request, 100, None, flow.source).ok().filter(|_| wants_trying).map(|response| response.encode());
        if trying.is_some() {
            // RFC 3261 §17.2.1: an INVITE soon. RFC 4320 §4.1: others on UDP only once the peer's timer E has slowed down
            self.timers.set(owner, Kind::Trying, now + if is_invite { timers.trying } else { timers.silence() });
        }
        if !is_invite {
            // RFC 4320 §4.2: after 64*T1 the peer has given up, and no answer may be sent
            self.timers.set(owner, Kind::End, now + timers.whole());
        }
        let call = CallKey::of(flow.peer, request);
        self.bind_flow(flow.id, owner);
        self.server_keys.insert(key.clone(), server);
        self.calls.entry(call.clone()).or_insert(server);
        *self.servers_of.entry(flow.peer).or_default() += 1;
        let transaction = Server {
            key,
            call,
            flow,
            is_open: true,
            is_invite,
            state: State::Trying,
            began: now,
            last: None,
            trying,
            to_tag: None,
            interval: timers.t1,
        };
        self.servers.insert(server, transaction);
        server
    }

    /// RFC 3261 §17.2.1, §17.2.2: the last answer again, on the flow the repeat came on.
    fn repeat(&mut self, server: ServerId, flow: Flow, out: &mut Vec<Action>) {
        self.move_server(server, flow);
        let Some(transaction) = self.servers.get(&server) else { return };
        // RFC 6026 §7.1: in the accepted state a repeat is absorbed, the 2xx has its own timer
        let absorbed = matches!(transaction.state, State::Confirmed | State::Accepted { .. });
        if let Some(bytes) = transaction.last.as_ref().filter(|_| !absorbed) {
            out.push(Action::Transmit { flow: flow.id, bytes: bytes.clone() });
        }
    }

    fn move_server(&mut self, server: ServerId, flow: Flow) {
        let Some(transaction) = self.servers.get_mut(&server) else { return };
        // The peer stays: a transaction is counted for the one that began it
        let before = transaction.flow;
        transaction.flow = Flow { peer: before.peer, ..flow };
        transaction.is_open = true;
        if before.id != flow.id {
            self.unbind_flow(before.id, Owner::Server(server));
        }
        self.bind_flow(flow.id, Owner::Server(server));
    }

    fn receive_ack(&mut self, now: Instant, flow: Flow, request: Request, known: Option<ServerId>, out: &mut Vec<Action>) {
        let timers = self.settings.timers;
        if let Some(server) = known
            && let Some(transaction) = self.servers.get_mut(&server)
        {
            match transaction.state {
                State::Completed => {
                    transaction.state = State::Confirmed;
                    self.timers.clear(Owner::Server(server), Kind::Retransmit);
                    if transaction.flow.reliable {
                        self.remove_server(server);
                    } else {
                        // Timer I
                        self.timers.set(Owner::Server(server), Kind::End, now + timers.t4);
                    }
                    return;
                }
                // RFC 2543 matching finds the INVITE by the ACK of its 2xx too
                State::Accepted { .. } => {}
                State::Trying | State::Proceeding | State::Confirmed => return,
            }
        }
        // The ACK of a 2xx has a branch of its own: RFC 3261 §13.3.1.4 matches it by dialog and CSeq number
        let server = known.or_else(|| self.calls.get(&CallKey::of(flow.peer, &request)).copied());
        let accepted = server.filter(|server| {
            let Some(transaction) = self.servers.get_mut(server) else { return false };
            let State::Accepted { acknowledged } = &mut transaction.state else { return false };
            let is_ours = transaction.to_tag.as_deref() == request.to().tag();
            *acknowledged |= is_ours;
            is_ours
        });
        if let Some(server) = accepted {
            self.timers.clear(Owner::Server(server), Kind::Retransmit);
        }
        out.push(Action::Ack { server: accepted, request: Box::new(request) });
    }

    /// RFC 3261 §9.2. The CANCEL is answered here: its own transaction, so that a repeat gets the same answer.
    fn receive_cancel(&mut self, now: Instant, key: ServerKey, flow: Flow, request: Request, out: &mut Vec<Action>) {
        if self.is_full(flow) {
            return self.refuse_for_load(flow, &request, out);
        }
        let find = |method: Method| self.server_keys.get(&ServerKey::with_method(flow.peer, &request, method)).copied();
        let invite = find(Method::Invite);
        // Of any other request the CANCEL is answered and has no effect
        let others = [
            Method::Message,
            Method::Subscribe,
            Method::Notify,
            Method::Options,
            Method::Info,
            Method::Bye,
            Method::Update,
            Method::Refer,
        ];
        let target = invite.or_else(|| others.into_iter().find_map(find));
        let tag = invite.and_then(|server| self.servers.get(&server)?.to_tag.clone()).map(String::from);
        let tag = tag.unwrap_or_else(|| self.branches.tag());
        let status = if target.is_some() { 200 } else { 481 };
        let Ok(response) = Response::to_request(&request, status, Some(&tag), flow.source) else { return };
        let server = self.start_server(now, key, flow, &request);
        // Cannot fail: it was begun just now
        let _ = self.respond(now, server, &response, out);
        if let Some(server) = invite
            && self.servers.get(&server).is_some_and(|transaction| matches!(transaction.state, State::Trying | State::Proceeding))
        {
            out.push(Action::Cancelled { server });
        }
    }

    pub(crate) fn server_retransmit(&mut self, due: Instant, now: Instant, server: ServerId, out: &mut Vec<Action>) {
        let timers = self.settings.timers;
        let Some(transaction) = self.servers.get_mut(&server) else { return };
        if let Some(bytes) = transaction.last.as_ref().filter(|_| transaction.is_open) {
            out.push(Action::Transmit { flow: transaction.flow.id, bytes: bytes.clone() });
        }
        transaction.interval = (transaction.interval * 2).min(timers.t2);
        let next = next_after(due, now, transaction.interval);
        self.timers.set(Owner::Server(server), Kind::Retransmit, next);
    }

    pub(crate) fn server_trying(&mut self, server: ServerId, out: &mut Vec<Action>) {
        let Some(transaction) = self.servers.get_mut(&server) else { return };
        let Some(bytes) = transaction.trying.take() else { return };
        transaction.state = State::Proceeding;
        transaction.last = Some(bytes.clone());
        if transaction.is_open {
            out.push(Action::Transmit { flow: transaction.flow.id, bytes });
        }
    }

    pub(crate) fn server_end(&mut self, server: ServerId, out: &mut Vec<Action>) {
        if let Some(transaction) = self.remove_server(server)
            && transaction.is_invite
            && matches!(transaction.state, State::Completed | State::Accepted { acknowledged: false })
        {
            out.push(Action::NotAcknowledged { server });
        }
    }

    pub(crate) fn server_flow_closed(&mut self, server: ServerId) {
        if let Some(transaction) = self.servers.get_mut(&server) {
            transaction.is_open = false;
        }
    }

    fn remove_server(&mut self, server: ServerId) -> Option<Server> {
        let transaction = self.servers.remove(&server)?;
        self.server_keys.remove(&transaction.key);
        if self.calls.get(&transaction.call) == Some(&server) {
            self.calls.remove(&transaction.call);
        }
        if let Some(count) = self.servers_of.get_mut(&transaction.flow.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.servers_of.remove(&transaction.flow.peer);
            }
        }
        self.timers.clear_all(Owner::Server(server));
        self.unbind_flow(transaction.flow.id, Owner::Server(server));
        Some(transaction)
    }
}
