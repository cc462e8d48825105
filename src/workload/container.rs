//! The containers of an app: the same image, environment and network for its gates and for what
//! serves.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::Image;
use crate::domain::limits::{Security, USUAL};
use crate::domain::process::Signal;
use crate::domain::{AppName, Capability, DeployId, Environment, Replica};
use crate::platform::{Error, Platform};
use crate::runtime::{ContainerSpec, Owner, Role};

/// A container of a process, under its own name. The live one differs in what it says itself.
pub fn replica_container(
    platform: &Platform,
    app: &AppName,
    deploy: DeployId,
    image: &Image,
    replica: Replica,
    port: u16,
) -> ContainerSpec {
    let own = platform.naming.replica(app, deploy, &replica);
    let mut spec = one_off_container(platform, app, deploy, image, port, own.clone());
    if replica.process.is_web() {
        spec.role = Role::Web;
        spec.command = image.manifest.web.command.clone().map(|command| command.0);
        spec.aliases = vec![platform.naming.fallback(app), own];
    } else if let Some(settings) = image.manifest.processes.get(&replica.process) {
        spec.role = Role::Process;
        spec.command = Some(settings.command.0.clone());
        spec.limits = settings.limits.or(spec.limits);
        spec.stop_signal =
            Some(settings.stop_signal.into()).filter(|_| settings.stop_signal != Signal::Term);
    }
    let (process, number) = (replica.process.as_str(), replica.number.to_string());
    let own = [("WINDLASS_PROCESS", process), ("WINDLASS_REPLICA", &number)];
    spec.env = below(own, &spec.env);
    spec.owner = Some(Owner {
        app: app.clone(),
        deploy,
        replica: Some(replica),
    });
    spec
}

/// A container of a deploy that runs once: the image's own command, unless the caller says another.
pub fn one_off_container(
    platform: &Platform,
    app: &AppName,
    deploy: DeployId,
    image: &Image,
    port: u16,
    name: String,
) -> ContainerSpec {
    let (port, commit) = (port.to_string(), image.commit.to_string());
    let own = [("PORT", port.as_str()), ("WINDLASS_COMMIT", &commit)];
    ContainerSpec {
        address: None,
        aliases: Vec::new(),
        own_names: false,
        name,
        role: Role::Gate,
        owner: Some(Owner {
            app: app.clone(),
            deploy,
            replica: None,
        }),
        image: image.name.to_string(),
        command: None,
        env: below(own, &image.env),
        network: platform.naming.network(app),
        restart: false,
        user: None,
        stop_signal: None,
        mounts: Vec::new(),
        ports: Vec::new(),
        capabilities: capabilities(&image.manifest.security),
        limits: image.manifest.limits.or(platform.config.apps.limits()),
    }
}

/// Runs a container of an app. Its network may be gone with the machine that had it, and is made
/// anew then; Caddy is connected to it by reconciliation at the latest.
pub async fn run_container(
    platform: &Platform,
    app: &AppName,
    spec: ContainerSpec,
) -> Result<(), Error> {
    if !platform.engine.networks().await?.contains(&spec.network) {
        let _alone = platform.network_lock.lock().await;
        let subnet = platform.store.app(app).await?.subnet;
        platform
            .engine
            .ensure_network(&spec.network, Some(subnet), Some(app.as_str()))
            .await?;
        let _ = platform
            .engine
            .connect(&spec.network, &platform.naming.caddy())
            .await;
    }
    let address = match spec.role {
        Role::Web => free_address(platform, app).await?,
        _ => None,
    };
    Ok(platform
        .engine
        .run(&ContainerSpec { address, ..spec })
        .await?)
}

/// An address for a web container to keep: the highest on its app's network that is free, since
/// the engine gives the others the lowest. Never the one that Caddy leads to, though its
/// container may be gone: what is not proved must not get its requests.
async fn free_address(platform: &Platform, app: &AppName) -> Result<Option<Ipv4Addr>, Error> {
    let mut taken = platform
        .engine
        .addresses(&platform.naming.network(app))
        .await?;
    taken.extend(platform.proxy.led_to(app));
    let mut hosts: Vec<Ipv4Addr> = platform
        .store
        .app(app)
        .await?
        .subnet
        .hosts()
        .skip(1)
        .collect();
    hosts.retain(|host| !taken.contains(host));
    Ok(hosts.pop())
}

/// What every app's containers have, and what the manifest asks for: that was allowed when it was
/// deployed.
fn capabilities(security: &Security) -> Vec<String> {
    let asked = security.capabilities.iter().map(Capability::as_str);
    let all: BTreeSet<&str> = USUAL.into_iter().chain(asked).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// The app's variables over Windlass's own: an app may set `PORT` itself.
fn below(own: [(&str, &str); 2], env: &Environment) -> Environment {
    let mut all = Environment::default();
    for (name, value) in own.into_iter().chain(env.iter()) {
        // Both were checked where they came in.
        let _ = all.set(name, value);
    }
    all
}
