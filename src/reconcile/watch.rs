//! Watching the engine: what changed without us is put in order, within moments.
//!
//! The engine tells of containers that end, are removed or renamed. An app's worker then settles the
//! app, and a Caddy that is gone is made again. When the engine itself was away, everything is looked
//! at once it is back.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tracing::{info, warn};

use super::edge::ensure_edge;
use crate::domain::{AppName, Timestamp};
use crate::platform::{Error, Platform};
use crate::runtime::{Change, EngineError, Now, Role};

/// Whoever puts an app in order when told that something of it has changed: its worker.
pub trait Nudge: Sync {
    /// Something of this app may not be as the database says.
    fn nudge(&self, app: &AppName);
}

/// Brings everything on the engine in order: Caddy, what belongs to no app, and each app.
pub async fn put_in_order(platform: &Platform, workers: &dyn Nudge) -> Result<(), Error> {
    look_what_runs(platform).await?;
    ensure_edge(platform, workers).await?;
    remove_orphans(platform).await?;
    for app in platform.store.apps().await? {
        workers.nudge(&app.name);
    }
    Ok(())
}

/// Asks the engine what runs, for pages to know.
async fn look_what_runs(platform: &Platform) -> Result<(), Error> {
    let asked = async {
        platform.reach_engine().await?;
        Ok::<_, Error>(platform.engine.running().await?)
    };
    let (running, failed) = match asked.await {
        Ok(running) => (Some(running), None),
        Err(error) => (None, Some(error)),
    };
    if platform.running.set(running) {
        platform.change_feed.for_everybody();
    }
    failed.map_or(Ok(()), Err)
}

/// Watches the engine until dropped. `in_order`: everything was put in order at `since`.
pub async fn watch_engine(
    platform: &Platform,
    workers: &dyn Nudge,
    mut in_order: bool,
    mut since: Timestamp,
) {
    loop {
        if !in_order {
            since = wait_for_engine(platform, workers).await;
        }
        let mut changes = std::pin::pin!(platform.engine.changes(since));
        while let Some(Ok(change)) = next_change(platform, &mut changes).await {
            if let Err(error) = react(platform, workers, change).await {
                warn!(%error, "a change on the engine could not be put in order");
                break;
            }
        }
        in_order = false;
        // Until it is reached again, which may be at once.
        if platform.running.set(None) {
            platform.change_feed.for_everybody();
        }
    }
}

/// What changes next; none where the engine is away, or something was left over on it.
async fn next_change(
    platform: &Platform,
    changes: &mut (impl Stream<Item = Result<Change, EngineError>> + Unpin),
) -> Option<Result<Change, EngineError>> {
    tokio::select! {
        change = changes.next() => change,
        () = platform.left_over.notified() => None,
    }
}

/// Waits until the engine is there and everything on it is in order.
async fn wait_for_engine(platform: &Platform, workers: &dyn Nudge) -> Timestamp {
    let mut told = String::new();
    loop {
        let since = Timestamp::now();
        let error = match put_in_order(platform, workers).await {
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

async fn react(platform: &Platform, workers: &dyn Nudge, change: Change) -> Result<(), Error> {
    match change {
        Change::Container {
            id,
            name,
            now,
            role,
            app,
        } => {
            platform.running.change(id, name, now);
            app.iter().for_each(|app| platform.change_feed.of(app));
            match (role, app) {
                // That something began takes nothing from anybody.
                _ if now == Now::Runs => {}
                (Some(Role::Caddy), _) => ensure_edge(platform, workers).await?,
                (_, Some(app)) => workers.nudge(&app),
                _ => {}
            }
        }
        Change::Network => ensure_edge(platform, workers).await?,
    }
    Ok(())
}

/// Removes this installation's containers and networks that belong to no app, nor are Caddy's.
async fn remove_orphans(platform: &Platform) -> Result<(), Error> {
    // Apps are read last: one that is made meanwhile is known then.
    let (containers, networks) = (
        platform.engine.containers(None, None).await?,
        platform.engine.networks().await?,
    );
    let apps = platform.store.apps().await?;
    for container in containers {
        let wanted = match (container.role, &container.app) {
            (Some(Role::Caddy), _) => container.name == platform.naming.caddy(),
            (_, Some(app)) => apps.iter().any(|known| known.name == *app),
            _ => false,
        };
        if !wanted {
            info!(container = container.name, "removing a container left over");
            platform.engine.remove(&container.id).await?;
        }
    }
    let mut wanted: Vec<String> = apps
        .iter()
        .map(|app| platform.naming.network(&app.name))
        .collect();
    wanted.push(platform.naming.edge());
    for network in networks
        .into_iter()
        .filter(|network| !wanted.contains(network))
    {
        platform
            .engine
            .disconnect(&network, &platform.naming.caddy())
            .await?;
        let removed = platform.engine.remove_network(&network).await;
        let Err(error) = removed else { continue };
        // One that somebody else's container stands on stays: it is no longer only ours.
        if platform.engine.strangers(&network).await?.is_empty() {
            return Err(error.into());
        }
        warn!(network, %error, "a network left over stays");
    }
    Ok(())
}
