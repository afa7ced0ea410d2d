//! Information barriers: pairs of people who may not meet, whatever their firms have agreed (an "ethical wall").

use std::collections::{HashMap, HashSet};
use std::fmt;

use interchange_model::{Address, Domain};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A person, or everybody of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// Written `acme.example`.
    Domain(Domain),
    /// Written `alice@acme.example`; compared as addresses are.
    Person(Address),
}

impl Party {
    /// Its domain.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        match self {
            Party::Domain(domain) => domain,
            Party::Person(address) => address.domain(),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Domain(domain) => domain.fmt(f),
            Party::Person(address) => address.fmt(f),
        }
    }
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        if text.contains('@') {
            return Address::parse(&text).map(Party::Person).map_err(serde::de::Error::custom);
        }
        Domain::parse(&text).map(Party::Domain).map_err(serde::de::Error::custom)
    }
}

/// Both sides of a barrier: nobody of one meets anybody of the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sides(pub [Vec<Party>; 2]);

/// All barriers, by who is behind them: a look-up costs what the barriers of these two people are, however many others there are.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    /// Of each party the barriers that it is behind, by number, with the side.
    behind: HashMap<Party, Vec<(usize, usize)>>,
}

impl Barriers {
    pub(crate) fn new(all: &[Sides]) -> Self {
        let mut barriers = Self::default();
        for (number, Sides(sides)) in all.iter().enumerate() {
            for (side, parties) in sides.iter().enumerate() {
                for party in parties {
                    barriers.behind.entry(party.clone()).or_default().push((number, side));
                }
            }
        }
        barriers
    }

    /// Whether one stands between two people.
    pub(crate) fn part(&self, one: &Address, other: &Address) -> bool {
        if self.behind.is_empty() {
            return false;
        }
        let of = |address: &Address| -> HashSet<(usize, usize)> {
            let parties = [Party::Domain(address.domain().clone()), Party::Person(address.clone())];
            parties.iter().filter_map(|party| self.behind.get(party)).flatten().copied().collect()
        };
        let others = of(other);
        of(one).into_iter().any(|(number, side)| others.contains(&(number, 1 - side)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barriers(all: &str) -> Barriers {
        Barriers::new(&serde_json::from_str::<Vec<Sides>>(all).unwrap())
    }

    #[test]
    fn who_is_behind_a_barrier_meets_nobody_on_its_other_side() {
        let barriers = barriers(
            r#"[[["research@acme.example"],["globex.example"]],[["initech.example","x@acme.example"],["Bob@globex.example"]]]"#,
        );
        for (one, other, parted) in [
            ("research@acme.example", "bob@globex.example", true),
            ("RESEARCH@acme.example", "anybody@globex.example", true),
            ("sales@acme.example", "anybody@globex.example", false),
            ("x@acme.example", "bob@globex.example", true),
            ("x@acme.example", "carol@globex.example", false),
            ("anybody@initech.example", "bob@globex.example", true),
            // One side's own people meet, and so do sides of different barriers.
            ("x@acme.example", "anybody@initech.example", false),
            ("research@acme.example", "anybody@initech.example", false),
            ("research@acme.example", "bob@sub.globex.example", false),
        ] {
            let (one, other) = (Address::parse(one).unwrap(), Address::parse(other).unwrap());
            assert_eq!((barriers.part(&one, &other), barriers.part(&other, &one)), (parted, parted), "{one} {other}");
        }
        assert!(serde_json::from_str::<Sides>(r#"[["a@"],["b.example"]]"#).is_err());
        assert!(serde_json::from_str::<Sides>(r#"[["a.example"]]"#).is_err());
    }
}
