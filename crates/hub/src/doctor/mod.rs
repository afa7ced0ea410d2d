//! The link doctor: what is wrong with a link, found by the ways that messages take, and a regular probe of every link.
//!
//! An adapter that is asked ([`Down::Check`]) puts a question to the link's server over the same connections that carry messages, and says what came of
//! it, with the exact fault. What peers do that come to the hub is noted when it happens. So nothing here knows a protocol: `examine.rs` puts together what
//! was looked up, asked and noted.

mod canary;
mod examine;
mod notes;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use interchange_admin::Probe;
use interchange_broker::TraceEvent;
use interchange_driver::{HubCertificate, Observation, Reach, Resolver, Sight};
use interchange_model::{Domain, Down, Fault, Health, Link, LinkId, Plain, PlatformName, Trouble};
use interchange_registry::Registry;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::bus::OpenBus;
use notes::Notes;

/// The longest that an adapter may take to say what came of a question: a dial, a handshake and an answer each have their own limits below it.
const ANSWER_LIMIT: Duration = Duration::from_secs(50);

/// What the doctor works with.
pub(crate) struct Surroundings {
    pub(crate) hub: Domain,
    /// The platforms that the hub listens for.
    pub(crate) listening: Vec<PlatformName>,
    pub(crate) certificates: Vec<HubCertificate>,
    pub(crate) platforms: HashMap<PlatformName, mpsc::Sender<Down>>,
    pub(crate) registry: watch::Receiver<Arc<Registry>>,
    pub(crate) health: watch::Receiver<BTreeMap<LinkId, Health>>,
    pub(crate) resolver: Resolver,
    pub(crate) reach: Reach,
    pub(crate) bus: Arc<OpenBus>,
}

/// Which link, for which domain of the hub's and which of the link's.
type Question = (LinkId, Domain, Domain);
/// What came of it.
type Answer = Result<(), Trouble>;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Doctor(Arc<Inner>);

struct Inner {
    around: Surroundings,
    /// Whoever waits for an answer.
    asked: Mutex<HashMap<Question, Vec<oneshot::Sender<Answer>>>>,
    notes: Mutex<HashMap<LinkId, Notes>>,
    probes: Mutex<BTreeMap<LinkId, Probe>>,
}

impl Doctor {
    pub(crate) fn new(around: Surroundings) -> Self {
        Self(Arc::new(Inner { around, asked: Mutex::default(), notes: Mutex::default(), probes: Mutex::default() }))
    }

    /// Takes down what adapters notice and what becomes of messages, until both end.
    pub(crate) async fn follow(self, mut sights: mpsc::Receiver<Observation>, mut events: broadcast::Receiver<TraceEvent>) {
        loop {
            tokio::select! {
                sight = sights.recv() => match sight {
                    Some(observation) => self.note(observation),
                    None => return,
                },
                event = events.recv() => match event {
                    Ok(event) => self.note_event(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    fn note(&self, Observation { at, link, sight }: Observation) {
        match sight {
            Sight::Proved => self.with_notes(&link, |notes| notes.proved = Some(at)),
            Sight::TurnedAway(trouble) => self.with_notes(&link, |notes| notes.turned_away = Some((at, trouble))),
            Sight::Checked { from, to, result } => {
                for asker in lock(&self.0.asked).remove(&(link, from, to)).into_iter().flatten() {
                    // An error: whoever has asked has gone.
                    let _ = asker.send(result.clone());
                }
            }
        }
    }

    fn note_event(&self, event: &TraceEvent) {
        self.with_notes(&event.link_in, |notes| notes.came(event));
        if let Some(link) = &event.link_out {
            self.with_notes(link, |notes| notes.went(event));
        }
    }

    /// Only for links that there are: a name that somebody made up takes no room.
    fn with_notes(&self, link: &LinkId, note: impl FnOnce(&mut Notes)) {
        let known = self.0.around.registry.borrow().link(link).is_some();
        let mut notes = lock(&self.0.notes);
        if known {
            note(notes.entry(link.clone()).or_default());
        } else {
            notes.remove(link);
        }
    }

    /// What was noted of a link.
    fn notes(&self, link: &LinkId) -> Notes {
        lock(&self.0.notes).get(link).cloned().unwrap_or_default()
    }

    /// What the last regular probe of each link has found.
    pub(crate) fn probes(&self) -> BTreeMap<LinkId, Probe> {
        lock(&self.0.probes).clone()
    }

    /// Shows words of the operator to everybody of a link who is signed in; whether the platform takes them.
    pub(crate) async fn notify(&self, platform: &PlatformName, link: LinkId, text: Plain) -> bool {
        let Some(platform) = self.0.around.platforms.get(platform) else { return false };
        matches!(timeout(ANSWER_LIMIT, platform.send(Down::Notice { link, text })).await, Ok(Ok(())))
    }

    /// Puts a question to a link's server, as the domain `from`; how long the answer took, or what keeps it from coming.
    async fn ask(&self, link: &Link, from: &Domain, to: &Domain) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        let (asker, answer) = oneshot::channel();
        let question = (link.id.clone(), from.clone(), to.clone());
        lock(&self.0.asked).entry(question.clone()).or_default().push(asker);
        let asked = async {
            let word = Down::Check { link: link.id.clone(), from: from.clone(), to: to.clone() };
            let stopped = || Trouble::new(Fault::Settings, "the platform of the link has stopped");
            let platform = self.0.around.platforms.get(&link.platform).ok_or_else(stopped)?;
            platform.send(word).await.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        };
        let silent = || Trouble::new(Fault::Silent, format!("nothing came of it within {} s", ANSWER_LIMIT.as_secs()));
        let result = timeout(ANSWER_LIMIT, asked).await.unwrap_or_else(|_| Err(silent()));
        // Nobody else who asks the same is forgotten, and nobody who has gone is kept.
        let mut open = lock(&self.0.asked);
        if let Some(askers) = open.get_mut(&question) {
            askers.retain(|asker| !asker.is_closed());
            if askers.is_empty() {
                open.remove(&question);
            }
        }
        result.map(|()| begun.elapsed())
    }
}

/// Whoever panicked with it in hand left whole entries.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long ago something was, for a sentence.
fn ago(at: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(at).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
