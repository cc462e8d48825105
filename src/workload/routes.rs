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
    // One without an address, as it does not run, is found by the alias once it has one.
    let host = match to.addresses.get(&platform.naming.network(app)) {
        Some(address) => address.to_string(),
        None => platform.naming.fallback(app),
    };
    Ok(platform.proxy.lead(app, &host, port)?)
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
                }
            }
        };
        Some(Route {
            app: row.name,
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

/// Brings Caddy's routes to what the database says. Domains that are new begin to get their
/// certificates, which nobody waits for.
pub async fn load_routes(
    platform: &Platform,
    other: Option<(&AppName, Upstream)>,
) -> Result<(), Error> {
    let settings = platform.proxy_settings();
    let brought = platform.proxy.bring(&settings, routes(platform, other));
    let new = brought.await?.new;
    if settings.can.files && !new.is_empty() {
        tokio::spawn(platform.door.clone().warm(new));
    }
    Ok(())
}
