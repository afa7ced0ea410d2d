//! Members, and the users who may change what is registered.

use interchange_model::MemberId;

use super::{LONGEST_NAME, Step, absent, named};
use crate::directory::change::{conflict, invalid};
use crate::directory::{ChangeError, Member, Role, User};

impl Step<'_> {
    /// The operator registers a member.
    pub(super) fn add_member(&mut self, member: &MemberId, name: &str) -> Result<(), ChangeError> {
        self.only_operator()?;
        named(member.as_str())?;
        if self.knows(member) {
            return conflict(format!("there is a member `{member}` already"));
        }
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return invalid(format!("a member's name has 1 to {LONGEST_NAME} bytes, and no control characters"));
        }
        self.next.members.insert(member.clone(), Member { name: name.to_owned() });
        Ok(())
    }

    /// The operator removes a member that has nothing any more.
    pub(super) fn remove_member(&mut self, member: &MemberId) -> Result<(), ChangeError> {
        self.only_operator()?;
        let left = self.before.links.iter().find(|(_, link)| link.member == *member).map(|(id, _)| format!("link {id}"));
        let left = left
            .or_else(|| self.before.domains.iter().find(|(_, of)| of.member == *member).map(|(id, _)| format!("domain {id}")));
        let left = left.or_else(|| {
            self.before
                .partnerships
                .keys()
                .find(|pair| pair.members().contains(&member))
                .map(|pair| format!("partnership {}", pair.id()))
        });
        let mut accounts = self.before.accounts.range((member.clone(), String::new())..);
        let account = accounts.next().filter(|((of, _), _)| of == member).map(|((_, key), _)| format!("account {key}"));
        let left = left.or(account);
        let is = Role::Member { member: member.clone() };
        let left =
            left.or_else(|| self.before.users.iter().find(|(_, user)| user.role == is).map(|(id, _)| format!("user {id}")));
        if let Some(left) = left {
            return conflict(format!("member `{member}` still has {left}: remove that first"));
        }
        if self.next.members.remove(member).is_none() {
            return absent("member", member.as_str(), self.declared.members.contains(member));
        }
        Ok(())
    }

    /// The operator lets somebody use the API.
    pub(super) fn set_user(&mut self, user: &str, role: &Role, token_hash: &str) -> Result<(), ChangeError> {
        self.only_operator()?;
        named(user)?;
        if let Role::Member { member } = role {
            self.acts_for(member)?;
        }
        self.next.users.insert(user.to_owned(), User { role: role.clone(), token_hash: token_hash.to_owned() });
        Ok(())
    }

    /// The operator shuts somebody out.
    pub(super) fn remove_user(&mut self, user: &str) -> Result<(), ChangeError> {
        self.only_operator()?;
        if self.next.users.remove(user).is_none() {
            return absent("user", user, false);
        }
        if !self.next.users.values().any(|user| user.role == Role::Operator) {
            return conflict(format!("`{user}` is the last operator: make another first"));
        }
        Ok(())
    }
}
