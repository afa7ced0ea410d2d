//! Which links there are: those that the broker names begin and end here.

use interchange_adapter::{CloseReason, ConnId, Now, Output};
use interchange_model::{Health, Link as Provisioned, Outcome, Up};
use sip_adapter::links::{Known, changes};

use crate::Sip;
use crate::link::Link;
use crate::settings::{Dial, LinkSettings};
use crate::timers::Sleeper;

impl Sip {
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
            self.begin_link(now, number);
        }
    }

    /// Looks again whose connections are whose. A connection that has lost its last link is closed.
    fn judge_all(&mut self, now: Now) {
        let mut conns: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| conn.is_ready()).map(|(conn, _)| *conn).collect();
        conns.sort_unstable();
        for conn in conns {
            let before = self.conns.get(&conn).map(|known| known.links.clone()).unwrap_or_default();
            self.judge(conn);
            if !before.is_empty() && self.conns.get(&conn).is_some_and(|known| known.links.is_empty()) {
                self.close(now, conn, CloseReason::Refused, "the link was removed or changed");
            }
        }
    }

    fn begin_link(&mut self, now: Now, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        self.out.push(Output::Broker(Up::Health { link: link.id.clone(), health: Health::Connecting }));
        self.out.push(Output::Broker(Up::Recall { link: link.id.clone() }));
        // The peer may be here already.
        let mut here: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.links.contains(&number)).map(|(conn, _)| *conn).collect();
        here.sort_unstable();
        for conn in here {
            self.consider(now, number, conn);
        }
        if self.links.get(&number).is_some_and(|link| link.state.is_waiting() && link.settings.dial == Dial::Always) {
            self.dial(now, number);
        }
    }

    fn end_link(&mut self, now: Now, number: u64) {
        self.end_sessions_of(now, number);
        self.settle_all(number);
        let Some(mut link) = self.links.remove(&number) else { return };
        self.names.remove(&link.id);
        self.timers.set(&mut link.alarm, Sleeper::Link(number), None);
        if let Some(flow) = link.state.flow() {
            self.end_flow(now, flow);
        }
        if let Some(conn) = link.state.conn().filter(|conn| conn.is_dialled()) {
            self.close(now, conn, CloseReason::Shutdown, "the link was removed or changed");
        }
    }

    /// All that was handed to a link goes back, in order.
    pub(crate) fn settle_all(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        for (delivery, was_open) in link.outbox.drain() {
            if was_open {
                link.attempts.unanswered(delivery.message);
            }
            self.out.push(Output::Broker(Up::Settle {
                link: link.id.clone(),
                delivery: delivery.id,
                outcome: Outcome::LinkDown,
            }));
        }
    }

    /// The hub stops: what has not gone out goes back, what is out may still be answered.
    pub(crate) fn stop_links(&mut self) {
        let numbers: Vec<u64> = self.links.keys().copied().collect();
        for number in numbers {
            let Some(link) = self.links.get_mut(&number) else { continue };
            for delivery in link.outbox.drain_waiting() {
                self.out.push(Output::Broker(Up::Settle {
                    link: link.id.clone(),
                    delivery: delivery.id,
                    outcome: Outcome::LinkDown,
                }));
            }
        }
    }
}
