//! A copy of the database while it is in use, and what a copy holds.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::{Store, StoreError, schema};
use crate::domain::{AppName, CommitId};

/// What a database holds, as told without bringing it up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its schema.
    pub schema: i64,
    /// The installation's mark; `None` if its server never started.
    pub instance: Option<String>,
    /// Every app, by name, with the commit that is live.
    pub apps: Vec<(AppName, Option<CommitId>)>,
}

impl Store {
    /// Writes a consistent copy of the database at `path`, in use or not, to `copy`, which must not
    /// exist yet. Neither a server nor its key is needed, and `path` is not changed.
    pub async fn snapshot(path: &Path, copy: &Path) -> Result<(), StoreError> {
        snapshot(path, copy).await
    }

    /// What the database at `path` holds, once it has proved sound.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Damaged`].
    pub async fn contents(path: &Path) -> Result<Contents, StoreError> {
        let schema = schema::examine(path).await?;
        let mut database = read_only(path).await?;
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&mut database)
            .await?;
        if sound != "ok" || schema == 0 {
            return Err(StoreError::Damaged(sound));
        }
        let instance = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'instance'")
            .fetch_optional(&mut database)
            .await?;
        let apps: Vec<(String, Option<String>)> = sqlx::query_as(
            "SELECT name, (SELECT commit_id FROM deploys WHERE app_id = apps.id AND status = 'live') \
             FROM apps ORDER BY name",
        )
        .fetch_all(&mut database)
        .await?;
        database.close().await?;
        let app = |(name, live): (String, Option<String>)| {
            let name = name
                .parse()
                .map_err(|_| StoreError::Unreadable("apps.name"))?;
            let live = live.map(|id| id.parse()).transpose();
            Ok((
                name,
                live.map_err(|_| StoreError::Unreadable("deploys.commit_id"))?,
            ))
        };
        Ok(Contents {
            schema,
            instance,
            apps: apps
                .into_iter()
                .map(app)
                .collect::<Result<_, StoreError>>()?,
        })
    }
}

pub(super) async fn snapshot(path: &Path, copy: &Path) -> Result<(), StoreError> {
    let mut database = read_only(path).await?;
    let copy = copy
        .to_str()
        .ok_or(StoreError::Unreadable("the copy's path"))?;
    sqlx::query("VACUUM INTO ?")
        .bind(copy)
        .execute(&mut database)
        .await?;
    Ok(database.close().await?)
}

/// A connection that reads beside a server and changes nothing.
pub(super) async fn read_only(path: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    Ok(options
        .busy_timeout(Duration::from_secs(5))
        .connect()
        .await?)
}
