//! The queue: one worker an app, so deploys of one app never overlap and those of different apps
//! run side by side. What waits is rows in the database; nothing is lost with the process.
//!
//! The worker is the only one who changes what an app has on the engine. So whatever it finds between
//! two deploys that is not as the database says, it may put in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::run::{Cancel, Ended, Run, Stop, pause};
use super::source::Plan;
use super::{Error, Windlass, pipeline};
use crate::domain::{
    AppName, Deploy, DeployEvent, DeployId, DeployStatus, Failure, Release, Trigger,
};
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

/// Who works, and how to stop what runs.
#[derive(Debug, Default, Clone)]
pub(super) struct Workers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    apps: HashMap<AppName, Arc<Worker>>,
    running: HashMap<DeployId, Arc<Cancel>>,
}

/// What an app's worker is told by.
#[derive(Debug, Default)]
struct Worker {
    wake: Notify,
    /// Something of the app may not be as the database says.
    unsettled: AtomicBool,
    /// Held by whoever changes what the app has on the engine.
    hands: Arc<tokio::sync::Mutex<()>>,
}

impl Workers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an app's worker look at its queue; begins one where there is none.
    pub fn wake(&self, windlass: &Windlass, app: &AppName) {
        let mut table = self.table();
        let worker = table.apps.entry(app.clone()).or_insert_with(|| {
            let worker = Arc::new(Worker {
                unsettled: AtomicBool::new(true),
                ..Worker::default()
            });
            tokio::spawn(work(windlass.clone(), app.clone(), worker.clone()));
            worker
        });
        worker.wake.notify_one();
    }

    /// Tells an app's worker that something of the app has changed without it.
    pub fn nudge(&self, app: &AppName) {
        if let Some(worker) = self.table().apps.get(app) {
            worker.unsettled.store(true, Ordering::Relaxed);
            worker.wake.notify_one();
        }
    }

    /// The worker's hands, held for somebody else: it does nothing meanwhile.
    pub async fn hold(&self, app: &AppName) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let hands = self
            .table()
            .apps
            .get(app)
            .map(|worker| worker.hands.clone())?;
        Some(hands.lock_owned().await)
    }

    /// Ends an app's worker once its hands are free.
    pub fn forget(&self, app: &AppName) {
        if let Some(worker) = self.table().apps.remove(app) {
            worker.wake.notify_one();
        }
    }

    fn knows(&self, app: &AppName, worker: &Arc<Worker>) -> bool {
        self.table()
            .apps
            .get(app)
            .is_some_and(|known| Arc::ptr_eq(known, worker))
    }
}

async fn work(windlass: Windlass, app: AppName, worker: Arc<Worker>) {
    let mut retry = RETRY.0;
    loop {
        worker.wake.notified().await;
        let hands = worker.hands.lock().await;
        if !windlass.workers.knows(&app, &worker) {
            return;
        }
        let Err(error) = turn(&windlass, &app, &worker).await else {
            retry = RETRY.0;
            continue;
        };
        drop(hands);
        warn!(%app, %error, "{app} is not in order; trying again");
        worker.unsettled.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(retry, worker.wake.notified()).await;
        worker.wake.notify_one();
        retry = (retry * 2).min(RETRY.1);
    }
}

/// Everything that there is to do for an app now.
async fn turn(windlass: &Windlass, app: &AppName, worker: &Worker) -> Result<(), Error> {
    if windlass.store.app(app).await?.leaving {
        return windlass.tear_down(app).await;
    }
    windlass.recover(app).await?;
    loop {
        // The next deploy does not wait for what cannot be settled: it is settled after that one.
        let settled = match worker.unsettled.swap(false, Ordering::Relaxed) {
            true => windlass
                .settle(app, None)
                .await
                .inspect(|()| windlass.news.of(app)),
            false => Ok(()),
        };
        let open = windlass.store.open_deploys(Some(app)).await?;
        let Some(next) = open
            .into_iter()
            .find(|deploy| deploy.status == DeployStatus::Queued)
        else {
            return settled;
        };
        if next.queued_at < windlass.since {
            windlass.let_engine_start(app).await;
        }
        run_one(windlass, next).await?;
        worker.unsettled.store(true, Ordering::Relaxed);
    }
}

impl Windlass {
    /// Waits for an engine that is not there yet. A deploy from before this server's start was asked
    /// for when there was one: the machine may be starting, and must not fail it. A new one is told at
    /// once.
    async fn let_engine_start(&self, app: &AppName) {
        let began = Instant::now();
        while let Err(error) = self.reach_engine().await {
            if began.elapsed() >= ENGINE_START {
                return;
            }
            info!(%app, %error, "a deploy of {app} waits for the engine");
            pause(2000).await;
        }
    }
}

/// Runs one deploy from its first phase to its last row.
async fn run_one(windlass: &Windlass, deploy: Deploy) -> Result<(), Error> {
    let (id, app) = (deploy.id, deploy.app.clone());
    let cancel = Arc::new(Cancel::default());
    windlass.workers.table().running.insert(id, cancel.clone());
    let begun = begin(windlass, deploy).await;
    let done = match begun {
        Ok(deploy) => {
            windlass.changed(&app, id);
            info!(%app, deploy = %id, commit = %deploy.commit, trigger = %deploy.trigger, "deploy {id} of {app} starts");
            windlass.note_changes(&deploy).await;
            let run = Run::new(windlass.clone(), deploy, cancel);
            let ended = match run.or_stopped(plan(&run)).await {
                Ok(plan) => pipeline::deploy(&run, plan).await,
                Err(stop) => Err(Ended {
                    phase: "queue".into(),
                    stop,
                }),
            };
            conclude(&run, ended).await;
            Ok(())
        }
        // Cancelled or superseded in the meantime: it is no longer ours.
        Err(StoreError::Transition(_) | StoreError::NoDeploy(_)) => {
            info!(%app, deploy = %id, "deploy not started");
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    windlass.workers.table().running.remove(&id);
    windlass.changed(&app, id);
    done
}

/// Takes a deploy out of the queue. One that means what is live means what is live now.
async fn begin(windlass: &Windlass, deploy: Deploy) -> Result<Deploy, StoreError> {
    let store = &windlass.store;
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

/// What is to be done, and with which environment: from here on nothing prints a value of that.
async fn plan(run: &Run) -> Result<Plan, Stop> {
    let app = &run.deploy.app;
    let today = run.windlass.store.env(app).await?;
    let plan = match kept(run).await? {
        Some(release) if run.deploy.trigger == Trigger::Restart => Plan::Reuse {
            release,
            env: today,
        },
        Some(release) => Plan::Reuse {
            env: release.env.clone(),
            release,
        },
        None => Plan::Build { env: today },
    };
    if let Plan::Reuse { release, .. } = &plan {
        // What was allowed then may not be now.
        run.windlass.expect_allowed(app, &release.manifest).await?;
    }
    run.keep_quiet_of(run.windlass.redactor(app, plan.env()).await?);
    Ok(plan)
}

/// The release whose kept image a revert or a restart takes; everything else, and a revert whose
/// image is gone, builds.
async fn kept(run: &Run) -> Result<Option<Box<Release>>, Stop> {
    let store = &run.windlass.store;
    if matches!(run.deploy.trigger, Trigger::Push | Trigger::Redeploy) {
        return Ok(None);
    }
    let Some(source) = store.source_release(run.deploy.id).await? else {
        return Ok(None);
    };
    let Some(release) = store.release(source).await? else {
        return Ok(None);
    };
    if !release.image_kept || run.windlass.engine.image(&release.image.0).await?.is_none() {
        store.forget_image(source).await?;
        return Ok(None);
    }
    Ok(Some(Box::new(release)))
}

/// Writes a deploy's outcome, once what it left is removed and names and branch are where they belong.
async fn conclude(run: &Run, ended: Result<(), Ended>) {
    let (windlass, id, app) = (&run.windlass, run.deploy.id, &run.deploy.app);
    let row = insist(|| windlass.store.deploy(id)).await;
    let live = row
        .as_ref()
        .is_some_and(|deploy| deploy.status == DeployStatus::Live);
    let swapped = row.is_some_and(|deploy| deploy.reached_swap());
    let Err(ended) = ended else {
        info!(%app, deploy = %id, ms = run.elapsed_ms(), "deploy {id} of {app} is live");
        insist(|| windlass.store.finish_deploy(id, run.elapsed_ms())).await;
        return;
    };
    let (failure, took) = (run.redacted(ended.failure()), run.elapsed_ms());
    match &ended.stop {
        Stop::Broken(_) => {
            warn!(%app, deploy = %id, phase = ended.phase, error = failure.message, "deploy {id} of {app} broke")
        }
        _ => info!(%app, deploy = %id, phase = ended.phase, "deploy {id} of {app} did not go live"),
    }
    let cancelled = matches!(ended.stop, Stop::Cancelled(_));
    let limit = if cancelled { TIDY_CANCELLED } else { TIDY };
    if let Err(error) = windlass.settle_within(limit, app, Some(id), swapped).await {
        warn!(%app, deploy = %id, %error, "something of deploy {id} is left; it is removed later");
    }
    if live {
        insist(|| windlass.store.finish_deploy(id, took)).await;
    } else {
        let event = if cancelled {
            DeployEvent::Cancel
        } else {
            DeployEvent::Fail
        };
        insist(|| {
            windlass
                .store
                .change_deploy(id, event, Some(&failure), Some(took))
        })
        .await;
    }
}

/// Tries until the database takes it: a deploy that has ended must never be called running because
/// the disk was full for a while. `None` when it never will, as for an app that was destroyed.
pub(super) async fn insist<T, F>(attempt: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match attempt().await {
            Ok(done) => return Some(done),
            Err(StoreError::Database(error)) => {
                error!(%error, "a deploy's outcome cannot be written; trying again");
            }
            Err(error) => {
                error!(%error, "a deploy's outcome is not written");
                return None;
            }
        }
        pause(1000).await;
    }
}

impl Windlass {
    /// Queues a deploy and wakes the app's worker.
    pub(super) async fn enqueue(&self, new: NewDeploy) -> Result<Deploy, Error> {
        if self.store.app(&new.app).await?.leaving {
            return Err(Error::Refused(format!("{} is being destroyed", new.app)));
        }
        let (id, superseded) = self.store.queue_deploy(&new).await?;
        if let Err(error) = self.git.keep(&new.app, id, &new.commit).await {
            let reason = Failure {
                phase: "queue".into(),
                message: error.to_string(),
            };
            self.store
                .change_deploy(id, DeployEvent::Fail, Some(&reason), None)
                .await?;
            self.changed(&new.app, id);
            return Err(error.into());
        }
        superseded
            .into_iter()
            .chain([id])
            .for_each(|id| self.changed(&new.app, id));
        self.workers.wake(self, &new.app);
        Ok(self.store.deploy(id).await?)
    }

    /// Lets the worker of each app begin: at the server's start. Each first puts its app in order.
    pub async fn begin_work(&self) -> Result<(), Error> {
        for app in self.store.apps().await? {
            self.git.create(&app.name).await?;
            self.workers.wake(self, &app.name);
        }
        Ok(())
    }

    /// Stops a deploy: one that waits at once, one that runs at its next step. After the swap it is
    /// swapped back; once live it can only be reverted.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn cancel(&self, id: DeployId, actor: &str) -> Result<(), Error> {
        let deploy = self.store.deploy(id).await?;
        let reason = Failure {
            phase: "queue".into(),
            message: format!("cancelled by {actor}"),
        };
        match self
            .store
            .change_deploy(id, DeployEvent::Withdraw, Some(&reason), None)
            .await
        {
            Ok(_) => {
                self.changed(&deploy.app, id);
                return self.settle_branch(&deploy.app, None).await;
            }
            Err(StoreError::Transition(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match self.store.deploy(id).await?.status {
            DeployStatus::Running => {
                self.store.ask_to_cancel(id, actor).await?;
                if let Some(cancel) = self.workers.table().running.get(&id) {
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
