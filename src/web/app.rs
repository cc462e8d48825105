//! `/apps/{app}`: an app's deploys, and what can be asked for it.

use std::collections::{HashMap, HashSet};

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{Html, Redirect};
use serde::Deserialize;

use crate::deploy::{Edition, Windlass};
use crate::domain::{App, CommitId, Deploy, DeployId, Release};

use super::doors::Who;
use super::error::Error;
use super::view::{Badge, Bar, GROUPS, Took, When, bar, going, length};
use super::{AppPath, Layout, Web, deploy_path, html};

/// Deploys on a page.
const PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "app.html")]
struct AppPage {
    layout: Layout,
    badge: Badge,
    sites: Vec<(String, String)>,
    live: Option<(When, String)>,
    deploys: Vec<Row>,
    groups: [(&'static str, &'static str); 5],
    /// What the bars' full width stands for.
    scale: Took,
    older: Option<DeployId>,
    newest: bool,
    going: bool,
    /// Whether the one who looks may deploy it.
    may: bool,
    app: App,
}

struct Row {
    path: String,
    badge: Badge,
    when: When,
    took: Took,
    bar: Bar,
    /// Whether going back to its release takes no build and makes a difference.
    revert: bool,
    deploy: Deploy,
}

/// Which deploys.
#[derive(Debug, Deserialize)]
pub(super) struct Older {
    before: Option<i64>,
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
    older: Result<Query<Older>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(Older { before }) = older.map_err(|_| Error::bad("before= takes a deploy's number"))?;
    let edition = web.windlass.news.edition(|app| *app == name);
    let app = web.windlass.known_app(&name).await?;
    let store = &web.windlass.store;
    let deploys = store.deploys(&name, PAGE + 1, before.map(DeployId)).await?;
    let releases = store.releases(&name, PAGE).await?;
    show(&web.windlass, who, app, deploys, &releases, before.is_none(), edition)
}

pub(super) fn show(
    windlass: &Windlass,
    who: Who,
    app: App,
    mut deploys: Vec<Deploy>,
    releases: &[Release],
    newest: bool,
    edition: Edition,
) -> Result<Html<String>, Error> {
    let more = deploys.len() > PAGE as usize;
    deploys.truncate(PAGE as usize);
    let scale = deploys.iter().map(length).max().unwrap_or(0);
    let targets = revertible(releases, app.live.as_ref().map(|live| &live.commit));
    let may = who.may_deploy(&app.name);
    let row = |deploy: &Deploy| Row {
        path: deploy_path(deploy),
        badge: deploy.status.into(),
        when: deploy.queued_at.into(),
        took: Took::deploy(deploy),
        bar: bar(deploy, scale),
        revert: may && targets.contains(&deploy.id),
        deploy: deploy.clone(),
    };
    let live = app.live.as_ref().map(|live| {
        (When::from(live.finished_at.or(live.started_at).unwrap_or(live.queued_at)), deploy_path(live))
    });
    html(&AppPage {
        layout: Layout::new(app.name.as_str(), Some(&who)).of_app(
            &app.name,
            deploys.first(),
            newest,
            edition,
        ),
        badge: app.status.into(),
        sites: app.domains.iter().map(|d| (windlass.address(d), d.to_string())).collect(),
        live,
        groups: GROUPS,
        scale: Took::fixed(scale),
        older: deploys.last().filter(|_| more).map(|d| d.id),
        going: newest && deploys.iter().any(going),
        deploys: deploys.iter().map(row).collect(),
        newest,
        may,
        app,
    })
}

/// The deploys whose releases can be gone back to at once: the newest kept one of each commit that
/// is not the live one.
pub(super) fn revertible(releases: &[Release], live: Option<&CommitId>) -> HashSet<DeployId> {
    let mut newest: HashMap<&CommitId, DeployId> = HashMap::new();
    for release in releases.iter().filter(|r| r.image_kept && Some(&r.commit) != live) {
        newest.entry(&release.commit).or_insert(release.deploy);
    }
    newest.into_values().collect()
}

/// Goes back to a release.
pub(super) async fn revert(
    State(web): State<Web>,
    Who(who): Who,
    AppPath(app): AppPath,
    Form(target): Form<Target>,
) -> Result<Redirect, Error> {
    Ok(to(&web.windlass.revert(&app, target.commit(), &who.name).await?))
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

impl Target {
    fn commit(&self) -> Option<&str> {
        Some(self.commit.as_str()).filter(|commit| !commit.is_empty())
    }
}

fn to(deploy: &Deploy) -> Redirect {
    Redirect::to(&deploy_path(deploy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Environment, ImageRef, Manifest};

    #[test]
    fn a_commit_is_offered_once_and_the_live_one_never() {
        let release = |id: i64, commit: char, image_kept: bool| Release {
            deploy: DeployId(id),
            app: "shop".parse().unwrap(),
            commit: commit.to_string().repeat(40).parse().unwrap(),
            image: ImageRef(String::new()),
            image_kept,
            manifest: Manifest::default(),
            port: 8000,
            env: Environment::default(),
        };
        // Newest first: 6 is a revert to what 2 put live, and serves.
        let releases = [(6, 'a', true), (5, 'b', true), (4, 'c', false), (3, 'b', true), (2, 'a', true)]
            .map(|(id, c, kept)| release(id, c, kept));
        assert_eq!(revertible(&releases, Some(&releases[0].commit)), HashSet::from([DeployId(5)]));
    }
}
