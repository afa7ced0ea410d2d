//! `interchange member|domain|link|partner|account|user|doctor|notice|audit`: the API of the running hub from a terminal.
//!
//! All of it goes by the API, and nothing else: what cannot be done there cannot be done here. On the hub's own machine the address comes from
//! `hub.toml` and the token from the data directory; elsewhere both are given.

mod account;
mod client;
mod settings;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

pub use account::Account;
pub use client::Client;
use settings::read_settings;

/// Where the hub is, and how one is known there.
#[derive(Debug, Args)]
pub struct Reach {
    /// The hub's configuration, for its address and the first operator's token.
    #[arg(long, value_name = "FILE", default_value = "hub.toml", global = true)]
    config: PathBuf,
    /// The API's address instead of the one in the configuration: http://127.0.0.1:9464
    #[arg(long, value_name = "URL", env = "INTERCHANGE_URL", global = true)]
    url: Option<String>,
    /// A file with the token, instead of the first operator's in the data directory.
    #[arg(long, value_name = "FILE", env = "INTERCHANGE_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// For scripts: JSON as the API answers it.
    #[arg(long, global = true)]
    json: bool,
}

/// What is asked of the hub.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Organisations.
    Member {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// What.
        #[command(subcommand)]
        command: Member,
    },
    /// Their domains.
    Domain {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// What.
        #[command(subcommand)]
        command: Domain,
    },
    /// The connections to their servers.
    Link {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// What.
        #[command(subcommand)]
        command: Link,
    },
    /// Who exchanges messages with whom.
    Partner {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// What.
        #[command(subcommand)]
        command: Partner,
    },
    /// Who may not meet, whatever their firms have agreed.
    Barrier {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// What.
        #[command(subcommand)]
        command: Barrier,
    },
    /// People who sign in at the hub itself, on platforms where it is their server.
    Account {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// What.
        #[command(subcommand)]
        command: Account,
    },
    /// Who may use the API.
    User {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// What.
        #[command(subcommand)]
        command: User,
    },
    /// Examine a link and try it, up to a minute: what works, what does not, and what to do about it. Exit code 1 if something does not work.
    Doctor {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// Which link.
        link: String,
        /// The product at its other end, for which the remedies are: prosody, ejabberd, kamailio and so on.
        #[arg(long)]
        product: Option<String>,
    },
    /// What waits for each link.
    Queue {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
    },
    /// What became of a message: by its id, or of what went between two people. Never what was said.
    Trace {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// The message's id, or the address of one of two people.
        first: String,
        /// The address of the other.
        second: Option<String>,
    },
    /// Show words to everybody of a link who is signed in at the hub now, on platforms where it is their server.
    Notice {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// Whose people.
        link: String,
        /// What, in one argument.
        text: String,
    },
    /// Who changed what, the newest first.
    Audit {
        /// Where the hub is.
        #[command(flatten)]
        reach: Reach,
        /// How many rows, at most 1000.
        #[arg(long, default_value = "50")]
        limit: u32,
    },
}

/// `interchange member`
#[derive(Debug, Subcommand)]
pub enum Member {
    /// Register an organisation.
    Add {
        /// Its id: lower-case letters, digits, `-` and `.`.
        member: String,
        /// What people call it.
        name: String,
    },
    /// Show them.
    List,
    /// Remove one that has nothing any more.
    Remove {
        /// Its id.
        member: String,
    },
}

/// `interchange domain`
#[derive(Debug, Subcommand)]
pub enum Domain {
    /// Claim a domain for a member.
    Add {
        /// Whose it is.
        member: String,
        /// acme.example
        domain: String,
        /// It looks like another member's domain, and I have made sure that both are who they seem.
        #[arg(long)]
        allow_lookalike: bool,
    },
    /// Show them, with the proof of each.
    List,
    /// Ask the domain's own name servers for the TXT record that proves it.
    Check {
        /// Which.
        domain: String,
    },
    /// Say, as the operator, that a domain is its member's.
    Vouch {
        /// Which.
        domain: String,
    },
    /// Give one up.
    Remove {
        /// Which.
        domain: String,
    },
}

/// `interchange link`
#[derive(Debug, Subcommand)]
pub enum Link {
    /// Make a link, or change it. What is not given becomes the default.
    Set {
        /// Its name.
        link: String,
        /// Whose server.
        #[arg(long)]
        member: String,
        /// xmpp or sip.
        #[arg(long)]
        platform: String,
        /// A domain of the member that the server serves; may be given again.
        #[arg(long = "domain", required = true)]
        domains: Vec<String>,
        /// A setting of the platform: host=xmpp.acme.example, port=5269; may be given again.
        #[arg(long = "setting", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Show them, with their state.
    List,
    /// Show what to do on the other side: each step, with the real names filled in.
    Guide {
        /// Which.
        link: String,
        /// Which product the member has: prosody, ejabberd, openfire, kamailio and so on. Without it, what holds for all of the platform.
        #[arg(long)]
        product: Option<String>,
    },
    /// Take one away.
    Remove {
        /// Which.
        link: String,
    },
}

/// `interchange partner`
#[derive(Debug, Subcommand)]
pub enum Partner {
    /// One member asks another for a partnership.
    Invite {
        /// Who asks.
        from: String,
        /// Who is asked.
        to: String,
    },
    /// The invited member agrees: messages pass from now on.
    Approve {
        /// Who agrees.
        member: String,
        /// Who had asked.
        partner: String,
    },
    /// Either ends it, or refuses or takes back an invitation.
    Revoke {
        /// Who.
        member: String,
        /// With whom.
        partner: String,
    },
    /// Show them.
    List,
}

/// `interchange barrier`
#[derive(Debug, Subcommand)]
pub enum Barrier {
    /// Make a barrier, or change it: nobody of one side exchanges messages or presence with anybody of the other.
    Set {
        /// Its name.
        barrier: String,
        /// An address or a domain on one side; may be given again.
        #[arg(long = "between", required = true)]
        one: Vec<String>,
        /// An address or a domain on the other; may be given again.
        #[arg(long = "and", required = true)]
        other: Vec<String>,
        /// Why, for those who look at it later.
        #[arg(long)]
        reason: String,
        /// The member who wants it, if it is not the operator.
        #[arg(long)]
        member: Option<String>,
    },
    /// Show them.
    List,
    /// Take one away.
    Remove {
        /// Which.
        barrier: String,
    },
}

/// `interchange user`
#[derive(Debug, Subcommand)]
pub enum User {
    /// Let somebody use the API, or give them a new token. It is shown once.
    Set {
        /// Their name.
        user: String,
        /// What they may do.
        #[arg(long)]
        role: RoleName,
        /// Whose administrator, for the role `member`.
        #[arg(long, required_if_eq("role", "member"))]
        member: Option<String>,
    },
    /// Show them.
    List,
    /// Shut one out.
    Remove {
        /// Who.
        user: String,
    },
}

/// What a user may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoleName {
    /// Everything.
    Operator,
    /// Reads everything.
    Auditor,
    /// Administrator of one member.
    Member,
}

/// What a command asks of the API.
enum Request {
    Read(&'static str),
    Guide(String),
    Doctor(String),
    Trace(String, Option<String>),
    Check(String),
    Change(Value),
    User(Value),
    Account(Value),
    Notice(Value),
    Audit(u32),
}

/// What a command has to say.
#[derive(Debug)]
pub struct Said {
    /// To be printed.
    pub text: String,
    /// Whether what was asked about is in order.
    pub good: bool,
}

/// Asks the hub, and answers what is to be printed.
///
/// # Errors
/// When the hub does not answer, or refuses: with its reason.
pub fn run(command: Command) -> anyhow::Result<Said> {
    let (reach, request) = match command {
        Command::Member { reach, command } => (reach, member(command)),
        Command::Domain { reach, command } => (reach, domain(command)?),
        Command::Link { reach, command } => (reach, link(command)?),
        Command::Partner { reach, command } => (reach, partner(command)),
        Command::Barrier { reach, command } => (reach, barrier(command)),
        Command::Account { reach, command } => match account::request(command)? {
            Some(request) => (reach, request),
            None => return Ok(Said { text: account::hash()?, good: true }),
        },
        Command::User { reach, command } => (reach, user(command)),
        Command::Doctor { reach, link, product } => (reach, Request::Doctor(of_link(&link, "doctor", product.as_deref())?)),
        Command::Queue { reach } => (reach, Request::Read("queues")),
        Command::Trace { reach, first, second } => (reach, Request::Trace(first, second)),
        Command::Notice { reach, link, text } => (reach, Request::Notice(json!({"link": link, "text": text}))),
        Command::Audit { reach, limit } => (reach, Request::Audit(limit)),
    };
    let client = Client::new(&reach.config, reach.url.as_deref(), reach.token_file.as_deref())?;
    let (answer, show): (Value, fn(&Value) -> String) = match request {
        Request::Read(what) => (client.get(&format!("/api/v1/{what}"))?, show::of(what)),
        Request::Guide(path) => (client.get(&path)?, show::guide),
        Request::Doctor(path) => (client.examine(&path)?, show::examination),
        Request::Check(domain) => (client.post(&format!("/api/v1/domains/{domain}/check"), &Value::Null)?, show::checked),
        Request::Trace(id, None) => (client.ask("/api/v1/trace", &[("id", &id)])?, show::trace),
        Request::Trace(from, Some(to)) => (client.ask("/api/v1/trace", &[("from", &from), ("to", &to)])?, show::trace),
        Request::Audit(limit) => (client.get(&format!("/api/v1/audit?limit={limit}"))?, show::of("audit")),
        Request::Change(change) => (client.post("/api/v1/changes", &change)?, show::changed),
        Request::Account(account) => (client.post("/api/v1/accounts", &account)?, show::changed),
        Request::Notice(notice) => (client.post("/api/v1/notices", &notice)?, show::changed),
        Request::User(user) => (client.post("/api/v1/users", &user)?, show::token),
    };
    let good = answer["verdict"] != "failed";
    Ok(Said { text: if reach.json { format!("{answer}\n") } else { show(&answer) }, good })
}

fn change(name: &str, mut rest: Value) -> Request {
    rest["change"] = name.into();
    Request::Change(rest)
}

fn member(command: Member) -> Request {
    match command {
        Member::List => Request::Read("members"),
        Member::Add { member, name } => change("add-member", json!({"member": member, "name": name})),
        Member::Remove { member } => change("remove-member", json!({"member": member})),
    }
}

fn domain(command: Domain) -> anyhow::Result<Request> {
    Ok(match command {
        Domain::Check { domain } => Request::Check(interchange_model::Domain::parse(&domain)?.to_string()),
        Domain::List => Request::Read("domains"),
        Domain::Add { member, domain, allow_lookalike } => {
            change("add-domain", json!({"member": member, "domain": domain, "allow_lookalike": allow_lookalike}))
        }
        Domain::Vouch { domain } => change("vouch-domain", json!({"domain": domain})),
        Domain::Remove { domain } => change("remove-domain", json!({"domain": domain})),
    })
}

/// The path of something about a link.
fn of_link(link: &str, what: &str, product: Option<&str>) -> anyhow::Result<String> {
    let named = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if !named(link) || !product.is_none_or(named) {
        anyhow::bail!("names of links and products have letters, digits, `-` and `.`");
    }
    let product = product.map(|product| format!("?product={product}")).unwrap_or_default();
    Ok(format!("/api/v1/links/{link}/{what}{product}"))
}

fn link(command: Link) -> anyhow::Result<Request> {
    Ok(match command {
        Link::List => Request::Read("links"),
        Link::Guide { link, product } => Request::Guide(of_link(&link, "guide", product.as_deref())?),
        Link::Remove { link } => change("remove-link", json!({"link": link})),
        Link::Set { link, member, platform, domains, settings } => {
            let settings = read_settings(&settings)?;
            let link = json!({"link": link, "member": member, "platform": platform, "domains": domains, "settings": settings});
            change("set-link", link)
        }
    })
}

fn partner(command: Partner) -> Request {
    match command {
        Partner::List => Request::Read("partnerships"),
        Partner::Invite { from, to } => change("invite", json!({"from": from, "to": to})),
        Partner::Approve { member, partner } => change("approve", json!({"member": member, "partner": partner})),
        Partner::Revoke { member, partner } => change("revoke", json!({"member": member, "partner": partner})),
    }
}

fn barrier(command: Barrier) -> Request {
    match command {
        Barrier::List => Request::Read("barriers"),
        Barrier::Remove { barrier } => change("remove-barrier", json!({"barrier": barrier})),
        Barrier::Set { barrier, one, other, reason, member } => {
            change("set-barrier", json!({"barrier": barrier, "member": member, "between": [one, other], "reason": reason}))
        }
    }
}

fn user(command: User) -> Request {
    match command {
        User::List => Request::Read("users"),
        User::Remove { user } => change("remove-user", json!({"user": user})),
        User::Set { user, role, member } => Request::User(match role {
            RoleName::Operator => json!({"user": user, "role": "operator"}),
            RoleName::Auditor => json!({"user": user, "role": "auditor"}),
            RoleName::Member => json!({"user": user, "role": "member", "member": member}),
        }),
    }
}
