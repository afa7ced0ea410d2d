//! One of the member's people at a client of 2007, behind pool and edge, as plain strings.

use super::Wire;

/// The routes that pool and edge add, signed.
pub(crate) const ROUTES: [&str; 2] = [
    "<sip:sip.contoso.example:5061;transport=tls;lr;ms-key-info=UU5m1iOj;ms-route-sig=x9G1YGf8>",
    "<sip:pool.contoso.example:5061;transport=tls;ms-fe=fe1.contoso.example;lr;ms-key-info=TLKcboa7;ms-route-sig=cGFJCbcV>",
];

/// The dummy description of a session.
pub(crate) const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 25060 sip null\r\na=accept-types:text/plain text/html image/gif application/im-iscomposing+xml\r\n";

/// One dialog of hers with somebody.
pub(crate) struct Alice {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) call: String,
    pub(crate) tag: &'static str,
    pub(crate) their_tag: Option<String>,
    pub(crate) sequence: u32,
    pub(crate) branch: u32,
}

impl Alice {
    pub(crate) fn calls(to: &'static str, call: &str) -> Self {
        let from = "sip:alice@contoso.example";
        Self { from, to, call: call.to_owned(), tag: "alicetag", their_tag: None, sequence: 0, branch: 0 }
    }

    /// The dialog that she accepts by answering this INVITE.
    pub(crate) fn answers(invite: &Wire) -> Self {
        let tag = |value: &str| value.split(";tag=").nth(1).map(|rest| rest.split(';').next().unwrap().to_owned());
        let mut this = Self::calls("sip:bob@fabrikam.example", invite.header("Call-ID"));
        this.their_tag = tag(invite.header("From"));
        this
    }

    /// 200 to an INVITE of the hub's.
    pub(crate) fn accepts(&self, invite: &Wire) -> String {
        // In the answer the pool is on top.
        let routes: String = ROUTES.iter().rev().map(|route| format!("Record-Route: {route}\r\n")).collect();
        format!(
            "SIP/2.0 200 OK\r\n{routes}Via: {}\r\nFrom: {}\r\nTo: {};tag={};epid=0123456789\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <{};opaque=user:epid:2XcI;gruu>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            invite.header("Via"),
            invite.header("From"),
            invite.header("To"),
            self.tag,
            invite.header("Call-ID"),
            invite.header("CSeq"),
            self.from,
            SDP.len(),
        )
    }

    /// A request of hers.
    pub(crate) fn says(&mut self, method: &str, more: &str, media: &str, body: &str) -> String {
        if method != "ACK" {
            self.sequence += 1;
        }
        self.branch += 1;
        let begins = self.their_tag.is_none();
        let routes: String = ROUTES.iter().filter(|_| begins).map(|route| format!("Record-Route: {route}\r\n")).collect();
        let uri = if begins { self.to } else { "sip:sip.fabrikam.example:5061;transport=tls" };
        let to = self.their_tag.as_ref().map_or_else(|| format!("<{}>", self.to), |tag| format!("<{}>;tag={tag}", self.to));
        let media = if media.is_empty() { String::new() } else { format!("Content-Type: {media}\r\n") };
        format!(
            "{method} {uri} SIP/2.0\r\n{routes}Via: SIP/2.0/TLS sip.contoso.example:5061;branch=z9hG4bK{}{};branched=FALSE\r\nVia: SIP/2.0/tcp 10.0.0.5:50274;ms-received-port=50274;ms-received-cid=100\r\nFrom: <{}>;tag={};epid=d8d053f0ae7f\r\nTo: {to}\r\nMax-Forwards: 69\r\nCSeq: {} {method}\r\nCall-ID: {}\r\nContact: <{};opaque=user:epid:2XcI;gruu>\r\nms-asserted-verification-level: ms-source-verified-user=verified\r\nP-Asserted-Identity: \"Alice\"<{}>\r\n{more}{media}Content-Length: {}\r\n\r\n{body}",
            self.call,
            self.branch,
            self.from,
            self.tag,
            self.sequence,
            self.call,
            self.from,
            self.from,
            body.len(),
        )
    }

    pub(crate) fn invites(&mut self, more: &str) -> String {
        self.says("INVITE", more, "application/sdp", SDP)
    }

    pub(crate) fn writes(&mut self, words: &str) -> String {
        self.says("MESSAGE", "", "text/plain; charset=UTF-8", words)
    }

    /// Takes note of the hub's answer.
    pub(crate) fn hears(&mut self, answer: &Wire) {
        let tag = answer.header("To").split(";tag=").nth(1).map(|rest| rest.split(';').next().unwrap().to_owned());
        self.their_tag = self.their_tag.take().or(tag);
    }
}
