//! Deploys and their phases. Every status change reads the status and goes through
//! [`DeployStatus::after`] inside one writing transaction.

use serde::Deserialize;
use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};
use crate::domain::{
    AppName, BuildStep, CommitId, Deploy, DeployEvent, DeployId, DeployStatus, Failure,
    OwnedDeploys, Phase, PhaseStatus, PhaseTiming, Release, Timestamp, Trigger,
};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewDeploy {
    /// For which app.
    pub app: AppName,
    /// What to put live.
    pub commit: CommitId,
    /// First line of its message.
    pub subject: String,
    /// Its author's name.
    pub author: String,
    /// What asked.
    pub trigger: Trigger,
    /// Who asked.
    pub actor: String,
    /// The release that a revert or restart starts from.
    pub source: Option<DeployId>,
}

/// Deploys, newest first, in one row as a JSON array of [`Row`]s: what SQLite reads is handed over row by
/// row from a thread of its own, and for a page of deploys that took longer than reading them.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT json_group_array(json_array(id, name, commit_id, subject, author, trigger, actor, status, \
             queued_at, started_at, finished_at, duration_ms, failure_phase, failure_message, attempts, live_ms, \
             json(phases)) ORDER BY id DESC) FROM (SELECT d.*, a.name, \
             (SELECT json_group_array(json_array(phase, status, started_at, duration_ms) ORDER BY ordinal) \
              FROM phases WHERE deploy_id = d.id) AS phases \
             FROM deploys d JOIN apps a ON a.id = d.app_id ",
            $tail,
            ")"
        )
    };
}

/// A deploy as [`select`] gives it, column by column.
#[derive(Deserialize)]
struct Row {
    id: DeployId,
    app: AppName,
    commit: CommitId,
    subject: String,
    author: String,
    trigger: Trigger,
    actor: String,
    status: DeployStatus,
    queued_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    duration_ms: Option<u64>,
    failure_phase: Option<String>,
    failure_message: Option<String>,
    attempts: u32,
    live_ms: Option<u64>,
    phases: Vec<(Phase, PhaseStatus, i64, Option<u64>)>,
}

impl Store {
    /// Queues a deploy. A push supersedes pushes of the same app that still wait; nothing else is lost
    /// to a newer one.
    ///
    /// Returns the new deploy's id and the superseded ones'.
    pub async fn queue_deploy(
        &self,
        new: &NewDeploy,
    ) -> Result<(DeployId, Vec<DeployId>), StoreError> {
        let app = self.app(&new.app).await?;
        let mut tx = self.begin().await?;
        let waiting: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM deploys WHERE app_id = ?1 AND status = 'queued' AND trigger = ?2 AND ?2 = 'push'",
        )
        .bind(app.id)
        .bind(new.trigger.as_str())
        .fetch_all(&mut *tx)
        .await?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO deploys (app_id, commit_id, subject, author, trigger, actor, status, source_release, queued_at) \
             VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?) RETURNING id",
        )
        .bind(app.id)
        .bind(new.commit.as_str())
        .bind(&new.subject)
        .bind(&new.author)
        .bind(new.trigger.as_str())
        .bind(&new.actor)
        .bind(new.source.map(|id| id.0))
        .bind(Timestamp::now().millis())
        .fetch_one(&mut *tx)
        .await?;
        let superseded: Vec<DeployId> = waiting.into_iter().map(DeployId).collect();
        for old in &superseded {
            supersede(&mut tx, *old, DeployId(id)).await?;
        }
        tx.commit().await?;
        Ok((DeployId(id), superseded))
    }

    /// Changes a deploy's status by `event`, with the reason and the duration where there is one.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when the deploy is not in a status where that can happen.
    pub async fn change_deploy(
        &self,
        id: DeployId,
        event: DeployEvent,
        reason: Option<&Failure>,
        duration_ms: Option<u64>,
    ) -> Result<DeployStatus, StoreError> {
        let mut tx = self.begin().await?;
        let status = change(&mut tx, id, event, reason, duration_ms).await?;
        tx.commit().await?;
        Ok(status)
    }

    /// Puts a deploy that a server left under way back into the queue. A newer push that waits there
    /// supersedes it as any other that waits.
    pub async fn requeue_deploy(&self, id: DeployId) -> Result<DeployStatus, StoreError> {
        let mut tx = self.begin().await?;
        let mut status = change(&mut tx, id, DeployEvent::Requeue, None, None).await?;
        let newer: Option<i64> = sqlx::query_scalar(
            "SELECT min(n.id) FROM deploys d JOIN deploys n ON n.app_id = d.app_id \
             WHERE d.id = ? AND n.id > d.id AND n.status = 'queued' AND d.trigger = 'push' AND n.trigger = 'push'",
        )
        .bind(id.0)
        .fetch_one(&mut *tx)
        .await?;
        if let Some(newer) = newer {
            status = supersede(&mut tx, id, DeployId(newer)).await?;
        }
        tx.commit().await?;
        Ok(status)
    }

    /// Records who asked for a deploy's end, so that a server that starts again knows.
    pub async fn ask_to_cancel(&self, id: DeployId, actor: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE deploys SET cancel_by = coalesce(cancel_by, ?) WHERE id = ?")
            .bind(actor)
            .bind(id.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Who asked for a deploy's end, if anybody did.
    pub async fn asked_to_cancel(&self, id: DeployId) -> Result<Option<String>, StoreError> {
        let by: Option<Option<String>> =
            sqlx::query_scalar("SELECT cancel_by FROM deploys WHERE id = ?")
                .bind(id.0)
                .fetch_optional(&self.reader)
                .await?;
        Ok(by.flatten())
    }

    /// Makes `release` the live one: its deploy goes live and the one before it retires, at once.
    pub async fn go_live(&self, release: &Release) -> Result<Option<DeployId>, StoreError> {
        let sealed_env = self.seal_release_env(release)?;
        let app = self.app(&release.app).await?;
        let mut tx = self.begin().await?;
        let before: Option<i64> =
            sqlx::query_scalar("SELECT id FROM deploys WHERE app_id = ? AND status = 'live'")
                .bind(app.id)
                .fetch_optional(&mut *tx)
                .await?;
        let before = before.map(DeployId);
        if let Some(before) = before {
            change(&mut tx, before, DeployEvent::Retire, None, None).await?;
        }
        change(&mut tx, release.deploy, DeployEvent::GoLive, None, None).await?;
        // By the wall clock; the end of verify, a moment later, writes what was measured.
        sqlx::query("UPDATE deploys SET live_ms = max(0, ? - queued_at) WHERE id = ?")
            .bind(Timestamp::now().millis())
            .bind(release.deploy.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO releases (deploy_id, app_id, commit_id, image, image_kept, manifest, port, sealed_env, created_at) \
             VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?)",
        )
        .bind(release.deploy.0)
        .bind(app.id)
        .bind(release.commit.as_str())
        .bind(&release.image.0)
        .bind(serde_json::to_string(&release.manifest).map_err(|_| StoreError::Unreadable("manifest"))?)
        .bind(release.port)
        .bind(sealed_env)
        .bind(Timestamp::now().millis())
        .execute(&mut *tx)
        .await?;
        for (ordinal, process) in (0_i64..).zip(&release.processes) {
            sqlx::query(
                "INSERT INTO processes (deploy_id, ordinal, name, replicas) VALUES (?, ?, ?, ?)",
            )
            .bind(release.deploy.0)
            .bind(ordinal)
            .bind(process.name.as_str())
            .bind(process.replicas)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(before)
    }

    /// Records that a live deploy's last phase has ended.
    pub async fn finish_deploy(&self, id: DeployId, duration_ms: u64) -> Result<(), StoreError> {
        let (now, mut tx) = (Timestamp::now().millis(), self.begin().await?);
        sqlx::query("UPDATE deploys SET finished_at = ?, duration_ms = ? WHERE id = ?")
            .bind(now)
            .bind(duration_ms as i64)
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        close_phases(&mut *tx, id, now).await?;
        Ok(tx.commit().await?)
    }

    /// Closes the timing row of the phase that verified a live release, and writes how long it took
    /// from its arrival to here: at once, so that whoever is told of the one knows the other.
    pub async fn end_verify(
        &self,
        id: DeployId,
        ordinal: usize,
        duration_ms: u64,
        live_ms: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        end_phase(&mut *tx, id, ordinal, PhaseStatus::Ok, duration_ms).await?;
        sqlx::query("UPDATE deploys SET live_ms = ? WHERE id = ?")
            .bind(live_ms as i64)
            .bind(id.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Opens a phase's timing row.
    pub async fn begin_phase(
        &self,
        id: DeployId,
        ordinal: usize,
        phase: &Phase,
    ) -> Result<(), StoreError> {
        self.begin_phase_at(id, ordinal, phase, Timestamp::now())
            .await
    }

    /// Opens the timing row of a phase that began at `at`.
    pub async fn begin_phase_at(
        &self,
        id: DeployId,
        ordinal: usize,
        phase: &Phase,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.insert_phase(id, ordinal, phase, PhaseStatus::Running, (at, None))
            .await
    }

    /// Records a phase that was not needed.
    pub async fn skip_phase(
        &self,
        id: DeployId,
        ordinal: usize,
        phase: &Phase,
    ) -> Result<(), StoreError> {
        let now = (Timestamp::now(), Some(0));
        self.insert_phase(id, ordinal, phase, PhaseStatus::Skipped, now)
            .await
    }

    async fn insert_phase(
        &self,
        id: DeployId,
        ordinal: usize,
        phase: &Phase,
        status: PhaseStatus,
        (at, duration_ms): (Timestamp, Option<i64>),
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO phases (deploy_id, ordinal, phase, status, started_at, duration_ms) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(id.0)
        .bind(ordinal as i64)
        .bind(phase.to_string())
        .bind(status.as_str())
        .bind(at.millis())
        .bind(duration_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Closes a phase's timing row.
    pub async fn end_phase(
        &self,
        id: DeployId,
        ordinal: usize,
        status: PhaseStatus,
        duration_ms: u64,
    ) -> Result<(), StoreError> {
        Ok(end_phase(&self.writer, id, ordinal, status, duration_ms).await?)
    }

    /// Records the steps of a build, in the order in which they began.
    pub async fn set_steps(
        &self,
        id: DeployId,
        ordinal: usize,
        steps: &[BuildStep],
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE phases SET steps = ? WHERE deploy_id = ? AND ordinal = ?")
            .bind(serde_json::to_string(steps).map_err(|_| StoreError::Unreadable("steps"))?)
            .bind(id.0)
            .bind(ordinal as i64)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// The steps of a deploy's build, with the place of its phase; nothing where it built none, nor for
    /// deploys of versions that did not record them.
    pub async fn steps(&self, id: DeployId) -> Result<Option<(usize, Vec<BuildStep>)>, StoreError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT ordinal, steps FROM phases WHERE deploy_id = ? AND steps IS NOT NULL ORDER BY ordinal DESC LIMIT 1",
        )
        .bind(id.0)
        .fetch_optional(&self.reader)
        .await?;
        let read = |(ordinal, steps): (i64, String)| {
            let steps =
                serde_json::from_str(&steps).map_err(|_| StoreError::Unreadable("phases.steps"))?;
            Ok((ordinal as usize, steps))
        };
        row.map(read).transpose()
    }

    /// The deploy of that number.
    ///
    /// # Errors
    /// [`StoreError::NoDeploy`].
    pub async fn deploy(&self, id: DeployId) -> Result<Deploy, StoreError> {
        let found = sqlx::query_scalar(select!("WHERE d.id = ?"))
            .bind(id.0)
            .fetch_one(&self.reader)
            .await?;
        read(found)?.pop().ok_or(StoreError::NoDeploy(id))
    }

    /// An app's deploys, newest first, those numbered below `before` where given.
    pub async fn deploys(
        &self,
        app: &AppName,
        limit: u32,
        before: Option<DeployId>,
    ) -> Result<Vec<Deploy>, StoreError> {
        let found = sqlx::query_scalar(select!(
            "WHERE d.app_id = (SELECT id FROM apps WHERE name = ?) AND d.id < ? ORDER BY d.id DESC LIMIT ? + 0"
        ))
        .bind(app.as_str())
        .bind(before.map_or(i64::MAX, |id| id.0))
        .bind(limit)
        .fetch_one(&self.reader)
        .await?;
        self.list(app, found).await
    }

    /// The numbers of an app's deploys, newest first, those below `below` where given.
    pub async fn deploy_ids(
        &self,
        app: &AppName,
        limit: u32,
        below: Option<DeployId>,
    ) -> Result<Vec<DeployId>, StoreError> {
        let app = self.app(app).await?;
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM deploys WHERE app_id = ? AND id < ? ORDER BY id DESC LIMIT ? + 0",
        )
        .bind(app.id)
        .bind(below.map_or(i64::MAX, |id| id.0))
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        Ok(ids.into_iter().map(DeployId).collect())
    }

    /// Which of these deploys are the app's: whatever a client names is asked for here first.
    pub async fn owned_deploys(
        &self,
        app: &AppName,
        claimed: &[DeployId],
    ) -> Result<OwnedDeploys, StoreError> {
        let claimed: Vec<i64> = claimed.iter().map(|id| id.0).collect();
        let claimed =
            serde_json::to_string(&claimed).map_err(|_| StoreError::Unreadable("deploys.id"))?;
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM deploys WHERE id IN (SELECT value FROM json_each(?)) \
             AND app_id = (SELECT id FROM apps WHERE name = ?)",
        )
        .bind(claimed)
        .bind(app.as_str())
        .fetch_all(&self.reader)
        .await?;
        Ok(OwnedDeploys::found_by_store(
            ids.into_iter().map(DeployId).collect(),
        ))
    }

    /// An app's deploys of one status, newest first, those numbered below `before` where given.
    pub async fn deploys_that_are(
        &self,
        status: DeployStatus,
        app: &AppName,
        limit: u32,
        before: Option<DeployId>,
    ) -> Result<Vec<Deploy>, StoreError> {
        let found = sqlx::query_scalar(select!(
            "WHERE d.app_id = (SELECT id FROM apps WHERE name = ?) AND d.status = +? AND d.id < ? \
             ORDER BY d.id DESC LIMIT ? + 0"
        ))
        .bind(app.as_str())
        .bind(status.as_str())
        .bind(before.map_or(i64::MAX, |id| id.0))
        .bind(limit)
        .fetch_one(&self.reader)
        .await?;
        self.list(app, found).await
    }

    /// Deploys of an app as they were found. With none, it may be that there is no such app.
    async fn list(&self, app: &AppName, found: String) -> Result<Vec<Deploy>, StoreError> {
        let deploys = read(found)?;
        if deploys.is_empty() {
            self.app(app).await?;
        }
        Ok(deploys)
    }

    /// The deploy whose release serves the app.
    pub async fn live_deploy(&self, app: &AppName) -> Result<Option<Deploy>, StoreError> {
        let found = sqlx::query_scalar(select!("WHERE a.name = ? AND d.status = 'live'"))
            .bind(app.as_str())
            .fetch_one(&self.reader)
            .await?;
        Ok(read(found)?.pop())
    }

    /// An app's deploys that are or were live and have not ended: behind them an old container drains.
    /// Oldest first.
    pub async fn draining_deploys(&self, app: &AppName) -> Result<Vec<Deploy>, StoreError> {
        let found = sqlx::query_scalar(select!(
            "WHERE d.app_id = (SELECT id FROM apps WHERE name = ?) AND d.finished_at IS NULL \
             AND d.status IN ('live', 'retired')"
        ))
        .bind(app.as_str())
        .fetch_one(&self.reader)
        .await?;
        let mut deploys = read(found)?;
        deploys.reverse();
        Ok(deploys)
    }

    /// Deploys queued or running, oldest first; of one app where given.
    pub async fn open_deploys(&self, app: Option<&AppName>) -> Result<Vec<Deploy>, StoreError> {
        let found = sqlx::query_scalar(select!(
            "WHERE d.status IN ('queued', 'running') AND (?1 IS NULL OR a.name = ?1)"
        ))
        .bind(app.map(AppName::as_str))
        .fetch_one(&self.reader)
        .await?;
        let mut deploys = read(found)?;
        deploys.reverse();
        Ok(deploys)
    }

    /// Lets a deploy that means "what is live" mean another one than when it was asked for.
    pub async fn retarget_deploy(&self, id: DeployId, to: &Deploy) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE deploys SET commit_id = ?, subject = ?, author = ?, source_release = ? WHERE id = ?",
        )
        .bind(to.commit.as_str())
        .bind(&to.subject)
        .bind(&to.author)
        .bind(to.id.0)
        .bind(id.0)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The release that a revert, a restart, or a redeploy of what is live starts from.
    pub async fn source_release(&self, id: DeployId) -> Result<Option<DeployId>, StoreError> {
        let source: Option<Option<i64>> =
            sqlx::query_scalar("SELECT source_release FROM deploys WHERE id = ?")
                .bind(id.0)
                .fetch_optional(&self.reader)
                .await?;
        Ok(source.flatten().map(DeployId))
    }
}

async fn supersede(
    tx: &mut Transaction<'static, Sqlite>,
    old: DeployId,
    by: DeployId,
) -> Result<DeployStatus, StoreError> {
    let message = format!("superseded by deploy {by} before it started");
    let reason = Failure {
        phase: "queue".into(),
        message,
    };
    change(tx, old, DeployEvent::Supersede, Some(&reason), None).await
}

async fn change(
    tx: &mut Transaction<'static, Sqlite>,
    id: DeployId,
    event: DeployEvent,
    reason: Option<&Failure>,
    duration_ms: Option<u64>,
) -> Result<DeployStatus, StoreError> {
    let status: Option<String> = sqlx::query_scalar("SELECT status FROM deploys WHERE id = ?")
        .bind(id.0)
        .fetch_optional(&mut **tx)
        .await?;
    let status: DeployStatus = status
        .ok_or(StoreError::NoDeploy(id))?
        .parse()
        .map_err(|_| StoreError::Unreadable("deploys.status"))?;
    let next = status.after(event)?;
    let now = Timestamp::now().millis();
    let ended = !next.is_open() && next != DeployStatus::Live && next != DeployStatus::Retired;
    sqlx::query(
        "UPDATE deploys SET status = ?1, \
         started_at = CASE WHEN ?1 = 'running' THEN coalesce(started_at, ?2) ELSE started_at END, \
         attempts = attempts + (?1 = 'running'), \
         finished_at = CASE WHEN ?3 THEN ?2 ELSE finished_at END, \
         duration_ms = coalesce(?4, duration_ms), \
         failure_phase = coalesce(?5, failure_phase), failure_message = coalesce(?6, failure_message) \
         WHERE id = ?7",
    )
    .bind(next.as_str())
    .bind(now)
    .bind(ended)
    .bind(duration_ms.map(|ms| ms as i64))
    .bind(reason.map(|r| r.phase.as_str()))
    .bind(reason.map(|r| r.message.as_str()))
    .bind(id.0)
    .execute(&mut **tx)
    .await?;
    if ended {
        close_phases(&mut **tx, id, now).await?;
    }
    Ok(next)
}

async fn end_phase(
    database: impl sqlx::SqliteExecutor<'_>,
    id: DeployId,
    ordinal: usize,
    status: PhaseStatus,
    duration_ms: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE phases SET status = ?, duration_ms = ? WHERE deploy_id = ? AND ordinal = ?")
        .bind(status.as_str())
        .bind(duration_ms as i64)
        .bind(id.0)
        .bind(ordinal as i64)
        .execute(database)
        .await
        .map(drop)
}

/// Nothing of a deploy that has ended runs: the end of its last phase may not have been written.
async fn close_phases(
    database: impl sqlx::SqliteExecutor<'_>,
    id: DeployId,
    now: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE phases SET status = 'failed', duration_ms = max(0, ?2 - started_at) \
         WHERE deploy_id = ?1 AND status = 'running'",
    )
    .bind(id.0)
    .bind(now)
    .execute(database)
    .await
    .map(drop)
}

fn read(found: String) -> Result<Vec<Deploy>, StoreError> {
    let rows: Vec<Row> =
        serde_json::from_str(&found).map_err(|_| StoreError::Unreadable("deploys"))?;
    Ok(rows.into_iter().map(Deploy::from).collect())
}

impl From<Row> for Deploy {
    fn from(row: Row) -> Self {
        let at = Timestamp::from_millis;
        let timing = |(phase, status, started, duration_ms)| PhaseTiming {
            phase,
            status,
            started_at: at(started),
            duration_ms,
        };
        let message = row.failure_message.unwrap_or_default();
        Self {
            id: row.id,
            app: row.app,
            commit: row.commit,
            subject: row.subject,
            author: row.author,
            trigger: row.trigger,
            actor: row.actor,
            status: row.status,
            queued_at: at(row.queued_at),
            attempts: row.attempts,
            started_at: row.started_at.map(at),
            finished_at: row.finished_at.map(at),
            live_ms: row.live_ms,
            duration_ms: row.duration_ms,
            phases: row.phases.into_iter().map(timing).collect(),
            failure: row.failure_phase.map(|phase| Failure { phase, message }),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::tests::scratch;
    use super::*;
    use crate::domain::{Environment, ImageRef, Manifest};

    pub(crate) fn push(app: &str) -> NewDeploy {
        NewDeploy {
            app: app.parse().unwrap(),
            commit: "a".repeat(40).parse().unwrap(),
            subject: "Add a page".into(),
            author: "Ada".into(),
            trigger: Trigger::Push,
            actor: "ada".into(),
            source: None,
        }
    }

    pub(crate) fn release(id: DeployId, new: &NewDeploy) -> Release {
        let mut env = Environment::default();
        env.set("TOKEN", "s3cret").unwrap();
        Release {
            deploy: id,
            app: new.app.clone(),
            commit: new.commit.clone(),
            image: ImageRef(format!("windlass-abc/shop:d{id}")),
            image_kept: true,
            processes: Manifest::default().processes(),
            manifest: Manifest::default(),
            port: 8000,
            env,
        }
    }

    #[tokio::test]
    async fn a_push_supersedes_what_waits_and_retires_what_was_live() {
        let (_dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let (first, none) = store.queue_deploy(&new).await.unwrap();
        let (second, superseded) = store.queue_deploy(&new).await.unwrap();
        assert_eq!((none, superseded), (vec![], vec![first]));
        let reason = store.deploy(first).await.unwrap().failure.unwrap().message;
        assert!(reason.contains(&format!("deploy {second}")), "{reason}");

        store
            .change_deploy(second, DeployEvent::Start, None, None)
            .await
            .unwrap();
        store
            .begin_phase(second, 0, &Phase::Checkout)
            .await
            .unwrap();
        store
            .end_phase(second, 0, PhaseStatus::Ok, 42)
            .await
            .unwrap();
        store.begin_phase(second, 1, &Phase::Build).await.unwrap();
        assert_eq!(store.go_live(&release(second, &new)).await.unwrap(), None);
        let live = store.live_deploy(&new.app).await.unwrap().unwrap();
        assert_eq!((live.id, live.phases.len()), (second, 2));
        assert_eq!(
            (live.phases[0].duration_ms, live.phases[1].duration_ms),
            (Some(42), None)
        );

        let (third, _) = store.queue_deploy(&new).await.unwrap();
        store
            .change_deploy(third, DeployEvent::Start, None, None)
            .await
            .unwrap();
        assert_eq!(
            store.go_live(&release(third, &new)).await.unwrap(),
            Some(second)
        );
        assert_eq!(
            store.deploy(second).await.unwrap().status,
            DeployStatus::Retired
        );
        let listed: Vec<DeployId> = store
            .deploys(&new.app, 2, None)
            .await
            .unwrap()
            .iter()
            .map(|d| d.id)
            .collect();
        assert_eq!(listed, [third, second]);
        assert_eq!(store.open_deploys(None).await.unwrap(), []);

        let waits = store.queue_deploy(&new).await.unwrap().0;
        let restart = NewDeploy {
            trigger: Trigger::Restart,
            source: Some(third),
            ..new.clone()
        };
        assert_eq!(
            store.queue_deploy(&restart).await.unwrap().1,
            [],
            "a restart takes no push's place"
        );
        assert_eq!(
            store.queue_deploy(&new).await.unwrap().1,
            [waits],
            "and a push no restart's"
        );
    }

    #[tokio::test]
    async fn what_went_live_drains_until_it_is_finished_though_a_later_one_is_live() {
        let (_dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (id, _) = store.queue_deploy(&new).await.unwrap();
            store
                .change_deploy(id, DeployEvent::Start, None, None)
                .await
                .unwrap();
            store.begin_phase(id, 0, &Phase::Verify).await.unwrap();
            assert_eq!(store.deploy(id).await.unwrap().live_ms, None);
            store.go_live(&release(id, &new)).await.unwrap();
            let provisional = store.deploy(id).await.unwrap();
            assert!(provisional.live_ms.is_some() && !provisional.is_decided());
            store.end_verify(id, 0, 30, 4711).await.unwrap();
            ids.push(id);
        }
        let draining = store.draining_deploys(&new.app).await.unwrap();
        let told: Vec<_> = draining
            .iter()
            .map(|d| (d.id, d.status, d.live_ms))
            .collect();
        let expected = [DeployStatus::Retired, DeployStatus::Live];
        let expected = ids.iter().zip(expected);
        let expected: Vec<_> = expected.map(|(id, s)| (*id, s, Some(4711))).collect();
        assert_eq!(told, expected);
        assert!(draining.iter().all(Deploy::is_decided));
        store.finish_deploy(ids[0], 5000).await.unwrap();
        let draining = store.draining_deploys(&new.app).await.unwrap();
        assert_eq!(draining.len(), 1);
        assert_eq!(draining[0].id, ids[1]);
    }

    #[tokio::test]
    async fn nothing_of_a_deploy_that_has_ended_runs() {
        let (_dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        for event in [DeployEvent::Fail, DeployEvent::GoLive] {
            let (id, _) = store.queue_deploy(&new).await.unwrap();
            store
                .change_deploy(id, DeployEvent::Start, None, None)
                .await
                .unwrap();
            store.begin_phase(id, 0, &Phase::Checkout).await.unwrap();
            store.end_phase(id, 0, PhaseStatus::Ok, 5).await.unwrap();
            store.begin_phase(id, 1, &Phase::Build).await.unwrap();
            match event {
                DeployEvent::GoLive => {
                    store.go_live(&release(id, &new)).await.unwrap();
                    store.finish_deploy(id, 9).await.unwrap();
                }
                event => drop(store.change_deploy(id, event, None, Some(9)).await.unwrap()),
            }
            let phases = store.deploy(id).await.unwrap().phases;
            let ends: Vec<_> = phases
                .iter()
                .map(|p| (p.status, p.duration_ms.is_some()))
                .collect();
            assert_eq!(ends, [(PhaseStatus::Ok, true), (PhaseStatus::Failed, true)]);
        }
    }

    #[tokio::test]
    async fn a_status_that_cannot_follow_is_refused_and_changes_nothing() {
        let (_dir, store) = scratch().await;
        let new = push("shop");
        store
            .create_app(&new.app, &[], "10.213.0.64/26".parse().unwrap())
            .await
            .unwrap();
        let (id, _) = store.queue_deploy(&new).await.unwrap();
        let refused = store
            .change_deploy(id, DeployEvent::GoLive, None, None)
            .await;
        assert!(matches!(refused, Err(StoreError::Transition(_))));
        assert_eq!(store.deploy(id).await.unwrap().status, DeployStatus::Queued);
    }

    /// What a worker, a person or a restart may do to an app's deploys.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Push,
        Restart,
        /// The worker takes the first that waits.
        Take,
        /// What runs goes live, fails, …
        End(DeployEvent),
        /// A server that starts finds what runs.
        Requeue,
        /// Somebody takes the last that waits out of the queue.
        Withdraw,
    }

    fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
        use DeployEvent as E;
        let act = prop_oneof![
            3 => Just(Act::Push),
            1 => Just(Act::Restart),
            4 => Just(Act::Take),
            4 => prop::sample::select(vec![E::GoLive, E::Fail, E::Cancel, E::Interrupt]).prop_map(Act::End),
            2 => Just(Act::Requeue),
            1 => Just(Act::Withdraw),
        ];
        prop::collection::vec((0..2_usize, act), 1..40)
    }

    /// The deploys of one app as they should be: trigger and status, oldest first.
    #[derive(Default)]
    struct Model(Vec<(DeployId, Trigger, DeployStatus)>);

    impl Model {
        fn find(&self, status: DeployStatus) -> Option<usize> {
            self.0.iter().position(|(_, _, is)| *is == status)
        }

        fn supersede(&mut self, older_than: DeployId) {
            for (id, trigger, status) in &mut self.0 {
                if *id < older_than && *trigger == Trigger::Push && *status == DeployStatus::Queued
                {
                    *status = DeployStatus::Superseded;
                }
            }
        }

        fn newest_waiting_push(&self) -> Option<DeployId> {
            let waits = |row: &&(DeployId, Trigger, DeployStatus)| {
                row.1 == Trigger::Push && row.2 == DeployStatus::Queued
            };
            self.0.iter().rfind(waits).map(|row| row.0)
        }
    }

    async fn act(store: &Store, new: &NewDeploy, model: &mut Model, act: Act) {
        use DeployStatus as S;
        match act {
            Act::Push | Act::Restart => {
                let trigger = if matches!(act, Act::Push) {
                    Trigger::Push
                } else {
                    Trigger::Restart
                };
                let (id, _) = store
                    .queue_deploy(&NewDeploy {
                        trigger,
                        ..new.clone()
                    })
                    .await
                    .unwrap();
                model.0.push((id, trigger, S::Queued));
                if trigger == Trigger::Push {
                    model.supersede(id);
                }
            }
            Act::Take if model.find(S::Running).is_none() => {
                if let Some(at) = model.find(S::Queued) {
                    store
                        .change_deploy(model.0[at].0, DeployEvent::Start, None, None)
                        .await
                        .unwrap();
                    model.0[at].2 = S::Running;
                }
            }
            Act::Take => {}
            Act::End(event) => {
                let Some(at) = model.find(S::Running) else {
                    return;
                };
                let id = model.0[at].0;
                if event == DeployEvent::GoLive {
                    store.go_live(&release(id, new)).await.unwrap();
                    if let Some(before) = model.find(S::Live) {
                        model.0[before].2 = S::Retired;
                    }
                } else {
                    store.change_deploy(id, event, None, None).await.unwrap();
                }
                model.0[at].2 = S::Running.after(event).unwrap();
            }
            Act::Requeue => {
                let Some(at) = model.find(S::Running) else {
                    return;
                };
                store.requeue_deploy(model.0[at].0).await.unwrap();
                model.0[at].2 = S::Queued;
                if let Some(newest) = model.newest_waiting_push() {
                    model.supersede(newest);
                }
            }
            Act::Withdraw => {
                if let Some(at) = model.0.iter().rposition(|row| row.2 == S::Queued) {
                    store
                        .change_deploy(model.0[at].0, DeployEvent::Withdraw, None, None)
                        .await
                        .unwrap();
                    model.0[at].2 = S::Cancelled;
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever happens to two apps' deploys in whatever order, the rows are as the model says: at
        /// most one live and one running, the newest push wins, and what has ended stays ended.
        #[test]
        fn any_history_leaves_the_rows_as_the_model_says(history in acts()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_dir, store) = scratch().await;
                let apps = [push("shop"), push("blog")];
                for (number, new) in apps.iter().enumerate() {
                    let net = format!("10.213.{number}.0/26").parse().unwrap();
                    store.create_app(&new.app, &[], net).await.unwrap();
                }
                let mut models = [Model::default(), Model::default()];
                for (which, what) in history {
                    act(&store, &apps[which], &mut models[which], what).await;
                    for (new, model) in apps.iter().zip(&models) {
                        let rows = store.deploys(&new.app, 100, None).await.unwrap();
                        let is: Vec<_> = rows.iter().rev().map(|d| (d.id, d.trigger, d.status)).collect();
                        assert_eq!(is, model.0, "after {what:?}");
                        let count = |status| is.iter().filter(|row| row.2 == status).count();
                        assert!(count(DeployStatus::Live) <= 1 && count(DeployStatus::Running) <= 1);
                        for row in rows {
                            assert_eq!(row.finished_at.is_some(), !row.status.is_open() && !row.status.went_live());
                        }
                    }
                }
            });
        }
    }
}
