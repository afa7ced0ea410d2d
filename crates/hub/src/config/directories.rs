//! `[[directory]]`: LDAP directories of members whose people sign in at the hub. They are not registered while the hub runs: who may have one inside a private network,
//! and which file holds a password, is the operator's to say.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use interchange_accounts::{LdapPlace, LdapSettings, ReadPassword, ServiceAccount};
use interchange_adapter::Password;
use interchange_model::MemberId;
use interchange_registry::is_name;
use toml::Spanned;

use super::schema::{DirectoryEntry, DirectorySecurity, File};
use super::{Check, NAME_HELP};
use crate::secret;

/// The directory of a member.
#[derive(Debug, Clone)]
pub struct DirectoryConfig {
    /// Whose people are in it. Registered or declared.
    pub member: MemberId,
    /// Where it is, and what in it says what.
    pub settings: LdapSettings,
    /// Authorities for its certificate, instead of the hub's own.
    pub authority: Option<PathBuf>,
}

impl Check<'_> {
    pub(super) fn directories(&mut self, file: &File) -> Vec<DirectoryConfig> {
        let mut directories = Vec::new();
        let mut known = BTreeSet::new();
        for entry in &file.directory {
            let member = entry.member.get_ref();
            if !is_name(member) {
                self.fault(entry.member.span(), format!("`{}` is not a name", member.escape_debug()), NAME_HELP);
            } else if !known.insert(member.as_str()) {
                let help = "a member has one directory: give it one that knows all its people";
                self.fault(entry.member.span(), format!("there are two directories of `{member}`"), help);
            }
            if let Some(account) = file.account.iter().find(|account| account.member.get_ref() == member) {
                let help = "take the [[account]] away, and add them in the directory";
                self.fault(account.member.span(), format!("the people of `{member}` are in its directory"), help);
            }
            directories.extend(self.directory(entry));
        }
        directories
    }

    fn directory(&mut self, entry: &DirectoryEntry) -> Option<DirectoryConfig> {
        let clear = entry.security == Some(DirectorySecurity::None);
        let place = LdapPlace::parse(entry.url.get_ref(), clear, entry.server_name.as_deref());
        if let Err(why) = &place {
            self.fault(entry.url.span(), "this address of a directory cannot be used".to_owned(), why.clone());
        }
        let people = ldap_codec::Filter::parse(entry.filter.get_ref());
        if let Err(why) = people {
            let help = "write a filter as RFC 4515 has it: filter = \"(objectClass=person)\"";
            self.fault(entry.filter.span(), format!("this is no filter: {why}"), help);
        }
        if entry.base.get_ref().trim().is_empty() {
            self.fault(
                entry.base.span(),
                "there is no base",
                "write the name below which people are: \"ou=people,dc=acme,dc=example\"",
            );
        }
        let attributes = entry.login_attributes.iter().chain([&entry.user_attribute, &entry.name_attribute]);
        for attribute in attributes {
            let name = attribute.get_ref();
            let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';');
            if name.is_empty() || !name.bytes().all(good) {
                let message = format!("`{}` is not the name of an attribute", name.escape_debug());
                self.fault(attribute.span(), message, "write \"uid\", \"sAMAccountName\" or \"mail\"");
            }
        }
        if entry.login_attributes.is_empty() {
            let help = "write login_attributes = [\"uid\"]";
            self.fault(entry.member.span(), "there is no attribute with the name that people type", help);
        }
        let service = self.service_account(entry);
        let text = |text: &Spanned<String>| text.get_ref().clone();
        Some(DirectoryConfig {
            member: entry.member.get_ref().as_str().into(),
            authority: entry.authority.as_ref().map(|path| self.file(path)),
            settings: LdapSettings {
                place: place.ok()?,
                service,
                base: text(&entry.base),
                people: people.ok()?,
                login_attributes: entry.login_attributes.iter().map(text).collect(),
                user_attribute: text(&entry.user_attribute),
                name_attribute: text(&entry.name_attribute),
            },
        })
    }

    fn service_account(&mut self, entry: &DirectoryEntry) -> Option<ServiceAccount> {
        let password: Option<Arc<ReadPassword>> = match (&entry.bind_password_file, &entry.bind_password_variable) {
            (Some(file), Some(_)) => {
                self.fault(file.span(), "the password is to come from a file and from a variable", "take one of the two away");
                None
            }
            (Some(file), None) => {
                let path = self.base.join(file.get_ref());
                Some(Arc::new(move || {
                    usable(secret::read_password(&path).map_err(|error| format!("{error:#}"))?, &path.display())
                }))
            }
            (None, Some(variable)) => {
                let name = variable.clone();
                let missing =
                    format!("the environment has no variable {name} with the password of the directory's service account");
                Some(Arc::new(move || usable(std::env::var(&name).map_err(|_| missing.clone())?, &name)))
            }
            (None, None) => None,
        };
        match (&entry.bind_dn, password) {
            (Some(name), Some(password)) => Some(ServiceAccount { name: name.get_ref().clone(), password }),
            (None, None) => None,
            (Some(name), None) => {
                let help = "add bind_password_file = \"ldap.password\", a file that only the hub's user may read, or bind_password_variable";
                self.fault(name.span(), "the service account has no password", help);
                None
            }
            (None, Some(_)) => {
                let help = "add bind_dn = \"cn=interchange,dc=acme,dc=example\"";
                self.fault(entry.member.span(), "there is a password of a service account and not its name", help);
                None
            }
        }
    }
}

fn usable(password: String, place: &dyn std::fmt::Display) -> Result<Password, String> {
    Password::new(password).ok_or_else(|| format!("{place} holds no password of 1 to {} bytes", Password::LONGEST))
}
