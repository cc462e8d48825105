//! The containers of an app: the same image, environment and network for its gates and for what
//! serves.

use std::net::Ipv4Addr;

use super::source::Image;
use super::{Error, Windlass};
use crate::domain::{AppName, DeployId, Environment};
use crate::engine::{ContainerSpec, ContainerState, Role};

impl Windlass {
    /// A web container of a deploy, under the deploy's own name. A gate and a live one differ in
    /// what they say themselves.
    pub(super) fn web_container(
        &self,
        app: &AppName,
        deploy: DeployId,
        image: &Image,
        port: u16,
    ) -> ContainerSpec {
        let own = self.naming.release(app, deploy);
        ContainerSpec {
            address: None,
            aliases: vec![self.naming.fallback(app), own.clone()],
            own_names: false,
            name: own,
            role: Role::Web,
            owner: Some((app.clone(), deploy)),
            image: image.name.to_string(),
            command: image.manifest.web.command.clone().map(|command| command.0),
            env: environment(&image.env, image, port),
            network: self.naming.network(app),
            restart: false,
            user: None,
            mounts: Vec::new(),
            ports: Vec::new(),
            capabilities: None,
        }
    }

    /// Runs a container of an app. Its network may be gone with the machine that had it, and is made
    /// anew then; Caddy is connected to it by [`Windlass::ensure_edge`] at the latest.
    pub(super) async fn run_container(&self, app: &AppName, spec: ContainerSpec) -> Result<(), Error> {
        if !self.engine.networks().await?.contains(&spec.network) {
            let _alone = self.networks.lock().await;
            let subnet = self.store.app(app).await?.subnet;
            self.engine.ensure_network(&spec.network, Some(subnet), Some(app.as_str())).await?;
            let _ = self.engine.connect(&spec.network, &self.naming.caddy()).await;
        }
        let address = match spec.role {
            Role::Web => self.free_address(app).await?,
            _ => None,
        };
        Ok(self.engine.run(&ContainerSpec { address, ..spec }).await?)
    }

    /// An address for a web container to keep: the highest on its app's network that is free, since
    /// the engine gives the others the lowest. Never the one that Caddy leads to, though its
    /// container may be gone: what is not proved must not get its requests.
    async fn free_address(&self, app: &AppName) -> Result<Option<Ipv4Addr>, Error> {
        let mut taken = self.engine.addresses(&self.naming.network(app)).await?;
        taken.extend(self.proxy.led_to(app));
        let mut hosts: Vec<Ipv4Addr> = self.store.app(app).await?.subnet.hosts().skip(1).collect();
        hosts.retain(|host| !taken.contains(host));
        Ok(hosts.pop())
    }

    /// Leads the app's requests to one of its containers.
    pub(super) fn lead(&self, app: &AppName, to: &ContainerState, port: u16) -> Result<(), Error> {
        let address = to.addresses.get(&self.naming.network(app)).copied();
        Ok(self.proxy.lead(app, address, port)?)
    }
}

/// The app's variables over Windlass's own: an app may set `PORT` itself.
fn environment(env: &Environment, image: &Image, port: u16) -> Environment {
    let mut all = Environment::default();
    let own = [("PORT", port.to_string()), ("WINDLASS_COMMIT", image.commit.to_string())];
    for (name, value) in own.iter().map(|(n, v)| (*n, v.as_str())).chain(env.iter()) {
        // Both were checked where they came in.
        let _ = all.set(name, value);
    }
    all
}
