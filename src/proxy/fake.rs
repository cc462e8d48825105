//! A Caddy in memory: it has the routes that it was given last, follows the same files as the real one,
//! and asks the test's world who answers.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{ProxyError, Route, Upstream, UpstreamRow, render};
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
    prepared: Vec<Route>,
    /// What it serves by.
    loaded: Vec<Route>,
    /// Which life of its container that is.
    life: Option<String>,
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

    /// What it serves by.
    pub fn routes(&self) -> Vec<Route> {
        self.runs();
        self.state().loaded.clone()
    }

    pub(super) fn prepare(&self, routes: &[Route]) {
        self.state().prepared = routes.to_vec();
    }

    pub(super) async fn load(&self, routes: &[Route]) -> Result<(), ProxyError> {
        let fate = self.call("caddy: load").await?;
        {
            let mut state = self.state();
            state.loaded = routes.to_vec();
            state.prepared = routes.to_vec();
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
        let routes = self.routes();
        let route = routes.iter().find(|route| route.domains.contains(domain));
        let Some(route) = route else { return Ok(404) };
        Ok(self.forward(&route.upstream).unwrap_or(502))
    }

    /// As `render.rs` has Caddy do it: by the files, then by the names.
    fn forward(&self, upstream: &Upstream) -> Option<u16> {
        match upstream {
            Upstream::Pinned { name, port } => self.world.answer(name, *port),
            Upstream::Live {
                name,
                fallback,
                app,
                port,
            } => {
                let read = |folder: &str| {
                    let file = self.files.as_ref()?.join(folder).join(app.as_str());
                    fs::read_to_string(file).ok()
                };
                let led_port = read(render::PORTS).and_then(|port| port.parse().ok());
                let port = led_port.unwrap_or(*port);
                match read(render::ADDRESSES) {
                    Some(address) => self.world.answer(&address, port),
                    None if self.world.resolves(name) => self.world.answer(name, port),
                    None => self.world.answer(fallback, port),
                }
            }
        }
    }
}

fn answered(fate: Fate) -> Result<(), ProxyError> {
    match fate {
        Fate::Unanswered => Err(ProxyError::Unreachable("connection reset".into())),
        _ => Ok(()),
    }
}
