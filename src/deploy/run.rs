//! One deploy under way, and the one function that opens a phase.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::{Error, Windlass};
use crate::domain::{Deploy, Failure, Phase, PhaseStatus};
use crate::engine::EngineError;
use crate::logs::PhaseWriter;

/// Why a deploy stopped. The first two are outcomes, the last is a defect of the machine.
#[derive(Debug)]
pub(super) enum Stop {
    /// The new version is not good enough; the text says why.
    NotGood(String),
    /// Someone asked for it; who.
    Cancelled(String),
    /// Something under Windlass broke.
    Broken(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Broken(error.into())
    }
}

/// Where a deploy stopped, and why.
#[derive(Debug)]
pub(super) struct Ended {
    /// The phase's name.
    pub phase: String,
    /// Why.
    pub stop: Stop,
}

impl Ended {
    /// As it is stored and shown.
    pub fn failure(&self) -> Failure {
        let message = match &self.stop {
            Stop::NotGood(reason) => reason.clone(),
            Stop::Cancelled(by) => format!("cancelled by {by}"),
            Stop::Broken(error) => error.to_string(),
        };
        Failure { phase: self.phase.clone(), message }
    }
}

/// How a running deploy is told to stop.
#[derive(Debug, Default)]
pub(super) struct Cancel {
    token: CancellationToken,
    by: OnceLock<String>,
}

impl Cancel {
    /// Tells the deploy to stop at its next step. The first one who asks is named.
    pub fn ask(&self, by: &str) {
        let _ = self.by.set(by.to_owned());
        self.token.cancel();
    }

    /// Why to stop, once somebody has asked.
    pub fn asked(&self) -> Option<Stop> {
        self.token.is_cancelled().then(|| Stop::Cancelled(self.by.get().cloned().unwrap_or_default()))
    }

    async fn wait(&self) -> Stop {
        self.token.cancelled().await;
        Stop::Cancelled(self.by.get().cloned().unwrap_or_default())
    }
}

/// One deploy under way.
pub(super) struct Run {
    /// Everything of this installation.
    pub windlass: Windlass,
    /// The deploy as it began.
    pub deploy: Deploy,
    /// When it began: times in its log count from here.
    pub began: Instant,
    /// Fires when someone cancels it.
    pub cancel: Arc<Cancel>,
    ordinal: AtomicUsize,
}

impl Run {
    pub fn new(windlass: Windlass, deploy: Deploy, cancel: Arc<Cancel>) -> Self {
        Self { windlass, deploy, began: Instant::now(), cancel, ordinal: AtomicUsize::new(0) }
    }

    /// Milliseconds since the deploy began.
    pub fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Runs one phase: its span, its log, its row of the timing table, and its name on what ends it.
    pub async fn phase<T>(
        &self,
        phase: Phase,
        work: impl AsyncFnOnce(&PhaseWriter) -> Result<T, Stop>,
    ) -> Result<T, Ended> {
        let span = info_span!("phase", app = %self.deploy.app, deploy = %self.deploy.id, %phase);
        let name = phase.to_string();
        self.timed(phase, work).instrument(span).await.map_err(|stop| Ended { phase: name, stop })
    }

    async fn timed<T>(
        &self,
        phase: Phase,
        work: impl AsyncFnOnce(&PhaseWriter) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let (id, ordinal) = (self.deploy.id, self.ordinal.fetch_add(1, Ordering::Relaxed));
        let (store, logs) = (&self.windlass.store, &self.windlass.logs);
        let log = logs.write(id, ordinal, &phase, self.began).map_err(Error::from)?;
        store.begin_phase(id, ordinal, &phase).await?;
        logs.changed(id);
        let from = Instant::now();
        let mut done = work(&log).await;
        if let (Ok(_), Some(error)) = (&done, log.take_error()) {
            done = Err(Stop::Broken(Error::File(error)));
        }
        if let Err(Stop::NotGood(reason)) = &done {
            // What the log ends with already is not told again.
            let last = log.last_lines(1).pop().unwrap_or_default();
            let told = reason.lines().count() > 1 && reason.trim_end().ends_with(last.trim());
            log.say(if told {
                reason.lines().next().unwrap_or_default().trim_end_matches(':')
            } else {
                reason
            });
        }
        let status = if done.is_ok() { PhaseStatus::Ok } else { PhaseStatus::Failed };
        store.end_phase(id, ordinal, status, from.elapsed().as_millis() as u64).await?;
        logs.changed(id);
        tracing::debug!(status = status.as_str(), "phase ended");
        done
    }

    /// Records a phase that this deploy does not need.
    pub async fn skip(&self, phase: Phase) -> Result<(), Ended> {
        let ordinal = self.ordinal.fetch_add(1, Ordering::Relaxed);
        let skipped = self.windlass.store.skip_phase(self.deploy.id, ordinal, &phase).await;
        self.windlass.logs.changed(self.deploy.id);
        skipped.map_err(|error| Ended { phase: phase.to_string(), stop: error.into() })
    }

    /// The work's result, unless the deploy is cancelled first; the work is then dropped.
    pub async fn or_cancelled<T>(&self, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        tokio::select! {
            done = work => done,
            stop = self.cancel.wait() => Err(stop),
        }
    }

    /// The last lines that a container of this deploy printed, for the reason of a failure.
    pub async fn last_words(&self, container: &str) -> Result<String, EngineError> {
        let mut text = String::new();
        let mut splitter = crate::logs::LineSplitter::default();
        let mut line = |line: String| text.push_str(&format!("\n    {line}"));
        for bytes in self.windlass.engine.last_output(container, 15).await? {
            splitter.push(&bytes, &mut line);
        }
        splitter.finish(&mut line);
        Ok(if text.is_empty() {
            "\nIt printed nothing.".to_owned()
        } else {
            format!("\nIts last lines:{text}")
        })
    }
}

/// Sleeps, for loops that wait for something outside.
pub(super) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
