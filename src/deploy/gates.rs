//! Gates: commands that prove the new image before any traffic can reach it, each in a one-off
//! container of that image with the app's environment and network.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::maybe_done;

use super::migrations::{self, Migrate, Plan};
use crate::attempt::{Attempt, Ended, Stop};
use crate::build::choose_port;
use crate::domain::duration::show;
use crate::domain::{Gate, Phase};
use crate::logs::PhaseWriter;
use crate::runtime::{ContainerSpec, Exit};
use crate::workload::{Image, one_off_container, run_container};

/// An image that has passed every gate.
pub struct Gated(pub Image);

/// How far apart a container's end and that of its output come at most, where all is well.
const APART: Duration = Duration::from_secs(2);

/// Runs the image's gates in order. One that is red ends the deploy.
///
/// What Django's `migrate` is about to do is read while the gate before it runs: a second less to wait.
pub async fn pass_gates(attempt: &Attempt, image: Image) -> Result<Gated, Ended> {
    let gates = image.manifest.gates.as_deref().unwrap_or_default();
    let migrates: Vec<Option<Migrate>> = gates.iter().map(Migrate::of).collect();
    let mut ahead: Option<Plan> = None;
    for (n, gate) in gates.iter().enumerate() {
        let reads = |n: usize| Some((migrates.get(n)?.as_ref()?, gates.get(n)?));
        let (own, plan) = (reads(n), ahead.take());
        // Not beside a gate that changes the very schema.
        let next = if own.is_none() { reads(n + 1) } else { None };
        let reading = async {
            match next {
                Some((migrate, gate)) => Some(migrate.read_plan(attempt, &image, gate).await),
                None => None,
            }
        };
        let mut reading = std::pin::pin!(maybe_done(reading));
        let work = async |attempt: &Attempt, log: &PhaseWriter, plan: Option<Plan>| {
            if n == 0 && migrates.iter().any(Option::is_some) {
                attempt
                    .platform
                    .store
                    .expect_migrations(attempt.deploy.id)
                    .await?;
            }
            let passing = async {
                match own {
                    Some((migrate, _)) => apply(attempt, log, &image, gate, migrate, plan).await,
                    None => pass(attempt, log, &image, gate, &Heard::nothing()).await,
                }
            };
            // A red gate waits for nothing.
            let mut passing = std::pin::pin!(passing);
            tokio::select! {
                biased;
                passed = &mut passing => return passed,
                () = &mut reading => {}
            }
            passing.await
        };
        let phase = Phase::Gate(gate.name.clone());
        attempt.phase(phase, work, plan).await?;
        reading.as_mut().await;
        ahead = reading.take_output().flatten();
    }
    Ok(Gated(image))
}

/// Runs a gate that changes a schema, and writes down what it did.
async fn apply(
    attempt: &Attempt,
    log: &PhaseWriter,
    image: &Image,
    gate: &Gate,
    migrate: &Migrate,
    plan: Option<Plan>,
) -> Result<(), Stop> {
    let plan = match plan {
        Some(plan) => plan,
        None => migrate.read_plan(attempt, image, gate).await,
    };
    migrations::say(log, &plan);
    let known = attempt
        .platform
        .store
        .begin_migrations(attempt.deploy.id)
        .await?;
    let heard = Heard::beginning();
    let passed = pass(attempt, log, image, gate, &heard).await;
    migrations::record(attempt, plan, &heard.text(), passed.is_ok(), known).await;
    passed
}

/// What a gate has printed so far.
struct Heard {
    /// How much.
    bytes: AtomicUsize,
    /// The beginning of its standard output, where somebody wants to read it.
    text: Option<Mutex<Vec<u8>>>,
}

impl Heard {
    fn nothing() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            text: None,
        }
    }

    fn beginning() -> Self {
        Self {
            text: Some(Mutex::default()),
            ..Self::nothing()
        }
    }

    /// Takes a piece that went to standard output or error, and to the log.
    fn take(&self, bytes: &[u8], stderr: bool) {
        if let (Some(text), false) = (&self.text, stderr) {
            let mut text = text
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let room = migrations::READ.saturating_sub(text.len()).min(bytes.len());
            text.extend_from_slice(&bytes[..room]);
        }
    }

    fn text(&self) -> String {
        let text = self.text.as_ref().map(|text| {
            text.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        });
        text.map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }
}

async fn pass(
    attempt: &Attempt,
    log: &PhaseWriter,
    image: &Image,
    gate: &Gate,
    heard: &Heard,
) -> Result<(), Stop> {
    let name = attempt
        .platform
        .naming
        .gate(&attempt.deploy.app, attempt.deploy.id, &gate.name);
    log.say(format!("$ {}", gate.run));
    let ended = tokio::time::timeout(
        gate.timeout.0,
        watch(attempt, log, image, gate, &name, heard),
    )
    .await;
    // What stays is removed when the app is settled; the gate's outcome counts.
    let _ = attempt.platform.engine.remove(&name).await;
    let last = || {
        log.last_lines(15)
            .iter()
            .map(|line| format!("\n    {line}"))
            .collect::<String>()
    };
    match ended {
        Err(_) => Err(Stop::NotGood(format!(
            "`{}` took longer than its timeout of {}",
            gate.run,
            show(gate.timeout.0)
        ))),
        Ok(Err(stop)) => Err(stop),
        Ok(Ok(Exit {
            status: 0,
            out_of_memory: false,
        })) => Ok(()),
        Ok(Ok(exit)) => Err(Stop::NotGood(format!(
            "`{}` ended with {exit}:{}",
            gate.run,
            last()
        ))),
    }
}

/// Runs the gate's container to its end and writes what it prints.
async fn watch(
    attempt: &Attempt,
    log: &PhaseWriter,
    image: &Image,
    gate: &Gate,
    name: &str,
    heard: &Heard,
) -> Result<Exit, Stop> {
    let platform = &attempt.platform;
    let port = match platform.engine.image(&image.name.0).await? {
        Some(facts) => choose_port(&image.manifest, &facts)?,
        None => return Err(Stop::NotGood(format!("the image {} is gone", image.name))),
    };
    let (app, id) = (&attempt.deploy.app, attempt.deploy.id);
    let spec = ContainerSpec {
        command: Some(gate.run.0.clone()),
        ..one_off_container(platform, app, id, image, port, name.to_owned())
    };
    run_container(platform, app, spec).await?;
    let mut printing = std::pin::pin!(print(attempt, log, name, heard));
    let wait = || platform.engine.wait(name);
    // An output that ends long before its container has broken off, with the engine; and engines do
    // not always end one with its container.
    let (whole, exit) = tokio::select! {
        whole = &mut printing => match tokio::time::timeout(APART, wait()).await {
            Ok(exit) => (whole, exit),
            Err(_) => (false, wait().await),
        },
        exit = wait() => (tokio::time::timeout(APART, printing).await.unwrap_or(false), exit),
    };
    if !whole && !print_rest(attempt, log, name, heard).await {
        log.say("warning: some of its output could not be read");
    }
    log.end_output();
    Ok(exit)
}

/// Prints what the gate's container prints, and counts its bytes. False when that broke off.
async fn print(attempt: &Attempt, log: &PhaseWriter, name: &str, heard: &Heard) -> bool {
    let mut output = std::pin::pin!(attempt.platform.engine.output(name, true, None));
    while let Some(chunk) = output.next().await {
        let Ok(chunk) = chunk else { return false };
        log.output(&chunk.bytes);
        heard.take(&chunk.bytes, chunk.stderr);
        heard.bytes.fetch_add(chunk.bytes.len(), Ordering::Relaxed);
    }
    true
}

/// Prints all that the ended container printed behind what was heard. False when that cannot be read.
async fn print_rest(attempt: &Attempt, log: &PhaseWriter, name: &str, heard: &Heard) -> bool {
    let mut printed = heard.bytes.load(Ordering::Relaxed);
    let rest = async {
        let mut output = std::pin::pin!(attempt.platform.engine.output(name, false, None));
        while let Some(chunk) = output.next().await {
            let Ok(chunk) = chunk else { return false };
            let known = printed.min(chunk.bytes.len());
            printed -= known;
            log.output(&chunk.bytes[known..]);
            heard.take(&chunk.bytes[known..], chunk.stderr);
        }
        true
    };
    tokio::time::timeout(Duration::from_secs(10), rest)
        .await
        .unwrap_or(false)
}
