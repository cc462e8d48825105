//! Whole lives of an installation, on a runtime and a Caddy in memory, with real SQLite and real git,
//! by a clock that jumps.
//!
//! A seed says what people do, which call goes wrong in which way, and at which steps the server dies.
//! One that fails is printed: `WINDLASS_SIM_SEED=<seed> cargo test --test simulation` lives it again,
//! and tells what happened. `WINDLASS_SIM_LIVES` says how many, `WINDLASS_SIM_FROM` from which on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
mod commits;
mod life;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use life::{Life, Lived};

/// What has happened in all lives: a simulation in which nothing happens proves nothing.
#[derive(Debug, Default)]
struct Tally {
    deaths: AtomicU64,
    faults: AtomicU64,
    visits: AtomicU64,
    statuses: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    fn add(&self, lived: &Lived) {
        self.deaths.fetch_add(lived.deaths, Ordering::Relaxed);
        self.faults.fetch_add(lived.faults, Ordering::Relaxed);
        self.visits.fetch_add(lived.visits, Ordering::Relaxed);
        let mut statuses = self.statuses.lock().unwrap();
        for status in &lived.statuses {
            *statuses.entry(status.as_str()).or_default() += 1;
        }
    }

    fn expect_everything(&self) {
        let statuses = self.statuses.lock().unwrap();
        for status in [
            "live",
            "retired",
            "failed",
            "superseded",
            "cancelled",
            "interrupted",
        ] {
            assert!(statuses.contains_key(status), "none is {status}: {self:?}");
        }
        for count in [&self.deaths, &self.faults, &self.visits] {
            assert!(count.load(Ordering::Relaxed) > 0, "{self:?}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Lives one life. What was wrong, and what happened.
fn live(seed: u64, tally: &Tally) -> Result<(), String> {
    let life = Life::new(seed);
    let (chaos, plan) = (life.chaos.clone(), format!("{:?}", life.plan));
    if number("WINDLASS_SIM_SEED").is_some() {
        chaos.tell_all();
    }
    let lived = life.live();
    tally.add(&lived);
    if number("WINDLASS_SIM_SEED").is_some() {
        println!("{plan}\n{}\n{:?}", chaos.told().join("\n"), lived.statuses);
    }
    let wrong = lived.wrong;
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "seed {seed}\n{plan}\n{}\nwrong:\n{}\nAgain: WINDLASS_SIM_SEED={seed} cargo test --test simulation",
        chaos.told().join("\n"),
        wrong.join("\n")
    ))
}

/// Lives many, on as many threads as there are processors. What was wrong with which.
fn live_all(seeds: std::ops::Range<u64>, tally: &Tally) -> Vec<String> {
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            let mut wrong = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end || wrong.len() >= 5 {
                    return wrong;
                }
                wrong.extend(live(seed, tally).err());
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().unwrap());
        joined.flatten().collect()
    })
}

/// The first of the lives that `WINDLASS_PART` names, and how many; all of them where it is not set.
fn part(lives: u64) -> (u64, u64) {
    let Ok(part) = std::env::var("WINDLASS_PART") else {
        return (0, lives);
    };
    let numbers = part
        .split_once('/')
        .and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    let (part, of): (u64, u64) = numbers.expect("WINDLASS_PART, as in 2/100");
    let each = lives / of;
    ((part - 1) * each, each)
}

fn prove(lives: u64) {
    let (from, lives) = part(lives);
    let from = number("WINDLASS_SIM_FROM").unwrap_or(from);
    let seeds = match number("WINDLASS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => from..from + number("WINDLASS_SIM_LIVES").unwrap_or(lives),
    };
    let (began, count) = (Instant::now(), seeds.end - seeds.start);
    let tally = Tally::default();
    let wrong = live_all(seeds, &tally);
    let took = began.elapsed().as_secs_f64();
    println!(
        "{count} lives in {took:.1} s, {:.0} a minute",
        count as f64 / took * 60.0
    );
    println!("{tally:?}");
    assert!(
        wrong.is_empty(),
        "{} failed\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    if count >= 500 {
        tally.expect_everything();
    }
}

#[test]
fn every_life_ends_in_order() {
    prove(2_000);
}

/// Seeds with which something real was found, and what it was.
const FOUND: &[(u64, &str)] = &[
    (1740, "a network of a failed create stayed"),
    (
        1159,
        "an old Caddy asked at the wrong port while a swap was undone",
    ),
    (2351, "an engine that failed once cost Caddy its container"),
];

#[test]
fn lives_that_once_ended_badly_end_in_order() {
    for (seed, what) in FOUND {
        let lived = live(*seed, &Tally::default());
        assert!(lived.is_ok(), "{what}: {}", lived.unwrap_err());
    }
}

/// `WINDLASS_PART=2/100` lives the second thousand of them.
#[test]
#[ignore = "three hours"]
fn a_hundred_thousand_lives_end_in_order() {
    prove(100_000);
}
