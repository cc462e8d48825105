//! At the server's start: database, engine, Caddy and repositories are brought to one truth.
//!
//! Container names say what was live and what was being proved; the database says what was meant.
//! A deploy that was not verified is undone, one that was is finished, and what carries our label
//! and belongs to neither is removed. Nothing else is touched.

use std::time::Duration;

use tracing::{info, warn};

use super::{Error, Windlass};
use crate::domain::{AppName, Deploy, DeployEvent, DeployId, DeployStatus, Failure, PhaseStatus, Timestamp};
use crate::engine::Role;
use crate::proxy::REFRESH;

impl Windlass {
    /// Finishes or undoes what was under way when the server went, and removes what is left over.
    pub async fn reconcile(&self) -> Result<(), Error> {
        // Where Caddy runs already, its routes are rendered as they were: a load cuts connections.
        let _ = self.learn_version().await;
        for app in self.store.apps().await? {
            self.reconcile_app(&app.name).await;
        }
        self.remove_orphans().await
    }

    /// Each step for itself: what is wrong with one must not leave another undone.
    async fn reconcile_app(&self, app: &AppName) {
        let warn =
            |what: &str, error: Error| warn!(%app, %error, "{what} of {app} could not be put in order");
        if let Err(error) = self.git.create(app).await {
            warn("the repository", error.into());
        }
        match self.restore_live_name(app).await {
            // What Caddy sends to the wrong one by its last look-up may finish before that one goes.
            Ok(true) => tokio::time::sleep(REFRESH).await,
            Ok(false) => {}
            Err(error) => warn("the live container", error),
        }
        if let Err(error) = self.close_deploys(app).await {
            warn("a deploy", error);
        }
        if let Err(error) = self.settle_branch(app, None).await {
            warn("the branch", error);
        }
    }

    /// Nothing stays "running" without a worker.
    async fn close_deploys(&self, app: &AppName) -> Result<(), Error> {
        let live = self.store.live_deploy(app).await?;
        if let Some(live) = live.filter(|deploy| deploy.finished_at.is_none()) {
            self.close_phases(&live).await?;
            self.store.finish_deploy(live.id, age_ms(&live)).await?;
        }
        for deploy in self.store.open_deploys(Some(app)).await? {
            if deploy.status == DeployStatus::Running {
                self.interrupt(&deploy).await?;
            }
        }
        Ok(())
    }

    /// The live name goes to the container of the live deploy, whoever has it now. True when it moved.
    pub(super) async fn restore_live_name(&self, app: &AppName) -> Result<bool, Error> {
        let live = self.store.live_deploy(app).await?.map(|deploy| deploy.id);
        let name = self.naming.live(app);
        let holder = self.engine.container(&name).await?;
        let rightful = holder.as_ref().is_some_and(|c| live.is_some() && c.deploy == live);
        if let (Some(holder), false) = (&holder, rightful) {
            let away = holder.deploy.map_or(format!("{name}_stray"), |id| self.naming.release(app, id));
            self.engine.rename(&name, &away).await?;
        }
        let Some(live) = live else {
            self.store.set_port(app, None).await?;
            return Ok(holder.is_some());
        };
        let own = self.naming.release(app, live);
        let moved = !rightful && self.engine.container(&own).await?.is_some();
        if moved {
            info!(%app, deploy = %live, "deploy {live} of {app} gets the live name back");
            self.engine.rename(&own, &name).await?;
        }
        if let Some(release) = self.store.release(live).await? {
            self.proxy.write_port(app, release.port)?;
            self.store.set_port(app, Some(release.port)).await?;
        }
        match self.engine.container(&name).await? {
            Some(container) if !container.running => {
                self.engine.set_restart(&name, true).await?;
                self.engine.start(&name).await?;
            }
            Some(_) => self.engine.set_restart(&name, true).await?,
            None => {
                warn!(%app, deploy = %live, "the live container of {app} is gone: windlass restart {app}")
            }
        }
        self.collect(app, name, live);
        Ok(moved)
    }

    async fn interrupt(&self, deploy: &Deploy) -> Result<(), Error> {
        self.close_phases(deploy).await?;
        let phase = deploy.phases.last().map_or("server".to_owned(), |p| p.phase.to_string());
        let message = "the server stopped during this deploy; what was live before still is. Push again, or: windlass redeploy".into();
        let reason = Failure { phase, message };
        self.store
            .change_deploy(deploy.id, DeployEvent::Interrupt, Some(&reason), Some(age_ms(deploy)))
            .await?;
        info!(app = %deploy.app, deploy = %deploy.id, "deploy {} was interrupted", deploy.id);
        self.clean_up_after(&deploy.app, deploy.id).await;
        Ok(())
    }

    async fn close_phases(&self, deploy: &Deploy) -> Result<(), Error> {
        for (ordinal, phase) in deploy.phases.iter().enumerate() {
            if phase.status == PhaseStatus::Running {
                let ms = (Timestamp::now().millis() - phase.started_at.millis()).max(0) as u64;
                self.store.end_phase(deploy.id, ordinal, PhaseStatus::Failed, ms).await?;
            }
        }
        self.logs.changed(deploy.id);
        Ok(())
    }

    /// Containers and networks of this installation that belong to nothing any more.
    async fn remove_orphans(&self) -> Result<(), Error> {
        let apps = self.store.apps().await?;
        for container in self.engine.containers(None, None).await? {
            let wanted = match (container.role, &container.app) {
                (Some(Role::Caddy), _) => container.name == self.naming.caddy(),
                (Some(Role::Web), Some(app)) => {
                    container.name == self.naming.live(app) && apps.iter().any(|known| known.name == *app)
                }
                _ => false,
            };
            if !wanted {
                info!(container = container.name, "removing a container left over");
                let deploy = container.deploy.unwrap_or(DeployId(0));
                self.stop_and_remove(&container.id, deploy, Duration::from_secs(10)).await?;
            }
        }
        let mut wanted: Vec<String> = apps.iter().map(|app| self.naming.network(&app.name)).collect();
        wanted.push(self.naming.edge());
        for network in self.engine.networks().await? {
            if wanted.contains(&network) {
                continue;
            }
            self.engine.disconnect(&network, &self.naming.caddy()).await?;
            // One that somebody else's container stands on stays: it is no longer only ours.
            if let Err(error) = self.engine.remove_network(&network).await {
                warn!(network, %error, "a network left over stays");
            }
        }
        Ok(())
    }
}

fn age_ms(deploy: &Deploy) -> u64 {
    deploy.started_at.map_or(0, |at| at.age().as_millis() as u64)
}
