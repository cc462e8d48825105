//! What an app asks for beyond what every app may have.

use crate::attempt::Stop;
use crate::domain::{AppName, Manifest};
use crate::platform::Platform;

/// Refuses a manifest that asks for more than the app may have.
pub async fn expect_allowed(
    platform: &Platform,
    app: &AppName,
    manifest: &Manifest,
) -> Result<(), Stop> {
    let allowed = platform.store.allowance(app).await?;
    let usual = platform.config.apps.limits();
    let of_processes = manifest.processes.values().map(|settings| &settings.limits);
    let mut asked = [&manifest.limits].into_iter().chain(of_processes);
    let Some(excess) = asked.find_map(|l| allowed.excess(l, &manifest.security, &usual)) else {
        return Ok(());
    };
    Err(Stop::NotGood(format!(
        "windlass.toml asks for more than {app} is allowed: {}. An admin can allow it: windlass app allow {app} {}",
        excess.asked.join(", "),
        excess.options.join(" ")
    )))
}
