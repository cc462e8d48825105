//! A folder to work in: for one at a time, and without what somebody who was killed left in it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::BackupError;

/// A folder that goes away with all in it when this is dropped.
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";

impl Scratch {
    /// Makes the folder, or takes over one that was left behind, with what is in it.
    pub fn take(path: &Path) -> Result<Self, BackupError> {
        let failed = |error| BackupError::Work(path.to_owned(), error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        // In a folder that others may write to, the name may lead to theirs.
        let folder = path.symlink_metadata().map_err(failed)?;
        if !folder.is_dir() || folder.uid() != rustix::process::geteuid().as_raw() {
            return Err(failed(io::Error::other("it is somebody else's")));
        }
        let lock = File::create(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(BackupError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes all that lies in it.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if entry.file_name() != LOCK {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// For `map_err`: what failed, failed here.
    pub fn failed(&self) -> impl Fn(io::Error) -> BackupError {
        let path = self.path.clone();
        move |error| BackupError::Work(path.clone(), error)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next one to work here removes what stays.
        let _ = fs::remove_dir_all(&self.path);
    }
}
