//! Asking a container directly, from the server to its address on the app's network.

use std::fs;
use std::net::Ipv4Addr;

use super::{Docker, root_cause};
use crate::runtime::{EngineError, Probe};

impl Docker {
    /// GETs a path as a visitor of a host would be forwarded by Caddy, and gives the status.
    ///
    /// # Errors
    /// In words: refused, or not in time.
    pub async fn probe(&self, probe: &Probe<'_>) -> Result<u16, String> {
        let Probe {
            address,
            host,
            https,
            path,
            timeout,
        } = *probe;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_only([])
            .pool_max_idle_per_host(0)
            .timeout(timeout)
            .build()
            .map_err(|error| root_cause(&error))?;
        let request = client
            .get(format!("http://{address}{path}"))
            .header("host", host)
            .header("user-agent", "windlass-health")
            .header("x-forwarded-host", host)
            .header("x-forwarded-proto", if https { "https" } else { "http" });
        match request.send().await {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(error) if error.is_timeout() => Err(format!(
                "{path} did not answer within {}",
                crate::domain::duration::show(timeout)
            )),
            Err(error) => Err(format!("{path}: {}", root_cause(&error))),
        }
    }

    /// The TCP addresses that the processes of a container listen on. `None` where it does not run.
    pub async fn listening(&self, name: &str) -> Result<Option<Vec<(Ipv4Addr, u16)>>, EngineError> {
        Ok(self.pid(name).await?.map(listening))
    }
}

/// The TCP addresses that the processes beside `pid` listen on, IPv4 or any; those for all
/// addresses first. The format is that of proc(5), `/proc/net/tcp`.
fn listening(pid: i64) -> Vec<(Ipv4Addr, u16)> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let mut found: Vec<(Ipv4Addr, u16)> = [read("tcp"), read("tcp6")]
        .iter()
        .flat_map(|table| table.lines().skip(1).filter_map(parse_row))
        .collect();
    // Docker's own resolver listens on 127.0.0.11 in every container.
    found.retain(|(ip, _)| *ip != Ipv4Addr::new(127, 0, 0, 11));
    found.sort_unstable();
    found.dedup();
    found
}

fn parse_row(row: &str) -> Option<(Ipv4Addr, u16)> {
    const LISTEN: &str = "0A";
    let mut fields = row.split_whitespace();
    let (local, state) = (fields.nth(1)?, fields.nth(1)?);
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = match address.len() {
        8 => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.swap_bytes()),
        // IPv6: any, which takes IPv4 as well, or something narrower.
        _ if address.bytes().all(|b| b == b'0') => Ipv4Addr::UNSPECIFIED,
        _ => Ipv4Addr::LOCALHOST,
    };
    (state == LISTEN).then_some((ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_proc_net_tcp() {
        let row =
            "   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1";
        assert_eq!(parse_row(row), Some((Ipv4Addr::UNSPECIFIED, 8000)));
        assert_eq!(
            parse_row(&row.replace("00000000:1F40", "0100007F:2328")),
            Some((Ipv4Addr::LOCALHOST, 9000))
        );
        assert_eq!(parse_row(&row.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse_row("garbage"), None);
    }

    #[test]
    fn this_process_listens_where_it_does() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pid = i64::from(std::process::id());
        assert!(listening(pid).contains(&(Ipv4Addr::LOCALHOST, port)));
    }
}
