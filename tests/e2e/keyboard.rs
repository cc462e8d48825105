//! The dashboard by keyboard alone, with the focus in sight at every stop and never lost under a page
//! that changes by itself.

use std::time::Duration;

use fantoccini::key::Key;
use serde_json::json;

use crate::app::App;
use crate::browser::{Browser, first_password};
use crate::world::{World, wait_for};

/// How long a page may take to show what it has to.
const PATIENCE: Duration = Duration::from_secs(20);

/// No element is more stops away than this.
const FARTHEST: usize = 80;

/// More lines than a log shows at once, and then a while, so that the deploy is seen under way.
const LONG: &str = "[[gates]]\nname = \"long\"\nrun = [\"python\", \"-c\", \"import time; [print('line', n, flush=True) for n in range(200)]; time.sleep(4)\"]\n";

const TAB: char = '\u{e004}';
const SHIFT: char = '\u{e008}';
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';

impl Browser {
    fn types(&self, text: &str) {
        text.chars().for_each(|key| self.press(&[key]));
    }

    /// Whether the focus is on the element, or on one of these.
    fn is_on(&self, css: &str) -> bool {
        self.run(&format!("return document.activeElement.matches({css:?})")) == true
    }

    /// Who looks sees where the focus is.
    fn focus_is_seen(&self) {
        let seen = "const style = getComputedStyle(document.activeElement);
            const box = document.activeElement.getBoundingClientRect();
            return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0
                && box.bottom > 0 && box.top < innerHeight && box.width > 0";
        let at =
            "const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
            return [e.outerHTML.slice(0, 200), style.outline, box.top, box.bottom, innerHeight]";
        assert_eq!(
            self.run(seen),
            true,
            "the focus is not seen: {}",
            self.run(at)
        );
    }

    /// Goes on by the tab key until the focus is there; each stop on the way is seen as well.
    fn tab_to(&self, css: &str) {
        self.walk(css, &[TAB]);
    }

    fn tab_back_to(&self, css: &str) {
        self.walk(css, &[SHIFT, TAB]);
    }

    fn walk(&self, css: &str, keys: &[char]) {
        for _ in 0..FARTHEST {
            self.press(keys);
            if self.run("return document.activeElement !== document.body") == true {
                self.focus_is_seen();
            }
            if self.is_on(css) {
                return;
            }
        }
        panic!("{css} is not within {FARTHEST} stops at {}", self.at());
    }
}

#[test]
fn everything_is_within_reach_of_the_keyboard_and_the_focus_stays() {
    let world = World::new();
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let browser = Browser::start(&world, true);
    logs_in(&world, &browser);
    reaches_the_app(&browser);
    keeps_the_focus_while_the_page_changes(&app, &browser);
    reads_a_log(&browser);
    keeps_the_focus_on_a_deploys_page(&app, &browser);
    reverts(&app, &browser);
    asks_and_takes_back(&browser);
    removes(&world, &browser);
}

fn logs_in(world: &World, browser: &Browser) {
    browser.open("/");
    browser.arrives("/login");
    wait_for("the first field has the focus", PATIENCE, || {
        browser.is_on("#name").then_some(())
    });
    browser.focus_is_seen();
    browser.types("admin");
    browser.tab_to("#password");
    browser.types(&first_password(world));
    browser.press(&[ENTER]);
    browser.shows("h1", "Apps");
}

/// The first stop of a page leads past what all pages have.
fn reaches_the_app(browser: &Browser) {
    browser.press(&[TAB]);
    assert!(browser.is_on(".skip"), "the first stop");
    browser.focus_is_seen();
    browser.press(&[ENTER]);
    wait_for("the content has the focus", PATIENCE, || {
        browser.is_on("#main").then_some(())
    });
    browser.tab_to("#app-shop h2 a");
    browser.press(&[ENTER]);
    browser.arrives("/apps/shop");
    browser.shows("h1", "shop");
}

fn keeps_the_focus_while_the_page_changes(app: &App, browser: &Browser) {
    browser.run("window.loadedOnce = true");
    browser.tab_to("#d1 a.subject");
    app.manifest(LONG);
    app.version("two");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("gate:long");
    browser.shows("#d2 .badge", "running");
    assert!(
        browser.is_on("#d1 a.subject"),
        "the focus stays while a row comes"
    );
    app.went_live(&push.end(), "two");
    browser.shows("#d2 .badge", "live");
    browser.shows("#d1 .do", "Revert");
    assert!(
        browser.is_on("#d1 a.subject"),
        "the focus stays while rows change"
    );
    assert_eq!(browser.run("return window.loadedOnce"), true);
    browser.tab_back_to("#d2 a.subject");
    browser.press(&[ENTER]);
    browser.arrives("/apps/shop/deploys/2");
    browser.shows("h1", "two");
}

fn reads_a_log(browser: &Browser) {
    let open = || browser.run("return document.querySelector('#phase-2').open");
    let top = || {
        browser
            .run("return document.querySelector('#phase-2 .log').scrollTop")
            .as_f64()
            .unwrap()
    };
    browser.tab_to("#phase-2 > summary");
    assert_eq!(open(), false);
    browser.press(&[' ']);
    wait_for("the log opens", PATIENCE, || (open() == true).then_some(()));
    browser.tab_to("#phase-2 .log");
    wait_for("it is at its end", PATIENCE, || {
        (top() > 500.0).then_some(())
    });
    let end = top();
    (0..6).for_each(|_| browser.press(&[Key::Up.into()]));
    wait_for("it goes up", PATIENCE, || {
        (top() <= end - 200.0).then_some(())
    });
    let up = rests(top);
    browser.press(&[Key::Down.into()]);
    wait_for("it goes down", PATIENCE, || (top() > up).then_some(()));
    browser.focus_is_seen();
    browser.tab_back_to("#phase-2 > summary");
    browser.press(&[ENTER]);
    wait_for("the log closes", PATIENCE, || {
        (open() == false).then_some(())
    });
    // What is looked for is typed, and found by Enter.
    browser.tab_back_to("#q");
    browser.types("line 77");
    browser.press(&[ENTER]);
    browser.shows(".found", "1 line with “line 77”");
    browser.tab_to(".found li a");
    browser.press(&[ENTER]);
    browser.arrives("/apps/shop/deploys/2?line=2.79#p2-L79");
}

/// Where something stands once it no longer moves.
fn rests(at: impl Fn() -> f64) -> f64 {
    wait_for("it rests", PATIENCE, || {
        let before = at();
        std::thread::sleep(Duration::from_millis(300));
        (at() == before).then_some(before)
    })
}

/// While phases come and go above it, and to the deploy's end.
fn keeps_the_focus_on_a_deploys_page(app: &App, browser: &Browser) {
    app.version("three");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("gate:long");
    browser.open(&format!("/apps/shop/deploys/{id}"));
    browser.tab_to("#cancel > summary");
    browser.press(&[ENTER]);
    wait_for("the question", PATIENCE, || {
        (browser.count("#cancel[open]") == 1).then_some(())
    });
    browser.tab_to("#timings a[href='#phase-1']");
    browser.shows("#timings", "start");
    assert!(
        browser.is_on("#timings a[href='#phase-1']"),
        "the focus stays while a phase begins"
    );
    browser.shows("#link", "ended: live");
    assert!(
        browser.is_on("#timings a[href='#phase-1']"),
        "the focus stays at the end"
    );
    assert_eq!(
        browser.count("#cancel, details.ask[open]"),
        0,
        "no other question opens in its place"
    );
    browser.focus_is_seen();
    app.went_live(&push.end(), "three");
}

fn reverts(app: &App, browser: &Browser) {
    browser.tab_back_to("nav a[href='/apps/shop']");
    browser.press(&[ENTER]);
    browser.arrives("/apps/shop");
    browser.tab_to("#d1 .do a");
    browser.press(&[ENTER]);
    browser.arrives("/apps/shop/revert?to=1");
    browser.shows("h1", "Go back to");
    browser.tab_to("main > form button");
    browser.press(&[ENTER]);
    browser.shows("#head .facts", "revert by admin");
    browser.shows("#link", "ended: live");
    app.serves("one");
}

/// A question opens and closes without a mouse, and who stood in it is not left nowhere.
fn asks_and_takes_back(browser: &Browser) {
    browser.open("/apps/shop");
    let opened = || browser.count("details.ask[open]");
    browser.tab_to("#live summary");
    browser.press(&[ENTER]);
    wait_for("the question", PATIENCE, || (opened() == 1).then_some(()));
    browser.tab_to("#live details[open] button");
    browser.press(&[ESCAPE]);
    wait_for("it is taken back", PATIENCE, || {
        (opened() == 0).then_some(())
    });
    assert!(browser.is_on("#live summary"));
    browser.focus_is_seen();
}

fn removes(world: &World, browser: &Browser) {
    browser.tab_to("#destroy");
    browser.types("sho");
    browser.press(&[ENTER]);
    // The browser itself wants the whole name.
    assert_eq!(
        browser.run("return document.querySelector('#destroy').validity.valid"),
        json!(false)
    );
    browser.types("p");
    browser.press(&[ENTER]);
    browser.arrives("/");
    assert_eq!(world.windlass(&["app", "show", "shop"]).code, 1);
    assert_eq!(browser.count("#app-shop"), 0);
}
