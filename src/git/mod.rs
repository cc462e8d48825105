//! Bare repositories, by the system's git: every argument a word of its own, never a shell string.

use thiserror::Error;

/// Git did not do as asked.
#[derive(Debug, Error)]
pub enum GitError {
    /// Nothing there answers to that name.
    #[error("there is no commit {0:?} in this app's repository")]
    NoCommit(String),
    /// It could not be run.
    #[error("git cannot be run: {0}")]
    NotRun(#[from] std::io::Error),
    /// It failed; with what it said.
    #[error("git {0} failed: {1}")]
    Failed(String, String),
}
