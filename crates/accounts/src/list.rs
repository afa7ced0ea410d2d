//! People as a list: what is registered, and what the configuration declares.

use interchange_adapter::{Account, Password, SignInError};
use interchange_credentials::Hashing;
use interchange_model::{DisplayName, MemberId};
use interchange_registry::{AccountEntry, Members};

/// The most that are found.
pub(crate) const MOST_FOUND: usize = 50;

/// Whether it is them. Somebody who is not there takes the time of a wrong password.
pub(crate) async fn sign_in(
    members: &Members,
    hashing: &Hashing,
    member: &MemberId,
    key: Option<String>,
    password: &Password,
) -> Result<Account, SignInError> {
    let (_, directory) = members.directory();
    let found = key.and_then(|key| {
        let id = (member.clone(), key);
        members.declared().accounts.get(&id).or_else(|| directory.accounts.get(&id)).cloned()
    });
    let hash = found.as_ref().map(|entry| entry.password_hash.clone());
    let right = hashing.verify(password.reveal().to_owned(), hash).await.map_err(|_| SignInError::Unavailable)?;
    found.filter(|_| right).map(|entry| account(&entry)).ok_or(SignInError::Wrong)
}

/// Who is meant: the user of exactly this name first, then those whose name, or a word of how they are called, begins with it, then those that hold it.
pub(crate) fn look_up(members: &Members, member: &MemberId, name: &str) -> Vec<Account> {
    let (_, directory) = members.directory();
    let wanted = name.to_lowercase();
    let all = members.declared().accounts.iter().chain(&directory.accounts).filter(|((of, _), _)| of == member);
    let ranked = all.filter_map(|((_, key), entry)| Some((rank(key, entry.display_name.as_ref(), &wanted)?, key, entry)));
    let mut found: Vec<_> = ranked.collect();
    found.sort_by_key(|(rank, key, _)| (*rank, *key));
    found.into_iter().take(MOST_FOUND).map(|(_, _, entry)| account(entry)).collect()
}

/// How well a user's name (in its comparison form) and how they are called fit what is wanted (in lower case): 0 is best.
pub(crate) fn rank(key: &str, display_name: Option<&DisplayName>, wanted: &str) -> Option<u8> {
    let called = display_name.map(|name| name.as_str().to_lowercase()).unwrap_or_default();
    if key == wanted {
        return Some(0);
    }
    if called == wanted {
        return Some(1);
    }
    let begins_a_word = || called.match_indices(wanted).any(|(at, _)| called[..at].chars().next_back().is_none_or(|c| c == ' '));
    if key.starts_with(wanted) || begins_a_word() {
        return Some(2);
    }
    (key.contains(wanted) || called.contains(wanted)).then_some(3)
}

fn account(entry: &AccountEntry) -> Account {
    Account { user: entry.user.clone(), display_name: entry.display_name.clone() }
}
