//! People who sign in at the hub: the directories that the configuration names, ready to be asked.

use anyhow::{Context, anyhow};
use interchange_accounts::MemberDirectory;
use interchange_driver::{Caller, Reach, Resolver, Roots, Tls};

use crate::config::{Config, DirectoryConfig};

/// Each directory with what it is called by.
///
/// # Errors
/// When a file that it needs cannot be used.
pub fn directories(config: &Config, tls: &Tls, resolver: &Resolver, reach: &Reach) -> anyhow::Result<Vec<MemberDirectory>> {
    let of = |directory: &DirectoryConfig| -> anyhow::Result<_> {
        let tls = match &directory.authority {
            None => tls.clone(),
            Some(path) => {
                let mut roots = Roots::none();
                roots.add_file(path)?;
                // And it sees no certificate of the hub's.
                Tls::new(Vec::new(), 0, roots)?
            }
        };
        if let Some(service) = &directory.settings.service {
            let read = (service.password)().map_err(|why| anyhow!(why));
            read.with_context(|| format!("the directory of `{}` cannot be asked", directory.member))?;
        }
        let caller = Caller::new(tls, resolver.clone(), reach.clone());
        Ok((directory.member.clone(), caller, directory.settings.clone()))
    };
    config.directories.iter().map(of).collect()
}
