//! Following a deploy: its phases, its lines and its end, from any point on, as one sequence.
//!
//! The push relay, `deploy log --follow` and the dashboard's event stream all read this. It only
//! reads: rows from the store and lines from the log files, woken by the log's ticks. Rows are
//! read before the file's end is believed, so a phase that the rows call ended has no line left.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::{Deploy, DeployId, Phase, PhaseStatus, PhaseTiming};
use crate::logs::{Cursor, Logs, Tick};
use crate::store::Store;

use super::Error;

/// One thing that happened in a deploy.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A phase began.
    Started {
        /// Its place in the deploy, from 0.
        ordinal: usize,
        /// Which.
        phase: Phase,
        /// Milliseconds since the deploy began.
        at_ms: u64,
    },
    /// Lines were printed: `<ms>\t<text>\n` each.
    Lines {
        /// Where to go on after them.
        next: Cursor,
        /// The lines.
        text: String,
    },
    /// A phase ended.
    Ended {
        /// Its place in the deploy, from 0.
        ordinal: usize,
        /// Its row of the timing table.
        timing: PhaseTiming,
    },
    /// The deploy has ended, and nothing follows.
    Finished(Box<Deploy>),
}

/// Reads a deploy's progress step by step.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    logs: Logs,
    id: DeployId,
    cursor: Cursor,
    /// Whether the phase at the cursor was announced.
    announced: bool,
    ticks: watch::Receiver<Tick>,
    seen: Option<Tick>,
    deploy: Option<Deploy>,
    ready: VecDeque<Progress>,
    done: bool,
}

/// A pause after each wake-up, so that a build that prints without end is read in large pieces.
const GATHER: Duration = Duration::from_millis(20);

impl Follower {
    /// Follows `id` from `cursor` on. With a cursor inside a phase, that phase is not announced again.
    pub fn new(store: Store, logs: Logs, id: DeployId, cursor: Cursor) -> Self {
        Self {
            ticks: logs.ticks(id),
            store,
            logs,
            id,
            announced: cursor.offset > 0,
            cursor,
            seen: None,
            deploy: None,
            ready: VecDeque::new(),
            done: false,
        }
    }

    /// The next thing that happened, waiting for it if need be; `None` after the end.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        loop {
            if let Some(progress) = self.now().await? {
                return Ok(Some(progress));
            }
            if self.done {
                return Ok(None);
            }
            // The sender lives as long as this receiver's store and logs do, or the deploy is over.
            let _ = tokio::time::timeout(Duration::from_secs(30), self.ticks.changed()).await;
            tokio::time::sleep(GATHER).await;
        }
    }

    /// The next thing that has happened already; `None` if there is nothing new.
    pub async fn now(&mut self) -> Result<Option<Progress>, Error> {
        while self.ready.is_empty() && !self.done {
            let tick = *self.ticks.borrow_and_update();
            let rows_changed = self.seen.is_none_or(|seen| seen.changes != tick.changes);
            if rows_changed || self.deploy.is_none() {
                self.deploy = Some(self.store.deploy(self.id).await?);
            }
            self.seen = Some(tick);
            let moved = self.step()?;
            if !moved {
                // Nothing to read and nothing ended: look at the rows once more before waiting,
                // as a status may change without a tick when the server starts again.
                if rows_changed {
                    return Ok(None);
                }
                let fresh = self.store.deploy(self.id).await?;
                if Some(&fresh) == self.deploy.as_ref() {
                    return Ok(None);
                }
                self.deploy = Some(fresh);
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Moves on by one reading; false when there is nothing new.
    fn step(&mut self) -> Result<bool, Error> {
        let Some(deploy) = &self.deploy else { return Ok(false) };
        let ordinal = self.cursor.ordinal;
        let Some(row) = deploy.phases.get(ordinal) else {
            if deploy.status.is_open() || deploy.finished_at.is_none() {
                return Ok(false);
            }
            self.done = true;
            self.ready.push_back(Progress::Finished(Box::new(deploy.clone())));
            return Ok(true);
        };
        if !self.announced {
            self.announced = true;
            let since = deploy.started_at.map_or(0, |at| row.started_at.millis() - at.millis());
            let (phase, at_ms) = (row.phase.clone(), since.max(0) as u64);
            self.ready.push_back(Progress::Started { ordinal, phase, at_ms });
        }
        let (text, next) = self.logs.read(self.id, self.cursor)?;
        if !text.is_empty() {
            self.cursor = next;
            self.ready.push_back(Progress::Lines { next, text });
            return Ok(true);
        }
        let ended =
            row.status != PhaseStatus::Running || !deploy.status.is_open() && deploy.finished_at.is_some();
        if ended {
            self.ready.push_back(Progress::Ended { ordinal, timing: row.clone() });
            self.cursor = Cursor { ordinal: ordinal + 1, offset: 0 };
            self.announced = false;
        }
        Ok(ended || !self.ready.is_empty())
    }
}
