//! Streams between Windlass and the engine that break off, or stop in their middle.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::build::{runs, sleeping};
use crate::outage::world;
use crate::proxy::{Fault, Proxy};
use crate::world::{World, wait_for};

const FOLLOW: &str = "GET /containers/{}/logs+follow";
const READ: &str = "GET /containers/{}/logs";

/// What a gate prints, line by line: more than comes before a stream is cut.
fn lines() -> Vec<String> {
    (1..=6)
        .map(|number| format!("line {number} of six {}", "x".repeat(300)))
        .collect()
}

/// A gate that prints those lines, one each 300 ms, and ends with `status`.
fn talkative(app: &App, status: u8) {
    let script = format!(
        "import sys, time\nfor line in {:?}:\n    print(line, flush=True)\n    time.sleep(0.3)\nsys.exit({status})\n",
        lines()
    );
    app.write("gate.py", &script);
    app.manifest(
        "[[gates]]\nname = \"talk\"\nrun = [\"python\", \"gate.py\"]\ntimeout = \"20s\"\n",
    );
}

fn gate_log(world: &World, app: &App) -> String {
    let id = app.newest()["id"].to_string();
    world
        .windlass(&["deploy", "log", &id, "--phase", "gate:talk"])
        .ok()
}

#[test]
fn a_gates_status_counts_and_its_output_is_whole_whatever_becomes_of_the_stream() {
    let proxy = Proxy::docker();
    let world = world(&proxy, "1m");
    let app = world.app("kiwi");
    talkative(&app, 0);
    app.version("zero");
    app.went_live(&app.push(), "zero");
    for fault in [
        Fault::Refuse,
        Fault::Error,
        Fault::Truncate,
        Fault::Stall,
        Fault::Hang,
    ] {
        let text = format!("{fault:?}");
        app.version(&text);
        let trap = proxy.trap(&app.name, FOLLOW, 1, fault);
        app.went_live(&app.push(), &text);
        assert!(trap.sprung(), "{fault:?}");
        let log = gate_log(&world, &app);
        for line in lines() {
            assert_eq!(
                log.matches(&line).count(),
                1,
                "{fault:?}: {line:?} in {log}"
            );
        }
    }

    talkative(&app, 3);
    app.version("red");
    let trap = proxy.trap(&app.name, FOLLOW, 1, Fault::Truncate);
    app.failed(&app.push(), "gate:talk", "exit status 3", Some("Hang"));
    assert!(trap.sprung());

    talkative(&app, 0);
    app.version("green");
    let traps = [(FOLLOW, Fault::Truncate), (READ, Fault::Error)]
        .map(|(kind, fault)| proxy.trap(&app.name, kind, 1, fault));
    app.went_live(&app.push(), "green");
    assert!(traps.iter().all(|trap| trap.sprung()));
    let log = gate_log(&world, &app);
    assert!(
        log.contains("some of its output could not be read"),
        "{log}"
    );
}

/// Engines before 26 answer a request for output only with the first line of it.
#[test]
fn a_gate_that_prints_nothing_for_longer_than_an_engines_call_may_take_passes() {
    let proxy = Proxy::docker();
    let world = world(&proxy, "5s");
    let app = world.app("kiwi");
    app.manifest("[[gates]]\nname = \"think\"\nrun = [\"sleep\", \"9\"]\n");
    app.version("thoughtful");
    app.went_live(&app.push(), "thoughtful");
}

#[test]
fn a_build_whose_stream_breaks_off_has_failed_and_one_that_stops_ends_at_its_timeout() {
    let proxy = Proxy::docker();
    let docker = format!("[docker]\nsocket = {:?}\n", proxy.socket());
    let build = "[build]\ntimeout = \"6s\"\n";
    let world = World::changed(|config| config.replace("[docker]\n", &docker) + build);
    let app = world.app("kiwi");
    app.version("one");
    app.went_live(&app.push(), "one");

    let sleep = sleeping(&app, 300.0);
    for (fault, reason) in [
        (Fault::Truncate, "could not build the image"),
        (Fault::Stall, "build.timeout"),
    ] {
        app.version(&format!("{fault:?}"));
        let trap = proxy.trap(&app.name, "POST /build", 1, fault);
        let began = Instant::now();
        let push = app.push();
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "{fault:?}: {:?}",
            began.elapsed()
        );
        assert!(trap.sprung(), "{fault:?}");
        app.failed(&push, "build", reason, Some("one"));
        wait_for("the build's process ends", Duration::from_secs(3), || {
            (!runs(&sleep)).then_some(())
        });
    }
    app.write("Dockerfile", include_str!("app/Dockerfile"));
    app.version("two");
    app.went_live(&app.push(), "two");
}
