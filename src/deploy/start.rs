//! Start and health: from a gated image to a candidate that has proved itself.

use std::net::SocketAddr;

use super::gates::Gated;
use crate::attempt::{Attempt, Stop};
use crate::build::choose_port;
use crate::domain::{Release, Replica};
use crate::logs::PhaseWriter;
use crate::workload::{replica_container, run_container};

/// A started container that nothing is known of yet.
pub struct Candidate {
    /// Its container's name.
    pub name: String,
    /// Where it is asked, from the host.
    pub address: SocketAddr,
    /// The image's own check, as a command.
    pub healthcheck: Option<Vec<String>>,
    /// What will be live.
    pub release: Release,
}

/// Starts the candidate beside the live container.
pub async fn start(attempt: &Attempt, log: &PhaseWriter, gated: Gated) -> Result<Candidate, Stop> {
    let Gated(image) = gated;
    let (engine, naming, deploy) = (
        &attempt.platform.engine,
        &attempt.platform.naming,
        &attempt.deploy,
    );
    let Some(facts) = engine.image(&image.name.0).await? else {
        return Err(Stop::NotGood(format!(
            "the image {} is gone; redeploy the commit to build it again",
            image.name
        )));
    };
    let port = choose_port(&image.manifest, &facts)?;
    let draining = &attempt.platform.draining;
    let waits = |most| {
        log.say(format!(
            "{most} old containers still drain; the new one waits until one has ended"
        ))
    };
    draining.room(&deploy.app, waits).await;
    attempt.set_image(&facts.id, facts.size);
    let spec = replica_container(
        &attempt.platform,
        &deploy.app,
        deploy.id,
        &image,
        Replica::web(),
        port,
    );
    let name = spec.name.clone();
    run_container(&attempt.platform, &deploy.app, spec).await?;
    let state = engine.container(&name).await?;
    // By its id: an engine that is slow to answer is asked again when the name is another's.
    let id = state.as_ref().map_or(&name, |state| &state.id).clone();
    attempt.platform.collector.collect(
        &deploy.app,
        id,
        deploy.id,
        &Replica::web(),
        attempt.redactor(),
    );
    if let Some(exit) = state.as_ref().and_then(|state| state.exit) {
        let last = attempt.last_words(&name).await;
        return Err(Stop::NotGood(format!(
            "the container ended at once with {exit}.{last}"
        )));
    }
    let address =
        state.and_then(|state| state.addresses.get(&naming.network(&deploy.app)).copied());
    let Some(address) = address else {
        return Err(Stop::NotGood(
            "the container has no address on the app's network".into(),
        ));
    };
    log.say(format!("container {name} on port {port}"));
    let release = Release {
        deploy: deploy.id,
        app: deploy.app.clone(),
        commit: image.commit,
        image: image.name,
        image_kept: true,
        processes: image.manifest.processes(),
        manifest: image.manifest,
        port,
        env: image.env,
    };
    Ok(Candidate {
        name,
        address: SocketAddr::from((address, port)),
        healthcheck: facts.healthcheck,
        release,
    })
}
