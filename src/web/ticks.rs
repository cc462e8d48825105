//! `/events` and `/apps/{app}/events`: that something has changed, as server-sent events.
//!
//! An event says "look again" and nothing else: the page is then fetched anew. So nothing is lost and
//! nothing repeated, by construction. Its id is the [`Edition`] that there is now; whoever comes back
//! with another one, or with a page of another one, is told at once, be it after a lost connection or
//! by another server. Nobody is told of an app that they may not see.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::time::Instant;

use crate::platform::{Edition, Reader};

use super::error::Error;
use super::guard::Who;
use super::{AppPath, Web};

/// Between two events of a stream: what happens meanwhile is one.
const APART: Duration = Duration::from_millis(350);
/// How soon a browser comes back after a lost connection.
const RETRY: Duration = Duration::from_secs(1);

/// What page is open.
#[derive(Debug, Deserialize)]
pub(super) struct ResumeFrom {
    from: Option<String>,
}

type FromQuery = Result<Query<ResumeFrom>, axum::extract::rejection::QueryRejection>;
type Told = Result<Event, Infallible>;

/// Of every app that the one who asks may see.
pub(super) async fn of_all(
    State(web): State<Web>,
    Who(who): Who,
    from: FromQuery,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Told>>, Error> {
    let from = known(from, &headers)?;
    let reader = web.platform().change_feed.follow(move |app| who.sees(app));
    Ok(events(web, reader, from))
}

/// Of one app.
pub(super) async fn of_app(
    State(web): State<Web>,
    AppPath(app): AppPath,
    from: FromQuery,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Told>>, Error> {
    let from = known(from, &headers)?;
    web.platform().store.app(&app).await?;
    let reader = web
        .platform()
        .change_feed
        .follow(move |other| *other == app);
    Ok(events(web, reader, from))
}

/// What the one who asks has seen already: the last event, or else the page.
fn known(from: FromQuery, headers: &HeaderMap) -> Result<Option<Edition>, Error> {
    let Query(ResumeFrom { from }) =
        from.map_err(|_| Error::bad("from= takes what a page was made with"))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    Ok(last
        .or(from.as_deref())
        .and_then(|edition| edition.parse().ok()))
}

fn events(web: Web, reader: Reader, from: Option<Edition>) -> Sse<impl Stream<Item = Told>> {
    let begin = stream::iter([Ok(Event::default().retry(RETRY))]);
    let begun = Stand {
        reader,
        known: from,
        quiet_until: Instant::now(),
    };
    let changes = stream::unfold(begun, |mut stand| async move {
        Some((Ok(stand.next().await?), stand))
    });
    let changes = changes.take_until(web.stream_end());
    Sse::new(begin.chain(changes)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

/// Where a stream stands.
struct Stand {
    reader: Reader,
    known: Option<Edition>,
    quiet_until: Instant,
}

impl Stand {
    /// The next event; none when there will be no more.
    async fn next(&mut self) -> Option<Event> {
        self.reader.other_than(self.known).await?;
        tokio::time::sleep_until(self.quiet_until).await;
        let edition = self.reader.edition();
        self.known = Some(edition);
        self.quiet_until = Instant::now() + APART;
        Some(
            Event::default()
                .event("changed")
                .id(edition.to_string())
                .data("{}"),
        )
    }
}
