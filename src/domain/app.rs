//! An app: a name, its repository, domains, environment, and at most one live release.

use serde::{Deserialize, Serialize};

use super::deploy::Deploy;
use super::name::{AppName, DomainName};

/// Whether an app serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppStatus {
    /// Its live container runs.
    Serving,
    /// Nothing was ever put live.
    Empty,
    /// It has a live release whose container does not run.
    Down,
}

impl AppStatus {
    /// The word shown.
    pub fn as_str(self) -> &'static str {
        match self {
            AppStatus::Serving => "serving",
            AppStatus::Empty => "empty",
            AppStatus::Down => "down",
        }
    }
}

/// An app as `app show --json` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Where the public finds it.
    pub domains: Vec<DomainName>,
    /// What to give to `git remote add`.
    pub remote: String,
    /// Whether it serves.
    pub status: AppStatus,
    /// The deploy whose release serves.
    pub live: Option<Deploy>,
}
