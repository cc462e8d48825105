//! What ARCHITECTURE.md says always holds, looked at when a life has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use windlass::app::Services;
use windlass::domain::{AppName, Deploy, DeployStatus, PhaseStatus, Replica};
use windlass::runtime::{ContainerState, Role};

use crate::commits::{Outcome, commits};
use crate::life::{Life, domain_of};

/// Everything, of all apps.
pub async fn invariants(life: &mut Life, services: &Services) {
    let platform = &services.platform;
    let apps = match platform.store.apps().await {
        Ok(apps) => apps,
        Err(error) => {
            return life
                .lived
                .wrong
                .push(format!("the apps cannot be read: {error}"));
        }
    };
    let containers = life.engine.all();
    let mut wrong = Vec::new();
    for app in &apps {
        let deploys = platform.store.deploys(&app.name, 1000, None).await;
        let statuses = deploys.unwrap_or_default().into_iter().map(|d| d.status);
        life.lived.statuses.extend(statuses);
    }
    let mut networks = BTreeSet::from([platform.naming.edge()]);
    for app in &apps {
        if app.leaving {
            wrong.push(format!("{} is still leaving", app.name));
        }
        networks.insert(platform.naming.network(&app.name));
        if let Err(why) = check_app(life, services, &app.name, &containers).await {
            wrong.push(format!("{}: {why}", app.name));
        }
    }
    let there: BTreeSet<String> = life.engine.all_networks().into_iter().collect();
    if there != networks {
        wrong.push(format!("the networks are {there:?}, not {networks:?}"));
    }
    for container in &containers {
        let known = match (&container.app, container.role) {
            (None, Some(Role::Caddy)) => container.name == platform.naming.caddy(),
            (Some(app), _) => apps.iter().any(|known| known.name == *app),
            _ => false,
        };
        if !known {
            wrong.push(format!("an orphan: {}", container.name));
        }
    }
    let caddy = containers.iter().find(|c| c.role == Some(Role::Caddy));
    if !caddy.is_some_and(|caddy| caddy.running && !caddy.paused) {
        wrong.push(format!("Caddy does not run: {caddy:?}"));
    }
    for app in &apps {
        let network = platform.naming.network(&app.name);
        if !caddy.is_some_and(|caddy| caddy.addresses.contains_key(&network)) {
            wrong.push(format!("Caddy is not on {network}"));
        }
    }
    let twice = life.engine.overlaps();
    if twice.iter().any(|process| process.as_str() == "single") {
        wrong.push("what must not run twice did".into());
    }
    check_routes(life, services, &mut wrong).await;
    check_leftovers(life, services, &mut wrong).await;
    life.lived.wrong.extend(wrong);
}

async fn check_app(
    life: &Life,
    services: &Services,
    app: &AppName,
    containers: &[ContainerState],
) -> Result<(), String> {
    let platform = &services.platform;
    let deploys = platform.store.deploys(app, 1000, None).await;
    let deploys = deploys.map_err(|error| error.to_string())?;
    let live: Vec<&Deploy> = deploys
        .iter()
        .filter(|deploy| deploy.status == DeployStatus::Live)
        .collect();
    for deploy in &deploys {
        check_deploy(services, deploy)?;
    }
    let own: Vec<&ContainerState> = containers
        .iter()
        .filter(|container| container.app.as_ref() == Some(app))
        .collect();
    let branch = platform.git.branch(app).await;
    let branch = branch.map_err(|error| error.to_string())?;
    let [live] = live.as_slice() else {
        return match (live.len(), own.as_slice(), branch) {
            (0, [], None) => Ok(()),
            (count, own, branch) => Err(format!(
                "{count} are live, branch {branch:?}, containers {:?}",
                own.iter().map(|c| &c.name).collect::<Vec<_>>()
            )),
        };
    };
    if branch.as_ref() != Some(&live.commit) {
        let all = deploys
            .iter()
            .map(|d| format!("\n{} {} {} {:?}", d.id, d.commit, d.status, d.failure));
        let all: String = all.collect();
        let (branch, live) = (branch.as_ref(), live.id);
        return Err(format!(
            "the branch names {branch:?}, live is {live} of{all}"
        ));
    }
    let release = platform.store.release(live.id).await;
    let release = release.map_err(|error| error.to_string())?.ok_or("none")?;
    let mut wanted: BTreeMap<String, Replica> = release
        .replicas()
        .map(|replica| (platform.naming.serving(app, live.id, &replica), replica))
        .collect();
    for container in &own {
        let right = wanted.remove(&container.name) == container.replica;
        if !right
            || container.deploy != Some(live.id)
            || !container.running
            || container.paused
            || !container.restart
        {
            return Err(format!("deploy {} is live, and not {container:?}", live.id));
        }
        check_log(life, services, app, live, container)?;
    }
    if !wanted.is_empty() {
        return Err(format!("deploy {} is live without {wanted:?}", live.id));
    }
    let quiet = life.engine.quiet();
    if let Some(quiet) = own.iter().find(|c| quiet.contains(&c.name)) {
        return Err(format!("{} is left quiet", quiet.name));
    }
    let web = own.iter().find(|c| c.name == platform.naming.live(app));
    check_led(life, services, app, live, web.ok_or("nothing serves")?)
}

/// A deploy that has ended says so, and all that it left is closed.
fn check_deploy(services: &Services, deploy: &Deploy) -> Result<(), String> {
    if deploy.status.is_open() || deploy.finished_at.is_none() {
        return Err(format!("deploy {} has no end: {deploy:?}", deploy.id));
    }
    for (ordinal, phase) in deploy.phases.iter().enumerate() {
        if phase.status == PhaseStatus::Running {
            return Err(format!("{} of deploy {} runs", phase.phase, deploy.id));
        }
        let log = services.platform.logs.phase_file(deploy.id, ordinal);
        if phase.status != PhaseStatus::Skipped && !matches!(log, Ok(Some(_))) {
            return Err(format!("{} of {} has no log", phase.phase, deploy.id));
        }
    }
    let failed = matches!(
        deploy.status,
        DeployStatus::Failed | DeployStatus::Interrupted | DeployStatus::Cancelled
    );
    match failed && deploy.failure.is_none() {
        true => Err(format!("deploy {} does not say why it failed", deploy.id)),
        false => Ok(()),
    }
}

/// Visitors get to the live container and to nothing else.
fn check_led(
    life: &Life,
    services: &Services,
    app: &AppName,
    live: &Deploy,
    container: &ContainerState,
) -> Result<(), String> {
    let platform = &services.platform;
    let network = platform.naming.network(app);
    let (led, at) = (
        platform.proxy.led_to(app),
        container.addresses.get(&network).copied(),
    );
    let commit = commits().all.iter().find(|c| c.id == live.commit);
    let outcome = commit.map(|commit| commit.outcome);
    if outcome == Some(Outcome::Fails) {
        return Err(format!("{live:?} must not have gone live"));
    }
    // One that crashes may be between two lives.
    if outcome == Some(Outcome::Crashes) {
        return Ok(());
    }
    if led != at || led.is_none() {
        return Err(format!("requests are led to {led:?}, it is at {at:?}"));
    }
    match life.caddy.visit(&domain_of(app)) {
        Ok(200) => Ok(()),
        other => Err(format!("a visitor gets {other:?}: {container:?}")),
    }
}

/// All that the live container printed is kept, once and in order.
fn check_log(
    life: &Life,
    services: &Services,
    app: &AppName,
    live: &Deploy,
    container: &ContainerState,
) -> Result<(), String> {
    let printed = life.engine.printed(&container.name);
    let mut place = windlass::logs::AppPlace::beginning(live.id);
    let mut kept = Vec::new();
    loop {
        let lines = services.platform.logs.app_after(&mut place);
        let lines = lines.map_err(|error| error.to_string())?;
        if lines.is_empty() {
            break;
        }
        let own = lines
            .into_iter()
            .filter(|line| Some(&line.replica) == container.replica.as_ref());
        kept.extend(own.map(|line| line.text));
    }
    // A container that was made again follows on one that is gone.
    match kept.ends_with(&printed) {
        true => Ok(()),
        false => Err(format!(
            "the log of {app} has {} lines, {} were printed: {:?} / {:?}",
            kept.len(),
            printed.len(),
            kept.iter().rev().take(3).collect::<Vec<_>>(),
            printed.iter().rev().take(3).collect::<Vec<_>>()
        )),
    }
}

/// Caddy has a route for each app that is live, and for no other.
async fn check_routes(life: &Life, services: &Services, wrong: &mut Vec<String>) {
    let platform = &services.platform;
    let mut wanted = BTreeSet::new();
    for app in platform.store.apps().await.unwrap_or_default() {
        if let Ok(Some(_)) = platform.store.live_deploy(&app.name).await {
            wanted.extend(app.domains.iter().map(ToString::to_string));
        }
    }
    let there: BTreeSet<String> = life.caddy.domains().into_iter().collect();
    if there != wanted {
        wrong.push(format!("Caddy has routes of {there:?}, not of {wanted:?}"));
    }
}

/// No image, log or repository is there that nobody wants.
async fn check_leftovers(life: &Life, services: &Services, wrong: &mut Vec<String>) {
    let platform = &services.platform;
    let apps = platform.store.apps().await.unwrap_or_default();
    let mut kept = BTreeSet::new();
    let mut known = BTreeSet::new();
    for app in &apps {
        let images = platform.store.kept_images(&app.name).await;
        kept.extend(
            images
                .unwrap_or_default()
                .into_iter()
                .map(|(_, image)| image),
        );
        let deploys = platform.store.deploys(&app.name, 1000, None).await;
        known.extend(deploys.unwrap_or_default().iter().map(|deploy| deploy.id));
    }
    let there: BTreeSet<String> = life.engine.all_images().into_iter().collect();
    if there != kept {
        wrong.push(format!("the images are {there:?}, kept are {kept:?}"));
    }
    for id in platform.logs.ids().unwrap_or_default() {
        if !known.contains(&id) {
            wrong.push(format!("a log of deploy {id}, which there is not"));
        }
    }
    let repositories = std::fs::read_dir(life.home.repos());
    for entry in repositories.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_app = |app: &AppName| name == format!("{app}.git");
        if !apps.iter().any(|app| of_app(&app.name)) {
            wrong.push(format!("a repository left over: {name}"));
        }
    }
}
