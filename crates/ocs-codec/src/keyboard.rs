//! Whether somebody writes: `application/xml` in an INFO of the session, `<KeyboardActivity><status status="type"/></KeyboardActivity>`.

use simple_codec::XmlFault;
use simple_codec::xml;

/// Its media type.
pub const MEDIA_TYPE: (&str, &str) = ("application", "xml");

/// What somebody does at the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyboard {
    /// Writes now; else has stopped.
    pub is_typing: bool,
}

impl Keyboard {
    /// Reads a document. A status that is not known is that of somebody who does not write.
    ///
    /// # Errors
    /// [`XmlFault`]; [`XmlFault::Other`] for another document.
    pub fn read(bytes: &[u8]) -> Result<Self, XmlFault> {
        let root = xml::read(bytes)?;
        if root.name != "KeyboardActivity" {
            return Err(XmlFault::Other("KeyboardActivity"));
        }
        let status = root.children().find(|child| child.name == "status").and_then(|child| child.attribute("status"));
        Ok(Self { is_typing: status.ok_or(XmlFault::Other("a status"))?.trim() == "type" })
    }

    /// The document, as Microsoft's clients write it.
    #[must_use]
    pub fn write(self) -> String {
        let status = if self.is_typing { "type" } else { "idle" };
        format!("<?xml version=\"1.0\"?><KeyboardActivity> <status status=\"{status}\" /></KeyboardActivity>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_recorded_documents_are_read_and_written_again() {
        for (is_typing, text) in [
            (true, "<?xml version=\"1.0\"?><KeyboardActivity> <status status=\"type\" /></KeyboardActivity>"),
            (false, "<?xml version=\"1.0\"?><KeyboardActivity> <status status=\"idle\" /></KeyboardActivity>"),
        ] {
            assert_eq!(Keyboard::read(text.as_bytes()), Ok(Keyboard { is_typing }));
            assert_eq!(Keyboard { is_typing }.write(), text);
        }
        let tight = b"<?xml version=\"1.0\"?><KeyboardActivity><status status=\"type\"/></KeyboardActivity>";
        assert_eq!(Keyboard::read(tight), Ok(Keyboard { is_typing: true }));
    }

    #[test]
    fn anything_else_is_a_fault() {
        for text in ["", "<a/>", "<KeyboardActivity/>", "<KeyboardActivity><status/></KeyboardActivity>", "type"] {
            assert!(Keyboard::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Keyboard::read(&bytes);
        }
    }
}
