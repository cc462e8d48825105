//! Restoring: all of a backup is unpacked and proved in a folder of its own before anything of it is
//! put in its place.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::archive::{Member, unpack};
use super::scratch::Scratch;
use super::{BackupError, Manifest};
use crate::config::{Config, Home};
use crate::git::Repositories;
use crate::store::Store;

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// Where.
    pub home: PathBuf,
    /// Of which backup.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// What was not in the backup, or needs a hand, for people.
    pub missing: Vec<String>,
}

/// What a restore puts in place, the database last: with it there is a home.
const PIECES: [&str; 4] = ["config.toml", "secret.key", "repos", "caddy/data"];
/// Says, while it exists, that pieces in the home folder are those of a restore that was cut off.
const PLACING: &str = "placing";

/// Makes sure that a restore into `home` overwrites nothing. Changes nothing.
///
/// # Errors
/// [`BackupError::Used`] and [`BackupError::NotOwner`].
pub fn check_unused(home: &Home) -> Result<(), BackupError> {
    let path = home.path();
    match path.metadata() {
        Ok(folder) if folder.uid() != rustix::process::geteuid().as_raw() => {
            return Err(BackupError::NotOwner(path.to_owned(), folder.uid()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::Read(path.to_owned(), error)),
    }
    let mut found = vec!["windlass.db", "windlass.db-wal", "windlass.db-shm"];
    if !home.restoring().join(PLACING).exists() {
        found.extend(PIECES);
    }
    // An empty folder is in nobody's way.
    let empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    found.retain(|name| path.join(name).symlink_metadata().is_ok() && !empty(&path.join(name)));
    if found.is_empty() {
        return Ok(());
    }
    Err(BackupError::Used {
        home: path.to_owned(),
        found: found.join(", "),
    })
}

/// Restores what a backup holds into `home`, or changes nothing. `stop` counts until it is proved.
pub async fn restore(
    home: &Home,
    backup: impl Read,
    stop: &CancellationToken,
) -> Result<Restored, BackupError> {
    check_unused(home)?;
    let failed = |error| BackupError::Work(home.path().to_owned(), error);
    let fresh = !home.path().exists();
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(home.path())
        .map_err(failed)?;
    let restored = prove_and_place(home, backup, stop).await;
    if fresh && restored.is_err() {
        // It is empty.
        let _ = fs::remove_dir(home.path());
    }
    restored
}

async fn prove_and_place(
    home: &Home,
    backup: impl Read,
    stop: &CancellationToken,
) -> Result<Restored, BackupError> {
    let staging = Scratch::take(&home.restoring())?;
    // Only now nobody else restores here.
    check_unused(home)?;
    take_back(home, &staging).map_err(staging.failed())?;
    let unpacked = unpack(
        &mut Stoppable {
            inner: backup,
            stop,
        },
        staging.path(),
    );
    let manifest = unpacked.map_err(|error| {
        if stop.is_cancelled() {
            BackupError::Stopped
        } else {
            error
        }
    })?;
    let proved = stop
        .run_until_cancelled(prove(staging.path(), &manifest))
        .await;
    let mut missing = proved.ok_or(BackupError::Stopped)??;
    if let Err(error) = place(home, &staging) {
        let _ = take_back(home, &staging);
        return Err(staging.failed()(error));
    }
    if let Err(error) = Config::read(home) {
        missing.push(format!(
            "config.toml has to be mended before the server starts: {error}"
        ));
    }
    Ok(Restored {
        home: home.path().to_owned(),
        manifest,
        missing,
    })
}

/// Checks the database and makes the repositories; tells what is not there.
async fn prove(folder: &Path, manifest: &Manifest) -> Result<Vec<String>, BackupError> {
    let mut missing = Vec::new();
    Store::contents(&Member::Database.below(folder))
        .await
        .map_err(BackupError::Database)?;
    if !Member::Key.below(folder).exists() {
        missing.push("secret.key was not in the backup: no environment variable opens".into());
    }
    let staged = Home::new(folder).map_err(|error| BackupError::Read(folder.to_owned(), error))?;
    // One that is broken keeps nobody from the rest.
    let config = Config::read(&staged).unwrap_or_default();
    let git = Repositories::new(staged.repos(), &config.deploy_branch, config.git.max_push.0);
    for app in &manifest.apps {
        let bundle = Member::Bundle(app.name.clone()).below(folder);
        let failed = |error| BackupError::Repository(app.name.clone(), error);
        if bundle.exists() {
            git.unbundle(&app.name, &bundle).await.map_err(failed)?;
            fs::remove_file(&bundle).map_err(|error| BackupError::Work(bundle, error))?;
        } else {
            git.create(&app.name).await.map_err(failed)?;
        }
        if let Some(live) = &app.live
            && git.resolve(&app.name, live.as_str()).await.is_err()
        {
            let short = live.short();
            let name = &app.name;
            missing.push(format!(
                "{short}, which was live of {name}, was not in the backup: push it again"
            ));
        }
    }
    Ok(missing)
}

/// Takes back what a restore that was cut off had put in place. It had found nothing there.
fn take_back(home: &Home, staging: &Scratch) -> io::Result<()> {
    if staging.path().join(PLACING).exists() {
        for piece in PIECES.map(|piece| home.path().join(piece)) {
            match piece.symlink_metadata() {
                Ok(found) if found.is_dir() => fs::remove_dir_all(piece)?,
                Ok(_) => fs::remove_file(piece)?,
                Err(_) => {}
            }
        }
    }
    staging.clear()
}

/// Moves everything to its place. The database comes last, and never over another.
fn place(home: &Home, staging: &Scratch) -> io::Result<()> {
    File::create(staging.path().join(PLACING))?;
    let folder = File::open(home.path())?;
    rustix::fs::syncfs(&folder)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(home.caddy())?;
    for piece in PIECES
        .into_iter()
        .filter(|piece| staging.path().join(piece).exists())
    {
        fs::rename(staging.path().join(piece), home.path().join(piece))?;
    }
    rustix::fs::syncfs(&folder)?;
    fs::hard_link(Member::Database.below(staging.path()), home.database())?;
    Ok(rustix::fs::syncfs(&folder)?)
}

/// A reader that ends when it shall.
struct Stoppable<'a, R> {
    inner: R,
    stop: &'a CancellationToken,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        self.inner.read(buffer)
    }
}
