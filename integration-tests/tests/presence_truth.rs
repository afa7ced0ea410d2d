//! Presence is true or unknown: a thousand watches of ten people on a real XMPP server, of people at a SIP server that falls
//! silent, comes back, and outlives the hub. How long each change took is printed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::prosody;
use interchange_integration_tests::tls_sip_peer::{Answer, SipFrame, SipRequest, TlsSipClient, TlsSipServer};
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServerSettings};
use interchange_integration_tests::xmpp_stream::ClientStream;

const WATCHES: usize = 1_000;
/// Prosody writes the whole contact list for each contact: ten short ones take a tenth of the time of a long one.
const WATCHERS: usize = 10;
const ACME: &str = "acme.example";
const GLOBEX: &str = "globex.example";
/// From a link that is lost to the last watcher who knows.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// From a link that is back to the last watcher who knows.
const RESYNC_WITHIN: Duration = Duration::from_secs(60);

/// What the watchers' clients show of each contact, whom one of them watches: the note of those who are available, nothing of the others.
type Shown = Arc<Mutex<HashMap<String, Option<String>>>>;

/// The next whole presence stanza of a stream, taken out of it with all before it.
fn take_presence(stream: &mut String) -> Option<String> {
    let start = stream.find("<presence")?;
    let opening = start + stream[start..].find('>')?;
    let end = match &stream[opening - 1..opening] {
        "/" => opening + 1,
        _ => opening + stream[opening..].find("</presence>")? + "</presence>".len(),
    };
    let stanza = stream[start..end].to_owned();
    stream.drain(..end);
    Some(stanza)
}

fn attribute<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let head = &stanza[..stanza.find('>')?];
    let (_, rest) = head.split_once(&format!(" {name}="))?;
    rest.get(1..)?.split(['\'', '"']).next()
}

/// Keeps what a watcher is shown.
fn watch(client: &ClientStream, shown: &Shown) {
    let (mut socket, kept) = (client.socket.try_clone().expect("a socket clones"), shown.clone());
    thread::spawn(move || {
        let (mut chunk, mut bytes, mut stream) = (vec![0; 64 * 1024], Vec::new(), String::new());
        while let Ok(count @ 1..) = socket.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
            // A character may be cut in two.
            let whole = std::str::from_utf8(&bytes).map_or_else(|fault| fault.valid_up_to(), str::len);
            stream.push_str(std::str::from_utf8(&bytes[..whole]).expect("the valid part"));
            bytes.drain(..whole);
            while let Some(stanza) = take_presence(&mut stream) {
                let Some((user, _)) = attribute(&stanza, "from").and_then(|from| from.split_once("@globex.example")) else {
                    continue;
                };
                let state = match attribute(&stanza, "type") {
                    None => {
                        stanza.split_once("<status>").and_then(|(_, rest)| rest.split_once('<')).map(|(note, _)| note.to_owned())
                    }
                    Some("unavailable") => None,
                    Some(_) => continue,
                };
                kept.lock().expect("no thread panics with the lock").insert(user.to_owned(), state);
            }
        }
    });
}

fn count(shown: &Shown, state: Option<&str>) -> usize {
    let shown = shown.lock().expect("no thread panics with the lock");
    shown.values().filter(|known| known.as_deref() == state).count()
}

/// The SIP server of Globex, whose people are all open.
struct Globex {
    identity: Identity,
    authority: String,
    hub: std::net::SocketAddr,
    /// It reads and answers nothing.
    silent: Arc<AtomicBool>,
    subscribes: Receiver<SipFrame>,
    cseq: u32,
    server: TlsSipServer,
}

impl Globex {
    fn start(authority: &Authority, port: ReservedPort, hub: std::net::SocketAddr) -> Self {
        let identity = authority.issue(&Leaf::sip(GLOBEX));
        let silent = Arc::new(AtomicBool::new(false));
        let (sender, subscribes) = mpsc::channel();
        let (mute, contact) = (silent.clone(), port.address());
        let answer = move |request: &SipRequest| {
            while mute.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(20));
            }
            let frame = &request.frame;
            if frame.method() != Some("SUBSCRIBE") {
                return Answer::from(200);
            }
            // The test may have seen enough and be gone.
            let _ = sender.send(frame.clone());
            let expires = frame.header("Expires").unwrap_or("3600");
            Answer { status: 200, headers: format!("Expires: {expires}\r\nContact: <sip:{contact};transport=tls>\r\n") }
        };
        let server = TlsSipServer::start(port, &identity, authority.certificate(), answer);
        Self { identity, authority: authority.certificate().to_owned(), hub, silent, subscribes, cseq: 0, server }
    }

    fn connect(&self) -> TlsSipClient {
        TlsSipClient::connect(self.hub, HUB_DOMAIN, Some(&self.identity), &self.authority).established()
    }

    /// Tells what there is to tell for a subscription; the status of the answer.
    fn notify(&mut self, client: &mut TlsSipClient, subscribe: &SipFrame, note: &str) -> u16 {
        self.cseq += 1;
        let cseq = self.cseq;
        let header = |name: &str| subscribe.header(name).unwrap_or_else(|| panic!("no {name} in {subscribe:?}")).to_owned();
        let to = header("To");
        let person = to.split(['<', '>', ';']).find(|part| part.starts_with("sip:")).expect("a URI").to_owned();
        let contact = header("Contact");
        let state = if header("Expires") == "0" { "terminated;reason=timeout" } else { "active;expires=3600" };
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{person}'><tuple id='a'><status><basic>open</basic></status></tuple><note>{note}</note></presence>"
        );
        client.ask(&format!(
            "NOTIFY {} SIP/2.0\r\nVia: SIP/2.0/TLS {};branch=z9hG4bKn{cseq}\r\nMax-Forwards: 70\r\nFrom: {};tag=scripted\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} NOTIFY\r\nContact: <sip:{};transport=tls>\r\nEvent: presence\r\nSubscription-State: {state}\r\n\
             Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            contact.trim_matches(['<', '>']),
            self.server.address(),
            to.split(";tag=").next().unwrap_or_default(),
            header("From"),
            header("Call-ID"),
            self.server.address(),
            body.len(),
        ))
    }

    /// Answers subscriptions with this note until it is shown of everyone; how long it took, and of how many the hub asked.
    fn serve_until_shown(&mut self, shown: &Shown, note: &str, within: Duration) -> (Duration, usize) {
        let begun = Instant::now();
        let mut client = self.connect();
        let mut asked = std::collections::HashSet::new();
        while count(shown, Some(note)) < WATCHES {
            assert!(
                begun.elapsed() < within,
                "{note}: {} of {WATCHES} after {within:?}, {} asked about",
                count(shown, Some(note)),
                asked.len()
            );
            let Ok(subscribe) = self.subscribes.recv_timeout(Duration::from_millis(50)) else { continue };
            self.notify(&mut client, &subscribe, note);
            asked.insert(subscribe.header("To").and_then(|to| to.split(';').next()).unwrap_or_default().to_owned());
        }
        (begun.elapsed(), asked.len())
    }
}

#[test]
fn a_thousand_watches_are_true_or_unknown() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (acme, globex) = (XmppPorts::reserve(), ReservedPort::any());
    let mut records = vec![ServiceRecord::xmpp_server(ACME, acme.server.number())];
    records.extend([GLOBEX, HUB_DOMAIN].map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
    let names = NameServer::start(&records);
    files.configure(
        &authority,
        &[LinkSettings::xmpp("acme", ACME, acme.server.number()), LinkSettings::sip("globex", GLOBEX, globex.number())],
    );
    let mut globex = Globex::start(&authority, globex, files.sip.address());
    let hub = files.start();
    let watchers: Vec<_> = (0..WATCHERS).map(|number| format!("alice{number}")).collect();
    let people: Vec<_> = watchers.iter().map(String::as_str).collect();
    let acme = XmppServerSettings { verbose: false, ..XmppServerSettings::new(ACME, &people, acme, &authority, &names) };
    let acme = prosody::start(acme);
    let shown = Shown::default();
    let mut clients: Vec<_> = people.iter().map(|user| ClientStream::login(&acme, user)).collect();
    for (watcher, client) in clients.iter_mut().enumerate() {
        watch(client, &shown);
        let mut stanzas = String::new();
        for number in (watcher..WATCHES).step_by(WATCHERS) {
            write!(stanzas, "<presence type='subscribe' to='u{number}@{GLOBEX}'/>").expect("a string takes all");
        }
        client.socket.write_all(stanzas.as_bytes()).expect("the server takes what a client writes");
    }
    let (took, _) = globex.serve_until_shown(&shown, "first", Duration::from_secs(120));
    println!("{WATCHES} watches asked for, granted and shown: {:.1} s", took.as_secs_f64());

    // The connection stays open, and nothing more is said on it: the slowest way to lose a link.
    globex.silent.store(true, Ordering::Release);
    let begun = Instant::now();
    while count(&shown, None) < WATCHES {
        assert!(begun.elapsed() < TOLD_WITHIN, "{} of {WATCHES} watchers know after {TOLD_WITHIN:?}", count(&shown, None));
        thread::sleep(Duration::from_millis(20));
    }
    println!("silent link: all {WATCHES} shown as unavailable after {:.1} s", begun.elapsed().as_secs_f64());

    globex.silent.store(false, Ordering::Release);
    let (took, asked) = globex.serve_until_shown(&shown, "second", RESYNC_WITHIN);
    println!("link back: {asked} asked about, all shown again after {:.1} s", took.as_secs_f64());
    assert_eq!(asked, WATCHES);

    // SIGKILL. What is not in the store is gone.
    drop(hub);
    while globex.subscribes.try_recv().is_ok() {}
    let _hub = files.start();
    let (took, asked) = globex.serve_until_shown(&shown, "third", RESYNC_WITHIN);
    println!("hub killed and started: {asked} asked about, all shown again after {:.1} s", took.as_secs_f64());
    assert_eq!(asked, WATCHES);
}
