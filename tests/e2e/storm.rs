//! A storm of pushes: every app ends on its last one, every pusher is told, and builds take turns.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{App, MANIFEST, Push};
use crate::world::{World, wait_for};

/// Each build tells when it began and ended, in nanoseconds since the epoch.
const DOCKERFILE: &str = "FROM windlass-local/python\nENV PYTHONUNBUFFERED=1\nWORKDIR /app\nCOPY . .\n\
     RUN echo begins $(date +%s%N); sleep 0.4; echo ends $(date +%s%N)\nEXPOSE 8000\nCMD [\"python\", \"app.py\"]\n";

fn app<'w>(world: &'w World, name: &str) -> App<'w> {
    let app = world.app(name);
    app.write("Dockerfile", DOCKERFILE);
    // What an earlier run built is in the engine's cache.
    app.write("run.txt", world.home.to_str().unwrap());
    app.write(
        "windlass.toml",
        &MANIFEST.replace("min_healthy = \"1s\"", "min_healthy = \"200ms\""),
    );
    app
}

/// Pushes `count` versions, one each `pause` or as soon as git has taken the one before, without
/// waiting for any to end.
fn push_often(app: &App, count: usize, pause: Duration) -> Vec<Push> {
    let mut pushes = Vec::new();
    let began = Instant::now();
    for number in 1..=count {
        let commit = app.version(&format!("{} {number}", app.name));
        pushes.push(app.begin_push(&["main"]));
        wait_for("the push is taken", Duration::from_secs(30), || {
            app.deploys()
                .first()
                .is_some_and(|d| d["commit"] == *commit)
                .then_some(())
        });
        thread::sleep((pause * number as u32).saturating_sub(began.elapsed()));
    }
    pushes.into_iter().map(|push| push.end()).collect()
}

/// When a deploy's build began and ended; `None` if nothing was built.
fn built(world: &World, id: i64) -> Option<(u64, u64)> {
    let log = world.windlass(&["deploy", "log", &id.to_string()]).ok();
    let at = |word: &str| {
        let stamp = |line: &str| line.split_once(word)?.1.trim().parse().ok();
        log.lines()
            .filter(|line| !line.contains("$(date"))
            .find_map(stamp)
    };
    Some((at("begins ")?, at("ends ")?))
}

/// How many builds there were at once at most.
fn at_once(builds: &[(u64, u64)]) -> usize {
    builds
        .iter()
        .map(|(at, _)| {
            builds
                .iter()
                .filter(|(from, to)| from <= at && at < to)
                .count()
        })
        .max()
        .unwrap_or(0)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

#[test]
fn sixty_pushes_over_six_apps_in_twenty_seconds() {
    let world = World::new();
    let apps: Vec<App> = ["ash", "elm", "fir", "oak", "pine", "yew"]
        .map(|name| app(&world, name))
        .into();
    let pushed: Vec<Vec<Push>> = thread::scope(|scope| {
        let storm = |app| scope.spawn(move || push_often(app, 10, Duration::from_secs(2)));
        let storms: Vec<_> = apps.iter().map(storm).collect();
        storms
            .into_iter()
            .map(|storm| storm.join().unwrap())
            .collect()
    });

    let mut builds = Vec::new();
    for (app, pushes) in apps.iter().zip(&pushed) {
        let deploys = app.deploys();
        let ids: Vec<i64> = deploys.iter().map(|deploy| number(&deploy["id"])).collect();
        assert_eq!(deploys.len(), 10, "{}: a deploy for each push", app.name);
        for deploy in &deploys {
            let id = number(&deploy["id"]);
            let status = deploy["status"].as_str().unwrap();
            let told = |push: &&Push| {
                push.output
                    .contains(&format!("Deploy {id} of {}", app.name))
            };
            let push = pushes
                .iter()
                .find(told)
                .unwrap_or_else(|| panic!("nobody was told of deploy {id}"));
            match status {
                "live" => assert_eq!(id, ids[0], "{}: the last push is live", app.name),
                "retired" => {
                    assert!(
                        ["LIVE", "RETIRED"]
                            .iter()
                            .any(|w| push.last().starts_with(w)),
                        "{}",
                        push.output
                    )
                }
                "superseded" => {
                    let why = deploy["failure"]["message"].as_str().unwrap();
                    let by = why
                        .split_whitespace()
                        .find_map(|word| word.parse::<i64>().ok())
                        .unwrap();
                    assert!(by > id && ids.contains(&by), "{why}");
                    assert!(
                        push.last().starts_with("SUPERSEDED  ")
                            && push.last().contains(&format!("by deploy {by}")),
                        "{}",
                        push.output
                    );
                }
                other => panic!("deploy {id} of {}: {other}: {deploy:#}", app.name),
            }
            builds.extend(built(&world, id));
        }
        assert_eq!(deploys[0]["status"], "live", "{}", app.name);
        app.serves(&format!("{} 10", app.name));
    }
    assert!(builds.len() >= 6, "{} builds", builds.len());
    assert_eq!(at_once(&builds), 1, "builds at once: {builds:?}");
}

#[test]
fn an_app_that_is_pushed_without_end_does_not_starve_another() {
    let world = World::new();
    let (busy, quiet) = (app(&world, "busy"), app(&world, "quiet"));
    thread::scope(|scope| {
        let storm = scope.spawn(|| push_often(&busy, 12, Duration::from_millis(500)));
        busy.wait_for_phase("build");
        quiet.version("calm");
        quiet.went_live(&quiet.push(), "calm");
        storm.join().unwrap();
    });
    busy.serves("busy 12");
    let waiting = quiet.newest()["phases"][1].clone();
    assert_eq!(waiting["phase"], "build");
    let asked = Value::as_str(&waiting["started_at"]).unwrap().to_owned();
    let (began, _) = built(&world, number(&quiet.newest()["id"])).unwrap_or_else(|| {
        panic!(
            "{}",
            world
                .windlass(&["deploy", "log", &quiet.newest()["id"].to_string()])
                .stdout
        )
    });
    let asked = windlass::domain::Timestamp::parse(&asked).unwrap().millis() as u64 * 1_000_000;
    let between = |id: i64| built(&world, id).is_some_and(|(from, _)| asked < from && from < began);
    let overtook = busy
        .deploys()
        .iter()
        .filter(|deploy| between(number(&deploy["id"])))
        .count();
    assert!(
        overtook <= 1,
        "{overtook} builds of the busy app went before the one that waited"
    );
}
