//! Session descriptions with `m=message` (RFC 8866, RFC 4975 §8, RFC 6135): offers and answers.

use std::fmt::Write as _;

use crate::uri::{MsrpUri, Path};

/// Bytes, lines and media of the largest description that is read.
const MAX_BYTES: usize = 16 * 1024;
const MAX_LINES: usize = 256;
const MAX_MEDIA: usize = 8;
/// Types in one list.
const MAX_TYPES: usize = 32;

/// What is no session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a session description")]
pub struct BadDescription;

/// Who connects (RFC 4145 §4, RFC 6135 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Whoever says it.
    Active,
    /// The other.
    Passive,
    /// The other may choose.
    ActPass,
}

impl Setup {
    const fn name(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::ActPass => "actpass",
        }
    }
}

/// A `m=message` that is carried by MSRP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// TLS.
    pub secure: bool,
    /// How to reach whoever wrote it.
    pub path: Path,
    /// Types that are taken; `*`: all.
    pub accept: Vec<String>,
    /// Types that are taken inside message/cpim.
    pub wrapped: Vec<String>,
    /// Bytes of the largest message that is taken.
    pub max_size: Option<u64>,
    /// Who connects; where nothing is said, whoever offers (RFC 4975 §5.4).
    pub setup: Option<Setup>,
    /// SHA-256 of the certificate by which the writer is known (RFC 4975 §14.4).
    pub fingerprint: Option<[u8; 32]>,
    /// Whether the writer wants messages.
    pub receives: bool,
    /// Whether the writer sends messages.
    pub sends: bool,
}

impl Media {
    /// Whether content of a type is taken.
    #[must_use]
    pub fn accepts(&self, media: &str) -> bool {
        is_in(&self.accept, media)
    }

    /// Whether content of a type is taken inside message/cpim.
    #[must_use]
    pub fn accepts_wrapped(&self, media: &str) -> bool {
        self.accepts("message/cpim") && (is_in(&self.wrapped, media) || (self.wrapped.is_empty() && is_in(&self.accept, media)))
    }
}

fn is_in(list: &[String], media: &str) -> bool {
    let main = media.split_once('/').map_or(media, |(main, _)| main);
    list.iter().any(|known| {
        known == "*"
            || known.eq_ignore_ascii_case(media)
            || known.strip_suffix("/*").is_some_and(|kind| kind.eq_ignore_ascii_case(main))
    })
}

/// A description of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Each `m=` line, in order: what it is, its transport, its formats.
    lines: Vec<Line>,
    /// The place among them of the one that we understand, and what it says.
    message: Option<(usize, Media)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    kind: String,
    transport: String,
    formats: String,
}

impl Description {
    /// Reads one: at most 16 KiB, 256 lines, 8 media.
    ///
    /// # Errors
    /// [`BadDescription`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadDescription> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_BYTES).ok_or(BadDescription)?;
        let mut lines = text.lines().filter(|line| !line.is_empty());
        if lines.next() != Some("v=0") {
            return Err(BadDescription);
        }
        let mut media: Vec<(Line, Draft)> = Vec::new();
        let mut common = Draft::default();
        for (count, line) in lines.enumerate() {
            let (kind, value) = line.split_once('=').filter(|(kind, _)| kind.len() == 1).ok_or(BadDescription)?;
            if count >= MAX_LINES {
                return Err(BadDescription);
            }
            match kind {
                "m" if media.len() == MAX_MEDIA => return Err(BadDescription),
                "m" => {
                    let (line, is_off) = Line::parse(value)?;
                    media.push((line, Draft { is_off, ..Draft::default() }));
                }
                "a" => media.last_mut().map_or(&mut common, |(_, draft)| draft).note(value),
                _ => {}
            }
        }
        let found = media.iter().enumerate().find_map(|(place, (line, draft))| Some((place, draft.finish(line, &common)?)));
        Ok(Self { lines: media.into_iter().map(|(line, _)| line).collect(), message: found })
    }

    /// The first `m=message` carried by MSRP that is on and can be read.
    #[must_use]
    pub fn message(&self) -> Option<&Media> {
        self.message.as_ref().map(|(_, media)| media)
    }
}

impl Line {
    fn parse(value: &str) -> Result<(Self, bool), BadDescription> {
        let mut words = value.splitn(4, ' ');
        let (Some(kind), Some(port), Some(transport), Some(formats)) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BadDescription);
        };
        let sound = |text: &str| !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control);
        let port: u16 = port.split('/').next().and_then(|port| port.parse().ok()).ok_or(BadDescription)?;
        if ![kind, transport, formats].into_iter().all(sound) {
            return Err(BadDescription);
        }
        Ok((Self { kind: kind.to_owned(), transport: transport.to_owned(), formats: formats.to_owned() }, port == 0))
    }
}

#[derive(Default)]
struct Draft {
    is_off: bool,
    path: Option<Path>,
    accept: Vec<String>,
    wrapped: Vec<String>,
    max_size: Option<u64>,
    setup: Option<Setup>,
    fingerprint: Option<[u8; 32]>,
    direction: Option<(bool, bool)>,
}

impl Draft {
    fn note(&mut self, attribute: &str) {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let types = || value.split_whitespace().take(MAX_TYPES).map(str::to_owned).collect();
        match name {
            "path" => self.path = Path::parse(value).ok(),
            "accept-types" => self.accept = types(),
            "accept-wrapped-types" => self.wrapped = types(),
            "max-size" => self.max_size = value.trim().parse().ok(),
            "setup" => {
                self.setup = match value.trim() {
                    "active" => Some(Setup::Active),
                    "passive" => Some(Setup::Passive),
                    "actpass" => Some(Setup::ActPass),
                    _ => None,
                }
            }
            "fingerprint" => self.fingerprint = self.fingerprint.or_else(|| fingerprint(value)),
            "sendrecv" => self.direction = Some((true, true)),
            "sendonly" => self.direction = Some((true, false)),
            "recvonly" => self.direction = Some((false, true)),
            "inactive" => self.direction = Some((false, false)),
            _ => {}
        }
    }

    fn finish(&self, line: &Line, common: &Draft) -> Option<Media> {
        let secure = match line.transport.as_str() {
            "TCP/TLS/MSRP" => true,
            "TCP/MSRP" => false,
            _ => return None,
        };
        if line.kind != "message" || self.is_off {
            return None;
        }
        let path = self.path.clone()?;
        // A description that promises TLS and names a session without it is not believed.
        if path.first()?.is_secure() != secure || path.last()?.session().is_none() || self.accept.is_empty() {
            return None;
        }
        let (sends, receives) = self.direction.or(common.direction).unwrap_or((true, true));
        Some(Media {
            secure,
            path,
            accept: self.accept.clone(),
            wrapped: self.wrapped.clone(),
            max_size: self.max_size,
            setup: self.setup.or(common.setup),
            fingerprint: self.fingerprint.or(common.fingerprint),
            receives,
            sends,
        })
    }
}

/// `sha-256 4A:AD:…` (RFC 8122 §5).
fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let (hash, digits) = value.trim().split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut parts = digits.trim().split(':');
    for byte in &mut bytes {
        *byte = parts.next().filter(|part| part.len() == 2).and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(bytes)
}

/// Our side of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Names the description itself: another for each session.
    pub id: u64,
    /// Grows with every change (RFC 3264 §8).
    pub version: u64,
    /// Where connections go to.
    pub uri: MsrpUri,
    /// Types that are taken.
    pub accept: &'static [&'static str],
    /// Types that are taken inside message/cpim.
    pub wrapped: &'static [&'static str],
    /// Bytes of the largest message that is taken.
    pub max_size: u64,
    /// Who connects.
    pub setup: Setup,
}

impl Local {
    /// The offer of a session.
    #[must_use]
    pub fn offer(&self) -> String {
        let mut out = self.head();
        self.media(&mut out);
        out
    }

    /// The answer to an offer: its `m=message` is taken, everything else in it refused (RFC 3264 §6).
    #[must_use]
    pub fn answer(&self, offer: &Description) -> String {
        let mut out = self.head();
        let taken = offer.message.as_ref().map(|(place, _)| *place);
        for (place, line) in offer.lines.iter().enumerate() {
            if Some(place) == taken {
                self.media(&mut out);
            } else {
                let _ = write!(out, "m={} 0 {} {}\r\n", line.kind, line.transport, line.formats);
            }
        }
        out
    }

    fn head(&self) -> String {
        let host = self.uri.host().trim_matches(['[', ']']);
        let family = if host.contains(':') { "IP6" } else { "IP4" };
        format!("v=0\r\no=- {} {} IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n", self.id, self.version)
    }

    fn media(&self, out: &mut String) {
        let transport = if self.uri.is_secure() { "TCP/TLS/MSRP" } else { "TCP/MSRP" };
        let _ = write!(
            out,
            "m=message {} {transport} *\r\na=accept-types:{}\r\na=accept-wrapped-types:{}\r\na=max-size:{}\r\na=setup:{}\r\na=path:{}\r\n",
            self.uri.port(),
            self.accept.join(" "),
            self.wrapped.join(" "),
            self.max_size,
            self.setup.name(),
            self.uri,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=alice 2890844526 2890844527 IN IP4 alicepc.example.com\r\ns= -\r\n\
        c=IN IP4 alicepc.example.com\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\nm=message 7777 TCP/MSRP *\r\n\
        a=accept-types:message/cpim text/plain image/*\r\na=accept-wrapped-types:*\r\na=setup:actpass\r\n\
        a=path:msrp://alicepc.example.com:7777/iau39soe2843z;tcp\r\n";

    fn local() -> Local {
        Local {
            id: 7,
            version: 1,
            uri: MsrpUri::new(false, "192.0.2.1", 2855, "s1").unwrap(),
            accept: &["message/cpim", "text/plain"],
            wrapped: &["text/plain"],
            max_size: 1000,
            setup: Setup::Passive,
        }
    }

    #[test]
    fn an_offer_is_read_and_answered_line_by_line() {
        let offer = Description::parse(OFFER.as_bytes()).unwrap();
        let media = offer.message().unwrap();
        assert_eq!((media.secure, media.setup, media.max_size), (false, Some(Setup::ActPass), None));
        assert!(media.accepts("text/plain") && media.accepts("image/png") && !media.accepts("text/html"));
        assert!(media.accepts_wrapped("text/html"));
        assert!(media.sends && media.receives);
        let answer = local().answer(&offer);
        assert_eq!(
            answer,
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 0 8\r\n\
             m=message 2855 TCP/MSRP *\r\na=accept-types:message/cpim text/plain\r\na=accept-wrapped-types:text/plain\r\n\
             a=max-size:1000\r\na=setup:passive\r\na=path:msrp://192.0.2.1:2855/s1;tcp\r\n"
        );
        let read = Description::parse(answer.as_bytes()).unwrap();
        assert_eq!(read.message().map(|media| (media.max_size, media.setup)), Some((Some(1000), Some(Setup::Passive))));
        assert_eq!(Description::parse(local().offer().as_bytes()).unwrap().message(), read.message());
    }

    #[test]
    fn fingerprints_and_directions() {
        let colons = vec!["0A"; 32].join(":");
        let secure = OFFER.replace("TCP/MSRP", "TCP/TLS/MSRP").replace("msrp:", "msrps:");
        let media = |text: &str| Description::parse(text.as_bytes()).unwrap().message().cloned();
        let with = |line: &str| media(&format!("{secure}{line}\r\n")).unwrap();
        assert_eq!(with(&format!("a=fingerprint:SHA-256 {colons}")).fingerprint, Some([10; 32]));
        assert_eq!(with(&format!("a=fingerprint:sha-256 {colons}:0A")).fingerprint, None);
        assert_eq!(with("a=fingerprint:sha-1 00:11").fingerprint, None);
        let held = with("a=sendonly");
        assert!(held.sends && !held.receives);
    }

    #[test]
    fn what_offers_no_session_of_ours_is_none() {
        let none = |text: String| Description::parse(text.as_bytes()).unwrap().message().is_none();
        assert!(none(OFFER.replace("m=message 7777", "m=message 0")));
        assert!(none(OFFER.replace("TCP/MSRP", "UDP/MSRP")));
        assert!(none(OFFER.replace("TCP/MSRP", "TCP/TLS/MSRP")));
        assert!(none(OFFER.replace("m=message", "m=video")));
        assert!(none(OFFER.replace("a=path", "a=pathology")));
        assert!(none(OFFER.replace("/iau39soe2843z", "")));
        for bad in ["", "v=1\r\n", "v=0\r\nnonsense\r\n", "v=0\r\nm=message x TCP/MSRP *\r\n", "v=0\r\nm=message 1 TCP/MSRP\r\n"]
        {
            assert!(Description::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Description::parse(format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(9)).as_bytes()).is_err());
        assert!(Description::parse(format!("v=0\r\n{}", "a=x\r\n".repeat(300)).as_bytes()).is_err());
    }
}
