//! `config.toml` under the home folder, every key optional, and where things lie in that folder.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::Deserialize;
use thiserror::Error;

use crate::domain::{Bytes, Cpus, DomainName, HumanDuration, Limits};

/// The home folder: where everything that Windlass keeps lies.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// The home folder at `path`, made absolute: Docker and git are told of paths below it.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self(std::path::absolute(path)?))
    }
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }
    /// The database.
    pub fn database(&self) -> PathBuf {
        self.0.join("windlass.db")
    }
    /// The key that seals secrets.
    pub fn key(&self) -> PathBuf {
        self.0.join("secret.key")
    }
    /// Bare repositories, one an app.
    pub fn repos(&self) -> PathBuf {
        self.0.join("repos")
    }
    /// Logs, one folder a deploy.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }
    /// Sockets and what else belongs to a running server.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }
    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }
    /// A link to the server's own binary, by which hooks find it.
    pub fn binary(&self) -> PathBuf {
        self.run().join("windlass")
    }
    /// Which ssh keys may come in: where sshd looks for it when this folder is the home of its user.
    pub fn authorized_keys(&self) -> PathBuf {
        self.0.join(".ssh/authorized_keys")
    }
    /// Where a restore unpacks a backup until all of it is proved; there is no home meanwhile.
    pub fn restoring(&self) -> PathBuf {
        self.0.join("restoring")
    }
    /// Caddy's data, configuration and sockets.
    pub fn caddy(&self) -> PathBuf {
        self.0.join("caddy")
    }
}

/// All of `config.toml`, defaults filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the dashboard listens.
    pub listen: SocketAddr,
    /// The dashboard's public name, behind Caddy.
    pub dashboard_domain: Option<DomainName>,
    /// The name by which pushers reach this machine's sshd, for the remotes that are shown.
    pub ssh_host: Option<DomainName>,
    /// The port of that sshd.
    pub ssh_port: u16,
    /// The branch whose pushes deploy.
    pub deploy_branch: String,
    /// How long a deploy may take until it is live, without its wait for another app's build.
    pub deploy_timeout: HumanDuration,
    /// Caddy.
    pub caddy: Caddy,
    /// The engine.
    pub docker: Docker,
    /// Pushes.
    pub git: Git,
    /// Builds.
    pub build: Build,
    /// Apps' containers.
    pub apps: Apps,
    /// What is kept, and for how long.
    pub keep: Keep,
}

/// `[caddy]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caddy {
    /// Any build of Caddy 2.6 or newer.
    pub image: String,
    /// The host's port for http.
    pub http_port: u16,
    /// The host's port for https; not used with `tls = "off"`.
    pub https_port: u16,
    /// Where certificates come from.
    pub tls: Tls,
}

/// Where certificates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Let's Encrypt and the like.
    Auto,
    /// Caddy's own authority, for a network of one's own.
    Internal,
    /// Plain http.
    Off,
}

/// `[docker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Docker {
    /// The engine's socket.
    pub socket: PathBuf,
    /// How long one call to the engine may take.
    pub timeout: HumanDuration,
    /// Where apps' networks are cut from, one /26 each.
    pub address_pool: Ipv4Net,
}

/// `[git]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Git {
    /// The most that one push may send.
    pub max_push: Bytes,
}

/// `[build]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Builds at a time, over all apps.
    pub concurrency: usize,
    /// What a build's steps may use together, where the engine can be told: `512m`, `2g`.
    pub memory: Bytes,
    /// A build that takes longer is stopped.
    pub timeout: HumanDuration,
    /// The most that the files of a build's context may have together.
    pub max_context: Bytes,
    /// The most files, links and folders in a build's context.
    pub max_files: u64,
}

/// `[apps]`: what each container of an app may take, unless its manifest says something else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Apps {
    /// Memory; swap does not add to it.
    pub memory: Bytes,
    /// Processes and threads.
    pub pids: NonZeroU32,
    /// Processors; by default all there are.
    pub cpus: Option<Cpus>,
}

impl Apps {
    /// As limits.
    pub fn limits(&self) -> Limits {
        Limits {
            memory: Some(self.memory),
            pids: Some(self.pids),
            cpus: self.cpus,
        }
    }
}

/// `[keep]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Images kept per app for an instant revert.
    pub releases: u32,
    /// Deploys remembered per app, beside those that a revert needs.
    pub deploys: u32,
    /// How long logs are kept.
    pub logs: HumanDuration,
    /// The most that one phase's log takes.
    pub log_size: Bytes,
    /// The most that the engine's build cache takes.
    pub build_cache: Bound,
    /// What must be free on the disk before a build.
    pub free: Bytes,
}

/// A bound that can be taken off: a size, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bound(pub Option<Bytes>);

impl TryFrom<String> for Bound {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let size = Bytes::try_from(text).map_err(|refused| format!("{refused}, or \"off\""))?;
        Ok(Self(Some(size)))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            dashboard_domain: None,
            ssh_host: None,
            ssh_port: 22,
            deploy_branch: "main".into(),
            deploy_timeout: HumanDuration::secs(2 * 3600),
            caddy: Caddy::default(),
            docker: Docker::default(),
            git: Git::default(),
            build: Build::default(),
            apps: Apps::default(),
            keep: Keep::default(),
        }
    }
}

impl Default for Caddy {
    fn default() -> Self {
        Self {
            image: "caddy:2".into(),
            http_port: 80,
            https_port: 443,
            tls: Tls::Auto,
        }
    }
}

impl Default for Docker {
    fn default() -> Self {
        let address_pool = Ipv4Net::new_assert([10, 213, 0, 0].into(), 16);
        Self {
            socket: "/var/run/docker.sock".into(),
            timeout: HumanDuration::secs(60),
            address_pool,
        }
    }
}

impl Default for Git {
    fn default() -> Self {
        Self {
            max_push: Bytes(1 << 30),
        }
    }
}

impl Default for Build {
    fn default() -> Self {
        Self {
            concurrency: 1,
            memory: Bytes(512 << 20),
            timeout: HumanDuration::secs(30 * 60),
            max_context: Bytes(2 << 30),
            max_files: 250_000,
        }
    }
}

impl Default for Apps {
    fn default() -> Self {
        const PIDS: NonZeroU32 = NonZeroU32::new(512).expect("not zero");
        Self {
            memory: Bytes(512 << 20),
            pids: PIDS,
            cpus: None,
        }
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            releases: 3,
            deploys: 1000,
            logs: HumanDuration::secs(90 * 24 * 3600),
            log_size: Bytes(256 << 20),
            build_cache: Bound(Some(Bytes(5 << 30))),
            free: Bytes(1 << 30),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// Its text; the message has line and column.
    #[error("{0}: {1}")]
    Parse(PathBuf, Box<toml::de::Error>),
    /// A value out of its range.
    #[error("{0}: {1}")]
    Value(PathBuf, &'static str),
}

impl Config {
    /// Reads the home folder's `config.toml`; without one, everything has its default.
    pub fn read(home: &Home) -> Result<Self, ConfigError> {
        let path = home.config();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError::Read(path, error)),
        };
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse(path.clone(), Box::new(error)))?;
        let wrong = if config.build.concurrency == 0 {
            Some("build.concurrency must be at least 1")
        } else if config.git.max_push.0 == 0 {
            Some("git.max_push must be above 0: git takes 0 for no bound at all")
        } else if config.build.max_files == 0 {
            Some("build.max_files must be at least 1: a Dockerfile is a file")
        } else if config.keep.releases == 0 {
            Some("keep.releases must be at least 1: the live release's image is always kept")
        } else if config.keep.deploys == 0 {
            Some("keep.deploys must be at least 1: the newest deploy is always remembered")
        } else if config.apps.memory < Limits::LEAST_MEMORY {
            Some("apps.memory must be at least 6m: Docker takes no less")
        } else if config.docker.address_pool.prefix_len() > 24 {
            Some("docker.address_pool must be a /24 or larger: each app takes a /26 of it")
        } else {
            None
        };
        wrong.map_or(Ok(config), |wrong| Err(ConfigError::Value(path, wrong)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path()).unwrap();
        std::fs::write(home.config(), text).unwrap();
        Config::read(&home).map_err(|e| e.to_string())
    }

    #[test]
    fn the_documented_configuration_reads() {
        let config = read(
            "listen = \"127.0.0.1:7070\"\ndashboard_domain = \"deploy.example.com\"\n[caddy]\nimage = \"caddy:2\"\n\
             http_port = 80\nhttps_port = 443\ntls = \"auto\"\n[docker]\nsocket = \"/var/run/docker.sock\"\n\
             address_pool = \"10.213.0.0/16\"\n[git]\nmax_push = \"1g\"\n\
             [build]\nconcurrency = 1\nmemory = \"512m\"\ntimeout = \"30m\"\nmax_context = \"2g\"\nmax_files = 250000\n\
             [apps]\nmemory = \"1g\"\npids = 100\ncpus = 1\n\
             [keep]\nreleases = 3\ndeploys = 1000\nlogs = \"90d\"\nlog_size = \"256m\"\nbuild_cache = \"off\"\nfree = \"1g\"\n",
        );
        let config = config.unwrap();
        assert_eq!(
            (config.build.memory, config.keep.build_cache),
            (Bytes(512 << 20), Bound(None))
        );
        assert_eq!(read("").unwrap().keep.releases, 3);
    }

    #[test]
    fn a_mistake_is_named_with_its_line_or_key() {
        assert!(
            read("[caddy]\nhtp_port = 80")
                .unwrap_err()
                .contains("line 2")
        );
        assert!(
            read("[build]\nmemory = \"lots\"")
                .unwrap_err()
                .contains("512m")
        );
        assert!(
            read("[keep]\nbuild_cache = \"never\"")
                .unwrap_err()
                .contains("or \"off\"")
        );
        assert!(
            read("[apps]\nmemory = \"1m\"")
                .unwrap_err()
                .contains("apps.memory")
        );
        assert!(read("[apps]\ncpus = 0").unwrap_err().contains("line 2"));
        assert!(
            read("[keep]\ndeploys = 0")
                .unwrap_err()
                .contains("keep.deploys")
        );
        assert!(
            read("[git]\nmax_push = \"0m\"")
                .unwrap_err()
                .contains("git.max_push")
        );
        assert!(
            read("[build]\nmax_files = 0")
                .unwrap_err()
                .contains("build.max_files")
        );
        assert!(
            read("[build]\nconcurrency = 0")
                .unwrap_err()
                .contains("build.concurrency")
        );
    }
}
