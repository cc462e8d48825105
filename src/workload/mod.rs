//! What runs of an app: its containers, where its requests are led, and how a container is let go.
//!
//! Deploys and reconciliation do the same things to the same containers; each is here once.

mod container;
mod drain;
mod processes;
mod routes;

pub use container::{one_off_container, replica_container, run_container};
pub use drain::{Retiring, finish_requests, stop_and_remove};
pub use processes::{Background, background, end_process, grace_of, request};
pub use routes::{lead, load_routes, routes};

use crate::domain::{CommitId, Environment, ImageRef, Manifest, Release};

/// An image that nothing has proved yet.
pub struct Image {
    /// Its name on the engine.
    pub name: ImageRef,
    /// What it was built from.
    pub commit: CommitId,
    /// How it is to be proved and run.
    pub manifest: Manifest,
    /// What it is run with.
    pub env: Environment,
}

impl Image {
    /// The image of a release, to be run with this environment.
    pub fn of(release: Release, env: Environment) -> Self {
        let Release {
            image,
            commit,
            manifest,
            ..
        } = release;
        Self {
            name: image,
            commit,
            manifest,
            env,
        }
    }
}
