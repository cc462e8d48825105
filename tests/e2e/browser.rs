//! The dashboard as a person sees it: in a real Chromium, with the script and without.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::http::Method;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::app::App;
use crate::world::{World, wait_for};

/// How long a page may take to show what it has to.
const PATIENCE: Duration = Duration::from_secs(20);

/// The screens on which a page has to be good: colours, width and height.
const SCREENS: [(&str, u64, u64); 4] = [
    ("light", 1180, 900),
    ("dark", 1180, 900),
    ("light", 390, 844),
    ("dark", 390, 844),
];

/// What axe finds. How large a target is it does not ask by itself.
const VIOLATIONS: &str =
    "axe.run({ rules: { 'target-size': { enabled: true } } }).then(all => all.violations.map(
    rule => rule.id + ': ' + rule.nodes.map(n => n.html.slice(0, 200) + ' ' + n.failureSummary).join('; ')))";

/// What a thumb has to hit and is too small for it. Axe lets it pass where there is room around it.
const SMALL: &str =
    "return [...document.querySelectorAll('button, summary, .button')].filter(e => {
    const { width, height } = e.getBoundingClientRect();
    return e.checkVisibility() && (width < 24 || height < 24);
}).map(e => e.outerHTML)";

/// A Chromium with a profile of its own, and the driver that moves it.
pub struct Browser {
    // In the order in which they have to go.
    client: Client,
    runtime: Runtime,
    _driver: Driver,
    pub dashboard: String,
}

impl Browser {
    pub fn start(world: &World, script: bool) -> Self {
        let driver = Driver::start();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--hide-scrollbars",
            "--window-size=1180,900",
            "--host-resolver-rules=MAP *.test 127.0.0.1",
            &format!(
                "--user-data-dir={}",
                driver.folder.path().join("profile").display()
            ),
        ];
        let scripts = if script { 1 } else { 2 };
        let capabilities = json!({
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "args": args,
                "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            },
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let address = format!("http://127.0.0.1:{}", driver.port);
        let client = runtime.block_on(builder.connect(&address)).unwrap();
        Self {
            client,
            runtime,
            _driver: driver,
            dashboard: format!("http://127.0.0.1:{}", world.listen),
        }
    }

    pub fn visit(&self, url: &str) {
        self.runtime
            .block_on(self.client.goto(url))
            .unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    /// Opens a page of the dashboard.
    pub fn open(&self, path: &str) {
        self.visit(&format!("{}{path}", self.dashboard));
    }

    pub fn reload(&self) {
        self.runtime.block_on(self.client.refresh()).unwrap();
    }

    /// The page's address, without the dashboard's own.
    pub fn at(&self) -> String {
        let url = self
            .runtime
            .block_on(self.client.current_url())
            .unwrap()
            .to_string();
        url.strip_prefix(&self.dashboard).unwrap_or(&url).to_owned()
    }

    /// Waits until the browser is there: what follows a form is loaded after the click returns.
    pub fn arrives(&self, at: &str) {
        wait_for(&format!("the browser is at {at}"), PATIENCE, || {
            (self.at() == at).then_some(())
        });
    }

    pub fn find(&self, css: &str) -> Option<Element> {
        self.runtime
            .block_on(self.client.find(Locator::Css(css)))
            .ok()
    }

    pub fn count(&self, css: &str) -> usize {
        self.runtime
            .block_on(self.client.find_all(Locator::Css(css)))
            .unwrap()
            .len()
    }

    /// What a person reads in the first element found. None where there is none, or where it was
    /// just replaced.
    pub fn read(&self, css: &str) -> Option<String> {
        let element = self.find(css)?;
        self.runtime.block_on(element.text()).ok()
    }

    pub fn text(&self, css: &str) -> String {
        wait_for(
            &format!("an element {css} at {}", self.at()),
            PATIENCE,
            || self.read(css),
        )
    }

    /// Waits until an element shows a text.
    pub fn shows(&self, css: &str, text: &str) {
        wait_for(
            &format!("{css} shows {text:?} at {}", self.at()),
            PATIENCE,
            || self.read(css)?.contains(text).then_some(()),
        );
    }

    pub fn click(&self, css: &str) {
        wait_for(
            &format!("{css} can be clicked at {}", self.at()),
            PATIENCE,
            || self.runtime.block_on(self.find(css)?.click()).ok(),
        );
    }

    pub fn click_link(&self, text: &str) {
        wait_for(
            &format!("a link {text:?} at {}", self.at()),
            PATIENCE,
            || {
                let click = async {
                    self.client
                        .find(Locator::LinkText(text))
                        .await?
                        .click()
                        .await
                };
                self.runtime.block_on(click).ok()
            },
        );
    }

    pub fn fill(&self, css: &str, text: &str) {
        let field = self
            .find(css)
            .unwrap_or_else(|| panic!("no field {css} at {}", self.at()));
        let fill = async {
            field.clear().await?;
            field.send_keys(text).await
        };
        self.runtime.block_on(fill).unwrap();
    }

    /// Presses these keys together, as [`fantoccini::key::Key`] has them, wherever the focus is.
    pub fn press(&self, keys: &[char]) {
        let down = keys.iter().map(|value| KeyAction::Down { value: *value });
        let up = keys
            .iter()
            .rev()
            .map(|value| KeyAction::Up { value: *value });
        let all = down
            .chain(up)
            .fold(KeyActions::new("keyboard".into()), KeyActions::then);
        self.runtime
            .block_on(self.client.perform_actions(all))
            .unwrap();
    }

    /// What a script in the page returns.
    pub fn run(&self, script: &str) -> Value {
        self.runtime
            .block_on(self.client.execute(script, vec![]))
            .unwrap()
    }

    /// Lays the page out in a width, as a screen of that height in these colours shows it.
    pub fn look(&self, colours: &str, width: u64, height: u64) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": colours }] });
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1.5, "mobile": width < 500 });
        self.emulate("Emulation.setEmulatedMedia", media);
        self.emulate("Emulation.setDeviceMetricsOverride", size);
    }

    /// The browser's own window and colours again.
    pub fn look_as_ever(&self) {
        self.emulate("Emulation.setEmulatedMedia", json!({ "features": [] }));
        self.emulate("Emulation.clearDeviceMetricsOverride", json!({}));
    }

    /// A picture of what is to be seen, as a PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        self.runtime.block_on(self.client.screenshot()).unwrap()
    }

    fn emulate(&self, command: &str, params: Value) {
        self.issue(
            "goog/cdp/execute",
            json!({ "cmd": command, "params": params }),
        )
        .unwrap();
    }

    /// The page is no wider than the screen. A phone would make its text smaller until it fits.
    pub fn fits(&self, width: u64) {
        let wide = self
            .run("return document.documentElement.scrollWidth")
            .as_u64()
            .unwrap();
        assert!(
            wide <= width,
            "{} is {wide} pixels wide, on a screen of {width}",
            self.at()
        );
    }

    /// Nothing in the page keeps anybody out, on a desk or on a phone, as far as axe can tell (WCAG 2.2
    /// AA and good practice).
    pub fn axe(&self) {
        let cache = std::env::var("XDG_CACHE_HOME")
            .unwrap_or(format!("{}/.cache", std::env::var("HOME").unwrap()));
        let path = Path::new(&cache).join("windlass/axe-4.12.1.min.js");
        let axe = fs::read_to_string(&path).expect("axe, which `scripts/setup.sh --tests` fetches");
        self.run(&axe);
        for (colours, width, height) in SCREENS {
            self.look(colours, width, height);
            self.fits(width);
            let found = self.later(VIOLATIONS);
            assert_eq!(
                found,
                json!([]),
                "{} in {colours}, {width} wide: {found:#}",
                self.at()
            );
            let small = self.run(SMALL);
            assert_eq!(small, json!([]), "{}, {width} wide: hard to hit", self.at());
        }
        self.look_as_ever();
    }

    /// What a promise in the page comes to.
    pub fn later(&self, promise: &str) -> Value {
        let script =
            format!("const done = arguments[0]; ({promise}).then(done, error => done('' + error))");
        self.runtime
            .block_on(self.client.execute_async(&script, vec![]))
            .unwrap()
    }

    pub fn log_in(&self, password: &str) {
        self.fill("#name", "admin");
        self.fill("#password", password);
        self.click(".fields button");
    }

    /// The lines of the log that are in the page, each with its time, in order.
    pub fn lines(&self) -> Vec<String> {
        let text = "[...line.childNodes].slice(1).map(node => node.textContent).join('')";
        let line = format!("line => line.dataset.t.padStart(8) + '  ' + {text}");
        let rows = "[...document.querySelectorAll('#sections .log > div')]";
        let lines = self.run(&format!("return {rows}.map({line})"));
        serde_json::from_value(lines).unwrap()
    }

    /// A new tab, which is then the one in front.
    pub fn new_tab(&self) -> fantoccini::wd::WindowHandle {
        let tab = self
            .runtime
            .block_on(self.client.new_window(true))
            .unwrap()
            .handle;
        self.to_tab(&tab);
        tab
    }

    pub fn tab(&self) -> fantoccini::wd::WindowHandle {
        self.runtime.block_on(self.client.window()).unwrap()
    }

    pub fn to_tab(&self, tab: &fantoccini::wd::WindowHandle) {
        self.runtime
            .block_on(self.client.switch_to_window(tab.clone()))
            .unwrap();
    }

    pub fn issue(&self, path: &'static str, body: Value) -> Result<Value, CmdError> {
        self.runtime
            .block_on(self.client.issue_cmd(Own { path, body }))
    }

    /// What the browser's console says since it was last asked.
    pub fn console(&self) -> Vec<String> {
        let log = self.issue("se/log", json!({ "type": "browser" })).unwrap();
        log.as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// No alert is open, and nothing in the page was made of what somebody else wrote.
    pub fn is_clean(&self) {
        let alert = self.runtime.block_on(self.client.get_alert_text());
        assert!(alert.is_err(), "an alert: {alert:?}");
        assert_eq!(self.count("script"), 1, "only our own script");
        assert_eq!(self.count("#made, main img, iframe"), 0);
        assert_eq!(self.run("return window.hit === undefined"), true);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seen = async {
                let at = self.client.current_url().await;
                let body = self.client.find(Locator::Css("body")).await?.text().await?;
                eprintln!("---- the browser is at {at:?} and shows\n{body}\n----");
                Ok::<_, CmdError>(())
            };
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(5), seen).await });
        }
        let close = self.client.clone().close();
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(5), close).await });
    }
}

/// A command that only this browser's driver knows.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(
        &self,
        base: &Url,
        session: Option<&str>,
    ) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!(
            "session/{}/{}",
            session.unwrap_or_default(),
            self.path
        ))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// A `chromedriver` in a process group of its own, to which its browser belongs; dropping it ends
/// the group.
struct Driver {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Driver {
    fn start() -> Self {
        use std::os::unix::process::CommandExt;
        let folder = tempfile::Builder::new()
            .prefix("wl-browser.")
            .tempdir_in("/tmp")
            .unwrap();
        let path = folder.path().join("driver.log");
        let log = File::create(&path).unwrap();
        let mut command = Command::new("chromedriver");
        command
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        for name in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(name, folder.path());
        }
        let child = command
            .spawn()
            .expect("chromedriver, which `scripts/setup.sh --tests` installs");
        let mut driver = Self {
            child,
            port: 0,
            folder,
        };
        driver.port = wait_for("chromedriver is ready", Duration::from_secs(20), || {
            let said = fs::read_to_string(&path).unwrap();
            let (_, port) = said.split_once("started successfully on port ")?;
            port.split_once('.')?.0.parse().ok()
        });
        driver
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Prints a line at a time; what comes after the last one is written by a test.
const COUNT: &str = "import sys, time
for number in range(1, 9):
    print(f'counting {number} of 8', flush=True)
    time.sleep(0.35)
";

const COUNTING: &str = "[[gates]]\nname = \"count\"\nrun = [\"python\", \"count.py\"]\n";

/// What a log may hold to fool who reads it.
const HOSTILE: &str = "print('<img src=x onerror=\"window.hit=1;alert(2)\"><b id=made>bold</b>')
print('</div></details><script>window.hit=1</script>')
print('\\x1b[31mred & <i>danger</i>\\x1b[0m \\x1b]0;a title\\x07 \\x1b[2Jend')
sys.exit(3)
";

const SCRIPT: &str = "<script>alert(1)</script>";

/// The password that the server printed at its first start.
pub fn first_password(world: &World) -> String {
    let log = world.server_log();
    let (_, password) = log
        .split_once("with the password ")
        .expect("the first password");
    password.split_whitespace().next().unwrap().to_owned()
}

fn path(id: i64) -> String {
    format!("/apps/shop/deploys/{id}")
}

#[test]
fn the_dashboard_in_a_browser() {
    let world = World::new();
    let browser = Browser::start(&world, true);
    let app = logs_in_and_finds_the_commands(&world, &browser);
    let one = watches_a_deploy(&app, &browser);
    reads_why_a_deploy_failed(&app, &browser);
    app.manifest("");
    let two = app.version("two");
    app.went_live(&app.push(), "two");
    reverts(&app, &browser, &one);
    goes_on_after_the_server_was_killed(&app, &browser);
    without_script(&app, &two);
    console_is_clean(&browser);
}

fn logs_in_and_finds_the_commands<'w>(world: &'w World, browser: &Browser) -> App<'w> {
    let password = first_password(world);
    browser.open("/");
    browser.arrives("/login");
    browser.log_in("not-the-password");
    browser.shows(".note.bad", "is not right");
    browser.arrives("/login");
    browser.log_in(&password);
    browser.shows("h1", "Apps");
    browser.arrives("/");
    assert!(
        browser
            .text("main")
            .contains("windlass app create shop --domain shop.example.com")
    );

    browser.click(".top button");
    browser.shows("h1", "Log in");
    let app = world.app("shop");
    browser.open("/apps/shop");
    assert!(browser.at().starts_with("/login?next="), "{}", browser.at());
    browser.log_in(&password);
    browser.shows("h1", "shop");
    browser.arrives("/apps/shop"); // the page first asked for
    let commands = browser.text("pre.code");
    assert_eq!(
        commands,
        format!(
            "git remote add prod {}\ngit push prod main",
            app.repository().display()
        )
    );
    app
}

/// The first push, seen from the list of deploys to its end; gives its commit.
fn watches_a_deploy(app: &App, browser: &Browser) -> String {
    app.manifest(COUNTING);
    app.write("count.py", COUNT);
    app.version("one");
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("gate:count");
    browser.reload();
    browser.click_link("one");
    browser.shows("h1", "one");
    browser.arrives(&path(id));
    browser.run("window.loadedOnce = true");
    browser.shows("#sections", "counting 2 of 8");
    assert_eq!(
        app.world.deploy(id)["status"],
        "running",
        "its lines are read while it runs"
    );
    assert_eq!(browser.text("#head .badge"), "running");
    browser.shows("#head .badge", "live");
    browser.shows("#link", "ended: live");
    assert_eq!(
        browser.run("return window.loadedOnce"),
        true,
        "it was never loaded again"
    );
    app.went_live(&push.end(), "one");
    every_line_once(browser, id);
    browser.run("window.loadedOnce = false");
    browser.reload();
    every_line_once(browser, id);
    app.head()
}

/// The page's log is the deploy's log.
fn every_line_once(browser: &Browser, id: i64) {
    let text = browser.run(&format!(
        "return fetch('{}/log').then(answer => answer.text())",
        path(id)
    ));
    let lines = text
        .as_str()
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("== "));
    assert_eq!(browser.lines(), lines.collect::<Vec<_>>(), "deploy {id}");
}

fn reads_why_a_deploy_failed(app: &App, browser: &Browser) {
    app.write("count.py", &format!("{COUNT}{HOSTILE}"));
    app.commit(SCRIPT);
    let push = app.begin_push(&["main"]);
    let id = app.wait_for_phase("gate:count");
    browser.open(&path(id));
    browser.shows("#sections", "counting 2 of 8");
    browser.shows("#head .badge", "failed");
    tells_the_failure(browser);
    browser.reload();
    tells_the_failure(browser);
    tells_it_on_a_phone(browser);
    app.failed(&push.end(), "gate:count", "3", Some("one"));
    every_line_once(browser, id);

    browser.open("/apps/shop");
    assert_eq!(browser.text(".deploy .subject"), SCRIPT);
    browser.is_clean();
    browser.open("/");
    assert_eq!(browser.text(".latest .subject"), SCRIPT);
    browser.is_clean();
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
}

fn tells_the_failure(browser: &Browser) {
    assert_eq!(browser.text("h1"), SCRIPT);
    let note = browser.text(".note.bad");
    assert!(
        note.contains("It failed in gate:count") && note.contains("exit status 3"),
        "{note}"
    );
    assert!(
        note.contains("Still serving:") && note.contains("one (deploy 1)"),
        "{note}"
    );
    let log = browser.text("#sections");
    for line in [
        "<img src=x onerror=\"window.hit=1;alert(2)\"><b id=made>bold</b>",
        "</div></details><script>window.hit=1</script>",
        "red & <i>danger</i>  end",
    ] {
        assert!(log.contains(line), "no {line:?} in:\n{log}");
    }
    assert_eq!(browser.text(".log .f1"), "red & <i>danger</i>");
    browser.is_clean();
}

/// Between the bars of a phone's browser: the end of the failed phase's log, what still serves and the
/// next step; and below them where the time went, to be seen.
fn tells_it_on_a_phone(browser: &Browser) {
    browser.axe();
    let width = 390;
    browser.look("dark", width, 664);
    browser.fits(width);
    let parts = "['.excerpt .log > div:last-child', '.note.bad > p:last-child']";
    let bottom = "css => document.querySelector(css).getBoundingClientRect().bottom";
    let seen = browser.run(&format!(
        "return {parts}.map({bottom}).filter(y => y > 0 && y < innerHeight)"
    ));
    assert_eq!(
        seen.as_array().unwrap().len(),
        2,
        "only {seen} end on the first screen"
    );
    let bars = "[...document.querySelectorAll('.timings .bar')]";
    let narrow =
        format!("return {bars}.filter(bar => bar.getBoundingClientRect().width < 300).length");
    assert_eq!(browser.run(&narrow), 0);
    browser.look_as_ever();
}

/// Asks for a revert to a commit by hand: a click, and one more to confirm.
fn asks_for_revert(app: &App, browser: &Browser, commit: &str) {
    let went_live = |deploy: &Value| deploy["commit"] == commit && deploy["status"] == "retired";
    let id = app.deploys().into_iter().find(went_live).unwrap()["id"].clone();
    browser.open("/apps/shop");
    browser.click(&format!("#d{id} .do a"));
    browser.arrives(&format!("/apps/shop/revert?to={id}"));
    let button = format!("Make {} live", &commit[..10]);
    assert_eq!(browser.text("main > form button"), button);
    browser.click("main > form button");
    browser.shows("#head .facts", "revert by admin");
}

fn reverts(app: &App, browser: &Browser, commit: &str) {
    asks_for_revert(app, browser, commit);
    browser.shows("#link", "ended: live");
    assert_eq!(browser.text("#head .badge"), "live");
    app.serves("one");
    browser.open("/");
    assert_eq!(browser.text(".app p .subject"), "one");
    let site = format!("{}:{}", app.domain, app.world.port);
    browser.click(".app .sites a");
    browser.shows("body", "one");
    browser.arrives(&format!("http://{site}/"));
}

/// The server dies under one deploy while another waits; a page of each is open.
fn goes_on_after_the_server_was_killed(app: &App, browser: &Browser) {
    app.manifest(COUNTING);
    app.write("count.py", COUNT);
    app.version("three");
    let cut_off = app.begin_push(&["main"]);
    let running = app.wait_for_phase("gate:count");
    browser.open(&path(running));
    browser.run("window.loadedOnce = true");
    app.version("four");
    let waits = app.begin_push(&["main"]);
    let waiting = wait_for("a queued deploy", PATIENCE, || {
        let newest = app.newest();
        (newest["status"] == "queued").then(|| newest["id"].as_i64())?
    });
    let first = browser.tab();
    let second = browser.new_tab();
    browser.open(&path(waiting));
    assert_eq!(browser.text("#head .badge"), "queued");
    browser.run("window.loadedOnce = true");
    browser.to_tab(&first);
    browser.shows("#sections", "counting 1 of 8");
    assert_eq!(app.world.deploy(running)["status"], "running");
    app.world.kill_server();
    browser.shows("#link", "connecting again…");
    app.world.start();

    // It would run again; but what waits is newer.
    browser.shows("#head .badge", "superseded");
    browser.shows("#head .note", &format!("superseded by deploy {waiting}"));
    every_line_once(browser, running);
    assert_eq!(browser.run("return window.loadedOnce"), true);
    browser.to_tab(&second);
    browser.shows("#sections", "counting 2 of 8");
    browser.shows("#link", "ended: live");
    assert_eq!(browser.text("#head .badge"), "live");
    every_line_once(browser, waiting);
    assert_eq!(browser.run("return window.loadedOnce"), true);
    assert!(cut_off.end().last().starts_with("SUPERSEDED  "));
    app.went_live(&waits.end(), "four");
}

/// All of it is there for who has the script switched off.
fn without_script(app: &App, commit: &str) {
    let browser = Browser::start(app.world, false);
    browser.open("/apps/shop");
    browser.log_in(&first_password(app.world));
    browser.arrives("/apps/shop");
    let lists: Vec<String> = app
        .deploys()
        .iter()
        .map(|deploy| deploy["subject"].as_str().unwrap().into())
        .collect();
    assert_eq!(browser.count(".deploy"), lists.len());
    for subject in lists {
        assert!(
            browser.text(".deploys").contains(&subject),
            "no {subject:?}"
        );
    }
    browser.click_link("four");
    browser.click("#phase-2 > summary");
    browser.shows("#phase-2", "counting 8 of 8");

    asks_for_revert(app, &browser, commit);
    assert_eq!(
        browser.count("noscript meta[http-equiv=refresh]"),
        1,
        "the page loads itself again"
    );
    browser.shows("#head .badge", "live");
    wait_for("the page stops loading itself", PATIENCE, || {
        (browser.count("meta[http-equiv=refresh]") == 0).then_some(())
    });
    assert_eq!(browser.text("#link"), "", "no script ran");
    app.serves("two");
}

/// Nothing broke the content security policy, and nothing failed but what had to.
fn console_is_clean(browser: &Browser) {
    let expected = |line: &String| {
        let refused = line.contains("/login") && line.contains("401");
        refused || line.contains("/events") && line.contains("net::ERR_")
    };
    let unexpected: Vec<String> = browser
        .console()
        .into_iter()
        .filter(|line| !expected(line))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    browser.run("document.body.insertAdjacentHTML('beforeend', '<i style=\"color: red\">x</i>')");
    let said = browser.console().join("\n");
    assert!(
        said.contains("Content Security Policy"),
        "the console tells a breach: {said:?}"
    );
}
