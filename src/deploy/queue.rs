//! The queue: one worker an app, so deploys of one app never overlap and those of different apps
//! run side by side. What waits is rows in the database; nothing is lost with the process.
//!
//! The worker is the only one who changes what an app has on the engine. So whatever it finds between
//! two deploys that is not as the database says, it may put in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::behind::{let_go_behind, take_up_drains};
use super::changes::note_changes;
use super::pipeline;
use super::plan::plan;
use crate::attempt::{Attempt, Cancel, Ended, Stop, insist};
use crate::domain::{AppName, Deploy, DeployEvent, DeployId, DeployStatus, Failure, Trigger};
use crate::platform::{Error, Platform};
use crate::reconcile::{Nudge, reconcile, reconcile_within, recover, restore_branch, tear_down};
use crate::store::{NewDeploy, StoreError};

/// How long the end of a deploy waits for what it left to be removed, so that who is told of the end
/// may look at once. What takes longer goes on afterwards.
const TIDY: Duration = Duration::from_secs(20);
/// The same where somebody cancelled: the end is what they wait for.
const TIDY_CANCELLED: Duration = Duration::from_millis(1500);
/// How long a deploy from before the server's start waits for the engine.
const ENGINE_START: Duration = Duration::from_secs(300);
/// How long a worker that left something in disorder waits before it tries again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The queue of every app, and who works on it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    platform: Arc<Platform>,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    workers: HashMap<AppName, Arc<Worker>>,
    running: HashMap<DeployId, Arc<Cancel>>,
}

/// What an app's worker is told by.
#[derive(Debug, Default)]
struct Worker {
    wake: Notify,
    /// Something of the app may not be as the database says.
    unsettled: AtomicBool,
    /// Held by whoever changes what the app has on the engine.
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Queue {
    /// A queue that nobody works on yet.
    pub fn new(platform: Arc<Platform>) -> Self {
        Self {
            platform,
            table: Arc::default(),
        }
    }

    /// What it stands on.
    pub fn platform(&self) -> &Arc<Platform> {
        &self.platform
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the worker of each app begin: at the server's start. Each first puts its app in order.
    pub async fn begin(&self) -> Result<(), Error> {
        for app in self.platform.store.apps().await? {
            self.platform.git.create(&app.name).await?;
            self.platform.git.remove_stale_locks(&app.name).await?;
            self.wake(&app.name);
        }
        Ok(())
    }

    /// Lets an app's worker look at its queue; begins one where there is none.
    pub fn wake(&self, app: &AppName) {
        let mut table = self.table();
        let worker = table.workers.entry(app.clone()).or_insert_with(|| {
            let worker = Arc::new(Worker {
                unsettled: AtomicBool::new(true),
                ..Worker::default()
            });
            tokio::spawn(work(self.clone(), app.clone(), worker.clone()));
            worker
        });
        worker.wake.notify_one();
    }

    /// Waits until the app's worker does nothing, and keeps it from beginning anything meanwhile.
    pub async fn hold(&self, app: &AppName) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let lock = self.table().workers.get(app).map(|w| w.lock.clone())?;
        Some(lock.lock_owned().await)
    }

    /// Ends an app's worker once it does nothing.
    pub fn forget(&self, app: &AppName) {
        if let Some(worker) = self.table().workers.remove(app) {
            worker.wake.notify_one();
        }
    }

    fn knows(&self, app: &AppName, worker: &Arc<Worker>) -> bool {
        let table = self.table();
        let known = table.workers.get(app);
        known.is_some_and(|known| Arc::ptr_eq(known, worker))
    }

    /// Queues a deploy and wakes the app's worker.
    pub async fn enqueue(&self, new: NewDeploy) -> Result<Deploy, Error> {
        let platform = &self.platform;
        if platform.store.app(&new.app).await?.leaving {
            return Err(Error::Refused(format!("{} is being destroyed", new.app)));
        }
        let (id, superseded) = platform.store.queue_deploy(&new).await?;
        if let Err(error) = platform.git.keep(&new.app, id, &new.commit).await {
            let reason = Failure {
                phase: "queue".into(),
                message: error.to_string(),
            };
            let failed = DeployEvent::Fail;
            platform
                .store
                .change_deploy(id, failed, Some(&reason), None)
                .await?;
            platform.changed(&new.app, id);
            return Err(error.into());
        }
        for id in superseded.into_iter().chain([id]) {
            platform.changed(&new.app, id);
        }
        self.wake(&new.app);
        Ok(platform.store.deploy(id).await?)
    }

    /// Stops a deploy: one that waits at once, one that runs at its next step. After the swap it is
    /// swapped back; once live it can only be reverted.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn cancel(&self, id: DeployId, actor: &str) -> Result<(), Error> {
        let (platform, store) = (&self.platform, &self.platform.store);
        let deploy = store.deploy(id).await?;
        let reason = Failure {
            phase: "queue".into(),
            message: format!("cancelled by {actor}"),
        };
        let withdraw = DeployEvent::Withdraw;
        match store.change_deploy(id, withdraw, Some(&reason), None).await {
            Ok(_) => {
                platform.changed(&deploy.app, id);
                return restore_branch(platform, &deploy.app, None).await;
            }
            Err(StoreError::Transition(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match store.deploy(id).await?.status {
            DeployStatus::Running => {
                store.ask_to_cancel(id, actor).await?;
                if let Some(cancel) = self.table().running.get(&id) {
                    cancel.ask(actor);
                }
                Ok(())
            }
            status => Err(Error::Refused(format!(
                "deploy {id} is {status} already: there is nothing to cancel"
            ))),
        }
    }
}

impl Nudge for Queue {
    fn nudge(&self, app: &AppName) {
        if let Some(worker) = self.table().workers.get(app) {
            worker.unsettled.store(true, Ordering::Relaxed);
            worker.wake.notify_one();
        }
    }
}

async fn work(queue: Queue, app: AppName, worker: Arc<Worker>) {
    let mut retry = RETRY.0;
    loop {
        worker.wake.notified().await;
        let held = worker.lock.lock().await;
        if !queue.knows(&app, &worker) {
            return;
        }
        let Err(error) = turn(&queue, &app, &worker).await else {
            retry = RETRY.0;
            continue;
        };
        drop(held);
        warn!(%app, %error, "{app} is not in order; trying again");
        worker.unsettled.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(retry, worker.wake.notified()).await;
        worker.wake.notify_one();
        retry = (retry * 2).min(RETRY.1);
    }
}

/// Everything that there is to do for an app now.
async fn turn(queue: &Queue, app: &AppName, worker: &Worker) -> Result<(), Error> {
    let platform = &queue.platform;
    match platform.store.app(app).await {
        Ok(row) if row.leaving => {
            tear_down(platform, app).await?;
            queue.forget(app);
            return Ok(());
        }
        Err(StoreError::NoApp(_)) => {
            queue.forget(app);
            return Ok(());
        }
        row => drop(row?),
    }
    take_up_drains(queue, app).await?;
    recover(platform, app).await?;
    loop {
        // The next deploy does not wait for what cannot be put in order: that is tried again after it.
        let in_order = match worker.unsettled.swap(false, Ordering::Relaxed) {
            true => reconcile(platform, app, None)
                .await
                .inspect(|()| platform.change_feed.of(app)),
            false => Ok(()),
        };
        let open = platform.store.open_deploys(Some(app)).await?;
        let queued = |deploy: &Deploy| deploy.status == DeployStatus::Queued;
        let Some(next) = open.into_iter().find(queued) else {
            return in_order;
        };
        if next.queued_at < platform.since {
            let_engine_start(platform, app).await;
        }
        run_one(queue, next).await?;
        worker.unsettled.store(true, Ordering::Relaxed);
    }
}

/// Waits for an engine that is not there yet. A deploy from before this server's start was asked for
/// when there was one: the machine may be starting, and must not fail it. A new one is told at once.
async fn let_engine_start(platform: &Platform, app: &AppName) {
    let began = Instant::now();
    while let Err(error) = platform.reach_engine().await {
        if began.elapsed() >= ENGINE_START {
            return;
        }
        info!(%app, %error, "a deploy of {app} waits for the engine");
        tokio::time::sleep(Duration::from_millis(2000)).await;
    }
}

/// Runs one deploy from its first phase to its last row.
async fn run_one(queue: &Queue, deploy: Deploy) -> Result<(), Error> {
    let (id, app) = (deploy.id, deploy.app.clone());
    let cancel = Arc::new(Cancel::default());
    queue.table().running.insert(id, cancel.clone());
    let done = attempt(queue, deploy, cancel).await;
    queue.table().running.remove(&id);
    queue.platform.changed(&app, id);
    done
}

async fn attempt(queue: &Queue, deploy: Deploy, cancel: Arc<Cancel>) -> Result<(), Error> {
    let platform = &queue.platform;
    let (id, app) = (deploy.id, deploy.app.clone());
    let deploy = match begin(platform, deploy).await {
        Ok(deploy) => deploy,
        // Cancelled or superseded in the meantime: it is no longer ours.
        Err(StoreError::Transition(_) | StoreError::NoDeploy(_)) => {
            info!(%app, deploy = %id, "deploy not started");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    platform.changed(&app, id);
    info!(%app, deploy = %id, commit = %deploy.commit, trigger = %deploy.trigger, "deploy {id} of {app} starts");
    note_changes(platform, &deploy).await;
    let attempt = Attempt::new(platform.clone(), deploy, cancel);
    let done = match attempt.or_stopped(plan(&attempt)).await {
        Ok(plan) => pipeline::deploy(&attempt, plan).await,
        Err(stop) => Err(Ended {
            phase: "queue".into(),
            stop,
        }),
    };
    match done {
        Ok(verified) => {
            info!(%app, deploy = %id, ms = attempt.spent_ms(), "deploy {id} of {app} is live");
            let_go_behind(queue, attempt, verified.retiring());
        }
        Err(ended) => conclude(&attempt, ended).await,
    }
    Ok(())
}

/// Takes a deploy out of the queue. One that means what is live means what is live now.
async fn begin(platform: &Platform, deploy: Deploy) -> Result<Deploy, StoreError> {
    let store = &platform.store;
    if matches!(deploy.trigger, Trigger::Restart | Trigger::Redeploy) {
        let source = store.source_release(deploy.id).await?;
        let live = store.live_deploy(&deploy.app).await?;
        if let Some(live) = live.filter(|live| source.is_some_and(|source| source != live.id)) {
            store.retarget_deploy(deploy.id, &live).await?;
        }
    }
    store
        .change_deploy(deploy.id, DeployEvent::Start, None, None)
        .await?;
    store.deploy(deploy.id).await
}

/// Writes how a deploy ended before its time, once what it left is removed and names and branch are where they belong.
async fn conclude(attempt: &Attempt, ended: Ended) {
    let (platform, id, app) = (&attempt.platform, attempt.deploy.id, &attempt.deploy.app);
    let row = insist(|| platform.store.deploy(id)).await;
    let live = row
        .as_ref()
        .is_some_and(|deploy| deploy.status == DeployStatus::Live);
    let swapped = row.is_some_and(|deploy| deploy.reached_swap());
    let (failure, took) = (attempt.redacted(ended.failure()), attempt.spent_ms());
    match &ended.stop {
        Stop::Broken(_) => {
            warn!(%app, deploy = %id, phase = ended.phase, error = failure.message, "deploy {id} of {app} broke")
        }
        _ => info!(%app, deploy = %id, phase = ended.phase, "deploy {id} of {app} did not go live"),
    }
    let cancelled = matches!(ended.stop, Stop::Cancelled(_));
    let limit = if cancelled { TIDY_CANCELLED } else { TIDY };
    if let Err(error) = reconcile_within(platform, limit, app, Some(id), swapped).await {
        warn!(%app, deploy = %id, %error, "something of deploy {id} is left; it is removed later");
    }
    if live {
        insist(|| platform.store.finish_deploy(id, took)).await;
    } else {
        let event = if cancelled {
            DeployEvent::Cancel
        } else {
            DeployEvent::Fail
        };
        insist(|| {
            platform
                .store
                .change_deploy(id, event, Some(&failure), Some(took))
        })
        .await;
    }
}
