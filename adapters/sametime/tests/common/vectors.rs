//! The recorded frames, line by line (`tests/vectors/README.md`).

#![allow(dead_code)]

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A frame of the client, or `80`.
    Client(Vec<u8>),
    /// A frame of the server.
    Server(Vec<u8>),
    /// The server's private Diffie-Hellman value from here on.
    Private(Vec<u8>),
    /// The key that opens the login.
    LoginKey(Vec<u8>),
    /// A channel's keys: from the client, and from the server.
    Channel { id: u32, from_client: Vec<u8>, from_server: Vec<u8> },
    /// The plain payload of the next frame.
    Plain(Vec<u8>),
}

macro_rules! recording {
    ($($name:literal),* $(,)?) => {
        /// Every recording by its name.
        pub(crate) const RECORDINGS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../vectors/", $name, ".hex")))),*];
    };
}

recording!(
    "conference",
    "im-cipher-rc2_128",
    "im-cipher-rc2_40",
    "im-errors",
    "login-rc2_128",
    "login-rc2_40-old",
    "login-rc2_40",
    "login-refused",
    "multipart-html",
    "pidgin-dn-ids",
    "pidgin-session",
    "redirect-continue",
    "server-calls",
    "state-admin",
    "two-clients.1",
    "two-clients.2",
);

/// The names and values of `crypto.hex`, in order.
pub(crate) fn primitives() -> Vec<(&'static str, &'static str)> {
    include_str!("../vectors/crypto.hex")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect()
}

/// The lines of one recording.
pub(crate) fn recording(name: &str) -> Vec<Line> {
    let (_, text) = RECORDINGS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no recording {name}"));
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(line).collect()
}

fn line(line: &str) -> Line {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["C>", frame] => Line::Client(hex(frame)),
        ["S>", frame] => Line::Server(hex(frame)),
        ["@", "server_dh_private", value] => Line::Private(hex(value)),
        ["@", "rc2_key", key] => Line::LoginKey(hex(key)),
        ["@", "channel", id, "rc2_128", "key", key] => {
            Line::Channel { id: u32::from_str_radix(id, 16).unwrap(), from_client: hex(key), from_server: hex(key) }
        }
        ["@", "channel", id, "rc2_40", "key", "C>S", from_client, "S>C", from_server] => Line::Channel {
            id: u32::from_str_radix(id, 16).unwrap(),
            from_client: hex(from_client),
            from_server: hex(from_server),
        },
        ["@", "plain", plain] => Line::Plain(hex(plain)),
        _ => panic!("a line that is not known: {line}"),
    }
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    assert!(text.len().is_multiple_of(2), "{text}");
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
