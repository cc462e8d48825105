//! An app's own pages as a person uses them: going back with open eyes, its environment, its log, its
//! badge, its end. With a real Django on a real PostgreSQL, since migrations are what cannot be undone.

use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::browser::{Browser, first_password};
use crate::django::guestbook;
use crate::world::{World, docker, wait_for};

const PRICE: &str = "from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [('entries', '0001_initial')]
    operations = [migrations.AddField('entry', 'price', models.IntegerField(null=True))]
";

const FAILS_LATER: &str = "from django.db import migrations, models


def fail(apps, schema_editor):
    raise RuntimeError('this migration always fails')


class Migration(migrations.Migration):
    dependencies = [('entries', '0003_tax')]
    operations = [migrations.RunPython(fail)]
";

fn edition(app: &App, name: &str) -> String {
    app.write(
        "entries/version.py",
        &format!("VERSION_TEXT = \"Guestbook, {name} edition\"\n"),
    );
    format!("Guestbook, {name} edition")
}

fn migration(app: &App, name: &str, text: &str) {
    app.write(&format!("entries/migrations/{name}.py"), text);
}

#[test]
fn whoever_goes_back_is_told_what_stays_and_an_app_is_run_from_its_pages() {
    let world = World::new();
    let app = guestbook(&world, "guestbook.test");
    let first = edition(&app, "first");
    app.commit("First edition");
    let push = app.push();
    app.went_live(&push, &first);
    push.says("1 migration to apply: entries.0001_initial");

    let second = edition(&app, "second");
    migration(&app, "0002_price", PRICE);
    app.commit("Give entries a <b>price</b>");
    let push = app.push();
    app.went_live(&push, &second);
    push.says("1 migration to apply: entries.0002_price");

    // One that fails in the middle has changed the schema all the same.
    migration(
        &app,
        "0003_tax",
        &PRICE
            .replace("0001_initial", "0002_price")
            .replace("price', models", "tax', models"),
    );
    migration(&app, "0004_fails", FAILS_LATER);
    app.commit("Tax it");
    app.failed(
        &app.push(),
        "gate:migrate",
        "this migration always fails",
        Some(&second),
    );
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();

    let browser = Browser::start(&world, true);
    browser.open("/apps/guestbook");
    browser.log_in(&first_password(&world));
    browser.arrives("/apps/guestbook");
    browser.shows(".loads tbody", "live");
    browser.axe();
    filters(&browser);
    says_what_it_does(&world, &app, &browser, &first);
    edits_the_environment(&app, &browser);
    follows_the_log(&world, &browser);
    shares_a_picture(&browser);
    browser.is_clean();
    ends(&world, &browser);
}

fn filters(browser: &Browser) {
    browser.open("/apps/guestbook?status=failed");
    assert_eq!(browser.count(".deploys > li"), 1);
    browser.shows(".deploys", "Tax it");
    browser.axe();
    browser.open("/apps/guestbook?status=superseded");
    assert_eq!(browser.count(".deploys > li"), 0);
}

fn says_what_it_does(world: &World, app: &App, browser: &Browser, first: &str) {
    let told = world.windlass(&["revert", "guestbook", "--dry-run"]).ok();
    for part in [
        "Give entries a <b>price</b>",
        "entries.0002_price (deploy 2)",
        "entries.0003_tax (deploy 3)",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(
        !told.contains("0004_fails") && !told.contains("0001_initial"),
        "{told}"
    );
    let json: Value = world.json(&["revert", "guestbook", "--dry-run"]);
    assert_eq!(
        (&json["image_kept"], &json["environment"]),
        (&true.into(), &"release".into())
    );
    assert_eq!(json["migrations"]["unknown"], serde_json::json!([]));

    browser.open("/apps/guestbook");
    browser.click("#d1 .do a");
    browser.arrives("/apps/guestbook/revert?to=1");
    for (css, part) in [
        ("main", "Give entries a <b>price</b>"),
        (".note.bad", "entries.0002_price"),
        (".note.bad", "entries.0003_tax"),
        ("main", "nothing is built"),
    ] {
        browser.shows(css, part);
    }
    browser.axe();
    browser.pictured("revert-migrations");
    browser.click("main > form button");
    browser.shows("#link", "ended: live");
    app.serves(first);

    // What was confirmed is done, or nothing.
    browser.open("/apps/guestbook/revert?to=2");
    browser.shows("main", "Commits that come back");
    world.windlass(&["restart", "guestbook", "--wait"]).ok();
    browser.click("main > form button");
    browser.shows("main", "Something else went live since");
    browser.axe();
}

fn edits_the_environment(app: &App, browser: &Browser) {
    browser.open("/apps/guestbook/env");
    browser.axe();
    browser.fill("#lines", "SECURE_HSTS_SECONDS=77");
    browser.click("form:has(#lines) button");
    browser.shows(".note.calm", "SECURE_HSTS_SECONDS");
    browser.axe();
    browser.pictured("env-pending");
    let text = browser.text("main");
    assert!(
        text.contains("SECRET_KEY") && !text.contains("pg-pa55"),
        "{text}"
    );
    browser.fill("#lines", "no assignment at all");
    browser.click("form:has(#lines) button");
    browser.shows(".note.bad", "line 1 is not NAME=value");
    browser.click(".note.calm button");
    browser.shows("#head .facts", "restart by admin");
    browser.shows("#link", "ended: live");
    let inside = docker(&[
        "exec",
        &app.live_container(),
        "printenv",
        "SECURE_HSTS_SECONDS",
    ])
    .ok();
    assert_eq!(inside.trim(), "77");
    browser.open("/apps/guestbook/env");
    assert_eq!(browser.count(".note"), 0, "it is in what runs");
}

fn follows_the_log(world: &World, browser: &Browser) {
    browser.open("/apps/guestbook/logs?q=handling+signal");
    browser.shows("#link", "following");
    let hups = || browser.count(".applog > div:not(.mark)");
    let before = hups();
    world.windlass(&["reload", "guestbook"]).ok();
    wait_for("the line is there", Duration::from_secs(10), || {
        (hups() > before).then_some(())
    });
    browser.axe();
    let there = hups();
    // Over a server's end: nothing is lost, and nothing comes twice.
    world.kill_server();
    world.start();
    world.windlass(&["reload", "guestbook"]).ok();
    wait_for("the next line is there", Duration::from_secs(40), || {
        (hups() > there).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    let shown = hups();
    browser.reload();
    wait_for("the page is there again", Duration::from_secs(10), || {
        (hups() == shown).then_some(())
    });
    assert_eq!(shown, there + 1);
    browser.open("/apps/guestbook/logs");
    browser.shows(".applog", "Handling signal: hup");
    assert!(browser.count(".applog .mark") > 1, "more than one release");
    browser.pictured("log-releases");
    // The server's end is in the browser's own log.
    browser.console();
}

fn shares_a_picture(browser: &Browser) {
    let status = |path: &str| {
        browser.later(&format!(
            "fetch('{path}', {{credentials: 'omit', cache: 'no-store'}}).then(a => a.status)"
        ))
    };
    assert_eq!(status("/badge/guestbook.svg"), 404);
    browser.open("/apps/guestbook");
    browser.click("#picture button");
    browser.shows("#picture", "Everybody may see");
    assert_eq!(
        (
            status("/badge/guestbook.svg"),
            status("/status/guestbook.json")
        ),
        (200.into(), 200.into())
    );
    browser.axe();
    browser.click("#picture button");
    browser.shows("#picture", "nobody can tell");
    assert_eq!(status("/badge/guestbook.svg"), 404);
    // The refusal that was asked for is in the browser's own log.
    browser.console();
}

fn ends(world: &World, browser: &Browser) {
    browser.open("/apps/guestbook");
    let database = world.containers("windlass.test=database");
    let network = world
        .networks()
        .into_iter()
        .find(|name| name.ends_with("_net_guestbook"))
        .unwrap();
    database
        .iter()
        .for_each(|id| drop(docker(&["network", "disconnect", &network, id]).ok()));
    browser.fill("#destroy", "guestbook");
    browser.click("#danger button");
    browser.arrives("/");
    assert!(world.windlass(&["app", "show", "guestbook"]).code == 1);
}
