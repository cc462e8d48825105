//! A container: what it is for, how it is to be, and how it stands.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::domain::{AppName, DeployId, Environment, Limits, Replica, Timestamp};

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves an app's visitors: as candidate, live or retiring.
    Web,
    /// Runs another process of an app all the time.
    Process,
    /// Runs a gate, once.
    Gate,
    /// Caddy.
    Caddy,
}

impl Role {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Web => "web",
            Role::Process => "process",
            Role::Gate => "gate",
            Role::Caddy => "caddy",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Role::Web, Role::Process, Role::Gate, Role::Caddy]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// Whose a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The app.
    pub app: AppName,
    /// In which deploy.
    pub deploy: DeployId,
    /// Which replica of which process it is; gates are none.
    pub replica: Option<Replica>,
}

/// A container to be made.
#[derive(Clone)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Whose it is; Caddy is nobody's.
    pub owner: Option<Owner>,
    /// Its image.
    pub image: String,
    /// Instead of the image's command.
    pub command: Option<Vec<String>>,
    /// Its environment.
    pub env: Environment,
    /// Its network.
    pub network: String,
    /// Its address there, kept as long as it exists; by default the lowest that is free whenever it
    /// starts.
    pub address: Option<Ipv4Addr>,
    /// More names it bears there.
    pub aliases: Vec<String>,
    /// Names without a dot that the engine does not know are unknown: the resolver of the world
    /// outside, which may be slow or dead, is never asked for them. What is not answered within a
    /// second is asked again.
    pub own_names: bool,
    /// Brought back by the engine when it stops by itself.
    pub restart: bool,
    /// `uid:gid` instead of the image's user.
    pub user: Option<String>,
    /// What asks it to end, as `QUIT`; SIGTERM unless the image says another.
    pub stop_signal: Option<String>,
    /// Folders of the host.
    pub mounts: Vec<Mount>,
    /// Ports of the host.
    pub ports: Vec<PublishedPort>,
    /// All capabilities but these are dropped.
    pub capabilities: Vec<String>,
    /// What it may take.
    pub limits: Limits,
}

/// What was there in the first version always shows, what came later only where it is set: a fingerprint
/// stays what it was while nothing of the container differs.
impl fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("ContainerSpec");
        all.field("name", &self.name)
            .field("role", &self.role)
            .field("owner", &self.owner)
            .field("image", &self.image)
            .field("command", &self.command)
            .field("env", &self.env)
            .field("network", &self.network)
            .field("address", &self.address)
            .field("aliases", &self.aliases)
            .field("own_names", &self.own_names)
            .field("restart", &self.restart)
            .field("user", &self.user)
            .field("mounts", &self.mounts)
            .field("ports", &self.ports)
            .field("capabilities", &self.capabilities)
            .field("limits", &self.limits);
        if let Some(signal) = &self.stop_signal {
            all.field("stop_signal", signal);
        }
        all.finish()
    }
}

impl ContainerSpec {
    /// Differs when anything of the container would: 16 hex digits. Says nothing about the values.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(format!("{self:?}{:?}", self.env.assignments()));
        digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// A folder of the host inside a container.
#[derive(Debug, Clone)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
}

/// A port of the host that leads to one of the container's.
#[derive(Debug, Clone, Copy)]
pub struct PublishedPort {
    /// On the host.
    pub host: u16,
    /// In the container.
    pub container: u16,
}

/// A container as it stands.
#[derive(Debug, Clone)]
pub struct ContainerState {
    /// The engine's id.
    pub id: String,
    /// Its present name.
    pub name: String,
    /// What it is for.
    pub role: Option<Role>,
    /// Whose it is.
    pub app: Option<AppName>,
    /// In which deploy.
    pub deploy: Option<DeployId>,
    /// Which replica of which process it is.
    pub replica: Option<Replica>,
    /// The home folder of the server that made it.
    pub home: Option<PathBuf>,
    /// The image's id.
    pub image: String,
    /// Whether its process runs, or is about to again because the engine brings it back.
    pub running: bool,
    /// Whether somebody paused it: it runs, and does nothing.
    pub paused: bool,
    /// How it ended, when it has.
    pub exit: Option<Exit>,
    /// When it began to run, or when it ended.
    pub since: Option<Timestamp>,
    /// Its addresses, by network name.
    pub addresses: HashMap<String, Ipv4Addr>,
    /// The fingerprint of the [`ContainerSpec`] that it was made from.
    pub made_from: String,
    /// Whether the engine brings it back when it stops by itself.
    pub restart: bool,
    /// How often the engine brought it back.
    pub restarts: u64,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status; 128 and above: by a signal.
    pub status: i64,
    /// Killed because it took more memory than it may.
    pub out_of_memory: bool,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit {
                out_of_memory: true,
                ..
            } => f.write_str("killed: out of memory"),
            Exit { status: 137, .. } => f.write_str("exit status 137 (killed by SIGKILL)"),
            Exit { status: 139, .. } => f.write_str("exit status 139 (segmentation fault)"),
            Exit { status: 143, .. } => f.write_str("exit status 143 (ended by SIGTERM)"),
            Exit { status, .. } => write!(f, "exit status {status}"),
        }
    }
}

/// Something a container printed.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// To standard error.
    pub stderr: bool,
    /// The bytes, with the engine's time in front if asked for.
    pub bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Caddy's container is made anew when its fingerprint differs, and for a moment nobody is served:
    /// an upgrade of Windlass alone must not change it.
    #[test]
    fn caddys_fingerprint_is_that_of_earlier_versions() {
        let mut env = Environment::default();
        env.set("XDG_CONFIG_HOME", "/config").unwrap();
        let caddy = ContainerSpec {
            name: "windlass-0a1b2c_caddy".into(),
            role: Role::Caddy,
            owner: None,
            image: "caddy:2".into(),
            command: Some(vec!["caddy".into(), "run".into()]),
            env,
            network: "windlass-0a1b2c_edge".into(),
            address: None,
            aliases: Vec::new(),
            own_names: true,
            restart: true,
            user: Some("0:0".into()),
            stop_signal: None,
            mounts: vec![Mount {
                source: "/var/lib/windlass/caddy/config".into(),
                target: "/config".into(),
            }],
            ports: vec![PublishedPort {
                host: 80,
                container: 80,
            }],
            capabilities: vec!["NET_BIND_SERVICE".into()],
            limits: Limits::default(),
        };
        assert_eq!(caddy.fingerprint(), "049170c21bb04dc0");
    }
}
