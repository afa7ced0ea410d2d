//! Which entries a search is for: RFC 4511 §4.5.1.7 on the wire, RFC 4515 as text.

use std::fmt;

use crate::ber::{self, OCTET_STRING, SEQUENCE, context};
use crate::limits::{DEEPEST_FILTER, LONGEST_FILTER};

/// A filter. What a person typed goes into a value, where nothing of it is syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of them fit.
    And(Vec<Filter>),
    /// One of them fits.
    Or(Vec<Filter>),
    /// It does not fit.
    Not(Box<Filter>),
    /// An attribute has this value.
    Equal {
        /// Which.
        attribute: String,
        /// The value.
        value: Vec<u8>,
    },
    /// An attribute has a value with these parts, in this order; at least one is there.
    Substrings {
        /// Which.
        attribute: String,
        /// How it begins.
        initial: Option<Vec<u8>>,
        /// What comes between.
        any: Vec<Vec<u8>>,
        /// How it ends.
        last: Option<Vec<u8>>,
    },
    /// An attribute has this value or a greater one.
    AtLeast {
        /// Which.
        attribute: String,
        /// The value.
        value: Vec<u8>,
    },
    /// An attribute has this value or a smaller one.
    AtMost {
        /// Which.
        attribute: String,
        /// The value.
        value: Vec<u8>,
    },
    /// An attribute is there.
    Present {
        /// Which.
        attribute: String,
    },
    /// An attribute has about this value.
    Like {
        /// Which.
        attribute: String,
        /// The value.
        value: Vec<u8>,
    },
    /// By a rule of the server's: Active Directory's for members of groups in groups, for example.
    Extensible {
        /// The attribute; at least this or the rule is there.
        attribute: Option<String>,
        /// Also the attributes of which the entry's name is made.
        of_name: bool,
        /// The rule.
        rule: Option<String>,
        /// The value.
        value: Vec<u8>,
    },
}

/// Why a text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(&'static str);

impl Filter {
    /// Reads a filter as operators write them: `(&(objectClass=person)(!(shut=TRUE)))`. At most 4,096 bytes, 16 deep.
    ///
    /// # Errors
    /// [`FilterError`], with what would be right.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > LONGEST_FILTER {
            return Err(FilterError("a filter has at most 4096 bytes"));
        }
        let mut rest = text.trim();
        let filter = parse(&mut rest, DEEPEST_FILTER)?;
        if !rest.is_empty() {
            return Err(FilterError("there is something behind the last `)`: put (& ) around filters that must all fit"));
        }
        Ok(filter)
    }

    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let compare = |into: &mut Vec<u8>, number: u8, attribute: &str, value: &[u8]| {
            ber::write(into, context(number, true), |into| {
                ber::write_bytes(into, OCTET_STRING, attribute.as_bytes());
                ber::write_bytes(into, OCTET_STRING, value);
            });
        };
        match self {
            Filter::And(all) => ber::write(into, context(0, true), |into| all.iter().for_each(|filter| filter.encode(into))),
            Filter::Or(all) => ber::write(into, context(1, true), |into| all.iter().for_each(|filter| filter.encode(into))),
            Filter::Not(filter) => ber::write(into, context(2, true), |into| filter.encode(into)),
            Filter::Equal { attribute, value } => compare(into, 3, attribute, value),
            Filter::Substrings { attribute, initial, any, last } => ber::write(into, context(4, true), |into| {
                ber::write_bytes(into, OCTET_STRING, attribute.as_bytes());
                ber::write(into, SEQUENCE, |into| {
                    initial.iter().for_each(|part| ber::write_bytes(into, context(0, false), part));
                    any.iter().for_each(|part| ber::write_bytes(into, context(1, false), part));
                    last.iter().for_each(|part| ber::write_bytes(into, context(2, false), part));
                });
            }),
            Filter::AtLeast { attribute, value } => compare(into, 5, attribute, value),
            Filter::AtMost { attribute, value } => compare(into, 6, attribute, value),
            Filter::Present { attribute } => ber::write_bytes(into, context(7, false), attribute.as_bytes()),
            Filter::Like { attribute, value } => compare(into, 8, attribute, value),
            Filter::Extensible { attribute, of_name, rule, value } => ber::write(into, context(9, true), |into| {
                rule.iter().for_each(|rule| ber::write_bytes(into, context(1, false), rule.as_bytes()));
                attribute.iter().for_each(|attribute| ber::write_bytes(into, context(2, false), attribute.as_bytes()));
                ber::write_bytes(into, context(3, false), value);
                if *of_name {
                    ber::write_bytes(into, context(4, false), &[0xff]);
                }
            }),
        }
    }
}

/// As RFC 4515 writes it, with everything escaped that must be.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaped<'a>(&'a [u8]);
        impl fmt::Display for Escaped<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    match byte {
                        b'*' | b'(' | b')' | b'\\' | 0..0x20 | 0x7f.. => write!(f, "\\{byte:02x}")?,
                        _ => write!(f, "{}", char::from(*byte))?,
                    }
                }
                Ok(())
            }
        }
        let list = |f: &mut fmt::Formatter<'_>, sign: char, all: &[Filter]| {
            write!(f, "({sign}")?;
            all.iter().try_for_each(|filter| write!(f, "{filter}"))?;
            write!(f, ")")
        };
        match self {
            Filter::And(all) => list(f, '&', all),
            Filter::Or(all) => list(f, '|', all),
            Filter::Not(filter) => write!(f, "(!{filter})"),
            Filter::Equal { attribute, value } => write!(f, "({attribute}={})", Escaped(value)),
            Filter::Substrings { attribute, initial, any, last } => {
                write!(f, "({attribute}={}*", Escaped(initial.as_deref().unwrap_or_default()))?;
                any.iter().try_for_each(|part| write!(f, "{}*", Escaped(part)))?;
                write!(f, "{})", Escaped(last.as_deref().unwrap_or_default()))
            }
            Filter::AtLeast { attribute, value } => write!(f, "({attribute}>={})", Escaped(value)),
            Filter::AtMost { attribute, value } => write!(f, "({attribute}<={})", Escaped(value)),
            Filter::Present { attribute } => write!(f, "({attribute}=*)"),
            Filter::Like { attribute, value } => write!(f, "({attribute}~={})", Escaped(value)),
            Filter::Extensible { attribute, of_name, rule, value } => {
                write!(f, "({}{}", attribute.as_deref().unwrap_or_default(), if *of_name { ":dn" } else { "" })?;
                rule.iter().try_for_each(|rule| write!(f, ":{rule}"))?;
                write!(f, ":={})", Escaped(value))
            }
        }
    }
}

fn parse(rest: &mut &str, depth: usize) -> Result<Filter, FilterError> {
    let depth = depth.checked_sub(1).ok_or(FilterError("a filter is at most 16 deep"))?;
    let inner = rest.strip_prefix('(').ok_or(FilterError("a filter begins with `(`: (objectClass=person)"))?;
    let list = |rest: &mut &str| -> Result<Vec<Filter>, FilterError> {
        let mut all = Vec::new();
        while rest.starts_with('(') {
            all.push(parse(rest, depth)?);
        }
        Ok(all)
    };
    *rest = inner;
    let filter = if let Some(inner) = rest.strip_prefix('&') {
        *rest = inner;
        Filter::And(list(rest)?)
    } else if let Some(inner) = rest.strip_prefix('|') {
        *rest = inner;
        Filter::Or(list(rest)?)
    } else if let Some(inner) = rest.strip_prefix('!') {
        *rest = inner;
        Filter::Not(Box::new(parse(rest, depth)?))
    } else {
        let end = rest.find(['(', ')']).ok_or(FilterError("a `)` is missing"))?;
        let (item, after) = rest.split_at(end);
        *rest = after;
        parse_item(item)?
    };
    *rest = rest.strip_prefix(')').ok_or(FilterError("a `)` is missing, or something stands before it that is no filter"))?;
    Ok(filter)
}

/// What stands in the innermost parentheses.
fn parse_item(item: &str) -> Result<Filter, FilterError> {
    let (left, value) = item.split_once('=').ok_or(FilterError("an `=` is missing: (attribute=value)"))?;
    if let Some(attribute) = left.strip_suffix('>') {
        return Ok(Filter::AtLeast { attribute: described(attribute)?, value: whole(value)? });
    }
    if let Some(attribute) = left.strip_suffix('<') {
        return Ok(Filter::AtMost { attribute: described(attribute)?, value: whole(value)? });
    }
    if let Some(attribute) = left.strip_suffix('~') {
        return Ok(Filter::Like { attribute: described(attribute)?, value: whole(value)? });
    }
    if let Some(left) = left.strip_suffix(':') {
        return extensible(left, whole(value)?);
    }
    let attribute = described(left)?;
    if value == "*" {
        return Ok(Filter::Present { attribute });
    }
    let mut parts = value.split('*').map(unescaped).collect::<Result<Vec<_>, _>>()?;
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() {
        return Ok(Filter::Equal { attribute, value: last });
    }
    let initial = parts.remove(0);
    if parts.iter().any(Vec::is_empty) {
        return Err(FilterError("two `*` stand side by side"));
    }
    let some = |part: Vec<u8>| Some(part).filter(|part| !part.is_empty());
    Ok(Filter::Substrings { attribute, initial: some(initial), any: parts, last: some(last) })
}

/// `attribute:dn:rule`, of which not all must be there.
fn extensible(left: &str, value: Vec<u8>) -> Result<Filter, FilterError> {
    let mut parts = left.split(':');
    let attribute = parts.next().filter(|attribute| !attribute.is_empty()).map(described).transpose()?;
    let mut next = parts.next();
    let of_name = next.is_some_and(|part| part.eq_ignore_ascii_case("dn"));
    if of_name {
        next = parts.next();
    }
    let rule = next.map(described).transpose()?;
    if parts.next().is_some() || (attribute.is_none() && rule.is_none()) {
        return Err(FilterError("before `:=` stand an attribute, `:dn`, and a rule: (member:1.2.840.113556.1.4.1941:=value)"));
    }
    Ok(Filter::Extensible { attribute, of_name, rule, value })
}

/// The name of an attribute or a rule: RFC 4512 §2.5, options included.
fn described(text: &str) -> Result<String, FilterError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';' | b'_');
    if text.is_empty() || !text.bytes().all(good) {
        return Err(FilterError("the name of an attribute has letters, digits, `-`, `.` and `;`"));
    }
    Ok(text.to_owned())
}

fn whole(text: &str) -> Result<Vec<u8>, FilterError> {
    if text.contains('*') {
        return Err(FilterError("a `*` may only follow `=`; write \\2a for the character itself"));
    }
    unescaped(text)
}

fn unescaped(text: &str) -> Result<Vec<u8>, FilterError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let value = match *after {
            [high, low, ..] => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(value.ok_or(FilterError("after `\\` come two hexadecimal digits: \\2a is `*`"))?);
        rest = after.get(2..).unwrap_or_default();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(filter: &Filter) -> String {
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn filters_as_operators_write_them() {
        for text in [
            "(objectClass=person)",
            "(&(objectClass=person)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
            "(|(uid=a*)(cn=*b*c*)(cn=*d))",
            "(memberOf:1.2.840.113556.1.4.1941:=cn=im,ou=groups,dc=acme,dc=example)",
            "(cn:dn:2.4.6.8.10:=Dino)",
            "(:caseExactMatch:=x)",
            "(cn;lang-de=*)",
            "(age>=18)",
            "(age<=65)",
            "(cn~=smith)",
            "(cn=)",
            "(&)",
            "(cn=\\28\\2a\\29\\5c\\00)",
        ] {
            let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.to_string(), text);
        }
        assert_eq!(Filter::parse(" (cn=Zoë) ").unwrap().to_string(), "(cn=Zo\\c3\\ab)");
    }

    #[test]
    fn texts_that_are_none_are_told_what_is_wrong() {
        for (text, says) in [
            ("", "begins with `(`"),
            ("objectClass=person", "begins with `(`"),
            ("(objectClass=person", "`)` is missing"),
            ("(&(a=b)", "`)` is missing"),
            ("(&(a=b)c)", "no filter"),
            ("(a=b)(c=d)", "behind the last"),
            ("(person)", "`=` is missing"),
            ("(=x)", "the name of an attribute"),
            ("(a b=x)", "the name of an attribute"),
            ("(a=b**c)", "side by side"),
            ("(a>=b*)", "may only follow"),
            ("(a=\\2)", "hexadecimal"),
            ("(a=\\zz)", "hexadecimal"),
            ("(:=x)", "before `:=`"),
            ("(a:dn:b:c:=x)", "before `:=`"),
        ] {
            let error = Filter::parse(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = |depth: usize| format!("{}(a=b){}", "(!".repeat(depth), ")".repeat(depth));
        assert!(Filter::parse(&deep(DEEPEST_FILTER - 1)).is_ok());
        assert!(Filter::parse(&deep(DEEPEST_FILTER)).unwrap_err().to_string().contains("16 deep"));
        assert!(Filter::parse(&deep(10_000)).is_err());
    }

    #[test]
    fn filters_are_these_bytes() {
        // By hand, from RFC 4511 §4.5.1.
        for (text, want) in [
            ("(a=b)", "a306040161040162"),
            ("(a=*)", "870161"),
            ("(&(a=b)(!(c=*)))", "a00da306040161040162a203870163"),
            ("(a=b*c*d)", "a40e0401613009800162810163820164"),
            ("(a>=b)", "a506040161040162"),
            ("(a:dn:=b)", "a909820161830162840 1ff"),
        ] {
            assert_eq!(wire(&Filter::parse(text).unwrap()), want.replace(' ', ""), "{text}");
        }
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let name = "[a-zA-Z][a-zA-Z0-9-]{0,8}";
        let value = || proptest::collection::vec(any::<u8>(), 0..12);
        let part = || proptest::collection::vec(any::<u8>(), 1..8);
        let leaf = prop_oneof![
            (name, value()).prop_map(|(attribute, value)| Filter::Equal { attribute, value }),
            (name, value()).prop_map(|(attribute, value)| Filter::AtMost { attribute, value }),
            (name, value()).prop_map(|(attribute, value)| Filter::Like { attribute, value }),
            name.prop_map(|attribute| Filter::Present { attribute }),
            (name, part(), proptest::collection::vec(part(), 0..3), proptest::option::of(part()))
                .prop_map(|(attribute, first, any, last)| Filter::Substrings { attribute, initial: Some(first), any, last }),
            (proptest::option::of(name), any::<bool>(), name, value())
                .prop_filter("`dn` is no rule", |(_, _, rule, _)| !rule.eq_ignore_ascii_case("dn"))
                .prop_map(|(attribute, of_name, rule, value)| Filter::Extensible { attribute, of_name, rule: Some(rule), value }),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_whatever_the_values_are(filter in filters()) {
            let text = filter.to_string();
            prop_assert_eq!(Filter::parse(&text), Ok(filter), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[()&|!=*\\\\:a-z<>~\u{e9}]{0,40}") {
            let _ = Filter::parse(&text);
        }
    }
}
