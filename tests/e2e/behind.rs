//! What goes on behind a live release: a push ends when its release is live and verified, and neither it
//! nor the next one waits for requests of the old container.

use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::app::{App, MANIFEST};
use crate::load::Asking;
use crate::world::{World, docker, run, wait_for};

/// Longer than two pushes take on a machine that has other things to do.
const SLOW: &str = "/slow/40";

/// An app whose old containers may drain for as long as [`SLOW`] takes, with its first release live.
fn patient(world: &World) -> App<'_> {
    let app = world.app("shop");
    let patient = MANIFEST
        .replace("min_healthy = \"1s\"", "min_healthy = \"0s\"")
        .replace("timeout = \"10s\"", "timeout = \"60s\"");
    app.write("windlass.toml", &patient);
    app.version("one");
    app.went_live(&app.push(), "one");
    app
}

/// A request to what is live now, which it has before this returns.
fn slow<'s>(scope: &'s Scope<'s, '_>, app: &'s App<'_>) -> ScopedJoinHandle<'s, (u16, String)> {
    let container = app.live_container();
    let handle = scope.spawn(|| patiently(app));
    let asks = "import os; print(sum(line.split()[1].endswith(':1F40') and line.split()[3] == '01' \
                for line in open('/proc/net/tcp')))";
    wait_for("the request is there", Duration::from_secs(10), || {
        let open = docker(&["exec", &container, "python", "-c", asks]).ok();
        (open.trim() != "0").then_some(())
    });
    handle
}

/// [`App::get`] of [`SLOW`] with the time for it.
fn patiently(app: &App<'_>) -> (u16, String) {
    let world = app.world;
    let mut curl = world.place.command("curl");
    curl.args(["-sS", "--noproxy", "*", "--max-time", "70"]);
    curl.args(["-w", "\n%{http_code}", "-H"]);
    curl.arg(format!("Host: {}", app.domain));
    curl.arg(format!(
        "http://{}:{}{SLOW}",
        world.place.address(),
        world.port
    ));
    let said = run(&mut curl).stdout;
    let (body, status) = said.rsplit_once('\n').unwrap_or(("", "0"));
    (status.parse().unwrap(), body.to_owned())
}

fn phases(deploy: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let rows = deploy["phases"].as_array().unwrap().iter();
    rows.map(|row| (text(row, "phase"), text(row, "status")))
        .collect()
}

#[test]
fn neither_a_push_nor_the_next_one_waits_for_requests_of_an_old_container() {
    let world = World::new();
    let app = patient(&world);
    let asking = Asking::begin(&world, &app.domain);
    std::thread::scope(|scope| {
        let first = slow(scope, &app);
        app.version("two");
        let push = app.push();
        assert!(push.last().starts_with("LIVE"), "{}", push.output);
        let two = app.newest();
        assert_eq!(two["status"], "live");
        assert!(
            two["finished_at"].is_null() && two["live_ms"].is_u64(),
            "{two:#}"
        );
        assert_eq!(app.containers().len(), 2);

        let second = slow(scope, &app);
        app.version("three");
        let push = app.push();
        assert!(push.last().starts_with("LIVE"), "{}", push.output);
        assert!(!first.is_finished() && !second.is_finished());
        assert_eq!(
            app.containers().len(),
            3,
            "two old containers drain at once"
        );
        let two = world.deploy(two["id"].as_i64().unwrap());
        assert_eq!(two["status"], "retired");
        assert!(two["finished_at"].is_null(), "{two:#}");

        assert_eq!(first.join().unwrap(), (200, "one: slept\n".to_owned()));
        assert_eq!(second.join().unwrap(), (200, "two: slept\n".to_owned()));
    });
    for deploy in app.deploys() {
        let deploy = app.wait_for_end(deploy["id"].as_i64().unwrap());
        let rows = phases(&deploy);
        assert!(
            rows.iter().all(|(_, status)| status != "failed"),
            "{rows:?}"
        );
        assert_eq!(rows.last().unwrap().0, "retire");
    }
    app.serves("three");
    let id = app.newest()["id"].to_string();
    let log = world.windlass(&["deploy", "log", &id]).ok();
    assert!(log.contains("still run in deploy 2"), "{log}");
    asking.all_good(50);
}

#[test]
fn a_server_killed_during_a_drain_behind_a_finished_push_takes_it_up_again() {
    let world = World::new();
    let app = patient(&world);
    let asking = Asking::begin(&world, &app.domain);
    std::thread::scope(|scope| {
        let first = slow(scope, &app);
        app.version("two");
        assert!(app.push().last().starts_with("LIVE"));
        let two = app.wait_for_phase("drain");
        world.kill_server();
        world.start();
        // The next push waits as little for it as before.
        app.version("three");
        let push = app.push();
        assert!(push.last().starts_with("LIVE"), "{}", push.output);
        assert!(!first.is_finished());
        assert!(world.deploy(two)["finished_at"].is_null());
        assert_eq!(first.join().unwrap(), (200, "one: slept\n".to_owned()));
        let two = app.wait_for_end(two);
        assert_eq!(two["status"], "retired");
        let rows = phases(&two);
        let end: Vec<_> = rows[rows.len() - 3..]
            .iter()
            .map(|(phase, status)| format!("{phase}:{status}"))
            .collect();
        assert_eq!(end, ["drain:failed", "drain:ok", "retire:ok"]);
    });
    app.wait_for_end(app.newest()["id"].as_i64().unwrap());
    app.serves("three");
    asking.all_good(50);
}

#[test]
fn an_app_is_destroyed_at_once_though_an_old_container_drains() {
    let world = World::new();
    let app = patient(&world);
    std::thread::scope(|scope| {
        let first = slow(scope, &app);
        app.version("two");
        assert!(app.push().last().starts_with("LIVE"));
        app.wait_for_phase("drain");
        world.windlass(&["app", "destroy", "shop", "--yes"]).ok();
        assert!(!first.is_finished() || first.join().unwrap().0 != 200);
        assert_eq!(app.containers(), Vec::<String>::new());
    });
    assert_eq!(world.json(&["app", "list"]), serde_json::json!([]));
}

#[test]
fn verify_gets_no_answer_of_the_old_container_and_the_numbers_add_up() {
    let world = World::new();
    let app = patient(&world);
    let mut verified = Vec::new();
    for number in 1..=6 {
        let _ = std::fs::remove_file(app.work.join(format!("only-{}", number - 1)));
        let only = format!("only-{number}");
        app.write(&only, "here\n");
        let path = format!("[verify]\npath = \"/file/{only}\"");
        let quick = MANIFEST.replace("min_healthy = \"1s\"", "min_healthy = \"0s\"");
        app.write("windlass.toml", &quick.replace("[verify]", &path));
        app.version(&only);
        let push = app.push();
        let deploy = app.went_live(&push, &only);
        // The old container answers 404 there.
        push.says(&format!("/file/{only} answers 200"));
        assert!(!push.output.contains("answers 404"), "{}", push.output);

        let ms = |value: &Value| value.as_u64().unwrap();
        let rows = deploy["phases"].as_array().unwrap();
        let verify = rows
            .iter()
            .position(|row| row["phase"] == "verify")
            .unwrap();
        verified.push(ms(&rows[verify]["duration_ms"]));
        let to_live: u64 = rows[..=verify]
            .iter()
            .map(|row| ms(&row["duration_ms"]))
            .sum();
        let all: u64 = rows.iter().map(|row| ms(&row["duration_ms"])).sum();
        let at = |field: &str| {
            let text = deploy[field].as_str().unwrap();
            windlass::domain::Timestamp::parse(text).unwrap().millis()
        };
        let waited = (at("started_at") - at("queued_at")) as u64;
        assert_eq!(ms(&deploy["live_ms"]), waited + to_live, "{deploy:#}");
        assert_eq!(ms(&deploy["duration_ms"]), all, "{deploy:#}");

        // One time, wherever one is shown.
        let said = push.last().rsplit(", ").next().unwrap().to_owned();
        let id = deploy["id"].to_string();
        let list = world.windlass(&["deploys", "shop", "--limit", "1"]).ok();
        assert!(
            list.lines().last().unwrap().ends_with(&said),
            "{said} in {list}"
        );
        let one = world.windlass(&["deploy", "show", &id]).ok();
        assert!(
            one.contains(&format!("live after {said}")),
            "{said} in {one}"
        );
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            push.output
                .lines()
                .any(|line| words(line).ends_with(&format!("total {said}"))),
            "{said} in {}",
            push.output
        );
    }
    // An older Caddy is given 1.1 s to look the name up anew; this one needs none.
    assert!(verified.iter().min().unwrap() < &1000, "{verified:?}");
}
