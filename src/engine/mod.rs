//! What runs containers. Nothing outside this folder knows that it is Docker.

use thiserror::Error;

/// The engine did not do as asked.
#[derive(Debug, Error)]
pub enum EngineError {
    /// It cannot be reached.
    #[error("the container engine at {0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// It answered with an error.
    #[error("the container engine failed to {0}: {1}")]
    Failed(String, String),
}
