//! What the engine tells about itself, and why it did not do as asked.

use std::path::PathBuf;

use thiserror::Error;

/// The engine did not do as asked.
#[derive(Debug, Error)]
pub enum EngineError {
    /// It cannot be reached.
    #[error(
        "the Docker engine at {socket} cannot be reached ({cause}); start it (systemctl start docker), or set docker.socket in config.toml"
    )]
    Unreachable {
        /// Its socket.
        socket: String,
        /// What the connection said.
        cause: String,
    },
    /// It answered with an error.
    #[error("the Docker engine could not {doing}: {cause}")]
    Failed {
        /// What was asked, as "start the container x".
        doing: String,
        /// What it said.
        cause: String,
    },
}

impl EngineError {
    /// Whether a network was refused because its subnet is in use. The engine holds on to a subnet
    /// also when the making of its network broke off (20.10), until it is restarted.
    pub fn is_taken_subnet(&self) -> bool {
        matches!(self, Self::Failed { cause, .. } if cause.contains("overlaps"))
    }

    /// Whether an image was not removed because a container, whoever's, is made from it.
    pub fn is_used_image(&self) -> bool {
        matches!(self, Self::Failed { cause, .. } if cause.contains("conflict: unable to"))
    }
}

/// What is known of the engine.
#[derive(Debug, Clone)]
pub struct EngineFacts {
    /// As `28.5.2`.
    pub version: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Where it keeps images and containers, on its own machine.
    pub root: PathBuf,
}

/// What a container takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Percent of one processor.
    pub cpu: f64,
    /// Bytes, without what the kernel only caches for it.
    pub memory: u64,
    /// So many bytes it may have.
    pub memory_limit: Option<u64>,
}
