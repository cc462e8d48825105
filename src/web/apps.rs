//! `/`: every app with what is live.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Html;

use crate::deploy::Windlass;
use crate::domain::{App, AppName, Deploy};

use super::doors::Who;
use super::error::Error;
use super::view::{Badge, Took, When, going};
use super::{Layout, Web, deploy_path, html};

#[derive(Template)]
#[template(path = "apps.html")]
struct AppsPage {
    layout: Layout,
    apps: Vec<Row>,
    /// Whether a deploy goes on, so that the page is worth looking at again soon.
    going: bool,
}

struct Row {
    name: AppName,
    badge: Badge,
    /// Its public addresses, with the host names to show.
    sites: Vec<(String, String)>,
    live: Option<Brief>,
    /// Its newest deploy, where that is not the one that serves.
    latest: Option<Brief>,
}

struct Brief {
    path: String,
    deploy: Deploy,
    badge: Badge,
    when: When,
    took: Took,
}

impl From<Deploy> for Brief {
    fn from(deploy: Deploy) -> Self {
        let when = deploy.finished_at.or(deploy.started_at).unwrap_or(deploy.queued_at);
        Self {
            path: deploy_path(&deploy),
            badge: deploy.status.into(),
            when: when.into(),
            took: Took::deploy(&deploy),
            deploy,
        }
    }
}

/// The page.
pub(super) async fn page(State(web): State<Web>, who: Who) -> Result<Html<String>, Error> {
    let access = &web.windlass.access;
    let apps = access.seen(&who.0, web.windlass.apps().await?, |app| &app.name);
    let latest = access.seen(&who.0, web.windlass.store.latest_deploys().await?, |deploy| &deploy.app);
    show(&web.windlass, who, apps, latest)
}

pub(super) fn show(
    windlass: &Windlass,
    who: Who,
    apps: Vec<App>,
    latest: Vec<Deploy>,
) -> Result<Html<String>, Error> {
    let going = latest.iter().any(going);
    let mut latest: HashMap<AppName, Deploy> = latest.into_iter().map(|d| (d.app.clone(), d)).collect();
    let row = |app: App| {
        let newest = latest.remove(&app.name);
        let newest = newest.filter(|newest| app.live.as_ref().is_none_or(|live| live.id != newest.id));
        Row {
            badge: app.status.into(),
            sites: app.domains.iter().map(|d| (windlass.address(d), d.to_string())).collect(),
            live: app.live.map(Brief::from),
            latest: newest.map(Brief::from),
            name: app.name,
        }
    };
    let apps = apps.into_iter().map(row).collect();
    html(&AppsPage { layout: Layout::new("Apps", Some(&who)), apps, going })
}
