//! A deploy's log in a browser, however long it is: its end as it comes, any line by its address, and
//! any line by what is in it.

use std::time::Duration;

use crate::app::App;
use crate::browser::{Browser, first_password};
use crate::world::{World, wait_for};

/// How long the browser has for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many lines the gate prints at once, before those that come one by one.
const LINES: usize = 20_000;

const PRINT: &str = "import sys, time
sys.stdout.write(''.join(f'line {n} of many\\n' for n in range(1, 20001)))
for n in range(1, 121):
    print(f'tail \\x1b[3{n % 7 + 1}mnum\\x1b[0mber {n}', flush=True)
    time.sleep(0.35)
";

const PRINTING: &str = "[[gates]]\nname = \"print\"\nrun = [\"python\", \"print.py\"]\n";

/// What a row of the log shows, without its number.
fn row(browser: &Browser, line: usize) -> Option<String> {
    let text = browser.read(&format!("#phase-2 .log > div:has(> #p2-L{line})"))?;
    Some(
        text.trim_start_matches(|c: char| c.is_ascii_digit())
            .trim()
            .to_owned(),
    )
}

/// Waits until the gate's log has a line: without reading all the others as well.
fn has_line(browser: &Browser, text: &str) {
    let script = format!(
        "return [...document.querySelectorAll('#phase-2 .log > div')].some(row => row.textContent.endsWith('{text}'))"
    );
    wait_for(&format!("the line {text:?}"), PATIENCE, || {
        (browser.run(&script) == true).then_some(())
    });
}

/// Whether a line stands where a person sees it.
fn in_sight(browser: &Browser, line: usize) -> bool {
    let script = format!(
        "const row = document.getElementById('p2-L{line}')?.getBoundingClientRect();
         const log = document.querySelector('#phase-2 .log').getBoundingClientRect();
         return !!row && row.top >= log.top && row.bottom <= log.bottom && row.top >= 0 && row.bottom <= innerHeight"
    );
    browser.run(&script) == true
}

fn number(browser: &Browser, name: &str) -> usize {
    let script = format!("return Number(document.querySelector('#phase-2 .log').dataset.{name})");
    browser.run(&script).as_u64().unwrap() as usize
}

#[test]
fn a_log_of_any_length_in_a_browser() {
    let world = World::new();
    let browser = Browser::start(&world, true);
    let app = world.app("shop");
    app.version("zero");
    app.went_live(&app.push(), "zero");
    browser.open("/apps/shop");
    browser.log_in(&first_password(&world));
    browser.arrives("/apps/shop");

    app.manifest(PRINTING);
    app.write("print.py", PRINT);
    app.version("one");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("gate:print");
    let path = format!("/apps/shop/deploys/{id}");
    browser.open(&path);
    follows(&browser);
    browser.axe();
    push.end();
    browser.shows("#link", "ended: live");
    pages_as_one_scrolls(&browser);
    opens_at_a_line(&browser, &path);
    finds(&browser, &path);
    tells_what_it_brings_and_runs(&browser, &path);
    without_script(&world, &path);
    cancels_a_build(&app, &browser);
}

/// The end of the log stays in sight while lines come, and the page stays small.
fn follows(browser: &Browser) {
    has_line(browser, "tail number 3");
    browser.run("window.loadedOnce = true");
    has_line(browser, "tail number 9");
    let line = LINES + 9;
    browser.run("document.querySelector('#phase-2 .log').scrollIntoView({ block: 'center' })");
    // The gate's own first line is what it runs.
    wait_for("the newest line is in sight", PATIENCE, || {
        in_sight(browser, number(browser, "next") - 1).then_some(())
    });
    assert_eq!(row(browser, line + 1).as_deref(), Some("tail number 9"));
    assert!(
        browser.count("#phase-2 .log > div") <= 2100,
        "{}",
        browser.count("#phase-2 .log > div")
    );
    assert_eq!(browser.run("return window.loadedOnce"), true);
    // Who reads further up is left there.
    browser.run("document.querySelector('#phase-2 .log').scrollTop -= 300");
    let top = browser.run("return document.querySelector('#phase-2 .log').scrollTop");
    let total = number(browser, "total");
    wait_for("more lines", PATIENCE, || {
        (number(browser, "total") > total + 4).then_some(())
    });
    assert_eq!(
        browser.run("return document.querySelector('#phase-2 .log').scrollTop"),
        top
    );
    // A page that is full takes them once somebody looks there.
    wait_for("the later lines", PATIENCE, || {
        browser.run(
            "const log = document.querySelector('#phase-2 .log'); log.scrollTop = log.scrollHeight",
        );
        row(browser, line + 6)
    });
}

fn pages_as_one_scrolls(browser: &Browser) {
    // It went well, and made room for what came after it.
    browser.click("#phase-2:not([open]) > summary");
    browser.run("document.querySelector('#phase-2 .log').scrollIntoView({ block: 'center' })");
    // What lies behind the page's lines may be loaded meanwhile.
    wait_for("its end is in sight", PATIENCE, || {
        in_sight(browser, number(browser, "next") - 1).then_some(())
    });
    for _ in 0..8 {
        let first = number(browser, "first");
        wait_for("earlier lines", PATIENCE, || {
            browser.run("document.querySelector('#phase-2 .log').scrollTop = 0");
            (number(browser, "first") < first).then_some(())
        });
    }
    wait_for("it rests", PATIENCE, || {
        let first = number(browser, "first");
        std::thread::sleep(Duration::from_millis(400));
        (number(browser, "first") == first).then_some(())
    });
    let (first, next) = (number(browser, "first"), number(browser, "next"));
    assert!(next < LINES && browser.count("#phase-2 .log > div") == next - first);
    for line in [first, first + 777, next - 1] {
        assert_eq!(
            row(browser, line),
            Some(format!("line {} of many", line - 1))
        );
    }
    wait_for("later lines", PATIENCE, || {
        browser.run(
            "const log = document.querySelector('#phase-2 .log'); log.scrollTop = log.scrollHeight",
        );
        (number(browser, "next") > next).then_some(())
    });
    browser.click("#phase-2 a[href^='?from=2.1#']");
    wait_for("the first lines", PATIENCE, || {
        (number(browser, "first") == 1).then_some(())
    });
    assert!(row(browser, 1).unwrap().starts_with("$ python print.py"));
    browser.click("#phase-2 a[href^='?before=2.18446744073709551615']");
    has_line(browser, "tail number 120");
    assert_eq!(number(browser, "next"), LINES + 122);
}

fn opens_at_a_line(browser: &Browser, path: &str) {
    browser.open(&format!("{path}?line=2.9001#p2-L9001"));
    wait_for("the line is in sight", PATIENCE, || {
        in_sight(browser, 9001).then_some(())
    });
    assert_eq!(row(browser, 9001).as_deref(), Some("line 9000 of many"));
    let copied = "const row = document.getElementById('p2-L9001').parentNode;
        getSelection().selectAllChildren(row); return getSelection().toString()";
    assert_eq!(
        browser.run(copied),
        "line 9000 of many",
        "its number is not copied"
    );
    browser.click("#p2-L9003");
    browser.arrives(&format!("{path}?line=2.9003#p2-L9003"));
    assert_eq!(
        browser.count("#phase-2 .log > div:has(> :target) > #p2-L9003"),
        1,
        "it is marked"
    );
    // An address without the part that the server reads.
    browser.open("/apps/shop");
    browser.open(&format!("{path}#p2-L777"));
    browser.arrives(&format!("{path}?line=2.777#p2-L777"));
    wait_for("the line is in sight", PATIENCE, || {
        in_sight(browser, 777).then_some(())
    });
}

fn finds(browser: &Browser, path: &str) {
    browser.open(path);
    browser.fill("#q", "LINE 12345 of");
    browser.click(".sift button");
    browser.shows(".found", "1 line with “LINE 12345 of”.");
    assert_eq!(browser.text(".found mark"), "line 12345 of");
    browser.axe();
    browser.click(".found li a");
    browser.arrives(&format!("{path}?line=2.12346#p2-L12346"));
    has_line(browser, "line 12345 of many");
    assert_eq!(row(browser, 12346).as_deref(), Some("line 12345 of many"));
    // Colours do not hide it.
    browser.open(&format!("{path}?q=tail+number+17"));
    assert!(
        browser
            .text(".found")
            .contains("gate:print 20018 tail number 17")
    );
    browser.open(&format!("{path}?q=of+many"));
    assert!(
        browser
            .text(".found")
            .contains("100 lines with “of many” and 19900 more.")
    );
    browser.click(".found a[rel=next]");
    browser.shows(".found", "The next 100 lines");
    assert!(
        browser
            .text(".found li:last-child")
            .contains("line 200 of many")
    );
}

fn tells_what_it_brings_and_runs(browser: &Browser, path: &str) {
    browser.open(path);
    assert!(
        browser.count(".timings .step") >= 2,
        "the steps of the build"
    );
    assert!(browser.text(".timings").contains("FROM"));
    let [changes, ran] = ["#changes > details", "main > details.about"];
    browser.shows(changes, "1 commit, 3 files since deploy 1");
    browser.click(&format!("{changes} > summary"));
    browser.shows(&format!("{changes} .files"), "print.py");
    browser.click(&format!("{ran} > summary"));
    browser.shows(ran, "sha256:");
    assert!(
        browser
            .text(&format!("{ran} pre"))
            .contains("[[gates]]\nname = \"print\"")
    );
    browser.axe();
}

/// The same by links alone.
fn without_script(world: &World, path: &str) {
    let browser = Browser::start(world, false);
    let line = format!("{path}?line=2.9001#p2-L9001");
    browser.open(&line);
    browser.log_in(&first_password(world));
    browser.shows("h1", "one");
    browser.open(&line);
    assert_eq!(row(&browser, 9001).as_deref(), Some("line 9000 of many"));
    assert_eq!(browser.count("#phase-2 .log > div"), 500);
    browser.click("#phase-2 .earlier");
    has_line(&browser, "line 8749 of many");
    assert_eq!(row(&browser, 8251).as_deref(), Some("line 8250 of many"));
    browser.click("#phase-2 .later");
    has_line(&browser, "line 9249 of many");
    browser.fill("#q", "line 4321 of");
    browser.click(".sift button");
    browser.click(".found li a");
    has_line(&browser, "line 4321 of many");
    assert_eq!(browser.text("#link"), "", "no script ran");
}

fn cancels_a_build(app: &App, browser: &Browser) {
    let dockerfile = include_str!("app/Dockerfile");
    app.write(
        "Dockerfile",
        &dockerfile.replace("EXPOSE", "RUN echo slow && sleep 60\nEXPOSE"),
    );
    app.version("two");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("build");
    browser.open(&format!("/apps/shop/deploys/{id}"));
    browser.shows("#phase-1 .log", "slow");
    assert_eq!(
        browser.run("return document.querySelector('#head [data-state]').dataset.state"),
        "running"
    );
    browser.run("document.addEventListener('windlass:state', () => { window.told = true })");
    browser.click("#actions details.ask:has(.danger) > summary");
    browser.click("#actions .danger");
    browser.shows("#head .badge", "cancelled");
    browser.shows("#head .note", "Still serving");
    assert!(browser.text("#head .note").contains("one (deploy 2)"));
    browser.shows(".timings", "RUN echo slow");
    browser.axe();
    assert!(push.end().last().starts_with("CANCELLED"));
    app.serves("one");
}
