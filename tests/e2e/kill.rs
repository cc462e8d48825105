//! SIGKILL at any moment: at the start, in the middle and at the end of every phase of a deploy and
//! of a revert, and at random moments. Whenever it comes, the server that starts next knows the truth
//! within ten seconds, the site has not noticed, and nothing is left over.
//!
//! The first test takes some of the chosen moments and a few random ones, the second all of the chosen
//! ones and 100 random ones. Both print their seed, and `WINDLASS_SEED=<number>` takes the same again.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Connection;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::app::{App, MANIFEST, Push, Pushing};
use crate::load::Asking;
use crate::part;
use crate::world::{World, docker, wait_for};

/// A quick deploy with every phase in it; the gate prints as it goes.
fn manifest() -> String {
    let quick = MANIFEST.replace("min_healthy = \"1s\"", "min_healthy = \"300ms\"");
    format!("{quick}\n[[gates]]\nname = \"count\"\nrun = [\"python\", \"-uc\", \"{COUNT}\"]\n")
}
const COUNT: &str = "import time\\nfor n in range(20): print('gate line', n); time.sleep(0.015)";

const PUSHED: [&str; 9] = [
    "checkout",
    "build",
    "gate:count",
    "start",
    "health",
    "swap",
    "verify",
    "drain",
    "retire",
];
const REVERTED: [&str; 7] = [
    "gate:count",
    "start",
    "health",
    "swap",
    "verify",
    "drain",
    "retire",
];

/// When to kill.
#[derive(Debug, Clone)]
enum Moment {
    /// So far into a phase: 0 is its start, 1 its end.
    In { phase: String, part: f64 },
    /// So far into a whole deploy.
    Anywhere(f64),
}

/// What a deploy took without being killed, phase by phase, in seconds.
type Usual = BTreeMap<String, f64>;

fn usual(deploy: &Value) -> Usual {
    let seconds = |p: &Value| p["duration_ms"].as_f64().unwrap() / 1000.0;
    let phases = deploy["phases"].as_array().unwrap().iter();
    phases
        .map(|p| (p["phase"].as_str().unwrap().to_owned(), seconds(p)))
        .collect()
}

/// Random numbers that a seed makes come again (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    fn part(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Reads the server's database beside it, each millisecond if need be: no command is quick enough to
/// meet the swap.
pub struct Rows {
    runtime: tokio::runtime::Runtime,
    database: SqliteConnection,
}

impl Rows {
    pub fn open(world: &World) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let options = SqliteConnectOptions::new()
            .filename(world.home.join("windlass.db"))
            .read_only(true);
        let database = runtime
            .block_on(SqliteConnection::connect_with(&options))
            .unwrap();
        Self { runtime, database }
    }

    fn newest(&mut self) -> i64 {
        let query = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM deploys");
        self.runtime
            .block_on(query.fetch_one(&mut self.database))
            .unwrap()
    }

    /// Whether the deploy has this phase, and whether it runs now.
    fn phase(&mut self, id: i64, phase: &str) -> Option<bool> {
        let query = sqlx::query("SELECT status FROM phases WHERE deploy_id = ? AND phase = ?");
        let row = self.runtime.block_on(
            query
                .bind(id)
                .bind(phase)
                .fetch_optional(&mut self.database),
        );
        row.unwrap().map(|row| row.get::<String, _>(0) == "running")
    }

    /// Whether the database knows that somebody asked for the deploy's end.
    pub fn asked_to_cancel(&mut self, id: i64) -> bool {
        let query = sqlx::query_scalar("SELECT cancel_by IS NOT NULL FROM deploys WHERE id = ?");
        self.runtime
            .block_on(query.bind(id).fetch_one(&mut self.database))
            .unwrap()
    }

    /// Every row that says of itself that somebody is at it.
    fn running(&mut self) -> i64 {
        let query = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM deploys WHERE status = 'running') \
             + (SELECT count(*) FROM phases WHERE status = 'running')",
        );
        self.runtime
            .block_on(query.fetch_one(&mut self.database))
            .unwrap()
    }
}

/// Who waits for a deploy: a pusher, or somebody who reverts.
enum Waiting {
    Push(Pushing),
    Revert(Child),
}

impl Waiting {
    fn end(self) -> Option<Push> {
        match self {
            Waiting::Push(push) => Some(push.end()),
            Waiting::Revert(mut revert) => {
                wait_for("the revert's command ends", Duration::from_secs(90), || {
                    revert.try_wait().unwrap()
                });
                None
            }
        }
    }
}

struct Trial<'w> {
    app: &'w App<'w>,
    rows: Rows,
    count: usize,
    hits: BTreeMap<String, usize>,
}

impl Trial<'_> {
    /// Begins a deploy, kills the server at `moment`, starts it again, and checks everything.
    fn run(&mut self, moment: &Moment, revert: bool, usual: &Usual) {
        let (app, world) = (self.app, self.app.world);
        self.count += 1;
        let id = self.rows.newest() + 1;
        let before = app.live().unwrap();
        let waiting = if revert {
            let mut command = world.command(&["revert", &app.name, "--wait"]);
            Waiting::Revert(
                command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap(),
            )
        } else {
            app.version(&format!("version {}", self.count));
            Waiting::Push(app.begin_push(&["main"]))
        };
        self.wait(moment, id, usual);
        world.kill_server();
        // What the dead one left, for the report: which phase it was in.
        let hit = self.phase_hit(id);
        *self.hits.entry(hit.clone()).or_default() += 1;
        let context = format!(
            "kill {} of deploy {id} (revert: {revert}) at {moment:?}, hit {hit}",
            self.count
        );

        let began = Instant::now();
        world.start();
        let reached_swap = ["swap", "verify"].iter().any(|phase| hit == *phase);
        wait_for(
            &format!("true statuses after {context}"),
            Duration::from_secs(10),
            || {
                let deploy = world.deploy_if_any(id);
                let true_now = match deploy {
                    None => true,
                    Some(deploy)
                        if deploy["status"] == "running" || deploy["status"] == "queued" =>
                    {
                        deploy["attempts"].as_i64() != Some(1) || hit == "queue"
                    }
                    Some(_) => self.rows.running() == 0,
                };
                true_now.then_some(())
            },
        );
        let known = began.elapsed();
        let push = waiting.end();
        let Some(deploy) = world.deploy_if_any(id) else {
            // Killed before anything was taken: nothing has changed, and the pusher was told so.
            let push = push.unwrap_or_else(|| panic!("{context}: no deploy"));
            assert!(
                push.output.contains("remote:"),
                "{context}: {}",
                push.output
            );
            assert_eq!(app.live().unwrap()["id"], before["id"], "{context}");
            return self.in_order(&before, &context);
        };
        let deploy = if deploy["finished_at"].is_null() {
            app.wait_for_end(id)
        } else {
            deploy
        };
        let status = deploy["status"].as_str().unwrap().to_owned();
        eprintln!("{context}: {status}, true after {known:.1?}");
        match status.as_str() {
            "live" => {}
            "interrupted" => assert!(reached_swap, "{context}: {deploy:#}"),
            other => panic!("{context}: {other}: {deploy:#}"),
        }
        let live = if status == "live" {
            deploy.clone()
        } else {
            before
        };
        self.in_order(&live, &context);
        if let Some(push) = push {
            let word = status.to_uppercase();
            assert!(push.last().starts_with(&word), "{context}: {}", push.output);
            self.logs_are_whole(id, &push, &context);
        }
    }

    /// Waits until the moment has come.
    fn wait(&mut self, moment: &Moment, id: i64, usual: &Usual) {
        let limit = Instant::now() + Duration::from_secs(60);
        let exists = |rows: &mut Rows| rows.newest() >= id;
        match moment {
            Moment::Anywhere(part) => {
                while !exists(&mut self.rows) {
                    assert!(Instant::now() < limit, "deploy {id} is never queued");
                    sleep(Duration::from_millis(1));
                }
                sleep(Duration::from_secs_f64(usual.values().sum::<f64>() * part));
            }
            Moment::In { phase, part } => {
                while self.rows.phase(id, phase).is_none() {
                    assert!(Instant::now() < limit, "deploy {id} never comes to {phase}");
                    sleep(Duration::from_millis(1));
                }
                let (began, wanted) = (Instant::now(), usual[phase] * part);
                // Its end is when its row says so, should it be quicker than usual.
                while began.elapsed().as_secs_f64() < wanted
                    && self.rows.phase(id, phase) == Some(true)
                {
                    sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// The last phase that a killed server began, `queue` for none.
    fn phase_hit(&mut self, id: i64) -> String {
        let query = sqlx::query_scalar(
            "SELECT phase FROM phases WHERE deploy_id = ? ORDER BY ordinal DESC LIMIT 1",
        );
        let phase = self
            .rows
            .runtime
            .block_on(query.bind(id).fetch_optional(&mut self.rows.database));
        phase.unwrap().unwrap_or_else(|| "queue".to_owned())
    }

    /// Within moments everything agrees about what is live, and nothing else is there.
    fn in_order(&mut self, live: &Value, context: &str) {
        let (app, world) = (self.app, self.app.world);
        let commit = live["commit"].as_str().unwrap();
        wait_for(
            &format!("only the live container after {context}"),
            Duration::from_secs(15),
            || {
                let containers = app.containers();
                (containers.len() == 1 && containers[0].ends_with("_live")).then_some(())
            },
        );
        let label = docker(&[
            "inspect",
            "-f",
            "{{index .Config.Labels \"windlass.deploy\"}}",
            &app.live_container(),
        ]);
        assert_eq!(label.ok().trim(), live["id"].to_string(), "{context}");
        assert_eq!(
            app.branch().as_deref(),
            Some(commit),
            "the branch after {context}"
        );
        let text = app.git(&["show", &format!("{commit}:version.txt")]).ok();
        let (status, body) = app.get("/");
        assert!(
            status == 200 && body.trim() == text.trim(),
            "{status} {body:?} is not {text:?} after {context}"
        );
        wait_for(
            &format!("no image too many after {context}"),
            Duration::from_secs(15),
            || {
                (world.images().len() <= 4 && !world.images().iter().any(|i| i.contains("<none>")))
                    .then_some(())
            },
        );
        assert_eq!(self.rows.running(), 0, "{context}");
        assert_eq!(world.networks().len(), 2, "{context}");
        assert_eq!(
            world.json(&["app", "show", &app.name])["status"],
            "serving",
            "{context}"
        );
    }

    /// What the gate printed is in the log without a gap, up to the kill and after it, and the pusher
    /// saw just that.
    fn logs_are_whole(&self, id: i64, push: &Push, context: &str) {
        let counted = |text: &str| -> Vec<usize> {
            let line = |line: &str| line.split_once("gate line ")?.1.trim().parse().ok();
            text.lines()
                .filter(|l| !l.contains("range(20)"))
                .filter_map(line)
                .collect()
        };
        let log = self
            .app
            .world
            .windlass(&["deploy", "log", &id.to_string()])
            .ok();
        let (stored, seen) = (counted(&log), counted(&push.output));
        assert_eq!(
            seen, stored,
            "the pusher's log after {context}:\n{}",
            push.output
        );
        let mut attempts = stored.chunk_by(|a, b| b > a);
        assert!(
            attempts.all(|a| a.iter().copied().eq(0..a.len())),
            "{context}: {stored:?}"
        );
    }
}

fn dice() -> Dice {
    let seed = std::env::var("WINDLASS_SEED")
        .ok()
        .map_or(3, |seed| seed.parse().unwrap());
    eprintln!("WINDLASS_SEED={seed}");
    Dice(seed)
}

/// A moment, and whether it is one of a revert.
type Chosen = (Moment, bool);

/// The start, the middle and the end of every phase of a push and of a revert.
fn chosen() -> Vec<Chosen> {
    let pushed = PUSHED.map(|phase| (phase, false));
    let reverted = REVERTED.map(|phase| (phase, true));
    let phases = pushed.into_iter().chain(reverted);
    let moments = phases.flat_map(|(phase, revert)| {
        [0.0, 0.5, 1.0].map(|part| {
            let phase = phase.to_owned();
            (Moment::In { phase, part }, revert)
        })
    });
    moments.collect()
}

fn random(dice: &mut Dice, count: usize) -> Vec<Chosen> {
    (0..count)
        .map(|number| (Moment::Anywhere(dice.part()), number % 3 == 2))
        .collect()
}

/// Kills the server at these moments, one after another.
fn kill_at(moments: &[Chosen]) {
    let world = World::with("[keep]\nreleases = 2\n");
    let app = world.app("shop");
    app.write("windlass.toml", &manifest());
    app.version("zero");
    app.went_live(&app.push(), "zero");
    app.version("one");
    let pushed = usual(&app.went_live(&app.push(), "one"));
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.wait_for_drains();
    let reverted = usual(&app.newest());
    app.git(&["commit", "-q", "--allow-empty", "-m", "as it is"])
        .ok();

    let asking = Asking::begin(&world, &app.domain);
    let mut trial = Trial {
        app: &app,
        rows: Rows::open(&world),
        count: 0,
        hits: BTreeMap::new(),
    };
    for (moment, revert) in moments {
        trial.run(moment, *revert, if *revert { &reverted } else { &pushed });
    }
    eprintln!(
        "{} kills, by the phase they hit: {:?}",
        trial.count, trial.hits
    );
    asking.all_good(moments.len() * 100);
    app.version("the last");
    app.went_live(&app.push(), "the last");
}

#[test]
fn killed_at_any_moment() {
    let mut dice = dice();
    let mut moments = chosen();
    // The swap always; of the others some.
    let swap = |m: &Moment| matches!(m, Moment::In { phase, .. } if phase == "swap");
    moments.retain(|(moment, revert)| swap(moment) && !revert || dice.roll().is_multiple_of(6));
    moments.extend(random(&mut dice, 4));
    kill_at(&moments);
}

/// `WINDLASS_PART=2/4` takes every fourth of them.
#[test]
#[ignore = "a quarter of an hour: scripts/tests.py killed_at_every_moment"]
fn killed_at_every_moment() {
    let mut moments = chosen();
    moments.extend(random(&mut dice(), 100));
    kill_at(&part::of(moments));
}
