//! The phases in order: the story of a push.
//!
//! Each phase takes what the one before returned, so none can be left out or run early. Up to the
//! swap nothing outside has changed; from there to the end of verify, two renames undo it.

use super::cutover::{drain, retire, swap, verify};
use super::gates::pass_gates;
use super::health::prove_health;
use super::plan::Plan;
use super::start::start;
use crate::attempt::{Attempt, Ended};
use crate::build::{build, checkout};
use crate::domain::Phase;
use crate::workload::Image;

/// Puts the deploy's commit live, or says in which phase and why not.
pub async fn deploy(attempt: &Attempt, plan: Plan) -> Result<(), Ended> {
    let image = match plan {
        Plan::Build { env } => {
            let source = attempt
                .phase(Phase::Checkout, async |log| {
                    checkout(attempt, log, env).await
                })
                .await?;
            attempt
                .phase(Phase::Build, async |log| build(attempt, log, source).await)
                .await?
        }
        Plan::Reuse { release, env } => {
            attempt.skip(Phase::Checkout).await?;
            attempt.skip(Phase::Build).await?;
            Image::of(*release, env)
        }
    };
    let gated = pass_gates(attempt, image).await?;
    let candidate = attempt
        .phase(Phase::Start, async |log| start(attempt, log, gated).await)
        .await?;
    let healthy = attempt
        .phase(Phase::Health, async |log| {
            prove_health(attempt, log, candidate).await
        })
        .await?;
    let cutover = attempt
        .phase(Phase::Swap, async |log| swap(attempt, log, healthy).await)
        .await?;
    let verified = attempt
        .phase(Phase::Verify, async |log| {
            verify(attempt, log, cutover).await
        })
        .await?;
    let Some(retiring) = verified.retiring() else {
        attempt.skip(Phase::Drain).await?;
        return attempt.skip(Phase::Retire).await;
    };
    let drained = attempt
        .phase(Phase::Drain, async |log| {
            drain(attempt, log, retiring).await
        })
        .await?;
    attempt
        .phase(Phase::Retire, async |log| {
            retire(attempt, log, drained).await
        })
        .await
}
