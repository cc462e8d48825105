//! A memory limit for builds.
//!
//! BuildKit ignores the `memory` of a build call. With the cgroupfs driver its steps all run under
//! the cgroup `docker/buildkit`, and a limit set there holds; with systemd's they do not, and there
//! is no limit to be had. Measured on engine 20.10; see also moby/buildkit's `runc` executor.

use std::fs;
use std::io;
use std::path::Path;

use super::EngineFacts;

/// Whether builds are limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildLimit {
    /// To that many bytes.
    Set(u64),
    /// Not, and why.
    NotPossible(String),
}

/// Limits the memory of all build steps together, where this engine allows it.
pub fn limit_builds(bytes: u64, facts: &EngineFacts) -> BuildLimit {
    if facts.cgroup_driver != "cgroupfs" {
        return BuildLimit::NotPossible(format!("the engine's cgroup driver is {}", facts.cgroup_driver));
    }
    let (group, file) = match facts.cgroup_version {
        2 => ("/sys/fs/cgroup/docker/buildkit", "memory.max"),
        _ => ("/sys/fs/cgroup/memory/docker/buildkit", "memory.limit_in_bytes"),
    };
    match set(Path::new(group), file, bytes) {
        Ok(()) => BuildLimit::Set(bytes),
        Err(error) => BuildLimit::NotPossible(format!("{group}/{file}: {error}")),
    }
}

fn set(group: &Path, file: &str, bytes: u64) -> io::Result<()> {
    fs::create_dir_all(group)?;
    fs::write(group.join(file), bytes.to_string())
}
