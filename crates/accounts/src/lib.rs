//! Who may sign in at the hub: answers the questions of platforms where the hub is people's own server.
//!
//! A member's people are a list in the registry, with hashes of their passwords, or in the member's own LDAP directory ([`LdapSettings`]). Whatever knows them, one brake on guessing stands before it (abuse case
//! 37): after some wrong passwords for a name, or from an address, nobody is asked for a while, and a pause doubles with each further one.
//!
//! Nobody waits for anybody: a question for which there is no room is answered at once, that nobody could be asked. Passwords and names are never logged.

mod guesses;
mod ldap;
mod list;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use interchange_adapter::{Account, Password, SignInError};
use interchange_credentials::Hashing;
use interchange_driver::{AccountQuestion, Caller};
use interchange_model::{Link, LinkId, MemberId};
use interchange_registry::{AccountEntry, Members};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use guesses::{Guess, Guesses};
use ldap::Ldap;

pub use ldap::{LdapPlace, LdapSettings, ReadPassword, Security, ServiceAccount};

/// Questions that may wait to be looked at: they do not wait long.
const WAITING: usize = 256;
/// Questions that are being answered at once.
const AT_ONCE: usize = 256;
/// Those of one member: a directory that does not answer holds up nobody else's people.
const AT_ONCE_OF_A_MEMBER: usize = 64;

/// The longest name that is looked for, in bytes.
const LONGEST_NAME: usize = 255;

/// A member that has a directory, what it is called by, and what in it says what.
pub type MemberDirectory = (MemberId, Caller, LdapSettings);

/// Answers questions about accounts until it is dropped, or nobody can ask any more.
pub struct Accounts {
    questions: mpsc::Sender<AccountQuestion>,
    judge: Arc<Judge>,
    _task: JoinSet<()>,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// Begins to answer, by the directories of the members that have one, and for all others by what is registered. To be called inside a tokio runtime.
    #[must_use]
    pub fn start(members: Arc<Members>, directories: Vec<MemberDirectory>) -> Self {
        let (questions, asked) = mpsc::channel(WAITING);
        let judge = Arc::new(Judge {
            members,
            directories: RwLock::new(ready(directories)),
            hashing: Hashing::new(AT_ONCE),
            guesses: Mutex::default(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            rooms: Mutex::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(answer_all(judge.clone(), asked));
        Self { questions, judge, _task: task }
    }

    /// From now on asks these directories and no others. Who has signed in stays so, and a question that is being answered is answered by the directory
    /// that it was put to. Guesses count on.
    pub fn replace_directories(&self, directories: Vec<MemberDirectory>) {
        *self.judge.directories.write().unwrap_or_else(PoisonError::into_inner) = ready(directories);
    }

    /// Where to ask.
    #[must_use]
    pub fn questions(&self) -> mpsc::Sender<AccountQuestion> {
        self.questions.clone()
    }
}

fn ready(directories: Vec<MemberDirectory>) -> HashMap<MemberId, Arc<Ldap>> {
    let of_member = |(member, caller, settings): MemberDirectory| (member.clone(), Arc::new(Ldap::new(member, caller, settings)));
    directories.into_iter().map(of_member).collect()
}

async fn answer_all(judge: Arc<Judge>, mut asked: mpsc::Receiver<AccountQuestion>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            question = asked.recv() => {
                let Some(question) = question else { return };
                let judge = judge.clone();
                open.spawn(async move { judge.answer(question).await });
            }
            Some(_) = open.join_next() => {}
        }
    }
}

struct Judge {
    members: Arc<Members>,
    directories: RwLock<HashMap<MemberId, Arc<Ldap>>>,
    hashing: Hashing,
    guesses: Mutex<Guesses>,
    room: Arc<Semaphore>,
    /// By member; as many as have been asked for at once.
    rooms: Mutex<HashMap<MemberId, Arc<Semaphore>>>,
}

impl Judge {
    async fn answer(&self, question: AccountQuestion) {
        // Whoever has asked may be gone, and hears nothing then.
        match question {
            AccountQuestion::SignIn { link, peer, name, password, answer } => {
                let _ = answer.send(self.sign_in(&link, peer, &name, &password).await);
            }
            AccountQuestion::LookUp { link, name, answer } => {
                let _ = answer.send(self.look_up(&link, &name).await);
            }
        }
    }

    async fn sign_in(
        &self,
        link: &LinkId,
        peer: Option<IpAddr>,
        name: &str,
        password: &Password,
    ) -> Result<Account, SignInError> {
        let Link { member, domains, .. } = self.link(link)?;
        let _room = self.room(&member)?;
        // What can be nobody's name is judged like one that nobody has.
        let key = AccountEntry::key(name);
        let mut guesses = vec![self.guess(link, &member, key.as_deref().unwrap_or_default(), peer)?];
        let result = match self.directory(&member) {
            None => list::sign_in(&self.members, &self.hashing, &member, key, password).await,
            Some(directory) => match directory.find(key.is_some().then_some(name), &domains).await {
                Ok(person) => {
                    // Somebody who can be typed in several ways is guessed at no more often.
                    let other = AccountEntry::key(&person.account.user).filter(|other| Some(other) != key.as_ref());
                    match other.map(|other| self.guess(link, &member, &other, peer)).transpose() {
                        Ok(other) => {
                            guesses.extend(other);
                            directory.prove(person, password).await
                        }
                        Err(refused) => Err(refused),
                    }
                }
                Err(error) => Err(error),
            },
        };
        if result == Err(SignInError::Wrong) {
            tracing::debug!(%link, address = ?peer, "a wrong name or password");
        }
        let mut brake = self.guesses();
        for guess in &guesses {
            match &result {
                Ok(_) => brake.was_right(guess),
                Err(SignInError::Wrong) => {}
                Err(SignInError::Unavailable) => brake.was_none(guess),
            }
        }
        result
    }

    /// Counts a try.
    fn guess(&self, link: &LinkId, member: &MemberId, key: &str, peer: Option<IpAddr>) -> Result<Guess, SignInError> {
        match self.guesses().begin(Instant::now().into_std(), (member.as_str(), key), peer) {
            Some(guess) => {
                if guess.is_last() {
                    tracing::warn!(%link, address = ?peer, "many wrong passwords: after another one nobody is asked for a while");
                }
                Ok(guess)
            }
            None => {
                tracing::debug!(%link, address = ?peer, "a sign-in was not looked at, after many wrong passwords");
                Err(SignInError::Unavailable)
            }
        }
    }

    async fn look_up(&self, link: &LinkId, name: &str) -> Result<Vec<Account>, SignInError> {
        let Link { member, domains, .. } = self.link(link)?;
        let _room = self.room(&member)?;
        let name = name.trim();
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Ok(Vec::new());
        }
        match self.directory(&member) {
            None => Ok(list::look_up(&self.members, &member, name)),
            Some(directory) => directory.look_up(name, &domains).await,
        }
    }

    fn directory(&self, member: &MemberId) -> Option<Arc<Ldap>> {
        self.directories.read().unwrap_or_else(PoisonError::into_inner).get(member).cloned()
    }

    fn link(&self, link: &LinkId) -> Result<Link, SignInError> {
        // Taken away a moment ago, perhaps.
        let registry = self.members.watch().borrow().clone();
        registry.link(link).cloned().ok_or(SignInError::Unavailable)
    }

    /// Room for one question.
    fn room(&self, member: &MemberId) -> Result<[OwnedSemaphorePermit; 2], SignInError> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() > AT_ONCE {
            rooms.retain(|_, room| room.available_permits() < AT_ONCE_OF_A_MEMBER);
        }
        let of_member = rooms.entry(member.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE_OF_A_MEMBER))).clone();
        let permits = (self.room.clone().try_acquire_owned(), of_member.try_acquire_owned());
        match permits {
            (Ok(one), Ok(other)) => Ok([one, other]),
            _ => Err(SignInError::Unavailable),
        }
    }

    fn guesses(&self) -> std::sync::MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
