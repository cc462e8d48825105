//! The containers of an app: the same image, environment and network for its gates and for what
//! serves.

use super::source::Image;
use super::{Error, Windlass};
use crate::domain::{AppName, DeployId, Environment};
use crate::engine::{ContainerSpec, Role};

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
            aliases: vec![self.naming.fallback(app), own.clone()],
            name: own,
            role: Role::Web,
            owner: Some((app.clone(), deploy)),
            image: image.name.to_string(),
            command: image.manifest.web.command.clone().map(|command| command.0),
            env: environment(&image.env, image, port).assignments(),
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
    pub(super) async fn run_container(&self, app: &AppName, spec: &ContainerSpec) -> Result<(), Error> {
        if !self.engine.networks().await?.contains(&spec.network) {
            let _alone = self.edge.lock().await;
            let subnet = self.store.app(app).await?.subnet;
            self.engine.ensure_network(&spec.network, Some(subnet), Some(app.as_str())).await?;
            let _ = self.engine.connect(&spec.network, &self.naming.caddy()).await;
        }
        Ok(self.engine.run(spec).await?)
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
