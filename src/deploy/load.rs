//! What an app's containers take of the machine right now.

use futures_util::future::join_all;

use super::{Error, Windlass};
use crate::domain::{AppName, DeployId};
use crate::engine::{ContainerState, Load, Role};

/// A container of an app, and what it takes.
#[derive(Debug)]
pub struct Running {
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

impl Windlass {
    /// An app's containers with what they take, the live one first; none where there is no such app. Asks
    /// the engine, which measures for a second.
    pub async fn loads(&self, app: &AppName) -> Result<Vec<Running>, Error> {
        let live = self.store.live_deploy(app).await?.map(|live| live.id);
        let containers = self.engine.containers(Some(app), None).await?;
        let look = |container: ContainerState| async move {
            let load = match container.running {
                true => self.engine.load(&container.id).await,
                false => None,
            };
            Running {
                part: self.part(app, &container, live),
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
        &self,
        app: &AppName,
        container: &ContainerState,
        live: Option<DeployId>,
    ) -> &'static str {
        match container.role {
            Some(Role::Gate) => "gate",
            _ if container.name == self.naming.live(app) => "live",
            _ if container.deploy < live => "retiring",
            _ => "candidate",
        }
    }
}
