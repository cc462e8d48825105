//! `/apps/{app}/deploys/{id}/events`: a deploy as it happens, as server-sent events.
//!
//! An event's id is the log cursor behind it, so a browser that comes back with `Last-Event-ID`
//! goes on exactly where it was. A phase's start carries no id: it is told again to who comes back
//! before the first line, and telling it twice changes nothing.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};

use crate::deploy::{Follower, Progress, Windlass};
use crate::domain::{Deploy, DeployId, PhaseStatus, PhaseTiming};
use crate::logs::Cursor;

use super::deploy::{Actions, Head, Section, Summary, Timings};
use super::doors::Who;
use super::error::Error;
use super::view::Took;
use super::{DeployPath, Web, ansi};

/// Where to begin.
#[derive(Debug, Deserialize)]
pub(super) struct From {
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
}

/// Lines of one phase, as rows.
#[derive(Serialize)]
struct LinesEvent {
    ordinal: usize,
    html: String,
}

/// The deploy has ended.
#[derive(Serialize)]
struct FinishedEvent {
    status: &'static str,
    head: String,
    timings: String,
    actions: String,
}

/// The stream.
pub(super) async fn stream(
    State(web): State<Web>,
    who: Who,
    path: DeployPath,
    from: Result<Query<From>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let deploy = path.deploy(&web).await?;
    let Query(From { from }) = from.map_err(|_| Error::bad("from= takes a log position"))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let follower = web.windlass.follow(deploy.id, last.or(from).unwrap_or_default());
    let events = stream::unfold(Some(follower), move |follower| {
        let (web, who) = (web.clone(), who.clone());
        async move { next(&web, &who, follower?, deploy.id).await }
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(keep_alive))
}

type Step = (Result<Event, Infallible>, Option<Follower>);

/// The next event; none when the deploy has ended, the server stops or something broke.
async fn next(web: &Web, who: &Who, mut follower: Follower, id: DeployId) -> Option<Step> {
    let progress = tokio::select! {
        () = web.shutdown.cancelled() => return None,
        progress = follower.next() => progress,
    };
    let event = match progress {
        Ok(Some(progress)) => {
            let last = matches!(progress, Progress::Finished(_));
            event(&web.windlass, who, id, progress).await.map(|event| (event, last))
        }
        Ok(None) => return None,
        Err(error) => Err(error.into()),
    };
    match event {
        Ok((event, last)) => Some((Ok(event), (!last).then_some(follower))),
        Err(error) => {
            tracing::error!(deploy = id.0, ?error, "the event stream of deploy {id} failed: {error:?}");
            None
        }
    }
}

async fn event(windlass: &Windlass, who: &Who, id: DeployId, progress: Progress) -> Result<Event, Error> {
    let store = &windlass.store;
    match progress {
        Progress::Lines { next, text } => {
            let lines = LinesEvent { ordinal: next.ordinal, html: ansi::rows(&text) };
            Ok(told("lines", &lines)?.id(next.to_string()))
        }
        Progress::Started { ordinal, .. } => {
            let deploy = store.deploy(id).await?;
            let timing = deploy.phases.get(ordinal).ok_or_else(|| Error::defect("a phase without a row"))?;
            let section = (timing.status != PhaseStatus::Skipped)
                .then(|| Section::empty(&deploy, ordinal, timing).render().map_err(Error::defect))
                .transpose()?;
            told("phase", &phase(windlass, &deploy, ordinal, timing, section).await?)
        }
        Progress::Ended { ordinal, timing } => {
            let deploy = store.deploy(id).await?;
            let ended = phase(windlass, &deploy, ordinal, &timing, None).await?;
            let behind = Cursor { ordinal: ordinal + 1, offset: 0 };
            Ok(told("phase", &ended)?.id(behind.to_string()))
        }
        Progress::Finished(deploy) => {
            let (head, actions) =
                (Head::new(store, &deploy).await?, Actions::new(store, &deploy, who).await?);
            let finished = FinishedEvent {
                status: deploy.status.as_str(),
                head: head.render().map_err(Error::defect)?,
                timings: Timings::new(&deploy).render().map_err(Error::defect)?,
                actions: actions.render().map_err(Error::defect)?,
            };
            told("finished", &finished)
        }
    }
}

async fn phase(
    windlass: &Windlass,
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
        head: Head::new(&windlass.store, deploy).await?.render().map_err(Error::defect)?,
        timings: Timings::new(deploy).render().map_err(Error::defect)?,
        summary: Summary::new(deploy, timing).render().map_err(Error::defect)?,
        section,
    })
}

fn told(name: &str, data: &impl Serialize) -> Result<Event, Error> {
    Ok(Event::default().event(name).data(serde_json::to_string(data).map_err(Error::defect)?))
}
