//! The engine goes away, hangs, loses its DNS and comes back; the machine restarts. Each test has an
//! engine of its own, [`OwnEngine`], since others share the machine's.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::app::{App, MANIFEST};
use crate::load::{Asking, Failure};
use crate::own_engine::{Containers, OwnEngine};
use crate::world::{World, run, wait_for};

/// How soon everything is in order once the engine and the server are back, on a busy machine.
const SOON: Duration = Duration::from_secs(45);
/// How soon a command answers though the engine does not.
const AT_ONCE: Duration = Duration::from_secs(15);

/// An app with a first release, live.
fn live<'w>(world: &'w World, name: &str) -> App<'w> {
    let app = world.app(name);
    app.version("one");
    app.went_live(&app.push(), "one");
    app
}

/// Takes the work tree back to the commit before.
fn undo(app: &App) {
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
}

fn takes_a_while_in(app: &App, phase: &str) {
    match phase {
        "build" => {
            let docker = include_str!("app/Dockerfile");
            app.write(
                "Dockerfile",
                &docker.replace("EXPOSE", "RUN sleep 60\nEXPOSE"),
            );
        }
        "health" => app.manifest_with(
            "min_healthy = \"1s\"\ndeadline = \"8s\"",
            "min_healthy = \"8s\"\ndeadline = \"90s\"",
        ),
        "verify" => app.manifest_with(
            "[verify]\ntimeout = \"4s\"",
            "[verify]\npath = \"/slow/8\"\ntimeout = \"60s\"",
        ),
        _ => {}
    }
}

/// Takes the engine away for two seconds, again and again, and knows when visitors were refused: while
/// it starts, the engine takes its rules for Caddy's ports away and makes them anew.
struct Away<'e> {
    engine: &'e OwnEngine,
    starts: RefCell<Vec<RangeInclusive<Instant>>>,
}

impl<'e> Away<'e> {
    fn new(engine: &'e OwnEngine) -> Self {
        Self {
            engine,
            starts: RefCell::default(),
        }
    }

    fn and_back(&self, asking: &Asking) {
        self.engine.stop();
        let before = asking.answered();
        sleep(Duration::from_secs(2));
        assert!(asking.answered() > before + 10, "visitors notice nothing");
        self.back();
    }

    fn back(&self) {
        let began = Instant::now();
        self.engine.start();
        self.starts.borrow_mut().push(began..=Instant::now());
    }

    /// Whether a request failed because of the engine's rules.
    fn explains(&self, failure: &Failure) -> bool {
        failure.refused
            && self
                .starts
                .borrow()
                .iter()
                .any(|start| start.contains(&failure.begun))
    }
}

#[test]
fn restarted_while_containers_go_on() {
    let engine = OwnEngine::take(Containers::GoOn);
    let world = World::with_engine(&engine);
    let app = live(&world, "shop");
    let asking = Asking::begin(&world, &app.domain);
    let away = Away::new(&engine);

    away.and_back(&asking);
    app.in_order("one", SOON);

    // A build ends with its engine.
    takes_a_while_in(&app, "build");
    app.version("never");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("build");
    away.and_back(&asking);
    let push = push.end();
    app.in_order("one", SOON);
    app.failed(&push, "build", "Docker engine", Some("one"));
    undo(&app);

    // A candidate goes on, and so does its proof.
    takes_a_while_in(&app, "health");
    app.version("one and a half");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("health");
    away.and_back(&asking);
    app.went_live(&push.end(), "one and a half");
    app.write("windlass.toml", MANIFEST);

    // The public address is asked again until the engine has Caddy's ports back.
    takes_a_while_in(&app, "verify");
    app.version("two");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("verify");
    away.and_back(&asking);
    app.went_live(&push.end(), "two");
    app.write_slow_health();

    std::thread::scope(|scope| {
        app.version("three");
        let push = app.begin_push(&["main"]);
        app.wait_for_phase("health");
        let slow = scope.spawn(|| app.get("/slow/9"));
        app.wait_for_phase("drain");
        away.and_back(&asking);
        let push = push.end();
        assert_eq!(
            slow.join().unwrap().0,
            200,
            "what ran before the swap is finished"
        );
        app.in_order("three", SOON);
        app.went_live(&push, "three");
    });
    asking.all_good_but(100, |failure| away.explains(failure));
}

#[test]
fn killed_hanging_or_without_dns_it_is_missed_by_nobody() {
    let engine = OwnEngine::take(Containers::GoOn);
    let world = World::with_engine(&engine);
    let app = live(&world, "shop");
    let asking = Asking::begin(&world, &app.domain);
    let away = Away::new(&engine);

    engine.kill();
    let before = asking.answered();
    sleep(Duration::from_secs(2));
    assert!(
        asking.answered() > before + 10,
        "killed, it is not in the way"
    );
    away.back();
    app.in_order("one", SOON);

    let frozen = engine.freeze();
    let before = asking.answered();
    let began = Instant::now();
    wait_for("what runs is unknown", AT_ONCE, || {
        (world.json(&["app", "show", "shop"])["status"] == "unknown").then_some(())
    });
    world.windlass(&["app", "list"]).ok();
    assert!(
        began.elapsed() < AT_ONCE,
        "commands do not hang with it: {:?}",
        began.elapsed()
    );
    sleep(Duration::from_secs(2));
    assert!(
        asking.answered() > before + 10,
        "hanging, it is not in the way"
    );
    drop(frozen);
    app.in_order("one", SOON);

    let caddy = world.containers("windlass.role=caddy").remove(0);
    let deaf = |add: &str| {
        let mut rule = world.place.in_network_of(&caddy, "iptables");
        run(rule.args([add, "OUTPUT", "-d", "127.0.0.11", "-j", "DROP"])).ok();
    };
    deaf("-I");
    let before = asking.answered();
    sleep(Duration::from_secs(2));
    assert!(
        asking.answered() > before + 10,
        "without an answer to any name, the site serves"
    );
    app.version("two");
    app.went_live(&app.push(), "two");
    deaf("-D");
    asking.all_good_but(100, |failure| away.explains(failure));
}

#[test]
fn restarted_with_its_containers() {
    let engine = OwnEngine::take(Containers::Stop);
    let world = World::with_engine(&engine);
    let app = live(&world, "shop");

    engine.stop();
    assert_eq!(app.get("/").0, 0, "everything has stopped");
    engine.start();
    app.in_order("one", SOON);

    takes_a_while_in(&app, "verify");
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("verify");
    engine.stop();
    engine.start();
    let push = push.end();
    let deploy = app.wait_for_end(id);
    let serves = if deploy["status"] == "live" {
        "two"
    } else {
        "one"
    };
    app.in_order(serves, SOON);
    match serves {
        "two" => drop(app.went_live(&push, "two")),
        _ => {
            assert_eq!(
                (&deploy["status"], &deploy["failure"]["phase"]),
                (&"failed".into(), &"verify".into())
            );
            assert!(
                push.last().ends_with("deploy 1 is still serving"),
                "{}",
                push.output
            );
            // What was not good enough is not what the next commit stands on.
            undo(&app);
        }
    }
    assert!(world.server_runs(), "the server needed no restart");
    app.version("three");
    app.went_live(&app.push(), "three");
}

#[test]
fn while_it_is_away_everything_answers_and_says_so() {
    let engine = OwnEngine::take(Containers::GoOn);
    let world = World::with_engine(&engine);
    let app = live(&world, "shop");
    engine.stop();

    let quick = |args: &[&str]| {
        let began = Instant::now();
        let output = world.windlass(args);
        assert!(
            began.elapsed() < AT_ONCE,
            "{args:?} took {:?}",
            began.elapsed()
        );
        output
    };
    assert!(quick(&["app", "list"]).ok().contains("unknown"));
    assert!(quick(&["app", "show", "shop"]).ok().contains("unknown"));
    assert!(quick(&["deploys", "shop"]).ok().contains("live"));
    assert!(
        quick(&["logs", "shop", "--tail", "5"])
            .ok()
            .contains("one starts")
    );
    for refused in [
        &["app", "create", "other"][..],
        &["reload", "shop"],
        &["restart", "shop", "--wait"],
    ] {
        let output = quick(refused);
        assert_eq!(output.code, 1, "{output:?}");
        let said = output.stdout + &output.stderr;
        assert!(
            said.contains("Docker engine") && said.contains("cannot be reached"),
            "{refused:?}: {said}"
        );
    }
    app.version("two");
    let began = Instant::now();
    let push = app.push();
    assert!(
        began.elapsed() < AT_ONCE + AT_ONCE,
        "the push took {:?}",
        began.elapsed()
    );
    assert!(
        push.last().starts_with("FAILED in build"),
        "{}",
        push.output
    );
    push.says("Docker engine")
        .says("cannot be reached")
        .says("deploy 1 is still serving");
    let mut curl = world.place.command("curl");
    let page = format!("http://127.0.0.1:{}/login", world.listen);
    let page = run(curl.args([
        "-sS",
        "--max-time",
        "15",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &page,
    ]));
    assert_eq!(page.ok(), "200");

    // A server that starts now says what it misses, and does not wait for it.
    assert_eq!(world.stop_server(), 0);
    let began = Instant::now();
    world.start();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(quick(&["app", "list"]).ok().contains("unknown"));
    assert!(
        world.server_log().contains("cannot be reached"),
        "{}",
        world.server_log()
    );
    assert_eq!(app.get("/").0, 200, "it is not in the path of a request");

    engine.start();
    app.in_order("one", SOON);
    app.went_live(&app.push(), "two");
}

/// A machine restarts with three apps on it: one with two releases, one on another port, one plain.
struct Machine<'w> {
    apps: [App<'w>; 3],
}

impl<'w> Machine<'w> {
    fn with_apps(world: &'w World) -> Self {
        let apps = ["shop", "blog", "wiki"].map(|name| world.app(name));
        apps[1].manifest("[web]\nport = 9000\n");
        for app in &apps {
            app.version("one");
            app.went_live(&app.push(), "one");
        }
        apps[0].version("two");
        apps[0].went_live(&apps[0].push(), "two");
        Self { apps }
    }

    fn in_order(&self) {
        for (app, text) in self.apps.iter().zip(["two", "one", "one"]) {
            app.in_order(text, SOON);
        }
    }
}

#[test]
fn after_a_restart_of_the_machine_every_app_serves_again() {
    let engine = OwnEngine::take(Containers::Stop);
    let world = World::with_engine(&engine);
    let machine = Machine::with_apps(&world);

    // Shut down in order, and the engine is back first.
    world.kill_server();
    engine.stop();
    engine.start();
    world.start();
    machine.in_order();

    // The server is back first.
    world.kill_server();
    engine.stop();
    world.start();
    engine.start();
    machine.in_order();

    // Somebody stopped each container by hand: the engine then leaves it as it is.
    world.kill_server();
    for name in world.containers("windlass.home") {
        world.place.docker(&["stop", "-t", "1", &name]).ok();
    }
    engine.stop();
    engine.start();
    world.start();
    machine.in_order();

    // The power fails in the middle of a deploy.
    let shop = &machine.apps[0];
    takes_a_while_in(shop, "verify");
    shop.version("three");
    let push = shop.begin_push(&["main"]);
    let id = shop.wait_for_phase("verify");
    world.kill_server();
    engine.lose_power();
    engine.start();
    world.start();
    let deploy = shop.wait_for_end(id);
    assert_eq!(
        (&deploy["status"], &deploy["failure"]["phase"]),
        (&"interrupted".into(), &"verify".into())
    );
    assert!(push.end().last().starts_with("INTERRUPTED  "));
    machine.in_order();

    // And in the middle of one that has swapped nothing yet: it runs again by itself.
    undo(shop);
    takes_a_while_in(shop, "health");
    shop.version("four");
    let push = shop.begin_push(&["main"]);
    shop.wait_for_phase("health");
    world.kill_server();
    engine.lose_power();
    world.start();
    engine.start();
    wait_for("the deploy is taken up", SOON, || {
        (shop.newest()["attempts"] == 2).then_some(())
    });
    machine.apps[1].in_order("one", SOON);
    world
        .windlass(&["deploy", "cancel", &shop.newest()["id"].to_string()])
        .ok();
    push.end();
    machine.in_order();
}
