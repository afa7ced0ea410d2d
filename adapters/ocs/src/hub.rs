//! Who the hub is in its own requests.

use interchange_model::{Address, Domain, SettingsError};
use sha2::{Digest, Sha256};
use sip_codec::{Host, Name, NameAddr, Request, RequestBuilder, Transport, Unencodable, Uri, Value, Via};

use crate::settings::PlatformSettings;

/// Marks what begins something of this hub's; whoever sends one back to us has closed a circle.
const TRACE: &str = "X-Hub-Trace";
/// Says that the sender's own server has authenticated them.
const VERIFIED: (&str, &str) = ("ms-asserted-verification-level", "ms-source-verified-user=verified");

/// The hub, as edges see it.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    host: Host,
    /// The same: the hub's certificate must be of this name.
    pub(crate) name: Domain,
    port: u16,
    /// This installation's name in [`TRACE`]: says nothing to others, and stays the same after a restart.
    mark: String,
    secret: [u8; 32],
}

impl Hub {
    pub(crate) fn new(settings: &PlatformSettings, domain: &Domain, secret: [u8; 32]) -> Result<Self, SettingsError> {
        let wrong = || SettingsError::new("contact_host", "must be `host` or `host:port`");
        let text = settings.contact_host.as_deref().unwrap_or(domain.as_str());
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
            None => (text, 5061),
        };
        // Edges look for this name in the certificate: an address is none.
        let name = Domain::parse(host).map_err(|_| wrong())?;
        let host = Host::new(name.as_str()).map_err(|_| wrong())?;
        // One way: whoever sees the mark learns nothing of the secret.
        let mark = Sha256::new().chain_update(b"ocs trace mark\0").chain_update(secret).finalize();
        let mark = mark.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { host, name, port, mark, secret })
    }

    /// Our Via; the transaction layer adds the branch.
    pub(crate) fn via(&self) -> Via {
        Via::new(Transport::Tls, self.host.clone(), Some(self.port))
    }

    /// Where we are in every dialog. Which of them a request is for, Call-ID and tags tell.
    pub(crate) fn contact(&self) -> Result<Value, Unencodable> {
        let uri = Uri::sip(self.host.clone()).with_port(self.port).with_param("transport", Some("tls"))?;
        Ok(Value::from(&NameAddr::new(uri)))
    }

    /// Whether a request has been here before: by our name in a Via, or by our mark.
    pub(crate) fn has_seen(&self, request: &Request) -> bool {
        // RFC 3261 §16.3 step 4.
        let by_via =
            request.headers().vias().flatten().any(|via| via.host() == &self.host && via.port().unwrap_or(5061) == self.port);
        let by_mark = |value: &Value| value.text().split(';').any(|part| part.trim().strip_prefix("hub=") == Some(&self.mark));
        by_via || request.headers().named(TRACE).any(by_mark)
    }

    /// What every request of ours has beside what its dialog says.
    pub(crate) fn signed(&self, request: RequestBuilder, id: &str) -> Result<RequestBuilder, Unencodable> {
        request
            .header(Name::Contact, self.contact()?)?
            .named_header(VERIFIED.0, Value::new(VERIFIED.1)?)?
            .named_header(TRACE, Value::new(&format!("{id};hub={}", self.mark))?)
    }

    /// The name of the conversation between two people, for `Ms-Conversation-ID`: always the same for the same two, so that a session that is begun
    /// again goes on in the window of the one before it, also after a restart.
    pub(crate) fn conversation(&self, ours: &Address, theirs: &Address) -> String {
        let digest = Sha256::new()
            .chain_update(b"ocs conversation\0")
            .chain_update(self.secret)
            .chain_update(ours.to_string())
            .chain_update(b"\0")
            .chain_update(theirs.to_string())
            .finalize();
        let number = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        (number >> 1).to_string()
    }
}
