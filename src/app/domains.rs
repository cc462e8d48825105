//! Changing an app's domains: rows first, then Caddy's routes, and the rows back where Caddy says no.

use crate::domain::{AppName, DomainName};
use crate::platform::{Error, Platform};
use crate::proxy::ProxyError;
use crate::workload::load_routes;

/// Lets an app answer to these domains too, and to those no more. Gives all that it then has.
///
/// # Errors
/// When a domain is another app's or the dashboard's; or Caddy refuses, and everything is as before.
pub async fn change_domains(
    platform: &Platform,
    name: &AppName,
    add: &[DomainName],
    remove: &[DomainName],
) -> Result<Vec<DomainName>, Error> {
    not_the_dashboards(platform, add)?;
    // One after the other: whoever puts rows back puts back what was there.
    let _alone = platform.network_lock.lock().await;
    let app = platform.store.app(name).await?;
    if let Some(unknown) = remove.iter().find(|domain| !app.domains.contains(domain)) {
        return Err(Error::Refused(format!(
            "{name} does not answer to {unknown}"
        )));
    }
    let before = app.domains;
    let mut after = before.clone();
    after.retain(|domain| !remove.contains(domain));
    for domain in add {
        if !after.contains(domain) {
            after.push(domain.clone());
        }
    }
    if after == before {
        return Ok(after);
    }
    platform.store.set_domains(name, &after).await?;
    // Without a release there is no route yet; it comes with the first.
    if app.port.is_some()
        && let Err(error) = load_routes(platform, None).await
    {
        platform.store.set_domains(name, &before).await?;
        // It may have taken them before its answer was lost.
        let _ = load_routes(platform, None).await;
        return Err(not_changed(name, &before, error));
    }
    Ok(after)
}

/// Refuses what the dashboard answers to.
pub fn not_the_dashboards(platform: &Platform, domains: &[DomainName]) -> Result<(), Error> {
    match platform
        .config
        .dashboard_domain
        .as_ref()
        .filter(|own| domains.contains(own))
    {
        Some(own) => Err(Error::Refused(format!(
            "the dashboard answers to {own} (dashboard_domain)"
        ))),
        None => Ok(()),
    }
}

fn not_changed(name: &AppName, before: &[DomainName], error: Error) -> Error {
    let still = match before {
        [] => format!("{name} still has no domain"),
        _ => {
            let domains: Vec<&str> = before.iter().map(DomainName::as_str).collect();
            format!("{name} still answers to {}", domains.join(", "))
        }
    };
    match &error {
        Error::Proxy(ProxyError::Refused(_)) => Error::Refused(format!("{error}. {still}")),
        Error::Proxy(ProxyError::Unreachable(_)) => Error::Refused(format!(
            "{error}. {still}. See that Caddy runs (windlass doctor), then ask again"
        )),
        _ => error,
    }
}
