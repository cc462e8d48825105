//! What changes on the engine, whoever changed it.

use super::Role;
use crate::domain::AppName;

/// Something of this installation that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A container was made, began or ended, was removed or renamed.
    Container {
        /// Its id.
        id: String,
        /// Its name, after that.
        name: String,
        /// What became of it.
        now: Now,
        /// What it is for.
        role: Option<Role>,
        /// Whose it is.
        app: Option<AppName>,
    },
    /// A network is gone, or Caddy was taken off one.
    Network,
}

/// What became of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// It is as it was, maybe by another name.
    Same,
    /// It runs.
    Runs,
    /// It does not run.
    Stands,
}
