//! A deploy's log in its page, phase by phase: a window of lines around any one of them, whatever the
//! length, and a search through all.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::domain::{Deploy, DeployStatus, PhaseStatus, PhaseTiming};
use crate::logs::{Cursor, Hit, LONGEST_QUERY, LineAt, Page, PageSize, Place};
use crate::platform::Platform;

use super::deploy::EXCERPT;
use super::error::Error;
use super::view::{Badge, Took, going, phase_badge};
use super::{DeployPath, Web, ansi, deploy_path};

/// What a page shows of the phase of interest, and what is loaded at once as one scrolls: two of the
/// longest lines at least.
const WINDOW: PageSize = PageSize {
    lines: 500,
    bytes: 33 * 1024,
};

/// What it shows of the others: their last words.
const GLANCE: PageSize = PageSize {
    lines: 100,
    bytes: 17 * 1024,
};

/// The most that a page shows of all phases, in bytes. Lines that hardly compress go over the wire in
/// about their own size, and a page is to be light whatever they hold.
const ROOM: u64 = 36 * 1024;

/// The most lines that a search shows at once.
const HITS: usize = 100;

/// Searches read whole logs: so many at a time.
static SEARCHES: Semaphore = Semaphore::const_new(2);

/// What of a log is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    /// This line, in the middle.
    line: Option<LineAt>,
    /// The lines from this one on.
    from: Option<LineAt>,
    /// The lines right before this one.
    before: Option<LineAt>,
    /// The lines with this text.
    #[serde(default)]
    q: String,
    /// Of these, those behind this one.
    after: Option<LineAt>,
    /// The page is to stay as it is, also without a script.
    #[serde(default)]
    still: bool,
}

impl Asked {
    /// What a query says.
    pub(super) fn of(query: Result<Query<Self>, QueryRejection>) -> Result<Self, Error> {
        match query {
            Ok(Query(asked)) => Ok(asked),
            Err(_) => Err(Error::bad(
                "line=, from=, before= and after= take a line of a log: 1.234 is line 234 of the second phase",
            )),
        }
    }

    /// Whether it is about something that stays where it is.
    pub(super) fn is_fixed(&self) -> bool {
        self.still || self.place().is_some() || !self.q.is_empty()
    }

    /// The text that is looked for; empty for none.
    pub(super) fn text(&self) -> &str {
        &self.q
    }

    /// Which lines of which phase.
    fn place(&self) -> Option<(usize, Place)> {
        let line = self.line.map(|at| (at.ordinal, Place::Around(at.line)));
        let from = self.from.map(|at| (at.ordinal, Place::From(at.line)));
        line.or(from)
            .or(self.before.map(|at| (at.ordinal, Place::Before(at.line))))
    }
}

/// One phase's log.
#[derive(Template)]
#[template(path = "deploy_section.html")]
pub(super) struct Section {
    ordinal: usize,
    summary: Summary,
    open: bool,
    path: String,
    rows: String,
    page: Page,
    /// Where the page before begins, for who comes without a script.
    earlier: LineAt,
    later: LineAt,
}

/// The line above one phase's log.
#[derive(Template)]
#[template(path = "deploy_summary.html")]
pub(super) struct Summary {
    name: String,
    badge: Badge,
    took: Took,
}

/// The lines in which something was found.
#[derive(Template)]
#[template(path = "deploy_found.html")]
pub(super) struct Results {
    q: String,
    hits: Vec<(String, String, Hit)>,
    more: u64,
    /// Where the next ones begin.
    after: Option<LineAt>,
    /// Whether these are the next ones.
    later: bool,
    path: String,
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

/// What is of interest: what goes on, or what went wrong.
fn interesting(timing: &PhaseTiming) -> bool {
    matches!(timing.status, PhaseStatus::Running | PhaseStatus::Failed)
}

impl Section {
    /// One that has no lines yet.
    pub(super) fn empty(deploy: &Deploy, ordinal: usize, timing: &PhaseTiming) -> Self {
        let page = Page {
            first: 1,
            next: 1,
            ..Page::default()
        };
        Self::new(deploy, ordinal, timing, page, interesting(timing))
    }

    fn new(deploy: &Deploy, ordinal: usize, timing: &PhaseTiming, page: Page, open: bool) -> Self {
        let first = LineAt {
            ordinal,
            line: page.first,
        };
        Self {
            ordinal,
            summary: Summary::new(deploy, timing),
            open,
            path: deploy_path(deploy),
            rows: ansi::rows(&page.text, first),
            earlier: first,
            later: LineAt {
                ordinal,
                line: page.next,
            },
            page,
        }
    }
}

/// The places of the phases: what is open comes first, and then the latest.
fn by_interest(opened: &[bool]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..opened.len()).rev().collect();
    places.sort_by_key(|place| !opened[*place]);
    places
}

/// The log of each phase so far, and the place from which the event stream goes on.
pub(super) async fn sections(
    platform: &Platform,
    deploy: &Deploy,
    asked: &Asked,
) -> Result<(Vec<Section>, Cursor), Error> {
    let (logs, id, place) = (platform.logs.clone(), deploy.id, asked.place());
    let is_asked = move |ordinal| {
        place
            .filter(|(of, _)| *of == ordinal)
            .map(|(_, place)| place)
    };
    let quiet = !asked.q.is_empty();
    let open = move |ordinal, timing: &PhaseTiming| match place {
        Some((of, _)) => of == ordinal,
        None => interesting(timing) && !quiet,
    };
    let opened: Vec<bool> = deploy
        .phases
        .iter()
        .enumerate()
        .map(|(n, timing)| open(n, timing))
        .collect();
    // Why it failed stands above the log as well.
    let excerpt = if deploy.status == DeployStatus::Failed {
        EXCERPT.bytes
    } else {
        0
    };
    let read = move || {
        let mut room = ROOM - excerpt;
        let mut pages = vec![Page::default(); opened.len()];
        for ordinal in by_interest(&opened) {
            let size = if opened[ordinal] { WINDOW } else { GLANCE };
            let page = match is_asked(ordinal) {
                Some(place) => logs.page(id, ordinal, place, size)?,
                None => logs.page(id, ordinal, Place::Last, size.within(room))?,
            };
            room = room.saturating_sub(page.text.len() as u64);
            pages[ordinal] = page;
        }
        Ok::<_, std::io::Error>(pages)
    };
    let pages = tokio::task::spawn_blocking(read)
        .await
        .map_err(Error::defect)??;
    let mut cursor = Cursor::default();
    let mut sections = Vec::new();
    for ((ordinal, timing), page) in deploy.phases.iter().enumerate().zip(pages) {
        // The rows were read before the files: a phase that they call ended is here to its end.
        let ended = timing.status != PhaseStatus::Running;
        cursor = match ended {
            true => Cursor {
                ordinal: ordinal + 1,
                offset: 0,
            },
            false => Cursor {
                ordinal,
                offset: page.end,
            },
        };
        if timing.status != PhaseStatus::Skipped {
            sections.push(Section::new(
                deploy,
                ordinal,
                timing,
                page,
                open(ordinal, timing),
            ));
        }
    }
    Ok((sections, cursor))
}

/// What a search finds; nothing where none was asked for.
pub(super) async fn results(
    platform: &Platform,
    deploy: &Deploy,
    asked: &Asked,
) -> Result<Option<Results>, Error> {
    if asked.q.is_empty() {
        return Ok(None);
    }
    let q: String = asked.q.chars().take(LONGEST_QUERY).collect();
    let (logs, id, count, after) = (
        platform.logs.clone(),
        deploy.id,
        deploy.phases.len(),
        asked.after,
    );
    let _turn = SEARCHES.acquire().await.map_err(Error::defect)?;
    let query = q.clone();
    let search = move || logs.search(id, count, &query, after, HITS);
    let found = tokio::task::spawn_blocking(search)
        .await
        .map_err(Error::defect)??;
    let last = found.hits.last().map(|hit| hit.at);
    let named = |hit: Hit| {
        let phase = deploy
            .phases
            .get(hit.at.ordinal)
            .map(|timing| timing.phase.to_string());
        (phase.unwrap_or_default(), ansi::anchor(hit.at), hit)
    };
    Ok(Some(Results {
        q,
        hits: found.hits.into_iter().map(named).collect(),
        more: found.more,
        after: last.filter(|_| found.more > 0),
        later: after.is_some(),
        path: deploy_path(deploy),
    }))
}

/// A page of one phase's lines, for the script.
#[derive(Serialize)]
struct Lines {
    first: u64,
    next: u64,
    total: u64,
    lines: Vec<String>,
}

/// The lines before or behind one, or the last ones of the first phase.
pub(super) async fn lines(
    State(web): State<Web>,
    path: DeployPath,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Error> {
    let asked = Asked::of(asked)?;
    let deploy = path.deploy(&web).await?;
    let (ordinal, place) = asked.place().unwrap_or((0, Place::Last));
    let (logs, id) = (web.platform().logs.clone(), deploy.id);
    let read = tokio::task::spawn_blocking(move || logs.page(id, ordinal, place, WINDOW));
    let Page {
        text,
        first,
        next,
        total,
        ..
    } = read.await.map_err(Error::defect)??;
    Ok(Json(Lines {
        first,
        next,
        total,
        lines: ansi::told(&text),
    })
    .into_response())
}

/// What of the log is wanted as text.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// Only this phase, by its place.
    phase: Option<usize>,
    /// As a file to be kept.
    download: Option<String>,
}

/// The log as plain text, a piece at a time.
pub(super) async fn log(
    State(web): State<Web>,
    path: DeployPath,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(wanted) =
        wanted.map_err(|_| Error::bad("phase= takes a phase's place in the deploy, from 0"))?;
    let deploy = path.deploy(&web).await?;
    let phase = match wanted.phase {
        None => String::new(),
        Some(ordinal) => {
            let timing = deploy.phases.get(ordinal).ok_or_else(Error::not_found)?;
            format!("-{}", timing.phase.to_string().replace(':', "-"))
        }
    };
    let how = if wanted.download.is_some() {
        "attachment"
    } else {
        "inline"
    };
    let file = format!(
        "{how}; filename=\"{}-{}{phase}.log\"",
        deploy.app, deploy.id
    );
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, file),
    ];
    Ok((
        headers,
        Body::from_stream(log_text(web.services.platform, deploy, wanted.phase)),
    )
        .into_response())
}

/// The whole log, each phase under its name; or one phase's lines and nothing else.
fn log_text(
    platform: Arc<Platform>,
    deploy: Deploy,
    only: Option<usize>,
) -> impl Stream<Item = std::io::Result<String>> {
    let begin = Cursor {
        ordinal: only.unwrap_or(0),
        offset: 0,
    };
    stream::try_unfold((begin, only.is_none()), move |(cursor, title)| {
        let (platform, deploy) = (platform.clone(), deploy.clone());
        async move {
            let Some(timing) = deploy.phases.get(cursor.ordinal) else {
                return Ok(None);
            };
            if title {
                let head = format!("== {} ({})\n", timing.phase, timing.status.as_str());
                return Ok(Some((head, (cursor, false))));
            }
            let id = deploy.id;
            let read = tokio::task::spawn_blocking(move || platform.logs.read(id, cursor));
            let (text, next) = read.await.map_err(std::io::Error::other)??;
            if !text.is_empty() {
                return Ok(Some((ansi::plain(&text), (next, false))));
            }
            if only.is_some() {
                return Ok(None);
            }
            let next = Cursor {
                ordinal: cursor.ordinal + 1,
                offset: 0,
            };
            Ok(Some(("\n".to_owned(), (next, true))))
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use crate::domain::DeployId;
    use crate::web::tests::{World, row_texts, text};

    /// A deploy whose build has printed so many lines.
    async fn long(lines: usize) -> (World, DeployId, String) {
        let world = World::new().await;
        world.create_app("shop").await;
        let id = world.start("shop", "Add a page", "Ada").await;
        world.begin(id, 0, "checkout").await.say("resolved");
        world.end(id, 0, super::PhaseStatus::Ok, 10).await;
        let log = world.begin(id, 1, "build").await;
        let printed: String = (1..=lines)
            .map(|n| format!("\x1b[32mline\x1b[0m {n} <b>\n"))
            .collect();
        log.output(printed.as_bytes());
        (world, id, format!("/apps/shop/deploys/{id}"))
    }

    #[tokio::test]
    async fn any_line_of_a_long_log_has_an_address_and_pages_lead_everywhere() {
        let (world, _, path) = long(20_000).await;
        let page = text(world.get(&path).await).await;
        assert_eq!(row_texts(&page).len(), 501);
        assert!(
            page.contains("id=\"p1-L20000\"") && page.contains("href=\"?before=1.19501#phase-1\"")
        );
        assert!(page.contains("data-first=\"19501\" data-next=\"20001\" data-total=\"20000\""));

        let page = text(world.get(&format!("{path}?line=1.7000")).await).await;
        let rows = row_texts(&page);
        assert_eq!(rows.len(), 501);
        assert!(page.contains("<a id=\"p1-L7000\" href=\"?line=1.7000#p1-L7000\""));
        assert!(page.contains("id=\"phase-1\" open"));
        assert!(
            !page.contains("http-equiv=\"refresh\""),
            "what one reads stays"
        );
        let from = page
            .split_once("data-from=\"")
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let end = text(world.get(&path).await).await;
        assert!(
            end.contains(&format!("data-from=\"{from}\"")),
            "the stream goes on from the end in any case"
        );

        for (query, first, next) in [
            ("from=1.501", 501, 1001),
            ("before=1.501", 1, 501),
            ("line=1.20000", 19750, 20001),
            ("before=1.18446744073709551615", 19501, 20001),
            ("from=1.99999", 20001, 20001),
            ("from=7.1", 1, 1),
        ] {
            let page = text(world.get(&format!("{path}/lines?{query}")).await).await;
            let page: serde_json::Value = serde_json::from_str(&page).unwrap();
            assert_eq!(
                (&page["first"], &page["next"]),
                (&first.into(), &next.into()),
                "{query}"
            );
            assert_eq!(
                page["lines"].as_array().unwrap().len() as u64,
                next - first,
                "{query}"
            );
            let whole = text(world.get(&format!("{path}?{query}")).await).await;
            let named = format!("data-first=\"{first}\" data-next=\"{next}\"");
            assert!(query == "from=7.1" || whole.contains(&named), "{query}");
        }
        for nonsense in [
            "line=x",
            "line=1",
            "from=-1.2",
            "before=1.99999999999999999999",
            "after=..",
        ] {
            for at in [path.clone(), format!("{path}/lines")] {
                let refused = world.get(&format!("{at}?{nonsense}")).await;
                assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{nonsense}");
            }
        }
    }

    #[tokio::test]
    async fn a_search_finds_a_line_in_the_middle_and_pages_what_is_many() {
        let (world, _, path) = long(20_000).await;
        let page = text(world.get(&format!("{path}?q=LINE+1234+%3Cb")).await).await;
        let hit = "<a href=\"?line=1.1234#p1-L1234\">build 1234</a> <span><mark>line 1234 &#60;b</mark>&#62;</span>";
        assert!(page.contains(hit), "{page}");
        assert!(page.contains("1 line with") && !page.contains("rel=\"next\""));
        assert!(page.contains("value=\"LINE 1234 &#60;b\""));

        let page = text(world.get(&format!("{path}?q=line+1")).await).await;
        assert!(
            page.contains("100 lines with “line 1” and 11011 more."),
            "{page}"
        );
        let next = page
            .split_once("?q=line%201&amp;after=")
            .unwrap()
            .1
            .split('#')
            .next()
            .unwrap();
        let page = text(world.get(&format!("{path}?q=line+1&after={next}")).await).await;
        assert!(
            page.contains("The next 100 lines with “line 1” and 10911 more."),
            "{page}"
        );

        let nothing = text(
            world
                .get(&format!("{path}?q=%22%3E%3Cscript%3Ealert"))
                .await,
        )
        .await;
        assert!(
            nothing.contains("No line has “&#34;&#62;&#60;script&#62;alert” in it."),
            "{nothing}"
        );
        let long = text(world.get(&format!("{path}?q={}", "x".repeat(5000))).await).await;
        assert!(long.contains(&format!("“{}”", "x".repeat(200))));
    }

    #[tokio::test]
    async fn a_failure_is_told_on_top_with_the_lines_that_show_it() {
        let world = World::new().await;
        world.create_app("shop").await;
        let id = world.start("shop", "Fine", "Ada").await;
        let log = world.begin(id, 0, "gate:check").await;
        (1..=39).for_each(|n| log.say(format!("line {n} <b>")));
        log.say("`check` ended with exit status 3");
        world.end(id, 0, super::PhaseStatus::Failed, 10).await;
        let reason = "`check` ended with exit status 3:\n    line 38 <b>\n    line 39 <b>";
        world.fail(id, "gate:check", reason, 10).await;
        let page = text(world.get(&format!("/apps/shop/deploys/{id}")).await).await;
        let (top, below) = page.split_once("id=\"sections\"").unwrap();
        assert!(top.contains("data-state=\"failed\"") && top.contains("It failed in gate:check"));
        assert!(
            top.contains("tabindex=\"0\">`check` ended with exit status 3</pre>"),
            "{top}"
        );
        assert_eq!(
            row_texts(top).first().map(String::as_str),
            Some("line 26 &lt;b&gt;")
        );
        assert!(top.contains("<a href=\"?line=0.39#p0-L39\"") && !top.contains("id=\"p0-L39\""));
        assert!(
            below.contains("id=\"p0-L39\""),
            "an anchor stands in a page once"
        );
        assert!(top.contains("Nothing was live before"));
    }

    #[tokio::test]
    async fn the_text_of_a_phase_or_of_all_is_shown_or_kept() {
        let (world, id, path) = long(3000).await;
        let ask = async |query: &str| {
            let response = world.get(&format!("{path}/log{query}")).await;
            let how = response.headers()["content-disposition"]
                .to_str()
                .unwrap()
                .to_owned();
            (how, text(response).await)
        };
        let (how, build) = ask("?phase=1&download=1").await;
        assert_eq!(how, format!("attachment; filename=\"shop-{id}-build.log\""));
        assert!(
            build.lines().count() == 3000 && build.lines().all(|line| line.contains("  line "))
        );
        let (how, all) = ask("").await;
        assert_eq!(how, format!("inline; filename=\"shop-{id}.log\""));
        assert_eq!(
            all.lines().filter(|line| line.contains("  line ")).count(),
            3000
        );
        for (query, status) in [("?phase=9", 404), ("?phase=x", 400)] {
            assert_eq!(
                world
                    .get(&format!("{path}/log{query}"))
                    .await
                    .status()
                    .as_u16(),
                status
            );
        }
    }
}
