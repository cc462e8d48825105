//! A server starts on the home folder of every earlier version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::app::App;
use crate::load::Asking;
use crate::world::{World, docker, run, wait_for};

/// The key of the databases in `tests/data`.
const KEY: [u8; 32] = *b"not a secret: it is in the tests";

/// Makes the home folder as an earlier version left it, with networks out of this world's addresses.
fn make(world: &World, sql: &Path) {
    let config = world.config();
    let pool = config
        .split("address_pool = \"")
        .nth(1)
        .unwrap()
        .split(".0/20")
        .next()
        .unwrap();
    let sql = fs::read_to_string(sql)
        .unwrap()
        .replace("'10.213.0.", &format!("'{pool}."));
    fs::write(world.home.join("secret.key"), KEY).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(world.home.join("windlass.db"))
        .create_if_missing(true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
    });
}

#[test]
fn a_server_takes_over_the_home_folder_of_every_earlier_version() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let earlier: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!earlier.is_empty());
    for sql in earlier {
        let world = World::idle();
        make(&world, &sql);
        world.start();

        let apps = world.json(&["app", "list"]);
        let told: Vec<_> = apps
            .as_array()
            .unwrap()
            .iter()
            .map(|a| (&a["name"], &a["status"]))
            .collect();
        assert_eq!(
            told,
            [
                (&json!("empty"), &json!("empty")),
                (&json!("shop"), &json!("down"))
            ]
        );
        let env = world.json(&["env", "list", "shop", "--reveal"]);
        assert_eq!(
            env,
            json!({"GREETING": "grüß dich", "SECRET_KEY": "s3cret"})
        );
        // What waited and ran has commits that no repository has: it ends, and says why.
        wait_for("no deploy is open", Duration::from_secs(60), || {
            let deploys = world.json(&["deploys", "shop"]);
            let open = |d: &serde_json::Value| d["status"] == "running" || d["status"] == "queued";
            (!deploys.as_array().unwrap().iter().any(open)).then_some(())
        });
        let live = world.json(&["app", "show", "shop"])["live"].clone();
        assert_eq!(
            (&live["id"], &live["trigger"]),
            (&json!(7), &json!("revert"))
        );

        let app = world.app("new");
        app.version("one");
        app.went_live(&app.push(), "one");
        let copies = fs::read_dir(&world.home)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        let copies: Vec<String> = copies.filter(|name| name.contains(".before-")).collect();
        assert_eq!(copies.len(), 1, "the way back is kept: {copies:?}");
    }
}

/// Runs on a home folder's database as it stands, and what it says.
fn change_database(world: &World, sql: &str) {
    let options = SqliteConnectOptions::new().filename(world.home.join("windlass.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
    });
}

/// Puts in a container's place one that the version before processes would have made: without the labels
/// that say which process it runs.
fn as_before_processes(name: &str) {
    let about: Value = serde_json::from_str(&docker(&["inspect", name]).ok()).unwrap();
    let (about, mut words) = (&about[0], vec!["run", "-d", "--init", "--name", name]);
    words.extend(["--restart", "unless-stopped"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let labels = about["Config"]["Labels"].as_object().unwrap().iter();
    let new = ["windlass.process", "windlass.replica"];
    let mut more: Vec<String> = labels
        .filter(|(label, _)| !new.contains(&label.as_str()))
        .map(|(label, value)| format!("--label={label}={}", value.as_str().unwrap()))
        .collect();
    let variables = about["Config"]["Env"].as_array().unwrap().iter();
    more.extend(variables.map(|variable| format!("--env={}", text(variable))));
    for (network, at) in about["NetworkSettings"]["Networks"].as_object().unwrap() {
        more.push(format!("--network={network}"));
        more.push(format!("--ip={}", text(&at["IPAddress"])));
        let aliases = at["Aliases"].as_array().unwrap().iter().map(text);
        more.extend(aliases.map(|alias| format!("--network-alias={alias}")));
    }
    more.push(text(&about["Config"]["Image"]));
    docker(&["rm", "-f", name]).ok();
    words.extend(more.iter().map(String::as_str));
    docker(&words).ok();
}

fn ids(world: &World) -> Vec<String> {
    let named = world.containers("windlass.role=web").into_iter();
    let all = named.chain(world.containers("windlass.role=caddy"));
    let id = |name: String| docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", &name]).ok();
    all.map(id).collect()
}

/// The new server takes over what runs, under load, without a restart and without a failed request; then
/// each app is deployed by it.
fn taken_over(world: &World, apps: &[App]) {
    let asking: Vec<Asking> = apps
        .iter()
        .map(|app| Asking::begin(world, &app.domain))
        .collect();
    let before = ids(world);
    assert_eq!(before.len(), apps.len() + 1);
    world.start();
    for app in apps {
        app.in_order("one", Duration::from_secs(30));
        let ps = world.json(&["ps", &app.name]);
        assert_eq!(ps.as_array().unwrap().len(), 1, "{ps}");
        assert_eq!(
            (&ps[0]["process"], &ps[0]["replica"], &ps[0]["state"]),
            (&json!("web"), &json!(1), &json!("running"))
        );
    }
    wait_for("everything was looked at", Duration::from_secs(30), || {
        let log = world
            .windlass(&["logs", &apps[0].name, "--process", "web"])
            .ok();
        log.contains("one starts").then_some(())
    });
    assert_eq!(ids(world), before, "nothing was restarted or made anew");
    for app in apps {
        app.version("two");
        app.went_live(&app.push(), "two");
    }
    for asking in asking {
        asking.all_good(50);
    }
}

#[test]
fn what_runs_without_a_word_of_its_process_goes_on_as_web() {
    let world = World::new();
    let apps = ["shop", "blog"].map(|name| {
        let app = world.app(name);
        app.version("one");
        app.went_live(&app.push(), "one");
        app
    });
    world.stop_server();
    for app in &apps {
        as_before_processes(&app.live_container());
        wait_for("it serves", Duration::from_secs(20), || {
            (app.get("/").0 == 200).then_some(())
        });
    }
    change_database(
        &world,
        "DROP TABLE processes; DELETE FROM _sqlx_migrations WHERE version = 6;",
    );
    taken_over(&world, &apps);
}

/// The last version that knew no processes.
const BEFORE: &str = "47a50faa40cc0fafb941d24487796fc5295af6e8";

/// Its binary: `WINDLASS_BEFORE`, or built from this repository's history.
fn binary_of_before() -> PathBuf {
    if let Some(path) = std::env::var_os("WINDLASS_BEFORE") {
        return path.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/before");
    let sources = tempfile::tempdir().unwrap();
    let archive = sources.path().join("sources.tar");
    let git = |args: &[&str]| run(Command::new("git").current_dir(root).args(args)).ok();
    git(&["archive", "-o", archive.to_str().unwrap(), BEFORE]);
    run(Command::new("tar")
        .current_dir(&sources)
        .arg("-xf")
        .arg(&archive))
    .ok();
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked"]).current_dir(&sources);
    run(cargo.env("CARGO_TARGET_DIR", &target)).ok();
    target.join("debug/windlass")
}

#[test]
#[ignore = "builds the version before, which takes ten minutes"]
fn live_apps_of_the_version_before_processes_go_on_under_load() {
    let before = binary_of_before();
    let world = World::idle();
    world.start_binary(&before, &[]);
    let old = |args: &[&str]| {
        let mut command = Command::new(&before);
        run(command.args(args).env("WINDLASS_HOME", &world.home)).ok()
    };
    let apps = ["shop", "blog"].map(|name| {
        let app = App::work_tree(&world, name);
        old(&["app", "create", name, "--domain", &app.domain]);
        app.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/app"));
        app.version("one");
        let push = app.push();
        assert!(push.last().starts_with("LIVE"), "{}", push.output);
        app
    });
    world.stop_server();
    taken_over(&world, &apps);
}
