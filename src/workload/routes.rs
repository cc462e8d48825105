//! How requests reach an app: Caddy's routes, and which container they are led to.

use crate::domain::AppName;
use crate::platform::{Error, Platform};
use crate::proxy::{Route, Upstream};
use crate::runtime::ContainerState;
use crate::store::AppRow;

/// Leads the app's requests to one of its containers.
pub fn lead(
    platform: &Platform,
    app: &AppName,
    to: &ContainerState,
    port: u16,
) -> Result<(), Error> {
    let address = to.addresses.get(&platform.naming.network(app)).copied();
    Ok(platform.proxy.lead(app, address, port)?)
}

/// A route per app that has a release; one app's may lead elsewhere for a moment.
pub async fn routes(
    platform: &Platform,
    other: Option<(&AppName, Upstream)>,
) -> Result<Vec<Route>, Error> {
    let route = |row: AppRow| {
        let upstream = match &other {
            Some((app, upstream)) if **app == row.name => upstream.clone(),
            _ => {
                let (name, fallback) = (
                    platform.naming.live(&row.name),
                    platform.naming.fallback(&row.name),
                );
                Upstream::Live {
                    name,
                    fallback,
                    port: row.port?,
                    app: row.name,
                }
            }
        };
        Some(Route {
            domains: row.domains,
            upstream,
        })
    };
    Ok(platform
        .store
        .apps()
        .await?
        .into_iter()
        .filter_map(route)
        .collect())
}

/// Brings Caddy's routes to what the database says.
pub async fn load_routes(
    platform: &Platform,
    other: Option<(&AppName, Upstream)>,
) -> Result<(), Error> {
    let routes = routes(platform, other).await?;
    platform
        .proxy
        .load(&platform.proxy_settings(), &routes)
        .await?;
    Ok(())
}
