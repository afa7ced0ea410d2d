//! A small client of the Virtual Places protocol on the adapter's own codec: it signs in as real ones do, takes conversations without
//! encryption, and answers the hub's question whether it has everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use interchange_integration_tests::load::Tally;
use interchange_sametime::cipher::{AUTH_RC2_128, KEY, KeyPair, seal_login};
use interchange_sametime::codec::{
    Accept, Body, ClientType, Create, Frame, Handshake, HandshakeMore, IdBlock, Login, Message, SEND_SAID, Said, Stream,
    UserStatus, WireString, mode, service,
};
use interchange_sametime::reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of the largest frame that the hub sends.
const MOST: usize = 1 << 20;
const READ_BYTES: usize = 4_096;
/// The hub takes 100 connections of one address: so many come from each.
const OF_ONE_ADDRESS: usize = 90;
/// The library's own.
const LOGIN_TYPE: u16 = 0x1700;
/// The channel of the only conversation that a client opens.
const CONVERSATION: u32 = 3;

/// What all clients together have heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Load messages.
    pub(crate) tally: Tally,
    /// Texts that were none: the hub says in words that something was not delivered.
    pub(crate) refused: Arc<AtomicU64>,
}

/// Somebody who has signed in.
pub(crate) struct Client {
    socket: TcpStream,
    stream: Stream,
}

impl Client {
    /// Signs somebody in, by a login of type 4.
    pub(crate) async fn sign_in(server: SocketAddr, number: usize, name: &str, password: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.bind(source(number)).expect("every address of 127.0.0.0/8 is this host's");
        let socket = timeout(ANSWER_WITHIN, socket.connect(server)).await.expect("the hub accepts in time");
        let socket = socket.expect("the hub listens");
        socket.set_nodelay(true).expect("an open socket takes options");
        let mut client = Self { socket, stream: Stream::default() };
        let more = HandshakeMore { unknown: 0x0100, zero: 0, host: WireString::default() };
        let handshake = Handshake { major: 0x1e, minor: 0x1d, login_type: LOGIN_TYPE, more: Some(more), ..Handshake::default() };
        client.say(&Message::new(0, Body::Handshake(handshake))).await;
        let offered = match client.next().await.body {
            Body::HandshakeAck(ack) => ack.more.expect("the hub is of a version that has keys"),
            other => panic!("{name}: the handshake was answered by {other:?}"),
        };
        let own = KeyPair::new(&seed(number));
        let auth_data = seal_login(password, &own, &offered.key, offered.magic).expect("the hub's key is one");
        let login = Login { login_type: LOGIN_TYPE, name: name.into(), auth_data, auth_type: AUTH_RC2_128, unknown: 0 };
        client.say(&Message::new(0, Body::Login(login))).await;
        match client.next().await.body {
            Body::LoginAck(_) => client,
            other => panic!("{name} was not signed in: {other:?}"),
        }
    }

    /// Opens the conversation that [`said`] speaks in.
    pub(crate) async fn open(&mut self, to: &str) {
        let create = Create {
            id: CONVERSATION,
            target: IdBlock { user: to.into(), community: WireString::default() },
            service: service::MESSAGES,
            protocol: service::MESSAGES,
            version: 3,
            data: ClientType::PLAIN.to_create(),
            mode: mode::NONE,
            ..Create::default()
        };
        self.say(&Message::new(0, Body::Create(create))).await;
        let answer = self.next().await;
        let is_taken = answer.channel == CONVERSATION && matches!(answer.body, Body::Accept(_));
        assert!(is_taken, "a conversation was answered by {answer:?}");
    }

    /// Reads and answers, as it must without much delay, until there is nobody who could have more words for it.
    pub(crate) async fn serve(self, mut words: mpsc::Receiver<Vec<u8>>, heard: Heard) {
        let Self { mut socket, mut stream } = self;
        let mut chunk = vec![0; READ_BYTES];
        let mut answers = Vec::new();
        loop {
            tokio::select! {
                frame = words.recv() => {
                    let Some(frame) = frame else { return };
                    socket.write_all(&frame).await.expect("the hub takes what a client says");
                }
                count = socket.read(&mut chunk) => {
                    let count = count.expect("the connection stands");
                    assert!(count > 0, "the hub has closed the connection of a client");
                    stream.push(&chunk[..count]);
                    while let Some(frame) = stream.next(MOST).expect("the hub speaks the protocol") {
                        if let Frame::Message(bytes) = frame {
                            take(&Message::decode(&bytes).expect("the hub speaks the protocol"), &heard, &mut answers);
                        }
                    }
                    if !answers.is_empty() {
                        socket.write_all(&answers).await.expect("the hub takes what a client says");
                        answers.clear();
                    }
                }
            }
        }
    }

    async fn say(&mut self, message: &Message) {
        self.socket.write_all(&message.encode()).await.expect("the hub takes what a client says");
    }

    async fn next(&mut self) -> Message {
        loop {
            match self.stream.next(MOST).expect("the hub speaks the protocol") {
                Some(Frame::Message(bytes)) => return Message::decode(&bytes).expect("the hub speaks the protocol"),
                Some(Frame::KeepAlive) => continue,
                None => {}
            }
            let mut chunk = [0; READ_BYTES];
            let count = timeout(ANSWER_WITHIN, self.socket.read(&mut chunk)).await.expect("the hub answers in time");
            let count = count.expect("the connection stands");
            assert!(count > 0, "the hub has closed the connection");
            self.stream.push(&chunk[..count]);
        }
    }
}

/// What somebody says in the conversation they have opened.
pub(crate) fn said(words: &str) -> Vec<u8> {
    let said = Body::Send { kind: SEND_SAID, payload: Said::Text(words.into()).write() };
    Message::new(CONVERSATION, said).encode()
}

/// What a client does with a message: what it answers goes into `answers`.
fn take(message: &Message, heard: &Heard, answers: &mut Vec<u8>) {
    match &message.body {
        Body::Create(create) => {
            let answer = match ClientType::read(&create.data) {
                Some(client @ (ClientType::PLAIN | ClientType::RICH)) => {
                    let accept = Accept {
                        service: create.service,
                        protocol: create.protocol,
                        version: create.version,
                        data: client.to_accept(&UserStatus::default()),
                        ..Accept::default()
                    };
                    Message::new(create.id, Body::Accept(accept))
                }
                // The hub's question behind what it has said.
                _ => Message::destroy(create.id, reason::NOT_REGISTERED),
            };
            answers.extend_from_slice(&answer.encode());
        }
        Body::Send { kind: SEND_SAID, payload } => {
            if let Said::Text(words) = Said::read(payload).expect("the hub speaks the protocol")
                && !heard.tally.arrived(words.as_bytes())
            {
                heard.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        _ => {}
    }
}

/// Where a client comes from: the port is any.
fn source(number: usize) -> SocketAddr {
    let host = u8::try_from(1 + number / OF_ONE_ADDRESS).expect("some thousand clients");
    SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), 0))
}

/// Each client has another key.
fn seed(number: usize) -> [u8; KEY] {
    let mut seed = [0x5a; KEY];
    for (place, byte) in seed.iter_mut().zip(number.to_be_bytes()) {
        *place ^= byte;
    }
    seed
}
