//! Client transactions: RFC 3261 §17.1, with the accepted state of RFC 6026 §7.2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_codec::{Host, Method, Request, RequestBuilder, Response, Unencodable, Via};

use crate::key::ClientKey;
use crate::layer::{Action, ClientId, Flow, TransactionLayer, next_after};
use crate::timers::{Kind, Owner};

/// A request that was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// As many as [`crate::Settings::clients`] are under way.
    #[error("too many requests under way")]
    TooMany,
    /// The request lacks something or holds what may not be sent.
    #[error(transparent)]
    Unencodable(#[from] Unencodable),
    /// ACK has no transaction: encode and transmit it.
    #[error("ACK has no transaction")]
    Ack,
    /// There is no such client, or it has its final answer.
    #[error("no request under way")]
    Unknown,
}

/// One request of ours.
pub(crate) struct Client {
    key: ClientKey,
    flow: Flow,
    bytes: Bytes,
    sent_by: (Host, Option<u16>),
    state: State,
    interval: Duration,
    /// Kept for an INVITE only: its ACK and CANCEL are made of it.
    invite: Option<Box<Invite>>,
    /// A CANCEL of the layer's own: nobody is told about it.
    silent: bool,
}

struct Invite {
    request: Request,
    cancel: Cancel,
    /// The ACK of a final answer other than 2xx.
    ack: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    /// Wanted, but RFC 3261 §9.1 forbids it before a provisional answer.
    Waiting,
    Sent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calling for an INVITE: nothing has come.
    Trying,
    /// A 1xx has come.
    Proceeding,
    /// A final answer has come; repeats are absorbed, or acknowledged again.
    Completed,
    /// RFC 6026: a 2xx to an INVITE has come, and others may follow.
    Accepted,
}

impl TransactionLayer {
    /// Sends a request in a transaction of its own. `via` says who we are on this flow (transport, sent-by, `rport`, `alias`); the
    /// branch is put on it here. A try at another target is another call with the same builder.
    pub fn send_request(
        &mut self,
        now: Instant,
        request: RequestBuilder,
        via: Via,
        flow: Flow,
        out: &mut Vec<Action>,
    ) -> Result<ClientId, SendError> {
        if *request.method() == Method::Ack {
            return Err(SendError::Ack);
        }
        if self.clients.len() >= self.settings.clients {
            return Err(SendError::TooMany);
        }
        let via = via.with_branch(&self.branches.branch())?;
        Ok(self.start_client(now, request.via(via).build()?, flow, false, out))
    }

    /// A Via for a request outside any transaction, which is the ACK of a 2xx (RFC 3261 §13.2.2.4).
    pub fn new_branch(&mut self) -> String {
        self.branches.branch()
    }

    /// A tag nobody else has.
    pub fn new_tag(&mut self) -> String {
        self.branches.tag()
    }

    /// Takes an INVITE back: sends a CANCEL, once a provisional answer has come. The INVITE's own end is told as always, with
    /// 487 as a rule, or as timed out 64·T1 after the CANCEL.
    pub fn cancel(&mut self, now: Instant, client: ClientId, out: &mut Vec<Action>) -> Result<(), SendError> {
        let transaction = self.clients.get_mut(&client).ok_or(SendError::Unknown)?;
        let state = transaction.state;
        let invite = transaction.invite.as_mut().ok_or(SendError::Unknown)?;
        match (state, invite.cancel) {
            (State::Completed | State::Accepted, _) => Err(SendError::Unknown),
            (State::Trying, Cancel::No) => {
                invite.cancel = Cancel::Waiting;
                Ok(())
            }
            (State::Proceeding, Cancel::No) => {
                self.send_cancel(now, client, out);
                Ok(())
            }
            (_, Cancel::Waiting | Cancel::Sent) => Ok(()),
        }
    }

    fn start_client(&mut self, now: Instant, request: Request, flow: Flow, silent: bool, out: &mut Vec<Action>) -> ClientId {
        let client = self.new_client_id();
        let timers = self.settings.timers;
        let is_invite = *request.method() == Method::Invite;
        let bytes = request.encode();
        let key = ClientKey::of_request(flow.peer, &request).expect("the branch was made here, or copied from one that was");
        out.push(Action::Transmit { flow: flow.id, bytes: bytes.clone() });
        if !flow.reliable {
            // Timers A and E
            self.timers.set(Owner::Client(client), Kind::Retransmit, now + timers.t1);
        }
        // Timers B and F
        let timeout = if flow.reliable && !is_invite { timers.reliable_timeout } else { timers.whole() };
        self.timers.set(Owner::Client(client), Kind::End, now + timeout);
        self.bind_flow(flow.id, Owner::Client(client));
        self.client_keys.insert(key.clone(), client);
        let sent_by = (request.via().host().clone(), request.via().port());
        let invite = is_invite.then(|| Box::new(Invite { request, cancel: Cancel::No, ack: None }));
        self.clients
            .insert(client, Client { key, flow, bytes, sent_by, state: State::Trying, interval: timers.t1, invite, silent });
        client
    }

    fn send_cancel(&mut self, now: Instant, client: ClientId, out: &mut Vec<Action>) {
        let Some(transaction) = self.clients.get_mut(&client) else { return };
        let flow = transaction.flow;
        let Some(invite) = transaction.invite.as_mut() else { return };
        invite.cancel = Cancel::Sent;
        let cancel = invite.request.to_cancel();
        self.start_client(now, cancel, flow, true, out);
        // RFC 3261 §9.1: no final answer 64*T1 after the CANCEL means it is gone
        self.timers.set(Owner::Client(client), Kind::End, now + self.settings.timers.whole());
    }

    pub(crate) fn receive_response(&mut self, now: Instant, flow: Flow, response: Response, out: &mut Vec<Action>) {
        let Some(client) = ClientKey::of_response(flow.peer, &response).and_then(|key| self.client_keys.get(&key).copied())
        else {
            return;
        };
        let Some(transaction) = self.clients.get_mut(&client) else { return };
        // RFC 3261 §18.1.2: the top Via must be the one we wrote, and §8.1.3.3: the only one
        let (host, port) = &transaction.sent_by;
        if response.via_count() != 1 || response.via().host() != host || response.via().port() != *port {
            return;
        }
        if transaction.invite.is_some() {
            self.invite_response(now, client, response, out);
        } else {
            self.other_response(now, client, response, out);
        }
    }

    /// RFC 3261 §17.1.2.2.
    fn other_response(&mut self, now: Instant, client: ClientId, response: Response, out: &mut Vec<Action>) {
        let timers = self.settings.timers;
        let Some(transaction) = self.clients.get_mut(&client) else { return };
        let silent = transaction.silent;
        match transaction.state {
            State::Completed | State::Accepted => return,
            State::Trying | State::Proceeding if response.is_final() => {
                transaction.state = State::Completed;
                self.timers.clear(Owner::Client(client), Kind::Retransmit);
                if transaction.flow.reliable {
                    self.remove_client(client);
                } else {
                    // Timer K
                    self.timers.set(Owner::Client(client), Kind::End, now + timers.t4);
                }
            }
            // Timer E goes on, from its next firing at T2
            State::Trying | State::Proceeding => transaction.state = State::Proceeding,
        }
        if !silent {
            out.push(Action::Response { client, response: Box::new(response) });
        }
    }

    /// RFC 3261 §17.1.1.2, RFC 6026 §7.2.
    fn invite_response(&mut self, now: Instant, client: ClientId, response: Response, out: &mut Vec<Action>) {
        let timers = self.settings.timers;
        let owner = Owner::Client(client);
        let Some(transaction) = self.clients.get_mut(&client) else { return };
        let flow = transaction.flow;
        let Some(invite) = transaction.invite.as_mut() else { return };
        match (transaction.state, response.status()) {
            (State::Trying | State::Proceeding, 100..=199) => {
                transaction.state = State::Proceeding;
                let cancel = invite.cancel;
                self.timers.clear(owner, Kind::Retransmit);
                if cancel != Cancel::Sent {
                    self.timers.set(owner, Kind::End, now + timers.invite_proceeding);
                }
                out.push(Action::Response { client, response: Box::new(response) });
                if cancel == Cancel::Waiting {
                    self.send_cancel(now, client, out);
                }
            }
            (State::Trying | State::Proceeding, 200..=299) => {
                transaction.state = State::Accepted;
                self.timers.clear(owner, Kind::Retransmit);
                // Timer M
                self.timers.set(owner, Kind::End, now + timers.whole());
                out.push(Action::Response { client, response: Box::new(response) });
            }
            (State::Trying | State::Proceeding, _) => {
                transaction.state = State::Completed;
                let ack = invite.request.to_ack(&response).encode();
                invite.ack = Some(ack.clone());
                out.push(Action::Transmit { flow: flow.id, bytes: ack });
                out.push(Action::Response { client, response: Box::new(response) });
                self.timers.clear(owner, Kind::Retransmit);
                if flow.reliable {
                    self.remove_client(client);
                } else {
                    // Timer D
                    self.timers.set(owner, Kind::End, now + timers.whole());
                }
            }
            (State::Completed, 300..=699) => {
                if let Some(ack) = &invite.ack {
                    out.push(Action::Transmit { flow: flow.id, bytes: ack.clone() });
                }
            }
            // RFC 6026 §7.2: each 2xx goes up, from whichever branch of a fork
            (State::Accepted, 200..=299) => out.push(Action::Response { client, response: Box::new(response) }),
            (State::Completed | State::Accepted, _) => {}
        }
    }

    pub(crate) fn client_retransmit(&mut self, due: Instant, now: Instant, client: ClientId, out: &mut Vec<Action>) {
        let timers = self.settings.timers;
        let Some(transaction) = self.clients.get_mut(&client) else { return };
        out.push(Action::Transmit { flow: transaction.flow.id, bytes: transaction.bytes.clone() });
        transaction.interval = match (transaction.invite.is_some(), transaction.state) {
            // Timer A doubles without a bound; timer B ends it
            (true, _) => transaction.interval * 2,
            // Timer E
            (false, State::Trying) => (transaction.interval * 2).min(timers.t2),
            (false, _) => timers.t2,
        };
        let next = next_after(due, now, transaction.interval);
        self.timers.set(Owner::Client(client), Kind::Retransmit, next);
    }

    pub(crate) fn client_end(&mut self, client: ClientId, out: &mut Vec<Action>) {
        if let Some(transaction) = self.remove_client(client)
            && matches!(transaction.state, State::Trying | State::Proceeding)
            && !transaction.silent
        {
            out.push(Action::TimedOut { client });
        }
    }

    pub(crate) fn client_flow_closed(&mut self, _now: Instant, client: ClientId, out: &mut Vec<Action>) {
        match self.clients.get(&client).map(|transaction| transaction.state) {
            Some(State::Trying | State::Proceeding) => {
                if let Some(transaction) = self.remove_client(client)
                    && !transaction.silent
                {
                    out.push(Action::TransportFailed { client });
                }
            }
            Some(State::Completed) => {
                self.remove_client(client);
            }
            // Another 2xx may still come on another flow
            Some(State::Accepted) | None => {}
        }
    }

    fn remove_client(&mut self, client: ClientId) -> Option<Client> {
        let transaction = self.clients.remove(&client)?;
        self.client_keys.remove(&transaction.key);
        self.timers.clear_all(Owner::Client(client));
        self.unbind_flow(transaction.flow.id, Owner::Client(client));
        Some(transaction)
    }
}
