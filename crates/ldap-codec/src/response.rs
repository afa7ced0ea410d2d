//! What a server answers.

use crate::ber::{self, ENUMERATED, Fault, INTEGER, OCTET_STRING, Reader, SEQUENCE, SET, application, context};
use crate::limits::{LONGEST_MESSAGE, MOST_PARTS};

/// What a server sent is no LDAP, or more than is read: nothing after it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// Reads messages from a stream of bytes.
#[derive(Debug, Default)]
pub struct Responses {
    bytes: Vec<u8>,
    read: usize,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The number of the request that it answers; 0: none (RFC 4511 §4.4).
    pub id: u32,
    /// What it says.
    pub operation: Operation,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A bind is done, or not.
    Bind(Outcome),
    /// Something that was found.
    Entry(Entry),
    /// Where else one could look.
    Reference,
    /// A search is at its end.
    Done(Outcome),
    /// An extended operation is done, or not. With the id 0 the server says that it hangs up (RFC 4511 §4.4.1).
    Extended(Outcome),
    /// Something that nobody asked for.
    Other,
}

/// How a request has ended. RFC 4511 §4.1.9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One of [`code`], or another.
    pub code: u32,
    /// What the server says to it: remote text, at most 200 characters, control characters replaced.
    pub text: String,
}

/// Result codes. RFC 4511 appendix A.
pub mod code {
    /// It is done.
    pub const SUCCESS: u32 = 0;
    /// The server has stopped at the number of entries that it may give.
    pub const SIZE_LIMIT_EXCEEDED: u32 = 4;
    /// The account is shut, or has tried too often.
    pub const CONSTRAINT_VIOLATION: u32 = 19;
    /// There is no such entry.
    pub const NO_SUCH_OBJECT: u32 = 32;
    /// The entry has no password.
    pub const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    /// The name or the password is wrong; Active Directory also says so of accounts that are shut.
    pub const INVALID_CREDENTIALS: u32 = 49;
    /// This one may not.
    pub const INSUFFICIENT_ACCESS_RIGHTS: u32 = 50;
    /// The server will not: the account is shut.
    pub const UNWILLING_TO_PERFORM: u32 = 53;
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Its distinguished name.
    pub name: String,
    /// Its attributes: those that were asked for and are there.
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// The first value of an attribute that is text and not empty. Names of attributes are the same in upper and lower case (RFC 4512 §2.5).
    #[must_use]
    pub fn first(&self, attribute: &str) -> Option<&str> {
        let mut fitting = self.attributes.iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let values = fitting.next().map(|(_, values)| values)?;
        values.iter().find_map(|value| std::str::from_utf8(value).ok().filter(|text| !text.trim().is_empty()))
    }
}

impl Responses {
    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        // What was read is dropped when it is as much as what is kept.
        if self.read * 2 >= self.bytes.len() {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether all that came was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// The next message; `None` until more has come.
    ///
    /// # Errors
    /// [`Malformed`]; then the stream is of no use any more.
    pub fn take(&mut self) -> Result<Option<Response>, Malformed> {
        let waiting = self.bytes.get(self.read..).unwrap_or_default();
        let (tag, before, length) = match ber::header(waiting) {
            Ok(header) => header,
            Err(Fault::Incomplete) => return Ok(None),
            Err(Fault::Wrong) => return Err(Malformed("what it sends is no LDAP")),
        };
        if tag != SEQUENCE {
            return Err(Malformed("what it sends is no LDAP"));
        }
        // Before any of it is waited for.
        if length > LONGEST_MESSAGE {
            return Err(Malformed("a message is longer than 256 KiB"));
        }
        let Some(content) = waiting.get(before..before + length) else { return Ok(None) };
        let response = read(content).ok_or(Malformed("a message is not what RFC 4511 says"))?;
        self.read += before + length;
        Ok(Some(response))
    }
}

/// A message: its number, what it says, and controls, which are skipped, as is what Active Directory puts there.
fn read(content: &[u8]) -> Option<Response> {
    const BIND: u8 = application(1, true);
    const ENTRY: u8 = application(4, true);
    const DONE: u8 = application(5, true);
    const REFERENCE: u8 = application(19, true);
    const EXTENDED: u8 = application(24, true);

    let mut parts = Reader::new(content);
    let id = ber::number(parts.expect(INTEGER)?)?;
    let (tag, content) = parts.next()?;
    let operation = match tag {
        BIND => Operation::Bind(outcome(content)?),
        ENTRY => Operation::Entry(entry(content)?),
        DONE => Operation::Done(outcome(content)?),
        REFERENCE => Operation::Reference,
        EXTENDED => Operation::Extended(outcome(content)?),
        _ => Operation::Other,
    };
    while !parts.is_empty() {
        parts.next().filter(|(tag, _)| *tag == context(0, true) || *tag == context(10, false))?;
    }
    Some(Response { id, operation })
}

fn outcome(content: &[u8]) -> Option<Outcome> {
    let mut parts = Reader::new(content);
    let code = ber::number(parts.expect(ENUMERATED)?)?;
    let _matched = parts.expect(OCTET_STRING)?;
    let text = String::from_utf8_lossy(parts.expect(OCTET_STRING)?)
        .chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    Some(Outcome { code, text })
}

fn entry(content: &[u8]) -> Option<Entry> {
    let mut parts = Reader::new(content);
    let name = std::str::from_utf8(parts.expect(OCTET_STRING)?).ok()?.to_owned();
    let mut list = Reader::new(parts.expect(SEQUENCE)?);
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let mut attribute = Reader::new(list.expect(SEQUENCE)?);
        let kind = std::str::from_utf8(attribute.expect(OCTET_STRING)?).ok()?;
        let mut set = Reader::new(attribute.expect(SET)?);
        let mut values = Vec::new();
        while !set.is_empty() {
            let value = set.expect(OCTET_STRING)?;
            if values.len() < MOST_PARTS {
                values.push(value.to_vec());
            }
        }
        if attributes.len() < MOST_PARTS {
            attributes.push((kind.to_owned(), values));
        }
    }
    Some(Entry { name, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn all(hex: &str) -> Result<Vec<Response>, Malformed> {
        let mut responses = Responses::default();
        responses.push(&bytes(hex));
        let mut read = Vec::new();
        while let Some(response) = responses.take()? {
            read.push(response);
        }
        Ok(read)
    }

    /// An entry `cn=a` with `cn: a` and `uid: ` two values, the first of which is no text.
    const ENTRY: &str = "3029 020102 6424 0404636e3d61 301c 3009 0402636e 3103 040161 300f 0403756964 3108 0402ff01 0402 6262";

    #[test]
    fn responses_are_read_whole_and_in_pieces() {
        let stream = format!(
            "300c0201016107 0a0100 0400 0400 {ENTRY} 3084 0000000c 020102 6507 0a0104 0400 0400
             301a 020103 6115 0a0131 0400 0403 6e0a6f 870161 8a0161 a303 040161 3005 020104 7300"
        );
        let stream = bytes(&stream);
        let read = |piece: usize| {
            let mut responses = Responses::default();
            let mut read = Vec::new();
            for piece in stream.chunks(piece) {
                responses.push(piece);
                while let Some(response) = responses.take().unwrap() {
                    read.push(response);
                }
            }
            (read, responses.is_empty())
        };
        let (whole, empty) = read(stream.len());
        assert!(empty);
        for piece in 1..20 {
            assert_eq!(read(piece), (whole.clone(), true), "{piece}");
        }
        let [bound, Response { id: 2, operation: Operation::Entry(entry) }, done, refused, reference] = &whole[..] else {
            panic!("{whole:?}")
        };
        let outcome = |code, text: &str| Outcome { code, text: text.to_owned() };
        assert_eq!(bound, &Response { id: 1, operation: Operation::Bind(outcome(code::SUCCESS, "")) });
        assert_eq!(done.operation, Operation::Done(outcome(code::SIZE_LIMIT_EXCEEDED, "")));
        assert_eq!(refused.operation, Operation::Bind(outcome(code::INVALID_CREDENTIALS, "n\u{fffd}o")));
        assert_eq!(reference, &Response { id: 4, operation: Operation::Reference });
        assert_eq!(
            (entry.name.as_str(), entry.first("CN"), entry.first("uid"), entry.first("mail")),
            ("cn=a", Some("a"), Some("bb"), None)
        );
    }

    #[test]
    fn controls_are_skipped_and_so_is_what_active_directory_puts_in_their_place() {
        let control = "3022 020101 6107 0a0100 0400 0400 a014 3012 0410 322e31362e3834302e312e3131333733";
        assert_eq!(all(control).unwrap()[0].id, 1);
        let notice = "3016 020100 7807 0a0134 0400 0400 8a08 312e332e362e312e";
        assert!(matches!(&all(notice).unwrap()[0], Response { id: 0, operation: Operation::Extended(Outcome { code: 52, .. }) }));
    }

    #[test]
    fn what_is_no_ldap_is_said_to_be_none() {
        for hex in [
            "485454502f312e31",
            "3080",
            "3000",
            "3003020101",
            // Numbers: negative, too long, none.
            "300c 0201ff 6107 0a0100 0400 0400",
            "3010 02050100000001 6107 0a0100 0400 0400",
            "300b 0200 6107 0a0100 0400 0400",
            // An outcome without its texts; one longer than its message.
            "3008 020101 6103 0a0100",
            "300c 020101 6109 0a0100 0400 0400",
            // An attribute that is no list; a name that is no text.
            "300f 020102 640a 0404636e3d61 3002 0400",
            "300a 020102 6405 0401ff 3000",
            "3007 020101 4200 0000",
        ] {
            let mut responses = Responses::default();
            responses.push(&bytes(hex));
            let read = responses.take();
            assert!(read.is_err(), "{hex}: {read:?}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_not_waited_for() {
        assert!(all("3084 00040001").is_err());
        assert_eq!(all("3083 040000"), Ok(Vec::new()));
        assert!(all("3084 ffffffff").is_err());
    }

    #[test]
    fn depth_costs_nothing() {
        // Thousands of lists inside one another, where some readers end their process.
        let levels = 50_000;
        let headers = (0..levels).rev().map(|inside| {
            let length = 5 * inside;
            [0x30, 0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8]
        });
        let deep: Vec<u8> = headers.flatten().collect();
        let mut message = Vec::new();
        ber::write(&mut message, SEQUENCE, |into| {
            ber::write_number(into, INTEGER, 1);
            ber::write_bytes(into, application(4, true), &deep);
        });
        let mut responses = Responses::default();
        responses.push(&message);
        assert!(responses.take().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let mut responses = Responses::default();
            for piece in pieces {
                responses.push(&piece);
                while let Ok(Some(_)) = responses.take() {}
            }
        }

        #[test]
        fn nor_does_a_message_with_a_byte_changed(at in 0usize..43, byte in any::<u8>()) {
            let mut message = bytes(ENTRY);
            let at = at % message.len();
            message[at] = byte;
            let mut responses = Responses::default();
            responses.push(&message);
            while let Ok(Some(_)) = responses.take() {}
        }
    }
}
