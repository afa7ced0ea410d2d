//! People in a member's LDAP directory: the service account finds them, and a bind as themselves proves their password.
//!
//! What was typed is a value in a filter, never syntax. Connections are kept for a while: one kind for searching, one for proving, which is anybody's after each
//! bind (RFC 4511 §4.2.1). A server may have closed one that waited, so what fails on it is tried once more on a fresh one.

mod connection;
mod settings;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use interchange_adapter::{Account, Password, SignInError};
use interchange_driver::Caller;
use interchange_model::{DisplayName, Domain, MemberId};
use interchange_registry::AccountEntry;
use ldap_codec::{Entry, Filter, Search, code};
use tokio::time::{Instant, sleep_until, timeout};

pub use settings::{LdapPlace, LdapSettings, ReadPassword, Security, ServiceAccount};

use crate::list::{MOST_FOUND, rank};
use connection::Connection;

/// For all that one question takes; what asks waits 14 s.
const LIMIT: Duration = Duration::from_secs(12);
/// How long the server may look, in seconds.
const SEARCH_SECONDS: u32 = 8;
/// Before this nobody learns that a name or a password is wrong: whether there is somebody of a name cannot be told by the time.
const WRONG_AFTER: Duration = Duration::from_millis(500);
/// Connections of each kind that are kept, and how long one may wait for its next use.
const MOST_KEPT: usize = 4;
const KEPT_FOR: Duration = Duration::from_secs(60);

/// A member's directory.
pub(crate) struct Ldap {
    member: MemberId,
    caller: Caller,
    settings: LdapSettings,
    searching: Kept,
    proving: Kept,
    /// The last question could not be put: the log has one line for it, not one for each.
    fails: AtomicBool,
}

/// Somebody who was found.
pub(crate) struct Person {
    name: String,
    pub(crate) account: Account,
}

impl Ldap {
    pub(crate) fn new(member: MemberId, caller: Caller, settings: LdapSettings) -> Self {
        let fails = AtomicBool::new(false);
        Self { member, caller, settings, searching: Kept::default(), proving: Kept::default(), fails }
    }

    /// Who is meant by a name that was typed to sign in; nobody, where nobody or more than one is. Then it takes the time of a wrong password.
    pub(crate) async fn find(&self, name: Option<&str>, domains: &[Domain]) -> Result<Person, SignInError> {
        let begun = Instant::now();
        let found = self.within(async {
            let Some(name) = name else { return Ok(None) };
            let fits = |attribute: &String| Filter::Equal { attribute: attribute.clone(), value: name.into() };
            let filter = self.people(self.settings.login_attributes.iter().map(fits).collect());
            let mut found = self.search(&filter, 2).await?;
            if found.len() > 1 {
                tracing::warn!(member = %self.member, "two people in the directory fit one name, so neither signs in: make `filter` or `login_attributes` narrower");
                return Ok(None);
            }
            Ok(found.pop())
        });
        let person = found.await?.and_then(|entry| {
            let account = self.account(&entry, domains);
            if account.is_none() {
                tracing::warn!(
                    member = %self.member, attribute = self.settings.user_attribute,
                    "somebody in the directory has no user part of an address in this attribute, so they cannot sign in"
                );
            }
            Some(Person { name: entry.name, account: account? })
        });
        match person {
            Some(person) => Ok(person),
            None => {
                // The same words with the server as for somebody who is there.
                let nobody = format!("cn=interchange-nobody,{}", self.settings.base);
                let _ = timeout(LIMIT, self.bind(&nobody, "nobody")).await;
                sleep_until(begun + WRONG_AFTER).await;
                Err(SignInError::Wrong)
            }
        }
    }

    /// Whether this is their password.
    pub(crate) async fn prove(&self, person: Person, password: &Password) -> Result<Account, SignInError> {
        let begun = Instant::now();
        if self.within(self.bind(&person.name, password.reveal())).await? {
            return Ok(person.account);
        }
        sleep_until(begun + WRONG_AFTER).await;
        Err(SignInError::Wrong)
    }

    /// Who is meant by a part of a name, the best first.
    pub(crate) async fn look_up(&self, name: &str, domains: &[Domain]) -> Result<Vec<Account>, SignInError> {
        let begins = |attribute: &String| Filter::Substrings {
            attribute: attribute.clone(),
            initial: Some(name.into()),
            any: Vec::new(),
            last: None,
        };
        let holds = Filter::Substrings {
            attribute: self.settings.name_attribute.clone(),
            initial: None,
            any: vec![name.into()],
            last: None,
        };
        let filter = self.people(self.settings.login_attributes.iter().map(begins).chain([holds]).collect());
        let most = u32::try_from(MOST_FOUND).unwrap_or(u32::MAX);
        let found = self.within(self.search(&filter, most)).await?;
        let wanted = name.to_lowercase();
        let accounts = found.iter().filter_map(|entry| self.account(entry, domains));
        let mut ranked: Vec<_> = accounts
            .map(|account| {
                let key = AccountEntry::key(&account.user).unwrap_or_default();
                // By an attribute that is not shown.
                (rank(&key, account.display_name.as_ref(), &wanted).unwrap_or(u8::MAX), key, account)
            })
            .collect();
        ranked.sort_by(|(one, one_key, _), (other, other_key, _)| (one, one_key).cmp(&(other, other_key)));
        ranked.dedup_by(|(_, one, _), (_, other, _)| one == other);
        Ok(ranked.into_iter().map(|(_, _, account)| account).collect())
    }

    /// People of whom one of these is so.
    fn people(&self, any: Vec<Filter>) -> Filter {
        Filter::And(vec![self.settings.people.clone(), Filter::Or(any)])
    }

    fn account(&self, entry: &Entry, domains: &[Domain]) -> Option<Account> {
        let value = entry.first(&self.settings.user_attribute)?.trim();
        let user = match value.rsplit_once('@') {
            None => value,
            Some((user, domain)) => {
                let domain = Domain::parse(domain).ok()?;
                domains.contains(&domain).then_some(user)?
            }
        };
        AccountEntry::key(user)?;
        let display_name = entry.first(&self.settings.name_attribute).and_then(DisplayName::new);
        Some(Account { user: user.to_owned(), display_name })
    }

    /// Bounds a question, and tells the operator when questions cannot be put any more, and when they can again.
    async fn within<T>(&self, question: impl Future<Output = Result<T, String>>) -> Result<T, SignInError> {
        let answered = timeout(LIMIT, question).await;
        match answered.unwrap_or_else(|_| Err(format!("it does not answer within {} s", LIMIT.as_secs()))) {
            Ok(answer) => {
                if self.fails.swap(false, Relaxed) {
                    tracing::info!(member = %self.member, "the directory answers again");
                }
                Ok(answer)
            }
            Err(why) => {
                if !self.fails.swap(true, Relaxed) {
                    tracing::error!(member = %self.member, directory = self.settings.place.host, why, "the directory cannot be asked: its people cannot sign in");
                }
                Err(SignInError::Unavailable)
            }
        }
    }

    async fn search(&self, filter: &Filter, most: u32) -> Result<Vec<Entry>, String> {
        let attributes = [self.settings.user_attribute.as_str(), self.settings.name_attribute.as_str()];
        let search = Search { base: &self.settings.base, filter, attributes: &attributes, most, seconds: SEARCH_SECONDS };
        let mut answer = None;
        if let Some(mut connection) = self.searching.take() {
            answer = connection.search(&search).await.ok().map(|answer| (connection, answer));
        }
        let (connection, (entries, outcome)) = match answer {
            Some(answer) => answer,
            None => {
                let mut connection = self.searcher().await?;
                let answer = connection.search(&search).await?;
                (connection, answer)
            }
        };
        match outcome.code {
            // More would fit: two are enough to know that it is not one, and 50 to choose from.
            code::SUCCESS | code::SIZE_LIMIT_EXCEEDED => {
                self.searching.put(connection);
                Ok(entries)
            }
            code::NO_SUCH_OBJECT => {
                Err(format!("there is no `{}`: check `base`, and what the service account may see", self.settings.base))
            }
            other => Err(format!("the search fails (code {other}): {}", outcome.text)),
        }
    }

    /// A fresh connection of the service account.
    async fn searcher(&self) -> Result<Connection, String> {
        let mut connection = Connection::open(&self.caller, &self.settings.place).await?;
        if let Some(service) = &self.settings.service {
            let password = (service.password)()?;
            let outcome = connection.bind(&service.name, password.reveal()).await?;
            if outcome.code != code::SUCCESS {
                return Err(format!("the service account is refused (code {}): {}", outcome.code, outcome.text));
            }
        }
        Ok(connection)
    }

    /// Whether a name has this password.
    async fn bind(&self, name: &str, password: &str) -> Result<bool, String> {
        let mut answer = None;
        if let Some(mut connection) = self.proving.take() {
            answer = connection.bind(name, password).await.ok().map(|answer| (connection, answer));
        }
        let (connection, outcome) = match answer {
            Some(answer) => answer,
            None => {
                let mut connection = Connection::open(&self.caller, &self.settings.place).await?;
                let answer = connection.bind(name, password).await?;
                (connection, answer)
            }
        };
        let right = match outcome.code {
            code::SUCCESS => true,
            code::INVALID_CREDENTIALS
            | code::INAPPROPRIATE_AUTHENTICATION
            | code::NO_SUCH_OBJECT
            | code::CONSTRAINT_VIOLATION
            | code::INSUFFICIENT_ACCESS_RIGHTS
            | code::UNWILLING_TO_PERFORM => false,
            other => return Err(format!("passwords cannot be tried (code {other}): {}", outcome.text)),
        };
        self.proving.put(connection);
        Ok(right)
    }
}

/// Connections that wait for their next use.
#[derive(Default)]
struct Kept(Mutex<Vec<(Connection, Instant)>>);

impl Kept {
    fn take(&self) -> Option<Connection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < KEPT_FOR);
        kept.pop().map(|(connection, _)| connection)
    }

    fn put(&self, connection: Connection) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push((connection, Instant::now()));
        }
    }
}
