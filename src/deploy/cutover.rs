//! Swap, verify, drain, retire: the live name moves to the candidate, and nobody is cut off.
//!
//! A swap is two renames and, between them, the write of a file: names say what is live, the file
//! tells Caddy where that is, for the next request. A Caddy too old to read files looks the live name
//! up anew each second; Docker's DNS follows a rename at once, and the fallback alias that both
//! containers bear covers the milliseconds in which no container has the live name. Nothing of it
//! touches the containers' connections. Until the old container is stopped, the same undoes it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::queue::insist;
use super::run::{Run, Stop, pause};
use super::start::Healthy;
use super::{Error, Windlass};
use crate::domain::duration::show;
use crate::domain::{AppName, DeployId, DeployStatus, Release};
use crate::engine::ContainerState;
use crate::logs::PhaseWriter;
use crate::proxy::{REFRESH, Upstream};

/// The container that held the live name.
#[derive(Debug, Clone)]
pub(super) struct Retiring {
    /// The deploy whose release it runs.
    deploy: DeployId,
    /// Its container's name since the swap.
    name: String,
    /// By which names and addresses Caddy may still have requests to it.
    hosts: Vec<String>,
    /// When it lost the live name.
    since: Instant,
}

/// The live name has moved.
pub(super) struct Cutover {
    release: Release,
    before: Option<Retiring>,
    /// The port that Caddy's route named before.
    port_before: Option<u16>,
}

/// The public URL answers; the release is live for good.
pub(super) struct Verified {
    before: Option<Retiring>,
}

/// The old container has no request left, or its time is up.
pub(super) struct Drained(Retiring);

impl Verified {
    /// The old container, unless this was the app's first release.
    pub fn retiring(self) -> Option<Retiring> {
        self.before
    }
}

/// Moves the live name from the container that has it to the candidate.
pub(super) async fn swap(run: &Run, log: &PhaseWriter, healthy: Healthy) -> Result<Cutover, Stop> {
    let (windlass, app) = (&run.windlass, &run.deploy.app);
    // From here to the end of this phase nothing is left half done because somebody cancelled.
    if let Some(stop) = run.cancel.asked() {
        return Err(stop);
    }
    let live = windlass.naming.live(app);
    let port_before = windlass.store.app(app).await?.port;
    let before = match windlass.engine.container(&live).await? {
        Some(container) => Some(Retiring::holder(windlass, app, &container)?),
        None => None,
    };
    let release = healthy.release;
    let moved = hand_over(
        run,
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
        put_back(run, log, &cutover).await;
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

impl Retiring {
    /// A container of the app that has lost the live name just now.
    pub fn new(
        windlass: &Windlass,
        app: &AppName,
        deploy: DeployId,
        container: &ContainerState,
    ) -> Self {
        let naming = &windlass.naming;
        let own = container
            .addresses
            .get(&naming.network(app))
            .map(Ipv4Addr::to_string);
        let hosts = own.into_iter().chain([naming.fallback(app)]).collect();
        Self {
            deploy,
            name: naming.release(app, deploy),
            hosts,
            since: Instant::now(),
        }
    }

    /// The container that has the live name, as it is about to lose it.
    fn holder(
        windlass: &Windlass,
        app: &AppName,
        container: &ContainerState,
    ) -> Result<Self, Error> {
        let unlabelled = || {
            let name = &container.name;
            Error::Refused(format!(
                "the container {name} has no deploy label; remove it and deploy again"
            ))
        };
        Ok(Self::new(
            windlass,
            app,
            container.deploy.ok_or_else(unlabelled)?,
            container,
        ))
    }
}

/// Takes the live name from whatever has it (which becomes `away`) and gives it to `to`.
///
/// Caddy reads address and port from files. One too old for that has, where the port differs, its
/// route pinned to the new container first and freed again afterwards, by two loads. An app's first
/// release adds its route by one, before anything moves: should Caddy refuse it, nothing has. No
/// other deploy loads a configuration.
async fn hand_over(
    run: &Run,
    away: Option<&str>,
    to: &str,
    deploy: DeployId,
    port: u16,
) -> Result<(), Error> {
    let (windlass, app) = (&run.windlass, &run.deploy.app);
    let live = windlass.naming.live(app);
    let route = windlass.store.app(app).await?.port;
    if route.is_some_and(|route| route != port) && !windlass.proxy_settings().can.files {
        let pinned = Upstream::Pinned {
            name: windlass.naming.release(app, deploy),
            port,
        };
        windlass.load_routes(Some((app, pinned))).await?;
    }
    let new = windlass
        .engine
        .container(to)
        .await?
        .ok_or_else(|| Error::Refused(format!("the container {to} is gone")))?;
    if route.is_none() {
        windlass.lead(app, &new, port)?;
        windlass.store.set_port(app, Some(port)).await?;
        windlass.load_routes(None).await?;
    }
    if let Some(away) = away {
        windlass.engine.rename(&live, away).await?;
    }
    // This moves the requests; an older Caddy, which reads no files, follows the name.
    windlass.lead(app, &new, port)?;
    windlass.engine.rename(to, &live).await?;
    if route.is_some_and(|route| route != port) {
        windlass.store.set_port(app, Some(port)).await?;
        windlass.load_routes(None).await?;
    }
    Ok(())
}

/// Undoes a swap. What cannot be undone now is settled when the deploy has ended; it must not take the
/// place of the reason why it ends.
async fn put_back(run: &Run, log: &PhaseWriter, cutover: &Cutover) {
    if let Err(error) = swap_back(run, log, cutover).await {
        log.say(format!("it could not be put back yet: {error}"));
    }
}

/// Gives the live name back to the old container; an app's first release just loses it.
async fn swap_back(run: &Run, log: &PhaseWriter, cutover: &Cutover) -> Result<(), Error> {
    let (windlass, app) = (&run.windlass, &run.deploy.app);
    let live = windlass.naming.live(app);
    let own = windlass.naming.release(app, cutover.release.deploy);
    let holder = windlass.engine.container(&live).await?;
    let holder = holder.filter(|c| c.deploy == Some(cutover.release.deploy));
    let reached = holder
        .map(|new| Retiring::holder(windlass, app, &new))
        .transpose()?;
    let away = reached.is_some().then_some(own.as_str());
    match (&cutover.before, cutover.port_before) {
        (Some(old), Some(port)) if windlass.engine.container(&old.name).await?.is_some() => {
            hand_over(run, away, &old.name, old.deploy, port).await?;
            log.say(format!("swapped back: deploy {} serves again", old.deploy));
        }
        _ => {
            if let Some(away) = away {
                windlass.engine.rename(&live, away).await?;
            }
            windlass.store.set_port(app, cutover.port_before).await?;
            windlass.load_routes(None).await?;
        }
    }
    // What reached the new container in the meantime may finish.
    tokio::time::sleep(REFRESH).await;
    if let Some(new) = reached {
        let limit = cutover.release.manifest.drain.timeout.0;
        windlass
            .finish_requests(&new, limit, &|line| log.say(line))
            .await;
    }
    Ok(())
}

/// Asks the public URL through Caddy until it answers as expected; then the release is live for good.
/// If it does not, or someone cancels, the old container gets the live name back.
pub(super) async fn verify(
    run: &Run,
    log: &PhaseWriter,
    cutover: Cutover,
) -> Result<Verified, Stop> {
    let mut done = run.or_stopped(watch_public_url(run, log, &cutover)).await;
    if done.is_ok() {
        done = go_live(run, &cutover.release).await;
    }
    if let Err(stop) = done {
        put_back(run, log, &cutover).await;
        return Err(stop);
    }
    let live = run.windlass.naming.live(&run.deploy.app);
    if let Err(error) = run.windlass.engine.set_restart(&live, true).await {
        log.say(format!("warning: {error}"));
    }
    if let Err(error) = run.windlass.settle_branch(&run.deploy.app, None).await {
        log.say(format!(
            "warning: the branch does not name this commit yet: {error}"
        ));
    }
    log.say(format!("deploy {} is live", run.deploy.id));
    Ok(Verified {
        before: cutover.before,
    })
}

/// One writing transaction: this deploy live, the one before it retired, the release kept.
async fn go_live(run: &Run, release: &Release) -> Result<(), Stop> {
    let store = &run.windlass.store;
    let Err(error) = store.go_live(release).await else {
        if let Some((id, size)) = run.image()
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

async fn watch_public_url(run: &Run, log: &PhaseWriter, cutover: &Cutover) -> Result<(), Stop> {
    let (windlass, app) = (&run.windlass, &run.deploy.app);
    let live = windlass.naming.live(app);
    // Before this an answer could still be the old container's.
    let asked = async {
        tokio::time::sleep(REFRESH).await;
        ask_until_good(run, log, cutover).await
    };
    tokio::select! {
        answer = asked => answer,
        exit = windlass.engine.wait(&live) => {
            let last = run.last_words(&live).await;
            Err(Stop::NotGood(format!("the new container ended with {exit} after the swap.{last}")))
        }
    }
}

async fn ask_until_good(run: &Run, log: &PhaseWriter, cutover: &Cutover) -> Result<(), Stop> {
    let verify = &cutover.release.manifest.verify;
    let row = run.windlass.store.app(&run.deploy.app).await?;
    let Some(domain) = row.domains.first() else {
        log.say("this app has no domain, so there is no public URL to ask");
        return Ok(());
    };
    let url = format!("{}{}", run.windlass.door.url(domain), verify.path);
    let (began, mut last) = (Instant::now(), String::new());
    loop {
        let said = match run
            .windlass
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
        pause(300).await;
    }
}

/// Waits until the old container has no request left, or the manifest's limit has passed.
pub(super) async fn drain(
    run: &Run,
    log: &PhaseWriter,
    retiring: Retiring,
) -> Result<Drained, Stop> {
    // Caddy may send requests by what it last looked up for one refresh after the swap.
    tokio::time::sleep(REFRESH.saturating_sub(retiring.since.elapsed())).await;
    let limit = run.manifest_of(run.deploy.id).await?.drain.timeout.0;
    run.windlass
        .finish_requests(&retiring, limit, &|line| log.say(line))
        .await;
    Ok(Drained(retiring))
}

impl Windlass {
    /// Waits until a container without the live name has no request left, no longer than `limit`.
    pub(super) async fn finish_requests(
        &self,
        retiring: &Retiring,
        limit: Duration,
        say: &(dyn Fn(&str) + Sync),
    ) {
        let (began, mut last) = (Instant::now(), String::new());
        loop {
            let left = limit
                .saturating_sub(began.elapsed())
                .max(Duration::from_secs(1));
            let said = match tokio::time::timeout(left, self.proxy.in_flight(&retiring.hosts)).await
            {
                Ok(Ok(0)) => return,
                Ok(Ok(left)) => format!("{left} requests still run in deploy {}", retiring.deploy),
                // Nobody can tell how many there are: they get the whole time.
                Ok(Err(error)) => error.to_string(),
                Err(_) => "Caddy does not tell how many requests still run".to_owned(),
            };
            if began.elapsed() >= limit {
                return say(&format!("{said} after {}; they end now", show(limit)));
            }
            if said != last {
                say(&said);
                last = said;
            }
            pause(100).await;
        }
    }
}

/// Stops the old container, keeps the rest of its output, and removes it.
pub(super) async fn retire(run: &Run, log: &PhaseWriter, drained: Drained) -> Result<(), Stop> {
    let Drained(old) = drained;
    let grace = run.manifest_of(old.deploy).await?.drain.stop_grace.0;
    let began = Instant::now();
    run.windlass
        .stop_and_remove(&old.name, old.deploy, grace)
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
