//! What can go wrong when Windlass is asked for something.

use thiserror::Error;

use crate::access::AccessError;
use crate::domain::Denied;
use crate::git::GitError;
use crate::proxy::ProxyError;
use crate::runtime::EngineError;
use crate::store::StoreError;

/// Why something asked for was not done. Not the outcome of a deploy: that is its failure.
#[derive(Debug, Error)]
pub enum Error {
    /// It makes no sense as things stand; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// Who comes in, and what they may.
    #[error(transparent)]
    Access(#[from] AccessError),
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
    /// Nobody is known who asks.
    NobodyKnown,
    /// Whoever asks may not.
    Forbidden,
    /// Too often at once.
    Busy,
    /// There is no such thing, or whoever asks may not see it.
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
            Error::Access(AccessError::Denied(denied)) => match denied {
                Denied::NobodyKnown => ErrorKind::NobodyKnown,
                Denied::NoApp(..) | Denied::NoDeploy(..) => ErrorKind::NotFound,
                Denied::OnlySeen(..) | Denied::NoAdmin(..) => ErrorKind::Forbidden,
            },
            Error::Access(AccessError::Refused(_)) => ErrorKind::Refused,
            Error::Access(AccessError::Busy) => ErrorKind::Busy,
            Error::Access(AccessError::Store(error)) | Error::Store(error) => of_store(error),
            Error::Access(AccessError::Keys(..) | AccessError::Machine(_)) => ErrorKind::Broken,
            Error::Git(GitError::NoCommit(_)) => ErrorKind::NotFound,
            Error::Engine(_) | Error::Git(_) | Error::Proxy(_) | Error::File(_) => {
                ErrorKind::Broken
            }
        }
    }
}

fn of_store(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::NoApp(_) | StoreError::NoDeploy(_) | StoreError::NoUser(_) => {
            ErrorKind::NotFound
        }
        StoreError::AppExists(_)
        | StoreError::DomainTaken { .. }
        | StoreError::UserExists(_)
        | StoreError::LastAdmin
        | StoreError::KeyTaken { .. } => ErrorKind::Refused,
        _ => ErrorKind::Broken,
    }
}
