//! Which release of an app somebody means.

use crate::domain::{AppName, Deploy, DeployId, Release};
use crate::platform::{Error, Platform};

/// The release that a revert goes to: a commit's, or the one before the live one.
pub(super) async fn release_to(
    platform: &Platform,
    app: &AppName,
    commit: Option<&str>,
    live: &Deploy,
) -> Result<Release, Error> {
    match commit {
        Some(name) => release_named(platform, app, name).await,
        None => release_before(platform, app, live).await,
    }
}

/// The release of one certain deploy of this app, which is not the one that serves.
pub(super) async fn release_at(
    platform: &Platform,
    app: &AppName,
    to: DeployId,
    live: &Deploy,
) -> Result<Release, Error> {
    if to == live.id {
        return Err(Error::Refused(format!(
            "deploy {to} is what serves now: there is nothing to go back to"
        )));
    }
    let found = platform
        .store
        .release(to)
        .await?
        .filter(|release| release.app == *app);
    found.ok_or_else(|| Error::Refused(format!("no release of {app} was made by a deploy {to}")))
}
pub(super) async fn live_or_refuse(
    platform: &Platform,
    app: &AppName,
    verb: &str,
) -> Result<Deploy, Error> {
    platform.store.app(app).await?;
    let live = platform.store.live_deploy(app).await?;
    live.ok_or_else(|| {
        Error::Refused(format!(
            "{app} has no live release to {verb}: push a commit first"
        ))
    })
}

async fn release_named(platform: &Platform, app: &AppName, name: &str) -> Result<Release, Error> {
    let commit = platform.git.resolve(app, name).await?;
    let found = platform.store.release_of(app, &commit).await?;
    found.ok_or_else(|| {
        let short = commit.short();
        Error::Refused(format!(
            "{short} was never live. To put it live: windlass redeploy {app} {short}"
        ))
    })
}

/// The newest release of another commit than the live one's.
async fn release_before(
    platform: &Platform,
    app: &AppName,
    live: &Deploy,
) -> Result<Release, Error> {
    let releases = platform.store.releases(app, 1000).await?;
    // After a revert, "before" means before what it went back to.
    let from = origin(platform, live.id, &releases).await?;
    let before = releases
        .into_iter()
        .find(|r| r.deploy < from && r.commit != live.commit);
    before.ok_or_else(|| Error::Refused(format!("{app} has no release before the live one")))
}

async fn origin(
    platform: &Platform,
    live: DeployId,
    releases: &[Release],
) -> Result<DeployId, Error> {
    let mut origin = live;
    while let Some(source) = platform.store.source_release(origin).await? {
        if !releases.iter().any(|release| release.deploy == source) {
            break;
        }
        origin = source;
    }
    Ok(origin)
}
