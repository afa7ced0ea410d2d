//! `interchange authority`: the hub's own certificate authority, from the command line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use interchange_authority::{
    Authority, DEFAULT_LIFETIME, Entry, Issued, KeyHolder, KeySource, Lifetime, Order, Platforms, Request, RevocationList,
    RevocationReason, State,
};
use interchange_model::Domain;
use time::OffsetDateTime;

use crate::config::Config;

/// Largest file of a request that is read, in bytes; a request has less than 64 KiB.
const LARGEST_REQUEST: u64 = 64 * 1024;

/// Which authority.
#[derive(Debug, Args)]
pub struct Place {
    /// The configuration; the authority lives in the folder `authority` of its data directory.
    #[arg(long, global = true, value_name = "FILE", default_value = "hub.toml")]
    config: PathBuf,
    /// Another folder than that.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an authority: its key, its certificate, and an empty list of what was revoked.
    Init {
        /// The common name of its certificate, which members' administrators see.
        #[arg(long, default_value = "Interchange links")]
        name: String,
    },
    /// Show the authority's certificate and where its files are.
    Show,
    /// Issue a certificate for domains.
    Issue {
        /// The domains, the most important first; with a request, those that it may ask for.
        #[arg(required = true, value_name = "DOMAIN")]
        domains: Vec<String>,
        /// What it is made from.
        #[command(flatten)]
        wish: Wish,
        /// Leave out the names of a platform: `xmpp` (SRVName) or `sip` (URI:sip:).
        #[arg(long, value_name = "PLATFORM", value_parser = ["xmpp", "sip"])]
        without: Vec<String>,
    },
    /// Issue a certificate with the names of another, a new key and a new serial number. The other stays valid.
    Renew {
        /// The first digits of its serial number.
        serial: String,
        /// What it is made from.
        #[command(flatten)]
        wish: Wish,
    },
    /// Revoke a certificate and write the list of what was revoked.
    Revoke {
        /// The first digits of its serial number.
        serial: String,
        /// Why.
        #[arg(long, default_value = "unspecified", value_parser = PossibleValuesParser::new(RevocationReason::ALL.map(RevocationReason::label)).map(reason))]
        reason: RevocationReason,
    },
    /// List the certificates that are valid.
    List {
        /// Also those that have expired or were revoked.
        #[arg(long)]
        all: bool,
    },
    /// Write the list of what was revoked anew: at least weekly.
    Crl,
}

/// What a new certificate is made from.
#[derive(Debug, Args)]
pub struct Wish {
    /// The file of a member's request (PKCS#10); without it, the key is made here.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// How many days it is valid: 1 to 398.
    #[arg(long, default_value_t = DEFAULT_LIFETIME)]
    days: u16,
}

fn reason(label: String) -> RevocationReason {
    RevocationReason::ALL.into_iter().find(|reason| reason.label() == label).unwrap_or(RevocationReason::Unspecified)
}

/// Does it, and says what was done.
///
/// # Errors
/// One sentence that says what to do next.
pub fn run(place: &Place, command: &Command, now: OffsetDateTime) -> anyhow::Result<String> {
    let directory = match &place.directory {
        Some(directory) => directory.clone(),
        None => Config::data_directory_of(&place.config)?.join("authority"),
    };
    // For people to copy: as they would have to write it anywhere.
    let directory = std::path::absolute(&directory).unwrap_or(directory);
    if let Command::Init { name } = command {
        let authority = Authority::create(&directory, name, now)?;
        return Ok(format!("The authority is made.\n{}{}", shown(&authority, now), next_steps(&directory)));
    }
    let mut authority = Authority::open(&directory)?;
    match command {
        Command::Init { .. } | Command::Show => Ok(shown(&authority, now)),
        Command::Issue { domains, wish, without } => {
            let domains = domains.iter().map(|name| Domain::parse(name).with_context(|| format!("`{}`", name.escape_debug())));
            let domains = domains.collect::<anyhow::Result<_>>()?;
            let platforms =
                Platforms { xmpp: !without.iter().any(|name| name == "xmpp"), sip: !without.iter().any(|name| name == "sip") };
            let request = wish.request()?;
            let order = Order { domains, platforms, key: source(request.as_ref()), lifetime: Lifetime::days(wish.days)? };
            let issued = authority.issue(&order, now)?;
            Ok(told(&authority, &issued))
        }
        Command::Renew { serial, wish } => {
            let serial = authority.find(serial)?.serial;
            let request = wish.request()?;
            let issued = authority.renew(serial, source(request.as_ref()), Lifetime::days(wish.days)?, now)?;
            let old = format!("{serial} stays valid until its time is over; revoke it if its key may be in other hands.\n");
            Ok(told(&authority, &issued) + &old)
        }
        Command::Revoke { serial, reason } => {
            let entry = authority.find(serial)?.clone();
            authority.revoke(entry.serial, *reason, now)?;
            let list = authority.write_revocation_list(now)?;
            Ok(format!("{} ({}) is revoked: {}.\n{}", entry.serial, names(&entry), reason.label(), list_told(&list)))
        }
        Command::List { all } => Ok(table(authority.entries(), *all, now)),
        Command::Crl => Ok(list_told(&authority.write_revocation_list(now)?)),
    }
}

impl Wish {
    fn request(&self) -> anyhow::Result<Option<Request>> {
        let Some(path) = &self.request else { return Ok(None) };
        let cannot_read = || format!("cannot read the request {}", path.display());
        let length = std::fs::metadata(path).with_context(cannot_read)?.len();
        anyhow::ensure!(
            length <= LARGEST_REQUEST,
            "{} has {length} bytes; a request has less than {LARGEST_REQUEST}",
            path.display()
        );
        let bytes = std::fs::read(path).with_context(cannot_read)?;
        Ok(Some(Request::read(&bytes).with_context(|| format!("{} cannot be granted", path.display()))?))
    }
}

fn source(request: Option<&Request>) -> KeySource<'_> {
    request.map_or(KeySource::New, KeySource::Request)
}

fn shown(authority: &Authority, now: OffsetDateTime) -> String {
    let certificate = authority.certificate();
    let (number, next_update) = authority.newest_list();
    let digest: Vec<String> = certificate.sha256.iter().map(|byte| format!("{byte:02X}")).collect();
    let count = |state| authority.entries().iter().filter(|entry| entry.state(now) == state).count();
    let due = if next_update < now {
        "OUTDATED: write a new one with `interchange authority crl`; was due by"
    } else {
        "a newer one is due by"
    };
    format!(
        "subject       {}\nSHA-256       {}\nvalid until   {}\ncertificate   {}\nlist          {} (number {number}, {due} {})\n\
         certificates  {} valid, {} expired, {} revoked\n",
        certificate.subject,
        digest.join(":"),
        certificate.valid_until.date(),
        authority.directory().join("ca.pem").display(),
        authority.directory().join("crl.pem").display(),
        next_update.date(),
        count(State::Valid),
        count(State::Expired),
        count(State::Revoked),
    )
}

fn next_steps(directory: &Path) -> String {
    format!(
        "\nMembers trust it by the file {ca}; tell them the SHA-256 by telephone.\nThe hub trusts it by these lines of hub.toml:\n\n    [tls]\n    authorities = [\"{ca}\"]\n    \
         revocation_lists = [\"{}\"]\n\nKeep {} with your backups, and nowhere else: its key speaks for every domain.\n",
        directory.join("crl.pem").display(),
        directory.display(),
        ca = directory.join("ca.pem").display(),
    )
}

fn told(authority: &Authority, issued: &Issued) -> String {
    let entry = &issued.entry;
    let mut text = format!(
        "serial        {}\ndomains       {}\nvalid until   {}\ncertificate   {}\n",
        entry.serial,
        names(entry),
        entry.valid_until.date(),
        issued.certificate.display()
    );
    if let (Some(key), Some(current)) = (&issued.key, authority.current(entry)) {
        write!(
            text,
            "key           {}\n\nThe hub shows it by these lines of hub.toml, also after it was renewed and the hub reloaded:\n\n    \
             [[tls.identity]]\n    certificate = \"{current}/certificate.pem\"\n    key = \"{current}/key.pem\"\n",
            key.display(),
            current = current.display()
        )
        .expect("a string takes all");
    } else {
        text.push_str("\nIts key is with whoever made the request: send them the certificate.\n");
    }
    text
}

fn list_told(list: &RevocationList) -> String {
    format!(
        "{} is written: number {}, {} revoked, a newer one is due by {}.\n\
         The hub reads it at `systemctl reload interchange` (SIGHUP); members need it too if they check.\n",
        list.path.display(),
        list.number,
        list.revoked,
        list.next_update.date()
    )
}

fn names(entry: &Entry) -> String {
    entry.domains.iter().map(Domain::as_str).collect::<Vec<_>>().join(", ")
}

fn table(entries: &[Entry], all: bool, now: OffsetDateTime) -> String {
    let mut text = format!("{:32}  {:10}  {:38}  {:6}  domains\n", "serial", "until", "state", "key");
    let mut rows = 0;
    for entry in entries {
        let state = match (entry.state(now), &entry.revoked) {
            (State::Valid, _) => format!("valid, {} days left", (entry.valid_until - now).whole_days()),
            (_, Some(revoked)) => format!("revoked {}, {}", revoked.at.date(), revoked.reason.label()),
            _ => "expired".to_owned(),
        };
        if !all && entry.state(now) != State::Valid {
            continue;
        }
        let key = match entry.key {
            KeyHolder::Hub => "hub",
            KeyHolder::Member => "member",
        };
        rows += 1;
        writeln!(text, "{}  {}  {state:38}  {key:6}  {}", entry.serial, entry.valid_until.date(), names(entry))
            .expect("a string takes all");
    }
    if rows == 0 {
        return if all || entries.is_empty() {
            "Nothing was issued yet: `interchange authority issue DOMAIN` does.\n".to_owned()
        } else {
            "No certificate is valid; --all shows the others.\n".to_owned()
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        place: Place,
        #[command(subcommand)]
        command: Command,
    }

    /// What a command line says, in a folder with a configuration whose other files are not there yet.
    fn say(folder: &Path, line: &str) -> Result<String, String> {
        let config = folder.join("hub.toml");
        if !config.exists() {
            std::fs::write(&config, "[hub]\ndata_directory = \"data\"\n[tls]\nauthorities = [\"data/authority/ca.pem\"]\n")
                .unwrap();
        }
        let config = config.display().to_string();
        let words = ["authority"].into_iter().chain(line.split_whitespace()).chain(["--config", &config]);
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        run(&line.place, &line.command, OffsetDateTime::now_utc()).map_err(|error| format!("{error:#}"))
    }

    /// The value in a line of what was said.
    fn value<'t>(text: &'t str, name: &str) -> &'t str {
        text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_else(|| panic!("{name}: {text}"))
    }

    #[test]
    fn a_certificate_s_life_on_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let say = |line: &str| say(folder.path(), line);
        assert!(say("show").unwrap_err().contains("interchange authority init"));
        let made = say("init --name Links").unwrap();
        assert_eq!(value(&made, "subject"), "CN=Links");
        assert!(made.contains("revocation_lists = [\"/") && made.contains("data/authority/crl.pem"), "{made}");
        assert!(say("init").unwrap_err().contains("already"));
        assert!(say("list").unwrap().contains("Nothing was issued yet"));

        let issued = say("issue acme.example Chat.Acme.Example --days 30").unwrap();
        assert_eq!(value(&issued, "domains"), "acme.example, chat.acme.example");
        let serial = value(&issued, "serial").to_owned();
        assert!(issued.contains("current/acme.example/key.pem") && Path::new(value(&issued, "key ")).exists(), "{issued}");
        let renewed = say(&format!("renew {}", &serial[..12])).unwrap();
        assert_ne!(value(&renewed, "serial"), serial);
        let list = say("list").unwrap();
        assert_eq!(list.matches("days left").count(), 2, "{list}");

        let revoked = say(&format!("revoke {serial} --reason key-compromise")).unwrap();
        assert!(revoked.contains("number 2, 1 revoked") && revoked.contains("systemctl reload"), "{revoked}");
        assert_eq!(say("list").unwrap().matches("days left").count(), 1);
        assert!(say("list --all").unwrap().contains("key-compromise"));
        assert!(say("crl").unwrap().contains("number 3"));
        let shown = say("show").unwrap();
        assert_eq!(value(&shown, "certificates"), "1 valid, 0 expired, 1 revoked");
        for secret in ["ca.key", "data/authority/current/acme.example/key.pem"] {
            let path = folder.path().join("data/authority").join(secret.trim_start_matches("data/authority/"));
            let secret = std::fs::read_to_string(path).unwrap();
            let line = secret.lines().nth(1).unwrap();
            assert!(![&made, &issued, &renewed, &list, &shown].iter().any(|said| said.contains(line)));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let say = |line: &str| say(folder.path(), line);
        say("init").unwrap();
        let request = folder.path().join("request.csr").display().to_string();
        std::fs::write(&request, "nonsense").unwrap();
        for (line, wanted) in [
            ("issue", "<DOMAIN>"),
            ("issue *.acme.example", "`*.acme.example`"),
            ("issue acme.example --days 399", "1 to 398 days"),
            ("issue acme.example --days 0", "1 to 398 days"),
            ("issue acme.example --without smtp", "xmpp, sip"),
            ("issue acme.example --request nowhere.csr", "cannot read the request nowhere.csr"),
            (&format!("issue acme.example --request {request}"), "openssl req -new"),
            ("renew 12", "authority list --all"),
            ("revoke 12 --reason tired", "key-compromise"),
        ] {
            let error = say(line).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
