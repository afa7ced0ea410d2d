//! Finding out whether a link works, when somebody asks: by OPTIONS (RFC 3261 §11), which no person sees.

use interchange_adapter::Now;
use interchange_model::{Domain, LinkId, Trouble};
use sip_adapter::link::{self, Check};
use sip_codec::Response;

use crate::Ocs;

impl Ocs {
    /// Asks the link's edge for an answer, now.
    pub(crate) fn check_link(&mut self, now: Now, id: LinkId, from: Domain, to: Domain) {
        let number = self.names.get(&id).copied();
        let Some((number, link)) = number.and_then(|number| self.links.get_mut(&number).map(|link| (number, link))) else {
            return self.out.push(link::unchecked(id, (from, to), false));
        };
        match link.state.check(now.instant, (from, to), "edge") {
            Err(pair) => self.out.push(link::unchecked(id, pair, true)),
            Ok(Check::Wait) => {}
            Ok(Check::Retry) => self.try_again(now, number),
            Ok(Check::Beat) => self.keep_alive(now, number),
            Ok(Check::Known(result)) => self.checked(number, &result),
        }
    }

    /// It is known whether a link works: whoever has asked is told.
    pub(crate) fn checked(&mut self, number: u64, result: &Result<(), Trouble>) {
        if let Some(link) = self.links.get_mut(&number) {
            self.out.extend(link.state.checked(&link.id, result));
        }
    }
}

/// What an answer to OPTIONS says.
pub(crate) fn welcome(response: &Response) -> Result<(), Trouble> {
    link::welcome(response, "edge", |status| format!("the edge asks for a password ({status}): the hub is no partner of it"))
}
