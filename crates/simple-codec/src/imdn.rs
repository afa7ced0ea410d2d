//! What became of a message: `message/imdn+xml` (RFC 5438 §7.2, §11).

use crate::xml::{self, Element, XmlFault, escape};

/// The media type.
pub const MEDIA_TYPE: (&str, &str) = ("message", "imdn+xml");

/// The namespace of the CPIM headers `Message-ID`, `Disposition-Notification` and so on (RFC 5438 §6).
pub const CPIM_NAMESPACE: &str = "urn:ietf:params:imdn";

const NAMESPACE: &str = "urn:ietf:params:xml:ns:imdn";

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imdn {
    /// The Message-ID that the message had.
    pub message_id: String,
    /// When the message was sent, as it said itself (RFC 3339).
    pub date_time: String,
    /// Whom it was for, as a URI.
    pub recipient: Option<String>,
    /// Whom it was for at first.
    pub original_recipient: Option<String>,
    /// What became of it.
    pub status: Status,
}

/// What became of a message (RFC 5438 §7.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The recipient's client has it.
    Delivered,
    /// It will not get there.
    Failed,
    /// Nobody may say whether it got there.
    Forbidden,
    /// Nobody can say whether it got there.
    Error,
    /// It was shown.
    Displayed,
    /// Something was done with it on the way.
    Processed,
    /// It is kept for later.
    Stored,
}

impl Status {
    const ALL: [(Status, &'static str, &'static str); 7] = [
        (Status::Delivered, "delivery-notification", "delivered"),
        (Status::Failed, "delivery-notification", "failed"),
        (Status::Forbidden, "delivery-notification", "forbidden"),
        (Status::Error, "delivery-notification", "error"),
        (Status::Displayed, "display-notification", "displayed"),
        (Status::Processed, "processing-notification", "processed"),
        (Status::Stored, "processing-notification", "stored"),
    ];
}

impl Imdn {
    /// Reads a document.
    ///
    /// # Errors
    /// [`XmlFault`]; [`XmlFault::Other`] for another document, or one without what it must have.
    pub fn read(bytes: &[u8]) -> Result<Self, XmlFault> {
        let root = xml::read(bytes)?;
        if !root.is(NAMESPACE, "imdn") {
            return Err(XmlFault::Other("imdn"));
        }
        let text = |name| root.child(NAMESPACE, name).map(|child| child.text().to_owned()).filter(|text| !text.is_empty());
        let message_id = text("message-id").ok_or(XmlFault::Other("a message-id"))?;
        Ok(Self {
            message_id,
            date_time: text("datetime").unwrap_or_default(),
            recipient: text("recipient-uri"),
            original_recipient: text("original-recipient-uri"),
            status: status(&root).ok_or(XmlFault::Other("a notification with a status"))?,
        })
    }

    /// The document.
    #[must_use]
    pub fn write(&self) -> String {
        let (_, notification, status) =
            Status::ALL.into_iter().find(|(known, _, _)| *known == self.status).unwrap_or(Status::ALL[3]);
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"{NAMESPACE}\"><message-id>{}</message-id><datetime>{}</datetime>",
            escape(&self.message_id),
            escape(&self.date_time)
        );
        for (name, value) in [("recipient-uri", &self.recipient), ("original-recipient-uri", &self.original_recipient)] {
            if let Some(value) = value {
                out.push_str(&format!("<{name}>{}</{name}>", escape(value)));
            }
        }
        // RFC 5438 §11: what became of it is an element of its own inside `status`.
        out.push_str(&format!("<{notification}><status><{status}/></status></{notification}></imdn>"));
        out
    }
}

/// The first notification that says something known. An extension of it in another namespace changes nothing (RFC 5438 §9.2).
fn status(root: &Element) -> Option<Status> {
    for notification in root.children().filter(|child| child.namespace == NAMESPACE) {
        let said = notification.child(NAMESPACE, "status").into_iter().flat_map(Element::children);
        for said in said.filter(|said| said.namespace == NAMESPACE) {
            let known = Status::ALL.into_iter().find(|(_, of, name)| *of == notification.name && *name == said.name);
            if let Some((status, _, _)) = known {
                return Some(status);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5438 §7.2.1.1, the body.
    const DELIVERED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn">
     <message-id>34jk324j</message-id>
     <datetime>2008-04-04T12:16:49-05:00</datetime>
     <recipient-uri>im:bob@example.com</recipient-uri>
     <original-recipient-uri
             >im:bob@example.com</original-recipient-uri>
     <delivery-notification>
       <status>
          <delivered/>
       </status>
     </delivery-notification>
   </imdn>"#;

    #[test]
    fn the_example_of_the_rfc_and_every_status() {
        let imdn = Imdn::read(DELIVERED.as_bytes()).unwrap();
        assert_eq!((imdn.message_id.as_str(), imdn.status), ("34jk324j", Status::Delivered));
        assert_eq!(imdn.original_recipient.as_deref(), Some("im:bob@example.com"));
        for (status, _, _) in Status::ALL {
            let one = Imdn { status, message_id: "<&>".to_owned(), ..imdn.clone() };
            assert_eq!(Imdn::read(one.write().as_bytes()), Ok(one));
        }
    }

    #[test]
    fn without_an_id_or_a_status_it_says_nothing() {
        for wrong in [
            DELIVERED.replace("34jk324j", " "),
            DELIVERED.replace("<delivered/>", "<nothing/>"),
            DELIVERED.replace("delivery-notification", "display-notification"),
            DELIVERED.replace("ns:imdn", "ns:other"),
        ] {
            assert!(Imdn::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
