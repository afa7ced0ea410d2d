//! The Echo user: an adapter with no wire, and the smallest complete example of one.
//!
//! Whoever writes to `echo@` the hub's own domain gets the text back, through the same queue, the same
//! routing and the same adapter as any partner's answer. So an administrator who has just linked a server can
//! try both directions without a partner. Every other user of the hub's domain is unknown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use interchange_adapter::{Adapter, Build, Input, Now, Output, Platform};
use interchange_model::{
    Body, DeliveryId, DevicePresence, Down, Envelope, Health, LinkId, MessageId, Outcome, Presence, PresenceState, Refusal,
    Settings, SettingsError, Text, TextKind, Token, Up, Wants, Watch,
};
use serde::Deserialize;

/// The platform `echo`.
pub const PLATFORM: Platform = Platform { name: "echo", build, check_link, target: |_, _| None };

/// The user that answers.
pub const USER: &str = "echo";

/// Neither the platform nor its links have settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

fn check_link(settings: &Settings) -> Result<(), SettingsError> {
    settings.read::<NoSettings>().map(|_| ())
}

fn build(build: Build<'_>) -> Result<Box<dyn Adapter>, SettingsError> {
    check_link(build.settings)?;
    Ok(Box::new(Echo { seed: build.seed, answers: 0, open: HashMap::new() }))
}

struct Echo {
    seed: u64,
    /// How many answers were made; with the seed and the time it makes their ids.
    answers: u64,
    /// Answers submitted and not yet safe, with the delivery that each will settle. Bounded by the link's pace.
    open: HashMap<Token, (LinkId, DeliveryId)>,
}

impl Adapter for Echo {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Broker(Down::Links { links, .. }) => {
                out.extend(links.iter().map(|link| Output::Broker(Up::Health { link: link.id.clone(), health: Health::Up })));
            }
            Input::Broker(Down::Deliver { link, delivery, envelope }) => match self.answer(now, &link, &envelope) {
                Ok(Some(answer)) => {
                    let token = Token(self.answers);
                    self.open.insert(token, (link.clone(), delivery));
                    out.push(Output::Broker(Up::Submit { token, link, envelope: Arc::new(answer) }));
                }
                Ok(None) => settle(link, delivery, Outcome::Delivered, out),
                Err(why) => settle(link, delivery, Outcome::Refused(why), out),
            },
            // The question is settled only when the answer is safe, so that a crash between the two repeats and never swallows.
            Input::Broker(Down::Submitted { token, result }) => {
                if let Some((link, delivery)) = self.open.remove(&token) {
                    settle(link, delivery, result.map_or_else(Outcome::Refused, |()| Outcome::Delivered), out);
                }
            }
            // Whoever may see it sees the Echo user here, always.
            Input::Broker(Down::Told { link, envelope }) if envelope.body == Body::Watch(Watch::Fetch) && is_echo(&envelope) => {
                let here = Presence::of(DevicePresence::new(None, PresenceState::Available));
                let envelope = self.turned_round(now, &link, &envelope, Body::Presence(here));
                out.push(Output::Broker(Up::Tell { link, envelope: Arc::new(envelope) }));
            }
            Input::Broker(Down::Check { link, from, to }) => out.push(Output::Checked { link, from, to, result: Ok(()) }),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Echo {
    /// The answer to an envelope; `None` where none is due.
    fn answer(&mut self, now: Now, link: &LinkId, envelope: &Envelope) -> Result<Option<Envelope>, Refusal> {
        let body = match &envelope.body {
            Body::Text(_) | Body::Watch(_) if !is_echo(envelope) => return Err(Refusal::NoSuchUser),
            Body::Text(Text { kind: TextKind::Headline, .. }) => return Ok(None),
            // Nobody has read it, and nobody reads the answer's receipt.
            Body::Text(text) => Body::Text(Text { written: None, wants: Wants::default(), ..text.clone() }),
            Body::Watch(Watch::Ask) => Body::Watch(Watch::Allow),
            _ => return Ok(None),
        };
        // An answer has one hop less than the question, so two machines that answer each other come to an end.
        let hops = envelope.hops.checked_sub(1).ok_or(Refusal::Loop)?;
        Ok(Some(Envelope { hops, ..self.turned_round(now, link, envelope, body) }))
    }

    /// An envelope from the Echo user to whoever wrote to it.
    fn turned_round(&mut self, now: Now, link: &LinkId, envelope: &Envelope, body: Body) -> Envelope {
        self.answers += 1;
        let id = MessageId::new(now.wall, u128::from(self.seed) << 64 | u128::from(self.answers));
        Envelope { origin: link.clone(), from_device: None, ..envelope.answer(id, body, now.wall) }
    }
}

fn is_echo(envelope: &Envelope) -> bool {
    envelope.to.user_key() == USER
}

fn settle(link: LinkId, delivery: DeliveryId, outcome: Outcome, out: &mut Vec<Output>) {
    out.push(Output::Broker(Up::Settle { link, delivery, outcome }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use interchange_model::{Address, Device, Domain};

    fn echo() -> Box<dyn Adapter> {
        let hub = Domain::parse("hub.example").unwrap();
        build(Build { settings: &Settings::default(), hub: &hub, secret: [0; 32], seed: 1 }).unwrap()
    }

    fn question(to: &str) -> Arc<Envelope> {
        Arc::new(Envelope {
            id: MessageId(5),
            origin: "acme".into(),
            from: Address::parse("alice@acme.example").unwrap(),
            from_device: Device::new("laptop"),
            to: Address::parse(to).unwrap(),
            to_device: None,
            native_id: Some("m1".into()),
            accepted: std::time::UNIX_EPOCH,
            hops: 70,
            native: None,
            body: Body::Text(Text { plain: "hello".into(), ..Text::default() }),
        })
    }

    fn deliver(adapter: &mut dyn Adapter, envelope: Arc<Envelope>) -> Vec<Output> {
        let mut out = Vec::new();
        adapter.handle(
            Now::read(),
            Input::Broker(Down::Deliver { link: "echo".into(), delivery: DeliveryId(3), envelope }),
            &mut out,
        );
        out
    }

    #[test]
    fn the_text_comes_back_and_the_question_is_settled_when_the_answer_is_safe() {
        let mut adapter = echo();
        let out = deliver(&mut *adapter, question("Echo@hub.example"));
        let [Output::Broker(Up::Submit { token, link, envelope })] = &out[..] else { panic!("{out:?}") };
        assert_eq!(link.as_str(), "echo");
        assert_eq!(envelope.to, Address::parse("alice@acme.example").unwrap());
        assert_eq!(envelope.to_device, Device::new("laptop"));
        assert!(matches!(&envelope.body, Body::Text(text) if text.plain.as_str() == "hello"));
        let mut after = Vec::new();
        adapter.handle(Now::read(), Input::Broker(Down::Submitted { token: *token, result: Ok(()) }), &mut after);
        assert_eq!(
            after,
            [Output::Broker(Up::Settle { link: "echo".into(), delivery: DeliveryId(3), outcome: Outcome::Delivered })]
        );
    }

    #[test]
    fn another_user_of_the_hub_is_unknown() {
        let out = deliver(&mut *echo(), question("root@hub.example"));
        assert!(matches!(&out[..], [Output::Broker(Up::Settle { outcome: Outcome::Refused(Refusal::NoSuchUser), .. })]));
    }

    #[test]
    fn whoever_asks_may_see_it_and_sees_it_here() {
        let mut adapter = echo();
        let ask = |watch| Arc::new(Envelope { body: Body::Watch(watch), ..(*question("echo@hub.example")).clone() });
        let out = deliver(&mut *adapter, ask(Watch::Ask));
        let [Output::Broker(Up::Submit { envelope, .. })] = &out[..] else { panic!("{out:?}") };
        assert_eq!(envelope.body, Body::Watch(Watch::Allow));
        let mut out = Vec::new();
        let told = Down::Told { link: "echo".into(), envelope: ask(Watch::Fetch) };
        adapter.handle(Now::read(), Input::Broker(told), &mut out);
        let [Output::Broker(Up::Tell { envelope, .. })] = &out[..] else { panic!("{out:?}") };
        assert!(matches!(&envelope.body, Body::Presence(presence) if presence.state() == PresenceState::Available));
        assert_eq!(envelope.to, Address::parse("alice@acme.example").unwrap());
        let out = deliver(&mut *adapter, ask(Watch::Stop));
        assert!(matches!(&out[..], [Output::Broker(Up::Settle { outcome: Outcome::Delivered, .. })]));
    }

    #[test]
    fn a_failure_is_not_answered() {
        let failure = question("echo@hub.example").failure(MessageId(6), Refusal::NoSuchUser, std::time::UNIX_EPOCH).unwrap();
        let out = deliver(&mut *echo(), Arc::new(Envelope { to: failure.from.clone(), ..failure }));
        assert!(matches!(&out[..], [Output::Broker(Up::Settle { outcome: Outcome::Delivered, .. })]));
    }

    #[test]
    fn two_machines_that_answer_each_other_come_to_an_end() {
        let tired = Arc::new(Envelope { hops: 0, ..(*question("echo@hub.example")).clone() });
        let out = deliver(&mut *echo(), tired);
        assert!(matches!(&out[..], [Output::Broker(Up::Settle { outcome: Outcome::Refused(Refusal::Loop), .. })]));
    }
}
