//! The queue: one worker an app, so deploys of one app never overlap and those of different apps
//! run side by side. What waits is rows in the database; nothing is lost with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::run::{Cancel, Ended, Run, Stop, pause};
use super::source::Plan;
use super::{Error, Windlass, pipeline};
use crate::domain::{AppName, Deploy, DeployEvent, DeployId, DeployStatus, Failure, Trigger};
use crate::store::{NewDeploy, StoreError};

/// Who works, and how to stop what runs.
#[derive(Debug, Default, Clone)]
pub(super) struct Workers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    apps: HashMap<AppName, Arc<Notify>>,
    running: HashMap<DeployId, (AppName, Arc<Cancel>)>,
}

impl Workers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an app's worker look at its queue; begins one where there is none.
    fn wake(&self, windlass: &Windlass, app: &AppName) {
        let mut table = self.table();
        if let Some(notify) = table.apps.get(app) {
            return notify.notify_one();
        }
        let notify = Arc::new(Notify::new());
        notify.notify_one();
        table.apps.insert(app.clone(), notify.clone());
        tokio::spawn(work(windlass.clone(), app.clone(), notify));
    }

    /// Ends an app's worker once it is idle.
    pub fn forget(&self, app: &AppName) {
        if let Some(notify) = self.table().apps.remove(app) {
            notify.notify_one();
        }
    }

    /// Whether a deploy of this app is under way, be it only the old container's end.
    pub fn busy(&self, app: &AppName) -> bool {
        self.table().running.values().any(|(of, _)| of == app)
    }

    fn knows(&self, app: &AppName, notify: &Arc<Notify>) -> bool {
        self.table().apps.get(app).is_some_and(|known| Arc::ptr_eq(known, notify))
    }
}

async fn work(windlass: Windlass, app: AppName, notify: Arc<Notify>) {
    loop {
        notify.notified().await;
        while let Some(next) = next_queued(&windlass, &app).await {
            run_one(&windlass, next).await;
        }
        if !windlass.workers.knows(&app, &notify) {
            return;
        }
    }
}

async fn next_queued(windlass: &Windlass, app: &AppName) -> Option<Deploy> {
    match windlass.store.open_deploys(Some(app)).await {
        Ok(open) => open.into_iter().find(|deploy| deploy.status == DeployStatus::Queued),
        Err(error) => {
            error!(%app, %error, "the queue cannot be read");
            None
        }
    }
}

/// Runs one deploy from its first phase to its last row.
async fn run_one(windlass: &Windlass, deploy: Deploy) {
    let (id, app) = (deploy.id, deploy.app.clone());
    let cancel = Arc::new(Cancel::default());
    windlass.workers.table().running.insert(id, (app.clone(), cancel.clone()));
    match begin(windlass, deploy).await {
        Ok(deploy) => {
            windlass.logs.changed(id);
            info!(%app, deploy = %id, commit = %deploy.commit, trigger = %deploy.trigger, "deploy {id} of {app} starts");
            let run = Run::new(windlass.clone(), deploy, cancel);
            let ended = match plan(&run).await {
                Ok(plan) => pipeline::deploy(&run, plan).await,
                Err(stop) => Err(Ended { phase: "queue".into(), stop }),
            };
            conclude(&run, ended).await;
        }
        // Cancelled or superseded in the meantime: it is no longer ours.
        Err(StoreError::Transition(_) | StoreError::NoDeploy(_)) => {
            info!(%app, deploy = %id, "deploy not started")
        }
        Err(error) => {
            error!(%app, deploy = %id, %error, "a deploy cannot be started; trying again");
            pause(1000).await;
        }
    }
    windlass.workers.table().running.remove(&id);
    windlass.logs.changed(id);
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
    store.change_deploy(deploy.id, DeployEvent::Start, None, None).await?;
    store.deploy(deploy.id).await
}

/// A revert and a restart take a kept image; everything else, and a revert whose image is gone,
/// builds.
async fn plan(run: &Run) -> Result<Plan, Stop> {
    let store = &run.windlass.store;
    if matches!(run.deploy.trigger, Trigger::Push | Trigger::Redeploy) {
        return Ok(Plan::Build);
    }
    let Some(source) = store.source_release(run.deploy.id).await? else { return Ok(Plan::Build) };
    let Some(release) = store.release(source).await? else { return Ok(Plan::Build) };
    if !release.image_kept || run.windlass.engine.image(&release.image.0).await?.is_none() {
        store.forget_image(source).await?;
        return Ok(Plan::Build);
    }
    let env = match run.deploy.trigger {
        Trigger::Restart => store.env(&run.deploy.app).await?,
        _ => release.env.clone(),
    };
    Ok(Plan::Reuse { release: Box::new(release), env })
}

/// Writes a deploy's outcome, removes what it left, and puts names and branch where they belong.
async fn conclude(run: &Run, ended: Result<(), Ended>) {
    let (windlass, id, app) = (&run.windlass, run.deploy.id, &run.deploy.app);
    let row = insist(|| windlass.store.deploy(id)).await;
    let live = row.is_some_and(|deploy| deploy.status == DeployStatus::Live);
    if let Err(ended) = &ended {
        match &ended.stop {
            Stop::Broken(error) => {
                warn!(%app, deploy = %id, phase = ended.phase, %error, "deploy {id} of {app} broke")
            }
            _ => info!(%app, deploy = %id, phase = ended.phase, "deploy {id} of {app} did not go live"),
        }
    }
    match ended {
        Err(ended) if !live => {
            let cancelled = matches!(ended.stop, Stop::Cancelled(_));
            let event = if cancelled { DeployEvent::Cancel } else { DeployEvent::Fail };
            let (failure, took) = (ended.failure(), Some(run.elapsed_ms()));
            // Clean up before the end is announced: who is told that it failed may look at once.
            windlass.clean_up_after(app, id).await;
            insist(|| windlass.store.change_deploy(id, event, Some(&failure), took)).await;
        }
        ended => {
            let took = run.elapsed_ms();
            if ended.is_err() {
                windlass.remove_others(app).await;
            }
            info!(%app, deploy = %id, ms = took, "deploy {id} of {app} is live");
            insist(|| windlass.store.finish_deploy(id, took)).await;
            windlass.prune_images(app).await;
        }
    }
}

/// Tries until the database takes it: a deploy that has ended must never be called running because
/// the disk was full for a while. `None` when it never will, as for an app that was destroyed.
async fn insist<T, F>(attempt: impl Fn() -> F) -> Option<T>
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
        let (id, superseded) = self.store.queue_deploy(&new).await?;
        if let Err(error) = self.git.keep(&new.app, id, &new.commit).await {
            let reason = Failure { phase: "queue".into(), message: error.to_string() };
            self.store.change_deploy(id, DeployEvent::Fail, Some(&reason), None).await?;
            return Err(error.into());
        }
        superseded.into_iter().for_each(|old| self.logs.changed(old));
        self.logs.changed(id);
        self.workers.wake(self, &new.app);
        Ok(self.store.deploy(id).await?)
    }

    /// Lets the worker of each app with something queued begin: at the server's start.
    pub async fn resume_queue(&self) -> Result<(), Error> {
        for deploy in self.store.open_deploys(None).await? {
            self.workers.wake(self, &deploy.app);
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
        let reason = Failure { phase: "queue".into(), message: format!("cancelled by {actor}") };
        match self.store.change_deploy(id, DeployEvent::Withdraw, Some(&reason), None).await {
            Ok(_) => {
                self.logs.changed(id);
                return self.settle_branch(&deploy.app, None).await;
            }
            Err(StoreError::Transition(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match self.store.deploy(id).await?.status {
            DeployStatus::Running => {
                if let Some((_, cancel)) = self.workers.table().running.get(&id) {
                    cancel.ask(actor);
                }
                Ok(())
            }
            status => {
                Err(Error::Refused(format!("deploy {id} is {status} already: there is nothing to cancel")))
            }
        }
    }
}
