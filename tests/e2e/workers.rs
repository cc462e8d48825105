//! What runs beside `web`: replaced with each deploy, taken back with each that fails, and there again
//! whatever happens to it.

use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::load::Asking;
use crate::world::{World, docker, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// A worker that can be told to be quiet, and one that must not run twice.
const TWO: &str = r#"
[processes.single]
command = ["python", "worker.py"]
order = "stop-first"
min_healthy = "500ms"
stop_signal = "INT"

[processes.worker]
command = ["python", "worker.py"]
replicas = 2
quiet = { signal = "TSTP" }
unquiet = { signal = "CONT" }
min_healthy = "500ms"
health = { run = ["test", "-f", "version.txt"] }
"#;

fn live<'w>(world: &'w World, more: &str) -> App<'w> {
    let app = world.app("shop");
    app.manifest(more);
    app.version("one");
    app.went_live(&app.push(), "one");
    app
}

fn ps(app: &App) -> Vec<Value> {
    let all = app.world.json(&["ps", &app.name]);
    all.as_array().unwrap().clone()
}

/// What runs, as `worker.1 of 3`; only what does, and is of the live release.
fn running(app: &App) -> Vec<String> {
    let live = |one: &&Value| one["state"] == "running" && one["part"] == "live";
    let name = |one: &Value| {
        let process = one["process"].as_str().unwrap();
        format!("{process}.{} of {}", one["replica"], one["release"])
    };
    ps(app).iter().filter(live).map(name).collect()
}

/// All that a process has printed, oldest first.
fn printed(app: &App, process: &str) -> Vec<String> {
    let out = app.world.windlass(&[
        "logs",
        &app.name,
        "--process",
        process,
        "--tail",
        "1000",
        "--json",
    ]);
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let lines = out.ok();
    let mut lines: Vec<Value> = lines.lines().map(line).collect();
    assert!(lines.iter().all(|line| line["process"] == process));
    lines.sort_by_key(|line| line["at"].as_str().unwrap().to_owned());
    let text = |line: &Value| line["text"].as_str().unwrap().to_owned();
    lines.iter().map(text).collect()
}

fn id_of(app: &App, ends: &str) -> String {
    let named = app.containers().into_iter().find(|n| n.ends_with(ends));
    let name = named.unwrap_or_else(|| panic!("no container {ends}: {:?}", app.containers()));
    docker(&["inspect", "-f", "{{.Id}}", &name]).ok()
}

fn all_of(release: i64) -> Vec<String> {
    ["web.1", "single.1", "worker.1", "worker.2"]
        .iter()
        .map(|replica| format!("{replica} of {release}"))
        .collect()
}

#[test]
fn a_deploy_replaces_the_processes_and_the_old_ones_end_behind_it() {
    let world = World::new();
    let app = live(&world, TWO);
    assert_eq!(running(&app), all_of(1));
    let asking = Asking::begin(&world, &app.domain);
    app.version("two");
    let push = app.push();
    push.says("worker.1 of deploy 1 takes no new work")
        .says("single.1 of deploy 1 has ended")
        .says("worker.2 holds");
    let deploy = app.went_live(&push, "two");
    let phases = App::phases(&deploy).join(" ");
    assert!(
        phases.contains("swap:ok workers:ok verify:ok drain:ok retire:ok"),
        "{phases}"
    );
    assert_eq!(running(&app), all_of(2));
    assert_eq!(app.containers().len(), 4, "{:?}", app.containers());
    // Never two at once: the old one's last word comes before the new one's first.
    let single = [
        "one single.1 begins",
        "one single.1 says goodbye",
        "two single.1 begins",
    ];
    assert_eq!(printed(&app, "single"), single);
    let mut worker = printed(&app, "worker");
    worker.retain(|line| line.contains("worker.2"));
    let both = [
        "one worker.2 begins",
        "one worker.2 is quiet",
        "two worker.2 begins",
        "one worker.2 says goodbye",
    ];
    assert_eq!(worker, both);
    let text = world.windlass(&["logs", "shop", "--tail", "1000"]).ok();
    assert!(text.contains("worker.2  two worker.2 begins"), "{text}");

    let text = world.windlass(&["ps", "shop"]).ok();
    assert!(
        text.starts_with("PROCESS") && text.contains("worker.2"),
        "{text}"
    );
    let worker = &ps(&app)[2];
    assert_eq!(worker["release"], 2);
    assert!(worker["memory_bytes"].as_u64() > Some(100_000), "{worker}");
    let unknown = world.windlass(&["logs", "shop", "--process", "wroker"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("there is web, single, worker"),
        "{unknown:?}"
    );

    // What a release no longer has ends with the one before.
    app.write("windlass.toml", crate::app::MANIFEST);
    app.version("three");
    app.went_live(&app.push(), "three");
    assert_eq!(running(&app), ["web.1 of 3"]);
    assert_eq!(app.containers().len(), 1);
    // And is back with a revert.
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.wait_for_drains();
    assert_eq!(running(&app), all_of(4));
    asking.all_good(50);
}

#[test]
fn a_worker_that_does_not_stay_up_takes_the_deploy_back() {
    let world = World::new();
    let app = live(&world, TWO);
    let old = ["_worker_1", "_worker_2", "_single_1"].map(|ends| id_of(&app, ends));
    let asking = Asking::begin(&world, &app.domain);
    app.manifest(
        &TWO.replace("replicas = 2", "replicas = 1")
            .replacen("500ms", "3s", 1)
            .replacen("\"worker.py\"]", "\"worker.py\", \"0.5\"]", 1),
    );
    app.version("two");
    let push = app.push();
    let deploy = app.failed(
        &push,
        "workers",
        "single.1 ended with exit status 1",
        Some("one"),
    );
    let why = deploy["failure"]["message"].as_str().unwrap();
    assert!(why.contains("no work today"), "{why}");
    assert_eq!(running(&app), all_of(1));
    // The very containers of before, and those that were told to be quiet take work.
    let now = ["_worker_1", "_worker_2", "_single_1"].map(|ends| id_of(&app, ends));
    assert_eq!(now, old);
    wait_for("the queue is served", SOON, || {
        let lines = printed(&app, "worker");
        let mut said = lines.iter().filter(|line| line.starts_with("one worker.1"));
        (said.next_back()? == "one worker.1 takes work").then_some(())
    });
    wait_for("the single one runs again", SOON, || {
        let said = printed(&app, "single");
        let begun = said.iter().filter(|line| *line == "one single.1 begins");
        (begun.count() == 2).then_some(())
    });
    asking.all_good(50);
}

#[test]
fn a_release_that_verify_refuses_leaves_no_queue_quiet() {
    let world = World::new();
    // Without a word for it, a quiet worker is started anew.
    let lazy = TWO.replace("unquiet = { signal = \"CONT\" }\n", "");
    let app = live(&world, &lazy);
    let asking = Asking::begin(&world, &app.domain);
    let verify = crate::app::MANIFEST.replace("[verify]", "[verify]\npath = \"/status/500\"");
    app.write("windlass.toml", &format!("{verify}\n{lazy}"));
    app.version("two");
    app.failed(&app.push(), "verify", "answers 500", Some("one"));
    assert_eq!(running(&app), all_of(1));
    wait_for("the queue is served", SOON, || {
        let lines = printed(&app, "worker");
        let said = lines.iter().filter(|line| line.starts_with("one worker.1"));
        let said: Vec<&str> = said.map(|line| &line["one worker.1 ".len()..]).collect();
        (said == ["begins", "is quiet", "says goodbye", "begins"]).then_some(())
    });
    asking.all_good(50);
}

/// Kills the server once `seen` is among what a deploy's log says.
fn killed_when(seen: &str, slow: &str) {
    let world = World::new();
    let app = live(&world, TWO);
    let asking = Asking::begin(&world, &app.domain);
    app.manifest(&TWO.replace("500ms", slow));
    app.version("two");
    let push = app.begin_push(&["main"]);
    push.wait_for(seen);
    world.kill_server();
    world.start();
    let push = push.end();
    assert!(push.last().starts_with("INTERRUPTED"), "{}", push.output);
    app.in_order("one", SOON);
    wait_for("the old ones run", SOON, || {
        (running(&app) == all_of(1) && app.containers().len() == 4).then_some(())
    });
    wait_for("no queue is quiet", SOON, || {
        let lines = printed(&app, "worker");
        let last = |replica: &str| {
            let own = |line: &&String| line.starts_with(&format!("one worker.{replica}"));
            lines
                .iter()
                .rfind(own)
                .is_some_and(|line| line.ends_with("takes work") || line.ends_with("begins"))
        };
        (last("1") && last("2")).then_some(())
    });
    app.manifest(TWO);
    app.version("three");
    app.went_live(&app.push(), "three");
    assert_eq!(running(&app), all_of(3));
    asking.all_good(50);
}

#[test]
fn killed_once_the_old_workers_are_quiet() {
    killed_when("takes no new work", "30s");
}

#[test]
fn killed_while_the_new_workers_are_proved() {
    killed_when("worker.2 of deploy 2 has begun", "30s");
}

#[test]
fn a_worker_that_somebody_takes_away_comes_back() {
    let world = World::new();
    let app = live(&world, TWO);
    let before = id_of(&app, "_worker_2");
    docker(&["rm", "-f", before.trim()]).ok();
    wait_for("it is there again", SOON, || {
        (running(&app) == all_of(1)).then_some(())
    });
    assert_ne!(id_of(&app, "_worker_2"), before);
    docker(&["stop", id_of(&app, "_single_1").trim()]).ok();
    wait_for("it runs again", SOON, || {
        (running(&app) == all_of(1)).then_some(())
    });
    // Also while the server is away.
    world.stop_server();
    docker(&["rm", "-f", id_of(&app, "_worker_1").trim()]).ok();
    world.start();
    wait_for("it is there again", SOON, || {
        (running(&app) == all_of(1)).then_some(())
    });
    world.windlass(&["restart", "shop", "--wait"]).ok();
    app.wait_for_drains();
    assert_eq!(running(&app), all_of(2));
    world.windlass(&["app", "destroy", "shop", "--yes"]).ok();
    assert_eq!(app.containers(), Vec::<String>::new());
}

#[test]
fn a_procfile_says_what_the_manifest_does_not() {
    let world = World::new();
    let app = world.app("shop");
    let procfile = "# as elsewhere\nweb: python app.py --port $PORT\nrelease: test -f version.txt && echo ready\nworker: python worker.py\n";
    app.write("Procfile", procfile);
    app.version("one");
    let push = app.push();
    push.says("from the Procfile: web, release, as a gate, worker");
    let deploy = app.went_live(&push, "one");
    assert!(App::phases(&deploy).contains(&"gate:release:ok".to_owned()));
    assert_eq!(running(&app), ["web.1 of 1", "worker.1 of 1"]);
    app.version("two");
    app.went_live(&app.push(), "two");
    // Its signal reached it, not a shell in front of it.
    let said = printed(&app, "worker");
    assert!(
        said.contains(&"one worker.1 says goodbye".to_owned()),
        "{said:?}"
    );
    app.write("Procfile", "web python app.py\n");
    app.version("three");
    app.failed(
        &app.push(),
        "checkout",
        "line 1 of the Procfile",
        Some("two"),
    );
}
