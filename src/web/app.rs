//! `/apps/{app}`: what is live, an app's deploys, where their time went, and what can be asked for it.

use std::collections::HashMap;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{Html, Redirect};
use serde::Deserialize;

use crate::api::{AppDestroy, AppPublic, Redeploy, Restart};
use crate::domain::{
    App, AppName, CommitId, Deploy, DeployId, DeployStatus, Key, Phase, PhaseStatus, size,
};
use crate::store::ReleaseLine;

use super::chart::{Chart, WINDOW, not_cached, slower};
use super::domains::NewDomain;
use super::error::Error;
use super::guard::Who;
use super::view::{Badge, Bar, GROUPS, Took, When, bar, going, length};
use super::{AppPath, Layout, Web, deploy_path, html};

/// Deploys on a page.
const PAGE: u32 = 20;
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
    domain: NewDomain,
    app: App,
}

/// What serves.
struct Live {
    when: When,
    path: String,
    size: Option<String>,
}

impl Live {
    fn new(live: &Deploy, releases: &Releases) -> Self {
        Self {
            when: live.live_at().unwrap_or(live.queued_at).into(),
            path: deploy_path(live),
            size: releases
                .get(&live.id)
                .and_then(|line| line.image_size)
                .map(size::show),
        }
    }
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

/// What is to be put live.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    commit: String,
}

/// Which deploys are asked for, as the address says.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    before: Option<i64>,
    status: Option<String>,
    /// The page is to stay as it is, also without a script.
    #[serde(default)]
    still: bool,
}

/// The deploys that are shown, newest first.
struct List {
    deploys: Vec<Deploy>,
    /// Those of this status alone.
    chosen: Option<DeployStatus>,
    /// Whether it begins with the newest.
    newest: bool,
    /// Whether there are older ones.
    more: bool,
}

impl List {
    async fn find(
        web: &Web,
        app: &AppName,
        Which { before, status, .. }: Which,
    ) -> Result<Self, Error> {
        let unknown = |_| {
            Error::bad(format!(
                "status= takes one of {}",
                OUTCOMES.map(DeployStatus::as_str).join(", ")
            ))
        };
        let chosen = status
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().map_err(unknown));
        let (chosen, from) = (chosen.transpose()?, before.map(DeployId));
        let store = &web.platform().store;
        let mut deploys = match chosen {
            Some(status) => store.deploys_that_are(status, app, PAGE + 1, from).await?,
            None => store.deploys(app, PAGE + 1, from).await?,
        };
        let more = deploys.len() > PAGE as usize;
        deploys.truncate(PAGE as usize);
        Ok(Self {
            deploys,
            chosen,
            newest: before.is_none(),
            more,
        })
    }

    /// Whether this is what one sees first: all deploys, from the newest on.
    fn is_first(&self) -> bool {
        self.newest && self.chosen.is_none()
    }

    fn rows(&self, app: &App, releases: &Releases, may: bool, scale: u64) -> Vec<Row> {
        let live = app.live.as_ref().map(|live| &live.commit);
        let to = |line: &&ReleaseLine| may && revertible(line, live);
        let row = |deploy: &Deploy| Row {
            path: deploy_path(deploy),
            badge: deploy.status.into(),
            when: deploy.queued_at.into(),
            took: Took::deploy(deploy),
            bar: bar(deploy, scale),
            revert: releases
                .get(&deploy.id)
                .filter(to)
                .map(|line| line.image_kept),
            deploy: deploy.clone(),
        };
        self.deploys.iter().map(row).collect()
    }
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    AppPath(name): AppPath,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(which) = which
        .map_err(|_| Error::bad("before= takes a deploy's number, and still= true or false"))?;
    let still = which.still;
    let (platform, store) = (web.platform(), &web.platform().store);
    let edition = platform.change_feed.edition(|app| *app == name);
    let row = store.app(&name).await?;
    let public = row.public;
    let app = web.services.overview.known_app(row).await?;
    let list = List::find(&web, &name, which).await?;
    let first = list.is_first();
    let history = if first {
        history(&web, &app, &list.deploys).await?
    } else {
        Vec::new()
    };
    let releases = releases(&web, &app, &list.deploys).await?;
    let (may, admin) = (who.may_deploy(&name), who.is_admin());
    let scale = list.deploys.iter().map(length).max().unwrap_or(0);
    let outcome = |status: DeployStatus| Outcome {
        word: status.as_str(),
        chosen: list.chosen == Some(status),
    };
    html(&AppPage {
        layout: Layout::new(name.as_str(), Some(&who)).of_app(
            &name,
            list.deploys.first(),
            first,
            edition,
        ),
        badge: app.status.into(),
        sites: app
            .domains
            .iter()
            .map(|d| (platform.address(d), d.to_string()))
            .collect(),
        live: app.live.as_ref().map(|live| Live::new(live, &releases)),
        outcomes: OUTCOMES.map(outcome).into(),
        all: list.chosen.is_none(),
        kept: list
            .chosen
            .map(|status| format!("status={status}&"))
            .unwrap_or_default(),
        groups: GROUPS,
        scale: Took::fixed(scale),
        older: list
            .deploys
            .last()
            .filter(|_| list.more)
            .map(|deploy| deploy.id),
        newest: list.newest,
        going: list.newest && !still && list.deploys.iter().any(going),
        deploys: list.rows(&app, &releases, may, scale),
        chart: Chart::of(&history),
        slower: sentences(&web, &history).await?,
        may,
        admin,
        keys: if admin && first {
            Some(store.keys_for(&name).await?)
        } else {
            None
        },
        public,
        domain: NewDomain::default(),
        app,
    })
}

/// The latest deploys that went live, newest first: those that are listed, and as many older ones as
/// the picture has room for.
async fn history(web: &Web, app: &App, listed: &[Deploy]) -> Result<Vec<Deploy>, Error> {
    let Some(oldest) = listed.last().map(|deploy| deploy.id) else {
        return Ok(Vec::new());
    };
    let older = app.live.iter().filter(|live| live.id < oldest);
    let done = |deploy: &&Deploy| deploy.status.went_live() && !going(deploy);
    let mut history: Vec<Deploy> = listed.iter().chain(older).filter(done).cloned().collect();
    let room = WINDOW.saturating_sub(history.len() as u32);
    let store = &web.platform().store;
    history.extend(
        store
            .deploys_that_are(DeployStatus::Retired, &app.name, room, Some(oldest))
            .await?,
    );
    Ok(history)
}

/// Releases by the deploys that made them.
type Releases = HashMap<DeployId, ReleaseLine>;

/// The releases that these deploys made, and the live one.
async fn releases(web: &Web, app: &App, deploys: &[Deploy]) -> Result<Releases, Error> {
    let store = &web.platform().store;
    let mut lines = Vec::new();
    // A list of what never went live has none, however far apart its deploys are.
    if let (Some(newest), Some(oldest)) = (deploys.first(), deploys.last())
        && deploys.iter().any(|deploy| deploy.status.went_live())
    {
        lines = store.release_lines(&app.name, oldest.id, newest.id).await?;
    }
    if let Some(live) = &app.live
        && !lines.iter().any(|line| line.deploy == live.id)
    {
        lines.extend(store.release_lines(&app.name, live.id, live.id).await?);
    }
    Ok(lines.into_iter().map(|line| (line.deploy, line)).collect())
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
        deploy
            .phases
            .iter()
            .any(|row| row.phase == Phase::Build && row.status == PhaseStatus::Ok)
    };
    let mut builds = history.iter().filter(built);
    let (Some(now), Some(before)) = (builds.next(), builds.next()) else {
        return Ok(None);
    };
    let store = &web.platform().store;
    let (Some((_, now)), Some((_, before))) =
        (store.steps(now.id).await?, store.steps(before.id).await?)
    else {
        return Ok(None);
    };
    Ok(not_cached(&now, &before).map(|step| crate::domain::printable(step, 120)))
}

/// Whether going back to a release makes a difference.
pub(super) fn revertible(release: &ReleaseLine, live: Option<&CommitId>) -> bool {
    live.is_some_and(|live| release.commit != *live)
}

/// Builds a commit again.
pub(super) async fn redeploy(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    Form(target): Form<Target>,
) -> Result<Redirect, Error> {
    let commit = target.commit().map(str::to_owned);
    Ok(to(&web.ask(&who, Redeploy { app, commit }).await?))
}

/// Brings the live image up again.
pub(super) async fn restart(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
) -> Result<Redirect, Error> {
    Ok(to(&web.ask(&who, Restart { app }).await?))
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
    who: Who,
    AppPath(app): AppPath,
    Form(meant): Form<Meant>,
) -> Result<Redirect, Error> {
    if meant.name.trim() != app.as_str() {
        return Err(Error::bad(format!(
            "Nothing was removed: type {app} to say that this app is meant."
        )));
    }
    web.ask(&who, AppDestroy { name: app }).await?;
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
    who: Who,
    AppPath(app): AppPath,
    Form(Public { public }): Form<Public>,
) -> Result<Redirect, Error> {
    let name = app.clone();
    web.ask(&who, AppPublic { name, public }).await?;
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
