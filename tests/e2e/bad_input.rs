//! Mistakes: each is answered by a message that says what is wrong, and nothing is lost by it.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::app::{App, MANIFEST};
use crate::world::{Output, World, wait_for};

#[test]
fn mistakes_in_a_repository_are_named_and_what_serves_stays() {
    let world = World::new();
    let app = world.app("shop");
    app.version("fine");
    app.went_live(&app.push(), "fine");

    let fails = |subject: &str, phase: &str, parts: &[&str]| {
        app.commit(subject);
        let deploy = app.failed(&app.push(), phase, parts[0], Some("fine"));
        let message = deploy["failure"]["message"].as_str().unwrap();
        for part in parts {
            assert!(
                message.contains(part),
                "{subject}: no {part:?} in {message:?}"
            );
        }
        app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
        message.to_owned()
    };

    app.manifest("[web]\nprot = 8000\n");
    let line = MANIFEST.lines().count() + 3;
    fails(
        "unknown key",
        "checkout",
        &["windlass.toml", "prot", &format!("line {line}")],
    );

    app.manifest("[[gates]]\nname = \"check\"\nrun = \"python app.py --check\"\n");
    fails(
        "gate as a string",
        "checkout",
        &["[\"python\", \"app.py\", \"--check\"]", "array", "line"],
    );

    fs::remove_file(app.work.join("Dockerfile")).unwrap();
    fails(
        "no Dockerfile",
        "checkout",
        &["there is no Dockerfile in this commit", "dockerfile ="],
    );

    app.write(
        "Dockerfile",
        "FROM windlass-local/python\nRUN echo the-step-says-why >&2; exit 3\n",
    );
    let message = fails("failing step", "build", &["exit code: 3"]);
    let log = world
        .windlass(&[
            "deploy",
            "log",
            &app.newest()["id"].to_string(),
            "--phase",
            "build",
        ])
        .ok();
    assert!(log.contains("the-step-says-why"), "{message}\n{log}");

    let expose = |more: &str| include_str!("app/Dockerfile").replace("EXPOSE 8000", more);
    app.write("Dockerfile", &expose("EXPOSE 8000 9000"));
    fails(
        "several ports",
        "start",
        &["8000", "9000", "[web]", "port ="],
    );

    app.write("Dockerfile", &expose("EXPOSE 9999\nENV PORT_OVERRIDE=1"));
    app.write(
        "app.py",
        &include_str!("app/app.py").replace("os.environ.get(\"PORT\", \"8000\")", "\"8000\""),
    );
    app.write("windlass.toml", &MANIFEST.replace("\"8s\"", "\"5s\""));
    fails(
        "wrong port",
        "health",
        &[
            "listens on port 8000",
            "expected on 9999",
            "web.port = 8000",
        ],
    );

    app.write(
        "app.py",
        &include_str!("app/app.py").replace("(\"0.0.0.0\", PORT)", "(\"127.0.0.1\", PORT)"),
    );
    app.write("windlass.toml", &MANIFEST.replace("\"8s\"", "\"5s\""));
    fails("loopback only", "health", &["127.0.0.1:8000", "0.0.0.0"]);

    app.write("Dockerfile", &expose(""));
    app.version("without EXPOSE");
    app.went_live(&app.push(), "without EXPOSE");
}

#[test]
fn mistakes_on_the_command_line_have_their_exit_status() {
    let world = World::new();
    let refused = |args: &[&str], code: i32, part: &str| {
        let output = world.windlass(args);
        assert_eq!(output.code, code, "{args:?}: {output:?}");
        assert!(
            output.stderr.contains(part),
            "{args:?}: no {part:?} in {:?}",
            output.stderr
        );
    };
    for bad in ["Shop", "shop_1", "a/b", "..", "", "shop;id", "$(id)"] {
        refused(&["app", "create", bad], 2, "a-z, 0-9 and '-'");
    }
    refused(
        &["app", "create", "shop", "--domain", "http://shop.test"],
        2,
        "without scheme",
    );
    refused(&["frobnicate"], 2, "frobnicate");
    refused(&["app", "destroy", "shop"], 2, "--yes");
    refused(&["app", "show", "shop"], 1, "shop");
    refused(&["deploy", "show", "999"], 1, "999");
    refused(&["deploy", "show", "abc"], 2, "number");
    refused(&["deploy", "wait", "999"], 1, "999");
    refused(&["deploy", "cancel", "999"], 1, "999");
    refused(&["deploys", "shop"], 1, "shop");
    refused(&["env", "set", "shop", "A=1"], 1, "shop");
    refused(&["env", "set", "shop", "novalue"], 2, "NAME=value");
    refused(&["revert", "shop"], 1, "shop");

    let app = world.app("shop");
    refused(&["app", "create", "shop"], 1, "shop");
    refused(
        &["app", "create", "second", "--domain", &app.domain],
        1,
        "shop",
    );
    refused(&["revert", "shop"], 1, "push a commit first");
    refused(&["restart", "shop"], 1, "push a commit first");
    refused(&["redeploy", "shop", "0000000000"], 1, "0000000000");
    let names: Vec<_> = world.json(&["app", "list"]).as_array().unwrap().clone();
    assert!(
        names.len() == 1 && names[0]["name"] == "shop",
        "nothing came of the refused: {names:?}"
    );
}

/// Starts a server that has to end by itself, and gives what it said.
fn does_not_start(world: &World) -> Output {
    let mut command = world.command(&["serve"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let ended = wait_for_exit(&mut child);
    let output = child.wait_with_output().unwrap();
    assert!(ended, "the server runs where it must not: {output:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(!stdout.contains("ready"), "{stdout}");
    Output {
        code: output.status.code().unwrap(),
        stdout,
        stderr,
    }
}

fn wait_for_exit(child: &mut std::process::Child) -> bool {
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(30) {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    false
}

#[test]
fn a_server_that_cannot_start_says_why_and_ends() {
    let world = World::idle();
    let config = world.config();
    let refused = |config: &str, parts: &[&str]| {
        fs::write(world.home.join("config.toml"), config).unwrap();
        let output = does_not_start(&world);
        assert_eq!(output.code, 1, "{output:?}");
        for part in parts {
            assert!(output.stderr.contains(part), "no {part:?} in {output:?}");
        }
    };
    refused(
        &config.replace("http_port", "htp_port"),
        &["config.toml", "line 4", "htp_port"],
    );
    let taken = TcpListener::bind(("0.0.0.0", world.port)).unwrap();
    refused(&config, &["caddy.http_port", &world.port.to_string()]);
    drop(taken);
    let taken = TcpListener::bind(("127.0.0.1", world.listen)).unwrap();
    refused(&config, &[&format!("127.0.0.1:{}", world.listen)]);
    drop(taken);

    fs::write(world.home.join("a-file"), "").unwrap();
    let mut below = crate::world::command(&world.home.join("a-file/home"), &["serve"]);
    let output = crate::world::run(&mut below);
    assert!(
        output.code == 1 && output.stderr.contains("a-file/home"),
        "{output:?}"
    );
    assert!(output.stderr.contains("--home"), "{output:?}");

    // Mended, the same home folder starts.
    world.write_config();
    world.start();
    world.windlass(&["app", "list"]).ok();
}

#[test]
fn one_home_has_one_server_and_without_it_every_command_says_so() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");

    let second = does_not_start(&world);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.stderr.contains("another windlass server runs"),
        "{second:?}"
    );
    app.serves("one");

    assert_eq!(world.stop_server(), 0);
    assert_eq!(app.get("/").0, 200, "apps serve without the server");
    for args in [
        &["app", "list"][..],
        &["deploys", "shop"],
        &["deploy", "show", "1"],
    ] {
        let output = world.windlass(args);
        assert!(
            output.code == 3 && output.stderr.contains("cannot be reached"),
            "{args:?}: {output:?}"
        );
    }
    let live = app.branch();
    app.version("two");
    let push = app.push();
    assert!(push.last().starts_with("FAILED  "), "{}", push.output);
    push.says("nothing was deployed")
        .says("Put main back")
        .says("Start the server and push again");
    assert_eq!(app.branch(), live);

    world.start();
    app.serves("one");
    app.went_live(&app.push(), "two");
}

#[test]
fn a_failed_first_push_leaves_nothing() {
    let world = World::new();
    let app = App::create(&world, "shop");
    app.write("extra.py", "raise SystemExit('the first one is broken')\n");
    app.version("one");
    app.died(&app.push(), "the first one is broken", None);
    app.write("extra.py", "");
    app.version("two");
    app.went_live(&app.push(), "two");
    let none_before = world.windlass(&["revert", "shop"]);
    assert!(
        none_before.code == 1 && none_before.stderr.contains("no release before"),
        "{none_before:?}"
    );
    wait_for("no image of the failed one", Duration::from_secs(5), || {
        (world.images().len() == 1).then_some(())
    });
}
