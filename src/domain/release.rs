//! A release: the immutable result of a successful deploy, and what a revert goes back to.

use std::fmt;

use super::deploy::DeployId;
use super::environment::Environment;
use super::manifest::Manifest;
use super::name::{AppName, CommitId};

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
    /// The port it listens on inside its container.
    pub port: u16,
    /// The environment it ran with.
    pub env: Environment,
}
