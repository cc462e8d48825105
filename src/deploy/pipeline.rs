//! The phases in order: the story of a push.
//!
//! Each phase takes what the one before returned, so none can be left out or run early. Up to the
//! swap nothing outside has changed; from there to the end of verify, two renames undo it. With verify
//! a push ends; what becomes of the old container goes on behind it.

use super::cutover::{Verified, drain, retire, swap, verify};
use super::gates::pass_gates;
use super::health::prove_health;
use super::plan::Plan;
use super::start::start;
use super::workers::replace_workers;
use crate::attempt::{Attempt, Ended};
use crate::build::{build, checkout};
use crate::domain::Phase;
use crate::workload::{Image, Retiring};

/// Puts the deploy's commit live, or says in which phase and why not.
pub async fn deploy(attempt: &Attempt, plan: Plan) -> Result<Verified, Ended> {
    let image = match plan {
        Plan::Build { env } => {
            let source = attempt.phase(Phase::Checkout, checkout, env).await?;
            attempt.phase(Phase::Build, build, source).await?
        }
        Plan::Reuse { release, env } => {
            attempt.skip(Phase::Checkout).await?;
            attempt.skip(Phase::Build).await?;
            Image::of(*release, env)
        }
    };
    let gated = pass_gates(attempt, image).await?;
    let candidate = attempt.phase(Phase::Start, start, gated).await?;
    let healthy = attempt
        .phase(Phase::Health, prove_health, candidate)
        .await?;
    let cutover = attempt.phase(Phase::Swap, swap, healthy).await?;
    let cutover = replace_workers(attempt, cutover).await?;
    attempt.phase(Phase::Verify, verify, cutover).await
}

/// What goes on behind a live release, while the app's next deploy may run already: the container
/// before it finishes its requests and ends.
pub async fn let_go(attempt: &Attempt, old: Option<Retiring>) -> Result<(), Ended> {
    let Some(retiring) = old else {
        attempt.skip(Phase::Drain).await?;
        return attempt.skip(Phase::Retire).await;
    };
    let drained = attempt.phase(Phase::Drain, drain, retiring).await?;
    attempt.phase(Phase::Retire, retire, drained).await
}
