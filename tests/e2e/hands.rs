//! What hands and accidents do to what Windlass made on the engine: Caddy gone, containers removed,
//! renamed, stopped, crashing, networks taken away, the clock set back. All of it is put in order
//! again by itself, and what a deploy says of itself stays true.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::app::{App, MANIFEST};
use crate::load::Asking;
use crate::world::{World, docker, run, wait_for};

/// How soon something is in order again, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn live<'w>(world: &'w World, name: &str) -> App<'w> {
    let app = world.app(name);
    app.version("one");
    app.went_live(&app.push(), "one");
    app
}

fn caddy(world: &World) -> String {
    world.containers("windlass.role=caddy").remove(0)
}

/// The container of the newest deploy, under that deploy's own name.
fn candidate(app: &App) -> String {
    let id = app.newest()["id"].to_string();
    let own = format!("_{}_d{id}", app.name);
    app.containers()
        .into_iter()
        .find(|name| name.ends_with(&own))
        .expect("a candidate")
}

/// Ends what runs in the app's live container, as a fault of its own would.
fn crash(app: &App) {
    docker(&[
        "exec",
        &app.live_container(),
        "python",
        "-c",
        "import os; os.kill(-1, 9)",
    ]);
}

#[test]
fn caddy_comes_back_with_every_route() {
    let world = World::new();
    let (shop, blog) = (live(&world, "shop"), live(&world, "blog"));
    let back = |after: &str| {
        wait_for(&format!("both apps answer after {after}"), SOON, || {
            (shop.get("/") == (200, "one\n".into()) && blog.get("/") == (200, "one\n".into()))
                .then_some(())
        });
    };
    for hand in [
        &["kill"][..],
        &["stop", "-t", "1"],
        &["rm", "-f"],
        &["pause"],
    ] {
        docker(&[hand, &[&caddy(&world)]].concat()).ok();
        back(hand[0]);
    }
    let network = world
        .networks()
        .into_iter()
        .find(|name| name.ends_with("_shop"))
        .unwrap();
    docker(&["network", "disconnect", "-f", &network, &caddy(&world)]).ok();
    back("disconnect");
    assert!(world.server_runs());
}

#[test]
fn a_deploy_goes_live_though_caddy_is_taken_away_in_any_phase() {
    let world = World::new();
    let app = live(&world, "shop");
    let patient = MANIFEST.replace("timeout = \"4s\"", "timeout = \"60s\"");
    for (phase, more) in [
        ("build", patient.clone()),
        (
            "health",
            patient.replace("min_healthy = \"1s\"", "min_healthy = \"4s\""),
        ),
        (
            "verify",
            patient.replace("[verify]", "[verify]\npath = \"/slow/5\""),
        ),
        ("drain", patient.replace("\"1s\"", "\"3s\"")),
    ] {
        app.write("windlass.toml", &more);
        app.version(phase);
        std::thread::scope(|scope| {
            let push = app.begin_push(&["main"]);
            if phase == "drain" {
                app.wait_for_phase("health");
                scope.spawn(|| app.get("/slow/9"));
            }
            app.wait_for_phase(phase);
            docker(&["rm", "-f", &caddy(&world)]).ok();
            let push = push.end();
            app.in_order(phase, SOON);
            app.went_live(&push, phase);
        });
    }
}

#[test]
fn whatever_hands_do_to_the_live_container_it_serves_again() {
    let world = World::new();
    let app = live(&world, "shop");

    // Requests follow an address: the name is not in their path.
    let asking = Asking::begin(&world, &app.domain);
    docker(&[
        "rename",
        &app.live_container(),
        &format!("renamed-{}", world.port),
    ])
    .ok();
    app.in_order("one", SOON);
    asking.all_good(10);

    for hand in [
        &["stop", "-t", "1"][..],
        &["kill"],
        &["rm", "-f"],
        &["pause"],
    ] {
        docker(&[hand, &[&app.live_container()]].concat()).ok();
        app.in_order("one", SOON);
    }

    app.version("two");
    app.went_live(&app.push(), "two");
    for times in 1..=3 {
        crash(&app);
        wait_for("it is back, and counted", SOON, || {
            let restarts = &world.json(&["app", "show", "shop"])["restarts"];
            (*restarts == times && app.get("/").0 == 200).then_some(())
        });
    }
    app.in_order("two", SOON);
    assert!(world.windlass(&["app", "show", "shop"]).ok().contains("3"));
}

/// The engine brings a container back that crashed. Without an address of its own it would get the
/// lowest that is free, and that is another one once a release before it is gone.
#[test]
fn an_app_that_crashes_while_the_server_is_away_is_found_again() {
    let world = World::new();
    let app = live(&world, "shop");
    app.version("two");
    app.went_live(&app.push(), "two");
    world.kill_server();
    crash(&app);
    wait_for(
        "the engine brings it back, and Caddy finds it",
        SOON,
        || (app.get("/").0 == 200).then_some(()),
    );
    world.start();
    app.in_order("two", SOON);
}

#[test]
fn a_container_that_is_removed_in_the_middle_of_its_deploy_ends_it_and_the_site_serves() {
    let world = World::new();
    let app = live(&world, "shop");
    let asking = Asking::begin(&world, &app.domain);

    app.write(
        "windlass.toml",
        &MANIFEST.replace("min_healthy = \"1s\"", "min_healthy = \"5s\""),
    );
    app.version("two");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("health");
    docker(&["rm", "-f", &candidate(&app)]).ok();
    app.failed(&push.end(), "health", "killed by SIGKILL", Some("one"));

    app.write(
        "windlass.toml",
        &MANIFEST.replace("timeout = \"4s\"", "path = \"/slow/9\"\ntimeout = \"60s\""),
    );
    app.version("three");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("verify");
    wait_for("the swap is seen", SOON, || {
        app.get("/").1.contains("three").then_some(())
    });
    let taken_at = Instant::now();
    docker(&["rm", "-f", &app.live_container()]).ok();
    let gone_at = Instant::now();
    app.failed(&push.end(), "verify", "killed by SIGKILL", Some("one"));

    app.write_slow_health();
    app.version("four");
    std::thread::scope(|scope| {
        let push = app.begin_push(&["main"]);
        app.wait_for_phase("health");
        let slow = scope.spawn(|| app.get("/slow/9"));
        app.wait_for_phase("drain");
        let old = app
            .containers()
            .into_iter()
            .find(|name| !name.ends_with("_live"))
            .unwrap();
        docker(&["rm", "-f", &old]).ok();
        app.went_live(&push.end(), "four");
        // Whoever removes a container cuts off who is in it; Caddy asks once more what is safe to ask.
        drop(slow.join().unwrap());
    });
    // The container that was removed in verify was serving, and cut off who was in it. Whoever began
    // before it was gone, and at most a second before, may have been.
    asking.all_good_but(50, |failure| {
        let second = Duration::from_secs(1);
        failure.begun + second > taken_at && failure.begun < gone_at && !failure.refused
    });
}

#[test]
fn an_app_whose_network_is_taken_away_gets_it_back() {
    let world = World::new();
    let app = live(&world, "shop");
    let network = world
        .networks()
        .into_iter()
        .find(|name| name.ends_with("_shop"))
        .unwrap();
    let take_away = || {
        for container in [app.live_container(), caddy(&world)] {
            docker(&["network", "disconnect", "-f", &network, &container]);
        }
        docker(&["network", "rm", &network]).code == 0
    };
    // The server is quick to connect them again.
    wait_for("the network is removed", SOON, || take_away().then_some(()));
    app.in_order("one", SOON);

    world.kill_server();
    assert!(take_away());
    world.start();
    app.in_order("one", SOON);
    app.version("two");
    app.went_live(&app.push(), "two");
}

/// How far the server's clock is from the true one. Only `windlass serve` sees it, and its monotonic
/// clock is left alone, as a system's is when its time is set.
struct Clock(std::path::PathBuf);

impl Clock {
    fn start(world: &World) -> Self {
        let list = run(Command::new("dpkg").args(["-L", "libfaketime"])).ok();
        let library = list
            .lines()
            .find(|path| path.ends_with("/libfaketimeMT.so.1"))
            .expect("libfaketime");
        let clock = Self(world.home.with_file_name("clock"));
        clock.set("+0");
        world.start_with(&[
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", clock.0.to_str().unwrap()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_NO_CACHE", "1"),
        ]);
        clock
    }

    fn set(&self, offset: &str) {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, format!("{offset}\n")).unwrap();
        std::fs::rename(beside, &self.0).unwrap();
    }
}

#[test]
fn a_clock_set_back_an_hour_confuses_nothing() {
    let world = World::idle();
    let clock = Clock::start(&world);
    let app = live(&world, "shop");
    let jar = world.home.with_file_name("cookies");
    let curl = |args: &[&str], path: &str| {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-b",
        ])
        .arg(&jar);
        run(curl
            .arg("-c")
            .arg(&jar)
            .args(args)
            .arg(format!("http://127.0.0.1:{}{path}", world.listen)))
        .ok()
    };
    let log = world.server_log();
    let password = log
        .split("with the password ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    curl(
        &["-d", &format!("name=admin&password={password}&next=")],
        "/login",
    );
    assert_eq!(curl(&[], "/apps/shop"), "200", "logged in");

    let sane = |id: i64| {
        let deploy = world.deploy(id);
        let took = |row: &serde_json::Value| row["duration_ms"].as_i64().expect("a duration");
        let whole = took(&deploy);
        let phases: i64 = deploy["phases"].as_array().unwrap().iter().map(took).sum();
        assert!(
            (0..120_000).contains(&whole) && phases <= whole + 1000,
            "{deploy:#}"
        );
    };

    // Between deploys, and then in the middle of one.
    clock.set("-1h");
    assert_eq!(curl(&[], "/apps/shop"), "200", "the session is still good");
    app.version("two");
    app.went_live(&app.push(), "two");
    clock.set("-30m");
    app.write(
        "windlass.toml",
        &MANIFEST.replace("min_healthy = \"1s\"", "min_healthy = \"3s\""),
    );
    app.version("three");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("health");
    clock.set("-90m");
    app.version("four");
    let next = app.begin_push(&["main"]);
    let push = push.end();
    assert!(push.last().starts_with("LIVE  "), "{}", push.output);
    app.went_live(&next.end(), "four");
    (1..=4).for_each(sane);

    let ids: Vec<i64> = app
        .deploys()
        .iter()
        .map(|deploy| deploy["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, [4, 3, 2, 1], "newest first");
    let retired: Vec<_> = app
        .deploys()
        .iter()
        .map(|deploy| deploy["status"].clone())
        .collect();
    assert_eq!(retired, ["live", "retired", "retired", "retired"]);
    let said = world.windlass(&["logs", "shop", "--since", "10m"]).ok();
    for text in ["one", "two", "three", "four"] {
        assert_eq!(
            said.matches(&format!("{text} starts")).count(),
            1,
            "nothing lost, nothing twice: {said}"
        );
    }
    assert_eq!(curl(&[], "/apps/shop/deploys/4"), "200");

    // Nor does a server whose clock is right again.
    world.kill_server();
    world.start();
    app.in_order("four", SOON);
    let again = world.windlass(&["logs", "shop", "--tail", "1000"]).ok();
    assert_eq!(again.matches("four starts").count(), 1, "{again}");
}
