//! `/apps/{app}/deploys/{id}`: one deploy, its timings, its log and, where it failed, why.
//!
//! The page is made of parts that the event stream sends again when they change; so the parts have
//! templates of their own and the page only puts them together.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures_util::{Stream, stream};

use crate::deploy::Windlass;
use crate::domain::{Deploy, DeployStatus, PhaseStatus, PhaseTiming};
use crate::logs::Cursor;
use crate::store::Store;

use super::app::revertible;
use super::doors::Who;
use super::error::Error;
use super::tail::{Tail, tail};
use super::view::{Badge, Segment, Took, When, going, length, phase_badge, segments};
use super::{DeployPath, Layout, Web, ansi, deploy_path, html};

#[derive(Template)]
#[template(path = "deploy.html")]
struct DeployPage {
    layout: Layout,
    head: Head,
    timings: Timings,
    sections: Vec<Section>,
    actions: Actions,
    path: String,
    going: bool,
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
    serving: Option<Deploy>,
    serving_path: String,
    next: &'static str,
    /// A superseded or cancelled deploy is no alarm.
    calm: bool,
}

/// The phases and where the time went.
#[derive(Template)]
#[template(path = "deploy_timings.html")]
pub(super) struct Timings {
    rows: Vec<TimingRow>,
    /// What the bars' full width stands for, in milliseconds.
    length: u64,
    /// Whether a phase runs: then the script lets its bar grow.
    growing: bool,
}

struct TimingRow {
    ordinal: usize,
    timing: PhaseTiming,
    badge: Badge,
    took: Took,
    segment: Segment,
}

/// One phase's log.
#[derive(Template)]
#[template(path = "deploy_section.html")]
pub(super) struct Section {
    ordinal: usize,
    summary: Summary,
    open: bool,
    log: String,
    rows: String,
    /// Whether older lines are left out.
    cut: bool,
}

/// The line above one phase's log.
#[derive(Template)]
#[template(path = "deploy_summary.html")]
pub(super) struct Summary {
    name: String,
    badge: Badge,
    took: Took,
}

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
    pub(super) async fn new(store: &Store, deploy: &Deploy) -> Result<Self, Error> {
        Ok(Self {
            badge: deploy.status.into(),
            queued: deploy.queued_at.into(),
            took: Took::deploy(deploy),
            trouble: trouble(store, deploy).await?,
            deploy: deploy.clone(),
        })
    }
}

async fn trouble(store: &Store, deploy: &Deploy) -> Result<Option<Trouble>, Error> {
    let (title, next) = match deploy.status {
        DeployStatus::Failed => ("It failed", "Mend it, commit, and push again."),
        DeployStatus::Interrupted => {
            ("The server went away under it", "Push again, or deploy this commit again below.")
        }
        DeployStatus::Cancelled => ("It was cancelled", "Push again, or deploy this commit again below."),
        DeployStatus::Superseded => {
            ("A newer deploy took its place", "Look at the newer one in the list of deploys.")
        }
        _ => return Ok(None),
    };
    let failed_in = |phase: &str| format!("It failed in {phase}");
    let failure = deploy.failure.as_ref();
    let title = match failure {
        Some(failure) if deploy.status == DeployStatus::Failed => failed_in(&failure.phase),
        _ => title.to_owned(),
    };
    let serving = store.live_deploy(&deploy.app).await?;
    Ok(Some(Trouble {
        title,
        message: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
        serving_path: serving.as_ref().map(deploy_path).unwrap_or_default(),
        serving,
        next,
        calm: matches!(deploy.status, DeployStatus::Cancelled | DeployStatus::Superseded),
    }))
}

impl Timings {
    /// Of a deploy as it stands now.
    pub(super) fn new(deploy: &Deploy) -> Self {
        let going = going(deploy);
        let row = |((ordinal, timing), segment): ((usize, &PhaseTiming), Segment)| TimingRow {
            ordinal,
            badge: phase_badge(timing.status, going),
            took: Took::phase(timing, going),
            timing: timing.clone(),
            segment,
        };
        let length = length(deploy).max(1);
        let segments = segments(deploy, length);
        let rows: Vec<_> = deploy.phases.iter().enumerate().zip(segments).map(row).collect();
        let growing = rows.iter().any(|row| row.took.since.is_some());
        Self { rows, length, growing }
    }
}

impl Summary {
    /// Of a phase of a deploy as it stands now.
    pub(super) fn new(deploy: &Deploy, timing: &PhaseTiming) -> Self {
        let going = going(deploy);
        Self {
            name: timing.phase.to_string(),
            badge: phase_badge(timing.status, going),
            took: Took::phase(timing, going),
        }
    }
}

impl Section {
    /// One that has no lines yet.
    pub(super) fn empty(deploy: &Deploy, ordinal: usize, timing: &PhaseTiming) -> Self {
        let end = Cursor { ordinal, offset: 0 };
        Self::new(deploy, ordinal, timing, Tail { text: String::new(), cut: false, end })
    }

    fn new(deploy: &Deploy, ordinal: usize, timing: &PhaseTiming, tail: Tail) -> Self {
        Self {
            ordinal,
            summary: Summary::new(deploy, timing),
            // What is of interest: what goes on, or what went wrong.
            open: matches!(timing.status, PhaseStatus::Running | PhaseStatus::Failed),
            log: format!("{}/log", deploy_path(deploy)),
            rows: ansi::rows(&tail.text),
            cut: tail.cut,
        }
    }
}

impl Actions {
    /// On a deploy as it stands now, for somebody who may not do all of them.
    pub(super) async fn new(store: &Store, deploy: &Deploy, who: &Who) -> Result<Self, Error> {
        let live = store.live_deploy(&deploy.app).await?;
        let releases: Vec<_> = store.release(deploy.id).await?.into_iter().collect();
        let may = who.may_deploy(&deploy.app);
        Ok(Self {
            path: deploy_path(deploy),
            cancel: may && deploy.status.is_open(),
            revert: may && !revertible(&releases, live.as_ref().map(|live| &live.commit)).is_empty(),
            redeploy: may && !going(deploy),
            deploy: deploy.clone(),
        })
    }
}

/// The page.
pub(super) async fn page(State(web): State<Web>, who: Who, path: DeployPath) -> Result<Html<String>, Error> {
    let deploy = path.deploy(&web).await?;
    let store = &web.windlass.store;
    let (head, actions) = (Head::new(store, &deploy).await?, Actions::new(store, &deploy, &who).await?);
    let (sections, cursor) = sections(&web.windlass, &deploy).await?;
    html(&DeployPage {
        layout: Layout::new(&format!("{} · deploy {}", deploy.app, deploy.id), Some(&who))
            .in_state(super::State::of(deploy.status)),
        head,
        timings: Timings::new(&deploy),
        sections,
        actions,
        path: deploy_path(&deploy),
        going: going(&deploy),
        cursor,
        deploy,
    })
}

/// The log of each phase so far, and the place from which the event stream goes on.
async fn sections(windlass: &Windlass, deploy: &Deploy) -> Result<(Vec<Section>, Cursor), Error> {
    let (logs, id, count) = (windlass.logs.clone(), deploy.id, deploy.phases.len());
    let read = move || (0..count).map(|ordinal| tail(&logs, id, ordinal)).collect::<Result<Vec<_>, _>>();
    let tails = tokio::task::spawn_blocking(read).await.map_err(Error::defect)??;
    let mut cursor = Cursor::default();
    let mut sections = Vec::new();
    for ((ordinal, timing), tail) in deploy.phases.iter().enumerate().zip(tails) {
        // The rows were read before the files: a phase that they call ended is here to its end.
        let ended = timing.status != PhaseStatus::Running;
        cursor = if ended { Cursor { ordinal: ordinal + 1, offset: 0 } } else { tail.end };
        if timing.status != PhaseStatus::Skipped {
            sections.push(Section::new(deploy, ordinal, timing, tail));
        }
    }
    Ok((sections, cursor))
}

/// The whole log as plain text, a piece at a time.
pub(super) async fn log(State(web): State<Web>, path: DeployPath) -> Result<Response, Error> {
    let deploy = path.deploy(&web).await?;
    let file = format!("inline; filename=\"{}-{}.log\"", deploy.app, deploy.id);
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, file)];
    Ok((headers, Body::from_stream(log_text(web.windlass, deploy))).into_response())
}

fn log_text(windlass: Windlass, deploy: Deploy) -> impl Stream<Item = std::io::Result<String>> {
    stream::try_unfold((Cursor::default(), true), move |(cursor, title)| {
        let (windlass, deploy) = (windlass.clone(), deploy.clone());
        async move {
            let Some(timing) = deploy.phases.get(cursor.ordinal) else { return Ok(None) };
            if title {
                let head = format!("== {} ({})\n", timing.phase, timing.status.as_str());
                return Ok(Some((head, (cursor, false))));
            }
            let id = deploy.id;
            let read = tokio::task::spawn_blocking(move || windlass.logs.read(id, cursor));
            let (text, next) = read.await.map_err(std::io::Error::other)??;
            if text.is_empty() {
                let next = Cursor { ordinal: cursor.ordinal + 1, offset: 0 };
                return Ok(Some(("\n".to_owned(), (next, true))));
            }
            Ok(Some((ansi::plain(&text), (next, false))))
        }
    })
}

/// Stops a deploy.
pub(super) async fn cancel(
    State(web): State<Web>,
    Who(who): Who,
    path: DeployPath,
) -> Result<Redirect, Error> {
    let deploy = path.deploy(&web).await?;
    web.windlass.cancel(deploy.id, &who.name).await?;
    Ok(Redirect::to(&deploy_path(&deploy)))
}
