//! A power cut at the worst moments: the server is killed, and started again on the same home folder.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{App, MANIFEST};
use crate::kill::Rows;
use crate::load::Asking;
use crate::world::{World, wait_for};

/// Starts the server again: within ten seconds no deploy is open any more.
fn comes_back(world: &World, app: &App) -> Value {
    let began = Instant::now();
    world.start();
    wait_for(
        "no deploy is open",
        Duration::from_secs(10).saturating_sub(began.elapsed()),
        || {
            let open = |d: &Value| d["status"] == "running" || d["status"] == "queued";
            let running = |d: &Value| {
                d["phases"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|p| p["status"] == "running")
            };
            (!app
                .deploys()
                .iter()
                .any(|deploy| open(deploy) || running(deploy)))
            .then_some(())
        },
    );
    app.newest()
}

/// Kills the server while a push is in `phase`, twice if `again`.
fn killed_in(phase: &str, again: bool, prepare: impl FnOnce(&App)) {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);

    prepare(&app);
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase(phase);
    world.kill_server();
    assert_eq!(app.get("/").0, 200, "without a server the site serves");
    world.start();
    wait_for("the deploy is taken up", Duration::from_secs(10), || {
        (app.newest()["attempts"] == 2).then_some(())
    });
    if again {
        let begun = |p: &Value| p["phase"] == phase && p["status"] == "running";
        wait_for("it is there again", Duration::from_secs(20), || {
            app.newest()["phases"]
                .as_array()
                .unwrap()
                .iter()
                .any(begun)
                .then_some(())
        });
        world.kill_server();
        let deploy = comes_back(&world, &app);
        assert_eq!(
            (&deploy["id"], &deploy["status"]),
            (&id.into(), &"interrupted".into()),
            "{deploy:#}"
        );
        assert_eq!(deploy["failure"]["phase"], phase);
        let push = push.end();
        assert!(
            push.last()
                .starts_with(&format!("INTERRUPTED  deploy {id}")),
            "{}",
            push.output
        );
        push.says("for the second time");
        app.serves("one");
    } else {
        let push = push.end();
        push.says("the server stopped here")
            .says("this deploy runs again from its beginning");
        let deploy = app.went_live(&push, "two");
        assert_eq!(
            (&deploy["id"], &deploy["attempts"]),
            (&id.into(), &2.into())
        );
        let cut_off = format!("{phase}:failed");
        assert_eq!(
            App::phases(&deploy)
                .iter()
                .filter(|p| p.ends_with(":failed"))
                .collect::<Vec<_>>(),
            [&cut_off]
        );
    }
    asking.all_good(50);

    app.write("windlass.toml", MANIFEST);
    app.version("three");
    app.went_live(&app.push(), "three");
}

#[test]
fn killed_during_a_build_it_runs_again() {
    killed_in("build", false, |app| {
        let docker = include_str!("app/Dockerfile");
        app.write(
            "Dockerfile",
            &docker.replace("EXPOSE", "RUN sleep 3\nEXPOSE"),
        );
    });
}

#[test]
fn killed_twice_during_the_health_phase_it_is_given_up() {
    killed_in("health", true, |app| {
        app.write("windlass.toml", &MANIFEST.replace("\"1s\"", "\"4s\""))
    });
}

#[test]
fn a_cancel_outlives_the_server_that_was_asked() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");

    app.write(
        "extra.py",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
    );
    app.manifest_with(
        "min_healthy = \"1s\"\ndeadline = \"8s\"",
        "min_healthy = \"20s\"\ndeadline = \"60s\"",
    );
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("health");
    let mut cancel = world
        .command(&["deploy", "cancel", &id.to_string()])
        .spawn()
        .unwrap();
    // The candidate ignores SIGTERM, so the server is still at it for a second.
    let mut rows = Rows::open(&world);
    wait_for("the server knows", Duration::from_secs(5), || {
        rows.asked_to_cancel(id).then_some(())
    });
    world.kill_server();
    cancel.wait().unwrap();
    let deploy = comes_back(&world, &app);
    assert_eq!(
        (&deploy["id"], &deploy["status"]),
        (&id.into(), &"cancelled".into()),
        "{deploy:#}"
    );
    assert!(push.end().last().starts_with("CANCELLED  "));
    app.serves("one");
}

#[test]
fn destroying_an_app_goes_on_where_a_killed_server_left_it() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let mut destroy = world
        .command(&["app", "destroy", "shop", "--yes"])
        .spawn()
        .unwrap();
    wait_for("its container goes", Duration::from_secs(20), || {
        (app.containers().is_empty() || destroy.try_wait().unwrap().is_some()).then_some(())
    });
    world.kill_server();
    destroy.wait().unwrap();
    world.start();
    wait_for("it is gone", Duration::from_secs(10), || {
        world
            .json(&["app", "list"])
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
    wait_for("nothing is left of it", Duration::from_secs(10), || {
        (world.images().is_empty() && app.containers().is_empty()).then_some(())
    });
}

#[test]
fn killed_right_after_the_swap() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);

    app.write(
        "windlass.toml",
        &MANIFEST.replace("timeout = \"4s\"", "path = \"/slow/9\"\ntimeout = \"60s\""),
    );
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("verify");
    // The new release has the live name and answers already; only the server can undo that.
    wait_for("the swap is seen", Duration::from_secs(10), || {
        app.get("/").1.contains("two").then_some(())
    });
    world.kill_server();
    assert_eq!(app.get("/").0, 200, "without a server the site serves");
    let deploy = comes_back(&world, &app);
    assert_eq!(
        (&deploy["id"], &deploy["status"]),
        (&id.into(), &"interrupted".into()),
        "{deploy:#}"
    );
    assert_eq!(deploy["failure"]["phase"], "verify");
    app.serves("one");
    let push = push.end();
    assert!(
        push.last()
            .starts_with(&format!("INTERRUPTED  deploy {id}")),
        "{}",
        push.output
    );
    asking.all_good(50);
    app.went_live(&app.push(), "two");
}

#[test]
fn killed_while_the_old_release_drains() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);

    app.write_slow_health();
    app.version("two");
    std::thread::scope(|scope| {
        let push = app.begin_push(&["main"]);
        app.wait_for_phase("health");
        let slow = scope.spawn(|| app.get("/slow/9"));
        let id = app.wait_for_phase("drain");
        world.kill_server();
        let deploy = comes_back(&world, &app);
        assert_eq!(
            (&deploy["id"], &deploy["status"]),
            (&id.into(), &"live".into()),
            "{deploy:#}"
        );
        let push = push.end();
        assert!(
            push.last().starts_with("LIVE  "),
            "what was verified is finished: {}",
            push.output
        );
        assert_eq!(slow.join().unwrap(), (200, "one: slept\n".to_owned()));
    });
    wait_for("the old container is gone", Duration::from_secs(10), || {
        (app.containers().len() == 1).then_some(())
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
    // Its pusher knows that it is queued: one who does not is told that nobody knows.
    waiting.wait_for("Deploy 3 waits: deploy 2 of shop is running");
    assert_eq!(world.stop_server(), 0);
    world.start();
    // What waited in the queue is in the database and goes on; being newer it takes the other's place.
    assert!(push.end().last().starts_with("SUPERSEDED  "));
    app.went_live(&waiting.end(), "three");
    asking.all_good(50);
}

#[test]
fn a_live_container_that_somebody_removed_is_made_again() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    crate::world::docker(&["rm", "-f", &app.live_container()]).ok();
    wait_for("another takes its place", Duration::from_secs(10), || {
        (app.get("/").0 == 200).then_some(())
    });
    app.serves("one");
    app.version("two");
    app.went_live(&app.push(), "two");
}
