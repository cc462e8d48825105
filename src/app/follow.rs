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
use crate::platform::{Error, Platform};
use crate::store::Store;

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
    /// Whether it is over once the release is live.
    until_live: bool,
    /// No line beyond this place is read.
    end: Option<Cursor>,
}

/// How far somebody has read a deploy's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// The phase's place in the deploy, from 0.
    pub ordinal: usize,
    /// Whether that phase was announced.
    pub announced: bool,
    /// Bytes read of its log.
    pub offset: u64,
}

impl From<Cursor> for Reached {
    /// Whoever is inside a phase was told of it.
    fn from(Cursor { ordinal, offset }: Cursor) -> Self {
        Self {
            ordinal,
            announced: offset > 0,
            offset,
        }
    }
}

impl Reached {
    /// The end of all.
    pub const END: Self = Self {
        ordinal: usize::MAX,
        announced: true,
        offset: u64::MAX,
    };

    /// The place in the log.
    pub fn cursor(self) -> Cursor {
        Cursor {
            ordinal: self.ordinal,
            offset: self.offset,
        }
    }
}

/// A pause after each wake-up, so that a build that prints without end is read in large pieces.
const GATHER: Duration = Duration::from_millis(20);

impl Follower {
    /// Follows `id` from `cursor` on. With a cursor inside a phase, that phase is not announced again.
    pub fn new(platform: &Platform, id: DeployId, cursor: Cursor) -> Self {
        Self::after(platform, id, cursor.into())
    }

    /// Follows `id` from where somebody has read to.
    pub fn after(platform: &Platform, id: DeployId, reached: Reached) -> Self {
        Self {
            ticks: platform.logs.ticks(id),
            store: platform.store.clone(),
            logs: platform.logs.clone(),
            id,
            announced: reached.announced,
            cursor: reached.cursor(),
            seen: None,
            deploy: None,
            ready: VecDeque::new(),
            done: false,
            until_live: false,
            end: None,
        }
    }

    /// Follows until the outcome is known, as a pusher does: not what goes on behind a live release.
    pub fn until_live(self) -> Self {
        Self {
            until_live: true,
            ..self
        }
    }

    /// Reads no line beyond `end`, where that lies in the phase that is read.
    pub fn stop_at(&mut self, end: Cursor) {
        self.end = Some(end);
    }

    /// Goes on further down in the log of the phase it is in. Not while something read is still to be
    /// given; whether it does.
    pub fn skip_to(&mut self, cursor: Cursor) -> bool {
        let can = self.ready.is_empty() && self.announced && cursor.ordinal == self.cursor.ordinal;
        if can {
            self.cursor = cursor;
        }
        can
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
        let Some(deploy) = &self.deploy else {
            return Ok(false);
        };
        let ordinal = self.cursor.ordinal;
        let wanted = |row: &&PhaseTiming| !self.until_live || row.phase <= Phase::Verify;
        let Some(row) = deploy.phases.get(ordinal).filter(wanted) else {
            let over = self.until_live && deploy.is_decided() || !deploy.goes_on();
            if !over {
                return Ok(false);
            }
            self.done = true;
            self.ready
                .push_back(Progress::Finished(Box::new(deploy.clone())));
            return Ok(true);
        };
        if !self.announced {
            self.announced = true;
            let since = deploy
                .started_at
                .map_or(0, |at| row.started_at.millis() - at.millis());
            let (phase, at_ms) = (row.phase.clone(), since.max(0) as u64);
            self.ready.push_back(Progress::Started {
                ordinal,
                phase,
                at_ms,
            });
        }
        let end = self
            .end
            .filter(|end| end.ordinal == ordinal)
            .map_or(u64::MAX, |end| end.offset);
        let (text, next) = self.logs.read_up_to(self.id, self.cursor, end)?;
        if !text.is_empty() {
            self.cursor = next;
            self.ready.push_back(Progress::Lines { next, text });
            return Ok(true);
        }
        if self.cursor.offset >= end {
            return Ok(!self.ready.is_empty());
        }
        let ended = row.status != PhaseStatus::Running || !deploy.goes_on();
        if ended {
            self.ready.push_back(Progress::Ended {
                ordinal,
                timing: row.clone(),
            });
            self.cursor = Cursor {
                ordinal: ordinal + 1,
                offset: 0,
            };
            self.announced = false;
        }
        Ok(ended || !self.ready.is_empty())
    }
}
