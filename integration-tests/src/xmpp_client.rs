//! A real XMPP client: slixmpp, in a process of its own.

use std::time::Duration;

use serde_json::json;

use crate::json_lines::{JsonLinesClient, is, text};
use crate::xmpp_server::{PASSWORD, XmppServer};

const ONLINE_WITHIN: Duration = Duration::from_secs(20);

/// A message as the client showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppMessage {
    /// The full address of the sender.
    pub from: String,
    /// `chat`, `normal`, …
    pub kind: String,
    /// The stanza's id.
    pub id: String,
    /// The text.
    pub body: String,
}

/// An error stanza as the client showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppError {
    /// Who the error comes from.
    pub from: String,
    /// The id of the stanza that failed.
    pub id: String,
    /// `cancel`, `wait`, …
    pub kind: String,
    /// `service-unavailable`, …
    pub condition: String,
    /// The human-readable text, if any.
    pub text: String,
}

/// A logged-in client.
#[derive(Debug)]
pub struct XmppClient {
    address: String,
    client: JsonLinesClient,
}

impl XmppClient {
    /// Logs `user` in at `server` and waits until it is online.
    #[track_caller]
    pub fn login(server: &XmppServer, user: &str) -> Self {
        let address = server.address_of(user);
        let arguments = [
            "--address".to_owned(),
            address.clone(),
            "--password".to_owned(),
            PASSWORD.to_owned(),
            "--port".to_owned(),
            server.client_address().port().to_string(),
        ];
        let mut client = JsonLinesClient::start("xmpp_client.py", &address, &arguments);
        client.expect("online", ONLINE_WITHIN, |event| is(event, "online"));
        Self { address, client }
    }

    /// Its bare address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a chat message.
    #[track_caller]
    pub fn send(&mut self, to: &str, id: &str, body: &str) {
        self.client.command(&json!({ "op": "send", "to": to, "id": id, "body": body }));
    }

    /// Sends any stanza as it is written.
    #[track_caller]
    pub fn send_raw(&mut self, stanza: &str) {
        self.client.command(&json!({ "op": "raw", "xml": stanza }));
    }

    /// Waits for an event of the script (see its head) that fits; `None`: none came.
    pub fn saw(&mut self, kind: &str, within: Duration, fits: impl Fn(&serde_json::Value) -> bool) -> Option<serde_json::Value> {
        self.client.seen(within, |event| is(event, kind) && fits(event))
    }

    /// The next message.
    #[track_caller]
    pub fn expect_message(&mut self, within: Duration) -> XmppMessage {
        let event = self.client.expect("message", within, |event| is(event, "message"));
        XmppMessage { from: text(&event, "from"), kind: text(&event, "type"), id: text(&event, "id"), body: text(&event, "body") }
    }

    /// The next error stanza.
    #[track_caller]
    pub fn expect_error(&mut self, within: Duration) -> XmppError {
        let event = self.client.expect("error", within, |event| is(event, "error"));
        XmppError {
            from: text(&event, "from"),
            id: text(&event, "id"),
            kind: text(&event, "type"),
            condition: text(&event, "condition"),
            text: text(&event, "text"),
        }
    }

    /// Panics when a message comes while this waits.
    #[track_caller]
    pub fn expect_no_message(&mut self, during: Duration) {
        self.client.expect_none("message", during, |event| is(event, "message"));
    }
}
