//! The database of what is registered: in the node's own `hub.db`, or a PostgreSQL that several nodes share. One set of tables and of queries for both.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::MigrateError;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Row, Transaction};
use tokio::time::timeout;
use url::Url;

use super::{StoreError, VERSIONS, unmigrated};

/// How long a database may take for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long one may take to be there.
const ACQUIRED_WITHIN: Duration = Duration::from_secs(4);

/// Connections of one node.
const CONNECTIONS: u32 = 4;

/// Where what is registered is kept.
#[derive(Debug, Clone, Default)]
pub enum Database {
    /// In `hub.db` in the data directory.
    #[default]
    Embedded,
    /// In a PostgreSQL 13 or later, which all nodes with this address share.
    PostgreSql(PostgreSql),
}

/// A PostgreSQL database, and how the hub proves itself there.
#[derive(Clone)]
pub struct PostgreSql {
    /// `postgresql://user@host:port/database`; with the parameters of libpq that sqlx knows. Without `sslmode`, a host that is not this machine must prove
    /// itself by a certificate (`verify-full`).
    pub url: String,
    /// Where the address holds none.
    pub password: Option<String>,
    /// A file of authorities for TLS, instead of the system's.
    pub authority: Option<PathBuf>,
}

impl fmt::Debug for PostgreSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("PostgreSql").finish_non_exhaustive()
    }
}

impl PostgreSql {
    /// The address as it is used; and as it may be shown.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    pub fn address(&self) -> Result<(Url, String), String> {
        let wrong = || "write an address such as \"postgresql://interchange@db.example/interchange\"".to_owned();
        let mut url: Url = self.url.parse().map_err(|_| wrong())?;
        let named = url.path().trim_matches('/').len();
        if !matches!(url.scheme(), "postgresql" | "postgres") || named == 0 {
            return Err(wrong());
        }
        let has = |url: &Url, key: &str| url.query_pairs().any(|(name, _)| name == key);
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let here = host.is_empty() || host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        // A path is a socket of this machine.
        let here = here || has(&url, "host");
        if !here && !has(&url, "sslmode") {
            url.query_pairs_mut().append_pair("sslmode", "verify-full");
        }
        if let Some(authority) = &self.authority {
            let authority = authority.to_str().ok_or("the name of the authority's file is not UTF-8")?;
            url.query_pairs_mut().append_pair("sslrootcert", authority);
        }
        if let Some(password) = &self.password {
            url.set_password(Some(password)).map_err(|()| wrong())?;
        }
        let mut shown = url.clone();
        let _ = shown.set_password(None);
        shown.set_query(None);
        Ok((url, shown.to_string()))
    }
}

/// An open database of what is registered.
#[derive(Debug)]
pub(super) struct Registered {
    pool: AnyPool,
    kind: Kind,
    /// For people.
    pub(super) shown: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    PostgreSql,
}

impl Registered {
    /// Of a `hub.db` whose tables are there.
    pub(super) async fn embedded(path: &Path) -> Result<Self, sqlx::Error> {
        let name = path.to_str().ok_or_else(|| sqlx::Error::Configuration("the data directory's name is not UTF-8".into()))?;
        let url = format!("sqlite://{}", escaped(name));
        let pool = connect(&url, 2, |connection| {
            Box::pin(async move {
                connection.execute("PRAGMA busy_timeout = 5000").await?;
                connection.execute("PRAGMA synchronous = FULL").await?;
                Ok(())
            })
        });
        Ok(Self { pool: pool.await?, kind: Kind::Sqlite, shown: path.to_owned() })
    }

    /// Makes or brings up to date the tables.
    pub(super) async fn postgresql(database: &PostgreSql) -> Result<Self, StoreError> {
        let (url, shown) =
            database.address().map_err(|why| StoreError::Database { path: PathBuf::from("PostgreSQL"), source: why.into() })?;
        let opened = async {
            let pool = connect(url.as_str(), CONNECTIONS, |connection| {
                Box::pin(async move {
                    // A transaction that a node left open, alive or not, holds nobody up for long.
                    connection.execute("SET statement_timeout = '8s'").await?;
                    connection.execute("SET lock_timeout = '8s'").await?;
                    connection.execute("SET idle_in_transaction_session_timeout = '15s'").await?;
                    Ok(())
                })
            });
            let pool = pool.await.map_err(MigrateError::Execute)?;
            VERSIONS.run(&pool).await?;
            Ok(pool)
        };
        let opened =
            timeout(PATIENCE * 3, opened).await.unwrap_or_else(|_| Err(MigrateError::Execute(sqlx::Error::PoolTimedOut)));
        let shown = PathBuf::from(shown);
        let pool = opened.map_err(|error| unmigrated(&shown, error))?;
        Ok(Self { pool, kind: Kind::PostgreSql, shown })
    }

    pub(super) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Any>, sqlx::Error> {
        self.pool.acquire().await
    }

    /// Begins a change: what is read in it is what is changed, whatever other nodes do meanwhile. And the version.
    pub(super) async fn begin<'a>(&self, connection: &'a mut AnyConnection) -> Result<(Transaction<'a, Any>, u64), sqlx::Error> {
        let (begin, read) = match self.kind {
            Kind::Sqlite => ("BEGIN IMMEDIATE", "SELECT version FROM version"),
            // The one row is the lock. What is read after it was committed before it (READ COMMITTED).
            Kind::PostgreSql => ("BEGIN", "SELECT version FROM version FOR UPDATE"),
        };
        let mut transaction = connection.begin_with(begin).await?;
        if self.kind == Kind::PostgreSql {
            // A change that is answered is on disk, whatever the server's default is.
            transaction.execute("SET LOCAL synchronous_commit = on").await?;
        }
        let row = sqlx::query(read).fetch_one(&mut *transaction).await?;
        Ok((transaction, row.try_get::<i64, _>(0)?.unsigned_abs()))
    }

    /// Begins to read: everything in it is of one moment.
    pub(super) async fn snapshot<'a>(&self, connection: &'a mut AnyConnection) -> Result<Transaction<'a, Any>, sqlx::Error> {
        match self.kind {
            Kind::Sqlite => connection.begin().await,
            Kind::PostgreSql => connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await,
        }
    }
}

type AfterConnect =
    for<'c> fn(&'c mut AnyConnection) -> std::pin::Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'c>>;

async fn connect(url: &str, connections: u32, after: AfterConnect) -> Result<AnyPool, sqlx::Error> {
    sqlx::any::install_default_drivers();
    let options: AnyConnectOptions = url.parse()?;
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRED_WITHIN)
        .after_connect(move |connection, _| after(connection));
    pool.connect_with(options).await
}

/// A path in an address (RFC 3986 §2.1).
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> PostgreSql {
        PostgreSql { url: url.to_owned(), password: Some("p@ss/word".to_owned()), authority: None }
    }

    #[test]
    fn a_password_is_used_and_not_shown_and_strangers_must_prove_themselves() {
        let (url, shown) = of("postgresql://hub@db.example:5433/interchange").address().unwrap();
        assert_eq!(url.as_str(), "postgresql://hub:p%40ss%2Fword@db.example:5433/interchange?sslmode=verify-full");
        assert_eq!(shown, "postgresql://hub@db.example:5433/interchange");
        for here in ["postgresql://hub@localhost/x", "postgresql://hub@[::1]/x", "postgresql://hub@127.0.0.1/x"] {
            assert!(!of(here).address().unwrap().0.as_str().contains("sslmode"), "{here}");
        }
        let chosen = of("postgresql://hub@db.example/x?sslmode=require").address().unwrap().0;
        assert!(chosen.as_str().ends_with("?sslmode=require"), "{chosen}");
        for wrong in ["mysql://db/x", "postgresql://db.example", "postgresql://db.example/", "interchange", ""] {
            assert!(of(wrong).address().is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", of("postgresql://u:secret@db/x")).contains("secret"));
        assert_eq!(escaped("/var/lib/a b?c#d%é"), "/var/lib/a%20b%3Fc%23d%25%C3%A9");
    }
}
