//! The routing decision.

use interchange_model::{Address, Domain, Envelope, Link, LinkId, Refusal};

use crate::{Community, Registry, ordered};

impl Registry {
    /// Decides over which link an envelope leaves, that has come in over `via`. Pure: the same question has the same answer
    /// for as long as the snapshot lives. Domains are compared whole and exactly; they are normalised since they exist.
    ///
    /// # Errors
    /// The first of these that holds:
    /// - [`Refusal::NotYours`]: the sender's domain is not one of `via`, or there is no such link;
    /// - [`Refusal::UnknownDomain`]: nobody serves the recipient's domain;
    /// - [`Refusal::Loop`]: it would leave over the link it came in on. Also where that link serves both domains: such a
    ///   company can deliver to itself, and sending it back is how loops begin;
    /// - [`Refusal::NotAllowed`]: two members without a partnership, in a community by invitation. A member's own links, and
    ///   the hub's own domain, need none. Or an information barrier stands between the two people, also of one member;
    /// - [`Refusal::Loop`]: it has no hops left.
    pub fn route(&self, via: &LinkId, envelope: &Envelope) -> Result<&Link, Refusal> {
        let (sender, recipient) = (envelope.from.domain(), envelope.to.domain());
        let from = *self.by_domain.get(sender).ok_or(Refusal::NotYours)?;
        if self.links[from].id != *via {
            return Err(Refusal::NotYours);
        }
        let to = *self.by_domain.get(recipient).ok_or(Refusal::UnknownDomain)?;
        if from == to {
            return Err(Refusal::Loop);
        }
        if !self.lets(from, to, &envelope.from, &envelope.to) {
            return Err(Refusal::NotAllowed);
        }
        if envelope.hops == 0 {
            return Err(Refusal::Loop);
        }
        Ok(&self.links[to])
    }

    /// Whether two people may meet at all, whatever they have to say to one another.
    #[must_use]
    pub fn allows(&self, one: &Address, other: &Address) -> bool {
        let (Some(from), Some(to)) = (self.by_domain.get(one.domain()), self.by_domain.get(other.domain())) else { return false };
        self.lets(*from, *to, one, other)
    }

    /// The same, of two people whose links are known.
    fn lets(&self, from: usize, to: usize, one: &Address, other: &Address) -> bool {
        let hub = *one.domain() == self.hub || *other.domain() == self.hub;
        hub || (self.may_meet(from, to) && !self.barriers.part(one, other))
    }

    /// The domains that people of a link may write to over it, but for the hub's own: those of partners, and of the member's other links.
    #[must_use]
    pub fn partner_domains(&self, link: &LinkId) -> Vec<Domain> {
        let Some(from) = self.by_id.get(link).copied() else { return Vec::new() };
        let others = (0..self.links.len()).filter(|to| *to != from && self.may_meet(from, *to));
        others.flat_map(|to| self.links[to].domains.iter()).filter(|domain| **domain != self.hub).cloned().collect()
    }

    /// Whether the people of two links may write to one another.
    fn may_meet(&self, from: usize, to: usize) -> bool {
        self.community == Community::Open
            || self.member_of[from] == self.member_of[to]
            || self.partners.contains(&ordered((self.member_of[from], self.member_of[to])))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, UNIX_EPOCH};

    use interchange_model::{AddressError, Body, MessageId, Pace, PlatformName, Settings, Text};
    use proptest::prelude::*;

    use super::*;
    use crate::{Parts, RegistryError};

    fn link(id: &str, member: &str, domains: &[&str]) -> Link {
        Link {
            id: id.into(),
            member: member.into(),
            platform: PlatformName::from_static(if id.ends_with("-sip") { "sip" } else { "xmpp" }),
            domains: domains.iter().map(|domain| Domain::parse(domain).unwrap()).collect(),
            pace: Pace::default(),
            settings: Settings::default(),
        }
    }

    /// acme has two links and two domains on the first; acme and globex are partners, initech has none.
    fn parts() -> Parts {
        Parts {
            hub: Domain::parse("hub.example").unwrap(),
            members: ["hub", "acme", "globex", "initech"].map(Into::into).into(),
            links: vec![
                link("echo", "hub", &["hub.example"]),
                link("acme-xmpp", "acme", &["acme.example", "acme.test"]),
                link("acme-sip", "acme", &["phones.acme.example"]),
                link("globex-sip", "globex", &["globex.example"]),
                link("initech", "initech", &["initech.example"]),
            ],
            partnerships: vec![("globex".into(), "acme".into())],
            community: Community::Invitation,
            barriers: Vec::new(),
            accounts: Default::default(),
            directories: Default::default(),
        }
    }

    fn envelope(from: &str, to: &str) -> Result<Envelope, AddressError> {
        Ok(Envelope {
            id: MessageId(1),
            origin: "any".into(),
            from: Address::parse(from)?,
            from_device: None,
            to: Address::parse(to)?,
            to_device: None,
            native_id: None,
            accepted: UNIX_EPOCH,
            hops: 1,
            native: None,
            body: Body::Text(Text::default()),
        })
    }

    /// Where it goes, or the label of the refusal.
    fn asked(registry: &Registry, via: &str, from: &str, to: &str) -> String {
        match registry.route(&via.into(), &envelope(from, to).unwrap()) {
            Ok(link) => link.id.to_string(),
            Err(refusal) => format!("refused {refusal}"),
        }
    }

    /// Link, sender and recipient, and where that goes.
    #[track_caller]
    fn goes(registry: &Registry, cases: &[(&str, &str, &str, &str)]) {
        for (via, from, to, expected) in cases {
            assert_eq!(asked(registry, via, from, to), *expected, "{from} over {via} to {to}");
        }
    }

    #[test]
    fn the_table() {
        let registry = Registry::new(parts()).unwrap();
        goes(
            &registry,
            &[
                // partners, either way, on all their domains
                ("acme-xmpp", "a@acme.example", "g@globex.example", "globex-sip"),
                ("acme-xmpp", "a@acme.test", "g@globex.example", "globex-sip"),
                ("acme-sip", "a@phones.acme.example", "g@globex.example", "globex-sip"),
                ("globex-sip", "g@globex.example", "a@acme.test", "acme-xmpp"),
                // no partners
                ("acme-xmpp", "a@acme.example", "i@initech.example", "refused not-allowed"),
                ("initech", "i@initech.example", "g@globex.example", "refused not-allowed"),
                // abuse case 1: the domain of another, of a third party, above, below
                ("acme-xmpp", "g@globex.example", "a@acme.example", "refused not-yours"),
                ("acme-xmpp", "a@phones.acme.example", "g@globex.example", "refused not-yours"),
                ("acme-xmpp", "a@nobody.example", "g@globex.example", "refused not-yours"),
                ("acme-xmpp", "a@sub.acme.example", "g@globex.example", "refused not-yours"),
                ("acme-xmpp", "a@example", "g@globex.example", "refused not-yours"),
                ("nobody", "a@acme.example", "g@globex.example", "refused not-yours"),
                // abuse case 2: prefixes and suffixes
                ("acme-xmpp", "a@evilacme.example", "g@globex.example", "refused not-yours"),
                ("acme-xmpp", "a@acme.example.evil.test", "g@globex.example", "refused not-yours"),
                ("acme-xmpp", "a@acme.example", "g@globex.example.evil.test", "refused unknown-domain"),
                ("acme-xmpp", "a@acme.example", "g@sub.globex.example", "refused unknown-domain"),
                // abuse case 3: spellings
                ("acme-xmpp", "a@ACME.Example.", "g@ｇｌｏｂｅｘ.example", "globex-sip"),
                // abuse case 7: unknown domains
                ("acme-xmpp", "a@acme.example", "x@nobody.example", "refused unknown-domain"),
                // not yours comes before unknown: an impostor learns nothing
                ("acme-xmpp", "g@globex.example", "x@nobody.example", "refused not-yours"),
                // never out on the link it came in on, though that serves both
                ("acme-xmpp", "a@acme.example", "b@acme.example", "refused loop"),
                ("acme-xmpp", "a@acme.example", "b@acme.test", "refused loop"),
                // one member's two links
                ("acme-xmpp", "a@acme.example", "p@phones.acme.example", "acme-sip"),
                // the hub needs no partnership
                ("initech", "i@initech.example", "echo@hub.example", "echo"),
                ("echo", "echo@hub.example", "i@initech.example", "initech"),
                ("initech", "echo@hub.example", "g@globex.example", "refused not-yours"),
            ],
        );
    }

    #[test]
    fn abuse_2_domains_are_compared_by_whole_labels() {
        let registry = Registry::new(Parts { community: Community::Open, ..parts() }).unwrap();
        for near in ["cme.example", "xacme.example", "acme.exampl", "acme.examplex", "acme.example.x", "x.acme.example", "acme"] {
            let from = format!("a@{near}");
            assert_eq!(asked(&registry, "acme-xmpp", &from, "g@globex.example"), "refused not-yours", "{near}");
            assert_eq!(asked(&registry, "globex-sip", "g@globex.example", &from), "refused unknown-domain", "{near}");
        }
    }

    #[test]
    fn case_12_both_forms_of_a_domain_are_one_domain_and_one_link() {
        let links = vec![link("books", "acme", &["xn--bcher-kva.example"]), link("globex-sip", "globex", &["globex.example"])];
        let registry = Registry::new(Parts { links, ..parts() }).unwrap();
        for form in
            ["bücher.example", "xn--bcher-kva.example", "BÜCHER.example.", "XN--BCHER-KVA.example", "bu\u{308}cher.example"]
        {
            assert_eq!(asked(&registry, "globex-sip", "g@globex.example", &format!("b@{form}")), "books", "{form}");
            assert_eq!(asked(&registry, "books", &format!("b@{form}"), "g@globex.example"), "globex-sip", "{form}");
        }
        // Provisioned twice, once in each form, it is claimed twice.
        let twice = vec![link("one", "acme", &["bücher.example"]), link("two", "globex", &["xn--bcher-kva.example"])];
        assert!(matches!(Registry::new(Parts { links: twice, ..parts() }), Err(RegistryError::DomainTwice { .. })));
    }

    #[test]
    fn the_domains_of_partners_are_those_that_messages_pass_to() {
        let registry = Registry::new(parts()).unwrap();
        let of = |link: &str| registry.partner_domains(&link.into()).iter().map(Domain::to_string).collect::<Vec<_>>();
        assert_eq!(of("acme-xmpp"), ["phones.acme.example", "globex.example"]);
        assert_eq!(of("globex-sip"), ["acme.example", "acme.test", "phones.acme.example"]);
        assert_eq!(of("initech"), Vec::<String>::new());
        assert_eq!(of("nobody"), Vec::<String>::new());
    }

    #[test]
    fn a_barrier_stands_between_partners_and_within_a_member() {
        let barriers: Vec<crate::Sides> = serde_json::from_str(
            r#"[[["r@acme.example"],["globex.example"]],[["r@acme.example"],["phones.acme.example"]],[["r@acme.example"],["hub.example"]]]"#,
        )
        .unwrap();
        let registry = Registry::new(Parts { barriers, ..parts() }).unwrap();
        goes(
            &registry,
            &[
                ("acme-xmpp", "R@acme.example", "g@globex.example", "refused not-allowed"),
                ("globex-sip", "g@globex.example", "r@acme.example", "refused not-allowed"),
                ("acme-xmpp", "r@acme.example", "p@phones.acme.example", "refused not-allowed"),
                ("acme-xmpp", "s@acme.example", "g@globex.example", "globex-sip"),
                // Echo is nobody to be kept from.
                ("acme-xmpp", "r@acme.example", "echo@hub.example", "echo"),
            ],
        );
        let allows = |one: &str, other: &str| registry.allows(&Address::parse(one).unwrap(), &Address::parse(other).unwrap());
        assert!(!allows("r@acme.example", "g@globex.example") && allows("s@acme.example", "g@globex.example"));
    }

    #[test]
    fn in_an_open_community_nobody_needs_a_partnership() {
        let registry = Registry::new(Parts { community: Community::Open, ..parts() }).unwrap();
        assert_eq!(asked(&registry, "acme-xmpp", "a@acme.example", "i@initech.example"), "initech");
        assert_eq!(asked(&registry, "acme-xmpp", "g@globex.example", "i@initech.example"), "refused not-yours");
    }

    #[test]
    fn without_hops_it_goes_nowhere() {
        let registry = Registry::new(parts()).unwrap();
        let tired = Envelope { hops: 0, ..envelope("a@acme.example", "g@globex.example").unwrap() };
        assert_eq!(registry.route(&"acme-xmpp".into(), &tired), Err(Refusal::Loop));
    }

    #[test]
    fn links_are_found_by_id_and_by_platform() {
        let registry = Registry::new(parts()).unwrap();
        assert_eq!(registry.link(&"acme-sip".into()).map(|link| link.member.as_str()), Some("acme"));
        assert_eq!(registry.link(&"nobody".into()), None);
        let of =
            |name| registry.links(&PlatformName::from_static(name)).iter().map(|link| link.id.to_string()).collect::<Vec<_>>();
        assert_eq!(of("sip"), ["acme-sip", "globex-sip"]);
        assert_eq!(of("pigeon"), Vec::<String>::new());
        assert_eq!(registry.all_links().len(), 5);
        assert_eq!(registry.hosted().len(), 6);
        assert!(registry.hosted().contains(&Domain::parse("acme.test").unwrap()));
    }

    #[test]
    fn data_that_contradicts_itself_is_refused_by_name() {
        let wrong = |change: &dyn Fn(&mut Parts)| {
            let mut parts = parts();
            change(&mut parts);
            Registry::new(parts).err()
        };
        let domain = Domain::parse("acme.test").unwrap();
        assert_eq!(wrong(&|parts| parts.members.push("acme".into())), Some(RegistryError::MemberTwice("acme".into())));
        assert_eq!(
            wrong(&|parts| parts.links.push(link("initech", "initech", &["x.example"]))),
            Some(RegistryError::LinkTwice("initech".into()))
        );
        assert_eq!(
            wrong(&|parts| parts.links.push(link("x", "nobody", &["x.example"]))),
            Some(RegistryError::LinkOfUnknownMember { link: "x".into(), member: "nobody".into() })
        );
        // abuse case 12
        assert_eq!(
            wrong(&|parts| parts.links.push(link("x", "initech", &["ACME.test"]))),
            Some(RegistryError::DomainTwice { domain: domain.clone(), first: "acme-xmpp".into(), second: "x".into() })
        );
        assert_eq!(
            wrong(&|parts| parts.links.push(link("x", "initech", &["x.example", "x.example."]))),
            Some(RegistryError::DomainTwice {
                domain: Domain::parse("x.example").unwrap(),
                first: "x".into(),
                second: "x".into()
            })
        );
        assert_eq!(wrong(&|parts| parts.links.push(link("x", "acme", &[]))), Some(RegistryError::NoDomain("x".into())));
        assert_eq!(
            wrong(&|parts| parts.partnerships.push(("acme".into(), "nobody".into()))),
            Some(RegistryError::PartnershipOfUnknownMember {
                first: "acme".into(),
                second: "nobody".into(),
                unknown: "nobody".into()
            })
        );
        assert_eq!(
            wrong(&|parts| parts.partnerships.push(("acme".into(), "acme".into()))),
            Some(RegistryError::PartnershipWithItself("acme".into()))
        );
        assert_eq!(wrong(&|parts| parts.links[1].pace.in_flight = 0), Some(RegistryError::Pace("acme-xmpp".into())));
        assert_eq!(wrong(&|parts| parts.links[1].pace.in_flight = 1001), Some(RegistryError::Pace("acme-xmpp".into())));
    }

    /// A community of so many members with one domain each; neighbours are partners.
    fn large(members: usize) -> Registry {
        let id = |number: usize| format!("m{number}");
        Registry::new(Parts {
            hub: Domain::parse("hub.example").unwrap(),
            members: (0..members).map(|number| id(number).as_str().into()).collect(),
            links: (0..members).map(|number| link(&id(number), &id(number), &[&format!("m{number}.example")])).collect(),
            partnerships: (1..members).map(|number| (id(number - 1).as_str().into(), id(number).as_str().into())).collect(),
            community: Community::Invitation,
            barriers: Vec::new(),
            accounts: Default::default(),
            directories: Default::default(),
        })
        .unwrap()
    }

    /// A guard against a look-up that walks: that would be slower by a factor of hundreds.
    #[test]
    fn ten_thousand_domains_cost_what_ten_cost() {
        let nanoseconds = |registry: &Registry| {
            let (via, envelope) = (LinkId::from("m4"), envelope("a@m4.example", "b@m5.example").unwrap());
            let start = Instant::now();
            for _ in 0..20_000 {
                assert!(registry.route(&via, std::hint::black_box(&envelope)).is_ok());
            }
            start.elapsed().as_nanos() / 20_000
        };
        let (few, many) = (large(10), large(10_000));
        let (few, many) = (nanoseconds(&few), nanoseconds(&many));
        assert!(many < few * 10 + 1000, "{few} ns with 10 domains, {many} ns with 10,000");
    }

    proptest! {
        /// Whatever labels are put before, after or into a served domain: only the domain itself speaks for its link.
        #[test]
        fn nobody_speaks_for_a_domain_but_its_link(
            base in 0usize..6,
            prefix in "([a-z]{1,5}\\.)?[a-z]{0,3}",
            suffix in "[a-z]{0,3}(\\.[a-z]{1,5})?",
            upper in any::<bool>(),
            via in 0usize..5,
        ) {
            let parts = parts();
            let links = parts.links.clone();
            let served: Vec<(Domain, LinkId)> = links.iter()
                .flat_map(|link| link.domains.iter().map(|domain| (domain.clone(), link.id.clone())))
                .collect();
            let mut text = format!("{prefix}{}{suffix}", served[base].0);
            if upper {
                text = text.to_uppercase();
            }
            let Ok(mut question) = envelope(&format!("a@{text}"), "echo@hub.example") else { return Ok(()) };
            question.hops = 70;
            let registry = Registry::new(parts).unwrap();
            let owner = served.iter().find(|(domain, _)| domain == question.from.domain()).map(|(_, link)| link);
            let result = registry.route(&links[via].id, &question);
            match owner {
                Some(owner) if *owner == links[via].id => prop_assert_ne!(result.err(), Some(Refusal::NotYours)),
                _ => prop_assert_eq!(result.err(), Some(Refusal::NotYours)),
            }
        }

        /// Who may write may be answered: a failure or a reply finds its way back.
        #[test]
        fn what_is_allowed_is_allowed_both_ways(from in 0usize..5, to in 0usize..5) {
            let registry = Registry::new(parts()).unwrap();
            let links = registry.all_links();
            let address = |link: usize| format!("x@{}", links[link].domains[0]);
            let there = registry.route(&links[from].id, &envelope(&address(from), &address(to)).unwrap());
            let back = registry.route(&links[to].id, &envelope(&address(to), &address(from)).unwrap());
            prop_assert_eq!(there.is_ok(), back.is_ok());
            if let Ok(link) = there {
                prop_assert_eq!(&link.id, &links[to].id);
                prop_assert!(from != to);
            }
        }
    }
}
