//! What is to be done for a deploy: build its commit, or bring a kept image up again.

use crate::attempt::{Attempt, Stop};
use crate::build::expect_allowed;
use crate::domain::{Environment, Release, Trigger};

/// Where a deploy's image comes from.
pub enum Plan {
    /// From the commit, run with this environment.
    Build {
        /// Today's.
        env: Environment,
    },
    /// From a release whose image is kept, run with this environment.
    Reuse {
        /// That release.
        release: Box<Release>,
        /// The release's own for a revert, today's for a restart.
        env: Environment,
    },
}

impl Plan {
    /// What the image is run with.
    pub fn env(&self) -> &Environment {
        match self {
            Plan::Build { env } | Plan::Reuse { env, .. } => env,
        }
    }
}

/// What is to be done, and with which environment: from here on nothing prints a value of that.
pub async fn plan(attempt: &Attempt) -> Result<Plan, Stop> {
    let app = &attempt.deploy.app;
    let today = attempt.platform.store.env(app).await?;
    let plan = match kept(attempt).await? {
        Some(release) if attempt.deploy.trigger == Trigger::Restart => Plan::Reuse {
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
        expect_allowed(&attempt.platform, app, &release.manifest).await?;
    }
    attempt.keep_quiet_of(attempt.platform.redactor(app, plan.env()).await?);
    Ok(plan)
}

/// The release whose kept image a revert or a restart takes; everything else, and a revert whose
/// image is gone, builds.
async fn kept(attempt: &Attempt) -> Result<Option<Box<Release>>, Stop> {
    let store = &attempt.platform.store;
    if matches!(attempt.deploy.trigger, Trigger::Push | Trigger::Redeploy) {
        return Ok(None);
    }
    let Some(source) = store.source_release(attempt.deploy.id).await? else {
        return Ok(None);
    };
    let Some(release) = store.release(source).await? else {
        return Ok(None);
    };
    if !release.image_kept
        || attempt
            .platform
            .engine
            .image(&release.image.0)
            .await?
            .is_none()
    {
        store.forget_image(source).await?;
        return Ok(None);
    }
    Ok(Some(Box::new(release)))
}
