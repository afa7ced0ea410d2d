//! Connections to RabbitMQ: which nodes there are, and those for reading.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use interchange_bus::BusError;
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

use crate::{OpenError, Options, locked, unavailable};

/// Seconds between two heartbeats (AMQP 0-9-1 §2.2.4): a peer that is silent for twice as long is gone, so a queue whose hub has vanished
/// without closing its connection has another reader within 10 s.
const HEARTBEAT: u16 = 5;

/// How long a node may take to answer a new connection: the only one that there is, and one of several.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const ONE_OF_SEVERAL_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Channels of one reading connection. RabbitMQ allows 2,047 unless it is told otherwise.
const CHANNELS: usize = 1_000;

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    uri: AMQPUri,
    authorities: Option<String>,
    /// Host, port and virtual host, for messages.
    pub(crate) name: String,
    answers_within: Duration,
}

/// The nodes that the options name.
pub(crate) fn servers(options: &Options) -> Result<Vec<Server>, OpenError> {
    if options.urls.is_empty() {
        return Err(OpenError::NoAddress);
    }
    let server = |(index, url): (usize, &String)| {
        let mut uri: AMQPUri =
            url.parse().map_err(|why: String| OpenError::Address { number: index + 1, why: without(url, &why) })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        if let Some(password) = &options.password {
            uri.authority.userinfo.password.clone_from(password);
        }
        let name = format!("{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost);
        let answers_within = if options.urls.len() > 1 { ONE_OF_SEVERAL_ANSWERS_WITHIN } else { ANSWERS_WITHIN };
        Ok(Server { uri, authorities: options.authorities.clone(), name, answers_within })
    };
    options.urls.iter().enumerate().map(server).collect()
}

/// A text without the address, should it quote it.
fn without(url: &str, why: &str) -> String {
    why.replace(url, "the address")
}

impl Server {
    /// Connects. `role` is what RabbitMQ shows as the connection's name.
    pub(crate) async fn connect(&self, role: &str) -> Result<Connection, lapin::Error> {
        let properties = ConnectionProperties::default().with_connection_name(format!("interchange {role}").into());
        let tls = OwnedTLSConfig { identity: None, cert_chain: self.authorities.clone() };
        let runtime = lapin::runtime::default_runtime()?;
        let connecting = Connection::connect_uri_with_config(self.uri.clone(), properties, tls, runtime);
        match timeout(self.answers_within, connecting).await {
            Ok(result) => result,
            Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the node does not answer").into()),
        }
    }
}

/// Connections for reading, each with many channels.
#[derive(Debug)]
pub(crate) struct Connections {
    servers: Vec<Server>,
    /// The node that the next connection is tried at first.
    next: AtomicUsize,
    open: tokio::sync::Mutex<Vec<Open>>,
    /// Nobody may open another.
    ended: Mutex<bool>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// One more reference for each channel in use.
    channels: Arc<()>,
}

/// A channel of one of the connections, and its place there.
#[derive(Debug)]
pub(crate) struct ReadingChannel {
    pub(crate) channel: Channel,
    _place: Arc<()>,
}

impl Connections {
    pub(crate) fn new(servers: Vec<Server>) -> Self {
        Self { servers, next: AtomicUsize::new(0), open: tokio::sync::Mutex::default(), ended: Mutex::new(false) }
    }

    /// A new channel.
    pub(crate) async fn channel(&self) -> Result<ReadingChannel, BusError> {
        let mut open = self.open.lock().await;
        let before = open.len();
        open.retain(|open| open.connection.status().connected());
        if open.len() < before {
            // The node may be there and mute: another is asked first.
            self.next.fetch_add(1, Relaxed);
        }
        if let Some(usable) = open.iter().find(|open| Arc::strong_count(&open.channels) <= CHANNELS)
            && let Ok(channel) = usable.connection.create_channel().await
        {
            return Ok(ReadingChannel { channel, _place: usable.channels.clone() });
        }
        if *locked(&self.ended) {
            return Err(BusError::Unavailable("the bus is closed".to_owned()));
        }
        let connection = self.connect().await?;
        let channel = connection.create_channel().await.map_err(unavailable)?;
        let channels = Arc::new(());
        let place = channels.clone();
        open.push(Open { connection, channels });
        Ok(ReadingChannel { channel, _place: place })
    }

    /// A connection of its own, to whichever node takes it.
    pub(crate) async fn connect(&self) -> Result<Connection, BusError> {
        let mut last = None;
        for _ in 0..self.servers.len() {
            let server = &self.servers[self.next.load(Relaxed) % self.servers.len()];
            match server.connect("reading").await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    last = Some(unavailable(format_args!("{}: {error}", server.name)));
                    self.next.fetch_add(1, Relaxed);
                }
            }
        }
        Err(last.unwrap_or_else(|| BusError::Unavailable("no node is known".to_owned())))
    }

    /// Closes all of them in good order.
    pub(crate) async fn close(&self) {
        *locked(&self.ended) = true;
        for open in self.open.lock().await.drain(..) {
            // An error: it was broken already.
            let _ = open.connection.close(200, "OK".into()).await;
        }
    }

    /// Opens no more, and closes those that are open as a process that ends would.
    pub(crate) fn abandon(&self) {
        *locked(&self.ended) = true;
        if let Ok(mut open) = self.open.try_lock() {
            open.clear();
        }
    }
}
