//! One adapter with the test as its driver, its broker, its directory and its clients, in virtual time. The clients do what the library does, as
//! recorded in `tests/vectors`.

#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use interchange_adapter::{Account, Adapter, Build, CloseReason, ConnId, Input, Now, Output, SignInError, Transport, Via};
use interchange_model::{
    Address, Body, DeliveryId, DisplayName, Domain, Down, Envelope, Link, MessageId, Outcome, Pace, PlatformName, Refusal,
    Settings, Text, Token, Up,
};
use interchange_sametime::cipher::{self, Decryptor, Encryptor, KeyPair};
use interchange_sametime::codec::{
    Accept, AwareId, Awareness, Body as Words, Chosen, CipherItem, ClientType, Create, Frame, Handshake, HandshakeMore, IdBlock,
    Login, LoginInfo, Message, Offer, Record, SEND_SAID, Said, Storage, Stream, WireString, mode, service,
};
use interchange_sametime::reason;

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn start() -> Now {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall: SystemTime = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Now { instant: *START.get_or_init(Instant::now), wall }
}

pub(crate) fn link(id: &str, domains: &[&str], json: &str) -> Link {
    Link {
        id: id.into(),
        member: "member".into(),
        platform: PlatformName::from_static("sametime"),
        domains: domains.iter().map(|text| domain(text)).collect(),
        pace: Pace::default(),
        settings: serde_json::from_str::<Settings>(json).unwrap(),
    }
}

/// The usual settings: clients come from this network without TLS.
pub(crate) const PLAIN: &str = r#"{"plain_networks":["192.0.2.0/24"]}"#;

/// What a client has, and does by itself.
pub(crate) struct Client {
    pub(crate) login: LoginInfo,
    next: u32,
    /// Its conversations by channel: with whom, what encrypts and decrypts.
    pub(crate) talks: BTreeMap<u32, Talk>,
    /// What it was told, in order.
    pub(crate) log: Vec<Event>,
    /// It answers when a channel is opened to it.
    pub(crate) answers: bool,
    /// What it refuses conversations with.
    pub(crate) refuses: Option<u32>,
    /// What it can do.
    pub(crate) client: ClientType,
    pair: KeyPair,
}

pub(crate) struct Talk {
    pub(crate) with: String,
    cipher: Option<(Encryptor, Decryptor)>,
    /// Which cipher was agreed on.
    pub(crate) agreed: Option<u16>,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq)]
// There are few of them, and tests match them whole.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Event {
    /// Words of somebody, by the id.
    Text(String, String),
    Html(String, String),
    Typing(String, bool),
    /// A conversation of its own was refused, or one that stood has ended.
    Ended(String, u32),
    /// Somebody's status, by the id; `None`: not here.
    Status(String, Option<(u16, String)>),
    /// Any other message.
    Other(Message),
}

impl Event {
    pub(crate) fn text(from: &str, words: &str) -> Self {
        Self::Text(from.to_owned(), words.to_owned())
    }

    pub(crate) fn status(of: &str, status: Option<(u16, &str)>) -> Self {
        Self::Status(of.to_owned(), status.map(|(status, text)| (status, text.to_owned())))
    }
}

pub(crate) struct World {
    adapter: Box<dyn Adapter>,
    pub(crate) now: Now,
    /// What came out, but for bytes.
    pub(crate) out: Vec<Output>,
    streams: HashMap<ConnId, Stream>,
    /// Frames that no client has looked at.
    pub(crate) frames: HashMap<ConnId, Vec<Message>>,
    pub(crate) keep_alives: HashMap<ConnId, usize>,
    pub(crate) clients: BTreeMap<ConnId, Client>,
    pub(crate) accounts: Vec<(&'static str, &'static str, &'static str)>,
    connections: u64,
    deliveries: u64,
}

impl World {
    pub(crate) fn new(json: &str) -> Self {
        Self::of(vec![link("acme", &["acme.example"], json)])
    }

    pub(crate) fn of(links: Vec<Link>) -> Self {
        let mut world = Self::bare();
        let names: Vec<_> = links.iter().map(|link| link.id.clone()).collect();
        world.links(links);
        for link in names {
            world.input(Input::Broker(Down::Remembered { link, entries: Vec::new() }));
        }
        world.out.clear();
        world
    }

    pub(crate) fn bare() -> Self {
        let hub = domain("hub.example");
        let build = Build { settings: &Settings::default(), hub: &hub, secret: [3; 32], seed: 7 };
        Self {
            adapter: (interchange_sametime::PLATFORM.build)(build).unwrap(),
            now: start(),
            out: Vec::new(),
            streams: HashMap::new(),
            frames: HashMap::new(),
            keep_alives: HashMap::new(),
            clients: BTreeMap::new(),
            accounts: vec![
                ("alice", "secret", "Alice Adams"),
                ("bob", "secret", "Bob Bot"),
                ("carol", "secret", "Carol Chan"),
                ("dnd", "secret", "Dan Nod"),
            ],
            connections: 0,
            deliveries: 0,
        }
    }

    pub(crate) fn links(&mut self, links: Vec<Link>) {
        let mut hosted: HashSet<Domain> = links.iter().flat_map(|link| link.domains.clone()).collect();
        hosted.extend([domain("globex.example"), domain("partner.test"), domain("hub.example")]);
        self.input(Input::Broker(Down::Links { links: links.into(), hosted: Arc::new(hosted) }));
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.adapter.handle(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Send { conn, bytes } => {
                    let stream = self.streams.entry(conn).or_default();
                    stream.push(&bytes);
                    while let Some(frame) = stream.next(1 << 20).unwrap() {
                        match frame {
                            Frame::KeepAlive => *self.keep_alives.entry(conn).or_default() += 1,
                            Frame::Message(bytes) => {
                                self.frames.entry(conn).or_default().push(Message::decode(&bytes).unwrap());
                            }
                        }
                    }
                }
                output => self.out.push(output),
            }
        }
    }

    /// Lets time pass, with every tick that is due in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(at) = self.adapter.deadline().filter(|at| *at <= until.instant) {
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            self.input(Input::Tick);
        }
        self.now = until;
    }

    /// Lets time pass in which the clients do what they do by themselves.
    pub(crate) fn idle(&mut self, time: Duration) {
        let until = self.now.after(time);
        while self.now.instant < until.instant {
            self.pass(Duration::from_secs(10).min(until.instant - self.now.instant));
            self.run();
        }
    }

    /// A new connection.
    pub(crate) fn open(&mut self, transport: Transport, peer: &str) -> ConnId {
        self.connections += 1;
        let conn = ConnId::accepted(self.connections);
        let peer: SocketAddr = format!("{peer}:5000").parse().unwrap();
        self.input(Input::Opened { conn, via: Via::Accepted { transport, local: "192.0.2.1:1533".parse().unwrap(), peer } });
        conn
    }

    pub(crate) fn raw(&mut self, conn: ConnId, bytes: &[u8]) {
        self.input(Input::Received { conn, bytes: Bytes::copy_from_slice(bytes) });
    }

    pub(crate) fn say(&mut self, conn: ConnId, message: &Message) {
        self.raw(conn, &message.encode());
    }

    pub(crate) fn taken(&mut self, conn: ConnId) -> Vec<Message> {
        self.frames.remove(&conn).unwrap_or_default()
    }

    pub(crate) fn ups(&mut self) -> Vec<Up> {
        let mut ups = Vec::new();
        self.out.retain(|output| match output {
            Output::Broker(up) => {
                ups.push(up.clone());
                false
            }
            _ => true,
        });
        ups
    }

    /// Whether, and why, the adapter has closed a connection.
    pub(crate) fn closed(&self, conn: ConnId) -> Option<CloseReason> {
        self.out.iter().find_map(|output| match output {
            Output::Close { conn: of, why } if *of == conn => Some(*why),
            _ => None,
        })
    }

    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        self.clients.remove(&conn);
        self.input(Input::Closed { conn, why: CloseReason::PeerClosed, detail: String::new() });
    }

    /// The handshake of a client; what the server has offered.
    pub(crate) fn greet(&mut self, conn: ConnId) -> Option<(u32, Vec<u8>)> {
        let more = HandshakeMore { unknown: 0x0100, zero: 0, host: WireString::default() };
        let handshake = Handshake { major: 0x1e, minor: 0x1d, login_type: 0x1700, more: Some(more), ..Handshake::default() };
        self.say(conn, &Message::new(0, Words::Handshake(handshake)));
        match &self.taken(conn)[..] {
            [Message { body: Words::HandshakeAck(ack), .. }] => ack.more.as_ref().map(|more| (more.magic, more.key.clone())),
            _ => None,
        }
    }

    /// A login of type 4, up to the judgement.
    pub(crate) fn log_in(&mut self, conn: ConnId, name: &str, password: &str) {
        let (magic, key) = self.greet(conn).expect("a handshake is answered");
        assert_eq!(key.len(), 64, "a shorter key would make clients fall back to the weaker login");
        let auth_data = cipher::seal_login(password, &KeyPair::new(&[9; 64]), &key, magic).unwrap();
        let login = Login { login_type: 0x1700, name: name.into(), auth_data, auth_type: 4, unknown: 0 };
        self.say(conn, &Message::new(0, Words::Login(login)));
    }

    /// The directory judges what it was asked; how often it was.
    pub(crate) fn judge(&mut self) -> usize {
        let mut asked = Vec::new();
        self.out.retain(|output| match output {
            Output::Authenticate { conn, name, password, .. } => {
                asked.push((*conn, name.clone(), password.reveal().to_owned()));
                false
            }
            _ => true,
        });
        let count = asked.len();
        for (conn, name, password) in asked {
            let known = self.accounts.iter().find(|(user, _, _)| user.eq_ignore_ascii_case(&name));
            let result = known.filter(|(_, secret, _)| *secret == password).map(account).ok_or(SignInError::Wrong);
            self.input(Input::Authenticated { conn, result });
        }
        count
    }

    /// The directory answers whom it was asked for.
    pub(crate) fn find(&mut self) -> usize {
        let mut asked = Vec::new();
        self.out.retain(|output| match output {
            Output::LookUp { conn, query, name, .. } => {
                asked.push((*conn, *query, name.clone()));
                false
            }
            _ => true,
        });
        let count = asked.len();
        for (conn, query, name) in asked {
            let fits = |(user, _, shown): &&(&str, &str, &str)| {
                user.eq_ignore_ascii_case(&name) || shown.to_lowercase().contains(&name.to_lowercase())
            };
            let result = Ok(self.accounts.iter().filter(fits).map(account).collect());
            self.input(Input::Found { conn, query, result });
        }
        count
    }

    /// A client that is signed in, with its three channels.
    pub(crate) fn sign_in(&mut self, name: &str) -> ConnId {
        let conn = self.open(Transport::Tcp, "192.0.2.77");
        self.log_in(conn, name, "secret");
        self.judge();
        self.out.retain(|output| !matches!(output, Output::Note { .. }));
        let frames = self.taken(conn);
        let [Message { body: Words::LoginAck(ack), .. }] = &frames[..] else { panic!("{frames:?}") };
        let client = Client {
            login: ack.login.clone(),
            next: 3,
            talks: BTreeMap::new(),
            log: Vec::new(),
            answers: true,
            refuses: None,
            client: ClientType::RICH,
            pair: KeyPair::new(&[5; 64]),
        };
        self.clients.insert(conn, client);
        for (id, service, protocol, version) in [
            (RESOLVE, service::RESOLVE, 0x15, 0),
            (AWARENESS, service::AWARENESS, 0x11, 0x0003_0005),
            (STORAGE, service::STORAGE, 0x25, 1),
        ] {
            let create = Create { id, service, protocol, version, ..Create::default() };
            self.say(conn, &Message::new(0, Words::Create(create)));
            let frames = self.taken(conn);
            assert!(matches!(&frames[..], [Message { channel, body: Words::Accept(_), .. }] if *channel == id), "{frames:?}");
        }
        conn
    }

    /// A conversation that a client opens; its channel.
    pub(crate) fn call(&mut self, conn: ConnId, target: &str, client: ClientType, offer: u16) -> u32 {
        let known = self.clients.get_mut(&conn).unwrap();
        known.next += 1;
        let id = known.next;
        let items =
            vec![CipherItem { cipher: 0, info: Vec::new() }, CipherItem { cipher: 1, info: known.pair.public().to_vec() }];
        known.talks.insert(id, Talk { with: target.to_owned(), cipher: None, agreed: None });
        let create = Create {
            id,
            target: IdBlock { user: target.into(), community: WireString::default() },
            service: service::MESSAGES,
            protocol: service::MESSAGES,
            version: 3,
            data: client.to_create(),
            mode: offer,
            offer: (offer != 0).then_some(Offer { items, mode: offer, flag: false }),
            ..Create::default()
        };
        self.say(conn, &Message::new(0, Words::Create(create)));
        self.run();
        id
    }

    /// A client says something in a conversation.
    pub(crate) fn speak(&mut self, conn: ConnId, channel: u32, said: &Said) {
        let talk = self.clients.get_mut(&conn).unwrap().talks.get_mut(&channel).expect("the conversation is open");
        let plain = said.write();
        let (options, payload) = match &mut talk.cipher {
            Some((to, _)) => (Message::ENCRYPTED, to.encrypt(&plain)),
            None => (0, plain),
        };
        let message = Message { options, ..Message::new(channel, Words::Send { kind: SEND_SAID, payload }) };
        self.say(conn, &message);
        self.run();
    }

    /// A client says something to a service.
    pub(crate) fn watch(&mut self, conn: ConnId, said: &Awareness) {
        let (kind, payload) = said.write();
        self.say(conn, &Message::new(AWARENESS, Words::Send { kind, payload }));
        self.run();
    }

    pub(crate) fn store(&mut self, conn: ConnId, said: &Storage) -> Vec<Storage> {
        let (kind, payload) = said.write();
        self.say(conn, &Message::new(STORAGE, Words::Send { kind, payload }));
        let frames = self.taken(conn);
        let answers = frames.iter().map(|message| match &message.body {
            Words::Send { kind, payload } => Storage::read(*kind, payload).unwrap(),
            other => panic!("{other:?}"),
        });
        answers.collect()
    }

    /// Lets the clients do what they do by themselves, until nothing more happens.
    pub(crate) fn run(&mut self) {
        loop {
            let conns: Vec<ConnId> = self.clients.keys().copied().filter(|conn| self.frames.contains_key(conn)).collect();
            if conns.is_empty() {
                return;
            }
            for conn in conns {
                for message in self.taken(conn) {
                    let client = self.clients.get_mut(&conn).unwrap();
                    for answer in client.take(message) {
                        self.say(conn, &answer);
                    }
                }
            }
        }
    }

    pub(crate) fn log(&mut self, conn: ConnId) -> Vec<Event> {
        std::mem::take(&mut self.clients.get_mut(&conn).unwrap().log)
    }

    /// The broker hands over an envelope.
    pub(crate) fn deliver(&mut self, envelope: Envelope) -> DeliveryId {
        self.deliveries += 1;
        let delivery = DeliveryId(self.deliveries);
        self.input(Input::Broker(Down::Deliver { link: "acme".into(), delivery, envelope: Arc::new(envelope) }));
        self.run();
        delivery
    }

    pub(crate) fn tell(&mut self, envelope: Envelope) {
        self.input(Input::Broker(Down::Told { link: "acme".into(), envelope: Arc::new(envelope) }));
        self.run();
    }

    /// What has become of deliveries, in order; everything else that was said to the broker stays.
    pub(crate) fn settled(&mut self) -> Vec<(DeliveryId, Outcome)> {
        let mut settled = Vec::new();
        self.out.retain(|output| match output {
            Output::Broker(Up::Settle { delivery, outcome, .. }) => {
                settled.push((*delivery, *outcome));
                false
            }
            _ => true,
        });
        settled
    }

    /// What was submitted; everything else stays.
    pub(crate) fn submitted(&mut self) -> Vec<(Token, Envelope)> {
        let mut submitted = Vec::new();
        self.out.retain(|output| match output {
            Output::Broker(Up::Submit { token, envelope, .. }) => {
                submitted.push((*token, (**envelope).clone()));
                false
            }
            _ => true,
        });
        submitted
    }

    /// What was told; everything else stays.
    pub(crate) fn tolds(&mut self) -> Vec<Envelope> {
        let mut told = Vec::new();
        self.out.retain(|output| match output {
            Output::Broker(Up::Tell { envelope, .. }) => {
                told.push((**envelope).clone());
                false
            }
            _ => true,
        });
        told
    }

    pub(crate) fn answer(&mut self, token: Token, result: Result<(), Refusal>) {
        self.input(Input::Broker(Down::Submitted { token, result }));
        self.run();
    }
}

pub(crate) const RESOLVE: u32 = 1;
pub(crate) const AWARENESS: u32 = 2;
pub(crate) const STORAGE: u32 = 3;

fn account((user, _, name): &(&'static str, &'static str, &'static str)) -> Account {
    Account { user: (*user).to_owned(), display_name: DisplayName::new(name) }
}

impl Client {
    /// What the library does with a message of the server, in order.
    fn take(&mut self, message: Message) -> Vec<Message> {
        let channel = message.channel;
        match &message.body {
            Words::Create(create) if create.service == service::MESSAGES && self.answers => return self.called(create),
            Words::Accept(accept) if self.talks.contains_key(&channel) => {
                let cipher = self.agreed(accept);
                let talk = self.talks.get_mut(&channel).unwrap();
                talk.cipher = cipher;
                talk.agreed = accept.chosen.as_ref().map(|chosen| chosen.item.cipher);
            }
            Words::Destroy { reason, .. } if self.talks.contains_key(&channel) => {
                let talk = self.talks.remove(&channel).unwrap();
                self.log.push(Event::Ended(talk.with, *reason));
            }
            Words::Send { kind: SEND_SAID, payload } if self.talks.contains_key(&channel) => {
                let talk = self.talks.get_mut(&channel).unwrap();
                let payload = match &mut talk.cipher {
                    Some((_, from)) if message.options & Message::ENCRYPTED != 0 => from.decrypt(payload).unwrap(),
                    _ => payload.clone(),
                };
                let with = talk.with.clone();
                self.log.push(match Said::read(&payload).unwrap() {
                    Said::Text(words) => Event::Text(with, words.to_text().into_owned()),
                    Said::Data { kind: 1, subtype, .. } => Event::Typing(with, subtype == 0),
                    Said::Data { kind: 4, data, .. } => Event::Html(with, String::from_utf8(data).unwrap()),
                    _ => Event::Other(message),
                });
            }
            Words::Send { kind, payload } if channel == AWARENESS => match Awareness::read(*kind, payload).unwrap() {
                Awareness::Snapshot(records) => self.log.extend(records.iter().map(status)),
                Awareness::Update(record) => self.log.push(status(&record)),
                _ => self.log.push(Event::Other(message)),
            },
            _ => self.log.push(Event::Other(message)),
        }
        Vec::new()
    }

    fn called(&mut self, create: &Create) -> Vec<Message> {
        assert!(create.id & 0x8000_0000 != 0, "trap 5");
        let creator = create.creator.as_ref().expect("who calls is told");
        assert!(creator.community.is_empty(), "trap 2");
        assert!(creator.login_id.as_bytes().len() >= 5, "trap 9");
        let client = ClientType::read(&create.data).unwrap();
        // The library takes plain conversations and those of its own type.
        let reason =
            if client != ClientType::PLAIN && client != self.client { Some(reason::NOT_REGISTERED) } else { self.refuses };
        if let Some(reason) = reason {
            return vec![Message::destroy(create.id, reason)];
        }
        let mut accept = Accept {
            service: create.service,
            protocol: create.protocol,
            version: create.version,
            data: client.to_accept(&Default::default()),
            ..Accept::default()
        };
        let public = create.offer.iter().flat_map(|offer| &offer.items).find(|item| item.cipher == 1);
        let key = public.and_then(|item| self.pair.shared(&item.info));
        if key.is_some() {
            let item = CipherItem { cipher: 1, info: self.pair.public().to_vec() };
            accept.mode = mode::RC2_128;
            accept.chosen = Some(Chosen { item, mode: create.mode, flag: false });
        }
        let cipher = key.map(|key| (Encryptor::new(&key), Decryptor::new(&key)));
        let with = creator.user.to_text().into_owned();
        self.talks.insert(create.id, Talk { with, cipher, agreed: None });
        vec![Message::new(create.id, Words::Accept(accept))]
    }

    fn agreed(&self, accept: &Accept) -> Option<(Encryptor, Decryptor)> {
        let acceptor = accept.acceptor.as_ref().expect("trap 11: who accepts is told");
        assert!(acceptor.community.is_empty(), "trap 2");
        let item = accept.chosen.as_ref().map(|chosen| &chosen.item);
        match (accept.mode, item) {
            (mode::RC2_128, Some(item)) => {
                let key = self.pair.shared(&item.info).unwrap();
                Some((Encryptor::new(&key), Decryptor::new(&key)))
            }
            (mode::RC2_40, _) => {
                let key = |login: &LoginInfo| login.login_id.as_bytes()[..5].to_vec();
                Some((Encryptor::new(&key(&self.login)), Decryptor::new(&key(acceptor))))
            }
            _ => None,
        }
    }

    /// The channel of the conversation with somebody.
    pub(crate) fn talk(&self, with: &str) -> u32 {
        *self.talks.iter().find(|(_, talk)| talk.with == with).unwrap().0
    }
}

fn status(record: &Record) -> Event {
    assert!(record.id.community.is_empty(), "trap 2");
    let status = record.online.as_ref().map(|online| (online.status.status, online.status.text.to_text().into_owned()));
    Event::Status(record.id.user.to_text().into_owned(), status)
}

pub(crate) fn aware(user: &str) -> AwareId {
    AwareId { kind: AwareId::USER, user: user.into(), community: WireString::default() }
}

/// An envelope from somebody to somebody.
pub(crate) fn envelope(number: u64, from: &str, to: &str, body: Body) -> Envelope {
    Envelope {
        id: MessageId::new(start().wall, u128::from(number) << 4 | 0xabcd),
        origin: "globex".into(),
        from: address(from),
        from_device: None,
        to: address(to),
        to_device: None,
        native_id: None,
        accepted: start().wall,
        hops: 70,
        native: None,
        body,
    }
}

pub(crate) fn text(number: u64, from: &str, to: &str, words: &str) -> Envelope {
    envelope(number, from, to, Body::Text(Text { plain: words.into(), ..Text::default() }))
}

/// The words of an envelope.
pub(crate) fn words(envelope: &Envelope) -> &str {
    match &envelope.body {
        Body::Text(text) => text.plain.as_str(),
        other => panic!("{other:?}"),
    }
}
