//! Caddy and its admin socket: configurations that are refused, answers that are lost or never come.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::app::App;
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

/// An app with this domain, with the tests' own small web app.
fn app_at<'w>(world: &'w World, name: &str, domain: &str) -> App<'w> {
    world
        .windlass(&["app", "create", name, "--domain", domain])
        .ok();
    let mut app = App::work_tree(world, name);
    app.domain = domain.into();
    app.copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/app"));
    app
}

#[test]
fn a_domain_that_caddy_refuses_fails_that_apps_first_release_and_nothing_else() {
    let world = World::new();
    let shop = world.app("shop");
    shop.version("one");
    shop.went_live(&shop.push(), "one");
    let asking = Asking::begin(&world, &shop.domain);

    // A host name for us; for Caddy, punycode that means nothing.
    let bad = app_at(&world, "bad", "xn--0.test");
    bad.version("bad");
    let push = bad.push();
    let deploy = bad.failed(&push, "swap", "Caddy refused the configuration", None);
    let message = deploy["failure"]["message"].as_str().unwrap();
    assert!(message.contains("xn--0.test"), "{message}");

    let blog = world.app("blog");
    blog.version("blog");
    blog.went_live(&blog.push(), "blog");
    assert_eq!(world.stop_server(), 0);
    world.start();
    shop.serves("one");
    blog.serves("blog");
    bad.failed(&bad.push(), "swap", "xn--0.test", None);
    // Two apps' first releases and a start of the server load a configuration, and one goes back.
    asking.good_but_for(5, 100);
}

#[test]
fn a_first_release_whose_route_is_not_loaded_leaves_nothing_behind() {
    let world = World::new();
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
    asking.good_but_for(3 * faults.len(), 100);
}

/// With a Caddy that reads no port from a file, another port takes two loads.
#[test]
fn a_change_of_the_port_survives_whatever_becomes_of_its_loads() {
    let world =
        World::changed(|config| config.replace("windlass-local/caddy", "windlass-local/caddy26"));
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
    asking.good_but_for(3 * 2 * 5, 200);
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
fn an_app_whose_route_caddy_keeps_is_destroyed_once_caddy_does_as_asked() {
    let world = World::new();
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
    asking.all_good(50);
}
