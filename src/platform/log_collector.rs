//! Keeps the apps' own output beyond the life of their containers: a task for each container that
//! serves or is about to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use super::Error;
use crate::domain::{AppName, DeployId, Replica, Timestamp};
use crate::logs::{Logs, Redactor};
use crate::runtime::Runtime;

/// Keeps what containers print. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogCollector {
    engine: Runtime,
    logs: Logs,
    tasks: Tasks,
    /// Lines kept since the server started: whoever follows an app's log is woken by it.
    lines: watch::Sender<u64>,
}

type Tasks = Arc<Mutex<HashMap<Source, Task>>>;

/// Whose output is kept: a container of a deploy, whichever id it has now.
type Source = (DeployId, Replica);

/// One container's output being kept.
#[derive(Debug)]
struct Task {
    app: AppName,
    redactor: Redactor,
    handle: JoinHandle<()>,
}

impl LogCollector {
    pub(super) fn new(engine: Runtime, logs: Logs) -> Self {
        Self {
            engine,
            logs,
            tasks: Arc::default(),
            lines: watch::Sender::new(0),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<Source, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a container prints, but for its secrets, until it ends.
    pub fn collect(
        &self,
        app: &AppName,
        container: String,
        deploy: DeployId,
        replica: &Replica,
        redactor: Redactor,
    ) {
        let source = (deploy, replica.clone());
        let mut tasks = self.tasks();
        tasks.retain(|_, task| !task.handle.is_finished());
        tasks.entry(source.clone()).or_insert_with(|| {
            let (collector, secrets) = (self.clone(), redactor.clone());
            Task {
                app: app.clone(),
                redactor,
                handle: tokio::spawn(async move {
                    collector
                        .collect_until_end(container, &source, &secrets)
                        .await;
                }),
            }
        });
    }

    /// Stops keeping the output of a deploy's container, as another takes its place.
    pub fn forget(&self, deploy: DeployId, replica: &Replica) {
        if let Some(task) = self.tasks().remove(&(deploy, replica.clone())) {
            task.handle.abort();
        }
    }

    /// The deploys of an app whose containers' output is being kept.
    pub fn collected(&self, app: &AppName) -> Vec<DeployId> {
        let tasks = self.tasks();
        let of_app = tasks.iter().filter(|(_, task)| task.app == *app);
        of_app.map(|((id, _), _)| *id).collect()
    }

    /// Wakes whoever follows an app's log at each line that is kept.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.lines.subscribe()
    }

    /// Keeps the last lines of a container that has stopped. Engines do not always end a stream that
    /// follows one, so the rest is read anew.
    pub async fn finish(
        &self,
        container: &str,
        deploy: DeployId,
        replica: &Replica,
    ) -> Result<(), Error> {
        let source = (deploy, replica.clone());
        let Some(Task {
            redactor, handle, ..
        }) = self.tasks().remove(&source)
        else {
            return Ok(());
        };
        handle.abort();
        let _ = handle.await;
        self.collect_output(container, &source, &redactor, false)
            .await
    }

    async fn collect_until_end(&self, mut container: String, source: &Source, redactor: &Redactor) {
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
                    let kept = self.collect_output(&container, source, redactor, true);
                    if let Err(error) = kept.await {
                        if !std::mem::replace(&mut told, true) {
                            warn!(deploy = %source.0, replica = %source.1, %error, "an app's output cannot be kept; trying again");
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
        (deploy, replica): &Source,
        redactor: &Redactor,
        follow: bool,
    ) -> Result<(), Error> {
        let mut log = self.logs.write_app(*deploy, replica, redactor.clone())?;
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
            self.lines.send_modify(|lines| *lines += 1);
        }
        log.finish()?;
        Ok(())
    }
}
