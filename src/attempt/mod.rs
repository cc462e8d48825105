//! One attempt at a deploy, and the one function that opens a phase: its span, its log, its row of the
//! timing table, its error's name.

mod stop;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{Instrument, error, info_span};

use crate::domain::{BuildStep, Deploy, Failure, Phase, PhaseStatus, Stopwatch, Timestamp};
pub use stop::{Cancel, Ended, Stop};

use crate::logs::{LineSplitter, PhaseWriter, Redactor};
use crate::platform::{Error, Platform};
use crate::store::StoreError;

/// When a deploy's time is up, or how much is left while it stands still.
#[derive(Debug, Clone, Copy)]
enum Deadline {
    At(tokio::time::Instant),
    Left(Duration),
}

/// One deploy under way.
pub struct Attempt {
    /// Everything of this installation.
    pub platform: Arc<Platform>,
    /// The deploy as it began.
    pub deploy: Deploy,
    /// Fires when someone cancels it.
    pub cancel: Arc<Cancel>,
    /// Time since it began, be it under a server before this one. Its log counts by it.
    clock: Stopwatch,
    deadline: watch::Sender<Deadline>,
    ordinal: AtomicUsize,
    /// When the last phase ended, by the clock: the next begins there, so that no time lies between two.
    ended_ms: AtomicU64,
    /// Knows the secrets of what is deployed, once that is known.
    redactor: OnceLock<Redactor>,
    /// Whether the log says what attempt this is.
    told: AtomicBool,
    /// The steps of the phase under way, where it has any.
    steps: Mutex<Vec<BuildStep>>,
    /// The id and the size of the image that is to go live.
    image: OnceLock<(String, u64)>,
}

impl Attempt {
    /// A deploy that a worker has taken. The phases of an attempt before this one stay where they are.
    pub fn new(platform: Arc<Platform>, deploy: Deploy, cancel: Arc<Cancel>) -> Self {
        let clock = Stopwatch::showing(deploy.started_at.map_or(Duration::ZERO, Timestamp::age));
        let deadline = Deadline::At(tokio::time::Instant::now() + platform.config.deploy_timeout.0);
        let ordinal = AtomicUsize::new(deploy.phases.len());
        // A deploy's first phase begins when the deploy does; after a restart of the server it does now.
        let ended_ms = match deploy.attempts {
            0 | 1 if deploy.phases.is_empty() => 0,
            _ => clock.elapsed().as_millis() as u64,
        };
        Self {
            platform,
            deploy,
            cancel,
            clock,
            deadline: watch::Sender::new(deadline),
            ordinal,
            ended_ms: AtomicU64::new(ended_ms),
            redactor: OnceLock::new(),
            told: AtomicBool::default(),
            steps: Mutex::default(),
            image: OnceLock::new(),
        }
    }

    /// Milliseconds from the deploy's begin to the end of its last phase; to now while it had none.
    pub fn spent_ms(&self) -> u64 {
        match self.ended_ms.load(Ordering::Relaxed) {
            0 => self.clock.elapsed().as_millis() as u64,
            ended => ended,
        }
    }

    /// Keeps these secrets out of all that this deploy prints from here on.
    pub fn keep_quiet_of(&self, redactor: Redactor) {
        let _ = self.redactor.set(redactor);
    }

    /// Takes this deploy's secrets out of a text.
    pub fn redactor(&self) -> Redactor {
        self.redactor.get().cloned().unwrap_or_default()
    }

    /// A failure as it may be stored and sent.
    pub fn redacted(&self, failure: Failure) -> Failure {
        Failure {
            message: self.redactor().redact(failure.message),
            ..failure
        }
    }

    /// Changes what is known of the steps of the phase under way; they are written when it ends, however
    /// it does.
    pub fn steps(&self, change: impl FnOnce(&mut Vec<BuildStep>)) {
        change(&mut self.steps.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Keeps in mind which image goes live, for the release's row.
    pub fn set_image(&self, id: &str, size: u64) {
        let _ = self.image.set((id.to_owned(), size));
    }

    /// The id and the size of the image that goes live.
    pub fn image(&self) -> Option<&(String, u64)> {
        self.image.get()
    }

    /// Writes the steps of a phase that ends. A deploy does not fail for want of them.
    async fn write_steps(&self, ordinal: usize) {
        let mut steps = Vec::new();
        self.steps(|known| std::mem::swap(known, &mut steps));
        if steps.is_empty() {
            return;
        }
        if let Err(error) = self
            .platform
            .store
            .set_steps(self.deploy.id, ordinal, &steps)
            .await
        {
            tracing::warn!(%error, "the steps of deploy {} are not written", self.deploy.id);
        }
    }

    /// Waits for what other deploys hold. That is not this one's time: its deadline stands still.
    pub async fn queue_for<T>(&self, turn: impl Future<Output = T>) -> T {
        self.deadline.send_modify(|deadline| {
            if let Deadline::At(at) = *deadline {
                *deadline =
                    Deadline::Left(at.saturating_duration_since(tokio::time::Instant::now()));
            }
        });
        let turn = turn.await;
        self.deadline.send_modify(|deadline| {
            if let Deadline::Left(left) = *deadline {
                *deadline = Deadline::At(tokio::time::Instant::now() + left);
            }
        });
        turn
    }

    /// Ends when the deploy has had its time.
    async fn overdue(&self) -> Stop {
        let mut changes = self.deadline.subscribe();
        loop {
            let deadline = *changes.borrow_and_update();
            let due = async {
                match deadline {
                    Deadline::At(at) => tokio::time::sleep_until(at).await,
                    Deadline::Left(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => break,
                _ = changes.changed() => {}
            }
        }
        let limit = self.platform.config.deploy_timeout;
        Stop::NotGood(format!(
            "the deploy took longer than deploy_timeout = {limit}"
        ))
    }

    /// Runs one phase on what the one before returned: its span, its log, its row of the timing table,
    /// and its name on what ends it.
    pub async fn phase<I, T>(
        &self,
        phase: Phase,
        work: impl AsyncFnOnce(&Self, &PhaseWriter, I) -> Result<T, Stop>,
        input: I,
    ) -> Result<T, Ended> {
        let span = info_span!("phase", app = %self.deploy.app, deploy = %self.deploy.id, %phase);
        let name = phase.to_string();
        self.timed(phase, work, input)
            .instrument(span)
            .await
            .map_err(|stop| Ended { phase: name, stop })
    }

    async fn timed<I, T>(
        &self,
        phase: Phase,
        work: impl AsyncFnOnce(&Self, &PhaseWriter, I) -> Result<T, Stop>,
        input: I,
    ) -> Result<T, Stop> {
        let (id, ordinal) = (self.deploy.id, self.ordinal.fetch_add(1, Ordering::Relaxed));
        let (store, logs) = (&self.platform.store, &self.platform.logs);
        let changed = || self.platform.changed(&self.deploy.app, id);
        let log = logs
            .write(id, ordinal, &phase, self.clock, self.redactor())
            .map_err(Error::from)?;
        let from = self.ended_ms.load(Ordering::Relaxed);
        store
            .begin_phase_at(id, ordinal, &phase, self.at(from))
            .await?;
        changed();
        if phase < Phase::Drain
            && self.deploy.attempts > 1
            && !self.told.swap(true, Ordering::Relaxed)
        {
            log.say("this deploy runs again from its beginning: the server stopped during its first attempt");
        }
        // Up to the swap nothing outside changes, so the work can be dropped at any point.
        let mut done = match phase < Phase::Swap {
            true => self.or_stopped(work(self, &log, input)).await,
            false => work(self, &log, input).await,
        };
        if let (Ok(_), Some(error)) = (&done, log.take_error()) {
            done = Err(Stop::Broken(Error::File(error)));
        }
        if let Err(Stop::NotGood(reason)) = &done {
            // What the log ends with already is not told again.
            let last = log.last_lines(1).pop().unwrap_or_default();
            let told = reason.lines().count() > 1 && reason.trim_end().ends_with(last.trim());
            log.say(if told {
                reason
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .trim_end_matches(':')
            } else {
                reason
            });
        }
        self.write_steps(ordinal).await;
        self.end(ordinal, &phase, from, done.is_ok()).await?;
        changed();
        done
    }

    /// Writes the end of a phase that began `from` milliseconds after the deploy did. That of verify is
    /// also the moment from which on the release is live for everybody.
    async fn end(
        &self,
        ordinal: usize,
        phase: &Phase,
        from: u64,
        good: bool,
    ) -> Result<(), StoreError> {
        let (id, store) = (self.deploy.id, &self.platform.store);
        let now = self.clock.elapsed().as_millis() as u64;
        let took = now.saturating_sub(from);
        self.ended_ms.store(now, Ordering::Relaxed);
        tracing::debug!(good, "phase ended");
        match (good, phase) {
            (true, Phase::Verify) => {
                let live_ms = self.deploy.waited_ms().unwrap_or(0) + now;
                store.end_verify(id, ordinal, took, live_ms).await
            }
            (true, _) => store.end_phase(id, ordinal, PhaseStatus::Ok, took).await,
            (false, _) => {
                let failed = PhaseStatus::Failed;
                store.end_phase(id, ordinal, failed, took).await
            }
        }
    }

    /// An instant so many milliseconds after the deploy's begin.
    fn at(&self, ms: u64) -> Timestamp {
        let began = self.deploy.started_at.unwrap_or_else(Timestamp::now);
        Timestamp::from_millis(began.millis() + ms as i64)
    }

    /// Records a phase that this deploy does not need.
    pub async fn skip(&self, phase: Phase) -> Result<(), Ended> {
        let ordinal = self.ordinal.fetch_add(1, Ordering::Relaxed);
        let skipped = self
            .platform
            .store
            .skip_phase(self.deploy.id, ordinal, &phase)
            .await;
        self.platform.changed(&self.deploy.app, self.deploy.id);
        skipped.map_err(|error| Ended {
            phase: phase.to_string(),
            stop: error.into(),
        })
    }

    /// The work's result, unless the deploy is cancelled or its time is up; the work is then dropped.
    pub async fn or_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Stop>>,
    ) -> Result<T, Stop> {
        tokio::select! {
            done = work => done,
            stop = self.cancel.wait() => Err(stop),
            stop = self.overdue() => Err(stop),
        }
    }

    /// The last lines that a container of this deploy printed, for the reason of a failure.
    pub async fn last_words(&self, container: &str) -> String {
        let printed = match self.platform.engine.last_output(container, 15).await {
            Ok(printed) => printed,
            // The reason itself counts more.
            Err(error) => return format!("\nWhat it printed cannot be read: {error}"),
        };
        let mut text = String::new();
        let mut splitter = LineSplitter::new(self.redactor());
        let mut line = |line: String| text.push_str(&format!("\n    {line}"));
        for bytes in printed {
            splitter.push(&bytes, &mut line);
        }
        splitter.finish(&mut line);
        if text.is_empty() {
            "\nIt printed nothing.".to_owned()
        } else {
            format!("\nIts last lines:{text}")
        }
    }
}

/// Tries until the database takes it: a deploy that has ended must never be called running because
/// the disk was full for a while. `None` when it never will, as for an app that was destroyed.
pub async fn insist<T, F>(attempt: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match attempt().await {
            Ok(done) => return Some(done),
            Err(StoreError::Database(error)) => {
                error!(%error, "a deploy's outcome cannot be written; trying again");
            }
            Err(error) => {
                error!(%error, "a deploy's outcome is not written");
                return None;
            }
        }
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }
}
