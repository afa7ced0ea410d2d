//! A stream of XML, cut into stanzas: as much of XML as RFC 6120 §11 leaves, read without a word of the code under test.

/// What a stream says next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Its opening tag.
    Open(Element),
    /// A whole element: a stanza, or one of the stream's own.
    Element(Element),
    /// Its closing tag.
    Close,
}

/// The peer does not write XML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// An element with all that is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    /// Child elements; text among them is in `text`.
    pub(super) children: Vec<Element>,
    /// All text directly inside.
    pub(super) text: String,
}

impl Element {
    /// Its name without a prefix.
    pub(super) fn name(&self) -> &str {
        self.name.rsplit(':').next().unwrap_or(&self.name)
    }

    /// An attribute by its name as written.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(written, _)| written == name).map(|(_, value)| value.as_str())
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name() == name)
    }

    /// Whether it declares this namespace for itself.
    pub(super) fn declares(&self, namespace: &str) -> bool {
        self.attribute("xmlns") == Some(namespace)
    }
}

/// Cuts bytes into frames, however they arrive.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    /// Where the frame that is being read begins.
    start: usize,
    /// How far it was looked at: the beginning of a token.
    at: usize,
    /// How far that token was looked at, so that no byte is looked at twice, and the quotation mark that is open there.
    seen: usize,
    quote: Option<u8>,
    /// Open elements, that of the stream included.
    depth: usize,
}

impl Reader {
    /// The bytes to append to; [`Reader::next`] looks at them.
    pub(super) fn input(&mut self) -> &mut Vec<u8> {
        // What was handed out is dropped when it has grown to the greater part.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.at -= self.start;
            self.seen -= self.start;
            self.start = 0;
        }
        &mut self.bytes
    }

    /// The next frame, when it is there whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        loop {
            let Some(offset) = memchr::memchr(b'<', &self.bytes[self.at..]) else {
                // Text: between stanzas there is only white space, and it is nothing. The token begins where it ends.
                if self.depth <= 1 {
                    self.skip_blank(self.bytes.len())?;
                } else {
                    self.at = self.bytes.len();
                    self.seen = self.at;
                }
                return Ok(None);
            };
            if offset > 0 {
                let tag = self.at + offset;
                if self.depth <= 1 {
                    self.skip_blank(tag)?;
                }
                (self.at, self.seen, self.quote) = (tag, tag, None);
            }
            let Some(end) = self.token_end()? else { return Ok(None) };
            let begin = self.at;
            (self.at, self.seen, self.quote) = (end, end, None);
            let token = &self.bytes[begin..end];
            if token.starts_with(b"<?") {
                if self.depth > 0 {
                    return Err(Malformed);
                }
                self.start = end;
            } else if token.starts_with(b"<!") {
                // Only CDATA gets here, and it is text.
                if self.depth < 2 {
                    return Err(Malformed);
                }
            } else if token.starts_with(b"</") {
                self.depth = self.depth.checked_sub(1).ok_or(Malformed)?;
                match self.depth {
                    0 => {
                        self.start = end;
                        return Ok(Some(Frame::Close));
                    }
                    1 => return self.element(end).map(Some),
                    _ => {}
                }
            } else if token.ends_with(b"/>") {
                if self.depth == 1 {
                    return self.element(end).map(Some);
                }
            } else {
                self.depth += 1;
                if self.depth == 1 {
                    self.start = end;
                    return Ok(Some(Frame::Open(Parser::new(&self.bytes[begin..end])?.tag()?.0)));
                }
            }
        }
    }

    /// Blanks between stanzas keep a connection alive, and are nothing else.
    fn skip_blank(&mut self, until: usize) -> Result<(), Malformed> {
        if !self.bytes[self.at..until].iter().all(u8::is_ascii_whitespace) {
            return Err(Malformed);
        }
        (self.at, self.seen, self.start) = (until, until, until);
        Ok(())
    }

    /// The end of the token at `at`, behind its `>`.
    fn token_end(&mut self) -> Result<Option<usize>, Malformed> {
        const CDATA: &[u8] = b"<![CDATA[";
        let token = &self.bytes[self.at..];
        if token.len() >= 2 && token[1] == b'!' {
            let known = token.len().min(CDATA.len());
            if token[..known] != CDATA[..known] {
                return Err(Malformed);
            }
            let end = memchr::memmem::find(&token[known..], b"]]>").filter(|_| known == CDATA.len());
            return Ok(end.map(|end| self.at + known + end + 3));
        }
        for (place, &byte) in self.bytes.iter().enumerate().skip(self.seen) {
            match self.quote {
                Some(quote) if byte == quote => self.quote = None,
                Some(_) => {}
                None if byte == b'>' => return Ok(Some(place + 1)),
                None if byte == b'"' || byte == b'\'' => self.quote = Some(byte),
                None if byte == b'<' && place > self.at => return Err(Malformed),
                None => {}
            }
        }
        self.seen = self.bytes.len();
        Ok(None)
    }

    /// The element that ends here.
    fn element(&mut self, end: usize) -> Result<Frame, Malformed> {
        let begin = std::mem::replace(&mut self.start, end);
        Parser::new(&self.bytes[begin..end])?.element().map(Frame::Element)
    }
}

/// Reads one whole element.
struct Parser<'a> {
    left: &'a str,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Ok(Self { left: std::str::from_utf8(bytes).map_err(|_| Malformed)? })
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.left = self.left.strip_prefix(token)?;
        Some(())
    }

    fn up_to(&mut self, end: &str) -> Result<&'a str, Malformed> {
        let (taken, left) = self.left.split_once(end).ok_or(Malformed)?;
        self.left = left;
        Ok(taken)
    }

    fn name(&mut self) -> Result<String, Malformed> {
        let end = self.left.find(|c: char| c.is_ascii_whitespace() || "=/><'\"".contains(c)).ok_or(Malformed)?;
        let (name, left) = self.left.split_at(end);
        self.left = left;
        if name.is_empty() { Err(Malformed) } else { Ok(name.to_owned()) }
    }

    /// An opening tag, and whether it is also the closing one.
    fn tag(&mut self) -> Result<(Element, bool), Malformed> {
        self.take("<").ok_or(Malformed)?;
        let mut element = Element { name: self.name()?, ..Element::default() };
        loop {
            self.left = self.left.trim_ascii_start();
            if self.take("/>").is_some() {
                return Ok((element, true));
            }
            if self.take(">").is_some() {
                return Ok((element, false));
            }
            let name = self.name()?;
            self.left = self.left.trim_ascii_start();
            self.take("=").ok_or(Malformed)?;
            self.left = self.left.trim_ascii_start();
            let quote = if self.take("'").is_some() {
                "'"
            } else {
                self.take("\"").ok_or(Malformed)?;
                "\""
            };
            let value = unescape(self.up_to(quote)?)?;
            element.attributes.push((name, value));
        }
    }

    fn element(&mut self) -> Result<Element, Malformed> {
        let (mut element, closed) = self.tag()?;
        if closed {
            return Ok(element);
        }
        loop {
            let text = self.left.find('<').ok_or(Malformed)?;
            let (words, left) = self.left.split_at(text);
            element.text.push_str(&unescape(&lines(words))?);
            self.left = left;
            if self.take("</").is_some() {
                let name = self.up_to(">")?;
                return if name.trim_ascii_end() == element.name { Ok(element) } else { Err(Malformed) };
            }
            if self.take("<![CDATA[").is_some() {
                let words = self.up_to("]]>")?;
                element.text.push_str(&lines(words));
            } else {
                let child = self.element()?;
                element.children.push(child);
            }
        }
    }
}

/// XML 1.0 §2.11: a line ends by LF, whatever was written.
fn lines(text: &str) -> String {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.to_owned() }
}

fn unescape(text: &str) -> Result<String, Malformed> {
    let mut plain = String::with_capacity(text.len());
    let mut left = text;
    while let Some((before, after)) = left.split_once('&') {
        plain.push_str(before);
        let (name, after) = after.split_once(';').ok_or(Malformed)?;
        plain.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#').ok_or(Malformed)?;
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                code.ok().and_then(char::from_u32).ok_or(Malformed)?
            }
        });
        left = after;
    }
    plain.push_str(left);
    Ok(plain)
}

/// Text as it stands in an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // As itself it would be read as a line end.
            '\r' => escaped.push_str("&#13;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Frame, Malformed, Reader, escape};

    fn read(text: &[u8], piece: usize) -> Result<Vec<Frame>, Malformed> {
        let mut reader = Reader::default();
        let mut frames = Vec::new();
        for piece in text.chunks(piece) {
            reader.input().extend_from_slice(piece);
            while let Some(frame) = reader.next()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_the_same_wherever_reads_end() {
        let words = "5 < 6 && \"quotes\" 'single' ]]> </body> &amp; \r\n Grüße 東京";
        let text = format!(
            "<?xml version='1.0'?>\n<stream:stream xmlns='jabber:server' to=\"a>b\">\n <a/><message id='1' to = 'x'><body>{}</body>\
             <other><body/></other></message> \n<m><![CDATA[<&>]]>x\r\ny</m ></stream:stream>",
            escape(words)
        );
        let whole = read(text.as_bytes(), usize::MAX).unwrap();
        assert_eq!(whole.len(), 5);
        assert!(matches!(&whole[0], Frame::Open(tag) if tag.name() == "stream" && tag.attribute("to") == Some("a>b")));
        assert!(matches!(&whole[1], Frame::Element(element) if element.name() == "a" && element.text.is_empty()));
        let Frame::Element(message) = &whole[2] else { panic!("{:?}", whole[2]) };
        assert_eq!(message.child("body").unwrap().text, words);
        assert_eq!((message.attribute("to"), message.children.len()), (Some("x"), 2));
        assert!(matches!(&whole[3], Frame::Element(element) if element.text == "<&>x\ny"));
        assert_eq!(whole[4], Frame::Close);
        for piece in 1..text.len() {
            assert_eq!(read(text.as_bytes(), piece).as_ref(), Ok(&whole), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_xml_is_malformed() {
        for text in [
            "<s>text",
            "<s><a></b>",
            "<s><a b=c/>",
            "<s><!-- -->",
            "<s><a><a <",
            "<s><a>&nothing;</a>",
            "</s>",
            "<s><a>\u{1}&#xd800;</a>",
        ] {
            assert_eq!(read(text.as_bytes(), 3), Err(Malformed), "{text}");
        }
        assert_eq!(read(b"<s><a>\xff</a>", 3), Err(Malformed));
    }
}
