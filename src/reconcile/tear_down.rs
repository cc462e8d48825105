//! The end of an app that is being destroyed.

use super::images::image_names;
use crate::domain::AppName;
use crate::platform::{Error, Platform};
use crate::workload::load_routes;

/// Removes everything of an app that is leaving. The rows go last: whatever fails before them is
/// tried again.
pub async fn tear_down(platform: &Platform, name: &AppName) -> Result<(), Error> {
    platform.store.app(name).await?;
    platform.draining.end(name).await;
    let network = platform.naming.network(name);
    platform.store.set_port(name, None).await?;
    load_routes(platform, None).await?;
    for container in platform.engine.containers(Some(name), None).await? {
        platform.engine.remove(&container.id).await?;
    }
    for image in image_names(platform, name).await? {
        platform.engine.remove_image(&image).await?;
    }
    platform
        .engine
        .disconnect(&network, &platform.naming.caddy())
        .await?;
    platform.engine.remove_network(&network).await?;
    platform.git.destroy(name)?;
    platform.proxy.forget(name)?;
    for deploy in platform.store.deploys(name, u32::MAX, None).await? {
        platform.logs.remove(deploy.id)?;
    }
    platform.store.destroy_app(name).await?;
    load_routes(platform, None).await
}
