//! One run's stage: hubs, the bus under them, companies with scripted servers, breakable networks between, and a book of what happens.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use super::company::{Company, address, company};
use super::hub_process::{HubProcess, Launch, folder, set_up_bus};
use super::ledger::{Entry, Happening, Ledger};
use super::load::{Load, Plan};
use super::progress::Progress;
use super::setting::{Bus, COMPANIES, Setting};
use crate::certificates::Authority;
use crate::faults::proxy::FaultProxy;
use crate::faults::random::Random;
use crate::hub::{HubFiles, LinkSettings};
use crate::ports::ReservedPort;
use crate::rabbitmq::{Cluster, RabbitMq};

const WARM_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// How long everything has to arrive after the last message was sent. A hub may try again a minute after it failed.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
/// What comes twice may come late.
const STRAYS_WITHIN: Duration = Duration::from_secs(1);
/// An acknowledgement on one stream is overtaken by the refusal on another within this time.
const CERTAIN_AFTER: Duration = Duration::from_millis(300);
/// Load before the first fault, and at least so much after the last.
const MARGIN: Duration = Duration::from_secs(2);

/// RabbitMQ under the hubs, if it is.
pub enum Rabbit {
    /// The hub's own bus.
    None,
    /// One node.
    One(Box<RabbitMq>),
    /// Three nodes.
    Three(Box<Cluster>),
}

/// The stage while it is played on. Its fields are dropped in their order.
pub struct Scene {
    load: Option<Load>,
    /// The companies, in the order of [`COMPANIES`].
    pub companies: Vec<Company>,
    /// The hubs; `None`: it was killed.
    pub hubs: Vec<Option<HubProcess>>,
    files: Vec<HubFiles>,
    /// What the messages are kept on.
    pub rabbit: Rabbit,
    /// When the queues of RabbitMQ were declared.
    declared: Instant,
    /// What happened.
    pub ledger: Ledger,
    /// What is told meanwhile.
    pub progress: Progress,
    /// Chance.
    pub random: Random,
    plan: Plan,
    /// How long the load runs at least.
    pub time: Duration,
    began: Instant,
}

impl Scene {
    /// Starts everything but the load.
    pub fn set(bus: Bus, setting: &Setting, time: Duration, seed: u64, label: &str) -> Self {
        let ledger = Ledger::new(setting.conversations());
        let progress = Progress::start(label, ledger.clone());
        progress.say("starting");
        let authority = Authority::new("Test authority");
        let rabbit = match bus {
            Bus::Embedded => Rabbit::None,
            Bus::RabbitMq => Rabbit::One(Box::new(RabbitMq::start())),
            Bus::Cluster => Rabbit::Three(Box::new(Cluster::start())),
        };
        let networks: Vec<(FaultProxy, ReservedPort)> = COMPANIES
            .iter()
            .map(|_| {
                let port = ReservedPort::any();
                (FaultProxy::start(port.address()), port)
            })
            .collect();
        let links: Vec<LinkSettings> = std::iter::zip(COMPANIES, &networks)
            .map(|((platform, domain), (proxy, _))| {
                let link = if *platform == "xmpp" { LinkSettings::xmpp } else { LinkSettings::sip };
                link(domain.split('.').next().unwrap_or(domain), domain, proxy.address().port())
            })
            .collect();
        let files: Vec<HubFiles> = (0..setting.hubs).map(|_| configured(&authority, &links, &rabbit, setting)).collect();
        if bus != Bus::Embedded {
            set_up_bus(&files[0]);
        }
        let declared = Instant::now();
        let hubs = files
            .iter()
            .map(|files| {
                let mut hub = HubProcess::start(files, &setting.launch);
                hub.wait_until_it_listens(files);
                Some(hub)
            })
            .collect();
        let companies = std::iter::zip(COMPANIES, networks)
            .enumerate()
            .map(|(place, ((platform, domain), (from_hub, port)))| {
                company(&authority, &files[0], (*platform, *domain), from_hub, port, setting.poison, ledger.listener(place))
            })
            .collect();
        Self {
            load: None,
            companies,
            hubs,
            files,
            rabbit,
            declared,
            ledger,
            progress,
            random: Random::new(seed),
            plan: setting.plan.clone(),
            time,
            began: Instant::now(),
        }
    }

    /// Starts the load, and returns when every company has sent and got something, and some seconds later.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn begin(&mut self) {
        self.begin_cold();
        let deadline = self.began + WARM_WITHIN;
        let began = self.began;
        let works = |ledger: &Ledger, company: usize| {
            ledger.first(Happening::Accepted, began, |entry| entry.from == company).is_some()
                && ledger.first(Happening::Delivered, began, |entry| entry.to == company).is_some()
        };
        while let Some(silent) = (0..self.companies.len()).find(|company| !works(&self.ledger, *company)) {
            let domain = self.companies[silent].domain;
            assert!(Instant::now() < deadline, "{domain} does not work within {WARM_WITHIN:?}, before any fault");
            thread::sleep(POLL);
        }
        self.began = Instant::now();
        thread::sleep(MARGIN.min(self.time / 4));
    }

    /// Starts the load and returns at once.
    pub fn begin_cold(&mut self) {
        self.progress.say("load");
        self.began = Instant::now();
        let senders = self.companies.iter().map(|company| company.peer.clone()).collect();
        self.load = Some(Load::start(self.plan.clone(), self.ledger.clone(), senders));
    }

    /// Says what is done, and waits while it is.
    pub fn during(&self, what: &str, time: Duration) {
        self.progress.say(what);
        thread::sleep(time);
    }

    /// Waits for what the faults have left of the time, and a moment at least; stops the load, and waits until all is settled.
    pub fn finish(&mut self) {
        self.progress.say("healed");
        let left = (self.began + self.time).saturating_duration_since(Instant::now());
        thread::sleep(left.max(MARGIN.min(self.time / 4)));
        self.stop_load();
        self.progress.say("drain");
        let deadline = Instant::now() + DRAINED_WITHIN;
        while !self.ledger.is_settled() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        thread::sleep(STRAYS_WITHIN);
    }

    /// No more messages.
    pub fn stop_load(&mut self) {
        if let Some(load) = &mut self.load {
            load.stop();
        }
    }

    /// Waits until something happens after a moment, to a message for which it matters; how long after it did.
    pub fn wait_for(
        &self,
        happening: Happening,
        after: Instant,
        within: Duration,
        matters: impl Fn(&Entry) -> bool,
    ) -> Option<Duration> {
        loop {
            if let Some(first) = self.ledger.first(happening, after, &matters) {
                // What looked like a yes may turn out to be a no.
                thread::sleep(CERTAIN_AFTER);
                if self.ledger.first(happening, after, &matters) == Some(first) {
                    return Some(first - after);
                }
            }
            if Instant::now() > after + within {
                return None;
            }
            thread::sleep(POLL);
        }
    }

    /// Kills a hub. There is no moment between this and [`Scene::start_hub`] in which anything else is done.
    pub fn kill_hub(&mut self, hub: usize) {
        self.hubs[hub] = None;
    }

    /// Starts a hub on its files; says when.
    pub fn start_hub(&mut self, hub: usize) -> Instant {
        let started = Instant::now();
        self.hubs[hub] = Some(HubProcess::start(&self.files[hub], &Launch::default()));
        started
    }

    /// The first hub.
    ///
    /// # Panics
    /// When it was killed.
    pub fn hub(&self) -> &HubProcess {
        self.hubs[0].as_ref().expect("it runs")
    }

    /// The one node of RabbitMQ.
    ///
    /// # Panics
    /// When there is none, or there are three.
    pub fn rabbitmq(&mut self) -> &mut RabbitMq {
        let Rabbit::One(node) = &mut self.rabbit else { panic!("the hub does not run on one node") };
        node
    }

    /// The three nodes of RabbitMQ.
    ///
    /// # Panics
    /// When there are not three.
    pub fn cluster(&mut self) -> &mut Cluster {
        let Rabbit::Three(cluster) = &mut self.rabbit else { panic!("the hub does not run on three nodes") };
        cluster
    }

    /// Waits until RabbitMQ can be killed without losing the names of its queues.
    pub fn wait_until_names_are_written(&self) {
        thread::sleep((self.declared + RabbitMq::NAMES_WRITTEN_WITHIN).saturating_duration_since(Instant::now()));
    }

    /// From now on every company dials this hub.
    pub fn lead_all_to(&self, hub: usize) {
        for company in &self.companies {
            company.to_hub.lead_to(address(&self.files[hub], company.platform));
        }
    }

    /// From now on this company dials this hub.
    pub fn lead_to(&self, company: usize, hub: usize) {
        let company = &self.companies[company];
        company.to_hub.lead_to(address(&self.files[hub], company.platform));
        company.to_hub.cut_now();
    }

    /// Where the configuration, the data and the log of the first hub are.
    pub fn folder(&self) -> std::path::PathBuf {
        folder(&self.files[0])
    }
}

fn configured(authority: &Authority, links: &[LinkSettings], rabbit: &Rabbit, setting: &Setting) -> HubFiles {
    let mut files = HubFiles::new(authority);
    let mut more = setting.configuration.clone();
    match rabbit {
        Rabbit::None => {}
        Rabbit::One(node) => files.use_bus(&node.url()),
        Rabbit::Three(cluster) => {
            let urls = cluster.urls();
            files.use_bus(&urls[0]);
            let others: Vec<String> = urls[1..].iter().map(|url| format!("\"{url}\"")).collect();
            more.push_str(&format!("\n[rabbitmq]\nmore_nodes = [{}]\n", others.join(", ")));
        }
    }
    files.configure(authority, links);
    let mut file = OpenOptions::new().append(true).open(files.configuration()).expect("the configuration is there");
    file.write_all(more.as_bytes()).expect("a file can be written");
    files
}
