//! Housekeeping: what Windlass remembers and what builds leave is bounded by `[keep]`. Nothing that a
//! page offers to go back to is touched, nor anything that is not Windlass's, with one exception:
//! BuildKit's cache, which bears no label and costs nothing but a build's time.

use std::io;
use std::time::Duration;

use tracing::{info, warn};

use crate::domain::size::show;
use crate::domain::{AppName, DeployId, DeployStatus};
use crate::platform::{Error, Platform};

/// How many deploys are looked at or forgotten at once: nobody waits for the database for longer.
const BATCH: usize = 100;

/// Removes what is kept no longer: once at the server's start, and then every hour. Each step for
/// itself, and what is left is done the next time.
pub async fn apply_retention(platform: &Platform) {
    let steps = [
        ("old logs", prune_logs(platform).await),
        ("old deploys", forget_deploys(platform).await),
        (
            "old sessions",
            platform.store.forget_sessions().await.map_err(Error::from),
        ),
        ("old build cache", prune_build_cache(platform).await),
    ];
    for (what, done) in steps {
        if let Err(error) = done {
            warn!(%error, "{what} are left for the next time");
        }
    }
    if let Err(error) = renew_certificates(platform).await {
        warn!(%error, "certificates that end soon are left to their visitors");
    }
}

/// Caddy renews a certificate on demand when somebody asks for it in its last third: nobody has to have
/// visited a domain.
async fn renew_certificates(platform: &Platform) -> Result<(), Error> {
    if platform.proxy_settings().can.files {
        let apps = platform.store.apps().await?.into_iter();
        let served = apps.filter(|app| app.port.is_some());
        let domains = served.flat_map(|app| app.domains).collect();
        platform.door.clone().warm(domains).await;
    }
    Ok(())
}

/// Removes logs that nothing was written to for `keep.logs`, but for those of deploys that are
/// live or open; and logs of deploys that there are not, as after a database was put back.
pub async fn prune_logs(platform: &Platform) -> Result<(), Error> {
    let (logs, age) = (platform.logs.clone(), platform.config.keep.logs.0);
    let ids = blocking(move || logs.ids()).await?;
    for ids in ids.chunks(BATCH) {
        let statuses = platform.store.statuses(ids).await?;
        let in_use = |id: &DeployId| {
            statuses
                .get(id)
                .is_some_and(|status| status.is_open() || *status == DeployStatus::Live)
        };
        let known = |id: DeployId| (id, statuses.contains_key(&id));
        let closed: Vec<_> = ids
            .iter()
            .filter(|id| !in_use(id))
            .copied()
            .map(known)
            .collect();
        let logs = platform.logs.clone();
        blocking(move || {
            for (id, known) in closed {
                if !known || logs.older_than(id, age)? {
                    logs.remove(id)?;
                }
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Forgets deploys beyond `keep.deploys` an app.
async fn forget_deploys(platform: &Platform) -> Result<(), Error> {
    for app in platform
        .store
        .apps_beyond(platform.config.keep.deploys)
        .await?
    {
        let forgotten = forget_deploys_of(platform, &app).await?;
        if forgotten > 0 {
            info!(%app, "{forgotten} old deploys of {app} are forgotten");
        }
    }
    Ok(())
}

/// The row goes last: as long as it is there, what was begun is found and done again.
async fn forget_deploys_of(platform: &Platform, app: &AppName) -> Result<usize, Error> {
    let (keep, mut forgotten) = (platform.config.keep.deploys, 0);
    loop {
        let ids = platform.store.forgettable(app, keep, BATCH as u32).await?;
        if ids.is_empty() {
            return Ok(forgotten);
        }
        let (logs, old) = (platform.logs.clone(), ids.clone());
        blocking(move || old.into_iter().try_for_each(|id| logs.remove(id))).await?;
        platform.git.forget(app, &ids).await?;
        forgotten += platform.store.forget_deploys(app, keep, &ids).await?;
        // Others write to the database as well.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn prune_build_cache(platform: &Platform) -> Result<(), Error> {
    let Some(bound) = platform.config.keep.build_cache.0 else {
        return Ok(());
    };
    let freed = platform.engine.bound_build_cache(bound.0).await?;
    if freed > 0 {
        info!("{} of old build cache were removed", show(freed));
    }
    Ok(())
}

/// Runs what waits for the disk where it holds nobody else up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    Ok(tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|broken| Err(io::Error::other(broken)))?)
}
