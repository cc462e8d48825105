//! Building images: BuildKit through the engine's API, the context streamed.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::Docker;
use crate::runtime::{APP, BuildEvent, BuildSpec, BuildStop, COMMIT, DEPLOY, EngineError};

impl Docker {
    /// Builds an image from a tar stream and tells of it as it happens. Dropping the future ends the
    /// build's processes within a second.
    pub async fn build<C>(
        &self,
        spec: &BuildSpec,
        context: C,
        mut tell: impl FnMut(BuildEvent),
    ) -> Result<(), BuildStop>
    where
        C: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    {
        let labels = self.labels(&[
            (APP, spec.app.clone()),
            (DEPLOY, spec.deploy.clone()),
            (COMMIT, spec.commit.clone()),
        ]);
        let mut args: HashMap<String, String> = spec.args.clone().into_iter().collect();
        // Separates cache mounts. Steps are told apart by a host that only this app's builds have.
        args.insert("BUILDKIT_CACHE_MOUNT_NS".into(), spec.cache.clone());
        let own_host = format!("{}:127.0.0.1", spec.cache);
        let options = BuildImageOptionsBuilder::default()
            .t(&spec.image)
            .dockerfile(&spec.dockerfile)
            .buildargs(&args)
            .extrahosts(&own_host)
            .labels(&labels)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&spec.session)
            .rm(true)
            .forcerm(true)
            .build();
        let _session = self
            .open_session(&spec.session, &spec.secrets)
            .await
            .map_err(BuildStop::Engine)?;
        let docker = self.docker.clone().with_timeout(spec.timeout);
        let mut progress =
            docker.build_image(options, None, Some(bollard::body_try_stream(context)));
        let mut steps = Steps::default();
        let (mut failure, mut built, mut empty, mut lost) = (None, None, 0, false);
        while let Some(item) = progress.next().await {
            match item {
                Ok(BuildInfo {
                    aux: Some(BuildInfoAux::BuildKit(status)),
                    ..
                }) => {
                    empty = if is_empty(&status) { empty + 1 } else { 0 };
                    if empty > EMPTY_TRACES {
                        if !std::mem::replace(&mut lost, true) {
                            tell(BuildEvent::Warning(LOST.into()));
                        }
                        if built.is_some() {
                            break;
                        }
                        // The build goes on. The engine waits while nobody reads; else it would
                        // keep a core busy with nothing.
                        empty = 0;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                    steps.tell(status, &mut tell);
                }
                Ok(BuildInfo {
                    aux: Some(BuildInfoAux::Default(image)),
                    ..
                }) => built = image.id,
                Ok(BuildInfo {
                    error_detail: Some(error),
                    ..
                }) => failure = error.message,
                Ok(_) => {}
                Err(ApiError::DockerStreamError { error }) => failure = Some(error),
                Err(ApiError::DockerResponseServerError {
                    status_code,
                    message,
                }) if status_code < 500 => {
                    failure = Some(message);
                }
                Err(error) => return Err(BuildStop::Engine(self.failed("build the image")(error))),
            }
        }
        match (failure, built) {
            (Some(message), _) => Err(BuildStop::Failed(message)),
            (None, Some(id)) if lost => self.tag(&id, &spec.image).await.map_err(BuildStop::Engine),
            (None, None) if lost => Err(BuildStop::Failed(LOST.into())),
            (None, Some(_)) => Ok(()),
            (None, None) => self
                .expect_image(&spec.image)
                .await
                .map_err(BuildStop::Engine),
        }
    }

    /// For a build that ended without a word of what came out.
    async fn expect_image(&self, image: &str) -> Result<(), EngineError> {
        let (doing, cause) = (
            "build the image".into(),
            "it ended the build without an image".into(),
        );
        self.image(image)
            .await?
            .map(drop)
            .ok_or(EngineError::Failed { doing, cause })
    }

    /// Gives an image one more name.
    pub async fn tag(&self, id: &str, image: &str) -> Result<(), EngineError> {
        let (repo, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let options = bollard::query_parameters::TagImageOptionsBuilder::default()
            .repo(repo)
            .tag(tag)
            .build();
        let tagged = self.ask(self.docker.tag_image(id, Some(options))).await;
        tagged.map_err(self.failed(format!("tag the image {image}")))
    }
}

/// Engine 20.10 stops telling of a build once one of its messages passes about 1 MiB, and sends
/// empty ones without end instead. So many in a row mean that. The build itself goes on: when it
/// succeeds its image's id still comes, when it fails nothing tells.
const EMPTY_TRACES: usize = 2000;

const LOST: &str = "the engine lost the rest of this build's output, as old ones do when a step prints more than about 1 MiB at once; should the build fail, that shows only when build.timeout is over";

fn is_empty(status: &StatusResponse) -> bool {
    status.vertexes.is_empty()
        && status.logs.is_empty()
        && status.statuses.is_empty()
        && status.warnings.is_empty()
}

/// Which steps were told of: BuildKit repeats a step's state with every change of it.
#[derive(Default)]
struct Steps(HashMap<String, Told>);

#[derive(Default)]
struct Told {
    begun: bool,
    done: bool,
}

impl Steps {
    fn tell(&mut self, status: StatusResponse, tell: &mut impl FnMut(BuildEvent)) {
        // A step's beginning, then what it printed, then its end.
        for vertex in &status.vertexes {
            let told = self.0.entry(vertex.digest.clone()).or_default();
            if vertex.started.is_some() && !told.begun {
                told.begun = true;
                tell(BuildEvent::Step {
                    step: vertex.digest.clone(),
                    name: vertex.name.clone(),
                });
            }
        }
        for log in status.logs {
            tell(BuildEvent::Output {
                step: log.vertex,
                stderr: log.stream == 2,
                bytes: log.msg.into(),
            });
        }
        for warning in status.warnings {
            tell(BuildEvent::Warning(
                String::from_utf8_lossy(&warning.short).into_owned(),
            ));
        }
        for vertex in status.vertexes {
            let told = self.0.entry(vertex.digest.clone()).or_default();
            if (vertex.completed.is_some() || vertex.cached) && !told.done {
                told.done = true;
                tell(done(vertex));
            }
        }
    }
}

fn done(vertex: Vertex) -> BuildEvent {
    let took = match (&vertex.started, &vertex.completed) {
        (Some(from), Some(to)) => {
            let (from, to) = ((from.seconds, from.nanos), (to.seconds, to.nanos));
            let nanos = |(s, n): (i64, i32)| i128::from(s) * 1_000_000_000 + i128::from(n);
            Duration::from_nanos((nanos(to) - nanos(from)).max(0) as u64)
        }
        _ => Duration::ZERO,
    };
    let error = (!vertex.error.is_empty()).then_some(vertex.error);
    BuildEvent::Done {
        step: vertex.digest,
        name: vertex.name,
        cached: vertex.cached,
        took,
        error,
    }
}
