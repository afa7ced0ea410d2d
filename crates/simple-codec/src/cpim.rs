//! A message with headers of its own around a MIME body: `message/cpim` (RFC 3862).

/// The media type.
pub const MEDIA_TYPE: (&str, &str) = ("message", "cpim");

/// Headers of a message, and of its content; as many `NS` lines may stand beside them.
const MAX_HEADERS: usize = 64;
/// Bytes of a header's value, unfolded.
const MAX_VALUE: usize = 4_096;
/// Bytes of a header's name, and of its prefix.
const MAX_NAME: usize = 128;
/// Bytes of a namespace; a longer one is nobody's.
const MAX_NAMESPACE: usize = 1_024;
/// Bytes of a line.
const MAX_LINE: usize = MAX_VALUE + 4 * MAX_NAME;

/// Why bytes are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpimFault {
    /// No empty line behind the headers, or behind those of the content.
    #[error("expected headers, an empty line, headers of the content and an empty line")]
    Headers,
    /// A line that is no header.
    #[error("expected a name, a colon and a value")]
    Line,
    /// More, or longer, headers than are read.
    #[error("expected at most 64 headers of at most 4,096 bytes")]
    TooMany,
}

/// A header: the namespace of its name (empty: CPIM's own), name, and value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name of the namespace that the prefix stands for.
    pub namespace: String,
    /// Without the prefix.
    pub name: String,
    /// With escapes, and `;lang=` where it has one.
    pub value: String,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpim {
    /// In their order, without the `NS` headers.
    pub headers: Vec<Header>,
    /// Name and value of the MIME headers of the content.
    pub content_headers: Vec<(String, String)>,
    /// The content.
    pub content: Vec<u8>,
}

impl Cpim {
    /// Reads a message. Lines may end by LF alone.
    ///
    /// # Errors
    /// [`CpimFault`].
    pub fn read(body: &[u8]) -> Result<Self, CpimFault> {
        let (lines, rest) = block(body)?;
        // RFC 3862 §2.3: the encapsulated MIME object has headers of its own.
        let (content_headers, content) = block(rest)?;
        // A prefix may be used before it is declared: real clients do.
        let prefixes: Vec<(&str, &str)> =
            lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case("NS")).filter_map(|(_, value)| namespace(value)).collect();
        let header = |(name, value): &(String, String)| {
            let (prefix, local) = name.split_once('.').unwrap_or(("", name));
            let known = prefixes.iter().rev().find(|(of, _)| *of == prefix).map(|(_, namespace)| (*namespace).to_owned());
            let namespace = match known {
                // RFC 3862 §3.4: without a prefix it is CPIM's own.
                _ if prefix.is_empty() => String::new(),
                Some(namespace) => namespace,
                // Nobody knows what this means: its own, so that it is never taken for something that it is not.
                None => format!("{prefix}."),
            };
            Header { namespace, name: local.to_owned(), value: value.clone() }
        };
        let headers = lines.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("NS")).map(header).collect();
        Ok(Self { headers, content_headers, content: content.to_vec() })
    }

    /// The values of CPIM's own headers of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.of("", name)
    }

    /// The values of the headers of a name in a namespace.
    pub fn of<'a>(&'a self, namespace: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is = move |header: &&Header| header.namespace == namespace && header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(is).map(|header| header.value.as_str())
    }

    /// The first MIME header of the content of a name.
    #[must_use]
    pub fn content_header(&self, name: &str) -> Option<&str> {
        self.content_headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The subject and its language, unescaped (RFC 3862 §4.6).
    #[must_use]
    pub fn subject(&self) -> Option<(String, Option<&str>)> {
        let value = self.all("Subject").next()?;
        match value.strip_prefix(';') {
            Some(parameter) => {
                let (parameter, text) = parameter.split_once(' ').unwrap_or((parameter, ""));
                let language = parameter.strip_prefix("lang=").filter(|tag| !tag.is_empty());
                Some((unescape(text.trim_start()), language))
            }
            None => Some((unescape(value), None)),
        }
    }

    /// The message. Header values are written on one line each, whatever is in them.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut namespaces: Vec<&str> = Vec::new();
        for header in self.headers.iter().filter(|header| !header.namespace.is_empty()) {
            if !namespaces.contains(&header.namespace.as_str()) {
                namespaces.push(&header.namespace);
            }
        }
        let mut out = String::new();
        let mut declared = 0;
        for header in &self.headers {
            let prefix = match namespaces.iter().position(|namespace| *namespace == header.namespace) {
                Some(at) => {
                    let name = prefix(&header.namespace, at);
                    if at >= declared {
                        out.push_str(&format!("NS: {name} <{}>\r\n", one_line(&header.namespace)));
                        declared = at + 1;
                    }
                    format!("{name}.")
                }
                None => String::new(),
            };
            out.push_str(&format!("{prefix}{}: {}\r\n", one_line(&header.name), one_line(&header.value)));
        }
        out.push_str("\r\n");
        for (name, value) in &self.content_headers {
            out.push_str(&format!("{}: {}\r\n", one_line(name), one_line(value)));
        }
        out.push_str("\r\n");
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&self.content);
        bytes
    }
}

/// `imdn` for IMDN, since there are clients that look for just that (RFC 5438 uses it throughout); else one of ours.
fn prefix(namespace: &str, at: usize) -> String {
    if namespace == crate::imdn::CPIM_NAMESPACE { "imdn".to_owned() } else { format!("x{at}") }
}

/// Prefix and name of `NS: prefix <urn:x>`; the default namespace, `NS: <urn:x>`, changes nothing that is looked for here.
fn namespace(value: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = value.split_once('<')?;
    let prefix = prefix.trim();
    let namespace = rest.trim_end().strip_suffix('>')?.trim();
    (!prefix.is_empty() && namespace.len() <= MAX_NAMESPACE).then_some((prefix, namespace))
}

/// Name and value of a header line.
type Line = (String, String);

/// Lines up to an empty one, and what follows it.
fn block(bytes: &[u8]) -> Result<(Vec<Line>, &[u8]), CpimFault> {
    let mut lines: Vec<Line> = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(CpimFault::Headers)?;
        let (line, after) = rest.split_at_checked(end + 1).ok_or(CpimFault::Headers)?;
        rest = after;
        if line.len() > MAX_LINE {
            return Err(CpimFault::TooMany);
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Ok((lines, rest));
        }
        // MIME headers may be folded, CPIM's may not; real clients do not ask.
        if line.starts_with([' ', '\t']) {
            let (_, value) = lines.last_mut().ok_or(CpimFault::Line)?;
            value.push(' ');
            value.push_str(line.trim());
            if value.len() > MAX_VALUE {
                return Err(CpimFault::TooMany);
            }
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(CpimFault::Line)?;
        let (name, value) = (name.trim(), value.trim());
        let (prefix, local) = name.split_once('.').unwrap_or(("x", name));
        if prefix.is_empty() || local.is_empty() || !name.bytes().all(is_of_a_name) {
            return Err(CpimFault::Line);
        }
        let declares = |name: &str| name.eq_ignore_ascii_case("NS");
        let like_it = lines.iter().filter(|(known, _)| declares(known) == declares(name)).count();
        if prefix.len() > MAX_NAME || local.len() > MAX_NAME || value.len() > MAX_VALUE || like_it >= MAX_HEADERS {
            return Err(CpimFault::TooMany);
        }
        lines.push((name.to_owned(), value.to_owned()));
    }
}

/// RFC 3862 §3.6 and RFC 2045 §5.1, of which each allows a little more than the other; a dot ends the prefix.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte)
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The address in `Name <im:user@domain>`, or the whole where there are no brackets.
#[must_use]
pub fn uri(value: &str) -> &str {
    match value.rsplit_once('<') {
        Some((_, uri)) => uri.trim_end().strip_suffix('>').unwrap_or(uri).trim(),
        None => value.trim(),
    }
}

/// RFC 3862 §2.3.1: `\\`, `\"`, `\'`, `\b`, `\t`, `\n`, `\r` and `\uXXXX`. Anything else stands as it is.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = after.chars();
        rest = match chars.next() {
            Some('u') => match after.get(1..5).and_then(hexadecimal).and_then(char::from_u32) {
                Some(c) => {
                    plain.push(c);
                    after.get(5..).unwrap_or_default()
                }
                None => {
                    plain.push('\u{fffd}');
                    chars.as_str()
                }
            },
            Some(c @ ('\\' | '"' | '\'')) => {
                plain.push(c);
                chars.as_str()
            }
            // A line, since it goes where a line is expected.
            Some('b' | 't' | 'n' | 'r') => {
                plain.push(' ');
                chars.as_str()
            }
            _ => {
                plain.push('\\');
                after
            }
        };
    }
    plain.push_str(rest);
    plain
}

/// Digits only: a number that is parsed may have a sign.
fn hexadecimal(digits: &str) -> Option<u32> {
    let fits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if fits { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// A text as the value of a header: what [`unescape`] would change is escaped, and what breaks a line becomes a blank.
#[must_use]
pub fn escape(text: &str) -> String {
    one_line(text).replace('\\', "\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// After RFC 5438 §7.1.2.
    const ASKING: &str = "From: Alice <im:alice@example.com>\r\nTo: Bob <im:bob@example.com>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk324j\r\nDateTime: 2006-04-04T12:16:49-05:00\r\nimdn.Disposition-Notification: positive-delivery, negative-delivery\r\nContent-type: text/plain\r\nContent-length: 12\r\n\r\nContent-type: text/plain\r\n\r\nHello World";

    #[test]
    fn the_headers_are_found_whatever_prefix_is_used() {
        for text in [ASKING.to_owned(), ASKING.replace("imdn.", "q.").replace("NS: imdn", "NS: q"), ASKING.replace("\r\n", "\n")]
        {
            let message = Cpim::read(text.as_bytes()).unwrap();
            let imdn = |name| message.of(crate::imdn::CPIM_NAMESPACE, name).next().map(str::to_owned);
            assert_eq!(imdn("Message-ID").as_deref(), Some("34jk324j"));
            assert_eq!(imdn("disposition-notification").as_deref(), Some("positive-delivery, negative-delivery"));
            assert_eq!(message.all("From").map(uri).collect::<Vec<_>>(), ["im:alice@example.com"]);
            assert_eq!(message.content_header("Content-Type"), Some("text/plain"));
            assert_eq!(message.content, b"Hello World");
            assert_eq!(Cpim::read(&message.write()), Ok(message));
        }
        // A prefix that stands for nothing, or for something else, is never IMDN's.
        let other = ASKING.replace("urn:ietf:params:imdn", "urn:x");
        assert_eq!(Cpim::read(other.as_bytes()).unwrap().of(crate::imdn::CPIM_NAMESPACE, "Message-ID").count(), 0);
        let undeclared = ASKING.replace("NS: imdn <urn:ietf:params:imdn>\r\n", "");
        assert_eq!(Cpim::read(undeclared.as_bytes()).unwrap().of(crate::imdn::CPIM_NAMESPACE, "Message-ID").count(), 0);
    }

    #[test]
    fn what_was_read_is_read_again_from_what_is_written() {
        // Names of nothing but what is not written in a name.
        for name in ["\0\0\0", "", " ", ".", "x.", ".x", "a b", "a\u{e9}"] {
            assert_eq!(Cpim::read(format!("{name}: v\r\n\r\n\r\n").as_bytes()), Err(CpimFault::Line), "{name:?}");
        }
        let again = |text: &[u8]| {
            let message = Cpim::read(text).unwrap();
            assert_eq!(Cpim::read(&message.write()).map(|again| again.content), Ok(message.content));
        };
        // Each of another namespace that was not declared.
        let many: String = (0..64).map(|number| format!("p{number}.A: v\r\n")).collect();
        again(format!("{many}\r\n\r\nwords").as_bytes());
        assert_eq!(Cpim::read(format!("{many}B: v\r\n\r\n\r\n").as_bytes()), Err(CpimFault::TooMany));
        // As long as may be, folded, and with a namespace that is too long to be one.
        let (half, namespace) = ("v".repeat(2_047), "n".repeat(4_000));
        let name = "N".repeat(128);
        again(format!("NS: p <{namespace}>\r\np.{name}: {half}\r\n  {half}x\r\n\r\n\r\nwords").as_bytes());
        // What is no UTF-8 becomes longer.
        again(&[b"A: ".as_slice(), &[0xff; 1_300], b"\r\n\r\n\r\nwords"].concat());
        let longer = [b"A: ".as_slice(), &[0xff; 1_400], b"\r\n\r\n\r\n"].concat();
        assert_eq!(Cpim::read(&longer), Err(CpimFault::TooMany));
    }

    #[test]
    fn a_subject_may_have_a_language() {
        let subject = |value: &str| {
            let message = Cpim::read(format!("Subject:{value}\r\n\r\n\r\n").as_bytes()).unwrap();
            message.subject().map(|(text, language)| (text, language.map(str::to_owned)))
        };
        assert_eq!(subject(" lunch"), Some(("lunch".to_owned(), None)));
        assert_eq!(subject(";lang=fr Objet"), Some(("Objet".to_owned(), Some("fr".to_owned()))));
        for (escaped, plain) in [
            (r"a\\b\'\u00e9\n.", "a\\b'é ."),
            (r"\u+123", "\u{fffd}+123"),
            (r"\ud800x\u12", "\u{fffd}d800x\u{fffd}12"),
            (r"end\", "end\\"),
            (r"\é", "\\é"),
        ] {
            assert_eq!(unescape(escaped), plain);
        }
    }

    #[test]
    fn what_is_none_is_a_fault() {
        for text in
            ["", "x", "From: a\r\n", "From: a\r\n\r\nContent-Type: text/plain\r\n", "nonsense\r\n\r\n\r\n", " folded\r\n\r\n\r\n"]
        {
            assert!(Cpim::read(text.as_bytes()).is_err(), "{text:?}");
        }
        let many = |count: usize| format!("{}\r\n\r\n", "a: b\r\n".repeat(count));
        assert!(Cpim::read(many(MAX_HEADERS).as_bytes()).is_ok());
        assert_eq!(Cpim::read(many(MAX_HEADERS + 1).as_bytes()), Err(CpimFault::TooMany));
        assert_eq!(Cpim::read(format!("a: {}\r\n\r\n\r\n", "b".repeat(MAX_LINE)).as_bytes()), Err(CpimFault::TooMany));
    }

    proptest! {
        #[test]
        fn abuse_29_no_text_makes_a_header_of_its_own(text in any::<String>(), content in proptest::collection::vec(any::<u8>(), 0..50)) {
            let header = |name: &str, value: String| Header { namespace: String::new(), name: name.to_owned(), value };
            let message = Cpim {
                headers: vec![header("Subject", format!(".{}.", escape(&text))), header("From", "<im:a@b.example>".to_owned())],
                content_headers: vec![("Content-Type".to_owned(), "text/plain".to_owned())],
                content: content.clone(),
            };
            let read = Cpim::read(&message.write()).unwrap();
            prop_assert_eq!(read.headers.len(), 2);
            let read_subject = read.subject().unwrap().0;
            prop_assert_eq!(read.content, content);
            let want: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            prop_assert_eq!(read_subject, format!(".{want}."));
        }
    }
}
