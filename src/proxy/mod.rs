//! Caddy: the one door through which requests come.

use thiserror::Error;

/// Caddy did not do as asked.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// Its admin socket does not answer.
    #[error("Caddy's admin socket does not answer: {0}")]
    Unreachable(String),
    /// It refused a configuration.
    #[error("Caddy refused the configuration: {0}")]
    Refused(String),
}
