//! The server itself: whether it is there, who asks, and who did what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Error, Server, Verb, view};
use crate::app;
use crate::domain::{AppName, AuditEntry, Needs, Principal, Role};

/// Whether the server is there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ping {}

/// It is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Pong {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
}

impl Verb for Ping {
    type Answer = Pong;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Nothing
    }

    async fn run(self, _: &Server, _: &Principal) -> Result<Pong, Error> {
        Ok(Pong {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
        })
    }
}

impl Endpoint for Ping {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/ping";
    const ID: &'static str = "ping";
}

/// Who you are, and what you may do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Whoami {}

/// Who asks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WhoamiAnswer {
    /// The user's name; on the machine itself that of the account there.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// By what they are known: `local`, `session`, `key 3`, `token 5`.
    pub via: String,
    /// The apps that they may see.
    pub apps: Vec<AppName>,
}

impl Verb for Whoami {
    type Answer = WhoamiAnswer;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Nothing
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<WhoamiAnswer, Error> {
        let apps = app::all(server.platform()).await?;
        let apps = server.platform().access.seen(who, apps, |app| &app.name);
        Ok(WhoamiAnswer {
            name: who.name.clone(),
            role: who.role,
            via: who.via.to_string(),
            apps: apps.into_iter().map(|app| app.name).collect(),
        })
    }
}

impl Endpoint for Whoami {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/whoami";
    const ID: &'static str = "whoami";
}

/// Who did what, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditLog {
    /// Only with this app.
    #[serde(default)]
    pub app: Option<AppName>,
    /// How many at most.
    #[serde(default = "super::deploys::usual_limit")]
    #[schema(default = 20, minimum = 0, maximum = 4294967295u32)]
    pub limit: u32,
}

impl Verb for AuditLog {
    type Answer = Vec<AuditEntry>;

    fn needs(&self, _: &Principal) -> Needs {
        self.app.as_ref().map_or(Needs::Admin, view)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Vec<AuditEntry>, Error> {
        let (store, app) = (&server.platform().store, self.app.as_ref());
        Ok(store.audit_entries(app, self.limit, None).await?)
    }
}

impl Endpoint for AuditLog {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/audit";
    const ID: &'static str = "audit";
}
