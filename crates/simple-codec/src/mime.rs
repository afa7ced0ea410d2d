//! Bodies of several parts (RFC 2045, RFC 2046): where the parts are, and their headers. What is in them is the reader's business.

/// Name and value of a header inside a body.
pub type Line = (String, String);

/// The lines of a header block inside a body, unfolded; and what follows the empty line. `None` without an empty line,
/// or with more lines than any honest sender writes.
#[must_use]
pub fn header_block(bytes: &[u8]) -> Option<(Vec<Line>, &[u8])> {
    const MAX_LINES: usize = 64;
    let mut headers: Vec<Line> = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = rest.split_at_checked(end + 1)?;
        rest = after;
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Some((headers, rest));
        }
        if line.starts_with([' ', '\t']) {
            let (_, value) = headers.last_mut()?;
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':')?;
        if headers.len() == MAX_LINES {
            return None;
        }
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}

/// The first header of a name, in any case.
#[must_use]
pub fn header<'a>(headers: &'a [Line], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The parts between boundary lines, without the line end before the next boundary. What stands before the first is
/// skipped, and a missing last boundary is forgiven.
pub struct Parts<'a> {
    rest: Option<&'a [u8]>,
    boundary: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Of a body with a boundary.
    #[must_use]
    pub fn new(body: &'a [u8], boundary: &'a [u8]) -> Self {
        let mut parts = Self { rest: Some(body), boundary };
        parts.next();
        parts
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut start = 0;
        while let Some(line) = rest.get(start..).filter(|line| !line.is_empty()) {
            let length = line.iter().position(|byte| *byte == b'\n').map_or(line.len(), |end| end + 1);
            if let Some(tail) = line.get(..length).and_then(|line| line.strip_prefix(b"--")?.strip_prefix(self.boundary)) {
                let last = tail.starts_with(b"--");
                let tail = if last { tail.get(2..).unwrap_or_default() } else { tail };
                if tail.iter().all(u8::is_ascii_whitespace) {
                    self.rest = rest.get(start + length..).filter(|_| !last);
                    return rest.get(..start).map(without_line_end);
                }
            }
            start += length;
        }
        self.rest = None;
        Some(rest)
    }
}

/// RFC 2046 §5.1.1: the line end before a boundary belongs to the boundary.
fn without_line_end(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_their_headers() {
        let body =
            b"preamble\r\n--x\r\nContent-Type: text/plain;\r\n charset=UTF-8\r\n\r\none\r\n--x\r\n\r\ntwo\r\n--x--\r\nepilogue";
        let parts: Vec<&[u8]> = Parts::new(body, b"x").collect();
        assert_eq!(parts.len(), 2);
        let (headers, content) = header_block(parts[0]).unwrap();
        assert_eq!((header(&headers, "content-type"), content), (Some("text/plain; charset=UTF-8"), &b"one"[..]));
        assert_eq!(header_block(parts[1]), Some((Vec::new(), &b"two"[..])));
        assert_eq!(header_block(b"no empty line"), None);
        assert_eq!(header_block("a: b\r\n".repeat(65).as_bytes()), None);
    }
}
