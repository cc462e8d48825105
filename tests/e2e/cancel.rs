//! A deploy ends when somebody says so, and when its time is up, in whatever phase it is.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{App, MANIFEST};
use crate::load::Asking;
use crate::world::{World, wait_for};

/// A gate that holds on and does not listen to SIGTERM.
const STUBBORN: &str = "[[gates]]\nname = \"hold\"\nrun = [\"python\", \"-c\", \"import signal, time; \
     signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)\"]\n";

/// Cancels a deploy: it ends at once, though what it waits for would take longer by far.
fn cancel(world: &World, app: &App, phase: &str) -> Value {
    let id = app.wait_for_phase(phase);
    let asked = Instant::now();
    world.windlass(&["deploy", "cancel", &id.to_string()]).ok();
    let took = asked.elapsed();
    assert!(
        took < Duration::from_secs(8),
        "the cancel in {phase} took {took:?}"
    );
    let deploy = world.deploy(id);
    assert_eq!(
        (&deploy["status"], &deploy["failure"]["phase"]),
        (&"cancelled".into(), &phase.into())
    );
    deploy
}

#[test]
fn a_cancel_ends_a_deploy_in_every_phase_and_after_the_swap_it_is_swapped_back() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);
    let dockerfile = include_str!("app/Dockerfile");

    let tried = |phase: &str, manifest: &str, dockerfile: &str| {
        app.write("windlass.toml", manifest);
        app.write("Dockerfile", dockerfile);
        app.version(phase);
        let push = app.begin_push(&["main"]);
        cancel(&world, &app, phase);
        let push = push.end();
        assert!(
            push.last().starts_with("CANCELLED  deploy "),
            "{}",
            push.output
        );
        assert!(
            push.last().ends_with("deploy 1 is still serving"),
            "{}",
            push.last()
        );
        wait_for("only what serves is left", Duration::from_secs(10), || {
            (app.containers().len() == 1 && world.images().len() == 1).then_some(())
        });
        app.serves("one");
    };
    tried(
        "build",
        MANIFEST,
        &dockerfile.replace("EXPOSE", "RUN sleep 60\nEXPOSE"),
    );
    tried("gate:hold", &format!("{MANIFEST}\n{STUBBORN}"), dockerfile);
    app.write(
        "extra.py",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
    );
    tried(
        "health",
        &MANIFEST
            .replace("/healthz", "/status/500")
            .replace("\"8s\"", "\"60s\"")
            .replace("\"5s\"", "\"30s\""),
        dockerfile,
    );
    app.write("extra.py", "");

    // From the swap on the old one takes over again first.
    app.write(
        "windlass.toml",
        &MANIFEST.replace(
            "timeout = \"4s\"",
            "path = \"/status/500\"\ntimeout = \"60s\"",
        ),
    );
    app.version("verify");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("verify");
    wait_for("the swap is seen", Duration::from_secs(10), || {
        app.get("/").1.contains("verify").then_some(())
    });
    world.windlass(&["deploy", "cancel", &id.to_string()]).ok();
    assert_eq!(world.deploy(id)["status"], "cancelled");
    push.end()
        .says("swapped back: deploy 1 serves again")
        .says("CANCELLED  deploy ");
    app.serves("one");

    // What is live is no longer to be cancelled, only reverted.
    app.write_slow_health();
    app.version("two");
    std::thread::scope(|scope| {
        let push = app.begin_push(&["main"]);
        app.wait_for_phase("health");
        let slow = scope.spawn(|| app.get("/slow/9"));
        let id = app.wait_for_phase("drain").to_string();
        let late = world.windlass(&["deploy", "cancel", &id]);
        assert!(
            late.code == 1 && late.stderr.contains("live already"),
            "{late:?}"
        );
        app.went_live(&push.end(), "two");
        assert_eq!(slow.join().unwrap().0, 200);
    });
    asking.all_good(100);
}

#[test]
fn a_deploy_has_its_time_and_waiting_for_other_builds_is_not_part_of_it() {
    let world = World::changed(|config| format!("deploy_timeout = \"8s\"\n{config}"));
    let (shop, blog) = (world.app("shop"), world.app("blog"));
    shop.version("one");
    shop.went_live(&shop.push(), "one");
    let dockerfile = include_str!("app/Dockerfile");

    shop.write("windlass.toml", &format!("{MANIFEST}\n{STUBBORN}"));
    shop.version("holds on");
    shop.failed(
        &shop.push(),
        "gate:hold",
        "longer than deploy_timeout = 8s",
        Some("one"),
    );

    // A build that takes longer than its deploy may; and one that waits behind it, and goes live.
    shop.write("windlass.toml", MANIFEST);
    shop.write(
        "Dockerfile",
        &dockerfile.replace("EXPOSE", "RUN sleep 60\nEXPOSE"),
    );
    shop.version("builds on");
    let long = shop.begin_push(&["main"]);
    shop.wait_for_phase("build");
    blog.version("waits");
    let push = blog.push();
    let live = blog.went_live(&push, "waits");
    push.says("waiting for another build to end");
    assert!(live["duration_ms"].as_u64().unwrap() > 8000, "{live:#}");
    shop.failed(
        &long.end(),
        "build",
        "longer than deploy_timeout = 8s",
        Some("one"),
    );
    assert_eq!(world.containers("windlass.role=gate"), Vec::<String>::new());
}
