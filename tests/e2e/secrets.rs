//! Secrets: an app's environment is in its running container, and nowhere else in clear.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::app::{App, MANIFEST};
use crate::outage::Visitor;
use crate::world::{World, docker, run, salt, wait_for};

const TOKEN: &str = "tok-9f8e7d6c5b4a3210";
/// As a private key is: what stands in its lines is as secret as all of it.
const KEY: [&str; 4] = [
    "-----BEGIN SECRET-----",
    "bGluZSBvbmUgb2YgaXQ",
    "bGluZSB0d28gb2YgaXQ",
    "-----END SECRET-----",
];

/// Prints both in every way in which programs print: `who` tells where.
const PRINTS: &str = r#"
import os, sys, time
def tell(who):
    token, key = os.environ["TOKEN"], os.environ["KEY"]
    print(f"{who} says {token}!", flush=True)
    print(f"\x1b[31m{who} colours {token[:5]}\x1b[0m{token[5:]}", file=sys.stderr, flush=True)
    print(key, flush=True)
    os.write(1, f"{who} halves {token[:9]}".encode())
    time.sleep(0.7)
    os.write(1, f"{token[9:]} in two\n".encode())
    for before in range(16 * 1024 - 24, 16 * 1024 + 3, 7):
        print("x" * before + token, flush=True)
"#;

/// A repository whose build, gate and app print the app's secrets.
fn talkative(app: &App) {
    let dockerfile = include_str!("app/Dockerfile");
    let build = format!(
        "RUN --mount=type=secret,id=TOKEN echo \"build says $(cat /run/secrets/TOKEN)!\"; \
         printf 'build halves %s' \"$(head -c 9 /run/secrets/TOKEN)\"; sleep 1; \
         echo \"$(tail -c +10 /run/secrets/TOKEN) in two {}\"\n\
         RUN --mount=type=secret,id=KEY test ! -s /run/secrets/TOKEN && test ! -s /run/secrets/KEY\n",
        salt()
    );
    app.write(
        "Dockerfile",
        &dockerfile.replace("EXPOSE", &format!("{build}EXPOSE")),
    );
    app.write("prints.py", PRINTS);
    app.write("gate.py", "import prints\nprints.tell('gate')\n");
    app.write("extra.py", "import prints\nprints.tell('app')\n");
    app.manifest(
        "[build]\nsecrets = [\"TOKEN\"]\n[[gates]]\nname = \"talk\"\nrun = [\"python\", \"gate.py\"]\n",
    );
}

fn set_secrets(world: &World) {
    let (token, key) = (format!("TOKEN={TOKEN}"), format!("KEY={}", KEY.join("\n")));
    world.windlass(&["env", "set", "shop", &token, &key]).ok();
}

/// Whether any secret is in it.
fn leaks(bytes: &[u8]) -> Option<&'static str> {
    let found = |secret: &&str| {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    // Also the longer half of what is printed in two.
    [TOKEN, &TOKEN[9..]].into_iter().chain(KEY).find(found)
}

fn quiet(what: &str, text: &str) {
    assert_eq!(leaks(text.as_bytes()), None, "{what}: {text}");
}

fn quiet_below(folder: &Path, files: &mut usize) {
    for entry in fs::read_dir(folder).unwrap() {
        let (path, kind) = entry
            .map(|entry| (entry.path(), entry.file_type().unwrap()))
            .unwrap();
        if kind.is_dir() {
            quiet_below(&path, files);
        } else if kind.is_file() {
            assert_eq!(leaks(&fs::read(&path).unwrap()), None, "{}", path.display());
            *files += 1;
        }
    }
}

#[test]
fn what_build_gate_and_app_print_of_the_environment_is_kept_nowhere() {
    let world = World::new();
    let app = world.app("shop");
    set_secrets(&world);
    talkative(&app);
    app.version("one");
    let push = app.push();
    let live = app.went_live(&push, "one")["id"].to_string();
    assert_eq!(
        app.get("/env/TOKEN").1,
        format!("{TOKEN}\n"),
        "the container has it"
    );
    for said in [
        "build says [TOKEN]!",
        "build halves [TOKEN] in two",
        "gate says [TOKEN]!",
        "gate halves [TOKEN] in two",
    ] {
        push.says(said);
    }
    push.says("gate colours [TOKEN]")
        .says("[KEY]")
        .says("x[TOKEN]");
    let logs = wait_for("the app's output", Duration::from_secs(10), || {
        let logs = world.windlass(&["logs", "shop", "--tail", "1000"]).ok();
        logs.contains("x[TOKEN]").then_some(logs)
    });
    // Said, in colours, in two, and four times about where a long line is cut.
    assert_eq!(logs.matches("[TOKEN]").count(), 7, "{logs}");
    for said in [
        "app says [TOKEN]!",
        "app colours [TOKEN]",
        "app halves [TOKEN] in two",
        "  [KEY]",
    ] {
        assert!(logs.contains(said), "no {said:?} in {logs}");
    }

    // Its last words, and what its HEALTHCHECK says, are the reason of a failure.
    app.write(
        "extra.py",
        "import prints, sys\nprints.tell('dying')\nsys.exit(3)\n",
    );
    app.version("dying");
    let dying = app.push();
    let died = app.died(&dying, "x[TOKEN]", Some("one"))["id"].to_string();
    let dockerfile = include_str!("app/Dockerfile");
    app.write(
        "Dockerfile",
        &format!("{dockerfile}HEALTHCHECK CMD echo no $TOKEN; exit 1\n"),
    );
    app.write("extra.py", "");
    app.write("windlass.toml", &MANIFEST.replace("\"8s\"", "\"5s\""));
    app.version("sick");
    let sick = app.push();
    let ailed = app.failed(
        &sick,
        "health",
        "HEALTHCHECK ended with 1: no [TOKEN]",
        Some("one"),
    )["id"]
        .to_string();

    // After a restart, the server takes up the app's output again.
    assert_eq!(world.stop_server(), 0);
    world.start();
    app.serves("one");

    let visitor = Visitor::log_in(&world);
    for (id, push) in [(&live, &push), (&died, &dying), (&ailed, &sick)] {
        quiet("the push", &push.output);
        quiet(
            "deploy show",
            &world.deploy(id.parse().unwrap()).to_string(),
        );
        quiet("deploy log", &world.windlass(&["deploy", "log", id]).ok());
        quiet(
            "deploy log --json",
            &world.windlass(&["deploy", "log", id, "--json"]).ok(),
        );
        let (status, page) = visitor.asks(&format!("/apps/shop/deploys/{id}"), &[]);
        assert!(status == 200 && page.contains("[TOKEN]"), "{page}");
        quiet("the deploy's page", &page);
    }
    for page in ["/", "/apps/shop"] {
        quiet(page, &visitor.asks(page, &[]).1);
    }
    quiet(
        "logs",
        &world.windlass(&["logs", "shop", "--tail", "1000"]).ok(),
    );
    quiet(
        "env list",
        &world.windlass(&["env", "list", "shop", "--json"]).ok(),
    );
    quiet("the server's log", &world.server_log());
    let mut files = 0;
    quiet_below(&world.home, &mut files);
    assert!(
        files > 20 && world.home.join("windlass.db-wal").exists(),
        "all files are looked at"
    );

    let image = world
        .images()
        .into_iter()
        .find(|image| image.ends_with(&format!(":d{live}")))
        .unwrap();
    quiet(
        "docker history",
        &docker(&["history", "--no-trunc", &image]).ok(),
    );
    quiet(
        "docker inspect",
        &docker(&["image", "inspect", &image]).ok(),
    );
    // Its layers, as a stream of 200 MB.
    let search = format!(
        "docker save {image} | grep -a -c -F -e {TOKEN} -e {}",
        KEY[1]
    );
    assert_eq!(run(Command::new("sh").args(["-c", &search])).stdout, "0\n");
}

#[test]
fn a_build_secret_that_is_not_set_fails_in_checkout_with_the_command_that_sets_it() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    app.manifest("[build]\nsecrets = [\"NPM_TOKEN\"]\n");
    app.version("two");
    app.failed(
        &app.push(),
        "checkout",
        "windlass env set shop NPM_TOKEN=",
        Some("one"),
    );
}

#[test]
fn what_a_variable_was_is_kept_quiet_of_by_the_release_that_has_it() {
    let world = World::new();
    let app = world.app("shop");
    world
        .windlass(&["env", "set", "shop", "TOKEN=the-first-value"])
        .ok();
    app.write(
        "extra.py",
        "import os, sys\nprint(f\"it is {os.environ['TOKEN']}\", flush=True)\n",
    );
    app.version("one");
    app.went_live(&app.push(), "one");
    world
        .windlass(&["env", "set", "shop", "TOKEN=the-second-value"])
        .ok();
    app.version("two");
    app.went_live(&app.push(), "two");
    assert_eq!(app.get("/env/TOKEN").1, "the-second-value\n");
    world.windlass(&["revert", "shop", "--wait"]).ok();
    assert_eq!(app.get("/env/TOKEN").1, "the-first-value\n");
    let logs = wait_for("three starts", Duration::from_secs(10), || {
        let logs = world.windlass(&["logs", "shop", "--tail", "100"]).ok();
        (logs.matches("it is [TOKEN]").count() == 3).then_some(logs)
    });
    assert!(
        !logs.contains("the-first-value") && !logs.contains("the-second-value"),
        "{logs}"
    );
}
