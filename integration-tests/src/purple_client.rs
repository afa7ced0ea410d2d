//! A real client of any platform that libpurple speaks: its library without a window, in a process of its own.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::compiled::Sources;
use crate::json_lines::{JsonLinesClient, is, text};
use crate::processes::Directory;

const PROGRAM: Sources = Sources {
    name: "purple_client",
    files: &["purple_client.c", "sax1.c", "json_lines.c", "json_lines.h"],
    libraries: &["purple", "json-glib-1.0", "libxml-2.0"],
};
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const LOOKS_AGAIN: Duration = Duration::from_millis(100);

/// An account of a person, as he would enter it in a window.
#[derive(Clone, Debug)]
pub struct PurpleAccount {
    protocol: &'static str,
    username: String,
    address: String,
    password: String,
    options: Value,
    contacts: Vec<String>,
    returns: bool,
    /// A host and its certificate (PEM), which the person has looked at and accepted.
    accepted: Option<(String, String)>,
}

impl PurpleAccount {
    /// At Office Communications Server, by the plugin SIPE over TCP: `address` is his address, such as `alice@contoso.example`.
    pub fn ocs(address: &str, server: SocketAddr) -> Self {
        Self {
            protocol: "prpl-sipe",
            username: format!("{address},"),
            address: address.to_owned(),
            password: "password".to_owned(),
            // No calendar: there is no Exchange.
            options: json!({ "server": server.to_string(), "transport": "tcp", "dont-publish": true }),
            contacts: Vec::new(),
            returns: false,
            accepted: None,
        }
    }

    /// The same over TLS, where the server shows this certificate (PEM).
    pub fn over_tls(mut self, server: SocketAddr, certificate: &str) -> Self {
        self.accepted = Some((server.ip().to_string(), certificate.to_owned()));
        self.with_option("transport", json!("tls"))
    }

    /// At Sametime, by libpurple's own plugin.
    pub fn sametime(user: &str, password: &str, server: SocketAddr) -> Self {
        Self {
            protocol: "prpl-meanwhile",
            username: user.to_owned(),
            address: user.to_owned(),
            password: password.to_owned(),
            options: json!({ "server": server.ip().to_string(), "port": server.port(), "fake_client_id": false }),
            contacts: Vec::new(),
            returns: false,
            accepted: None,
        }
    }

    /// With one more option of the account.
    pub fn with_option(mut self, name: &str, value: Value) -> Self {
        self.options[name] = value;
        self
    }

    /// Signs on again by itself after an error that libpurple does not call fatal, as Pidgin and Finch do.
    pub fn that_returns(mut self) -> Self {
        self.returns = true;
        self
    }

    /// With people on the list that the client itself keeps. A server that keeps lists overrides it.
    pub fn with_contacts(mut self, contacts: &[&str]) -> Self {
        self.contacts = contacts.iter().map(|&contact| contact.to_owned()).collect();
        self
    }
}

/// A message as it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurpleMessage {
    /// The sender, as the protocol names him.
    pub from: String,
    /// Without mark-up; lines end in LF.
    pub text: String,
    /// With mark-up.
    pub html: String,
}

/// Presence of a contact as it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurplePresence {
    /// The contact.
    pub who: String,
    /// The protocol's name of the state, such as `busy`.
    pub state: String,
    /// Whether he is there at all.
    pub online: bool,
    /// What he says of himself, with mark-up; empty when nothing, and where the protocol has it in the line.
    pub note: String,
    /// What stands below his name, with mark-up.
    pub line: String,
}

impl PurplePresence {
    fn of(event: &Value) -> Self {
        Self {
            who: text(event, "who"),
            state: text(event, "state"),
            online: event["online"] == true,
            note: text(event, "note"),
            line: text(event, "line"),
        }
    }
}

/// A running client.
#[derive(Debug)]
pub struct PurpleClient {
    address: String,
    client: JsonLinesClient,
}

impl PurpleClient {
    /// Starts the client and asks it to sign on, without waiting for it.
    #[track_caller]
    pub fn start(account: &PurpleAccount) -> Self {
        let directory = Directory::new("purple-client");
        let mut command = Command::new(PROGRAM.program());
        command.arg(directory.create("purple"));
        if let Some((host, certificate)) = &account.accepted {
            directory.create("purple/certificates/x509/tls_peers");
            directory.write(&format!("purple/certificates/x509/tls_peers/{host}"), certificate);
        }
        // It has no desktop, and leaves nothing in anybody's home.
        command.env("HOME", directory.path()).env("XDG_CACHE_HOME", directory.path());
        command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent").env_remove("DISPLAY");
        let mut client = JsonLinesClient::run(directory, command, &account.address);
        client.expect("start", STARTS_WITHIN, |event| is(event, "ready"));
        client.command(&json!({
            "op": "sign_on", "protocol": account.protocol, "username": account.username, "password": account.password,
            "options": account.options, "contacts": account.contacts, "returns": account.returns,
        }));
        Self { address: account.address.clone(), client }
    }

    /// Starts the client and waits until it is signed on.
    #[track_caller]
    pub fn sign_on(account: &PurpleAccount) -> Self {
        let mut client = Self::start(account);
        client.expect_signed_on(STARTS_WITHIN);
        client
    }

    /// His address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until he is signed on.
    #[track_caller]
    pub fn expect_signed_on(&mut self, within: Duration) {
        self.client.expect("sign-on", within, |event| is(event, "signed_on"));
    }

    /// Why the connection was lost or never made: the reason's name and the text that is shown.
    #[track_caller]
    pub fn expect_connection_error(&mut self, within: Duration) -> (String, String) {
        let event = self.client.expect("connection error", within, |event| is(event, "connection_error"));
        (text(&event, "reason"), text(&event, "text"))
    }

    /// Sends what is typed; line ends are LF.
    #[track_caller]
    pub fn send(&mut self, to: &str, text: &str) {
        self.client.send_text(to, text);
    }

    /// Sends text with mark-up.
    #[track_caller]
    pub fn send_html(&mut self, to: &str, html: &str) {
        self.client.send_html(to, html);
    }

    /// Shows the other that he writes, or no longer does.
    #[track_caller]
    pub fn typing(&mut self, to: &str, active: bool) {
        self.client.typing(to, active);
    }

    /// Shows the other that words are there which are not sent, and that no key is pressed. The plugin SIPE says so, and nothing when it is
    /// told that he no longer writes at all, since libpurple tells it that after every message too.
    #[track_caller]
    pub fn pause_typing(&mut self, to: &str) {
        self.client.command(&json!({ "op": "typing", "to": to, "active": false, "paused": true }));
    }

    /// Closes the conversation with somebody.
    #[track_caller]
    pub fn leave(&mut self, who: &str) {
        self.client.command(&json!({ "op": "leave", "who": who }));
    }

    /// Chooses a state of the protocol, with a note of his own.
    #[track_caller]
    pub fn set_status(&mut self, state: &str, note: Option<&str>) {
        self.client.command(&json!({ "op": "status", "state": state, "note": note }));
    }

    /// Puts somebody on the list of contacts.
    #[track_caller]
    pub fn add_contact(&mut self, who: &str) {
        self.client.command(&json!({ "op": "add", "who": who }));
    }

    /// Takes somebody off the list of contacts.
    #[track_caller]
    pub fn remove_contact(&mut self, who: &str) {
        self.client.command(&json!({ "op": "remove", "who": who }));
    }

    /// All contacts with their presence now.
    #[track_caller]
    pub fn contacts(&mut self) -> Vec<PurplePresence> {
        self.client.command(&json!({ "op": "contacts" }));
        let event = self.client.expect("list of contacts", STARTS_WITHIN, |event| is(event, "contacts"));
        event["contacts"].as_array().map(|all| all.iter().map(PurplePresence::of).collect()).unwrap_or_default()
    }

    /// Signs off; the program stays.
    #[track_caller]
    pub fn sign_off(&mut self) {
        self.client.command(&json!({ "op": "sign_off" }));
        self.client.expect("sign-off", STARTS_WITHIN, |event| is(event, "signed_off"));
    }

    /// The next message.
    #[track_caller]
    pub fn expect_message(&mut self, within: Duration) -> PurpleMessage {
        let event = self.client.expect("message", within, |event| is(event, "message"));
        PurpleMessage { from: text(&event, "from"), text: text(&event, "text"), html: text(&event, "html") }
    }

    /// Panics when a message comes while this waits.
    #[track_caller]
    pub fn expect_no_message(&mut self, during: Duration) {
        self.client.expect_no_message(during);
    }

    /// The next text that the protocol writes, as an error, into the conversation with somebody.
    #[track_caller]
    pub fn expect_error_shown(&mut self, with: &str, within: Duration) -> String {
        let event =
            self.client.expect("error", within, |event| is(event, "shown") && event["kind"] == "error" && event["with"] == with);
        text(&event, "text")
    }

    /// Panics when an error is shown in a conversation while this waits.
    #[track_caller]
    pub fn expect_no_error_shown(&mut self, during: Duration) {
        self.client.expect_none("error", during, |event| is(event, "shown") && event["kind"] == "error");
    }

    /// Waits until it is shown that somebody writes (`typing`), or no longer does (`stopped`).
    #[track_caller]
    pub fn expect_typing(&mut self, from: &str, state: &str, within: Duration) {
        self.client.expect(state, within, |event| is(event, "typing") && event["from"] == from && event["state"] == state);
    }

    /// Waits until this state of a contact is shown.
    #[track_caller]
    pub fn expect_presence(&mut self, who: &str, state: &str, within: Duration) -> PurplePresence {
        let what = format!("{who} as {state}");
        let event =
            self.client.expect(&what, within, |event| is(event, "presence") && event["who"] == who && event["state"] == state);
        PurplePresence::of(&event)
    }

    /// Waits until this note of a contact is shown. No event says so when the state is as before: the list is looked at again and again.
    #[track_caller]
    pub fn expect_note(&mut self, who: &str, note: &str, within: Duration) -> PurplePresence {
        let deadline = Instant::now() + within;
        loop {
            let contacts = self.contacts();
            let shown = contacts.iter().find(|contact| contact.who == who);
            if let Some(found) = shown.filter(|contact| contact.note.contains(note) || contact.line.contains(note)) {
                return found.clone();
            }
            assert!(Instant::now() < deadline, "{} sees no note {note:?} of {who} within {within:?}: {contacts:?}", self.address);
            thread::sleep(LOOKS_AGAIN);
        }
    }

    /// Waits for an event of the program (see its head) that fits; `None`: none came.
    pub fn saw(&mut self, kind: &str, within: Duration, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        self.client.saw(kind, within, fits)
    }

    /// Panics when a library has logged a warning so far, or a command was refused.
    #[track_caller]
    pub fn expect_no_warning(&mut self) {
        self.client.expect_no_warning();
    }
}
