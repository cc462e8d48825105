//! The router as a browser meets it, on a scratch database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::domain::{
    App, AppStatus, DeployEvent, Environment, Failure, ImageRef, Manifest, Phase, PhaseStatus, Release,
    Trigger,
};
use crate::logs::{Logs, PhaseWriter};
use crate::store::NewDeploy;
use crate::store::tests::scratch;

/// A small installation that the tests fill themselves.
pub(super) struct World {
    pub(super) windlass: Windlass,
    pub(super) shutdown: CancellationToken,
    _dir: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let (dir, store) = scratch().await;
        let logs = Logs::open(&dir.path().join("logs")).unwrap();
        let windlass = Windlass { store, logs, config: Arc::new(Config::default()) };
        Self { windlass, shutdown: CancellationToken::new(), _dir: dir }
    }

    pub(super) fn router(&self) -> Router {
        router(self.windlass.clone(), self.shutdown.clone())
    }

    /// A session of `admin`, as the cookie header that a browser would send.
    pub(super) async fn cookie(&self) -> String {
        let store = &self.windlass.store;
        if !store.has_users().await.unwrap() {
            store.add_user("admin", "no password").await.unwrap();
        }
        let set = session::open(store, "admin", &Default::default()).await.unwrap();
        set.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    pub(super) async fn create_app(&self, name: &str) {
        let subnets = self.windlass.store.apps().await.unwrap().len();
        let subnet = format!("10.213.{subnets}.0/26").parse().unwrap();
        let domains = [format!("{name}.example.com").parse().unwrap()];
        self.windlass.store.create_app(&name.parse().unwrap(), &domains, subnet).await.unwrap();
    }

    /// What the façade would say of an app.
    pub(super) async fn app(&self, name: &str) -> App {
        let row = self.windlass.store.app(&name.parse().unwrap()).await.unwrap();
        let live = self.windlass.store.live_deploy(&row.name).await.unwrap();
        let status = if live.is_some() { AppStatus::Serving } else { AppStatus::Empty };
        App { name: row.name, domains: row.domains, remote: format!("ssh://server/{name}.git"), status, live }
    }

    /// A deploy that has started.
    pub(super) async fn start(&self, app: &str, subject: &str, author: &str) -> DeployId {
        let store = &self.windlass.store;
        let seed: u64 = subject.bytes().fold(7, |hash, b| hash * 31 % 1_000_003 + u64::from(b));
        let new = NewDeploy {
            app: app.parse().unwrap(),
            commit: format!("{:040x}", u128::from(seed) * 0x9E37_79B9_7F4A_7C15_F39C_0C5D).parse().unwrap(),
            subject: subject.into(),
            author: author.into(),
            trigger: Trigger::Push,
            actor: "ada".into(),
            source: None,
        };
        let (id, _) = store.queue_deploy(&new).await.unwrap();
        store.change_deploy(id, DeployEvent::Start, None, None).await.unwrap();
        id
    }

    /// A phase that has begun.
    pub(super) async fn begin(&self, id: DeployId, ordinal: usize, phase: &str) -> PhaseWriter {
        let phase: Phase = phase.parse().unwrap();
        self.windlass.store.begin_phase(id, ordinal, &phase).await.unwrap();
        let writer = self.windlass.logs.write(id, ordinal, &phase, Instant::now()).unwrap();
        self.windlass.logs.changed(id);
        writer
    }

    pub(super) async fn end(&self, id: DeployId, ordinal: usize, status: PhaseStatus, ms: u64) {
        self.windlass.store.end_phase(id, ordinal, status, ms).await.unwrap();
        self.windlass.logs.changed(id);
    }

    pub(super) async fn go_live(&self, id: DeployId) {
        let deploy = self.windlass.store.deploy(id).await.unwrap();
        let release = Release {
            deploy: id,
            app: deploy.app,
            commit: deploy.commit,
            image: ImageRef(format!("windlass-abc/shop:d{id}")),
            image_kept: true,
            manifest: Manifest::default(),
            port: 8000,
            env: Environment::default(),
        };
        self.windlass.store.go_live(&release).await.unwrap();
    }

    pub(super) async fn finish(&self, id: DeployId, ms: u64) {
        self.windlass.store.finish_deploy(id, ms).await.unwrap();
        self.windlass.logs.changed(id);
    }

    pub(super) async fn fail(&self, id: DeployId, phase: &str, message: &str, ms: u64) {
        let failure = Failure { phase: phase.into(), message: message.into() };
        let store = &self.windlass.store;
        store.change_deploy(id, DeployEvent::Fail, Some(&failure), Some(ms)).await.unwrap();
        self.windlass.logs.changed(id);
    }

    async fn get(&self, path: &str) -> Response<Body> {
        let request = Request::get(path).header("cookie", self.cookie().await);
        self.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 10 << 20).await.unwrap().to_vec()).unwrap()
}
