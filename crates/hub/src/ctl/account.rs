//! `interchange account`: people who sign in at the hub itself. A password is typed or comes by standard input, never by an argument, which others on
//! the machine see.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;

use super::{Request, change};

/// The longest password that is read, in bytes.
const LONGEST_PASSWORD: u64 = 1024;

/// `interchange account`
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Let somebody of a member sign in over its links. Asks for a password, or reads it from standard input: one line.
    Add {
        /// Whose.
        member: String,
        /// The part of their address before the `@`: alice
        user: String,
        /// How they are called: "Alice Adams"
        #[arg(long)]
        name: Option<String>,
    },
    /// Give somebody another password. Asks for it, or reads it from standard input: one line.
    SetPassword {
        /// Whose.
        member: String,
        /// The part of their address before the `@`.
        user: String,
    },
    /// Call somebody something else.
    Rename {
        /// Whose.
        member: String,
        /// The part of their address before the `@`.
        user: String,
        /// How they are called from now on: "Alice Brown"
        name: String,
    },
    /// Let somebody sign in no more.
    Remove {
        /// Whose.
        member: String,
        /// The part of their address before the `@`.
        user: String,
    },
    /// Show them.
    List,
    /// Print the hash of a password, for `password_hash` of an `[[account]]` in hub.toml. Asks for the password, or reads it from standard input: one
    /// line. Needs no hub.
    Hash,
}

/// What is asked of the API; of [`Account::Hash`], nothing.
pub(super) fn request(command: Account) -> anyhow::Result<Option<Request>> {
    let set = |member: String, user: String, is_new: bool| json!({"member": member, "user": user, "is_new": is_new});
    Ok(Some(match command {
        Account::Hash => return Ok(None),
        Account::List => Request::Read("accounts"),
        Account::Remove { member, user } => change("remove-account", json!({"member": member, "user": user})),
        Account::Rename { member, user, name } => {
            let mut account = set(member, user, false);
            account["display_name"] = name.into();
            Request::Account(account)
        }
        Account::Add { member, user, name } => {
            let mut account = set(member, user, true);
            account["display_name"] = name.into();
            account["password"] = password()?.into();
            Request::Account(account)
        }
        Account::SetPassword { member, user } => {
            let mut account = set(member, user, false);
            account["password"] = password()?.into();
            Request::Account(account)
        }
    }))
}

/// The hash of a password, as a line.
pub(super) fn hash() -> anyhow::Result<String> {
    Ok(format!("{}\n", interchange_credentials::hash(password()?.as_bytes())))
}

/// A password: typed twice at a terminal, without being shown; else the first line of standard input.
fn password() -> anyhow::Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        let ask = |what| rpassword::prompt_password(what).context("no password can be typed here: give it by standard input");
        let typed = ask("password: ")?;
        if typed != ask("again: ")? {
            bail!("the two are not the same: nothing was changed, type it again");
        }
        return usable(typed);
    }
    let mut line = Vec::new();
    // One byte more, and the end of the line.
    input.lock().take(LONGEST_PASSWORD + 3).read_until(b'\n', &mut line).context("no password comes by standard input")?;
    let line = String::from_utf8(line).ok().context("the password is no text in UTF-8")?;
    usable(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn usable(password: String) -> anyhow::Result<String> {
    if password.is_empty() {
        bail!("no password was given: type one, or give it by standard input");
    }
    if password.len() as u64 > LONGEST_PASSWORD {
        bail!("the password is longer than {LONGEST_PASSWORD} bytes");
    }
    Ok(password)
}
