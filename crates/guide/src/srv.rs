//! Which product a domain's SRV records speak of.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Product;
use crate::escape::plain;

/// A service whose records tell something about the server behind a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Service {
    /// XMPP between servers (RFC 6120).
    #[serde(rename = "_xmpp-server._tcp")]
    XmppServer,
    /// XMPP between servers, TLS from the first byte (XEP-0368).
    #[serde(rename = "_xmpps-server._tcp")]
    XmppsServer,
    /// SIP over TLS (RFC 3263).
    #[serde(rename = "_sips._tcp")]
    Sips,
    /// Where Microsoft's clients sign in from outside.
    #[serde(rename = "_sip._tls")]
    SipTls,
    /// SIP over TCP (RFC 3263).
    #[serde(rename = "_sip._tcp")]
    SipTcp,
    /// Where Microsoft's servers federate.
    #[serde(rename = "_sipfederationtls._tcp")]
    SipFederationTls,
}

impl Service {
    /// All that are worth asking for, the most telling first.
    pub const ALL: [Self; 6] =
        [Self::SipFederationTls, Self::XmppServer, Self::XmppsServer, Self::Sips, Self::SipTls, Self::SipTcp];

    /// The two labels before the domain.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::XmppServer => "_xmpp-server._tcp",
            Self::XmppsServer => "_xmpps-server._tcp",
            Self::Sips => "_sips._tcp",
            Self::SipTls => "_sip._tls",
            Self::SipTcp => "_sip._tcp",
            Self::SipFederationTls => "_sipfederationtls._tcp",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.label())
    }
}

/// A text that is not the label of a [`Service`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of the services that tell something about a server")]
pub struct UnknownService;

impl std::str::FromStr for Service {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|service| service.label() == text).ok_or(UnknownService)
    }
}

/// What DNS said about one service of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrvAnswer {
    /// Which service was asked for.
    pub service: Service,
    /// The records; empty when there are none.
    pub targets: Vec<SrvTarget>,
}

/// One SRV record, as DNS gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrvTarget {
    /// The host, with or without the final dot; `.` says that there is no such service (RFC 2782).
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A product that a domain may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guess {
    /// Which.
    pub product: Product,
    /// One sentence: what speaks for it.
    pub why: String,
}

/// Words in the names of hosts, whole or as part of a label, that give a product away; for XMPP.
const XMPP_HINTS: [(&str, Product); 9] = [
    ("prosody", Product::Prosody),
    ("ejabberd", Product::Ejabberd),
    ("openfire", Product::Openfire),
    ("expressway", Product::CiscoExpressway),
    ("vcse", Product::CiscoExpressway),
    ("expe", Product::CiscoExpressway),
    ("imp", Product::CiscoImp),
    ("cup", Product::CiscoImp),
    ("sametime", Product::SametimeGateway),
];

/// The same for SIP.
const SIP_HINTS: [(&str, Product); 3] =
    [("kamailio", Product::Kamailio), ("openser", Product::Kamailio), ("opensips", Product::OtherSip)];

/// Suffixes of the hosts of Microsoft's own service, where no company has a server.
const MICROSOFT_CLOUD: [&str; 3] = ["online.lync.com", "skypeforbusiness.us", "partner.lync.cn"];

/// The products that a domain may run by its SRV records, best first, each once; empty when the records say nothing.
///
/// A guess is for offering a product first, never for deciding: names of hosts are whatever somebody chose.
#[must_use]
pub fn guess(answers: &[SrvAnswer]) -> Vec<Guess> {
    let mut found: Vec<(u8, Guess)> = Vec::new();
    for answer in answers {
        for target in &answer.targets {
            let host = target.host.trim_end_matches('.').to_ascii_lowercase();
            // The root as target: the service is expressly not there. Google's hosts: a record left over from a service
            // that has ended federation.
            if host.is_empty() || is_below(&host, "google.com") {
                continue;
            }
            read(answer.service, &host, target.port, &mut |weight, product, why| {
                let why = plain(&why);
                match found.iter_mut().find(|(_, guess)| guess.product == product) {
                    Some(before) if before.0 < weight => *before = (weight, Guess { product, why }),
                    Some(_) => {}
                    None => found.push((weight, Guess { product, why })),
                }
            });
        }
    }
    // Stable: among equals the order of the answers.
    found.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    found.into_iter().map(|(_, guess)| guess).collect()
}

/// What one record speaks for.
fn read(service: Service, host: &str, port: u16, say: &mut dyn FnMut(u8, Product, String)) {
    let cloud = MICROSOFT_CLOUD.iter().any(|suffix| is_below(host, suffix));
    match service {
        Service::SipFederationTls if cloud => {
            say(95, Product::Microsoft365, format!("{service} leads to {host}, which is Microsoft's own service."));
        }
        Service::SipFederationTls => {
            let record = format!("{service} leads to {host}, port {port}: the record by which Microsoft servers federate");
            say(80, Product::Lync, format!("{record}."));
            say(70, Product::Ocs, format!("{record}; DNS does not tell OCS from its successors."));
        }
        Service::SipTls if cloud => {
            say(85, Product::Microsoft365, format!("{service} leads to {host}, where clients of Microsoft's service sign in."));
        }
        Service::SipTls if port == 443 => {
            let why = format!("{service} leads to {host}, port 443, where Lync and Skype clients sign in from outside.");
            say(45, Product::Lync, why);
        }
        Service::XmppServer | Service::XmppsServer => {
            for (word, product) in XMPP_HINTS {
                if hints(host, word) {
                    say(90, product, format!("{service} leads to {host}, whose name says so."));
                }
            }
            if service == Service::XmppsServer {
                let why = format!("{service} is there: TLS from the first byte, which Prosody, ejabberd and Openfire offer.");
                for (weight, product) in [(65, Product::Prosody), (64, Product::Ejabberd), (63, Product::Openfire)] {
                    say(weight, product, why.clone());
                }
            }
            let why = format!("{service} leads to {host}, port {port}: it speaks XMPP; DNS does not tell which server it is.");
            say(60, Product::OtherXmpp, why);
        }
        Service::Sips | Service::SipTls | Service::SipTcp => {
            for (word, product) in SIP_HINTS {
                if hints(host, word) {
                    say(88, product, format!("{service} leads to {host}, whose name says so."));
                }
            }
            // TLS between proxies is what a link needs; plain TCP may be for phones alone.
            let weight = if service == Service::Sips { 50 } else { 40 };
            let why = format!("{service} leads to {host}, port {port}: it speaks SIP; DNS does not tell which server it is.");
            say(weight, Product::OtherSip, why);
        }
    }
}

/// Whether `host` is `domain` or below it.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether a word stands in a host's name: short words as a whole label, with digits after them at most, since `imp` is
/// part of many others.
fn hints(host: &str, word: &str) -> bool {
    host.split(['.', '-']).any(|label| {
        if word.len() > 4 { label.contains(word) } else { label.trim_end_matches(|digit: char| digit.is_ascii_digit()) == word }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(service: Service, host: &str, port: u16) -> SrvAnswer {
        SrvAnswer { service, targets: vec![SrvTarget { host: host.to_owned(), port }] }
    }

    fn products(answers: &[SrvAnswer]) -> Vec<Product> {
        guess(answers).into_iter().map(|guess| guess.product).collect()
    }

    #[test]
    fn nothing_says_nothing() {
        assert!(guess(&[]).is_empty());
        assert!(guess(&[SrvAnswer { service: Service::Sips, targets: Vec::new() }]).is_empty());
        assert!(guess(&[answer(Service::XmppServer, ".", 0)]).is_empty());
        assert!(guess(&[answer(Service::XmppServer, "xmpp-server.l.google.com.", 5269)]).is_empty());
    }

    #[test]
    fn microsoft_of_the_company_and_microsoft_of_microsoft() {
        let own = [answer(Service::SipFederationTls, "sip.contoso.example.", 5061)];
        assert_eq!(products(&own), [Product::Lync, Product::Ocs]);
        let cloud = [
            answer(Service::SipTls, "sipdir.online.lync.com.", 443),
            answer(Service::SipFederationTls, "SipFed.Online.Lync.com.", 5061),
        ];
        assert_eq!(products(&cloud), [Product::Microsoft365]);
        assert_eq!(
            guess(&cloud)[0].why,
            "_sipfederationtls._tcp leads to sipfed.online.lync.com, which is Microsoft's own service."
        );
        // Somebody's own domain that only ends alike.
        let alike = [answer(Service::SipFederationTls, "sip.notonline.lync.com.attacker.example", 5061)];
        assert_eq!(products(&alike), [Product::Lync, Product::Ocs]);
        assert_eq!(products(&[answer(Service::SipTls, "access.contoso.example", 443)]), [Product::Lync]);
    }

    #[test]
    fn names_of_hosts_come_first() {
        for (host, product) in [
            ("prosody2.acme.example", Product::Prosody),
            ("ejabberd.acme.example", Product::Ejabberd),
            ("my-openfire.acme.example", Product::Openfire),
            ("expe01.acme.example", Product::CiscoExpressway),
            ("imp1.acme.example", Product::CiscoImp),
            ("sametimegw.acme.example", Product::SametimeGateway),
        ] {
            assert_eq!(products(&[answer(Service::XmppServer, host, 5269)]), [product, Product::OtherXmpp], "{host}");
        }
        assert_eq!(products(&[answer(Service::XmppServer, "impressive.example", 5269)]), [Product::OtherXmpp]);
        let both = [answer(Service::Sips, "kamailio.acme.example", 5061), answer(Service::SipTcp, "sip.acme.example", 5060)];
        assert_eq!(products(&both), [Product::Kamailio, Product::OtherSip]);
    }

    #[test]
    fn direct_tls_narrows_xmpp_down() {
        let answers =
            [answer(Service::XmppServer, "xmpp.acme.example", 5269), answer(Service::XmppsServer, "xmpp.acme.example", 5270)];
        assert_eq!(products(&answers), [Product::Prosody, Product::Ejabberd, Product::Openfire, Product::OtherXmpp]);
    }

    #[test]
    fn labels_of_services() {
        for service in Service::ALL {
            assert_eq!(service.label().parse(), Ok(service));
            assert_eq!(serde_json::to_value(service).unwrap(), service.label());
        }
        assert_eq!("_xmpp-client._tcp".parse::<Service>(), Err(UnknownService));
    }

    proptest! {
        #[test]
        fn any_answer_makes_clean_sentences(host in any::<String>(), port in any::<u16>(), which in 0..6_usize) {
            let guesses = guess(&[answer(Service::ALL[which], &host, port)]);
            for one in &guesses {
                prop_assert!(!one.why.chars().any(char::is_control));
            }
            let mut products: Vec<_> = guesses.iter().map(|guess| guess.product).collect();
            products.sort_unstable();
            products.dedup();
            prop_assert_eq!(products.len(), guesses.len());
        }
    }
}
