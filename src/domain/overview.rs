//! Apps as a list shows them: a little of each, for many at once.

use serde::{Deserialize, Serialize};

use super::deploy::{DeployId, DeployStatus};
use super::instant::Timestamp;
use super::name::{AppName, CommitId, DomainName};

/// An app in a list.
#[derive(Debug, Clone)]
pub struct AppBrief {
    /// Its name.
    pub name: AppName,
    /// Where the public finds it.
    pub domains: Vec<DomainName>,
    /// The deploy whose release serves.
    pub live: Option<DeployBrief>,
    /// What is queued or runs, oldest first.
    pub open: Vec<DeployBrief>,
    /// The newest deploy that has an outcome; often the live one.
    pub last: Option<DeployBrief>,
    /// How the last deploys went, oldest first.
    pub history: Vec<Outcome>,
}

/// A deploy in a list of apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployBrief {
    /// Its number.
    pub id: DeployId,
    /// What it puts live.
    pub commit: CommitId,
    /// First line of the commit's message.
    pub subject: String,
    /// The commit's author.
    pub author: String,
    /// How it stands.
    pub status: DeployStatus,
    /// When it was asked for.
    pub queued_at: i64,
    /// When it began.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// How long it took from its arrival until it was live, or ended without that, in milliseconds.
    pub took_ms: Option<u64>,
    /// Its last phase so far.
    pub phase: Option<String>,
}

impl DeployBrief {
    /// Whether it still goes on. A live one does until its old container is gone.
    pub fn goes_on(&self) -> bool {
        self.status.is_open() || self.finished_at.is_none()
    }

    /// The instant that counts: its end, or else its beginning.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millis(
            self.took_ms
                .map(|ms| self.queued_at + ms as i64)
                .or(self.started_at)
                .unwrap_or(self.queued_at),
        )
    }
}

/// How a deploy went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its number.
    pub id: DeployId,
    /// How it stands.
    pub status: DeployStatus,
    /// How long it took from its arrival until it was live, or ended without that, in milliseconds.
    pub took_ms: Option<u64>,
}

/// How all apps stand, by their names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Every app, by name.
    pub all: Vec<AppName>,
    /// Those that have a live release.
    pub live: Vec<AppName>,
    /// Those with a deploy that is queued or runs.
    pub deploying: Vec<AppName>,
    /// Those with a swap under way: for a moment nobody has the live name, and both containers serve.
    pub swapping: Vec<AppName>,
    /// Those whose last deploy failed.
    pub failed: Vec<AppName>,
}
