//! What this adapter lends to what is built for every kind of SIP.

use interchange_adapter::{ConnId, Now};
use interchange_model::{Address, LinkId, Token};
use rand::RngExt;
use sip_adapter::{Host, Open, Refusing, Tools};
use sip_model::address;

use crate::Ocs;
use crate::diagnostics::Diagnosis;

impl Host for Ocs {
    fn tools(&mut self) -> Tools<'_> {
        Tools { random: &mut self.random, layer: &mut self.layer, actions: &mut self.actions, out: &mut self.out }
    }

    fn new_token(&mut self) -> Token {
        Token(self.number())
    }

    fn new_call_id(&mut self) -> String {
        format!("{:032x}", self.random.random::<u128>())
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn is_up(&self, link: &LinkId) -> bool {
        self.names.get(link).and_then(|number| self.links.get(number)).is_some_and(|link| link.way().is_some())
    }

    fn is_of(&self, conn: ConnId, link: &LinkId) -> bool {
        let (known, number) = (self.conns.get(&conn), self.names.get(link));
        known.is_some_and(|known| number.is_some_and(|number| known.links.contains(number)))
    }

    fn sender(&self, open: &Open) -> Result<(LinkId, Address), Refusing> {
        let from = address::from_sender_uri(open.request.from().uri()).map_err(|_| Refusing::from(403))?.address;
        let links = self.conns.get(&open.conn).map(|known| known.links.as_slice()).unwrap_or_default();
        let owner = links.iter().filter_map(|number| self.links.get(number)).find(|link| link.domains.contains(from.domain()));
        Ok((owner.ok_or(403_u16)?.id.clone(), from))
    }

    fn answer_ok(&mut self, now: Now, open: &Open) {
        self.accept(now, open);
    }

    fn answer_refusing(&mut self, now: Now, open: &Open, why: Refusing) {
        self.refuse(now, open, &Diagnosis::from(why));
    }
}
