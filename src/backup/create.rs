//! Making a backup, beside a server or without one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::Path;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::archive::{Member, Writer};
use super::scratch::Scratch;
use super::{BackupError, Manifest, To};
use crate::config::{Config, Home};
use crate::domain::AppName;
use crate::git::Repositories;
use crate::store::Store;

/// What a backup that was made has in it.
#[derive(Debug, Serialize)]
pub struct Made {
    /// What stands first in it.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Its size.
    pub bytes: u64,
    /// What should be in it and could not be read, for people.
    pub missing: Vec<String>,
}

/// Writes a backup of `home` to `out`, working in `folder`, until `stop`.
///
/// The database is copied first: pushes may go on, and every commit that it names is in the
/// repositories already. A repository that cannot be read does not keep the rest from being saved.
pub async fn create<W: Write>(
    home: &Home,
    to: &To,
    out: W,
    folder: &Path,
    stop: &CancellationToken,
) -> Result<Made, BackupError> {
    if !home.database().exists() {
        return Err(BackupError::NoDatabase(home.database()));
    }
    let scratch = Scratch::take(folder)?;
    scratch.clear().map_err(scratch.failed())?;
    let copy = scratch.path().join("windlass.db");
    let copied = stop
        .run_until_cancelled(Store::snapshot(&home.database(), &copy))
        .await;
    copied
        .ok_or(BackupError::Stopped)?
        .map_err(BackupError::Copy)?;
    let manifest = Manifest::of(Store::contents(&copy).await?);

    let out = Counted {
        inner: out,
        written: 0,
        stop,
    };
    let mut making = Making {
        archive: Writer::new(to.encrypt(out).map_err(|error| written(error, stop))?),
        scratch,
        home,
        stop,
        missing: Vec::new(),
    };
    making.add_fixed(&manifest, &copy)?;
    for app in &manifest.apps {
        making.add_repository(&app.name).await?;
    }
    making.add_certificates("")?;
    let Making {
        archive, missing, ..
    } = making;
    let finished = archive.finish().and_then(|encrypted| encrypted.finish());
    let mut out = finished.map_err(|error| written(error, stop))?;
    out.flush().map_err(|error| written(error, stop))?;
    Ok(Made {
        manifest,
        bytes: out.written,
        missing,
    })
}

/// A backup being made.
struct Making<'a, W: Write> {
    archive: Writer<W>,
    scratch: Scratch,
    home: &'a Home,
    stop: &'a CancellationToken,
    missing: Vec<String>,
}

impl<W: Write> Making<'_, W> {
    fn add_fixed(&mut self, manifest: &Manifest, database: &Path) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|error| BackupError::Write(error.into()))?;
        self.add_bytes(&Member::Manifest, &text)?;
        self.add_file(
            &Member::Database,
            File::open(database).map_err(self.scratch.failed())?,
        )?;
        fs::remove_file(database).map_err(self.scratch.failed())?;
        for (member, path) in [
            (Member::Key, self.home.key()),
            (Member::Config, self.home.config()),
        ] {
            match fs::read(&path) {
                Ok(bytes) => self.add_bytes(&member, &bytes)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if member == Member::Key {
                        let lost =
                            "secret.key is gone, and without it no environment variable opens";
                        self.missing.push(lost.into());
                    }
                }
                Err(error) => return Err(BackupError::Read(path, error)),
            }
        }
        Ok(())
    }

    /// A tar needs a file's size before it, so a bundle is written down first.
    async fn add_repository(&mut self, app: &AppName) -> Result<(), BackupError> {
        // Its settings do not matter here, and `config.toml` may be what is broken.
        let Config {
            deploy_branch, git, ..
        } = Config::default();
        let git = Repositories::new(self.home.repos(), &deploy_branch, git.max_push.0);
        if !git.path(app).exists() {
            self.missing
                .push(format!("the repository of {app} is gone"));
            return Ok(());
        }
        let path = self.scratch.path().join("bundle");
        let mut options = OpenOptions::new();
        let opened = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let mut bundle = opened.map_err(self.scratch.failed())?;
        let same = bundle.try_clone().map_err(self.scratch.failed())?;
        let done = self.stop.run_until_cancelled(git.bundle(app, same)).await;
        match done.ok_or(BackupError::Stopped)? {
            Ok(false) => Ok(()),
            Ok(true) => {
                bundle.rewind().map_err(self.scratch.failed())?;
                self.add_file(&Member::Bundle(app.clone()), bundle)?;
                fs::remove_file(&path).map_err(self.scratch.failed())
            }
            Err(error) => {
                self.missing
                    .push(format!("the repository of {app} cannot be read: {error}"));
                Ok(())
            }
        }
    }

    /// Caddy's certificates and its account, below `folder` of its data. Caddy runs meanwhile: what
    /// goes away under our hands was not needed any more.
    fn add_certificates(&mut self, folder: &str) -> Result<(), BackupError> {
        let root = self.home.caddy().join("data");
        let entries = match fs::read_dir(root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
        };
        let mut entries = entries.map_err(|error| BackupError::Read(root.join(folder), error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, Ok(name)) = (entry.path(), entry.file_name().into_string()) else {
                continue;
            };
            let below = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            match entry.file_type() {
                // A lock is of a Caddy that runs.
                Ok(kind) if kind.is_dir() && !below.ends_with("/locks") => {
                    self.add_certificates(&below)?
                }
                Ok(kind) if kind.is_file() => match fs::read(&path) {
                    Ok(bytes) => self.add_bytes(&Member::Certificate(below), &bytes)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self
                        .missing
                        .push(format!("{} cannot be read: {error}", path.display())),
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn add_bytes(&mut self, member: &Member, bytes: &[u8]) -> Result<(), BackupError> {
        self.archive
            .bytes(member, bytes)
            .map_err(|error| written(error, self.stop))
    }

    fn add_file(&mut self, member: &Member, file: File) -> Result<(), BackupError> {
        self.archive
            .file(member, file)
            .map_err(|error| written(error, self.stop))
    }
}

/// Why nothing more could be written.
fn written(error: io::Error, stop: &CancellationToken) -> BackupError {
    if stop.is_cancelled() {
        BackupError::Stopped
    } else {
        BackupError::Write(error)
    }
}

/// A writer that counts, and that ends when it shall.
struct Counted<'a, W> {
    inner: W,
    written: u64,
    stop: &'a CancellationToken,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
