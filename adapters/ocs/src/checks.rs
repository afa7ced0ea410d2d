//! Finding out whether a link works, when somebody asks: by OPTIONS (RFC 3261 §11), which no person sees.

use interchange_adapter::{Now, Output};
use interchange_model::{Domain, Fault, LinkId, Trouble};
use sip_codec::Response;

use crate::Ocs;
use crate::link::State;
use crate::outbound::retry_after;

/// Domains of a link that are asked about at one time; of more, the next is answered at once.
const MOST_CHECKS: usize = 64;

impl Ocs {
    /// Asks the link's edge for an answer, now: a pause after a failure is not waited for; one that the edge has asked for is.
    pub(crate) fn check_link(&mut self, now: Now, id: LinkId, from: Domain, to: Domain) {
        let number = self.names.get(&id).copied();
        let Some((number, link)) = number.and_then(|number| self.links.get_mut(&number).map(|link| (number, link))) else {
            let why = Trouble::new(Fault::Settings, "the hub does not use the link: its settings cannot be used, or it is new");
            return self.out.push(Output::Checked { link: id, from, to, result: Err(why) });
        };
        if link.checks.len() >= MOST_CHECKS {
            let why = Trouble::new(Fault::Settings, "too much is asked at once");
            return self.out.push(Output::Checked { link: id, from, to, result: Err(why) });
        }
        link.checks.push((from, to));
        match &mut link.state {
            State::Waiting { .. } => self.try_again(now, number),
            // What is under way tells.
            State::Opening { .. } | State::Probing { .. } => {}
            State::Up(active) if active.next_options.is_some() => {
                active.next_options = Some(now.instant);
                self.keep_alive(now, number);
            }
            // The edge is never asked: that the connection stands is all that is known.
            State::Up(_) => self.checked(number, Ok(())),
            State::Paused { until, .. } => {
                let left = until.saturating_duration_since(now.instant).as_secs();
                let why = format!("the edge asked for a pause (503 with Retry-After), of which {left} s are left");
                self.checked(number, Err(Trouble::new(Fault::Throttled, why)));
            }
        }
    }

    /// It is known whether a link works: whoever has asked is told.
    pub(crate) fn checked(&mut self, number: u64, result: Result<(), Trouble>) {
        let Some(link) = self.links.get_mut(&number) else { return };
        for (from, to) in std::mem::take(&mut link.checks) {
            self.out.push(Output::Checked { link: link.id.clone(), from, to, result: result.clone() });
        }
    }
}

/// What an answer to OPTIONS says: any shows that the edge lives, and some that it does not know the hub, or not now.
pub(crate) fn welcome(response: &Response) -> Result<(), Trouble> {
    match response.status() {
        503 if let Some(seconds) = retry_after(response) => {
            Err(Trouble::new(Fault::Throttled, format!("the edge asks for a pause of {seconds} s (503 with Retry-After)")))
        }
        status @ (401 | 407) => Err(Trouble::new(
            Fault::AuthenticationRefused,
            format!("the edge asks for a password ({status}): the hub is no partner of it"),
        )),
        // 403 and 404 too: an edge refuses OPTIONS that are for nobody, and takes messages.
        _ => Ok(()),
    }
}
