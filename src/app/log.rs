//! An app's own log as `windlass logs` and its page read it: back from its end or from a place, searched,
//! and followed from where what was read ended.
//!
//! It goes release by release: what an old container still prints while it drains stands with its own
//! release. What is followed comes as it is printed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use std::sync::Arc;

use crate::domain::{AppName, DeployId, ProcessName};
use crate::logs::{AppLine, AppPlace, ClaimedPlace, Logs};
use crate::platform::{Error, Platform};

/// So many deploys are looked through at once.
const DEPLOYS: u32 = 200;
/// So many of the newest may still print, beside what is known to.
const YOUNG: usize = 4;
/// So many lines are looked through at once, and so many bytes of them.
const LOOKED_AT: (usize, usize) = (1_000_000, 64 << 20);

/// Which lines of an app's log are wanted.
#[derive(Debug, Clone, Default)]
pub struct LineFilter {
    /// In lower case.
    text: String,
    process: Option<ProcessName>,
}

impl LineFilter {
    /// Lines with this text in them, in whatever case, and of this process only.
    pub fn new(text: &str, process: Option<ProcessName>) -> Self {
        Self {
            text: text.to_lowercase(),
            process,
        }
    }

    fn takes(&self, line: &AppLine) -> bool {
        let process = self.process.as_ref();
        process.is_none_or(|process| line.replica.process == *process)
            && has(&line.text, &self.text)
    }
}

/// What is asked of an app's log.
#[derive(Debug, Clone, Default)]
pub struct AppLogQuery {
    /// Only these lines.
    pub filter: LineFilter,
    /// Only what is not older: RFC 3339, UTC.
    pub since: Option<String>,
    /// Only what is before this place.
    pub before: Option<AppPlace>,
    /// So many lines at most.
    pub count: usize,
    /// So many bytes of them at most, but one line in any case.
    pub bytes: usize,
}

impl AppLogQuery {
    /// The last `tail` lines, or all that is younger than `since_ms`.
    pub fn newest(since_ms: Option<u64>, tail: usize) -> Self {
        let count = if since_ms.is_some() { usize::MAX } else { tail };
        Self {
            since: since_ms.map(nanos_ago),
            count,
            bytes: usize::MAX,
            ..Self::default()
        }
    }
}

/// Some lines of an app's log.
#[derive(Debug)]
pub struct AppLogPage {
    /// Oldest first.
    pub lines: Vec<AppLine>,
    /// Before which place there may be more.
    pub older: Option<AppPlace>,
    /// Where to go on with what comes; only for what ends where the log does.
    pub end: AppPlaces,
}

/// How far each deploy's output was read: where to follow an app's log from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppPlaces {
    /// Deploys above this one are read from their beginning.
    pub newest: DeployId,
    /// Whose line was the last.
    pub last: DeployId,
    places: Vec<AppPlace>,
}

impl fmt::Display for AppPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.newest, self.last)?;
        self.places
            .iter()
            .try_for_each(|place| write!(f, "~{place}"))
    }
}

/// Places as a client sent them: they may name any deploy there is.
#[derive(Debug, Clone)]
pub struct ClaimedPlaces {
    newest: DeployId,
    last: DeployId,
    places: Vec<ClaimedPlace>,
}

impl FromStr for ClaimedPlaces {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "no place in an app's log".to_owned();
        let mut parts = text.split('~');
        let mut id = || parts.next().and_then(|id| id.parse().ok()).ok_or_else(bad);
        let (newest, last) = (id()?, id()?);
        let places: Vec<ClaimedPlace> = parts.map(str::parse).collect::<Result<_, _>>()?;
        match places.len() {
            0..=64 => Ok(Self {
                newest,
                last,
                places,
            }),
            _ => Err(bad()),
        }
    }
}

impl ClaimedPlaces {
    /// Those of them that are in this app's log; `None` where that is not where one can go on.
    pub async fn of(self, platform: &Platform, app: &AppName) -> Result<Option<AppPlaces>, Error> {
        let places = self.places.iter().map(|place| place.deploy());
        let named: Vec<DeployId> = places.chain([self.newest, self.last]).collect();
        let owned = platform.store.owned_deploys(app, &named).await?;
        if self.newest != DeployId::default() && !owned.contains(self.newest) {
            return Ok(None);
        }
        Ok(Some(AppPlaces {
            newest: self.newest,
            last: Some(self.last)
                .filter(|last| owned.contains(*last))
                .unwrap_or_default(),
            places: self.places.iter().filter_map(|p| p.of(&owned)).collect(),
        }))
    }
}

/// A place as a client sent it, if it is in this app's log.
pub async fn place_of(
    platform: &Platform,
    app: &AppName,
    claimed: ClaimedPlace,
) -> Result<Option<AppPlace>, Error> {
    let named = [claimed.deploy()];
    let owned = platform.store.owned_deploys(app, &named).await?;
    Ok(claimed.of(&owned))
}

/// Reads what an app prints from some places on.
#[derive(Debug)]
pub struct AppLogFollower {
    platform: Arc<Platform>,
    app: AppName,
    news: watch::Receiver<u64>,
    filter: LineFilter,
    at: AppPlaces,
    looked: bool,
}

/// A process of the app, of its live release or of one before it.
///
/// # Errors
/// Where no release has such a process: in words, with those that there are.
pub async fn process_of(
    platform: &Platform,
    app: &AppName,
    process: ProcessName,
) -> Result<ProcessName, Error> {
    let mut known = platform.store.process_names(app).await?;
    if process.is_web() || known.contains(&process) {
        return Ok(process);
    }
    known.retain(|known| !known.is_web());
    known.insert(0, ProcessName::web());
    let known: Vec<&str> = known.iter().map(ProcessName::as_str).collect();
    Err(Error::Refused(format!(
        "no release of {app} has a process {process}; there is {}",
        known.join(", ")
    )))
}

/// Some lines of an app's log.
pub async fn read_log(
    platform: &Platform,
    app: &AppName,
    query: AppLogQuery,
) -> Result<AppLogPage, Error> {
    let below = query
        .before
        .map(|place| DeployId(place.deploy.0.saturating_add(1)));
    let collected = platform.collector.collected(app);
    let ids = platform.store.deploy_ids(app, DEPLOYS, below).await?;
    let live = platform.store.live_deploy(app).await?.map(|live| live.id);
    let logs = platform.logs.clone();
    let prints =
        move |n: usize, id: &DeployId| n < YOUNG || collected.contains(id) || live == Some(*id);
    let read = move || read(&logs, &ids, prints, &query);
    Ok(tokio::task::spawn_blocking(read)
        .await
        .map_err(std::io::Error::other)??)
}

/// Follows an app's log from where it was read to.
pub fn follow_log(
    platform: &Arc<Platform>,
    app: &AppName,
    at: AppPlaces,
    filter: LineFilter,
) -> AppLogFollower {
    let news = platform.collector.subscribe();
    AppLogFollower {
        platform: platform.clone(),
        app: app.clone(),
        news,
        filter,
        at,
        looked: false,
    }
}

fn read(
    logs: &Logs,
    ids: &[DeployId],
    prints: impl Fn(usize, &DeployId) -> bool,
    query: &AppLogQuery,
) -> std::io::Result<AppLogPage> {
    let mut end = AppPlaces {
        newest: ids.first().copied().unwrap_or_default(),
        ..AppPlaces::default()
    };
    // The ends of what still grows come first, and nothing behind them is read: it is followed.
    let mut ends = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        ends.push(match query.before.filter(|place| place.deploy == *id) {
            Some(place) => place,
            None => logs.app_end(*id)?,
        });
        if query.before.is_none() && prints(n, id) {
            end.places.push(ends[n]);
        }
    }
    let (mut lines, mut left, mut room) = (Vec::new(), LOOKED_AT, query.bytes);
    // Beyond the deploys that were looked at there may be others.
    let mut older = ids
        .last()
        .filter(|_| ids.len() == DEPLOYS as usize)
        .map(|id| AppPlace::beginning(*id));
    for place in ends {
        let (mut stopped, mut at, mut young) = (None, place, false);
        logs.app_before(place, |before, line| {
            let old = query.since.as_ref().is_some_and(|since| line.at < *since);
            let wanted = query.filter.takes(&line);
            let full =
                lines.len() >= query.count || wanted && !lines.is_empty() && line.text.len() > room;
            if old || full || left.0 == 0 || left.1 == 0 {
                stopped = Some(Some(at).filter(|_| !old));
                return false;
            }
            young = true;
            (left.0, left.1) = (left.0 - 1, left.1.saturating_sub(line.text.len() + 32));
            at = before;
            if wanted {
                room = room.saturating_sub(line.text.len());
                lines.push(line);
            }
            true
        })?;
        if let Some(at) = stopped {
            older = at;
            // The release before may have printed on while this one began.
            if at.is_some() || !young {
                break;
            }
        }
    }
    lines.reverse();
    end.last = lines.last().map(|line| line.deploy).unwrap_or_default();
    Ok(AppLogPage { lines, older, end })
}

/// Whether a line has a text in it, whatever its colours. `text` is in lower case.
fn has(line: &str, text: &str) -> bool {
    text.is_empty() || crate::logs::bare(line).to_lowercase().contains(text)
}

impl AppLogFollower {
    /// The next lines, waiting for them, and the place behind them. No lines: nothing of it was asked for.
    pub async fn next(&mut self) -> Result<(Vec<AppLine>, AppPlaces), Error> {
        loop {
            self.look_for_newer().await?;
            let mut lines = Vec::new();
            for place in &mut self.at.places {
                lines.extend(self.platform.logs.app_after(place)?);
            }
            if !lines.is_empty() {
                lines.sort_by(|one, other| one.at.cmp(&other.at));
                lines.retain(|line| self.filter.takes(line));
                self.at.last = lines.last().map_or(self.at.last, |line| line.deploy);
                return Ok((lines, self.at.clone()));
            }
            self.let_go();
            let _ = self.news.changed().await;
            // Gathers what comes in one burst.
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.news.mark_unchanged();
        }
    }

    /// Deploys that began to print since: those that do now, and at first those that did meanwhile.
    async fn look_for_newer(&mut self) -> Result<(), Error> {
        let mut newer = self.platform.collector.collected(&self.app);
        if !self.looked {
            newer.extend(
                self.platform
                    .store
                    .deploy_ids(&self.app, DEPLOYS, None)
                    .await?,
            );
            self.looked = true;
        }
        newer.retain(|id| *id > self.at.newest);
        newer.sort();
        newer.dedup();
        for id in newer {
            self.at.newest = id;
            self.at.places.push(AppPlace::beginning(id));
        }
        Ok(())
    }

    /// Lets go of those that have printed their last: the place to come back to stays short.
    fn let_go(&mut self) {
        let prints = self.platform.collector.collected(&self.app);
        let young = self.at.places.len().saturating_sub(2 * YOUNG);
        let mut n = 0;
        self.at.places.retain(|place| {
            n += 1;
            n > young || prints.contains(&place.deploy)
        });
    }
}

/// The instant `ms` milliseconds ago, 1970 at the earliest, as Docker writes it: RFC 3339, UTC, nine
/// decimals.
pub fn nanos_ago(ms: u64) -> String {
    let now = OffsetDateTime::now_utc();
    let since_1970 = (now - OffsetDateTime::UNIX_EPOCH).unsigned_abs();
    let at = now - Duration::from_millis(ms).min(since_1970);
    let whole = at
        .replace_nanosecond(0)
        .unwrap_or(at)
        .format(&Rfc3339)
        .unwrap_or_default();
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), at.nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Replica;

    #[test]
    fn nothing_is_older_than_1970() {
        assert_eq!(nanos_ago(u64::MAX), "1970-01-01T00:00:00.000000000Z");
        assert!(nanos_ago(60_000) < nanos_ago(0));
    }

    #[test]
    fn places_read_back_and_nothing_else_does() {
        let places = AppPlaces {
            newest: DeployId(9),
            last: DeployId(7),
            places: vec![
                AppPlace::beginning(DeployId(9)),
                AppPlace::beginning(DeployId(7)),
            ],
        };
        let claimed: ClaimedPlaces = places.to_string().parse().unwrap();
        let named: Vec<DeployId> = claimed.places.iter().map(|place| place.deploy()).collect();
        assert_eq!((claimed.newest, claimed.last), (places.newest, places.last));
        assert_eq!(named, [DeployId(9), DeployId(7)]);
        for bad in [
            "",
            "1",
            "1~x",
            "1~2~3",
            &format!("1~2{}", "~1.0.0".repeat(65)),
        ] {
            assert!(bad.parse::<ClaimedPlaces>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_is_bounded_by_bytes_as_well_and_one_behind_the_other_is_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let id = DeployId(1);
        let mut writer = logs
            .write_app(id, &Replica::web(), crate::logs::Redactor::default())
            .unwrap();
        let length = |n: usize| if n == 7 { 900 } else { 10 * n };
        for n in 1..40 {
            let at = format!("2026-11-21T10:20:{n:02}.000000000Z");
            writer
                .append(
                    &at,
                    false,
                    format!("{}\n", "x".repeat(length(n))).as_bytes(),
                )
                .unwrap();
        }
        let (mut lengths, mut before) = (Vec::new(), None);
        loop {
            let query = AppLogQuery {
                before,
                count: 30,
                bytes: 500,
                ..AppLogQuery::default()
            };
            let page = read(&logs, &[id], |_, _| true, &query).unwrap();
            let whole: usize = page.lines.iter().map(|line| line.text.len()).sum();
            assert!(whole <= 500 || page.lines.len() == 1, "{whole} bytes");
            lengths.splice(0..0, page.lines.iter().map(|line| line.text.len()));
            before = page.older;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(lengths, (1..40).map(length).collect::<Vec<_>>());
    }

    #[test]
    fn what_an_old_container_printed_beside_its_successor_is_not_older_than_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let at = |second: u32| format!("2026-11-21T10:20:{second:02}.000000000Z");
        for (id, seconds) in [(1, 0..5), (2, 5..20), (3, 10..30)] {
            let mut writer = logs
                .write_app(
                    DeployId(id),
                    &Replica::web(),
                    crate::logs::Redactor::default(),
                )
                .unwrap();
            for n in seconds {
                writer
                    .append(&at(n), false, format!("{id} at {n}\n").as_bytes())
                    .unwrap();
            }
        }
        let ids = [3, 2, 1].map(DeployId);
        let newest = |query| read(&logs, &ids, |_, _| true, &query).unwrap();
        let since = |second| AppLogQuery {
            since: Some(at(second)),
            ..AppLogQuery::newest(Some(0), 0)
        };
        let page = newest(since(18));
        let texts: Vec<&str> = page.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            (texts[0], texts[1], texts[2], texts.len()),
            ("2 at 18", "2 at 19", "3 at 18", 14)
        );
        assert!(page.older.is_none());
        assert_eq!(newest(since(0)).lines.len(), 40);
        let page = newest(AppLogQuery::newest(None, 21));
        assert_eq!(
            (page.lines[0].text.as_str(), page.lines.len()),
            ("2 at 19", 21)
        );
        assert!(page.older.is_some());
    }

    #[test]
    fn colours_do_not_hide_a_word() {
        assert!(has("\u{1b}[31mEr\u{1b}[0mror: no", "error"));
        assert!(!has("\u{1b}[31mfine\u{1b}[0m", "31"));
    }
}
