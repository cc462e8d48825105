//! A life: an installation from its first server to its last, whose people push, revert, restart,
//! cancel and destroy, whose containers are meddled with, and whose server dies at any step. All of
//! it is drawn from a seed.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use windlass::app::{self, Services};
use windlass::chaos::{Chaos, Rates, mix};
use windlass::clock;
use windlass::config::{Config, Home, Tls};
use windlass::domain::{AppName, CommitId, DeployStatus, DomainName};
use windlass::platform::Platform;
use windlass::proxy::fake::{Containers, FakeCaddy};
use windlass::runtime::fake::Fake;
use windlass::serve;
use windlass::store::{Sealer, Store};

use crate::check;
use crate::commits::{Outcome, commits};

/// A sequence of numbers from a seed.
pub struct Lot(u64);

impl Lot {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % bound
    }
}

/// What people do.
#[derive(Debug, Clone)]
pub enum Deed {
    Push(AppName, usize),
    Storm(AppName, Vec<usize>),
    Revert(AppName),
    Restart(AppName),
    Redeploy(AppName),
    Cancel(AppName),
    Create(AppName),
    Destroy(AppName),
    Wait(Duration),
    /// Until nothing is queued or runs.
    Rest,
    Meddle(Meddling, AppName),
}

#[derive(Debug, Clone, Copy)]
pub enum Meddling {
    Kill,
    Remove,
    Rename,
    Pause,
    RemoveCaddy,
    PauseCaddy,
    EngineAway,
}

/// A life as it is drawn.
#[derive(Debug)]
pub struct Plan {
    pub deeds: Vec<Deed>,
    /// The steps at which one server after the other dies.
    pub deaths: Vec<u64>,
    pub rates: Rates,
    pub old_caddy: bool,
    /// No live release crashes, nobody meddles: whoever visits an app that was live once is served.
    pub calm: bool,
}

pub fn app_name(name: &str) -> AppName {
    name.parse().unwrap()
}

pub fn domain_of(app: &AppName) -> DomainName {
    format!("{app}.example.com").parse().unwrap()
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut lot = Lot::new(seed);
        let calm = lot.below(2) == 0;
        let faulty = lot.below(3) > 0;
        let rate = |lot: &mut Lot, most: u64| if faulty { lot.below(most) } else { 0 };
        let rates = Rates {
            delayed: rate(&mut lot, 60),
            refused: rate(&mut lot, 30),
            unanswered: rate(&mut lot, 30),
            hung: rate(&mut lot, 15),
        };
        let deaths = match lot.below(4) {
            0 => 0,
            1 | 2 => 1,
            _ => 2 + lot.below(2),
        };
        let deaths = (0..deaths).map(|_| 1 + lot.below(500)).collect();
        let old_caddy = lot.below(5) == 0;
        let shop = app_name("shop");
        let mut deeds = vec![Deed::Create(shop.clone())];
        let mut apps = vec![shop];
        if lot.below(4) == 0 {
            apps.push(app_name("blog"));
            deeds.push(Deed::Create(app_name("blog")));
        }
        for _ in 0..(2 + lot.below(5)) {
            let app = apps[lot.below(apps.len() as u64) as usize].clone();
            deeds.push(Self::deed(&mut lot, app, calm));
            if lot.below(3) > 0 {
                deeds.push(Deed::Wait(Duration::from_millis(lot.below(12_000))));
            }
        }
        Self {
            deeds,
            deaths,
            rates,
            old_caddy,
            calm,
        }
    }

    fn deed(lot: &mut Lot, app: AppName, calm: bool) -> Deed {
        let all = &commits().all;
        let commit = |lot: &mut Lot| loop {
            let place = lot.below(all.len() as u64) as usize;
            // Most of what is pushed is good.
            let good = all[place].outcome == Outcome::Live;
            if (!calm || all[place].outcome != Outcome::Crashes) && (good || lot.below(2) == 0) {
                return place;
            }
        };
        match lot.below(20) {
            0..=7 => Deed::Push(app, commit(lot)),
            8 => {
                let count = 2 + lot.below(4);
                Deed::Storm(app, (0..count).map(|_| commit(lot)).collect())
            }
            9 | 10 => Deed::Revert(app),
            11 | 12 => Deed::Restart(app),
            13 => Deed::Redeploy(app),
            14 => Deed::Cancel(app),
            15 => Deed::Rest,
            16 if lot.below(2) == 0 => Deed::Destroy(app),
            17..=19 if !calm => {
                let all = [
                    Meddling::Kill,
                    Meddling::Remove,
                    Meddling::Rename,
                    Meddling::Pause,
                    Meddling::RemoveCaddy,
                    Meddling::PauseCaddy,
                    Meddling::EngineAway,
                ];
                Deed::Meddle(all[lot.below(all.len() as u64) as usize], app)
            }
            _ => Deed::Push(app, commit(lot)),
        }
    }
}

/// Caddy's view of the fake engine.
struct View(Fake);

impl Containers for View {
    fn caddy(&self) -> Option<String> {
        self.0.caddy()
    }
    fn answer(&self, host: &str, port: u16) -> Option<u16> {
        self.0.answers(host, port)
    }
    fn resolves(&self, host: &str) -> bool {
        self.0.resolves(host)
    }
    fn in_flight(&self) -> HashMap<String, u64> {
        HashMap::new()
    }
}

/// A folder for a life, in memory where that is possible.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.unwrap()
}

/// An installation on which nothing happened yet: a database with its schema, and its key.
fn blank() -> &'static (tempfile::TempDir, String) {
    static BLANK: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    BLANK.get_or_init(|| {
        let dir = folder();
        let path = dir.path().to_owned();
        let made = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let home = Home::new(&path).unwrap();
                let sealer = Sealer::open(&home.key()).unwrap();
                let chaos = Chaos::new(0);
                let path = home.database();
                let store = Store::open_simulated(&path, sealer, chaos);
                let store = store.await.unwrap();
                let instance = store.instance().await.unwrap();
                store.close().await;
                instance
            })
        });
        (dir, made.join().unwrap())
    })
}

/// What became of a life.
#[derive(Debug, Default)]
pub struct Lived {
    /// What went wrong.
    pub wrong: Vec<String>,
    /// Servers that died.
    pub deaths: u64,
    /// Calls that went wrong on purpose.
    pub faults: u64,
    /// Visitors that were served.
    pub visits: u64,
    /// What its deploys are in the end.
    pub statuses: Vec<DeployStatus>,
}

pub struct Life {
    pub plan: Plan,
    pub chaos: Chaos,
    pub engine: Fake,
    pub caddy: FakeCaddy,
    pub home: Home,
    instance: String,
    lot: Lot,
    next: usize,
    /// What became of it.
    pub lived: Lived,
    visitors: Visitors,
    _folder: tempfile::TempDir,
}

/// How a server's time ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Died,
    Done,
}

/// Nothing takes longer than this, by the simulation's clock.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

impl Life {
    pub fn new(seed: u64) -> Self {
        let plan = Plan::of(seed);
        let (blank, instance) = blank();
        let folder = folder();
        for name in ["windlass.db", "secret.key"] {
            std::fs::copy(blank.path().join(name), folder.path().join(name)).unwrap();
        }
        let home = Home::new(folder.path()).unwrap();
        let chaos = Chaos::new(seed);
        let engine = Fake::new(chaos.clone(), Duration::from_secs(60), instance);
        let files: Option<PathBuf> = (!plan.old_caddy).then(|| home.caddy().join("run"));
        if plan.old_caddy {
            engine.set_caddy_version("2.6.2");
        }
        let caddy = FakeCaddy::new(files, Arc::new(View(engine.clone())), chaos.clone());
        let visitors = Visitors::new(caddy.clone(), chaos.clone());
        let visiting = visitors.clone();
        chaos.at_each_step(move |step| {
            // A query by itself changes nothing for anybody.
            if step != "a query" {
                visiting.visit();
            }
        });
        Self {
            plan,
            chaos,
            engine,
            caddy,
            home,
            visitors,
            instance: instance.clone(),
            lot: Lot::new(mix(seed)),
            next: 0,
            lived: Lived::default(),
            _folder: folder,
        }
    }

    /// Lives it.
    pub fn live(mut self) -> Lived {
        let deaths = self.plan.deaths.clone();
        for dies_at in deaths.into_iter().map(Some).chain([None]) {
            self.chaos.begin_server(dies_at);
            self.chaos.set_rates(self.plan.rates);
            self.one_server(dies_at.is_none());
            if !self.lived.wrong.is_empty() {
                break;
            }
        }
        self.lived.faults = self.chaos.faults();
        let (visits, turned_away) = self.visitors.told();
        self.lived.visits = visits;
        self.lived.wrong.extend(turned_away);
        self.lived
    }

    /// One server, on a runtime and a clock of its own, until it dies or all is done.
    fn one_server(&mut self, last: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .max_blocking_threads(4)
            .build()
            .unwrap();
        let later = Duration::from_millis(self.lot.below(3000));
        clock::begin();
        let engine = self.engine.clone();
        let end = runtime.block_on(async {
            engine.begin_runtime(later);
            let chaos = self.chaos.clone();
            let end = tokio::select! {
                biased;
                () = chaos.death() => End::Died,
                served = timeout(PATIENCE, self.serve(last)) => match served {
                    Ok(()) => End::Done,
                    Err(_) => {
                        self.lived.wrong.push("it does not come to its end".into());
                        End::Done
                    }
                },
            };
            engine.end_runtime();
            end
        });
        self.chaos.tell(format!("the server's end: {end:?}"));
        self.lived.deaths += u64::from(end == End::Died);
        clock::end();
        drop(runtime);
    }

    /// As `serve.rs` does it, without sockets.
    async fn serve(&mut self, last: bool) {
        let services = match self.open().await {
            Ok(services) => services,
            Err(error) => {
                self.lived
                    .wrong
                    .push(format!("the server does not start: {error}"));
                return;
            }
        };
        let begun = match serve::begin(&services).await {
            Ok(begun) => begun,
            Err(error) => {
                // Whoever runs it starts it again.
                self.chaos
                    .tell(format!("the server does not begin: {error}"));
                if last {
                    self.chaos.set_rates(Rates::default());
                    match serve::begin(&services).await {
                        Ok(begun) => begun,
                        Err(error) => {
                            self.lived
                                .wrong
                                .push(format!("the server does not begin: {error}"));
                            return;
                        }
                    }
                } else {
                    return;
                }
            }
        };
        let stop = CancellationToken::new();
        if self.plan.calm {
            let (visitors, services) = (self.visitors.clone(), services.clone());
            tokio::spawn(async move { visitors.judge(&services).await });
        }
        tokio::spawn(serve::watch(services.clone(), begun, stop.clone()));
        tokio::spawn(serve::retention(services.platform.clone(), stop.clone()));
        while let Some(deed) = self.plan.deeds.get(self.next).cloned() {
            self.next += 1;
            self.chaos.tell(format!("{deed:?}"));
            let done = timeout(Duration::from_secs(3600), self.do_deed(&services, &deed));
            if done.await.is_err() {
                self.lived.wrong.push(format!("{deed:?} does not end"));
            }
        }
        if !last {
            // It dies at its step, or soon after all is done.
            let idle = Duration::from_millis(self.lot.below(20_000));
            sleep(idle).await;
            return;
        }
        self.chaos.tell("from here on nothing goes wrong");
        self.chaos.set_rates(Rates::default());
        if timeout(PATIENCE / 2, rest(&services)).await.is_err() {
            self.lived.wrong.push("a deploy stays open".into());
        }
        // Whatever is tried again is tried within half a minute.
        sleep(Duration::from_secs(200)).await;
        check::invariants(self, &services).await;
    }

    async fn open(&self) -> Result<Services, Box<dyn std::error::Error>> {
        let sealer = Sealer::open(&self.home.key())?;
        let chaos = self.chaos.clone();
        let store = Store::open_simulated(&self.home.database(), sealer, chaos).await?;
        let mut config = Config::default();
        config.caddy.tls = Tls::Off;
        config.keep.free.0 = 0;
        let (engine, caddy) = (self.engine.clone(), self.caddy.clone());
        let platform = Platform::simulated(
            self.home.clone(),
            config,
            store,
            &self.instance,
            engine,
            caddy,
        )?;
        Ok(Services::new(platform))
    }

    async fn do_deed(&mut self, services: &Services, deed: &Deed) {
        let (queue, platform) = (&services.queue, &services.platform);
        let said = match deed {
            Deed::Push(app, commit) => self.push(services, app, *commit).await,
            Deed::Storm(app, all) => {
                for commit in all {
                    let said = self.push(services, app, *commit).await;
                    self.chaos.tell(said);
                    sleep(Duration::from_millis(self.lot.below(400))).await;
                }
                String::new()
            }
            Deed::Revert(app) => said(app::revert(queue, app, None, "ann").await),
            Deed::Restart(app) => said(app::restart(queue, app, "ann").await),
            Deed::Redeploy(app) => said(app::redeploy(queue, app, None, "ann").await),
            Deed::Cancel(app) => match platform.store.open_deploys(Some(app)).await {
                Ok(open) => match open.last() {
                    Some(deploy) => said(queue.cancel(deploy.id, "ann").await),
                    None => "nothing to cancel".into(),
                },
                Err(error) => error.to_string(),
            },
            Deed::Create(app) => {
                let domains = [domain_of(app)];
                said(app::create(queue, app, &domains).await)
            }
            Deed::Destroy(app) => said(app::destroy(queue, app).await),
            Deed::Wait(time) => {
                sleep(*time).await;
                String::new()
            }
            Deed::Rest => {
                let rested = timeout(Duration::from_secs(1800), rest(services)).await;
                format!("rested: {}", rested.is_ok())
            }
            Deed::Meddle(meddling, app) => {
                self.meddle(platform, *meddling, app);
                String::new()
            }
        };
        if !said.is_empty() {
            self.chaos.tell(format!("    {said}"));
        }
    }

    fn meddle(&mut self, platform: &Platform, meddling: Meddling, app: &AppName) {
        let (live, caddy) = (platform.naming.live(app), platform.naming.caddy());
        match meddling {
            Meddling::Kill => self.engine.kill(&live),
            Meddling::Remove => self.engine.take_away(&live),
            Meddling::Rename => self.engine.call_otherwise(&live, "somebodys"),
            Meddling::Pause => self.engine.pause(&live),
            Meddling::RemoveCaddy => self.engine.take_away(&caddy),
            Meddling::PauseCaddy => self.engine.pause(&caddy),
            Meddling::EngineAway => {
                let time = Duration::from_millis(self.lot.below(90_000));
                self.engine.go_away(time);
            }
        }
    }

    /// A push as git leaves it, and the hook's word on it.
    async fn push(&mut self, services: &Services, app: &AppName, commit: usize) -> String {
        let commit = &commits().all[commit];
        let repository = self.home.repos().join(format!("{app}.git"));
        let alternates = repository.join("objects/info/alternates");
        if !repository.is_dir() {
            return "no such repository".into();
        }
        std::fs::create_dir_all(alternates.parent().unwrap()).unwrap();
        std::fs::write(alternates, format!("{}\n", commits().objects.display())).unwrap();
        let branch = repository.join("refs/heads/main");
        let old = match services.platform.git.branch(app).await {
            Ok(old) => old,
            Err(error) => return error.to_string(),
        };
        if old.as_ref() == Some(&commit.id) {
            return "up to date".into();
        }
        // It may have been destroyed meanwhile.
        if !repository.is_dir() {
            return "no such repository".into();
        }
        std::fs::create_dir_all(branch.parent().unwrap()).unwrap();
        std::fs::write(&branch, format!("{}\n", commit.id)).unwrap();
        let zero: CommitId = "0".repeat(40).parse().unwrap();
        let update = (
            old.unwrap_or(zero),
            commit.id.clone(),
            "refs/heads/main".to_owned(),
        );
        let pushed = app::pushed(&services.queue, app, &[update], "ann").await;
        format!(
            "pushed {}: {}",
            commit.name,
            match pushed {
                Ok(answer) => format!("deploy {:?}", answer.deploy.map(|deploy| deploy.id)),
                Err(error) => error.to_string(),
            }
        )
    }
}

fn said<T>(done: Result<T, windlass::platform::Error>) -> String {
    match done {
        Ok(_) => "done".into(),
        Err(error) => error.to_string(),
    }
}

/// Waits until no deploy is open.
async fn rest(services: &Services) {
    loop {
        if let Ok(open) = services.platform.store.open_deploys(None).await
            && open.is_empty()
        {
            return;
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// People who visit all apps at each step of the server. In a calm life, whose release is live is served.
#[derive(Clone)]
struct Visitors {
    caddy: FakeCaddy,
    chaos: Chaos,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    visits: u64,
    /// Apps that the database calls live.
    live: HashSet<AppName>,
    /// Who was not served by one of them, and how.
    suspects: Vec<(AppName, String)>,
    turned_away: Vec<String>,
}

impl Visitors {
    fn new(caddy: FakeCaddy, chaos: Chaos) -> Self {
        Self {
            caddy,
            chaos,
            seen: Arc::default(),
        }
    }

    fn told(&self) -> (u64, Vec<String>) {
        let seen = self.seen.lock().unwrap();
        (seen.visits, seen.turned_away.clone())
    }

    fn visit(&self) {
        for app in ["shop", "blog"].map(app_name) {
            let mut seen = self.seen.lock().unwrap();
            if !seen.live.contains(&app) {
                continue;
            }
            match self.caddy.visit(&domain_of(&app)) {
                Ok(200) => seen.visits += 1,
                answer => {
                    self.chaos
                        .tell(format!("a visitor of {app} gets {answer:?}"));
                    seen.suspects.push((app, format!("{answer:?}")));
                }
            }
        }
    }

    /// Nobody is turned away from an app that is live, and that nobody destroys.
    async fn judge(&self, services: &Services) {
        let store = &services.platform.store;
        loop {
            let mut live = HashSet::new();
            for row in store.apps().await.unwrap_or_default() {
                if !row.leaving && matches!(store.live_deploy(&row.name).await, Ok(Some(_))) {
                    live.insert(row.name);
                }
            }
            {
                let mut seen = self.seen.lock().unwrap();
                let suspects = std::mem::take(&mut seen.suspects);
                // An app that was made again by the same name has been away in between.
                let wrong = suspects.into_iter().find(|(app, _)| live.contains(app));
                if let Some((app, answer)) = wrong.filter(|_| seen.turned_away.is_empty()) {
                    seen.turned_away
                        .push(format!("{app} is live, a visitor gets {answer}"));
                }
                seen.live = live;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}
