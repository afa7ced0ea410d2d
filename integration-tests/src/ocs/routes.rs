//! Names of the two servers, and their signed Record-Route values: what comes back changed is refused.

use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::message::{Message, parameter, uri};

/// Bytes of a key's description; written out, 240 letters.
const KEY_INFO_BYTES: usize = 180;

/// The two servers in the path of every federated dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// The home server.
    Pool,
    /// The Access Edge.
    Edge,
}

/// Signs and checks. Every server has keys of its own.
#[derive(Debug)]
pub(super) struct Routes {
    domain: String,
    keys: RandomState,
}

impl Routes {
    pub(super) fn new(domain: &str) -> Self {
        Self { domain: domain.to_owned(), keys: RandomState::new() }
    }

    /// The host name of a server.
    pub(super) fn name(&self, hop: Hop) -> String {
        match hop {
            Hop::Pool => format!("pool.{}", self.domain),
            Hop::Edge => format!("sip.{}", self.domain),
        }
    }

    /// What a server signs in the dialog that this request begins.
    pub(super) fn record(&self, hop: Hop, request: &Message) -> String {
        self.signed(hop, request.header("Call-ID"), parameter(request.header("From"), "tag").unwrap_or_default())
    }

    fn signed(&self, hop: Hop, call: &str, tag: &str) -> String {
        let front = match hop {
            Hop::Pool => format!(";ms-fe=fe1.{}", self.domain),
            Hop::Edge => String::new(),
        };
        let name = self.name(hop);
        let unsigned = format!("sip:{name}:5061;transport=tls{front};lr;ms-key-info={}", self.letters(&name, KEY_INFO_BYTES));
        let signature = self.letters(&format!("{unsigned} {call} {tag}"), 60);
        format!("<{unsigned};ms-route-sig={signature}>")
    }

    /// A number that only this server would say.
    pub(super) fn number(&self, of: u64) -> u64 {
        self.keys.hash_one(("number", of))
    }

    /// A keyed digest of `text`, so many bytes of it, in letters.
    pub(super) fn letters(&self, text: &str, count: usize) -> String {
        let bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|block| self.keys.hash_one((block, text)).to_be_bytes()).collect();
        URL_SAFE_NO_PAD.encode(&bytes[..count])
    }

    /// Which of the two servers a Route value names.
    pub(super) fn names(&self, route: &str) -> Option<Hop> {
        let host = uri(route).strip_prefix("sip:")?.split([':', ';']).next()?.to_ascii_lowercase();
        [Hop::Pool, Hop::Edge].into_iter().find(|&hop| self.name(hop) == host)
    }

    /// Checks a Route value that should be `hop`'s own of this request's dialog.
    pub(super) fn check(&self, hop: Hop, route: Option<&String>, request: &Message) -> Result<(), String> {
        let name = self.name(hop);
        let route = route.ok_or_else(|| format!("the Route of {name} is missing"))?;
        let call = request.header("Call-ID");
        let tags = ["From", "To"].map(|field| parameter(request.header(field), "tag").unwrap_or_default());
        let own = tags.map(|tag| self.signed(hop, call, tag));
        if own.contains(route) {
            Ok(())
        } else {
            Err(format!("the Route is not what {name} has signed for this dialog: {route}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_holds_in_its_dialog_alone_and_only_unchanged() {
        let routes = Routes::new("contoso.example");
        let mut request = Message::request("INVITE", "sip:bob@fabrikam.example");
        request.push("From", "<sip:alice@contoso.example>;tag=1");
        request.push("Call-ID", "a");
        let route = routes.record(Hop::Edge, &request);
        assert!(route.len() > 300, "{route}");
        assert_eq!(routes.names(&route), Some(Hop::Edge));
        // The other side's request has the tags the other way round.
        request.set("From", "<sip:bob@fabrikam.example>;tag=2");
        request.push("To", "<sip:alice@contoso.example>;tag=1");
        assert_eq!(routes.check(Hop::Edge, Some(&route), &request), Ok(()));
        assert!(routes.check(Hop::Pool, Some(&route), &request).is_err());
        assert!(routes.check(Hop::Edge, None, &request).is_err());
        assert!(routes.check(Hop::Edge, Some(&route.replace("lr;", "lr=on;")), &request).is_err());
        request.set("Call-ID", "b");
        assert!(routes.check(Hop::Edge, Some(&route), &request).is_err());
    }
}
