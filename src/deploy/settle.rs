//! Settling an app: what the engine, Caddy and the repository have of it is brought to what the
//! database says.
//!
//! An app's worker does it after each deploy, at the server's start, and whenever a container of the
//! app changed without it; never while a deploy of the app is under way. Names and labels say what
//! each container is, so it does not matter who left them so: a deploy that failed, a server that
//! was killed, an engine that restarted, a person. Doing it again changes nothing.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{info, warn};

use super::cutover::Retiring;
use super::run::pause;
use super::source::Image;
use super::{Error, Windlass};
use crate::domain::{AppName, DeployId, Release};
use crate::engine::{ContainerSpec, ContainerState, Role};
use crate::proxy::REFRESH;

impl Windlass {
    /// Settles an app. `ended` is a deploy of it that is over, though its row does not say so yet.
    ///
    /// # Errors
    /// The first of what did not work; what does not depend on it was done all the same.
    pub(super) async fn settle(&self, app: &AppName, ended: Option<DeployId>) -> Result<(), Error> {
        // First, as it needs no engine: after a failed deploy the same push is then not "up to date".
        let branch = self.settle_branch(app, ended).await;
        let named = self.settle_live_name(app).await;
        let routed = self.settle_routes().await;
        // An old Caddy's route may lead to a candidate by its own name while a port changes: nothing
        // that a route may still lead to is removed.
        let removed = match (&named, &routed) {
            (Ok(()), Ok(())) => self.remove_other_containers(app).await,
            _ => Ok(()),
        };
        let images = self.settle_images(app, ended).await;
        [branch, named, routed, removed, images]
            .into_iter()
            .collect()
    }

    /// Settles an app for at most `limit`, where somebody waits for what comes after. `swapped`: another
    /// release than the live one may have its requests, so it is tried again and again.
    pub(super) async fn settle_within(
        &self,
        limit: Duration,
        app: &AppName,
        ended: Option<DeployId>,
        swapped: bool,
    ) -> Result<(), Error> {
        let settled = async {
            loop {
                match self.settle(app, ended).await {
                    Err(_) if swapped => pause(500).await,
                    settled => return settled,
                }
            }
        };
        let settled = tokio::time::timeout(limit, settled).await;
        settled.unwrap_or_else(|_| Err(Error::Refused(format!("{app} is not in order yet"))))
    }

    /// The container of the live deploy has the live name and runs, whoever had the name before.
    async fn settle_live_name(&self, app: &AppName) -> Result<(), Error> {
        let live = self.store.live_deploy(app).await?.map(|deploy| deploy.id);
        let name = self.naming.live(app);
        let holder = self.engine.container(&name).await?;
        let rightful = holder
            .as_ref()
            .is_some_and(|c| live.is_some() && c.deploy == live);
        let usurper = holder.as_ref().filter(|_| !rightful);
        if let Some(usurper) = usurper {
            let stray = || format!("{name}_stray_{}", usurper.id.get(..12).unwrap_or_default());
            let away = usurper
                .deploy
                .map_or_else(stray, |id| self.naming.release(app, id));
            self.engine.rename(&usurper.id, &away).await?;
        }
        let release = match live {
            Some(live) => self.store.release(live).await?,
            None => None,
        };
        let Some(release) = release else {
            return Ok(self.store.set_port(app, None).await?);
        };
        self.store.set_port(app, Some(release.port)).await?;
        if !rightful {
            self.give_live_name(&release, &name).await?;
        }
        self.run_live(&release, &name).await?;
        if usurper.is_some() {
            // What Caddy sends to the usurper by its last look-up may still arrive there.
            tokio::time::sleep(REFRESH).await;
        }
        Ok(())
    }

    /// Gives the live name to the release's container, whatever it is called now.
    async fn give_live_name(&self, release: &Release, name: &str) -> Result<(), Error> {
        let of_deploy = self
            .engine
            .containers(Some(&release.app), Some(release.deploy))
            .await?;
        if let Some(own) = of_deploy.into_iter().find(|c| c.role == Some(Role::Web)) {
            info!(app = %release.app, deploy = %release.deploy, "deploy {} of {} gets the live name back", release.deploy, release.app);
            self.engine.rename(&own.id, name).await?;
        }
        Ok(())
    }

    /// The live container runs and is brought back by the engine; one that is gone is made again.
    async fn run_live(&self, release: &Release, name: &str) -> Result<(), Error> {
        let (app, deploy) = (&release.app, release.deploy);
        let mut there = self.engine.container(name).await?;
        if there
            .as_ref()
            .is_some_and(|c| c.running && !c.addresses.contains_key(&self.naming.network(app)))
        {
            warn!(%app, %deploy, "the live container of {app} was taken off its network");
            self.engine.remove(name).await?;
            there = None;
        }
        match there {
            Some(there) => {
                if there.paused {
                    info!(%app, %deploy, "the live container of {app} goes on");
                    self.engine.unpause(name).await?;
                }
                if !there.restart {
                    self.engine.set_restart(name, true).await?;
                }
                if !there.running {
                    info!(%app, %deploy, "the live container of {app} is started");
                    self.engine.start(name).await?;
                }
            }
            None if self.engine.image(&release.image.0).await?.is_some() => {
                warn!(%app, %deploy, "the live container of {app} is gone; another takes its place");
                let image = Image::of(release.clone(), release.env.clone());
                let spec = ContainerSpec {
                    name: name.into(),
                    restart: true,
                    ..self.web_container(app, deploy, &image, release.port)
                };
                self.forget_collector(deploy);
                self.run_container(app, spec).await?;
            }
            None => {
                warn!(%app, %deploy, "{app} is down: its container and its image are gone. To bring it back: windlass redeploy {app}");
                return Ok(());
            }
        }
        if let Some(there) = self.engine.container(name).await? {
            self.lead(app, &there, release.port)?;
        }
        let redactor = self.redactor(app, &release.env).await?;
        self.collect(app, name.into(), deploy, redactor);
        Ok(())
    }

    /// Caddy has the routes that the database says, where Caddy is known to run.
    async fn settle_routes(&self) -> Result<(), Error> {
        match self.caddy.get() {
            Some(_) => self.load_routes(None).await,
            None => Ok(()),
        }
    }

    /// Removes every container of the app but the live release's: candidates, gates, what retires.
    async fn remove_other_containers(&self, app: &AppName) -> Result<(), Error> {
        let live = self.store.live_deploy(app).await?.map(|deploy| deploy.id);
        for container in self.engine.containers(Some(app), None).await? {
            let serves =
                container.role == Some(Role::Web) && live.is_some() && container.deploy == live;
            if !serves {
                self.retire_container(app, &container).await?;
            }
        }
        Ok(())
    }

    /// Lets a container that has lost the live name, or never had it, finish its requests and end.
    async fn retire_container(
        &self,
        app: &AppName,
        container: &ContainerState,
    ) -> Result<(), Error> {
        let Some(deploy) = container
            .deploy
            .filter(|_| container.role == Some(Role::Web))
        else {
            return Ok(self.engine.remove(&container.id).await?);
        };
        let (drain, grace) = match self.store.release(deploy).await? {
            Some(release) => (
                release.manifest.drain.timeout.0,
                release.manifest.drain.stop_grace.0,
            ),
            // It served for moments at most, or nobody.
            None => (Duration::from_secs(30), Duration::from_secs(1)),
        };
        if container.running {
            let retiring = Retiring::new(self, app, deploy, container);
            self.finish_requests(&retiring, drain, &|_| {}).await;
        }
        self.stop_and_remove(&container.id, deploy, grace).await
    }

    /// Keeps the images of the live release, of the last `keep.releases` releases and of open
    /// deploys; removes the others of the app.
    async fn settle_images(&self, app: &AppName, ended: Option<DeployId>) -> Result<(), Error> {
        let there = self.image_names(app).await?;
        let kept = self.store.kept_images(app).await?;
        let mut wanted = HashSet::new();
        if let Some(live) = self.store.live_deploy(app).await? {
            wanted.extend(
                kept.iter()
                    .find(|(id, _)| *id == live.id)
                    .map(|(_, image)| image.clone()),
            );
        }
        for open in self.store.open_deploys(Some(app)).await? {
            if Some(open.id) != ended {
                wanted.insert(self.naming.image(app, open.id).0);
                let source = self.store.source_release(open.id).await?;
                wanted.extend(
                    kept.iter()
                        .find(|(id, _)| Some(*id) == source)
                        .map(|(_, i)| i.clone()),
                );
            }
        }
        let mut newest = HashSet::new();
        for (_, image) in &kept {
            if newest.len() < self.config.keep.releases as usize {
                newest.insert(image.clone());
            }
        }
        wanted.extend(newest);
        for (deploy, image) in &kept {
            // Somebody else may have removed it: a revert to it builds, and says so beforehand.
            if !wanted.contains(image) || !there.contains(image) {
                self.store.forget_image(*deploy).await?;
            }
        }
        for name in there.iter().filter(|name| !wanted.contains(*name)) {
            if let Err(error) = self.engine.remove_image(name).await {
                warn!(%app, %error, "an image is left for the next time");
            }
        }
        Ok(())
    }

    /// What deploys of the app called its images; by its id one that has no name left. A name that
    /// somebody else gave one is somebody else's.
    pub(super) async fn image_names(&self, app: &AppName) -> Result<Vec<String>, Error> {
        let images = self.engine.images_of(app.as_str()).await?;
        let names = images
            .into_iter()
            .flat_map(|image| match image.tags.is_empty() {
                true => vec![image.id],
                false => image
                    .tags
                    .into_iter()
                    .filter(|tag| self.naming.is_image_of(app, tag))
                    .collect(),
            });
        Ok(names.collect())
    }
}
