//! One file for each family of products.

mod cisco;
mod ejabberd;
mod kamailio;
mod microsoft;
mod openfire;
mod other;
mod prosody;
mod sametime;

use crate::facts::Facts;
use crate::guide::Guide;
use crate::product::Product;

/// Every product has its guide.
pub(crate) fn guide(product: Product, facts: &Facts) -> Guide {
    match product {
        Product::Prosody => prosody::guide(facts),
        Product::Ejabberd => ejabberd::guide(facts),
        Product::Openfire => openfire::guide(facts),
        Product::CiscoImp => cisco::imp(facts),
        Product::CiscoExpressway => cisco::expressway(facts),
        Product::SametimeGateway => sametime::guide(facts),
        Product::OtherXmpp => other::xmpp(facts),
        Product::Kamailio => kamailio::guide(facts),
        Product::OtherSip => other::sip(facts),
        Product::Ocs => microsoft::ocs(facts),
        Product::Lync => microsoft::lync(facts),
        Product::Microsoft365 => microsoft::cloud(facts),
    }
}
