//! The schema: a database that a newer Windlass wrote is refused before anything is touched, and one
//! of an older schema is copied before it is brought up to date.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use sqlx::{Connection, SqlitePool};
use tracing::info;

use super::snapshot::{read_only, snapshot};
use super::{Store, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

impl Store {
    /// The newest schema that this Windlass knows.
    pub fn newest_schema() -> i64 {
        MIGRATIONS
            .iter()
            .map(|step| step.version)
            .max()
            .unwrap_or(0)
    }
}

/// The schema of the database at `path`; 0 while there is none. Changes nothing.
///
/// # Errors
/// [`StoreError::Newer`].
pub(super) async fn examine(path: &Path) -> Result<i64, StoreError> {
    if !path.metadata().is_ok_and(|file| file.len() > 0) {
        return Ok(0);
    }
    let mut database = read_only(path).await?;
    let began = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";
    let mut schema = 0;
    if sqlx::query_scalar(began).fetch_one(&mut database).await? {
        let newest =
            sqlx::query_scalar::<_, Option<i64>>("SELECT max(version) FROM _sqlx_migrations");
        schema = newest.fetch_one(&mut database).await?.unwrap_or(0);
    }
    database.close().await?;
    let known = Store::newest_schema();
    if schema > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            schema,
            known,
        });
    }
    Ok(schema)
}

/// Brings the database at `path`, whose schema is `from`, up to date.
pub(super) async fn bring_up(
    path: &Path,
    from: i64,
    writer: &SqlitePool,
) -> Result<(), StoreError> {
    let to = Store::newest_schema();
    if 0 < from && from < to {
        keep_before(path, from, to).await?;
        info!(
            from,
            to, "bringing the database's schema from {from} to {to}"
        );
    }
    Ok(MIGRATIONS.run(writer).await?)
}

/// Keeps a copy of a database of the schema `from` before it becomes `to`, and no older copies.
async fn keep_before(path: &Path, from: i64, to: i64) -> Result<(), StoreError> {
    let copy = beside(path, &format!(".before-{to:04}"));
    // An upgrade that broke off half way has its copy already, and that one is the way back.
    if examine(&copy)
        .await
        .is_ok_and(|schema| 0 < schema && schema < from)
    {
        return Ok(());
    }
    let failed = |error| StoreError::Copy(copy.clone(), error);
    let unfinished = beside(path, ".before.partial");
    remove(&unfinished).map_err(failed)?;
    snapshot(path, &unfinished).await?;
    File::open(&unfinished)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    fs::rename(&unfinished, &copy).map_err(failed)?;
    for older in copies(path)
        .map_err(failed)?
        .into_iter()
        .filter(|other| *other != copy)
    {
        remove(&older).map_err(failed)?;
    }
    Ok(())
}

/// `windlass.db` with something behind its name.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// The copies kept by upgrades so far.
fn copies(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let prefix = beside(path, ".before-");
    let folder = path.parent().unwrap_or(Path::new("."));
    let paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let ours = |path: &PathBuf| {
        path.as_os_str()
            .as_encoded_bytes()
            .starts_with(prefix.as_os_str().as_encoded_bytes())
    };
    Ok(paths.into_iter().filter(ours).collect())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
