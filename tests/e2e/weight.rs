//! What a page weighs on its way to a phone, through a real Caddy, and whom else it asks for anything.

use std::collections::BTreeSet;
use std::process::Command;

use crate::app::App;
use crate::browser::first_password;
use crate::world::{World, run};

/// The dashboard's public name in this test.
const DASHBOARD: &str = "dash.test";
/// The most that a page may weigh on the first visit, with all that it loads, in bytes.
const MOST: u64 = 60_000;

/// `curl`, as a browser on another machine asks for a path of the dashboard.
fn curl(world: &World, more: &[&str], path: &str) -> String {
    let mut curl = Command::new("curl");
    let lead = format!("{DASHBOARD}:{}:127.0.0.1", world.port);
    curl.args([
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--resolve",
        &lead,
    ])
    .args(more);
    run(curl.arg(format!("http://{DASHBOARD}:{}{path}", world.port))).ok()
}

/// How many bytes an answer is, headers and all, to who takes it compressed.
fn weight(world: &World, cookie: &str, path: &str) -> u64 {
    let more = [
        "-H",
        cookie,
        "-H",
        "accept-encoding: gzip",
        "-o",
        "/dev/null",
        "-w",
    ];
    let told = curl(
        world,
        &[&more[..], &["%{size_header} %{size_download} %{http_code}"]].concat(),
        path,
    );
    let [header, body, status] = told.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{told}")
    };
    assert_eq!(status, "200", "{path}");
    header.parse::<u64>().unwrap() + body.parse::<u64>().unwrap()
}

/// What a page loads by itself.
fn loaded(page: &str) -> BTreeSet<String> {
    let tags = page.split('<').filter(|tag| {
        ["link ", "script ", "img "]
            .iter()
            .any(|t| tag.starts_with(t))
    });
    let source = |tag: &str| {
        let (_, rest) = tag
            .split_once("src=\"")
            .or_else(|| tag.split_once("href=\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    tags.filter_map(source).collect()
}

/// Lines that hardly compress, longer than a screen is wide.
const NOISE: &str = "import random, string
letters = random.Random(7)
for _ in range(500):
    print(''.join(letters.choices(string.ascii_letters + string.digits, k=400)), flush=True)
";

/// A page with all that it loads: compressed, light, and of nobody else.
fn is_light(world: &World, cookie: &str, path: &str) {
    let page = curl(world, &["-H", cookie], path);
    let loaded = loaded(&page);
    assert!(
        loaded.len() >= 3,
        "{path} has its style, its script and its icon: {loaded:?}"
    );
    assert!(
        loaded.iter().all(|source| source.starts_with("/static/")),
        "{path}: {loaded:?}"
    );
    let all = loaded.iter().map(String::as_str).chain([path]);
    let whole: u64 = all.map(|path| weight(world, cookie, path)).sum();
    println!("{path} weighs {whole} bytes");
    assert!(whole <= MOST, "{path} weighs {whole} bytes");
    assert!(
        weight(world, cookie, path) < page.len() as u64 || page.len() < 1024,
        "{path} is compressed"
    );
}

/// However long the lines are: of a gate that went well, of one that failed, and of the app itself.
fn long_lines_are_light(world: &World, app: &App, cookie: &str) {
    let gate = |end: &str| {
        format!("[[gates]]\nname = \"noise\"\nrun = [\"python\", \"-c\", \"import extra{end}\"]\n")
    };
    app.write("extra.py", NOISE);
    app.manifest(&gate(""));
    app.version("loud");
    app.went_live(&app.push(), "loud");
    let path = format!("/apps/shop/deploys/{}", app.newest()["id"]);
    for part in ["", "?line=2.250", "?before=2.300", "?q=a"] {
        is_light(world, cookie, &format!("{path}{part}"));
    }
    for part in ["", "?q=a"] {
        is_light(world, cookie, &format!("/apps/shop/logs{part}"));
    }
    app.manifest(&gate("; raise SystemExit(3)"));
    app.version("loud and wrong");
    app.failed(&app.push(), "gate:noise", "3", Some("loud"));
    is_light(
        world,
        cookie,
        &format!("/apps/shop/deploys/{}", app.newest()["id"]),
    );
}

#[test]
fn every_page_is_light_and_asks_nobody_else() {
    let world = World::changed(|config| format!("dashboard_domain = \"{DASHBOARD}\"\n{config}"));
    let app = world.app("shop");
    for version in ["one", "two", "three"] {
        app.version(version);
        app.went_live(&app.push(), version);
    }
    let form = ["--data-urlencode", "name=admin", "--data-urlencode"];
    let password = format!("password={}", first_password(&world));
    let answer = curl(
        &world,
        &[&form[..], &[&password, "-D", "-"]].concat(),
        "/login",
    );
    let (_, set) = answer
        .split_once("Set-Cookie: ")
        .unwrap_or_else(|| panic!("{answer}"));
    let cookie = format!("cookie: {}", set.split(';').next().unwrap());

    let deploy = format!("/apps/shop/deploys/{}", app.newest()["id"]);
    let pages = [
        "/login",
        "/",
        "/apps/shop",
        &deploy,
        "/apps/shop/env",
        "/apps/shop/logs",
        "/account",
        "/audit",
    ];
    for path in pages {
        // Whoever is in already is not shown the way in.
        let cookie = if path == "/login" {
            "cookie: none"
        } else {
            &cookie
        };
        is_light(&world, cookie, path);
    }
    long_lines_are_light(&world, &app, &cookie);
}
