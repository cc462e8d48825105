//! Pushes and clones by HTTP, through Caddy, with a token as the password.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{App, Push};
use crate::world::{World, run};

/// The dashboard's public name in these tests.
const DASHBOARD: &str = "dash.test";

/// A world whose dashboard is behind Caddy, with more in its configuration.
fn world(more: &str) -> World {
    World::changed(|config| format!("dashboard_domain = \"{DASHBOARD}\"\n{config}{more}"))
}

/// A token of `user`, with these words to `windlass token create`.
fn token(world: &World, user: &str, words: &[&str]) -> String {
    let made = world.json(&[&["token", "create", "ci", "--user", user], words].concat());
    made["secret"].as_str().unwrap().to_owned()
}

/// From now on the app's work tree pushes by HTTP with this token.
fn remote(app: &App, token: &str) {
    app.git(&["remote", "set-url", "prod", &url(app, token)])
        .ok();
    for (key, value) in settings(app.world) {
        app.git(&["config", key, &value]).ok();
    }
}

fn url(app: &App, token: &str) -> String {
    format!(
        "http://ci:{token}@{DASHBOARD}:{}/git/{}",
        app.world.port, app.name
    )
}

/// No proxy of the machine's, the name leads here, and nobody is asked for a password.
fn settings(world: &World) -> [(&'static str, String); 3] {
    let lead = format!("{DASHBOARD}:{}:127.0.0.1", world.port);
    [
        ("http.proxy", String::new()),
        ("http.curloptResolve", lead),
        ("core.askPass", "true".into()),
    ]
}

fn clone(app: &App, token: &str) -> crate::world::Output {
    let into = app.work.with_file_name(format!("clone-{}", app.name));
    let _ = std::fs::remove_dir_all(&into);
    let mut git = App::git_in(&app.world.home, &[]);
    for (key, value) in settings(app.world) {
        git.args(["-c", &format!("{key}={value}")]);
    }
    let output = run(git.args(["clone", "-q", &url(app, token), into.to_str().unwrap()]));
    if output.code == 0 {
        let head = run(&mut App::git_in(
            &into,
            &["rev-parse", "--verify", "-q", "HEAD"],
        ))
        .stdout;
        assert_eq!(
            head.trim(),
            app.branch().unwrap_or_default(),
            "a clone is what is live"
        );
    }
    let _ = std::fs::remove_dir_all(&into);
    output
}

#[test]
fn a_push_with_a_token_ends_as_its_deploy_does_and_is_its_owners() {
    let world = world("");
    let shop = world.app("shop");
    world
        .windlass(&["user", "add", "ann", "--role", "deployer", "--app", "shop"])
        .ok();
    let secret = token(&world, "ann", &["--scope", "deploy", "--app", "shop"]);
    remote(&shop, &secret);
    shop.version("one");
    let push = shop.push();
    assert_eq!(shop.went_live(&push, "one")["actor"], "ann");
    assert_eq!(
        shop.push_refs(&["main:topic"])
            .says("topic was stored and does not deploy")
            .code,
        0
    );
    assert_eq!(shop.push().says("Everything up-to-date").code, 0);
    clone(&shop, &secret).ok();
    // As CI does it: docs/ci.md.
    let header = format!("http.extraHeader=Authorization: Bearer {secret}");
    let bare = url(&shop, "").replace("ci:@", "") + ".git";
    let listed = shop
        .git(&["-c", &header, "ls-remote", &bare, "refs/heads/main"])
        .ok();
    assert!(listed.starts_with(&shop.head()), "{listed}");

    shop.write("windlass.toml", "nonsense = 1\n");
    shop.commit("broken");
    for number in 2..4 {
        let push = shop.push();
        assert_eq!(push.code, 1, "{}", push.output);
        let failed = shop.failed(
            &Push {
                output: told(&push),
                ..push
            },
            "checkout",
            "nonsense",
            Some("one"),
        );
        assert_eq!(failed["id"], json!(number));
    }
    let entries = world.json(&["audit", "--app", "shop"]);
    let entries = entries.as_array().unwrap();
    let of = |action: &str| {
        entries
            .iter()
            .filter(|entry| entry["action"] == action)
            .count()
    };
    assert_eq!((of("push"), of("fetch")), (4, 2), "{entries:#?}");
    assert!(
        entries
            .iter()
            .filter(|e| e["action"] == "push")
            .all(|e| e["via"] == "token 1"),
        "{entries:#?}"
    );
    assert!(
        !world.server_log().contains(&secret),
        "no log holds a token"
    );
}

/// What the hook said: all but the error behind it.
fn told(push: &Push) -> String {
    assert!(
        push.output
            .contains("the push arrived, and what it brought is not live"),
        "{}",
        push.output
    );
    let lines = push
        .output
        .lines()
        .filter(|line| !line.contains("the push arrived, and what it brought"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_token_that_may_not_push_is_told_why() {
    let world = world("");
    let shop = world.app("shop");
    world.windlass(&["app", "create", "blog"]).ok();
    world
        .windlass(&["user", "add", "ann", "--role", "deployer", "--app", "shop"])
        .ok();
    shop.version("one");
    let refused = |secret: &str, says: &str| {
        remote(&shop, secret);
        let push = shop.push();
        assert!(
            push.code != 0 && push.output.contains(says),
            "{says:?}: {}",
            push.output
        );
        assert_eq!(shop.deploys().len(), 0);
    };
    refused("wlt_0000", "Authentication failed");
    refused("", "Authentication failed");
    let brief = token(&world, "ann", &["--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(1100));
    refused(&brief, "Authentication failed");
    let reads = token(&world, "ann", &["--scope", "read"]);
    refused(
        &reads,
        "Ann may see shop and not deploy it (viewer, by token 2)",
    );
    clone(&shop, &reads).ok();
    // One for another app does not learn of this one.
    world
        .windlass(&[
            "user", "role", "ann", "deployer", "--app", "shop", "--app", "blog",
        ])
        .ok();
    refused(
        &token(&world, "ann", &["--app", "blog"]),
        "There is no app named shop, or ann may not see it",
    );
    let gone = token(&world, "ann", &[]);
    world.windlass(&["token", "revoke", "4"]).ok();
    refused(&gone, "Authentication failed");
}

#[test]
fn a_push_that_is_too_large_is_refused_and_a_large_one_arrives() {
    let world = world("[git]\nmax_push = \"3m\"\n");
    let shop = world.app("shop");
    remote(&shop, &token(&world, "admin", &[]));
    shop.version("one");
    // Above what git sends at once, so it comes in pieces of unknown number.
    let noise = |mib: usize| {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..mib << 17).flat_map(|_| next()).collect::<Vec<u8>>()
    };
    std::fs::write(shop.work.join("noise"), noise(2)).unwrap();
    shop.commit("large");
    shop.went_live(&shop.push(), "one");

    std::fs::write(shop.work.join("more"), [noise(8), vec![1]].concat()).unwrap();
    shop.commit("too large");
    let push = shop.push();
    assert_ne!(push.code, 0);
    push.says("pack exceeds maximum allowed size");
    assert_eq!(shop.deploys().len(), 1);
    shop.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    shop.serves("one");
}

#[test]
fn a_pushs_log_comes_as_it_is_written() {
    let world = world("");
    let shop = world.app("shop");
    remote(&shop, &token(&world, "admin", &[]));
    shop.write(
        "Dockerfile",
        &format!("{}RUN sleep 3\n", include_str!("app/Dockerfile")),
    );
    shop.version("one");
    let mut git = App::git_in(&shop.work, &["push", "prod", "main"]);
    let mut child = git
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (began, mut built) = (Instant::now(), None);
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if line.unwrap().contains("-----> build") {
            built = Some(began.elapsed());
        }
    }
    assert!(child.wait().unwrap().success());
    let (built, ended) = (built.expect("a heading"), began.elapsed());
    assert!(
        ended > built + Duration::from_millis(2500),
        "the build's heading came at {built:?} of {ended:?}"
    );
    shop.serves("one");
}

#[test]
fn a_restart_breaks_the_push_off_and_not_the_deploy() {
    let world = world("");
    let shop = world.app("shop");
    remote(&shop, &token(&world, "admin", &[]));
    shop.write(
        "Dockerfile",
        &format!("{}RUN sleep 3\n", include_str!("app/Dockerfile")),
    );
    shop.version("one");
    let pushing = shop.begin_push(&["main"]);
    let id = shop.wait_for_phase("build");
    assert_eq!(world.stop_server(), 0);
    let push = pushing.end();
    assert!(
        push.code > 0 && !push.output.contains("LIVE"),
        "{}",
        push.output
    );
    push.says("RPC failed");
    world.start();
    assert_eq!(shop.wait_for_end(id)["status"], "live");
    shop.serves("one");
}
