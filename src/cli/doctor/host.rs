//! The machine: git, ports, memory, network.

use std::fs::read_to_string;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

use ipnet::Ipv4Net;

use super::Finding;
use crate::config::{Config, Tls};

/// The oldest git that Windlass is used with.
const GIT: (u32, u32) = (2, 30);

/// Git is there and new enough.
pub fn git() -> Finding {
    let mend = "Install git 2.30 or newer: apt-get install git";
    let output = match Command::new("git").arg("version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => return Finding::fail("git", format!("git cannot be run: {error}"), mend),
    };
    match version(&output) {
        Some(found) if found >= GIT => Finding::ok("git", output),
        _ => Finding::fail("git", format!("{output:?} is older than 2.30"), mend),
    }
}

/// The first `<major>.<minor>` in a text.
pub fn version(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .find_map(|word| {
            let mut numbers = word.split('.').map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
}

/// The ports of http and https are free, or our Caddy's.
pub fn ports(config: &Config, caddys: &[u16]) -> Vec<Finding> {
    let mut wanted = vec![config.caddy.http_port];
    if config.caddy.tls != Tls::Off {
        wanted.push(config.caddy.https_port);
    }
    wanted
        .into_iter()
        .map(|number| port(number, caddys.contains(&number)))
        .collect()
}

fn port(number: u16, caddys: bool) -> Finding {
    let check = format!("port {number}");
    if caddys {
        return Finding::ok(&check, "held by Windlass's Caddy");
    }
    let held = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)) {
        Ok(_) => false,
        // Low ports are not for everyone; Docker may bind them all the same.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            TcpStream::connect((Ipv4Addr::LOCALHOST, number)).is_ok()
        }
        Err(_) => true,
    };
    if !held {
        return Finding::ok(&check, "free");
    }
    let mend = format!(
        "See who holds it: ss -ltnp 'sport = :{number}'\n\
         Stop that, or give Caddy another port in config.toml: [caddy] http_port, https_port"
    );
    Finding::fail(&check, "held by another program: Caddy cannot start", mend)
}

/// Memory that a build or a second container of an app could have.
pub fn memory() -> Option<Finding> {
    let info = read_to_string("/proc/meminfo").ok()?;
    let mib = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|kib| kib / 1024)
    };
    Some(enough(
        mib("MemAvailable:")?,
        mib("SwapTotal:").unwrap_or(0),
    ))
}

fn enough(available: u64, swap: u64) -> Finding {
    let found = format!("{available} MiB available, {swap} MiB swap");
    if available >= 200 {
        return Finding::ok("memory", found);
    }
    let add = "Add swap: fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile";
    let stop = "Stop what is not needed, or give the machine more memory: during a deploy an app runs twice";
    Finding::warn("memory", found, if swap == 0 { add } else { stop })
}

/// Containers may send packets no larger than the way out takes.
pub fn mtu() -> Option<Finding> {
    let mtu = |interface: &str| -> Option<u32> {
        read_to_string(format!("/sys/class/net/{interface}/mtu"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let routes = read_to_string("/proc/net/route").ok()?;
    let (out, _) = parse_routes(&routes)
        .into_iter()
        .find(|(_, net)| net.prefix_len() == 0)?;
    let (outer, inner) = (mtu(&out)?, mtu("docker0")?);
    if inner <= outer {
        return Some(Finding::ok(
            "mtu",
            format!("docker0 {inner}, {out} {outer}"),
        ));
    }
    let mend = format!(
        "Large packets of containers get lost: downloads in builds hang. Put \"mtu\": {outer} into\n\
         /etc/docker/daemon.json, or start dockerd with --mtu={outer}, and restart it"
    );
    Some(Finding::warn(
        "mtu",
        format!("docker0 has {inner}, but the way out by {out} only {outer}"),
        mend,
    ))
}

/// The pool of apps' networks leaves the machine's own networks alone.
pub fn address_pool(config: &Config) -> Option<Finding> {
    let pool = config.docker.address_pool;
    let routes = read_to_string("/proc/net/route").ok()?;
    Some(match collision(pool, &parse_routes(&routes)) {
        None => Finding::ok("address pool", format!("{pool} is used by nothing else")),
        Some((interface, net)) => Finding::fail(
            "address pool",
            format!("{pool} overlaps {net}, which this machine reaches by {interface}"),
            "Give another one in config.toml, as in: [docker] address_pool = \"10.87.0.0/16\"",
        ),
    })
}

/// A route into the pool that is not one of Docker's bridges, where apps' own networks are.
fn collision(pool: Ipv4Net, routes: &[(String, Ipv4Net)]) -> Option<&(String, Ipv4Net)> {
    routes.iter().find(|(interface, net)| {
        let overlaps = pool.contains(net) || net.contains(&pool);
        overlaps && net.prefix_len() > 0 && !interface.starts_with("br-")
    })
}

/// Interface and network of each line of `/proc/net/route`, whose numbers are little-endian hex.
fn parse_routes(text: &str) -> Vec<(String, Ipv4Net)> {
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16)
            .ok()
            .map(|n| Ipv4Addr::from(n.to_le_bytes()))
    };
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let net = Ipv4Net::with_netmask(address(words.get(1)?)?, address(words.get(7)?)?).ok()?;
        Some((words[0].to_owned(), net))
    };
    text.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        br-1234\t0000D50A\t00000000\t0001\t0\t0\t0\tC0FFFFFF\t0\t0\t0\n\
        tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";

    #[test]
    fn the_pool_collides_with_foreign_routes_only() {
        let routes = parse_routes(ROUTES);
        let nets: Vec<String> = routes
            .iter()
            .map(|(interface, net)| format!("{interface} {net}"))
            .collect();
        assert_eq!(
            nets,
            ["eth0 0.0.0.0/0", "br-1234 10.213.0.0/26", "tun0 10.0.0.0/8"]
        );
        let pool = "10.213.0.0/16".parse().unwrap();
        assert_eq!(
            collision(pool, &routes).map(|(interface, _)| interface.as_str()),
            Some("tun0")
        );
        assert_eq!(collision(pool, &routes[..2]), None);
    }

    #[test]
    fn limits_are_where_they_are_said_to_be() {
        assert_eq!(
            [enough(200, 0).status, enough(199, 0).status],
            [Status::Ok, Status::Warn]
        );
        assert!(enough(10, 0).mend.unwrap().contains("swapon"));
        assert!(
            version("git version 2.47.3") >= Some((2, 47))
                && version("20.10.24+dfsg1") == Some((20, 10))
        );
        assert!(version("git version two").is_none());
    }

    #[test]
    fn a_port_is_free_held_or_caddys() {
        let held = TcpListener::bind("0.0.0.0:0").unwrap();
        let number = held.local_addr().unwrap().port();
        assert_eq!(
            [port(number, false).status, port(number, true).status],
            [Status::Fail, Status::Ok]
        );
        drop(held);
        assert_eq!(port(number, false).status, Status::Ok);
    }
}
