//! The hub's HTTP side: what Prometheus scrapes, what a supervisor asks, and the API by which members and links are changed.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all metrics in the text format of Prometheus 0.0.4 |
//! | `/livez` | 200 while the process answers at all: restart it when it does not |
//! | `/readyz` | 200 when messages can be accepted; 503 with a line for each reason why not |
//! | `/healthz` | each link with its state and the reason, a line each; for a person, always 200 |
//! | `/api/v1/…` | what is registered, for those with a token |
//!
//! All but the API answers to whoever can reach it, so it is for a loopback address or a network behind a proxy that asks who is there: names of
//! links and what the operator is told of them are in it, and nothing that anybody wrote.

mod api;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use interchange_guide::SrvAnswer;
use interchange_model::{Address, Domain, Fault, Health, LinkId, MessageId, Plain, PlatformName, Trouble};
use interchange_registry::Members;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use api::{About, new_token};

/// What is asked of the hub that is looked at.
pub trait Observed: Send + Sync + 'static {
    /// All metrics, read now.
    fn metrics(&self) -> impl Future<Output = Vec<MetricFamily>> + Send;

    /// Why messages cannot be accepted now, a sentence each; empty: they can.
    fn obstacles(&self) -> impl Future<Output = Vec<String>> + Send;

    /// What each authoritative server of a domain says of the TXT records of a name; or, in a sentence, why they cannot be found.
    fn texts(&self, domain: Domain, name: String) -> impl Future<Output = Result<Vec<NameServer>, String>> + Send;

    /// The text of a file at the web server of a domain, by HTTPS; or, in a sentence, why there is none.
    fn file(&self, domain: Domain, path: &'static str) -> impl Future<Output = Result<String, String>> + Send;

    /// The SRV records of a domain that tell something about its server.
    fn services(&self, domain: Domain) -> impl Future<Output = Vec<SrvAnswer>> + Send;

    /// Where messages wait, by the link that they are for, gone ones included; or, in a sentence, why that is not known.
    fn queues(&self) -> impl Future<Output = Result<Vec<WaitingQueue>, String>> + Send;

    /// The stages of a message, or of what two people had to say to one another, as far as they are still known; the oldest first.
    fn trace(&self, asked: &Asked) -> Vec<TraceRow>;

    /// Looks at everything that can be wrong with a link, and tries it: at most some 60 s. `None`: the hub does not know it.
    fn examine(&self, link: LinkId) -> impl Future<Output = Option<Vec<Finding>>> + Send;

    /// What the last regular probe of each link has found.
    fn probes(&self) -> BTreeMap<LinkId, Probe>;

    /// Whether people of links of a platform sign in at the hub itself.
    fn hosts_people(&self, platform: &PlatformName) -> bool;

    /// Shows words of the operator to everybody of a link who is signed in now; whether the platform takes them.
    fn notify(&self, platform: PlatformName, link: LinkId, text: Plain) -> impl Future<Output = bool> + Send;

    /// Every link that has said how it is.
    fn links(&self) -> BTreeMap<LinkId, Health>;
}

/// What one authoritative name server says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NameServer {
    /// Its name.
    pub server: String,
    /// Its address, if it has one.
    pub address: Option<IpAddr>,
    /// The texts of the record; none: it is not there.
    pub texts: Vec<String>,
    /// Why it said nothing, in a sentence.
    pub why: Option<String>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Which part of the link: `dns`, `connection`, `answer` and so on.
    pub check: &'static str,
    /// What was looked at: a domain, an address, a pair.
    pub subject: String,
    /// What came of it.
    pub result: Verdict,
    /// What is wrong.
    pub fault: Option<Fault>,
    /// A sentence about it.
    pub says: String,
}

impl Finding {
    /// Something that is as it should be.
    pub fn good(check: &'static str, subject: impl Into<String>, says: impl Into<String>) -> Self {
        Self { check, subject: subject.into(), result: Verdict::Ok, fault: None, says: says.into() }
    }

    /// Something that is not: `result` says how bad that is.
    pub fn trouble(check: &'static str, subject: impl Into<String>, result: Verdict, trouble: Trouble) -> Self {
        Self { check, subject: subject.into(), result, fault: Some(trouble.fault), says: trouble.text }
    }
}

/// What came of a look, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It cannot be told yet.
    Unknown,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
}

/// What a regular probe of a link has found: a question to its server, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// When.
    pub at: SystemTime,
    /// How long the answer took; or why there is none.
    pub result: Result<Duration, Trouble>,
    /// When there last was one.
    pub last_answer: Option<SystemTime>,
}

/// What waits for a link.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WaitingQueue {
    /// Which.
    pub link: LinkId,
    /// How many envelopes.
    pub waiting: u64,
    /// When the oldest was accepted, in seconds since 1970, where the bus can tell.
    pub oldest: Option<u64>,
}

/// Which messages are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// This one, and what came back for it.
    Id(MessageId),
    /// What went between these two, both ways.
    Pair(Address, Address),
}

/// One stage of one message.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TraceRow {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Which message, if it had an id.
    pub id: Option<MessageId>,
    /// For a failure or receipt: of which.
    pub of: Option<MessageId>,
    /// `accepted`, `delivered` and so on.
    pub stage: &'static str,
    /// The label of the refusal, where there is one.
    pub why: Option<&'static str>,
    /// The same in a sentence.
    pub because: Option<&'static str>,
    /// What kind of message.
    pub kind: Option<&'static str>,
    /// The sender.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// The link it came in over.
    pub link_in: LinkId,
    /// The link it leaves over.
    pub link_out: Option<LinkId>,
    /// Bytes of text.
    pub size: usize,
    /// Since it was accepted.
    pub elapsed_ms: u64,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    /// Ends with this value.
    _tasks: JoinSet<()>,
}

impl Admin {
    /// Listens, inside a tokio runtime. With `members` it serves the API too.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start<O: Observed>(
        address: SocketAddr,
        observed: Arc<O>,
        members: Option<(Arc<Members>, About)>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        let mut routes = Router::new()
            .route("/metrics", get(metrics::<O>))
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(readiness::<O>))
            .route("/healthz", get(health::<O>))
            .with_state(observed.clone());
        if let Some((members, about)) = members {
            let checks = Semaphore::new(api::CHECKS);
            let examinations = Semaphore::new(api::EXAMINATIONS);
            let (tokens, repeats) = (api::Tokens::default(), api::Repeats::default());
            let api = Arc::new(api::Api { members, about, tokens, checks, examinations, repeats, observed });
            routes = routes.merge(api::routes(api.clone()));
            tasks.spawn(api::recheck(api));
        }
        tasks.spawn(async move {
            // It goes on until it is dropped: a connection that fails is that connection's end.
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "metrics and health are not served any more");
            }
        });
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn metrics<O: Observed>(State(observed): State<Arc<O>>) -> Response {
    let families = observed.metrics().await;
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    if let Err(error) = encoder.encode(&families, &mut text) {
        tracing::error!(%error, "the metrics cannot be written");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let media = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    ([(CONTENT_TYPE, media)], text).into_response()
}

async fn readiness<O: Observed>(State(observed): State<Arc<O>>) -> Response {
    let obstacles = observed.obstacles().await;
    if obstacles.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, lines(&obstacles)).into_response()
}

async fn health<O: Observed>(State(observed): State<Arc<O>>) -> String {
    let mut text = String::new();
    for (link, health) in observed.links() {
        let why = health.why().map(|why| format!(": {}", why.replace(['\r', '\n'], " "))).unwrap_or_default();
        let _ = writeln!(text, "{link} {}{why}", health.label());
    }
    text
}

fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| format!("{text}\n")).collect()
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounter, Registry};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Hub {
        registry: Registry,
        obstacle: Option<&'static str>,
    }

    impl Observed for Hub {
        async fn metrics(&self) -> Vec<MetricFamily> {
            self.registry.gather()
        }

        async fn obstacles(&self) -> Vec<String> {
            self.obstacle.map(str::to_owned).into_iter().collect()
        }

        fn trace(&self, _: &Asked) -> Vec<TraceRow> {
            Vec::new()
        }

        async fn queues(&self) -> Result<Vec<WaitingQueue>, String> {
            Ok(Vec::new())
        }

        async fn texts(&self, _: Domain, _: String) -> Result<Vec<NameServer>, String> {
            Ok(Vec::new())
        }

        async fn examine(&self, _: LinkId) -> Option<Vec<Finding>> {
            None
        }

        fn probes(&self) -> BTreeMap<LinkId, Probe> {
            BTreeMap::new()
        }

        async fn file(&self, _: Domain, _: &'static str) -> Result<String, String> {
            Err(String::new())
        }

        async fn services(&self, _: Domain) -> Vec<SrvAnswer> {
            Vec::new()
        }

        fn hosts_people(&self, _: &PlatformName) -> bool {
            false
        }

        async fn notify(&self, _: PlatformName, _: LinkId, _: Plain) -> bool {
            false
        }

        fn links(&self) -> BTreeMap<LinkId, Health> {
            let away = Health::Retrying { why: "refused\r\nacme up".to_owned() };
            BTreeMap::from([(LinkId::from("acme"), Health::Up), (LinkId::from("globex"), away)])
        }
    }

    async fn ask(obstacle: Option<&'static str>, request: &str) -> String {
        let registry = Registry::new();
        let counter = IntCounter::new("interchange_things_total", "Things.").unwrap();
        counter.inc_by(3);
        registry.register(Box::new(counter)).unwrap();
        let admin = Admin::start("127.0.0.1:0".parse().unwrap(), Arc::new(Hub { registry, obstacle }), None).await.unwrap();
        let mut peer = TcpStream::connect(admin.address()).await.unwrap();
        peer.write_all(format!("{request} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_path_has_its_answer() {
        let metrics = ask(None, "GET /metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(
            metrics.contains("# HELP interchange_things_total Things.\n") && metrics.contains("interchange_things_total 3\n")
        );
        assert!(ask(None, "GET /livez").await.ends_with("\r\n\r\nalive\n"));
        assert!(ask(None, "GET /readyz").await.ends_with("\r\n\r\nready\n"));
        let health = ask(None, "GET /healthz").await;
        // What a peer caused to be said cannot look like a line of its own.
        assert!(health.ends_with("\r\n\r\nacme up\nglobex retrying: refused  acme up\n"), "{health}");
    }

    #[tokio::test]
    async fn what_cannot_work_is_said() {
        let answer = ask(Some("the bus is full"), "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("the bus is full\n"), "{answer}");
        assert!(ask(Some("the bus is full"), "GET /livez").await.starts_with("HTTP/1.1 200 "));
        assert!(ask(None, "GET /secret").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(None, "POST /metrics").await.starts_with("HTTP/1.1 405 "));
    }
}
