//! The dashboard's first page, and what keeps every page current, in a real Chromium.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::App;
use crate::browser::{Browser, first_password};
use crate::world::{World, wait_for};

/// How soon an open page shows what has changed.
const SOON: Duration = Duration::from_secs(3);

/// A gate that takes a while, so that a deploy is seen under way.
const SLOW: &str =
    "[[gates]]\nname = \"slow\"\nrun = [\"python\", \"-c\", \"import time; time.sleep(4)\"]\n";

impl Browser {
    fn title(&self) -> String {
        self.run("return document.title")
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Title and icon tell that state, soon.
    fn tells(&self, state: &str, page: &str) {
        let title = format!("{state} · {page} · Windlass");
        wait_for(
            &format!("the title {title:?}, not {:?}", self.title()),
            SOON,
            || (self.title() == title).then_some(()),
        );
        let icon = self.run("return document.getElementById('icon').getAttribute('href')");
        assert!(
            icon.as_str()
                .unwrap()
                .contains(&format!("icon-{}-", state.to_lowercase())),
            "{icon}"
        );
    }

    fn was_never_loaded_again(&self) {
        assert_eq!(
            self.run("return window.loadedOnce"),
            true,
            "the page was loaded again"
        );
    }
}

fn logged_in(world: &World) -> Browser {
    let browser = Browser::start(world, true);
    browser.open("/login");
    browser.axe();
    browser.log_in(&first_password(world));
    browser.shows("h1", "Apps");
    browser
}

#[test]
fn the_first_app_is_made_on_the_page_and_every_open_page_follows_its_deploys() {
    let world = World::new();
    let (one, two) = (logged_in(&world), logged_in(&world));
    one.axe();
    two.pictured("home-empty");
    two.run("window.loadedOnce = true");

    // Made by hand: what is typed stands in the commands, what is refused stays.
    one.fill("#app-name", "Shop!");
    assert!(one.text("pre.code").contains("/repos/Shop!.git"));
    one.click(".fields button");
    one.shows("#app-name-refused", "a-z, 0-9 and '-'");
    assert_eq!(
        one.run("return document.getElementById('app-name').value"),
        json!("Shop!")
    );
    one.axe();
    one.pictured("new-refused");
    one.fill("#app-name", "shop");
    one.fill("#app-domains", "shop.test");
    one.click(".fields button");
    one.shows("h1", "shop");
    one.arrives("/apps/shop");
    one.shows("pre.code", "git push prod main");
    two.shows("#app-shop", "Nothing is live yet");

    let app = App::work_tree(&world, "shop");
    app.copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/app"));
    app.manifest(SLOW);
    app.version("one");
    one.run("window.loadedOnce = true");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("gate:slow");
    let began = Instant::now();
    two.shows("#app-shop .latest", "gate:slow");
    println!("home shows a phase {:?} after it began", began.elapsed());
    two.tells("Running", "Apps");
    one.tells("Running", "shop");
    app.went_live(&push.end(), "one");
    let began = Instant::now();
    two.shows("#app-shop .meta", "deploy 1");
    two.shows("#app-shop .badge", "serving");
    println!("home shows live {:?} after the push ended", began.elapsed());
    two.tells("Live", "Apps");
    one.tells("Live", "shop");
    two.shows("#says", "shop: deploy 1 is live");
    one.was_never_loaded_again();

    follows_a_restart(&app, &two);
    two.was_never_loaded_again();
    two.axe();
    no_page_is_lost_on_a_narrow_screen(&two);
}

/// The server goes while somebody types, and a deploy fails under the next one.
fn follows_a_restart(app: &App, browser: &Browser) {
    // A page with enough apps has a search field.
    for n in 0..20 {
        app.world
            .windlass(&["app", "create", &format!("other-{n:02}")])
            .ok();
    }
    browser.shows(".pager", "20 of 21");
    browser.fill("#q", "half typ");
    app.world.kill_server();
    std::thread::sleep(Duration::from_millis(500));
    app.world.start();
    app.manifest("[[gates]]\nname = \"no\"\nrun = [\"false\"]\n");
    app.version("two");
    app.failed(&app.push(), "gate:no", "1", Some("one"));
    let began = Instant::now();
    browser.shows(".counts", "1 failed last");
    println!("home caught up {:?} after the push ended", began.elapsed());
    browser.tells("Failed", "Apps");
    let typed = browser.run("return [document.activeElement.id, document.activeElement.value]");
    assert_eq!(
        typed,
        json!(["q", "half typ"]),
        "what is half typed stays, and so does the focus"
    );
}

fn no_page_is_lost_on_a_narrow_screen(browser: &Browser) {
    browser.open("/new");
    browser.axe();
    browser.open("/");
    browser.pictured("home");
    browser.open("/?q=shop");
    browser.axe();
    browser.pictured("found");
    browser.open("/apps/shop");
    browser.axe();
    browser.pictured("shop");
    for path in [
        "/account",
        "/account/second-factor",
        "/audit",
        "/apps/shop/containers",
        "/apps/shop/domains",
        "/apps/nowhere",
    ] {
        browser.open(path);
        browser.axe();
    }
    browser.open("/?show=failed");
    assert_eq!(browser.count(".app"), 1);
    browser.open("/?q=other-0");
    assert_eq!(browser.count(".app"), 10);
}

#[test]
fn domains_of_an_app_change_without_a_deploy() {
    let world = World::new();
    let app = world.app("shop");
    world
        .windlass(&["app", "create", "blog", "--domain", "blog.test"])
        .ok();
    app.version("one");
    app.went_live(&app.push(), "one");
    let domains = |more: &[&str]| world.windlass(&[&["app", "domains", "shop"], more].concat());

    assert_eq!(domains(&[]).ok(), "shop.test\n");
    assert_eq!(
        domains(&["--add", "www.test"]).ok(),
        "shop.test\nwww.test\n"
    );
    let (status, body) = world.get("www.test", "/");
    assert!(status == 200 && body.contains("one"), "{status}: {body}");
    let taken = domains(&["--add", "blog.test"]);
    assert!(
        taken.code == 1 && taken.stderr.contains("blog.test belongs to the app blog"),
        "{taken:?}"
    );
    let unknown = domains(&["--remove", "nowhere.test"]);
    assert!(
        unknown
            .stderr
            .contains("shop does not answer to nowhere.test"),
        "{unknown:?}"
    );

    app.serves("one");

    let browser = logged_in(&world);
    browser.run(
        "return fetch('/apps/shop/domains', { method: 'POST', body: new URLSearchParams({ remove: 'shop.test' }) }).then(a => a.status)",
    );
    wait_for("the domain is gone", SOON, || {
        (world.get("shop.test", "/").0 == 404).then_some(())
    });
    assert_eq!(world.get("www.test", "/").0, 200);
    assert_eq!(app.deploys().len(), 1, "no deploy");
}

/// How soon a tab in the background tells what has changed: it looks only now and then.
const SOME_TIME: Duration = Duration::from_secs(40);

/// A gate that takes longer than a tab in the background waits before it looks.
const LONG: &str = "[[gates]]\nname = \"long\"\nrun = [\"python\", \"-c\", \"import time; print('begun', flush=True); time.sleep(20); print('done')\"]\n";

/// Every icon that the page had, and whether nobody saw the page meanwhile.
const NOTES: &str = "window.loadedOnce = true;
    window.icons = [];
    const icon = document.getElementById('icon');
    const note = () => icons.push((document.hidden ? 'hidden ' : 'seen ') + icon.href.match(/icon-[a-z]+-|icon-/)[0]);
    new MutationObserver(note).observe(icon, { attributes: true })";

impl Browser {
    /// Waits until a page's tab says so, as who looks at another tab sees it: to ask the page itself
    /// would bring it to the front.
    fn tab_says(&self, title: &str) {
        wait_for(
            &format!("a tab with the title {title:?}"),
            SOME_TIME,
            || {
                let asked = json!({ "cmd": "Target.getTargets", "params": {} });
                let tabs = self.issue("goog/cdp/execute", asked).unwrap();
                tabs["targetInfos"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|tab| tab["title"] == title)
                    .then_some(())
            },
        );
    }

    /// The icons that a page had while another tab was in front.
    fn icons_in_the_background(&self) -> Vec<String> {
        let icons: Vec<String> = serde_json::from_value(self.run("return icons")).unwrap();
        let hidden = icons
            .iter()
            .filter_map(|icon| icon.strip_prefix("hidden icon-"));
        hidden
            .map(|icon| icon.trim_end_matches('-').to_owned())
            .collect()
    }
}

#[test]
fn a_tab_in_the_background_tells_how_it_stands_and_is_current_once_somebody_looks() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let browser = logged_in(&world);
    browser.run(NOTES);
    let home = browser.tab();
    let of_app = browser.new_tab();
    browser.open("/apps/shop");
    browser.run(NOTES);
    let of_deploy = browser.new_tab();

    app.manifest(LONG);
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("gate:long");
    browser.open(&format!("/apps/shop/deploys/{id}"));
    browser.shows("#phase-2 .log", "begun");
    browser.run(NOTES);
    browser.new_tab();
    browser.tab_says("Running · Apps · Windlass");
    browser.tab_says("Running · shop · Windlass");
    app.went_live(&push.end(), "two");
    for page in ["Apps", "shop", "shop · deploy 2"] {
        browser.tab_says(&format!("Live · {page} · Windlass"));
    }
    app.manifest("[[gates]]\nname = \"no\"\nrun = [\"false\"]\n");
    app.version("three");
    app.failed(&app.push(), "gate:no", "1", Some("two"));
    browser.tab_says("Failed · Apps · Windlass");
    browser.tab_says("Failed · shop · Windlass");

    browser.to_tab(&of_app);
    browser.shows("#d3 .badge", "failed");
    browser.shows("#d2 .badge", "live");
    assert_eq!(
        browser.icons_in_the_background(),
        ["running", "live", "failed"]
    );
    browser.was_never_loaded_again();
    browser.to_tab(&home);
    browser.shows(".counts", "1 failed last");
    assert_eq!(
        browser.icons_in_the_background(),
        ["running", "live", "failed"]
    );
    browser.was_never_loaded_again();
    browser.to_tab(&of_deploy);
    browser.shows("#link", "ended: live");
    browser.shows("#head .badge", "live");
    assert_eq!(browser.icons_in_the_background(), ["live"]);
    let log = "return document.querySelector('#phase-2 .log').textContent";
    assert!(
        browser.run(log).as_str().unwrap().contains("done"),
        "what came meanwhile is there"
    );
    browser.was_never_loaded_again();
}
