//! Refs: only the deploy branch deploys, and it always names what is live.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::app::App;
use crate::world::{World, run, wait_for};

#[test]
fn only_the_deploy_branch_deploys() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");

    let other = app.push_refs(&["main:topic"]);
    other.says("topic was stored and does not deploy: only main does");
    assert_eq!((other.code, app.deploys().len()), (0, 0));
    app.serves_nothing();

    app.git(&["tag", "-a", "v1", "-m", "v1"]).ok();
    app.push_refs(&["v1"])
        .says("v1 was stored and does not deploy");
    assert_eq!(app.deploys().len(), 0);

    let several = app.push_refs(&["main", "main:other", "main:refs/tags/v2"]);
    several
        .says("other was stored and does not deploy")
        .says("v2 was stored and does not deploy");
    app.went_live(&several, "one");
    assert_eq!(app.deploys().len(), 1);

    let nothing = app.push();
    assert_eq!(nothing.code, 0);
    nothing.says("Everything up-to-date");
    assert_eq!(app.deploys().len(), 1);

    let deleted = app.push_refs(&["--delete", "main"]);
    assert!(
        deleted.output.contains("put back") || deleted.output.contains("deletion"),
        "{}",
        deleted.output
    );
    app.serves("one");
    assert_eq!(app.deploys().len(), 1);
    app.push_refs(&["--delete", "other"])
        .says("other was deleted");
    app.serves("one");
}

#[test]
fn an_unrelated_history_needs_force_and_then_deploys() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");

    app.git(&["checkout", "-q", "--orphan", "fresh"]).ok();
    app.version("unrelated");
    app.git(&["branch", "-q", "-M", "fresh", "main"]).ok();
    let refused = app.push();
    assert_ne!(refused.code, 0);
    refused.says("rejected");
    app.serves("one");
    app.went_live(&app.push_refs(&["--force", "main"]), "unrelated");

    // The earlier history is kept: going back to it works.
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("one");
}

#[test]
fn a_shallow_clone_and_an_empty_repository_come_to_something_sensible() {
    let world = World::new();
    let app = world.app("shop");
    let empty = app.push();
    assert_ne!(empty.code, 0);
    empty.says("src refspec main does not match any");
    app.serves_nothing();

    app.version("one");
    app.version("two");
    app.went_live(&app.push(), "two");

    // A clone that knows one commit only can push what follows it.
    let clone = app.work.with_file_name("shallow");
    let from = format!("file://{}", app.repository().display());
    run(&mut App::git_in(
        &world.home,
        &[
            "clone",
            "-q",
            "--depth",
            "1",
            &from,
            clone.to_str().unwrap(),
        ],
    ))
    .ok();
    std::fs::write(clone.join("version.txt"), "three").unwrap();
    run(&mut App::git_in(
        &clone,
        &["commit", "-q", "-a", "-m", "three"],
    ))
    .ok();
    let pushed = run(&mut App::git_in(&clone, &["push", "origin", "main"]));
    assert!(
        pushed.code == 0 && pushed.stderr.contains("LIVE  "),
        "{pushed:?}"
    );
    app.serves("three");

    // Into an app that has nothing yet, git itself says no, and nothing is there afterwards.
    let fresh = world.app("fresh");
    let to = fresh.repository();
    let pushed = run(&mut App::git_in(
        &clone,
        &["push", to.to_str().unwrap(), "main"],
    ));
    if pushed.code == 0 {
        assert!(pushed.stderr.contains("LIVE  "), "{pushed:?}");
        fresh.serves("three");
    } else {
        assert!(pushed.stderr.contains("shallow"), "{pushed:?}");
        fresh.serves_nothing();
    }
}

#[test]
fn pushes_queue_and_a_newer_one_supersedes_what_still_waits() {
    let world = World::new();
    let app = world.app("shop");
    app.write(
        "Dockerfile",
        &format!("{}RUN sleep 4\n", include_str!("app/Dockerfile")),
    );
    app.version("one");
    let first = app.begin_push(&["main"]);
    let one = app.wait_for_phase("build");

    app.version("two");
    let second = app.begin_push(&["main"]);
    let two = wait_for("the second is queued", Duration::from_secs(5), || {
        let newest = app.newest();
        (newest["status"] == "queued").then(|| newest["id"].as_i64())?
    });
    app.version("three");
    let third = app.begin_push(&["main"]);

    let (first, second, third) = (first.end(), second.end(), third.end());
    assert!(first.last().starts_with("LIVE  "), "{}", first.output);
    assert_eq!(second.code, 0, "git took it: {}", second.output);
    assert!(
        second
            .last()
            .starts_with(&format!("SUPERSEDED  deploy {two}")),
        "{}",
        second.output
    );
    app.went_live(&third, "three");
    third.says(&format!(
        "Deploy {} waits: deploy {one} of shop is running.",
        app.newest()["id"]
    ));

    let superseded = world.deploy(two);
    assert_eq!(superseded["status"], "superseded");
    let by = format!("deploy {}", app.newest()["id"]);
    assert!(
        superseded["failure"]["message"]
            .as_str()
            .unwrap()
            .contains(&by),
        "{superseded:#}"
    );
    assert_eq!(superseded["phases"], serde_json::json!([]));
    assert_eq!(world.deploy(one)["status"], "retired");
}

/// Beside what git itself begins to take a push.
#[test]
fn a_push_runs_few_processes_of_git() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");

    // A git that tells of each call of the server's and of no other's.
    world.stop_server();
    let (bin, calls) = (world.home.join("bin"), world.home.join("calls"));
    fs::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\nPATH=${{PATH#*:}} exec git \"$@\"\n",
        calls.display()
    );
    fs::write(bin.join("git"), script).unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    world.start_with(&[("PATH", &path)]);
    let _ = fs::remove_file(&calls);

    app.version("two");
    app.went_live(&app.push(), "two");
    let told = fs::read_to_string(&calls).unwrap();
    println!("{told}");
    assert!(told.contains("archive --format=tar"), "{told}");
    assert!(told.lines().count() <= 6, "{told}");
    fs::remove_dir_all(&bin).unwrap();
}
