//! What Windlass remembers: one SQLite database under the home folder, one file here per noun.
//!
//! One connection writes and a few read, so a writer never meets another writer of this process;
//! every writing transaction begins as one (`BEGIN IMMEDIATE`), because SQLite refuses at once to
//! upgrade a reading transaction that another process has overtaken.
//!
//! A bare `LIMIT ?`, or a bare `?` beside a column that a partial index is for, lets SQLite plan a
//! statement anew whenever another value is bound (`sqlite3VdbeSetVarmask`); `? + 0` and `+?` do not.

mod allowances;
mod apps;
mod audit;
mod changes;
mod deploys;
mod env;
mod keys;
mod migrations;
mod overview;
mod pool;
mod releases;
mod retention;
mod schema;
mod seal;
mod sessions;
mod snapshot;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};
use thiserror::Error;

pub use apps::{AppRow, SecretName};
pub use deploys::NewDeploy;
pub use keys::NewToken;
pub use releases::ReleaseLine;
pub use seal::{SealError, Sealer};
pub use sessions::NewSession;
pub use snapshot::Contents;
pub use users::Proof;

use pool::Pool;

use crate::domain::deploy::InvalidTransition;
use crate::domain::{AppName, DeployId, DomainName, UserName};

/// Why the store did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No app of that name.
    #[error("there is no app named {0}")]
    NoApp(AppName),
    /// The name is in use.
    #[error("an app named {0} exists already")]
    AppExists(AppName),
    /// One domain leads to one app.
    #[error("the domain {domain} belongs to the app {app}")]
    DomainTaken {
        /// The domain asked for.
        domain: DomainName,
        /// Who has it.
        app: AppName,
    },
    /// No deploy of that number.
    #[error("there is no deploy {0}")]
    NoDeploy(DeployId),
    /// No user of that name.
    #[error("there is no user named {0}")]
    NoUser(UserName),
    /// The name is in use.
    #[error("a user named {0} exists already")]
    UserExists(UserName),
    /// Somebody has to be able to mend things.
    #[error(
        "that is the last administrator; make another user one first: windlass user role NAME admin"
    )]
    LastAdmin,
    /// A key says whose push it is.
    #[error("the key {fingerprint} is {owner}'s already; a key belongs to one user")]
    KeyTaken {
        /// Which key.
        fingerprint: String,
        /// Who has it.
        owner: String,
    },
    /// A status change that makes no sense.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    /// A stored value that this version cannot read.
    #[error("the database holds something unreadable in {0}")]
    Unreadable(&'static str),
    /// A secret could not be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A newer Windlass wrote it.
    #[error(
        "the database {path} was written by a newer Windlass: its schema is {schema}, and this one, {version}, knows them up to {known}. Nothing was changed. Install the newer version again; or go back by the copy windlass.db.before-{schema:04} beside it, or by a backup: see \"Upgrades\" in docs/operations.md",
        version = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        schema: i64,
        /// The newest schema of this Windlass.
        known: i64,
    },
    /// The copy that an upgrade begins with.
    #[error(
        "before its schema is changed the database is copied to {0}, and that failed: {1}. Nothing was changed"
    )]
    Copy(PathBuf, std::io::Error),
    /// SQLite's own check.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// A schema step failed.
    #[error("the database cannot be brought to this version: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// SQLite itself.
    #[error("{}", explain(.0))]
    Database(#[from] sqlx::Error),
}

/// Whether a connection can be used again. When the disk is full or fails, SQLite ends a transaction
/// by itself; sqlx then counts it as open for ever, and begins no other on that connection.
async fn usable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // What a transaction left to do when it was dropped is done then.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// SQLite's errors in words that say what to look at.
fn explain(error: &sqlx::Error) -> String {
    const LOCKED: &str = "the database is held by another process for too long; see which: fuser -v windlass.db in the home folder";
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok());
    // The low byte is the error's kind.
    match (code.map(|code| code & 0xff), error) {
        (Some(5 | 6), _) | (_, sqlx::Error::PoolTimedOut) => LOCKED.into(),
        (Some(8), _) => "the database cannot be written: its file system is read-only".into(),
        (Some(10 | 14), _) => "the database's file cannot be opened, read or written (I/O error): see the kernel's messages (dmesg) for its disk".into(),
        (Some(13), _) => "the database cannot be written: the disk is full".into(),
        _ => format!("the database failed: {error}"),
    }
}

/// How the database is opened.
#[derive(Debug)]
struct Tuning {
    synchronous: SqliteSynchronous,
    readers: u32,
    #[cfg(any(test, feature = "testing"))]
    chaos: Option<crate::chaos::Chaos>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            // What was acknowledged outlives a power cut.
            synchronous: SqliteSynchronous::Full,
            readers: 3,
            #[cfg(any(test, feature = "testing"))]
            chaos: None,
        }
    }
}

impl Tuning {
    /// Whether the connection that reads is opened at once: a simulation's clock is held meanwhile.
    fn eager(&self) -> bool {
        #[cfg(any(test, feature = "testing"))]
        return self.chaos.is_some();
        #[cfg(not(any(test, feature = "testing")))]
        false
    }

    /// A simulation's pool is watched.
    fn watch(&self, pool: SqlitePoolOptions) -> SqlitePoolOptions {
        #[cfg(any(test, feature = "testing"))]
        if self.chaos.is_some() {
            return simulated(pool);
        }
        pool
    }
}

/// Holds a simulation's clock while a connection is in use, as by a transaction.
#[cfg(any(test, feature = "testing"))]
fn simulated(pool: SqlitePoolOptions) -> SqlitePoolOptions {
    let pool = pool
        .idle_timeout(None)
        .max_lifetime(None)
        .before_acquire(|_, _| {
            crate::clock::take();
            Box::pin(std::future::ready(Ok(true)))
        });
    pool.after_release(|connection, _| {
        Box::pin(async move {
            let usable = usable(connection).await;
            crate::clock::let_go();
            usable
        })
    })
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Pool,
    reader: Pool,
    sealer: Sealer,
}

impl Store {
    /// Opens or creates the database at `path` and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, and [`StoreError::Newer`] before anything is changed.
    pub async fn open(path: &Path, sealer: Sealer) -> Result<Self, StoreError> {
        Self::open_with(path, sealer, &Tuning::default()).await
    }

    /// Opens a database for a simulation: it does not wait for the disk, it reads by one connection that
    /// stays open, and each use of one is a step of the server's and holds the clock.
    #[cfg(any(test, feature = "testing"))]
    pub async fn open_simulated(
        path: &Path,
        sealer: Sealer,
        chaos: crate::chaos::Chaos,
    ) -> Result<Self, StoreError> {
        let _held = crate::clock::Held::new();
        let tuning = Tuning {
            synchronous: SqliteSynchronous::Off,
            readers: 1,
            chaos: Some(chaos),
        };
        Self::open_with(path, sealer, &tuning).await
    }

    /// Closes all connections, and with them the database's files.
    #[cfg(any(test, feature = "testing"))]
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn open_with(path: &Path, sealer: Sealer, tuning: &Tuning) -> Result<Self, StoreError> {
        let schema = schema::examine(path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(tuning.synchronous)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // The page cache of each connection, in KiB: the server is at home on 1 GB.
            .pragma("cache_size", "-512");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // A file does not go away between two queries as a server may.
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(usable(connection)));
        let writer = tuning.watch(writer).connect_with(options.clone()).await?;
        schema::bring_up(path, schema, &writer).await?;
        let reader = SqlitePoolOptions::new()
            .max_connections(tuning.readers)
            .test_before_acquire(false)
            .idle_timeout(Duration::from_secs(60));
        let reader = tuning.watch(reader);
        let options = options.read_only(true);
        let reader = match tuning.eager() {
            true => reader.connect_with(options).await?,
            false => reader.connect_lazy_with(options),
        };
        let (writer, reader) = (Pool::new(writer), Pool::new(reader));
        #[cfg(any(test, feature = "testing"))]
        if let Some(chaos) = &tuning.chaos {
            return Ok(Self {
                writer: writer.with_chaos(chaos.clone()),
                reader: reader.with_chaos(chaos.clone()),
                sealer,
            });
        }
        Ok(Self {
            writer,
            reader,
            sealer,
        })
    }

    /// This installation's mark on everything it makes on the engine: 6 hex digits, made once.
    pub async fn instance(&self) -> Result<String, StoreError> {
        let fresh = format!("{:06x}", rand::random::<u32>() >> 8);
        sqlx::query("INSERT INTO meta (key, value) VALUES ('instance', ?) ON CONFLICT DO NOTHING")
            .bind(fresh)
            .execute(&self.writer)
            .await?;
        Ok(
            sqlx::query_scalar("SELECT value FROM meta WHERE key = 'instance'")
                .fetch_one(&self.writer)
                .await?,
        )
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin().await?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A database of its own in a folder that goes away with the guard.
    pub(crate) async fn scratch() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&dir.path().join("secret.key")).unwrap();
        let store = Store::open(&dir.path().join("windlass.db"), sealer)
            .await
            .unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn an_error_of_the_database_says_what_to_look_at() {
        let (_dir, store) = scratch().await;
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&store.writer)
            .await
            .unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "PRAGMA max_page_count = {pages}"
        )))
        .execute(&store.writer)
        .await
        .unwrap();
        let large = sqlx::query("INSERT INTO meta VALUES ('large', ?)").bind("x".repeat(100_000));
        let error = large.execute(&store.writer).await.unwrap_err();
        assert_eq!(
            explain(&error),
            "the database cannot be written: the disk is full"
        );
        let read_only = sqlx::query("DELETE FROM meta")
            .execute(&store.reader)
            .await
            .unwrap_err();
        assert!(explain(&read_only).contains("read-only"), "{read_only}");
        assert!(explain(&sqlx::Error::PoolTimedOut).contains("another process"));
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_by_itself_does_not_block_the_next() {
        let (_dir, store) = scratch().await;
        let mut tx = store.begin().await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut *tx).await.unwrap();
        assert!(tx.commit().await.is_err());
        let tx = store.begin().await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn the_instance_is_made_once() {
        let (_dir, store) = scratch().await;
        let first = store.instance().await.unwrap();
        assert_eq!(first.len(), 6);
        assert_eq!(store.instance().await.unwrap(), first);
    }
}
