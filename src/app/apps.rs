//! Apps: creating, showing and destroying them, and the routes that lead to them.

use std::collections::HashSet;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::domains::not_the_dashboards;
use crate::deploy::Queue;
use crate::domain::{Allowance, App, AppName, AppStatus, DomainName};
use crate::platform::{Error, Platform};
use crate::reconcile::tear_down;
use crate::store::{AppRow, StoreError};

/// How long a page or a list waits for the engine to tell what runs.
const LOOK: Duration = Duration::from_secs(2);
/// The size of an app's network: room for its containers, gates and databases.
const SUBNET_PREFIX: u8 = 26;

/// Creates an app: its row, repository and network; its route comes with its first release. What
/// an attempt that failed left behind is undone.
pub async fn create(queue: &Queue, name: &AppName, domains: &[DomainName]) -> Result<App, Error> {
    let platform = queue.platform();
    not_the_dashboards(platform, domains)?;
    let _alone = platform.network_lock.lock().await;
    let mut refused = None;
    for subnet in free_subnets(platform).await? {
        platform.store.create_app(name, domains, subnet).await?;
        let Err(error) = furnish(platform, name, subnet).await else {
            queue.wake(name);
            return show(platform, name).await;
        };
        // The first error is the one to tell; undoing may fail for the same reason. What is left
        // on the engine then belongs to no app, and goes when the engine does as asked again.
        if tear_down(platform, name).await.is_err() {
            platform.left_over.notify_one();
        }
        let _ = platform.git.destroy(name);
        let _ = platform.store.destroy_app(name).await;
        // The engine holds on to some subnets without a network that says so.
        if !matches!(&error, Error::Engine(error) if error.is_taken_subnet()) {
            return Err(error);
        }
        refused = Some(error);
    }
    Err(refused.unwrap_or_else(|| {
        let pool = platform.config.docker.address_pool;
        Error::Refused(format!(
            "docker.address_pool {pool} has no free /{SUBNET_PREFIX} left: choose a larger one"
        ))
    }))
}

async fn furnish(platform: &Platform, name: &AppName, subnet: Ipv4Net) -> Result<(), Error> {
    platform.git.create(name).await?;
    let network = platform.naming.network(name);
    platform
        .engine
        .ensure_network(&network, Some(subnet), Some(name.as_str()))
        .await?;
    Ok(platform
        .engine
        .connect(&network, &platform.naming.caddy())
        .await?)
}

/// The first of the pool's /26 that no app and no network on this machine uses.
async fn free_subnets(platform: &Platform) -> Result<Vec<Ipv4Net>, Error> {
    let pool = platform.config.docker.address_pool;
    let mut used = platform.engine.subnets().await?;
    used.extend(platform.store.apps().await?.iter().map(|app| app.subnet));
    let free = |net: &Ipv4Net| !used.iter().any(|u| u.contains(net) || net.contains(u));
    let subnets = pool
        .subnets(SUBNET_PREFIX)
        .map_err(|error| Error::Refused(error.to_string()))?;
    Ok(subnets.filter(free).take(10).collect())
}

/// One app.
pub async fn show(platform: &Platform, name: &AppName) -> Result<App, Error> {
    let row = platform.store.app(name).await?;
    let running = running(platform).await;
    let mut app = describe(platform, row, running.as_ref()).await?;
    if let (Some(live), AppStatus::Serving | AppStatus::Down) = (&app.live, app.status) {
        let name = platform.naming.live(name);
        let there = tokio::time::timeout(LOOK, platform.engine.container(&name)).await;
        let there = there
            .ok()
            .and_then(Result::ok)
            .flatten()
            .filter(|c| c.deploy == Some(live.id));
        app.restarts = there.map(|container| container.restarts);
    }
    Ok(app)
}

/// Names of our containers that run; `None` when the engine does not tell soon.
async fn running(platform: &Platform) -> Option<HashSet<String>> {
    let running = tokio::time::timeout(LOOK, platform.engine.running())
        .await
        .ok()?
        .ok()?;
    Some(running.into_values().collect())
}

/// Every app, by name.
pub async fn all(platform: &Platform) -> Result<Vec<App>, Error> {
    // With the engine away nobody knows what runs; the list itself must still come.
    let running = running(platform).await;
    let mut apps = Vec::new();
    for row in platform.store.apps().await? {
        apps.push(describe(platform, row, running.as_ref()).await?);
    }
    Ok(apps)
}

pub(super) async fn describe(
    platform: &Platform,
    row: AppRow,
    running: Option<&HashSet<String>>,
) -> Result<App, Error> {
    let live = platform.store.live_deploy(&row.name).await?;
    let status = match (&live, running) {
        (None, _) => AppStatus::Empty,
        (Some(_), None) => AppStatus::Unknown,
        (Some(_), Some(names)) if names.contains(&platform.naming.live(&row.name)) => {
            AppStatus::Serving
        }
        (Some(_), Some(_)) => AppStatus::Down,
    };
    let remote = platform.git_remote(row.name.as_str());
    let (domains, allowed) = (row.domains, row.allowed);
    Ok(App {
        name: row.name,
        domains,
        remote,
        status,
        restarts: None,
        allowed,
        live,
    })
}

/// Allows an app more than every app may: what `more` says takes the place of what was allowed of
/// its kind, or of all of it. It counts from the next deploy on.
pub async fn allow(
    platform: &Platform,
    name: &AppName,
    more: Allowance,
    reset: bool,
) -> Result<App, Error> {
    let before = if reset {
        Allowance::default()
    } else {
        platform.store.allowance(name).await?
    };
    platform.store.allow(name, &before.with(more)).await?;
    show(platform, name).await
}

/// The app's public address, if it has a domain: `https://shop.example.com`.
pub async fn url(platform: &Platform, name: &AppName) -> Result<Option<String>, Error> {
    Ok(platform
        .store
        .app(name)
        .await?
        .domains
        .first()
        .map(|domain| platform.door.url(domain)))
}

/// Removes an app with its containers, images, network, repository, logs and rows.
///
/// # Errors
/// Also when containers that are not Windlass's stand on its network: nothing is removed then.
pub async fn destroy(queue: &Queue, name: &AppName) -> Result<(), Error> {
    let platform = queue.platform();
    platform.store.app(name).await?;
    let network = platform.naming.network(name);
    let strangers = platform.engine.strangers(&network).await?;
    if !strangers.is_empty() {
        return Err(Error::Refused(format!(
            "{} on the network of {name} is not Windlass's to remove. First: docker network disconnect {network} {}",
            strangers.join(", "),
            strangers[0]
        )));
    }
    // From here on it is going, whatever happens to this server: its worker goes on with that.
    platform.store.set_leaving(name).await?;
    for deploy in platform.store.open_deploys(Some(name)).await? {
        let _ = queue.cancel(deploy.id, "app destroy").await;
    }
    let held = tokio::time::timeout(Duration::from_secs(60), queue.hold(name)).await;
    let Ok(_held) = held else {
        let why =
            format!("{name} goes as soon as its deploy has ended, which takes longer than usual");
        return Err(Error::Refused(why));
    };
    match tear_down(platform, name).await {
        // Its worker was quicker.
        Ok(()) | Err(Error::Store(StoreError::NoApp(_))) => {
            queue.forget(name);
            Ok(())
        }
        // Its worker tries again.
        Err(error) => {
            queue.wake(name);
            Err(error)
        }
    }
}
