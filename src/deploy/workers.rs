//! Workers: what runs beside `web` is replaced, once the swap is done and before it is verified.
//!
//! The old ones are told to take no new work, the new ones begin and have to stay up. Until verify is
//! through, each old container is there: it runs, quiet, or where its process must not run twice it has
//! ended and can be started again. What was told to be quiet is written down before, so that a server
//! that begins anew finds it. The old ones end behind the push, with the drain.

use std::time::Duration;

use futures_util::future::{join_all, select_all, try_join_all};
use tokio::time::Instant;

use super::cutover::{Cutover, put_back};
use crate::attempt::{Attempt, Ended, Stop};
use crate::domain::process::{Order, ProcessSettings};
use crate::domain::{DeployId, Phase, Release, Replica};
use crate::logs::PhaseWriter;
use crate::platform::Error;
use crate::reconcile::live_release;
use crate::workload::{
    Background, Image, background, end_process, grace_of, replica_container, request, run_container,
};

/// How long the command that has a process take no new work may run.
const QUIETS: Duration = Duration::from_secs(60);
/// How long one run of a process's health command may take.
const ASKS: Duration = Duration::from_secs(30);

/// Replaces what runs beside `web`, where anything does.
pub async fn replace_workers(attempt: &Attempt, cutover: Cutover) -> Result<Cutover, Ended> {
    let there = background(&attempt.platform, &attempt.deploy.app).await;
    let none = there.is_ok_and(|there| there.is_empty());
    if none && cutover.release.replicas().all(|replica| replica.is_web()) {
        return Ok(cutover);
    }
    // Few apps have any: the others' deploys need not carry the room for it.
    Box::pin(attempt.phase(Phase::Workers, replace, cutover)).await
}

async fn replace(attempt: &Attempt, log: &PhaseWriter, cutover: Cutover) -> Result<Cutover, Stop> {
    let replaced = attempt.or_stopped(Box::pin(take_over(attempt, log, &cutover.release)));
    match replaced.await {
        Ok(()) => Ok(cutover),
        Err(stop) => {
            put_back(attempt, log, &cutover).await;
            Err(stop)
        }
    }
}

async fn take_over(attempt: &Attempt, log: &PhaseWriter, release: &Release) -> Result<(), Stop> {
    let (platform, app) = (&attempt.platform, &attempt.deploy.app);
    let mut there = background(platform, app).await?;
    there.retain(|one| one.deploy != release.deploy && one.container.running);
    if let Some(old) = live_release(platform, app).await? {
        quiet(attempt, log, &old, &there).await?;
    }
    end_first(attempt, log, release, &there).await?;
    let image = Image::of(release.clone(), release.env.clone());
    let new: Vec<Replica> = release.replicas().filter(|r| !r.is_web()).collect();
    for replica in &new {
        let (own, port) = (replica.clone(), release.port);
        let spec = replica_container(platform, app, release.deploy, &image, own, port);
        let name = spec.name.clone();
        run_container(platform, app, spec).await?;
        let (collector, redactor) = (&platform.collector, attempt.redactor());
        collector.collect(app, name, release.deploy, replica, redactor);
        log.say(format!("{replica} of deploy {} has begun", release.deploy));
    }
    let proofs = new
        .iter()
        .map(|replica| prove(attempt, log, release, replica));
    try_join_all(proofs).await?;
    Ok(())
}

/// Has the processes of the release before take no new work. One that cannot be told goes on as it is.
async fn quiet(
    attempt: &Attempt,
    log: &PhaseWriter,
    old: &Release,
    there: &[Background],
) -> Result<(), Error> {
    let platform = &attempt.platform;
    for (process, settings) in &old.manifest.processes {
        let Some(asks) = &settings.quiet else {
            continue;
        };
        platform
            .store
            .set_quieted(old.deploy, process, true)
            .await?;
        let told = |one: &&Background| one.deploy == old.deploy && one.replica.process == *process;
        for one in there.iter().filter(told) {
            let (replica, deploy) = (&one.replica, one.deploy);
            log.say(
                match request(platform, &one.container.id, asks, QUIETS).await {
                    Ok(()) => format!("{replica} of deploy {deploy} takes no new work"),
                    Err(error) => {
                        format!("warning: {replica} of deploy {deploy} is not quiet: {error}")
                    }
                },
            );
        }
    }
    Ok(())
}

/// Ends the old containers of processes that must not run twice, also one that ends already behind an
/// earlier deploy. They stay, to be started again if the new release does not go live.
async fn end_first(
    attempt: &Attempt,
    log: &PhaseWriter,
    release: &Release,
    there: &[Background],
) -> Result<(), Error> {
    let platform = &attempt.platform;
    let ending = there.iter().filter(|one| {
        let settings = release.manifest.processes.get(&one.replica.process);
        settings.is_some_and(|settings| settings.order == Order::StopFirst)
    });
    let ends = ending.map(|one| async {
        let grace = grace_of(platform, one.deploy, &one.replica).await?;
        // Ended by us it must not come back by itself.
        platform
            .engine
            .set_restart(&one.container.id, false)
            .await?;
        platform.engine.stop(&one.container.id, grace).await?;
        log.say(format!(
            "{} of deploy {} has ended",
            one.replica, one.deploy
        ));
        Ok::<(), Error>(())
    });
    try_join_all(ends).await?;
    Ok(())
}

/// Waits until a new container has stayed up for its `min_healthy`, and its health command passes.
async fn prove(
    attempt: &Attempt,
    log: &PhaseWriter,
    release: &Release,
    replica: &Replica,
) -> Result<(), Stop> {
    let platform = &attempt.platform;
    let Some(settings) = release.manifest.processes.get(&replica.process) else {
        return Ok(());
    };
    let name = platform
        .naming
        .replica(&release.app, release.deploy, replica);
    let held = tokio::select! {
        held = hold(attempt, release, settings, &name) => held,
        exit = platform.engine.wait(&name) => Err(format!("ended with {exit}")),
    };
    match held {
        Ok(()) => {
            log.say(format!("{replica} holds"));
            Ok(())
        }
        Err(why) => {
            let last = attempt.last_words(&name).await;
            Err(Stop::NotGood(format!("{replica} {why}.{last}")))
        }
    }
}

async fn hold(
    attempt: &Attempt,
    release: &Release,
    settings: &ProcessSettings,
    name: &str,
) -> Result<(), String> {
    let health = &release.manifest.health;
    let began = Instant::now();
    while let Some(check) = &settings.health {
        let engine = &attempt.platform.engine;
        let why = match engine.exec(name, &check.run.0, ASKS).await {
            Ok((0, _)) => break,
            Ok((status, said)) => {
                let said = said.lines().last().unwrap_or_default();
                let said = attempt.redactor().clean(said.as_bytes());
                let said = crate::domain::printable(&said, 200);
                format!("`{}` ends with {status}: {said}", check.run)
            }
            Err(error) => error.to_string(),
        };
        if began.elapsed() >= health.deadline.0 {
            let deadline = health.deadline;
            return Err(format!("is not healthy after {deadline}: {why}"));
        }
        tokio::time::sleep(health.interval.0).await;
    }
    tokio::time::sleep(settings.min_healthy.0.saturating_sub(began.elapsed())).await;
    Ok(())
}

/// Ends, with the reason, once one of a release's containers beside `web` does; never while all run.
pub(super) async fn one_ends(attempt: &Attempt, release: &Release) -> Stop {
    let platform = &attempt.platform;
    let waits = release.replicas().filter(|replica| !replica.is_web());
    let waits: Vec<_> = waits
        .map(|replica| {
            let naming = &platform.naming;
            let name = naming.replica(&release.app, release.deploy, &replica);
            Box::pin(async move {
                let exit = platform.engine.wait(&name).await;
                let last = attempt.last_words(&name).await;
                Stop::NotGood(format!("{replica} ended with {exit} after the swap.{last}"))
            })
        })
        .collect();
    match waits.is_empty() {
        true => std::future::pending().await,
        false => select_all(waits).await.0,
    }
}

/// Ends what ran beside `web` for a deploy that is no longer live. What each does now may come to its
/// end, within its grace.
pub(super) async fn end_workers(attempt: &Attempt, log: &PhaseWriter, deploy: DeployId) {
    let platform = &attempt.platform;
    let Ok(there) = background(platform, &attempt.deploy.app).await else {
        // Whoever puts the app in order finds them.
        return;
    };
    let old = there.iter().filter(|one| one.deploy == deploy);
    let ends = old.map(|one| async {
        log.say(match end_process(platform, one).await {
            Ok(()) => format!("{} of deploy {deploy} has ended", one.replica),
            Err(error) => format!("{} of deploy {deploy} is left: {error}", one.replica),
        });
    });
    join_all(ends).await;
}
