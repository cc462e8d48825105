//! The containers that a live release runs in: those that are there go on, those that are not are made
//! again, and what runs beside `web` for another release ends.

use std::time::Duration;

use futures_util::future::try_join_all;
use tracing::{info, warn};

use crate::domain::process::Order;
use crate::domain::{AppName, DeployId, ProcessName, Release, Replica};
use crate::platform::{Error, Platform};
use crate::runtime::{ContainerSpec, ContainerState};
use crate::workload::{
    Image, background, end_process, lead, replica_container, request, run_container,
};

/// How long the command that lets a process take work again may run.
const WAKES: Duration = Duration::from_secs(60);

/// The release that is live.
pub async fn live_release(platform: &Platform, app: &AppName) -> Result<Option<Release>, Error> {
    match platform.store.live_deploy(app).await? {
        Some(live) => Ok(platform.store.release(live.id).await?),
        None => Ok(None),
    }
}

/// Beside `web` the processes of the live release run and take work, and no others do.
///
/// What is not the live release's ends first: of a process that must not run twice, two never do.
pub async fn settle_processes(platform: &Platform, app: &AppName) -> Result<(), Error> {
    let live = live_release(platform, app).await?;
    // Asked before the engine: one whose drain ends meanwhile is gone from there.
    let drains = platform.draining.containers(app);
    let belongs = |container: &ContainerState, deploy: DeployId, replica: &Replica| {
        let own = platform.naming.replica(app, deploy, replica);
        let wanted = |live: &Release| live.deploy == deploy && live.runs(replica);
        container.name == own && live.as_ref().is_some_and(wanted)
    };
    let alone = |process: &ProcessName| {
        let settings = live
            .as_ref()
            .and_then(|live| live.manifest.processes.get(process));
        settings.is_some_and(|settings| settings.order == Order::StopFirst)
    };
    // What drains behind a deploy is that one's to end, unless it must not run twice.
    let ending = background(platform, app).await?.into_iter().filter(|one| {
        let left_alone = drains.contains(&one.deploy) && !alone(&one.replica.process);
        !belongs(&one.container, one.deploy, &one.replica) && !left_alone
    });
    let ending = ending.map(|one| async move { end_process(platform, &one).await });
    try_join_all(ending).await?;
    let Some(live) = live else {
        return Ok(());
    };
    for replica in live.replicas().filter(|replica| !replica.is_web()) {
        Box::pin(run_replica(platform, &live, &replica)).await?;
    }
    for process in platform.store.quieted(live.deploy).await? {
        wake(platform, &live, &process).await?;
        let deploy = live.deploy;
        platform.store.set_quieted(deploy, &process, false).await?;
    }
    Ok(())
}

/// Lets a process of the live release take work again.
async fn wake(platform: &Platform, live: &Release, process: &ProcessName) -> Result<(), Error> {
    let settings = live.manifest.processes.get(process);
    let asks = settings.and_then(|settings| settings.unquiet.as_ref());
    for one in background(platform, &live.app).await? {
        if one.deploy != live.deploy || one.replica.process != *process {
            continue;
        }
        info!(app = %live.app, deploy = %live.deploy, "{} of {} takes work again", one.replica, live.app);
        let asked = match asks {
            Some(asks) => request(platform, &one.container.id, asks, WAKES).await,
            None => Err("it is told nothing".to_owned()),
        };
        if asked.is_err() {
            let grace = settings.map_or(Duration::ZERO, |settings| settings.stop_grace.0);
            platform.engine.stop(&one.container.id, grace).await?;
            platform.engine.start(&one.container.id).await?;
        }
    }
    Ok(())
}

/// A container of the live release runs and is brought back by the engine; one that is gone is made
/// again.
pub(super) async fn run_replica(
    platform: &Platform,
    release: &Release,
    replica: &Replica,
) -> Result<(), Error> {
    let (app, deploy) = (&release.app, release.deploy);
    let name = &platform.naming.serving(app, deploy, replica);
    let mut there = platform.engine.container(name).await?;
    if there
        .as_ref()
        .is_some_and(|c| c.running && !c.addresses.contains_key(&platform.naming.network(app)))
    {
        warn!(%app, %deploy, "the live container {replica} of {app} was taken off its network");
        platform.engine.remove(name).await?;
        there = None;
    }
    match there {
        Some(there) => go_on(platform, release, replica, name, &there).await?,
        None if platform.engine.image(&release.image.0).await?.is_some() => {
            warn!(%app, %deploy, "the live container {replica} of {app} is gone; another takes its place");
            make_again(platform, release, replica, name).await?;
        }
        None => {
            warn!(%app, %deploy, "{replica} of {app} is down: its container and its image are gone. To bring it back: windlass redeploy {app}");
            return Ok(());
        }
    }
    let redactor = platform.redactor(app, &release.env).await?;
    if let Some(there) = platform.engine.container(name).await? {
        if replica.is_web() {
            lead(platform, app, &there, release.port)?;
        }
        let collector = &platform.collector;
        collector.collect(app, there.id, deploy, replica, redactor);
    }
    Ok(())
}

async fn go_on(
    platform: &Platform,
    release: &Release,
    replica: &Replica,
    name: &str,
    there: &ContainerState,
) -> Result<(), Error> {
    let (app, deploy) = (&release.app, release.deploy);
    if there.paused {
        info!(%app, %deploy, "the live container {replica} of {app} goes on");
        platform.engine.unpause(name).await?;
    }
    if !there.restart {
        platform.engine.set_restart(name, true).await?;
    }
    if !there.running {
        info!(%app, %deploy, "the live container {replica} of {app} is started");
        platform.engine.start(name).await?;
    }
    Ok(())
}

async fn make_again(
    platform: &Platform,
    release: &Release,
    replica: &Replica,
    name: &str,
) -> Result<(), Error> {
    let (app, deploy) = (&release.app, release.deploy);
    let image = Image::of(release.clone(), release.env.clone());
    let own = replica.clone();
    let spec = ContainerSpec {
        name: name.into(),
        restart: true,
        ..replica_container(platform, app, deploy, &image, own, release.port)
    };
    platform.collector.forget(deploy, replica);
    run_container(platform, app, spec).await
}
