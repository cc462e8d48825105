//! Swap, verify, drain, retire: the live name moves to the candidate, and nobody is cut off.
//!
//! A swap is two renames of containers and, between them, that of a file: names say what is live, the
//! file's name tells Caddy where that is, for the next request. A Caddy too old to read files looks the live name
//! up anew each second; Docker's DNS follows a rename at once, and the fallback alias that both
//! containers bear covers the milliseconds in which no container has the live name. Nothing of it
//! touches the containers' connections. Until the old container is stopped, the same undoes it.

use std::time::Duration;

use tokio::time::Instant;

use super::health::Healthy;
use super::workers::{end_workers, one_ends};
use crate::attempt::{Attempt, Stop, insist};
use crate::domain::duration::show;
use crate::domain::{DeployId, DeployStatus, Manifest, Release, Replica};
use crate::logs::PhaseWriter;
use crate::platform::{Error, Platform};
use crate::proxy::{REFRESH, Upstream};
use crate::reconcile::{restore_branch, settle_processes};
use crate::workload::{Retiring, finish_requests, lead, load_routes, stop_and_remove};

/// The live name has moved.
pub struct Cutover {
    /// What is to be live for good.
    pub release: Release,
    before: Option<Retiring>,
    /// The port that Caddy's route named before.
    port_before: Option<u16>,
}

/// The public URL answers; the release is live for good.
pub struct Verified {
    before: Option<Retiring>,
}

/// The old container has no request left, or its time is up.
pub struct Drained(Retiring);

impl Verified {
    /// The old container, which is to be let go; none where this was the app's first release.
    pub fn retiring(self) -> Option<Retiring> {
        self.before
    }
}

/// Moves the live name from the container that has it to the candidate.
pub async fn swap(attempt: &Attempt, log: &PhaseWriter, healthy: Healthy) -> Result<Cutover, Stop> {
    let (platform, app) = (&attempt.platform, &attempt.deploy.app);
    // From here to the end of this phase nothing is left half done because somebody cancelled.
    if let Some(stop) = attempt.cancel.asked() {
        return Err(stop);
    }
    let live = platform.naming.live(app);
    let port_before = platform.store.app(app).await?.port;
    let before = match platform.engine.container(&live).await? {
        Some(container) => Some(Retiring::holder(platform, app, &container)?),
        None => None,
    };
    let release = healthy.release;
    let moved = hand_over(
        attempt,
        before.as_ref().map(|b| b.name.as_str()),
        &healthy.name,
        release.deploy,
        release.port,
    );
    if let Err(error) = moved.await {
        log.say(format!("the swap broke off, putting it back: {error}"));
        let cutover = Cutover {
            release,
            before,
            port_before,
        };
        put_back(attempt, log, &cutover).await;
        return Err(error.into());
    }
    match &before {
        Some(old) => log.say(format!(
            "the live name moved from deploy {} to deploy {}",
            old.deploy, release.deploy
        )),
        None => log.say("the live name goes to this app's first release"),
    }
    Ok(Cutover {
        release,
        before,
        port_before,
    })
}

/// Takes the live name from whatever has it (which becomes `away`) and gives it to `to`.
///
/// Caddy is led by files. One too old for that has, where the port differs, its route pinned to the new
/// container first and freed again afterwards, by two loads. An app's first release has its route before
/// anything moves: should there be none, as an older Caddy refuses it, nothing has.
async fn hand_over(
    attempt: &Attempt,
    away: Option<&str>,
    to: &str,
    deploy: DeployId,
    port: u16,
) -> Result<(), Error> {
    let (platform, app) = (&attempt.platform, &attempt.deploy.app);
    let live = platform.naming.live(app);
    let route = platform.store.app(app).await?.port;
    if route.is_some_and(|route| route != port) && !platform.proxy_settings().can.files {
        let pinned = Upstream::Pinned {
            name: platform.naming.replica(app, deploy, &Replica::web()),
            port,
        };
        load_routes(platform, Some((app, pinned))).await?;
    }
    let new = platform
        .engine
        .container(to)
        .await?
        .ok_or_else(|| Error::Refused(format!("the container {to} is gone")))?;
    if route.is_none() {
        lead(platform, app, &new, port)?;
        platform.store.set_port(app, Some(port)).await?;
        load_routes(platform, None).await?;
    }
    if let Some(away) = away {
        platform.engine.rename(&live, away).await?;
    }
    // This moves the requests; an older Caddy, which reads no files, follows the name.
    lead(platform, app, &new, port)?;
    platform.engine.rename(to, &live).await?;
    if route.is_some_and(|route| route != port) {
        platform.store.set_port(app, Some(port)).await?;
        load_routes(platform, None).await?;
    }
    Ok(())
}

/// Undoes a swap. What cannot be undone now is settled when the deploy has ended; it must not take the
/// place of the reason why it ends.
pub(super) async fn put_back(attempt: &Attempt, log: &PhaseWriter, cutover: &Cutover) {
    if let Err(error) = swap_back(attempt, log, cutover).await {
        log.say(format!("it could not be put back yet: {error}"));
    }
    if let Err(error) = Box::pin(settle_processes(&attempt.platform, &attempt.deploy.app)).await {
        log.say(format!(
            "what runs beside web is not as before yet: {error}"
        ));
    }
}

/// Gives the live name back to the old container; an app's first release just loses it.
async fn swap_back(attempt: &Attempt, log: &PhaseWriter, cutover: &Cutover) -> Result<(), Error> {
    let (platform, app) = (&attempt.platform, &attempt.deploy.app);
    let live = platform.naming.live(app);
    let own = platform
        .naming
        .replica(app, cutover.release.deploy, &Replica::web());
    let holder = platform.engine.container(&live).await?;
    let holder = holder.filter(|c| c.deploy == Some(cutover.release.deploy));
    let reached = holder
        .map(|new| Retiring::holder(platform, app, &new))
        .transpose()?;
    let away = reached.is_some().then_some(own.as_str());
    match (&cutover.before, cutover.port_before) {
        (Some(old), Some(port)) if platform.engine.container(&old.name).await?.is_some() => {
            hand_over(attempt, away, &old.name, old.deploy, port).await?;
            log.say(format!("swapped back: deploy {} serves again", old.deploy));
        }
        _ => {
            if let Some(away) = away {
                platform.engine.rename(&live, away).await?;
            }
            platform.store.set_port(app, cutover.port_before).await?;
            load_routes(platform, None).await?;
        }
    }
    // What reached the new container in the meantime may finish.
    tokio::time::sleep(REFRESH).await;
    if let Some(new) = reached {
        let limit = cutover.release.manifest.drain.timeout.0;
        finish_requests(platform, &new, limit, &|line| log.say(line)).await;
    }
    Ok(())
}

/// Asks the public URL through Caddy until it answers as expected; then the release is live for good.
/// If it does not, or someone cancels, the old container gets the live name back.
pub async fn verify(
    attempt: &Attempt,
    log: &PhaseWriter,
    cutover: Cutover,
) -> Result<Verified, Stop> {
    let mut done = attempt
        .or_stopped(watch_public_url(attempt, log, &cutover))
        .await;
    if done.is_ok() {
        done = go_live(attempt, &cutover.release).await;
    }
    if let Err(stop) = done {
        put_back(attempt, log, &cutover).await;
        return Err(stop);
    }
    bring_back(attempt, log, &cutover.release).await;
    if let Err(error) = restore_branch(&attempt.platform, &attempt.deploy.app, None).await {
        log.say(format!(
            "warning: the branch does not name this commit yet: {error}"
        ));
    }
    log.say(format!("deploy {} is live", attempt.deploy.id));
    Ok(Verified {
        before: cutover.before,
    })
}

/// From here on the engine brings back what ends by itself.
async fn bring_back(attempt: &Attempt, log: &PhaseWriter, release: &Release) {
    let (platform, app) = (&attempt.platform, &attempt.deploy.app);
    for replica in release.replicas() {
        let name = platform.naming.serving(app, release.deploy, &replica);
        if let Err(error) = platform.engine.set_restart(&name, true).await {
            log.say(format!("warning: {error}"));
        }
    }
}

/// One writing transaction: this deploy live, the one before it retired, the release kept.
async fn go_live(attempt: &Attempt, release: &Release) -> Result<(), Stop> {
    let store = &attempt.platform.store;
    let Err(error) = store.go_live(release).await else {
        if let Some((id, size)) = attempt.image()
            && let Err(error) = store.set_image_facts(release.deploy, id, *size).await
        {
            tracing::warn!(%error, "what image deploy {} runs is not written", release.deploy);
        }
        return Ok(());
    };
    // The row tells whether it was written all the same, and everything that follows goes by it.
    match insist(|| store.deploy(release.deploy)).await {
        Some(deploy) if deploy.status == DeployStatus::Live => Ok(()),
        _ => Err(error.into()),
    }
}

async fn watch_public_url(
    attempt: &Attempt,
    log: &PhaseWriter,
    cutover: &Cutover,
) -> Result<(), Stop> {
    let (platform, app) = (&attempt.platform, &attempt.deploy.app);
    let live = platform.naming.live(app);
    let asked = async {
        // A Caddy that reads files leads the very next request to the new container. An older one
        // may, until it looks the name up anew, still get an answer of the old one.
        if !platform.proxy_settings().can.files {
            tokio::time::sleep(REFRESH).await;
        }
        ask_until_good(attempt, log, cutover).await
    };
    tokio::select! {
        answer = asked => answer,
        exit = platform.engine.wait(&live) => {
            let last = attempt.last_words(&live).await;
            Err(Stop::NotGood(format!("the new container ended with {exit} after the swap.{last}")))
        }
        stop = Box::pin(one_ends(attempt, &cutover.release)) => Err(stop),
    }
}

async fn ask_until_good(
    attempt: &Attempt,
    log: &PhaseWriter,
    cutover: &Cutover,
) -> Result<(), Stop> {
    let verify = &cutover.release.manifest.verify;
    let row = attempt.platform.store.app(&attempt.deploy.app).await?;
    let Some(domain) = row.domains.first() else {
        log.say("this app has no domain, so there is no public URL to ask");
        return Ok(());
    };
    let url = format!("{}{}", attempt.platform.door.url(domain), verify.path);
    let (began, mut last) = (Instant::now(), String::new());
    loop {
        let said = match attempt
            .platform
            .door
            .ask(domain, &verify.path, Duration::from_secs(10))
            .await
        {
            Ok(status) if verify.status.contains(status) => {
                log.say(format!("{url} answers {status}"));
                return Ok(());
            }
            Ok(status) => format!("answers {status}, not {}", verify.status),
            Err(error) => error,
        };
        if said != last {
            log.say(format!("{url}: {said}"));
            last.clone_from(&said);
        }
        if began.elapsed() >= verify.timeout.0 {
            return Err(Stop::NotGood(format!(
                "after {} {url} still {said}",
                verify.timeout
            )));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Waits until the old container has no request left, or the manifest's limit has passed. Meanwhile what
/// ran beside it ends.
pub async fn drain(
    attempt: &Attempt,
    log: &PhaseWriter,
    retiring: Retiring,
) -> Result<Drained, Stop> {
    // Caddy may send requests by what it last looked up for one refresh after the swap.
    tokio::time::sleep(REFRESH.saturating_sub(retiring.since.elapsed())).await;
    let limit = manifest_of(&attempt.platform, attempt.deploy.id)
        .await?
        .drain
        .timeout
        .0;
    let say = |line: &str| log.say(line);
    tokio::join!(
        finish_requests(&attempt.platform, &retiring, limit, &say),
        Box::pin(end_workers(attempt, log, retiring.deploy))
    );
    Ok(Drained(retiring))
}

/// Stops the old container, keeps the rest of its output, and removes it.
pub async fn retire(attempt: &Attempt, log: &PhaseWriter, drained: Drained) -> Result<(), Stop> {
    let Drained(old) = drained;
    let grace = manifest_of(&attempt.platform, old.deploy)
        .await?
        .drain
        .stop_grace
        .0;
    let began = Instant::now();
    stop_and_remove(
        &attempt.platform,
        &old.name,
        old.deploy,
        &Replica::web(),
        grace,
    )
    .await?;
    if began.elapsed() >= grace {
        log.say(format!(
            "it did not end on SIGTERM within {} and was killed",
            show(grace)
        ));
    }
    log.say(format!("the container of deploy {} is gone", old.deploy));
    Ok(())
}

/// The manifest that a deploy's release ran with.
async fn manifest_of(platform: &Platform, deploy: DeployId) -> Result<Manifest, Error> {
    let release = platform.store.release(deploy).await?;
    Ok(release.map(|release| release.manifest).unwrap_or_default())
}
