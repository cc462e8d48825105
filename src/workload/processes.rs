//! What runs of an app beside `web`.

use std::time::Duration;

use super::drain::stop_and_remove;
use crate::domain::process::Request;
use crate::domain::{AppName, DeployId, Replica};
use crate::platform::{Error, Platform};
use crate::runtime::ContainerState;

/// So long has a container to end whose release was never live, and left no word about it.
const UNKNOWN_GRACE: Duration = Duration::from_secs(10);

/// A container of a process beside `web`.
pub struct Background {
    /// As it stands.
    pub container: ContainerState,
    /// Of which deploy.
    pub deploy: DeployId,
    /// Which replica of which process.
    pub replica: Replica,
}

/// Every container of an app's processes beside `web`, of whichever deploy.
pub async fn background(platform: &Platform, app: &AppName) -> Result<Vec<Background>, Error> {
    let all = platform.engine.containers(Some(app), None).await?;
    let beside = |container: ContainerState| {
        let replica = container.replica.clone()?;
        let deploy = container.deploy?;
        (!replica.process.is_web()).then_some(Background {
            container,
            deploy,
            replica,
        })
    };
    Ok(all.into_iter().filter_map(beside).collect())
}

/// How long a process has to end.
pub async fn grace_of(
    platform: &Platform,
    deploy: DeployId,
    replica: &Replica,
) -> Result<Duration, Error> {
    let release = platform.store.release(deploy).await?;
    let settings = release.and_then(|mut r| r.manifest.processes.remove(&replica.process));
    Ok(settings.map_or(UNKNOWN_GRACE, |settings| settings.stop_grace.0))
}

/// Ends a container of a process: what it does now may come to its end, within its grace.
pub async fn end_process(platform: &Platform, one: &Background) -> Result<(), Error> {
    let grace = grace_of(platform, one.deploy, &one.replica).await?;
    stop_and_remove(platform, &one.container.id, one.deploy, &one.replica, grace).await
}

/// Tells a running container something. A command has `limit` to do it.
///
/// # Errors
/// In words.
pub async fn request(
    platform: &Platform,
    container: &str,
    request: &Request,
    limit: Duration,
) -> Result<(), String> {
    match request {
        Request::Signal(signal) => platform
            .engine
            .signal(container, &format!("SIG{signal}"))
            .await
            .map_err(|error| error.to_string()),
        Request::Run(command) => match platform.engine.exec(container, &command.0, limit).await {
            Ok((0, _)) => Ok(()),
            Ok((status, _)) => Err(format!("`{command}` ended with exit status {status}")),
            Err(error) => Err(error.to_string()),
        },
    }
}
