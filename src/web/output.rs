//! `/apps/{app}/logs`: what an app prints, across its releases: live, searched, back to its beginning.
//!
//! An event's id says how far the output of each release was read, so a browser that comes back goes on
//! exactly there, also with another server.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{Html, Sse};
use futures_util::{Stream, StreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Deserialize;

use crate::app::{AppLogFollower, AppLogQuery, AppPlaces, ClaimedPlaces, LineFilter, nanos_ago};
use crate::domain::{AppName, DeployId, HumanDuration, ProcessName, printable};
use crate::logs::{AppLine, ClaimedPlace, bare};

use super::error::Error;
use super::guard::Who;
use super::{AppPath, Layout, Web, ansi, html};

/// Lines on a page, and bytes of them: a page is to be light also where they hardly compress.
/// What need not be encoded in a query's value stays readable.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
const PAGE: (usize, usize) = (200, 36 * 1024);
/// The longest text to look for.
const LONGEST: usize = 200;
/// How far back one can look at once.
const AGES: [(&str, &str); 5] = [
    ("", "from the beginning"),
    ("10m", "the last 10 minutes"),
    ("1h", "the last hour"),
    ("24h", "the last day"),
    ("7d", "the last 7 days"),
];

#[derive(Template)]
#[template(path = "output.html")]
struct OutputPage {
    layout: Layout,
    app: AppName,
    rows: String,
    count: usize,
    q: String,
    /// Which processes there are to choose from, and whether it is the one chosen.
    processes: Vec<(ProcessName, bool)>,
    ages: Vec<(&'static str, &'static str, bool)>,
    /// Where what is older is shown.
    older: Option<String>,
    /// Where the events come from that go on here, and from which place; none on older pages.
    events: Option<(String, AppPlaces)>,
    /// This page, newest lines.
    newest: String,
}

/// Which lines.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    q: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    process: String,
    before: Option<String>,
}

/// Where to go on, and with which lines.
#[derive(Debug, Deserialize)]
pub(super) struct ResumeFrom {
    from: Option<String>,
    #[serde(default)]
    q: String,
    #[serde(default)]
    process: String,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(which) =
        which.map_err(|_| Error::bad("this page takes q=, since=, process= and before="))?;
    let q = wanted(&which.q);
    let process = process(&web, &app, &which.process).await?;
    let before: Option<ClaimedPlace> = which
        .before
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| Error::bad("before= takes a place in the log"))?;
    let before = match before {
        Some(place) => match crate::app::place_of(web.platform(), &app, place).await? {
            Some(place) => Some(place),
            None => return Err(Error::bad("before= takes a place in the log of this app")),
        },
        None => None,
    };
    let since = match which.since.as_str() {
        "" => None,
        age => {
            let age: HumanDuration = age
                .parse()
                .map_err(|error| Error::bad(format!("since= takes a time: {error}")))?;
            Some(nanos_ago(age.0.as_millis() as u64))
        }
    };
    let query = AppLogQuery {
        filter: LineFilter::new(&q, process.clone()),
        since,
        before,
        count: PAGE.0,
        bytes: PAGE.1,
    };
    let log = crate::app::read_log(web.platform(), &app, query).await?;
    let wanted = match &process {
        Some(process) => format!("q={}&process={process}", encoded(&q)),
        None => format!("q={}", encoded(&q)),
    };
    let link = |more: &str| {
        let since = encoded(&which.since);
        format!("/apps/{app}/logs?{wanted}&since={since}{more}")
    };
    let events = before.is_none().then(|| {
        let path = format!("/apps/{app}/logs/events?{wanted}");
        (path, log.end.clone())
    });
    let processes = web.platform().store.process_names(&app).await?;
    let chosen = |name: ProcessName| (name.clone(), process.as_ref() == Some(&name));
    html(&OutputPage {
        layout: Layout::new(&format!("Log of {app}"), Some(&who)),
        rows: rows(&log.lines, DeployId(0), &q, &app),
        count: log.lines.len(),
        ages: AGES
            .map(|(age, words)| (age, words, age == which.since))
            .into(),
        older: log.older.map(|place| link(&format!("&before={place}"))),
        newest: link(""),
        processes: processes.into_iter().map(chosen).collect(),
        events,
        q,
        app,
    })
}

/// What is looked for: one line of text, and not an endless one.
fn wanted(q: &str) -> String {
    printable(q.trim(), LONGEST)
}

/// The process whose lines alone are wanted, if one is.
async fn process(web: &Web, app: &AppName, named: &str) -> Result<Option<ProcessName>, Error> {
    if named.is_empty() {
        return Ok(None);
    }
    let name: ProcessName = named
        .parse()
        .map_err(|error| Error::bad(format!("process=: {error}")))?;
    let known = crate::app::process_of(web.platform(), app, name).await;
    known
        .map(Some)
        .map_err(|error| Error::bad(error.to_string()))
}

/// A text as the value in a query.
fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, QUERY_VALUE)
}

/// Lines as rows, with a mark where another release's begin.
fn rows(lines: &[AppLine], mut release: DeployId, q: &str, app: &AppName) -> String {
    let mut html = String::with_capacity(lines.len() * 120);
    for line in lines {
        if line.deploy != release {
            release = line.deploy;
            let day = line.at.get(..10).unwrap_or_default();
            let _ = write!(
                html,
                "<div class=\"mark\"><a href=\"/apps/{app}/deploys/{release}\">deploy {release}</a> from {day} on, UTC</div>",
                day = ansi::line_html(day)
            );
        }
        let at: String = line
            .at
            .chars()
            .skip(11)
            .take(8)
            .filter(|c| c.is_ascii_digit() || *c == ':')
            .collect();
        let class = if line.stderr { " class=\"err\"" } else { "" };
        // What serves alone needs no name.
        let by = match line.replica.is_web() {
            true => String::new(),
            false => format!("<b>{}</b> ", line.replica),
        };
        let _ = write!(
            html,
            "<div data-t=\"{at}\"{class}>{by}{}</div>",
            marked(&line.text, q)
        );
    }
    html
}

/// A line as HTML, with what was looked for marked, where its colours do not cross it.
fn marked(line: &str, q: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let found = (!q.is_empty())
        .then(|| lower.find(&q.to_ascii_lowercase()))
        .flatten();
    let Some(at) = found else {
        return ansi::line_html(line);
    };
    // What stands in colours stays whole.
    if bare(line) != line {
        return ansi::line_html(line);
    }
    let (before, rest) = line.split_at(at);
    let (found, after) = rest.split_at(q.len().min(rest.len()));
    let part = ansi::line_html;
    format!(
        "{}<mark>{}</mark>{}",
        part(before),
        part(found),
        part(after)
    )
}

/// The stream of what comes.
pub(super) async fn stream(
    State(web): State<Web>,
    AppPath(app): AppPath,
    from: Result<Query<ResumeFrom>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let Query(ResumeFrom {
        from,
        q,
        process: p,
    }) = from.map_err(|_| Error::bad("this stream takes from=, process= and q="))?;
    web.platform().store.app(&app).await?;
    let process = process(&web, &app, &p).await?;
    let from: Option<ClaimedPlaces> = from
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| Error::bad("from= takes a place in the log"))?;
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let q = wanted(&q);
    let claimed = match last.or(from) {
        Some(claimed) => claimed.of(web.platform(), &app).await?,
        None => None,
    };
    let at = match claimed {
        Some(at) => at,
        None => {
            crate::app::read_log(web.platform(), &app, AppLogQuery::default())
                .await?
                .end
        }
    };
    let release = at.last;
    let follower = crate::app::follow_log(web.platform(), &app, at, LineFilter::new(&q, process));
    let end = web.stream_end();
    let events = stream::unfold(Some((follower, release)), move |state| {
        let (app, q) = (app.clone(), q.clone());
        async move { next(&app, &q, state?).await }
    });
    let events = events.take_until(end);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

type State_ = (AppLogFollower, DeployId);

async fn next(
    app: &AppName,
    q: &str,
    (mut follower, release): State_,
) -> Option<(Result<Event, Infallible>, Option<State_>)> {
    let (lines, at) = match follower.next().await {
        Ok(told) => told,
        Err(error) => {
            tracing::warn!(%app, %error, "the stream of an app's log failed: {error}");
            return None;
        }
    };
    let last = lines.last().map_or(release, |line| line.deploy);
    let data = serde_json::to_string(&rows(&lines, release, q, app)).ok()?;
    let event = Event::default()
        .event("lines")
        .id(at.to_string())
        .data(data);
    Some((Ok(event), Some((follower, last))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(deploy: i64, text: &str) -> AppLine {
        AppLine {
            at: "2026-11-21T10:20:30.000000000Z".into(),
            deploy: DeployId(deploy),
            replica: crate::domain::Replica::web(),
            stderr: deploy % 2 == 0,
            text: text.into(),
        }
    }

    #[test]
    fn rows_mark_releases_streams_and_what_was_looked_for_and_nothing_is_markup() {
        let lines = [
            line(1, "fine"),
            line(2, "<b>No such Table</b>"),
            line(2, "\u{1b}[31mno such table\u{1b}[0m"),
        ];
        let html = rows(&lines, DeployId(1), "no such", &"shop".parse().unwrap());
        assert_eq!(html.matches("class=\"mark\"").count(), 1);
        assert!(
            html.contains(
                "<div data-t=\"10:20:30\" class=\"err\">&lt;b&gt;<mark>No such</mark> Table"
            ),
            "{html}"
        );
        assert!(
            html.contains("<span class=\"f1\">no such table</span>") && !html.contains("<b>"),
            "{html}"
        );
        assert_eq!(encoded("a b&c<ü").to_string(), "a%20b%26c%3C%C3%BC");
        // Letters that grow when they are made small do not move the mark off its word.
        for odd in ["İİİ no such", "ſ no such x", "no suc"] {
            let _ = marked(odd, "no such");
            let _ = marked("no such", odd);
        }
    }
}
