//! A Caddy in memory: it has the configuration that it was given last, follows the same files as the
//! real one, and asks the test's world who answers.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{ProxyError, Route, Settings, Upstream, UpstreamRow, files};
use crate::chaos::{Chaos, Fate};
use crate::domain::DomainName;

/// What Caddy sees of the world.
pub trait Containers: Send + Sync {
    /// Which life of Caddy's own container runs: another one has begun anew.
    fn caddy(&self) -> Option<String>;
    /// The status with which whatever is at this host (an address, a name or an alias) and port
    /// answers; none where nothing does.
    fn answer(&self, host: &str, port: u16) -> Option<u16>;
    /// Whether a container bears this name or alias.
    fn resolves(&self, host: &str) -> bool;
    /// How many requests Caddy still has under way, by host.
    fn in_flight(&self) -> HashMap<String, u64>;
}

/// A Caddy in memory. Cheap to clone; outlives the server, as the real one does.
#[derive(Clone)]
pub struct FakeCaddy {
    chaos: Chaos,
    world: Arc<dyn Containers>,
    /// The folder with its files; an older Caddy reads none.
    files: Option<PathBuf>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What it starts with.
    prepared: Config,
    /// What it serves by.
    loaded: Config,
    /// Which life of its container that is.
    life: Option<String>,
}

/// What a configuration says.
#[derive(Debug, Clone)]
enum Config {
    /// Where each domain leads: an older Caddy's.
    Routes(Vec<Route>),
    /// That the files tell.
    Files,
}

impl Default for Config {
    fn default() -> Self {
        Self::Routes(Vec::new())
    }
}

impl Config {
    fn new(settings: &Settings, routes: &[Route]) -> Self {
        match settings.can.files {
            true => Self::Files,
            false => Self::Routes(routes.to_vec()),
        }
    }
}

impl fmt::Debug for FakeCaddy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeCaddy")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl FakeCaddy {
    /// A Caddy whose files lie in `files`, the folder with its sockets; one that reads none where there
    /// is no such folder.
    pub fn new(files: Option<PathBuf>, world: Arc<dyn Containers>, chaos: Chaos) -> Self {
        Self {
            chaos,
            world,
            files,
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its container runs. One that has begun anew serves by what was prepared.
    fn runs(&self) -> bool {
        let life = self.world.caddy();
        let mut state = self.state();
        if life.is_some() && life != state.life {
            state.loaded = state.prepared.clone();
            state.life.clone_from(&life);
        }
        life.is_some()
    }

    fn serves_by(&self) -> Config {
        self.runs();
        self.state().loaded.clone()
    }

    /// Every domain that it leads anywhere.
    pub fn domains(&self) -> Vec<String> {
        match (self.serves_by(), &self.files) {
            (Config::Files, Some(dir)) => files::domains(dir),
            (Config::Files, None) => Vec::new(),
            (Config::Routes(routes), _) => routes
                .iter()
                .flat_map(|route| route.domains.iter().map(ToString::to_string))
                .collect(),
        }
    }

    pub(super) fn prepare(&self, settings: &Settings, routes: &[Route]) {
        self.state().prepared = Config::new(settings, routes);
    }

    pub(super) async fn load(
        &self,
        settings: &Settings,
        routes: &[Route],
    ) -> Result<(), ProxyError> {
        let fate = self.call("caddy: load").await?;
        let config = Config::new(settings, routes);
        {
            let mut state = self.state();
            state.loaded = config.clone();
            state.prepared = config;
        }
        answered(fate)
    }

    pub(super) async fn upstreams(&self) -> Result<Vec<UpstreamRow>, ProxyError> {
        answered(self.call("caddy: upstreams").await?)?;
        let rows = self.world.in_flight().into_iter();
        Ok(rows
            .map(|(host, count)| UpstreamRow {
                address: format!("{host}:80"),
                num_requests: count as i64,
            })
            .collect())
    }

    async fn call(&self, name: &str) -> Result<Fate, ProxyError> {
        let unreachable = |why: &str| Err(ProxyError::Unreachable(why.into()));
        match self.chaos.fate(name).await {
            Fate::Refused => Err(ProxyError::Refused("refused on purpose".into())),
            Fate::Hung => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                unreachable("operation timed out")
            }
            _ if !self.runs() => unreachable("connection refused"),
            fate => Ok(fate),
        }
    }

    /// What a visitor of `domain` gets.
    pub(super) async fn ask(&self, domain: &DomainName, timeout: Duration) -> Result<u16, String> {
        match self.chaos.fate("visit").await {
            Fate::Hung => {
                tokio::time::sleep(timeout).await;
                Err("operation timed out".into())
            }
            _ => self.visit(domain),
        }
    }

    /// What a visitor of `domain` would get now.
    pub fn visit(&self, domain: &DomainName) -> Result<u16, String> {
        if !self.runs() {
            return Err("connection refused".into());
        }
        let led = match (self.serves_by(), &self.files) {
            (Config::Files, Some(dir)) => files::follow(dir, domain.as_str()),
            (Config::Files, None) => None,
            (Config::Routes(routes), _) => {
                let route = routes.iter().find(|route| route.domains.contains(domain));
                route.map(|route| self.forward(&route.upstream))
            }
        };
        let Some((host, port)) = led else {
            return Ok(404);
        };
        Ok(self.world.answer(&host, port).unwrap_or(502))
    }

    /// As `render.rs` has an older Caddy do it: by the name, or by the fallback.
    fn forward(&self, upstream: &Upstream) -> (String, u16) {
        match upstream {
            Upstream::Live { name, port, .. } if self.world.resolves(name) => (name.clone(), *port),
            Upstream::Live { fallback, port, .. } => (fallback.clone(), *port),
            Upstream::Pinned { name, port } => (name.clone(), *port),
        }
    }
}

fn answered(fate: Fate) -> Result<(), ProxyError> {
    match fate {
        Fate::Unanswered => Err(ProxyError::Unreachable("connection reset".into())),
        _ => Ok(()),
    }
}
