//! The link guide: facts about a link become the exact steps that an administrator does on their own server product.
//!
//! Pure functions, no IO. Who calls [`guide`] shows its [`Guide`] on a page, in a terminal (`Display`) or in a ticket
//! ([`Guide::to_markdown`]); who has asked DNS about a member's domain calls [`guess`] to offer the likely product first.
//!
//! A guide says whether it was tried: the steps for Prosody, ejabberd and Kamailio are of the kind that this
//! repository's integration tests run against a hub; the others come from the makers' documentation and say so.
//!
//! Whatever comes from outside is either of a type that cannot hold anything harmful ([`interchange_model::Domain`],
//! [`FileName`]) or is escaped for the language of the file that it is written into, so that no name can end a string,
//! a line or a fence.
//!
//! ```
//! use interchange_guide::{Facts, FileName, Listeners, MemberCertificate, Product, Service, SrvAnswer, SrvTarget, Trust, guess, guide};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let facts = Facts {
//!     hub_domain: "hub.example".parse()?,
//!     link: "acme".into(),
//!     member_domains: vec!["acme.example".parse()?],
//!     member_host: Some("im.acme.example".parse()?),
//!     listeners: Listeners::usual("hub.example".parse()?),
//!     trust: Trust::Own { file: FileName::parse("interchange-authority.pem")? },
//!     member_certificate: MemberCertificate::FromHub,
//!     partners: vec!["globex.example".parse()?],
//! };
//! let target = SrvTarget { host: "sip.acme.example.".to_owned(), port: 5061 };
//! let guesses = guess(&[SrvAnswer { service: Service::SipFederationTls, targets: vec![target] }]);
//! assert_eq!(guesses[0].product, Product::Lync);
//!
//! let steps = guide(guesses[0].product, &facts);
//! assert!(!steps.tried);
//! assert!(steps.to_string().contains("New-CsAllowedDomain -Identity 'globex.example' -ProxyFqdn 'hub.example'"));
//! # Ok(())
//! # }
//! ```

mod escape;
mod facts;
mod guide;
mod markdown;
mod product;
mod products;
mod remedy;
mod srv;
mod steps;

pub use facts::{Facts, FileName, FileNameError, Listeners, MemberCertificate, Trust};
pub use guide::{Guide, Language, Snippet, Step};
pub use product::{Product, UnknownProduct};
pub use remedy::remedy;
pub use srv::{Guess, Service, SrvAnswer, SrvTarget, UnknownService, guess};

/// What an administrator does on `product` to make the link of `facts`, in order.
///
/// The same facts always make the same guide. Its size grows with the number of partners: most products want a line for
/// each of their domains.
#[must_use]
pub fn guide(product: Product, facts: &Facts) -> Guide {
    products::guide(product, facts)
}
