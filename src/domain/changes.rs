//! What a deploy brings: the commits and files between what was live when it began and what it puts live.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::deploy::DeployId;
use super::name::CommitId;

/// A commit in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitLine {
    /// Its id.
    pub id: CommitId,
    /// First line of its message.
    pub subject: String,
    /// Its author's name.
    pub author: String,
}

/// Some commits, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Commits {
    /// The newest of them.
    pub list: Vec<CommitLine>,
    /// How many more there are.
    pub more: u64,
    /// Whether the repository could not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Where it lies.
    pub path: String,
    /// Lines added and removed; `None` for one that is not text.
    pub lines: Option<(u64, u64)>,
}

/// The files that differ.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangedFiles {
    /// The first of them, by path.
    pub first: Vec<ChangedFile>,
    /// How many more there are.
    pub more: u64,
    /// Lines added, in all of them.
    pub added: u64,
    /// Lines removed, in all of them.
    pub removed: u64,
}

/// What a deploy brings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// The deploy that was live when it began; `None` for an app's first.
    pub since: Option<DeployId>,
    /// Commits that come.
    pub come: Commits,
    /// Commits that go away, as with a revert.
    pub go: Commits,
    /// What is different in the tree; `None` where nothing was live.
    pub files: Option<ChangedFiles>,
}
