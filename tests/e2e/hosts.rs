//! What a request's host leads to: its app and nothing else, whatever stands in it, and a certificate for
//! no stranger's name.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::app::App;
use crate::load::Asking;
use crate::world::{Output, World, run, wait_for};

const SOON: Duration = Duration::from_secs(30);

fn live<'w>(world: &'w World, name: &str) -> App<'w> {
    let app = world.app(name);
    app.version(name);
    app.went_live(&app.push(), name);
    app
}

fn run_folder(world: &World) -> PathBuf {
    world.home.join("caddy/run")
}

/// The status and the body that a request with this host gets, sent as it stands.
fn raw(world: &World, host: &[u8]) -> (u16, String) {
    let mut connection = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let head = [
        b"GET / HTTP/1.1\r\nConnection: close\r\nHost: ",
        host,
        b"\r\n\r\n",
    ]
    .concat();
    // Caddy may hang up before it has read a host that is too long.
    let _ = connection.write_all(&head);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}

#[test]
fn a_host_leads_to_its_app_and_a_hostile_one_nowhere() {
    let world = World::new();
    let (shop, blog) = (live(&world, "shop"), live(&world, "blog"));
    // What must not be found lies where a way out of the folder would lead.
    fs::write(run_folder(&world).join("secret"), "secret").unwrap();
    for host in [
        shop.domain.clone(),
        shop.domain.to_uppercase(),
        format!("{}:{}", shop.domain, world.port),
        format!("{}:1", shop.domain.to_uppercase()),
    ] {
        assert_eq!(
            raw(&world, host.as_bytes()),
            (200, "shop\n".into()),
            "{host}"
        );
    }
    let long = "a".repeat(5000);
    let longer = "a".repeat(2_000_000);
    let up = format!("../hosts/{}", shop.domain);
    let through = format!("{}/../{}", blog.domain, shop.domain);
    let dotted = format!("{}.", shop.domain);
    let escaped = format!("{}%2f..%2f{}", blog.domain, shop.domain);
    for host in [
        "no.test",
        "",
        ".",
        "..",
        "../apps",
        "apps",
        "/",
        "*",
        "sho*",
        "[a-z]*",
        "s{hop,}",
        "{env.PATH}",
        "{file./etc/passwd}",
        "{http.request.uri.query.x}",
        "\\",
        "shop\0",
        "[::1]",
        "127.0.0.1",
        &up,
        &through,
        &dotted,
        &escaped,
        &long,
        &longer,
    ] {
        let (status, body) = raw(&world, host.as_bytes());
        let shown = &host[..host.len().min(40)];
        assert!([0, 400, 404, 431].contains(&status), "{shown}: {status}");
        for word in ["shop\n", "blog\n", "secret", "root:", "/usr"] {
            assert!(!body.contains(word), "{shown}: {body}");
        }
    }
    assert_eq!(raw(&world, b"\xff\xfe").0, 400);
    shop.serves("shop");
    blog.serves("blog");
}

#[test]
fn what_hands_do_to_the_files_that_lead_caddy_is_put_right() {
    let world = World::new();
    let (shop, blog) = (live(&world, "shop"), live(&world, "blog"));
    let hosts = run_folder(&world).join("hosts");
    world.kill_server();
    fs::remove_file(hosts.join(&shop.domain)).unwrap();
    fs::remove_file(hosts.join(&blog.domain)).unwrap();
    symlink("../apps/shop", hosts.join(&blog.domain)).unwrap();
    symlink("../apps/shop", hosts.join("stray.test")).unwrap();
    fs::remove_dir_all(run_folder(&world).join("apps/blog")).unwrap();
    assert_eq!(world.get(&shop.domain, "/").0, 404);
    assert_eq!(world.get("stray.test", "/").0, 200);
    world.start();
    shop.in_order("shop", SOON);
    blog.in_order("blog", SOON);
    wait_for("the stray is gone", SOON, || {
        (world.get("stray.test", "/").0 == 404).then_some(())
    });
}

/// As the version before left it: routes in Caddy's configuration, led by a file for the address and one
/// for the port.
fn as_before(world: &World, apps: &[&App]) {
    let run_folder = run_folder(world);
    let mut routes = Vec::new();
    for app in apps {
        let led = fs::read_dir(run_folder.join("apps").join(&app.name)).unwrap();
        let name = led.map(|entry| entry.unwrap().file_name()).next().unwrap();
        let name = name.into_string().unwrap();
        let (address, port) = name.split_once(':').unwrap();
        for (folder, text) in [("addresses", address), ("ports", port)] {
            fs::create_dir_all(run_folder.join(folder)).unwrap();
            fs::write(run_folder.join(folder).join(&app.name), text).unwrap();
        }
        let file = |folder| format!("{{file./run/windlass/{folder}/{}}}", app.name);
        routes.push(serde_json::json!({
            "match": [{ "host": [app.domain] }],
            "handle": [{
                "handler": "reverse_proxy",
                "dynamic_upstreams": { "source": "a", "name": file("addresses"), "port": file("ports"), "refresh": "1s" },
                "load_balancing": { "try_duration": "5s", "try_interval": "50ms" },
            }],
        }));
    }
    let config = world.home.join("caddy/config/windlass.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["apps"]["http"]["servers"]["main"]["routes"] = routes.into();
    fs::write(&config, json.to_string()).unwrap();
    let socket = run_folder.join("admin.sock");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--unix-socket"]).arg(socket);
    curl.args(["-H", "Content-Type: application/json", "--data-binary"]);
    run(curl
        .arg(format!("@{}", config.display()))
        .arg("http://127.0.0.1/load"))
    .ok();
    fs::remove_dir_all(run_folder.join("hosts")).unwrap();
    fs::remove_dir_all(run_folder.join("apps")).unwrap();
}

#[test]
fn an_installation_that_had_its_routes_in_caddys_configuration_goes_on_serving() {
    let world = World::new();
    let (shop, blog) = (live(&world, "shop"), live(&world, "blog"));
    world.kill_server();
    as_before(&world, &[&shop, &blog]);
    assert_eq!(world.get(&shop.domain, "/"), (200, "shop\n".into()));
    let containers = shop.containers();
    let asking = Asking::begin(&world, &shop.domain);
    world.start();
    shop.in_order("shop", SOON);
    blog.in_order("blog", SOON);
    assert_eq!(shop.containers(), containers);
    // The one load that takes its place may cost the few that are just connecting.
    let mut left = 3;
    asking.all_good_but(10, |_| {
        left -= 1;
        left >= 0
    });
    let asking = Asking::begin(&world, &shop.domain);
    shop.version("two");
    shop.went_live(&shop.push(), "two");
    wait_for("what the version before wrote is gone", 2 * SOON, || {
        (!run_folder(&world).join("addresses").exists()).then_some(())
    });
    asking.all_good(20);
}

/// Asks by https for a domain, whatever DNS says.
fn https(world: &World, port: u16, domain: &str, host: &str) -> Output {
    let root = world
        .home
        .join("caddy/data/caddy/pki/authorities/local/root.crt");
    let resolve = format!("{domain}:{port}:127.0.0.1");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--resolve", &resolve, "--cacert"]);
    curl.arg(root).args(["-H", &format!("Host: {host}")]);
    run(curl.arg(format!("https://{domain}:{port}/")))
}

#[test]
fn a_domain_gets_its_certificate_at_once_and_a_strangers_name_none() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let tls = format!("tls = \"internal\"\nhttps_port = {port}");
    let dashboard = "dashboard_domain = \"dash.test\"\n";
    let world =
        World::changed(|config| dashboard.to_owned() + &config.replace("tls = \"off\"", &tls));
    let shop = world.app("shop");
    shop.version("shop");
    let push = shop.push();
    assert_eq!(push.code, 0, "{}", push.output);
    let certificates = world.home.join("caddy/data/caddy/certificates/local");
    let has_one = |domain: &str| {
        certificates
            .join(domain)
            .join(format!("{domain}.crt"))
            .exists()
    };
    assert!(has_one(&shop.domain));

    // Nobody visits it, and no server has to be there to let anybody have it.
    world
        .windlass(&["app", "domains", "shop", "--add", "www.test"])
        .ok();
    wait_for("the new domain's certificate", SOON, || {
        has_one("www.test").then_some(())
    });
    world.kill_server();
    fs::remove_dir_all(certificates.join("www.test")).unwrap();
    for domain in [shop.domain.as_str(), "www.test"] {
        assert_eq!(
            https(&world, port, domain, domain).ok(),
            "shop\n",
            "{domain}"
        );
    }
    assert_eq!(https(&world, port, "www.test", "WWW.test").ok(), "shop\n");

    for name in ["stranger.test", "sho.test", "apps"] {
        let refused = https(&world, port, name, name);
        assert!(refused.code != 0, "{name}: {refused:?}");
        assert!(!has_one(name), "{name}");
    }
    // By HTTP/2 a host may be anything at all.
    for host in ["stranger.test", "..", "../apps", "*", "{env.PATH}"] {
        let answer = https(&world, port, &shop.domain, host);
        assert!(!answer.stdout.contains("shop"), "{host}: {answer:?}");
        assert!(!answer.stdout.contains("/bin"), "{host}: {answer:?}");
    }
    world.start();
    assert!(https(&world, port, "dash.test", "dash.test").code == 0);
}
