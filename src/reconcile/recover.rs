//! After a crash: deploys that a server left under way are finished, run again, or undone.
//!
//! What was verified is live; its drain is the deploy room's to take up. What had not reached its swap changed nothing outside
//! and runs again, once: should it be what brought the server down, it does not do so for ever. What
//! lies between is undone, so that the verified release from before serves.

use std::time::Duration;

use tracing::info;

use super::app::reconcile_within;
use crate::domain::{
    AppName, Deploy, DeployEvent, DeployStatus, Failure, PhaseStatus, Stopwatch, Timestamp,
};
use crate::logs::Redactor;
use crate::platform::{Error, Platform};

/// How long somebody who waits for a deploy's end waits for what it left to be in order.
const PATIENCE: Duration = Duration::from_secs(8);

/// Takes up the app's deploys that run without a worker. Only the app's worker calls this, when
/// none of its own is under way.
pub async fn recover(platform: &Platform, app: &AppName) -> Result<(), Error> {
    for deploy in platform.store.open_deploys(Some(app)).await? {
        if deploy.status == DeployStatus::Running {
            take_up(platform, &deploy).await?;
        }
    }
    Ok(())
}

async fn take_up(platform: &Platform, deploy: &Deploy) -> Result<(), Error> {
    let (id, app) = (deploy.id, &deploy.app);
    let cancelled = platform.store.asked_to_cancel(id).await?;
    let again = cancelled.is_none() && !deploy.reached_swap() && deploy.attempts < 2;
    close_phases(platform, deploy).await?;
    if again {
        info!(%app, deploy = %id, "deploy {id} runs again");
        platform.store.requeue_deploy(id).await?;
    } else {
        let _ = reconcile_within(platform, PATIENCE, app, Some(id), deploy.reached_swap()).await;
        let (event, message) = match cancelled {
            Some(by) => (DeployEvent::Cancel, format!("cancelled by {by}")),
            None => (DeployEvent::Interrupt, why_not_again(deploy)),
        };
        let phase = deploy
            .phases
            .last()
            .map_or("server".to_owned(), |row| row.phase.to_string());
        let reason = Failure { phase, message };
        info!(%app, deploy = %id, "deploy {id} was interrupted");
        platform
            .store
            .change_deploy(id, event, Some(&reason), Some(age_ms(deploy)))
            .await?;
    }
    platform.changed(app, id);
    Ok(())
}

/// Closes what was under way, and says so in its log.
pub async fn close_phases(platform: &Platform, deploy: &Deploy) -> Result<(), Error> {
    for (ordinal, phase) in deploy.phases.iter().enumerate() {
        if phase.status == PhaseStatus::Running {
            // A log that cannot be written is no reason to leave a deploy where it is.
            let clock = Stopwatch::showing(age(deploy));
            if let Ok(log) =
                platform
                    .logs
                    .write(deploy.id, ordinal, &phase.phase, clock, Redactor::default())
            {
                log.say("the server stopped here");
            }
            let ms = (Timestamp::now().millis() - phase.started_at.millis()).max(0) as u64;
            platform
                .store
                .end_phase(deploy.id, ordinal, PhaseStatus::Failed, ms)
                .await?;
        }
    }
    Ok(())
}

fn why_not_again(deploy: &Deploy) -> String {
    let why = if deploy.reached_swap() {
        "the server stopped before this release was verified"
    } else {
        "the server stopped during this deploy, for the second time"
    };
    format!("{why}; what was live before still is. Push again, or: windlass redeploy")
}

fn age(deploy: &Deploy) -> Duration {
    deploy.started_at.map_or(Duration::ZERO, Timestamp::age)
}

fn age_ms(deploy: &Deploy) -> u64 {
    age(deploy).as_millis() as u64
}
