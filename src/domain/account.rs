//! Users and what they are known by, as they are listed: no secret is in any of these.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AppName, Role, Scope, Timestamp, UserName};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// What they log in as.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// In which apps; an administrator in every one, whatever stands here.
    pub apps: Vec<AppName>,
    /// Whether they have a password: without one there is no log-in on the dashboard.
    pub password: bool,
    /// Whether a log-in wants a second factor.
    pub second_factor: bool,
    /// Since when.
    pub created_at: Timestamp,
}

/// An ssh key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its number.
    pub id: i64,
    /// Whose.
    pub user: UserName,
    /// What its owner calls it.
    pub name: String,
    /// Algorithm and base64, as in `authorized_keys`.
    pub public_key: String,
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Since when.
    pub created_at: Timestamp,
    /// When it last came in.
    pub used_at: Option<Timestamp>,
}

/// An API token. The token itself is shown once and stored only as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// Whose.
    pub user: UserName,
    /// What its owner calls it.
    pub name: String,
    /// How far it reaches, of what its user may.
    pub scope: Scope,
    /// In which apps; `null` in every one of its user's.
    pub apps: Option<Vec<AppName>>,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when; `null` until it is revoked.
    pub expires_at: Option<Timestamp>,
    /// When it last came in.
    pub used_at: Option<Timestamp>,
}

/// A log-in that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// What to name it by; not what its cookie holds.
    pub id: String,
    /// Whose.
    pub user: UserName,
    /// Since when.
    pub created_at: Timestamp,
    /// When a page was last asked for.
    pub seen_at: Timestamp,
    /// From where it was opened.
    pub address: String,
    /// With which browser, in its own words.
    pub agent: String,
}

/// What came of an action.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done. A deploy that was asked for is queued: its own row tells how it ended.
    Done,
    /// It may not be done, or cannot be as things stand. Nothing was changed.
    Refused,
    /// The machine failed in the middle of it.
    Failed,
}

impl AuditOutcome {
    /// All of them.
    pub const ALL: [AuditOutcome; 3] = [
        AuditOutcome::Done,
        AuditOutcome::Refused,
        AuditOutcome::Failed,
    ];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditOutcome::Done => "done",
            AuditOutcome::Refused => "refused",
            AuditOutcome::Failed => "failed",
        }
    }
}

/// Something that somebody did, or was not allowed to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its number; later ones are larger.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// By what they were known: `local`, `session`, `key 3`, `token 5`.
    pub via: String,
    /// From where, as far as that is known.
    pub address: String,
    /// What, in one word with an underscore: `env_set`.
    pub action: String,
    /// To which app.
    pub app: Option<AppName>,
    /// To what in particular. Never a secret.
    pub detail: String,
    /// Whether it was refused before anything of it was done: whoever asked may not do it.
    pub denied: bool,
    /// What came of it; `null` while it is under way, and where the server did not live to see it.
    pub outcome: Option<AuditOutcome>,
}
