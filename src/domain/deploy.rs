//! A deploy: one attempt to put a commit live, and the only place where its status may change.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use thiserror::Error;
use utoipa::ToSchema;

use super::instant::Timestamp;
use super::name::{AppName, CommitId};
use super::phase::{Phase, PhaseStatus, PhaseTiming};

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

/// Deploys that belong to one app, as the store has said: `store/` alone makes one, so an id that a
/// client sent cannot pass for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedDeploys(BTreeSet<DeployId>);

impl OwnedDeploys {
    /// For the store: what it found.
    pub fn found_by_store(ids: BTreeSet<DeployId>) -> Self {
        Self(ids)
    }

    /// Whether a deploy is one of the app's.
    pub fn contains(&self, id: DeployId) -> bool {
        self.0.contains(&id)
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
    /// When its last phase ended. A live one drains the old container behind it until then.
    pub finished_at: Option<Timestamp>,
    /// Milliseconds from its arrival until its release was live and verified; `None` if it never was.
    pub live_ms: Option<u64>,
    /// Milliseconds from start to the last phase's end, by a monotonic clock.
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

    /// Whether something of it still goes on: its phases, or behind its live release the drain of the
    /// old container.
    pub fn goes_on(&self) -> bool {
        self.status.is_open() || self.finished_at.is_none()
    }

    /// Whether its outcome is known: it ended, or its release is live and verified. What goes on behind
    /// a live release keeps nobody waiting.
    pub fn is_decided(&self) -> bool {
        let verifies =
            |row: &PhaseTiming| row.phase == Phase::Verify && row.status == PhaseStatus::Running;
        !self.goes_on() || self.status.went_live() && !self.phases.iter().any(verifies)
    }

    /// Milliseconds between its arrival and its start.
    pub fn waited_ms(&self) -> Option<u64> {
        let waited = self.started_at?.millis() - self.queued_at.millis();
        Some(waited.max(0) as u64)
    }

    /// The time that is shown wherever one is: milliseconds from its arrival until it was live, or until
    /// it ended without that; `None` while that is open.
    pub fn took_ms(&self) -> Option<u64> {
        let ended = || Some(self.duration_ms? + self.waited_ms()?);
        self.live_ms.or_else(ended)
    }

    /// When its release went live, if it did.
    pub fn live_at(&self) -> Option<Timestamp> {
        let ms = self.live_ms?;
        Some(Timestamp::from_millis(self.queued_at.millis() + ms as i64))
    }

    /// What of [`Deploy::took_ms`] lies in none of its phases, beyond the wait for its start: the time
    /// between the attempts of one that the server went away under.
    pub fn between_ms(&self) -> Option<u64> {
        let to_live = |row: &&PhaseTiming| self.live_ms.is_none() || row.phase <= Phase::Verify;
        let phases = self.phases.iter().filter(to_live);
        let spent: u64 = phases.filter_map(|row| row.duration_ms).sum();
        Some(self.took_ms()?.saturating_sub(spent + self.waited_ms()?))
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

    /// A deploy that went live: queued at 1,000, taken at 1,040, each phase behind the one before.
    fn live(phases: &[(&str, PhaseStatus, Option<u64>)], live_ms: Option<u64>) -> Deploy {
        let row = |(phase, status, duration_ms): &(&str, PhaseStatus, Option<u64>)| PhaseTiming {
            phase: phase.parse().unwrap(),
            status: *status,
            started_at: Timestamp::from_millis(1040),
            duration_ms: *duration_ms,
        };
        Deploy {
            id: DeployId(1),
            app: "shop".parse().unwrap(),
            commit: "a".repeat(40).parse().unwrap(),
            subject: String::new(),
            author: String::new(),
            trigger: Trigger::Push,
            actor: String::new(),
            status: DeployStatus::Live,
            queued_at: Timestamp::from_millis(1000),
            attempts: 1,
            started_at: Some(Timestamp::from_millis(1040)),
            finished_at: None,
            live_ms,
            duration_ms: None,
            phases: phases.iter().map(row).collect(),
            failure: None,
        }
    }

    #[test]
    fn a_live_deploy_is_decided_once_verify_has_ended_though_a_drain_goes_on_behind_it() {
        use PhaseStatus::{Ok, Running};
        let verifies = live(
            &[("swap", Ok, Some(20)), ("verify", Running, None)],
            Some(99),
        );
        assert!(verifies.goes_on() && !verifies.is_decided());
        let drains = live(
            &[
                ("swap", Ok, Some(20)),
                ("verify", Ok, Some(30)),
                ("drain", Running, None),
            ],
            Some(90),
        );
        assert!(drains.goes_on() && drains.is_decided());
        let retired = Deploy {
            status: DeployStatus::Retired,
            ..drains.clone()
        };
        assert!(retired.is_decided());
        let ended = Deploy {
            finished_at: Some(Timestamp::from_millis(2000)),
            ..drains
        };
        assert!(!ended.goes_on() && ended.is_decided());
    }

    #[test]
    fn the_time_shown_is_from_arrival_to_live_and_what_no_phase_has_is_told_apart() {
        use PhaseStatus::Ok;
        let phases = [
            ("swap", Ok, Some(20)),
            ("verify", Ok, Some(30)),
            ("drain", Ok, Some(7000)),
        ];
        let deploy = Deploy {
            duration_ms: Some(7050),
            ..live(&phases, Some(90))
        };
        assert_eq!((deploy.took_ms(), deploy.waited_ms()), (Some(90), Some(40)));
        assert_eq!(deploy.between_ms(), Some(0), "the phases fill all of it");
        assert_eq!(deploy.live_at(), Some(Timestamp::from_millis(1090)));
        let twice = Deploy {
            attempts: 2,
            live_ms: Some(5090),
            ..deploy.clone()
        };
        assert_eq!(twice.between_ms(), Some(5000));
        let failed = Deploy {
            live_ms: None,
            status: DeployStatus::Failed,
            duration_ms: Some(50),
            ..live(&phases[..2], None)
        };
        assert_eq!((failed.took_ms(), failed.between_ms()), (Some(90), Some(0)));
        assert_eq!(live(&phases, None).took_ms(), None, "while it is open");
    }

    #[test]
    fn words_read_back() {
        for status in DeployStatus::VARIANTS {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
    }
}
