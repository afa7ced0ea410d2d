//! Finding out whether a link works, when somebody asks: by OPTIONS (RFC 3261 §11), which no person sees.

use interchange_adapter::{Now, Output};
use interchange_model::{Domain, Fault, LinkId, Trouble};
use sip_codec::Response;

use crate::Sip;
use crate::link::State;
use crate::outbound::retry_after;
use crate::settings::Dial;

/// Domains of a link that are asked about at one time; of more, the next is answered at once.
const MOST_CHECKS: usize = 64;

impl Sip {
    /// Asks the link's server for an answer, now: a pause after a failure is not waited for; one that the server has asked for is.
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
            State::Waiting { .. } => {
                self.try_again(now, number);
                let never = self
                    .links
                    .get(&number)
                    .is_some_and(|link| link.settings.dial == Dial::Never && matches!(link.state, State::Waiting { .. }));
                if never {
                    let why = "the hub waits for the server to connect (`dial` is `never`), and it has not";
                    self.checked(number, Err(Trouble::new(Fault::NotConnected, why)));
                }
            }
            // What is under way tells.
            State::Opening { .. } | State::Probing { .. } => {}
            State::Up(active) => {
                active.next_options = now.instant;
                self.keep_alive(now, number);
            }
            State::Paused { until, .. } => {
                let left = until.saturating_duration_since(now.instant).as_secs();
                let why = format!("the server asked for a pause (503 with Retry-After), of which {left} s are left");
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

/// What an answer to OPTIONS says: any shows that the server lives, and some that it does not want the hub, or not now.
pub(crate) fn welcome(response: &Response) -> Result<(), Trouble> {
    let status = response.status();
    match status {
        503 if let Some(seconds) = retry_after(response) => {
            Err(Trouble::new(Fault::Throttled, format!("the server asks for a pause of {seconds} s (503 with Retry-After)")))
        }
        401 | 407 => Err(Trouble::new(Fault::AuthenticationRefused, wants_password(status))),
        // 403 too: many a proxy takes messages and refuses to be asked.
        _ => Ok(()),
    }
}

/// What 401 and 407 mean among servers.
pub(crate) fn wants_password(status: u16) -> String {
    format!("the server asks for a password ({status}), so it does not know the hub as a trusted peer")
}
