//! What is kept and what goes: images, build cache, logs, rows. Nothing on offer is ever lost by it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::app::{App, MANIFEST};
use crate::own_engine::{Containers, OwnEngine};
use crate::world::{World, run, salt, wait_for};

/// What a script of Python's sqlite3 prints, run on the world's database.
fn sql(world: &World, statement: &str) -> String {
    let script = "import sqlite3, sys\n\
        database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)\n\
        print(*[row[0] for row in database.execute(sys.argv[2])])";
    let database = world.home.join("windlass.db");
    run(Command::new("python3")
        .args(["-c", script])
        .arg(database)
        .arg(statement))
    .ok()
    .trim()
    .to_owned()
}

/// The ids of an engine's records of build cache whose step has `text` in it.
fn cached(engine: &OwnEngine, text: &str) -> Vec<String> {
    let socket = engine.place().socket().unwrap();
    let mut curl = Command::new("curl");
    curl.arg("-sS").arg("--unix-socket").arg(socket);
    let told = run(curl.arg("http://docker/system/df?verbose=1&type=build-cache")).ok();
    let told: Value = serde_json::from_str(&told).unwrap();
    let records = told["BuildCache"]
        .as_array()
        .or(told["BuildCacheUsage"]["Items"].as_array());
    let with = |record: &&Value| {
        record["Description"]
            .as_str()
            .unwrap_or_default()
            .contains(text)
    };
    let ids = records.expect("the build cache").iter().filter(with);
    ids.map(|record| record["ID"].as_str().unwrap().to_owned())
        .collect()
}

/// On an engine of its own: one removes a record at a time, some 15 ms each, and the machine's has
/// those of every test.
#[test]
fn the_build_cache_is_bounded_and_a_revert_needs_none_of_it() {
    let engine = OwnEngine::take(Containers::GoOn);
    let docker = |words: &[&str]| engine.place().docker(words);
    let world = World::with_engine(&engine);
    let app = world.app("shop");
    let salt = salt().to_string();
    let docker_file = include_str!("app/Dockerfile");
    let first = format!(
        "FROM windlass-local/python AS made\nRUN echo {salt} && head -c 40000000 /dev/urandom > /big\n"
    );
    app.write(
        "Dockerfile",
        &format!("{first}{docker_file}COPY --from=made /etc/hostname /made\n"),
    );
    app.version("one");
    app.went_live(&app.push(), "one");
    app.version("two");
    app.went_live(&app.push(), "two");
    assert!(!cached(&engine, &salt).is_empty(), "the build left cache");
    let volume = docker(&[
        "volume",
        "create",
        "--label",
        &format!("windlass.home={}", world.home.display()),
    ])
    .ok();
    let volume = volume.trim();
    docker(&["tag", "windlass-local/python", "windlass-e2e-house"]).ok();

    assert_eq!(world.stop_server(), 0);
    world.add_config("[keep]\nbuild_cache = \"20m\"\n");
    world.start();
    wait_for("the old build cache goes", Duration::from_secs(60), || {
        cached(&engine, &salt).is_empty().then_some(())
    });
    docker(&["volume", "rm", volume]).ok();
    docker(&["image", "rm", "windlass-e2e-house"]).ok();
    app.serves("two");
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("one");
    assert_eq!(
        App::phases(&app.newest())[..2],
        ["checkout:skipped", "build:skipped"]
    );
    app.version("three");
    app.went_live(&app.push(), "three");
}

#[test]
fn of_images_the_last_releases_are_kept_and_nothing_of_what_failed() {
    let world = World::with("[keep]\nreleases = 2\n");
    let app = world.app("shop");
    for text in ["one", "two"] {
        app.version(text);
        app.went_live(&app.push(), text);
    }
    let good = fs::read_to_string(app.work.join("windlass.toml")).unwrap();
    app.manifest("[[gates]]\nname = \"no\"\nrun = [\"false\"]\n");
    app.version("red");
    app.failed(&app.push(), "gate:no", "exit status 1", Some("two"));
    app.write(
        "windlass.toml",
        &good
            .replace("/healthz", "/status/500")
            .replace("\"8s\"", "\"2s\""),
    );
    app.version("sick");
    app.failed(&app.push(), "health", "not healthy", Some("two"));
    app.write("windlass.toml", &good.replace("\"1s\"", "\"6s\""));
    app.version("slow");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("health");
    // Of two that wait, the newer takes the other's place.
    app.version("waits");
    let superseded = app.begin_push(&["main"]);
    wait_for("it is queued", Duration::from_secs(10), || {
        (app.newest()["status"] == "queued").then_some(())
    });
    app.write("windlass.toml", &good);
    app.version("three");
    let last = app.begin_push(&["main"]);
    assert!(superseded.end().last().starts_with("SUPERSEDED"));
    world.windlass(&["deploy", "cancel", &id.to_string()]).ok();
    assert!(push.end().last().starts_with("CANCELLED"));
    app.went_live(&last.end(), "three");
    // The same image again, under another deploy.
    world.windlass(&["restart", "shop", "--wait"]).ok();
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("two");

    let tags = || {
        world
            .images()
            .iter()
            .map(|i| i.rsplit(':').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let three = app
        .deploys()
        .iter()
        .rfind(|d| d["subject"] == "three")
        .unwrap()["id"]
        .to_string();
    let expected = ["d2".to_owned(), format!("d{three}")];
    wait_for("what failed is removed", Duration::from_secs(20), || {
        (tags().len() == 2).then_some(())
    });
    assert_eq!(tags(), expected, "both with a name");
}

/// Deploys whose commits are kept, and deploys that have logs.
fn kept(world: &World, app: &App) -> (Vec<String>, Vec<String>) {
    let refs = [
        "for-each-ref",
        "--format=%(refname:lstrip=2)",
        "refs/deploys",
    ];
    let refs = run(&mut App::git_in(&app.repository(), &refs)).ok();
    let logs = fs::read_dir(world.home.join("logs")).unwrap();
    let logs = logs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    (
        sorted(refs.lines().map(str::to_owned).collect()),
        sorted(logs.collect()),
    )
}

#[test]
fn old_deploys_are_forgotten_and_every_revert_on_offer_works() {
    let world = World::with("[keep]\nreleases = 3\n");
    let app = world.app("shop");
    let mut commits = Vec::new();
    for text in ["one", "two", "three"] {
        commits.push(app.version(text));
        app.went_live(&app.push(), text);
    }
    app.manifest("[[gates]]\nname = \"no\"\nrun = [\"false\"]\n");
    for text in ["four", "five", "six"] {
        app.version(text);
        app.failed(&app.push(), "gate:no", "exit status 1", Some("three"));
    }
    app.write("windlass.toml", MANIFEST);
    // 7 runs two's release, 8 and 9 what 7 went back to, 10 a fourth commit.
    world
        .windlass(&["revert", "shop", &commits[1], "--wait"])
        .ok();
    world.windlass(&["restart", "shop", "--wait"]).ok();
    world.windlass(&["restart", "shop", "--wait"]).ok();
    commits.push(app.version("ten"));
    app.went_live(&app.push(), "ten");
    sql(
        &world,
        "INSERT INTO sessions (token_hash, user_id, created_at, expires_at) SELECT x'00', id, 1, 2 FROM users",
    );

    assert_eq!(world.stop_server(), 0);
    // As a server that was killed in the middle leaves a deploy that it forgets.
    fs::remove_dir_all(world.home.join("logs/5")).unwrap();
    run(&mut App::git_in(
        &app.repository(),
        &["update-ref", "-d", "refs/deploys/5"],
    ))
    .ok();
    // And logs of a deploy that there is not.
    fs::create_dir(world.home.join("logs/77")).unwrap();
    world.add_config("deploys = 2\n");
    world.start();
    // 10 and 9 are the newest. 3 has an image that is kept; 2 is what 9 began with, and its own
    // image runs in 9. One's image is beyond the three of two, three and ten.
    let ids = || sql(&world, "SELECT id FROM deploys ORDER BY id");
    wait_for("old deploys are forgotten", Duration::from_secs(20), || {
        (ids() == "2 3 9 10").then_some(())
    });
    wait_for("what is past is gone", Duration::from_secs(10), || {
        (sql(&world, "SELECT count(*) FROM sessions") == "0").then_some(())
    });
    let names = ["10", "2", "3", "9"].map(str::to_owned).to_vec();
    assert_eq!(kept(&world, &app), (names.clone(), names));
    assert_eq!(
        sql(
            &world,
            "SELECT count(*) FROM phases WHERE deploy_id NOT IN (SELECT id FROM deploys)"
        ),
        "0"
    );
    assert_eq!(world.windlass(&["deploy", "show", "1"]).code, 1);
    assert!(
        !world.server_log().contains("left for the next time"),
        "{}",
        world.server_log()
    );
    app.serves("ten");

    // What git may remove now, it removes, and nothing that is on offer.
    run(&mut App::git_in(
        &app.repository(),
        &["reflog", "expire", "--expire=now", "--all"],
    ))
    .ok();
    run(&mut App::git_in(
        &app.repository(),
        &["gc", "--quiet", "--prune=now"],
    ))
    .ok();
    let missing = ["cat-file", "-e", &commits[0]];
    assert_ne!(
        run(&mut App::git_in(&app.repository(), &missing)).code,
        128,
        "the branch's history is there"
    );
    let page = revertible(&world);
    assert_eq!(page, [3, 9]);
    for (target, text) in [(3, "three"), (9, "two")] {
        let commit = world.deploy(target)["commit"].as_str().unwrap().to_owned();
        world.windlass(&["revert", "shop", &commit, "--wait"]).ok();
        app.serves(text);
        assert_eq!(
            App::phases(&app.newest())[..2],
            ["checkout:skipped", "build:skipped"]
        );
    }
    // Before what 9 began with there is nothing any more.
    let none = world.windlass(&["revert", "shop", "--wait"]);
    assert!(
        none.code == 1 && none.stderr.contains("no release before"),
        "{none:?}"
    );
    app.version("eleven");
    app.went_live(&app.push(), "eleven");
}

/// The deploys that the app's page offers to go back to: the newest of each commit whose image is kept.
fn revertible(world: &World) -> Vec<i64> {
    let ids = sql(
        world,
        "SELECT max(deploy_id) FROM releases WHERE image_kept AND commit_id != \
         (SELECT commit_id FROM deploys WHERE status = 'live') GROUP BY commit_id ORDER BY 1",
    );
    ids.split(' ').map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_build_that_prints_without_end_is_cut_in_its_log_and_goes_on() {
    let world = World::with("[keep]\nlog_size = \"1m\"\n");
    let app = world.app("shop");
    let docker = include_str!("app/Dockerfile");
    let noise = format!(
        "RUN for i in 1 2 3 4 5 6 7 8; do head -c 400000 /dev/zero | tr '\\0' x | fold -w 99; sleep 0.3; done; echo the last $((40+2)) words # {}",
        salt()
    );
    app.write(
        "Dockerfile",
        &docker.replace("EXPOSE", &format!("{noise}\nEXPOSE")),
    );
    app.version("one");
    let push = app.push();
    app.went_live(&push, "one");
    push.says("this log has reached 1 MiB (keep.log_size)")
        .says("[left out here: ");
    assert!(!push.output.contains("the last 42 words"));
    let size = fs::metadata(world.home.join("logs/1/01-build.log"))
        .unwrap()
        .len();
    assert!((900_000..1_060_000).contains(&size), "{size}");

    // What a failed build printed last is told all the same.
    app.write(
        "Dockerfile",
        &docker.replace(
            "EXPOSE",
            &format!("{}\nEXPOSE", noise.replace(" # ", "; exit 3 # ")),
        ),
    );
    app.version("two");
    let push = app.push();
    app.failed(&push, "build", "exit code: 3", Some("one"));
}

#[test]
fn doctor_tells_what_takes_the_space() {
    let world = World::new();
    let app = world.app("shop");
    // An image whose every layer another test's has as well would have nothing of its own.
    let docker = include_str!("app/Dockerfile");
    app.write(
        "Dockerfile",
        &format!("{docker}RUN echo {} > /salt\n", salt()),
    );
    app.version("one");
    app.went_live(&app.push(), "one");
    let findings = world.windlass(&["doctor", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(&findings.stdout).unwrap();
    let bytes = |check: &str| {
        let finding = findings.iter().find(|finding| finding["check"] == check);
        finding.unwrap_or_else(|| panic!("no {check} in {findings:#?}"))["bytes"]
            .as_u64()
            .unwrap()
    };
    for check in ["images of shop", "logs", "repositories", "database"] {
        assert!(bytes(check) > 0, "{check}");
    }
    bytes("build cache");
    let text = world.windlass(&["doctor"]).stdout;
    let (_, space) = text
        .split_once("What takes the space:\n")
        .expect("a section");
    assert!(
        space.contains("images of shop") && space.contains("keep.build_cache"),
        "{space}"
    );
}
