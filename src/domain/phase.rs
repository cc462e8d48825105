//! Phases: the timed steps of a deploy, in the order in which they run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::instant::Timestamp;
use super::name::{GateName, InvalidName};

/// One step of a deploy. The order of the variants is the order of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Phase {
    /// The commit is resolved and its manifest read.
    Checkout,
    /// The image is built.
    Build,
    /// A command proves the new image in a one-off container; shown as `gate:<name>`.
    Gate(GateName),
    /// The candidate container starts.
    Start,
    /// The candidate holds its health for `min_healthy`.
    Health,
    /// The live name moves to the candidate.
    Swap,
    /// What runs beside `web` is replaced.
    Workers,
    /// The public URL answers through Caddy.
    Verify,
    /// Requests still running in the old container finish.
    Drain,
    /// The old container is stopped and removed.
    Retire,
}

impl PartialSchema for Phase {
    fn schema() -> RefOr<Schema> {
        const PATTERN: &str = "^(checkout|build|start|health|swap|workers|verify|drain|retire|gate:[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)$";
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.pattern(Some(PATTERN)).into()
    }
}

impl ToSchema for Phase {}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Phase::Gate(name) => return write!(f, "gate:{name}"),
            Phase::Checkout => "checkout",
            Phase::Build => "build",
            Phase::Start => "start",
            Phase::Health => "health",
            Phase::Swap => "swap",
            Phase::Workers => "workers",
            Phase::Verify => "verify",
            Phase::Drain => "drain",
            Phase::Retire => "retire",
        };
        f.write_str(name)
    }
}

impl FromStr for Phase {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Ok(match text {
            "checkout" => Phase::Checkout,
            "build" => Phase::Build,
            "start" => Phase::Start,
            "health" => Phase::Health,
            "swap" => Phase::Swap,
            "workers" => Phase::Workers,
            "verify" => Phase::Verify,
            "drain" => Phase::Drain,
            "retire" => Phase::Retire,
            gate => Phase::Gate(gate.strip_prefix("gate:").unwrap_or(gate).parse()?),
        })
    }
}

impl TryFrom<String> for Phase {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Phase> for String {
    fn from(phase: Phase) -> String {
        phase.to_string()
    }
}

/// How a phase stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PhaseStatus {
    /// Under way.
    Running,
    /// Done, and good.
    Ok,
    /// Ended the deploy.
    Failed,
    /// Not needed, as the build of a revert whose image is kept.
    Skipped,
}

impl PhaseStatus {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A row of the timing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PhaseTiming {
    /// Which phase.
    pub phase: Phase,
    /// How it stands.
    pub status: PhaseStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took in milliseconds, by a monotonic clock; `None` while it runs.
    pub duration_ms: Option<u64>,
}

/// One step of a build, as its builder tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStep {
    /// As in the Dockerfile, behind the builder's number: `[3/5] RUN pip install -r requirements.txt`.
    pub name: String,
    /// When it began, in milliseconds since its phase began.
    pub began_ms: u64,
    /// How long it took, in milliseconds; `None` where its end was never told, as of a build that was
    /// cut off.
    pub duration_ms: Option<u64>,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Whether it ended the build.
    pub failed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_reads_back_and_the_order_is_that_of_a_deploy() {
        let words = "checkout build gate:check start health swap workers verify drain retire";
        let phases: Vec<Phase> = words.split(' ').map(|w| w.parse().unwrap()).collect();
        assert!(phases.is_sorted());
        let back: Vec<String> = phases.iter().map(Phase::to_string).collect();
        assert_eq!(back.join(" "), words);
        assert!("gate:../x".parse::<Phase>().is_err());
    }
}
