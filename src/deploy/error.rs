//! What can go wrong when Windlass is asked for something.

use thiserror::Error;

use crate::engine::EngineError;
use crate::git::GitError;
use crate::proxy::ProxyError;
use crate::store::StoreError;

/// Why something asked for was not done. Not the outcome of a deploy: that is its failure.
#[derive(Debug, Error)]
pub enum Error {
    /// It makes no sense as things stand; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Caddy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A file under the home folder.
    #[error("a file under the home folder: {0}")]
    File(#[from] std::io::Error),
}

/// Whose turn it is after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such thing.
    NotFound,
    /// The person asking can mend it.
    Refused,
    /// The machine failed.
    Broken,
}

impl Error {
    /// Which kind it is: pages turn it into a status, the socket into a message.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Refused(_) => ErrorKind::Refused,
            Error::Store(StoreError::NoApp(_) | StoreError::NoDeploy(_)) => ErrorKind::NotFound,
            Error::Store(StoreError::AppExists(_) | StoreError::DomainTaken { .. }) => ErrorKind::Refused,
            Error::Git(GitError::NoCommit(_)) => ErrorKind::NotFound,
            Error::Store(_) | Error::Engine(_) | Error::Git(_) | Error::Proxy(_) | Error::File(_) => {
                ErrorKind::Broken
            }
        }
    }
}
