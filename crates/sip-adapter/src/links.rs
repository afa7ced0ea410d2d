//! What a new set of links changes, as the broker tells it: which are gone, which are new, and which cannot be used.

use std::collections::{HashMap, HashSet};

use interchange_model::{Domain, Link, LinkId, Settings, SettingsError};

/// A link that an adapter has, by its number there.
pub struct Known<'a, S> {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub id: &'a LinkId,
    /// Its domains.
    pub domains: &'a [Domain],
    /// Its settings, as they were read.
    pub settings: &'a S,
}

/// What a new set of links changes. One that is another now is gone, and new.
pub struct Changes<'a, S> {
    /// The numbers of those that are gone.
    pub gone: Vec<u64>,
    /// Those that are new and can be used.
    pub new: Vec<(&'a Link, S)>,
    /// Those that cannot be used.
    pub unusable: Vec<(LinkId, SettingsError)>,
}

/// What a new set of links changes for an adapter that has these.
pub fn changes<'a, 'b, S: PartialEq + 'b>(
    known: impl Iterator<Item = Known<'b, S>>,
    links: &'a [Link],
    read: impl Fn(&Settings) -> Result<S, SettingsError>,
) -> Changes<'a, S> {
    let known: HashMap<&LinkId, Known<'b, S>> = known.map(|known| (known.id, known)).collect();
    let mut kept = HashSet::new();
    let mut changes = Changes { gone: Vec::new(), new: Vec::new(), unusable: Vec::new() };
    for link in links {
        let settings = match link.domains.is_empty() {
            true => Err(SettingsError::new("", "the link has no domain")),
            false => read(&link.settings),
        };
        match (settings, known.get(&link.id)) {
            (Err(error), _) => changes.unusable.push((link.id.clone(), error)),
            (Ok(settings), Some(known)) if link.domains == known.domains && settings == *known.settings => {
                kept.insert(known.number);
            }
            (Ok(settings), _) => changes.new.push((link, settings)),
        }
    }
    changes.gone = known.values().map(|known| known.number).filter(|number| !kept.contains(number)).collect();
    changes.gone.sort_unstable();
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_that_is_another_now_is_begun_anew() {
        let read = |settings: &Settings| settings.read::<HashMap<String, u16>>();
        let link = |name: &str, domain: &str, port: u16| Link {
            id: name.into(),
            member: "m".into(),
            platform: interchange_model::PlatformName::from_static("sip"),
            domains: vec![Domain::parse(domain).unwrap()],
            pace: interchange_model::Pace::default(),
            settings: serde_json::from_value(serde_json::json!({ "port": port })).unwrap(),
        };
        let before = [
            link("kept", "a.example", 1),
            link("moved", "b.example", 1),
            link("set", "c.example", 1),
            link("ended", "d.example", 1),
        ];
        let settings: Vec<_> = before.iter().map(|link| read(&link.settings).unwrap()).collect();
        let known = before.iter().zip(&settings).zip(1..).map(|((link, settings), number)| Known {
            number,
            id: &link.id,
            domains: &link.domains,
            settings,
        });
        let nowhere = Link { domains: Vec::new(), ..link("nowhere", "e.example", 1) };
        let wrong = Link { settings: serde_json::from_str(r#"{"port":"x"}"#).unwrap(), ..link("ended", "d.example", 1) };
        let after = [
            link("new", "f.example", 1),
            before[0].clone(),
            link("moved", "g.example", 1),
            link("set", "c.example", 2),
            nowhere,
            wrong,
        ];
        let changes = changes(known, &after, read);
        assert_eq!(changes.gone, [2, 3, 4]);
        assert_eq!(changes.new.iter().map(|(link, _)| link.id.as_str()).collect::<Vec<_>>(), ["new", "moved", "set"]);
        let unusable: Vec<String> = changes.unusable.iter().map(|(link, error)| format!("{link}: {error}")).collect();
        assert_eq!(unusable[0], "nowhere: the link has no domain");
        assert!(unusable[1].starts_with("ended: port: invalid type"), "{unusable:?}");
        assert_eq!(unusable.len(), 2);
    }
}
