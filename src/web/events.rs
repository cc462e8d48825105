//! `/apps/{app}/deploys/{id}/events`: a deploy as it happens, as server-sent events.
//!
//! An event's id is the log cursor behind it, so a browser that comes back with `Last-Event-ID`
//! goes on exactly where it was. A phase's start carries no id: it is told again to who comes back
//! before the first line, and telling it twice changes nothing.

use std::convert::Infallible;

use askama::Template;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::app::Progress;
use crate::domain::{Deploy, DeployId, PhaseStatus, PhaseTiming};
use crate::logs::Cursor;
use crate::platform::Platform;

use super::changes::Changes;
use super::deploy::{Actions, Head};
use super::error::Error;
use super::feed::{Viewer, wire};
use super::guard::Who;
use super::log::{Section, Summary};
use super::view::Took;
use super::waterfall::Timings;
use super::{DeployPath, Web, ansi};

/// Where to begin.
#[derive(Debug, Deserialize)]
pub(super) struct ResumeFrom {
    from: Option<Cursor>,
}

/// A phase began or ended. The parts of the page that this changes come ready-made.
#[derive(Serialize)]
struct PhaseEvent {
    ordinal: usize,
    name: String,
    status: &'static str,
    duration: Option<String>,
    head: String,
    timings: String,
    summary: String,
    /// The section to put up, when it began.
    section: Option<String>,
    /// What the deploy brings, once that is known.
    changes: Option<String>,
}

/// Lines of one phase.
#[derive(Serialize)]
struct LinesEvent {
    ordinal: usize,
    /// The first one's number.
    first: u64,
    lines: Vec<String>,
}

/// The deploy has ended.
#[derive(Serialize)]
struct FinishedEvent {
    status: &'static str,
    head: String,
    timings: String,
    actions: String,
    changes: String,
}

/// The stream.
pub(super) async fn stream(
    State(web): State<Web>,
    who: Who,
    path: DeployPath,
    from: Result<Query<ResumeFrom>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let deploy = path.deploy(&web).await?;
    let Query(ResumeFrom { from }) = from.map_err(|_| Error::bad("from= takes a log position"))?;
    let last: Option<Cursor> = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let at = within(web.platform(), &deploy, last.or(from).unwrap_or_default())?.into();
    let viewer = web
        .feeds
        .watch(web.platform(), deploy.id, who.may_deploy(&deploy.app), at);
    let events =
        stream::unfold(viewer, move |viewer| next(viewer, deploy.id)).take_until(web.stream_end());
    let kind = HeaderValue::from_static("text/event-stream");
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// A place that the log has: others take up the feed where the first who watches begins it.
fn within(platform: &Platform, deploy: &Deploy, cursor: Cursor) -> Result<Cursor, Error> {
    let last = deploy.phases.len();
    if cursor.ordinal >= last {
        return Ok(Cursor {
            ordinal: last,
            offset: 0,
        });
    }
    let size = platform.logs.size(deploy.id, cursor.ordinal)?;
    Ok(Cursor {
        offset: cursor.offset.min(size),
        ..cursor
    })
}

/// What is sent next; nothing when the deploy has ended or something broke.
async fn next(mut viewer: Viewer, id: DeployId) -> Option<(Result<Bytes, Infallible>, Viewer)> {
    match viewer.next().await {
        Ok(bytes) => bytes.map(|bytes| (Ok(bytes), viewer)),
        Err(error) => {
            tracing::error!(
                deploy = id.0,
                ?error,
                "the event stream of deploy {id} failed: {error:?}"
            );
            None
        }
    }
}

/// An event as it is sent.
pub(super) struct Rendered(pub(super) Bytes);

/// Makes an event of what happened, for somebody who may deploy the app or may not; of lines, the first
/// has the number `first`.
pub(super) async fn render(
    platform: &Platform,
    id: DeployId,
    may: bool,
    progress: Progress,
    first: u64,
) -> Result<Rendered, Error> {
    let store = &platform.store;
    let bytes = match progress {
        Progress::Lines { next, text } => wire(
            "lines",
            Some(next),
            &LinesEvent {
                ordinal: next.ordinal,
                first,
                lines: ansi::told(&text),
            },
        )?,
        Progress::Started { ordinal, .. } => {
            let deploy = store.deploy(id).await?;
            let timing = deploy
                .phases
                .get(ordinal)
                .ok_or_else(|| Error::defect("a phase without a row"))?;
            let section = (timing.status != PhaseStatus::Skipped)
                .then(|| {
                    Section::empty(&deploy, ordinal, timing)
                        .render()
                        .map_err(Error::defect)
                })
                .transpose()?;
            wire(
                "phase",
                None,
                &phase(platform, &deploy, ordinal, timing, section).await?,
            )?
        }
        Progress::Ended { ordinal, timing } => {
            let deploy = store.deploy(id).await?;
            let mut ended = phase(platform, &deploy, ordinal, &timing, None).await?;
            // Git has had a phase's time by then.
            if ordinal < 2 {
                ended.changes = Some(changes(platform, &deploy).await?);
            }
            wire(
                "phase",
                Some(Cursor {
                    ordinal: ordinal + 1,
                    offset: 0,
                }),
                &ended,
            )?
        }
        Progress::Finished(deploy) => {
            let head = Head::new(platform, &deploy).await?;
            let (timings, actions) = (
                Timings::new(store, &deploy).await?,
                Actions::new(store, &deploy, may).await?,
            );
            let finished = FinishedEvent {
                status: deploy.status.as_str(),
                head: head.render().map_err(Error::defect)?,
                timings: timings.render().map_err(Error::defect)?,
                actions: actions.render().map_err(Error::defect)?,
                changes: changes(platform, &deploy).await?,
            };
            wire("finished", None, &finished)?
        }
    };
    Ok(Rendered(bytes))
}

async fn changes(platform: &Platform, deploy: &Deploy) -> Result<String, Error> {
    Changes::new(&platform.store, deploy)
        .await?
        .render()
        .map_err(Error::defect)
}

async fn phase(
    platform: &Platform,
    deploy: &Deploy,
    ordinal: usize,
    timing: &PhaseTiming,
    section: Option<String>,
) -> Result<PhaseEvent, Error> {
    Ok(PhaseEvent {
        ordinal,
        name: timing.phase.to_string(),
        status: timing.status.as_str(),
        duration: timing.duration_ms.map(|ms| Took::fixed(ms).text),
        head: Head::new(platform, deploy)
            .await?
            .render()
            .map_err(Error::defect)?,
        timings: Timings::new(&platform.store, deploy)
            .await?
            .render()
            .map_err(Error::defect)?,
        summary: Summary::new(deploy, timing)
            .render()
            .map_err(Error::defect)?,
        section,
        changes: None,
    })
}
