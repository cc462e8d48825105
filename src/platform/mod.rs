//! What everything stands on: configuration and adapters put together, opened once, without workers.
//!
//! A room above gets a [`Platform`] as an argument and nothing of the rooms beside it. What acts by
//! itself (the queue, the watcher, the hourly retention) is made on top of it by `serve.rs`.

mod change_feed;
mod draining;
mod error;
mod log_collector;
mod running;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, Semaphore};

pub use change_feed::{ChangeFeed, Edition, Reader};
pub use draining::{Draining, UnderWay};
pub use error::{Error, ErrorKind};
pub use log_collector::LogCollector;
pub use running::Running;

use crate::access::Access;
use crate::config::{Config, Home, Tls};
use crate::domain::{AppName, DeployId, DomainName, Environment, Naming, Timestamp};
use crate::git::Repositories;
use crate::logs::{Logs, Redactor};
use crate::machine::user_name;
use crate::proxy::{Abilities, Proxy, Public, PublicDoor, Settings};
use crate::runtime::Runtime;
use crate::store::Store;

/// How long the engine has for saying that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// An installation: its configuration and everything that was opened under its home folder.
#[derive(Debug)]
pub struct Platform {
    /// Where everything lies.
    pub home: Home,
    /// The configuration.
    pub config: Config,
    /// Who comes in, and the gate.
    pub access: Access,
    /// The database.
    pub store: Store,
    /// The logs.
    pub logs: Logs,
    /// The repositories.
    pub git: Repositories,
    /// What runs containers.
    pub engine: Runtime,
    /// What everything is called there.
    pub naming: Naming,
    /// Caddy's admin socket.
    pub proxy: Proxy,
    /// Caddy as the public sees it.
    pub door: PublicDoor,
    /// Tells pages that something they show has changed.
    pub change_feed: ChangeFeed,
    /// Which containers run, for pages.
    pub running: Running,
    /// Which old containers drain behind a live release.
    pub draining: Draining,
    /// Keeps what apps print.
    pub collector: LogCollector,
    /// A permit for each build that may run at the same time.
    pub build_slots: Semaphore,
    /// Held while an app is made, or Caddy and the networks are brought in order: so that no two apps
    /// take one subnet, and no network is made twice.
    pub network_lock: Mutex<()>,
    /// Fires when something was left over on the engine that belongs to no app, so nobody's worker
    /// removes it.
    pub left_over: Notify,
    /// What the Caddy that runs can do, once it was asked.
    pub caddy: OnceLock<Abilities>,
    /// When this server started.
    pub since: Timestamp,
}

impl Platform {
    /// Puts an installation together from what was opened under its home folder. Talks to nothing.
    pub fn new(
        home: Home,
        config: Config,
        store: Store,
        instance: &str,
    ) -> Result<Arc<Self>, Error> {
        // Every TLS client of this process takes its cryptography from here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let engine = Runtime::docker(
            &config.docker.socket,
            config.docker.timeout.0,
            instance,
            home.path(),
        )?;
        let proxy = Proxy::new(home.caddy())?;
        let door = public_door(&home, &config);
        Self::on(home, config, store, instance, engine, (proxy, door))
    }

    /// Puts an installation together on a runtime and a Caddy in memory.
    #[cfg(any(test, feature = "testing"))]
    pub fn simulated(
        home: Home,
        config: Config,
        store: Store,
        instance: &str,
        engine: crate::runtime::fake::Fake,
        caddy: crate::proxy::fake::FakeCaddy,
    ) -> Result<Arc<Self>, Error> {
        let proxy = Proxy::fake(home.caddy(), caddy.clone())?;
        let mut door = public_door(&home, &config);
        door.caddy = Public::Fake(caddy);
        let engine = Runtime::Fake(engine);
        Self::on(home, config, store, instance, engine, (proxy, door))
    }

    fn on(
        home: Home,
        config: Config,
        store: Store,
        instance: &str,
        engine: Runtime,
        (proxy, door): (Proxy, PublicDoor),
    ) -> Result<Arc<Self>, Error> {
        let logs = Logs::open(&home.logs(), config.keep.log_size.0)?;
        Ok(Arc::new(Self {
            git: Repositories::new(home.repos(), &config.deploy_branch, config.git.max_push.0),
            naming: Naming::new(instance),
            proxy,
            door,
            change_feed: ChangeFeed::default(),
            running: Running::default(),
            draining: Draining::default(),
            collector: LogCollector::new(engine.clone(), logs.clone()),
            build_slots: Semaphore::new(config.build.concurrency),
            network_lock: Mutex::default(),
            left_over: Notify::new(),
            caddy: OnceLock::new(),
            since: Timestamp::now(),
            access: Access::new(store.clone(), home.clone()),
            logs,
            engine,
            home,
            config,
            store,
        }))
    }

    /// Tells whoever follows a deploy, and whoever looks at its app, that it is not as it was.
    pub fn changed(&self, app: &AppName, id: DeployId) {
        self.logs.changed(id);
        self.change_feed.of(app);
    }

    /// Whether the engine answers, and soon.
    pub async fn reach_engine(&self) -> Result<(), Error> {
        match tokio::time::timeout(ANSWER, self.engine.facts()).await {
            Ok(answered) => Ok(answered.map(drop)?),
            Err(_) => Err(self.engine.silent(ANSWER).into()),
        }
    }

    /// What all of Caddy's routes share.
    pub fn proxy_settings(&self) -> Settings {
        Settings {
            tls: self.config.caddy.tls,
            http_port: self.config.caddy.http_port,
            https_port: self.config.caddy.https_port,
            dashboard: self.config.dashboard_domain.clone(),
            can: self.caddy.get().copied().unwrap_or_default(),
        }
    }

    /// Takes the values of an environment out of what an app prints. Its public address is no secret.
    pub async fn redactor(&self, app: &AppName, env: &Environment) -> Result<Redactor, Error> {
        let domains = self.store.app(app).await?.domains;
        let public: Vec<String> = domains
            .iter()
            .map(|domain| self.door.url(domain) + "/")
            .collect();
        Ok(Redactor::new(env, &public))
    }

    /// What `git remote add` takes for an app, which need not be there: by ssh where the configuration
    /// says how this machine is reached, else the path on it.
    pub fn git_remote(&self, app: &str) -> String {
        let user = || user_name(rustix::process::geteuid().as_raw());
        match (&self.config.ssh_host, self.config.ssh_port) {
            (None, _) => {
                let path = self.home.repos().join(format!("{app}.git"));
                path.display().to_string()
            }
            (Some(host), 22) => format!("{}@{host}:{app}", user()),
            (Some(host), port) => format!("ssh://{}@{host}:{port}/{app}", user()),
        }
    }

    /// Where the public finds a domain: `https://shop.example.com`.
    pub fn address(&self, domain: &DomainName) -> String {
        self.door.url(domain)
    }
}

fn public_door(home: &Home, config: &Config) -> PublicDoor {
    let tls = config.caddy.tls;
    let (scheme, port) = match tls {
        Tls::Off => ("http", config.caddy.http_port),
        _ => ("https", config.caddy.https_port),
    };
    let root = home
        .caddy()
        .join("data/caddy/pki/authorities/local/root.crt");
    PublicDoor {
        scheme,
        port,
        authority: (tls == Tls::Internal).then_some(root),
        caddy: Public::Ports,
    }
}
