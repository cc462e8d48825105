//! Doors that stay shut: the dashboard and the API as strangers, other sites and small roles find them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use crate::app::App;
use crate::browser::{Browser, first_password};
use crate::world::{World, run, wait_for};

/// Another site: it serves one page, whatever is asked, until it is dropped.
struct Site {
    port: u16,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    fn serve(page: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, ends) = (
            listener.local_addr().unwrap().port(),
            Arc::new(AtomicBool::new(false)),
        );
        let told = ends.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let _ = stream.read(&mut [0; 4096]);
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                );
            }
        });
        Self {
            port,
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn code(secret: &str, later: u64) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build_noncompliant();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    totp.generate(now + later).to_string()
}

fn deploys(world: &World) -> usize {
    world.json(&["deploys", "shop"]).as_array().unwrap().len()
}

#[test]
fn another_site_neither_acts_nor_frames_nor_plants_a_session() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let browser = Browser::start(&world, true);
    let password = first_password(&world);

    // Where to go afterwards is on this site, whatever the address says.
    browser.open("/login?next=//evil.test/");
    // A cookie that somebody planted is not what one is logged in by.
    let planted = "0".repeat(64);
    browser.run(&format!(
        "document.cookie = 'windlass_session={planted}; path=/'"
    ));
    browser.log_in(&password);
    browser.shows("h1", "Apps");
    browser.arrives("/");
    assert_eq!(
        browser.run("return document.cookie"),
        "",
        "no script reads the cookie"
    );
    let page = curl(
        &world,
        &["-b", &format!("windlass_session={planted}")],
        "/apps/shop",
    );
    assert_eq!(page.0, 303, "the planted one opens nothing");

    // What the browser is told keeps even a script that got into a page from running.
    let headers = browser.run(
        "const asked = new XMLHttpRequest(); asked.open('GET', '/', false); asked.send(); \
         return asked.getAllResponseHeaders()",
    );
    let headers = headers.as_str().unwrap();
    for header in [
        "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self';",
        "x-content-type-options: nosniff",
        "referrer-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(headers.contains(header), "{header} is not in {headers}");
    }
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit=1\">')",
    );
    browser.run(
        "const own = document.createElement('script'); own.text = 'window.hit=2'; document.body.append(own)",
    );
    wait_for("both were refused", Duration::from_secs(10), || {
        (browser
            .console()
            .iter()
            .filter(|said| said.contains("Content Security Policy"))
            .count()
            > 0)
        .then_some(())
    });
    assert_eq!(browser.run("return window.hit === undefined"), true);

    // A form on another site, and on the same site behind another port: the browser sends its cookie to
    // the second.
    let before = deploys(&world);
    let form = format!(
        "<form method=post action='{}/apps/shop/restart'></form><script>document.forms[0].submit()</script>",
        browser.dashboard
    );
    let site = Site::serve(form);
    for host in ["evil.test", "127.0.0.1"] {
        browser.visit(&format!("http://{host}:{}/", site.port));
        wait_for("the form was sent", Duration::from_secs(10), || {
            browser.at().starts_with("/").then_some(())
        });
        let seen = browser.text("main");
        assert!(
            seen.contains("another site") || seen.contains("Log in"),
            "{seen}"
        );
    }
    assert_eq!(deploys(&world), before, "nothing was restarted");

    // Nor is it shown in a frame, under somebody else's buttons.
    let frame = Site::serve(format!("<iframe src='{}/'></iframe>", browser.dashboard));
    browser.console();
    browser.visit(&format!("http://127.0.0.1:{}/", frame.port));
    wait_for("the frame is refused", Duration::from_secs(10), || {
        browser
            .console()
            .iter()
            .any(|said| said.contains("frame-ancestors"))
            .then_some(())
    });
    browser.open("/apps/shop");
    browser.shows("h1", "shop");
}

#[test]
fn a_user_looks_after_their_own_account() {
    let world = World::new();
    world.app("shop");
    world
        .windlass(&[
            "user", "add", "ann", "--role", "viewer", "--app", "shop", "--json",
        ])
        .ok();
    let password = world.json(&["user", "passwd", "ann"])["password"]
        .as_str()
        .unwrap()
        .to_owned();
    let browser = Browser::start(&world, true);
    let log_in = |password: &str, code: &str| {
        browser.open("/login");
        browser.fill("#name", "ann");
        browser.fill("#password", password);
        browser.fill("#code", code);
        browser.click(".fields button");
    };
    log_in(&password, "");
    browser.shows("h1", "Apps");
    browser.open("/audit");
    browser.shows("main", "Not allowed");
    browser.open("/apps/shop");
    assert_eq!(
        browser.count("form[action$='/redeploy'], form[action$='/restart']"),
        0
    );

    browser.click_link("ann");
    browser.shows("h1", "ann");
    browser.click_link("Turn it on");
    let secret = browser.text("pre.code");
    browser.fill("#code", "000000");
    browser.click(".fields button");
    browser.shows(".note.bad", "not right");
    assert_eq!(browser.text("pre.code"), secret, "the app has that one");
    browser.fill("#code", &code(&secret, 0));
    browser.click(".fields button");
    browser.shows(".note", "The second factor is on");
    let recovery = browser
        .text(".note pre.code")
        .lines()
        .next()
        .unwrap()
        .to_owned();

    browser.click(".top button");
    log_in(&password, "");
    browser.shows(".note.bad", "is not right");
    log_in(&password, &code(&secret, 30));
    browser.shows("h1", "Apps");
    browser.click(".top button");
    log_in(&password, &recovery);
    browser.shows("h1", "Apps");

    // A key and a token of one's own, and both away again.
    browser.open("/account");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ann@laptop";
    browser.fill("#key", key);
    browser.click("form[action='/account/keys'] button");
    browser.shows(".rows", "This one");
    browser.shows("main", "ann@laptop");
    assert_eq!(world.json(&["key", "list"])[0]["user"], "ann");
    browser.click("form[action='/account/keys/remove'] button");
    wait_for("the key is gone", Duration::from_secs(10), || {
        (world.json(&["key", "list"]) == json!([])).then_some(())
    });
    browser.fill("#token-name", "script");
    browser.click("form[action='/account/tokens'] button");
    let token = browser.text(".note pre.code");
    assert!(token.starts_with("wlt_"), "{token}");
    assert_eq!(api(&world, &token, "GET", "/whoami", "").1["name"], "ann");

    // Another password ends every other session.
    let visitor = browser.tab();
    browser.fill("#now", "wrong");
    browser.fill("#new", "correct horse battery");
    browser.click("form[action='/account/password'] button");
    browser.shows("main", "The present password is not right");
    browser.open("/account");
    browser.fill("#now", &password);
    browser.fill("#new", "correct horse battery");
    browser.click("form[action='/account/password'] button");
    browser.shows("h1", "ann");
    browser.to_tab(&visitor);

    // The phone is lost, and the codes with it: somebody at the machine helps.
    let given = world.json(&["user", "passwd", "ann", "--without-second-factor"]);
    browser.reload();
    browser.shows("h1", "Log in");
    log_in(given["password"].as_str().unwrap(), "");
    browser.shows("h1", "Apps");
    let audit = world.json(&["audit", "--limit", "50"]);
    let done: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    for action in [
        "log_in",
        "second_factor_on",
        "key_add",
        "key_remove",
        "token_create",
        "password",
        "user_passwd",
    ] {
        assert!(done.contains(&action), "{action} is not in {done:?}");
    }
    let refused: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["denied"] == true)
        .collect();
    assert!(
        refused.iter().any(|entry| entry["action"] == "log_in"),
        "{refused:?}"
    );
    assert!(!audit.to_string().contains(&password) && !audit.to_string().contains(&token));
}

/// What a page answers to curl: its status and text.
fn curl(world: &World, more: &[&str], path: &str) -> (u16, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "-w",
        "\n%{http_code}",
    ])
    .args(more);
    let page = run(curl.arg(format!("http://127.0.0.1:{}{path}", world.listen))).ok();
    let (page, status) = page.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), page.to_owned())
}

fn api(world: &World, token: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Authorization: Bearer {token}");
    let mut more = vec!["-X", method, "-H", &bearer];
    if !body.is_empty() {
        more.extend(["-H", "Content-Type: application/json", "-d", body]);
    }
    let (status, text) = curl(world, &more, &format!("/api/v1{path}"));
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{method} {path}: {e}: {text}")),
    )
}

#[test]
fn programs_come_in_by_token_and_do_what_its_scope_says() {
    let world = World::new();
    let app = world.app("shop");
    world.app("blog");
    let first = app.version("one");
    app.went_live(&app.push(), "one");
    app.version("two");
    app.went_live(&app.push(), "two");
    world
        .windlass(&[
            "user", "add", "ann", "--role", "deployer", "--app", "shop", "--app", "blog",
        ])
        .ok();
    let made = |scope: &str| {
        let words = [
            "token", "create", "ci", "--user", "ann", "--scope", scope, "--app", "shop",
        ];
        world.json(&words)["secret"].as_str().unwrap().to_owned()
    };
    let (reads, deploys) = (made("read"), made("deploy"));

    let (status, apps) = api(&world, &reads, "GET", "/apps", "");
    assert_eq!(
        (status, &apps[0]["name"], apps.as_array().unwrap().len()),
        (200, &json!("shop"), 1),
        "{apps}"
    );
    let shown = api(&world, &reads, "GET", "/apps/shop", "").1;
    assert_eq!(
        shown,
        world.json(&["app", "show", "shop"]),
        "the command line's shape"
    );
    let (status, problem) = api(&world, &reads, "POST", "/apps/shop/restart", "");
    assert_eq!(
        (status, &problem["status"]),
        (403, &json!(403)),
        "{problem}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("may see shop and not deploy it"),
        "{problem}"
    );
    assert_eq!(
        api(&world, &reads, "GET", "/apps/blog", "").0,
        404,
        "not one of the token's apps"
    );
    assert_eq!(api(&world, "wlt_0", "GET", "/apps", "").0, 401);

    let (status, deploy) = api(&world, &deploys, "POST", "/apps/shop/revert", "");
    assert_eq!(
        (status, &deploy["trigger"], &deploy["actor"]),
        (200, &json!("revert"), &json!("ann")),
        "{deploy}"
    );
    let id = deploy["id"].as_i64().unwrap();
    app.wait_for_end(id);
    app.serves("one");
    assert_eq!(
        api(&world, &deploys, "GET", &format!("/deploys/{id}"), "").1["commit"],
        first.as_str()
    );
    let mut log: Vec<Value> = Vec::new();
    let mut from = "0.0".to_owned();
    loop {
        let piece = api(
            &world,
            &reads,
            "GET",
            &format!("/deploys/1/log?from={from}"),
            "",
        )
        .1;
        log.extend(piece["lines"].as_array().unwrap().iter().cloned());
        match piece["next"].as_str().unwrap() {
            next if next == from => break,
            next => from = next.to_owned(),
        }
    }
    let printed = world.windlass(&["deploy", "log", "1", "--json"]).ok();
    let printed: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(log, printed, "the command line's lines");
    let vars = r#"{"vars": {"GREETING": "hello there"}}"#;
    assert_eq!(
        api(&world, &deploys, "POST", "/apps/shop/env", vars).1["set"],
        json!(["GREETING"])
    );
    assert_eq!(
        api(&world, &reads, "GET", "/apps/shop/env", "").1,
        json!({ "GREETING": null })
    );
    assert_eq!(
        api(&world, &reads, "GET", "/apps/shop/env?reveal=true", "").0,
        403
    );
    let bad = api(
        &world,
        &deploys,
        "POST",
        "/apps/shop/env",
        r#"{"vras": {}}"#,
    );
    assert_eq!(
        (bad.0, bad.1["detail"].as_str().unwrap().contains("vras")),
        (400, true),
        "{bad:?}"
    );
    assert_eq!(
        api(
            &world,
            &deploys,
            "POST",
            "/users",
            r#"{"name": "eve", "role": "admin"}"#
        )
        .0,
        403
    );

    // What a viewer's own rights become counts at once, and so does the end of a token.
    world
        .windlass(&["user", "role", "ann", "viewer", "--app", "shop"])
        .ok();
    assert_eq!(
        api(&world, &deploys, "POST", "/apps/shop/restart", "").0,
        403
    );
    let id = world.json(&["token", "list"])[0]["id"].to_string();
    world.windlass(&["token", "revoke", &id]).ok();
    assert_eq!(api(&world, &reads, "GET", "/apps", "").0, 401);
    let (status, document) = curl(&world, &[], "/api/v1/openapi.json");
    assert!(
        status == 200 && document.contains("\"/api/v1/apps/{app}/revert\""),
        "{document}"
    );
    let audit = world
        .json(&["audit", "--app", "shop", "--limit", "50"])
        .to_string();
    assert!(
        audit.contains("\"revert\"") && audit.contains("token ") && !audit.contains("hello there"),
        "{audit}"
    );
    let _: &App = &app;
}
