//! Caddy's configuration, made from the routes alone: the same routes give the same bytes.

use serde_json::{Value, json};

use super::files::HOSTS;
use super::{Route, Settings, Upstream};
use crate::config::Tls;

/// Caddy's own log in its container. The engine takes standard error through a small pipe, and Caddy
/// would stand still with it once the engine is away and the pipe is full.
const LOG: &str = "/data/caddy.log";
/// Where Caddy's container sees the folder with the sockets.
pub const SOCKETS: &str = "/run/windlass";

/// What a file tells: a host, by which Caddy also counts the requests to all that it knows by an alias
/// alone.
pub const LED_HOST: &str = "{http.regexp.led.1}";
const LED_PORT: &str = "{http.regexp.led.2}";
/// The name of the server that visitors reach.
const MAIN: &str = "main";
/// What a request's host may be to be looked for among the files: nothing that leaves their folder.
const HOST: &str = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";

/// All of Caddy's configuration as JSON, with `admin` on a unix socket.
pub fn render(settings: &Settings, routes: &[Route]) -> Value {
    let dashboard = settings.dashboard.iter().map(|domain| {
        let upstream = json!([{ "dial": format!("unix/{SOCKETS}/dashboard.sock") }]);
        let proxy = json!({ "handler": "reverse_proxy", "upstreams": upstream });
        host_route(&[domain.as_str()], json!([compressed(), proxy]))
    });
    let apps = match settings.can.files {
        true => routes_by_files(),
        false => routes_by_names(settings, routes),
    };
    let nobody = json!({ "handle": [text(404, "No app answers to this name.\n")] });
    let mut server = json!({
        "listen": [format!(":{}", if settings.tls == Tls::Off { settings.http_port } else { settings.https_port })],
        // Only TCP ports are published, so HTTP/3 must not be promised.
        "protocols": ["h1", "h2"],
        "routes": dashboard.chain(apps).chain([nobody]).collect::<Vec<Value>>(),
        "errors": { "routes": [{ "handle": [text("{http.error.status_code}", "The app does not answer.\n")] }] },
    });
    if settings.tls == Tls::Off {
        server["automatic_https"] = json!({ "disable": true });
    }
    let mut config = json!({
        // Caddy 2.6 refuses any host on a unix socket that is not named here.
        "admin": {
            "listen": format!("unix/{SOCKETS}/admin.sock"),
            "origins": ["127.0.0.1"],
            "config": { "persist": false },
        },
        "logging": { "logs": { "default": {
            "level": "WARN",
            "writer": { "output": "file", "filename": LOG, "roll_size_mb": 10, "roll_keep": 2 },
        } } },
        // No `https_port`: Caddy's redirects leave out a port that is set there.
        "apps": { "http": {
            "http_port": settings.http_port,
            "servers": { MAIN: server },
        } },
    });
    match (settings.tls, settings.can.files) {
        (Tls::Off, _) => {}
        (_, true) => certificates_on_demand(settings, &mut config),
        (Tls::Auto, false) => {}
        (Tls::Internal, false) => {
            config["apps"]["tls"] = json!({ "automation": { "policies": [issuers(settings)] } });
        }
    }
    if settings.tls == Tls::Internal {
        // Nobody's trust store is written to from inside a container.
        config["apps"]["pki"] =
            json!({ "certificate_authorities": { "local": { "install_trust": false } } });
    }
    config
}

/// Who signs: Caddy's own authority, or those that Caddy takes by itself.
fn issuers(settings: &Settings) -> Value {
    match settings.tls {
        Tls::Internal => json!({ "issuers": [{ "module": "internal" }] }),
        _ => json!({}),
    }
}

/// As no host stands in the configuration, a certificate comes with the first handshake that asks for
/// it; Windlass makes that one when a domain is added. Caddy asks itself whether a name may have one: on
/// its own loopback, which no app reaches, it looks whether there is a file for the host.
fn certificates_on_demand(settings: &Settings, config: &mut Value) {
    let Settings {
        http_port,
        https_port,
        ..
    } = *settings;
    let others = [http_port, https_port];
    let own = (2020..2023).find(|port| !others.contains(port));
    let permission = format!("127.0.0.1:{}", own.unwrap_or(2020));
    let mut on_demand = issuers(settings);
    on_demand["on_demand"] = json!(true);
    let mut policies = vec![on_demand];
    if let Some(dashboard) = &settings.dashboard {
        let mut known = issuers(settings);
        known["subjects"] = json!([dashboard.as_str()]);
        policies.insert(0, known);
    }
    config["apps"]["tls"] = json!({ "automation": {
        "policies": policies,
        "on_demand": { "permission": { "module": "http", "endpoint": format!("http://{permission}/") } },
    } });
    let main = &mut config["apps"]["http"]["servers"][MAIN];
    main["automatic_https"] = json!({ "disable_redirects": true });
    main["tls_connection_policies"] = json!([{}]);
    let host = "{windlass.host}";
    let plain = |listen: String, routes: Value| json!({ "listen": [listen], "protocols": ["h1"], "automatic_https": { "disable": true }, "routes": routes });
    let servers = &mut config["apps"]["http"]["servers"];
    servers["permission"] = plain(
        permission,
        json!([
            { "handle": [lead_by("{http.request.uri.query.domain}", host)] },
            { "match": [has_files(host)], "handle": [text(200, "")], "terminal": true },
            { "handle": [text(403, "")] },
        ]),
    );
    let port = match https_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    servers["redirects"] = plain(
        format!(":{http_port}"),
        json!([{ "handle": [{
            "handler": "static_response",
            "status_code": 308,
            "headers": {
                "Connection": ["close"],
                "Location": [format!("https://{{http.request.host}}{port}{{http.request.uri}}")],
            },
        }] }]),
    );
}

/// The same for every app: what a request's host is led by lies in files. A file that is renamed
/// between Caddy's look at the folder and its look at the file is missed, so there are more tries than
/// changes that can meet one request. Names are lower case; who writes one otherwise is led by the
/// second try.
fn routes_by_files() -> Vec<Value> {
    let (host, folded) = ("{windlass.host}", "{windlass.folded}");
    let lower = |letter: char| json!({ "search": letter.to_string(), "replace": letter.to_ascii_lowercase().to_string() });
    let letters: Vec<Value> = ('A'..='Z').map(lower).collect();
    let fold = json!([
        { "handler": "vars", "windlass_host": "{http.request.hostport}" },
        { "handler": "headers", "request": { "replace": { "Host": letters } } },
        { "handler": "vars", "windlass_folded": "{http.request.host}" },
        // The app is told what the visitor wrote.
        { "handler": "headers", "request": { "set": { "Host": ["{http.vars.windlass_host}"] } } },
        lead_by("{http.vars.windlass_folded}", folded),
    ]);
    vec![
        json!({ "handle": [lead_by("{http.request.host}", host)] }),
        route_by_files(host),
        json!({ "handle": fold }),
        route_by_files(folded),
        route_by_files(folded),
    ]
}

/// Makes what `from` says a placeholder to be led by; one that is no host's name leads nowhere.
fn lead_by(from: &str, placeholder: &str) -> Value {
    json!({
        "handler": "map",
        "source": from,
        "destinations": [placeholder],
        "mappings": [{ "input_regexp": HOST, "outputs": ["$0"] }],
        "defaults": ["-"],
    })
}

/// Matches where a file tells where the host's app is.
fn has_files(placeholder: &str) -> Value {
    json!({ "file": {
        "root": format!("{SOCKETS}/{HOSTS}"),
        "try_files": [format!("/{placeholder}/*")],
    } })
}

/// To the address and port in the file's name; an alias is looked up as each connection is made, since
/// Caddy looks up what is dynamic under one lock, and an engine that hangs would hold up every app.
fn route_by_files(placeholder: &str) -> Value {
    let file = |pattern: &str| {
        let place = json!({ "name": "led", "pattern": format!("/({pattern}):([0-9]+)$") });
        json!([{ "vars_regexp": { "{http.matchers.file.relative}": place } }])
    };
    let mut address = json!({ "dynamic_upstreams": {
        "source": "a",
        "name": LED_HOST,
        "port": LED_PORT,
        "refresh": "1s",
    } });
    let mut alias = json!({ "upstreams": [{ "dial": format!("{LED_HOST}:{LED_PORT}") }] });
    for proxy in [&mut address, &mut alias] {
        hold_on(proxy);
        proxy["stream_close_delay"] = json!("10m");
    }
    let to = json!([
        { "match": file("[0-9.]+"), "handle": [address], "terminal": true },
        { "match": file("[^/:]+"), "handle": [alias] },
    ]);
    json!({
        "match": [has_files(placeholder)],
        "handle": [{ "handler": "subroute", "routes": to }],
        "terminal": true,
    })
}

/// An older Caddy's routes: the hosts stand in its configuration.
fn routes_by_names(settings: &Settings, routes: &[Route]) -> Vec<Value> {
    let of = |route: &Route| {
        let domains: Vec<&str> = route.domains.iter().map(|domain| domain.as_str()).collect();
        host_route(&domains, json!([handler(settings, route)]))
    };
    let with_domains = routes.iter().filter(|route| !route.domains.is_empty());
    with_domains.map(of).collect()
}

/// A dial that fails is tried again for 5 s.
fn hold_on(proxy: &mut Value) {
    proxy["handler"] = json!("reverse_proxy");
    proxy["load_balancing"] = json!({ "try_duration": "5s", "try_interval": "50ms" });
}

fn host_route(hosts: &[&str], handlers: Value) -> Value {
    json!({ "match": [{ "host": hosts }], "handle": handlers, "terminal": true })
}

/// What of the dashboard is worth compressing; its event streams stay as they are. Nothing that an
/// attacker chooses stands beside a secret in a page, so its length tells nothing (BREACH).
fn compressed() -> Value {
    json!({
        "handler": "encode",
        "encodings": { "gzip": {}, "zstd": {} },
        "prefer": ["zstd", "gzip"],
        "match": { "headers": { "Content-Type": ["text/html*", "text/css*", "text/javascript*", "image/svg+xml*"] } },
    })
}

/// The live container: its name is looked up anew each second. The fallback serves the few milliseconds
/// between the two renames of a swap, for every method.
fn handler(settings: &Settings, route: &Route) -> Value {
    let mut proxy = match &route.upstream {
        Upstream::Live {
            name,
            fallback,
            port,
        } => json!({
            "dynamic_upstreams": { "source": "a", "name": name, "port": port.to_string(), "refresh": "1s" },
            "upstreams": [{ "dial": format!("{fallback}:{port}") }],
        }),
        Upstream::Pinned { name, port } => {
            json!({ "upstreams": [{ "dial": format!("{name}:{port}") }] })
        }
    };
    hold_on(&mut proxy);
    if settings.can.stream_close_delay {
        proxy["stream_close_delay"] = json!("10m");
    }
    proxy
}

fn text(status: impl Into<Value>, body: &str) -> Value {
    json!({
        "handler": "static_response",
        "status_code": status.into(),
        "headers": { "Content-Type": ["text/plain; charset=utf-8"], "Cache-Control": ["no-store"] },
        "body": body,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Abilities;
    use super::*;

    fn settings(tls: Tls) -> Settings {
        let dashboard = Some("deploy.example.com".parse().unwrap());
        Settings {
            tls,
            http_port: 80,
            https_port: 443,
            dashboard,
            can: Abilities::default(),
        }
    }

    fn route(upstream: Upstream) -> Route {
        Route {
            app: "shop".parse().unwrap(),
            domains: vec!["shop.example.com".parse().unwrap()],
            upstream,
        }
    }

    fn live() -> Route {
        route(Upstream::Live {
            name: "w_shop_live".into(),
            fallback: "w_shop_any".into(),
            port: 9000,
        })
    }

    fn by_files(tls: Tls) -> Settings {
        let can = Abilities::of_version("v2.11.7");
        Settings {
            can,
            ..settings(tls)
        }
    }

    #[test]
    fn an_older_caddy_looks_the_live_name_up_and_falls_back() {
        let config = render(&settings(Tls::Off), &[live()]);
        let proxy = &config["apps"]["http"]["servers"]["main"]["routes"][1]["handle"][0];
        assert_eq!(proxy["dynamic_upstreams"]["port"], "9000");
        assert_eq!(proxy["dynamic_upstreams"]["name"], "w_shop_live");
        assert_eq!(proxy["dynamic_upstreams"]["refresh"], "1s");
        assert_eq!(proxy["upstreams"][0]["dial"], "w_shop_any:9000");
        assert_eq!(proxy["load_balancing"]["try_duration"], "5s");
    }

    #[test]
    fn a_caddy_that_reads_files_has_the_same_configuration_whatever_apps_there_are() {
        for tls in [Tls::Auto, Tls::Internal, Tls::Off] {
            let settings = by_files(tls);
            assert_eq!(render(&settings, &[]), render(&settings, &[live()]));
        }
    }

    #[test]
    fn nobody_gets_a_certificate_for_a_name_that_no_file_knows() {
        for tls in [Tls::Auto, Tls::Internal] {
            let config = render(&by_files(tls), &[]);
            let automation = &config["apps"]["tls"]["automation"];
            let endpoint = automation["on_demand"]["permission"]["endpoint"].as_str();
            assert_eq!(endpoint, Some("http://127.0.0.1:2020/"));
            let permission = &config["apps"]["http"]["servers"]["permission"];
            assert_eq!(permission["listen"][0], "127.0.0.1:2020");
            let last = permission["routes"].as_array().unwrap().last().unwrap();
            assert_eq!(last["handle"][0]["status_code"], 403);
            let [dashboard, apps] = automation["policies"].as_array().unwrap().as_slice() else {
                panic!("{automation}");
            };
            assert_eq!(dashboard["subjects"][0], "deploy.example.com");
            assert_eq!(
                (&dashboard["on_demand"], &apps["on_demand"]),
                (&Value::Null, &json!(true))
            );
        }
    }

    #[test]
    fn the_permission_takes_no_port_of_a_visitors() {
        let settings = Settings {
            http_port: 2020,
            https_port: 2021,
            ..by_files(Tls::Internal)
        };
        let config = render(&settings, &[]);
        let permission = &config["apps"]["http"]["servers"]["permission"];
        assert_eq!(permission["listen"][0], "127.0.0.1:2022");
    }

    #[test]
    fn the_admin_api_is_never_on_a_network() {
        for tls in [Tls::Auto, Tls::Internal, Tls::Off] {
            let config = render(&settings(tls), &[]);
            assert_eq!(config["admin"]["listen"], "unix//run/windlass/admin.sock");
        }
    }

    #[test]
    fn a_route_without_a_domain_is_none() {
        let pinned = || Upstream::Pinned {
            name: "w_shop_d1".into(),
            port: 80,
        };
        let nowhere = Route {
            app: "nowhere".parse().unwrap(),
            domains: vec![],
            upstream: pinned(),
        };
        let config = render(&settings(Tls::Auto), &[route(pinned()), nowhere]);
        assert_eq!(
            config["apps"]["http"]["servers"]["main"]["routes"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
    }
}
