//! What was issued and revoked. An entry is on disk before its certificate exists, so what was handed out can always be revoked; an entry whose
//! certificate a crash prevented does no harm.

use std::path::{Path, PathBuf};

use interchange_model::Domain;
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;

use crate::error::AuthorityError;
use crate::files;
use crate::serial::Serial;

/// Most certificates in one index.
pub(crate) const MOST_ENTRIES: usize = 100_000;

const VERSION: u32 = 1;

/// One certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its serial number.
    pub serial: Serial,
    /// The domains it stands for, in order; at least one.
    #[serde(deserialize_with = "domains")]
    pub domains: Vec<Domain>,
    /// Whether it has SRVNames for XMPP.
    pub xmpp: bool,
    /// Whether it has SIP URIs.
    pub sip: bool,
    /// Who holds its key.
    pub key: KeyHolder,
    /// When it was issued.
    #[serde(with = "seconds")]
    pub issued: OffsetDateTime,
    /// Until when it is valid.
    #[serde(with = "seconds")]
    pub valid_until: OffsetDateTime,
    /// The certificate that it was made to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<Serial>,
    /// Set when it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// What a certificate is good for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Valid.
    Valid,
    /// Its time is over.
    Expired,
    /// Revoked, whether or not its time is over.
    Revoked,
}

impl Entry {
    /// What it is good for at the time `now`.
    #[must_use]
    pub fn state(&self, now: OffsetDateTime) -> State {
        match &self.revoked {
            Some(_) => State::Revoked,
            None if self.valid_until < now => State::Expired,
            None => State::Valid,
        }
    }
}

/// Who holds a certificate's private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHolder {
    /// The hub: it was made here and lies beside the certificate.
    Hub,
    /// Whoever made the request; it was never here.
    Member,
}

/// That a certificate was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// When.
    #[serde(with = "seconds")]
    pub at: OffsetDateTime,
    /// Why.
    pub reason: RevocationReason,
}

/// Why a certificate was revoked (RFC 5280 §5.3.1): those of the reasons that a link can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// None is told.
    Unspecified,
    /// Somebody else has the key, or may have it.
    KeyCompromise,
    /// The names are not its holder's any more.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// It is not needed any more.
    CessationOfOperation,
    /// Its holder may not do any more what it is for.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// As it is written in the index and on the command line: `key-compromise`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }
}

/// The index of one authority.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    version: u32,
    /// The number of the newest list of what was revoked; 0 before the first (RFC 5280 §5.2.3).
    pub(crate) list_number: u64,
    /// By when the newest list is to be replaced.
    #[serde(with = "seconds")]
    pub(crate) list_next_update: OffsetDateTime,
    /// In the order in which they were issued.
    pub(crate) entries: Vec<Entry>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { version: VERSION, list_number: 0, list_next_update: OffsetDateTime::UNIX_EPOCH, entries: Vec::new() }
    }

    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join("index.json")
    }

    /// `None`: there is none.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, AuthorityError> {
        let path = Self::path(directory);
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let index: Self = serde_json::from_str(&text)
            .map_err(|error| AuthorityError::Damaged { path: path.clone(), why: error.to_string() })?;
        let why = if index.version != VERSION {
            format!("it has the version {}, and this program knows {VERSION}", index.version)
        } else if index.entries.len() > MOST_ENTRIES || index.entries.iter().any(|entry| entry.domains.is_empty()) {
            "it has an entry without a domain, or too many entries".to_owned()
        } else {
            return Ok(Some(index));
        };
        Err(AuthorityError::Damaged { path, why })
    }

    /// On disk when this returns.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), AuthorityError> {
        let mut text = serde_json::to_string_pretty(self).expect("an index has nothing that JSON lacks");
        text.push('\n');
        files::write(&Self::path(directory), &text, files::PRIVATE)
    }

    /// The one entry whose serial number begins with these digits.
    pub(crate) fn find(&self, prefix: &str) -> Result<&Entry, AuthorityError> {
        let digits: String = prefix.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).take(33).collect();
        let shown = || digits.escape_debug().to_string();
        let mut found = self.entries.iter().filter(|entry| entry.serial.to_string().starts_with(&digits));
        match (found.next(), found.count()) {
            (Some(entry), 0) if !digits.is_empty() => Ok(entry),
            (None, _) => Err(AuthorityError::Unknown(shown())),
            (Some(_), others) => Err(AuthorityError::Ambiguous { prefix: shown(), count: others + 1 }),
        }
    }
}

fn domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Domain>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| Domain::parse(text).map_err(serde::de::Error::custom)).collect()
}

/// Times as whole seconds since 1970.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;

    pub(super) fn serialize<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.unix_timestamp())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
        OffsetDateTime::from_unix_timestamp(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;

    fn entry() -> impl Strategy<Value = Entry> {
        let time = (0i64..4_000_000_000).prop_map(|seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap());
        let reason = proptest::sample::select(&RevocationReason::ALL[..]);
        let revoked = proptest::option::of((time.clone(), reason).prop_map(|(at, reason)| Revocation { at, reason }));
        (proptest::collection::vec("[a-z]{1,9}\\.example", 1..4), any::<(bool, bool, bool)>(), time.clone(), time, revoked)
            .prop_map(|(names, (xmpp, sip, hub), issued, valid_until, revoked)| Entry {
                serial: Serial::random().unwrap(),
                domains: names.iter().map(|name| Domain::parse(name).unwrap()).collect(),
                xmpp,
                sip,
                key: if hub { KeyHolder::Hub } else { KeyHolder::Member },
                issued,
                valid_until,
                renews: hub.then(|| Serial::random().unwrap()),
                revoked,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn an_index_reads_back_as_it_was(entries in proptest::collection::vec(entry(), 0..5), list_number in any::<u64>()) {
            let directory = tempfile::tempdir().unwrap();
            let index = Index { list_number, entries, ..Index::new() };
            index.save(directory.path()).unwrap();
            let read = Index::load(directory.path()).unwrap().unwrap();
            prop_assert_eq!(&read.entries, &index.entries);
            prop_assert_eq!(read.list_number, list_number);
        }

        #[test]
        fn a_damaged_index_is_an_error_and_no_panic(text in "\\PC*|\\{\"version\":[0-9]{1,30},\"list_number\":-?[0-9]{1,30}.*") {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(Index::path(directory.path()), text).unwrap();
            let damaged = matches!(Index::load(directory.path()), Err(AuthorityError::Damaged { .. }));
            prop_assert!(damaged);
        }
    }

    #[test]
    fn a_serial_number_is_found_by_its_first_digits() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut index = Index::new();
        assert!(matches!(index.find("4"), Err(AuthorityError::Unknown(_))));
        for serial in ["40aa0000000000000000000000000000", "40ab0000000000000000000000000000"] {
            let mut entry = entry().new_tree(&mut runner).unwrap().current();
            entry.serial = serial.parse().unwrap();
            index.entries.push(entry);
        }
        assert_eq!(index.find("40:AA").unwrap().serial.to_string(), "40aa0000000000000000000000000000");
        assert!(matches!(index.find("40a"), Err(AuthorityError::Ambiguous { count: 2, .. })));
        assert!(matches!(index.find(""), Err(AuthorityError::Ambiguous { .. })));
        assert!(matches!(index.find("40ac"), Err(AuthorityError::Unknown(_))));
        assert!(matches!(index.find(&"4".repeat(100)), Err(AuthorityError::Unknown(_))));
    }
}
