//! People who sign in at the hub itself, on platforms where it is their server.

use std::fmt;

use interchange_model::DisplayName;

/// A password on its way from a client to whoever can judge it. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The longest one that is looked at, in bytes: hashing must not cost an attacker's choice of work.
    pub const LONGEST: usize = 1024;

    /// As the person typed it; `None` when it is empty or longer than [`LONGEST`](Self::LONGEST). (An empty password is an
    /// unauthenticated bind in LDAP, which succeeds for anybody: RFC 4513 §5.1.2.)
    #[must_use]
    pub fn new(password: String) -> Option<Self> {
        (!password.is_empty() && password.len() <= Self::LONGEST).then_some(Self(password))
    }

    /// For the one who judges it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Somebody who may sign in over a link, as the member's directory has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The part of their address before the `@`, in the one spelling that is used everywhere.
    pub user: String,
    /// How they are called.
    pub display_name: Option<DisplayName>,
}

/// Why somebody was not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignInError {
    /// No such person, or not their password: which of the two is not told.
    Wrong,
    /// Nobody could be asked: the directory does not answer, or too many are being asked already. Trying again helps.
    Unavailable,
}
