//! The shape of `hub.toml`, before anything in it is checked against anything else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use interchange_adapter::Transport;
use interchange_broker::Limits;
use interchange_model::Pace;
use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) hub: HubEntry,
    #[serde(default)]
    pub(super) tls: TlsEntry,
    #[serde(default)]
    pub(super) dns: DnsEntry,
    #[serde(default)]
    pub(super) network: NetworkEntry,
    #[serde(default)]
    pub(super) limits: LimitsEntry,
    #[serde(default)]
    pub(super) admin: AdminEntry,
    #[serde(default)]
    pub(super) canary: CanaryEntry,
    #[serde(default)]
    pub(super) postgresql: PostgreSqlEntry,
    #[serde(default)]
    pub(super) rabbitmq: RabbitEntry,
    #[serde(default)]
    pub(super) listener: Vec<ListenerEntry>,
    #[serde(default)]
    pub(super) platform: BTreeMap<Spanned<String>, Spanned<toml::Table>>,
    #[serde(default)]
    pub(super) member: Vec<MemberEntry>,
    #[serde(default)]
    pub(super) link: Vec<LinkEntry>,
    #[serde(default)]
    pub(super) partnership: Vec<PartnershipEntry>,
    #[serde(default)]
    pub(super) account: Vec<AccountEntry>,
    #[serde(default)]
    pub(super) directory: Vec<DirectoryEntry>,
}

/// `[hub]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HubEntry {
    pub(super) domain: Spanned<String>,
    pub(super) data_directory: PathBuf,
    pub(super) bus: Option<Spanned<String>>,
    /// Where what is registered is kept.
    pub(super) store: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) community: Community,
    #[serde(default)]
    pub(super) log: LogFormat,
}

/// Who may write to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Community {
    /// Two members exchange messages once they have a partnership.
    #[default]
    Invitation,
    /// Every member may write to every other.
    Open,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[tls]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsEntry {
    pub(super) authorities: Vec<Spanned<PathBuf>>,
    /// Files of what the authorities have revoked.
    pub(super) revocation_lists: Vec<Spanned<PathBuf>>,
    pub(super) system_authorities: bool,
    pub(super) identity: Vec<IdentityEntry>,
}

impl Default for TlsEntry {
    fn default() -> Self {
        Self { authorities: Vec::new(), revocation_lists: Vec::new(), system_authorities: true, identity: Vec::new() }
    }
}

/// `[[tls.identity]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityEntry {
    pub(super) certificate: Spanned<PathBuf>,
    pub(super) key: Spanned<PathBuf>,
}

/// `[admin]`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AdminEntry {
    pub(super) address: Option<Spanned<String>>,
}

/// `[canary]`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CanaryEntry {
    /// Seconds between two probes of a link; 0: none.
    pub(super) seconds: Option<Spanned<u64>>,
}

/// `[postgresql]`: what the address of the store cannot say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PostgreSqlEntry {
    /// A file with the password, where the address holds none.
    pub(super) password_file: Option<Spanned<PathBuf>>,
    /// A file of authorities for TLS, instead of the system's.
    pub(super) authority: Option<Spanned<PathBuf>>,
}

/// `[rabbitmq]`: what an address cannot say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RabbitEntry {
    /// Addresses of the cluster's other nodes.
    pub(super) more_nodes: Vec<Spanned<String>>,
    /// A file with the password, where the addresses hold none.
    pub(super) password_file: Option<Spanned<PathBuf>>,
    /// A file of authorities for `amqps`, beside the system's.
    pub(super) authority: Option<Spanned<PathBuf>>,
    /// Bytes that the queue of one link may hold.
    pub(super) queue_bytes: Option<u64>,
    /// RabbitMQ's own `consumer_timeout`, in seconds.
    pub(super) consumer_timeout_seconds: Option<Spanned<u64>>,
}

/// `[dns]`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DnsEntry {
    pub(super) servers: Vec<Spanned<String>>,
    /// Where authoritative servers of members' domains listen, in a laboratory; 53 everywhere else.
    pub(super) authority_port: Option<u16>,
    /// The same for their web servers; 443 everywhere else.
    pub(super) https_port: Option<u16>,
}

/// `[network]`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetworkEntry {
    pub(super) allow_targets: Vec<Spanned<String>>,
}

/// `[limits]`: how many texts are taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsEntry {
    /// Texts a second of one link; 0: without limit.
    pub(super) link_rate: Spanned<u32>,
    /// Texts of one link at once.
    pub(super) link_burst: Spanned<u32>,
    /// Texts a second of one sender; 0: without limit.
    pub(super) sender_rate: Spanned<u32>,
    /// Texts of one sender at once.
    pub(super) sender_burst: Spanned<u32>,
    /// The same words from one person to another within ten seconds; 0: without limit.
    pub(super) repeats: Spanned<u32>,
}

impl Default for LimitsEntry {
    fn default() -> Self {
        let Limits { link, sender, repeats } = Limits::default();
        let [link_rate, link_burst, sender_rate, sender_burst, repeats] =
            [link.per_second, link.burst, sender.per_second, sender.burst, repeats].map(|value| Spanned::new(0..0, value));
        Self { link_rate, link_burst, sender_rate, sender_burst, repeats }
    }
}

/// `[[listener]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerEntry {
    pub(super) platform: Spanned<String>,
    pub(super) address: Spanned<String>,
    pub(super) transport: TransportEntry,
}

/// How bytes travel.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TransportEntry {
    Tcp,
    Tls,
    Udp,
}

impl From<TransportEntry> for Transport {
    fn from(entry: TransportEntry) -> Self {
        match entry {
            TransportEntry::Tcp => Transport::Tcp,
            TransportEntry::Tls => Transport::Tls,
            TransportEntry::Udp => Transport::Udp,
        }
    }
}

/// `[[member]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberEntry {
    pub(super) id: Spanned<String>,
    pub(super) name: Option<String>,
    /// Its domains may look like those of members before it.
    #[serde(default)]
    pub(super) allow_lookalike: bool,
}

/// `[[link]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkEntry {
    pub(super) id: Spanned<String>,
    pub(super) member: Spanned<String>,
    pub(super) platform: Spanned<String>,
    pub(super) domains: Spanned<Vec<Spanned<String>>>,
    #[serde(default = "unspanned")]
    pub(super) pace: Spanned<Pace>,
    #[serde(default = "unspanned")]
    pub(super) settings: Spanned<toml::Table>,
}

/// `[[partnership]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartnershipEntry {
    pub(super) members: [Spanned<String>; 2],
}

/// `[[account]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountEntry {
    pub(super) member: Spanned<String>,
    pub(super) user: Spanned<String>,
    pub(super) name: Option<String>,
    pub(super) password_hash: Spanned<String>,
}

/// `[[directory]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectoryEntry {
    pub(super) member: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) security: Option<DirectorySecurity>,
    /// The name in the server's certificate, where it is not the host's.
    pub(super) server_name: Option<String>,
    /// A file of authorities for its certificate, instead of those under `[tls]`.
    pub(super) authority: Option<Spanned<PathBuf>>,
    pub(super) bind_dn: Option<Spanned<String>>,
    pub(super) bind_password_file: Option<Spanned<PathBuf>>,
    pub(super) bind_password_variable: Option<String>,
    pub(super) base: Spanned<String>,
    /// Which entries are people.
    #[serde(default = "person")]
    pub(super) filter: Spanned<String>,
    #[serde(default = "uids")]
    pub(super) login_attributes: Vec<Spanned<String>>,
    #[serde(default = "uid")]
    pub(super) user_attribute: Spanned<String>,
    #[serde(default = "cn")]
    pub(super) name_attribute: Spanned<String>,
}

/// How passwords travel to a directory of `ldap://`.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DirectorySecurity {
    StartTls,
    /// In the clear, to addresses that are not public.
    None,
}

fn person() -> Spanned<String> {
    Spanned::new(0..0, "(objectClass=person)".to_owned())
}

fn uid() -> Spanned<String> {
    Spanned::new(0..0, "uid".to_owned())
}

fn uids() -> Vec<Spanned<String>> {
    vec![uid()]
}

fn cn() -> Spanned<String> {
    Spanned::new(0..0, "cn".to_owned())
}

/// A value that the file does not mention stands nowhere in it.
fn unspanned<T: Default>() -> Spanned<T> {
    Spanned::new(0..0, T::default())
}
