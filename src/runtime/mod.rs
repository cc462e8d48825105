//! What runs containers. Nothing outside this folder knows what that is.
//!
//! Everything made here carries labels, among them the installation's; only what carries them is
//! ever listed, changed or removed.

mod change;
mod container;
pub mod docker;
mod facts;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod image;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use ipnet::Ipv4Net;

pub use change::{Change, Now};
pub use container::{
    ContainerSpec, ContainerState, Exit, LogLine, Mount, Owner, PublishedPort, Role,
};
pub use docker::{Docker, usage};
pub use facts::{EngineError, EngineFacts, Load};
pub use image::{
    BuildEvent, BuildLimit, BuildSpec, BuildStop, ImageFacts, ImageNames, ImageUsage, Usage,
};

use crate::domain::{AppName, DeployId, Timestamp};

/// The label that tells installations apart.
pub const INSTANCE: &str = "windlass.instance";
/// The label with the home folder, for people.
pub const HOME: &str = "windlass.home";
/// The label with the app's name.
pub const APP: &str = "windlass.app";
/// The label with the deploy's number.
pub const DEPLOY: &str = "windlass.deploy";
/// The label with the process that a container runs.
pub const PROCESS: &str = "windlass.process";
/// The label with which of the process's containers it is, from 1.
pub const REPLICA: &str = "windlass.replica";
/// The label with a container's [`Role`].
pub const ROLE: &str = "windlass.role";
/// The label with the fingerprint of what a container was made from.
pub const SPEC: &str = "windlass.spec";
/// The label with the commit an image was built from.
pub const COMMIT: &str = "windlass.commit";

/// What runs the containers of one installation. Cheap to clone.
///
/// One variant a back end; Docker Swarm's place is here.
#[derive(Debug, Clone)]
pub enum Runtime {
    /// One Docker engine.
    Docker(Docker),
    /// A small world in memory, for tests.
    #[cfg(any(test, feature = "testing"))]
    Fake(fake::Fake),
}

/// Asks whichever back end it is.
macro_rules! ask {
    ($runtime:expr, $back:ident => $call:expr) => {
        match $runtime {
            Runtime::Docker($back) => $call,
            #[cfg(any(test, feature = "testing"))]
            Runtime::Fake($back) => $call,
        }
    };
}

/// A probe of a candidate, as Caddy would forward a visitor's request.
#[derive(Debug, Clone)]
pub struct Probe<'a> {
    /// Where it is asked, from this machine.
    pub address: SocketAddr,
    /// Whose visitor it is.
    pub host: &'a str,
    /// Whether that visitor came by https.
    pub https: bool,
    /// What is asked for.
    pub path: &'a str,
    /// How long it may take.
    pub timeout: Duration,
}

impl Runtime {
    /// A connection to the Docker engine at `socket`, whose calls count as hanging after `limit`. Does
    /// not fail when the engine is away: its calls do.
    pub fn docker(
        socket: &Path,
        limit: Duration,
        instance: &str,
        home: &Path,
    ) -> Result<Self, EngineError> {
        Ok(Self::Docker(Docker::new(socket, limit, instance, home)?))
    }

    /// Version and cgroups; also the way to see whether the engine is there.
    pub async fn facts(&self) -> Result<EngineFacts, EngineError> {
        ask!(self, back => back.facts().await)
    }

    /// What is known of an image; `None` where there is none.
    pub async fn image(&self, image: &str) -> Result<Option<ImageFacts>, EngineError> {
        ask!(self, back => back.image(image).await)
    }

    /// Removes an image's name, and the image with it unless something else still uses it.
    pub async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        ask!(self, back => back.remove_image(image).await)
    }

    /// Gives an image one more name.
    pub async fn tag(&self, image: &str, name: &str) -> Result<(), EngineError> {
        ask!(self, back => back.tag(image, name).await)
    }

    /// Images carrying this app's labels, untagged ones too.
    pub async fn images_of(&self, app: &str) -> Result<Vec<ImageNames>, EngineError> {
        ask!(self, back => back.images_of(app).await)
    }

    /// Fetches an image from its registry.
    pub async fn pull(&self, image: &str) -> Result<(), EngineError> {
        ask!(self, back => back.pull(image).await)
    }

    /// Builds an image from a tar stream and tells of it as it happens. Dropping the future ends the
    /// build's processes within a second.
    pub async fn build<C>(
        &self,
        spec: &BuildSpec,
        context: C,
        tell: impl FnMut(BuildEvent),
    ) -> Result<(), BuildStop>
    where
        C: Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin + 'static,
    {
        ask!(self, back => back.build(spec, context, tell).await)
    }

    /// Limits the memory of all build steps together, where the engine allows it.
    pub fn limit_builds(&self, bytes: u64, facts: &EngineFacts) -> BuildLimit {
        ask!(self, back => back.limit_builds(bytes, facts))
    }

    /// Makes a container and starts it. One of that name, left over, is replaced; one that does not
    /// start is removed.
    pub async fn run(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        ask!(self, back => back.run(spec).await)
    }

    /// Starts a container that is there.
    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        ask!(self, back => back.start(name).await)
    }

    /// A container as it stands; `None` where there is none of that name or id.
    pub async fn container(&self, name: &str) -> Result<Option<ContainerState>, EngineError> {
        ask!(self, back => back.container(name).await)
    }

    /// This installation's containers, stopped ones too; of one app, or one deploy, where given.
    pub async fn containers(
        &self,
        app: Option<&AppName>,
        deploy: Option<DeployId>,
    ) -> Result<Vec<ContainerState>, EngineError> {
        ask!(self, back => back.containers(app, deploy).await)
    }

    /// This installation's containers that run: their names, by their ids.
    pub async fn running(&self) -> Result<HashMap<String, String>, EngineError> {
        ask!(self, back => back.running().await)
    }

    /// Waits until a container has ended. One that is gone counts as ended by SIGKILL. An engine that
    /// cannot be asked says nothing about a container: it is asked again, until the caller drops this.
    pub async fn wait(&self, name: &str) -> Exit {
        ask!(self, back => back.wait(name).await)
    }

    /// Gives a container another name. Its connections are not touched.
    ///
    /// Where the engine's answer was lost, the container's name tells whether it was done.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), EngineError> {
        ask!(self, back => back.rename(from, to).await)
    }

    /// Lets a paused container go on.
    pub async fn unpause(&self, name: &str) -> Result<(), EngineError> {
        ask!(self, back => back.unpause(name).await)
    }

    /// Whether the engine brings the container back when it stops by itself.
    pub async fn set_restart(&self, name: &str, restart: bool) -> Result<(), EngineError> {
        ask!(self, back => back.set_restart(name, restart).await)
    }

    /// SIGTERM, then SIGKILL after `grace`. Fine with one that has stopped, or is gone.
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<(), EngineError> {
        ask!(self, back => back.stop(name, grace).await)
    }

    /// Removes a container, at once and with its anonymous volumes. Fine when it is gone.
    pub async fn remove(&self, name: &str) -> Result<(), EngineError> {
        ask!(self, back => back.remove(name).await)
    }

    /// Sends a signal to a container's main process.
    pub async fn signal(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        ask!(self, back => back.signal(name, signal).await)
    }

    /// What a container prints: all of it, and what comes if `follow`. With `since` (seconds since
    /// the epoch) only what is not older, and each line behind its time.
    pub fn output(
        &self,
        name: &str,
        follow: bool,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<LogLine, EngineError>> {
        ask!(self, back => back.output(name, follow, since).boxed())
    }

    /// The last `count` lines that a container printed.
    pub async fn last_output(&self, name: &str, count: usize) -> Result<Vec<Bytes>, EngineError> {
        ask!(self, back => back.last_output(name, count).await)
    }

    /// Runs a command in a running container, no longer than `limit`: its exit status and what it
    /// printed, 64 KiB of it at most. The command itself goes on when the limit is over.
    pub async fn exec(
        &self,
        name: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<(i64, String), EngineError> {
        ask!(self, back => back.exec(name, command, limit).await)
    }

    /// What a running container takes. None where the engine does not tell soon.
    pub async fn load(&self, name: &str) -> Option<Load> {
        ask!(self, back => back.load(name).await)
    }

    /// Asks a candidate for its health, and gives the status.
    ///
    /// # Errors
    /// In words: refused, or not in time.
    pub async fn probe(&self, probe: &Probe<'_>) -> Result<u16, String> {
        ask!(self, back => back.probe(probe).await)
    }

    /// The TCP addresses that the processes of a container listen on, IPv4 or any; those for all
    /// addresses first. `None` where it does not run.
    pub async fn listening(&self, name: &str) -> Result<Option<Vec<(Ipv4Addr, u16)>>, EngineError> {
        ask!(self, back => back.listening(name).await)
    }

    /// Changes since `since`, as they happen, whoever made them. Ends with an error when the engine
    /// goes away. The engine remembers its last 256 events (engine 20.10).
    pub fn changes(&self, since: Timestamp) -> BoxStream<'static, Result<Change, EngineError>> {
        ask!(self, back => back.changes(since).boxed())
    }

    /// Makes a network with exactly this subnet, unless one of that name is there.
    ///
    /// `app` is its owner; the edge has none.
    pub async fn ensure_network(
        &self,
        name: &str,
        subnet: Option<Ipv4Net>,
        app: Option<&str>,
    ) -> Result<(), EngineError> {
        ask!(self, back => back.ensure_network(name, subnet, app).await)
    }

    /// Every subnet in use on this engine, by anybody.
    pub async fn subnets(&self) -> Result<Vec<Ipv4Net>, EngineError> {
        ask!(self, back => back.subnets().await)
    }

    /// Connects a running container to one more network; its gateway stays where it is.
    pub async fn connect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        ask!(self, back => back.connect(network, container).await)
    }

    /// Disconnects a container by force. Only ever Caddy from the network of a destroyed app.
    pub async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        ask!(self, back => back.disconnect(network, container).await)
    }

    /// Names of running containers on a network that are not this installation's, such as a database
    /// that somebody put there.
    pub async fn strangers(&self, network: &str) -> Result<Vec<String>, EngineError> {
        ask!(self, back => back.strangers(network).await)
    }

    /// The addresses in use on a network now, by anybody; none where there is no such network.
    pub async fn addresses(&self, network: &str) -> Result<Vec<Ipv4Addr>, EngineError> {
        ask!(self, back => back.addresses(network).await)
    }

    /// Removes a network.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        ask!(self, back => back.remove_network(name).await)
    }

    /// Names of this installation's networks.
    pub async fn networks(&self) -> Result<Vec<String>, EngineError> {
        ask!(self, back => back.networks().await)
    }

    /// What takes room on the engine: of the images, this installation's.
    pub async fn usage(&self) -> Result<Usage, EngineError> {
        ask!(self, back => back.usage().await)
    }

    /// Removes of the build cache what was not used for longest, until it takes at most `bytes`.
    /// What a build uses stays, and so does what an image shares with it. Gives the bytes removed.
    pub async fn bound_build_cache(&self, bytes: u64) -> Result<u64, EngineError> {
        ask!(self, back => back.bound_build_cache(bytes).await)
    }

    /// The error for an engine that has said nothing for `limit`.
    pub fn silent(&self, limit: Duration) -> EngineError {
        ask!(self, back => back.silent(limit))
    }
}
