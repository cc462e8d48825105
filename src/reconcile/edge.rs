//! Caddy's container: made, checked, and connected to every app's network.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use super::watch::Nudge;
use crate::config::Tls;
use crate::domain::{Environment, Limits};
use crate::platform::{Error, Platform};
use crate::proxy::{Abilities, SOCKETS};
use crate::runtime::{ContainerSpec, EngineError, Mount, PublishedPort, Role};
use crate::workload::{load_routes, routes};

/// How long Caddy has for coming up.
const COMES_UP: Duration = Duration::from_secs(10);

/// Makes sure that Caddy runs as configured, reaches every app's network and has their routes.
/// One that does already is left alone: its connections are not touched.
pub async fn ensure_edge(platform: &Platform, workers: &dyn Nudge) -> Result<(), Error> {
    let _alone = platform.network_lock.lock().await;
    let image = &platform.config.caddy.image;
    if platform.engine.image(image).await?.is_none() {
        tracing::info!(%image, "pulling Caddy's image");
        platform.engine.pull(image).await?;
    }
    let networks = platform.engine.networks().await?;
    if !networks.contains(&platform.naming.edge()) {
        platform
            .engine
            .ensure_network(&platform.naming.edge(), None, None)
            .await?;
    }
    let spec = caddy_spec(platform)?;
    if platform
        .engine
        .container(&spec.name)
        .await?
        .is_some_and(|caddy| caddy.paused)
    {
        platform.engine.unpause(&spec.name).await?;
    }
    // One that runs and does not answer stands on folders that are gone: the home folder is another.
    let good =
        caddy_fits(platform, &spec).await? && why_silent(platform, &spec.name).await?.is_none();
    if !good {
        platform
            .proxy
            .prepare(&platform.proxy_settings(), &routes(platform, None).await?)
            .await?;
        platform.engine.remove(&spec.name).await?;
        platform.engine.run(&spec).await.map_err(explain_ports)?;
    }
    let connected = platform
        .engine
        .container(&spec.name)
        .await?
        .map(|caddy| caddy.addresses);
    let connected = connected.unwrap_or_default();
    for app in platform
        .store
        .apps()
        .await?
        .into_iter()
        .filter(|app| !app.leaving)
    {
        let network = platform.naming.network(&app.name);
        if !networks.contains(&network) {
            platform
                .engine
                .ensure_network(&network, Some(app.subnet), Some(app.name.as_str()))
                .await?;
            // Its containers were taken off by whoever removed it.
            workers.nudge(&app.name);
        }
        if !connected.contains_key(&network) {
            platform.engine.connect(&network, &spec.name).await?;
        }
    }
    if let Some(why) = why_silent(platform, &spec.name).await? {
        return Err(does_not_come_up(platform, &spec.name, &why).await);
    }
    learn_caddy(platform).await?;
    load_routes(platform, None).await
}

fn caddy_spec(platform: &Platform) -> Result<ContainerSpec, Error> {
    let dir = platform.home.caddy();
    for folder in ["config", "data", "run"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    let mount = |folder: &str, target: &str| Mount {
        source: dir.join(folder),
        target: target.into(),
    };
    let port = |number| PublishedPort {
        host: number,
        container: number,
    };
    let mut ports = vec![port(platform.config.caddy.http_port)];
    if platform.config.caddy.tls != Tls::Off {
        ports.push(port(platform.config.caddy.https_port));
    }
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let mut env = Environment::default();
    for (name, folder) in [("XDG_CONFIG_HOME", "/config"), ("XDG_DATA_HOME", "/data")] {
        // Both are valid names.
        let _ = env.set(name, folder);
    }
    let command = ["caddy", "run", "--config", "/config/windlass.json"];
    Ok(ContainerSpec {
        name: platform.naming.caddy(),
        role: Role::Caddy,
        owner: None,
        image: platform.config.caddy.image.clone(),
        command: Some(command.map(str::to_owned).to_vec()),
        env,
        network: platform.naming.edge(),
        address: None,
        aliases: Vec::new(),
        // While a live name moves nobody bears it for a moment, and Caddy must be told at once.
        own_names: true,
        restart: true,
        // The server's own user: it owns the admin socket then, and what lies in the folders.
        user: Some(format!("{uid}:{gid}")),
        stop_signal: None,
        mounts: vec![
            mount("config", "/config"),
            mount("data", "/data"),
            mount("run", SOCKETS),
        ],
        ports,
        // The official binary carries this capability and does not start without.
        capabilities: vec!["NET_BIND_SERVICE".into()],
        limits: Limits::default(),
    })
}

/// Whether the container that is there is the one to be had.
async fn caddy_fits(platform: &Platform, spec: &ContainerSpec) -> Result<bool, Error> {
    let Some(there) = platform.engine.container(&spec.name).await? else {
        return Ok(false);
    };
    let image = platform
        .engine
        .image(&spec.image)
        .await?
        .map(|facts| facts.id);
    Ok(there.running && Some(there.image) == image && there.made_from == spec.fingerprint())
}

/// Waits until Caddy answers; why not, where it does not. An engine that cannot be asked says nothing
/// about Caddy: that is an error, and no reason to take one away that serves.
async fn why_silent(platform: &Platform, name: &str) -> Result<Option<String>, Error> {
    let (began, mut last) = (Instant::now(), String::new());
    while began.elapsed() < COMES_UP {
        match tokio::time::timeout(Duration::from_secs(1), platform.proxy.ping()).await {
            Ok(Ok(())) => return Ok(None),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "it does not answer".to_owned(),
        }
        // It may have been ending when it was looked at.
        if !platform
            .engine
            .container(name)
            .await?
            .is_some_and(|caddy| caddy.running)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Some(last))
}

async fn does_not_come_up(platform: &Platform, name: &str, why: &str) -> Error {
    let printed = platform
        .engine
        .last_output(name, 5)
        .await
        .unwrap_or_default()
        .concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    Error::Refused(format!(
        "Caddy does not come up: {why}\nIts last lines:\n{printed}"
    ))
}

/// Asks Caddy's container, if it runs, for its version; once.
pub async fn learn_caddy(platform: &Platform) -> Result<(), Error> {
    if platform.caddy.get().is_some() {
        return Ok(());
    }
    let command = ["caddy".to_owned(), "version".to_owned()];
    let (_, said) = platform
        .engine
        .exec(&platform.naming.caddy(), &command, Duration::from_secs(10))
        .await?;
    let said = crate::domain::printable(said.split_whitespace().next().unwrap_or_default(), 40);
    let _ = platform.caddy.set(Abilities::of_version(&said));
    tracing::info!(version = said, "Caddy {said} runs");
    Ok(())
}

/// A port that is taken is the most usual trouble of a first start.
fn explain_ports(error: EngineError) -> Error {
    let text = error.to_string();
    let taken = [
        "already allocated",
        "already in use",
        "bind for",
        "cannot expose privileged port",
    ];
    if taken
        .iter()
        .any(|words| text.to_lowercase().contains(words))
    {
        return Error::Refused(format!(
            "{text}\nAnother program has Caddy's port. Stop it (ss -ltnp shows which), or set caddy.http_port and caddy.https_port in config.toml."
        ));
    }
    error.into()
}
