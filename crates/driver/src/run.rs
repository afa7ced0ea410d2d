//! The loop: one adapter, and exactly one await.
//!
//! It waits in one `select!` for whatever comes first, and nowhere else: never for a peer, never for the broker. Words for
//! the broker queue in `pending`; while that is full the loop takes nothing more from connections (which then stop reading,
//! each with at most a few chunks in hand) and goes on hearing the broker, whose words are what empties it. A loop that awaited
//! `up.send` while handling an input would stall under a flood: the broker waiting to be heard, and the loop for the broker.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use interchange_adapter::{Adapter, CloseReason, ConnId, Input, Now, Output, Target, Transport};
use interchange_model::{Down, Health, Trouble, Up};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::accounts::Asker;
use crate::broker::{Broker, say};
use crate::dial::dial;
use crate::listen::{OpenSocket, accept};
use crate::observe::Sight;
use crate::outbox::{Command, Handle};
use crate::shared::{Event, Opener, Shared};
use crate::text;
use crate::udp::Port;

/// Words for the broker that may wait before connections are no longer heard.
const PENDING: usize = 1024;

/// Chunks, openings and closings of all connections that may wait for the loop.
const EVENTS: usize = 512;

/// Inputs from one source in one turn; then the other source has its turn.
const BATCH: usize = 64;

/// How long connections may take to end after the adapter was told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Shortest time between two ticks: an adapter whose deadline lies in the past does not spin.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// Why a run has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was told to, or the broker hung up.
    Stopped,
    /// The adapter panicked, saying this.
    Panicked(String),
}

/// Runs `adapter` until it is stopped or panics. Then all its connections end.
pub(crate) async fn run(
    broker: &mut Broker,
    adapter: Box<dyn Adapter>,
    sockets: &mut Vec<OpenSocket>,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Ended {
    let (event_sender, mut events) = mpsc::channel(EVENTS);
    let mut listeners = JoinSet::new();
    let mut ports = Vec::new();
    for socket in sockets.iter() {
        match socket {
            OpenSocket::Stream { listener, transport } => {
                listeners.spawn(accept(listener.clone(), *transport, event_sender.clone(), shared.clone()));
            }
            OpenSocket::Datagrams(socket) => {
                ports.push(Port::open(socket.clone(), ports.len(), event_sender.clone(), shared.clone()));
            }
        }
    }
    let mut machine = Machine {
        adapter: Some(adapter),
        broker,
        shared,
        events: event_sender,
        ports,
        lines: HashMap::new(),
        streams: 0,
        touched: Vec::new(),
        out: Vec::new(),
        stopping: None,
        last_tick: None,
    };
    let mut words = Vec::with_capacity(BATCH);
    let mut batch = Vec::with_capacity(BATCH);
    let mut timer = Box::pin(sleep_until(Instant::now()));

    let ended = 'run: {
        // A new adapter after a panic: the broker will not repeat itself.
        if let Some(links) = machine.broker.links.clone()
            && let Err(why) = machine.feed(Input::Broker(links))
        {
            break 'run Ended::Panicked(why);
        }
        loop {
            machine.hand_over();
            machine.broker.forward();
            if machine.is_done() {
                break 'run Ended::Stopped;
            }
            let wake = match machine.wake() {
                Ok(wake) => wake,
                Err(why) => break 'run Ended::Panicked(why),
            };
            if let Some(at) = wake
                && timer.deadline() != at
            {
                timer.as_mut().reset(at);
            }
            // The first input of all is `Links`.
            let hearing = machine.broker.pending.len() < PENDING && machine.broker.links.is_some();
            let broker = &mut *machine.broker;

            // Biased: what is rare and must not wait comes first; then the broker, whose words (answers to submissions, and
            // as many deliveries as may be in flight) dry up when peers are not heard, while peers never dry up. Each turn
            // takes a batch from both, so neither starves the other.
            let turn = tokio::select! {
                biased;
                () = stop.cancelled(), if machine.stopping.is_none() => Turn::Stop,
                permit = broker.up.reserve(), if !broker.pending.is_empty() && !broker.gone => match permit {
                    Ok(permit) => {
                        say(permit, &mut broker.pending, &mut broker.unanswered);
                        Turn::Go
                    }
                    Err(_) => Turn::BrokerGone,
                },
                () = &mut timer, if wake.is_some() => Turn::Tick,
                taken = broker.down.recv_many(&mut words, BATCH), if !broker.gone => match taken {
                    0 => Turn::BrokerGone,
                    _ => Turn::Go,
                },
                _ = events.recv_many(&mut batch, BATCH), if hearing => Turn::Go,
            };

            let mut result = match turn {
                Turn::Go => Ok(()),
                Turn::Tick => machine.tick(),
                Turn::Stop | Turn::BrokerGone => {
                    machine.broker.gone |= matches!(turn, Turn::BrokerGone);
                    // Closes the listening sockets: whoever comes now is refused at once.
                    listeners.abort_all();
                    sockets.retain(|socket| matches!(socket, OpenSocket::Datagrams(_)));
                    machine.stop()
                }
            };
            while words.len() < BATCH
                && let Ok(word) = machine.broker.down.try_recv()
            {
                words.push(word);
            }
            while hearing
                && batch.len() < BATCH
                && let Ok(event) = events.try_recv()
            {
                batch.push(event);
            }
            // All of them before the adapter can panic on one.
            for word in &words {
                machine.broker.note(word);
            }
            for word in words.drain(..) {
                result = result.and_then(|()| machine.hear(word));
            }
            for event in batch.drain(..) {
                result = result.and_then(|()| machine.take(event));
            }
            if let Err(why) = result {
                break 'run Ended::Panicked(why);
            }
        }
    };
    machine.end();
    ended
}

#[derive(Debug)]
enum Turn {
    Go,
    Tick,
    Stop,
    BrokerGone,
}

/// The adapter, and what the loop knows of its connections.
struct Machine<'a> {
    /// `None` once it has panicked: it is not touched again.
    adapter: Option<Box<dyn Adapter>>,
    broker: &'a mut Broker,
    shared: &'a Arc<Shared>,
    events: mpsc::Sender<Event>,
    ports: Vec<Port>,
    lines: HashMap<ConnId, Line>,
    /// How many of `lines` are not UDP: those that a stop waits for.
    streams: usize,
    /// Connections with staged commands.
    touched: Vec<ConnId>,
    /// Kept for its allocation.
    out: Vec<Output>,
    /// Until when the rest may take, once a stop was asked for.
    stopping: Option<Instant>,
    last_tick: Option<Instant>,
}

/// One connection, as the loop sees it.
struct Line {
    way: Way,
    /// The adapter has closed it: nothing but `Closed` comes from it any more, with this reason.
    closing: Option<CloseReason>,
    /// The adapter wants TLS on it: clear bytes are discarded until it is on. RFC 6120 §5.4.3.3.
    securing: bool,
    /// The other end, once it is known.
    peer: Option<IpAddr>,
}

enum Way {
    Stream {
        handle: Handle,
        /// Handed over at the end of the turn, so that a batch of inputs makes one wake-up.
        staged: Vec<Command>,
    },
    Datagrams(usize),
}

impl Machine<'_> {
    /// Hands one input to the adapter and does what it wants. `Err`: it panicked, saying this.
    fn feed(&mut self, input: Input) -> Result<(), String> {
        let _span = tracing::debug_span!("run", platform = %self.shared.name).entered();
        let Some(mut adapter) = self.adapter.take() else { return Ok(()) };
        let mut out = std::mem::take(&mut self.out);
        // Unwind safety: after a panic neither the adapter nor what it pushed is looked at again.
        let handled = catch_unwind(AssertUnwindSafe(|| adapter.handle(Now::read(), input, &mut out)));
        if let Err(panic) = handled {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(adapter)));
            return Err(said(&*panic));
        }
        self.adapter = Some(adapter);
        for output in out.drain(..) {
            self.obey(output);
        }
        self.out = out;
        Ok(())
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Broker(word) => {
                if let Up::Health { link, health: Health::Up } = &word
                    && !self.broker.hushed.is_empty()
                {
                    self.broker.hushed.remove(link);
                }
                self.broker.pending.push_back(word);
            }
            Output::Note { conn, about, text } => {
                tracing::info!(platform = %self.shared.name, %conn, "{text}");
                if let Some(about) = about {
                    let sight = match about.sign {
                        Ok(()) => Sight::Proved,
                        Err(fault) => Sight::TurnedAway(Trouble { fault, text }),
                    };
                    self.shared.observe(about.link, sight);
                }
            }
            Output::Checked { link, from, to, result } => self.shared.observe(link, Sight::Checked { from, to, result }),
            Output::Send { bytes, .. } if bytes.is_empty() => {}
            Output::Send { conn, bytes } => match self.lines.get_mut(&conn) {
                Some(Line { way: Way::Datagrams(port), closing: None, .. }) => self.ports[*port].send(conn, bytes, self.shared),
                Some(_) => self.stage(conn, Command::Send(bytes)),
                None => {}
            },
            Output::StartTls { conn, role } => match self.lines.get_mut(&conn) {
                Some(Line { way: Way::Datagrams(_), .. }) => {
                    self.obey(Output::Close { conn, why: CloseReason::TlsFailed });
                }
                Some(line) => {
                    line.securing = true;
                    self.stage(conn, Command::StartTls(Box::new(role)));
                }
                None => {}
            },
            Output::Close { conn, why } => match self.lines.get_mut(&conn) {
                Some(line) if line.closing.is_none() => {
                    line.closing = Some(why);
                    if let Way::Datagrams(port) = line.way {
                        self.ports[port].close(conn, why);
                    } else {
                        self.stage(conn, Command::Close(why));
                    }
                }
                _ => {}
            },
            Output::Dial { conn, to, avoid } => self.dial(conn, to, avoid),
            Output::Authenticate { conn, link, name, password } => {
                let peer = self.lines.get(&conn).and_then(|line| line.peer);
                self.asker().sign_in(conn, link, peer, name, password);
            }
            Output::LookUp { conn, query, link, name } => self.asker().look_up(conn, query, link, name),
        }
    }

    fn asker(&self) -> Asker<'_> {
        Asker { shared: self.shared, events: &self.events }
    }

    fn dial(&mut self, conn: ConnId, to: Target, avoid: Vec<SocketAddr>) {
        if self.lines.contains_key(&conn) || !conn.is_dialled() {
            tracing::error!(platform = %self.shared.name, %conn, "the adapter dialled with an id that is taken or not for dialling");
            return;
        }
        let (Target::Host { transport, .. } | Target::Srv { transport, .. }) = &to;
        let refused = if self.stopping.is_some() {
            Some((CloseReason::Shutdown, "not dialled: the hub stops"))
        } else if *transport == Transport::Udp && self.ports.is_empty() {
            Some((CloseReason::Unreachable, "not dialled: the platform has no UDP listener to dial from"))
        } else {
            None
        };
        let (handle, outbox) = Handle::new();
        let way = Way::Stream { handle, staged: Vec::new() };
        self.lines.insert(conn, Line { way, closing: None, securing: false, peer: None });
        self.streams += 1;
        let (events, shared) = (self.events.clone(), self.shared.clone());
        if let Some((why, detail)) = refused {
            self.shared.stats.count_failed(why);
            self.shared.tasks.spawn(async move {
                let _ = events.send(Event::Closed { conn, why, detail: detail.to_owned() }).await;
            });
        } else {
            let ipv4 = self.ports.first().is_some_and(Port::is_ipv4);
            self.shared.tasks.spawn(dial(conn, to, avoid, ipv4, outbox, events, shared));
        }
    }

    fn stage(&mut self, conn: ConnId, command: Command) {
        if let Some(Line { way: Way::Stream { staged, .. }, .. }) = self.lines.get_mut(&conn) {
            if staged.is_empty() {
                self.touched.push(conn);
            }
            staged.push(command);
        }
    }

    /// Hands all that was staged in this turn to the connections' tasks.
    fn hand_over(&mut self) {
        for conn in self.touched.drain(..) {
            if let Some(Line { way: Way::Stream { handle, staged }, .. }) = self.lines.get_mut(&conn)
                && !staged.is_empty()
            {
                handle.push(staged);
            }
        }
    }

    /// A word from the broker.
    fn hear(&mut self, word: Down) -> Result<(), String> {
        if let Down::Deliver { link, .. } = &word
            && !self.broker.hushed.is_empty()
            && self.broker.hushed.contains(link)
        {
            return Ok(());
        }
        self.feed(Input::Broker(word))
    }

    /// What a connection tells.
    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Opened { conn, via, by } => {
                let way = match by {
                    Opener::Dial => match self.lines.get_mut(&conn) {
                        Some(line) if line.closing.is_none() => {
                            line.peer = Some(via.peer().ip());
                            return self.feed(Input::Opened { conn, via: *via });
                        }
                        _ => return Ok(()),
                    },
                    // Dropping the handle ends the connection.
                    Opener::Stream(_) if self.stopping.is_some() => return Ok(()),
                    Opener::Stream(handle) => {
                        self.streams += 1;
                        Way::Stream { handle, staged: Vec::new() }
                    }
                    Opener::Datagrams(port) => Way::Datagrams(port),
                };
                self.lines.insert(conn, Line { way, closing: None, securing: false, peer: Some(via.peer().ip()) });
                self.feed(Input::Opened { conn, via: *via })
            }
            Event::Received { conn, bytes } => {
                let Some(line) = self.lines.get(&conn) else { return Ok(()) };
                if let Way::Stream { handle, .. } = &line.way {
                    handle.taken();
                }
                if line.closing.is_some() || line.securing {
                    return Ok(());
                }
                self.feed(Input::Received { conn, bytes })
            }
            Event::Secured { conn, peer } => match self.lines.get_mut(&conn) {
                Some(line) if line.closing.is_none() => {
                    line.securing = false;
                    self.feed(Input::Secured { conn, peer: *peer })
                }
                _ => Ok(()),
            },
            Event::Closed { conn, why, detail } => {
                let Some(mut line) = self.lines.remove(&conn) else { return Ok(()) };
                if let Way::Stream { handle, staged } = &mut line.way {
                    self.streams -= 1;
                    // An answer to the last words of a peer that may still read.
                    handle.push(staged);
                }
                self.feed(Input::Closed { conn, why: line.closing.unwrap_or(why), detail })
            }
            Event::Resolved { conn, peer } => {
                let Some(line) = self.lines.get_mut(&conn) else { return Ok(()) };
                match line.closing {
                    None => {
                        line.way = Way::Datagrams(0);
                        self.streams -= 1;
                        self.ports[0].dial(conn, peer);
                        Ok(())
                    }
                    Some(why) => self.take(Event::Closed { conn, why, detail: "closed before it was connected".to_owned() }),
                }
            }
            Event::Answered(input) => self.feed(*input),
        }
    }

    fn tick(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let due = self.deadline()?.is_some_and(|at| at <= now);
        if !due {
            return Ok(());
        }
        self.last_tick = Some(now);
        self.feed(Input::Tick)
    }

    fn deadline(&mut self) -> Result<Option<Instant>, String> {
        let Some(adapter) = &self.adapter else { return Ok(None) };
        let deadline = catch_unwind(AssertUnwindSafe(|| adapter.deadline())).map_err(|panic| said(&*panic))?;
        Ok(deadline.map(Instant::from_std))
    }

    /// When the loop must wake up by itself.
    fn wake(&mut self) -> Result<Option<Instant>, String> {
        let earliest = self.last_tick.map(|last| last + SHORTEST_TICK);
        let tick = self.deadline()?.map(|deadline| earliest.map_or(deadline, |earliest| deadline.max(earliest)));
        Ok(match (tick, self.stopping) {
            (Some(tick), Some(limit)) => Some(tick.min(limit)),
            (tick, limit) => tick.or(limit),
        })
    }

    fn stop(&mut self) -> Result<(), String> {
        if self.stopping.is_some() {
            return Ok(());
        }
        self.stopping = Some(Instant::now() + STOP_LIMIT);
        self.feed(Input::Stop)
    }

    /// Whether nothing is left to do after a stop, or its time is over.
    fn is_done(&self) -> bool {
        let Some(limit) = self.stopping else { return false };
        let told = self.broker.pending.is_empty() || self.broker.gone;
        (told && self.streams == 0) || Instant::now() >= limit
    }

    /// Ends what remains: dropped handles end their connections.
    fn end(mut self) {
        self.hand_over();
        if let Some(adapter) = self.adapter.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(adapter)));
        }
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text::escaped(words.unwrap_or("nothing"), 300)
}
