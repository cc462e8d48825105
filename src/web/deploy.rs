//! `/apps/{app}/deploys/{id}`: one deploy: how it stands, why it failed, where its time went, what it
//! brings, what it runs, and its log.
//!
//! The page is made of parts that the event stream sends again when they change; so the parts have
//! templates of their own and the page only puts them together.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{Html, Redirect};

use crate::api::DeployCancel;
use crate::domain::{Deploy, DeployStatus, Phase, PhaseStatus};
use crate::logs::{Cursor, LONGEST_QUERY, LineAt, PageSize, Place};
use crate::platform::Platform;
use crate::store::Store;

use super::app::revertible;
use super::changes::{Changes, Ran};
use super::error::Error;
use super::guard::Who;
use super::log::{Asked, Results, Section, results, sections};
use super::view::{Badge, Took, When, going};
use super::waterfall::Timings;
use super::{DeployPath, Layout, Web, ansi, deploy_path, html};

#[derive(Template)]
#[template(path = "deploy.html")]
struct DeployPage {
    layout: Layout,
    head: Head,
    timings: Timings,
    changes: Changes,
    ran: Option<Ran>,
    results: Option<Results>,
    q: String,
    longest: usize,
    sections: Vec<Section>,
    actions: Actions,
    path: String,
    going: bool,
    /// Whether a page without a script loads itself again.
    reloads: bool,
    cursor: Cursor,
    deploy: Deploy,
}

/// What it is, how it stands, and why it failed.
#[derive(Template)]
#[template(path = "deploy_head.html")]
pub(super) struct Head {
    badge: Badge,
    queued: When,
    took: Took,
    trouble: Option<Trouble>,
    deploy: Deploy,
}

/// Why a deploy did not go live, what serves instead, and what to do.
struct Trouble {
    title: String,
    message: String,
    lines: Option<Excerpt>,
    serving: Option<Deploy>,
    serving_path: String,
    next: &'static str,
    /// A superseded or cancelled deploy is no alarm.
    calm: bool,
}

/// The lines that show why.
struct Excerpt {
    ordinal: usize,
    rows: String,
}

/// How much of them: the longest line at least.
pub(super) const EXCERPT: PageSize = PageSize {
    lines: 15,
    bytes: 17 * 1024,
};

/// What can be asked for.
#[derive(Template)]
#[template(path = "deploy_actions.html")]
pub(super) struct Actions {
    path: String,
    cancel: bool,
    revert: bool,
    redeploy: bool,
    deploy: Deploy,
}

impl Head {
    /// Of a deploy as it stands now.
    pub(super) async fn new(platform: &Platform, deploy: &Deploy) -> Result<Self, Error> {
        Ok(Self {
            badge: deploy.status.into(),
            queued: deploy.queued_at.into(),
            took: Took::deploy(deploy),
            trouble: trouble(platform, deploy).await?,
            deploy: deploy.clone(),
        })
    }
}

/// Why it did not go live, what serves instead, and what to do: none while all is well.
async fn trouble(platform: &Platform, deploy: &Deploy) -> Result<Option<Trouble>, Error> {
    let failure = deploy.failure.as_ref();
    let title = match (deploy.status, failure) {
        (DeployStatus::Failed, Some(failure)) => format!("It failed in {}", failure.phase),
        (DeployStatus::Failed, None) => "It failed".to_owned(),
        (DeployStatus::Interrupted, _) => "The server went away under it".to_owned(),
        (DeployStatus::Cancelled, _) => "It was cancelled".to_owned(),
        (DeployStatus::Superseded, _) => "A newer deploy took its place".to_owned(),
        _ => return Ok(None),
    };
    let lines = Excerpt::of(platform, deploy).await?;
    let message = failure
        .map(|failure| failure.message.as_str())
        .unwrap_or_default();
    let serving = platform.store.live_deploy(&deploy.app).await?;
    Ok(Some(Trouble {
        title,
        message: match &lines {
            Some(_) => own_words(message).to_owned(),
            None => message.to_owned(),
        },
        lines,
        serving_path: serving.as_ref().map(deploy_path).unwrap_or_default(),
        serving,
        next: next_step(deploy),
        calm: matches!(
            deploy.status,
            DeployStatus::Cancelled | DeployStatus::Superseded
        ),
    }))
}

/// A reason without the lines that it quotes, which are indented: the log itself is shown beside it.
fn own_words(message: &str) -> &str {
    match message.find("\n    ") {
        Some(at) => message[..at].trim_end().trim_end_matches(':'),
        None => message,
    }
}

fn next_step(deploy: &Deploy) -> &'static str {
    let phase = deploy
        .failure
        .as_ref()
        .and_then(|failure| failure.phase.parse::<Phase>().ok());
    match deploy.status {
        DeployStatus::Superseded => "Look at the newer one in the list of deploys.",
        DeployStatus::Cancelled | DeployStatus::Interrupted => {
            "Push again, or deploy this commit again below."
        }
        _ => match phase {
            Some(Phase::Start | Phase::Health) => {
                "The lines above end with what the app printed. Mend it, commit, and push again."
            }
            Some(Phase::Swap | Phase::Workers | Phase::Verify) => {
                "Nothing more is to be done for what serves. Mend it, commit, and push again; or push the same commit again if the cause lay elsewhere."
            }
            _ => "Mend it, commit, and push again.",
        },
    }
}

impl Excerpt {
    /// The end of the failed phase's log.
    async fn of(platform: &Platform, deploy: &Deploy) -> Result<Option<Self>, Error> {
        let failed = deploy
            .phases
            .iter()
            .rposition(|timing| timing.status == PhaseStatus::Failed);
        let (Some(ordinal), DeployStatus::Failed) = (failed, deploy.status) else {
            return Ok(None);
        };
        let (logs, id) = (platform.logs.clone(), deploy.id);
        let read =
            tokio::task::spawn_blocking(move || logs.page(id, ordinal, Place::Last, EXCERPT));
        let page = read.await.map_err(Error::defect)??;
        let rows = ansi::excerpt(
            &page.text,
            LineAt {
                ordinal,
                line: page.first,
            },
        );
        Ok((!rows.is_empty()).then_some(Self { ordinal, rows }))
    }
}

impl Actions {
    /// On a deploy as it stands now, for somebody who may deploy the app or only look.
    pub(super) async fn new(store: &Store, deploy: &Deploy, may: bool) -> Result<Self, Error> {
        let live = store.live_deploy(&deploy.app).await?;
        let release = store
            .release_lines(&deploy.app, deploy.id, deploy.id)
            .await?
            .pop();
        let live = live.as_ref().map(|live| &live.commit);
        Ok(Self {
            path: deploy_path(deploy),
            cancel: may && deploy.status.is_open(),
            revert: may && release.is_some_and(|release| revertible(&release, live)),
            redeploy: may && !deploy.status.is_open(),
            deploy: deploy.clone(),
        })
    }
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    path: DeployPath,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, Error> {
    let asked = Asked::of(asked)?;
    let deploy = path.deploy(&web).await?;
    let (platform, store) = (web.platform(), &web.platform().store);
    let (sections, cursor) = sections(platform, &deploy, &asked).await?;
    html(&DeployPage {
        layout: Layout::new(
            &format!("{} · deploy {}", deploy.app, deploy.id),
            Some(&who),
        )
        .in_state(super::State::of(deploy.status)),
        head: Head::new(platform, &deploy).await?,
        timings: Timings::new(store, &deploy).await?,
        changes: Changes::new(store, &deploy).await?,
        ran: Ran::new(platform, &deploy).await?,
        results: results(platform, &deploy, &asked).await?,
        q: asked.text().to_owned(),
        longest: LONGEST_QUERY,
        sections,
        actions: Actions::new(store, &deploy, who.may_deploy(&deploy.app)).await?,
        path: deploy_path(&deploy),
        going: going(&deploy),
        reloads: going(&deploy) && !asked.is_fixed(),
        cursor,
        deploy,
    })
}

/// Stops a deploy.
pub(super) async fn cancel(
    State(web): State<Web>,
    who: Who,
    path: DeployPath,
) -> Result<Redirect, Error> {
    let deploy = path.deploy(&web).await?;
    web.ask(&who, DeployCancel { id: deploy.id }).await?;
    Ok(Redirect::to(&deploy_path(&deploy)))
}
