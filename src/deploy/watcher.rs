//! Watching the engine: what changed without us is put in order, within moments.
//!
//! The engine tells of containers that end, are removed or renamed. An app's worker then settles the
//! app, and a Caddy that is gone is made again. When the engine itself was away, everything is looked
//! at once it is back.

use std::time::Duration;

use futures_util::StreamExt;
use tracing::{info, warn};

use super::{Error, Windlass};
use crate::domain::Timestamp;
use crate::engine::{Change, Now, Role};

/// How long the engine has for saying that it is there.
const ANSWER: Duration = Duration::from_secs(5);

impl Windlass {
    /// Whether the engine answers, and soon.
    pub async fn reach_engine(&self) -> Result<(), Error> {
        match tokio::time::timeout(ANSWER, self.engine.facts()).await {
            Ok(answered) => Ok(answered.map(drop)?),
            Err(_) => Err(self.engine.silent(ANSWER).into()),
        }
    }

    /// Brings everything on the engine in order: Caddy, what belongs to no app, and each app.
    pub async fn put_in_order(&self) -> Result<(), Error> {
        self.look_what_runs().await?;
        self.ensure_edge().await?;
        self.remove_orphans().await?;
        for app in self.store.apps().await? {
            self.workers.nudge(&app.name);
        }
        Ok(())
    }

    /// Asks the engine what runs, for pages to know.
    async fn look_what_runs(&self) -> Result<(), Error> {
        let asked = async {
            self.reach_engine().await?;
            Ok::<_, Error>(self.engine.running().await?)
        };
        let (running, failed) = match asked.await {
            Ok(running) => (Some(running), None),
            Err(error) => (None, Some(error)),
        };
        if self.running.set(running) {
            self.news.for_everybody();
        }
        failed.map_or(Ok(()), Err)
    }

    /// Watches the engine until dropped. `in_order`: everything was put in order at `since`.
    pub async fn watch_engine(self, mut in_order: bool, mut since: Timestamp) {
        loop {
            if !in_order {
                since = self.wait_for_engine().await;
            }
            let mut changes = std::pin::pin!(self.engine.changes(since));
            while let Some(Ok(change)) = changes.next().await {
                if let Err(error) = self.react(change).await {
                    warn!(%error, "a change on the engine could not be put in order");
                    break;
                }
            }
            in_order = false;
            // Until it is reached again, which may be at once.
            if self.running.set(None) {
                self.news.for_everybody();
            }
        }
    }

    /// Waits until the engine is there and everything on it is in order.
    async fn wait_for_engine(&self) -> Timestamp {
        let mut told = String::new();
        loop {
            let since = Timestamp::now();
            let error = match self.put_in_order().await {
                Ok(()) => {
                    info!("everything on the Docker engine is in order");
                    return since;
                }
                Err(error) => error.to_string(),
            };
            if error != told {
                warn!(%error, "not everything is in order; trying again until it is");
                told = error;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn react(&self, change: Change) -> Result<(), Error> {
        match change {
            Change::Container {
                id,
                name,
                now,
                role,
                app,
            } => {
                self.running.change(id, name, now);
                app.iter().for_each(|app| self.news.of(app));
                match (role, app) {
                    // That something began takes nothing from anybody.
                    _ if now == Now::Runs => {}
                    (Some(Role::Caddy), _) => self.ensure_edge().await?,
                    (_, Some(app)) => self.workers.nudge(&app),
                    _ => {}
                }
            }
            Change::Network => self.ensure_edge().await?,
        }
        Ok(())
    }

    /// Removes this installation's containers and networks that belong to no app, nor are Caddy's.
    async fn remove_orphans(&self) -> Result<(), Error> {
        // Apps are read last: one that is made meanwhile is known then.
        let (containers, networks) = (
            self.engine.containers(None, None).await?,
            self.engine.networks().await?,
        );
        let apps = self.store.apps().await?;
        for container in containers {
            let wanted = match (container.role, &container.app) {
                (Some(Role::Caddy), _) => container.name == self.naming.caddy(),
                (_, Some(app)) => apps.iter().any(|known| known.name == *app),
                _ => false,
            };
            if !wanted {
                info!(container = container.name, "removing a container left over");
                self.engine.remove(&container.id).await?;
            }
        }
        let mut wanted: Vec<String> = apps
            .iter()
            .map(|app| self.naming.network(&app.name))
            .collect();
        wanted.push(self.naming.edge());
        for network in networks
            .into_iter()
            .filter(|network| !wanted.contains(network))
        {
            self.engine
                .disconnect(&network, &self.naming.caddy())
                .await?;
            // One that somebody else's container stands on stays: it is no longer only ours.
            if let Err(error) = self.engine.remove_network(&network).await {
                warn!(network, %error, "a network left over stays");
            }
        }
        Ok(())
    }
}
