//! What goes on behind a live release: the old container drains and ends, the deploy's last row is
//! written, and none of it holds up the app's next deploy.
//!
//! Each drain is a task of its own, noted in [`crate::platform::Draining`]; the app's worker leaves alone
//! what is noted there. A server that is killed forgets the tasks and finds the rows: a deploy that went
//! live and has no end. The server that starts next takes its drain up again.

use std::sync::Arc;

use tracing::{info, warn};

use super::pipeline;
use super::queue::Queue;
use crate::attempt::{Attempt, Cancel, insist};
use crate::domain::{AppName, DeployId, Replica};
use crate::platform::{Error, Platform};
use crate::reconcile::{Nudge, close_phases, restore_branch};
use crate::runtime::ContainerState;
use crate::workload::Retiring;

/// Lets the old container go and ends the deploy, in a task of its own.
pub(super) fn let_go_behind(queue: &Queue, attempt: Attempt, old: Option<Retiring>) {
    let (queue, app, id) = (queue.clone(), attempt.deploy.app.clone(), attempt.deploy.id);
    let container = old.as_ref().map(|old| old.deploy);
    // Noted before the worker goes on, so that it never takes the container for one left over.
    let noted = queue.platform().draining.begin(&app, id, container);
    tokio::spawn(async move {
        let stop = noted.stop.clone();
        let ended = stop.run_until_cancelled(end(&attempt, old)).await;
        drop(noted);
        if ended.is_some() {
            queue.nudge(&app);
        }
    });
}

/// Drain, retire, and the last row. What does not work is put in order by the app's worker.
async fn end(attempt: &Attempt, old: Option<Retiring>) {
    let (platform, id, app) = (&attempt.platform, attempt.deploy.id, &attempt.deploy.app);
    if let Err(ended) = pipeline::let_go(attempt, old).await {
        let error = attempt.redacted(ended.failure()).message;
        warn!(%app, deploy = %id, phase = ended.phase, error, "what was live before deploy {id} of {app} is left; it is removed later");
    }
    insist(|| platform.store.finish_deploy(id, attempt.spent_ms())).await;
    platform.changed(app, id);
}

/// Takes up the drains that a server before this one left under way. Only the app's worker calls this.
pub(super) async fn take_up_drains(queue: &Queue, app: &AppName) -> Result<(), Error> {
    let platform = queue.platform();
    // Asked first: one that ends meanwhile is in this list or no longer among the rows.
    let seen_to = platform.draining.behind(app);
    let mut left = platform.store.draining_deploys(app).await?;
    left.retain(|deploy| !seen_to.contains(&deploy.id));
    if left.is_empty() {
        return Ok(());
    }
    // Whoever waits for such a deploy is told of its end as soon as its phases are closed.
    if let Err(error) = restore_branch(platform, app, None).await {
        warn!(%app, %error, "the branch does not name what is live yet");
    }
    let mut old = match released_containers(platform, app).await {
        Ok(containers) => containers,
        Err(error) => {
            warn!(%app, %error, "what was live before is left; it is removed later");
            Vec::new()
        }
    };
    for deploy in left {
        let id = deploy.id;
        close_phases(platform, &deploy).await?;
        let deploy = platform.store.deploy(id).await?;
        platform.changed(app, id);
        // The newest that went live before it: releases of an app go live in the order of their numbers.
        let at = old.iter().rposition(|(other, _)| *other < id);
        let retiring = at.map(|at| {
            let (other, container) = old.remove(at);
            info!(%app, deploy = %id, "what was live before deploy {id} drains again: deploy {other}");
            Retiring::new(platform, app, other, &container)
        });
        let attempt = Attempt::new(platform.clone(), deploy, Arc::new(Cancel::default()));
        let_go_behind(queue, attempt, retiring);
    }
    Ok(())
}

/// The containers of releases that were live and are not, oldest first; without those that drain already.
async fn released_containers(
    platform: &Platform,
    app: &AppName,
) -> Result<Vec<(DeployId, ContainerState)>, Error> {
    let live = platform.store.live_deploy(app).await?.map(|live| live.id);
    let drains = platform.draining.containers(app);
    let mut found = Vec::new();
    for container in platform.engine.containers(Some(app), None).await? {
        let of = container.deploy.filter(|id| {
            let web = container.replica.as_ref().is_some_and(Replica::is_web);
            web && Some(*id) != live && !drains.contains(id)
        });
        if let Some(id) = of
            && platform.store.release(id).await?.is_some()
        {
            found.push((id, container));
        }
    }
    found.sort_by_key(|(id, _)| *id);
    Ok(found)
}
