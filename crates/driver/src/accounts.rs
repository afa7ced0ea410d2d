//! Questions about people who sign in at the hub, on their way to whoever knows the members' directories, and the answers back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use interchange_adapter::{Account, ConnId, Input, Password, SignInError};
use interchange_model::LinkId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::shared::{Event, Shared};

/// For an answer, within the 15 s that the contract promises.
const LIMIT: Duration = Duration::from_secs(14);

/// The most accounts in one answer.
const MOST_FOUND: usize = 50;

/// Where an answer goes. Dropped, nobody could be asked.
pub type Answer<T> = oneshot::Sender<Result<T, SignInError>>;

/// What an adapter wants to know of a member's directory.
#[derive(Debug)]
pub enum AccountQuestion {
    /// Is it them?
    SignIn {
        /// The link whose member's directory knows.
        link: LinkId,
        /// Where they come from, when that is known.
        peer: Option<IpAddr>,
        /// The name as it was typed. Remote text.
        name: String,
        /// And the password.
        password: Password,
        /// For the answer.
        answer: Answer<Account>,
    },
    /// Who is meant?
    LookUp {
        /// The link whose member's directory knows.
        link: LinkId,
        /// A user's name or a part of how somebody is called. Remote text.
        name: String,
        /// For the answer: the best first, at most 50.
        answer: Answer<Vec<Account>>,
    },
}

/// Whoever waits for the answers of one adapter.
pub(crate) struct Asker<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) events: &'a mpsc::Sender<Event>,
}

impl Asker<'_> {
    pub(crate) fn sign_in(&self, conn: ConnId, link: LinkId, peer: Option<IpAddr>, name: String, password: Password) {
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(AccountQuestion::SignIn { link, peer, name, password, answer });
        self.wait(asked, answered, move |result| Input::Authenticated { conn, result });
    }

    pub(crate) fn look_up(&self, conn: ConnId, query: u64, link: LinkId, name: String) {
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(AccountQuestion::LookUp { link, name, answer });
        self.wait(asked, answered, move |mut result: Result<Vec<Account>, _>| {
            if let Ok(found) = &mut result {
                found.truncate(MOST_FOUND);
            }
            Input::Found { conn, query, result }
        });
    }

    /// Whether the question has been taken: nobody waits for somebody who is absent or has no room.
    fn ask(&self, question: AccountQuestion) -> bool {
        self.shared.accounts.as_ref().is_some_and(|accounts| accounts.try_send(question).is_ok())
    }

    /// Beside the loop, as dials are. The answer goes the way of all that happens to the adapter, and ends with it.
    fn wait<T: Send + 'static>(
        &self,
        asked: bool,
        answered: oneshot::Receiver<Result<T, SignInError>>,
        input: impl FnOnce(Result<T, SignInError>) -> Input + Send + 'static,
    ) {
        let events = self.events.clone();
        self.shared.tasks.spawn(async move {
            let mut result = Err(SignInError::Unavailable);
            if asked {
                result = tokio::select! {
                    // Late, or dropped: nobody could be asked.
                    answer = timeout(LIMIT, answered) => answer.ok().and_then(Result::ok).unwrap_or(result),
                    // The adapter is no more, and a stop does not wait.
                    () = events.closed() => return,
                };
            }
            let _ = events.send(Event::Answered(Box::new(input(result)))).await;
        });
    }
}
