//! A real SIP user agent: the Linphone stack, in a process of its own.

use std::time::Duration;

use serde_json::json;

use crate::json_lines::{JsonLinesClient, is, text};
use crate::kamailio::Kamailio;

const REGISTERED_WITHIN: Duration = Duration::from_secs(20);

/// How a user agent reaches its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// A message as the user agent showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipMessage {
    /// The sender's URI.
    pub from: String,
    /// The type of the body, without parameters.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// A registered user agent.
#[derive(Debug)]
pub struct SipClient {
    uri: String,
    client: JsonLinesClient,
}

impl SipClient {
    /// Registers `user` at `proxy` and waits until it is accepted. No receipts, no typing, no presence.
    #[track_caller]
    pub fn register(proxy: &Kamailio, user: &str, transport: Transport) -> Self {
        Self::start(proxy, user, transport, &[])
    }

    /// The same with all that the stack can do.
    #[track_caller]
    pub fn register_with_all(proxy: &Kamailio, user: &str, transport: Transport) -> Self {
        Self::start(proxy, user, transport, &["--all".to_owned()])
    }

    #[track_caller]
    fn start(proxy: &Kamailio, user: &str, transport: Transport, more: &[String]) -> Self {
        let arguments = [
            "--address".to_owned(),
            format!("{user}@{}", proxy.domain()),
            "--proxy".to_owned(),
            proxy.phone_address().to_string(),
            "--transport".to_owned(),
            match transport {
                Transport::Udp => "udp".to_owned(),
                Transport::Tcp => "tcp".to_owned(),
            },
        ];
        let uri = proxy.uri_of(user);
        let arguments: Vec<String> = arguments.iter().chain(more).cloned().collect();
        let mut client = JsonLinesClient::start("sip_client.py", &uri, &arguments);
        client.expect("registration", REGISTERED_WITHIN, |event| is(event, "online"));
        Self { uri, client }
    }

    /// Its address of record.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Sends a message; `id` is only to recognise the answer.
    #[track_caller]
    pub fn send(&mut self, to: &str, id: &str, body: &str) {
        self.client.command(&json!({ "op": "send", "to": to, "id": id, "body": body }));
    }

    /// Shows the other that it writes.
    #[track_caller]
    pub fn compose(&mut self, to: &str) {
        self.client.command(&json!({ "op": "compose", "to": to }));
    }

    /// Shows its user what came from somebody.
    #[track_caller]
    pub fn read(&mut self, from: &str) {
        self.client.command(&json!({ "op": "read", "from": from }));
    }

    /// Asks to see somebody.
    #[track_caller]
    pub fn watch(&mut self, who: &str) {
        self.client.command(&json!({ "op": "watch", "who": who }));
    }

    /// Publishes a state; without an activity: open.
    #[track_caller]
    pub fn publish(&mut self, activity: &str, note: &str) {
        self.client.command(&json!({ "op": "state", "activity": activity, "note": note }));
    }

    /// Waits for an event of the script (see its head) that fits; `None`: none came.
    pub fn saw(&mut self, kind: &str, within: Duration, fits: impl Fn(&serde_json::Value) -> bool) -> Option<serde_json::Value> {
        self.client.saw(kind, within, fits)
    }

    /// The next message.
    #[track_caller]
    pub fn expect_message(&mut self, within: Duration) -> SipMessage {
        let event = self.client.expect("message", within, |event| is(event, "message"));
        SipMessage { from: text(&event, "from"), content_type: text(&event, "content_type"), body: text(&event, "body") }
    }

    /// The final answer to the message that was sent with this id: 200 for any success, 0 when none came.
    #[track_caller]
    pub fn expect_answer(&mut self, id: &str, within: Duration) -> u64 {
        let what = format!("answer to {id}");
        let event = self.client.expect(&what, within, |event| is(event, "sent") && event["id"] == id);
        event["code"].as_u64().expect("the script reports a number")
    }

    /// Panics when a message comes while this waits.
    #[track_caller]
    pub fn expect_no_message(&mut self, during: Duration) {
        self.client.expect_no_message(during);
    }
}
