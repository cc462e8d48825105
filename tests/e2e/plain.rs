//! The dashboard for who has the script switched off: all of it but what comes by itself.

use std::time::Duration;

use crate::app::App;
use crate::browser::{Browser, first_password};
use crate::world::{World, run, wait_for};

/// How long a page that loads itself again has to show what is new.
const PATIENCE: Duration = Duration::from_secs(40);

const BROKEN: &str =
    "[[gates]]\nname = \"no\"\nrun = [\"python\", \"-c\", \"raise SystemExit('no such table')\"]\n";

/// A gate that goes on until somebody ends it.
const ENDLESS: &str =
    "[[gates]]\nname = \"long\"\nrun = [\"python\", \"-c\", \"import time; time.sleep(300)\"]\n";

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ada@laptop";

#[test]
fn everything_but_what_comes_by_itself_is_there_without_a_script() {
    let world = World::new();
    let browser = Browser::start(&world, false);
    let app = makes_an_app(&world, &browser);
    sees_it_live(&app, &browser);
    changes_its_domains(&app, &browser);
    edits_the_environment(&app, &browser);
    reads_why_one_failed(&app, &browser);
    cancels(&app, &browser);
    searches_the_logs(&app, &browser);
    filters_the_deploys(&browser);
    reverts(&app, &browser);
    looks_at_containers_and_the_badge(&app, &browser);
    minds_the_account(&browser);
    finds_its_way_on_a_first_page_with_many(&world, &browser);
    removes_it(&world, &browser);
}

fn makes_an_app<'w>(world: &'w World, browser: &Browser) -> App<'w> {
    browser.open("/");
    browser.log_in("not-the-password");
    browser.shows(".note.bad", "is not right");
    browser.log_in(&first_password(world));
    browser.shows("h1", "Apps");
    browser.open("/new");
    browser.fill("#app-name", "Shop!");
    browser.click(".fields button");
    browser.shows("#app-name-refused", "a-z, 0-9 and '-'");
    browser.fill("#app-name", "shop");
    browser.fill("#app-domains", "shop.test");
    browser.click(".fields button");
    browser.arrives("/apps/shop");
    let app = App::work_tree(world, "shop");
    app.copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/app"));
    let commands = format!(
        "git remote add prod {}\ngit push prod main",
        app.repository().display()
    );
    assert_eq!(browser.text("pre.code"), commands);
    app
}

fn sees_it_live(app: &App, browser: &Browser) {
    app.version("one");
    app.went_live(&app.push(), "one");
    browser.reload();
    browser.shows("#live .subject", "one");
    browser.shows("#d1 .badge", "live");
    browser.shows("#push pre.code", "git push prod main");
    browser.open("/");
    browser.shows("#app-shop .badge", "serving");
    browser.shows("#app-shop .meta", "deploy 1");
    browser.click("#app-shop h2 a");
    browser.arrives("/apps/shop");
}

fn changes_its_domains(app: &App, browser: &Browser) {
    let answers = |domain: &str, status: u16| {
        wait_for(&format!("{domain} answers {status}"), PATIENCE, || {
            (app.world.get(domain, "/").0 == status).then_some(())
        });
    };
    browser.fill("#add-domain", "www.test");
    browser.click("#domains .fields button");
    browser.shows("#domains ul", "www.test");
    answers("www.test", 200);
    browser.fill("#add-domain", "not!");
    browser.click("#domains .fields button");
    browser.shows("#add-domain-refused", "the domain \"not!\" is not valid");
    assert_eq!(
        browser.count("#add-domain[value='not!'][aria-invalid]"),
        1,
        "what was typed is still there"
    );
    browser.click("#domains li:nth-child(2) summary");
    browser.click("#domains li:nth-child(2) .danger");
    browser.arrives("/apps/shop#domains");
    wait_for("one domain", PATIENCE, || {
        (browser.count("#domains li") == 1).then_some(())
    });
    answers("www.test", 404);
    answers("shop.test", 200);
}

fn edits_the_environment(app: &App, browser: &Browser) {
    browser.click_link("Environment");
    browser.arrives("/apps/shop/env");
    browser.fill("#name", "GREETING");
    browser.fill("#value", "a secret hello");
    browser.click("form:has(#name) button");
    browser.shows(".variables", "GREETING");
    browser.shows(".note.calm", "GREETING");
    assert!(
        !browser.text("main").contains("hello"),
        "a value is not shown"
    );
    assert_eq!(app.get("/env/GREETING").1, "(not set)\n");
    browser.click(".note.calm button");
    browser.shows("#head .facts", "restart by admin");
    ends(browser, "live");
    assert_eq!(app.get("/env/GREETING").1, "a secret hello\n");
    browser.open("/apps/shop/env");
    assert_eq!(browser.count(".note"), 0, "it is in what runs");
    browser.click(".variables details summary");
    browser.fill("#v-GREETING", "another");
    browser.click(".variables details button");
    browser.shows(".note.calm", "GREETING");
    browser.click(".variables button.plain");
    browser.shows(".note.calm", "(removed)");
}

/// Waits until the deploy's page, which loads itself again, shows how it ended, and rests.
fn ends(browser: &Browser, status: &str) {
    wait_for(&format!("the page shows {status}"), PATIENCE, || {
        (browser.read("#head .badge")? == status).then_some(())
    });
    wait_for("the page rests", PATIENCE, || {
        (browser.count("meta[http-equiv=refresh]") == 0).then_some(())
    });
    assert_eq!(browser.text("#link"), "", "no script ran");
}

fn reads_why_one_failed(app: &App, browser: &Browser) {
    app.manifest(BROKEN);
    app.version("broken");
    app.failed(&app.push(), "gate:no", "no such table", Some("one"));
    browser.open("/apps/shop");
    browser.click_link("broken");
    browser.shows("#head .note h2", "It failed in gate:no");
    browser.shows("#head .excerpt", "no such table");
    browser.shows("#head .note", "Still serving");
    browser.shows("#phase-2 .log", "no such table");
    browser.click("#head .note .meta a");
    browser.arrives("/apps/shop/deploys/3#phase-2");
    browser.click("#head .note > p:last-child a");
    browser.arrives("/apps/shop/deploys/2");
    browser.shows("#head .badge", "live");
}

/// A page that loads itself again, where something goes on, stays as it is for who wants that.
fn holds_still(browser: &Browser, path: &str, held: &str) {
    let reloads = || browser.count("noscript meta[http-equiv=refresh]");
    browser.open(path);
    wait_for("the page loads itself again", PATIENCE, || {
        (reloads() == 1).then_some(())
    });
    browser.click_link("Hold it still");
    browser.arrives(held);
    wait_for("the page stays as it is", PATIENCE, || {
        (reloads() == 0).then_some(())
    });
}

/// From the page of a deploy that runs, which can be held still meanwhile.
fn cancels(app: &App, browser: &Browser) {
    app.manifest(ENDLESS);
    app.version("endless");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("gate:long");
    holds_still(browser, "/?q=shop", "/?page=1&q=shop&still=true");
    holds_still(browser, "/apps/shop", "/apps/shop?still=true");
    browser.click_link("endless");
    browser.shows("#head .badge", "running");
    let path = format!("/apps/shop/deploys/{id}");
    holds_still(browser, &path, &format!("{path}?still=true"));
    browser.click("#cancel > summary");
    browser.click("#cancel .danger");
    browser.arrives(&path);
    ends(browser, "cancelled");
    browser.shows("#head .note", "Still serving");
    assert!(push.end().last().starts_with("CANCELLED"));
    app.serves("one");
}

fn searches_the_logs(app: &App, browser: &Browser) {
    browser.open("/apps/shop");
    browser.click_link("Log");
    browser.arrives("/apps/shop/logs");
    browser.shows(".applog", "one starts");
    browser.shows(".applog", "one complains");
    browser.fill("input[name=q]", "COMPLAINS");
    browser.click(".seek button");
    browser.shows(".applog mark", "complains");
    assert!(!browser.text(".applog").contains("one starts"));
    browser.click("select[name=since] option[value='10m']");
    browser.click(".seek button");
    browser.arrives("/apps/shop/logs?q=COMPLAINS&since=10m");
    browser.shows(".applog", "one complains");
    browser.click(".applog .mark a");
    browser.shows("#head", "Commit");

    let failed = app
        .deploys()
        .into_iter()
        .find(|deploy| deploy["status"] == "failed")
        .unwrap();
    browser.open(&format!("/apps/shop/deploys/{}", failed["id"]));
    browser.fill("#q", "such TABLE");
    browser.click(".sift button");
    browser.shows(".found", "with “such TABLE”");
    browser.click(".found li a");
    browser.shows("#phase-2 .log > div:has(> :target)", "no such table");
}

fn filters_the_deploys(browser: &Browser) {
    browser.open("/apps/shop");
    for (status, subject) in [("failed", "broken"), ("cancelled", "endless")] {
        browser.click_link(status);
        browser.arrives(&format!("/apps/shop?status={status}"));
        browser.shows(".deploys", subject);
        assert_eq!(browser.count(".deploys > li"), 1);
    }
    browser.click_link("all");
    browser.arrives("/apps/shop");
    wait_for("all of them", PATIENCE, || {
        (browser.count(".deploys > li") == 4).then_some(())
    });
}

fn reverts(app: &App, browser: &Browser) {
    app.manifest("");
    app.version("two");
    app.went_live(&app.push(), "two");
    browser.open("/apps/shop");
    browser.click("#d1 .do a");
    browser.arrives("/apps/shop/revert?to=1");
    browser.shows("main", "What will happen");
    browser.click_link("Leave everything as it is");
    browser.arrives("/apps/shop");
    browser.click("#d1 .do a");
    browser.arrives("/apps/shop/revert?to=1");
    browser.click("main > form button");
    browser.shows("#head .facts", "revert by admin");
    ends(browser, "live");
    app.serves("one");
    browser.visit(&format!("http://shop.test:{}/", app.world.port));
    browser.shows("body", "one");
}

fn looks_at_containers_and_the_badge(app: &App, browser: &Browser) {
    browser.open("/apps/shop");
    browser.click(".loads a");
    browser.arrives("/apps/shop/containers");
    browser.shows(".facts-table tbody", "live");
    browser.shows(".facts-table tbody", "MiB");
    browser.click_link("Look again");
    browser.arrives("/apps/shop/containers");

    // By somebody who is not logged in.
    let badge = || {
        let url = format!("http://127.0.0.1:{}/badge/shop.svg", app.world.listen);
        let asked = ["-sS", "--noproxy", "*", "-w", "\n%{http_code}", &url];
        run(std::process::Command::new("curl").args(asked)).ok()
    };
    assert!(badge().ends_with("\n404"));
    browser.open("/apps/shop");
    browser.click("#picture button");
    browser.shows("#picture", "Everybody may see");
    let seen = badge();
    assert!(
        seen.contains("serving") && seen.ends_with("\n200"),
        "{seen}"
    );
    browser.click("#picture button");
    browser.shows("#picture", "nobody can tell");
    assert!(badge().ends_with("\n404"));
}

fn minds_the_account(browser: &Browser) {
    browser.click(".top a[href='/account']");
    browser.arrives("/account");
    browser.fill("#token-name", "laptop");
    browser.click("form[action='/account/tokens'] button");
    browser.shows(".note.calm", "shown this once");
    browser.open("/account");
    assert_eq!(browser.count(".note"), 0);
    browser.shows("main", "laptop");
    browser.fill("#key", KEY);
    browser.click("form[action='/account/keys'] button");
    browser.shows("main", "ada@laptop");
    for what in ["keys/remove", "tokens/revoke"] {
        browser.click(&format!("form[action='/account/{what}'] button"));
        wait_for("it is gone", PATIENCE, || {
            (browser.count(&format!("form[action='/account/{what}']")) == 0).then_some(())
        });
    }
    browser.click(".top button");
    browser.shows("h1", "Log in");
}

fn finds_its_way_on_a_first_page_with_many(world: &World, browser: &Browser) {
    for n in 0..20 {
        world
            .windlass(&["app", "create", &format!("other-{n:02}")])
            .ok();
    }
    browser.log_in(&first_password(world));
    browser.shows(".pager", "20 of 21");
    browser.click_link("Later names");
    browser.arrives("/?page=2");
    browser.shows("#app-shop", "one");
    browser.fill("#q", "other-1");
    browser.click(".search button");
    browser.arrives("/?q=other-1");
    assert_eq!(browser.count(".app"), 10);
}

fn removes_it(world: &World, browser: &Browser) {
    browser.open("/apps/shop");
    browser.fill("#destroy", "shop");
    browser.click("#danger button");
    browser.arrives("/");
    assert_eq!(world.windlass(&["app", "show", "shop"]).code, 1);
}
