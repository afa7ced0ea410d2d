//! SIP messages as the servers of Office Communications Server handle them: header lines kept as they were written, in order. Parsed by
//! a few lines of its own, so that it shares no mistake with the codec under test.

use memchr::memmem;

/// Nobody sends a larger one.
const MAXIMUM_BYTES: usize = 1 << 20;

/// One message off the wire, request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Header fields in order, with names as written.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The long name of a compact one. RFC 3261 §7.3.3
fn long(name: &str) -> &str {
    match name {
        "v" | "V" => "Via",
        "f" | "F" => "From",
        "t" | "T" => "To",
        "i" | "I" => "Call-ID",
        "m" | "M" => "Contact",
        "l" | "L" => "Content-Length",
        "c" | "C" => "Content-Type",
        "k" | "K" => "Supported",
        "o" | "O" => "Event",
        _ => name,
    }
}

impl Message {
    pub(super) fn request(method: &str, uri: &str) -> Self {
        Self { start: format!("{method} {uri} SIP/2.0"), headers: Vec::new(), body: Vec::new() }
    }

    /// A response to this request with what RFC 3261 §8.2.6.2 has copied; `tag` is for a To without one.
    pub(super) fn response(&self, status: u16, reason: &str, tag: &str) -> Self {
        let mut response = Self { start: format!("SIP/2.0 {status} {reason}"), headers: Vec::new(), body: Vec::new() };
        for (field, value) in &self.headers {
            let name = long(field);
            let copied = ["Via", "From", "To", "Call-ID", "CSeq"].iter().find(|copied| name.eq_ignore_ascii_case(copied));
            if let Some(&copied) = copied {
                let untagged = copied == "To" && parameter(value, "tag").is_none() && status > 100;
                response.push(copied, if untagged { format!("{value};tag={tag}") } else { value.clone() });
            }
        }
        response
    }

    /// The method, if this is a request.
    pub fn method(&self) -> Option<&str> {
        self.start.split(' ').next().filter(|_| self.status().is_none())
    }

    /// The Request-URI; empty for a response.
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).filter(|_| self.status().is_none()).unwrap_or_default()
    }

    /// The status code, if this is a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The first value of a header field, by its long name; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(field, _)| long(field).eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// Whether it has this header field.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Every value of a header field, one for each line.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(field, _)| long(field).eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every value of a header field that is a list, wherever its lines end.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name).flat_map(|line| split(line, ',')).map(str::to_owned).collect()
    }

    /// The method of the transaction, and its number.
    pub fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq").split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn push(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    pub(super) fn push_first(&mut self, name: &str, value: impl Into<String>) {
        self.headers.insert(0, (name.to_owned(), value.into()));
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.headers.iter_mut().find(|(field, _)| long(field).eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value.into(),
            None => self.push(name, value),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|(field, _)| !long(field).eq_ignore_ascii_case(name));
    }

    /// Replaces all values of a field by these, at the top.
    pub(super) fn replace(&mut self, name: &str, values: &[String]) {
        self.remove(name);
        for value in values.iter().rev() {
            self.push_first(name, value.clone());
        }
    }

    pub(super) fn with_body(mut self, kind: &str, body: &str) -> Self {
        self.push("Content-Type", kind);
        self.body = body.as_bytes().to_vec();
        self
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (field, value) in self.headers.iter().filter(|(field, _)| !long(field).eq_ignore_ascii_case("Content-Length")) {
            text.push_str(&format!("{field}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: Vec<u8>,
}

impl Framer {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if it is whole; an error says what is wrong with the stream.
    pub(super) fn take(&mut self) -> Result<Option<Message>, String> {
        // Line ends between messages keep a connection alive.
        let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.buffer.drain(..blank);
        let Some(head_end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
            return if self.buffer.len() > MAXIMUM_BYTES { Err("a head without an end".to_owned()) } else { Ok(None) };
        };
        let head = std::str::from_utf8(&self.buffer[..head_end]).map_err(|fault| format!("a head is not UTF-8: {fault}"))?;
        // A line that begins with a blank continues the one before. RFC 3261 §7.3.1
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return Err(format!("neither a request nor a response: {start:?}"));
        }
        let mut headers = Vec::new();
        for line in lines {
            let (field, value) = line.split_once(':').ok_or_else(|| format!("no header field: {line:?}"))?;
            headers.push((field.trim_end().to_owned(), value.trim().to_owned()));
        }
        let mut message = Message { start, headers, body: Vec::new() };
        let length = message.header("Content-Length");
        let length: usize = length.parse().map_err(|_| format!("over a stream each message has a Content-Length: {length:?}"))?;
        let end = head_end + 4 + length;
        if length > MAXIMUM_BYTES {
            return Err(format!("a body of {length} bytes"));
        }
        if self.buffer.len() < end {
            return Ok(None);
        }
        message.body = self.buffer[head_end + 4..end].to_vec();
        self.buffer.drain(..end);
        Ok(Some(message))
    }
}

/// Splits at `separator` outside quotes and angle brackets.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut depth, mut begin) = (false, 0_u32, 0);
    let mut parts = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '<' if !quoted => depth += 1,
            '>' if !quoted => depth = depth.saturating_sub(1),
            _ if letter == separator && !quoted && depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts
}

/// A parameter of a header field's value, outside its URI.
pub(super) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    split(value, ';').into_iter().skip(1).find_map(|part| {
        let (field, value) = part.split_once('=')?;
        field.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The URI of a name-addr or addr-spec.
pub(super) fn uri(value: &str) -> &str {
    match value.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((uri, _)) => uri,
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// User and host of a SIP URI, in lower case; the user may be empty.
pub(super) fn address(uri: &str) -> (String, String) {
    let rest =
        uri.split_once(':').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips"));
    let rest = rest.map_or("", |(_, rest)| rest);
    let rest = rest.split([';', '?']).next().unwrap_or_default();
    let (user, host) = rest.rsplit_once('@').unwrap_or(("", rest));
    let host = host.split(':').next().unwrap_or_default();
    (user.to_ascii_lowercase(), host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages_and_they_are_written_as_they_came() {
        let wire = "\r\n\r\nMESSAGE sip:a@x.example SIP/2.0\r\nv: SIP/2.0/TLS h;branch=z9hG4bK1\r\nk: a\r\nSupported: b, c\r\nContent-Length: 3\r\n\r\nabcSIP/2.0 200";
        let mut framer = Framer::default();
        framer.feed(wire.as_bytes());
        let message = framer.take().expect("it is well formed").expect("it is whole");
        assert_eq!(message.method(), Some("MESSAGE"));
        assert_eq!(message.list("Supported"), ["a", "b", "c"]);
        assert_eq!(message.text(), "abc");
        let written = String::from_utf8(message.bytes()).expect("it is text");
        assert_eq!(written, wire[4..wire.len() - "SIP/2.0 200".len()]);
        assert_eq!(framer.take(), Ok(None));
        framer.feed(b" OK\r\n\r\n");
        assert!(framer.take().is_err(), "no Content-Length");
    }

    #[test]
    fn values_are_taken_apart() {
        let value = "\"A, <b>\" <sip:Alice@Contoso.example;opaque=x>;tag=1;epid=2";
        assert_eq!(split(&format!("{value}, <sip:b>"), ',').len(), 2);
        assert_eq!(parameter(value, "epid"), Some("2"));
        assert_eq!(parameter(value, "opaque"), None);
        assert_eq!(address(uri("<sip:Alice@Contoso.example:5061;opaque=x>")), ("alice".to_owned(), "contoso.example".to_owned()));
        assert_eq!(address("sip:pool.contoso.example:5061;transport=tls"), (String::new(), "pool.contoso.example".to_owned()));
    }
}
