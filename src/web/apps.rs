//! `/`: every app, with what is live, how it is, what goes on, and how the last deploys went.
//!
//! Which apps there are and how they stand comes from the board, so only the rows of one page are read.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;

use crate::app::Board;
use crate::domain::{AppBrief, AppName, DeployBrief, DeployStatus};
use crate::platform::{Edition, Platform};

use super::error::Error;
use super::guard::Who;
use super::new_app::Typed;
use super::spark::Spark;
use super::view::{Badge, Took, When};
use super::{Layout, Web, html};

/// Apps on a page.
const PAGE: usize = 20;

#[derive(Template)]
#[template(path = "apps.html")]
struct AppsPage {
    layout: Layout,
    apps: Vec<Row>,
    asked: Asked,
    /// How many there are to see, and how many of them are found.
    all: usize,
    found: usize,
    /// Summary lines that lead to a part of the apps: the word asked for, and how many.
    parts: [(Show, usize); 3],
    before: Option<String>,
    after: Option<String>,
    /// What leads to this page again, before more that is asked.
    kept: String,
    /// Whether a deploy goes on, so that the page is worth looking at again soon.
    going: bool,
    admin: bool,
    /// What a page without apps begins with.
    typed: Typed,
}

/// Which apps.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    show: Option<Show>,
    #[serde(default)]
    page: usize,
    /// The page is to stay as it is, also without a script.
    #[serde(default)]
    still: bool,
}

/// A part of the apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Show {
    Deploying,
    Down,
    Failed,
}

impl Show {
    fn as_str(self) -> &'static str {
        match self {
            Show::Deploying => "deploying",
            Show::Down => "down",
            Show::Failed => "failed",
        }
    }

    fn badge(self) -> Badge {
        match self {
            Show::Deploying => Badge {
                word: "deploying",
                ..DeployStatus::Running.into()
            },
            Show::Down => crate::domain::AppStatus::Down.into(),
            Show::Failed => Badge {
                word: "failed last",
                ..DeployStatus::Failed.into()
            },
        }
    }

    fn has(self, board: &Board, app: &AppName) -> bool {
        match self {
            Show::Deploying => board.deploying.contains(app),
            Show::Down => board.down.contains(app),
            Show::Failed => board.failed.contains(app),
        }
    }
}

impl Asked {
    fn finds(&self, board: &Board, app: &AppName) -> bool {
        let named = app
            .as_str()
            .contains(self.q.trim().to_ascii_lowercase().as_str());
        named && self.show.is_none_or(|show| show.has(board, app))
    }

    /// Where that page of the same apps is.
    fn page(&self, page: usize) -> String {
        let show = self
            .show
            .map(|show| format!("&show={}", show.as_str()))
            .unwrap_or_default();
        // Names are all that is looked for, so nothing else is kept.
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let q: String = self.q.chars().filter(plain).take(40).collect();
        let q = if q.is_empty() { q } else { format!("&q={q}") };
        format!("/?page={page}{q}{show}")
    }
}

struct Row {
    name: AppName,
    badge: Badge,
    /// Its public addresses, with the host names to show.
    sites: Vec<(String, String)>,
    live: Option<Brief>,
    /// What is queued or runs.
    open: Vec<Brief>,
    /// The newest deploy that has ended, where that is not the one that serves.
    last: Option<Brief>,
    spark: Option<Spark>,
    /// What somebody is told who does not see it change.
    says: String,
}

struct Brief {
    deploy: DeployBrief,
    badge: Badge,
    when: When,
    took: Took,
}

impl From<DeployBrief> for Brief {
    fn from(deploy: DeployBrief) -> Self {
        let took = match (deploy.took_ms, deploy.started_at) {
            (Some(ms), _) => Took::fixed(ms),
            (None, Some(_)) if deploy.goes_on() => {
                Took::growing(crate::domain::Timestamp::from_millis(deploy.queued_at))
            }
            _ => Took::default(),
        };
        Self {
            badge: deploy.status.into(),
            when: deploy.at().into(),
            took,
            deploy,
        }
    }
}

impl Row {
    fn new(platform: &Platform, board: &Board, app: AppBrief) -> Self {
        let live = app.live.as_ref().map(|live| live.id);
        let newest = app
            .open
            .iter()
            .rfind(|d| d.status == DeployStatus::Running)
            .or(app.last.as_ref());
        Self {
            badge: board.status(&app.name).into(),
            sites: app
                .domains
                .iter()
                .map(|d| (platform.address(d), d.to_string()))
                .collect(),
            says: newest
                .map(|d| format!("{}: deploy {} is {}", app.name, d.id, d.status))
                .unwrap_or_default(),
            spark: Spark::of(&app.history),
            open: app.open.into_iter().map(Brief::from).collect(),
            last: app
                .last
                .filter(|last| live != Some(last.id))
                .map(Brief::from),
            live: app.live.map(Brief::from),
            name: app.name,
        }
    }
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let asked = asked
        .map_err(|_| Error::bad("show= takes deploying, down or failed, and page= a number"))?;
    let edition = web.platform().change_feed.edition(|app| who.0.sees(app));
    let board = web.services.overview.board().await?;
    show(web.platform(), who, &board, asked.0, edition).await
}

async fn show(
    platform: &Platform,
    who: Who,
    board: &Board,
    asked: Asked,
    edition: Edition,
) -> Result<Html<String>, Error> {
    let seen: Vec<&AppName> = board.all.iter().filter(|app| who.0.sees(app)).collect();
    let found: Vec<&AppName> = seen
        .iter()
        .copied()
        .filter(|app| asked.finds(board, app))
        .collect();
    let pages = found.len().div_ceil(PAGE).max(1);
    let page = asked.page.clamp(1, pages);
    let names: Vec<AppName> = found
        .iter()
        .skip((page - 1) * PAGE)
        .take(PAGE)
        .copied()
        .cloned()
        .collect();
    let apps = platform.store.overview(&names).await?;
    let count = |show: Show| (show, seen.iter().filter(|app| show.has(board, app)).count());
    let parts = [Show::Deploying, Show::Down, Show::Failed].map(count);
    let any_live = apps.iter().any(|app| app.live.is_some());
    let state = match parts.map(|(_, count)| count > 0) {
        [true, ..] => super::State::Running,
        [_, false, false] if any_live => super::State::Live,
        [_, false, false] => super::State::Calm,
        _ => super::State::Failed,
    };
    let layout = Layout::new("Apps", Some(&who)).in_state(state);
    let drains = |app: &AppBrief| app.live.as_ref().is_some_and(DeployBrief::goes_on);
    html(&AppsPage {
        layout: layout.live("/events".into(), edition, String::new()),
        going: !asked.still && (parts[0].1 > 0 || apps.iter().any(drains)),
        apps: apps
            .into_iter()
            .map(|app| Row::new(platform, board, app))
            .collect(),
        all: seen.len(),
        found: found.len(),
        parts,
        before: (page > 1).then(|| asked.page(page - 1)),
        after: (page < pages).then(|| asked.page(page + 1)),
        kept: format!("{}&", asked.page(page).trim_start_matches("/?")),
        asked,
        admin: who.is_admin(),
        typed: Typed::new(platform),
    })
}
