//! Caddy's container: made, checked, and connected to every app's network.

use std::fs;
use std::time::{Duration, Instant};

use super::{Error, Windlass};
use crate::config::Tls;
use crate::domain::{Environment, Limits};
use crate::engine::{ContainerSpec, EngineError, Mount, PublishedPort, Role};
use crate::proxy::{Abilities, SOCKETS};

/// How long Caddy has for coming up.
const COMES_UP: Duration = Duration::from_secs(10);

impl Windlass {
    /// Makes sure that Caddy runs as configured, reaches every app's network and has their routes.
    /// One that does already is left alone: its connections are not touched.
    pub async fn ensure_edge(&self) -> Result<(), Error> {
        let _alone = self.networks.lock().await;
        let image = &self.config.caddy.image;
        if self.engine.image(image).await?.is_none() {
            tracing::info!(%image, "pulling Caddy's image");
            self.engine.pull(image).await?;
        }
        let networks = self.engine.networks().await?;
        if !networks.contains(&self.naming.edge()) {
            self.engine
                .ensure_network(&self.naming.edge(), None, None)
                .await?;
        }
        let spec = self.caddy_spec()?;
        if self
            .engine
            .container(&spec.name)
            .await?
            .is_some_and(|caddy| caddy.paused)
        {
            self.engine.unpause(&spec.name).await?;
        }
        // One that runs and does not answer stands on folders that are gone: the home folder is another.
        if !self.caddy_fits(&spec).await? || self.wait_for_caddy(&spec.name).await.is_err() {
            self.proxy
                .prepare(&self.proxy_settings(), &self.routes(None).await?)
                .await?;
            self.engine.remove(&spec.name).await?;
            self.engine.run(&spec).await.map_err(explain_ports)?;
        }
        let connected = self
            .engine
            .container(&spec.name)
            .await?
            .map(|caddy| caddy.addresses);
        let connected = connected.unwrap_or_default();
        for app in self
            .store
            .apps()
            .await?
            .into_iter()
            .filter(|app| !app.leaving)
        {
            let network = self.naming.network(&app.name);
            if !networks.contains(&network) {
                self.engine
                    .ensure_network(&network, Some(app.subnet), Some(app.name.as_str()))
                    .await?;
                // Its containers were taken off by whoever removed it.
                self.workers.nudge(&app.name);
            }
            if !connected.contains_key(&network) {
                self.engine.connect(&network, &spec.name).await?;
            }
        }
        self.wait_for_caddy(&spec.name).await?;
        self.learn_version().await?;
        self.load_routes(None).await
    }

    fn caddy_spec(&self) -> Result<ContainerSpec, Error> {
        let dir = self.home.caddy();
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
        let mut ports = vec![port(self.config.caddy.http_port)];
        if self.config.caddy.tls != Tls::Off {
            ports.push(port(self.config.caddy.https_port));
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
            name: self.naming.caddy(),
            role: Role::Caddy,
            owner: None,
            image: self.config.caddy.image.clone(),
            command: Some(command.map(str::to_owned).to_vec()),
            env,
            network: self.naming.edge(),
            address: None,
            aliases: Vec::new(),
            // While a live name moves nobody bears it for a moment, and Caddy must be told at once.
            own_names: true,
            restart: true,
            // The server's own user: it owns the admin socket then, and what lies in the folders.
            user: Some(format!("{uid}:{gid}")),
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
    async fn caddy_fits(&self, spec: &ContainerSpec) -> Result<bool, Error> {
        let Some(there) = self.engine.container(&spec.name).await? else {
            return Ok(false);
        };
        let image = self.engine.image(&spec.image).await?.map(|facts| facts.id);
        Ok(there.running && Some(there.image) == image && there.made_from == spec.fingerprint())
    }

    async fn wait_for_caddy(&self, name: &str) -> Result<(), Error> {
        let (began, mut last) = (Instant::now(), String::new());
        while began.elapsed() < COMES_UP {
            match tokio::time::timeout(Duration::from_secs(1), self.proxy.ping()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = "it does not answer".to_owned(),
            }
            // It may have been ending when it was looked at.
            if !self
                .engine
                .container(name)
                .await?
                .is_some_and(|caddy| caddy.running)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let printed = self
            .engine
            .last_output(name, 5)
            .await
            .unwrap_or_default()
            .concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        Err(Error::Refused(format!(
            "Caddy does not come up: {last}\nIts last lines:\n{printed}"
        )))
    }

    /// Asks Caddy's container, if it runs, for its version; once.
    pub async fn learn_version(&self) -> Result<(), Error> {
        if self.caddy.get().is_some() {
            return Ok(());
        }
        let command = ["caddy".to_owned(), "version".to_owned()];
        let (_, said) = self
            .engine
            .exec(&self.naming.caddy(), &command, Duration::from_secs(10))
            .await?;
        let said = crate::domain::printable(said.split_whitespace().next().unwrap_or_default(), 40);
        let _ = self.caddy.set(Abilities::of_version(&said));
        tracing::info!(version = said, "Caddy {said} runs");
        Ok(())
    }
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
