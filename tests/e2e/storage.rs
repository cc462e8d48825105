//! The disk under the home folder: full, read-only, its database held by somebody else, files removed.
//! The site serves all the while, and when the disk is well again so is everything else.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::app::{App, MANIFEST};
use crate::load::Asking;
use crate::world::{Disk, World, docker, mounts, run, salt, wait_for};

/// On a disk of 64 MiB nothing would be built otherwise.
const SMALL: &str = "[keep]\nfree = \"1m\"\n";

/// Room taken on a disk until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    /// Leaves the home folder's disk without a free byte.
    fn full(world: &World) -> Self {
        // The database overwrites its log from the beginning once it was copied: without one, its
        // next change needs room.
        let script = "import sqlite3, sys\n\
            print(sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone())";
        let database = world.home.join("windlass.db");
        let done = run(Command::new("python3").args(["-c", script]).arg(database)).ok();
        assert_eq!(done, "(0, 0, 0)\n");
        let ballast = Self(world.home.join("ballast"));
        let mut file = File::create(&ballast.0).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        ballast
    }

    /// Takes so many MiB.
    fn of(world: &World, mib: usize) -> Self {
        let ballast = Self(world.home.join("ballast"));
        fs::write(&ballast.0, vec![0; mib << 20]).unwrap();
        ballast
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A world on a small disk with an app whose first release serves, its clients asking.
fn small_world(disk: Disk) -> World {
    World::on(disk, SMALL)
}

fn first_release(world: &World) -> (App<'_>, Asking) {
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(world, &app.domain);
    (app, asking)
}

/// A build step that prints once a second for five seconds, and is in nobody's cache.
fn slow_step(app: &App, prints: &str) {
    let step = format!(
        "RUN for i in 1 2 3 4 5; do sleep 1; {prints}; done; echo {}",
        salt()
    );
    let docker = include_str!("app/Dockerfile");
    app.write(
        "Dockerfile",
        &docker.replace("EXPOSE", &format!("{step}\nEXPOSE")),
    );
}

/// Lists work while nothing can be written.
fn can_be_read(world: &World) {
    for words in [
        &["app", "list"][..],
        &["deploys", "shop"],
        &["deploy", "show", "1"],
        &["logs", "shop"],
    ] {
        world.windlass(words).ok();
    }
}

/// Fills the disk while a push is in `phase`.
fn full_in(phase: &str, prepare: impl FnOnce(&App)) {
    let world = small_world(Disk::Memory(64));
    let (app, asking) = first_release(&world);
    prepare(&app);
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase(phase);
    let ballast = Ballast::full(&world);
    wait_for("the end cannot be written", Duration::from_secs(60), || {
        world
            .server_log()
            .contains("outcome cannot be written")
            .then_some(())
    });
    can_be_read(&world);
    assert_eq!(app.get("/").1, "one\n");
    let containers = app.containers();
    assert!(
        containers.len() == 1 && containers[0].ends_with("_live"),
        "{containers:?}"
    );
    drop(ballast);

    let push = push.end();
    let deploy = app.failed(&push, phase, "full", Some("one"));
    assert_eq!(deploy["id"], id);
    app.went_live(&app.push(), "two");
    asking.all_good(50);
}

#[test]
fn a_disk_that_is_full_during_a_build_fails_the_deploy_and_nothing_else() {
    full_in("build", |app| {
        slow_step(app, "head -c 20000 /dev/zero | tr '\\0' x | fold -w 90");
    });
}

#[test]
fn a_disk_that_is_full_during_health_fails_the_deploy_and_nothing_else() {
    full_in("health", |app| {
        app.write("windlass.toml", &MANIFEST.replace("\"1s\"", "\"4s\""))
    });
}

#[test]
fn a_release_that_cannot_be_written_down_is_swapped_back() {
    full_in("verify", |app| {
        app.write(
            "windlass.toml",
            &MANIFEST.replace("timeout = \"4s\"", "path = \"/slow/6\"\ntimeout = \"60s\""),
        );
    });
}

#[test]
fn a_disk_that_is_full_once_a_release_is_live_delays_the_end_and_no_more() {
    let world = small_world(Disk::Memory(64));
    let (app, asking) = first_release(&world);
    app.write_slow_health();
    app.version("two");
    std::thread::scope(|scope| {
        let push = app.begin_push(&["main"]);
        app.wait_for_phase("health");
        let slow = scope.spawn(|| app.get("/slow/9"));
        app.wait_for_phase("drain");
        let ballast = Ballast::full(&world);
        wait_for("the end cannot be written", Duration::from_secs(60), || {
            world
                .server_log()
                .contains("outcome cannot be written")
                .then_some(())
        });
        assert_eq!(slow.join().unwrap(), (200, "one: slept\n".to_owned()));
        assert_eq!(app.get("/").1, "two\n");
        can_be_read(&world);
        drop(ballast);
        let push = push.end();
        // Its drain could not be written down either: what is left of the old one goes by the worker.
        app.in_order("two", Duration::from_secs(30));
        app.went_live(&push, "two");
    });
    asking.all_good(50);
}

#[test]
fn git_refuses_a_push_to_a_full_disk_and_takes_it_once_there_is_room() {
    let world = small_world(Disk::Memory(64));
    let (app, asking) = first_release(&world);
    let before = (app.newest()["id"].clone(), app.branch());
    app.version("two");
    let ballast = Ballast::full(&world);
    let push = app.push();
    assert!(
        push.code != 0 && !push.output.contains("LIVE"),
        "{}",
        push.output
    );
    push.says("No space left on device");
    can_be_read(&world);
    drop(ballast);
    assert_eq!((app.newest()["id"].clone(), app.branch()), before);
    app.serves("one");
    app.went_live(&app.push(), "two");
    asking.all_good(50);
}

/// A thread of the app that prints numbered lines, 20 a second.
const TALKATIVE: &str = "import threading, time\n\
    def talk():\n    for n in range(10**6):\n        print(f'number {n} ' + 500 * '.', flush=True)\n        time.sleep(0.05)\n\
    threading.Thread(target=talk, daemon=True).start()\n";

#[test]
fn what_an_app_prints_to_a_full_disk_is_kept_once_there_is_room() {
    let world = small_world(Disk::Memory(64));
    let app = world.app("shop");
    app.write("extra.py", TALKATIVE);
    app.version("one");
    app.went_live(&app.push(), "one");
    let asking = Asking::begin(&world, &app.domain);
    let ballast = Ballast::full(&world);
    wait_for("output cannot be kept", Duration::from_secs(20), || {
        world
            .server_log()
            .contains("output cannot be kept")
            .then_some(())
    });
    let (before, began) = (cpu_ticks(&world), Instant::now());
    std::thread::sleep(Duration::from_secs(6));
    let share = (cpu_ticks(&world) - before) as f64 / 100.0 / began.elapsed().as_secs_f64();
    assert!(share < 0.2, "the server is busy with nothing: {share}");
    assert_eq!(
        world.server_log().matches("output cannot be kept").count(),
        1,
        "told once"
    );
    let numbers = || -> Vec<u64> {
        let printed = world.windlass(&["logs", "shop", "--since", "10m"]).ok();
        let number = |line: &str| {
            line.split("number ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse()
                .ok()
        };
        printed.lines().filter_map(number).collect()
    };
    let last = *numbers().last().unwrap();
    drop(ballast);
    wait_for("it goes on", Duration::from_secs(20), || {
        (numbers().last() > Some(&(last + 100))).then_some(())
    });
    let numbers = numbers();
    assert_eq!(
        numbers,
        (0..numbers.len() as u64).collect::<Vec<_>>(),
        "none is missing, none is there twice"
    );
    asking.all_good(50);
    app.write("extra.py", "");
    app.version("two");
    app.went_live(&app.push(), "two");
}

/// The processor time that the server has used, in hundredths of a second.
fn cpu_ticks(world: &World) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", world.server_pid())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_build_without_room_is_refused_before_it_begins() {
    let world = World::on(Disk::Memory(64), "[keep]\nfree = \"30m\"\n");
    let (app, asking) = first_release(&world);
    app.version("two");
    app.went_live(&app.push(), "two");

    let ballast = Ballast::of(&world, 40);
    app.version("three");
    let push = app.push();
    let deploy = app.failed(&push, "build", "there is no room for a build", Some("two"));
    push.says("30 MiB must be (keep.free)")
        .says("Windlass takes: images ")
        .says("(shop ");
    push.says("build cache")
        .says("logs")
        .says("windlass doctor")
        .says("push again");
    assert_eq!(App::phases(&deploy), ["checkout:ok", "build:failed"]);
    let doctor = world.json(&["doctor"]);
    let disk = doctor
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "disk")
        .unwrap();
    assert!(
        disk["status"] != "ok" && disk["found"].as_str().unwrap().contains("MiB free"),
        "{disk}"
    );
    // What needs no build needs no room for one.
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("one");
    drop(ballast);
    app.went_live(&app.push(), "three");

    // What may go, goes before a deploy is refused: here logs that belong to no deploy.
    let orphan = world.home.join("logs/999999");
    fs::create_dir(&orphan).unwrap();
    fs::write(orphan.join("app.log"), vec![0; 40 << 20]).unwrap();
    app.version("four");
    let push = app.push();
    push.says("removing old logs, deploys and build cache")
        .says("there is room now");
    app.went_live(&push, "four");
    assert!(!orphan.exists());
    asking.all_good(50);
}

#[test]
fn a_disk_that_turns_read_only_refuses_deploys_and_is_taken_up_again_once_mended() {
    let disk = Disk::Image(64);
    let world = small_world(disk);
    let (app, asking) = first_release(&world);
    app.write("windlass.toml", &MANIFEST.replace("\"1s\"", "\"4s\""));
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("health");
    // What the disk has not got yet is lost with it.
    run(Command::new("sync").arg("-f").arg(&world.home)).ok();
    let device = mounts(&world.home)[0].0.clone();
    let errors = Path::new("/sys/fs/ext4")
        .join(device.file_name().unwrap())
        .join("trigger_fs_error");
    fs::write(errors, "an error for the tests").unwrap();
    assert_eq!(
        fs::write(world.home.join("x"), "").unwrap_err().kind(),
        std::io::ErrorKind::ReadOnlyFilesystem
    );
    wait_for("the deploy breaks off", Duration::from_secs(60), || {
        (app.containers().len() == 1).then_some(())
    });
    can_be_read(&world);
    assert_eq!(app.get("/").1, "one\n");
    let refused = world.windlass(&["restart", "shop"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("the database"),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("I/O error") || refused.stderr.contains("read-only"),
        "{refused:?}"
    );
    app.version("three");
    let refused = app.push();
    assert!(refused.code != 0, "{}", refused.output);
    refused.says("remote unpack failed");
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    assert_eq!(app.newest()["id"], id);
    asking.all_good(50);

    // The usual way: what uses the disk ends, it is checked, and all begins anew.
    assert_eq!(world.stop_server(), 0);
    push.end();
    docker(&["rm", "-f", &world.containers("windlass.role=caddy")[0]]).ok();
    run(Command::new("umount").arg(&world.home)).ok();
    // A copy: another test's container may still have the disk mounted, as it was when that began.
    let image = world.home.with_extension("img");
    fs::copy(&image, image.with_extension("copy")).unwrap();
    fs::rename(image.with_extension("copy"), &image).unwrap();
    let checked = run(Command::new("/sbin/e2fsck").arg("-fy").arg(&image));
    assert_eq!(checked.code, 1, "mended: {checked:?}");
    disk.mount(&world.home);
    world.start();
    let deploy = app.wait_for_end(id);
    assert_eq!(
        (&deploy["status"], &deploy["attempts"]),
        (&"live".into(), &2.into()),
        "{deploy:#}"
    );
    app.serves("two");
}

#[test]
fn what_cannot_be_written_below_the_home_folder_fails_deploys_until_it_can() {
    let world = World::new();
    let (app, asking) = first_release(&world);
    // Seen read-only by everybody who opens something in it from now on; the database is open.
    run(Command::new("mount")
        .arg("--bind")
        .arg(&world.home)
        .arg(&world.home))
    .ok();
    run(Command::new("mount")
        .args(["-o", "remount,bind,ro"])
        .arg(&world.home))
    .ok();
    app.version("two");
    let push = app.push();
    assert!(push.code != 0, "{}", push.output);
    push.says("remote unpack failed");
    let restart = world.windlass(&["restart", "shop", "--wait"]);
    assert!(
        restart.code == 1 && restart.stderr.contains("Read-only file system"),
        "{restart:?}"
    );
    can_be_read(&world);
    run(Command::new("umount").arg(&world.home)).ok();
    app.serves("one");
    app.went_live(&app.push(), "two");
    asking.all_good(50);
}

#[test]
fn a_server_starts_on_a_full_disk_and_tells_what_it_knows() {
    let world = small_world(Disk::Memory(64));
    let (app, asking) = first_release(&world);
    let ballast = Ballast::full(&world);
    world.kill_server();
    world.start();
    can_be_read(&world);
    app.serves("one");
    drop(ballast);
    app.version("two");
    app.went_live(&app.push(), "two");
    asking.all_good(50);
}

#[test]
fn a_server_does_not_start_on_a_home_folder_that_is_read_only() {
    let world = World::idle_on(Disk::Memory(16));
    run(Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&world.home))
    .ok();
    let serve = world.windlass(&["serve"]);
    assert_eq!(serve.code, 1, "{serve:?}");
    let said = format!(
        "the home folder {} cannot be used: Read-only file system",
        world.home.display()
    );
    assert!(serve.stderr.contains(&said), "{serve:?}");
}

/// Another process that holds the database for writing.
struct Holding(Child);

impl Holding {
    fn begin(world: &World, seconds: u32) -> Self {
        let script = "import sqlite3, sys, time\n\
            database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
            database.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\ntime.sleep(float(sys.argv[2]))";
        let mut python = Command::new("python3");
        python
            .args(["-c", script])
            .arg(world.home.join("windlass.db"))
            .arg(seconds.to_string());
        let mut child = python
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }

    fn end(mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nobody_notices_that_the_database_is_held_for_two_seconds() {
    let world = World::new();
    let (app, asking) = first_release(&world);
    app.write(
        "windlass.toml",
        &MANIFEST
            .replace("\"1s\"", "\"5s\"")
            .replace("\"8s\"", "\"20s\"")
            .replace("timeout = \"4s\"", "path = \"/slow/5\"\ntimeout = \"20s\""),
    );
    app.version("two");
    let holding = Holding::begin(&world, 2);
    let push = app.begin_push(&["main"]);
    holding.end();
    // Both phases last longer than the wait for the lock and the look at them take.
    app.wait_for_phase("health");
    Holding::begin(&world, 2).end();
    app.wait_for_phase("verify");
    Holding::begin(&world, 2).end();
    app.went_live(&push.end(), "two");
    asking.all_good(50);
}

#[test]
fn a_database_held_for_half_a_minute_fails_what_is_asked_for_and_nothing_stays_open() {
    let world = World::new();
    let (app, asking) = first_release(&world);
    let other = world.app("blog");
    other.version("words");
    app.write("windlass.toml", &MANIFEST.replace("\"1s\"", "\"3s\""));
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("health");
    let holding = Holding::begin(&world, 30);
    // A push that cannot be taken is told so, and put back.
    let refused = other.push();
    refused.says("the database is held by another process");
    assert_eq!((other.branch(), other.deploys().len()), (None, 0));
    can_be_read(&world);
    holding.end();

    let push = push.end();
    let deploy = app.failed(
        &push,
        "health",
        "the database is held by another process",
        Some("one"),
    );
    assert_eq!(deploy["id"], id);
    app.went_live(&app.push(), "two");
    other.went_live(&other.push(), "words");
    asking.all_good(50);
}

#[test]
fn logs_that_somebody_removes_begin_anew() {
    let world = World::new();
    let app = world.app("shop");
    app.write("extra.py", TALKATIVE);
    app.version("one");
    app.went_live(&app.push(), "one");
    slow_step(&app, "echo count $i");
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("build");
    wait_for("the build prints", Duration::from_secs(30), || {
        let log = world.windlass(&["deploy", "log", &id.to_string()]).stdout;
        log.contains("count 1").then_some(())
    });
    fs::remove_dir_all(world.home.join("logs")).unwrap();
    let lines = || {
        world
            .windlass(&["logs", "shop", "--tail", "50"])
            .ok()
            .matches("number ")
            .count()
    };
    wait_for(
        "the app's output is kept again",
        Duration::from_secs(10),
        || (lines() > 5).then_some(()),
    );
    let push = push.end();
    push.says("this log was removed while it was written; it goes on here")
        .says("count 5");
    app.went_live(&push, "two");
    let log = world.windlass(&["deploy", "log", &id.to_string()]).ok();
    assert!(log.contains("count 5") && log.contains("is live"), "{log}");
}
