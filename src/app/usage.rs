//! What an app's containers take of the machine right now.

use futures_util::future::join_all;

use crate::domain::process::Condition;
use crate::domain::{AppName, DeployId, Replica, ReplicaState, Timestamp};
use crate::platform::{Error, Platform};
use crate::reconcile::live_release;
use crate::runtime::{ContainerState, Exit, Load, Role};

/// A container of an app, and what it takes.
#[derive(Debug)]
pub struct ContainerUsage {
    /// What it is there for: `live`, `candidate`, `retiring` or `gate`.
    pub part: &'static str,
    /// Of which deploy.
    pub deploy: Option<DeployId>,
    /// Which replica of which process; none for a gate.
    pub replica: Option<Replica>,
    /// Whether its process runs.
    pub running: bool,
    /// How often the engine brought it back.
    pub restarts: u64,
    /// Since when it stands so.
    pub since: Option<Timestamp>,
    /// Whether somebody paused it.
    pub paused: bool,
    /// How it ended, where it has.
    pub exit: Option<Exit>,
    /// What it takes; none where it does not run, or the engine does not tell soon.
    pub load: Option<Load>,
}

/// An app's containers with what they take, the live one first; none where there is no such app. Asks
/// the engine, which measures for a second.
pub async fn usage(platform: &Platform, app: &AppName) -> Result<Vec<ContainerUsage>, Error> {
    let live = platform.store.live_deploy(app).await?.map(|live| live.id);
    let containers = platform.engine.containers(Some(app), None).await?;
    let look = |container: ContainerState| async move {
        let load = match container.running {
            true => platform.engine.load(&container.id).await,
            false => None,
        };
        ContainerUsage {
            part: part(platform, app, &container, live),
            deploy: container.deploy,
            replica: container.replica.clone(),
            running: container.running,
            restarts: container.restarts,
            since: container.since,
            paused: container.paused,
            exit: container.exit,
            load,
        }
    };
    let mut all = join_all(containers.into_iter().take(20).map(look)).await;
    all.sort_by_key(|one| (one.part != "live", one.deploy, one.replica.clone()));
    Ok(all)
}

/// The containers of an app's processes, those of the live release first, with those that should be there
/// and are not.
pub async fn processes(platform: &Platform, app: &AppName) -> Result<Vec<ReplicaState>, Error> {
    platform.store.app(app).await?;
    let live = live_release(platform, app).await?;
    let there = usage(platform, app).await?;
    let mut all: Vec<ReplicaState> = there.iter().filter_map(state).collect();
    for release in live.iter() {
        let known: Vec<Replica> = all
            .iter()
            .filter(|one| one.part == "live")
            .map(|one| Replica {
                process: one.process.clone(),
                number: one.replica,
            })
            .collect();
        let missing = release
            .replicas()
            .filter(|replica| !known.contains(replica));
        all.extend(missing.map(|replica| missing_one(replica, release.deploy)));
    }
    let place = |one: &ReplicaState| (one.part != "live", one.release, !one.process.is_web());
    all.sort_by_key(|one| (place(one), one.process.clone(), one.replica));
    Ok(all)
}

fn state(one: &ContainerUsage) -> Option<ReplicaState> {
    let replica = one.replica.clone()?;
    Some(ReplicaState {
        process: replica.process,
        replica: replica.number,
        state: match (one.running, one.paused) {
            (_, true) => Condition::Paused,
            (true, _) => Condition::Running,
            (false, _) => Condition::Stopped,
        },
        part: one.part.to_owned(),
        release: one.deploy?,
        since: one.since,
        node: None,
        cpu_percent: one.load.map(|load| load.cpu),
        memory_bytes: one.load.map(|load| load.memory),
        restarts: one.restarts,
        last_exit: one.exit.map(|exit| exit.status),
    })
}

fn missing_one(replica: Replica, release: DeployId) -> ReplicaState {
    ReplicaState {
        process: replica.process,
        replica: replica.number,
        state: Condition::Missing,
        part: "live".to_owned(),
        release,
        since: None,
        node: None,
        cpu_percent: None,
        memory_bytes: None,
        restarts: 0,
        last_exit: None,
    }
}

fn part(
    platform: &Platform,
    app: &AppName,
    container: &ContainerState,
    live: Option<DeployId>,
) -> &'static str {
    match container.role {
        Some(Role::Gate) => "gate",
        Some(Role::Process) if container.deploy == live => "live",
        _ if container.name == platform.naming.live(app) => "live",
        _ if container.deploy < live => "retiring",
        _ => "candidate",
    }
}
