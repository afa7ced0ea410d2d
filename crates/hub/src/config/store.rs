//! `[hub] store` and `[postgresql]`: where what is registered is kept.

use std::path::PathBuf;

use interchange_registry::{Database, PostgreSql};

use super::Check;
use super::schema::File;

/// Where what is registered is kept.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// In the data directory.
    Embedded,
    /// In a PostgreSQL.
    PostgreSql(PostgreSqlSettings),
}

/// A PostgreSQL, and how the hub proves itself there.
#[derive(Clone)]
pub struct PostgreSqlSettings {
    url: String,
    password_file: Option<PathBuf>,
    authority: Option<PathBuf>,
}

impl std::fmt::Debug for PostgreSqlSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        f.debug_struct("PostgreSqlSettings").finish_non_exhaustive()
    }
}

impl StoreSettings {
    /// The database, with the password read from its file.
    ///
    /// # Errors
    /// When the file cannot be read, or may be read by others.
    pub fn database(&self) -> anyhow::Result<Database> {
        Ok(match self {
            Self::Embedded => Database::Embedded,
            Self::PostgreSql(PostgreSqlSettings { url, password_file, authority }) => Database::PostgreSql(PostgreSql {
                url: url.clone(),
                password: password_file.as_deref().map(crate::secret::read_password).transpose()?,
                authority: authority.clone(),
            }),
        })
    }

    /// The address without a password, where it is a PostgreSQL.
    #[must_use]
    pub fn postgresql(&self) -> Option<String> {
        match self {
            Self::Embedded => None,
            Self::PostgreSql(PostgreSqlSettings { url, .. }) => {
                let database = PostgreSql { url: url.clone(), password: None, authority: None };
                Some(database.address().map_or_else(|_| "postgresql:".to_owned(), |(_, shown)| shown))
            }
        }
    }
}

impl Check<'_> {
    pub(super) fn store(&mut self, file: &File) -> StoreSettings {
        let entry = &file.postgresql;
        let url = file.hub.store.as_ref().filter(|store| store.get_ref() != "embedded");
        let Some(url) = url else {
            if let Some(path) = entry.password_file.as_ref().or(entry.authority.as_ref()) {
                let help = "write store = \"postgresql://user@host/interchange\" under [hub]";
                self.fault(path.span(), "the store is not a PostgreSQL", help);
            }
            return StoreSettings::Embedded;
        };
        let database = PostgreSql { url: url.get_ref().clone(), password: None, authority: None };
        if database.address().is_err() {
            // The text itself is not shown: it may hold a password.
            let help = "write \"embedded\", or an address such as \"postgresql://interchange@db.example/interchange\"";
            self.fault(url.span(), "this is no address of a PostgreSQL database", help);
        }
        StoreSettings::PostgreSql(PostgreSqlSettings {
            url: database.url,
            password_file: entry.password_file.as_ref().map(|path| self.file(path)),
            authority: entry.authority.as_ref().map(|path| self.file(path)),
        })
    }
}
