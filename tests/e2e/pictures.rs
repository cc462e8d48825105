//! Pictures of every page of the dashboard, to be looked at: on a desk in light and in dark, and on a
//! phone.

use std::fs;
use std::path::PathBuf;

use crate::app::App;
use crate::browser::{Browser, first_password};
use crate::django::guestbook;
use crate::world::World;

/// How a picture is taken.
struct Look {
    name: &'static str,
    colours: &'static str,
    width: u64,
    height: Height,
}

enum Height {
    /// Of a screen.
    Screen(u64),
    /// Of what the page is about: a script tells where that ends.
    To(&'static str),
}

/// Where a picture on a desk ends: below what is open, or below the list.
const LISTED: &str = "[...document.querySelectorAll('details.phase[open], .deploys')].at(-1)";
const WHOLE: &str = "document.querySelector('main')";

const LOOKS: [Look; 4] = [
    Look {
        name: "light",
        colours: "light",
        width: 1040,
        height: Height::To(LISTED),
    },
    Look {
        name: "dark",
        colours: "dark",
        width: 1040,
        height: Height::To(LISTED),
    },
    Look {
        name: "phone",
        colours: "dark",
        width: 390,
        height: Height::Screen(844),
    },
    Look {
        name: "phone-whole",
        colours: "light",
        width: 390,
        height: Height::To(WHOLE),
    },
];

/// The folder for pictures, where somebody wants some.
fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("WINDLASS_SCREENSHOTS")?);
    fs::create_dir_all(&folder).unwrap();
    Some(folder)
}

impl Browser {
    /// Pictures of the page that is open, in every look, where somebody wants some.
    pub fn pictured(&self, page: &str) {
        let Some(folder) = folder() else { return };
        for Look {
            name,
            colours,
            width,
            height,
        } in &LOOKS
        {
            match height {
                Height::Screen(height) => self.look(colours, *width, *height),
                Height::To(last) => {
                    self.look(colours, *width, 800);
                    self.look(colours, *width, self.end(last));
                }
            }
            self.fits(*width);
            self.run("scrollTo(0, 0)");
            fs::write(folder.join(format!("{page}-{name}.png")), self.screenshot()).unwrap();
        }
        self.look_as_ever();
    }

    /// Where a picture ends that shows an element, or all there is.
    fn end(&self, last: &str) -> u64 {
        let script = format!(
            "const last = {last} || {WHOLE};
             return Math.ceil(last.getBoundingClientRect().bottom + scrollY + 20)"
        );
        self.run(&script).as_u64().unwrap()
    }
}

/// A life of the guestbook, as somebody would lead it.
#[test]
#[ignore = "takes pictures into the folder that WINDLASS_SCREENSHOTS names"]
fn pictures_of_the_dashboard() {
    folder().expect("WINDLASS_SCREENSHOTS, a folder for the pictures");
    let mut world = World::idle();
    at_port_80(&mut world);
    let browser = Browser::start(&world, true);
    before_the_first_app(&world, &browser);
    let app = guestbook(&world, "guestbook.example.com");
    app.commit("A guestbook");
    app.push();
    edit(
        &app,
        "entries/templates/entries/index.html",
        "Sign the guestbook",
        "Sign",
    );
    app.commit("Say less on the button");
    app.push();
    fails(&app, &browser);
    runs(&app, &browser);
    goes_live(&app, &browser);
    the_app(&app, &browser);
    the_account(&world, &browser);
}

/// A visitor's address has no port, where that one is free.
fn at_port_80(world: &mut World) {
    if std::net::TcpListener::bind("0.0.0.0:80").is_ok() {
        let config = world
            .config()
            .replace(&format!("http_port = {}", world.port), "http_port = 80");
        fs::write(world.home.join("config.toml"), config).unwrap();
        world.port = 80;
    }
    world.start();
}

fn before_the_first_app(world: &World, browser: &Browser) {
    browser.open("/");
    browser.arrives("/login");
    browser.pictured("login");
    browser.log_in(&first_password(world));
    browser.shows("h1", "Apps");
    browser.pictured("apps-none");
    browser.open("/new");
    browser.pictured("new");
    browser.open("/apps/nowhere");
    browser.pictured("error");
}

fn open_newest(app: &App, browser: &Browser) {
    browser.open(&format!("/apps/guestbook/deploys/{}", app.newest()["id"]));
}

fn fails(app: &App, browser: &Browser) {
    edit(app, "entries/views.py", "", "import akismet\n");
    app.commit("Keep spam out with Akismet");
    app.push();
    open_newest(app, browser);
    browser.pictured("failed");
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
}

fn runs(app: &App, browser: &Browser) {
    edit(app, "entries/views.py", "all()[:20]", "all()[:50]");
    app.commit("Show the last fifty entries");
    app.push();
    app.world.windlass(&["revert", "guestbook", "--wait"]).ok();
    edit(
        app,
        "entries/templates/entries/index.html",
        "3rem auto",
        "2rem auto",
    );
    app.commit("Leave less room above the title");
    let push = app.begin_push(&["main"]);
    app.wait_for_phase("health");
    open_newest(app, browser);
    browser.pictured("running");
    push.end();
}

fn goes_live(app: &App, browser: &Browser) {
    open_newest(app, browser);
    for gate in ["#phase-2", "#phase-3"] {
        browser.click(&format!("{gate} > summary"));
    }
    browser.pictured("live");
}

fn the_app(app: &App, browser: &Browser) {
    browser.open("/apps/guestbook");
    browser.shows(".loads tbody", "live");
    browser.pictured("app");
    browser.open("/");
    browser.pictured("apps");
    let earlier = app.deploys().last().unwrap()["id"].clone();
    for (page, path) in [
        ("revert", format!("revert?to={earlier}")),
        ("env", "env".to_owned()),
        ("log", "logs".to_owned()),
        ("containers", "containers".to_owned()),
    ] {
        browser.open(&format!("/apps/guestbook/{path}"));
        browser.pictured(page);
    }
}

fn the_account(world: &World, browser: &Browser) {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ada@laptop";
    world
        .windlass(&[
            "token",
            "create",
            "GitHub",
            "--user",
            "admin",
            "--app",
            "guestbook",
        ])
        .ok();
    browser.open("/account");
    browser.fill("#key", key);
    browser.click("form[action='/account/keys'] button");
    browser.shows("main", "ada@laptop");
    browser.pictured("account");
    browser.open("/account/second-factor");
    browser.pictured("second-factor");
    browser.open("/audit");
    browser.pictured("audit");
}

fn edit(app: &App, path: &str, from: &str, to: &str) {
    let text = fs::read_to_string(app.work.join(path)).unwrap();
    assert!(text.contains(from), "no {from:?} in {path}");
    app.write(path, &text.replacen(from, to, 1));
}
