//! How an app's processes are treated, and what they do when asked to go.

use std::process::Command;
use std::time::Duration;

use crate::app::{App, MANIFEST};
use crate::world::{World, docker, run, wait_for};

#[test]
fn an_app_that_ignores_sigterm_is_killed_after_its_grace() {
    let world = World::new();
    let app = world.app("shop");
    app.write(
        "windlass.toml",
        &MANIFEST.replace("stop_grace = \"5s\"", "stop_grace = \"2s\""),
    );
    app.write(
        "extra.py",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
    );
    app.version("deaf");
    app.went_live(&app.push(), "deaf");
    app.write("extra.py", "");
    app.version("polite");
    let push = app.push();
    let deploy = app.went_live(&push, "polite");
    let log = world
        .windlass(&["deploy", "log", &deploy["id"].to_string()])
        .ok();
    assert!(
        log.contains("did not end on SIGTERM within 2") && log.contains("was killed"),
        "{log}"
    );
    let retire = deploy["phases"].as_array().unwrap().last().unwrap();
    let took = retire["duration_ms"].as_u64().unwrap();
    assert!(
        retire["phase"] == "retire" && (2000..10_000).contains(&took),
        "{retire}"
    );

    app.version("next");
    let deploy = app.went_live(&app.push(), "next");
    let log = world
        .windlass(&["deploy", "log", &deploy["id"].to_string()])
        .ok();
    assert!(
        log.contains("is gone") && !log.contains("was killed"),
        "{log}"
    );
    let said = world.windlass(&["logs", "shop", "--tail", "100"]).ok();
    assert!(
        said.contains("polite says goodbye"),
        "the last words are kept: {said}"
    );
    assert!(
        said.contains("deaf complains"),
        "standard error as well: {said}"
    );
}

#[test]
fn the_images_own_healthcheck_has_to_pass_as_well() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");

    let check = |script: &str| {
        let docker = include_str!("app/Dockerfile");
        app.write("Dockerfile", &format!("{docker}HEALTHCHECK CMD {script}\n"));
    };
    app.write("windlass.toml", &MANIFEST.replace("\"8s\"", "\"5s\""));
    check("echo the-check-says-no; exit 1");
    app.version("sick");
    app.failed(
        &app.push(),
        "health",
        "HEALTHCHECK ended with 1: the-check-says-no",
        Some("one"),
    );
    app.write("windlass.toml", MANIFEST);
    check("test -e version.txt");
    app.version("sound");
    let push = app.push();
    app.went_live(&push, "sound");
    push.says("HEALTHCHECK passes");
}

#[test]
fn an_app_that_dies_after_the_swap_is_swapped_back_and_one_that_dies_later_comes_back() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");

    // Gone about when the name has moved: verify watches the container, too.
    app.write(
        "windlass.toml",
        &MANIFEST.replace("[verify]", "[verify]\npath = \"/die/9\"\nstatus = \"204\""),
    );
    app.version("dying");
    app.failed(&app.push(), "verify", "exit status 9", Some("one"));

    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    app.version("two");
    app.went_live(&app.push(), "two");
    app.get("/die/3");
    wait_for("the engine brings it back", Duration::from_secs(15), || {
        (app.get("/").0 == 200).then_some(())
    });
    app.serves("two");
}

#[test]
fn another_port_and_another_environment_take_over_without_a_failed_request() {
    let world = World::new();
    let app = world.app("shop");
    app.version("on 8000");
    app.went_live(&app.push(), "on 8000");
    let asking = crate::load::Asking::begin(&world, &app.domain);

    app.manifest("[web]\nport = 9000\n");
    app.version("on 9000");
    app.went_live(&app.push(), "on 9000");
    // A failed one in between leaves the port where it is.
    app.write(
        "windlass.toml",
        &MANIFEST.replace(
            "[verify]",
            "[web]\nport = 7000\n[verify]\npath = \"/status/500\"",
        ),
    );
    app.version("on 7000");
    app.failed(&app.push(), "verify", "answers 500", Some("on 9000"));
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("on 8000");
    assert_eq!(app.get("/env/PORT").1, "8000\n");

    world
        .windlass(&["env", "set", "shop", "GREETING=hello"])
        .ok();
    assert_eq!(
        app.get("/env/GREETING").1,
        "(not set)\n",
        "counts from the next restart on"
    );
    world.windlass(&["restart", "shop", "--wait"]).ok();
    assert_eq!(app.get("/env/GREETING").1, "hello\n");
    world.windlass(&["env", "unset", "shop", "GREETING"]).ok();
    world.windlass(&["restart", "shop", "--wait"]).ok();
    assert_eq!(app.get("/env/GREETING").1, "(not set)\n");
    asking.all_good(100);
}

/// The oldest Caddy that Windlass works with: it reads no port from a file and checks who asks on its
/// admin socket.
#[test]
fn an_old_caddy_serves_as_well() {
    let world =
        World::changed(|config| config.replace("windlass-local/caddy", "windlass-local/caddy26"));
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    app.version("two");
    app.went_live(&app.push(), "two");
    app.manifest("[web]\nport = 9000\n");
    app.version("three, on 9000");
    app.went_live(&app.push(), "three, on 9000");
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("two");
    assert_eq!(app.get("/env/PORT").1, "8000\n");
    assert_eq!(world.stop_server(), 0);
    world.start();
    app.serves("two");
}

#[test]
fn caddys_own_authority_signs_and_plain_http_leads_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let tls = format!("tls = \"internal\"\nhttps_port = {free}");
    let world = World::changed(|config| config.replace("tls = \"off\"", &tls));
    let app = world.app("shop");
    app.version("signed");
    let push = app.push();
    let address = format!("https://{}:{free}", app.domain);
    assert!(
        push.last().starts_with(&format!("LIVE  {address}  ")),
        "{}",
        push.output
    );

    let root = world
        .home
        .join("caddy/data/caddy/pki/authorities/local/root.crt");
    let resolve = format!("{}:{free}:127.0.0.1", app.domain);
    let root = root.to_str().unwrap();
    let page =
        run(Command::new("curl").args(["-sS", "--cacert", root, "--resolve", &resolve, &address]))
            .ok();
    assert_eq!(page, "signed\n");
    let host = format!("Host: {}", app.domain);
    let plain = format!("http://127.0.0.1:{}/", world.port);
    let asked = [
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{redirect_url}",
        "-H",
        &host,
        &plain,
    ];
    assert_eq!(
        run(Command::new("curl").args(asked)).ok(),
        format!("{address}/")
    );
}

#[test]
fn an_app_without_a_domain_deploys() {
    let world = World::new();
    world.windlass(&["app", "create", "quiet"]).ok();
    let app = crate::app::App::work_tree(&world, "quiet");
    app.copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/app"));
    app.version("quiet");
    let push = app.push();
    assert!(
        push.last().starts_with("LIVE  quiet  deploy "),
        "{}",
        push.output
    );
    push.says("no public URL");
    let listed = docker(&[
        "inspect",
        "-f",
        "{{.HostConfig.RestartPolicy.Name}}",
        &app.live_container(),
    ])
    .ok();
    assert!(
        ["unless-stopped", "always"].contains(&listed.trim()),
        "{listed}"
    );
}

#[test]
fn a_candidate_that_takes_too_much_memory_is_told_so_and_the_old_one_serves() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = crate::load::Asking::begin(&world, &app.domain);

    let greedy = "import threading, time\n\
        def take():\n    time.sleep(3)\n    taken = [bytearray(10**6) for _ in range(500)]\n    time.sleep(60)\n\
        threading.Thread(target=take, daemon=True).start()\n";
    app.write("extra.py", greedy);
    let patient = MANIFEST
        .replace("\"1s\"", "\"7s\"")
        .replace("\"8s\"", "\"20s\"");
    app.write(
        "windlass.toml",
        &format!("{patient}\n[limits]\nmemory = \"100m\"\n"),
    );
    app.version("greedy");
    app.failed(&app.push(), "health", "out of memory", Some("one"));
    asking.all_good(50);
}

#[test]
fn the_live_image_removed_by_somebody_is_built_again_when_it_is_needed() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = crate::load::Asking::begin(&world, &app.domain);
    docker(&["rmi", "-f", &world.images()[0]]).ok();
    app.serves("one");
    world.windlass(&["restart", "shop", "--wait"]).ok();
    app.serves("one");
    let deploy = app.newest();
    assert_eq!(App::phases(&deploy)[..2], ["checkout:ok", "build:ok"]);
    let log = world
        .windlass(&["deploy", "log", &deploy["id"].to_string()])
        .ok();
    assert!(
        log.contains("image of this release is not kept any more: it is built again"),
        "{log}"
    );

    app.version("two");
    app.went_live(&app.push(), "two");
    let kept = world
        .images()
        .into_iter()
        .find(|name| name.ends_with(&format!(":d{}", deploy["id"])));
    docker(&["rmi", "-f", &kept.expect("the image before the live one")]).ok();
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("one");
    assert_eq!(App::phases(&app.newest())[..2], ["checkout:ok", "build:ok"]);
    asking.all_good(50);
}
