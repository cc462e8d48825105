//! What going back to a release will do, told before it is done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::changes::Commits;
use super::deploy::{Deploy, DeployId};

/// What a revert will do, as `revert --dry-run --json` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevertPreview {
    /// What serves now.
    pub live: Deploy,
    /// Whose release would serve.
    pub to: Deploy,
    /// Commits of the live release that the other one has not.
    pub leaving: Commits,
    /// Commits of the other release that the live one has not.
    pub coming: Commits,
    /// Whether its image is there; otherwise it is built again.
    pub image_kept: bool,
    /// How long that usually takes until it is live, in milliseconds: the median of the app's latest.
    pub usual_ms: Option<u64>,
    /// Which environment it runs with: `release`, its own, or `today`, where it is built again.
    pub environment: RevertEnvironment,
    /// Names of the variables in which that environment differs from what serves now.
    pub variables: Vec<String>,
    /// The schema migrations that its code may not know.
    pub migrations: MigrationsSince,
}

/// Which environment a release is run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RevertEnvironment {
    /// The one that it had.
    Release,
    /// The one that is set today.
    Today,
}

/// The schema migrations that deploys after a certain one applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct MigrationsSince {
    /// Which are known, oldest first.
    pub applied: Vec<Migration>,
    /// Deploys that may have applied others, oldest first: their gates are not Django's, or did not
    /// tell.
    pub unknown: Vec<DeployId>,
}

/// A schema migration that a deploy applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Migration {
    /// Which deploy's gate did.
    pub deploy: DeployId,
    /// As Django names it: `shop.0002_price`.
    pub name: String,
}
