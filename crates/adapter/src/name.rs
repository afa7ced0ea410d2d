//! Names in certificates against domains: the part of the rule that platforms share.

use interchange_model::Domain;

/// Whether a dNSName of a certificate stands for `domain`: equal as A-labels, or, where `wildcards` are allowed,
/// `*` as the whole left-most label for exactly one label (RFC 6125 §6.4.3). Partial wildcards never match.
#[must_use]
pub fn dns_name_matches(name: &str, domain: &Domain, wildcards: bool) -> bool {
    let domain = domain.as_str();
    if let Some(parent) = name.strip_prefix("*.") {
        // `*.example` would stand for everybody: a wildcard needs two labels behind it.
        return wildcards
            && parent.contains('.')
            && domain.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent));
    }
    name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_and_whole_labels_match() {
        let domain = Domain::parse("chat.acme.example").unwrap();
        for (name, wildcards, want) in [
            ("chat.acme.example", false, true),
            ("CHAT.acme.example.", false, true),
            ("*.acme.example", true, true),
            ("*.acme.example", false, false),
            ("c*.acme.example", true, false),
            ("*.example", true, false),
            ("*", true, false),
            ("acme.example", true, false),
            ("evil-chat.acme.example", true, false),
            ("chat.acme.example.evil.example", true, false),
            ("", true, false),
        ] {
            assert_eq!(dns_name_matches(name, &domain, wildcards), want, "{name} {wildcards}");
        }
        assert!(!dns_name_matches("*.acme.example", &Domain::parse("acme.example").unwrap(), true));
        assert!(!dns_name_matches("*.acme.example", &Domain::parse("a.chat.acme.example").unwrap(), true));
    }
}
