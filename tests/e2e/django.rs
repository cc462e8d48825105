//! A life of `examples/django` on a real PostgreSQL, with Django's own check and migrations as gates.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::app::App;
use crate::world::{World, docker, run, wait_for};

const PASSWORD: &str = "pg-pa55-of-the-tests";
const SECRET: &str = "a-secret-key-that-only-the-tests-use-0123456789-abcdefghijklmnop";

/// The guestbook as an app with this domain, and a PostgreSQL on its network.
pub fn guestbook<'w>(world: &'w World, domain: &str) -> App<'w> {
    let mut app = App::work_tree(world, "guestbook");
    app.domain = domain.to_owned();
    world
        .windlass(&["app", "create", "guestbook", "--domain", &app.domain])
        .ok();
    app.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/django"));
    let manifest = std::fs::read_to_string(app.work.join("windlass.toml")).unwrap();
    let quick = manifest
        .replace(
            "min_healthy = \"3s\"",
            "min_healthy = \"2s\"\ndeadline = \"8s\"",
        )
        .replace(
            "[verify]\npath = \"/\"\nstatus = \"200\"",
            "[verify]\npath = \"/\"\nstatus = \"200\"\ntimeout = \"4s\"",
        );
    assert!(
        quick.contains("deadline") && quick.contains("\"4s\""),
        "the example's manifest changed:\n{quick}"
    );
    app.write("windlass.toml", &quick);
    start_database(world);
    let url = format!("DATABASE_URL=postgres://guestbook:{PASSWORD}@guestbook-db/guestbook");
    let (key, hosts) = (
        format!("SECRET_KEY={SECRET}"),
        format!("ALLOWED_HOSTS={}", app.domain),
    );
    world
        .windlass(&[
            "env",
            "set",
            "guestbook",
            &key,
            &hosts,
            "SECURE_SSL_REDIRECT=0",
            &url,
        ])
        .ok();
    app
}

fn start_database(world: &World) {
    let network = world
        .networks()
        .into_iter()
        .find(|name| name.ends_with("_net_guestbook"))
        .unwrap();
    let (home, password) = (
        format!("windlass.home={}", world.home.display()),
        format!("POSTGRES_PASSWORD={PASSWORD}"),
    );
    let args = [
        "run",
        "-d",
        "--network",
        &network,
        "--network-alias",
        "guestbook-db",
        "--label",
        &home,
    ];
    let more = [
        "--label",
        "windlass.test=database",
        "-e",
        "POSTGRES_USER=guestbook",
        "-e",
        &password,
    ];
    let id = docker(&[&args[..], &more[..], &["windlass-local/postgres"]].concat()).ok();
    wait_for("PostgreSQL answers", Duration::from_secs(30), || {
        let ready = docker(&["exec", id.trim(), "pg_isready", "-q", "-h", "127.0.0.1"]);
        (ready.code == 0).then_some(())
    });
}

fn edition(app: &App, name: &str) -> String {
    app.write(
        "entries/version.py",
        &format!("VERSION_TEXT = \"Guestbook, {name} edition\"\n"),
    );
    format!("Guestbook, {name} edition")
}

/// Commits, pushes, and expects the failure; then the same push again has to try again.
fn breaks(app: &App, phase: &str, part: &str, still: &str) {
    app.commit(&format!("Break {phase}"));
    let first = app.failed(&app.push(), phase, part, Some(still));
    let again = app.failed(&app.push(), phase, part, Some(still));
    assert_ne!(first["id"], again["id"], "the same push tries again");
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
}

#[test]
fn a_life_of_a_django_app_on_postgresql() {
    let world = World::new();
    let app = guestbook(&world, "guestbook.test");
    let first = edition(&app, "first");
    app.commit("First edition");
    app.went_live(&app.push(), &first);

    let second = edition(&app, "second");
    app.commit("Second edition");
    let live = app.went_live(&app.push(), &second);
    let phases = [
        "checkout",
        "build",
        "gate:check",
        "gate:migrate",
        "start",
        "health",
        "swap",
        "verify",
        "drain",
        "retire",
    ];
    assert_eq!(
        App::phases(&live),
        phases.map(|phase| format!("{phase}:ok"))
    );
    let (status, entry) = post(&world, &app, "/api/entries", "hello there");
    assert!(
        status == 201 && entry.contains("Guestbook, second edition"),
        "{status} {entry}"
    );

    let views = std::fs::read_to_string(app.work.join("entries/views.py")).unwrap();
    let manifest = std::fs::read_to_string(app.work.join("windlass.toml")).unwrap();
    edition(&app, "broken");

    app.write(
        "entries/views.py",
        &format!("import a_module_that_is_not_there\n{views}"),
    );
    breaks(&app, "gate:check", "ModuleNotFoundError", &second);

    edition(&app, "broken");
    app.write("entries/migrations/0002_fails.py", FAILING_MIGRATION);
    breaks(&app, "gate:migrate", "this migration always fails", &second);

    edition(&app, "broken");
    app.write(
        "windlass.toml",
        &manifest.replace("path = \"/healthz\"", "path = \"/nowhere\""),
    );
    breaks(&app, "health", "/nowhere answered 404", &second);

    edition(&app, "broken");
    app.write("dies.py", DIES);
    app.write(
        "windlass.toml",
        &manifest.replace("[web]", "[web]\ncommand = [\"python\", \"dies.py\"]"),
    );
    breaks(&app, "health", "something that gave up", &second);
    let message = app.newest()["failure"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("exit status 7"), "{message}");

    edition(&app, "broken");
    let index = "def index(request):\n";
    app.write(
        "entries/views.py",
        &views.replace(
            index,
            &format!("{index}    raise RuntimeError('no page')\n"),
        ),
    );
    breaks(&app, "verify", "answers 500", &second);

    reverts_restarts_and_keeps_secrets(&world, &app, &first, &second);
}

fn reverts_restarts_and_keeps_secrets(world: &World, app: &App, first: &str, second: &str) {
    let revert = |to: &[&str]| {
        world
            .windlass(&[&["revert", "guestbook"], to, &["--wait"]].concat())
            .ok();
        let deploy = app.newest();
        assert_eq!(
            (&deploy["status"], &deploy["trigger"]),
            (&"live".into(), &"revert".into())
        );
        assert_eq!(
            App::phases(&deploy)[..2],
            ["checkout:skipped", "build:skipped"]
        );
    };
    let newest = app.live().unwrap()["commit"].as_str().unwrap().to_owned();
    let oldest = app.deploys().last().unwrap()["commit"]
        .as_str()
        .unwrap()
        .to_owned();
    revert(&[]);
    app.serves(first);
    assert_eq!(app.branch().unwrap(), oldest);
    revert(&[&newest[..12]]);
    app.serves(second);
    let never_live = app
        .deploys()
        .into_iter()
        .find(|deploy| deploy["status"] == "failed")
        .unwrap();
    let refused = world.windlass(&[
        "revert",
        "guestbook",
        never_live["commit"].as_str().unwrap(),
    ]);
    assert!(
        refused.code == 1 && refused.stderr.contains("was never live"),
        "{refused:?}"
    );

    let (_, entries) = app.get("/api/entries");
    assert!(
        entries.contains("\"count\": 1"),
        "what was written is kept: {entries}"
    );

    world
        .windlass(&["env", "set", "guestbook", "SECURE_HSTS_SECONDS=77"])
        .ok();
    world.windlass(&["restart", "guestbook", "--wait"]).ok();
    app.serves(second);
    let inside = docker(&[
        "exec",
        &app.live_container(),
        "printenv",
        "SECURE_HSTS_SECONDS",
    ])
    .ok();
    assert_eq!(inside.trim(), "77");

    world.windlass(&["reload", "guestbook"]).ok();
    wait_for("gunicorn reloads", Duration::from_secs(10), || {
        let logs = world.windlass(&["logs", "guestbook", "--since", "1m"]).ok();
        (logs.contains("Handling signal: hup")).then_some(())
    });
    app.serves(second);

    let output = world
        .windlass(&["logs", "guestbook", "--tail", "1000", "--json"])
        .ok();
    let releases: std::collections::BTreeSet<i64> = output
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["deploy"]
                .as_i64()
                .unwrap()
        })
        .collect();
    assert!(
        releases.contains(&1) && releases.contains(&2),
        "output of containers long gone: {releases:?}"
    );

    let hidden = world.windlass(&["env", "list", "guestbook"]).ok();
    assert!(
        hidden.contains("SECRET_KEY") && !hidden.contains(SECRET),
        "{hidden}"
    );
    assert_eq!(
        world.json(&["env", "list", "guestbook"])["SECRET_KEY"],
        serde_json::Value::Null
    );
    assert!(
        world
            .windlass(&["env", "list", "guestbook", "--reveal"])
            .ok()
            .contains(SECRET)
    );
    for image in world.images() {
        let inspected = docker(&["image", "inspect", &image]).ok()
            + &docker(&["history", "--no-trunc", &image]).ok();
        assert!(
            !inspected.contains(SECRET) && !inspected.contains(PASSWORD),
            "{image} holds a secret"
        );
    }
    for secret in [SECRET, PASSWORD] {
        let found = run(Command::new("grep")
            .args(["-rlaF", "--", secret])
            .arg(&world.home));
        assert_eq!(found.stdout, "", "a secret in plain text: {found:?}");
        assert!(!world.server_log().contains(secret));
    }
    assert_eq!(
        found_text(world, "Guestbook, first edition"),
        1,
        "grep does find what is there"
    );
}

/// How many of the server's folders hold a text: the proof that the search for secrets can find.
fn found_text(world: &World, text: &str) -> usize {
    std::fs::write(world.home.join("canary"), text).unwrap();
    let found = run(Command::new("grep")
        .args(["-laF", "--", text])
        .arg(world.home.join("canary")));
    found.stdout.lines().count()
}

fn post(world: &World, app: &App, path: &str, body: &str) -> (u16, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "-w",
        "\n%{http_code}",
        "--data-binary",
        body,
    ]);
    curl.arg("-H")
        .arg(format!("Host: {}", app.domain))
        .args(["-H", "Content-Type: text/plain"]);
    let output = run(curl.arg(format!("http://127.0.0.1:{}{path}", world.port)));
    let (body, status) = output.stdout.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

const FAILING_MIGRATION: &str = "from django.db import migrations


def fail(apps, schema_editor):
    raise RuntimeError('this migration always fails')


class Migration(migrations.Migration):
    dependencies = [('entries', '0001_initial')]
    operations = [migrations.RunPython(fail)]
";

/// Healthy at first, and then it is not there any more.
const DIES: &str = "import os, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        print('something that gave up', flush=True)
        threading.Timer(0.7, lambda: os._exit(7)).start()


HTTPServer(('0.0.0.0', 8000), Handler).serve_forever()
";
