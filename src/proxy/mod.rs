//! Caddy: the one door through which requests come.
//!
//! Its admin API is a unix socket in a folder shared with its container alone. Its configuration is
//! rendered whole from the routes and loaded only when it differs, because loading one closes every
//! client's idle connection; a swap needs no load.

#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod render;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Mutex;

pub use render::SOCKETS;

use crate::config::Tls;
use crate::domain::{AppName, DomainName};

/// How long Caddy may go on using what it last looked up, with a margin: the `refresh` of its
/// dynamic upstreams.
pub const REFRESH: Duration = Duration::from_millis(1100);

/// Caddy did not do as asked.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// Its admin socket does not answer.
    #[error("Caddy's admin socket does not answer: {0}")]
    Unreachable(String),
    /// It refused a configuration.
    #[error("Caddy refused the configuration, and keeps the one it has: {0}")]
    Refused(String),
    /// Its configuration could not be stored.
    #[error("Caddy's configuration cannot be written: {0}")]
    File(#[from] io::Error),
}

/// What all routes share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where certificates come from.
    pub tls: Tls,
    /// Caddy's port for http, the same inside its container and outside: redirects name it.
    pub http_port: u16,
    /// Caddy's port for https, likewise.
    pub https_port: u16,
    /// The dashboard's public name.
    pub dashboard: Option<DomainName>,
    /// What this Caddy can.
    pub can: Abilities,
}

/// What differs between the Caddys that Windlass works with; none of it before its version is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// 2.7 and newer keep proxied WebSockets open when a configuration is loaded.
    pub stream_close_delay: bool,
    /// 2.8 and newer read values from files while they serve, so that a release on another port
    /// needs no load.
    pub files: bool,
}

impl Abilities {
    /// By what `caddy version` prints: `v2.11.7 h1:…`, `2.6.2`.
    pub fn of_version(said: &str) -> Self {
        let numbers = said.trim_start_matches('v').split(['.', ' ', '-', '\n']);
        let numbers: Vec<u32> = numbers.map_while(|n| n.parse().ok()).collect();
        let at_least =
            |minor| matches!(numbers[..], [2, m, ..] if m >= minor) || numbers.first() > Some(&2);
        Self {
            stream_close_delay: at_least(7),
            files: at_least(8),
        }
    }
}

/// From domains to an app.
#[derive(Debug, Clone)]
pub struct Route {
    /// The domains.
    pub domains: Vec<DomainName>,
    /// Where they lead.
    pub upstream: Upstream,
}

/// Where a route leads.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// Whatever bears the live name, by its address or, where Caddy reads no files, by that name.
    Live {
        /// The live name.
        name: String,
        /// The alias that every web container of the app bears.
        fallback: String,
        /// Which app's files tell address and port, where Caddy can read them.
        app: AppName,
        /// In the container.
        port: u16,
    },
    /// One release by its own name, while the port that the live name is asked on changes.
    Pinned {
        /// The release's own alias.
        name: String,
        /// In the container.
        port: u16,
    },
}

/// Who answers for Caddy.
#[derive(Debug, Clone)]
enum Admin {
    /// Caddy, over its admin socket.
    Socket(reqwest::Client),
    /// One in memory, for tests.
    #[cfg(any(test, feature = "testing"))]
    Fake(fake::FakeCaddy),
}

/// A connection to Caddy's admin socket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    admin: Admin,
    dir: PathBuf,
    loaded: Arc<Mutex<Option<Value>>>,
}

/// One row of `GET /reverse_proxy/upstreams`.
#[derive(Debug, Deserialize)]
struct UpstreamRow {
    address: String,
    num_requests: i64,
}

impl Proxy {
    /// Caddy whose files lie in `dir`.
    pub fn new(dir: PathBuf) -> Result<Self, ProxyError> {
        fs::create_dir_all(dir.join("run"))?;
        let admin = reqwest::Client::builder()
            .unix_socket(dir.join("run/admin.sock"))
            // It never speaks TLS, and must not need a machine that has certificates.
            .tls_certs_only([])
            .timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| ProxyError::Unreachable(error.to_string()))?;
        Ok(Self {
            admin: Admin::Socket(admin),
            dir,
            loaded: Arc::default(),
        })
    }

    /// A Caddy in memory, whose files lie in `dir`.
    #[cfg(any(test, feature = "testing"))]
    pub fn fake(dir: PathBuf, caddy: fake::FakeCaddy) -> Result<Self, ProxyError> {
        fs::create_dir_all(dir.join("run"))?;
        Ok(Self {
            admin: Admin::Fake(caddy),
            dir,
            loaded: Arc::default(),
        })
    }

    /// The folder with the admin socket and the dashboard's.
    pub fn sockets(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Writes the configuration that Caddy starts with, without asking it to load.
    pub async fn prepare(&self, settings: &Settings, routes: &[Route]) -> Result<(), ProxyError> {
        let config = render::render(settings, routes);
        #[cfg(any(test, feature = "testing"))]
        if let Admin::Fake(caddy) = &self.admin {
            caddy.prepare(routes);
        }
        store(&self.dir.join("config/windlass.json"), &config)?;
        *self.loaded.lock().await = None;
        Ok(())
    }

    /// Leads an app's requests to this address, where it is known, and port: from the next request on,
    /// with a Caddy that reads files.
    pub fn lead(
        &self,
        app: &AppName,
        address: Option<Ipv4Addr>,
        port: u16,
    ) -> Result<(), ProxyError> {
        let (addresses, ports) = (
            self.file(render::ADDRESSES, app),
            self.file(render::PORTS, app),
        );
        let port = port.to_string();
        if fs::read_to_string(&ports).is_ok_and(|before| before != port) || address.is_none() {
            // Nobody meets the new port at the old address; meanwhile the fallback is asked.
            remove(&addresses)?;
        }
        replace(&ports, &port)?;
        address.map_or(Ok(()), |address| {
            Ok(replace(&addresses, &address.to_string())?)
        })
    }

    /// Leads an app's requests nowhere: it is no more.
    pub fn forget(&self, app: &AppName) -> Result<(), ProxyError> {
        for path in [
            self.file(render::ADDRESSES, app),
            self.file(render::PORTS, app),
        ] {
            remove(&path)?;
            remove(&path.with_extension("new"))?;
        }
        Ok(())
    }

    /// Where an app's requests were last led to.
    pub fn led_to(&self, app: &AppName) -> Option<Ipv4Addr> {
        fs::read_to_string(self.file(render::ADDRESSES, app))
            .ok()?
            .parse()
            .ok()
    }

    fn file(&self, folder: &str, app: &AppName) -> PathBuf {
        self.sockets().join(folder).join(app.as_str())
    }

    /// Brings Caddy to these routes. True when that took a load, false when it had them already.
    ///
    /// # Errors
    /// When Caddy refuses them, and keeps what it has; or does not answer, and may have either. The
    /// next call loads in any case.
    pub async fn load(&self, settings: &Settings, routes: &[Route]) -> Result<bool, ProxyError> {
        let config = render::render(settings, routes);
        let mut loaded = self.loaded.lock().await;
        if loaded.as_ref() == Some(&config) {
            return Ok(false);
        }
        // Until it answers, nobody knows which one it has.
        *loaded = None;
        match &self.admin {
            Admin::Socket(admin) => post(admin, &config).await?,
            #[cfg(any(test, feature = "testing"))]
            Admin::Fake(caddy) => caddy.load(routes).await?,
        }
        store(&self.dir.join("config/windlass.json"), &config)?;
        *loaded = Some(config);
        Ok(true)
    }

    /// Whether Caddy answers.
    pub async fn ping(&self) -> Result<(), ProxyError> {
        self.upstreams().await.map(drop)
    }

    /// Requests that Caddy still has under way at any of these hosts, on whatever port. It counts a
    /// host on while it has some, even if no name leads there any more.
    pub async fn in_flight(&self, hosts: &[String]) -> Result<u64, ProxyError> {
        let rows = self.upstreams().await?;
        let host = |row: &UpstreamRow| {
            row.address
                .rsplit_once(':')
                .map(|(host, _)| host.to_owned())
        };
        let ours = rows
            .iter()
            .filter(|row| host(row).is_some_and(|host| hosts.contains(&host)));
        Ok(ours.map(|row| row.num_requests.max(0) as u64).sum())
    }

    async fn upstreams(&self) -> Result<Vec<UpstreamRow>, ProxyError> {
        match &self.admin {
            Admin::Socket(admin) => get_upstreams(admin).await,
            #[cfg(any(test, feature = "testing"))]
            Admin::Fake(caddy) => caddy.upstreams().await,
        }
    }
}

/// Loads a configuration. The load before it ended Caddy's admin server, and with it maybe the very
/// connection that this one found open; the same configuration twice changes nothing, so a call that was
/// cut is made once more.
async fn post(admin: &reqwest::Client, config: &Value) -> Result<(), ProxyError> {
    let body = config.to_string();
    let send = || {
        admin
            .post("http://127.0.0.1/load")
            .header("content-type", "application/json")
            .body(body.clone())
            .send()
    };
    let cut = |error: &reqwest::Error| !error.is_connect() && !error.is_timeout();
    let answer = match send().await {
        Err(error) if cut(&error) => send().await,
        answer => answer,
    };
    let answer = answer.map_err(unreachable)?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(ProxyError::Refused(answer.text().await.unwrap_or_default())),
    }
}

async fn get_upstreams(admin: &reqwest::Client) -> Result<Vec<UpstreamRow>, ProxyError> {
    let url = "http://127.0.0.1/reverse_proxy/upstreams";
    let answer = admin.get(url).send().await.map_err(unreachable)?;
    let body = answer.bytes().await.map_err(unreachable)?;
    let rows: Option<Vec<UpstreamRow>> = serde_json::from_slice(&body)
        .map_err(|error| ProxyError::Unreachable(error.to_string()))?;
    Ok(rows.unwrap_or_default())
}

/// The public address of a domain on this machine: what a browser would ask, sent to Caddy's own
/// ports, whatever DNS says.
#[derive(Debug, Clone)]
pub struct PublicDoor {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Caddy's port on this machine.
    pub port: u16,
    /// The root of Caddy's own authority, where it signs.
    pub authority: Option<PathBuf>,
    /// Who is asked.
    pub caddy: Public,
}

/// Who answers visitors.
#[derive(Debug, Clone, Default)]
pub enum Public {
    /// Caddy's own ports on this machine.
    #[default]
    Ports,
    /// One in memory, for tests.
    #[cfg(any(test, feature = "testing"))]
    Fake(fake::FakeCaddy),
}

impl PublicDoor {
    /// The address people are told.
    pub fn url(&self, domain: &DomainName) -> String {
        let usual = matches!((self.scheme, self.port), ("http", 80) | ("https", 443));
        let port = if usual {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        format!("{}://{domain}{port}", self.scheme)
    }

    /// Asks for `path` as a visitor would and gives the status.
    ///
    /// # Errors
    /// In words, for the log: refused, not in time, a bad certificate.
    pub async fn ask(
        &self,
        domain: &DomainName,
        path: &str,
        timeout: Duration,
    ) -> Result<u16, String> {
        match &self.caddy {
            Public::Ports => self.ask_ports(domain, path, timeout).await,
            #[cfg(any(test, feature = "testing"))]
            Public::Fake(caddy) => caddy.ask(domain, timeout).await,
        }
    }

    async fn ask_ports(
        &self,
        domain: &DomainName,
        path: &str,
        timeout: Duration,
    ) -> Result<u16, String> {
        let mut client = reqwest::Client::builder()
            .resolve(
                domain.as_str(),
                SocketAddr::from(([127, 0, 0, 1], self.port)),
            )
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout);
        if self.scheme == "http" {
            client = client.tls_certs_only([]);
        }
        if let Some(root) = self.authority.as_ref().and_then(|path| fs::read(path).ok()) {
            let root = reqwest::Certificate::from_pem(&root).map_err(|error| error.to_string())?;
            client = client.tls_certs_only([root]);
        }
        let client = client.build().map_err(|error| deepest(&error))?;
        let url = format!("{}{path}", self.url(domain));
        let answer = client
            .get(url)
            .send()
            .await
            .map_err(|error| deepest(&error))?;
        Ok(answer.status().as_u16())
    }
}

fn unreachable(error: reqwest::Error) -> ProxyError {
    ProxyError::Unreachable(deepest(&error))
}

/// What lies at the bottom of an error: the part that says something.
pub fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Written beside and moved into place, so that Caddy never starts with half a file. What is there
/// already needs no room on the disk.
fn store(path: &Path, config: &Value) -> io::Result<()> {
    let config = config.to_string();
    if fs::read_to_string(path).is_ok_and(|before| before == config) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(config.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

/// Written beside and moved into place, so that Caddy never reads half a file. The two change places
/// and both stay: what is overwritten has its room already, so that a swap does not need any on a disk
/// that is full.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let beside = path.with_extension("new");
    overwrite(&beside, text)?;
    let exchanged = renameat_with(CWD, &beside, CWD, path, RenameFlags::EXCHANGE);
    if exchanged.is_err() {
        // There is none yet, or this file system cannot do that.
        fs::rename(&beside, path)?;
        let _ = overwrite(&beside, text);
    }
    Ok(())
}

fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_go_by_the_version() {
        let of = |said| Abilities::of_version(said);
        assert_eq!(of("2.6.2\n"), Abilities::default());
        assert_eq!(
            of("v2.7.6 h1:x"),
            Abilities {
                stream_close_delay: true,
                files: false
            }
        );
        assert_eq!(
            of("v2.11.7 h1:x"),
            Abilities {
                stream_close_delay: true,
                files: true
            }
        );
        assert!(of("v3.0.0-beta.1").files);
        assert_eq!(of("not a version"), Abilities::default());
    }

    #[test]
    fn caddy_is_led_to_an_address_and_a_port() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::new(dir.path().into()).unwrap();
        let app: AppName = "shop".parse().unwrap();
        let read = |folder: &str| fs::read_to_string(proxy.file(folder, &app)).ok();
        let led = || (read(render::ADDRESSES), read(render::PORTS));
        let at = |last| Some(Ipv4Addr::new(10, 0, 0, last));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(proxy.led_to(&app), None);
        proxy.lead(&app, at(62), 8000).unwrap();
        for (last, port) in [(61, 9000), (9, 9000), (61, 80), (61, 9000)] {
            proxy.lead(&app, at(last), port).unwrap();
            assert_eq!(
                (led(), proxy.led_to(&app)),
                (
                    (text(&format!("10.0.0.{last}")), text(&port.to_string())),
                    at(last)
                )
            );
        }
        assert_eq!(
            (led(), proxy.led_to(&app)),
            ((text("10.0.0.61"), text("9000")), at(61))
        );
        proxy.lead(&app, None, 9000).unwrap();
        assert_eq!(
            led(),
            (None, text("9000")),
            "nowhere known: by the fallback"
        );
        proxy.forget(&app).unwrap();
        assert_eq!(led(), (None, None));
        assert_eq!(
            fs::read_dir(proxy.sockets().join(render::PORTS))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn an_address_names_a_port_only_where_it_must() {
        let url = |scheme, port| {
            PublicDoor {
                scheme,
                port,
                authority: None,
                caddy: Public::Ports,
            }
            .url(&"a.example.com".parse().unwrap())
        };
        assert_eq!(url("https", 443), "https://a.example.com");
        assert_eq!(url("http", 8080), "http://a.example.com:8080");
    }

    /// Answers each connection in turn: `None` takes the request and hangs up.
    async fn answer(socket: tokio::net::UnixListener, answers: Vec<Option<&'static str>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for answer in answers {
            let (mut connection, _) = socket.accept().await.unwrap();
            let mut request = [0; 64 * 1024];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            let Some(status) = answer else { continue };
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            connection.write_all(head.as_bytes()).await.unwrap();
        }
    }

    fn settings() -> Settings {
        Settings {
            tls: Tls::Off,
            http_port: 80,
            https_port: 443,
            dashboard: None,
            can: Abilities::default(),
        }
    }

    #[tokio::test]
    async fn a_load_whose_connection_the_load_before_ended_is_made_once_more() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::new(dir.path().to_owned()).unwrap();
        let socket = tokio::net::UnixListener::bind(dir.path().join("run/admin.sock")).unwrap();
        let caddy = tokio::spawn(answer(socket, vec![None, Some("200 OK")]));
        assert!(proxy.load(&settings(), &[]).await.unwrap());
        caddy.await.unwrap();
    }

    #[tokio::test]
    async fn after_a_lost_answer_the_next_load_is_one() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::new(dir.path().to_owned()).unwrap();
        let socket = tokio::net::UnixListener::bind(dir.path().join("run/admin.sock")).unwrap();
        let answers = vec![Some("200 OK"), None, None, Some("200 OK")];
        let caddy = tokio::spawn(answer(socket, answers));
        let settings = settings();
        let upstream = Upstream::Pinned {
            name: "new".into(),
            port: 9000,
        };
        let other = [Route {
            domains: vec!["a.example.com".parse().unwrap()],
            upstream,
        }];
        assert!(proxy.load(&settings, &[]).await.unwrap());
        assert!(
            !proxy.load(&settings, &[]).await.unwrap(),
            "it has that one"
        );
        assert!(matches!(
            proxy.load(&settings, &other).await,
            Err(ProxyError::Unreachable(_))
        ));
        assert!(
            proxy.load(&settings, &[]).await.unwrap(),
            "Caddy may have taken the other"
        );
        caddy.await.unwrap();
    }
}
