//! What an app's containers take of the machine right now.

use futures_util::future::join_all;

use crate::domain::{AppName, DeployId};
use crate::platform::{Error, Platform};
use crate::runtime::{ContainerState, Load, Role};

/// A container of an app, and what it takes.
#[derive(Debug)]
pub struct ContainerUsage {
    /// What it is there for: `live`, `candidate`, `retiring` or `gate`.
    pub part: &'static str,
    /// Of which deploy.
    pub deploy: Option<DeployId>,
    /// Whether its process runs.
    pub running: bool,
    /// How often the engine brought it back.
    pub restarts: u64,
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
            running: container.running,
            restarts: container.restarts,
            load,
        }
    };
    let mut all = join_all(containers.into_iter().take(20).map(look)).await;
    all.sort_by_key(|one| (one.part != "live", one.deploy));
    Ok(all)
}

fn part(
    platform: &Platform,
    app: &AppName,
    container: &ContainerState,
    live: Option<DeployId>,
) -> &'static str {
    match container.role {
        Some(Role::Gate) => "gate",
        _ if container.name == platform.naming.live(app) => "live",
        _ if container.deploy < live => "retiring",
        _ => "candidate",
    }
}
