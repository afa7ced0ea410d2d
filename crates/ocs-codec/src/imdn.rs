//! What became of a message: `application/ms-imdn+xml`. Whoever answers a MESSAGE with 200 and a header `Message-Id` may say later, in the same session,
//! whom it has reached and whom it has not; a document of Microsoft's own, which has only its name in common with RFC 5438.

use simple_codec::XmlFault;
use simple_codec::xml::{self, Element, escape};

/// Its media type.
pub const MEDIA_TYPE: (&str, &str) = ("application", "ms-imdn+xml");

/// The header of a 200 that names the message.
pub const MESSAGE_ID: &str = "Message-Id";

/// Bytes of a name.
pub const MAX_ID: usize = 255;

/// Recipients that are read; of more, the first.
const MAX_RECIPIENTS: usize = 16;
/// Bytes of a recipient's URI; a longer one is nobody's.
const MAX_URI: usize = 512;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imdn {
    /// What the header of the 200 said, at most [`MAX_ID`] bytes.
    pub message_id: String,
    /// Whom it was for.
    pub recipients: Vec<Recipient>,
}

/// What became of it for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who: a URI; empty where it says none.
    pub uri: String,
    /// A final SIP status code, 200 to 699. `None`: it has failed, and nobody says why.
    pub status: Option<u16>,
}

impl Imdn {
    /// Reads a document.
    ///
    /// # Errors
    /// [`XmlFault`]; [`XmlFault::Other`] for another document, or one that does not say of which message.
    pub fn read(bytes: &[u8]) -> Result<Self, XmlFault> {
        let root = xml::read(bytes)?;
        if root.name != "imdn" {
            return Err(XmlFault::Other("imdn"));
        }
        let message_id = root.children().find(|child| child.name == "message-id").map_or("", |child| child.text().trim());
        if !(1..=MAX_ID).contains(&message_id.len()) {
            return Err(XmlFault::Other("a message-id"));
        }
        let recipients = root.children().filter(|child| child.name == "recipient").take(MAX_RECIPIENTS).map(recipient).collect();
        Ok(Self { message_id: message_id.to_owned(), recipients })
    }

    /// The document.
    #[must_use]
    pub fn write(&self) -> String {
        let mut out = format!("<?xml version=\"1.0\"?><imdn><message-id>{}</message-id>", escape(&self.message_id));
        for Recipient { uri, status } in &self.recipients {
            let status = status.map(|code| code.to_string()).unwrap_or_default();
            out.push_str(&format!("<recipient uri=\"{}\"><status>{status}</status></recipient>", escape(uri)));
        }
        out.push_str("</imdn>");
        out
    }
}

fn recipient(element: &Element) -> Recipient {
    let status = element.children().find(|child| child.name == "status").map_or("", |status| status.text().trim());
    // A word may follow the number.
    let digits = status.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let status = digits.parse().ok().filter(|code| (200..700).contains(code));
    let uri = element.attribute("uri").map(str::trim).filter(|uri| uri.len() <= MAX_URI).unwrap_or_default();
    Recipient { uri: uri.to_owned(), status }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_names_the_message_and_what_became_of_it_for_whom() {
        let text = "<?xml version=\"1.0\"?>\r\n<imdn xmlns=\"urn:x\">\r\n <message-id>7f3</message-id>\r\n <recipient uri=\"sip:a@b.example\"><status>403</status></recipient>\r\n <recipient uri=\"sip:c@b.example\"><status> 200 OK</status></recipient>\r\n <recipient uri=\"sip:d@b.example\"/></imdn>";
        let one = |uri: &str, status| Recipient { uri: uri.to_owned(), status };
        let imdn = Imdn {
            message_id: "7f3".to_owned(),
            recipients: vec![one("sip:a@b.example", Some(403)), one("sip:c@b.example", Some(200)), one("sip:d@b.example", None)],
        };
        assert_eq!(Imdn::read(text.as_bytes()), Ok(imdn.clone()));
        assert_eq!(Imdn::read(imdn.write().as_bytes()), Ok(imdn));
        // What is no final answer says nothing of success.
        for status in ["", "100", "700", "99999999999", "x200", "-200"] {
            let text = format!(
                "<imdn><message-id>m</message-id><recipient uri='sip:a@b.example'><status>{status}</status></recipient></imdn>"
            );
            assert_eq!(Imdn::read(text.as_bytes()).unwrap().recipients[0].status, None, "{status}");
        }
    }

    #[test]
    fn without_a_name_it_says_nothing_and_no_more_is_read_than_there_is_room_for() {
        for text in ["", "x", "<a/>", "<imdn/>", "<imdn><message-id> </message-id></imdn>"] {
            assert!(Imdn::read(text.as_bytes()).is_err(), "{text}");
        }
        let long = format!("<imdn><message-id>{}</message-id></imdn>", "x".repeat(MAX_ID + 1));
        assert!(Imdn::read(long.as_bytes()).is_err());
        let many = format!("<imdn><message-id>m</message-id>{}</imdn>", "<recipient uri='sip:a@b.example'/>".repeat(100));
        assert!(Imdn::read(many.as_bytes()).is_ok_and(|imdn| imdn.recipients.len() == MAX_RECIPIENTS));
    }

    proptest! {
        #[test]
        fn every_report_survives(
            message_id in "[!-~]{1,60}",
            recipients in proptest::collection::vec(("[!-~]{0,40}", proptest::option::of(200u16..700)), 0..5),
        ) {
            let recipients = recipients.into_iter().map(|(uri, status)| Recipient { uri, status }).collect();
            let imdn = Imdn { message_id, recipients };
            prop_assert_eq!(Imdn::read(imdn.write().as_bytes()), Ok(imdn));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Imdn::read(&bytes);
        }
    }
}
