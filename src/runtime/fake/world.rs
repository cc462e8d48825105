//! The fake's world: containers, networks and images, and time, which is tokio's.
//!
//! Nothing in it runs by itself. Each look first lets happen what the time since the last one has
//! brought; so it outlives the runtime of a server that is killed, and the next one finds it so.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::time::Instant;

use super::program::{Program, Recipe};
use crate::domain::{AppName, ProcessName, Timestamp};
use crate::runtime::{
    Change, ContainerSpec, ContainerState, EngineError, Exit, ImageFacts, Now, Role,
};

/// How many events an engine remembers.
const REMEMBERED: usize = 256;
/// How long an engine waits before it brings a container back.
const BACK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct World {
    /// The time at which this runtime began, in the world's time.
    base: Duration,
    epoch: Instant,
    /// The wall clock at the world's beginning.
    origin: i64,
    pub(super) containers: BTreeMap<u64, Container>,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) images: Vec<Image>,
    next_id: u64,
    events: VecDeque<Event>,
    pub(super) first_event: u64,
    pub(super) caddy_version: String,
    /// Until then the engine is away.
    pub(super) away_until: Option<Duration>,
    /// How often it went away: streams of before have ended.
    pub(super) outages: u64,
    /// Processes of which two deploys ran at once.
    pub(super) overlaps: Vec<ProcessName>,
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Seconds of the wall clock.
    pub(super) at: i64,
    pub(super) change: Change,
}

#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) subnet: Ipv4Net,
    pub(super) ours: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) tags: Vec<String>,
    pub(super) app: Option<String>,
    pub(super) recipe: Recipe,
}

impl Image {
    pub(super) fn facts(&self) -> ImageFacts {
        ImageFacts {
            id: self.id.clone(),
            ports: self.recipe.ports.clone(),
            exposed: self.recipe.ports.len(),
            healthcheck: self.recipe.healthcheck.clone(),
            size: 1000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    Made,
    Runs { since: Duration },
    Back { at: Duration },
    Ended,
}

#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) spec: ContainerSpec,
    pub(super) image: String,
    pub(super) stand: Stand,
    pub(super) paused: bool,
    pub(super) exit: Option<Exit>,
    pub(super) restart: bool,
    pub(super) restarts: u64,
    /// Its networks, with its address there while it runs.
    pub(super) networks: BTreeMap<String, Option<Ipv4Addr>>,
    pub(super) program: Program,
    /// It was told to take no new work, in this life.
    pub(super) quiet: bool,
    /// What it printed in the lives before this one.
    pub(super) printed: Vec<(Duration, bool, String)>,
}

impl Container {
    pub(super) fn runs(&self) -> bool {
        matches!(self.stand, Stand::Runs { .. })
    }

    /// How long its process has run.
    pub(super) fn age(&self, now: Duration) -> Duration {
        match self.stand {
            Stand::Runs { since } => now.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }

    /// All that it has printed, in order, and when.
    pub(super) fn output(&self, now: Duration) -> Vec<(Duration, bool, String)> {
        let mut all = self.printed.clone();
        if let Stand::Runs { since } = self.stand {
            let lines = self.program.printed(now.saturating_sub(since));
            all.extend(lines.map(|(at, stderr, text)| (since + at, stderr, text.to_owned())));
        }
        all
    }

    pub(super) fn state(&self) -> ContainerState {
        let promised = self.spec.address;
        let addresses = self.networks.iter().filter_map(|(network, address)| {
            let fixed = promised.filter(|_| *network == self.spec.network);
            Some((network.clone(), address.or(fixed)?))
        });
        let owner = self.spec.owner.as_ref();
        ContainerState {
            id: self.id.clone(),
            name: self.name.clone(),
            role: Some(self.spec.role),
            app: owner.map(|owner| owner.app.clone()),
            deploy: owner.map(|owner| owner.deploy),
            replica: owner.and_then(|owner| owner.replica.clone()),
            home: None,
            image: self.image.clone(),
            running: matches!(self.stand, Stand::Runs { .. } | Stand::Back { .. }),
            paused: self.paused,
            exit: self.exit.filter(|_| self.stand == Stand::Ended),
            since: None,
            addresses: addresses.collect(),
            made_from: self.spec.fingerprint(),
            restart: self.restart,
            restarts: self.restarts,
        }
    }
}

pub(super) fn failed(doing: impl Into<String>, cause: impl Into<String>) -> EngineError {
    EngineError::Failed {
        doing: doing.into(),
        cause: cause.into(),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            base: Duration::ZERO,
            epoch: Instant::now(),
            origin: Timestamp::now().millis(),
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            images: Vec::new(),
            next_id: 1,
            events: VecDeque::new(),
            first_event: 0,
            caddy_version: "v2.11.7".into(),
            away_until: None,
            outages: 0,
            overlaps: Vec::new(),
        }
    }

    /// A runtime begins, `later` after the one before ended.
    pub(super) fn begin_runtime(&mut self, later: Duration) {
        self.base += later;
        self.epoch = Instant::now();
    }

    /// A runtime ends: its clock is no more.
    pub(super) fn end_runtime(&mut self, epoch_elapsed: Duration) {
        self.base += epoch_elapsed;
    }

    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(super) fn now(&self) -> Duration {
        self.base + self.epoch.elapsed()
    }

    /// The world's time as the wall clock: nanoseconds since 1970.
    pub(super) fn wall_nanos(&self, at: Duration) -> i128 {
        i128::from(self.origin) * 1_000_000 + at.as_nanos() as i128
    }

    /// Lets happen what time has brought.
    pub(super) fn settle(&mut self) {
        let now = self.now();
        if self.away_until.is_some_and(|until| until <= now) {
            self.away_until = None;
        }
        let keys: Vec<u64> = self.containers.keys().copied().collect();
        for key in keys {
            self.settle_container(key, now);
        }
    }

    fn settle_container(&mut self, key: u64, now: Duration) {
        // A restart a time: each life ends at its own time.
        for _ in 0..1000 {
            let Some(container) = self.containers.get(&key) else {
                return;
            };
            match container.stand {
                Stand::Runs { since } if !container.paused => match container.program.end() {
                    Some((after, status)) if since + after <= now => {
                        self.end(key, since + after, status, container.restart);
                    }
                    _ => return,
                },
                Stand::Back { at } if at <= now => {
                    let _ = self.start(key, at);
                }
                _ => return,
            }
        }
    }

    /// The next time at which something happens by itself.
    pub(super) fn next(&self) -> Option<Duration> {
        let now = self.now();
        let times = self.containers.values().filter_map(|c| match c.stand {
            Stand::Runs { since } if !c.paused => c.program.end().map(|(after, _)| since + after),
            Stand::Back { at } => Some(at),
            _ => None,
        });
        times.chain(self.away_until).filter(|at| *at > now).min()
    }

    pub(super) fn find(&self, name: &str) -> Option<u64> {
        let by_name = self.containers.iter().find(|(_, c)| c.name == name);
        let found = by_name.or_else(|| self.containers.iter().find(|(_, c)| c.id == name));
        found.map(|(key, _)| *key)
    }

    pub(super) fn get(&mut self, doing: &str, name: &str) -> Result<u64, EngineError> {
        self.find(name)
            .ok_or_else(|| failed(doing, format!("No such container: {name}")))
    }

    pub(super) fn container(&mut self, key: u64) -> &mut Container {
        self.containers
            .get_mut(&key)
            .unwrap_or_else(|| unreachable!("a key is of a container that is there"))
    }

    pub(super) fn tell(&mut self, key: u64, now: Now) {
        let container = &self.containers[&key];
        let change = Change::Container {
            id: container.id.clone(),
            name: container.name.clone(),
            now,
            role: Some(container.spec.role),
            app: container.spec.owner.as_ref().map(|o| o.app.clone()),
        };
        self.tell_change(change);
    }

    pub(super) fn tell_change(&mut self, change: Change) {
        let at = Timestamp::now().millis() / 1000;
        self.events.push_back(Event { at, change });
        if self.events.len() > REMEMBERED {
            self.events.pop_front();
            self.first_event += 1;
        }
    }

    /// The event of this number, or the first that is remembered after it.
    pub(super) fn event(&self, number: u64) -> Option<(u64, &Event)> {
        let number = number.max(self.first_event);
        let event = self.events.get((number - self.first_event) as usize)?;
        Some((number, event))
    }

    pub(super) fn create(&mut self, spec: &ContainerSpec) -> Result<u64, EngineError> {
        let doing = format!("create the container {}", spec.name);
        if let Some(key) = self.find(&spec.name) {
            let id = &self.containers[&key].id;
            return Err(failed(
                doing,
                format!(
                    "Conflict. The container name \"/{}\" is already in use by container \"{id}\"",
                    spec.name
                ),
            ));
        }
        let image = self.image(&spec.image).cloned();
        let Some(image) = image else {
            return Err(failed(doing, format!("No such image: {}", spec.image)));
        };
        let command = spec.command.clone().unwrap_or(image.recipe.command);
        let number = self.next_id;
        self.next_id += 1;
        let container = Container {
            id: format!("{:064x}", crate::chaos::mix(number)),
            name: spec.name.clone(),
            spec: spec.clone(),
            image: image.id,
            stand: Stand::Made,
            paused: false,
            exit: None,
            restart: spec.restart,
            restarts: 0,
            networks: BTreeMap::from([(spec.network.clone(), None)]),
            program: Program::of(&command),
            quiet: false,
            printed: Vec::new(),
        };
        self.containers.insert(number, container);
        self.tell(number, Now::Same);
        Ok(number)
    }

    pub(super) fn start(&mut self, key: u64, at: Duration) -> Result<(), EngineError> {
        let container = &self.containers[&key];
        let doing = format!("start the container {}", container.name);
        if container.runs() {
            return Ok(());
        }
        let (networks, promised) = (container.networks.clone(), container.spec.address);
        let own = container.spec.network.clone();
        let mut addresses = BTreeMap::new();
        for network in networks.into_keys() {
            let wanted = promised.filter(|_| network == own);
            let address = self.free_address(&doing, &network, wanted, key)?;
            addresses.insert(network, Some(address));
        }
        let container = self.container(key);
        container.networks = addresses;
        container.stand = Stand::Runs { since: at };
        container.exit = None;
        container.quiet = false;
        self.note_overlap(key);
        self.tell(key, Now::Runs);
        Ok(())
    }

    /// Notes a process that runs of two deploys at once.
    fn note_overlap(&mut self, key: u64) {
        let Some(own) = self.containers[&key].spec.owner.clone() else {
            return;
        };
        let Some(process) = own.replica.map(|replica| replica.process) else {
            return;
        };
        let another = |c: &Container| {
            let owner = c.spec.owner.as_ref().filter(|_| c.runs());
            owner.is_some_and(|other| {
                let same = other.replica.as_ref().map(|r| &r.process) == Some(&process);
                other.app == own.app && other.deploy != own.deploy && same
            })
        };
        if self.containers.values().any(another) {
            self.overlaps.push(process);
        }
    }

    fn free_address(
        &self,
        doing: &str,
        network: &str,
        wanted: Option<Ipv4Addr>,
        key: u64,
    ) -> Result<Ipv4Addr, EngineError> {
        let Some(there) = self.networks.get(network) else {
            return Err(failed(doing, format!("network {network} not found")));
        };
        let taken: Vec<Ipv4Addr> = self
            .containers
            .iter()
            .filter(|(other, _)| **other != key)
            .filter_map(|(_, c)| c.networks.get(network).copied().flatten())
            .collect();
        match wanted {
            Some(address) if taken.contains(&address) => {
                Err(failed(doing, "Address already in use"))
            }
            Some(address) => Ok(address),
            None => {
                let free = there.subnet.hosts().skip(1).find(|h| !taken.contains(h));
                free.ok_or_else(|| failed(doing, "no available IPv4 addresses"))
            }
        }
    }

    /// Ends a container's process; `back`: the engine brings it back.
    pub(super) fn end(&mut self, key: u64, at: Duration, status: i64, back: bool) {
        let container = self.container(key);
        container.printed = container.output(at);
        container.exit = Some(Exit {
            status,
            out_of_memory: false,
        });
        container.paused = false;
        if back {
            container.stand = Stand::Back { at: at + BACK };
            container.restarts += 1;
        } else {
            container.stand = Stand::Ended;
        }
        let mut off = 0;
        for address in container.networks.values_mut() {
            off += usize::from(address.take().is_some());
        }
        self.tell(key, Now::Stands);
        for _ in 0..off {
            self.tell_change(Change::Network);
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        let now = self.now();
        if self.containers[&key].runs() {
            self.end(key, now, 137, false);
        }
        self.tell(key, Now::Stands);
        self.containers.remove(&key);
    }

    pub(super) fn rename(&mut self, doing: &str, key: u64, to: &str) -> Result<(), EngineError> {
        match self.find(to) {
            Some(other) if other != key => {
                let id = &self.containers[&other].id;
                let cause = format!(
                    "Conflict. The container name \"/{to}\" is already in use by container \"{id}\""
                );
                return Err(failed(doing, cause));
            }
            Some(_) => {
                return Err(failed(
                    doing,
                    "Renaming a container with the same name as its current name",
                ));
            }
            None => {}
        }
        self.container(key).name = to.to_owned();
        self.tell(key, Now::Same);
        Ok(())
    }

    pub(super) fn image(&self, name: &str) -> Option<&Image> {
        self.images
            .iter()
            .find(|image| image.id == name || image.tags.iter().any(|tag| tag == name))
    }

    pub(super) fn remove_image(&mut self, name: &str) -> Result<(), EngineError> {
        let doing = format!("remove the image {name}");
        let Some(place) = self
            .images
            .iter()
            .position(|i| i.id == name || i.tags.iter().any(|tag| tag == name))
        else {
            return Ok(());
        };
        let id = self.images[place].id.clone();
        let last = self.images[place].tags.len() <= 1 || id == name;
        let used = self.containers.values().find(|c| c.image == id);
        if let Some(user) = used.filter(|_| last) {
            let cause = format!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image",
                user.id
            );
            return Err(failed(doing, cause));
        }
        if last {
            self.images.remove(place);
        } else {
            self.images[place].tags.retain(|tag| tag != name);
        }
        Ok(())
    }

    /// The running containers with this address on a network, or that bear this name or alias.
    fn at<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Container> {
        let address: Option<Ipv4Addr> = host.parse().ok();
        let here = move |c: &&Container| match address {
            Some(address) => c.networks.values().any(|a| *a == Some(address)),
            None => c.name == host || c.spec.aliases.iter().any(|alias| alias == host),
        };
        self.containers.values().filter(|c| c.runs()).filter(here)
    }

    pub(super) fn resolves(&self, host: &str) -> bool {
        self.at(host).next().is_some()
    }

    /// Of several with one alias each address is dialled until one takes the connection.
    pub(super) fn answer(&self, host: &str, port: u16) -> Option<u16> {
        self.at(host).find_map(|container| {
            let (status, own) = container.program.serves(container.age(self.now()))?;
            let told = container.spec.env.get("PORT").and_then(|p| p.parse().ok());
            (!container.paused && own.or(told) == Some(port)).then_some(status)
        })
    }

    pub(super) fn of<'a>(
        &'a self,
        app: Option<&'a AppName>,
    ) -> impl Iterator<Item = &'a Container> {
        self.containers.values().filter(move |c| {
            app.is_none_or(|app| c.spec.owner.as_ref().is_some_and(|o| o.app == *app))
        })
    }

    pub(super) fn caddy(&self) -> Option<&Container> {
        self.containers
            .values()
            .find(|c| c.spec.role == Role::Caddy && c.runs() && !c.paused)
    }
}
