//! What is registered beside what `hub.toml` declares, and the first user of the API.

use std::path::Path;

use anyhow::{Context, bail};
use interchange_admin::{About, new_token};
use interchange_guide::{FileName, Trust};
use interchange_model::{Link, SettingsError};
use interchange_registry::{Actor, Change, Members, Parts, Role, Store};

use crate::config::Config;
use crate::platforms::{PLATFORMS, listeners};
use crate::{secret, serve};

/// The user that the first start makes.
pub const FIRST_USER: &str = "operator";
/// The file in the data directory with their token.
pub const TOKEN_FILE: &str = "operator.token";

/// What the configuration declares.
#[must_use]
pub fn declared(config: &Config) -> Parts {
    let community = match config.community {
        crate::config::Community::Open => interchange_registry::Community::Open,
        crate::config::Community::Invitation => interchange_registry::Community::Invitation,
    };
    Parts {
        hub: config.domain.clone(),
        members: config.members.iter().map(|(id, _)| id.clone()).collect(),
        links: config.links.clone(),
        partnerships: config.partnerships.clone(),
        community,
        barriers: config.barriers.clone(),
        accounts: config.accounts.clone(),
        directories: config.directories.iter().map(|directory| directory.member.clone()).collect(),
    }
}

/// Everything that is registered.
///
/// # Errors
/// When the database cannot be read, or contradicts the configuration.
pub async fn open(config: &Config, store: Store) -> anyhow::Result<Members> {
    Ok(Members::open(store, declared(config), Box::new(check_link)).await?)
}

/// The configuration with all that is registered in its data directory beside it, for commands that look at both. The same, where no hub was ever started.
///
/// # Errors
/// As [`open`].
pub async fn with_registered(mut config: Config) -> anyhow::Result<Config> {
    let path = config.data_directory.join("hub.db");
    // Without leave to look, half an answer would be a wrong one.
    let there = path.try_exists().with_context(|| format!("cannot look for {}: run this as the hub's user", path.display()))?;
    if !there {
        return Ok(config);
    }
    let store = Store::open_with(&config.data_directory, &config.store.database()?).await?;
    let members = open(&config, store.clone()).await?;
    let (_, directory) = members.directory();
    config.members.extend(directory.members.iter().map(|(id, member)| (id.clone(), member.name.clone())));
    let parts = directory.parts(&declared(&config));
    config.links = parts.links;
    config.partnerships = parts.partnerships;
    config.barriers = parts.barriers;
    store.close().await;
    Ok(config)
}

/// Writes a copy of what is registered to a new file.
///
/// # Errors
/// As [`Store::back_up`]; and where the store is a PostgreSQL, which has a way of its own: the error says it.
pub async fn back_up(config: &Config, file: &Path) -> anyhow::Result<()> {
    if let Some(address) = config.store.postgresql() {
        bail!("what is registered is in {address}: type pg_dump --format=custom -f {} {address}", file.display());
    }
    Ok(Store::back_up(&config.data_directory, file).await?)
}

/// Puts a copy in the place of what is registered.
///
/// # Errors
/// As [`Store::restore`]; and when the copy contradicts the configuration: then the hub could not start with it.
pub async fn restore(config: &Config, file: &Path) -> anyhow::Result<()> {
    if let Some(address) = config.store.postgresql() {
        bail!(
            "what is registered is in {address}: stop the hubs and type pg_restore --clean --if-exists --single-transaction -d {address} {}",
            file.display()
        );
    }
    serve::create_data_directory(config)?;
    Store::restore(&config.data_directory, file).await?;
    let store = Store::open(&config.data_directory).await?;
    let opened = open(config, store.clone()).await;
    store.close().await;
    opened.map(drop).context("the copy is in place, and a hub cannot start with it: hub.db.replaced is what was there")
}

/// Whether a platform understands a link.
fn check_link(link: &Link) -> Result<(), SettingsError> {
    // The Echo user's platform has no other link.
    let linkable = || PLATFORMS.iter().filter(|platform| platform.name != interchange_echo::PLATFORM.name);
    let Some(platform) = linkable().find(|platform| platform.name == link.platform.as_str()) else {
        let known: Vec<_> = linkable().map(|platform| platform.name).collect();
        let unknown = link.platform.as_str().escape_debug();
        return Err(SettingsError::new("", format!("there is no platform `{unknown}`: this hub has {}", known.join(", "))));
    };
    (platform.check_link)(&link.settings)
}

/// What a guide says of the hub. Where the configuration names an authority of its own, members are taken to be given that one.
#[must_use]
pub fn about(config: &Config) -> About {
    let trust = match config.authorities.first() {
        None => Trust::Public,
        Some(path) => {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| FileName::parse(name).ok());
            Trust::Own { file: name.unwrap_or_else(|| FileName::parse("interchange-authority.pem").expect("a constant name")) }
        }
    };
    About { listeners: listeners(config), trust }
}

/// Makes the first operator where nobody may use the API yet. The token goes to a file that only the hub's user may read, and not to the
/// log, which more people read and which is kept for longer.
///
/// # Errors
/// When the file or the database cannot be written.
pub async fn first_operator(config: &Config, members: &Members) -> anyhow::Result<()> {
    if !members.directory().1.users.is_empty() {
        return Ok(());
    }
    let path = config.data_directory.join(TOKEN_FILE);
    let (token, token_hash) =
        tokio::task::spawn_blocking(|| new_token(FIRST_USER)).await.context("the token cannot be hashed")?;
    // The file first: a token that nobody knows is worse than a file whose token is not right and is made again at the next start.
    let _ = std::fs::remove_file(&path);
    secret::write_private(&path, format!("{token}\n").as_bytes())?;
    let by = Actor { name: "first-start".to_owned(), role: Role::Operator };
    let change = Change::SetUser { user: FIRST_USER.to_owned(), role: Role::Operator, token_hash };
    members.apply(&by, &change, rand::random()).await?;
    tracing::info!(file = %path.display(), "the first start: the token of the API's user `{FIRST_USER}` is in this file");
    Ok(())
}
