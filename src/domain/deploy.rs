//! A deploy: one attempt to put a commit live, and the only place where its status may change.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use thiserror::Error;
use utoipa::ToSchema;

use super::instant::Timestamp;
use super::name::{AppName, CommitId};
use super::phase::{Phase, PhaseTiming};

/// A deploy's number, counted per server: 1, 2, 3…
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
pub struct DeployId(pub i64);

impl fmt::Display for DeployId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DeployId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where a deploy stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum DeployStatus {
    /// Waiting for its turn.
    Queued,
    /// Its phases run.
    Running,
    /// Its release serves.
    Live,
    /// Its release served until a later one took over.
    Retired,
    /// It was not good enough; what was live still is.
    Failed,
    /// A newer deploy took its place in the queue.
    Superseded,
    /// Someone stopped it.
    Cancelled,
    /// The server went away under it.
    Interrupted,
}

impl DeployStatus {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What asked for a deploy.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Trigger {
    /// `git push`.
    Push,
    /// Back to an earlier release.
    Revert,
    /// A commit again, built again.
    Redeploy,
    /// The live image again, with today's environment.
    Restart,
}

impl Trigger {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What can happen to a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployEvent {
    /// A worker took it.
    Start,
    /// Its release was verified.
    GoLive,
    /// A phase ended it.
    Fail,
    /// A newer deploy was queued before it started.
    Supersede,
    /// Someone took it out of the queue.
    Withdraw,
    /// Someone stopped it while it ran.
    Cancel,
    /// The server found it running without a worker.
    Interrupt,
    /// The server found it running without a worker, and nothing outside had changed yet: it runs
    /// again.
    Requeue,
    /// A later release took over.
    Retire,
}

/// An event that makes no sense in a status; a defect, never a user's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a deploy that is {status} cannot {event:?}")]
pub struct InvalidTransition {
    /// The status it was in.
    pub status: DeployStatus,
    /// The event that came.
    pub event: DeployEvent,
}

impl DeployStatus {
    /// The status after `event`: every status change of Windlass goes through this match.
    pub fn after(self, event: DeployEvent) -> Result<Self, InvalidTransition> {
        use DeployEvent as E;
        use DeployStatus as S;
        match (self, event) {
            (S::Queued, E::Start) => Ok(S::Running),
            (S::Queued, E::Supersede) => Ok(S::Superseded),
            (S::Queued, E::Withdraw) | (S::Running, E::Cancel) => Ok(S::Cancelled),
            (S::Queued | S::Running, E::Fail) => Ok(S::Failed),
            (S::Running, E::GoLive) => Ok(S::Live),
            (S::Running, E::Interrupt) => Ok(S::Interrupted),
            (S::Running, E::Requeue) => Ok(S::Queued),
            (S::Live, E::Retire) => Ok(S::Retired),
            (status, event) => Err(InvalidTransition { status, event }),
        }
    }

    /// True while the outcome is still open.
    pub fn is_open(self) -> bool {
        matches!(self, DeployStatus::Queued | DeployStatus::Running)
    }

    /// True when the deploy's release went live, even if a later one serves now.
    pub fn went_live(self) -> bool {
        matches!(self, DeployStatus::Live | DeployStatus::Retired)
    }
}

/// Why a deploy failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The phase that ended it, as shown (`gate:check`), or `queue`/`server`.
    pub phase: String,
    /// What happened, for people; may have several lines.
    pub message: String,
}

/// A deploy as stored and as every `--json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deploy {
    /// Its number.
    pub id: DeployId,
    /// Whose it is.
    pub app: AppName,
    /// What it puts live.
    pub commit: CommitId,
    /// First line of the commit message.
    pub subject: String,
    /// The commit's author's name.
    pub author: String,
    /// What asked for it.
    pub trigger: Trigger,
    /// Who asked for it.
    pub actor: String,
    /// Where it stands.
    pub status: DeployStatus,
    /// When it was asked for.
    pub queued_at: Timestamp,
    /// How often a worker took it: twice when the server went away under it before its swap.
    pub attempts: u32,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When its last phase ended.
    pub finished_at: Option<Timestamp>,
    /// From start to the last phase's end, by a monotonic clock.
    pub duration_ms: Option<u64>,
    /// Its phases so far, in order.
    pub phases: Vec<PhaseTiming>,
    /// Why it failed, or was superseded, cancelled, interrupted.
    pub failure: Option<Failure>,
}

impl Deploy {
    /// Whether its swap began: from there on, only the server's own undoing brings back what was
    /// live before.
    pub fn reached_swap(&self) -> bool {
        self.phases.iter().any(|row| row.phase >= Phase::Swap)
    }

    /// Milliseconds from its start until its release was verified; `None` if it never was. What
    /// follows, the old container's drain and end, keeps no visitor waiting.
    pub fn ms_to_live(&self) -> Option<u64> {
        let verified = self
            .phases
            .iter()
            .position(|row| row.phase == Phase::Verify)?;
        let spent = self.phases[..=verified]
            .iter()
            .map(|row| row.duration_ms.unwrap_or(0))
            .sum();
        self.status.went_live().then_some(spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [DeployEvent; 9] = [
        DeployEvent::Start,
        DeployEvent::GoLive,
        DeployEvent::Fail,
        DeployEvent::Supersede,
        DeployEvent::Withdraw,
        DeployEvent::Cancel,
        DeployEvent::Interrupt,
        DeployEvent::Requeue,
        DeployEvent::Retire,
    ];

    proptest! {
        #[test]
        fn no_sequence_of_events_leaves_an_ended_deploy(picks in prop::collection::vec(0..EVENTS.len(), 0..20)) {
            let mut status = DeployStatus::Queued;
            for pick in picks {
                let before = status;
                match status.after(EVENTS[pick]) {
                    Ok(next) => {
                        status = next;
                        // What has ended stays ended; only a live one may still retire.
                        prop_assert!(before.is_open() || (before == DeployStatus::Live && next == DeployStatus::Retired));
                        prop_assert!(next != DeployStatus::Queued || EVENTS[pick] == DeployEvent::Requeue);
                    }
                    Err(error) => prop_assert_eq!(error.status, before),
                }
            }
        }
    }

    #[test]
    fn only_a_running_deploy_goes_live() {
        for status in DeployStatus::VARIANTS {
            let live = status.after(DeployEvent::GoLive).is_ok();
            assert_eq!(live, *status == DeployStatus::Running, "{status}");
        }
    }

    #[test]
    fn words_read_back() {
        for status in DeployStatus::VARIANTS {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
    }
}
