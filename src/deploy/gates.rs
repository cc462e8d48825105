//! Gates: commands that prove the new image before any traffic can reach it, each in a one-off
//! container of that image with the app's environment and network.

use std::time::Duration;

use futures_util::StreamExt;

use super::run::{Ended, Run, Stop};
use super::source::{Image, choose_port};
use crate::domain::duration::show;
use crate::domain::{Gate, Phase};
use crate::engine::{ContainerSpec, Exit, Role};
use crate::logs::PhaseWriter;

/// An image that has passed every gate.
pub(super) struct Gated(pub Image);

/// Runs the image's gates in order. One that is red ends the deploy.
pub(super) async fn pass_gates(run: &Run, image: Image) -> Result<Gated, Ended> {
    for gate in image.manifest.gates.as_deref().unwrap_or_default() {
        let phase = Phase::Gate(gate.name.clone());
        run.phase(phase, async |log| pass(run, log, &image, gate).await).await?;
    }
    Ok(Gated(image))
}

async fn pass(run: &Run, log: &PhaseWriter, image: &Image, gate: &Gate) -> Result<(), Stop> {
    let name = run.windlass.naming.gate(&run.deploy.app, run.deploy.id, &gate.name);
    log.say(format!("$ {}", gate.run));
    let ended = tokio::time::timeout(gate.timeout.0, watch(run, log, image, gate, &name)).await;
    run.windlass.engine.remove(&name).await?;
    let last = || log.last_lines(15).iter().map(|line| format!("\n    {line}")).collect::<String>();
    match ended {
        Err(_) => Err(Stop::NotGood(format!(
            "`{}` took longer than its timeout of {}",
            gate.run,
            show(gate.timeout.0)
        ))),
        Ok(Err(stop)) => Err(stop),
        Ok(Ok(Exit { status: 0, out_of_memory: false })) => Ok(()),
        Ok(Ok(exit)) => Err(Stop::NotGood(format!("`{}` ended with {exit}:{}", gate.run, last()))),
    }
}

/// Runs the gate's container to its end and writes what it prints.
async fn watch(run: &Run, log: &PhaseWriter, image: &Image, gate: &Gate, name: &str) -> Result<Exit, Stop> {
    let windlass = &run.windlass;
    let port = match windlass.engine.image(&image.name.0).await? {
        Some(facts) => choose_port(&image.manifest, &facts)?,
        None => return Err(Stop::NotGood(format!("the image {} is gone", image.name))),
    };
    let spec = ContainerSpec {
        command: Some(gate.run.0.clone()),
        aliases: Vec::new(),
        name: name.to_owned(),
        role: Role::Gate,
        ..windlass.web_container(&run.deploy.app, run.deploy.id, image, port)
    };
    windlass.engine.run(&spec).await?;
    let mut output = std::pin::pin!(windlass.engine.output(name, true, None));
    let printed = async {
        while let Some(chunk) = output.next().await {
            log.output(&chunk?.bytes);
        }
        Ok::<(), Stop>(())
    };
    let mut printed = std::pin::pin!(printed);
    let exit = tokio::select! {
        done = &mut printed => {
            done?;
            windlass.engine.wait(name).await?
        }
        exit = windlass.engine.wait(name) => {
            // Engines do not always end a stream with its container; what is left of it comes at once.
            if let Ok(done) = tokio::time::timeout(Duration::from_secs(2), printed).await {
                done?;
            }
            exit?
        }
    };
    log.end_output();
    Ok(exit)
}
