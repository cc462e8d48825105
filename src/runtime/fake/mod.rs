//! A runtime in memory, for tests: containers with states, names, addresses and output, images,
//! networks, events. It is held to the truth by the contract tests, which run on a real engine as well.
//!
//! Each call can be late, refused, done without an answer, or hung: [`Chaos`] decides.

mod program;
mod world;

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{
    BuildEvent, BuildLimit, BuildSpec, BuildStop, Change, ContainerSpec, ContainerState,
    EngineError, EngineFacts, Exit, ImageFacts, ImageNames, Load, LogLine, Now, Probe, Usage,
};
use crate::chaos::{Chaos, Fate};
use crate::domain::{AppName, DeployId, ProcessName, Timestamp};
use program::{Program, Recipe};
use world::{Image, Network, Stand, World, failed};

/// A runtime in memory. Cheap to clone; outlives the server, as a real engine does.
#[derive(Debug, Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    /// Counts what happens: whoever waits for something looks again.
    tick: watch::Sender<u64>,
    chaos: Chaos,
    limit: Duration,
    instance: String,
}

impl Fake {
    /// An engine on which there is nothing but Caddy's image, for the installation marked `instance`.
    pub fn new(chaos: Chaos, limit: Duration, instance: &str) -> Self {
        let mut world = World::new();
        let caddy = Image {
            id: "sha256:caddy".into(),
            tags: vec!["caddy:2".into()],
            app: None,
            recipe: Recipe {
                command: vec!["caddy".into(), "run".into()],
                ..Recipe::default()
            },
        };
        world.images.push(caddy);
        Self {
            world: Arc::new(Mutex::new(world)),
            tick: watch::Sender::new(0),
            chaos,
            limit,
            instance: instance.to_owned(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.settle();
        world
    }

    /// What becomes of a call that does `act`.
    async fn call<T>(
        &self,
        doing: &str,
        name: &str,
        act: impl FnOnce(&mut World) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let fate = self.chaos.fate(name).await;
        self.answer(doing, fate, act).await
    }

    async fn answer<T>(
        &self,
        doing: &str,
        fate: Fate,
        act: impl FnOnce(&mut World) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match fate {
            Fate::Refused => return Err(failed(doing, "refused on purpose")),
            Fate::Hung => {
                tokio::time::sleep(self.limit).await;
                return Err(failed(doing, "it did not answer in time"));
            }
            Fate::Done | Fate::Unanswered => {}
        }
        let done = {
            let mut world = self.world();
            if world.away_until.is_some() {
                return Err(self.away());
            }
            act(&mut world)
        };
        self.tick.send_modify(|tick| *tick += 1);
        match fate {
            Fate::Unanswered if done.is_ok() => {
                Err(failed(doing, "connection closed before message completed"))
            }
            _ => done,
        }
    }

    fn away(&self) -> EngineError {
        EngineError::Unreachable {
            socket: "the fake".into(),
            cause: "No such file or directory".into(),
        }
    }

    /// Waits until something may have changed.
    async fn moment(&self, tick: &mut watch::Receiver<u64>, also: Option<Duration>) {
        let (next, now) = {
            let world = self.world();
            (world.next().into_iter().chain(also).min(), world.now())
        };
        let wait = async {
            match next {
                Some(next) => tokio::time::sleep(next.saturating_sub(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            _ = tick.changed() => {}
        }
    }
}

/// The calls of [`super::Runtime`], which says what they mean.
impl Fake {
    pub(super) async fn facts(&self) -> Result<EngineFacts, EngineError> {
        self.call("tell about itself", "facts", |_| {
            Ok(EngineFacts {
                version: "28.5.2".into(),
                cgroup_driver: "systemd".into(),
                cgroup_version: 2,
                root: "/nowhere/on/this/machine".into(),
            })
        })
        .await
    }

    pub(super) fn limit_builds(&self, bytes: u64, _: &EngineFacts) -> BuildLimit {
        BuildLimit::Set(bytes)
    }

    pub(super) fn silent(&self, limit: Duration) -> EngineError {
        EngineError::Unreachable {
            socket: "the fake".into(),
            cause: format!("it has not answered for {} s", limit.as_secs()),
        }
    }

    pub(super) async fn image(&self, image: &str) -> Result<Option<ImageFacts>, EngineError> {
        let doing = format!("look at the image {image}");
        self.call(&doing, "image", |world| {
            Ok(world.image(image).map(Image::facts))
        })
        .await
    }

    pub(super) async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        let doing = format!("remove the image {image}");
        self.call(&doing, "remove image", |world| world.remove_image(image))
            .await
    }

    pub(super) async fn tag(&self, image: &str, name: &str) -> Result<(), EngineError> {
        let doing = format!("tag the image {image}");
        self.call(&doing, "tag", |world| {
            let Some(id) = world.image(image).map(|image| image.id.clone()) else {
                return Err(failed(&doing, format!("No such image: {image}")));
            };
            for image in &mut world.images {
                image.tags.retain(|tag| tag != name);
                if image.id == id {
                    image.tags.push(name.to_owned());
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn images_of(&self, app: &str) -> Result<Vec<ImageNames>, EngineError> {
        self.call("list images", "images", |world| {
            let of_app = world
                .images
                .iter()
                .filter(|image| image.app.as_deref() == Some(app));
            let names = of_app.map(|image| ImageNames {
                id: image.id.clone(),
                tags: image.tags.clone(),
            });
            Ok(names.collect())
        })
        .await
    }

    pub(super) async fn pull(&self, image: &str) -> Result<(), EngineError> {
        Err(failed(
            format!("pull the image {image}"),
            "there is no registry",
        ))
    }

    pub(super) async fn build<C>(
        &self,
        spec: &BuildSpec,
        mut context: C,
        mut tell: impl FnMut(BuildEvent),
    ) -> Result<(), BuildStop>
    where
        C: Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin + 'static,
    {
        let doing = "build the image";
        let fate = self.chaos.fate("build").await;
        let mut sent = Vec::new();
        while let Some(bytes) = context.next().await {
            let bytes =
                bytes.map_err(|error| BuildStop::Engine(failed(doing, error.to_string())))?;
            sent.extend_from_slice(&bytes);
        }
        let recipe = Recipe::of(&dockerfile(&sent, &spec.dockerfile));
        for (number, (text, took, status)) in recipe.steps.iter().enumerate() {
            let (step, name) = (number.to_string(), format!("RUN {text}"));
            tell(BuildEvent::Step {
                step: step.clone(),
                name: name.clone(),
            });
            tokio::time::sleep(*took).await;
            let error = (*status != 0).then(|| format!("exit code: {status}"));
            tell(BuildEvent::Done {
                step,
                name,
                cached: false,
                took: *took,
                error: error.clone(),
            });
            if let Some(error) = error {
                return Err(BuildStop::Failed(format!("RUN {text}: {error}")));
            }
        }
        let digest = Sha256::digest([&sent, spec.deploy.as_bytes()].concat());
        let id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.answer(doing, fate, |world| {
            world
                .images
                .iter_mut()
                .for_each(|image| image.tags.retain(|tag| *tag != spec.image));
            world
                .images
                .retain(|image| image.id != format!("sha256:{id}"));
            world.images.push(Image {
                id: format!("sha256:{id}"),
                tags: vec![spec.image.clone()],
                app: Some(spec.app.clone()),
                recipe,
            });
            Ok(())
        })
        .await
        .map_err(BuildStop::Engine)
    }

    pub(super) async fn run(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let doing = format!("create the container {}", spec.name);
        let made = self.call(&doing, "create", |world| {
            if let Some(old) = world.find(&spec.name) {
                world.remove(old);
            }
            world.create(spec).map(drop)
        });
        made.await?;
        let started = self.start(&spec.name).await;
        if started.is_err() {
            let _ = self.remove(&spec.name).await;
        }
        started
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), EngineError> {
        let doing = format!("start the container {name}");
        self.call(&doing, "start", |world| {
            let (key, now) = (world.get(&doing, name)?, world.now());
            world.start(key, now)
        })
        .await
    }

    pub(super) async fn container(
        &self,
        name: &str,
    ) -> Result<Option<ContainerState>, EngineError> {
        let doing = format!("look at the container {name}");
        self.call(&doing, "container", |world| {
            let key = world.find(name);
            Ok(key.map(|key| world.containers[&key].state()))
        })
        .await
    }

    pub(super) async fn containers(
        &self,
        app: Option<&AppName>,
        deploy: Option<DeployId>,
    ) -> Result<Vec<ContainerState>, EngineError> {
        self.call("list containers", "containers", |world| {
            let states = world.of(app).map(|container| container.state());
            Ok(states
                .filter(|state| deploy.is_none() || state.deploy == deploy)
                .collect())
        })
        .await
    }

    pub(super) async fn running(&self) -> Result<HashMap<String, String>, EngineError> {
        self.call("list containers", "running", |world| {
            let running = world.of(None).filter(|container| container.runs());
            Ok(running
                .map(|container| (container.id.clone(), container.name.clone()))
                .collect())
        })
        .await
    }

    pub(super) async fn wait(&self, name: &str) -> Exit {
        let mut tick = self.tick.subscribe();
        // By id once it is known, as a real engine waits for the container that had the name.
        let mut id = name.to_owned();
        loop {
            let away = self.world().away_until;
            if away.is_none() {
                let world = self.world();
                match world.find(&id).map(|key| &world.containers[&key]) {
                    None => {
                        return Exit {
                            status: 137,
                            out_of_memory: false,
                        };
                    }
                    Some(there) => {
                        if let Some(exit) = there.state().exit {
                            return exit;
                        }
                        id.clone_from(&there.id);
                    }
                }
            }
            self.moment(&mut tick, away).await;
        }
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<(), EngineError> {
        let doing = format!("rename the container {from} to {to}");
        self.call(&doing, "rename", |world| {
            let key = world.get(&doing, from)?;
            world.rename(&doing, key, to)
        })
        .await
    }

    pub(super) async fn unpause(&self, name: &str) -> Result<(), EngineError> {
        let doing = format!("let the container {name} go on");
        self.call(&doing, "unpause", |world| {
            let key = world.get(&doing, name)?;
            if !std::mem::take(&mut world.container(key).paused) {
                return Err(failed(&doing, format!("Container {name} is not paused")));
            }
            world.tell(key, Now::Runs);
            Ok(())
        })
        .await
    }

    pub(super) async fn set_restart(&self, name: &str, restart: bool) -> Result<(), EngineError> {
        let doing = format!("set the restart policy of {name}");
        self.call(&doing, "set restart", |world| {
            let key = world.get(&doing, name)?;
            world.container(key).restart = restart;
            Ok(())
        })
        .await
    }

    pub(super) async fn stop(&self, name: &str, grace: Duration) -> Result<(), EngineError> {
        let doing = format!("stop the container {name}");
        let fate = self.chaos.fate("stop").await;
        if fate == Fate::Done || fate == Fate::Unanswered {
            let ignores = {
                let world = self.world();
                let key = world.find(name);
                key.is_some_and(|key| {
                    let there = &world.containers[&key];
                    there.runs() && there.program.ignores_term
                })
            };
            if ignores {
                tokio::time::sleep(grace).await;
            }
        }
        self.answer(&doing, fate, |world| {
            let (Some(key), now) = (world.find(name), world.now()) else {
                return Ok(());
            };
            let there = world.container(key);
            match there.stand {
                Stand::Runs { .. } => {
                    let status = if there.program.ignores_term { 137 } else { 143 };
                    world.end(key, now, status, false);
                }
                Stand::Back { .. } => there.stand = Stand::Ended,
                Stand::Made | Stand::Ended => {}
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let doing = format!("remove the container {name}");
        self.call(&doing, "remove", |world| {
            if let Some(key) = world.find(name) {
                world.remove(key);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn signal(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        let doing = format!("send {signal} to {name}");
        self.call(&doing, "signal", |world| {
            let (key, now) = (world.get(&doing, name)?, world.now());
            let there = world.container(key);
            if !there.runs() {
                return Err(failed(&doing, format!("Container {name} is not running")));
            }
            match signal {
                "SIGKILL" => world.end(key, now, 137, false),
                "SIGTERM" if !there.program.ignores_term => world.end(key, now, 143, false),
                "SIGTSTP" => there.quiet = true,
                "SIGCONT" => there.quiet = false,
                _ => {}
            }
            Ok(())
        })
        .await
    }

    pub(super) fn output(
        &self,
        name: &str,
        follow: bool,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<LogLine, EngineError>> {
        let reading = Reading {
            fake: self.clone(),
            name: name.to_owned(),
            id: None,
            follow,
            since,
            next: 0,
            outages: self.world().outages,
            tick: self.tick.subscribe(),
            ended: false,
        };
        futures_util::stream::unfold(reading, Reading::next).boxed()
    }

    pub(super) async fn last_output(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<Bytes>, EngineError> {
        let doing = format!("read the output of {name}");
        self.call(&doing, "last output", |world| {
            let (key, now) = (world.get(&doing, name)?, world.now());
            let lines = world.containers[&key].output(now);
            let last = lines.iter().skip(lines.len().saturating_sub(count));
            Ok(last
                .map(|(_, _, text)| Bytes::from(format!("{text}\n")))
                .collect())
        })
        .await
    }

    pub(super) async fn exec(
        &self,
        name: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<(i64, String), EngineError> {
        let doing = format!("run {} in {name}", command.join(" "));
        let fate = self.chaos.fate("exec").await;
        let version = self.answer(&doing, fate, |world| {
            let key = world.get(&doing, name)?;
            let there = world.container(key);
            if !there.runs() || there.paused {
                return Err(failed(&doing, format!("container {name} is not running")));
            }
            Ok(world.caddy_version.clone())
        });
        let version = version.await?;
        if command == ["caddy", "version"] {
            return Ok((0, version));
        }
        let program = Program::of(command);
        let (took, status) = program.end().unwrap_or((limit, 0));
        tokio::time::sleep(took.min(limit)).await;
        if took >= limit {
            return Err(failed(&doing, "it did not answer in time"));
        }
        let printed = program
            .printed(took)
            .map(|(_, _, text)| format!("{text}\n"));
        Ok((status, printed.collect()))
    }

    pub(super) async fn load(&self, name: &str) -> Option<Load> {
        let key = self.world().find(name)?;
        let runs = self.world().containers[&key].runs();
        runs.then_some(Load {
            cpu: 1.0,
            memory: 1 << 20,
            memory_limit: None,
        })
    }

    pub(super) async fn probe(&self, probe: &Probe<'_>) -> Result<u16, String> {
        if self.chaos.fate("probe").await == Fate::Hung {
            tokio::time::sleep(probe.timeout).await;
            return Err(format!("{} did not answer in time", probe.path));
        }
        let (host, port) = (probe.address.ip().to_string(), probe.address.port());
        let answer = self.world().answer(&host, port);
        answer.ok_or_else(|| format!("{}: connection refused", probe.path))
    }

    pub(super) async fn listening(
        &self,
        name: &str,
    ) -> Result<Option<Vec<(Ipv4Addr, u16)>>, EngineError> {
        let doing = format!("look at the container {name}");
        self.call(&doing, "listening", |world| {
            let (key, now) = (world.get(&doing, name)?, world.now());
            let there = &world.containers[&key];
            if !there.runs() {
                return Ok(None);
            }
            let told = there
                .spec
                .env
                .get("PORT")
                .and_then(|port| port.parse().ok());
            let serves = there.program.serves(there.age(now));
            let port = serves.and_then(|(_, own)| own.or(told));
            Ok(Some(
                port.map(|port| (Ipv4Addr::UNSPECIFIED, port))
                    .into_iter()
                    .collect(),
            ))
        })
        .await
    }

    pub(super) fn changes(
        &self,
        since: Timestamp,
    ) -> BoxStream<'static, Result<Change, EngineError>> {
        let watching = Watching {
            fake: self.clone(),
            since: since.millis() / 1000,
            next: 0,
            outages: self.world().outages,
            tick: self.tick.subscribe(),
            ended: false,
        };
        futures_util::stream::unfold(watching, Watching::next).boxed()
    }

    pub(super) async fn ensure_network(
        &self,
        name: &str,
        subnet: Option<Ipv4Net>,
        _: Option<&str>,
    ) -> Result<(), EngineError> {
        let doing = format!("create the network {name}");
        self.call(&doing, "ensure network", |world| {
            if world.networks.contains_key(name) {
                return Ok(());
            }
            let overlaps = |net: &Ipv4Net| {
                let mut all = world.networks.values().map(|network| network.subnet);
                all.any(|other| other.contains(net) || net.contains(&other))
            };
            let mut pool = (18..32).map(|n| Ipv4Net::new_assert([172, n, 0, 0].into(), 16));
            let subnet = subnet.or_else(|| pool.find(|net| !overlaps(net)));
            match subnet {
                Some(subnet) if !overlaps(&subnet) => {
                    let network = Network { subnet, ours: true };
                    world.networks.insert(name.to_owned(), network);
                    Ok(())
                }
                _ => Err(failed(
                    &doing,
                    "Pool overlaps with other one on this address space",
                )),
            }
        })
        .await
    }

    pub(super) async fn subnets(&self) -> Result<Vec<Ipv4Net>, EngineError> {
        self.call("list networks", "subnets", |world| {
            Ok(world
                .networks
                .values()
                .map(|network| network.subnet)
                .collect())
        })
        .await
    }

    pub(super) async fn connect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let doing = format!("connect {container} to {network}");
        self.call(&doing, "connect", |world| {
            let key = world.get(&doing, container)?;
            let Some(net) = world.networks.get(network) else {
                return Err(failed(&doing, format!("network {network} not found")));
            };
            let taken: HashSet<Ipv4Addr> = world
                .containers
                .values()
                .filter_map(|c| c.networks.get(network).copied().flatten())
                .collect();
            let free = net
                .subnet
                .hosts()
                .skip(1)
                .find(|host| !taken.contains(host));
            let there = world.container(key);
            let address = free.filter(|_| there.runs());
            there.networks.entry(network.to_owned()).or_insert(address);
            Ok(())
        })
        .await
    }

    pub(super) async fn disconnect(
        &self,
        network: &str,
        container: &str,
    ) -> Result<(), EngineError> {
        let doing = format!("disconnect {container} from {network}");
        self.call(&doing, "disconnect", |world| {
            if let Some(key) = world.find(container)
                && world.container(key).networks.remove(network).is_some()
            {
                world.tell_change(Change::Network);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn strangers(&self, network: &str) -> Result<Vec<String>, EngineError> {
        let doing = format!("look at the network {network}");
        self.call(&doing, "strangers", |_| Ok(Vec::new())).await
    }

    pub(super) async fn addresses(&self, network: &str) -> Result<Vec<Ipv4Addr>, EngineError> {
        let doing = format!("look at the network {network}");
        self.call(&doing, "addresses", |world| {
            let all = world.containers.values();
            Ok(all
                .filter_map(|c| c.networks.get(network).copied().flatten())
                .collect())
        })
        .await
    }

    pub(super) async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let doing = format!("remove the network {name}");
        self.call(&doing, "remove network", |world| {
            let used = world
                .containers
                .values()
                .any(|c| c.networks.get(name).copied().flatten().is_some());
            if used {
                return Err(failed(
                    &doing,
                    format!("error while removing network: network {name} has active endpoints"),
                ));
            }
            if world.networks.remove(name).is_some() {
                world.tell_change(Change::Network);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn networks(&self) -> Result<Vec<String>, EngineError> {
        self.call("list networks", "networks", |world| {
            let ours = world.networks.iter().filter(|(_, network)| network.ours);
            Ok(ours.map(|(name, _)| name.clone()).collect())
        })
        .await
    }

    pub(super) async fn usage(&self) -> Result<Usage, EngineError> {
        self.call("tell what takes room", "usage", |_| Ok(Usage::default()))
            .await
    }

    pub(super) async fn bound_build_cache(&self, _: u64) -> Result<u64, EngineError> {
        self.call("remove old build cache", "bound build cache", |_| Ok(0))
            .await
    }
}

/// The text of a file in a tar.
fn dockerfile(tar: &[u8], name: &str) -> String {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().into_iter().flatten().flatten();
    for mut entry in entries {
        let is = entry.path().is_ok_and(|path| path.as_os_str() == name);
        let mut text = String::new();
        if is && std::io::Read::read_to_string(&mut entry, &mut text).is_ok() {
            return text;
        }
    }
    String::new()
}

/// Somebody who reads a container's output.
struct Reading {
    fake: Fake,
    name: String,
    id: Option<String>,
    follow: bool,
    since: Option<i64>,
    next: usize,
    outages: u64,
    tick: watch::Receiver<u64>,
    ended: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<LogLine, EngineError>, Self)> {
        if self.ended {
            return None;
        }
        let doing = format!("read the output of {}", self.name);
        if self.id.is_none() {
            let name = self.name.clone();
            let found = self.fake.call(&doing, "output", |world| {
                let key = world.get(&doing, &name)?;
                Ok(world.containers[&key].id.clone())
            });
            match found.await {
                Ok(id) => self.id = Some(id),
                Err(error) => {
                    self.ended = true;
                    return Some((Err(error), self));
                }
            }
        }
        loop {
            let also = match self.look(&doing) {
                Looked::Line(line) => return Some((line, self)),
                Looked::End => return None,
                Looked::Wait(also) => also,
            };
            let fake = self.fake.clone();
            fake.moment(&mut self.tick, also).await;
        }
    }

    fn look(&mut self, doing: &str) -> Looked {
        let world = self.fake.world();
        if world.outages != self.outages {
            self.ended = true;
            return Looked::Line(Err(failed(doing, "connection reset by peer")));
        }
        let id = self.id.clone().unwrap_or_default();
        let Some(key) = world.find(&id) else {
            return Looked::End;
        };
        let (there, now) = (&world.containers[&key], world.now());
        for (at, stderr, text) in there.output(now).into_iter().skip(self.next) {
            self.next += 1;
            // Each line has a time of its own, as on a real engine.
            let nanos = world.wall_nanos(at) + self.next as i128;
            let seconds = (nanos / 1_000_000_000) as i64;
            if self.since.is_some_and(|since| seconds < since) {
                continue;
            }
            let text = match self.since {
                Some(_) => format!("{} {text}\n", rfc3339(nanos)),
                None => format!("{text}\n"),
            };
            let bytes = Bytes::from(text);
            return Looked::Line(Ok(LogLine { stderr, bytes }));
        }
        if !self.follow || !there.state().running {
            return Looked::End;
        }
        let next = match there.stand {
            Stand::Runs { since } => there
                .program
                .next(now.saturating_sub(since))
                .map(|at| since + at),
            _ => None,
        };
        Looked::Wait(next)
    }
}

enum Looked {
    Line(Result<LogLine, EngineError>),
    End,
    Wait(Option<Duration>),
}

fn rfc3339(nanos: i128) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z"
    );
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default()
}

/// Somebody who is told what changes.
struct Watching {
    fake: Fake,
    since: i64,
    next: u64,
    outages: u64,
    tick: watch::Receiver<u64>,
    ended: bool,
}

impl Watching {
    async fn next(mut self) -> Option<(Result<Change, EngineError>, Self)> {
        let doing = "tell what changes";
        while !self.ended {
            {
                let world = self.fake.world();
                if world.away_until.is_some() || world.outages != self.outages {
                    self.ended = true;
                    drop(world);
                    return Some((Err(self.fake.away()), self));
                }
                while let Some((number, event)) = world.event(self.next) {
                    self.next = number + 1;
                    if event.at >= self.since {
                        let change = event.change.clone();
                        drop(world);
                        return Some((Ok(change), self));
                    }
                }
            }
            if self.fake.chaos.fate(doing).await == Fate::Refused {
                self.ended = true;
                return Some((Err(failed(doing, "unexpected EOF")), self));
            }
            let fake = self.fake.clone();
            fake.moment(&mut self.tick, None).await;
        }
        ready(None).await
    }
}

/// What a test does to the world, and sees of it.
impl Fake {
    /// A server's runtime begins, `later` after the one before it ended.
    pub fn begin_runtime(&self, later: Duration) {
        self.world
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .begin_runtime(later);
    }

    /// A server's runtime is about to be dropped, and its clock with it.
    pub fn end_runtime(&self) {
        let mut world = self.world();
        let elapsed = world.epoch().elapsed();
        world.end_runtime(elapsed);
    }

    /// The world's time.
    pub fn now(&self) -> Duration {
        self.world().now()
    }

    /// What `caddy version` prints.
    pub fn set_caddy_version(&self, version: &str) {
        self.world().caddy_version = version.to_owned();
    }

    /// All containers, also those that have ended.
    pub fn all(&self) -> Vec<ContainerState> {
        self.world().of(None).map(|c| c.state()).collect()
    }

    /// The names of all networks.
    pub fn all_networks(&self) -> Vec<String> {
        self.world().networks.keys().cloned().collect()
    }

    /// The tags of all images but Caddy's.
    pub fn all_images(&self) -> Vec<String> {
        let world = self.world();
        let apps = world.images.iter().filter(|image| image.app.is_some());
        apps.flat_map(|image| match image.tags.is_empty() {
            true => vec![image.id.clone()],
            false => image.tags.clone(),
        })
        .collect()
    }

    /// What a container has printed so far.
    pub fn printed(&self, name: &str) -> Vec<String> {
        let world = self.world();
        let (key, now) = (world.find(name), world.now());
        let lines = key.map(|key| world.containers[&key].output(now));
        lines
            .unwrap_or_default()
            .into_iter()
            .map(|(_, _, text)| text)
            .collect()
    }

    /// Somebody kills a container's process.
    pub fn kill(&self, name: &str) {
        self.meddle(|world| {
            let now = world.now();
            if let Some(key) = world.find(name).filter(|key| world.containers[key].runs()) {
                let back = world.containers[&key].restart;
                world.end(key, now, 137, back);
            }
        });
    }

    /// The containers that were told to take no new work.
    pub fn quiet(&self) -> Vec<String> {
        let world = self.world();
        let quiet = world.containers.values().filter(|c| c.runs() && c.quiet);
        quiet.map(|c| c.name.clone()).collect()
    }

    /// The processes of which two deploys ran at once, at any time.
    pub fn overlaps(&self) -> Vec<ProcessName> {
        self.world().overlaps.clone()
    }

    /// Somebody removes a container.
    pub fn take_away(&self, name: &str) {
        self.meddle(|world| {
            if let Some(key) = world.find(name) {
                world.remove(key);
            }
        });
    }

    /// Somebody renames a container.
    pub fn call_otherwise(&self, name: &str, to: &str) {
        self.meddle(|world| {
            if let Some(key) = world.find(name) {
                let _ = world.rename("rename", key, to);
            }
        });
    }

    /// Somebody pauses a container.
    pub fn pause(&self, name: &str) {
        self.meddle(|world| {
            if let Some(key) = world.find(name).filter(|key| world.containers[key].runs()) {
                world.container(key).paused = true;
                world.tell(key, Now::Stands);
            }
        });
    }

    /// The engine is away for so long, and what ran ended with it.
    pub fn go_away(&self, time: Duration) {
        self.meddle(|world| {
            let now = world.now();
            let keys: Vec<u64> = world.containers.keys().copied().collect();
            for key in keys {
                if world.containers[&key].runs() {
                    let back = world.containers[&key].restart;
                    world.end(key, now, 137, back);
                    if back {
                        world.container(key).stand = Stand::Back { at: now + time };
                    }
                }
            }
            world.away_until = Some(now + time);
            world.outages += 1;
        });
    }

    fn meddle(&self, act: impl FnOnce(&mut World)) {
        act(&mut self.world());
        self.tick.send_modify(|tick| *tick += 1);
    }

    /// Which life of Caddy's container runs.
    pub fn caddy(&self) -> Option<String> {
        let world = self.world();
        let caddy = world.caddy()?;
        Some(format!("{} {:?}", caddy.id, caddy.stand))
    }

    /// The status with which whatever is at a host and port answers.
    pub fn answers(&self, host: &str, port: u16) -> Option<u16> {
        self.world().answer(host, port)
    }

    /// Whether a running container bears this name or alias.
    pub fn resolves(&self, host: &str) -> bool {
        self.world().resolves(host)
    }

    /// The mark of the installation whose engine it is.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}
