//! `hub.toml`: what one node needs to start, and, for now, who the members are.
//!
//! Reading never starts anything. Every fault is found in one pass where that is possible, and each points at its
//! line and says how to mend it. Unknown keys are faults: a setting that is silently ignored is worse than none.

mod accounts;
mod admin;
mod directories;
mod limits;
mod locate;
mod lookalike;
mod report;
mod schema;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interchange_adapter::{Platform, Transport};
use interchange_broker::Limits;
use interchange_driver::Network;
use interchange_model::{Domain, Link, LinkId, MemberId, Pace, Settings};
use interchange_registry::{AccountEntry, Sides, is_name};
use toml::Spanned;

pub use directories::DirectoryConfig;
pub use report::{Fault, Faults};
pub use schema::{Community, LogFormat};
pub use store::StoreSettings;

use locate::Document;
use schema::{File, LinkEntry};

/// The platform that needs no configuration: the Echo user at the hub's own domain.
pub const ECHO_LINK: &str = "echo";
/// The member that the hub's own domain belongs to.
pub const HUB_MEMBER: &str = "hub";

/// Where messages wait.
#[derive(Debug, Clone)]
pub enum BusSettings {
    /// In the data directory.
    Embedded,
    /// On RabbitMQ.
    RabbitMq(RabbitSettings),
}

/// The least that RabbitMQ must allow, in seconds.
const SHORTEST_CONSUMER_TIMEOUT: u64 = 15;

/// A RabbitMQ, and how the hub proves itself there.
#[derive(Clone)]
pub struct RabbitSettings {
    /// `amqp://user:password@host:port/vhost`, one for each node.
    pub urls: Vec<String>,
    /// The file with the password, where the addresses hold none.
    pub password_file: Option<PathBuf>,
    /// Authorities for `amqps`, beside the system's.
    pub authority: Option<PathBuf>,
    /// Bytes that the queue of one link may hold.
    pub queue_bytes: Option<u64>,
    /// How long RabbitMQ lets the hub hold a message, in seconds; absent: as RabbitMQ does unless it is told otherwise.
    pub consumer_timeout_seconds: Option<u64>,
}

impl std::fmt::Debug for RabbitSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The addresses may hold passwords.
        f.debug_struct("RabbitSettings").field("nodes", &self.urls.len()).finish_non_exhaustive()
    }
}

/// A configuration that was read and found whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// The hub's own domain.
    pub domain: Domain,
    /// Where the bus, the secret and the lock live.
    pub data_directory: PathBuf,
    /// Where messages wait.
    pub bus: BusSettings,
    /// Where what is registered is kept.
    pub store: StoreSettings,
    /// Who may write to whom without an invitation.
    pub community: Community,
    /// How log lines look.
    pub log: LogFormat,
    /// Name servers to ask instead of the system's; empty: the system's.
    pub name_servers: Vec<SocketAddr>,
    /// The port at which the authoritative servers of members' domains are asked.
    pub authority_port: u16,
    /// The port at which web servers of members' domains are asked.
    pub https_port: u16,
    /// Networks that are not public and that the hub may dial all the same.
    pub allow_targets: Vec<Network>,
    /// How many texts are taken.
    pub limits: Limits,
    /// Where metrics and health are served, without TLS: a loopback address.
    pub admin: Option<SocketAddr>,
    /// The time between two probes of a link; `None`: links are not probed.
    pub canary: Option<Duration>,
    /// Certificate and key files that the hub shows, in order; the first is the default.
    pub identities: Vec<IdentityFiles>,
    /// Files of certificate authorities that peers may lead to.
    pub authorities: Vec<PathBuf>,
    /// Files of lists of what authorities have revoked.
    pub revocation_lists: Vec<PathBuf>,
    /// Whether the authorities of the operating system are trusted too.
    pub system_authorities: bool,
    /// Sockets to listen on.
    pub listeners: Vec<ListenerConfig>,
    /// Settings of whole platforms, by name; a platform without an entry has none.
    pub platforms: HashMap<String, Settings>,
    /// Members, the hub itself first.
    pub members: Vec<(MemberId, String)>,
    /// Links, the Echo user's first.
    pub links: Vec<Link>,
    /// Pairs of members that have agreed to exchange messages.
    pub partnerships: Vec<(MemberId, MemberId)>,
    /// Information barriers; a file has none, they are registered.
    pub barriers: Vec<Sides>,
    /// Accounts, by member and by the name in its comparison form.
    pub accounts: BTreeMap<(MemberId, String), AccountEntry>,
    /// Directories of members.
    pub directories: Vec<DirectoryConfig>,
    /// What is allowed and should be known.
    pub warnings: Vec<String>,
}

/// A certificate chain and its key.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    /// PEM file, leaf first.
    pub certificate: PathBuf,
    /// PEM file.
    pub key: PathBuf,
    /// Where in `hub.toml` it stands, for faults that show only when the files are read.
    pub at: Range<usize>,
}

/// One socket to listen on.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Which platform's peers come in here.
    pub platform: String,
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every fault found, each with its place.
    pub fn load(path: &Path, platforms: &[Platform]) -> Result<Self, Faults> {
        let text = std::fs::read_to_string(path).map_err(|error| Faults::unreadable(path, &error))?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), base, platforms)
    }

    /// The data directory that a file names, whatever else is in it: for commands that make the files that it will name.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or names no data directory.
    pub fn data_directory_of(path: &Path) -> Result<PathBuf, Faults> {
        let text = std::fs::read_to_string(path).map_err(|error| Faults::unreadable(path, &error))?;
        let name = path.display().to_string();
        let table: toml::Table = toml::from_str(&text).map_err(|error| Faults::of_toml(&name, &text, &error))?;
        let directory = table.get("hub").and_then(|hub| hub.get("data_directory")).and_then(toml::Value::as_str);
        let Some(directory) = directory else {
            let help = Some("add data_directory = \"data\" under [hub]".to_owned());
            return Err(Faults::single(&name, &text, Fault { at: 0..0, message: "it names no data directory".to_owned(), help }));
        };
        Ok(path.parent().unwrap_or(Path::new("")).join(directory))
    }

    /// Reads and checks a text. `name` is what faults call it; relative paths in it start at `base`.
    ///
    /// # Errors
    /// Every fault found, each with its place.
    pub fn parse(text: &str, name: &str, base: &Path, platforms: &[Platform]) -> Result<Self, Faults> {
        let file: File = toml::from_str(text).map_err(|error| Faults::of_toml(name, text, &error))?;
        // The text was just parsed, so this cannot fail; it gives the place of keys inside free-form settings.
        let document = Document::parse(text);
        Check { base, text, platforms, document, faults: Vec::new() }.run(file).map_err(|faults| Faults::new(name, text, faults))
    }
}

/// One pass over a file that is well formed, gathering every fault in it.
struct Check<'a> {
    base: &'a Path,
    text: &'a str,
    platforms: &'a [Platform],
    document: Option<Document<'a>>,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn run(mut self, file: File) -> Result<Config, Vec<Fault>> {
        let hub_domain = self.domain(&file.hub.domain);
        let listeners = self.listeners(&file);
        let platforms = self.platform_settings(&file);
        let members = self.members(&file);
        let links = self.links(&file, hub_domain.as_ref(), &members);
        let partnerships = self.partnerships(&file, &members);
        let accounts = self.accounts(&file, &members);
        let directories = self.directories(&file);
        let warnings = self.lookalikes(&file);
        let identities = file
            .tls
            .identity
            .iter()
            .map(|identity| IdentityFiles {
                certificate: self.file(&identity.certificate),
                key: self.file(&identity.key),
                at: identity.certificate.span(),
            })
            .collect();
        let authorities = file.tls.authorities.iter().map(|path| self.file(path)).collect();
        let revocation_lists = file.tls.revocation_lists.iter().map(|path| self.file(path)).collect();
        let name_servers = file.dns.servers.iter().filter_map(|text| self.name_server(text)).collect();
        let allow_targets = file.network.allow_targets.iter().filter_map(|text| self.network(text)).collect();
        let store = self.store(&file);
        let data_directory = self.base.join(&file.hub.data_directory);
        let bus = self.bus(&file);
        let limits = self.limits(&file.limits);
        let admin = self.admin(file.admin.address.as_ref());
        let canary = self.canary(file.canary.seconds.as_ref());
        let (Some(domain), true) = (hub_domain, self.faults.is_empty()) else {
            return Err(self.faults);
        };
        Ok(Config {
            domain,
            data_directory,
            bus,
            store,
            community: file.hub.community,
            log: file.hub.log,
            name_servers,
            authority_port: file.dns.authority_port.unwrap_or(53),
            https_port: file.dns.https_port.unwrap_or(443),
            admin,
            canary,
            allow_targets,
            limits,
            identities,
            authorities,
            revocation_lists,
            system_authorities: file.tls.system_authorities,
            listeners,
            platforms,
            members,
            links,
            partnerships,
            barriers: Vec::new(),
            accounts,
            directories,
            warnings,
        })
    }

    fn fault(&mut self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.faults.push(Fault { at, message: message.into(), help: Some(help.into()) });
    }

    fn bus(&mut self, file: &File) -> BusSettings {
        let entry = &file.rabbitmq;
        let first = file.hub.bus.as_ref().filter(|bus| bus.get_ref() != "embedded");
        let Some(first) = first else {
            if let Some(node) = entry.more_nodes.first() {
                self.fault(node.span(), "the bus is not RabbitMQ", "write bus = \"amqp://user@host/interchange\" under [hub]");
            }
            return BusSettings::Embedded;
        };
        let mut urls = Vec::new();
        for url in std::iter::once(first).chain(&entry.more_nodes) {
            // The text itself is not shown: it may hold a password.
            if !["amqp://", "amqps://"].iter().any(|scheme| url.get_ref().starts_with(scheme)) {
                let help = "write \"embedded\", or an address such as \"amqps://hub@rabbit.example/interchange\"";
                self.fault(url.span(), "this is no address of a RabbitMQ", help);
            }
            urls.push(url.get_ref().clone());
        }
        if let Some(seconds) =
            entry.consumer_timeout_seconds.as_ref().filter(|seconds| *seconds.get_ref() < SHORTEST_CONSUMER_TIMEOUT)
        {
            let message = format!("a message is with the hub for longer than {} s at times", seconds.get_ref());
            let help = format!("have RabbitMQ allow {SHORTEST_CONSUMER_TIMEOUT} s at least, and say it here");
            self.fault(seconds.span(), message, help);
        }
        BusSettings::RabbitMq(RabbitSettings {
            urls,
            password_file: entry.password_file.as_ref().map(|path| self.file(path)),
            authority: entry.authority.as_ref().map(|path| self.file(path)),
            queue_bytes: entry.queue_bytes,
            consumer_timeout_seconds: entry.consumer_timeout_seconds.as_ref().map(|seconds| *seconds.get_ref()),
        })
    }

    fn domain(&mut self, text: &Spanned<String>) -> Option<Domain> {
        match Domain::parse(text.get_ref()) {
            Ok(domain) => Some(domain),
            Err(why) => {
                let message = format!("`{}`: {why}", text.get_ref().escape_debug());
                self.fault(text.span(), message, "write a whole domain name, such as \"acme.example\"");
                None
            }
        }
    }

    /// The path of a file that must be there.
    fn file(&mut self, text: &Spanned<PathBuf>) -> PathBuf {
        let path = self.base.join(text.get_ref());
        if let Err(error) = std::fs::File::open(&path) {
            let message = format!("cannot read `{}`: {error}", path.display());
            self.fault(
                text.span(),
                message,
                "give the path of a PEM file that the hub may read; relative paths start at the folder of this file",
            );
        }
        path
    }

    fn platform(&mut self, name: &Spanned<String>) -> Option<Platform> {
        let found = self.platforms.iter().find(|platform| platform.name == name.get_ref()).copied();
        if found.is_none() {
            let known: Vec<_> = self.platforms.iter().map(|platform| platform.name).collect();
            let help = report::did_you_mean(name.get_ref(), &known)
                .unwrap_or_else(|| format!("the platforms of this hub are {}", known.join(", ")));
            self.fault(name.span(), format!("there is no platform `{}`", name.get_ref().escape_debug()), help);
        }
        found
    }

    fn name_server(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let value = text.get_ref();
        let parsed = value.parse().ok().or_else(|| value.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53)));
        if parsed.is_none() {
            self.fault(
                text.span(),
                format!("`{}` is not an IP address", value.escape_debug()),
                "write \"192.0.2.53\" or \"192.0.2.53:53\"",
            );
        }
        parsed
    }

    fn network(&mut self, text: &Spanned<String>) -> Option<Network> {
        let parsed = text.get_ref().parse().ok();
        if parsed.is_none() {
            let message = format!("`{}` is not a network", text.get_ref().escape_debug());
            self.fault(text.span(), message, "write \"10.0.0.0/8\", or \"192.0.2.7\" for one address");
        }
        parsed
    }

    fn listeners(&mut self, file: &File) -> Vec<ListenerConfig> {
        let mut listeners = Vec::new();
        for entry in &file.listener {
            let platform = self.platform(&entry.platform);
            let address = entry.address.get_ref().parse();
            if address.is_err() {
                let message = format!("`{}` is not an IP address and port", entry.address.get_ref().escape_debug());
                self.fault(entry.address.span(), message, "write \"0.0.0.0:5269\" or \"[::]:5061\"");
            }
            if let (Some(platform), Ok(address)) = (platform, address) {
                listeners.push(ListenerConfig { platform: platform.name.to_owned(), address, transport: entry.transport.into() });
            }
        }
        listeners
    }

    fn platform_settings(&mut self, file: &File) -> HashMap<String, Settings> {
        let mut all = HashMap::new();
        for (name, table) in &file.platform {
            let Some(platform) = self.platform(name) else { continue };
            let settings = json_settings(table.get_ref());
            let build = interchange_adapter::Build {
                settings: &settings,
                hub: &Domain::parse("check.invalid").expect("a constant domain"),
                secret: [0; 32],
                seed: 0,
            };
            if let Err(error) = (platform.build)(build) {
                self.settings_fault(&["platform", name.get_ref()], table.span(), &error);
            }
            all.insert(name.get_ref().clone(), settings);
        }
        all
    }

    fn settings_fault(&mut self, prefix: &[&str], whole: Range<usize>, error: &interchange_model::SettingsError) {
        let place = self.document.as_ref().and_then(|document| document.find(prefix, &error.path, &error.message));
        let help = report::help_for(&error.message)
            .unwrap_or_else(|| "see the platform's page in docs/platforms for what it takes".to_owned());
        self.fault(place.unwrap_or(whole), error.to_string(), help);
    }

    fn members(&mut self, file: &File) -> Vec<(MemberId, String)> {
        let mut members = vec![(MemberId::from(HUB_MEMBER), "the hub itself".to_owned())];
        for entry in &file.member {
            let id = entry.id.get_ref();
            if !is_name(id) {
                self.fault(entry.id.span(), format!("`{}` is not a name", id.escape_debug()), NAME_HELP);
            } else if members.iter().any(|(known, _)| known.as_str() == id) {
                self.fault(
                    entry.id.span(),
                    format!("there are two members `{id}`"),
                    "give each member its own id; `hub` is taken by the hub itself",
                );
            } else {
                members.push((id.as_str().into(), entry.name.clone().unwrap_or_else(|| id.clone())));
            }
        }
        members
    }

    fn member(&mut self, id: &Spanned<String>, members: &[(MemberId, String)]) -> Option<MemberId> {
        let found = members.iter().skip(1).find(|(known, _)| known.as_str() == id.get_ref());
        if found.is_none() {
            let known: Vec<_> = members.iter().skip(1).map(|(id, _)| id.as_str()).collect();
            let help = report::did_you_mean(id.get_ref(), &known).unwrap_or_else(|| "add a [[member]] with this id".to_owned());
            self.fault(id.span(), format!("there is no member `{}`", id.get_ref().escape_debug()), help);
        }
        found.map(|(id, _)| id.clone())
    }

    fn links(&mut self, file: &File, hub: Option<&Domain>, members: &[(MemberId, String)]) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        let mut owners: HashMap<Domain, LinkId> = HashMap::new();
        if let Some(hub) = hub {
            let id = LinkId::from(ECHO_LINK);
            owners.insert(hub.clone(), id.clone());
            links.push(Link {
                id,
                member: HUB_MEMBER.into(),
                platform: interchange_echo::PLATFORM.name(),
                domains: vec![hub.clone()],
                pace: Pace::default(),
                settings: Settings::default(),
            });
        }
        for (index, entry) in file.link.iter().enumerate() {
            if let Some(link) = self.link(index, entry, members, &mut owners) {
                if links.iter().any(|known| known.id == link.id) {
                    self.fault(
                        entry.id.span(),
                        format!("there are two links `{}`", link.id),
                        "give each link its own id; `echo` is taken by the Echo user",
                    );
                } else {
                    links.push(link);
                }
            }
        }
        links
    }

    fn link(
        &mut self,
        index: usize,
        entry: &LinkEntry,
        members: &[(MemberId, String)],
        owners: &mut HashMap<Domain, LinkId>,
    ) -> Option<Link> {
        if !is_name(entry.id.get_ref()) {
            self.fault(entry.id.span(), format!("`{}` is not a name", entry.id.get_ref().escape_debug()), NAME_HELP);
            return None;
        }
        let id = LinkId::from(entry.id.get_ref().as_str());
        let member = self.member(&entry.member, members);
        let platform = self.platform(&entry.platform);
        if entry.domains.get_ref().is_empty() {
            self.fault(
                entry.domains.span(),
                "a link serves at least one domain",
                "list the member's domains: domains = [\"acme.example\"]",
            );
        }
        let mut domains = Vec::new();
        for text in entry.domains.get_ref() {
            let Some(domain) = self.domain(text) else { continue };
            match owners.get(&domain) {
                Some(owner) => {
                    let message = format!("`{domain}` already belongs to link `{owner}`");
                    self.fault(
                        text.span(),
                        message,
                        "a domain belongs to exactly one link; the hub's own domain belongs to the Echo user",
                    );
                }
                None => {
                    owners.insert(domain.clone(), id.clone());
                    domains.push(domain);
                }
            }
        }
        if !(1..=1000).contains(&entry.pace.get_ref().in_flight) {
            self.fault(entry.pace.span(), "`in_flight` is from 1 to 1000", "the default of 64 suits most links");
        }
        if entry.pace.get_ref().time_to_live == 0 {
            let help = "in seconds; the default is 86400, a day";
            self.fault(entry.pace.span(), "with a `time_to_live` of 0 every message would come back", help);
        }
        let settings = json_settings(entry.settings.get_ref());
        let platform = platform?;
        if let Err(error) = (platform.check_link)(&settings) {
            let index = index.to_string();
            let whole = if entry.settings.span().is_empty() { entry.id.span() } else { entry.settings.span() };
            self.settings_fault(&["link", &index, "settings"], whole, &error);
        }
        Some(Link { id, member: member?, platform: platform.name(), domains, pace: *entry.pace.get_ref(), settings })
    }

    fn partnerships(&mut self, file: &File, members: &[(MemberId, String)]) -> Vec<(MemberId, MemberId)> {
        let mut pairs = Vec::new();
        for entry in &file.partnership {
            let [first, second] = &entry.members;
            if first.get_ref() == second.get_ref() {
                self.fault(
                    second.span(),
                    "a partnership is between two members",
                    "name the other member; people of one member need no partnership",
                );
                continue;
            }
            let (first, second) = (self.member(first, members), self.member(second, members));
            pairs.extend(first.zip(second));
        }
        pairs
    }
}

const NAME_HELP: &str = "use 1 to 64 lower-case letters, digits, `-` and `.`: the name appears in metrics, logs and queue names";

/// Settings as the model has them.
pub(crate) fn json_settings(table: &toml::Table) -> Settings {
    fn json(value: &toml::Value) -> serde_json::Value {
        match value {
            toml::Value::String(text) => text.clone().into(),
            toml::Value::Integer(number) => (*number).into(),
            toml::Value::Float(number) => (*number).into(),
            toml::Value::Boolean(flag) => (*flag).into(),
            toml::Value::Datetime(time) => time.to_string().into(),
            toml::Value::Array(values) => values.iter().map(json).collect(),
            toml::Value::Table(table) => {
                serde_json::Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
            }
        }
    }
    Settings(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
}

#[cfg(test)]
mod tests;
