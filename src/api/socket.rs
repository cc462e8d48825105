//! The control socket: the same verbs over HTTP, for whoever its owner lets in.
//!
//! Only the server's own user and root may open it, and both are believed: the ssh command and the hook
//! run as the server's user and say for whom they act, in a header that no other listener reads. Without
//! that header, whoever connected is an administrator by the name of their account here.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use tokio::net::{UnixListener, UnixStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::warn;

use super::event::STALLED;
use super::{Error, LONGEST_REQUEST, Place, Server, document, routes};
use crate::access::Caller;
use crate::domain::Denied;

/// In which a client of the control socket says for whom it acts: a [`Caller`] as JSON. Without it that
/// is whoever connected.
pub const CALLER: &str = "windlass-caller";

/// Opens the socket, for its owner alone. One that a dead server left is replaced; the caller holds
/// the home folder's lock.
///
/// # Errors
/// The file system's.
pub fn open(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves clients until `shutdown`.
pub async fn serve(listener: UnixListener, server: Server, shutdown: CancellationToken) {
    let service = router(server).into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(Patient(listener), service);
    if let Err(error) = served
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
    {
        warn!(%error, "the control socket");
    }
}

/// All verbs, as the control socket has them.
pub fn router(server: Server) -> Router {
    let mut router = Router::new().route(
        "/api/v1/openapi.json",
        axum::routing::get(async || axum::Json(document(Place::Socket))),
    );
    for route in routes() {
        let serve = route.serve(server.clone(), Place::Socket);
        router = router.route(&route.full_path(), serve);
    }
    router
        .route_layer(from_fn_with_state(server, identify))
        .fallback(async || Error::NotFound.problem(Place::Socket))
        .layer(RequestBodyTimeoutLayer::new(STALLED))
        .layer(DefaultBodyLimit::max(LONGEST_REQUEST))
}

/// Who connected.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Their user id, where the kernel tells.
    uid: Option<u32>,
}

#[cfg(test)]
impl Peer {
    pub(super) fn of(uid: Option<u32>) -> Self {
        Self { uid }
    }
}

impl Connected<IncomingStream<'_, Patient>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Patient>) -> Self {
        let known = stream.io().get_ref().peer_cred();
        Self {
            uid: known.ok().map(|known| known.uid()),
        }
    }
}

/// Stands before every verb: finds out who asks.
async fn identify(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let uid = peer.and_then(|ConnectInfo(peer)| peer.uid);
    let found = match caller(request.headers(), uid) {
        Ok(caller) => server
            .platform()
            .access
            .caller(caller)
            .await
            .map_err(Error::from),
        Err(error) => Err(error),
    };
    match found {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(error) => error.problem(Place::Socket),
    }
}

fn caller(headers: &HeaderMap, uid: Option<u32>) -> Result<Caller, Error> {
    let own = rustix::process::geteuid().as_raw();
    let uid = uid.filter(|uid| [0, own].contains(uid));
    let uid = uid.ok_or(Error::from(crate::access::AccessError::from(
        Denied::NobodyKnown,
    )))?;
    match headers.get(CALLER) {
        None => Ok(Caller::Local(crate::machine::user_name(uid))),
        Some(said) => serde_json::from_slice(said.as_bytes())
            .map_err(|error| Error::bad(format!("{CALLER} cannot be read: {error}"))),
    }
}

/// A listener whose connections are given up when their client takes nothing for [`STALLED`].
pub struct Patient(UnixListener);

impl Listener for Patient {
    type Io = Pin<Box<TimeoutStream<UnixStream>>>;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => {
                    let mut stream = TimeoutStream::new(stream);
                    stream.set_write_timeout(Some(STALLED));
                    return (Box::pin(stream), address);
                }
                Err(error) => {
                    warn!(%error, "the control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.problem(Place::Dashboard)
    }
}
