//! An app: a name, its repository, domains, environment, and at most one live release.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::deploy::Deploy;
use super::limits::Allowance;
use super::name::{AppName, DomainName};

/// Whether an app serves.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum AppStatus {
    /// Its live container runs.
    Serving,
    /// Nothing was ever put live.
    Empty,
    /// It has a live release whose container does not run.
    Down,
    /// It has a live release, and the engine does not tell what runs. It may well serve.
    Unknown,
}

impl AppStatus {
    /// The word shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// An app as `app show --json` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Where the public finds it.
    pub domains: Vec<DomainName>,
    /// What to give to `git remote add`.
    pub remote: String,
    /// Whether it serves.
    pub status: AppStatus,
    /// How often the engine brought its live container back; not told in lists, nor when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// What an admin allows it beyond what every app may.
    #[serde(default)]
    pub allowed: Allowance,
    /// The deploy whose release serves.
    pub live: Option<Deploy>,
}
