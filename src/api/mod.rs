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
mod processes;
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
pub use processes::Processes;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Home};
    use crate::platform;

    /// A verb that comes to something.
    #[derive(Clone, Copy)]
    enum Comes {
        Well,
        Refused,
        Broken,
        Panics,
        Late,
    }

    impl Verb for Comes {
        type Answer = &'static str;

        fn needs(&self, _: &Principal) -> Needs {
            Needs::Admin
        }

        fn action(&self) -> Option<Action> {
            action("come", "so far")
        }

        fn outcome(answer: &&'static str) -> String {
            (*answer).to_owned()
        }

        async fn run(self, _: &Server, _: &Principal) -> Result<&'static str, Error> {
            match self {
                Comes::Well => Ok("and well"),
                Comes::Refused => Err(Error::refused("not now")),
                Comes::Broken => Err(std::io::Error::other("the disk").into()),
                Comes::Panics => panic!("at the disco"),
                Comes::Late => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok("and late")
                }
            }
        }
    }

    async fn scratch() -> (tempfile::TempDir, Server) {
        let (dir, store) = crate::store::tests::scratch().await;
        let home = Home::new(dir.path()).unwrap();
        // The machine's own engine is nobody's to change from here.
        let mut config = Config::default();
        config.docker.socket = dir.path().join("no-docker.sock");
        let platform = Platform::new(home, config, store, "0a1b2c").unwrap();
        let server = Server {
            services: Services::new(platform),
            shutdown: CancellationToken::new(),
        };
        (dir, server)
    }

    async fn written(server: &Server) -> Vec<(String, Option<AuditOutcome>, bool)> {
        let store = &server.platform().store;
        let entries = store.audit_entries(None, 50, None).await.unwrap();
        let told = entries
            .into_iter()
            .map(|entry| (entry.detail, entry.outcome, entry.denied));
        told.collect()
    }

    #[tokio::test]
    async fn what_is_asked_is_written_down_with_what_came_of_it() {
        let (_dir, server) = scratch().await;
        let root = Principal::local("root".into());
        for (verb, detail, outcome) in [
            (Comes::Well, "so far and well", AuditOutcome::Done),
            (Comes::Refused, "so far", AuditOutcome::Refused),
            (Comes::Broken, "so far", AuditOutcome::Failed),
            (Comes::Panics, "so far", AuditOutcome::Failed),
        ] {
            let edition = server.platform().change_feed.edition(|_| true).to_string();
            let came = dispatch(&server, &root, verb).await;
            assert_eq!(came.is_ok(), outcome == AuditOutcome::Done);
            let expected = (detail.to_owned(), Some(outcome), false);
            assert_eq!(written(&server).await[0], expected);
            let now = server.platform().change_feed.edition(|_| true).to_string();
            assert_ne!(edition, now, "pages look whatever came of it");
        }
        let viewer = Principal {
            role: crate::domain::Role::Viewer,
            ..root
        };
        let denied = dispatch(&server, &viewer, Comes::Well).await.unwrap_err();
        assert!(denied.is_denied());
        let expected = ("so far".to_owned(), Some(AuditOutcome::Refused), true);
        assert_eq!(written(&server).await[0], expected);
        assert_eq!(written(&server).await.len(), 5);
    }

    #[tokio::test]
    async fn a_verb_goes_on_when_whoever_asked_is_gone() {
        let (_dir, server) = scratch().await;
        let root = Principal::local("root".into());
        let asked = dispatch(&server, &root, Comes::Late);
        let gone = tokio::time::timeout(Duration::from_millis(20), asked).await;
        assert!(gone.is_err(), "it was given up");
        let expected = (
            "so far and late".to_owned(),
            Some(AuditOutcome::Done),
            false,
        );
        let done = async {
            while written(&server).await.first() != Some(&expected) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), done).await;
        assert!(in_time.is_ok(), "{:?}", written(&server).await);
    }

    /// The socket serves who opens it, by the header that says for whom, and nobody who is neither its
    /// owner nor root.
    #[tokio::test]
    async fn the_socket_believes_its_owner() {
        use axum::body::Body;
        use axum::extract::ConnectInfo;
        use axum::http::{Request, StatusCode};
        use tower::ServiceExt;

        let (_dir, server) = scratch().await;
        let own = rustix::process::geteuid().as_raw();
        let ask = async |uid: Option<u32>, caller: Option<&str>| {
            let mut request = Request::get("/api/v1/whoami");
            if let Some(caller) = caller {
                request = request.header(socket::CALLER, caller);
            }
            let mut request = request.body(Body::empty()).unwrap();
            let peer = ConnectInfo(socket::Peer::of(uid));
            request.extensions_mut().insert(peer);
            let answer = socket::router(server.clone())
                .oneshot(request)
                .await
                .unwrap();
            let status = answer.status();
            let body = axum::body::to_bytes(answer.into_body(), 1 << 16)
                .await
                .unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let (status, said) = ask(Some(own), Some(r#"{"local":"ann"}"#)).await;
        assert!(
            status == StatusCode::OK && said.contains("\"ann\""),
            "{said}"
        );
        let (status, said) = ask(Some(own), None).await;
        let name = crate::machine::user_name(own);
        assert!(status == StatusCode::OK && said.contains(&name), "{said}");
        for (uid, caller, expected) in [
            (
                Some(own),
                Some(r#"{"key":[7,"192.0.2.7"]}"#),
                StatusCode::UNAUTHORIZED,
            ),
            (Some(own), Some("root"), StatusCode::BAD_REQUEST),
            (Some(own + 1), None, StatusCode::UNAUTHORIZED),
            (
                Some(own + 1),
                Some(r#"{"local":"root"}"#),
                StatusCode::UNAUTHORIZED,
            ),
            (None, Some(r#"{"local":"root"}"#), StatusCode::UNAUTHORIZED),
        ] {
            let (status, said) = ask(uid, caller).await;
            assert_eq!(status, expected, "{uid:?} {caller:?}: {said}");
            let problem: Problem = serde_json::from_str(&said).unwrap();
            assert_eq!(problem.status, expected.as_u16());
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_work_its_client_or_the_server() {
        let (_dir, server) = scratch().await;
        let note = |n: usize| Event::Note {
            text: n.to_string(),
        };
        let count = move |most: usize| {
            move |to: event::Sender| async move {
                for n in 0..most {
                    if let Err(stop) = to.send(note(n)).await {
                        return (to, Err(stop));
                    }
                }
                (to, Ok(()))
            }
        };
        let text = async |events: Events| {
            let body = events.into_response(Place::Socket).into_body();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let whole = text(Events::of(&server, count(100))).await;
        assert_eq!(whole.matches("event: note").count(), 100);
        assert!(
            whole.ends_with("event: end\ndata: {\"is\":\"end\"}\n\n"),
            "{whole}"
        );

        let failing = |place| {
            let events = Events::of(&server, |to| async {
                let disk = platform::Error::File(std::io::Error::other("the disk"));
                (to, Err(disk.into()))
            });
            async move {
                let body = events.into_response(place).into_body();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                String::from_utf8(body.to_vec()).unwrap()
            }
        };
        assert!(failing(Place::Socket).await.contains("the disk"));
        let outside = failing(Place::Dashboard).await;
        assert!(outside.contains("event: error") && !outside.contains("the disk"));

        // Nobody reads: it waits, for the client or for the server's end.
        let (told, mut over) = tokio::sync::mpsc::channel::<()>(1);
        let endless = move |to: event::Sender| async move {
            let told = told;
            let stop = loop {
                if let Err(stop) = to.send(note(0)).await {
                    break stop;
                }
            };
            drop(told);
            (to, Err(stop))
        };
        drop(Events::of(&server, endless));
        let gone = tokio::time::timeout(Duration::from_secs(20), over.recv()).await;
        assert_eq!(gone, Ok(None), "nobody is there");
        let waits = |to: event::Sender| async {
            std::future::pending::<()>().await;
            (to, Ok(()))
        };
        let stream = Events::of(&server, waits);
        server.shutdown.cancel();
        let broken_off = text(stream).await;
        assert!(!broken_off.contains("end"), "{broken_off}");
    }
}
