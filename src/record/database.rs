//! The connection to Postgres, and whether its schema is the one this binary knows.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};

use super::Error;

/// How long a caller waits for a connection before the database counts as away.
const ACQUIRE: Duration = Duration::from_secs(10);

/// Connections of one process; a job holds one only while it commits.
pub const CONNECTIONS: u32 = 16;

/// Opens a pool, and proves with one connection that the database answers.
pub async fn connect(url: &str) -> Result<PgPool, Error> {
    let options: PgConnectOptions = url.parse().map_err(Error::Address)?;
    let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or_default());
    let unreachable = |source| Error::Unreachable { place: place.clone(), source };
    // One connection first: the pool would try again and again, and tell only that time ran out.
    let first = tokio::time::timeout(ACQUIRE, options.connect()).await.map_err(|_| unreachable(sqlx::Error::PoolTimedOut))?;
    first.map_err(unreachable)?.close().await?;
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        // Short statements, whose plans may look dear: compiling them takes a second.
        .connect_with(options.application_name("telekeep").options([("jit", "off")]))
        .await
        .map_err(|source| Error::Unreachable { place, source })
}

/// Connections of the HTTP side; a request holds one only while it reads.
pub const READERS: u32 = 12;
/// How long a request waits for one of them: whoever asks is told that the database is away, and asks again.
const READER_WAITS: Duration = Duration::from_secs(3);
/// The longest statement of a request, in milliseconds.
const STATEMENT: &str = "15000";

/// A pool for requests of people: apart from that of the work, with time limits that suit them. Opens nothing yet.
pub fn for_requests(url: &str) -> Result<PgPool, Error> {
    let options: PgConnectOptions = url.parse().map_err(Error::Address)?;
    Ok(for_requests_to(options))
}

/// See [`for_requests`].
pub fn for_requests_to(options: PgConnectOptions) -> PgPool {
    // Short statements, compiled by nobody.
    let options = options.application_name("telekeep http").options([("statement_timeout", STATEMENT), ("jit", "off")]);
    PgPoolOptions::new().max_connections(READERS).acquire_timeout(READER_WAITS).connect_lazy_with(options)
}

/// What the database's migrations are, seen from this binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaState {
    Current,
    /// These migrations have yet to run.
    Old {
        missing: Vec<i64>,
    },
    /// The database has a migration that this binary does not know.
    Newer {
        version: i64,
    },
    /// A migration was begun and failed.
    Dirty {
        version: i64,
    },
    /// A migration ran with another text than this binary's.
    Changed {
        version: i64,
    },
}

impl SchemaState {
    pub fn is_current(&self) -> bool {
        *self == Self::Current
    }
}

impl std::fmt::Display for SchemaState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Current => write!(f, "the schema is current"),
            Self::Old { missing } => {
                write!(f, "the schema is older than this binary ({} migrations to run): run `telekeep migrate`", missing.len())
            }
            Self::Newer { version } => {
                write!(f, "the schema is newer than this binary (migration {version} is unknown to it): install the newer telekeep")
            }
            Self::Dirty { version } => {
                write!(f, "migration {version} began and did not finish: mend the database, then run `telekeep migrate`")
            }
            Self::Changed { version } => {
                write!(
                    f,
                    "migration {version} ran with another text than this binary has: install the telekeep that made this schema"
                )
            }
        }
    }
}

/// Compares the migrations that ran with those of this binary.
pub async fn schema_state(pool: &PgPool, migrator: &Migrator) -> Result<SchemaState, Error> {
    let known: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(pool).await?;
    let applied: Vec<(i64, bool, Vec<u8>)> = if known {
        sqlx::query_as("select version, success, checksum from _sqlx_migrations order by version").fetch_all(pool).await?
    } else {
        Vec::new()
    };
    for (version, success, checksum) in &applied {
        if !success {
            return Ok(SchemaState::Dirty { version: *version });
        }
        match migrator.iter().find(|migration| migration.version == *version) {
            None => return Ok(SchemaState::Newer { version: *version }),
            Some(migration) if *migration.checksum != *checksum.as_slice() => {
                return Ok(SchemaState::Changed { version: *version });
            }
            Some(_) => {}
        }
    }
    let missing: Vec<i64> = migrator
        .iter()
        .map(|migration| migration.version)
        .filter(|version| !applied.iter().any(|(done, _, _)| done == version))
        .collect();
    Ok(if missing.is_empty() { SchemaState::Current } else { SchemaState::Old { missing } })
}

/// The server, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As 150004 for 15.4.
    pub version: i32,
    pub encoding: String,
    pub max_connections: i64,
    pub reserved_connections: i64,
    /// It is no standby, and transactions may write.
    pub writable: bool,
    /// Settings that matter, with their values.
    pub settings: Vec<(String, String)>,
}

/// Asks the server for its version and settings.
pub async fn server(pool: &PgPool) -> Result<Server, Error> {
    let (version, encoding, max, reserved, writable): (i32, String, i64, i64, bool) = sqlx::query_as(
        "select current_setting('server_version_num')::int, current_setting('server_encoding'),
                current_setting('max_connections')::bigint, current_setting('superuser_reserved_connections')::bigint,
                not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'",
    )
    .fetch_one(pool)
    .await?;
    let settings = sqlx::query_as(
        "select name, setting from pg_settings
         where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum') order by name",
    )
    .fetch_all(pool)
    .await?;
    Ok(Server { version, encoding, max_connections: max, reserved_connections: reserved, writable, settings })
}

/// What tells this record from another one: as old as its first migration, and kept by a restored copy of it.
pub async fn identity(pool: &PgPool) -> Result<String, Error> {
    Ok(sqlx::query_scalar("select current_database() || ' ' || extract(epoch from min(installed_on))::text from _sqlx_migrations")
        .fetch_one(pool)
        .await?)
}
