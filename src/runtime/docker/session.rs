//! What the engine may ask of us while it builds: the secrets that a step mounts.
//!
//! BuildKit calls its client back, by gRPC over a connection that the client opened (a session). bollard
//! opens one with every build, which knows no secrets and is never closed again: a server that builds
//! often would hold thousands. So each build's session is opened here first, and ends with the build: of
//! two with one id the engine takes the first and refuses the other, and bollard goes on without.

use std::path::Path;

use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
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
use super::{Docker, root_cause};
use crate::domain::Environment;
use crate::runtime::EngineError;

/// An open session; it ends when dropped.
#[derive(Debug)]
pub(super) struct Session(JoinHandle<()>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Docker {
    /// Opens the session `id`, in which a build may ask for these secrets.
    pub(super) async fn open_session(
        &self,
        id: &str,
        secrets: &Environment,
    ) -> Result<Session, EngineError> {
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
                .header(
                    "X-Docker-Expose-Session-Grpc-Method",
                    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
                );
            asked.send().await?.error_for_status()?.upgrade().await
        };
        let opened = tokio::time::timeout(self.limit, opening).await;
        let connection = opened
            .map_err(|_| self.silent(self.limit))?
            .map_err(failed)?;
        let routes = Routes::new(HealthServer::new(Alive));
        let routes = routes.add_service(SecretsServer::new(Answers(secrets.clone())));
        Ok(Session(tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new()).http2_only();
            let service = TowerToHyperService::new(routes.prepare());
            // It ends with the build, or the build with it.
            let _ = server
                .serve_connection(TokioIo::new(connection), service)
                .await;
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
            Status::not_found(format!(
                "{id} is not among the build.secrets of windlass.toml"
            ))
        })?;
        Ok(Response::new(GetSecretResponse {
            data: value.as_bytes().to_vec(),
        }))
    }
}

/// The engine gives a session up whose client does not say every few seconds that it is well.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let serving = bollard::health::health_check_response::ServingStatus::Serving;
        Ok(Response::new(HealthCheckResponse {
            status: serving.into(),
        }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("not asked by engines"))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked by engines"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bollard::health::health_client::HealthClient;
    use bollard::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tonic::Code;
    use tonic::transport::{Channel, Endpoint};

    use super::*;

    /// An engine's end of a session: what it was asked with, and its way to ask.
    async fn accept(socket: UnixListener) -> (String, Channel) {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut stream = Some(TokioIo::new(stream));
        let connect = tower::service_fn(move |_| {
            std::future::ready(stream.take().ok_or("it is the only one"))
        });
        let channel = Endpoint::from_static("http://session")
            .connect_with_connector(connect)
            .await;
        (String::from_utf8(head).unwrap(), channel.unwrap())
    }

    #[tokio::test]
    async fn an_engine_is_told_the_secrets_of_its_build_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let engine = Docker::new(&path, Duration::from_secs(10), "0a1b2c", dir.path()).unwrap();
        let accepted = tokio::spawn(accept(UnixListener::bind(&path).unwrap()));
        let mut secrets = Environment::default();
        secrets.set("PIP_TOKEN", "s3cret").unwrap();
        let session = engine.open_session("build-7", &secrets).await.unwrap();
        let (head, channel) = accepted.await.unwrap();
        let head = head.to_lowercase();
        assert!(
            head.starts_with("post /session ") && head.contains("session-uuid: build-7\r\n"),
            "{head}"
        );

        let ask = |id: &str| GetSecretRequest {
            id: id.into(),
            annotations: Default::default(),
        };
        let mut client = SecretsClient::new(channel.clone());
        let told = client.get_secret(ask("PIP_TOKEN")).await.unwrap();
        assert_eq!(told.into_inner().data, b"s3cret");
        assert_eq!(
            client.get_secret(ask("OTHER")).await.unwrap_err().code(),
            Code::NotFound
        );
        let well = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
        assert_eq!(well.into_inner().status, 1);

        drop(session);
        let gone = tokio::time::timeout(Duration::from_secs(5), async {
            while client.get_secret(ask("PIP_TOKEN")).await.is_ok() {}
        });
        gone.await.unwrap();
    }
}
