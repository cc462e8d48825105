//! Caddy's configuration, made from the routes alone: the same routes give the same bytes.

use serde_json::{Value, json};

use super::{Route, Settings, Upstream};
use crate::config::Tls;

/// The folder with a file an app, holding its live container's address.
pub const ADDRESSES: &str = "addresses";
/// The folder with a file an app, holding its live container's port.
pub const PORTS: &str = "ports";
/// Caddy's own log in its container. The engine takes standard error through a small pipe, and Caddy
/// would stand still with it once the engine is away and the pipe is full.
const LOG: &str = "/data/caddy.log";
/// Where Caddy's container sees the folder with the sockets.
pub const SOCKETS: &str = "/run/windlass";

/// All of Caddy's configuration as JSON, with `admin` on a unix socket.
pub fn render(settings: &Settings, routes: &[Route]) -> Value {
    let dashboard = settings.dashboard.iter().map(|domain| {
        let upstream = json!([{ "dial": format!("unix/{SOCKETS}/dashboard.sock") }]);
        let proxy = json!({ "handler": "reverse_proxy", "upstreams": upstream });
        host_route(&[domain.as_str()], json!([compressed(), proxy]))
    });
    let apps = routes
        .iter()
        .filter(|route| !route.domains.is_empty())
        .map(|route| {
            let domains: Vec<&str> = route.domains.iter().map(|domain| domain.as_str()).collect();
            host_route(&domains, json!([handler(settings, route)]))
        });
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
            "servers": { "main": server },
        } },
    });
    if settings.tls == Tls::Internal {
        let internal = json!([{ "issuers": [{ "module": "internal" }] }]);
        config["apps"]["tls"] = json!({ "automation": { "policies": internal } });
        // Nobody's trust store is written to from inside a container.
        config["apps"]["pki"] =
            json!({ "certificate_authorities": { "local": { "install_trust": false } } });
    }
    config
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

/// The live container, by the address in its file: no look-up stands between a request and the app,
/// and neither the engine nor its DNS has to be there. An older Caddy looks the live name up anew each
/// second. The fallback serves while the file is missing, and the few milliseconds between the two
/// renames of a swap, for every method. A dial that fails is tried again for 5 s.
fn handler(settings: &Settings, route: &Route) -> Value {
    let mut proxy = match &route.upstream {
        Upstream::Live {
            name,
            fallback,
            app,
            port,
        } => {
            let file = |folder| format!("{{file.{SOCKETS}/{folder}/{app}}}");
            let (name, port) = match settings.can.files {
                true => (file(ADDRESSES), file(PORTS)),
                false => (name.clone(), port.to_string()),
            };
            json!({
                "dynamic_upstreams": { "source": "a", "name": name, "port": port, "refresh": "1s" },
                "upstreams": [{ "dial": format!("{fallback}:{port}") }],
            })
        }
        Upstream::Pinned { name, port } => {
            json!({ "upstreams": [{ "dial": format!("{name}:{port}") }] })
        }
    };
    proxy["handler"] = json!("reverse_proxy");
    proxy["load_balancing"] = json!({ "try_duration": "5s", "try_interval": "50ms" });
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
            domains: vec!["shop.example.com".parse().unwrap()],
            upstream,
        }
    }

    #[test]
    fn a_live_route_looks_the_live_name_up_and_falls_back() {
        let live = Upstream::Live {
            name: "w_shop_live".into(),
            fallback: "w_shop_any".into(),
            app: "shop".parse().unwrap(),
            port: 9000,
        };
        let proxy = |can| {
            let settings = Settings {
                can,
                ..settings(Tls::Off)
            };
            let config = render(&settings, &[route(live.clone())]);
            config["apps"]["http"]["servers"]["main"]["routes"][1]["handle"][0].clone()
        };
        let files = proxy(Abilities {
            files: true,
            ..Default::default()
        });
        assert_eq!(
            files["dynamic_upstreams"]["name"],
            "{file./run/windlass/addresses/shop}"
        );
        assert_eq!(
            files["dynamic_upstreams"]["port"],
            "{file./run/windlass/ports/shop}"
        );
        let proxy = proxy(Abilities::default());
        assert_eq!(proxy["dynamic_upstreams"]["port"], "9000");
        assert_eq!(proxy["dynamic_upstreams"]["name"], "w_shop_live");
        assert_eq!(proxy["dynamic_upstreams"]["refresh"], "1s");
        assert_eq!(proxy["upstreams"][0]["dial"], "w_shop_any:9000");
        assert_eq!(proxy["load_balancing"]["try_duration"], "5s");
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
