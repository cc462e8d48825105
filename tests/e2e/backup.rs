//! Backup and restore: a machine is lost, or only the home folder, or the backup itself is spoilt.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use age::secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use windlass::config::Home;
use windlass::domain::AppName;
use windlass::git::Repositories;
use windlass::store::{Sealer, Store};

use crate::app::{App, MANIFEST};
use crate::world::{Output, World, command, docker, run, wait_for};

const SECRET: &str = "5ecret-of-the-shop";
const SUBJECT: &str = "A plan that nobody may read";

/// A recipient, and the file with its secret key.
fn age_keys(folder: &Path) -> (String, PathBuf) {
    let identity = age::x25519::Identity::generate();
    let file = folder.join("key.txt");
    fs::write(
        &file,
        format!(
            "# made for a test\n{}\n",
            identity.to_string().expose_secret()
        ),
    )
    .unwrap();
    (identity.to_public().to_string(), file)
}

fn words<'a>(args: &[&'a str], paths: &[&'a Path]) -> Vec<&'a str> {
    args.iter()
        .copied()
        .chain(paths.iter().map(|path| path.to_str().unwrap()))
        .collect()
}

fn holds(file: &Path, what: &[u8]) -> bool {
    fs::read(file)
        .unwrap()
        .windows(what.len())
        .any(|window| window == what)
}

/// Spoils a copy of a backup.
fn spoilt(backup: &Path, name: &str, how: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(backup).unwrap();
    how(&mut bytes);
    let path = backup.with_file_name(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Pushes to branches that do not deploy, again and again, while something is done.
fn while_pushing<T>(app: &App, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            let mut pushed = 0;
            while !stop.load(Ordering::Relaxed) {
                app.git(&[
                    "commit",
                    "-q",
                    "--allow-empty",
                    "-m",
                    &format!("Aside {pushed}"),
                ])
                .ok();
                app.git(&[
                    "push",
                    "-q",
                    "prod",
                    &format!("HEAD:refs/heads/aside-{pushed}"),
                ])
                .ok();
                pushed += 1;
            }
            pushed
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        assert!(pushing.join().unwrap() > 0);
        done
    })
}

#[test]
fn a_lost_machine_comes_back_from_a_backup_made_during_a_deploy() {
    let world = World::new();
    let folder = world.home.parent().unwrap().to_owned();
    let (recipient, identity) = age_keys(&folder);

    let shop = world.app("shop");
    world
        .windlass(&["env", "set", "shop", &format!("TOKEN={SECRET}")])
        .ok();
    shop.version(SUBJECT);
    shop.went_live(&shop.push(), SUBJECT);
    let blog = world.app("blog");
    for version in ["one", "two"] {
        blog.version(version);
        blog.went_live(&blog.push(), version);
    }
    blog.manifest("[[gates]]\nname = \"check\"\nrun = [\"false\"]\n");
    blog.version("three");
    blog.failed(&blog.push(), "gate:check", "exit status 1", Some("two"));
    blog.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    let late = world.app("late");
    late.write(
        "windlass.toml",
        &MANIFEST
            .replace("\"8s\"", "\"60s\"")
            .replace("\"1s\"", "\"12s\""),
    );
    late.version("only just pushed");
    let before = world.json(&["app", "list"]);
    let blogs = world.json(&["deploys", "blog"]);

    // Two backups while one deploy is under way and branches are pushed.
    let push = late.begin_push(&["main"]);
    let under_way = late.wait_for_phase("health");
    let (sealed, open) = (folder.join("passphrase.age"), folder.join("recipient.age"));
    while_pushing(&shop, || {
        let mut backup = world.command(&words(&["backup"], &[&sealed]));
        run(backup.env("WINDLASS_PASSPHRASE", "correct horse battery staple")).ok();
        let made = world.json(&words(&["backup", "--recipient", &recipient], &[&open]));
        assert_eq!(made["missing"], json!([]), "{made:#}");
        assert_eq!(made["bytes"], fs::metadata(&open).unwrap().len());
        let names: Vec<_> = made["apps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|app| &app["name"])
            .collect();
        assert_eq!(names, ["blog", "late", "shop"]);
    });
    assert_eq!(
        world.deploy(under_way)["status"],
        "running",
        "the backup was made during a deploy"
    );
    shop.git(&["reset", "-q", "--hard", "prod/main"]).ok();
    drop(push);

    for backup in [&sealed, &open] {
        assert_eq!(
            backup.metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        for secret in [
            SECRET,
            SUBJECT,
            "correct horse",
            "shop.test",
            "SQLite format",
        ] {
            assert!(
                !holds(backup, secret.as_bytes()),
                "{secret} is to be read in {}",
                backup.display()
            );
        }
        assert!(!holds(
            backup,
            &fs::read(world.home.join("secret.key")).unwrap()
        ));
    }
    world.lose_machine();

    // What does not open, or is not whole, makes no home.
    let half = spoilt(&open, "half.age", |bytes| bytes.truncate(bytes.len() / 2));
    let flipped = spoilt(&open, "flipped.age", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let key = identity.to_str().unwrap();
    for (args, told) in [
        (
            words(&["restore", "--identity", key], &[&half]),
            "damaged or cut short",
        ),
        (
            words(&["restore", "--identity", key], &[&flipped]),
            "damaged or cut short",
        ),
        (words(&["restore"], &[&open]), "--identity FILE"),
        (
            words(&["restore"], &[&sealed]),
            "the passphrase does not open this backup. Nothing was changed",
        ),
    ] {
        let refused = run(world
            .command(&args)
            .env("WINDLASS_PASSPHRASE", "a wrong one"));
        assert_eq!(
            (refused.code, refused.stdout.as_str()),
            (1, ""),
            "{args:?}: {refused:?}"
        );
        assert!(refused.stderr.contains(told), "{args:?}: {refused:?}");
        assert!(!world.home.exists(), "{args:?}");
    }

    // The passphrase opens its own. Only looking: another folder, no server.
    let drill = folder.join("drill");
    let mut looking = command(&drill, &words(&["restore", "--json"], &[&sealed]));
    let looked = run(looking.env("WINDLASS_PASSPHRASE", "correct horse battery staple")).ok();
    let looked: Value = serde_json::from_str(&looked).unwrap();
    assert_eq!(
        (&looked["missing"], looked["apps"].as_array().unwrap().len()),
        (&json!([]), 3)
    );

    let told = world
        .windlass(&words(&["restore", "--identity", key], &[&open]))
        .ok();
    for part in [
        "windlass serve",
        "  windlass redeploy blog --wait",
        "  windlass redeploy shop --wait",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(
        told.contains("whose backup is yours") && !told.contains("redeploy late"),
        "{told}"
    );
    world.start();
    assert_eq!(
        world.json(&["deploys", "blog"]),
        blogs,
        "its history is there"
    );
    world.windlass(&["deploy", "log", "2"]).ok();

    // What was under way at the time runs again by itself.
    let ended = late.wait_for_end(under_way);
    assert_eq!(ended["status"], "live", "{ended:#}");
    late.serves("only just pushed");
    for (app, text) in [(&shop, SUBJECT), (&blog, "two")] {
        let show = world.json(&["app", "show", &app.name]);
        assert_eq!(
            show["status"], "down",
            "its container and image were lost with the machine"
        );
        world.windlass(&["redeploy", &app.name, "--wait"]).ok();
        app.serves(text);
    }
    let after = world.json(&["app", "list"]);
    for (was, is) in before
        .as_array()
        .unwrap()
        .iter()
        .zip(after.as_array().unwrap())
    {
        assert_eq!(
            (&was["name"], &was["domains"], &was["remote"]),
            (&is["name"], &is["domains"], &is["remote"])
        );
        if was["name"] != "late" {
            assert_eq!(was["live"]["commit"], is["live"]["commit"]);
        }
    }
    assert_eq!(shop.get("/env/TOKEN"), (200, format!("{SECRET}\n")));
    let aside = ["for-each-ref", "--format=%(refname)", "refs/heads/aside-0"];
    assert!(
        !run(&mut App::git_in(&shop.repository(), &aside))
            .ok()
            .is_empty(),
        "every branch is there"
    );

    // The old clones push on, and what was tried before is still known.
    blog.version("four");
    blog.went_live(&blog.push(), "four");
    world.windlass(&["revert", "blog", "--wait"]).ok();
    blog.serves("two");
    let again = world.windlass(&words(&["restore", "--identity", key], &[&open]));
    assert_eq!(again.code, 1);
    assert!(
        again.stderr.contains("is in use: it holds windlass.db"),
        "{again:?}"
    );
    blog.serves("two");
}

#[test]
fn when_only_the_home_folder_is_lost_the_containers_serve_on() {
    let world = World::new();
    let folder = world.home.parent().unwrap().to_owned();
    let (recipient, identity) = age_keys(&folder);
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let backup = folder.join("b.age");
    // A stopped server is backed up as well as a running one.
    assert_eq!(world.stop_server(), 0);
    world
        .windlass(&words(&["backup", "--recipient", &recipient], &[&backup]))
        .ok();
    world.start();
    let container = docker(&["inspect", "-f", "{{.Id}}", &app.live_container()]).ok();

    world.kill_server();
    fs::rename(&world.home, folder.join("aside")).unwrap();
    assert_eq!(
        app.get("/"),
        (200, "one\n".to_owned()),
        "nobody outside notices"
    );
    world
        .windlass(&words(
            &["restore", "--identity", identity.to_str().unwrap()],
            &[&backup],
        ))
        .ok();
    world.start();
    app.serves("one");
    assert_eq!(
        docker(&["inspect", "-f", "{{.Id}}", &app.live_container()]).ok(),
        container,
        "the same one"
    );
    app.version("two");
    app.went_live(&app.push(), "two");
}

/// A home folder with a database and a repository, and nothing on the engine.
struct Bare {
    dir: tempfile::TempDir,
    home: PathBuf,
}

impl Bare {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("run")).unwrap();
        let bare = Self { dir, home };
        let app: AppName = "shop".parse().unwrap();
        bare.block_on(async |store| {
            store.instance().await.unwrap();
            store
                .create_app(&app, &[], "10.213.0.0/26".parse().unwrap())
                .await
                .unwrap();
            Repositories::new(bare.home.join("repos"), "main", 1 << 30)
                .create(&app)
                .await
                .unwrap();
        });
        bare
    }

    fn block_on(&self, work: impl AsyncFnOnce(Store)) {
        let home = Home::new(&self.home).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            work(
                Store::open(&home.database(), Sealer::open(&home.key()).unwrap())
                    .await
                    .unwrap(),
            )
            .await;
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn windlass(&self, args: &[&str], paths: &[&Path]) -> Output {
        run(&mut command(&self.home, &words(args, paths)))
    }

    /// Restores a backup into a new folder, which it then forgets.
    fn restores(&self, backup: &Path, identity: &Path) {
        let home = tempfile::tempdir().unwrap();
        let args = words(&["restore", "--identity"], &[identity, backup]);
        run(&mut command(home.path(), &args)).ok();
    }
}

#[test]
fn a_copy_of_a_home_folder_does_not_serve_beside_it() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let copy = world.home.with_extension("copy");
    run(Command::new("cp").arg("-a").arg(&world.home).arg(&copy)).ok();
    let serve = run(Command::new(env!("CARGO_BIN_EXE_windlass"))
        .arg("--home")
        .arg(&copy)
        .arg("serve"));
    fs::remove_dir_all(&copy).unwrap();
    assert_eq!(serve.code, 1, "{serve:?}");
    assert!(
        serve
            .stderr
            .contains(&format!("a server runs on {}", world.home.display())),
        "{serve:?}"
    );
    app.in_order("one", Duration::from_secs(5));
}

#[test]
fn a_passphrase_comes_from_a_file_or_the_environment_and_a_backup_through_a_pipe() {
    let bare = Bare::new();
    let (file, passphrase) = (bare.path("b.age"), bare.path("passphrase"));
    fs::write(&passphrase, "correct horse\n").unwrap();
    let given = ["--passphrase-file", passphrase.to_str().unwrap()];
    // Whoever runs the tests may have a terminal.
    let mut without = Command::new("setsid");
    without
        .args(["--wait", env!("CARGO_BIN_EXE_windlass"), "backup"])
        .arg(&file);
    let made = run(without.env("WINDLASS_HOME", &bare.home));
    assert_eq!(made.code, 2, "no terminal to ask on: {made:?}");
    assert!(
        made.stderr
            .contains("--passphrase-file or WINDLASS_PASSPHRASE"),
        "{made:?}"
    );
    assert!(!file.exists() && !bare.path("b.age.partial").exists());

    let told = bare
        .windlass(&[&["backup"], &given[..]].concat(), &[&file])
        .ok();
    assert!(
        told.contains("Not in it: images") && told.contains("shop  nothing"),
        "{told}"
    );
    let again = bare.windlass(&[&["backup"], &given[..]].concat(), &[&file]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("--force replaces it"), "{again:?}");
    bare.windlass(&[&["backup", "--force"], &given[..]].concat(), &[&file])
        .ok();

    // To a pipe and from one: what is told goes to standard error.
    let mut piped = command(&bare.home, &["backup", "-"]);
    let piped = piped
        .env("WINDLASS_PASSPHRASE", "correct horse")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(piped.status.success() && piped.stdout.starts_with(b"age-encryption.org/v1\n"));
    assert!(String::from_utf8_lossy(&piped.stderr).contains("Not in it: images"));
    let home = bare.path("restored");
    let mut restore = command(
        &home,
        &[&["restore"], &given[..], &["-", "--json"]].concat(),
    );
    let mut restore = restore
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    restore
        .stdin
        .take()
        .unwrap()
        .write_all(&piped.stdout)
        .unwrap();
    let done = restore.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&told["home"], &told["apps"]),
        (&json!(home), &json!([{"name": "shop", "live": null}]))
    );
    assert_eq!((&told["format"], &told["missing"]), (&json!(1), &json!([])));
    assert!(home.join("repos/shop.git/hooks/post-receive").exists());
}

#[test]
fn a_passphrase_is_asked_for_twice_on_a_terminal() {
    let bare = Bare::new();
    let file = bare.path("b.age");
    let typed = |second: &str| {
        let line = format!(
            "tty; exec {} backup {}",
            env!("CARGO_BIN_EXE_windlass"),
            file.display()
        );
        let mut terminal = Command::new("script");
        terminal
            .args(["-qec", &line, "/dev/null"])
            .env("WINDLASS_HOME", &bare.home);
        let mut terminal = terminal
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut keys, mut screen) = (
            terminal.stdin.take().unwrap(),
            terminal.stdout.take().unwrap(),
        );
        let mut shown = String::new();
        for (prompt, answer) in [
            ("Passphrase for the backup: ", "correct horse"),
            ("The same again: ", second),
        ] {
            while !shown.contains(prompt) {
                let mut byte = [0];
                screen.read_exact(&mut byte).unwrap();
                shown.push(byte[0].into());
            }
            let tty = shown.lines().next().unwrap();
            wait_for(
                "the terminal shows no more what is typed",
                Duration::from_secs(10),
                || {
                    run(Command::new("stty").args(["-F", tty, "-a"]))
                        .ok()
                        .contains(" -echo ")
                        .then_some(())
                },
            );
            keys.write_all(format!("{answer}\r").as_bytes()).unwrap();
        }
        screen.read_to_string(&mut shown).unwrap();
        assert!(
            !shown.contains("horse"),
            "what is typed is not shown: {shown}"
        );
        (terminal.wait().unwrap().code(), shown)
    };
    let (code, shown) = typed("correct hose");
    assert_eq!(code, Some(2), "{shown}");
    assert!(
        shown.contains("the two are not the same") && !file.exists(),
        "{shown}"
    );
    let (code, shown) = typed("correct horse");
    assert_eq!(code, Some(0), "{shown}");
    let restore = ["restore", file.to_str().unwrap()];
    run(command(&bare.path("r"), &restore).env("WINDLASS_PASSPHRASE", "correct horse")).ok();
}

#[test]
fn a_backup_killed_anywhere_leaves_the_one_before_and_hinders_no_other() {
    let bare = Bare::new();
    let (recipient, identity) = age_keys(bare.dir.path());
    let file = bare.path("b.age");
    let args = words(&["backup", "--force", "--recipient", &recipient], &[&file]);
    let began = std::time::Instant::now();
    run(&mut command(&bare.home, &args)).ok();
    let whole = began.elapsed();
    for part in 1..=8 {
        let before = fs::read(&file).unwrap();
        let mut backup = command(&bare.home, &args);
        let mut backup = backup
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * part / 8);
        let _ = backup.kill();
        backup.wait().unwrap();
        // Either it came to its end, or the one before is untouched.
        assert!(fs::read(&file).unwrap() == before || !bare.path("b.age.partial").exists());
        bare.restores(&file, &identity);
    }
    bare.windlass(&["backup", "--force", "--recipient", &recipient], &[&file])
        .ok();
    assert!(!bare.path("b.age.partial").exists() && !bare.home.join("run/backup").exists());
    bare.restores(&file, &identity);
}

#[test]
fn an_incomplete_backup_says_so_and_replaces_none() {
    let bare = Bare::new();
    let (recipient, identity) = age_keys(bare.dir.path());
    let (good, other) = (bare.path("good.age"), bare.path("other.age"));
    bare.windlass(&["backup", "--recipient", &recipient], &[&good])
        .ok();
    let before = fs::read(&good).unwrap();
    fs::remove_dir_all(bare.home.join("repos/shop.git")).unwrap();
    let lacking = bare.windlass(&["backup", "--force", "--recipient", &recipient], &[&good]);
    assert_eq!(lacking.code, 1);
    assert!(
        lacking.stderr.contains("the repository of shop is gone")
            && lacking.stderr.contains("stays as it is")
    );
    assert!(fs::read(&good).unwrap() == before);
    let lacking = bare.windlass(&["backup", "--recipient", &recipient], &[&other]);
    assert_eq!(lacking.code, 1);
    assert!(
        lacking
            .stdout
            .contains("MISSING in it: the repository of shop is gone"),
        "{lacking:?}"
    );
    bare.restores(&other, &identity);
}

#[test]
fn a_database_of_a_newer_windlass_is_refused_by_every_command_that_opens_it() {
    let bare = Bare::new();
    let (recipient, _) = age_keys(bare.dir.path());
    let database = bare.home.join("windlass.db");
    bare.block_on(async |store| {
        drop(store);
        let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&database)).await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations SELECT 9000, description, installed_on, success, checksum, \
                     execution_time FROM _sqlx_migrations WHERE version = 1";
        sqlx::query(newer).execute(&pool).await.unwrap();
        pool.close().await;
    });
    let before = fs::read(&database).unwrap();
    let file = bare.path("b.age");
    let told = [
        bare.windlass(&["serve"], &[]),
        bare.windlass(&["backup", "--recipient", &recipient], &[&file]),
    ];
    for refused in told {
        assert_eq!(refused.code, 1, "{refused:?}");
        for part in [
            "written by a newer Windlass: its schema is 9000",
            "Nothing was changed",
            "Install the newer",
        ] {
            assert!(refused.stderr.contains(part), "no {part:?} in {refused:?}");
        }
    }
    assert!(fs::read(&database).unwrap() == before);
    assert!(!file.exists() && !bare.home.join("windlass.db.before-9000").exists());
}

#[test]
fn no_server_starts_in_the_middle_of_a_restore() {
    let bare = Bare::new();
    let home = bare.path("half");
    fs::create_dir_all(home.join("restoring")).unwrap();
    let refused = run(&mut command(&home, &["serve"]));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("a restore works in"), "{refused:?}");
    assert!(!home.join("windlass.db").exists() && !home.join("secret.key").exists());
    // A restore made again finishes it.
    let (recipient, identity) = age_keys(bare.dir.path());
    let file = bare.path("b.age");
    bare.windlass(&["backup", "--recipient", &recipient], &[&file])
        .ok();
    run(&mut command(
        &home,
        &words(&["restore", "--identity"], &[&identity, &file]),
    ))
    .ok();
    wait_for("all of it is in place", Duration::from_secs(1), || {
        (!home.join("restoring").exists()).then_some(())
    });
}
