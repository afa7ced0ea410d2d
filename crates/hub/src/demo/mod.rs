//! `interchange demo`: a community of firms on different platforms, talking through a real hub, here and now.
//!
//! Everything is real but the people: the hub is the one that `serve` runs, on the embedded bus, with a configuration file that can be
//! looked at; the firms' servers are separate endpoints with their own certificates and sockets, and all traffic crosses
//! loopback over TLS.

mod certificates;
mod company;
mod script;
mod view;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use interchange_adapter::{Build, Platform, Transport};
use interchange_broker::{Stage, TraceEvent};
use interchange_driver::{Driver, HubCertificate, Limits, Listener, Reach, Resolver, Roots, Setup, Tls};
use interchange_model::{Address, Domain, Kind, Refusal, Settings};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::platforms::PLATFORMS;
use crate::serve;
use certificates::Authority;
use company::Company;
use script::{CONVERSATIONS, FIRMS, Firm};
use view::{Crossing, View};

const HUB_DOMAIN: &str = "hub.example";
/// How the two platforms of the demonstration are listened for.
const LISTENERS: &[(&str, Transport)] = &[("xmpp", Transport::Tcp), ("sip", Transport::Tls)];
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Runs until Ctrl-C, SIGTERM, or the time is over.
///
/// # Errors
/// When the directory cannot be written, or something does not start.
pub async fn run(directory: &Path, time: Option<Duration>, rate: f64) -> anyhow::Result<()> {
    anyhow::ensure!((0.1..=200.0).contains(&rate), "--rate is from 0.1 to 200 conversations a second");
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let directory = directory.canonicalize()?;
    let authority = Authority::new(&directory)?;

    let mut firms = Vec::new();
    for firm in FIRMS {
        firms.push(FirmServer::start(firm, &authority)?);
    }
    let config = configure(&directory, &authority, &firms)?;
    let hub = serve::start(&config).await?;
    let mut events = hub.events();
    let addresses: HashMap<&str, SocketAddr> = hub.bound.iter().map(|(platform, bound)| (*platform, bound.address)).collect();

    let platform_of: HashMap<&str, &str> =
        FIRMS.iter().map(|firm| (firm.domain, firm.platform)).chain([(HUB_DOMAIN, "echo")]).collect();
    let mut view = View::new();
    let shown = |platform: &str| addresses.get(platform).map_or_else(|| "nothing".to_owned(), ToString::to_string);
    view.picture(&directory.display().to_string(), &shown("xmpp"), &shown("sip"))?;

    let reached: Vec<Domain> =
        FIRMS.iter().map(|firm| firm.domain).chain([HUB_DOMAIN]).filter_map(|domain| Domain::parse(domain).ok()).collect();
    let mut speakers = Vec::new();
    for firm in &mut firms {
        speakers.push(firm.connect(&addresses, &reached).await?);
    }

    let mut openings = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    openings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let end = tokio::time::sleep(time.unwrap_or(Duration::from_secs(u32::MAX.into())));
    tokio::pin!(end);
    let mut opened = 0;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = &mut end => break,
            _ = openings.tick() => {
                let conversation = opened % CONVERSATIONS.len();
                opened += 1;
                let speaker = FIRMS.iter().position(|firm| CONVERSATIONS[conversation].first.ends_with(&format!("@{}", firm.domain)));
                if let Some(speaker) = speaker.and_then(|at| speakers.get(at)) {
                    // A firm that is busy is passed over.
                    let _ = speaker.try_send(conversation);
                }
            }
            event = events.recv() => match event {
                Ok(event) => if show(&mut view, &platform_of, &event).is_err() {
                    // Nobody looks on any more: that ends it as Ctrl-C does.
                    break;
                },
                // A terminal slower than the messages misses some lines; the hub waits for nobody who only looks on.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            }
        }
    }
    let shown = view.summary();
    hub.stop().await;
    for firm in &mut firms {
        firm.driver.stop();
    }
    for firm in &mut firms {
        firm.driver.stopped().await;
    }
    if shown.is_ok() {
        println!("  The hub and the firms have stopped.");
    }
    Ok(())
}

/// The server of one firm: an adapter with its own driver, listening on a port of its own.
struct FirmServer {
    firm: &'static Firm,
    platform: &'static Platform,
    address: SocketAddr,
    driver: Driver,
    down: mpsc::Sender<interchange_model::Down>,
    up: Option<mpsc::Receiver<interchange_model::Up>>,
}

impl FirmServer {
    fn start(firm: &'static Firm, authority: &Authority) -> anyhow::Result<Self> {
        let platform =
            PLATFORMS.iter().find(|platform| platform.name == firm.platform).context("a firm's platform is missing")?;
        let leaf = authority.issue(firm.id, &[firm.domain.to_owned()])?;
        let mut roots = Roots::none();
        roots.add_file(&authority.certificate)?;
        let tls = Tls::new(vec![HubCertificate::read(&leaf.certificate, &leaf.key)?], 0, roots)?;
        let (up, from_adapter) = mpsc::channel(1024);
        let (down, from_script) = mpsc::channel(1024);
        let transport =
            LISTENERS.iter().find(|(name, _)| *name == firm.platform).map_or(Transport::Tcp, |(_, transport)| *transport);
        let setup = Setup {
            name: platform.name(),
            listeners: vec![Listener { address: ANY_PORT, transport }],
            tls,
            resolver: Resolver::with_name_servers(&[ANY_PORT])?,
            reach: Reach::everywhere(),
            limits: Limits::default(),
            up,
            observer: None,
            accounts: None,
            down: from_script,
        };
        let domain = Domain::parse(firm.domain)?;
        let build = move || {
            let build = Build { settings: &Settings::default(), hub: &domain, secret: rand::random(), seed: rand::random() };
            (platform.build)(build).expect("a platform needs no settings")
        };
        let driver = Driver::start(setup, build)?;
        let address = driver.bound().first().context("a firm listens")?.address;
        Ok(Self { firm, platform, address, driver, down, up: Some(from_adapter) })
    }

    /// Tells the firm where the hub is, and lets its people talk. Returns where they are given the conversations to open.
    async fn connect(&mut self, hub: &HashMap<&str, SocketAddr>, reached: &[Domain]) -> anyhow::Result<mpsc::Sender<usize>> {
        let hub = hub.get(self.firm.platform).context("the hub listens for every platform of the demonstration")?;
        let settings = Settings(link_settings(*hub));
        self.down.send(company::link(self.firm, self.platform.name(), reached, settings)).await?;
        let (open, openings) = mpsc::channel(16);
        let company = Company::new(self.firm, self.down.clone());
        tokio::spawn(company.run(self.up.take().context("a firm is connected once")?, openings));
        Ok(open)
    }
}

fn link_settings(address: SocketAddr) -> serde_json::Map<String, serde_json::Value> {
    [("host".to_owned(), address.ip().to_string().into()), ("port".to_owned(), address.port().into())].into_iter().collect()
}

/// One line for a message whose fate is known.
fn show(view: &mut View, platform_of: &HashMap<&str, &str>, event: &TraceEvent) -> std::io::Result<()> {
    let known = matches!(event.stage, Stage::Delivered | Stage::Failed(_) | Stage::Refused(_));
    if event.kind != Some(Kind::Text) || !known {
        return Ok(());
    }
    let now = time::OffsetDateTime::now_utc();
    let platform = |address: &Address| platform_of.get(address.domain().as_str()).copied().unwrap_or("?");
    view.crossing(&Crossing {
        time: &format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second()),
        from: &event.from.to_string(),
        to: &event.to.to_string(),
        from_platform: platform(&event.from),
        to_platform: platform(&event.to),
        refusal: event.stage.refusal().map(Refusal::label),
        took: event.elapsed,
    })
}

/// Writes the hub's configuration and reads it back, as `serve` would.
fn configure(directory: &Path, authority: &Authority, firms: &[FirmServer]) -> anyhow::Result<Config> {
    let names: Vec<String> = FIRMS.iter().map(|firm| firm.domain).chain([HUB_DOMAIN]).map(ToOwned::to_owned).collect();
    let leaf = authority.issue("hub", &names)?;
    let mut text = format!(
        "# The hub of the demonstration. Written anew at every start.\n\
         [hub]\ndomain = \"{HUB_DOMAIN}\"\ndata_directory = \"data\"\ncommunity = \"open\"\n\n\
         [network]\nallow_targets = [\"127.0.0.0/8\"]\n\n\
         # Few people have many conversations here.\n\
         [limits]\nlink_rate = 0\nsender_rate = 0\nrepeats = 0\n\n\
         [tls]\nauthorities = [\"{}\"]\nsystem_authorities = false\n\n\
         [[tls.identity]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        authority.certificate.display(),
        leaf.certificate.display(),
        leaf.key.display()
    );
    for (platform, transport) in LISTENERS {
        write!(
            text,
            "\n[[listener]]\nplatform = \"{platform}\"\naddress = \"{ANY_PORT}\"\ntransport = \"{}\"\n",
            transport.label()
        )?;
    }
    for server in firms {
        let Firm { id, name, domain, platform, .. } = server.firm;
        write!(
            text,
            "\n[[member]]\nid = \"{id}\"\nname = \"{name}\"\n\n[[link]]\nid = \"{id}\"\nmember = \"{id}\"\nplatform = \"{platform}\"\n\
             domains = [\"{domain}\"]\nsettings = {{ host = \"{}\", port = {} }}\n",
            server.address.ip(),
            server.address.port()
        )?;
    }
    let path = directory.join("hub.toml");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Config::load(&path, PLATFORMS)?)
}
