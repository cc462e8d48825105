//! Apps: creating, showing and destroying them, and the routes that lead to them.

use std::collections::HashSet;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::{Error, Windlass};
use crate::domain::{Allowance, App, AppName, AppStatus, DeployId, DomainName};
use crate::machine::user_name;
use crate::proxy::{Route, Settings, Upstream};
use crate::store::{AppRow, StoreError};

/// How long a page or a list waits for the engine to tell what runs.
const LOOK: Duration = Duration::from_secs(2);
/// The size of an app's network: room for its containers, gates and databases.
const SUBNET_PREFIX: u8 = 26;

impl Windlass {
    /// Creates an app: its row, repository and network; its route comes with its first release. What
    /// an attempt that failed left behind is undone.
    pub async fn create_app(&self, name: &AppName, domains: &[DomainName]) -> Result<App, Error> {
        self.not_the_dashboards(domains)?;
        let _alone = self.networks.lock().await;
        let mut refused = None;
        for subnet in self.free_subnets().await? {
            self.store.create_app(name, domains, subnet).await?;
            let Err(error) = self.furnish(name, subnet).await else {
                self.workers.wake(self, name);
                return self.app(name).await;
            };
            // The first error is the one to tell; undoing may fail for the same reason. What is left
            // on the engine then belongs to no app, and goes when the engine is back.
            let _ = self.tear_down(name).await;
            let _ = self.git.destroy(name);
            let _ = self.store.destroy_app(name).await;
            // The engine holds on to some subnets without a network that says so.
            if !matches!(&error, Error::Engine(error) if error.is_taken_subnet()) {
                return Err(error);
            }
            refused = Some(error);
        }
        Err(refused.unwrap_or_else(|| {
            let pool = self.config.docker.address_pool;
            Error::Refused(format!(
                "docker.address_pool {pool} has no free /{SUBNET_PREFIX} left: choose a larger one"
            ))
        }))
    }

    async fn furnish(&self, name: &AppName, subnet: Ipv4Net) -> Result<(), Error> {
        self.git.create(name).await?;
        let network = self.naming.network(name);
        self.engine
            .ensure_network(&network, Some(subnet), Some(name.as_str()))
            .await?;
        Ok(self.engine.connect(&network, &self.naming.caddy()).await?)
    }

    /// The first of the pool's /26 that no app and no network on this machine uses.
    async fn free_subnets(&self) -> Result<Vec<Ipv4Net>, Error> {
        let pool = self.config.docker.address_pool;
        let mut used = self.engine.subnets().await?;
        used.extend(self.store.apps().await?.iter().map(|app| app.subnet));
        let free = |net: &Ipv4Net| !used.iter().any(|u| u.contains(net) || net.contains(u));
        let subnets = pool
            .subnets(SUBNET_PREFIX)
            .map_err(|error| Error::Refused(error.to_string()))?;
        Ok(subnets.filter(free).take(10).collect())
    }

    /// One app.
    pub async fn app(&self, name: &AppName) -> Result<App, Error> {
        let row = self.store.app(name).await?;
        let running = self.running().await;
        let mut app = self.show(row, running.as_ref()).await?;
        if let (Some(live), AppStatus::Serving | AppStatus::Down) = (&app.live, app.status) {
            let name = self.naming.live(name);
            let there = tokio::time::timeout(LOOK, self.engine.container(&name)).await;
            let there = there
                .ok()
                .and_then(Result::ok)
                .flatten()
                .filter(|c| c.deploy == Some(live.id));
            app.restarts = there.map(|container| container.restarts);
        }
        Ok(app)
    }

    /// An app, by what is known without asking the engine.
    pub async fn known_app(&self, row: AppRow) -> Result<App, Error> {
        let status = self.board().await?.status(&row.name);
        Ok(App {
            status,
            ..self.show(row, None).await?
        })
    }

    /// Names of our containers that run; `None` when the engine does not tell soon.
    async fn running(&self) -> Option<HashSet<String>> {
        let running = tokio::time::timeout(LOOK, self.engine.running())
            .await
            .ok()?
            .ok()?;
        Some(running.into_values().collect())
    }

    /// Every app, by name.
    pub async fn apps(&self) -> Result<Vec<App>, Error> {
        // With the engine away nobody knows what runs; the list itself must still come.
        let running = self.running().await;
        let mut apps = Vec::new();
        for row in self.store.apps().await? {
            apps.push(self.show(row, running.as_ref()).await?);
        }
        Ok(apps)
    }

    async fn show(&self, row: AppRow, running: Option<&HashSet<String>>) -> Result<App, Error> {
        let live = self.store.live_deploy(&row.name).await?;
        let status = match (&live, running) {
            (None, _) => AppStatus::Empty,
            (Some(_), None) => AppStatus::Unknown,
            (Some(_), Some(names)) if names.contains(&self.naming.live(&row.name)) => {
                AppStatus::Serving
            }
            (Some(_), Some(_)) => AppStatus::Down,
        };
        let remote = self.remote(&row.name);
        let (domains, allowed) = (row.domains, row.allowed);
        Ok(App {
            name: row.name,
            domains,
            remote,
            status,
            restarts: None,
            allowed,
            live,
        })
    }

    /// Allows an app more than every app may: what `more` says takes the place of what was allowed of
    /// its kind, or of all of it. It counts from the next deploy on.
    pub async fn allow(&self, name: &AppName, more: Allowance, reset: bool) -> Result<App, Error> {
        let before = if reset {
            Allowance::default()
        } else {
            self.store.allowance(name).await?
        };
        self.store.allow(name, &before.with(more)).await?;
        self.app(name).await
    }

    /// What `git remote add` takes: by ssh where the configuration says how this machine is reached, else
    /// the path on it.
    fn remote(&self, name: &AppName) -> String {
        self.remote_of(name.as_str())
    }

    /// The same for an app that need not be there.
    pub fn remote_of(&self, name: &str) -> String {
        let user = || user_name(rustix::process::geteuid().as_raw());
        match (&self.config.ssh_host, self.config.ssh_port) {
            (None, _) => self
                .home
                .repos()
                .join(format!("{name}.git"))
                .display()
                .to_string(),
            (Some(host), 22) => format!("{}@{host}:{name}", user()),
            (Some(host), port) => format!("ssh://{}@{host}:{port}/{name}", user()),
        }
    }

    /// Where the public finds a domain: `https://shop.example.com`.
    pub fn address(&self, domain: &DomainName) -> String {
        self.door.url(domain)
    }

    /// The app's public address, if it has a domain: `https://shop.example.com`.
    pub async fn url(&self, name: &AppName) -> Result<Option<String>, Error> {
        Ok(self
            .store
            .app(name)
            .await?
            .domains
            .first()
            .map(|domain| self.door.url(domain)))
    }

    /// Removes an app with its containers, images, network, repository, logs and rows.
    ///
    /// # Errors
    /// Also when containers that are not Windlass's stand on its network: nothing is removed then.
    pub async fn destroy_app(&self, name: &AppName) -> Result<(), Error> {
        self.store.app(name).await?;
        let network = self.naming.network(name);
        let strangers = self.engine.strangers(&network).await?;
        if !strangers.is_empty() {
            return Err(Error::Refused(format!(
                "{} on the network of {name} is not Windlass's to remove. First: docker network disconnect {network} {}",
                strangers.join(", "),
                strangers[0]
            )));
        }
        // From here on it is going, whatever happens to this server: its worker goes on with that.
        self.store.set_leaving(name).await?;
        for deploy in self.store.open_deploys(Some(name)).await? {
            let _ = self.cancel(deploy.id, "app destroy").await;
        }
        let held = tokio::time::timeout(Duration::from_secs(60), self.workers.hold(name)).await;
        let Ok(_hands) = held else {
            let why = format!(
                "{name} goes as soon as its deploy has ended, which takes longer than usual"
            );
            return Err(Error::Refused(why));
        };
        match self.tear_down(name).await {
            // Its worker was quicker.
            Err(Error::Store(StoreError::NoApp(_))) => Ok(()),
            done => {
                // What did not work now, its worker tries again.
                done.inspect_err(|_| self.workers.wake(self, name))
            }
        }
    }

    /// Removes everything of an app that is leaving. The rows go last: whatever fails before them is
    /// tried again.
    pub(super) async fn tear_down(&self, name: &AppName) -> Result<(), Error> {
        self.store.app(name).await?;
        let network = self.naming.network(name);
        self.store.set_port(name, None).await?;
        self.load_routes(None).await?;
        for container in self.engine.containers(Some(name), None).await? {
            self.engine.remove(&container.id).await?;
        }
        for image in self.image_names(name).await? {
            self.engine.remove_image(&image).await?;
        }
        self.engine
            .disconnect(&network, &self.naming.caddy())
            .await?;
        self.engine.remove_network(&network).await?;
        self.git.destroy(name)?;
        self.proxy.forget(name)?;
        for deploy in self.store.deploys(name, u32::MAX, None).await? {
            self.logs.remove(deploy.id)?;
        }
        self.store.destroy_app(name).await?;
        self.workers.forget(name);
        self.load_routes(None).await
    }

    /// What all routes share.
    pub(super) fn proxy_settings(&self) -> Settings {
        Settings {
            tls: self.config.caddy.tls,
            http_port: self.config.caddy.http_port,
            https_port: self.config.caddy.https_port,
            dashboard: self.config.dashboard_domain.clone(),
            can: self.caddy.get().copied().unwrap_or_default(),
        }
    }

    /// A route per app that has a release; one app's may lead elsewhere for a moment.
    pub(super) async fn routes(
        &self,
        other: Option<(&AppName, Upstream)>,
    ) -> Result<Vec<Route>, Error> {
        let route = |row: AppRow| {
            let upstream = match &other {
                Some((app, upstream)) if **app == row.name => upstream.clone(),
                _ => {
                    let (name, fallback) =
                        (self.naming.live(&row.name), self.naming.fallback(&row.name));
                    Upstream::Live {
                        name,
                        fallback,
                        port: row.port?,
                        app: row.name,
                    }
                }
            };
            Some(Route {
                domains: row.domains,
                upstream,
            })
        };
        Ok(self
            .store
            .apps()
            .await?
            .into_iter()
            .filter_map(route)
            .collect())
    }

    /// Brings Caddy's routes to what the database says.
    pub(super) async fn load_routes(
        &self,
        other: Option<(&AppName, Upstream)>,
    ) -> Result<(), Error> {
        let routes = self.routes(other).await?;
        self.proxy.load(&self.proxy_settings(), &routes).await?;
        Ok(())
    }

    /// Puts the deploy branch where it belongs: on what is live, unless another deploy than `ended`
    /// still waits or runs with what it names now. The same push then tries again after a failure.
    pub(super) async fn settle_branch(
        &self,
        app: &AppName,
        ended: Option<DeployId>,
    ) -> Result<(), Error> {
        let live = self
            .store
            .live_deploy(app)
            .await?
            .map(|deploy| deploy.commit);
        let open = self.store.open_deploys(Some(app)).await?;
        let now = self.git.branch(app).await?;
        let awaited = now.as_ref().is_some_and(|now| {
            open.iter()
                .any(|deploy| Some(deploy.id) != ended && deploy.commit == *now)
        });
        if now != live && !awaited {
            self.git
                .move_branch(app, now.as_ref(), live.as_ref())
                .await?;
        }
        Ok(())
    }
}
