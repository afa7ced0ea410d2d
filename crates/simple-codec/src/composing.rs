//! Whether somebody is composing a message: `application/im-iscomposing+xml` (RFC 3994).

use crate::xml::{self, XmlFault, escape};

/// The media type.
pub const MEDIA_TYPE: (&str, &str) = ("application", "im-iscomposing+xml");

const NAMESPACE: &str = "urn:ietf:params:xml:ns:im-iscomposing";

/// What somebody does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Composing {
    /// Writes now; else does not.
    pub is_active: bool,
    /// Seconds after which an active state is over if it is not repeated; none: 120 (RFC 3994 §3.2).
    pub refresh: Option<u32>,
    /// The type of what is being composed.
    pub content_type: Option<String>,
}

impl Composing {
    /// Seconds after which an active state is over where nothing else is said (RFC 3994 §3.2).
    pub const REFRESH: u32 = 120;

    /// Reads a document. A state that is not known is idle (RFC 3994 §3.3).
    ///
    /// # Errors
    /// [`XmlFault`]; [`XmlFault::Other`] for another document, or one without a state.
    pub fn read(bytes: &[u8]) -> Result<Self, XmlFault> {
        let root = xml::read(bytes)?;
        if !root.is(NAMESPACE, "isComposing") {
            return Err(XmlFault::Other("isComposing"));
        }
        let state = root.child(NAMESPACE, "state").ok_or(XmlFault::Other("a state"))?;
        let refresh = root.child(NAMESPACE, "refresh").and_then(|refresh| refresh.text().parse().ok());
        let content_type = root.child(NAMESPACE, "contenttype").map(|media| media.text().to_owned());
        Ok(Self { is_active: state.text() == "active", refresh, content_type })
    }

    /// The document.
    #[must_use]
    pub fn write(&self) -> String {
        let state = if self.is_active { "active" } else { "idle" };
        let mut out =
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<isComposing xmlns=\"{NAMESPACE}\"><state>{state}</state>");
        // The order is the schema's (RFC 3994 §5).
        if let Some(content_type) = &self.content_type {
            out.push_str(&format!("<contenttype>{}</contenttype>", escape(content_type)));
        }
        if let Some(refresh) = self.refresh {
            out.push_str(&format!("<refresh>{refresh}</refresh>"));
        }
        out.push_str("</isComposing>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3994 §4.
    const ACTIVE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="urn:ietf:params:xml:ns:im-composing iscomposing.xsd">
  <state>active</state>
  <contenttype>text/plain</contenttype>
  <refresh>90</refresh>
</isComposing>"#;

    #[test]
    fn the_examples_of_the_rfc() {
        let active = Composing { is_active: true, refresh: Some(90), content_type: Some("text/plain".to_owned()) };
        assert_eq!(Composing::read(ACTIVE.as_bytes()), Ok(active.clone()));
        assert_eq!(Composing::read(active.write().as_bytes()), Ok(active));
        let idle =
            ACTIVE.replace("active", "idle").replace("<refresh>90</refresh>", "<lastactive>2003-01-27T10:43:00Z</lastactive>");
        assert_eq!(Composing::read(idle.as_bytes()).map(|read| (read.is_active, read.refresh)), Ok((false, None)));
        assert_eq!(Composing::read(ACTIVE.replace("active", "pondering").as_bytes()).map(|read| read.is_active), Ok(false));
    }

    #[test]
    fn case_36_anything_else_is_a_fault() {
        for text in ["", "<isComposing/>", "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'/>", "<x", "active"] {
            assert!(Composing::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
