//! Somebody sends what no Sametime client would, before and after signing in, or only connects; and real clients beside them notice nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use interchange_integration_tests::meanwhile_client::MeanwhileClient;
use interchange_integration_tests::sametime_community::{ALICE, BOB, PASSWORD, SametimeCommunity};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_sametime::cipher::{self, Encryptor};
use interchange_sametime::codec::{
    Body, ClientType, Create, Frame, Handshake, HandshakeMore, IdBlock, Login, Message, SEND_SAID, Said, Stream, UserStatus,
    WireString, service,
};
use interchange_sametime::reason;
use socket2::Socket;

const SOON: Duration = Duration::from_secs(20);
/// How soon the hub must close a connection on which something was said that cannot be.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

fn connect(hub: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(hub).expect("the hub listens");
    socket.set_nodelay(true).expect("an open socket takes options");
    socket.set_write_timeout(Some(CLOSED_WITHIN)).expect("an open socket takes options");
    socket
}

/// What the hub says until it closes the connection.
#[track_caller]
fn said_until_closed(socket: &mut TcpStream, attack: &str) -> Vec<Message> {
    let deadline = Instant::now() + CLOSED_WITHIN;
    let mut stream = Stream::default();
    let mut chunk = [0; 4_096];
    loop {
        // No time at all would mean for ever.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).expect("an open socket takes options");
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => stream.push(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{attack}: the hub has not closed within {CLOSED_WITHIN:?}: {error}"),
        }
        assert!(Instant::now() < deadline, "{attack}: the hub goes on talking for {CLOSED_WITHIN:?}");
    }
    let mut messages = Vec::new();
    while let Some(frame) = stream.next(1 << 20).expect("the hub speaks the protocol") {
        if let Frame::Message(bytes) = frame {
            messages.push(Message::decode(&bytes).expect("the hub speaks the protocol"));
        }
    }
    messages
}

fn handshake() -> Vec<u8> {
    let more = HandshakeMore { unknown: 0x0100, zero: 0, host: WireString::default() };
    let handshake = Handshake { major: 0x1e, minor: 0x1d, login_type: 0x1700, more: Some(more), ..Handshake::default() };
    Message::new(0, Body::Handshake(handshake)).encode()
}

/// A frame with these bytes behind the header of a message.
fn frame(kind: u16, options: u16, inside: &[u8]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend(options.to_be_bytes());
    message.extend([0_u8; 4]);
    message.extend(inside);
    let length = u32::try_from(message.len()).expect("a short message");
    [&length.to_be_bytes()[..], &message].concat()
}

/// What no client sends, and the reason that the hub gives for its goodbye; `None`: it closes without a word, since the other would not understand it.
fn attacks() -> Vec<(&'static str, Vec<u8>, Option<u32>)> {
    let after_handshake = |bytes: &[u8]| [&handshake()[..], bytes].concat();
    let endless: Vec<u8> = [&[0x7f, 0xff, 0xff, 0xff][..], &vec![0; 256 * 1024]].concat();
    // A login type, and a name of 65,535 bytes of which three are there.
    let long_name = frame(1, 0, &[0x17, 0x00, 0xff, 0xff, b'b', b'o', b'b']);
    // A whole name, and a password of 4 GiB.
    let long_password = frame(1, 0, &[0x17, 0x00, 0, 3, b'b', b'o', b'b', 0xff, 0xff, 0xff, 0xff, 1, 2]);
    // Attributes of 4 GiB before everything else.
    let long_attributes = frame(0, 0x8000, &[0xff, 0xff, 0xff, 0xff]);
    // A privacy list of 4 thousand million people.
    let long_list = frame(0x0b, 0, &[1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0]);
    let login = Message::new(0, Body::Login(Login { login_type: 0x1700, name: "bob".into(), ..Login::default() })).encode();
    let create = Create {
        id: 3,
        service: service::MESSAGES,
        protocol: service::MESSAGES,
        data: ClientType::PLAIN.to_create(),
        ..Create::default()
    };
    let create = Message::new(0, Body::Create(create)).encode();
    let words = Body::Send { kind: SEND_SAID, payload: Said::Text("hello".into()).write() };
    let words = Message::new(3, words).encode();
    let flood = [vec![0x80; 1 << 20], frame(0x7777, 0, &[]).repeat(5_000)].concat();
    vec![
        ("2 GiB at once", endless.clone(), None),
        ("2 GiB behind a keep-alive", [&[0x80][..], &endless].concat(), Some(reason::PROTOCOL)),
        ("64 KiB before the login", after_handshake(&[0, 1, 0, 0]), Some(reason::PROTOCOL)),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: hub.example\r\n\r\n".to_vec(), None),
        ("a name that is not there", after_handshake(&long_name), None),
        ("a password that is not there", after_handshake(&long_password), None),
        ("attributes that are not there", long_attributes, None),
        ("a list that is not there", after_handshake(&long_list), None),
        ("a login before the handshake", login, Some(reason::PROTOCOL)),
        ("a second handshake", after_handshake(&handshake()), Some(reason::PROTOCOL)),
        ("a channel before the login", after_handshake(&create), Some(reason::PROTOCOL)),
        ("words before the login", after_handshake(&words), Some(reason::PROTOCOL)),
        ("a flood of keep-alives and unknown messages", flood, Some(reason::RESTRICTED)),
    ]
}

/// Others are unharmed: a message each way between XMPP and Sametime.
#[track_caller]
fn talk(alice: &mut XmppClient, bob: &mut MeanwhileClient, round: usize) {
    alice.send(BOB, &format!("r{round}"), &format!("to Bob {round}"));
    assert_eq!(bob.expect_message(SOON).text, format!("to Bob {round}"));
    bob.send(ALICE, &format!("to Alice {round}"));
    assert_eq!(alice.expect_message(SOON).body, format!("to Alice {round}"));
    bob.expect_no_warning();
}

#[test]
fn abuse_21_22_23_what_no_client_sends_ends_its_connection_and_touches_nobody_else() {
    const ROUNDS: usize = 10;
    const SILENT: usize = 40;
    const MEMORY: u64 = 32 * 1024 * 1024;
    let mut community = SametimeCommunity::start();
    let hub = community.address();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    let mut talk = |round| talk(&mut alice, &mut bob, round);
    talk(0);
    let before = community.hub().usage().resident_bytes;
    // They say nothing more: that they are closed after 30 s is a matter of the adapter's own tests.
    let silent: Vec<TcpStream> = (0..SILENT)
        .map(|_| {
            let mut socket = connect(hub);
            let half: Vec<u8> = [&[0, 0, 0x40, 0][..], &[0; 8 * 1024]].concat();
            socket.write_all(&half).expect("the hub takes half a frame");
            socket
        })
        .collect();
    let attacks = attacks();
    for round in 1..=ROUNDS {
        for (attack, bytes, goodbye) in &attacks {
            let mut socket = connect(hub);
            // The hub may close before it has all.
            let _ = socket.write_all(bytes);
            let said = said_until_closed(&mut socket, attack);
            let reasons: Vec<u32> = said
                .iter()
                .filter_map(|message| match message.body {
                    Body::Destroy { reason, .. } if message.channel == 0 => Some(reason),
                    _ => None,
                })
                .collect();
            assert_eq!(reasons, Vec::from_iter(*goodbye), "{attack}: {said:?}");
        }
        talk(round);
    }
    let after = community.hub().usage().resident_bytes;
    assert!(after.saturating_sub(before) <= MEMORY, "{before} bytes have become {after}");
    drop(silent);
}

/// Signs in as a client does that was offered no key, and nothing more.
fn sign_in(hub: SocketAddr, user: &str) -> TcpStream {
    const KEY: [u8; 5] = [1, 2, 3, 4, 5];
    let password = Encryptor::new(&KEY).encrypt(PASSWORD.as_bytes());
    let length = u32::try_from(password.len()).expect("a short password");
    let auth_data = [&[0, 0, 0, 5][..], &KEY, &length.to_be_bytes(), &password].concat();
    let login = Login { login_type: 0x1700, name: user.into(), auth_data, auth_type: cipher::AUTH_RC2_40, unknown: 0 };
    let mut socket = connect(hub);
    socket.set_read_timeout(Some(SOON)).expect("an open socket takes options");
    socket.write_all(&handshake()).expect("the hub takes a handshake");
    socket.write_all(&Message::new(0, Body::Login(login)).encode()).expect("the hub takes a login");
    let mut stream = Stream::default();
    let mut chunk = [0; 4_096];
    loop {
        let count = socket.read(&mut chunk).expect("the hub answers");
        assert_ne!(count, 0, "{user} is turned away");
        stream.push(&chunk[..count]);
        while let Some(frame) = stream.next(1 << 20).expect("the hub speaks the protocol") {
            let Frame::Message(bytes) = frame else { continue };
            if matches!(Message::decode(&bytes).expect("the hub speaks the protocol").body, Body::LoginAck(_)) {
                return socket;
            }
        }
    }
}

/// Channels that end, each with the reason.
type Ends = Vec<(u32, u32)>;

/// What somebody who has signed in says and no client would, and the ends that the hub answers it with: of a channel, or of the connection (0).
fn attacks_after_login() -> Vec<(&'static str, Vec<u8>, Ends)> {
    let open = |id: u32, service: u32| {
        let data = if service == service::MESSAGES { ClientType::PLAIN.to_create() } else { Vec::new() };
        let target = IdBlock { user: format!("@E {ALICE}").as_str().into(), community: WireString::default() };
        Message::new(0, Body::Create(Create { id, service, protocol: service, data, target, ..Create::default() })).encode()
    };
    let say =
        |channel: u32, kind: u16, payload: &[u8]| Message::new(channel, Body::Send { kind, payload: payload.to_vec() }).encode();
    let on = |service: u32, kind: u16, payload: &[u8]| [open(1, service), say(1, kind, payload)].concat();
    let status = Message::new(0, Body::Status(UserStatus { status: UserStatus::ACTIVE, time: 0, text: "x".into() })).encode();
    let lies = |attack, bytes| (attack, bytes, vec![(1, reason::INVALID)]);
    vec![
        lies("4 thousand million people to be seen", on(service::AWARENESS, 0x68, &[0xff; 24])),
        lies("4 thousand million names", on(service::RESOLVE, 2, &[0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 3])),
        lies(
            "a list of 4 GiB",
            on(service::STORAGE, 6, &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1]),
        ),
        lies("words of 65,535 bytes that are not there", on(service::MESSAGES, SEND_SAID, &[0, 0, 0, 1, 0xff, 0xff, b'x'])),
        ("a frame of 256 KiB and a byte", vec![0, 4, 0, 1], vec![(0, reason::PROTOCOL)]),
        ("a second handshake", handshake(), vec![(0, reason::PROTOCOL)]),
        ("a channel of the server's", open(0x8000_0001, service::STORAGE), vec![(0, reason::PROTOCOL)]),
        ("a channel twice", open(1, service::STORAGE).repeat(2), vec![(0, reason::PROTOCOL)]),
        ("a service that is not there", open(1, 0x38), vec![(1, reason::NO_SERVICE)]),
        ("words on channels that are not there", (2..500).flat_map(|id| say(id, SEND_SAID, &[0; 40])).collect(), vec![]),
        ("a flood of states", status.repeat(5_000), vec![(0, reason::RESTRICTED)]),
    ]
}

#[test]
fn abuse_21_22_24_nor_does_somebody_harm_others_who_has_signed_in_or_only_connects() {
    const ROUNDS: usize = 5;
    /// From one address the hub takes so many connections.
    const MOST: usize = 100;
    const MEMORY: u64 = 32 * 1024 * 1024;
    let mut community = SametimeCommunity::start();
    let hub = community.address();
    let mut alice = community.alice();
    let mut bob = community.meanwhile("bob");
    let mut talk = |round| talk(&mut alice, &mut bob, round);
    talk(0);
    let before = community.hub().usage().resident_bytes;
    let from_elsewhere = || {
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a TCP socket can be made");
        socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).expect("a loopback address");
        socket.connect(&hub.into()).expect("the hub listens");
        TcpStream::from(socket)
    };
    let flood: Vec<TcpStream> = (0..3 * MOST).map(|_| from_elsewhere()).collect();
    let turned_away = flood.iter().rev().take(2 * MOST).filter(|socket| {
        socket.set_read_timeout(Some(CLOSED_WITHIN)).expect("an open socket takes options");
        match (&mut &**socket).read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    });
    assert_eq!(turned_away.count(), 2 * MOST);
    let attacks = attacks_after_login();
    for round in 1..=ROUNDS {
        for (attack, bytes, ends) in &attacks {
            let mut socket = sign_in(hub, "carol");
            let _ = socket.write_all(bytes);
            let _ = socket.write_all(&Message::destroy(0, reason::NONE).encode());
            let said = said_until_closed(&mut socket, attack);
            let ended: Ends = said
                .iter()
                .filter_map(|message| match message.body {
                    Body::Destroy { reason, .. } => Some((message.channel, reason)),
                    _ => None,
                })
                .collect();
            assert_eq!(ended, *ends, "{attack}: {said:?}");
        }
        talk(round);
    }
    let after = community.hub().usage().resident_bytes;
    assert!(after.saturating_sub(before) <= MEMORY, "{before} bytes have become {after}");
    drop(flood);
}
