//! The engine as a whole: it hangs, or is away. What needs no engine answers all the same, and what
//! does says so.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::app::{App, MANIFEST};
use crate::browser::first_password;
use crate::load::Asking;
use crate::proxy::{Fault, Proxy};
use crate::world::{World, run, wait_for};

/// What waits for the engine waits longer: its time limit is a minute here, and a candidate's eight seconds.
const SOON: Duration = Duration::from_secs(6);

/// A world whose server reaches the engine through the proxy only, and waits for it as `timeout` says.
pub fn world(proxy: &Proxy, timeout: &str) -> World {
    let docker = format!(
        "[docker]\nsocket = {:?}\ntimeout = \"{timeout}\"\n",
        proxy.socket()
    );
    World::changed(|config| config.replace("[docker]\n", &docker))
}

/// What it gives, if it comes soon.
fn soon<T>(what: &str, ask: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let answer = ask();
    assert!(began.elapsed() < SOON, "{what} took {:?}", began.elapsed());
    answer
}

/// Somebody who has logged in to the dashboard.
pub struct Visitor<'w> {
    world: &'w World,
    jar: String,
}

impl<'w> Visitor<'w> {
    pub fn log_in(world: &'w World) -> Self {
        let visitor = Self {
            world,
            jar: world.home.with_file_name("cookies").display().to_string(),
        };
        let form = format!("name=admin&password={}", first_password(world));
        assert_eq!(visitor.asks("/login", &["-d", &form]).0, 303);
        visitor
    }

    pub fn asks(&self, path: &str, more: &[&str]) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
        ]);
        curl.args(["-b", &self.jar, "-c", &self.jar]).args(more);
        let page = run(curl.arg(format!("http://127.0.0.1:{}{path}", self.world.listen))).ok();
        let (page, status) = page.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), page.to_owned())
    }
}

/// Everything that reads answers soon, and says that nobody knows what runs.
fn reading_goes_on(world: &World, visitor: &Visitor, app: &App, deploy: i64) {
    let list = soon("app list", || world.json(&["app", "list"]));
    assert_eq!(list[0]["status"], "unknown", "{list:#}");
    let shown = soon("app show", || world.json(&["app", "show", &app.name]));
    assert_eq!(shown["status"], "unknown", "{shown:#}");
    assert_eq!(shown["live"]["id"], deploy);
    soon("deploys", || world.json(&["deploys", &app.name]));
    soon("deploy log", || {
        world.windlass(&["deploy", "log", &deploy.to_string()]).ok()
    });
    soon("env list", || {
        world.windlass(&["env", "list", &app.name]).ok()
    });
    soon("logs", || world.windlass(&["logs", &app.name]).ok());
    for path in [
        "/".into(),
        format!("/apps/{}", app.name),
        format!("/apps/{}/deploys/{deploy}", app.name),
    ] {
        let (status, page) = soon(&path, || visitor.asks(&path, &[]));
        assert!(
            status == 200 && page.contains(&app.name),
            "{path}: {status}: {page}"
        );
    }
}

#[test]
fn while_the_engine_hangs_everything_that_reads_answers_and_the_site_serves() {
    let proxy = Proxy::docker();
    let world = world(&proxy, "1m");
    let app = world.app("shop");
    app.version("one");
    let deploy = app.went_live(&app.push(), "one")["id"].as_i64().unwrap();
    let visitor = Visitor::log_in(&world);
    let asking = Asking::begin(&world, &app.domain);

    proxy.hang();
    reading_goes_on(&world, &visitor, &app, deploy);
    // A push is taken, waits for the engine, and can be cancelled.
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("build");
    let began = Instant::now();
    world.windlass(&["deploy", "cancel", &id.to_string()]).ok();
    let ended = app.wait_for_end(id);
    assert!(
        began.elapsed() < SOON,
        "cancelled after {:?}",
        began.elapsed()
    );
    assert_eq!(ended["status"], "cancelled", "{ended:#}");
    assert!(
        push.end()
            .last()
            .starts_with(&format!("CANCELLED  deploy {id}"))
    );

    proxy.recover();
    wait_for("everything is known again", Duration::from_secs(15), || {
        (world.json(&["app", "show", "shop"])["status"] == "serving").then_some(())
    });
    app.went_live(&app.push(), "two");
    asking.all_good(50);
}

#[test]
fn while_the_engine_is_away_a_push_fails_and_says_so() {
    let proxy = Proxy::docker();
    let world = world(&proxy, "1m");
    let app = world.app("shop");
    app.version("one");
    let deploy = app.went_live(&app.push(), "one")["id"].as_i64().unwrap();
    let visitor = Visitor::log_in(&world);
    let asking = Asking::begin(&world, &app.domain);

    proxy.leave();
    reading_goes_on(&world, &visitor, &app, deploy);
    app.version("two");
    let push = app.push();
    let failed = app.newest();
    assert_eq!(
        (&failed["status"], &failed["failure"]["phase"]),
        (&"failed".into(), &"build".into())
    );
    push.says("cannot be reached")
        .says(&format!("deploy {deploy} is still serving"));
    assert_ne!(app.branch(), Some(app.head()), "the same push tries again");

    // A server that starts now serves its pages, and waits for the engine.
    assert_eq!(world.stop_server(), 0);
    world.start();
    reading_goes_on(&world, &visitor, &app, deploy);
    proxy.recover();
    wait_for("everything is known again", Duration::from_secs(15), || {
        (world.json(&["app", "show", "shop"])["status"] == "serving").then_some(())
    });
    app.went_live(&app.push(), "two");
    asking.all_good(50);
}

/// Cancels a deploy while this call of it hangs.
fn cancelled_in(proxy: &Proxy, app: &App, phase: &str, kind: &str, nth: usize) {
    let trap = proxy.trap(&app.name, kind, nth, Fault::Hang);
    app.version(&format!("{phase} {kind}"));
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase(phase);
    // It stands in that call: nothing else is asked of the engine any more.
    wait_for("the call hangs", Duration::from_secs(20), || {
        trap.reached().then_some(())
    });
    let began = Instant::now();
    app.world
        .windlass(&["deploy", "cancel", &id.to_string()])
        .ok();
    let ended = app.wait_for_end(id);
    assert!(
        began.elapsed() < SOON,
        "{phase}, {kind}: cancelled after {:?}",
        began.elapsed()
    );
    let failure = (&ended["status"], &ended["failure"]["phase"]);
    assert_eq!(failure, (&"cancelled".into(), &phase.into()), "{ended:#}");
    assert!(
        push.end()
            .last()
            .starts_with(&format!("CANCELLED  deploy {id}"))
    );
    proxy.disarm(&trap);
    wait_for("nothing of it is left", Duration::from_secs(10), || {
        (app.containers().len() == 1).then_some(())
    });
}

#[test]
fn a_deploy_whose_call_hangs_can_be_cancelled_at_once() {
    let proxy = Proxy::docker();
    let world = world(&proxy, "1m");
    let app = world.app("kiwi");
    let gate = "[[gates]]\nname = \"quick\"\nrun = [\"true\"]\n";
    app.manifest(gate);
    let dockerfile = include_str!("app/Dockerfile");
    app.write(
        "Dockerfile",
        &format!("{dockerfile}HEALTHCHECK --interval=1h CMD true\n"),
    );
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);
    for (phase, kind, nth) in [
        ("build", "POST /build", 1),
        ("gate:quick", "GET /images/{}/json", 1),
        ("gate:quick", "POST /containers/create", 1),
        ("gate:quick", "POST /containers/{}/start", 1),
        ("gate:quick", "DELETE /containers/{}", 1),
        ("start", "GET /images/{}/json", 2),
        ("start", "POST /containers/create", 2),
        ("start", "POST /containers/{}/start", 2),
        ("health", "POST /containers/{}/exec", 1),
    ] {
        cancelled_in(&proxy, &app, phase, kind, nth);
    }
    app.serves("one");
    app.version("two");
    app.went_live(&app.push(), "two");
    asking.all_good(50);
}

#[test]
fn a_deploy_that_is_cancelled_after_its_swap_is_swapped_back() {
    let proxy = Proxy::docker();
    let world = world(&proxy, "6s");
    let app = world.app("kiwi");
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
    // The third rename is the first of those that swap back.
    let trap = proxy.trap(&app.name, "POST /containers/{}/rename", 1, Fault::Hang);
    world.windlass(&["deploy", "cancel", &id.to_string()]).ok();
    let ended = app.wait_for_end(id);
    assert!(trap.sprung());
    assert_eq!(ended["status"], "cancelled", "{ended:#}");
    assert!(
        push.end()
            .last()
            .starts_with(&format!("CANCELLED  deploy {id}"))
    );
    wait_for("all is in order", Duration::from_secs(10), || {
        (app.containers().len() == 1 && app.get("/").1 == "one\n").then_some(())
    });
    app.serves("one");
    asking.all_good(50);
}

#[test]
fn an_app_is_made_and_removed_whatever_becomes_of_a_call() {
    let proxy = Proxy::docker();
    let world = world(&proxy, "5s");
    let networks = world.networks();
    let (create, connect) = ("POST /networks/create", "POST /networks/{}/connect");
    let (disconnect, remove) = ("POST /networks/{}/disconnect", "DELETE /networks/{}");
    for (kind, fault) in [
        (create, Fault::Error),
        (create, Fault::Lost),
        (create, Fault::Late(4000)),
        (connect, Fault::Error),
        (connect, Fault::Lost),
        (disconnect, Fault::Error),
        (remove, Fault::Error),
        (remove, Fault::Lost),
    ] {
        let trap = proxy.trap("", kind, 1, fault);
        let made = world.windlass(&["app", "create", "shop"]);
        let listed = world.json(&["app", "list"]).as_array().unwrap().len();
        assert_eq!(
            listed,
            usize::from(made.code == 0),
            "{kind} {fault:?}: {made:?}"
        );
        if made.code != 0 {
            assert!(
                made.stderr.contains("the Docker engine could not"),
                "{made:?}"
            );
            assert!(trap.sprung());
            world.windlass(&["app", "create", "shop"]).ok();
        }
        world.windlass(&["app", "destroy", "shop", "--yes"]);
        wait_for(
            &format!("{kind} {fault:?}: the app is gone"),
            Duration::from_secs(15),
            || (world.json(&["app", "list"]) == serde_json::json!([])).then_some(()),
        );
        assert!(trap.sprung(), "{kind} {fault:?}");
        assert_eq!(world.networks(), networks, "{kind} {fault:?}");
    }
}
