//! Accounts: people who sign in at the hub itself, where it is their server.

use interchange_model::{Address, DisplayName, Domain, MemberId};
use serde::{Deserialize, Deserializer, Serialize};

use super::change::{conflict, invalid, not_found};
use super::{ChangeError, Directory};
use crate::Parts;

/// The longest name of a user, in bytes: one that a client may type.
const LONGEST_USER: usize = 255;

/// Somebody of a member who may sign in over its links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountEntry {
    /// The part of their address before the `@`.
    pub user: String,
    /// How they are called.
    #[serde(default, deserialize_with = "read_name")]
    pub display_name: Option<DisplayName>,
    /// The hash (argon2id, PHC string) of their password. Never shown.
    pub password_hash: String,
}

fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DisplayName>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| DisplayName::new(&text)))
}

impl AccountEntry {
    /// The comparison form of a user's name, by which accounts are known: one that was typed fits whatever its case is.
    /// `None` for what can be nobody's name.
    #[must_use]
    pub fn key(user: &str) -> Option<String> {
        if user.len() > LONGEST_USER {
            return None;
        }
        let anywhere = Domain::parse("invalid").ok()?;
        Some(Address::new(user, anywhere).ok()?.user_key().to_owned())
    }
}

impl Directory {
    /// Whether an account may be made or changed.
    pub(super) fn account_fits(
        &self,
        member: &MemberId,
        user: &str,
        is_new: Option<bool>,
        declared: &Parts,
    ) -> Result<(), ChangeError> {
        let Some(key) = AccountEntry::key(user).filter(|_| !user.contains('@')) else {
            return invalid(format!(
                "a user's name is the part of an address before the `@`: 1 to {LONGEST_USER} bytes, no control characters, no blank at either end"
            ));
        };
        if is_declared(member, &key, declared) {
            return conflict(format!("the account of `{}` is declared in hub.toml: change it there", user.escape_debug()));
        }
        if declared.directories.contains(member) {
            return conflict(format!("the people of `{member}` are in its LDAP directory: add and change them there"));
        }
        match (is_new, self.accounts.contains_key(&(member.clone(), key))) {
            (Some(true), true) => conflict(format!(
                "`{member}` has an account `{}` already: change its password, or remove it first",
                user.escape_debug()
            )),
            (Some(false), false) => absent(member, user),
            _ => Ok(()),
        }
    }

    /// Makes an account, or changes it: what is not given stays.
    pub(super) fn set_account(
        &self,
        next: &mut Self,
        member: &MemberId,
        user: &str,
        display_name: Option<&DisplayName>,
        password_hash: Option<&str>,
    ) -> Result<(), ChangeError> {
        let id = (member.clone(), AccountEntry::key(user).unwrap_or_default());
        let known = self.accounts.get(&id);
        let Some(password_hash) = password_hash.or(known.map(|known| known.password_hash.as_str())) else {
            return absent(member, user);
        };
        let display_name = display_name.or(known.and_then(|known| known.display_name.as_ref()));
        let entry =
            AccountEntry { user: user.to_owned(), display_name: display_name.cloned(), password_hash: password_hash.to_owned() };
        next.accounts.insert(id, entry);
        Ok(())
    }

    pub(super) fn remove_account(next: &mut Self, member: &MemberId, user: &str, declared: &Parts) -> Result<(), ChangeError> {
        let key = AccountEntry::key(user).unwrap_or_default();
        if is_declared(member, &key, declared) {
            return conflict(format!("the account of `{}` is declared in hub.toml: take it away there", user.escape_debug()));
        }
        next.accounts.remove(&(member.clone(), key)).map_or_else(|| absent(member, user), |_| Ok(()))
    }
}

fn absent<T>(member: &MemberId, user: &str) -> Result<T, ChangeError> {
    not_found(format!("`{member}` has no account `{}`: give a password to make one", user.escape_debug()))
}

fn is_declared(member: &MemberId, key: &str, declared: &Parts) -> bool {
    declared.accounts.contains_key(&(member.clone(), key.to_owned()))
}
