//! The file that a backup is written to: in its place only once it is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::BackupError;

/// A file beside the one meant, which takes its place in the end or goes when dropped.
pub struct Target {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    replace: bool,
    kept: bool,
}

impl Target {
    /// Begins to write `path`.
    ///
    /// # Errors
    /// [`BackupError::Exists`], unless it may be replaced; [`BackupError::Busy`] while somebody else
    /// writes it.
    pub fn new(path: &Path, replace: bool) -> Result<Self, BackupError> {
        if path.exists() && !replace {
            return Err(BackupError::Exists(path.to_owned()));
        }
        let mut partial = OsString::from(path);
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = begin(&partial)?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file,
            replace,
            kept: false,
        })
    }

    /// What to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Puts what was written in its place, on the disk for good.
    pub fn keep(mut self) -> Result<(), BackupError> {
        self.file.sync_all().map_err(BackupError::Write)?;
        if self.path.exists() && !self.replace {
            return Err(BackupError::Exists(self.path.clone()));
        }
        fs::rename(&self.partial, &self.path).map_err(BackupError::Write)?;
        self.kept = true;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let synced =
            File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        synced.map_err(BackupError::Write)
    }
}

/// Makes the file, for its owner only. One that a killed backup left is removed first.
fn begin(partial: &Path) -> Result<File, BackupError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = match options.open(partial) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Whoever still writes it holds its lock.
            lock(&File::open(partial).map_err(BackupError::Write)?, partial)?;
            fs::remove_file(partial).map_err(BackupError::Write)?;
            options.open(partial)
        }
        opened => opened,
    };
    let file = file.map_err(BackupError::Write)?;
    lock(&file, partial)?;
    Ok(file)
}

fn lock(file: &File, partial: &Path) -> Result<(), BackupError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => BackupError::Busy(partial.to_owned()),
        TryLockError::Error(error) => BackupError::Write(error),
    })
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.partial);
        }
    }
}
