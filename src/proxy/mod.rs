//! Caddy: the one door through which requests come.
//!
//! Its admin API is a unix socket in a folder shared with its container alone. Routes are files in that
//! folder, which Caddy reads for each request: no app's coming, going or change loads a configuration,
//! for loading one closes every client's idle connection. A Caddy older than 2.8 has its routes in its
//! configuration, which is rendered whole and loaded when it differs.

mod door;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod files;
mod render;

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Mutex;

pub use door::{Public, PublicDoor};
use files::Files;
pub use render::{LED_HOST, SOCKETS};

use crate::config::Tls;
use crate::domain::{AppName, DomainName};

/// How long Caddy may go on using what it last looked up, with a margin: the `refresh` of its
/// dynamic upstreams.
pub const REFRESH: Duration = Duration::from_millis(1100);

/// How long a request may go on looking for where its app is, with a margin: Caddy's `try_duration`.
const LONGEST_TRY: Duration = Duration::from_secs(20);

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
    /// 2.8 and newer are led by files while they serve, and ask whether a name may have a certificate:
    /// nothing that becomes of an app needs a load.
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
    /// Which one.
    pub app: AppName,
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
    files: Files,
    loaded: Arc<Mutex<Option<Value>>>,
}

/// What it took to bring Caddy to its routes.
#[derive(Debug)]
pub struct Brought {
    /// The domains that were not led to their app before.
    pub new: Vec<DomainName>,
    /// Whether a configuration was loaded; Caddy had it already where not.
    pub loaded: bool,
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
            files: Files::new(dir.join("run")),
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
            files: Files::new(dir.join("run")),
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
            caddy.prepare(settings, routes);
        }
        self.files.bring(routes)?;
        store(&self.dir.join("config/windlass.json"), &config)?;
        *self.loaded.lock().await = None;
        Ok(())
    }

    /// Leads an app's requests to this host, an address or an alias, and port: from the next request on,
    /// with a Caddy that reads files.
    pub fn lead(&self, app: &AppName, host: &str, port: u16) -> Result<(), ProxyError> {
        Ok(self.files.lead(app, host, port)?)
    }

    /// Leads an app's requests nowhere: it is no more.
    pub fn forget(&self, app: &AppName) -> Result<(), ProxyError> {
        Ok(self.files.forget(app)?)
    }

    /// The address that an app's requests were last led to.
    pub fn led_to(&self, app: &AppName) -> Option<Ipv4Addr> {
        self.files.led_to(app)?.0.parse().ok()
    }

    /// Brings Caddy to these routes, which are asked for when it is this call's turn: so what was asked
    /// for first is never brought last.
    ///
    /// # Errors
    /// When the files cannot be written; when Caddy refuses a configuration, and keeps what it has; or
    /// does not answer, and may have either. The next call loads in any case.
    pub async fn bring<E: From<ProxyError>>(
        &self,
        settings: &Settings,
        routes: impl Future<Output = Result<Vec<Route>, E>>,
    ) -> Result<Brought, E> {
        let mut loaded = self.loaded.lock().await;
        let routes = routes.await?;
        // First the files, as a new configuration may be the first that follows them.
        let new = self.files.bring(&routes).map_err(ProxyError::File)?;
        let config = render::render(settings, &routes);
        if loaded.as_ref() == Some(&config) {
            return Ok(Brought { new, loaded: false });
        }
        // Until it answers, nobody knows which one it has.
        *loaded = None;
        match &self.admin {
            Admin::Socket(admin) => post(admin, &config).await?,
            #[cfg(any(test, feature = "testing"))]
            Admin::Fake(caddy) => caddy.load(settings, &routes).await?,
        }
        store(&self.dir.join("config/windlass.json"), &config).map_err(ProxyError::File)?;
        if self.files.has_before() {
            tokio::spawn(forget_before(self.files.clone()));
        }
        *loaded = Some(config);
        Ok(Brought { new, loaded: true })
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

/// Requests that began under an earlier version's configuration follow its files to their end.
async fn forget_before(files: Files) {
    tokio::time::sleep(LONGEST_TRY).await;
    if let Err(error) = files.forget_before() {
        tracing::warn!(%error, "files of an earlier version stay in caddy/run: {error}");
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

    async fn bring(proxy: &Proxy, routes: &[Route]) -> Result<bool, ProxyError> {
        let routes = routes.to_vec();
        let settings = settings();
        let brought = proxy.bring(&settings, async { Ok::<_, ProxyError>(routes) });
        Ok(brought.await?.loaded)
    }

    #[tokio::test]
    async fn a_load_whose_connection_the_load_before_ended_is_made_once_more() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::new(dir.path().to_owned()).unwrap();
        let socket = tokio::net::UnixListener::bind(dir.path().join("run/admin.sock")).unwrap();
        let caddy = tokio::spawn(answer(socket, vec![None, Some("200 OK")]));
        assert!(bring(&proxy, &[]).await.unwrap());
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
        let upstream = Upstream::Pinned {
            name: "new".into(),
            port: 9000,
        };
        let other = [Route {
            app: "shop".parse().unwrap(),
            domains: vec!["a.example.com".parse().unwrap()],
            upstream,
        }];
        assert!(bring(&proxy, &[]).await.unwrap());
        assert!(!bring(&proxy, &[]).await.unwrap(), "it has that one");
        assert!(matches!(
            bring(&proxy, &other).await,
            Err(ProxyError::Unreachable(_))
        ));
        assert!(
            bring(&proxy, &[]).await.unwrap(),
            "Caddy may have taken the other"
        );
        caddy.await.unwrap();
    }
}
