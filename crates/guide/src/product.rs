//! The server products that there is a guide for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A server product, or a family whose steps are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Product {
    /// Prosody.
    Prosody,
    /// ejabberd.
    Ejabberd,
    /// Openfire.
    Openfire,
    /// Cisco Unified Communications Manager IM and Presence (Jabber XCP), which federates by itself.
    CiscoImp,
    /// The same behind an Expressway-E, which federates for it.
    CiscoExpressway,
    /// IBM or HCL Sametime Gateway.
    SametimeGateway,
    /// Any other server that federates by RFC 6120.
    OtherXmpp,
    /// Kamailio.
    Kamailio,
    /// Any other proxy that speaks SIP over TLS and MESSAGE (RFC 3428).
    OtherSip,
    /// Microsoft Live Communications Server 2005 and Office Communications Server 2007 or 2007 R2.
    Ocs,
    /// Microsoft Lync Server 2010 and 2013, Skype for Business Server 2015 and 2019.
    Lync,
    /// Microsoft 365 (Teams), which has no server of the company's own.
    #[serde(rename = "microsoft-365")]
    Microsoft365,
}

impl Product {
    /// All of them, in the order in which a list should offer them.
    pub const ALL: [Self; 12] = [
        Self::Prosody,
        Self::Ejabberd,
        Self::Openfire,
        Self::CiscoImp,
        Self::CiscoExpressway,
        Self::SametimeGateway,
        Self::OtherXmpp,
        Self::Kamailio,
        Self::OtherSip,
        Self::Ocs,
        Self::Lync,
        Self::Microsoft365,
    ];

    /// The label in commands, addresses and JSON. It never changes.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
            Self::Openfire => "openfire",
            Self::CiscoImp => "cisco-imp",
            Self::CiscoExpressway => "cisco-expressway",
            Self::SametimeGateway => "sametime-gateway",
            Self::OtherXmpp => "other-xmpp",
            Self::Kamailio => "kamailio",
            Self::OtherSip => "other-sip",
            Self::Ocs => "ocs",
            Self::Lync => "lync",
            Self::Microsoft365 => "microsoft-365",
        }
    }

    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prosody => "Prosody",
            Self::Ejabberd => "ejabberd",
            Self::Openfire => "Openfire",
            Self::CiscoImp => "Cisco IM and Presence (Jabber XCP)",
            Self::CiscoExpressway => "Cisco IM and Presence behind Expressway-E",
            Self::SametimeGateway => "Sametime Gateway",
            Self::OtherXmpp => "another XMPP server",
            Self::Kamailio => "Kamailio",
            Self::OtherSip => "another SIP proxy",
            Self::Ocs => "Microsoft OCS 2007 / LCS 2005",
            Self::Lync => "Microsoft Lync / Skype for Business Server",
            Self::Microsoft365 => "Microsoft 365 (Teams)",
        }
    }

    /// The `platform` of the link at the hub: `xmpp`, `sip` or `ocs`; none for what cannot be linked.
    #[must_use]
    pub const fn platform(self) -> Option<&'static str> {
        match self {
            Self::Prosody
            | Self::Ejabberd
            | Self::Openfire
            | Self::CiscoImp
            | Self::CiscoExpressway
            | Self::SametimeGateway
            | Self::OtherXmpp => Some("xmpp"),
            Self::Kamailio | Self::OtherSip => Some("sip"),
            Self::Ocs | Self::Lync => Some("ocs"),
            Self::Microsoft365 => None,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.label())
    }
}

/// A text that is no product's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a product; these are: prosody, ejabberd, openfire, cisco-imp, cisco-expressway, sametime-gateway, other-xmpp, \
     kamailio, other-sip, ocs, lync, microsoft-365"
)]
pub struct UnknownProduct;

impl std::str::FromStr for Product {
    type Err = UnknownProduct;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|product| product.label() == text).ok_or(UnknownProduct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_stable_and_the_same_everywhere() {
        let labels = Product::ALL.map(Product::label);
        assert_eq!(
            labels.join(" "),
            "prosody ejabberd openfire cisco-imp cisco-expressway sametime-gateway other-xmpp kamailio other-sip ocs lync \
             microsoft-365"
        );
        let error = UnknownProduct.to_string();
        for product in Product::ALL {
            assert_eq!(product.label().parse(), Ok(product));
            assert_eq!(serde_json::to_value(product).unwrap(), product.label());
            assert!(error.contains(product.label()));
        }
        assert_eq!("Prosody".parse::<Product>(), Err(UnknownProduct));
    }
}
