//! The recorded conversations, as the wire had them, and an edge that says its part of them again.

use std::collections::HashMap;
use std::path::Path;

/// One recorded message.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) number: u32,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Recorded {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The bytes of the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }

    /// The same with other values in some places.
    pub(crate) fn replaced(&self, values: &HashMap<String, String>) -> Vec<u8> {
        let mut text = String::from_utf8(self.bytes()).unwrap();
        for (old, new) in values {
            text = text.replace(old, new);
        }
        text.into_bytes()
    }
}

/// All messages of a recorded conversation.
pub(crate) fn read(name: &str) -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n==== ").skip(1).map(one).collect()
}

fn one(text: &str) -> Recorded {
    let mut lines = text.lines();
    let title = lines.next().unwrap();
    let (number, ends) = title.split_once("  ").unwrap();
    let (from, to) = ends.split_once(" -> ").unwrap();
    let start = lines.next().unwrap().to_owned();
    let mut headers = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        headers.push((name.to_owned(), value.trim_start().to_owned()));
    }
    let length: usize = headers.iter().find(|(name, _)| name == "Content-Length").map_or(0, |(_, value)| value.parse().unwrap());
    // Lines end in CR LF on the wire; the empty line behind a message is none of it.
    let mut body = lines.collect::<Vec<_>>().join("\r\n");
    while body.len() < length {
        body.push_str("\r\n");
    }
    body.truncate(length);
    Recorded { number: number.trim().parse().unwrap(), from: from.to_owned(), to: to.to_owned(), start, headers, body }
}

/// The `tag` of a From or To.
pub(crate) fn tag(value: &str) -> Option<&str> {
    value.split(";tag=").nth(1).map(|rest| rest.split(';').next().unwrap())
}
