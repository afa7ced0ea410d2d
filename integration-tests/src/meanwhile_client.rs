//! A real Sametime client: the library libmeanwhile, in a process of its own.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::compiled::Sources;
use crate::json_lines::{JsonLinesClient, is, text};
use crate::processes::Directory;

const PROGRAM: Sources = Sources {
    name: "meanwhile_client",
    files: &["meanwhile_client.c", "meanwhile_services.c", "meanwhile_services.h", "json_lines.c", "json_lines.h"],
    libraries: &["meanwhile", "json-glib-1.0", "gio-2.0"],
};
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A message as the library gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeanwhileMessage {
    /// The sender's user id.
    pub from: String,
    /// The sender's shown name.
    pub name: String,
    /// `text`, `html`, `subject` or `mime`.
    pub kind: String,
    /// The content.
    pub text: String,
}

/// Presence of somebody as the library gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeanwhilePresence {
    /// The user id, as it was watched.
    pub who: String,
    /// Whether he is there at all.
    pub online: bool,
    /// The number of the state: 0x20 active, 0x40 idle, 0x60 away, 0x80 do not disturb.
    pub status: u64,
    /// What he says of himself.
    pub note: String,
    /// His shown name.
    pub name: String,
}

/// A running client.
#[derive(Debug)]
pub struct MeanwhileClient {
    user: String,
    client: JsonLinesClient,
}

impl MeanwhileClient {
    /// Starts the client and asks it to sign in, without waiting for it.
    #[track_caller]
    pub fn start(server: SocketAddr, user: &str, password: &str) -> Self {
        Self::start_with(server, user, password, &json!({}))
    }

    /// The same with more for its `sign_in`, such as `"minor"`: see the head of the program.
    #[track_caller]
    pub fn start_with(server: SocketAddr, user: &str, password: &str, more: &Value) -> Self {
        let directory = Directory::new("meanwhile-client");
        let mut client = JsonLinesClient::run(directory, Command::new(PROGRAM.program()), user);
        client.expect("start", STARTS_WITHIN, |event| is(event, "ready"));
        let mut command = json!({
            "op": "sign_in", "host": server.ip().to_string(), "port": server.port(), "user": user, "password": password,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            command[name] = value.clone();
        }
        client.command(&command);
        Self { user: user.to_owned(), client }
    }

    /// Starts the client and waits until it is signed in.
    #[track_caller]
    pub fn sign_in(server: SocketAddr, user: &str, password: &str) -> Self {
        let mut client = Self::start(server, user, password);
        client.expect_signed_in(STARTS_WITHIN);
        client
    }

    /// The name it signs in with.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Waits until it is signed in; its user id and shown name.
    #[track_caller]
    pub fn expect_signed_in(&mut self, within: Duration) -> (String, String) {
        let event = self.client.expect("sign-in", within, |event| is(event, "signed_in"));
        (text(&event, "user"), text(&event, "name"))
    }

    /// Waits until the session is over: the protocol's reason and its text; -1 when there was no connection.
    #[track_caller]
    pub fn expect_stopped(&mut self, within: Duration) -> (i64, String) {
        let event = self.client.expect("end", within, |event| is(event, "stopped"));
        (event["code"].as_i64().expect("the program reports a number"), text(&event, "reason"))
    }

    /// Gives any command of the program: see its head.
    #[track_caller]
    pub fn command(&mut self, command: &Value) {
        self.client.command(command);
    }

    /// Sends plain text; the conversation is opened first, if it is not.
    #[track_caller]
    pub fn send(&mut self, to: &str, body: &str) {
        self.client.send_text(to, body);
    }

    /// Whether conversations from now on begin with HTML.
    #[track_caller]
    pub fn set_rich(&mut self, on: bool) {
        self.client.command(&json!({ "op": "rich", "on": on }));
    }

    /// Sends HTML, in a conversation that began with it.
    #[track_caller]
    pub fn send_html(&mut self, to: &str, html: &str) {
        self.client.send_html(to, html);
    }

    /// Shows the other that he writes, or no longer does, in a conversation that is open.
    #[track_caller]
    pub fn typing(&mut self, to: &str, active: bool) {
        self.client.typing(to, active);
    }

    /// Ends the conversation with somebody.
    #[track_caller]
    pub fn close(&mut self, with: &str) {
        self.client.command(&json!({ "op": "close", "to": with }));
    }

    /// Watches people.
    #[track_caller]
    pub fn watch(&mut self, who: &[&str]) {
        self.client.command(&json!({ "op": "watch", "who": who }));
    }

    /// Sets a state of the protocol, with a note of his own.
    #[track_caller]
    pub fn set_status(&mut self, state: u16, note: &str) {
        self.client.command(&json!({ "op": "status", "state": state, "note": note }));
    }

    /// Asks who is meant by a name; the user ids found.
    #[track_caller]
    pub fn resolve(&mut self, name: &str, within: Duration) -> Vec<String> {
        self.client.command(&json!({ "op": "resolve", "names": [name] }));
        let event = self.client.expect("resolved name", within, |event| is(event, "resolved"));
        let matches = event["results"][0]["matches"].as_array().cloned().unwrap_or_default();
        matches.iter().map(|one| text(one, "id")).collect()
    }

    /// Stores a text and loads it again.
    #[track_caller]
    pub fn store_and_load(&mut self, key: u32, value: &str, within: Duration) -> String {
        self.client.command(&json!({ "op": "store", "key": key, "value": value }));
        self.client.expect("saved value", within, |event| is(event, "saved") && event["key"] == key && event["code"] == 0);
        self.client.command(&json!({ "op": "load", "key": key }));
        let event = self.client.expect("loaded value", within, |event| is(event, "loaded") && event["key"] == key);
        text(&event, "value")
    }

    /// Signs out.
    #[track_caller]
    pub fn sign_out(&mut self) {
        self.client.command(&json!({ "op": "sign_out" }));
    }

    /// The next message.
    #[track_caller]
    pub fn expect_message(&mut self, within: Duration) -> MeanwhileMessage {
        let event = self.client.expect("message", within, |event| is(event, "message"));
        MeanwhileMessage {
            from: text(&event, "from"),
            name: text(&event, "name"),
            kind: text(&event, "kind"),
            text: text(&event, "text"),
        }
    }

    /// Panics when a message comes while this waits.
    #[track_caller]
    pub fn expect_no_message(&mut self, during: Duration) {
        self.client.expect_no_message(during);
    }

    /// Waits until a message to somebody has failed: its text, and the protocol's reason.
    #[track_caller]
    pub fn expect_failed(&mut self, to: &str, within: Duration) -> (String, u64) {
        let event = self.client.expect("failed message", within, |event| is(event, "failed") && event["to"] == to);
        (text(&event, "text"), event["code"].as_u64().expect("the program reports a number"))
    }

    /// Waits until it is shown that somebody writes, or no longer does.
    #[track_caller]
    pub fn expect_typing(&mut self, from: &str, active: bool, within: Duration) {
        self.client.expect("typing", within, |event| is(event, "typing") && event["from"] == from && event["active"] == active);
    }

    /// Waits until presence of somebody that fits is shown.
    #[track_caller]
    pub fn expect_presence(
        &mut self,
        who: &str,
        what: &str,
        within: Duration,
        fits: impl Fn(&MeanwhilePresence) -> bool,
    ) -> MeanwhilePresence {
        let presence = |event: &Value| MeanwhilePresence {
            who: text(event, "who"),
            online: event["online"] == true,
            status: event["status"].as_u64().unwrap_or_default(),
            note: text(event, "note"),
            name: text(event, "name"),
        };
        let what = format!("{who} {what}");
        let event =
            self.client.expect(&what, within, |event| is(event, "presence") && event["who"] == who && fits(&presence(event)));
        presence(&event)
    }

    /// Waits for an event of the program (see its head) that fits; `None`: none came.
    pub fn saw(&mut self, kind: &str, within: Duration, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        self.client.saw(kind, within, fits)
    }

    /// Panics when the library has logged a warning so far, or a command was refused.
    #[track_caller]
    pub fn expect_no_warning(&mut self) {
        self.client.expect_no_warning();
    }
}
