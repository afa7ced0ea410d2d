//! A person with a client for sessions: SIP over TCP to the company's proxy, MSRP through the same Kamailio as a relay (RFC 4976). Every frame
//! between this client and the hub is read and written anew by that relay. Its parsing is a few lines of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::kamailio::Kamailio;
use crate::tls_sip_peer::{Framer, SipFrame};

const WITHIN: Duration = Duration::from_secs(20);
/// Bytes of a chunk.
const CHUNK: usize = 2_048;

/// One MSRP frame.
#[derive(Clone, Debug)]
pub struct MsrpFrame {
    /// The first line.
    pub start: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// `$`, `+` or `#`.
    pub flag: u8,
}

impl MsrpFrame {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn transaction(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    fn word(&self) -> &str {
        self.start.split(' ').nth(2).unwrap_or_default()
    }
}

/// A message that has come whole.
#[derive(Clone, Debug)]
pub struct Received {
    /// Content-Type.
    pub media: String,
    /// Its bytes.
    pub body: Vec<u8>,
    /// In how many chunks it came.
    pub chunks: usize,
}

/// The client.
#[derive(Debug)]
pub struct MsrpClient {
    user: String,
    domain: String,
    sip: TcpStream,
    sip_port: u16,
    sip_frames: Framer,
    relay: TcpStream,
    relay_bytes: Vec<u8>,
    /// Ours, and the relay's in front of it.
    own_path: String,
    relay_path: String,
    /// The other's, in a session.
    peer_path: Option<String>,
    dialog: Option<Dialog>,
    numbers: u32,
    half: Vec<(String, Vec<u8>, usize)>,
}

#[derive(Clone, Debug)]
struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
}

impl MsrpClient {
    /// Registers `user` at the proxy, and is known to its relay.
    #[track_caller]
    pub fn register(proxy: &Kamailio, user: &str) -> Self {
        let sip = connect(proxy.phone_address());
        let relay = connect(proxy.phone_address());
        let sip_port = sip.local_addr().expect("an open socket has an address").port();
        let own = format!("msrp://127.0.0.1:{}/{user}own;tcp", relay.local_addr().expect("an open socket has an address").port());
        let mut client = Self {
            user: user.to_owned(),
            domain: proxy.domain().to_owned(),
            sip,
            sip_port,
            sip_frames: Framer::default(),
            relay,
            relay_bytes: Vec::new(),
            own_path: own,
            relay_path: String::new(),
            peer_path: None,
            dialog: None,
            numbers: 0,
            half: Vec::new(),
        };
        let request = client.request(
            "REGISTER",
            &format!("sip:{}", client.domain),
            &client.uri(),
            &client.uri(),
            "reg",
            1,
            "Expires: 600\r\n",
            "",
        );
        client.write_sip(&request);
        assert_eq!(client.final_answer().status(), Some(200), "the proxy registers {user}");
        let transaction = client.number();
        let auth = format!(
            "MSRP {transaction} AUTH\r\nTo-Path: msrp://{};tcp\r\nFrom-Path: {}\r\n-------{transaction}$\r\n",
            proxy.phone_address(),
            client.own_path
        );
        client.write_relay(auth.as_bytes());
        let answer = client.frame(WITHIN).expect("the relay answers AUTH");
        assert_eq!(answer.word(), "200", "{answer:?}");
        let used = answer.header("Use-Path").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        client.relay_path = used;
        client
    }

    /// Its address of record.
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    fn number(&mut self) -> String {
        self.numbers += 1;
        format!("c{:07}", self.numbers)
    }

    /// What the hub is told to reach: the relay by TLS, and then this client.
    fn path(&self, tls: SocketAddr) -> String {
        let session = self.relay_path.rsplit('/').next().unwrap_or_default();
        format!("msrps://{tls}/{session} {}", self.own_path)
    }

    fn description(&self, tls: SocketAddr, setup: &str) -> String {
        format!(
            "v=0\r\no={} 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message {} TCP/TLS/MSRP *\r\n\
             a=accept-types:text/plain text/html multipart/alternative application/im-iscomposing+xml\r\na=setup:{setup}\r\na=path:{}\r\n",
            self.user,
            tls.port(),
            self.path(tls)
        )
    }

    /// Begins a session with somebody.
    #[track_caller]
    pub fn invite(&mut self, proxy: &Kamailio, to: &str) {
        let sdp = self.description(proxy.tls_address(), "actpass");
        let number = self.number();
        let call = format!("{}{number}", self.user);
        let request = self.request("INVITE", to, &self.uri(), to, &call, 1, "Content-Type: application/sdp\r\n", &sdp);
        self.write_sip(&request);
        let answer = self.final_answer();
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        self.peer_path = Some(path_of(&answer.text()));
        let mut routes: Vec<String> = all(&answer, "Record-Route");
        routes.reverse();
        let dialog = Dialog {
            call_id: answer.header("Call-ID").unwrap_or_default().to_owned(),
            local: answer.header("From").unwrap_or_default().to_owned(),
            remote: answer.header("To").unwrap_or_default().to_owned(),
            target: uri_of(answer.header("Contact").unwrap_or_default()),
            routes,
        };
        self.dialog = Some(dialog);
        self.in_dialog("ACK", 1);
        // The side that connects says which session it is for.
        self.send_frame("bind0000001", "1-0/0", "", "", b"", b'$');
    }

    /// Waits for an INVITE and takes it.
    #[track_caller]
    pub fn accept(&mut self, proxy: &Kamailio) {
        let invite = self.sip_request("INVITE");
        self.peer_path = Some(path_of(&invite.text()));
        let sdp = self.description(proxy.tls_address(), "active");
        let mut answer = String::from("SIP/2.0 200 OK\r\n");
        for (name, value) in &invite.headers {
            match name.to_ascii_lowercase().as_str() {
                "via" | "from" | "call-id" | "cseq" | "record-route" => answer.push_str(&format!("{name}: {value}\r\n")),
                "to" => answer.push_str(&format!("To: {value};tag={}\r\n", self.user)),
                _ => {}
            }
        }
        answer.push_str(&format!(
            "Contact: <{}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            self.contact(),
            sdp.len()
        ));
        self.write_sip(&answer);
        self.sip_request("ACK");
        self.dialog = Some(Dialog {
            call_id: invite.header("Call-ID").unwrap_or_default().to_owned(),
            local: format!("{};tag={}", invite.header("To").unwrap_or_default(), self.user),
            remote: invite.header("From").unwrap_or_default().to_owned(),
            target: uri_of(invite.header("Contact").unwrap_or_default()),
            routes: all(&invite, "Record-Route"),
        });
        self.send_frame("bind0000001", "1-0/0", "", "", b"", b'$');
    }

    /// Sends one MESSAGE, outside any session, with these further header lines; the status of its answer.
    #[track_caller]
    pub fn page(&mut self, to: &str, headers: &str, text: &str) -> u16 {
        self.page_as(to, headers, "text/plain;charset=UTF-8", text)
    }

    /// The same with content of any type.
    #[track_caller]
    pub fn page_as(&mut self, to: &str, headers: &str, media: &str, text: &str) -> u16 {
        let number = self.number();
        let call = format!("page{}{number}", self.user);
        let more = format!("{headers}Content-Type: {media}\r\n");
        let request = self.request("MESSAGE", to, &self.uri(), to, &call, 1, &more, text);
        self.write_sip(&request);
        self.final_answer().status().unwrap_or_default()
    }

    /// Waits for a MESSAGE, outside any session.
    #[track_caller]
    pub fn paged(&mut self) -> SipFrame {
        self.sip_request("MESSAGE")
    }

    /// Ends the session.
    #[track_caller]
    pub fn bye(&mut self) {
        self.in_dialog("BYE", 2);
        let answer = self.final_answer();
        assert_eq!(answer.status(), Some(200), "{answer:?}");
    }

    /// Waits until the other ends the session.
    #[track_caller]
    pub fn ended(&mut self) {
        self.sip_request("BYE");
    }

    /// Sends a text in chunks; how many there were.
    #[track_caller]
    pub fn send(&mut self, id: &str, text: &str) -> usize {
        self.send_as(id, "text/plain", text)
    }

    /// The same with content of any type.
    #[track_caller]
    pub fn send_as(&mut self, id: &str, media: &str, text: &str) -> usize {
        let total = text.len();
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(CHUNK).collect();
        let mut start = 0;
        for (count, chunk) in chunks.iter().enumerate() {
            let flag = if count + 1 == chunks.len() { b'$' } else { b'+' };
            let range = format!("{}-{}/{total}", start + 1, start + chunk.len());
            start += chunk.len();
            self.send_frame(id, &range, "Success-Report: yes\r\n", media, chunk, flag);
            // The relay answers each; what waits to be read would fill its buffers.
            if count % 64 == 63 {
                self.drain();
            }
        }
        chunks.len()
    }

    /// Waits for the report on a message of its own: the status code.
    #[track_caller]
    pub fn report(&mut self, id: &str) -> u16 {
        let until = Instant::now() + WITHIN;
        loop {
            let frame = self.frame(until.saturating_duration_since(Instant::now())).expect("a report comes");
            if frame.word() == "REPORT" && frame.header("Message-ID") == Some(id) {
                let status = frame.header("Status").unwrap_or_default();
                return status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
            }
            self.keep(frame);
        }
    }

    /// Waits for a message of the other's that has this in it.
    #[track_caller]
    pub fn saw(&mut self, text: &str, within: Duration) -> Option<Received> {
        let until = Instant::now() + within;
        loop {
            let received = self.receive(until.saturating_duration_since(Instant::now()))?;
            if memmem::find(&received.body, text.as_bytes()).is_some() {
                return Some(received);
            }
        }
    }

    /// Waits for a message of the other's.
    #[track_caller]
    pub fn receive(&mut self, within: Duration) -> Option<Received> {
        let until = Instant::now() + within;
        loop {
            let frame = self.frame(until.saturating_duration_since(Instant::now()))?;
            if let Some(received) = self.keep(frame) {
                return Some(received);
            }
        }
    }

    /// Answers a chunk and puts it to the others.
    fn keep(&mut self, frame: MsrpFrame) -> Option<Received> {
        if frame.word() != "SEND" {
            return None;
        }
        let to = frame.header("From-Path").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned();
        let answer =
            format!("MSRP {0} 200 OK\r\nTo-Path: {to}\r\nFrom-Path: {1}\r\n-------{0}$\r\n", frame.transaction(), self.own_path);
        self.write_relay(answer.as_bytes());
        let id = frame.header("Message-ID").unwrap_or_default().to_owned();
        let place = self.half.iter().position(|(known, ..)| *known == id).unwrap_or_else(|| {
            self.half.push((id, Vec::new(), 0));
            self.half.len() - 1
        });
        let (_, body, chunks) = &mut self.half[place];
        body.extend_from_slice(&frame.body);
        *chunks += 1;
        if frame.flag != b'$' {
            return None;
        }
        let (id, body, chunks) = self.half.remove(place);
        if frame.header("Success-Report") == Some("yes") {
            let transaction = self.number();
            let report = format!(
                "MSRP {transaction} REPORT\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {id}\r\nByte-Range: 1-{2}/{2}\r\nStatus: 000 200 OK\r\n-------{transaction}$\r\n",
                frame.header("From-Path").unwrap_or_default(),
                self.own_path,
                body.len()
            );
            self.write_relay(report.as_bytes());
        }
        let media = frame.header("Content-Type").unwrap_or_default().to_owned();
        (!body.is_empty()).then_some(Received { media, body, chunks })
    }

    fn drain(&mut self) {
        while let Some(frame) = self.frame(Duration::from_millis(1)) {
            self.keep(frame);
        }
    }

    fn send_frame(&mut self, id: &str, range: &str, more: &str, media: &str, body: &[u8], flag: u8) {
        let transaction = self.number();
        let relay_host = self.relay.peer_addr().expect("an open socket has a peer");
        let session = self.relay_path.rsplit('/').next().unwrap_or_default();
        let to = format!("msrp://{relay_host}/{session} {}", self.peer_path.as_deref().expect("a session stands"));
        let mut frame = format!(
            "MSRP {transaction} SEND\r\nTo-Path: {to}\r\nFrom-Path: {}\r\nMessage-ID: {id}\r\n{more}Byte-Range: {range}\r\n",
            self.own_path
        )
        .into_bytes();
        if !media.is_empty() {
            frame.extend_from_slice(format!("Content-Type: {media}\r\n\r\n").as_bytes());
            frame.extend_from_slice(body);
            frame.extend_from_slice(b"\r\n");
        }
        frame.extend_from_slice(format!("-------{transaction}").as_bytes());
        frame.push(flag);
        frame.extend_from_slice(b"\r\n");
        self.write_relay(&frame);
    }

    fn write_relay(&mut self, bytes: &[u8]) {
        self.relay.write_all(bytes).expect("the relay takes frames");
    }

    /// The next frame from the relay.
    fn frame(&mut self, within: Duration) -> Option<MsrpFrame> {
        let until = Instant::now() + within;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some((frame, length)) = take_frame(&self.relay_bytes) {
                self.relay_bytes.drain(..length);
                return Some(frame);
            }
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.relay.set_read_timeout(Some(left)).expect("an open socket takes options");
            match self.relay.read(&mut chunk) {
                Ok(0) => panic!("the relay closed"),
                Ok(count) => self.relay_bytes.extend_from_slice(&chunk[..count]),
                Err(_) => return None,
            }
        }
    }

    fn contact(&self) -> String {
        format!("sip:{}@127.0.0.1:{};transport=tcp", self.user, self.sip_port)
    }

    #[allow(clippy::too_many_arguments)]
    fn request(
        &self,
        method: &str,
        uri: &str,
        from: &str,
        to: &str,
        call: &str,
        sequence: u32,
        more: &str,
        body: &str,
    ) -> String {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{};branch=z9hG4bK{call}{sequence}\r\nMax-Forwards: 70\r\n\
             From: <{from}>;tag={}\r\nTo: <{to}>\r\nCall-ID: {call}@127.0.0.1\r\nCSeq: {sequence} {method}\r\nContact: <{}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.sip_port,
            self.user,
            self.contact(),
            body.len()
        )
    }

    fn in_dialog(&mut self, method: &str, sequence: u32) {
        let dialog = self.dialog.clone().expect("a dialog");
        let routes: String = dialog.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let number = self.number();
        let request = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{};branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {sequence} {method}\r\nContent-Length: 0\r\n\r\n",
            dialog.target, self.sip_port, dialog.local, dialog.remote, dialog.call_id
        );
        self.write_sip(&request);
    }

    fn write_sip(&mut self, text: &str) {
        self.sip.write_all(text.as_bytes()).expect("the proxy takes requests");
    }

    #[track_caller]
    fn final_answer(&mut self) -> SipFrame {
        loop {
            let frame = self.sip_frame();
            if frame.status().is_some_and(|status| status >= 200) {
                return frame;
            }
        }
    }

    /// Waits for a request with this method; other requests but ACK are answered 200.
    #[track_caller]
    fn sip_request(&mut self, method: &str) -> SipFrame {
        loop {
            let frame = self.sip_frame();
            match frame.method() {
                Some(known) if known == method && matches!(method, "INVITE" | "ACK") => return frame,
                Some("ACK") | None => {}
                Some(known) => {
                    let is_wanted = known == method;
                    let mut answer = String::from("SIP/2.0 200 OK\r\n");
                    for (name, value) in &frame.headers {
                        if ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
                            answer.push_str(&format!("{name}: {value}\r\n"));
                        }
                    }
                    answer.push_str("Content-Length: 0\r\n\r\n");
                    self.write_sip(&answer);
                    if is_wanted {
                        return frame;
                    }
                }
            }
        }
    }

    #[track_caller]
    fn sip_frame(&mut self) -> SipFrame {
        let mut chunk = vec![0; 64 * 1024];
        self.sip.set_read_timeout(Some(WITHIN)).expect("an open socket takes options");
        loop {
            if let Some(frame) = self.sip_frames.take() {
                return frame;
            }
            let count = self.sip.read(&mut chunk).expect("the proxy says something in time");
            assert!(count > 0, "the proxy closed");
            self.sip_frames.feed(&chunk[..count]);
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the proxy listens");
    socket.set_nodelay(true).expect("an open socket takes options");
    socket
}

fn path_of(sdp: &str) -> String {
    let path = sdp.lines().find_map(|line| line.strip_prefix("a=path:"));
    path.unwrap_or_else(|| panic!("no path in {sdp}")).trim().to_owned()
}

fn uri_of(value: &str) -> String {
    value.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap_or(value).to_owned()
}

fn all(frame: &SipFrame, name: &str) -> Vec<String> {
    let values = frame.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    values.flat_map(|(_, value)| value.split(',').map(|one| one.trim().to_owned())).collect()
}

/// The frame at the beginning of some bytes, and its length.
fn take_frame(bytes: &[u8]) -> Option<(MsrpFrame, usize)> {
    let line_end = memmem::find(bytes, b"\r\n")?;
    let start = String::from_utf8_lossy(&bytes[..line_end]).into_owned();
    let transaction = start.split(' ').nth(1).unwrap_or_else(|| panic!("no MSRP: {start}"));
    let end = format!("-------{transaction}");
    let at = memmem::find(bytes, end.as_bytes())?;
    let flag = *bytes.get(at + end.len())?;
    let length = at + end.len() + 3;
    if bytes.len() < length {
        return None;
    }
    let content = &bytes[line_end + 2..at];
    let (head, body) = match memmem::find(content, b"\r\n\r\n") {
        Some(split) => (&content[..split], content[split + 4..].strip_suffix(b"\r\n").unwrap_or(&content[split + 4..])),
        None => (content, &[][..]),
    };
    let headers = String::from_utf8_lossy(head)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    Some((MsrpFrame { start: start.clone(), headers, body: body.to_vec(), flag }, length))
}
