//! Every message leaves a trace, and no trace shows a text or a person.

mod common;

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use common::World;
use interchange_broker::{Stage, TraceEvent};
use interchange_model::{Address, Kind, MessageId, Outcome, Refusal, Up};
use tokio::sync::broadcast;
use tracing_subscriber::fmt::format::FmtSpan;

thread_local! {
    /// What this test's thread has logged: each test runs on one thread of its own.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the log of the thread that speaks.
struct ToLog;

impl io::Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs everything, spans included, from now on. One subscriber for the whole process: whether a place in the code is of
/// interest is remembered process-wide, so subscribers that come and go beside each other miss lines.
fn start_logging() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::NEW)
            .with_writer(|| ToLog)
            .with_ansi(false)
            .init();
    });
}

fn logged() -> String {
    LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap())
}

/// One delivered from acme to globex, one refused by globex, one never stored.
async fn three_messages(world: &mut World) {
    world.left.up("acme").await;
    world.right.up("globex").await;
    world.left.submitted(1, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.right.settle("globex", delivery, Outcome::Delivered).await;
    world.left.hear().await;
    world.left.submitted(2, "acme", "globex").await.unwrap();
    let (_, delivery, _) = world.right.delivery().await;
    world.right.settle("globex", delivery, Outcome::Refused(Refusal::NoSuchUser)).await;
    let (_, delivery, _) = world.left.delivery_of_any().await;
    world.left.settle("acme", delivery, Outcome::Refused(Refusal::Unsupported)).await;
    world.until_depth("acme", 0).await;
    world.left.submitted(3, "acme", "nobody").await.unwrap_err();
}

fn stages(events: &mut broadcast::Receiver<TraceEvent>) -> Vec<TraceEvent> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_sees_every_stage_of_every_message() {
    start_logging();
    let mut world = World::new().await;
    let mut events = world.trace.subscribe();
    three_messages(&mut world).await;
    let events = stages(&mut events);
    let of = |id: u128| {
        let mut labels: Vec<_> = events.iter().filter(|event| event.id == Some(MessageId(id))).map(|event| event.stage).collect();
        // A commit is heard of by two tasks at once.
        labels.sort_by_key(|stage| !matches!(stage, Stage::Accepted));
        labels
    };
    assert_eq!(of(1), [Stage::Accepted, Stage::Sent, Stage::Delivered]);
    assert_eq!(of(2), [Stage::Accepted, Stage::Sent, Stage::Failed(Refusal::NoSuchUser)]);
    assert_eq!(of(3), [Stage::Refused(Refusal::UnknownDomain)]);
    let failure: Vec<_> = events.iter().filter(|event| event.of == Some(MessageId(2))).collect();
    assert!(failure.iter().all(|event| event.kind == Some(Kind::Failure) && event.id.is_some()));
    assert!(failure.iter().any(|event| event.stage == Stage::Dropped(Refusal::Unsupported)), "{failure:?}");
    let delivered = events.iter().find(|event| event.stage == Stage::Delivered).unwrap();
    assert_eq!(delivered.link_in.as_str(), "acme");
    assert_eq!(delivered.link_out.as_ref().unwrap().as_str(), "globex");
    assert_eq!(delivered.from.to_string(), "sender.acme@acme.example");
    assert_eq!(delivered.size, "BODY-MARK".len());
}

#[tokio::test(start_paused = true)]
async fn what_an_adapter_turned_away_is_seen_too() {
    start_logging();
    let mut world = World::new().await;
    let mut events = world.trace.subscribe();
    let address = |text| Address::parse(text).unwrap();
    let (from, to) = (address("x@evil.example"), address("y@globex.example"));
    world.left.say(Up::Refused { link: "acme".into(), from: from.clone(), to, why: Refusal::NotYours }).await;
    world.left.submitted(1, "acme", "nobody").await.unwrap_err();
    let event = &stages(&mut events)[0];
    assert_eq!((event.stage, event.id, &event.from), (Stage::Refused(Refusal::NotYours), None, &from));
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_every_stage_and_neither_text_nor_person() {
    start_logging();
    let mut world = World::new().await;
    three_messages(&mut world).await;
    let text = logged();
    for secret in ["BODY-MARK", "sender.acme", "recipient.globex", "native-"] {
        assert!(!text.contains(secret), "`{secret}` is in the log:\n{text}");
    }
    let id = MessageId(2).to_string();
    for stage in ["accepted", "sent", "failed"] {
        let wanted = format!("stage=\"{stage}\"");
        let line = text.lines().find(|line| line.contains(&wanted) && line.contains(&format!(" id={id}")));
        let line = line.unwrap_or_else(|| panic!("no {stage} of {id} in:\n{text}"));
        for field in ["link_in=acme", "link_out=globex", "from_domain=acme.example", "to_domain=globex.example", "size=9", "ms="]
        {
            assert!(line.contains(field), "{field} in {line}");
        }
    }
    assert!(text.contains("refusal=\"no-such-user\""));
    let person = world.trace.user_hash(&Address::parse("Sender.Acme@acme.example").unwrap());
    assert!(text.contains(&format!("from_user=\"{person}\"")), "found by who has the key, however it is written");
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_the_walk_leave_spans() {
    start_logging();
    let mut world = World::new().await;
    three_messages(&mut world).await;
    let text = logged();
    let id = MessageId(2);
    for span in ["submit", "route", "publish", "deliver", "bounce"] {
        assert!(text.contains(&format!("{span}{{id={id}")), "no span {span} of {id} in:\n{text}");
    }
}
