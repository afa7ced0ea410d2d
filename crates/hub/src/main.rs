//! `interchange`: the one binary of the hub.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use interchange_hub::config::{Config, LogFormat};
use interchange_hub::platforms::PLATFORMS;
use interchange_hub::{authority, ctl, demo, explain, log, registered, serve, top};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An open-source IM interchange: link a corporate IM domain once, and its people exchange messages, under their
/// own addresses and in their own clients, with every partner firm on every other platform.
#[derive(Parser)]
#[command(name = "interchange", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub until SIGTERM or SIGINT. SIGHUP makes it read its certificates and the directories of people again.
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "hub.toml")]
        config: PathBuf,
    },
    /// Read a configuration and the files it names, and say what is wrong with them, without starting anything.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "hub.toml")]
        config: PathBuf,
    },
    /// Say whether a message from one person to another would pass, and why, or what is missing. Asks the running hub how its links are, where
    /// the configuration has `[admin]`. Exit code 1 if it would not pass.
    Explain {
        /// The sender's address: alice@acme.example.
        from: String,
        /// The recipient's address.
        to: String,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "hub.toml")]
        config: PathBuf,
        /// For scripts: one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show the links of the running hub, every two seconds, until Ctrl-C. The configuration must have `[admin]`.
    Top {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "hub.toml")]
        config: PathBuf,
        /// Once, after two seconds, and no more.
        #[arg(long)]
        once: bool,
    },
    #[command(flatten)]
    Ask(ctl::Command),
    /// Print the completion of these commands for a shell: interchange completion bash > /etc/bash_completion.d/interchange
    Completion {
        /// Which.
        shell: clap_complete::Shell,
    },
    /// Copy what is registered, with watches and the audit log, to a new file; the hub may run.
    Backup {
        /// The copy. There must be nothing at this place.
        file: PathBuf,
        /// The configuration, for its data directory.
        #[arg(long, value_name = "FILE", default_value = "hub.toml")]
        config: PathBuf,
    },
    /// Put a copy in the place of what is registered. The hub must not run; what was there is kept as hub.db.replaced in the data directory.
    Restore {
        /// The copy.
        file: PathBuf,
        /// The configuration, for its data directory.
        #[arg(long, value_name = "FILE", default_value = "hub.toml")]
        config: PathBuf,
    },
    /// What has to do with the bus, where messages wait.
    Bus {
        #[command(subcommand)]
        command: BusCommand,
    },
    /// The hub's own certificate authority, for members that are to trust nobody else for their link.
    Authority {
        #[command(flatten)]
        place: authority::Place,
        #[command(subcommand)]
        command: authority::Command,
    },
    /// Show a community of firms on different platforms talking through a hub, here and now, on loopback.
    Demo {
        /// Where the hub of the demonstration keeps its files; they are kept from one run to the next.
        #[arg(long, value_name = "DIRECTORY", default_value = "run/demo")]
        directory: PathBuf,
        /// Stop after this many seconds; without it, at Ctrl-C.
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
        /// Conversations opened a second: 0.1 to 200. Each is two to four messages.
        #[arg(long, value_name = "RATE", default_value = "1")]
        rate: f64,
    },
}

#[derive(Subcommand)]
enum BusCommand {
    /// Declare on RabbitMQ what the hub needs: a queue for each link, one for quarantine, an exchange. To be run once, and after links were
    /// added; what is there already stays as it is.
    Setup {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "hub.toml")]
        config: PathBuf,
        /// The address with a user who may declare queues, where the hub's own may not: amqp://user:password@host:port/vhost.
        #[arg(long, value_name = "URL", env = "INTERCHANGE_BUS_ADMINISTRATOR", hide_env_values = true)]
        administrator: Option<String>,
        /// Do not wait until RabbitMQ has written the names of new queues to its disk: for nodes that nobody kills in the next 5 s.
        #[arg(long)]
        no_wait: bool,
    },
}

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _steps = fail::FailScenario::setup();
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Check { config } => check(&config),
        Command::Serve { config: path } => load(&path).and_then(|config| {
            log::start(config.log);
            runtime()?.block_on(serve::run(config, &path))
        }),
        Command::Explain { from, to, config, json } => match explanation(&config, &from, &to, json) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "interchange", &mut std::io::stdout());
            Ok(())
        }
        Command::Backup { file, config } => load(&config).and_then(|config| {
            runtime()?.block_on(registered::back_up(&config, &file))?;
            println!("{} holds what is registered now", file.display());
            Ok(())
        }),
        Command::Restore { file, config } => load(&config).and_then(|config| {
            runtime()?.block_on(registered::restore(&config, &file))?;
            println!("{} is registered from the next start on", file.display());
            Ok(())
        }),
        Command::Ask(command) => match ctl::run(command) {
            Ok(said) => {
                print!("{}", said.text);
                if !said.good {
                    return ExitCode::FAILURE;
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
        Command::Top { config, once } => show(&config, once),
        Command::Authority { place, command } => {
            authority::run(&place, &command, time::OffsetDateTime::now_utc()).map(|said| print!("{said}"))
        }
        Command::Bus { command: BusCommand::Setup { config, administrator, no_wait } } => load(&config).and_then(|config| {
            runtime()?.block_on(async {
                let config = registered::with_registered(config).await?;
                interchange_hub::bus::setup(&config, administrator, !no_wait).await
            })
        }),
        Command::Demo { directory, seconds, rate } => {
            log::start_quiet(LogFormat::Text);
            runtime().and_then(|runtime| runtime.block_on(demo::run(&directory, seconds.map(Duration::from_secs), rate)))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A configuration's faults are drawn by themselves; other errors are one line with their causes.
            match error.downcast_ref::<interchange_hub::config::Faults>() {
                Some(faults) => eprint!("{faults}"),
                None => eprintln!("interchange: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn load(path: &std::path::Path) -> anyhow::Result<Config> {
    Ok(Config::load(path, PLATFORMS)?)
}

/// Prints whether a message would pass.
fn explanation(path: &std::path::Path, from: &str, to: &str, json: bool) -> anyhow::Result<bool> {
    let config = runtime()?.block_on(registered::with_registered(load(path)?))?;
    let health = config.admin.and_then(explain::health);
    let found = explain::explain(&config, from, to, health.as_deref())?;
    if json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        print!("{found}");
    }
    Ok(found.passes())
}

/// Prints the table of the links, again and again.
fn show(path: &std::path::Path, once: bool) -> anyhow::Result<()> {
    let config = load(path)?;
    let address = config.admin.with_context(|| {
        format!("{} has no [admin] address, so its hub shows nothing: add address = \"127.0.0.1:9464\"", path.display())
    })?;
    let mut before = top::Look::take(address)?;
    loop {
        std::thread::sleep(top::EVERY);
        let now = top::Look::take(address)?;
        if !once {
            // Home, and what was there is no more.
            print!("\x1b[H\x1b[2J");
        }
        print!("{}", top::table(&before, &now));
        std::io::Write::flush(&mut std::io::stdout())?;
        if once {
            return Ok(());
        }
        before = now;
    }
}

fn check(path: &std::path::Path) -> anyhow::Result<()> {
    let config = load(path)?;
    for warning in serve::check_files(&config)? {
        eprintln!("{}: warning: {warning}", path.display());
    }
    println!(
        "{}: in order: {} members, {} links, {} listeners",
        path.display(),
        config.members.len() - 1,
        config.links.len() - 1,
        config.listeners.len()
    );
    Ok(())
}
