//! How a peer proves on an incoming stream that it speaks for a domain: SASL EXTERNAL, and dialback.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use interchange_adapter::{About, CloseReason, Now};
use interchange_model::{Domain, Fault};

use super::dialback::{Answer, push_answer};
use super::inbound::{Inbound, Proved, State};
use crate::certificate::proves;
use crate::codec::Element;
use crate::core::{Core, Verdict, pair_key};
use crate::errors::{StanzaError, StreamError};
use crate::sink::Sink;

/// SASL attempts on one stream.
const MAX_ATTEMPTS: u8 = 2;
/// Pairs of domains on one stream, proved or asked about.
const MAX_PAIRS: usize = 500;

impl Inbound {
    /// SASL EXTERNAL, RFC 6120 §6 and XEP-0178 §3.
    pub(super) fn sasl(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, name: &str, element: Element<'_>) {
        let due = if name == "auth" { self.state == State::Open } else { self.state == State::Response };
        if !due || self.external.is_some() {
            return self.sasl_fails(now, core, sink, "not-authorized");
        }
        let link = self.header.from.as_ref().and_then(|from| core.directory.owner(from)).cloned();
        let (Some(from), Some(to), Some(link), Some(tls)) = (self.header.from.clone(), self.header.to.clone(), link, &self.tls)
        else {
            return self.sasl_fails(now, core, sink, "invalid-mechanism");
        };
        let mechanism = element.attribute("mechanism");
        if !link.settings.external() || (name == "auth" && mechanism != Some("EXTERNAL")) {
            return self.sasl_fails(now, core, sink, "invalid-mechanism");
        }
        if name == "abort" {
            return self.sasl_fails(now, core, sink, "aborted");
        }
        let proof = proves(tls, &from, &link.settings);
        let text = element.text();
        match text.trim() {
            // RFC 6120 §6.4.2: no initial response; the next one, empty or not, is final.
            "" if name == "auth" => {
                self.state = State::Response;
                self.write(now, sink).extend_from_slice(b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
                return;
            }
            "" | "=" => {}
            encoded => {
                let Ok(bytes) = STANDARD.decode(encoded) else {
                    return self.sasl_fails(now, core, sink, "incorrect-encoding");
                };
                let named = std::str::from_utf8(&bytes).ok().and_then(|text| Domain::parse(text).ok());
                // Abuse case 11: who is claimed must be who is proved.
                if named.as_ref() != Some(&from) {
                    return self.sasl_fails(now, core, sink, "invalid-authzid");
                }
            }
        }
        if proof.is_err() {
            return self.sasl_fails(now, core, sink, "not-authorized");
        }
        self.write(now, sink).extend_from_slice(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        self.external = Some((to.clone(), from.clone()));
        if self.find(&to, &from).is_none() {
            self.prove(now, core, sink, Proved { own: to, partner: from, link });
        }
        // RFC 6120 §6.4.6
        self.restart();
    }

    fn sasl_fails(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, condition: &str) {
        let failure = format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/></failure>");
        self.write(now, sink).extend_from_slice(failure.as_bytes());
        let said = format!("{} failed to authenticate: {condition}", self.claimed());
        self.note_unproved(core, sink, self.header.from.as_ref(), Fault::AuthenticationRefused, &said);
        self.state = State::Open;
        self.attempts += 1;
        // RFC 6120 §6.4.5: the stream stays open for another try, or for dialback.
        if self.attempts >= MAX_ATTEMPTS {
            self.fail(core, sink, StreamError::PolicyViolation, "too many attempts", CloseReason::Refused);
        }
    }

    /// A key that shall prove a domain (XEP-0220 §2.2.1).
    pub(super) fn dialback_result(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, element: Element<'_>) {
        let (Some(from), Some(to)) = (element.attribute("from"), element.attribute("to")) else {
            return self.fail(core, sink, StreamError::ImproperAddressing, "", CloseReason::Malformed);
        };
        // An answer on a stream where we asked nothing (abuse case 8).
        if element.attribute("type").is_some() {
            return;
        }
        let answer = match (Domain::parse(from), Domain::parse(to)) {
            (Ok(partner), Ok(own)) => self.judge(now, core, sink, &own, &partner, &element.text()),
            _ => Some(Answer::Error(StanzaError::JID_MALFORMED)),
        };
        if let Some(answer) = answer {
            if let Answer::Error(error) = answer {
                let partner = Domain::parse(from).ok();
                let (from, to) = (from.escape_debug(), to.escape_debug());
                let said = format!("dialback from {from} to {to} was refused: {}", error.condition);
                self.note_unproved(core, sink, partner.as_ref(), Fault::DialbackRefused, &said);
            }
            push_answer(self.write(now, sink), to, from, None, answer);
            self.lend(now, core, sink);
        }
    }

    /// The answer to a key; `None` when its domain's server is asked first.
    fn judge(
        &mut self,
        now: Now,
        core: &mut Core,
        sink: &mut Sink<'_>,
        own: &Domain,
        partner: &Domain,
        key: &str,
    ) -> Option<Answer> {
        const REFUSED: Answer = Answer::Error(StanzaError::POLICY_VIOLATION);
        // Abuse cases 1 and 7: only domains of links, and nobody is dialled for any other.
        let Some(link) = core.directory.owner(partner).cloned() else { return Some(REFUSED) };
        if self.tls.is_none() && link.settings.require_tls {
            return Some(REFUSED);
        }
        if !core.directory.hosts_for(own, &link) {
            return Some(Answer::Error(StanzaError::ITEM_NOT_FOUND));
        }
        if self.find(own, partner).is_some() {
            return Some(Answer::Valid);
        }
        if self.asking.iter().any(|asked| asked.0 == *own && asked.1 == *partner) {
            return None;
        }
        if self.pairs.len() + self.asking.len() >= MAX_PAIRS {
            return Some(Answer::Error(StanzaError { condition: "resource-constraint", kind: "wait", text: "" }));
        }
        // XEP-0344 §2: who has the certificate need not be called back.
        if self.tls.as_ref().is_some_and(|tls| proves(tls, partner, &link.settings).is_ok()) {
            self.prove(now, core, sink, Proved { own: own.clone(), partner: partner.clone(), link });
            return Some(Answer::Valid);
        }
        if !link.settings.dialback() {
            return Some(REFUSED);
        }
        self.asking.push((own.clone(), partner.clone()));
        core.question(sink, self.conn, link, pair_key(own, partner), self.id.clone(), key.trim().to_owned());
        None
    }

    /// The authoritative server has spoken.
    pub(crate) fn verdict(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, verdict: &Verdict) {
        let pair = &verdict.pair;
        let Some(at) = self.asking.iter().position(|asked| asked.0 == pair.own && asked.1 == pair.partner) else { return };
        self.asking.swap_remove(at);
        if self.state == State::Closed {
            return;
        }
        // The link may have changed while its server was asked.
        let link = core.directory.owner(&pair.partner).filter(|link| link.settings.dialback());
        let link = link.filter(|link| core.directory.hosts_for(&pair.own, link)).cloned();
        let answer = match (verdict.answer, link) {
            (Answer::Valid, Some(link)) => {
                self.prove(now, core, sink, Proved { own: pair.own.clone(), partner: pair.partner.clone(), link });
                Answer::Valid
            }
            (Answer::Valid, None) => Answer::Error(StanzaError::POLICY_VIOLATION),
            // Others on the stream are not to suffer: an error says no as well (XEP-0220 §2.1.2).
            (Answer::Invalid, _) if !self.pairs.is_empty() => Answer::error("forbidden"),
            (other, _) => other,
        };
        match answer {
            Answer::Valid => {}
            Answer::Invalid => {
                let said = format!("the server of {} says that this peer is not it", pair.partner);
                self.note_unproved(core, sink, Some(&pair.partner), Fault::DialbackRefused, &said);
            }
            Answer::Error(error) => {
                let said = format!("dialback from {} to {} did not succeed: {}", pair.partner, pair.own, error.condition);
                self.note_unproved(core, sink, Some(&pair.partner), Fault::DialbackRefused, &said);
            }
        }
        push_answer(self.write(now, sink), &pair.own.to_unicode(), &pair.partner.to_unicode(), None, answer);
        self.lend(now, core, sink);
        // XEP-0220 §2.2.1: a wrong key ends the stream.
        if answer == Answer::Invalid {
            self.close(core, sink, CloseReason::Refused);
        }
    }

    /// Who claims to speak for `partner` has not proved it.
    fn note_unproved(&self, core: &Core, sink: &mut Sink<'_>, partner: Option<&Domain>, fault: Fault, said: &str) {
        let link = partner.and_then(|partner| core.directory.owner(partner));
        let about = link.map(|link| About { link: link.id.clone(), sign: Err(fault) });
        sink.note_about(self.conn, about, said);
    }

    /// Another server asks whether a key is ours (XEP-0220 §2.2.2). TLS is needed, authentication is not.
    pub(super) fn dialback_verify(&mut self, now: Now, core: &mut Core, sink: &mut Sink<'_>, element: Element<'_>) {
        let attributes = (element.attribute("from"), element.attribute("to"), element.attribute("id"));
        let (Some(from), Some(to), Some(id)) = attributes else {
            return self.fail(core, sink, StreamError::ImproperAddressing, "", CloseReason::Malformed);
        };
        if element.attribute("type").is_some() {
            return;
        }
        let answer = match (Domain::parse(from), Domain::parse(to)) {
            (Ok(receiving), Ok(originating)) => self.vouch(core, &receiving, &originating, id, &element.text()),
            _ => Answer::Error(StanzaError::JID_MALFORMED),
        };
        push_answer(self.write(now, sink), to, from, Some(id), answer);
    }

    fn vouch(&self, core: &Core, receiving: &Domain, originating: &Domain, id: &str, key: &str) -> Answer {
        let Some(link) = core.directory.owner(receiving) else { return Answer::Error(StanzaError::POLICY_VIOLATION) };
        if (self.tls.is_none() && link.settings.require_tls) || !link.settings.dialback() {
            return Answer::Error(StanzaError::POLICY_VIOLATION);
        }
        if !core.directory.hosts_for(originating, link) {
            return Answer::Error(StanzaError::ITEM_NOT_FOUND);
        }
        if core.keys.is_ours(key, receiving, originating, id) { Answer::Valid } else { Answer::Invalid }
    }

    /// The place of a proved pair.
    pub(super) fn find(&self, own: &Domain, partner: &Domain) -> Option<usize> {
        let is = |pair: &Proved| pair.own == *own && pair.partner == *partner;
        if self.pairs.get(self.last).is_some_and(is) {
            return Some(self.last);
        }
        self.pairs.iter().position(is)
    }
}
