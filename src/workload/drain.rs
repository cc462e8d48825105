//! Letting a container go that serves no longer: its requests finish, then it ends, and nothing that it
//! printed is lost.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::domain::duration::show;
use crate::domain::{AppName, DeployId, Replica};
use crate::platform::{Error, Platform};
use crate::proxy::LED_HOST;
use crate::runtime::ContainerState;

/// The container that held the live name.
#[derive(Debug, Clone)]
pub struct Retiring {
    /// The deploy whose release it runs.
    pub deploy: DeployId,
    /// Its container's name since the swap.
    pub name: String,
    /// By which names and addresses Caddy may still have requests to it.
    pub hosts: Vec<String>,
    /// When it lost the live name.
    pub since: Instant,
}

impl Retiring {
    /// A container of the app that has lost the live name just now.
    pub fn new(
        platform: &Platform,
        app: &AppName,
        deploy: DeployId,
        container: &ContainerState,
    ) -> Self {
        let naming = &platform.naming;
        let own = container
            .addresses
            .get(&naming.network(app))
            .map(Ipv4Addr::to_string);
        // One whose address was not known was asked by its alias.
        let aliases = [naming.fallback(app), LED_HOST.to_owned()];
        let hosts = own.into_iter().chain(aliases).collect();
        Self {
            deploy,
            name: naming.replica(app, deploy, &Replica::web()),
            hosts,
            since: Instant::now(),
        }
    }

    /// The container that has the live name, as it is about to lose it.
    pub fn holder(
        platform: &Platform,
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
            platform,
            app,
            container.deploy.ok_or_else(unlabelled)?,
            container,
        ))
    }
}

/// Waits until a container without the live name has no request left, no longer than `limit`.
pub async fn finish_requests(
    platform: &Platform,
    retiring: &Retiring,
    limit: Duration,
    say: &(dyn Fn(&str) + Sync),
) {
    let (began, mut last) = (Instant::now(), String::new());
    loop {
        let left = limit
            .saturating_sub(began.elapsed())
            .max(Duration::from_secs(1));
        let said = match tokio::time::timeout(left, platform.proxy.in_flight(&retiring.hosts)).await
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
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Stops a container, keeps the rest of its output, and removes it.
pub async fn stop_and_remove(
    platform: &Platform,
    name: &str,
    deploy: DeployId,
    replica: &Replica,
    grace: Duration,
) -> Result<(), Error> {
    // Stopped by us it must not come back, even if the server goes away right here.
    let _ = platform.engine.set_restart(name, false).await;
    platform.engine.stop(name, grace).await?;
    // Nothing that it printed is worth a container that stays.
    let rest = platform.collector.finish(name, deploy, replica);
    let rest = tokio::time::timeout(Duration::from_secs(10), rest).await;
    if !matches!(rest, Ok(Ok(()))) {
        warn!(%deploy, container = name, "the last of an app's output is not kept");
    }
    Ok(platform.engine.remove(name).await?)
}
