//! Backup and restore: all of an installation that cannot be made again, in one encrypted file.
//!
//! A backup is an age file, and in it a tar: `manifest.json` first, then the database, its key, the
//! configuration, a git bundle per app and Caddy's certificates, and `SHA256SUMS` last. Each of these
//! formats is read by common tools, so a backup can be taken apart without Windlass:
//! `age -d FILE | tar x && sha256sum -c SHA256SUMS`.
//!
//! Both directions work on the home folder itself: a server may run, be stopped or be broken.

mod archive;
mod cipher;
mod create;
mod restore;
mod scratch;
mod target;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use cipher::{Key, Opened, Recipient, Sealed, To};
pub use create::{Made, create};
pub use restore::{Restored, check_unused, restore};
pub use target::Target;

use crate::domain::{AppName, CommitId, Timestamp};
use crate::git::GitError;
use crate::store::{Contents, StoreError};

/// What stands first in a backup and says what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this layout.
    pub format: u32,
    /// The Windlass that made it.
    pub windlass: String,
    /// The database's schema.
    pub schema: i64,
    /// The installation's mark.
    pub instance: Option<String>,
    /// When the database was copied.
    pub made_at: Timestamp,
    /// Every app, by name.
    pub apps: Vec<App>,
}

/// An app in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// The commit that was live.
    pub live: Option<CommitId>,
}

impl Manifest {
    /// The layout that this version writes and reads.
    const FORMAT: u32 = 1;

    fn of(contents: Contents) -> Self {
        Self {
            format: Self::FORMAT,
            windlass: env!("CARGO_PKG_VERSION").into(),
            schema: contents.schema,
            instance: contents.instance,
            made_at: Timestamp::now(),
            apps: contents
                .apps
                .into_iter()
                .map(|(name, live)| App { name, live })
                .collect(),
        }
    }
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// Nothing to back up.
    #[error("there is no database at {0}: is that the home folder? Another one: --home DIR")]
    NoDatabase(PathBuf),
    /// The database, while it was copied.
    #[error(
        "the database cannot be copied: {0}. If the disk is full, let it work elsewhere: --scratch DIR. If the database is damaged: stop the server, and copy the whole home folder by hand"
    )]
    Copy(#[source] StoreError),
    /// The copy of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder in which a backup or a restore works.
    #[error("cannot work in {0}: {1}")]
    Work(PathBuf, io::Error),
    /// One at a time.
    #[error("another backup or restore works in {0}. Wait for its end")]
    Busy(PathBuf),
    /// Something of the home folder, or of what was given.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, io::Error),
    /// The backup itself.
    #[error("the backup cannot be written: {0}")]
    Write(io::Error),
    /// No backup is overwritten by accident.
    #[error("{0} is there already and stays as it is. --force replaces it")]
    Exists(PathBuf),
    /// A signal.
    #[error("stopped; nothing is left behind")]
    Stopped,
    /// Not an age file.
    #[error("this is no backup of Windlass's, or its beginning is damaged")]
    NotABackup,
    /// Encrypted otherwise.
    #[error("it is encrypted to a recipient: give the file with its secret key, --identity FILE")]
    NeedsIdentity,
    /// It does not open.
    #[error("{0} this backup. Nothing was changed")]
    WrongKey(&'static str),
    /// Cut short or changed.
    #[error("the backup is damaged or cut short ({0}). Nothing was changed")]
    Damaged(String),
    /// Of a later version.
    #[error(
        "the backup was made by Windlass {0}, which is newer than this one, {version}. Nothing was changed. Install that version, then restore",
        version = env!("CARGO_PKG_VERSION")
    )]
    Newer(String),
    /// Somebody's home already.
    #[error(
        "{home} is in use: it holds {found}. Nothing was changed. Restore into an empty folder: stop the server and move what is there away, or give another --home"
    )]
    Used {
        /// The home folder.
        home: PathBuf,
        /// What stands in the way.
        found: String,
    },
    /// Files of the wrong owner would be of no use to the server.
    #[error(
        "{0} belongs to the user with the number {1}: restore as that user, as in `sudo -u git windlass restore - < FILE`"
    )]
    NotOwner(PathBuf, u32),
    /// A repository out of the backup.
    #[error("the repository of {0} cannot be restored: {1}")]
    Repository(AppName, GitError),
    /// The database out of the backup.
    #[error("the database in the backup cannot be used: {0}")]
    Database(#[source] StoreError),
}

#[cfg(test)]
mod tests;
