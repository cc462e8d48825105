//! One Docker engine. Nothing outside this folder knows how it is asked.
//!
//! Everything made here carries labels, among them the installation's; only what carries them is
//! ever listed, changed or removed.

mod build;
mod changes;
mod containers;
mod limits;
mod load;
mod networks;
mod probe;
mod session;
mod usage;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::{BollardRequest, Docker as Api};
use futures_util::TryFutureExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;

pub use usage::usage;

use super::{APP, EngineError, EngineFacts, HOME, INSTANCE, ImageFacts, ImageNames};

/// A connection to the engine, for one installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Docker {
    docker: Api,
    socket: String,
    /// How long one call may take, whole answer included; streams have limits of their own.
    limit: Duration,
    instance: String,
    home: String,
    /// What it cannot do and was told of.
    told: Arc<Mutex<HashSet<String>>>,
}

impl Docker {
    /// A connection over `socket`, whose calls count as hanging after `limit`. Does not fail when the
    /// engine is away: its calls do.
    pub fn new(
        socket: &Path,
        limit: Duration,
        instance: &str,
        home: &Path,
    ) -> Result<Self, EngineError> {
        let docker = connect(socket, limit);
        let socket = socket.display().to_string();
        let docker = docker.map_err(|error| EngineError::Unreachable {
            socket: socket.clone(),
            cause: error.to_string(),
        })?;
        let (instance, home) = (instance.to_owned(), home.display().to_string());
        Ok(Self {
            docker,
            socket,
            limit,
            instance,
            home,
            told: Arc::default(),
        })
    }

    /// One call to the engine, within its limit.
    async fn ask<T>(&self, call: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        within(self.limit, call).await
    }

    /// Version and cgroups; also the way to see whether the engine is there.
    pub async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let info = self
            .ask(self.docker.info())
            .await
            .map_err(self.failed("tell about itself"))?;
        let version_2 =
            info.cgroup_version == Some(bollard::models::SystemInfoCgroupVersionEnum::_2);
        Ok(EngineFacts {
            version: info.server_version.unwrap_or_default(),
            cgroup_driver: info
                .cgroup_driver
                .map(|d| d.to_string())
                .unwrap_or_default(),
            cgroup_version: if version_2 { 2 } else { 1 },
            root: info.docker_root_dir.unwrap_or_default().into(),
        })
    }

    /// What is known of an image; `None` where there is none.
    pub async fn image(&self, image: &str) -> Result<Option<ImageFacts>, EngineError> {
        let found = match self.ask(self.docker.inspect_image(image)).await {
            Err(error) if is_missing(&error) => return Ok(None),
            found => found.map_err(self.failed(format!("look at the image {image}")))?,
        };
        let config = found.config.unwrap_or_default();
        let all = config.exposed_ports.unwrap_or_default();
        let exposed = all.len();
        let mut ports: Vec<u16> = all
            .iter()
            .filter_map(|port| port.strip_suffix("/tcp").unwrap_or(port).parse().ok())
            .collect();
        ports.sort_unstable();
        let healthcheck = config
            .healthcheck
            .and_then(|check| check.test)
            .and_then(resolve_healthcheck);
        let (id, size) = (
            found.id.unwrap_or_default(),
            found.size.unwrap_or(0).max(0) as u64,
        );
        Ok(Some(ImageFacts {
            id,
            ports,
            exposed,
            healthcheck,
            size,
        }))
    }

    /// Removes an image's name, and the image with it unless something else still uses it.
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let options = bollard::query_parameters::RemoveImageOptionsBuilder::default().build();
        match self
            .ask(self.docker.remove_image(image, Some(options), None))
            .await
        {
            Err(error) if is_missing(&error) => Ok(()),
            other => other
                .map(drop)
                .map_err(self.failed(format!("remove the image {image}"))),
        }
    }

    /// Images carrying this app's labels, untagged ones too.
    pub async fn images_of(&self, app: &str) -> Result<Vec<ImageNames>, EngineError> {
        let filters = HashMap::from([("label", vec![self.mine(), format!("{APP}={app}")])]);
        let options = bollard::query_parameters::ListImagesOptionsBuilder::default()
            .filters(&filters)
            .build();
        let found = self.ask(self.docker.list_images(Some(options))).await;
        let found = found.map_err(self.failed("list images"))?;
        // Old engines call an image without a name `<none>:<none>`.
        let named = |tag: &String| !tag.starts_with("<none>");
        let names = |tags: Vec<String>| tags.into_iter().filter(named).collect();
        Ok(found
            .into_iter()
            .map(|image| ImageNames {
                id: image.id,
                tags: names(image.repo_tags),
            })
            .collect())
    }

    /// Fetches an image from its registry.
    pub async fn pull(&self, image: &str) -> Result<(), EngineError> {
        use futures_util::TryStreamExt;
        // Without a tag or digest the engine would fetch every tag there is.
        let last = image.rsplit('/').next().unwrap_or(image);
        let exact = if last.contains([':', '@']) {
            image.to_owned()
        } else {
            format!("{image}:latest")
        };
        let options = bollard::query_parameters::CreateImageOptionsBuilder::default()
            .from_image(&exact)
            .build();
        let pulled = self.docker.create_image(Some(options), None, None);
        pulled
            .try_for_each(|_| async { Ok(()) })
            .await
            .map_err(self.failed(format!("pull the image {image}")))
    }

    /// The error for an engine that has said nothing for `limit`.
    pub fn silent(&self, limit: Duration) -> EngineError {
        let cause = format!("it has not answered for {} s", limit.as_secs());
        EngineError::Unreachable {
            socket: self.socket.clone(),
            cause,
        }
    }

    fn labels(&self, more: &[(&str, String)]) -> HashMap<String, String> {
        let ours = [(INSTANCE, self.instance.clone()), (HOME, self.home.clone())];
        ours.iter()
            .chain(more)
            .map(|(k, v)| ((*k).to_owned(), v.clone()))
            .collect()
    }

    fn mine(&self) -> String {
        format!("{INSTANCE}={}", self.instance)
    }

    /// For `map_err`: what was being done, and whether the engine is there at all.
    fn failed(&self, doing: impl Into<String>) -> impl FnOnce(ApiError) -> EngineError {
        let (doing, socket) = (doing.into(), self.socket.clone());
        move |error| match error {
            ApiError::DockerResponseServerError { message, .. } => EngineError::Failed {
                doing,
                cause: message,
            },
            ApiError::DockerStreamError { error } => EngineError::Failed {
                doing,
                cause: error,
            },
            ApiError::RequestTimeoutError => EngineError::Failed {
                doing,
                cause: "it did not answer in time".into(),
            },
            ApiError::HyperLegacyError { err } if err.is_connect() => EngineError::Unreachable {
                socket,
                cause: root_cause(&err),
            },
            other => EngineError::Failed {
                doing,
                cause: root_cause(&other),
            },
        }
    }
}

/// bollard's own limit ends with an answer's head: this one is for all of it.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or(Err(ApiError::RequestTimeoutError))
}

/// bollard's own way over a unix socket fails where the socket is not there yet; an engine that is
/// stopped has none.
fn connect(socket: &Path, limit: Duration) -> Result<Api, ApiError> {
    let mut client = Client::builder(TokioExecutor::new());
    let client = client.pool_max_idle_per_host(0).build(UnixConnector);
    let send = move |request: BollardRequest| client.request(request).map_err(ApiError::from);
    // hyperlocal's connector takes the socket's path from the address, in hex.
    let path = socket.as_os_str().as_encoded_bytes();
    let path: String = path.iter().map(|byte| format!("{byte:02x}")).collect();
    let (address, seconds) = (format!("unix://{path}"), limit.as_secs().max(1));
    Api::connect_with_custom_transport(send, Some(address), seconds, bollard::API_DEFAULT_VERSION)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn is_missing(error: &ApiError) -> bool {
    status_of(error) == Some(404)
}

fn status_of(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// `HEALTHCHECK` as the engine stores it: `["CMD", …]`, `["CMD-SHELL", text]`, `["NONE"]` or empty.
fn resolve_healthcheck(test: Vec<String>) -> Option<Vec<String>> {
    match test.split_first()? {
        (kind, argv) if kind == "CMD" && !argv.is_empty() => Some(argv.to_vec()),
        (kind, [script, ..]) if kind == "CMD-SHELL" => {
            Some(vec!["/bin/sh".into(), "-c".into(), script.clone()])
        }
        _ => None,
    }
}
