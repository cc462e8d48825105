//! Everything that may be asked of the server, each verb once: what is sent, what comes back, what it
//! needs, what the audit log says of it, and what does it.
//!
//! A verb is a type. [`dispatch`] is the only way to have one done: it asks the gate, writes down what
//! is about to be done, does it, and writes down what came of it. The command line and the ssh command
//! send verbs over the control socket, programs send them to the dashboard's address, and the
//! dashboard's forms make them: all of it ends here. [`routes`] has every verb that goes over HTTP, and
//! [`openapi`] describes them from the same types.

mod account;
mod apps;
mod deploys;
mod env;
mod error;
mod event;
mod log;
mod openapi;
mod push;
mod routes;
mod server;
pub mod socket;
mod tokens;
mod users;
pub mod wire;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

pub use crate::access::Action;
pub use account::{ChangePassword, ConfirmSecondFactor, EndSession, LogOut, RemoveSecondFactor};
pub use apps::{
    AppAllow, AppCreate, AppDestroy, AppDomains, AppList, AppPublic, AppShow, Destroyed, Domains,
    Switched,
};
pub use deploys::{
    DeployCancel, DeployFollow, DeployLog, DeployShow, DeployWait, Deploys, LogLine, LogPiece,
    Redeploy, Reload, Reloaded, Restart, Revert, RevertOutlook,
};
pub use env::{EnvList, EnvSet, EnvUnset, Set, Unset, Variables};
pub use error::{Error, Problem};
pub use event::{AppLogLine, Event, Events};
pub use log::{AppLogs, AppLogsFollow};
pub use openapi::document;
pub use push::{Enter, Entered, Pushed, RefUpdate, Service};
pub use routes::{Place, Route, filter as method, routes};
pub use server::{AuditLog, Ping, Pong, Whoami, WhoamiAnswer};
pub use tokens::{
    KeyAdd, KeyList, KeyRemove, Removed, Revoked, TokenCreate, TokenList, TokenMade, TokenRevoke,
};
pub use users::{
    PasswordSet, UserAdd, UserAdded, UserList, UserPasswd, UserRemove, UserRemoved, UserRole,
};

use crate::app::Services;
use crate::domain::{AppName, AuditOutcome, Needs, Principal, Right, UserName};
use crate::platform::{ErrorKind, Platform};

/// Request bodies are at most this long on the control socket, in bytes.
pub const LONGEST_REQUEST: usize = 1024 * 1024;

/// What verbs work on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    /// What is asked.
    pub services: Services,
    /// Streams of events end on it.
    pub shutdown: CancellationToken,
}

impl Server {
    fn platform(&self) -> &Arc<Platform> {
        &self.services.platform
    }
}

/// Something that may be asked for.
pub trait Verb: Send + Sized + 'static {
    /// What comes back.
    type Answer: Send + 'static;

    /// What has to be allowed before this is done for `who`.
    fn needs(&self, who: &Principal) -> Needs;

    /// What the audit log says of it; nothing for what only looks.
    fn action(&self) -> Option<Action> {
        None
    }

    /// What the audit log says beside that once it is done: what was found, or made.
    fn outcome(_: &Self::Answer) -> String {
        String::new()
    }

    /// Does it. [`dispatch`] calls this, and nothing else does.
    fn run(
        self,
        server: &Server,
        who: &Principal,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

/// How a verb goes over HTTP. The words of its path in braces are fields; its other fields are the
/// query of a `GET` or `DELETE`, and the JSON body of a `POST`.
pub trait Endpoint: Verb + Serialize + DeserializeOwned + ToSchema {
    /// `GET`, `POST` or `DELETE`.
    const METHOD: &'static str;
    /// Below `/api/v1`.
    const PATH: &'static str;
    /// Its name in the OpenAPI document.
    const ID: &'static str;
}

/// The one way to have something done: asks the gate, writes down what is about to be done and what
/// came of it.
///
/// It goes on when whoever asked is gone, so nothing is left half done and no row without its outcome.
///
/// # Errors
/// What the gate says, and what kept it from being done.
pub async fn dispatch<V: Verb>(
    server: &Server,
    who: &Principal,
    verb: V,
) -> Result<V::Answer, Error> {
    let (server, who) = (server.clone(), who.clone());
    let task = tokio::spawn(async move { carry_out(&server, &who, verb).await });
    task.await.map_err(Error::defect)?
}

async fn carry_out<V: Verb>(server: &Server, who: &Principal, verb: V) -> Result<V::Answer, Error> {
    let access = &server.platform().access;
    let (needs, action) = (verb.needs(who), verb.action());
    let entry = access.authorise(who, &needs, action.as_ref()).await?;
    let run = AssertUnwindSafe(verb.run(server, who)).catch_unwind().await;
    let done = run.unwrap_or_else(|_| Err(Error::defect("a verb panicked")));
    if let Some(entry) = entry {
        let (outcome, more) = match &done {
            Ok(answer) => (AuditOutcome::Done, V::outcome(answer)),
            Err(error) if error.kind() == ErrorKind::Broken => {
                (AuditOutcome::Failed, String::new())
            }
            Err(_) => (AuditOutcome::Refused, String::new()),
        };
        // What is done is done: that the log of it cannot be written is no reason to call it undone.
        if let Err(error) = access.came_to(entry, outcome, &more).await {
            tracing::error!(%error, entry, "the outcome of an action is not in the audit log");
        }
    }
    if action.is_some() {
        tell(server, needs);
    }
    done
}

/// Whatever came of an action: pages look for themselves.
fn tell(server: &Server, needs: Needs) {
    match needs {
        Needs::App(_, app) => server.platform().change_feed.of(&app),
        Needs::Admin => server.platform().change_feed.for_everybody(),
        _ => {}
    }
}

fn view(app: &AppName) -> Needs {
    Needs::App(Right::View, app.clone())
}

fn deploy(app: &AppName) -> Needs {
    Needs::App(Right::Deploy, app.clone())
}

/// What the audit log is told.
fn action(name: &'static str, detail: impl Into<String>) -> Option<Action> {
    let detail = detail.into();
    Some(Action { name, detail })
}

/// An account: the caller's own where nobody is named. Whoever is no user, such as root on this
/// machine, has none.
fn account(who: &Principal, user: &Option<UserName>) -> Needs {
    match user.clone().or_else(|| who.name.parse().ok()) {
        Some(user) => Needs::Account(user),
        None => Needs::Admin,
    }
}

/// Whose account it is about: the caller's where nobody is named.
fn own(who: &Principal, user: Option<UserName>) -> Result<UserName, Error> {
    let nobody = |_| {
        Error::refused(format!(
            "{} is no user of Windlass: say for whom, with --user NAME",
            who.name
        ))
    };
    user.map_or_else(|| who.name.parse().map_err(nobody), Ok)
}

/// Whose list it is: an administrator's has everybody's.
fn whose(who: &Principal, user: Option<UserName>) -> Result<Option<UserName>, Error> {
    match user {
        None if who.may(&Needs::Admin, None).is_ok() => Ok(None),
        user => own(who, user).map(Some),
    }
}
