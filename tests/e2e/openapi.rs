//! The OpenAPI document and a live server, held to each other by `schemathesis`: what the document
//! allows is taken, what it does not is refused, every answer is as described, and nothing is a failure
//! of the server. It is a Python program, installed once into `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::world::World;

/// The version that the document was held to.
const VERSION: &str = "4.32.5";
/// What is asked of each verb, at most.
const EXAMPLES: &str = "20";
/// What may take away the token that everything else is asked with.
const TAKES_AWAY: [&str; 3] = ["token_revoke", "user_remove", "user_role"];
/// It has no end for an app that is there: asked for apps that are not.
const ENDLESS: &str = "app_logs_follow";

/// The program, installed where it is not yet.
fn program() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/schemathesis-{VERSION}"));
    let program = folder.join("bin/schemathesis");
    if !program.exists() {
        let mut venv = Command::new("python3");
        made(venv.args(["-m", "venv"]).arg(&folder));
        let mut pip = Command::new(folder.join("bin/pip"));
        made(pip.args(["install", "--quiet", &format!("schemathesis=={VERSION}")]));
    }
    program
}

fn made(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// A token of an administrator of that name.
fn token(world: &World, name: &str) -> String {
    world
        .windlass(&["user", "add", name, "--role", "admin"])
        .ok();
    let made = world.json(&["token", "create", "ci", "--user", name, "--scope", "admin"]);
    made["secret"].as_str().unwrap().to_owned()
}

/// Tries what `only` says, and gives what was found.
fn violations(world: &World, token: &str, only: &[&str]) -> Option<String> {
    let address = format!("http://127.0.0.1:{}", world.listen);
    let mut command = Command::new(program());
    command
        .arg("run")
        .arg(format!("{address}/api/v1/openapi.json"))
        .args(["--url", &address])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all", "--max-examples", EXAMPLES])
        .args([
            "--seed",
            "8",
            "--request-timeout",
            "60",
            "--continue-on-failure",
        ])
        .args(["--no-color", "--warnings", "off"])
        .args(only)
        .env("NO_PROXY", "*")
        .current_dir(&world.home)
        .stdin(Stdio::null());
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    println!(
        "{}",
        said.lines().rev().take(40).collect::<Vec<_>>().join("\n")
    );
    (!done.status.success()).then_some(said)
}

#[test]
#[ignore = "long: minutes, and Python's package index"]
fn a_live_server_is_what_its_openapi_document_says() {
    let world = World::new();
    let app = world.app("shop");
    app.version("fine");
    app.went_live(&app.push(), "fine");

    let probing = token(&world, "prober");
    let all: Vec<&str> = TAKES_AWAY
        .iter()
        .chain([&ENDLESS])
        .flat_map(|id| ["--exclude-operation-id", id])
        .collect();
    let endless = [
        "--include-operation-id",
        ENDLESS,
        "--phases",
        "examples,coverage,fuzzing",
    ];
    for only in [&all[..], &endless] {
        assert_eq!(violations(&world, &probing, only), None);
        let status = whoami(&world, &probing);
        assert_eq!(status, 200, "it was asked as nobody");
    }
    for id in TAKES_AWAY {
        let its_own = token(&world, &id.replace('_', "-"));
        let only = ["--include-operation-id", id];
        assert_eq!(violations(&world, &its_own, &only), None);
    }
    // Its app may be gone: that was asked for as well.
    assert!(world.server_runs());
    let log = world.server_log();
    assert!(!log.contains("panicked"), "{log}");
}

/// How a token is answered.
fn whoami(world: &World, token: &str) -> u16 {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--noproxy",
        "*",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
    ]);
    curl.args(["-H", &format!("Authorization: Bearer {token}")]);
    curl.arg(format!("http://127.0.0.1:{}/api/v1/whoami", world.listen));
    crate::world::run(&mut curl).ok().parse().unwrap()
}
