//! A puppet adapter and what tests need around it. All ports are the system's choice; every wait is bounded.
#![allow(dead_code, unreachable_pub)]

pub mod authority;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use interchange_adapter::{Adapter, CloseReason, ConnId, Input, Now, Output, TlsPeer, Transport, Via};
use interchange_driver::{AccountQuestion, Driver, Limits, Listener, Network, Reach, Resolver, Setup, Tls};
use interchange_model::{Address, Body, Domain, Down, Envelope, Link, LinkId, MessageId, Pace, PlatformName, Settings, Text, Up};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Bounds a wait.
pub async fn within<F: Future>(what: F) -> F::Output {
    timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

/// Reads exactly this.
pub async fn expect(stream: &mut (impl AsyncRead + Unpin), wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    within(stream.read_exact(&mut got)).await.expect("the stream ended");
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(wanted));
}

/// An adapter made of a function.
pub struct Function<F>(pub F);

impl<F: FnMut(Now, Input, &mut Vec<Output>) + Send> Adapter for Function<F> {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        (self.0)(now, input, out);
    }
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// An adapter that answers every byte with itself.
pub fn echo(_now: Now, input: Input, out: &mut Vec<Output>) {
    if let Input::Received { conn, bytes } = input {
        out.push(Output::Send { conn, bytes });
    }
}

/// The broker's end of a driver.
pub struct Ends {
    pub up: mpsc::Receiver<Up>,
    pub down: mpsc::Sender<Down>,
}

pub struct Options {
    pub listen: Vec<Transport>,
    pub tls: Option<Tls>,
    pub resolver: Option<Resolver>,
    pub reach: Option<Reach>,
    pub limits: Limits,
    pub capacity: usize,
    pub accounts: Option<mpsc::Sender<AccountQuestion>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec![Transport::Tcp],
            tls: None,
            resolver: None,
            reach: None,
            limits: Limits::default(),
            capacity: 64,
            accounts: None,
        }
    }
}

pub fn loopback() -> Reach {
    Reach::public_and(vec!["127.0.0.0/8".parse::<Network>().unwrap()])
}

/// Starts a driver on loopback and sends it one link.
pub async fn start(options: Options, build: impl FnMut() -> Box<dyn Adapter> + Send + 'static) -> (Driver, Ends) {
    let (up, from_adapter) = mpsc::channel(options.capacity);
    let (to_adapter, down) = mpsc::channel(options.capacity);
    let listener = |transport| Listener { address: SocketAddr::from(([127, 0, 0, 1], 0)), transport };
    let setup = Setup {
        name: PlatformName::from_static("test"),
        listeners: options.listen.into_iter().map(listener).collect(),
        tls: options.tls.unwrap_or_else(|| Tls::new(Vec::new(), 0, Default::default()).unwrap()),
        resolver: options.resolver.unwrap_or_else(|| Resolver::with_name_servers(&[]).unwrap()),
        reach: options.reach.unwrap_or_else(loopback),
        limits: options.limits,
        up,
        observer: None,
        accounts: options.accounts,
        down,
    };
    let driver = Driver::start(setup, build).unwrap();
    to_adapter.send(links(&["acme"])).await.unwrap();
    (driver, Ends { up: from_adapter, down: to_adapter })
}

pub fn links(names: &[&str]) -> Down {
    let link = |name: &&str| Link {
        id: LinkId::from(*name),
        member: (*name).into(),
        platform: PlatformName::from_static("test"),
        domains: vec![Domain::parse(&format!("{name}.example")).unwrap()],
        pace: Pace::default(),
        settings: Settings::default(),
    };
    Down::Links { links: names.iter().map(link).collect(), hosted: Arc::default() }
}

pub fn envelope(text: &str) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: MessageId(1),
        origin: "acme".into(),
        from: Address::parse("alice@acme.example").unwrap(),
        from_device: None,
        to: Address::parse("bob@globex.example").unwrap(),
        to_device: None,
        native_id: None,
        accepted: std::time::UNIX_EPOCH,
        hops: 70,
        native: None,
        body: Body::Text(Text { plain: text.into(), ..Text::default() }),
    })
}

/// An adapter that shows the test every input and does what the test says.
pub struct Puppet {
    inputs: mpsc::UnboundedReceiver<Input>,
    wanted: Arc<Mutex<VecDeque<Output>>>,
    pub driver: Driver,
    pub ends: Ends,
}

/// What a puppet does by itself, before it is asked.
pub type Reflex = fn(&Input, &mut Vec<Output>);

impl Puppet {
    pub async fn start(options: Options, reflex: Reflex) -> Self {
        let (sender, inputs) = mpsc::unbounded_channel();
        let wanted: Arc<Mutex<VecDeque<Output>>> = Arc::default();
        let outputs = wanted.clone();
        let (driver, ends) = start(options, move || {
            let (sender, outputs) = (sender.clone(), outputs.clone());
            Box::new(Function(move |_: Now, input: Input, out: &mut Vec<Output>| {
                reflex(&input, out);
                match input {
                    Input::Broker(Down::Delivered { .. }) => out.extend(outputs.lock().unwrap().drain(..)),
                    Input::Broker(Down::Links { .. }) => {}
                    input => drop(sender.send(input)),
                }
            }))
        })
        .await;
        Self { inputs, wanted, driver, ends }
    }

    /// Makes the adapter want this.
    pub async fn act(&mut self, outputs: impl IntoIterator<Item = Output>) {
        self.wanted.lock().unwrap().extend(outputs);
        let poke = Down::Delivered { link: "acme".into(), id: MessageId(0) };
        within(self.ends.down.send(poke)).await.unwrap();
    }

    pub async fn next(&mut self) -> Input {
        within(self.inputs.recv()).await.expect("the adapter is gone")
    }

    pub fn try_next(&mut self) -> Option<Input> {
        self.inputs.try_recv().ok()
    }

    pub async fn opened(&mut self) -> (ConnId, Via) {
        match self.next().await {
            Input::Opened { conn, via } => (conn, via),
            other => panic!("not opened: {other:?}"),
        }
    }

    pub async fn secured(&mut self) -> TlsPeer {
        match self.next().await {
            Input::Secured { peer, .. } => peer,
            other => panic!("not secured: {other:?}"),
        }
    }

    pub async fn received(&mut self, wanted: &[u8]) -> ConnId {
        let mut got = Vec::new();
        loop {
            match self.next().await {
                Input::Received { conn, bytes } => {
                    got.extend_from_slice(&bytes);
                    if got.len() >= wanted.len() {
                        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(wanted));
                        return conn;
                    }
                }
                other => panic!("not received: {other:?}"),
            }
        }
    }

    pub async fn closed(&mut self) -> (CloseReason, String) {
        match self.next().await {
            Input::Closed { why, detail, .. } => (why, detail),
            other => panic!("not closed: {other:?}"),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.driver.bound()[0].address
    }

    pub async fn send(&mut self, conn: ConnId, text: &'static str) {
        self.act([Output::Send { conn, bytes: Bytes::from_static(text.as_bytes()) }]).await;
    }
}
