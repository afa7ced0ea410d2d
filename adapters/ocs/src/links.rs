//! Which links there are: those that the broker names begin and end here.

use interchange_adapter::{CloseReason, ConnId, Now, Output};
use interchange_model::{Health, Link as Provisioned, Outcome, Up};
use sip_adapter::links::{Known, changes};

use crate::Ocs;
use crate::link::Link;
use crate::settings::LinkSettings;
use crate::timers::Sleeper;

impl Ocs {
    /// Takes the whole set of links: what is gone is closed, what is new is begun, what changed is both.
    pub(crate) fn links_changed(&mut self, now: Now, links: &[Provisioned]) {
        let known = self.links.iter().map(|(number, link)| Known {
            number: *number,
            id: &link.id,
            domains: &link.domains,
            settings: &link.settings,
        });
        let changes = changes(known, links, LinkSettings::read);
        for number in changes.gone {
            self.end_link(now, number);
        }
        for (link, error) in changes.unusable {
            self.out.push(Output::Broker(Up::Health { link, health: error.health() }));
        }
        let mut begun = Vec::new();
        for (link, settings) in changes.new {
            let number = self.number();
            self.names.insert(link.id.clone(), number);
            self.links.insert(number, Link::new(link, settings));
            begun.push(number);
        }
        self.judge_all(now);
        for number in begun {
            let Some(link) = self.links.get(&number) else { continue };
            self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: Health::Connecting }));
            self.out.push(Output::Broker(Up::Recall { link: link.id.clone() }));
            self.dial(now, number);
        }
    }

    /// Looks again whose connections are whose. A connection that has lost its last link is closed.
    fn judge_all(&mut self, now: Now) {
        let mut conns: Vec<ConnId> = self.conns.keys().copied().collect();
        conns.sort_unstable();
        for conn in conns {
            let before = self.conns.get(&conn).is_some_and(|known| !known.links.is_empty());
            self.judge(conn);
            if before && self.conns.get(&conn).is_some_and(|known| known.links.is_empty()) {
                self.close(now, conn, CloseReason::Refused, "the link was removed or changed");
            }
        }
    }

    fn end_link(&mut self, now: Now, number: u64) {
        self.end_sessions_of(now, number);
        self.settle_all(number);
        let Some(mut link) = self.links.remove(&number) else { return };
        self.names.remove(&link.id);
        self.timers.set(&mut link.alarm, Sleeper::Link(number), None);
        self.timers.set(&mut link.pace_alarm, Sleeper::Pace(number), None);
        if let Some(flow) = link.state.flow() {
            self.end_flow(now, flow);
        }
        if let Some(conn) = link.state.conn() {
            self.close(now, conn, CloseReason::Shutdown, "the link was removed or changed");
        }
    }

    /// The hub stops: what has not gone out goes back, what is out may still be answered. Sessions stay: they are remembered, and a hub that begins
    /// anew goes on with them.
    pub(crate) fn stop_links(&mut self) {
        for link in self.links.values_mut() {
            for delivery in link.outbox.drain_waiting() {
                let outcome = Outcome::LinkDown;
                self.out.push(Output::Broker(Up::Settle { link: link.id.clone(), delivery: delivery.id, outcome }));
            }
        }
    }
}
