//! `/apps/{app}`: what is live, an app's deploys, where their time went, and what can be asked for it.

use std::collections::HashMap;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{Html, Redirect};
use serde::Deserialize;

use crate::deploy::Running;
use crate::domain::{
    App, AppName, CommitId, Deploy, DeployId, DeployStatus, Key, Phase, PhaseStatus, Role, size,
};
use crate::store::ReleaseLine;

use super::chart::{Chart, WINDOW, not_cached, slower};
use super::doors::Who;
use super::error::Error;
use super::view::{Badge, Bar, GROUPS, Took, When, bar, going, length};
use super::{AppPath, Layout, Web, deploy_path, html};

/// Deploys on a page.
const PAGE: u32 = 25;
/// How one can choose among them.
const OUTCOMES: [DeployStatus; 5] = [
    DeployStatus::Retired,
    DeployStatus::Failed,
    DeployStatus::Cancelled,
    DeployStatus::Superseded,
    DeployStatus::Interrupted,
];

#[derive(Template)]
#[template(path = "app.html")]
struct AppPage {
    layout: Layout,
    badge: Badge,
    sites: Vec<(String, String)>,
    live: Option<Live>,
    deploys: Vec<Row>,
    outcomes: Vec<Outcome>,
    /// Whether all deploys are shown, whatever became of them.
    all: bool,
    /// What a link to another page of the list keeps.
    kept: String,
    groups: [(&'static str, &'static str); 5],
    /// What the bars' full width stands for.
    scale: Took,
    older: Option<DeployId>,
    newest: bool,
    going: bool,
    chart: Option<Chart>,
    /// What got slower, in sentences.
    slower: Vec<String>,
    /// Whether the one who looks may deploy it.
    may: bool,
    /// Whether it is an administrator.
    admin: bool,
    /// The keys that may push here, for whom that concerns.
    keys: Option<Vec<Key>>,
    public: bool,
    app: App,
}

/// What serves.
struct Live {
    when: When,
    path: String,
    size: Option<String>,
}

struct Row {
    path: String,
    badge: Badge,
    when: When,
    took: Took,
    bar: Bar,
    /// Whether there is a release to go back to, and whether its image is kept.
    revert: Option<bool>,
    deploy: Deploy,
}

/// A way to choose among the deploys.
struct Outcome {
    word: &'static str,
    chosen: bool,
}

/// Which deploys.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    before: Option<i64>,
    status: Option<String>,
    /// The page is to stay as it is, also without a script.
    #[serde(default)]
    still: bool,
}

/// What is to be put live.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    commit: String,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    AppPath(name): AppPath,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(Which { before, status, still }) =
        which.map_err(|_| Error::bad("before= takes a deploy's number"))?;
    let unknown =
        |_| Error::bad(format!("status= takes one of {}", OUTCOMES.map(DeployStatus::as_str).join(", ")));
    let chosen =
        status.filter(|word| !word.is_empty()).map(|word| word.parse::<DeployStatus>().map_err(unknown));
    let chosen = chosen.transpose()?;
    let (windlass, store) = (&web.windlass, &web.windlass.store);
    let edition = windlass.news.edition(|app| *app == name);
    let app = windlass.known_app(&name).await?;
    let from = before.map(DeployId);
    let mut deploys = match chosen {
        Some(status) => store.deploys_that_are(status, &name, PAGE + 1, from).await?,
        None => store.deploys(&name, PAGE + 1, from).await?,
    };
    let more = deploys.len() > PAGE as usize;
    deploys.truncate(PAGE as usize);
    let newest = before.is_none();
    let first_view = newest && chosen.is_none();
    let history = if first_view { history(&web, &app).await? } else { Vec::new() };
    let releases = releases(&web, &name, &deploys).await?;
    let live = match &app.live {
        Some(live) => Some(Live {
            when: live.finished_at.or(live.started_at).unwrap_or(live.queued_at).into(),
            path: deploy_path(live),
            size: image_size(&web, live).await?,
        }),
        None => None,
    };
    let may = who.may_deploy(&name);
    let scale = deploys.iter().map(length).max().unwrap_or(0);
    let live_commit = app.live.as_ref().map(|live| &live.commit);
    let row = |deploy: &Deploy| Row {
        path: deploy_path(deploy),
        badge: deploy.status.into(),
        when: deploy.queued_at.into(),
        took: Took::deploy(deploy),
        bar: bar(deploy, scale),
        revert: releases
            .get(&deploy.id)
            .filter(|line| may && revertible(line, live_commit))
            .map(|line| line.image_kept),
        deploy: deploy.clone(),
    };
    let outcome = |status: DeployStatus| Outcome { word: status.as_str(), chosen: chosen == Some(status) };
    html(&AppPage {
        layout: Layout::new(name.as_str(), Some(&who)).of_app(&name, deploys.first(), first_view, edition),
        badge: app.status.into(),
        sites: app.domains.iter().map(|d| (windlass.address(d), d.to_string())).collect(),
        live,
        outcomes: OUTCOMES.map(outcome).into(),
        all: chosen.is_none(),
        kept: chosen.map(|status| format!("status={status}&")).unwrap_or_default(),
        groups: GROUPS,
        scale: Took::fixed(scale),
        older: deploys.last().filter(|_| more).map(|d| d.id),
        newest,
        going: newest && !still && deploys.iter().any(going),
        deploys: deploys.iter().map(row).collect(),
        chart: Chart::of(&history),
        slower: sentences(&web, &history).await?,
        may,
        admin: who.is_admin(),
        keys: if who.is_admin() && first_view { Some(keys(&web, &name).await?) } else { None },
        public: store.is_public(&name).await?,
        app,
    })
}

/// The latest deploys that went live, newest first.
async fn history(web: &Web, app: &App) -> Result<Vec<Deploy>, Error> {
    let store = &web.windlass.store;
    let mut history: Vec<Deploy> = app.live.iter().filter(|live| !going(live)).cloned().collect();
    history.extend(store.deploys_that_are(DeployStatus::Retired, &app.name, WINDOW - 1, None).await?);
    Ok(history)
}

async fn releases(
    web: &Web,
    app: &AppName,
    deploys: &[Deploy],
) -> Result<HashMap<DeployId, ReleaseLine>, Error> {
    let (Some(newest), Some(oldest)) = (deploys.first(), deploys.last()) else { return Ok(HashMap::new()) };
    // A list of what never went live has none, however far apart its deploys are.
    if !deploys.iter().any(|deploy| deploy.status.went_live()) {
        return Ok(HashMap::new());
    }
    let lines = web.windlass.store.release_lines(app, oldest.id, newest.id).await?;
    Ok(lines.into_iter().map(|line| (line.deploy, line)).collect())
}

async fn image_size(web: &Web, live: &Deploy) -> Result<Option<String>, Error> {
    let line = web.windlass.store.release_lines(&live.app, live.id, live.id).await?.pop();
    Ok(line.and_then(|line| line.image_size).map(size::show))
}

/// What got slower, and of a build why.
async fn sentences(web: &Web, history: &[Deploy]) -> Result<Vec<String>, Error> {
    let mut sentences = Vec::new();
    for slow in slower(history) {
        let because = match slow.phase {
            Phase::Build => step_to_blame(web, history).await?,
            _ => None,
        };
        sentences.push(slow.sentence(because.as_deref()));
    }
    Ok(sentences)
}

async fn step_to_blame(web: &Web, history: &[Deploy]) -> Result<Option<String>, Error> {
    let built = |deploy: &&Deploy| {
        deploy.phases.iter().any(|row| row.phase == Phase::Build && row.status == PhaseStatus::Ok)
    };
    let mut builds = history.iter().filter(built);
    let (Some(now), Some(before)) = (builds.next(), builds.next()) else { return Ok(None) };
    let store = &web.windlass.store;
    let (Some((_, now)), Some((_, before))) = (store.steps(now.id).await?, store.steps(before.id).await?)
    else {
        return Ok(None);
    };
    Ok(not_cached(&now, &before).map(|step| crate::domain::printable(step, 120)))
}

/// The ssh keys of those who may deploy an app.
async fn keys(web: &Web, app: &AppName) -> Result<Vec<Key>, Error> {
    let access = &web.windlass.access;
    let users = access.users().await.map_err(Error::of)?;
    let mut keys = access.keys(None).await.map_err(Error::of)?;
    keys.retain(|key| {
        let user = users.iter().find(|user| user.name == key.user);
        user.is_some_and(|user| match user.role {
            Role::Admin => true,
            Role::Deployer => user.apps.contains(app),
            Role::Viewer => false,
        })
    });
    Ok(keys)
}

/// Whether going back to a release makes a difference.
pub(super) fn revertible(release: &ReleaseLine, live: Option<&CommitId>) -> bool {
    live.is_some_and(|live| release.commit != *live)
}

#[derive(Template)]
#[template(path = "app_containers.html")]
struct Containers {
    app: AppName,
    rows: Vec<Running>,
    /// Why nothing is known of them.
    trouble: Option<String>,
}

impl Containers {
    /// Whether what serves ended by itself.
    fn came_back(&self) -> bool {
        self.rows.iter().any(|row| row.part == "live" && row.restarts > 0)
    }

    fn cpu(&self, row: &Running) -> String {
        row.load.map_or_else(|| "–".to_owned(), |load| format!("{:.1} %", load.cpu))
    }

    fn memory(&self, row: &Running) -> String {
        match row.load {
            Some(load) => match load.memory_limit {
                Some(limit) => format!("{} of {}", size::show(load.memory), size::show(limit)),
                None => size::show(load.memory),
            },
            None => "–".to_owned(),
        }
    }
}

#[derive(Template)]
#[template(path = "app_containers_page.html")]
struct ContainersPage {
    layout: Layout,
    containers: Containers,
}

/// Whether only the part of a page is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(default)]
    part: bool,
}

/// What the app's containers take now: a page, or the part of one that the script fetches.
pub(super) async fn containers(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    part: Result<Query<Part>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(Part { part }) = part.map_err(|_| Error::bad("part= takes true or false"))?;
    web.windlass.store.app(&app).await?;
    let (rows, trouble) = match web.windlass.loads(&app).await {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let containers = Containers { app: app.clone(), rows, trouble };
    match part {
        true => html(&containers),
        false => html(&ContainersPage {
            layout: Layout::new(&format!("Containers of {app}"), Some(&who)),
            containers,
        }),
    }
}

/// Builds a commit again.
pub(super) async fn redeploy(
    State(web): State<Web>,
    Who(who): Who,
    AppPath(app): AppPath,
    Form(target): Form<Target>,
) -> Result<Redirect, Error> {
    Ok(to(&web.windlass.redeploy(&app, target.commit(), &who.name).await?))
}

/// Brings the live image up again.
pub(super) async fn restart(
    State(web): State<Web>,
    Who(who): Who,
    AppPath(app): AppPath,
) -> Result<Redirect, Error> {
    Ok(to(&web.windlass.restart(&app, &who.name).await?))
}

/// What makes an app's end meant.
#[derive(Debug, Deserialize)]
pub(super) struct Meant {
    #[serde(default)]
    name: String,
}

/// Removes an app with everything of it, once its name was typed.
pub(super) async fn destroy(
    State(web): State<Web>,
    AppPath(app): AppPath,
    Form(meant): Form<Meant>,
) -> Result<Redirect, Error> {
    if meant.name.trim() != app.as_str() {
        return Err(Error::bad(format!("Nothing was removed: type {app} to say that this app is meant.")));
    }
    web.windlass.destroy_app(&app).await?;
    Ok(Redirect::to("/"))
}

/// Whether the badge and the status are there for everybody.
#[derive(Debug, Deserialize)]
pub(super) struct Public {
    #[serde(default)]
    public: bool,
}

/// Switches the badge and the status on or off.
pub(super) async fn public(
    State(web): State<Web>,
    AppPath(app): AppPath,
    Form(Public { public }): Form<Public>,
) -> Result<Redirect, Error> {
    web.windlass.store.set_public(&app, public).await?;
    Ok(Redirect::to(&format!("/apps/{app}#picture")))
}

impl Target {
    fn commit(&self) -> Option<&str> {
        Some(self.commit.as_str()).filter(|commit| !commit.is_empty())
    }
}

fn to(deploy: &Deploy) -> Redirect {
    Redirect::to(&deploy_path(deploy))
}
