//! Builds of two apps: neither learns or changes anything of the other's, by cache or by image.

use crate::app::App;
use crate::world::{World, docker, salt};

/// Puts lines before the app's own Dockerfile begins to differ, where a cache would be shared.
fn first(app: &App, lines: &str) {
    let dockerfile = include_str!("app/Dockerfile");
    let (from, rest) = dockerfile.split_once('\n').unwrap();
    app.write("Dockerfile", &format!("{from}\n{lines}\n{rest}"));
    app.commit("Another Dockerfile");
}

#[test]
fn no_step_and_no_cache_mount_is_shared_with_another_app() {
    let world = World::new();
    let (one, other) = (world.app("one"), world.app("other"));
    let salt = salt();
    let (ours, theirs) = (format!("ours-{salt}"), format!("theirs-{salt}"));
    for (app, token) in [(&one, &ours), (&other, &theirs)] {
        app.manifest("[build]\nsecrets = [\"TOKEN\"]\n");
        let variable = format!("TOKEN={token}");
        world.windlass(&["env", "set", &app.name, &variable]).ok();
    }
    // The same steps in both. What the first finds in the mount is written by itself alone.
    let steps = format!(
        "RUN --mount=type=secret,id=TOKEN cp /run/secrets/TOKEN /fetched && : {salt}\n\
         RUN --mount=type=cache,id={salt},target=/c cp /c/left /found 2>/dev/null; cp /fetched /c/left; touch /found"
    );
    for app in [&one, &other] {
        first(app, &steps);
        let push = app.push();
        assert_eq!(push.code, 0, "{}", push.output);
    }
    let file = |app: &App, path: &str| docker(&["exec", &app.live_container(), "cat", path]).ok();
    assert_eq!(file(&one, "/fetched").trim(), ours);
    assert_eq!(file(&other, "/fetched").trim(), theirs, "a cached step");
    assert_eq!(file(&other, "/found").trim(), "", "a cache mount");

    // Its own it has.
    first(&one, &format!("{steps}\nRUN echo again"));
    let push = one.push();
    assert!(push.output.contains("CACHED"), "{}", push.output);
}

#[test]
fn the_builders_own_arguments_are_refused() {
    let world = World::new();
    let app = world.app("shop");
    for name in ["HTTPS_PROXY", "no_proxy", "BUILDKIT_CACHE_MOUNT_NS"] {
        app.manifest(&format!("[build.args]\n{name} = \"x\"\n"));
        app.commit("An argument");
        app.failed(&app.push(), "checkout", name, None);
    }
}

#[test]
fn no_image_of_another_app_can_be_named() {
    let world = World::new();
    let (one, other) = (world.app("one"), world.app("other"));
    one.commit("First");
    let push = one.push();
    assert_eq!(push.code, 0, "{}", push.output);
    let image = docker(&["inspect", "-f", "{{.Config.Image}}", &one.live_container()]).ok();
    let (installation, rest) = image.trim().split_once('/').unwrap();
    let (_, tag) = rest.rsplit_once(':').unwrap();
    let guesses = [
        format!("{installation}/one:{tag}"),
        format!("{installation}/one:latest"),
        format!("{installation}/one/{}:{tag}", "0".repeat(32)),
    ];
    for guess in guesses {
        // The engine looks for it where images are, and says so in its own words.
        let (repository, _) = guess.rsplit_once(':').unwrap();
        other.write("Dockerfile", &format!("FROM {guess}\n"));
        other.commit("Somebody else's");
        other.failed(&other.push(), "build", repository, None);
        let copied = format!("FROM windlass-local/python\nCOPY --from={guess} / /x\n");
        other.write("Dockerfile", &copied);
        other.commit("Some of it");
        other.failed(&other.push(), "build", repository, None);
    }
    // The name is secret, and it is the right one: with it, it would work.
    other.write("Dockerfile", &format!("FROM {}\n", image.trim()));
    other.commit("As if it were known");
    let push = other.push();
    assert_eq!(push.code, 0, "{}", push.output);
}
