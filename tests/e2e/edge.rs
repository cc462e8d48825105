//! Caddy and its admin socket: configurations that are refused, answers that are lost or never come. Most
//! of it an older Caddy meets alone: the current one is led by files, and nothing that becomes of an app
//! loads a configuration.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::load::Asking;
use crate::proxy::{Fault, Proxy};
use crate::world::{World, docker, wait_for};

const LOAD: &str = "POST /load";
const UPSTREAMS: &str = "GET /reverse_proxy/upstreams";

/// A proxy in the place of Caddy's admin socket, and a server that has no other connection to it.
fn before_caddy(world: &World) -> Proxy {
    assert_eq!(world.stop_server(), 0);
    let proxy = Proxy::in_place_of(&admin(world));
    world.start();
    proxy
}

fn admin(world: &World) -> PathBuf {
    world.home.join("caddy/run/admin.sock")
}

/// A world with a Caddy that has its routes in its configuration.
fn older() -> World {
    World::changed(|config| config.replace("windlass-local/caddy", "windlass-local/caddy26"))
}

/// As good as can be with an older Caddy: each of so many loads may cost a few that are just connecting.
fn good_but_for_loads(asking: Asking, most: usize, least: usize) {
    let mut left = most;
    asking.all_good_but(least, |_| {
        let forgiven = left > 0;
        left = left.saturating_sub(1);
        forgiven
    });
}

/// A server that starts loads what Caddy has already, once.
fn after_the_starts_load(proxy: &Proxy) {
    wait_for("the load of a start", Duration::from_secs(10), || {
        let calls = proxy.calls();
        calls.iter().any(|call| call.kind == LOAD).then_some(())
    });
}

#[test]
fn apps_come_change_and_go_and_caddy_loads_nothing() {
    let world = World::new();
    let shop = world.app("shop");
    shop.version("shop");
    shop.went_live(&shop.push(), "shop");
    let proxy = before_caddy(&world);
    after_the_starts_load(&proxy);
    let asking = Asking::begin(&world, &shop.domain);

    let blog = world.app("blog");
    blog.version("blog");
    blog.went_live(&blog.push(), "blog");
    let domains = |app: &str, words: &[&str]| {
        let words = [&["app", "domains", app], words].concat();
        world.windlass(&words)
    };
    let shown = |domain: &str| world.get(domain, "/");
    domains("blog", &["--add", "www.test"]).ok();
    assert_eq!(shown("www.test"), (200, "blog\n".into()));
    // From one app to the other, without a moment at which it is nobody's.
    let moving = Asking::begin(&world, "www.test");
    for (to, from) in [("shop", "blog"), ("blog", "shop"), ("shop", "blog")] {
        domains(to, &["--add", "www.test", "--from", from]).ok();
        assert_eq!(shown("www.test"), (200, format!("{to}\n")));
    }
    moving.all_good(10);
    let refused = domains("shop", &["--add", "www.test", "--from", "blog"]);
    assert!(refused.code == 1, "{refused:?}");
    domains("shop", &["--remove", "www.test"]).ok();
    assert_eq!(shown("www.test").0, 404);
    world.windlass(&["app", "destroy", "blog", "--yes"]).ok();
    assert_eq!(blog.get("/").0, 404);
    shop.serves("shop");
    let loads = proxy.calls().into_iter().filter(|call| call.kind == LOAD);
    assert_eq!(loads.count(), 0);
    asking.all_good(100);
}

#[test]
fn a_domain_that_an_older_caddy_refuses_is_not_added() {
    let world = older();
    let shop = world.app("shop");
    shop.version("one");
    shop.went_live(&shop.push(), "one");
    let proxy = before_caddy(&world);
    after_the_starts_load(&proxy);
    let trap = proxy.trap("", LOAD, 1, Fault::Error);
    let refused = world.windlass(&["app", "domains", "shop", "--add", "www.test"]);
    assert!(trap.sprung());
    let still = "shop still answers to shop.test";
    assert!(
        refused.code == 1 && refused.stderr.contains(still),
        "{refused:?}"
    );
    let domains = world.json(&["app", "domains", "shop"]);
    assert_eq!(domains["domains"], serde_json::json!(["shop.test"]));
    assert_eq!(world.get("www.test", "/").0, 404);
    shop.serves("one");
}

#[test]
fn a_first_release_whose_route_an_older_caddy_does_not_load_leaves_nothing_behind() {
    let world = older();
    let shop = world.app("shop");
    shop.version("one");
    shop.went_live(&shop.push(), "one");
    let proxy = before_caddy(&world);
    let asking = Asking::begin(&world, &shop.domain);
    let faults = [Fault::Error, Fault::Lost, Fault::Hang, Fault::Delay(1500)];
    for (number, fault) in faults.into_iter().enumerate() {
        let app = world.app(&format!("app{number}"));
        app.version("first");
        let trap = proxy.trap("", LOAD, 1, fault);
        let push = app.push();
        assert!(trap.sprung(), "{fault:?}");
        if app.newest()["status"] == "live" {
            app.went_live(&push, "first");
        } else {
            app.failed(&push, "swap", "Caddy", None);
            wait_for("its route is gone", Duration::from_secs(5), || {
                (app.get("/").0 == 404).then_some(())
            });
            app.went_live(&app.push(), "first");
        }
        shop.serves("one");
    }
    good_but_for_loads(asking, 3 * faults.len(), 100);
}

/// With a Caddy that reads no port from a file, another port takes two loads.
#[test]
fn a_change_of_the_port_survives_whatever_becomes_of_its_loads() {
    let world = older();
    let app = world.app("shop");
    app.version("one, on 8000");
    app.went_live(&app.push(), "one, on 8000");
    let proxy = before_caddy(&world);
    let asking = Asking::begin(&world, &app.domain);
    let (mut before, mut port) = ("one, on 8000".to_owned(), 9000);
    for fault in [Fault::Error, Fault::Lost, Fault::HangAfter] {
        for nth in [1, 2] {
            app.manifest(&format!("[web]\nport = {port}\n"));
            let text = format!("{fault:?} in load {nth}, on {port}");
            app.version(&text);
            let trap = proxy.trap("", LOAD, nth, fault);
            let push = app.push();
            assert!(trap.sprung(), "{text}");
            if app.newest()["status"] != "live" {
                app.failed(&push, "swap", "Caddy", Some(&before));
                // What is served now must not hang on a container that is gone.
                std::thread::sleep(Duration::from_secs(2));
                app.serves(&before);
                app.went_live(&app.push(), &text);
            }
            app.serves(&text);
            (before, port) = (text, if port == 9000 { 8000 } else { 9000 });
        }
    }
    good_but_for_loads(asking, 3 * 2 * 5, 200);
}

#[test]
fn a_caddy_whose_admin_socket_hangs_costs_a_deploy_the_drain_limit_and_no_more() {
    let world = World::new();
    let app = world.app("shop");
    let manifest = crate::app::MANIFEST.replace("timeout = \"10s\"", "timeout = \"3s\"");
    app.write("windlass.toml", &manifest);
    app.version("one");
    app.went_live(&app.push(), "one");
    let proxy = before_caddy(&world);
    let asking = Asking::begin(&world, &app.domain);

    for (number, fault) in [Fault::Hang, Fault::Stall, Fault::Error, Fault::Lost]
        .into_iter()
        .enumerate()
    {
        let text = format!("version {number}");
        app.version(&text);
        let trap = proxy.trap("", UPSTREAMS, 1, fault);
        let deploy = app.went_live(&app.push(), &text);
        assert!(trap.sprung());
        assert!(drained_in(&deploy) < 5000, "{deploy:#}");
    }
    proxy.hang();
    app.version("all hangs");
    let deploy = app.went_live(&app.push(), "all hangs");
    assert!((3000..6000).contains(&drained_in(&deploy)), "{deploy:#}");
    proxy.recover();
    proxy.leave();
    app.version("nobody there");
    let deploy = app.went_live(&app.push(), "nobody there");
    let log = world
        .windlass(&["deploy", "log", &deploy["id"].to_string()])
        .ok();
    assert!(
        log.contains("Caddy's admin socket does not answer"),
        "{log}"
    );
    proxy.recover();
    asking.all_good(100);
}

fn drained_in(deploy: &serde_json::Value) -> u64 {
    let phases = deploy["phases"].as_array().unwrap();
    phases
        .iter()
        .find(|phase| phase["phase"] == "drain")
        .unwrap()["duration_ms"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_caddy_that_is_gone_comes_back_though_the_engine_refuses_at_first() {
    let proxy = Proxy::docker();
    let world = crate::outage::world(&proxy, "1m");
    let app = world.app("shop");
    app.version("one");
    app.went_live(&app.push(), "one");
    let caddy = world.containers("windlass.role=caddy").pop().unwrap();
    // More than there are events to react to.
    let create = "POST /containers/create";
    let traps: Vec<_> = (1..=8)
        .map(|nth| proxy.trap(&caddy, create, nth, Fault::Error))
        .collect();
    docker(&["rm", "-f", &caddy]).ok();
    wait_for("the site is back", Duration::from_secs(30), || {
        (app.get("/").0 == 200).then_some(())
    });
    assert!(traps.iter().all(|trap| trap.sprung()));
    app.version("two");
    app.went_live(&app.push(), "two");
}

#[test]
fn an_app_whose_route_an_older_caddy_keeps_is_destroyed_once_caddy_does_as_asked() {
    let world = older();
    let (shop, blog) = (world.app("shop"), world.app("blog"));
    for app in [&shop, &blog] {
        app.version("one");
        app.went_live(&app.push(), "one");
    }
    let proxy = before_caddy(&world);
    let asking = Asking::begin(&world, &shop.domain);
    let trap = proxy.trap("", LOAD, 1, Fault::Error);
    let began = Instant::now();
    let destroyed = world.windlass(&["app", "destroy", "blog", "--yes"]);
    assert!(trap.reached());
    if destroyed.code != 0 {
        assert!(destroyed.stderr.contains("Caddy"), "{destroyed:?}");
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    wait_for("it goes all the same", Duration::from_secs(15), || {
        (world.json(&["app", "list"]).as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(blog.containers(), Vec::<String>::new());
    assert_eq!(blog.get("/").0, 404);
    shop.serves("one");
    good_but_for_loads(asking, 4, 50);
}
