//! Images: how one is built, and what is known of those that are there.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;

use super::EngineError;
use crate::domain::Environment;

/// An image to be built.
#[derive(Debug, Clone)]
pub struct BuildSpec {
    /// What to call it.
    pub image: String,
    /// The Dockerfile inside the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// What its cache is kept under: builds that do not share it share no step and no cache mount.
    pub cache: String,
    /// What steps may mount as secrets, by name: in no layer, argument, history or cache.
    pub secrets: Environment,
    /// For the labels: app, deploy, commit.
    pub app: String,
    /// The deploy's number.
    pub deploy: String,
    /// The commit's id.
    pub commit: String,
    /// Unique per build, so that a session is never another's.
    pub session: String,
    /// How long the engine may stay silent.
    pub timeout: Duration,
}

/// Something that happened in a build. Steps are known by their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEvent {
    /// A step began.
    Step {
        /// Its digest.
        step: String,
        /// As in the Dockerfile, behind BuildKit's `[2/5]`.
        name: String,
    },
    /// A step printed something.
    Output {
        /// Its digest.
        step: String,
        /// To standard error.
        stderr: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// A step ended.
    Done {
        /// Its digest.
        step: String,
        /// As in the Dockerfile.
        name: String,
        /// Taken from the cache.
        cached: bool,
        /// How long it took.
        took: Duration,
        /// Why it failed.
        error: Option<String>,
    },
    /// BuildKit has something to remark about the Dockerfile.
    Warning(String),
}

/// Why a build gave no image.
#[derive(Debug)]
pub enum BuildStop {
    /// The Dockerfile or a step of it is at fault; with the engine's words.
    Failed(String),
    /// The engine is.
    Engine(EngineError),
}

/// What is known of an image.
#[derive(Debug, Clone)]
pub struct ImageFacts {
    /// Its id, `sha256:…`.
    pub id: String,
    /// TCP ports it exposes, in order.
    pub ports: Vec<u16>,
    /// How many ports it exposes, of whatever protocol.
    pub exposed: usize,
    /// Its HEALTHCHECK as a command, shell form resolved; `None` without one.
    pub healthcheck: Option<Vec<String>>,
    /// Bytes.
    pub size: u64,
}

/// An image and what it is called.
#[derive(Debug, Clone)]
pub struct ImageNames {
    /// Its id, `sha256:…`.
    pub id: String,
    /// Its names with tags; none when another image took them over.
    pub tags: Vec<String>,
}

/// What takes room on an engine.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Images.
    pub images: Vec<ImageUsage>,
    /// The build cache, in bytes, without what images share with it.
    pub build_cache: u64,
}

/// What one image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Bytes, with those that other images have as well.
    pub size: u64,
    /// Bytes that nothing else has.
    pub own: u64,
}

impl ImageUsage {
    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// Whether builds are limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildLimit {
    /// To that many bytes.
    Set(u64),
    /// Not, and why.
    NotPossible(String),
}
