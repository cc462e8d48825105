//! Builds: what goes in, how they are stopped, and what is kept of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::App;
use crate::world::{World, docker, wait_for};

/// A Dockerfile that sleeps while it builds; the number tells the sleep from every other process.
pub fn sleeping(app: &App, seconds: f64) -> String {
    let sleep = format!("sleep {seconds:?}{:05}", std::process::id() % 100_000);
    let docker = include_str!("app/Dockerfile");
    app.write(
        "Dockerfile",
        &docker.replace("EXPOSE", &format!("RUN exec {sleep}\nEXPOSE")),
    );
    sleep
}

/// Whether a process of this command line runs, in a container or not.
pub fn runs(command: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| {
            let words = String::from_utf8_lossy(&line).replace('\0', " ");
            words.trim_end() == command
        })
}

#[test]
fn the_context_is_the_commits_folder_less_what_dockerignore_names() {
    let world = World::new();
    let app = world.app("shop");
    app.git(&["add", "-A"]).ok();
    fs::create_dir(app.work.join("web")).unwrap();
    app.git(&[
        "mv",
        "Dockerfile",
        "app.py",
        "extra.py",
        "version.txt",
        "web/",
    ])
    .ok();
    let dockerfile = include_str!("app/Dockerfile")
        .replace("EXPOSE", "ARG FLAVOUR\nRUN echo $FLAVOUR > flavour\nEXPOSE");
    app.write("web/Dockerfile", &dockerfile);
    app.manifest("[build]\ncontext = \"web\"\nargs = { FLAVOUR = \"mint\" }\n");
    app.write(
        "web/.dockerignore",
        "# no\nsecret.txt\n*.log\n!keep.log\nfolder\n!folder/kept\n",
    );
    for path in [
        "secret.txt",
        "a.log",
        "keep.log",
        "folder/gone",
        "folder/kept",
        "deep/b.log",
        "naïve name",
    ] {
        app.write(&format!("web/{path}"), &format!("this is {path}\n"));
    }
    app.write("web/run.sh", "#!/bin/sh\n");
    fs::set_permissions(
        app.work.join("web/run.sh"),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("version.txt", app.work.join("web/link")).unwrap();
    app.write("web/version.txt", "from a subfolder\n");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n";
    app.write("web/big.bin", pointer);
    app.git(&["add", "-A"]).ok();
    let submodule = format!("160000,{},web/vendored", "1".repeat(40));
    app.git(&["update-index", "--add", "--cacheinfo", &submodule])
        .ok();
    app.write(
        ".gitmodules",
        "[submodule \"v\"]\n\tpath = web/vendored\n\turl = https://example.invalid/v.git\n",
    );
    app.git(&["add", ".gitmodules"]).ok();
    app.git(&["commit", "-q", "-m", "A monorepo"]).ok();
    let push = app.push();
    let deploy = app.went_live(&push, "from a subfolder");
    push.says("big.bin")
        .says("Git LFS")
        .says("the submodule web/vendored is an empty folder");

    for there in ["keep.log", "folder/kept", "deep/b.log"] {
        assert_eq!(
            app.get(&format!("/file/{there}")).1,
            format!("100644 \nthis is {there}\n")
        );
    }
    for ignored in ["secret.txt", "a.log", "folder/gone", "windlass.toml"] {
        assert_eq!(app.get(&format!("/file/{ignored}")).0, 404, "{ignored}");
    }
    assert_eq!(app.get("/file/flavour").1, "100644 \nmint\n");
    assert!(app.get("/file/run.sh").1.starts_with("100755"));
    assert_eq!(
        app.get("/file/link").1,
        "120777 version.txt\nfrom a subfolder\n"
    );
    let named = docker(&["exec", &app.live_container(), "cat", "naïve name"]).ok();
    assert_eq!(named, "this is naïve name\n");

    let labels = docker(&[
        "image",
        "inspect",
        "-f",
        "{{json .Config.Labels}}",
        &world.images()[0],
    ])
    .ok();
    let labels: Value = serde_json::from_str(&labels).unwrap();
    assert_eq!(labels["windlass.app"], "shop");
    assert_eq!(labels["windlass.commit"], deploy["commit"]);
    assert_eq!(labels["windlass.deploy"], deploy["id"].to_string());
}

#[test]
fn a_cancelled_build_ends_with_its_processes() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");

    let sleep = sleeping(&app, 300.0);
    app.version("two");
    let push = app.begin_push(&["main"]);
    wait_for("the build sleeps", Duration::from_secs(20), || {
        runs(&sleep).then_some(())
    });
    let id = app.newest()["id"].to_string();
    let began = Instant::now();
    world.windlass(&["deploy", "cancel", &id]).ok();
    wait_for(
        "the build's process ends",
        Duration::from_secs(2).saturating_sub(began.elapsed()),
        || (!runs(&sleep)).then_some(()),
    );
    let push = push.end();
    assert!(
        push.last().starts_with(&format!("CANCELLED  deploy {id}")),
        "{}",
        push.output
    );
    let deploy = app.newest();
    assert_eq!(
        (&deploy["status"], &deploy["failure"]["phase"]),
        (&"cancelled".into(), &"build".into())
    );
    app.serves("one");
    let twice = world.windlass(&["deploy", "cancel", &id]);
    assert!(
        twice.code == 1 && twice.stderr.contains("cancelled already"),
        "{twice:?}"
    );

    app.write("Dockerfile", include_str!("app/Dockerfile"));
    app.version("three");
    app.went_live(&app.push(), "three");
}

#[test]
fn a_build_ends_at_its_timeout() {
    let world = World::with("[build]\ntimeout = \"3s\"\n");
    let app = world.app("shop");
    let sleep = sleeping(&app, 300.0);
    app.version("one");
    app.failed(&app.push(), "build", "build.timeout", None);
    wait_for("the build's process ends", Duration::from_secs(2), || {
        (!runs(&sleep)).then_some(())
    });
}

#[test]
fn apps_build_one_at_a_time_and_do_everything_else_side_by_side() {
    let world = World::new();
    let (shop, blog) = (world.app("shop"), world.app("blog"));
    blog.version("blog one");
    blog.went_live(&blog.push(), "blog one");

    sleeping(&shop, 8.0);
    shop.version("shop one");
    let shops = shop.begin_push(&["main"]);
    shop.wait_for_phase("build");
    world.windlass(&["restart", "blog", "--wait"]).ok();
    assert_eq!(
        shop.newest()["status"],
        "running",
        "the restart needed no build and did not wait for one"
    );

    blog.version("blog two");
    let push = blog.push();
    blog.went_live(&push, "blog two");
    push.says("waiting for another build to end");
    shop.went_live(&shops.end(), "shop one");
}

#[test]
fn ctrl_c_on_the_push_leaves_the_deploy_running() {
    let world = World::new();
    let app = world.app("shop");
    sleeping(&app, 3.0);
    app.version("one");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("build");
    let push = push.interrupt();
    assert_ne!(push.code, 0);
    assert!(!push.output.contains("LIVE"), "{}", push.output);
    let deploy = app.wait_for_end(id);
    assert_eq!(deploy["status"], "live", "{deploy:#}");
    app.serves("one");
    let log = world.windlass(&["deploy", "log", &id.to_string()]).ok();
    assert!(
        log.contains("-----> verify") && log.contains("is live"),
        "the log is complete: {log}"
    );
}

#[test]
fn images_beyond_those_kept_go_and_a_revert_to_one_builds_it_again() {
    let world = World::with("[keep]\nreleases = 2\n");
    let app = world.app("shop");
    let commits: Vec<String> = ["one", "two", "three"]
        .iter()
        .map(|text| {
            let commit = app.version(text);
            app.went_live(&app.push(), text);
            commit
        })
        .collect();
    let tags = || {
        world
            .images()
            .iter()
            .map(|i| i.rsplit(':').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    wait_for("two images are kept", Duration::from_secs(5), || {
        (tags() == ["d2", "d3"]).then_some(())
    });

    world
        .windlass(&["revert", "shop", &commits[0], "--wait"])
        .ok();
    app.serves("one");
    assert_eq!(App::phases(&app.newest())[..2], ["checkout:ok", "build:ok"]);
    world
        .windlass(&["revert", "shop", &commits[2], "--wait"])
        .ok();
    app.serves("three");
    assert_eq!(
        App::phases(&app.newest())[..2],
        ["checkout:skipped", "build:skipped"]
    );
    wait_for("two images are kept", Duration::from_secs(5), || {
        (tags().len() == 2).then_some(())
    });

    world
        .windlass(&["redeploy", "shop", &commits[1], "--wait"])
        .ok();
    app.serves("two");
    assert_eq!(app.newest()["trigger"], "redeploy");
    assert_eq!(app.branch().unwrap(), commits[1]);
}
