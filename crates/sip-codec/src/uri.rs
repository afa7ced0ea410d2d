//! URIs of RFC 3261 §19.1, and those of other schemes as far as SIP needs them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Malformed, Unencodable};
use crate::host::Host;
use crate::lex;
use crate::params::Params;

/// The scheme of a [`Uri`], in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 3261.
    Sip,
    /// RFC 3261: TLS on every hop.
    Sips,
    /// RFC 3966.
    Tel,
    /// RFC 3860.
    Im,
    /// RFC 3859.
    Pres,
    /// Anything else.
    Other(Box<str>),
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        let valid = text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        valid.then(|| match text {
            _ if text.eq_ignore_ascii_case("sip") => Self::Sip,
            _ if text.eq_ignore_ascii_case("sips") => Self::Sips,
            _ if text.eq_ignore_ascii_case("tel") => Self::Tel,
            _ if text.eq_ignore_ascii_case("im") => Self::Im,
            _ if text.eq_ignore_ascii_case("pres") => Self::Pres,
            _ => Self::Other(text.to_ascii_lowercase().into()),
        })
    }

    /// In lower case, without the colon.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Tel => "tel",
            Self::Im => "im",
            Self::Pres => "pres",
            Self::Other(name) => name,
        }
    }
}

/// A URI: `sip`, `sips`, `im` and `pres` in parts, the rest as opaque text.
///
/// Parts are kept as written, so a parsed URI is written back unchanged but for the case of its scheme and leading
/// zeros of its port. `==` compares what is written; [`Uri::equivalent`] is the comparison of RFC 3261 §19.1.4.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    scheme: Scheme,
    body: Body,
}

#[derive(Clone, PartialEq, Eq)]
enum Body {
    Address {
        user: Option<Box<str>>,
        password: Option<Box<str>>,
        host: Host,
        port: Option<u16>,
        params: Params,
        headers: Option<Box<str>>,
    },
    Opaque(Box<str>),
}

impl Uri {
    /// `sip:host`, naming a domain or a server.
    pub fn sip(host: Host) -> Self {
        Self::address(Scheme::Sip, host)
    }

    /// `sip:user@host`. `user` is the real name: everything but letters, digits and `-_.!~*'()&=+$` is
    /// percent-encoded, so `;`, `?`, `/` and `,` are too, which several stacks misparse. Control characters are refused.
    pub fn sip_user(user: &str, host: Host) -> Result<Self, Unencodable> {
        Self::sip(host).with_user(user)
    }

    /// An address of `sip`, `sips`, `im` or `pres` without a user part.
    fn address(scheme: Scheme, host: Host) -> Self {
        let body = Body::Address { user: None, password: None, host, port: None, params: Params::default(), headers: None };
        Self { scheme, body }
    }

    /// Parses a URI without white space around it. Text after the host other than port, parameters and headers, or a
    /// second raw `@`, is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => text,
            _ => return Err(Malformed::at("ASCII in a URI", bytes, bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(0))),
        };
        if let Some(wrong) = bytes.iter().position(|byte| !byte.is_ascii_graphic() || matches!(byte, b'<' | b'>' | b'"')) {
            return Err(Malformed::at("a URI", bytes, wrong));
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| Malformed::at("a URI scheme", bytes, bytes.len()))?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| Malformed::at("a URI scheme", bytes, 0))?;
        let body = match scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Im | Scheme::Pres => parse_address(rest)?,
            Scheme::Tel | Scheme::Other(_) if rest.is_empty() => return Err(Malformed::at("text after the scheme", b"", 0)),
            Scheme::Tel | Scheme::Other(_) => Body::Opaque(rest.into()),
        };
        Ok(Self { scheme, body })
    }

    /// The scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The user part as written, still percent-encoded, without a password. May hold `;` parameters of its own.
    pub fn user(&self) -> Option<&str> {
        match &self.body {
            Body::Address { user, .. } => user.as_deref(),
            Body::Opaque(_) => None,
        }
    }

    /// The user part percent-decoded: any bytes, NUL and CR included. The caller judges them.
    pub fn user_bytes(&self) -> Option<Vec<u8>> {
        self.user().map(percent_decode)
    }

    /// The password as written. RFC 3261 §19.1.1 advises against it.
    pub fn password(&self) -> Option<&str> {
        match &self.body {
            Body::Address { password, .. } => password.as_deref(),
            Body::Opaque(_) => None,
        }
    }

    /// The host; `None` only for `tel` and unknown schemes.
    pub fn host(&self) -> Option<&Host> {
        match &self.body {
            Body::Address { host, .. } => Some(host),
            Body::Opaque(_) => None,
        }
    }

    /// The port, if written.
    pub fn port(&self) -> Option<u16> {
        match &self.body {
            Body::Address { port, .. } => *port,
            Body::Opaque(_) => None,
        }
    }

    /// The value of a URI parameter as written (percent-encoded), such as `transport` or `gr`.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().and_then(|params| params.get(name))
    }

    /// Whether a URI parameter is there, with or without a value, such as `lr`.
    pub fn has_param(&self, name: &str) -> bool {
        self.params().is_some_and(|params| params.has(name))
    }

    /// The URI parameters; `None` only for `tel` and unknown schemes.
    pub fn params(&self) -> Option<&Params> {
        match &self.body {
            Body::Address { params, .. } => Some(params),
            Body::Opaque(_) => None,
        }
    }

    /// What stands after `?`, undecoded. Not allowed in a Request-URI.
    pub fn headers(&self) -> Option<&str> {
        match &self.body {
            Body::Address { headers, .. } => headers.as_deref(),
            Body::Opaque(_) => None,
        }
    }

    /// What follows the colon of a `tel` or unknown scheme.
    pub fn opaque(&self) -> Option<&str> {
        match &self.body {
            Body::Address { .. } => None,
            Body::Opaque(text) => Some(text),
        }
    }

    /// With this user part, percent-encoded as for [`Uri::sip_user`]. An opaque URI stays as it is.
    pub fn with_user(mut self, name: &str) -> Result<Self, Unencodable> {
        if name.is_empty() {
            return Err(Unencodable::Empty("a user part"));
        }
        lex::refuse_controls(name.as_bytes(), "a user part")?;
        if let Some(tab) = name.bytes().find(|byte| *byte == b'\t') {
            return Err(Unencodable::Control(tab, "a user part"));
        }
        if let Body::Address { user, .. } = &mut self.body {
            let keep = |byte| lex::is_unreserved(byte) || matches!(byte, b'&' | b'=' | b'+' | b'$');
            *user = Some(percent_encode(name.as_bytes(), keep).into());
        }
        Ok(self)
    }

    /// With this port. An opaque URI stays as it is.
    pub fn with_port(mut self, number: u16) -> Self {
        if let Body::Address { port, .. } = &mut self.body {
            *port = Some(number);
        }
        self
    }

    /// With this URI parameter, in place of one of that name; the value is percent-encoded. An opaque URI stays as it is.
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> Result<Self, Unencodable> {
        if let Body::Address { params, .. } = &mut self.body {
            params.set_in_uri(name, value)?;
        }
        Ok(self)
    }

    /// RFC 3261 §19.1.4: host without regard to case, user and password with it and after percent-decoding, a written
    /// port differs from none, `user`, `ttl`, `method`, `maddr` and `transport` must be the same on both sides, other parameters
    /// only where both have them. Unknown schemes compare by text.
    pub fn equivalent(&self, other: &Self) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        let (
            Body::Address { user, password, host, port, params, headers },
            Body::Address {
                user: other_user,
                password: other_password,
                host: other_host,
                port: other_port,
                params: other_params,
                headers: other_headers,
            },
        ) = (&self.body, &other.body)
        else {
            return self.body == other.body;
        };
        let decoded = |part: &Option<Box<str>>| part.as_deref().map(percent_decode);
        decoded(user) == decoded(other_user)
            && decoded(password) == decoded(other_password)
            && host == other_host
            && port == other_port
            && headers.as_deref().map(sorted_headers) == other_headers.as_deref().map(sorted_headers)
            && params_match(params, other_params)
            && params_match(other_params, params)
    }
}

/// One direction of the parameter rules of RFC 3261 §19.1.4.
fn params_match(these: &Params, those: &Params) -> bool {
    these.iter().all(|param| {
        if !those.has(param.name()) {
            return !["user", "ttl", "method", "maddr", "transport"].iter().any(|must| param.name().eq_ignore_ascii_case(must));
        }
        match (param.value(), those.get(param.name())) {
            (Some(this), Some(that)) => percent_decode(this).eq_ignore_ascii_case(&percent_decode(that)),
            (None, None) => true,
            _ => false,
        }
    })
}

fn sorted_headers(headers: &str) -> Vec<Vec<u8>> {
    let mut parts: Vec<_> = headers.split('&').map(percent_decode).collect();
    parts.sort();
    parts
}

/// `[user[:password]@]host[:port][;params][?headers]`.
fn parse_address(rest: &str) -> Result<Body, Malformed> {
    // The user part may hold ";" and "?", so the "@" is looked for first; a second one can only be a trick
    let (userinfo, rest) = match rest.split_once('@') {
        Some((userinfo, rest)) => (Some(userinfo), rest),
        None => (None, rest),
    };
    if rest.contains('@') {
        return Err(Malformed::new("one \"@\"", crate::Found::Byte(b'@')));
    }
    let (user, password) =
        match userinfo.map(|userinfo| userinfo.split_once(':').map_or((userinfo, None), |(user, secret)| (user, Some(secret)))) {
            Some((user, password)) => (Some(check_userinfo(user, b"&=+$,;?/")?), password),
            None => (None, None),
        };
    if user == Some("") {
        return Err(Malformed::at("a user before \"@\"", b"@", 0));
    }
    let password = password.map(|password| check_userinfo(password, b"&=+$,")).transpose()?;
    let end_of_host = rest.find([';', '?']).unwrap_or(rest.len());
    let (host_port, rest) = rest.split_at_checked(end_of_host).unwrap_or((rest, ""));
    let (host, port) = parse_host_port(host_port)?;
    let (params, headers) = match rest.split_once('?') {
        Some((params, headers)) => (params, Some(headers.into())),
        None => (rest, None),
    };
    let params = Params::parse_in_uri(params)?;
    Ok(Body::Address { user: user.map(Into::into), password: password.map(Into::into), host, port, params, headers })
}

fn check_userinfo<'a>(text: &'a str, also: &[u8]) -> Result<&'a str, Malformed> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            if !(bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit())
                && bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit()))
            {
                return Err(Malformed::new("two hex digits after \"%\"", crate::Found::Byte(b'%')));
            }
        } else if !lex::is_unreserved(byte) && !also.contains(&byte) {
            return Err(Malformed::new("a user part", crate::Found::Byte(byte)));
        }
    }
    Ok(text)
}

/// `host[:port]`, the host perhaps in brackets.
pub(crate) fn parse_host_port(text: &str) -> Result<(Host, Option<u16>), Malformed> {
    let split = match text.rfind(']') {
        Some(bracket) => text.split_at_checked(bracket + 1),
        None => text.find(':').and_then(|colon| text.split_at_checked(colon)),
    };
    let (host, port) = split.unwrap_or((text, ""));
    let host = Host::parse(host.as_bytes())?;
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return Err(Malformed::word("a port", port.as_bytes())),
        Some(digits) => match lex::number(digits.as_bytes()).and_then(|number| u16::try_from(number).ok()) {
            Some(number) => Some(number),
            None => return Err(Malformed::word("a port", digits.as_bytes())),
        },
    };
    Ok((host, port))
}

impl FromStr for Uri {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme.as_str())?;
        match &self.body {
            Body::Opaque(text) => f.write_str(text),
            Body::Address { user, password, host, port, params, headers } => {
                if let Some(user) = user {
                    f.write_str(user)?;
                    if let Some(password) = password {
                        write!(f, ":{password}")?;
                    }
                    f.write_str("@")?;
                }
                f.write_str(host.as_str())?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                let mut tail = String::new();
                params.write(&mut tail);
                f.write_str(&tail)?;
                match headers {
                    Some(headers) => write!(f, "?{headers}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Shows scheme and host only: the user part is a person.
impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host().map_or("…", Host::as_str);
        write!(f, "Uri({}:{}{host})", self.scheme.as_str(), if self.user().is_some() { "…@" } else { "" })
    }
}

/// `%hh` to bytes. A `%` without two hex digits stays as it is.
pub fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    loop {
        match bytes {
            [] => return decoded,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |hex: &u8| char::from(*hex).to_digit(16).unwrap_or(0);
                decoded.push(u8::try_from(digit(high) * 16 + digit(low)).unwrap_or(0));
                bytes = rest;
            }
            [byte, rest @ ..] => {
                decoded.push(*byte);
                bytes = rest;
            }
        }
    }
}

/// Every byte for which `keep` is false, and every byte outside ASCII, as `%HH`.
pub fn percent_encode(bytes: &[u8], keep: impl Fn(u8) -> bool) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('0');
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes.iter().copied() {
        if byte.is_ascii() && keep(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn parts_of_a_full_uri() {
        let parsed = uri("sip:alice:secret@b.example:5061;transport=tls;lr?Subject=x&to=y");
        assert_eq!(parsed.user(), Some("alice"));
        assert_eq!(parsed.password(), Some("secret"));
        assert_eq!(parsed.host().map(Host::as_str), Some("b.example"));
        assert_eq!(parsed.port(), Some(5061));
        assert_eq!(parsed.param("TRANSPORT"), Some("tls"));
        assert!(parsed.has_param("lr"));
        assert_eq!(parsed.headers(), Some("Subject=x&to=y"));
    }

    #[test]
    fn what_is_parsed_is_written_back() {
        for text in [
            "sip:b.example",
            "sips:%61lice@B.Example:5061",
            "sip:[2001:DB8::1]:5061;lr",
            "sip:alice@contoso.example;opaque=user:epid:2XcI5EzwdBLGdOhl1E4XZAAA;gruu",
            "sip:pool.contoso.example:5061;transport=tls;ms-fe=fe1.contoso.example;lr;ms-key-info=TLK/cb+oa7=;ms-route-sig=x9==",
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
            "tel:+1-201-555-0123;ext=5",
            "im:alice@a.example",
            "soap.beep://192.0.2.103:3002",
        ] {
            assert_eq!(uri(text).to_string(), text);
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "sip:",
            "sip:@b.example",
            "sip:a@b@c",
            "sip:a@",
            "alice@b.example",
            "sip:a b@c",
            "sip:a%4@b",
            "sip:a\u{fc}@b",
            "<sip:a@b>",
            "sip:a@b;",
            "sip:a@b;;lr",
            "sip:b:70000",
            "sip:b:",
            "sip:[::1",
            "sip:[2001:db8:::1]",
            "sip:a..b",
            "1sip:a@b",
            "tel:",
            "sip:a^b@c",
        ] {
            assert!(text.parse::<Uri>().is_err(), "{text}");
        }
    }

    #[test]
    fn user_is_encoded_and_decoded() {
        let host = Host::new("a.example").unwrap();
        let encoded = Uri::sip_user("tschüss/a;b?c,d %@:\\", host.clone()).unwrap();
        assert_eq!(encoded.to_string(), "sip:tsch%C3%BCss%2Fa%3Bb%3Fc%2Cd%20%25%40%3A%5C@a.example");
        assert_eq!(encoded.user_bytes().unwrap(), "tschüss/a;b?c,d %@:\\".as_bytes());
        assert_eq!(Uri::sip_user("o'malley", host.clone()).unwrap().to_string(), "sip:o'malley@a.example");
        assert!(Uri::sip_user("a\r\nVia: x", host.clone()).is_err());
        assert!(Uri::sip_user("", host).is_err());
        assert_eq!(uri("sip:a%00b@c").user_bytes().unwrap(), b"a\0b");
    }

    #[test]
    fn parameters_are_encoded() {
        let built = Uri::sip(Host::new("a.example").unwrap()).with_port(5061).with_param("gr", Some("Büro 1;x")).unwrap();
        assert_eq!(built.to_string(), "sip:a.example:5061;gr=B%C3%BCro%201%3Bx");
    }

    #[test]
    fn equivalence_is_that_of_the_standard() {
        for (left, right, same) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
                true,
            ),
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false),
            ("sip:a@b", "sips:a@b", false),
            ("sip:[2001:db8::0:1]", "sip:[2001:DB8::1]", true),
        ] {
            assert_eq!(uri(left).equivalent(&uri(right)), same, "{left} {right}");
            assert_eq!(uri(right).equivalent(&uri(left)), same, "{right} {left}");
        }
    }
}
