//! TCP: order, floods, slow peers, limits, panics, stopping.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::*;
use interchange_adapter::{CloseReason, ConnId, Input, Now, Output, Target, Transport, Via};
use interchange_driver::{Limits, Reach};
use interchange_model::{Body, DeliveryId, Down, Health, Outcome, Refusal, Token, Up};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_come_back_and_both_ends_learn_of_the_close() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let mut peer = TcpStream::connect(puppet.address()).await.unwrap();
    let (conn, via) = puppet.opened().await;
    let want = Via::Accepted { transport: Transport::Tcp, local: puppet.address(), peer: peer.local_addr().unwrap() };
    assert_eq!(via, want);
    peer.write_all(b"hello").await.unwrap();
    assert_eq!(puppet.received(b"hello").await, conn);
    puppet.send(conn, "world").await;
    expect(&mut peer, b"world").await;

    // What was sent before a close arrives, and nothing after it.
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    puppet
        .act([
            Output::Send { conn, bytes: bytes("bye") },
            Output::Close { conn, why: CloseReason::Refused },
            Output::Send { conn, bytes: bytes("never") },
        ])
        .await;
    let mut rest = String::new();
    within(peer.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "bye");
    assert_eq!(puppet.closed().await.0, CloseReason::Refused);
    let stats = puppet.driver.stats();
    assert_eq!((stats.accepted(), stats.bytes_in(), stats.bytes_out()), (1, 5, 8));
    assert_eq!(stats.closes(CloseReason::Refused), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_closes_is_told_as_such_and_still_gets_its_answer() {
    let mut puppet = Puppet::start(Options::default(), echo_reflex).await;
    let mut peer = TcpStream::connect(puppet.address()).await.unwrap();
    peer.write_all(b"last words").await.unwrap();
    peer.shutdown().await.unwrap();
    puppet.opened().await;
    puppet.received(b"last words").await;
    let mut rest = String::new();
    within(peer.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "last words");
    let (why, detail) = puppet.closed().await;
    assert_eq!((why, detail), (CloseReason::PeerClosed, format!("{} closed the connection", peer.local_addr().unwrap())));
}

fn echo_reflex(input: &Input, out: &mut Vec<Output>) {
    echo(Now::read(), input.clone(), out);
}

/// The trap: a loop that waits for the broker while the broker waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_messages_arrive_whole_and_in_order_past_a_slow_broker() {
    const COUNT: u64 = 20_000;
    let adapter = || {
        let mut buffer = Vec::new();
        let mut number = 0;
        let mut conn_of = None;
        Box::new(Function(move |_: Now, input: Input, out: &mut Vec<Output>| match input {
            Input::Received { conn, bytes } => {
                conn_of = Some(conn);
                buffer.extend_from_slice(&bytes);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let text = String::from_utf8(line[..end].to_vec()).unwrap();
                    out.push(Output::Broker(Up::Submit { token: Token(number), link: "acme".into(), envelope: envelope(&text) }));
                    number += 1;
                }
            }
            Input::Broker(Down::Submitted { token, result: Ok(()) }) => {
                out.push(Output::Send { conn: conn_of.unwrap(), bytes: Bytes::from(format!("{}\n", token.0)) });
            }
            _ => {}
        })) as _
    };
    let (driver, Ends { mut up, down }) = start(Options { capacity: 4, ..Options::default() }, adapter).await;
    let line = |number: u64| format!("message {number} {}", "x".repeat((number % 97) as usize));

    // Takes the next word only after its answer to the last was taken, and rests now and then.
    let broker = tokio::spawn(async move {
        for number in 0..COUNT {
            let Some(Up::Submit { token, envelope, .. }) = up.recv().await else { panic!("no submission") };
            let Body::Text(text) = &envelope.body else { panic!("no text") };
            assert_eq!(text.plain.as_str(), line(number));
            assert_eq!(token, Token(number));
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            down.send(Down::Submitted { token, result: Ok(()) }).await.unwrap();
        }
        (up, down)
    });

    let (read, mut write) = TcpStream::connect(driver.bound()[0].address).await.unwrap().into_split();
    let writer = tokio::spawn(async move {
        for number in 0..COUNT {
            write.write_all(format!("{}\n", line(number)).as_bytes()).await.unwrap();
        }
        write
    });
    let mut acknowledged = BufReader::new(read).lines();
    for number in 0..COUNT {
        assert_eq!(within(acknowledged.next_line()).await.unwrap().unwrap(), number.to_string());
    }
    within(writer).await.unwrap();
    within(broker).await.unwrap();
}

/// A broker that takes nothing: connections are no longer heard, its own words still are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_heard_while_it_takes_nothing_and_a_peer_floods() {
    let mut puppet = Puppet::start(Options { capacity: 1, ..Options::default() }, |input, out| {
        if let Input::Received { bytes, .. } = input {
            let refused =
                |_| Up::Settle { link: "acme".into(), delivery: DeliveryId(0), outcome: Outcome::Refused(Refusal::Loop) };
            out.extend(bytes.chunks(16).map(refused).map(Output::Broker));
        }
    })
    .await;
    let mut peer = TcpStream::connect(puppet.address()).await.unwrap();
    puppet.opened().await;
    // Until nothing more goes in: the loop does not take it.
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), peer.write(&chunk)).await {
        sent += written.unwrap();
        assert!(sent < 256 * 1024 * 1024, "the loop goes on reading");
    }
    let (conn, text) = (ConnId::accepted(0), "still here");
    puppet.send(conn, text).await;
    expect(&mut peer, text.as_bytes()).await;

    // And when the broker takes words again, the rest comes in.
    let before = puppet.driver.stats().bytes_in();
    let mut taken = 0;
    while puppet.driver.stats().bytes_in() == before || taken < 5_000 {
        within(puppet.ends.up.recv()).await.unwrap();
        taken += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_peer_keeps_neither_the_broker_nor_others_out() {
    let mut puppet = Puppet::start(Options::default(), |input, out| match input {
        // Each chunk costs as much as a slow codec.
        Input::Received { bytes, .. } if bytes.starts_with(b"x") => std::thread::sleep(Duration::from_micros(300)),
        Input::Received { conn, bytes } => out.push(Output::Send { conn: *conn, bytes: bytes.clone() }),
        Input::Broker(Down::Deliver { link, delivery, .. }) => {
            let (link, delivery) = (link.clone(), *delivery);
            out.push(Output::Broker(Up::Settle { link, delivery, outcome: Outcome::Delivered }));
        }
        _ => {}
    })
    .await;
    let mut flooder = TcpStream::connect(puppet.address()).await.unwrap();
    let flood = tokio::spawn(async move {
        let chunk = vec![b'x'; 64 * 1024];
        while flooder.write_all(&chunk).await.is_ok() {}
    });
    let mut quiet = TcpStream::connect(puppet.address()).await.unwrap();
    for number in 0..100 {
        quiet.write_all(b"ping").await.unwrap();
        expect(&mut quiet, b"ping").await;
        let word = Down::Deliver { link: "acme".into(), delivery: DeliveryId(number), envelope: envelope("") };
        puppet.ends.down.send(word).await.unwrap();
        let want = Up::Settle { link: "acme".into(), delivery: DeliveryId(number), outcome: Outcome::Delivered };
        assert_eq!(within(puppet.ends.up.recv()).await, Some(want));
    }
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_is_closed_alone() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let _deaf = TcpStream::connect(puppet.address()).await.unwrap();
    let (deaf_conn, _) = puppet.opened().await;
    let mut other = TcpStream::connect(puppet.address()).await.unwrap();
    let (other_conn, _) = puppet.opened().await;
    let half = Bytes::from(vec![b'x'; 512 * 1024]);
    let closed = loop {
        puppet.act([Output::Send { conn: deaf_conn, bytes: half.clone() }]).await;
        puppet.send(other_conn, "for you").await;
        expect(&mut other, b"for you").await;
        match puppet.try_next() {
            Some(closed) => break closed,
            None => assert!(puppet.driver.stats().bytes_out() < 64 * 1024 * 1024),
        }
    };
    let Input::Closed { conn, why, detail } = closed else { panic!("{closed:?}") };
    assert_eq!((conn, why), (deaf_conn, CloseReason::Slow));
    assert!(detail.contains("does not read"), "{detail}");
    puppet.send(other_conn, "still").await;
    expect(&mut other, b"still").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_burst_to_a_peer_that_reads_arrives_whole() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let mut peer = TcpStream::connect(puppet.address()).await.unwrap();
    let (conn, _) = puppet.opened().await;
    let mut wanted = Vec::new();
    for round in 0..200_u32 {
        let bytes: Bytes = round.to_be_bytes().repeat(1_000).into();
        wanted.extend_from_slice(&bytes);
        puppet.act([Output::Send { conn, bytes }]).await;
    }
    let mut got = vec![0; wanted.len()];
    within(peer.read_exact(&mut got)).await.unwrap();
    assert!(got == wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_turned_away_and_places_become_free() {
    let limits = Limits { per_address: 2, ..Limits::default() };
    let mut puppet = Puppet::start(Options { limits, ..Options::default() }, |_, _| {}).await;
    let first = TcpStream::connect(puppet.address()).await.unwrap();
    let _second = TcpStream::connect(puppet.address()).await.unwrap();
    puppet.opened().await;
    puppet.opened().await;
    // The reset may overtake the end of `connect`.
    if let Ok(mut third) = TcpStream::connect(puppet.address()).await {
        assert!(matches!(within(third.read(&mut [0])).await, Ok(0) | Err(_)));
    }
    assert_eq!(puppet.driver.stats().turned_away(), 1);
    drop(first);
    assert_eq!(puppet.closed().await.0, CloseReason::PeerClosed);
    // The seat is given back when the socket is closed, a moment after the adapter knows.
    within(async {
        while puppet.driver.stats().accepted() < 3 {
            let _fourth = TcpStream::connect(puppet.address()).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    puppet.opened().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_one_adapter_and_it_comes_back() {
    let built = Arc::new(AtomicUsize::new(0));
    let count = built.clone();
    let (driver, mut ends) = start(Options::default(), move || {
        count.fetch_add(1, Ordering::SeqCst);
        let mut links = 0;
        Box::new(Function(move |_: Now, input: Input, out: &mut Vec<Output>| match input {
            Input::Broker(Down::Links { .. }) => links += 1,
            Input::Received { bytes, .. } if bytes.starts_with(b"panic") => {
                panic!("told to, for a test");
            }
            Input::Received { bytes, .. } if bytes.starts_with(b"submit") => {
                out.push(Output::Broker(Up::Submit { token: Token(7), link: "acme".into(), envelope: envelope("") }));
            }
            Input::Received { conn, .. } => out.push(Output::Send { conn, bytes: Bytes::from(format!("links {links}")) }),
            Input::Broker(Down::Submitted { .. } | Down::Deliver { .. }) => panic!("a word for the former adapter"),
            _ => {}
        }))
    })
    .await;
    let (other, _other_ends) = start(Options::default(), || Box::new(Function(echo))).await;
    let mut bystander = TcpStream::connect(other.bound()[0].address).await.unwrap();

    let address = driver.bound()[0].address;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(b"submit").await.unwrap();
    assert!(matches!(within(ends.up.recv()).await, Some(Up::Submit { token: Token(7), .. })));
    let mut breaker = TcpStream::connect(address).await.unwrap();
    breaker.write_all(b"panic").await.unwrap();
    assert!(matches!(within(peer.read(&mut [0])).await, Ok(0) | Err(_)), "the connection is closed");
    assert_eq!(within(ends.up.recv()).await, Some(Up::Health { link: "acme".into(), health: Health::Connecting }));

    // Not before the former adapter's submission is answered; and a delivery meant for it does not reach the new one.
    let deliver = Down::Deliver { link: "acme".into(), delivery: DeliveryId(1), envelope: envelope("") };
    ends.down.send(deliver.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(built.load(Ordering::SeqCst), 1);
    ends.down.send(Down::Submitted { token: Token(7), result: Ok(()) }).await.unwrap();
    ends.down.send(deliver).await.unwrap();

    let mut again = TcpStream::connect(address).await.unwrap();
    again.write_all(b"hello").await.unwrap();
    expect(&mut again, b"links 1").await;
    assert_eq!((built.load(Ordering::SeqCst), driver.stats().restarts()), (2, 1));
    bystander.write_all(b"unharmed").await.unwrap();
    expect(&mut bystander, b"unharmed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_the_adapter_say_goodbye_and_then_ends() {
    let mut puppet = Puppet::start(Options::default(), |input, out| {
        if let Input::Stop = input {
            let conn = ConnId::accepted(0);
            out.push(Output::Send { conn, bytes: Bytes::from_static(b"goodbye") });
            out.push(Output::Close { conn, why: CloseReason::Shutdown });
        }
    })
    .await;
    let address = puppet.address();
    let mut peer = TcpStream::connect(address).await.unwrap();
    puppet.opened().await;
    let begun = std::time::Instant::now();
    puppet.driver.stop();
    let mut rest = String::new();
    within(peer.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "goodbye");
    drop(peer);
    within(puppet.driver.stopped()).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "nothing was left to wait for");
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(puppet.driver.stats().open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_ever() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let mut peer = TcpStream::connect(puppet.address()).await.unwrap();
    puppet.opened().await;
    puppet.driver.stop();
    within(puppet.driver.stopped()).await;
    assert!(matches!(within(peer.read(&mut [0])).await, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_up_stops_the_platform() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let (never, _) = tokio::sync::mpsc::channel(1);
    puppet.ends.down = never;
    within(puppet.driver.stopped()).await;
    assert!(matches!(puppet.next().await, Input::Stop));
}

/// The last word of a broker that stops counts; what it has not taken is refused, or peers would wait for an answer that never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_leaves_without_an_answer_is_refused_when_it_hangs_up() {
    let submit = |token| Output::Broker(Up::Submit { token: Token(token), link: "acme".into(), envelope: envelope("hi") });
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    puppet.act([submit(1), submit(2), submit(3)]).await;
    for token in [1, 2] {
        let taken = within(puppet.ends.up.recv()).await;
        assert!(matches!(taken, Some(Up::Submit { token: Token(number), .. }) if number == token), "{taken:?}");
    }
    // Stored and answered in its last moment. Somebody else still holds the way to the adapter.
    let answer = Down::Submitted { token: Token(1), result: Ok(()) };
    puppet.ends.down.send(answer.clone()).await.unwrap();
    drop(std::mem::replace(&mut puppet.ends.up, tokio::sync::mpsc::channel(1).1));
    within(puppet.driver.stopped()).await;
    let heard: Vec<Input> = std::iter::from_fn(|| puppet.try_next()).collect();
    let mut answers = Vec::new();
    for input in heard {
        if let Input::Broker(Down::Submitted { token, result }) = input {
            answers.push((token, result));
        }
    }
    answers.sort_by_key(|(token, _)| token.0);
    let refused = Err(Refusal::Overloaded);
    assert_eq!(answers, [(Token(1), Ok(())), (Token(2), refused), (Token(3), refused)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_connects_and_what_was_sent_early_arrives() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let conn = ConnId::dialled(1);
    let to = Target::Host { host: "127.0.0.1".into(), port: address.port(), transport: Transport::Tcp };
    puppet.act([Output::Dial { conn, to, avoid: Vec::new() }, Output::Send { conn, bytes: Bytes::from_static(b"early") }]).await;
    let (mut accepted, from) = within(server.accept()).await.unwrap();
    assert_eq!(puppet.opened().await, (conn, Via::Dialled { transport: Transport::Tcp, local: from, peer: address }));
    expect(&mut accepted, b"early").await;
    accepted.write_all(b"answer").await.unwrap();
    puppet.received(b"answer").await;
    assert_eq!(puppet.driver.stats().dialled(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_says_why_it_failed() {
    let mut puppet = Puppet::start(Options::default(), |_, _| {}).await;
    // A port that nobody listens on: taken, and given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = |host: &str, port| Target::Host { host: host.into(), port, transport: Transport::Tcp };
    puppet.act([Output::Dial { conn: ConnId::dialled(1), to: host("127.0.0.1", port), avoid: Vec::new() }]).await;
    let (why, detail) = puppet.closed().await;
    assert_eq!(why, CloseReason::Unreachable);
    assert!(detail.contains(&format!("127.0.0.1:{port}: Connection refused")), "{detail}");

    // The hub's own network is not dialled unless listed.
    puppet.act([Output::Dial { conn: ConnId::dialled(2), to: host("169.254.169.254", 80), avoid: Vec::new() }]).await;
    let (why, detail) = puppet.closed().await;
    assert_eq!(why, CloseReason::Unreachable);
    assert!(detail.contains("169.254.169.254, a link-local address, which the hub does not dial"), "{detail}");

    // Given up by the adapter before anything came of it.
    let conn = ConnId::dialled(3);
    let dial = Output::Dial { conn, to: host("127.0.0.1", port), avoid: Vec::new() };
    puppet.act([dial, Output::Close { conn, why: CloseReason::Finished }]).await;
    assert_eq!(puppet.closed().await.0, CloseReason::Finished);
    assert!(Reach::public().check("127.0.0.1".parse().unwrap()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_are_kept() {
    struct Clock(std::time::Instant, u32);
    impl interchange_adapter::Adapter for Clock {
        fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
            if let Input::Tick = input {
                assert!(now.instant >= self.0);
                self.0 += Duration::from_millis(20);
                self.1 += 1;
                if self.1 == 5 {
                    out.push(Output::Broker(Up::Health { link: "acme".into(), health: Health::Up }));
                }
            }
        }
        fn deadline(&self) -> Option<std::time::Instant> {
            Some(self.0)
        }
    }
    let begun = std::time::Instant::now();
    let first = begun + Duration::from_millis(20);
    let (_driver, mut ends) = start(Options::default(), move || Box::new(Clock(first, 0))).await;
    within(ends.up.recv()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
}
