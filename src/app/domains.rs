//! Changing an app's domains: rows first, then Caddy's routes, and the rows back where Caddy says no.

use crate::domain::{AppName, DomainName};
use crate::platform::{Error, Platform};
use crate::proxy::ProxyError;
use crate::store::AppRow;
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
    expect_its(&app, remove)?;
    let after = with(&app.domains, add, remove);
    // Without a release there is no route yet; it comes with the first.
    apply(platform, app.port.is_some(), &[(&app, after.clone())]).await?;
    Ok(after)
}

/// As [`change_domains`], but what is added was another app's: requests for it reach one of the two at
/// every moment.
///
/// # Errors
/// Also when the other app does not answer to it, or this one has no release to answer with.
pub async fn move_domains(
    platform: &Platform,
    name: &AppName,
    add: &[DomainName],
    remove: &[DomainName],
    from: &AppName,
) -> Result<Vec<DomainName>, Error> {
    let _alone = platform.network_lock.lock().await;
    let (app, other) = (
        platform.store.app(name).await?,
        platform.store.app(from).await?,
    );
    if name == from {
        return Err(Error::Refused(format!("{name} has its domains already")));
    }
    if app.port.is_none() {
        return Err(Error::Refused(format!(
            "{name} has no release yet, so nobody would answer. Deploy it, then move the domain"
        )));
    }
    expect_its(&app, remove)?;
    expect_its(&other, add)?;
    let after = with(&app.domains, add, remove);
    let left = with(&other.domains, &[], add);
    apply(platform, true, &[(&app, after.clone()), (&other, left)]).await?;
    Ok(after)
}

fn expect_its(app: &AppRow, domains: &[DomainName]) -> Result<(), Error> {
    match domains.iter().find(|domain| !app.domains.contains(domain)) {
        Some(unknown) => {
            let name = &app.name;
            Err(Error::Refused(format!(
                "{name} does not answer to {unknown}"
            )))
        }
        None => Ok(()),
    }
}

/// Domains after some were removed and others added.
fn with(before: &[DomainName], add: &[DomainName], remove: &[DomainName]) -> Vec<DomainName> {
    let mut after = before.to_vec();
    after.retain(|domain| !remove.contains(domain));
    for domain in add {
        if !after.contains(domain) {
            after.push(domain.clone());
        }
    }
    after
}

/// Writes the rows, then has Caddy follow where an app is `served`.
async fn apply(
    platform: &Platform,
    served: bool,
    changes: &[(&AppRow, Vec<DomainName>)],
) -> Result<(), Error> {
    let rows = |then: bool| {
        let rows = changes.iter().map(move |(app, after)| match then {
            true => (&app.name, after.as_slice()),
            false => (&app.name, app.domains.as_slice()),
        });
        rows.collect::<Vec<_>>()
    };
    if rows(true) == rows(false) {
        return Ok(());
    }
    platform.store.set_domains(&rows(true)).await?;
    if served && let Err(error) = load_routes(platform, None).await {
        platform.store.set_domains(&rows(false)).await?;
        // It may have taken them before its answer was lost.
        let _ = load_routes(platform, None).await;
        let (app, _) = &changes[0];
        return Err(not_changed(&app.name, &app.domains, error));
    }
    Ok(())
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
