//! A release: the immutable result of a successful deploy, and what a revert goes back to.

use std::fmt;

use super::deploy::DeployId;
use super::environment::Environment;
use super::manifest::Manifest;
use super::name::{AppName, CommitId};
use super::process::{Process, Replica};

/// The engine's name for an image of ours, as `windlass-<instance>/<app>/<secret>:d<deploy>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef(pub String);

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What went live in one deploy.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The deploy that made it.
    pub deploy: DeployId,
    /// Whose it is.
    pub app: AppName,
    /// What was built.
    pub commit: CommitId,
    /// The image that ran.
    pub image: ImageRef,
    /// Whether that image is still kept: a revert to it then needs no build.
    pub image_kept: bool,
    /// The manifest it ran with, defaults filled in.
    pub manifest: Manifest,
    /// What runs of it all the time: `web` first.
    pub processes: Vec<Process>,
    /// The port that `web` listens on inside its container.
    pub port: u16,
    /// The environment it ran with.
    pub env: Environment,
}

impl Release {
    /// Whether it runs in this container.
    pub fn runs(&self, replica: &Replica) -> bool {
        let of = |process: &Process| process.name == replica.process;
        let process = self.processes.iter().find(|process| of(process));
        process.is_some_and(|process| (1..=process.replicas).contains(&replica.number))
    }

    /// Every container that it runs in.
    pub fn replicas(&self) -> impl Iterator<Item = Replica> + '_ {
        self.processes.iter().flat_map(Process::each)
    }
}
