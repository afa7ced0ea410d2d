//! The words of rich text (`text/rtf`), which Communicator and Lync send where the other side takes it. How they look is left out.

use encoding_rs::Encoding;

/// Groups in one another; what is deeper is left out.
const MAX_DEPTH: usize = 64;
/// Groups that hold no words of the text.
const SKIPPED: [&str; 12] = [
    "fonttbl",
    "colortbl",
    "stylesheet",
    "pict",
    "info",
    "object",
    "themedata",
    "datastore",
    "listtable",
    "listoverridetable",
    "generator",
    "fldinst",
];

/// What holds in a group.
#[derive(Clone, Copy)]
struct Group {
    /// Nothing in it is shown.
    is_skipped: bool,
    /// Characters after `\u` that stand for it where it is not known.
    substitutes: u8,
}

/// The words. `None`: it is no RTF.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<String> {
    let rest = bytes.trim_ascii_start().strip_prefix(b"{\\rtf")?;
    let mut reader = Reader {
        rest,
        groups: vec![Group { is_skipped: false, substitutes: 1 }],
        too_deep: 0,
        out: String::new(),
        raw: Vec::new(),
        high: None,
        encoding: encoding_rs::WINDOWS_1252,
        to_skip: 0,
        begins: false,
    };
    // The version number.
    while let Some((first, rest)) = reader.rest.split_first()
        && first.is_ascii_digit()
    {
        reader.rest = rest;
    }
    // As behind any word.
    reader.rest = reader.rest.strip_prefix(b" ").unwrap_or(reader.rest);
    reader.run();
    reader.flush();
    Some(reader.out)
}

struct Reader<'a> {
    rest: &'a [u8],
    groups: Vec<Group>,
    too_deep: usize,
    out: String,
    /// Bytes of the code page that are not decoded yet.
    raw: Vec<u8>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    encoding: &'static Encoding,
    /// Characters that stand for the last `\u`.
    to_skip: u8,
    /// A group has just begun.
    begins: bool,
}

impl Reader<'_> {
    fn run(&mut self) {
        while let Some((first, rest)) = self.rest.split_first() {
            self.rest = rest;
            let begins = std::mem::take(&mut self.begins);
            match first {
                b'{' if self.groups.len() >= MAX_DEPTH => self.too_deep += 1,
                b'{' => {
                    let group = self.group();
                    self.groups.push(group);
                    self.begins = true;
                    self.to_skip = 0;
                }
                b'}' if self.too_deep > 0 => self.too_deep -= 1,
                b'}' => {
                    self.to_skip = 0;
                    self.groups.pop();
                    if self.groups.is_empty() {
                        return;
                    }
                }
                b'\\' => self.control(begins),
                // Line ends of the file are none of the text.
                b'\r' | b'\n' => {}
                byte => self.byte(*byte),
            }
        }
    }

    fn group(&self) -> Group {
        self.groups.last().copied().unwrap_or(Group { is_skipped: true, substitutes: 1 })
    }

    fn is_shown(&self) -> bool {
        self.too_deep == 0 && !self.group().is_skipped
    }

    /// A byte of the code page.
    fn byte(&mut self, byte: u8) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
        } else if self.is_shown() {
            self.raw.push(byte);
        }
    }

    fn push(&mut self, c: char) {
        if self.is_shown() {
            self.flush();
            self.out.push(c);
        }
    }

    fn flush(&mut self) {
        if self.high.take().is_some() {
            self.out.push('\u{fffd}');
        }
        if !self.raw.is_empty() {
            let (text, _) = self.encoding.decode_without_bom_handling(&self.raw);
            self.out.push_str(&text);
            self.raw.clear();
        }
    }

    fn control(&mut self, begins: bool) {
        let Some((first, rest)) = self.rest.split_first() else { return };
        if !first.is_ascii_alphabetic() {
            self.rest = rest;
            return self.symbol(*first);
        }
        let letters = self.rest.iter().take(32).take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (word, rest) = self.rest.split_at(letters);
        let is_negative = rest.first() == Some(&b'-');
        let rest = if is_negative { rest.get(1..).unwrap_or_default() } else { rest };
        let digits = rest.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = rest.split_at(digits);
        let number: Option<i64> = std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok());
        let number = number.map(|number| if is_negative { -number } else { number });
        // One blank ends the word.
        self.rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let word = String::from_utf8_lossy(word).to_ascii_lowercase();
        self.word(&word, number, begins);
    }

    fn symbol(&mut self, symbol: u8) {
        match symbol {
            b'\'' => {
                let code = self.rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    self.rest = self.rest.get(2..).unwrap_or_default();
                    self.byte(byte);
                }
            }
            b'\\' | b'{' | b'}' => self.byte(symbol),
            b'~' => self.push(' '),
            b'_' => self.push('-'),
            b'\r' | b'\n' => self.push('\n'),
            // What follows is for whoever knows it.
            b'*' => self.skip(),
            _ => {}
        }
    }

    fn skip(&mut self) {
        if self.too_deep == 0
            && let Some(group) = self.groups.last_mut()
        {
            group.is_skipped = true;
        }
    }

    fn word(&mut self, word: &str, number: Option<i64>, begins: bool) {
        match word {
            "par" | "line" | "sect" | "page" | "row" => self.push('\n'),
            "tab" | "cell" => self.push('\t'),
            "emdash" => self.push('\u{2014}'),
            "endash" => self.push('\u{2013}'),
            "bullet" => self.push('\u{2022}'),
            "lquote" => self.push('\u{2018}'),
            "rquote" => self.push('\u{2019}'),
            "ldblquote" => self.push('\u{201c}'),
            "rdblquote" => self.push('\u{201d}'),
            "uc" => {
                if let Some(group) = self.groups.last_mut() {
                    group.substitutes = number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1);
                }
            }
            "u" => self.unicode(number.unwrap_or(0)),
            "ansicpg" => {
                self.flush();
                self.encoding = number.and_then(encoding_of).unwrap_or(encoding_rs::WINDOWS_1252);
            }
            _ if begins && SKIPPED.contains(&word) => self.skip(),
            _ => {}
        }
    }

    /// `\uN`: a 16-bit number with a sign, and half of a pair beyond U+FFFF.
    fn unicode(&mut self, number: i64) {
        self.to_skip = self.group().substitutes;
        let Ok(unit) = u16::try_from(number.rem_euclid(0x1_0000)) else { return };
        if !self.is_shown() {
            return;
        }
        let high = self.high.take();
        self.flush();
        match (high, unit) {
            (None, 0xd800..=0xdbff) => self.high = Some(unit),
            (Some(high), 0xdc00..=0xdfff) => {
                let c = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                self.out.push(c.unwrap_or('\u{fffd}'));
            }
            (Some(_), _) => {
                self.out.push('\u{fffd}');
                self.out.push(char::from_u32(unit.into()).unwrap_or('\u{fffd}'));
            }
            (None, unit) => self.out.push(char::from_u32(unit.into()).unwrap_or('\u{fffd}')),
        }
    }
}

/// The code pages of Windows.
fn encoding_of(page: i64) -> Option<&'static Encoding> {
    let label = match page {
        874 => "windows-874",
        932 => "shift_jis",
        936 => "gbk",
        949 => "euc-kr",
        950 => "big5",
        1250..=1258 => return Encoding::for_label(format!("windows-{page}").as_bytes()),
        65001 => "utf-8",
        _ => return None,
    };
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(rtf: &str) -> String {
        read(rtf.as_bytes()).unwrap()
    }

    #[test]
    fn the_recorded_text_is_read() {
        assert_eq!(text(r"{\rtf1\ansi{\fonttbl\f0\fswiss Segoe UI;}\f0 rich \b bold\b0}"), "rich bold");
    }

    #[test]
    fn characters_of_every_kind() {
        assert_eq!(
            text(r"{\rtf1\ansi\ansicpg1252 caf\'e9 \u8364? \u-10179?\u-8704? x\par y\line\tab z\{\}\\}"),
            "café € 😀 x\ny\n\tz{}\\"
        );
        assert_eq!(text(r"{\rtf1\ansicpg1251 \'cf\'f0\'e8}"), "При");
        assert_eq!(text(r"{\rtf1\ansicpg932 \'93\'8c\'8b\'9e}"), "東京");
        assert_eq!(text(r"{\rtf1{\uc2\u26481??}\u20140 x}"), "東京");
        assert_eq!(text("{\\rtf1 one\r\ntwo\\\nthree}"), "onetwo\nthree");
        assert_eq!(text(r"{\rtf1\u-10179?x}"), "\u{fffd}x");
    }

    #[test]
    fn what_is_not_of_the_text_is_left_out() {
        let full = r"{\rtf1{\fonttbl{\f0 A;}}{\colortbl;\red0;}{\stylesheet{\s0 Normal;}}{\*\generator Riched20;}{\pict 0102}{\info{\author X}}hello}";
        assert_eq!(text(full), "hello");
        assert_eq!(text(r"{\rtf1 a}b"), "a");
        assert_eq!(read(b"hello"), None);
        assert_eq!(read(b""), None);
    }

    #[test]
    fn abuse_14_depth_is_bounded() {
        let deep = format!("{{\\rtf1 a{}b{}c}}", "{".repeat(10_000), "}".repeat(10_000));
        assert_eq!(text(&deep), "ac");
        assert_eq!(text(&format!("{{\\rtf1 {}", "{".repeat(10_000))), "");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in r"[{}\\a-z0-9' *-]{0,200}") {
            let _ = read(&[b"{\\rtf1".as_slice(), &bytes].concat());
            let _ = read(format!("{{\\rtf1{text}").as_bytes());
        }
    }
}
