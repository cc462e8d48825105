//! The phases in order: the story of a push.
//!
//! Each phase takes what the one before returned, so none can be left out or run early. Up to the
//! swap nothing outside has changed; from there to the end of verify, two renames undo it.

use super::cutover::{drain, retire, swap, verify};
use super::gates::pass_gates;
use super::run::{Ended, Run};
use super::source::{Image, Plan, build, checkout};
use super::start::{prove_health, start};
use crate::domain::Phase;

/// Puts the deploy's commit live, or says in which phase and why not.
pub(super) async fn deploy(run: &Run, plan: Plan) -> Result<(), Ended> {
    let image = match plan {
        Plan::Build { env } => {
            let source = run
                .phase(Phase::Checkout, async |log| checkout(run, log, env).await)
                .await?;
            run.phase(Phase::Build, async |log| build(run, log, source).await)
                .await?
        }
        Plan::Reuse { release, env } => {
            run.skip(Phase::Checkout).await?;
            run.skip(Phase::Build).await?;
            Image::of(*release, env)
        }
    };
    let gated = pass_gates(run, image).await?;
    let candidate = run
        .phase(Phase::Start, async |log| start(run, log, gated).await)
        .await?;
    let healthy = run
        .phase(Phase::Health, async |log| {
            prove_health(run, log, candidate).await
        })
        .await?;
    let cutover = run
        .phase(Phase::Swap, async |log| swap(run, log, healthy).await)
        .await?;
    let verified = run
        .phase(Phase::Verify, async |log| verify(run, log, cutover).await)
        .await?;
    let Some(retiring) = verified.retiring() else {
        run.skip(Phase::Drain).await?;
        return run.skip(Phase::Retire).await;
    };
    let drained = run
        .phase(Phase::Drain, async |log| drain(run, log, retiring).await)
        .await?;
    run.phase(Phase::Retire, async |log| retire(run, log, drained).await)
        .await
}
