//! Deploys, from the queue to the retired container: what Windlass is for.
//!
//! `pipeline.rs` is the story; the other files are its chapters. [`Windlass`] is what pages and the
//! control socket may ask for; each file adds its part of it.

mod app_log;
mod apps;
mod asked;
mod board;
mod changes;
mod container;
mod context;
mod cutover;
mod disk;
mod domains;
mod edge;
mod error;
mod follow;
mod gates;
mod house;
mod ignore;
mod keep;
mod load;
mod migrations;
mod news;
mod outlook;
mod pipeline;
mod probe;
mod queue;
mod recover;
mod run;
mod running;
mod secrets;
mod settle;
mod source;
mod start;
mod watcher;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Semaphore, watch};

pub use app_log::{AppLogFollower, AppLogPage, AppLogQuery, AppPlaces, nanos_ago};
pub use asked::PushAnswer;
pub use board::Board;
pub use error::{Error, ErrorKind};
pub use follow::{Follower, Progress, Reached};
pub use load::Running;
pub use news::{Edition, News, Reader};
pub(crate) use outlook::differing;

use crate::access::Access;
use crate::config::{Config, Home, Tls};
use crate::domain::{AppName, DeployId, Environment, Naming, Timestamp};
use crate::engine::Engine;
use crate::git::Repositories;
pub use crate::git::{HttpCall, Report, bound as bound_git};
use crate::logs::{Cursor, Logs};
use crate::proxy::{Abilities, Proxy, PublicDoor};
use crate::store::Store;

/// Everything that pages and the control socket may ask for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Windlass(Arc<Parts>);

/// What an installation consists of.
#[derive(Debug)]
pub struct Parts {
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
    pub engine: Engine,
    /// What everything is called there.
    pub naming: Naming,
    /// Caddy's admin socket.
    pub proxy: Proxy,
    /// Caddy as the public sees it.
    pub door: PublicDoor,
    /// That something which pages show has changed.
    pub news: News,
    running: running::Running,
    board: board::LastBoard,
    builds: Semaphore,
    /// Held while an app is made, or Caddy and the networks are brought in order: so that no two apps
    /// take one subnet, and no network is made twice.
    networks: tokio::sync::Mutex<()>,
    workers: queue::Workers,
    collectors: Mutex<HashMap<DeployId, keep::Collector>>,
    app_output: watch::Sender<u64>,
    caddy: OnceLock<Abilities>,
    /// When this server started.
    since: Timestamp,
}

impl Deref for Windlass {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Windlass {
    /// Puts an installation together from what was opened under its home folder. Talks to nothing.
    pub fn new(home: Home, config: Config, store: Store, instance: &str) -> Result<Self, Error> {
        // Every TLS client of this process takes its cryptography from here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = config.caddy.tls;
        let door = PublicDoor {
            scheme: if tls == Tls::Off { "http" } else { "https" },
            port: if tls == Tls::Off {
                config.caddy.http_port
            } else {
                config.caddy.https_port
            },
            authority: (tls == Tls::Internal).then(|| {
                home.caddy()
                    .join("data/caddy/pki/authorities/local/root.crt")
            }),
        };
        Ok(Self(Arc::new(Parts {
            logs: Logs::open(&home.logs(), config.keep.log_size.0)?,
            git: Repositories::new(home.repos(), &config.deploy_branch, config.git.max_push.0),
            engine: Engine::new(
                &config.docker.socket,
                config.docker.timeout.0,
                instance,
                home.path(),
            )?,
            naming: Naming::new(instance),
            proxy: Proxy::new(home.caddy())?,
            door,
            news: News::default(),
            running: running::Running::default(),
            board: board::LastBoard::default(),
            builds: Semaphore::new(config.build.concurrency),
            networks: tokio::sync::Mutex::default(),
            workers: queue::Workers::default(),
            collectors: Mutex::default(),
            app_output: watch::Sender::new(0),
            caddy: OnceLock::new(),
            since: Timestamp::now(),
            access: Access::new(store.clone(), home.clone()),
            home,
            config,
            store,
        })))
    }

    /// The environment of an app as it is set today.
    pub async fn env(&self, app: &AppName) -> Result<Environment, Error> {
        Ok(self.store.env(app).await?)
    }

    /// The git program that answers one request by HTTP for an app's repository; its hook tells `report`.
    pub fn git_by_http(
        &self,
        app: &AppName,
        call: &HttpCall,
        report: &Report,
    ) -> std::process::Command {
        crate::git::http_backend(&self.git.path(app), call, report)
    }

    /// Tells whoever follows a deploy, and whoever looks at its app, that it is not as it was.
    pub(crate) fn changed(&self, app: &AppName, id: DeployId) {
        self.logs.changed(id);
        self.news.of(app);
    }

    /// Follows a deploy from `cursor` on.
    pub fn follow(&self, id: DeployId, cursor: Cursor) -> Follower {
        self.follow_after(id, cursor.into())
    }

    /// Follows a deploy from where somebody has read to.
    pub fn follow_after(&self, id: DeployId, reached: Reached) -> Follower {
        Follower::after(self.store.clone(), self.logs.clone(), id, reached)
    }
}
