use interchange_model::{DisplayName, Domain, Link, PlatformName, Settings};

use super::*;
use crate::Community;

/// Any platform.
const PIGEON: &str = "pigeon";
const NOW: u64 = 1_700_000_000;

fn declared() -> Parts {
    let link = |id: &str, member: &str, domain: &str| Link {
        id: id.into(),
        member: member.into(),
        platform: PlatformName::from_static(PIGEON),
        domains: vec![Domain::parse(domain).unwrap()],
        pace: Pace::default(),
        settings: Settings::default(),
    };
    Parts {
        hub: Domain::parse("hub.example").unwrap(),
        members: vec!["hub".into(), "fixed".into()],
        links: vec![link("echo", "hub", "hub.example"), link("fixed", "fixed", "fixed.example")],
        partnerships: Vec::new(),
        community: Community::Invitation,
        barriers: Vec::new(),
        accounts: [(("fixed".into(), "frank".to_owned()), account("Frank", "hash"))].into(),
        directories: ["ldap".into()].into(),
    }
}

fn account(user: &str, password_hash: &str) -> AccountEntry {
    AccountEntry { user: user.to_owned(), display_name: None, password_hash: password_hash.to_owned() }
}

/// As the API makes it of what came in.
fn set_account(member: &str, user: &str, hash: Option<&str>) -> Change {
    Change::SetAccount {
        member: member.into(),
        user: user.to_owned(),
        display_name: None,
        password_hash: hash.map(str::to_owned),
        is_new: None,
    }
}

fn operator() -> Actor {
    Actor { name: "ops".to_owned(), role: Role::Operator }
}

fn admin(member: &str) -> Actor {
    Actor { name: format!("admin-of-{member}"), role: Role::Member { member: member.into() } }
}

/// A change as the API takes it.
fn change(json: &str) -> Change {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

struct World {
    directory: Directory,
    now: u64,
}

impl World {
    fn new() -> Self {
        Self { directory: Directory::default(), now: NOW }
    }

    fn change(&mut self, by: &Actor, json: &str) -> Result<(), ChangeError> {
        self.directory = self.directory.with(by, &change(json), &declared(), Moment { now: self.now, random: 7 })?;
        Ok(())
    }

    #[track_caller]
    fn done(&mut self, by: &Actor, json: &str) {
        self.change(by, json).unwrap_or_else(|error| panic!("{json}: {error}"));
    }

    /// That it is refused, changes nothing, and says this.
    #[track_caller]
    fn refused(&mut self, by: &Actor, json: &str, fault: ChangeFault, says: &str) {
        let before = self.directory.clone();
        let error = self.change(by, json).expect_err(json);
        assert_eq!(error.fault, fault, "{json}: {error}");
        assert!(error.message.contains(says), "{json}: {error}");
        assert_eq!(self.directory, before, "{json}");
    }

    /// Acme and Globex, each with a proven domain and a link.
    fn with_two() -> Self {
        let mut world = Self::new();
        for member in ["acme", "globex"] {
            world.done(&operator(), &format!(r#"{{"change":"add-member","member":"{member}","name":"{member} Ltd"}}"#));
            world.done(&admin(member), &format!(r#"{{"change":"add-domain","member":"{member}","domain":"{member}.example"}}"#));
            world.done(&operator(), &format!(r#"{{"change":"vouch-domain","domain":"{member}.example"}}"#));
            world.done(
                &admin(member),
                &format!(r#"{{"change":"set-link","link":"{member}","member":"{member}","platform":"xmpp","domains":["{member}.example"]}}"#),
            );
        }
        world
    }

    fn agreed(&self) -> usize {
        self.directory.parts(&declared()).partnerships.len()
    }
}

#[test]
fn a_member_from_registration_to_a_partner_and_back() {
    let mut world = World::with_two();
    let parts = world.directory.parts(&declared());
    assert_eq!((parts.members.len(), parts.links.len()), (4, 4));
    assert!(crate::Registry::new(parts).is_ok());
    world.done(&admin("acme"), r#"{"change":"invite","from":"acme","to":"globex"}"#);
    assert_eq!(world.agreed(), 0, "an invitation lets nothing pass");
    world.refused(
        &admin("acme"),
        r#"{"change":"approve","member":"acme","partner":"globex"}"#,
        ChangeFault::Conflict,
        "theirs to approve",
    );
    world.refused(
        &admin("acme"),
        r#"{"change":"approve","member":"globex","partner":"acme"}"#,
        ChangeFault::Forbidden,
        "administrator of acme",
    );
    world.done(&admin("globex"), r#"{"change":"approve","member":"globex","partner":"acme"}"#);
    assert_eq!(world.agreed(), 1);
    world.refused(
        &admin("globex"),
        r#"{"change":"invite","from":"globex","to":"acme"}"#,
        ChangeFault::Conflict,
        "partners already",
    );
    world.refused(&operator(), r#"{"change":"remove-member","member":"acme"}"#, ChangeFault::Conflict, "link acme");
    world.done(&admin("acme"), r#"{"change":"revoke","member":"acme","partner":"globex"}"#);
    assert_eq!(world.agreed(), 0);
    world.refused(
        &admin("acme"),
        r#"{"change":"remove-domain","domain":"acme.example"}"#,
        ChangeFault::Conflict,
        "link `acme` serves",
    );
    world.done(&admin("acme"), r#"{"change":"remove-link","link":"acme"}"#);
    world.done(&admin("acme"), r#"{"change":"remove-domain","domain":"acme.example"}"#);
    world.done(&operator(), r#"{"change":"remove-member","member":"acme"}"#);
}

#[test]
fn an_invitation_is_void_after_14_days() {
    let mut world = World::with_two();
    world.done(&admin("acme"), r#"{"change":"invite","from":"acme","to":"globex"}"#);
    world.refused(&admin("globex"), r#"{"change":"invite","from":"globex","to":"acme"}"#, ChangeFault::Conflict, "approve that");
    world.now += INVITATION_LASTS + 1;
    world.refused(
        &admin("globex"),
        r#"{"change":"approve","member":"globex","partner":"acme"}"#,
        ChangeFault::Conflict,
        "14 days",
    );
    // Either may ask anew.
    world.done(&admin("globex"), r#"{"change":"invite","from":"globex","to":"acme"}"#);
    world.done(&admin("acme"), r#"{"change":"approve","member":"acme","partner":"globex"}"#);
}

#[test]
fn who_may_do_what() {
    let auditor = Actor { name: "eve".to_owned(), role: Role::Auditor };
    let all = [
        r#"{"change":"add-member","member":"x","name":"X"}"#,
        r#"{"change":"remove-member","member":"globex"}"#,
        r#"{"change":"add-domain","member":"globex","domain":"x.example"}"#,
        r#"{"change":"vouch-domain","domain":"globex.example"}"#,
        r#"{"change":"set-link","link":"globex","member":"globex","platform":"xmpp","domains":["globex.example"]}"#,
        r#"{"change":"invite","from":"globex","to":"acme"}"#,
        r#"{"change":"revoke","member":"globex","partner":"acme"}"#,
        r#"{"change":"remove-user","user":"ops"}"#,
        r#"{"change":"remove-account","member":"globex","user":"hank"}"#,
    ];
    let mut world = World::with_two();
    for json in all {
        world.refused(&auditor, json, ChangeFault::Forbidden, "auditor");
        world.refused(&admin("acme"), json, ChangeFault::Forbidden, "administrator of acme");
    }
    // What is another member's is not shown to be there.
    for json in [r#"{"change":"remove-link","link":"globex"}"#, r#"{"change":"remove-domain","domain":"globex.example"}"#] {
        world.refused(&admin("acme"), json, ChangeFault::NotFound, "there is no");
        world.refused(&auditor, json, ChangeFault::Forbidden, "auditor");
    }
    // Neither what only the hub may say, nor what nobody says, comes in from outside.
    for json in [
        r#"{"change":"prove-domain","domain":"globex.example","challenge":"x"}"#,
        r#"{"change":"set-user","user":"x","role":{"role":"operator"},"token_hash":"x"}"#,
        r#"{"change":"set-account","member":"acme","user":"x","password_hash":"x"}"#,
        r#"{"change":"add-member","member":"x","name":"X","admin":true}"#,
        r#"{"change":"add-domain","member":"acme","domain":"a..b"}"#,
    ] {
        assert!(serde_json::from_str::<Change>(json).is_err(), "{json}");
    }
}

#[test]
fn abuse_12_nobody_claims_what_is_another_s() {
    let mut world = World::with_two();
    for (domain, fault, says) in [
        ("globex.example", ChangeFault::Conflict, "another member"),
        ("GLOBEX.example.", ChangeFault::Conflict, "another member"),
        ("fixed.example", ChangeFault::Conflict, "another member"),
        ("hub.example", ChangeFault::Conflict, "another member"),
        ("acme.example", ChangeFault::Conflict, "already"),
        ("co.uk", ChangeFault::Invalid, "public suffix"),
        ("github.io", ChangeFault::Invalid, "public suffix"),
        ("com", ChangeFault::Invalid, "public suffix"),
        // A Cyrillic о.
        ("glоbex.example", ChangeFault::Conflict, "looks like"),
    ] {
        let json = format!(r#"{{"change":"add-domain","member":"acme","domain":"{domain}"}}"#);
        world.refused(&admin("acme"), &json, fault, says);
    }
    // Only an operator says that it is in order.
    let allow = r#"{"change":"add-domain","member":"acme","domain":"glоbex.example","allow_lookalike":true}"#;
    world.refused(&admin("acme"), allow, ChangeFault::Conflict, "looks like");
    world.done(&operator(), allow);
    // Unproven, it is of no use; another's, neither.
    for domain in ["glоbex.example", "globex.example"] {
        let json = format!(r#"{{"change":"set-link","link":"acme","member":"acme","platform":"xmpp","domains":["{domain}"]}}"#);
        world.refused(&admin("acme"), &json, ChangeFault::Conflict, "prove it first");
    }
    world.refused(
        &admin("acme"),
        r#"{"change":"set-link","link":"globex","member":"acme","platform":"xmpp","domains":["acme.example"]}"#,
        ChangeFault::Conflict,
        "another member or platform",
    );
}

#[test]
fn what_hub_toml_declares_is_changed_there() {
    let mut world = World::with_two();
    let wrong = ChangeFault::Conflict;
    world.refused(&operator(), r#"{"change":"remove-member","member":"fixed"}"#, wrong, "hub.toml");
    world.refused(&operator(), r#"{"change":"remove-link","link":"fixed"}"#, wrong, "hub.toml");
    world.refused(&operator(), r#"{"change":"remove-domain","domain":"fixed.example"}"#, wrong, "hub.toml");
    world.refused(&operator(), r#"{"change":"add-member","member":"fixed","name":"F"}"#, wrong, "already");
    let link = r#"{"change":"set-link","link":"fixed","member":"fixed","platform":"echo","domains":[]}"#;
    world.refused(&operator(), link, wrong, "hub.toml");
    // It may have partners like any other.
    world.done(&operator(), r#"{"change":"invite","from":"fixed","to":"acme"}"#);
    world.done(&admin("acme"), r#"{"change":"approve","member":"acme","partner":"fixed"}"#);
    assert!(crate::Registry::new(world.directory.parts(&declared())).is_ok());
}

#[test]
fn a_barrier_is_the_operator_s_or_a_member_s_for_its_own_people() {
    let mut world = World::with_two();
    let barrier = |member: &str, between: &str| {
        let member = if member.is_empty() { String::new() } else { format!(r#""member":"{member}","#) };
        format!(r#"{{"change":"set-barrier","barrier":"wall",{member}"between":{between},"reason":"deal 7"}}"#)
    };
    let own = r#"[["research@acme.example"],["globex.example"]]"#;
    world.refused(&admin("acme"), &barrier("", own), ChangeFault::Forbidden, "only an operator");
    world.refused(&admin("globex"), &barrier("acme", own), ChangeFault::Forbidden, "administrator of globex");
    let others = r#"[["research@acme.example","bob@globex.example"],["globex.example"]]"#;
    world.refused(&admin("acme"), &barrier("acme", others), ChangeFault::Forbidden, "none but them");
    world.refused(&operator(), &barrier("", r#"[[],["globex.example"]]"#), ChangeFault::Invalid, "1 to 1000");
    world.done(&admin("acme"), &barrier("acme", own));
    assert_eq!(world.directory.parts(&declared()).barriers.len(), 1);
    world.refused(&operator(), &barrier("", own), ChangeFault::Conflict, "somebody else");
    let remove = r#"{"change":"remove-barrier","barrier":"wall"}"#;
    world.refused(&admin("globex"), remove, ChangeFault::NotFound, "no barrier");
    world.done(&admin("acme"), remove);
    world.done(&operator(), &barrier("", own));
    world.refused(&admin("acme"), remove, ChangeFault::NotFound, "no barrier");
}

#[test]
fn accounts_are_made_changed_and_removed_by_the_operator_and_the_member_s_administrator() {
    let mut world = World::with_two();
    let moment = Moment { now: NOW, random: 0 };
    let apply = |world: &mut World, by: &Actor, change: &Change| {
        world.directory = world.directory.with(by, change, &declared(), moment)?;
        Ok::<(), ChangeError>(())
    };
    let refused = |world: &mut World, by: &Actor, change: &Change, fault: ChangeFault, says: &str| {
        let before = world.directory.clone();
        let error = apply(world, by, change).unwrap_err();
        assert!(error.fault == fault && error.message.contains(says), "{error:?}");
        assert_eq!(world.directory, before);
    };
    let auditor = Actor { name: "eve".to_owned(), role: Role::Auditor };
    let acme = admin("acme");
    for (by, member) in [(&auditor, "acme"), (&acme, "globex"), (&acme, "nobody")] {
        refused(&mut world, by, &set_account(member, "alice", Some("hash")), ChangeFault::Forbidden, "may change nothing for");
    }
    refused(&mut world, &operator(), &set_account("nobody", "alice", Some("hash")), ChangeFault::NotFound, "no member");
    refused(&mut world, &acme, &set_account("acme", "alice", None), ChangeFault::NotFound, "give a password");
    for user in ["", " alice", "a\nb", "alice@acme.example", &"a".repeat(256)] {
        refused(&mut world, &acme, &set_account("acme", user, Some("hash")), ChangeFault::Invalid, "user's name");
    }
    apply(&mut world, &acme, &set_account("acme", "Alice", Some("first"))).unwrap();
    // Another spelling of the name is the same account. What is not given stays.
    let mut named = set_account("acme", "alice", None);
    if let Change::SetAccount { display_name, .. } = &mut named {
        *display_name = DisplayName::new("Alice Adams");
    }
    apply(&mut world, &operator(), &named).unwrap();
    apply(&mut world, &acme, &set_account("acme", "ALICE", Some("second"))).unwrap();
    let display_name = DisplayName::new("Alice Adams");
    let wanted = AccountEntry { user: "ALICE".to_owned(), display_name, password_hash: "second".to_owned() };
    assert_eq!(world.directory.accounts, [(("acme".into(), "alice".to_owned()), wanted)].into());
    // One who says what is there already is told if it is not so.
    for (user, new, fault, says) in
        [("alice", true, ChangeFault::Conflict, "already"), ("bob", false, ChangeFault::NotFound, "no account `bob`")]
    {
        let mut change = set_account("acme", user, Some("third"));
        if let Change::SetAccount { is_new, .. } = &mut change {
            *is_new = Some(new);
        }
        refused(&mut world, &acme, &change, fault, says);
    }
    // Whose people are elsewhere has none.
    world.done(&operator(), r#"{"change":"add-member","member":"ldap","name":"L"}"#);
    refused(&mut world, &operator(), &set_account("ldap", "alice", Some("hash")), ChangeFault::Conflict, "LDAP directory");
    // Of each member its own.
    apply(&mut world, &admin("globex"), &set_account("globex", "alice", Some("other"))).unwrap();
    let left = ChangeFault::Conflict;
    for change in ["remove-link\",\"link\":\"acme", "remove-domain\",\"domain\":\"acme.example"] {
        world.done(&acme, &format!("{{\"change\":\"{change}\"}}"));
    }
    world.refused(&operator(), r#"{"change":"remove-member","member":"acme"}"#, left, "account alice");
    world.refused(
        &acme,
        r#"{"change":"remove-account","member":"acme","user":"bob"}"#,
        ChangeFault::NotFound,
        "no account `bob`",
    );
    world.done(&acme, r#"{"change":"remove-account","member":"acme","user":"Alice"}"#);
    world.done(&operator(), r#"{"change":"remove-member","member":"acme"}"#);
    // What the file declares is changed there.
    refused(&mut world, &operator(), &set_account("fixed", "FRANK", Some("hash")), left, "hub.toml");
    world.refused(&operator(), r#"{"change":"remove-account","member":"fixed","user":"frank"}"#, left, "hub.toml");
    world.done(&admin("globex"), r#"{"change":"remove-account","member":"globex","user":"alice"}"#);
}

#[test]
fn names_are_names() {
    let mut world = World::new();
    for name in ["", "Acme", "a b", "a/b", "ä", &"a".repeat(65)] {
        let json = format!(r#"{{"change":"add-member","member":"{name}","name":"X"}}"#);
        world.refused(&operator(), &json, ChangeFault::Invalid, "is not a name");
    }
    world.refused(
        &operator(),
        r#"{"change":"add-member","member":"a","name":"X\r\nY"}"#,
        ChangeFault::Invalid,
        "control characters",
    );
    world.refused(&operator(), r#"{"change":"add-member","member":"a","name":""}"#, ChangeFault::Invalid, "1 to 200");
}

#[test]
fn the_last_operator_stays() {
    let mut world = World::new();
    let moment = Moment { now: NOW, random: 0 };
    for user in ["one", "two"] {
        let change = Change::SetUser { user: user.to_owned(), role: Role::Operator, token_hash: "hash".to_owned() };
        world.directory = world.directory.with(&operator(), &change, &declared(), moment).unwrap();
    }
    world.done(&operator(), r#"{"change":"remove-user","user":"one"}"#);
    world.refused(&operator(), r#"{"change":"remove-user","user":"two"}"#, ChangeFault::Conflict, "last operator");
}

#[test]
fn rows_are_read_as_they_were_written() {
    let mut world = World::with_two();
    world.done(&admin("acme"), r#"{"change":"invite","from":"acme","to":"globex"}"#);
    let change = Change::SetUser { user: "a".into(), role: Role::Member { member: "acme".into() }, token_hash: "hash".into() };
    let moment = Moment { now: NOW, random: 0 };
    let directory = world.directory.with(&operator(), &change, &declared(), moment).unwrap();
    let directory =
        directory.with(&operator(), &set_account("acme", "Alice de Acme", Some("hash")), &declared(), moment).unwrap();
    let rows = directory.rows().into_iter().map(|((kind, id), value)| (kind.to_owned(), id, value));
    assert_eq!(Directory::from_rows(rows), Ok(directory));
    for (kind, id, value) in [
        ("pigeon", "x", "{}"),
        ("member", "x", "{}"),
        ("domain", "a..b", "{}"),
        ("partnership", "x", "{}"),
        ("account", "x", "{}"),
    ] {
        let error = Directory::from_rows([(kind.to_owned(), id.to_owned(), value.to_owned())]).unwrap_err();
        assert!(error.contains(kind) && error.contains("cannot be understood"), "{error}");
    }
}
