//! What the engine may ask of us while it builds: the secrets that a step mounts.
//!
//! BuildKit calls its client back, by gRPC over a connection that the client opened (a session). bollard
//! opens one with every build, which knows no secrets and is never closed again: a server that builds
//! often would hold thousands. So each build's session is opened here first, and ends with the build: of
//! two with one id the engine takes the first and refuses the other, and bollard goes on without.

use std::path::Path;

use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use futures_util::stream::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::usage::client;
use super::{Engine, EngineError, root_cause};
use crate::domain::Environment;

/// An open session; it ends when dropped.
#[derive(Debug)]
pub(super) struct Session(JoinHandle<()>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Engine {
    /// Opens the session `id`, in which a build may ask for these secrets.
    pub(super) async fn open_session(&self, id: &str, secrets: &Environment) -> Result<Session, EngineError> {
        let failed = |error: reqwest::Error| EngineError::Failed {
            doing: "open a session for the build's secrets".into(),
            cause: root_cause(&error),
        };
        let opening = async {
            let request = client(Path::new(&self.socket))?.post("http://docker/session");
            let asked = request
                .header("Connection", "Upgrade")
                .header("Upgrade", "h2c")
                .header("X-Docker-Expose-Session-Uuid", id)
                .header("X-Docker-Expose-Session-Grpc-Method", "/moby.buildkit.secrets.v1.Secrets/GetSecret");
            asked.send().await?.error_for_status()?.upgrade().await
        };
        let opened = tokio::time::timeout(self.limit, opening).await;
        let connection = opened.map_err(|_| self.silent(self.limit))?.map_err(failed)?;
        let routes = Routes::new(HealthServer::new(Alive));
        let routes = routes.add_service(SecretsServer::new(Answers(secrets.clone())));
        Ok(Session(tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new()).http2_only();
            let service = TowerToHyperService::new(routes.prepare());
            // It ends with the build, or the build with it.
            let _ = server.serve_connection(TokioIo::new(connection), service).await;
        })))
    }
}

struct Answers(Environment);

#[tonic::async_trait]
impl Secrets for Answers {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        let value = self.0.get(id).ok_or_else(|| {
            Status::not_found(format!("{id} is not among the build.secrets of windlass.toml"))
        })?;
        Ok(Response::new(GetSecretResponse { data: value.as_bytes().to_vec() }))
    }
}

/// The engine gives a session up whose client does not say every few seconds that it is well.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let serving = bollard::health::health_check_response::ServingStatus::Serving;
        Ok(Response::new(HealthCheckResponse { status: serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("not asked by engines"))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked by engines"))
    }
}
