//! A power cut at the worst moments: the server is killed, and started again on the same home folder.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{App, MANIFEST};
use crate::load::Asking;
use crate::world::{World, wait_for};

/// Starts the server again: within ten seconds no deploy is open any more.
fn comes_back(world: &World, app: &App) -> Value {
    let began = Instant::now();
    world.start();
    wait_for("no deploy is open", Duration::from_secs(10).saturating_sub(began.elapsed()), || {
        let open = |d: &Value| d["status"] == "running" || d["status"] == "queued";
        let running = |d: &Value| d["phases"].as_array().unwrap().iter().any(|p| p["status"] == "running");
        (!app.deploys().iter().any(|deploy| open(deploy) || running(deploy))).then_some(())
    });
    app.newest()
}

/// Kills the server while a push is in `phase`; the push is then undone, and the same push works.
fn undone(phase: &str, prepare: impl FnOnce(&App)) {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);

    prepare(&app);
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase(phase);
    if phase == "verify" {
        // The new release has the live name and answers already; only the server can undo that.
        wait_for("the swap is seen", Duration::from_secs(10), || {
            app.get("/").1.contains("two").then_some(())
        });
    }
    world.kill_server();
    assert_eq!(app.get("/").0, 200, "without a server the site serves");
    let deploy = comes_back(&world, &app);
    assert_eq!((&deploy["id"], &deploy["status"]), (&id.into(), &"interrupted".into()), "{deploy:#}");
    assert_eq!(deploy["failure"]["phase"], phase);
    app.serves("one");
    let push = push.end();
    assert!(push.last().starts_with(&format!("INTERRUPTED  deploy {id}")), "{}", push.output);
    asking.all_good(50);

    app.went_live(&app.push(), "two");
}

#[test]
fn killed_during_a_build() {
    undone("build", |app| {
        let docker = include_str!("app/Dockerfile");
        app.write("Dockerfile", &docker.replace("EXPOSE", "RUN sleep 3\nEXPOSE"));
    });
}

#[test]
fn killed_during_the_health_phase() {
    undone("health", |app| app.write("windlass.toml", &MANIFEST.replace("\"1s\"", "\"4s\"")));
}

#[test]
fn killed_right_after_the_swap() {
    undone("verify", |app| {
        app.write("windlass.toml", &MANIFEST.replace("[verify]", "[verify]\npath = \"/slow/3\""));
    });
}

#[test]
fn killed_while_the_old_release_drains() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);

    app.version("two");
    std::thread::scope(|scope| {
        let push = app.begin_push(&["main"]);
        app.wait_for_phase("health");
        let slow = scope.spawn(|| app.get("/slow/9"));
        let id = app.wait_for_phase("drain");
        world.kill_server();
        let deploy = comes_back(&world, &app);
        assert_eq!((&deploy["id"], &deploy["status"]), (&id.into(), &"live".into()), "{deploy:#}");
        let push = push.end();
        assert!(push.last().starts_with("LIVE  "), "what was verified is finished: {}", push.output);
        assert_eq!(slow.join().unwrap(), (200, "one: slept\n".to_owned()));
    });
    app.serves("two");
    asking.all_good(50);
}

#[test]
fn stopped_in_the_middle_and_started_again() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);

    app.write("windlass.toml", &MANIFEST.replace("\"1s\"", "\"4s\""));
    app.version("two");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("health");
    app.version("three");
    let waiting = app.begin_push(&["main"]);
    wait_for("it is queued", Duration::from_secs(5), || (app.newest()["status"] == "queued").then_some(()));
    assert_eq!(world.stop_server(), 0);
    world.start();
    assert!(push.end().last().starts_with("INTERRUPTED  "));
    // What waited in the queue is in the database: it goes on.
    app.went_live(&waiting.end(), "three");
    asking.all_good(50);
}

#[test]
fn an_app_that_was_removed_behind_the_servers_back_is_told_as_down() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    crate::world::docker(&["rm", "-f", &app.live_container()]).ok();
    assert_eq!(world.json(&["app", "show", "shop"])["status"], "down");
    world.windlass(&["restart", "shop", "--wait"]).ok();
    app.serves("one");
}
