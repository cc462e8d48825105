//! A container: what it is for, how it is to be, and how it stands.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::domain::{AppName, DeployId, Environment, Limits};

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves an app: as candidate, live or retiring.
    Web,
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
            Role::Gate => "gate",
            Role::Caddy => "caddy",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Role::Web, Role::Gate, Role::Caddy]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Whose it is and in which deploy; Caddy is nobody's.
    pub owner: Option<(AppName, DeployId)>,
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
    /// Folders of the host.
    pub mounts: Vec<Mount>,
    /// Ports of the host.
    pub ports: Vec<PublishedPort>,
    /// All capabilities but these are dropped.
    pub capabilities: Vec<String>,
    /// What it may take.
    pub limits: Limits,
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

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
