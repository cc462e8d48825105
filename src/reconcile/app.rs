//! Settling an app: what the engine, Caddy and the repository have of it is brought to what the
//! database says.
//!
//! An app's worker does it after each deploy, at the server's start, and whenever a container of the
//! app changed without it; never while a deploy of the app is under way. Names and labels say what
//! each container is, so it does not matter who left them so: a deploy that failed, a server that
//! was killed, an engine that restarted, a person. Doing it again changes nothing.

use std::time::Duration;

use tracing::{info, warn};

use super::branch::restore_branch;
use super::images::reconcile_images;
use super::replicas::{live_release, run_replica, settle_processes};
use crate::domain::{AppName, DeployId, Release, Replica};
use crate::platform::{Error, Platform};
use crate::proxy::{REFRESH, Upstream};
use crate::runtime::ContainerState;
use crate::workload::{Retiring, finish_requests, load_routes, stop_and_remove};

/// Settles an app. `ended` is a deploy of it that is over, though its row does not say so yet.
///
/// # Errors
/// The first of what did not work; what does not depend on it was done all the same.
pub async fn reconcile(
    platform: &Platform,
    app: &AppName,
    ended: Option<DeployId>,
) -> Result<(), Error> {
    // First, as it needs no engine: after a failed deploy the same push is then not "up to date".
    let branch = restore_branch(platform, app, ended).await;
    let named = reconcile_live_name(platform, app).await;
    let routed = reconcile_routes(platform).await;
    let processes = Box::pin(settle_processes(platform, app)).await;
    // An old Caddy's route may lead to a candidate by its own name while a port changes: nothing
    // that a route may still lead to is removed.
    let removed = match (&named, &routed) {
        (Ok(()), Ok(())) => remove_other_containers(platform, app).await,
        _ => Ok(()),
    };
    let images = reconcile_images(platform, app, ended).await;
    [branch, named, routed, processes, removed, images]
        .into_iter()
        .collect()
}

/// Settles an app for at most `limit`, where somebody waits for what comes after. `swapped`: another
/// release than the live one may have its requests, so it is tried again and again.
pub async fn reconcile_within(
    platform: &Platform,
    limit: Duration,
    app: &AppName,
    ended: Option<DeployId>,
    swapped: bool,
) -> Result<(), Error> {
    let settled = async {
        loop {
            match reconcile(platform, app, ended).await {
                Err(_) if swapped => tokio::time::sleep(Duration::from_millis(500)).await,
                settled => return settled,
            }
        }
    };
    let settled = tokio::time::timeout(limit, settled).await;
    settled.unwrap_or_else(|_| Err(Error::Refused(format!("{app} is not in order yet"))))
}

/// The container of the live deploy has the live name and runs, whoever had the name before.
async fn reconcile_live_name(platform: &Platform, app: &AppName) -> Result<(), Error> {
    let live = platform
        .store
        .live_deploy(app)
        .await?
        .map(|deploy| deploy.id);
    let name = platform.naming.live(app);
    let holder = platform.engine.container(&name).await?;
    let rightful = holder
        .as_ref()
        .is_some_and(|c| live.is_some() && c.deploy == live && is_web(c));
    let usurper = holder.as_ref().filter(|_| !rightful);
    let release = match live {
        Some(live) => platform.store.release(live).await?,
        None => None,
    };
    if let Some(usurper) = usurper {
        // Without it some visitors wait a moment; that is no reason to leave the name where it is.
        if let Some(release) = &release
            && let Err(error) = pin_route(platform, release).await
        {
            warn!(%app, %error, "requests for {app} could not be led by its release's own name");
        }
        let stray = || format!("{name}_stray_{}", usurper.id.get(..12).unwrap_or_default());
        let away = match (usurper.deploy, &usurper.replica) {
            (Some(id), Some(replica)) => platform.naming.replica(app, id, replica),
            _ => stray(),
        };
        platform.engine.rename(&usurper.id, &away).await?;
    }
    let Some(release) = release else {
        return Ok(platform.store.set_port(app, None).await?);
    };
    platform.store.set_port(app, Some(release.port)).await?;
    if !rightful {
        give_live_name(platform, &release, &name).await?;
    }
    run_replica(platform, &release, &Replica::web()).await?;
    if usurper.is_some() {
        // What Caddy sends to the usurper by its last look-up may still arrive there.
        tokio::time::sleep(REFRESH).await;
    }
    Ok(())
}

/// Leads requests to the release by its own name, where Caddy is too old to read files and its route has
/// another port: until that is loaded, the live name alone would lead to a port on which nobody listens.
async fn pin_route(platform: &Platform, release: &Release) -> Result<(), Error> {
    let app = &release.app;
    let known = platform.store.app(app).await?.port;
    let old_caddy = platform.caddy.get().is_some_and(|can| !can.files);
    if !old_caddy || known.is_none() || known == Some(release.port) {
        return Ok(());
    }
    let pinned = Upstream::Pinned {
        name: platform
            .naming
            .replica(app, release.deploy, &Replica::web()),
        port: release.port,
    };
    load_routes(platform, Some((app, pinned))).await
}

/// Gives the live name to the release's container, whatever it is called now.
async fn give_live_name(platform: &Platform, release: &Release, name: &str) -> Result<(), Error> {
    let of_deploy = platform
        .engine
        .containers(Some(&release.app), Some(release.deploy))
        .await?;
    if let Some(own) = of_deploy.into_iter().find(is_web) {
        info!(app = %release.app, deploy = %release.deploy, "deploy {} of {} gets the live name back", release.deploy, release.app);
        platform.engine.rename(&own.id, name).await?;
    }
    Ok(())
}

fn is_web(container: &ContainerState) -> bool {
    container.replica.as_ref().is_some_and(Replica::is_web)
}

/// Caddy has the routes that the database says, where Caddy is known to run.
async fn reconcile_routes(platform: &Platform) -> Result<(), Error> {
    match platform.caddy.get() {
        Some(_) => load_routes(platform, None).await,
        None => Ok(()),
    }
}

/// Removes every container of the app but the live release's: candidates, gates, what retires and
/// nobody sees to.
async fn remove_other_containers(platform: &Platform, app: &AppName) -> Result<(), Error> {
    let live = live_release(platform, app).await?;
    let serves = |container: &ContainerState| {
        let (deploy, replica) = (container.deploy, container.replica.as_ref());
        live.as_ref().is_some_and(|live| {
            deploy == Some(live.deploy) && replica.is_some_and(|replica| live.runs(replica))
        })
    };
    // Asked before the engine: one whose drain ends meanwhile is gone from there.
    let drains = platform.draining.containers(app);
    for container in platform.engine.containers(Some(app), None).await? {
        if container.deploy.is_some_and(|id| drains.contains(&id)) {
            continue;
        }
        if !serves(&container) {
            retire_container(platform, app, &container).await?;
        }
    }
    Ok(())
}

/// Lets a container that has lost the live name, or never had it, finish its requests and end.
async fn retire_container(
    platform: &Platform,
    app: &AppName,
    container: &ContainerState,
) -> Result<(), Error> {
    let (Some(deploy), Some(replica)) = (container.deploy, &container.replica) else {
        return Ok(platform.engine.remove(&container.id).await?);
    };
    let (drain, grace) = match platform.store.release(deploy).await? {
        Some(release) => (
            release.manifest.drain.timeout.0,
            release.manifest.drain.stop_grace.0,
        ),
        // It served for moments at most, or nobody.
        None => (Duration::from_secs(30), Duration::from_secs(1)),
    };
    if container.running && replica.process.is_web() {
        let retiring = Retiring::new(platform, app, deploy, container);
        finish_requests(platform, &retiring, drain, &|_| {}).await;
    }
    stop_and_remove(platform, &container.id, deploy, replica, grace).await
}
