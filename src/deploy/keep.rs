//! The apps' own output, kept beyond the life of their containers.

use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tracing::warn;

use super::run::Run;
use super::{Error, Windlass};
use crate::domain::{AppName, DeployId, Manifest, Timestamp};
use crate::logs::Redactor;

/// Keeps what the container of a deploy prints.
#[derive(Debug)]
pub(super) struct Collector {
    app: AppName,
    redactor: Redactor,
    task: JoinHandle<()>,
}

impl Windlass {
    /// Stops a container, keeps the rest of its output, and removes it.
    pub(super) async fn stop_and_remove(
        &self,
        name: &str,
        deploy: DeployId,
        grace: Duration,
    ) -> Result<(), Error> {
        // Stopped by us it must not come back, even if the server goes away right here.
        let _ = self.engine.set_restart(name, false).await;
        self.engine.stop(name, grace).await?;
        // Nothing that it printed is worth a container that stays.
        let rest = tokio::time::timeout(
            Duration::from_secs(10),
            self.finish_collecting(name, deploy),
        )
        .await;
        if !matches!(rest, Ok(Ok(()))) {
            warn!(%deploy, container = name, "the last of an app's output is not kept");
        }
        Ok(self.engine.remove(name).await?)
    }

    /// Keeps what a web container prints, but for its secrets, until it ends.
    pub(super) fn collect(
        &self,
        app: &AppName,
        container: String,
        deploy: DeployId,
        redactor: Redactor,
    ) {
        let mut collectors = self
            .collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        collectors.retain(|_, collector| !collector.task.is_finished());
        collectors.entry(deploy).or_insert_with(|| {
            let (windlass, secrets) = (self.clone(), redactor.clone());
            let task = tokio::spawn(async move {
                windlass
                    .collect_until_end(container, deploy, &secrets)
                    .await
            });
            Collector {
                app: app.clone(),
                redactor,
                task,
            }
        });
    }

    /// Stops keeping the output of a deploy's container, as another takes its place.
    pub(super) fn forget_collector(&self, deploy: DeployId) {
        let collectors = &mut *self
            .collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(collector) = collectors.remove(&deploy) {
            collector.task.abort();
        }
    }

    /// The deploys of an app whose containers' output is being kept.
    pub(super) fn collected(&self, app: &AppName) -> Vec<DeployId> {
        let collectors = self
            .collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        collectors
            .iter()
            .filter(|(_, collector)| collector.app == *app)
            .map(|(id, _)| *id)
            .collect()
    }

    async fn collect_until_end(
        &self,
        mut container: String,
        deploy: DeployId,
        redactor: &Redactor,
    ) {
        let mut told = false;
        loop {
            // The stream ends with the container, and also when the engine restarts or brings the
            // container back; while the engine is away nobody knows.
            match self.engine.container(&container).await {
                Ok(None) => return,
                Ok(Some(state)) if state.running || container != state.id => {
                    // By id as soon as it is known: the name changes with the swap.
                    container = state.id;
                    // A disk that is full now is not so for ever, and the engine keeps some of what is
                    // printed meanwhile.
                    if let Err(error) = self
                        .collect_output(&container, deploy, redactor, true)
                        .await
                    {
                        if !std::mem::replace(&mut told, true) {
                            warn!(%deploy, %error, "an app's output cannot be kept; trying again");
                        }
                        tokio::time::sleep(Duration::from_secs(4)).await;
                    } else {
                        told = false;
                    }
                }
                Ok(Some(_)) => return,
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Appends what a container printed since the last line kept, and what comes if `follow`.
    async fn collect_output(
        &self,
        container: &str,
        deploy: DeployId,
        redactor: &Redactor,
        follow: bool,
    ) -> Result<(), Error> {
        let mut log = self.logs.write_app(deploy, redactor.clone())?;
        let since = log
            .known_until()
            .and_then(Timestamp::parse)
            .map_or(0, |at| at.millis() / 1000);
        let mut output = std::pin::pin!(self.engine.output(container, follow, Some(since)));
        while let Some(line) = output.next().await {
            // What is half a line now is given again, whole.
            let Ok(line) = line else { return Ok(()) };
            let mut parts = line.bytes.splitn(2, |b| *b == b' ');
            let at = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            let text = parts.next().unwrap_or_default();
            log.append(&at, line.stderr, text)?;
            self.app_output.send_modify(|lines| *lines += 1);
        }
        log.finish()?;
        Ok(())
    }

    /// Keeps the last lines of a container that has stopped. Engines do not always end a stream that
    /// follows one, so the rest is read anew.
    async fn finish_collecting(&self, container: &str, deploy: DeployId) -> Result<(), Error> {
        let task = self
            .collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&deploy);
        let Some(Collector { redactor, task, .. }) = task else {
            return Ok(());
        };
        task.abort();
        let _ = task.await;
        self.collect_output(container, deploy, &redactor, false)
            .await
    }
}

impl Run {
    /// The manifest that a deploy's release ran with.
    pub(super) async fn manifest_of(&self, deploy: DeployId) -> Result<Manifest, Error> {
        Ok(self
            .windlass
            .store
            .release(deploy)
            .await?
            .map(|release| release.manifest)
            .unwrap_or_default())
    }
}
