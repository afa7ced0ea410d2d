//! `[[account]]`: people who sign in at the hub and change seldom.

use std::collections::BTreeMap;

use interchange_model::{DisplayName, MemberId};
use interchange_registry::AccountEntry;

use super::Check;
use super::schema::File;

impl Check<'_> {
    pub(super) fn accounts(&mut self, file: &File, members: &[(MemberId, String)]) -> BTreeMap<(MemberId, String), AccountEntry> {
        let mut accounts = BTreeMap::new();
        for entry in &file.account {
            let member = self.member(&entry.member, members);
            let user = entry.user.get_ref();
            let key = AccountEntry::key(user).filter(|_| !user.contains('@'));
            if key.is_none() {
                let help = "write the part of the address before the `@`: \"alice\"";
                self.fault(entry.user.span(), format!("`{}` is not a user's name", user.escape_debug()), help);
            }
            // The hash itself is not shown: whoever has it can guess at it.
            if let Err(why) = interchange_credentials::check(entry.password_hash.get_ref()) {
                let message = format!("this hash of a password cannot be used: {why}");
                self.fault(entry.password_hash.span(), message, "make one with `interchange account hash`");
            }
            let (Some(member), Some(key)) = (member, key) else { continue };
            let known = AccountEntry {
                user: user.clone(),
                display_name: entry.name.as_deref().and_then(DisplayName::new),
                password_hash: entry.password_hash.get_ref().clone(),
            };
            if accounts.insert((member.clone(), key), known).is_some() {
                let message = format!("`{member}` has two accounts `{}`", user.escape_debug());
                self.fault(entry.user.span(), message, "a user's name is the same in upper and lower case");
            }
        }
        accounts
    }
}
