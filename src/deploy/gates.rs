//! Gates: commands that prove the new image before any traffic can reach it, each in a one-off
//! container of that image with the app's environment and network.

use std::sync::atomic::{AtomicUsize, Ordering};
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

/// How far apart a container's end and that of its output come at most, where all is well.
const APART: Duration = Duration::from_secs(2);

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
    // What stays is removed when the app is settled; the gate's outcome counts.
    let _ = run.windlass.engine.remove(&name).await;
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
    windlass.run_container(&run.deploy.app, spec).await?;
    let printed = AtomicUsize::new(0);
    let mut printing = std::pin::pin!(print(run, log, name, &printed));
    let wait = || windlass.engine.wait(name);
    // An output that ends long before its container has broken off, with the engine; and engines do
    // not always end one with its container.
    let (whole, exit) = tokio::select! {
        whole = &mut printing => match tokio::time::timeout(APART, wait()).await {
            Ok(exit) => (whole, exit),
            Err(_) => (false, wait().await),
        },
        exit = wait() => (tokio::time::timeout(APART, printing).await.unwrap_or(false), exit),
    };
    if !whole && !print_rest(run, log, name, printed.load(Ordering::Relaxed)).await {
        log.say("warning: some of its output could not be read");
    }
    log.end_output();
    Ok(exit)
}

/// Prints what the gate's container prints, and counts its bytes. False when that broke off.
async fn print(run: &Run, log: &PhaseWriter, name: &str, printed: &AtomicUsize) -> bool {
    let mut output = std::pin::pin!(run.windlass.engine.output(name, true, None));
    while let Some(chunk) = output.next().await {
        let Ok(chunk) = chunk else { return false };
        log.output(&chunk.bytes);
        printed.fetch_add(chunk.bytes.len(), Ordering::Relaxed);
    }
    true
}

/// Prints all that the ended container printed behind the first `printed` bytes. False when that
/// cannot be read.
async fn print_rest(run: &Run, log: &PhaseWriter, name: &str, mut printed: usize) -> bool {
    let rest = async {
        let mut output = std::pin::pin!(run.windlass.engine.output(name, false, None));
        while let Some(chunk) = output.next().await {
            let Ok(chunk) = chunk else { return false };
            let known = printed.min(chunk.bytes.len());
            printed -= known;
            log.output(&chunk.bytes[known..]);
        }
        true
    };
    tokio::time::timeout(Duration::from_secs(10), rest).await.unwrap_or(false)
}
