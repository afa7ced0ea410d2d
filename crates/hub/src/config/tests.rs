//! Every fault points at its place and says how to mend it.

use std::path::Path;

use super::*;
use crate::platforms::PLATFORMS;

const WHOLE: &str = r#"
[hub]
domain = "hub.example"
data_directory = "data"

[[listener]]
platform = "xmpp"
address = "127.0.0.1:5269"
transport = "tcp"

[[member]]
id = "acme"
name = "Acme Ltd"

[[member]]
id = "globex"

[[link]]
id = "acme-xmpp"
member = "acme"
platform = "xmpp"
domains = ["acme.example", "Chat.Acme.Example."]

[[partnership]]
members = ["acme", "globex"]
"#;

fn read(text: &str) -> Result<Config, Faults> {
    Config::parse(text, "hub.toml", Path::new("/etc/interchange"), PLATFORMS)
}

#[test]
fn a_whole_file_is_read() {
    let config = read(WHOLE).unwrap();
    assert_eq!(config.domain.as_str(), "hub.example");
    assert_eq!(config.data_directory, Path::new("/etc/interchange/data"));
    assert_eq!(config.community, Community::Invitation);
    assert_eq!(config.members.len(), 3);
    assert_eq!(config.links[0].id.as_str(), ECHO_LINK);
    assert_eq!(config.links[1].domains[1].as_str(), "chat.acme.example");
    assert_eq!(config.partnerships, [("acme".into(), "globex".into())]);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.canary, Some(Duration::from_secs(60)));
    assert_eq!(read(&format!("{WHOLE}\n[canary]\nseconds = 0\n")).unwrap().canary, None);
    assert_eq!(config.store.postgresql(), None);
    let shared = WHOLE.replace("data_directory", "store = \"postgresql://hub:hunter2@db.example/interchange\"\ndata_directory");
    let shared = read(&shared).unwrap();
    assert_eq!(shared.store.postgresql().as_deref(), Some("postgresql://hub@db.example/interchange"));
    assert!(!format!("{shared:?}").contains("hunter2"));
    let open = read(&format!("{WHOLE}\n[limits]\nlink_rate = 0\nsender_rate = 0\nrepeats = 0\n")).unwrap().limits;
    assert_eq!((open.link.per_second, open.sender.per_second, open.repeats), (0, 0, 0));
}

/// What is found, what it is replaced by, line and column of the fault, what its message contains, what its help contains.
type Case = (&'static str, &'static str, (usize, usize), &'static str, &'static str);

/// One change to the whole file, and what must be said about it.
#[test]
fn every_fault_points_at_its_line_and_says_how_to_mend_it() {
    let cases: &[Case] = &[
        (
            "domains = [\"acme.example\", \"Chat.Acme.Example.\"]\n",
            "domains = [\"acme.example\", \"Chat.Acme.Example.\"]\npace = { time_to_live = 0 }\n",
            (23, 8),
            "every message would come back",
            "86400",
        ),
        ("domain = \"hub", "domian = \"hub", (3, 1), "unknown field `domian`", "did you mean `domain`"),
        ("domain = \"hub.example\"\n", "", (2, 1), "missing field `domain`", "add `domain"),
        ("\"hub.example\"", "\"192.0.2.1\"", (3, 10), "an IP address is not a domain", "whole domain name"),
        (
            "data_directory = \"data\"\n",
            "data_directory = \"data\"\nstore = \"mysql://hub:hunter2@db/x\"\n",
            (5, 9),
            "no address of a PostgreSQL database",
            "postgresql://interchange@db.example/interchange",
        ),
        (
            "data_directory = \"data\"\n",
            "data_directory = \"data\"\n[canary]\nseconds = 2\n",
            (6, 11),
            "2 s between two probes",
            "5 to 3600, or 0 for none",
        ),
        ("data_directory = \"data\"", "data_directory = 5", (4, 18), "invalid type: integer", "type named"),
        ("platform = \"xmpp\"\naddress", "platform = \"xmmp\"\naddress", (7, 12), "no platform `xmmp`", "did you mean `xmpp`"),
        ("127.0.0.1:5269", "localhost", (8, 11), "not an IP address and port", "0.0.0.0:5269"),
        ("transport = \"tcp\"", "transport = \"sctp\"", (9, 13), "unknown variant `sctp`", "values named"),
        ("id = \"globex\"", "id = \"acme\"", (16, 6), "two members `acme`", "its own id"),
        ("id = \"globex\"", "id = \"Globex Ltd\"", (16, 6), "not a name", "lower-case letters"),
        ("member = \"acme\"", "member = \"acne\"", (20, 10), "no member `acne`", "did you mean `acme`"),
        ("\"acme.example\"", "\"acme..example\"", (22, 12), "not a valid domain name", "whole domain name"),
        ("\"acme.example\"", "\"hub.example\"", (22, 12), "already belongs to link `echo`", "exactly one link"),
        ("\"Chat.Acme.Example.\"", "\"ACME.example\"", (22, 28), "already belongs to link `acme-xmpp`", "exactly one link"),
        ("\"acme.example\", \"Chat.Acme.Example.\"", "", (22, 11), "at least one domain", "list the member's domains"),
        (
            "[[partnership]]",
            "[link.settings]\nhots = \"x\"\n\n[[partnership]]",
            (25, 1),
            "unknown field `hots`",
            "did you mean `host`",
        ),
        ("[[partnership]]", "[link.settings]\nport = \"x\"\n\n[[partnership]]", (25, 1), "port: invalid type", "type named"),
        ("\"globex\"]", "\"acme\"]", (25, 20), "between two members", "name the other member"),
        ("[[partnership]]", "[[partnerships]]", (24, 3), "unknown field `partnerships`", "did you mean `partnership`"),
        ("[hub]", "[hub", (2, 5), "", ""),
        (
            "[[partnership]]",
            "[[account]]\nmember = \"acne\"\nuser = \"alice\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n[[partnership]]",
            (25, 10),
            "no member `acne`",
            "did you mean `acme`",
        ),
        (
            "[[partnership]]",
            "[[account]]\nmember = \"acme\"\nuser = \"alice@acme.example\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n[[partnership]]",
            (26, 8),
            "is not a user's name",
            "before the `@`",
        ),
        (
            "[[partnership]]",
            "[[account]]\nmember = \"acme\"\nuser = \"alice\"\npassword_hash = \"hunter2\"\n[[partnership]]",
            (27, 17),
            "cannot be used: it is no hash",
            "interchange account hash",
        ),
        (
            "[[partnership]]",
            "[[account]]\nmember = \"acme\"\nuser = \"alice\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n[[account]]\nmember = \"acme\"\nuser = \"ALICE\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n[[partnership]]",
            (30, 8),
            "`acme` has two accounts `ALICE`",
            "upper and lower case",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"http://ldap.acme.example\"\nbase = \"dc=acme\"\n[[partnership]]",
            (26, 7),
            "this address of a directory",
            "ldaps://ldap.acme.example",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\nsecurity = \"none\"\n[[partnership]]",
            (26, 7),
            "this address of a directory",
            "ldaps is TLS",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\nfilter = \"person\"\n[[partnership]]",
            (28, 10),
            "this is no filter",
            "objectClass=person",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"\"\n[[partnership]]",
            (27, 8),
            "there is no base",
            "ou=people",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\nlogin_attributes = [\"uid)\"]\n[[partnership]]",
            (28, 21),
            "not the name of an attribute",
            "sAMAccountName",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\nbind_dn = \"cn=x\"\n[[partnership]]",
            (28, 11),
            "has no password",
            "bind_password_file",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\nbind_password_variable = \"X\"\n[[partnership]]",
            (25, 10),
            "not its name",
            "bind_dn",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\n[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\n[[partnership]]",
            (29, 10),
            "two directories of `acme`",
            "one directory",
        ),
        (
            "[[partnership]]",
            "[[directory]]\nmember = \"acme\"\nurl = \"ldaps://ldap.acme.example\"\nbase = \"dc=acme\"\n[[account]]\nmember = \"acme\"\nuser = \"alice\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n[[partnership]]",
            (29, 10),
            "are in its directory",
            "take the [[account]] away",
        ),
        (
            "[[partnership]]",
            "[admin]\naddress = \"0.0.0.0:9464\"\n[[partnership]]",
            (25, 11),
            "no loopback address",
            "127.0.0.1:9464",
        ),
        (
            "[[partnership]]",
            "[admin]\naddress = \"9464\"\n[[partnership]]",
            (25, 11),
            "not an IP address with a port",
            "127.0.0.1:9464",
        ),
        (
            "[[partnership]]",
            "[limits]\nsender_burst = 0\n[[partnership]]",
            (25, 16),
            "`sender_burst` is from 1",
            "sender_rate = 0",
        ),
        (
            "[[partnership]]",
            "[limits]\nlink_rate = 2000000\n[[partnership]]",
            (25, 13),
            "`link_rate` is at most",
            "without limit",
        ),
        ("[[partnership]]", "[limits]\nrepeats = 101\n[[partnership]]", (25, 11), "`repeats` is at most 100", "default is 5"),
        (
            "[[member]]\nid = \"acme\"",
            "[tls]\nauthorities = [\"none.pem\"]\n[[member]]\nid = \"acme\"",
            (12, 16),
            "cannot read",
            "PEM file",
        ),
    ];
    for (find, replace, place, message, help) in cases {
        let text = WHOLE.replacen(find, replace, 1);
        assert_ne!(text, WHOLE, "the case `{find}` changes nothing");
        let faults = read(&text).expect_err(message);
        let fault = &faults.all[0];
        assert!(fault.message.contains(message), "{replace}: {faults:?}");
        assert!(fault.help.as_deref().unwrap_or_default().contains(help), "{replace}: {faults:?}");
        assert_eq!(faults.place(fault), *place, "{replace}: {faults:?}");
        let shown = faults.to_string();
        assert!(shown.contains(&format!("hub.toml:{}:{}: ", place.0, place.1)), "{shown}");
    }
}

#[test]
fn abuse_4_a_domain_that_looks_like_another_members_needs_a_word() {
    // A Cyrillic letter, in either form, and one member's own domains that are alike.
    for alike in ["аcme.example", "xn--cme-5cd.example", "acrne.example"] {
        let link =
            "[[link]]\nid = \"globex-sip\"\nmember = \"globex\"\nplatform = \"sip\"\ndomains = [\"globex.example\", \"ALIKE\"]\n";
        let text = WHOLE.replace("[[partnership]]", &format!("{}\n[[partnership]]", link.replace("ALIKE", alike)));
        let faults = read(&text).unwrap_err();
        assert_eq!(faults.all.len(), 1, "{faults:?}");
        let fault = &faults.all[0];
        assert_eq!(faults.place(fault), (28, 30));
        for part in ["member `globex`", "`acme.example` of member `acme` in line 22"] {
            assert!(fault.message.contains(part), "{fault:?}");
        }
        assert!(fault.help.as_deref().unwrap().contains("allow_lookalike = true at the [[member]] `globex`"), "{fault:?}");
        let allowed = text.replace("id = \"globex\"\n", "id = \"globex\"\nallow_lookalike = true\n");
        let config = read(&allowed).unwrap();
        assert!(
            matches!(&config.warnings[..], [one] if one.starts_with("line 29: ") && one.contains("in line 23")),
            "{:?}",
            config.warnings
        );
        // At the other member it says nothing about this one.
        assert!(read(&text.replace("id = \"acme\"\n", "id = \"acme\"\nallow_lookalike = true\n")).is_err());
    }
    let own = WHOLE.replace("\"acme.example\",", "\"acme.example\", \"acrne.example\",");
    assert!(read(&own).unwrap().warnings.is_empty());
    // Nor may anybody look like the hub itself.
    assert!(
        read(&WHOLE.replace("\"acme.example\"", "\"hսb.example\"")).unwrap_err().all[0]
            .message
            .contains("member `hub` in line 3")
    );
}

#[test]
fn abuse_40_hashes_and_passwords_are_in_no_fault_and_no_debug_output() {
    use std::os::unix::fs::PermissionsExt as _;
    let hash = interchange_credentials::hash(b"x");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ldap.password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = format!(
        "{WHOLE}\n[[account]]\nmember = \"acme\"\nuser = \"Alice\"\npassword_hash = \"{hash}\"\n\n[[directory]]\nmember = \"later\"\n\
         url = \"ldap://10.0.0.1\"\nserver_name = \"dc1.later.example\"\nbase = \"dc=later\"\nlogin_attributes = [\"sAMAccountName\"]\n\
         bind_dn = \"cn=x\"\nbind_password_file = \"{}\"\n",
        file.display()
    );
    let config = read(&text).unwrap();
    assert_eq!(config.accounts.keys().next().map(|(member, key)| (member.as_str(), key.as_str())), Some(("acme", "alice")));
    let found = &config.directories[0].settings;
    assert_eq!((found.people.to_string().as_str(), found.user_attribute.as_str()), ("(objectClass=person)", "uid"));
    assert!(!format!("{found:?}").contains("hunter2"));
    // Read when it is needed, and only where nobody else reads it.
    let password = || (found.service.as_ref().unwrap().password)();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(password().unwrap_err().contains("chmod 600"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(password().unwrap().reveal(), "hunter2");
    std::fs::write(&file, "\n").unwrap();
    assert!(password().unwrap_err().contains("holds no password"));
    let wrong = text.replace("$argon2id$", "$argon2i$");
    let shown = read(&wrong).unwrap_err().all[0].message.clone();
    assert!(shown.contains("algorithm is not argon2id") && !shown.contains("$argon2i$"), "{shown}");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = WHOLE.replace("member = \"acme\"", "member = \"nobody\"").replace("127.0.0.1:5269", "here");
    assert_eq!(read(&text).unwrap_err().all.len(), 2);
}

/// The configuration that the README shows is one that works, once its files are there.
#[test]
fn the_configuration_in_the_readme_is_whole() {
    let readme = include_str!("../../../../README.md");
    let text = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("the README shows a hub.toml");
    let directory = tempfile::tempdir().unwrap();
    for line in text.lines().filter(|line| line.contains("/etc/interchange/")) {
        let name = line.split("/etc/interchange/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let text = text.replace("/etc/interchange", directory.path().to_str().unwrap());
    let config = read(&text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.links.len(), 3);
}
