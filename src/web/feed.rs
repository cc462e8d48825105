//! One deploy as all who watch it see it: read and rendered once, however many they are.
//!
//! A feed follows a deploy and keeps what it made last, ready for the wire. Who watches takes from it
//! what comes behind the place that they have reached; who is not that far yet, or comes back in the
//! middle of something, reads the log from there until both meet. So a deploy costs the same with one
//! viewer as with five hundred, but for the bytes that are sent, and nobody loses or gets a line twice.
//!
//! Who cannot keep up with a build that prints megabytes is told where it goes on, by line numbers; what
//! lies between is a click away.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::app::{Follower, Progress, Reached};
use crate::domain::DeployId;
use crate::logs::Cursor;
use crate::platform::Platform;

use super::error::Error;
use super::events::{Rendered, render};

/// The most that a feed keeps, in bytes as they go over the wire, give or take one event.
const KEPT: usize = 512 * 1024;

/// Whoever has more of a phase's log before them, in bytes, is taken on to its last ones.
const FAR_BEHIND: u64 = 1024 * 1024;
const LAST_ONES: u64 = 256 * 1024;

/// How long a feed gathers lines before it tells of them: a little longer the more watch.
fn gathering(viewers: usize) -> Duration {
    Duration::from_millis(20 + (viewers as u64 / 2).min(480))
}

/// What is sent when nothing happens, so that whatever stands between does not take it for dead.
const STILL_HERE: Bytes = Bytes::from_static(b":\n\n");
const SILENCE: Duration = Duration::from_secs(15);

/// An event, ready to be sent.
#[derive(Debug, Clone)]
struct Told {
    /// Where one has to be for it to be the next one.
    from: Reached,
    /// How many lines of the phase lie before that.
    lines: u64,
    /// Where one is after it.
    to: Reached,
    bytes: Bytes,
}

/// Some lines are not told one by one.
#[derive(Serialize)]
struct SkipEvent {
    ordinal: usize,
    /// The number of the next line that will be told.
    first: u64,
}

fn skipped(to: Cursor, lines: u64) -> Result<Bytes, Error> {
    wire(
        "skip",
        Some(to),
        &SkipEvent {
            ordinal: to.ordinal,
            first: lines + 1,
        },
    )
}

/// An event as it goes over the wire.
pub(super) fn wire(name: &str, id: Option<Cursor>, data: &impl Serialize) -> Result<Bytes, Error> {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON has no line breaks of its own.
    let data = serde_json::to_string(data).map_err(Error::defect)?;
    Ok(format!("event: {name}\n{id}data: {data}\n\n").into())
}

/// Reads a deploy from some place on and makes events of it.
struct Reader {
    platform: Arc<Platform>,
    id: DeployId,
    may: bool,
    follower: Follower,
    at: Reached,
    /// How many lines of the phase lie before that.
    lines: u64,
    /// Whether there may be far more to read.
    far: bool,
}

impl Reader {
    async fn new(
        platform: Arc<Platform>,
        id: DeployId,
        may: bool,
        at: Reached,
    ) -> Result<Self, Error> {
        let logs = platform.logs.clone();
        let count = move || logs.lines_before(id, at.cursor());
        let lines = tokio::task::spawn_blocking(count)
            .await
            .map_err(Error::defect)??;
        let follower = Follower::after(&platform, id, at);
        Ok(Self {
            platform,
            id,
            may,
            follower,
            at,
            lines,
            far: true,
        })
    }

    /// The next event, when there is one; `None` after the last.
    async fn next(&mut self) -> Result<Option<Told>, Error> {
        if let Some(skip) = self.skip()? {
            return Ok(Some(skip));
        }
        match self.follower.next().await? {
            Some(progress) => self.told(progress).await.map(Some),
            None => Ok(None),
        }
    }

    /// The next event, where there is one already.
    async fn now(&mut self) -> Result<Option<Told>, Error> {
        if let Some(skip) = self.skip()? {
            return Ok(Some(skip));
        }
        match self.follower.now().await? {
            Some(progress) => self.told(progress).await.map(Some),
            None => Ok(None),
        }
    }

    fn skip(&mut self) -> Result<Option<Told>, Error> {
        if !self.far {
            return Ok(None);
        }
        let logs = &self.platform.logs;
        let Some(to) = logs.short_cut(self.id, self.at.cursor(), FAR_BEHIND, LAST_ONES)? else {
            return Ok(None);
        };
        if !self.follower.skip_to(to) {
            return Ok(None);
        }
        let (from, lines) = (self.at, self.lines);
        self.at = Reached {
            offset: to.offset,
            ..from
        };
        self.lines = logs.lines_before(self.id, to)?;
        Ok(Some(Told {
            from,
            lines,
            to: self.at,
            bytes: skipped(to, self.lines)?,
        }))
    }

    async fn told(&mut self, progress: Progress) -> Result<Told, Error> {
        let (from, lines) = (self.at, self.lines);
        match &progress {
            Progress::Started { ordinal, .. } => {
                self.at = Reached {
                    ordinal: *ordinal,
                    announced: true,
                    offset: 0,
                };
                self.lines = 0;
            }
            Progress::Lines { next, text } => {
                self.at = Reached {
                    ordinal: next.ordinal,
                    announced: true,
                    offset: next.offset,
                };
                self.lines += text.lines().count() as u64;
                self.far = text.len() > 32 * 1024;
            }
            Progress::Ended { ordinal, .. } => {
                self.at = Reached {
                    ordinal: ordinal + 1,
                    announced: false,
                    offset: 0,
                };
                (self.lines, self.far) = (0, true);
            }
            Progress::Finished(_) => self.at = Reached::END,
        }
        let Rendered(bytes) =
            render(&self.platform, self.id, self.may, progress, lines + 1).await?;
        Ok(Told {
            from,
            lines,
            to: self.at,
            bytes,
        })
    }
}

/// All deploys that somebody watches. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Feeds(Arc<Mutex<Watched>>);

/// By deploy, and by whether those who watch may deploy it: what they can ask for differs.
type Watched = HashMap<(DeployId, bool), Weak<Feed>>;

/// What one deploy's viewers have in common; it ends with the last of them.
#[derive(Debug)]
struct Feed {
    ring: Mutex<Ring>,
    tick: watch::Sender<()>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Ring {
    told: VecDeque<Told>,
    size: usize,
    /// How far it has come.
    reached: Reached,
    ended: bool,
}

/// What there is for somebody at some place.
enum Look {
    /// The next event.
    Next(Told),
    /// Events, but none that begins there; one does at this place.
    Later(Told),
    /// The feed began beyond it.
    Beyond(Cursor),
    /// Nothing yet.
    Wait,
    /// Nothing any more.
    Over,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    fn begin(platform: Arc<Platform>, id: DeployId, may: bool, at: Reached) -> Arc<Self> {
        let ring = Ring {
            told: VecDeque::new(),
            size: 0,
            reached: at,
            ended: false,
        };
        let feed = Arc::new(Self {
            ring: Mutex::new(ring),
            tick: watch::Sender::new(()),
            task: Mutex::default(),
        });
        let task = tokio::spawn(feed_on(platform, id, may, at, Arc::downgrade(&feed)));
        *lock(&feed.task) = Some(task.abort_handle());
        feed
    }

    fn push(&self, told: Told) {
        let mut ring = lock(&self.ring);
        ring.reached = told.to;
        ring.size += told.bytes.len();
        ring.told.push_back(told);
        while ring.size > KEPT && ring.told.len() > 1 {
            ring.size -= ring.told.pop_front().map_or(0, |told| told.bytes.len());
        }
        drop(ring);
        self.tick.send_replace(());
    }

    fn end(&self) {
        lock(&self.ring).ended = true;
        self.tick.send_replace(());
    }

    fn look(&self, at: Reached) -> Look {
        let ring = lock(&self.ring);
        let next = ring.told.partition_point(|told| told.to <= at);
        match ring.told.get(next) {
            Some(told) if told.from == at => Look::Next(told.clone()),
            Some(told) => Look::Later(told.clone()),
            None if ring.ended => Look::Over,
            None if ring.reached > at => Look::Beyond(ring.reached.cursor()),
            None => Look::Wait,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Follows a deploy for a feed, while it has viewers.
async fn feed_on(platform: Arc<Platform>, id: DeployId, may: bool, at: Reached, feed: Weak<Feed>) {
    let ended = async {
        let mut reader = Reader::new(platform, id, may, at).await?;
        while let Some(told) = reader.next().await? {
            let Some(feed) = feed.upgrade() else {
                return Ok(());
            };
            feed.push(told);
            let viewers = feed.tick.receiver_count();
            drop(feed);
            tokio::time::sleep(gathering(viewers)).await;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = ended.await {
        tracing::error!(
            deploy = id.0,
            ?error,
            "the event stream of deploy {id} failed: {error:?}"
        );
    }
    if let Some(feed) = feed.upgrade() {
        feed.end();
    }
}

/// Somebody who watches a deploy.
pub(super) struct Viewer {
    platform: Arc<Platform>,
    id: DeployId,
    may: bool,
    feed: Arc<Feed>,
    tick: watch::Receiver<()>,
    at: Reached,
    /// Whether they have met the feed: who falls behind it then is too slow.
    met: bool,
    /// Reads what the feed does not have any more.
    own: Option<Reader>,
}

impl Feeds {
    /// Lets somebody watch a deploy from `at` on; `may` says whether they may deploy it.
    pub(super) fn watch(
        &self,
        platform: &Arc<Platform>,
        id: DeployId,
        may: bool,
        at: Reached,
    ) -> Viewer {
        let mut feeds = lock(&self.0);
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let known = feeds.get(&(id, may)).and_then(Weak::upgrade);
        let feed = known
            .filter(|feed| !lock(&feed.ring).ended)
            .unwrap_or_else(|| {
                let feed = Feed::begin(platform.clone(), id, may, at);
                feeds.insert((id, may), Arc::downgrade(&feed));
                feed
            });
        let tick = feed.tick.subscribe();
        Viewer {
            platform: platform.clone(),
            id,
            may,
            feed,
            tick,
            at,
            met: false,
            own: None,
        }
    }
}

impl Viewer {
    /// What is to be sent next; `None` after the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.at != Reached::END {
            self.tick.borrow_and_update();
            let told = match self.feed.look(self.at) {
                Look::Next(told) => {
                    (self.met, self.own) = (true, None);
                    Some(told)
                }
                Look::Later(told) if told.from > self.at => self.catch_up_to(told).await?,
                Look::Later(told) => self.read_up_to(told.to.cursor()).await?,
                Look::Beyond(place) => self.read_up_to(place).await?,
                Look::Over => return Ok(None),
                Look::Wait => None,
            };
            if let Some(told) = told {
                self.at = told.to;
                return Ok(Some(told.bytes));
            }
            if tokio::time::timeout(SILENCE, self.tick.changed())
                .await
                .is_err()
            {
                return Ok(Some(STILL_HERE));
            }
        }
        Ok(None)
    }

    /// What lies before the first event that the feed still has: who was with it before is taken there
    /// at once, within a phase.
    async fn catch_up_to(&mut self, first: Told) -> Result<Option<Told>, Error> {
        let place = first.from.cursor();
        if !self.met || first.from.ordinal != self.at.ordinal || !self.at.announced {
            return self.read_up_to(place).await;
        }
        let bytes = skipped(place, first.lines)?;
        Ok(Some(Told {
            from: self.at,
            lines: first.lines,
            to: first.from,
            bytes,
        }))
    }

    async fn read_up_to(&mut self, place: Cursor) -> Result<Option<Told>, Error> {
        let own = self.own.take().filter(|own| own.at == self.at);
        let mut own = match own {
            Some(own) => own,
            None => Reader::new(self.platform.clone(), self.id, self.may, self.at).await?,
        };
        own.follower.stop_at(place);
        let told = own.now().await?;
        self.own = Some(own);
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PhaseStatus;
    use crate::web::tests::World;

    /// The numbers of the lines that an event holds, and what it is.
    fn parse(bytes: &Bytes) -> (String, Vec<u64>) {
        let text = std::str::from_utf8(bytes).unwrap();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
        };
        let name = field("event: ").to_owned();
        let data: serde_json::Value = serde_json::from_str(field("data: ")).unwrap_or_default();
        let first = data["first"].as_u64().unwrap_or(0);
        let lines = data["lines"].as_array().into_iter().flatten().enumerate();
        let number = |(n, line): (usize, &serde_json::Value)| {
            let told = line
                .as_str()
                .unwrap()
                .rsplit(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(first + n as u64, told, "its number is the line's");
            told
        };
        (name, lines.map(number).collect())
    }

    /// Everything that somebody is told, to the end.
    async fn all(mut viewer: Viewer, pause: Duration) -> (Vec<u64>, Vec<String>) {
        let (mut lines, mut names) = (Vec::new(), Vec::new());
        while let Some(bytes) = viewer.next().await.unwrap() {
            let (name, told) = parse(&bytes);
            lines.extend(told);
            names.push(name);
            tokio::time::sleep(pause).await;
        }
        (lines, names)
    }

    #[tokio::test]
    async fn many_watch_one_deploy_and_each_gets_each_line_once() {
        let world = World::new().await;
        world.create_app("shop").await;
        let id = world.start("shop", "Fine", "Ada").await;
        let log = world.begin(id, 0, "build").await;
        let feeds = Feeds::default();
        let mut viewers = Vec::new();
        let mut join = |from: Cursor, pause| {
            let viewer = feeds.watch(&world.platform, id, true, from.into());
            viewers.push((
                from,
                tokio::spawn(all(viewer, Duration::from_millis(pause))),
            ));
        };
        let mut places = vec![Cursor::default()];
        for n in 1..=4000u64 {
            log.say(format!("line {n}"));
            if n % 400 == 0 {
                // Some begin at the beginning, some where somebody before them has read to.
                join(Cursor::default(), n % 3);
                join(places[n as usize / 800], 0);
                tokio::time::sleep(Duration::from_millis(15)).await;
                places.push(Cursor {
                    ordinal: 0,
                    offset: world.platform.logs.size(id, 0).unwrap(),
                });
            }
        }
        world.end(id, 0, PhaseStatus::Ok, 4000).await;
        world.fail(id, "build", "no", 4000).await;
        let ring_of = |feeds: &Feeds| lock(&feeds.0).len();
        assert_eq!(ring_of(&feeds), 1, "one feed for all");
        for (from, viewer) in viewers {
            let (lines, names) = tokio::time::timeout(Duration::from_secs(20), viewer)
                .await
                .unwrap()
                .unwrap();
            let first = world.platform.logs.lines_before(id, from).unwrap() + 1;
            assert_eq!(lines, (first..=4000).collect::<Vec<_>>(), "from {from}");
            assert_eq!(names.last().map(String::as_str), Some("finished"));
            assert_eq!(names.iter().filter(|name| *name == "skip").count(), 0);
        }
        drop(feeds.watch(
            &world.platform,
            DeployId(99),
            true,
            Cursor::default().into(),
        ));
        assert_eq!(ring_of(&feeds), 1, "feeds without viewers are forgotten");
    }

    #[tokio::test]
    async fn who_is_far_behind_goes_on_near_the_end_with_the_right_numbers() {
        let world = World::new().await;
        world.create_app("shop").await;
        let id = world.start("shop", "Fine", "Ada").await;
        let log = world.begin(id, 0, "build").await;
        let many: String = (1..=100_000).map(|n| format!("line {n}\n")).collect();
        log.output(many.as_bytes());
        let feeds = Feeds::default();
        let viewer = feeds.watch(&world.platform, id, false, Cursor::default().into());
        let watching = tokio::spawn(all(viewer, Duration::ZERO));
        world.end(id, 0, PhaseStatus::Ok, 10).await;
        world.fail(id, "build", "no", 10).await;
        let (lines, names) = tokio::time::timeout(Duration::from_secs(20), watching)
            .await
            .unwrap()
            .unwrap();
        assert!(names.contains(&"skip".to_owned()), "{names:?}");
        // What was read before it showed how much there is, then the last ones.
        let gaps = lines.windows(2).filter(|two| two[1] != two[0] + 1).count();
        assert_eq!((gaps, lines.last()), (1, Some(&100_000)));
        assert!((10_000..50_000).contains(&lines.len()), "{}", lines.len());
    }

    #[tokio::test]
    async fn who_does_not_take_what_comes_holds_nobody_up_and_costs_no_memory() {
        let world = World::new().await;
        world.create_app("shop").await;
        let id = world.start("shop", "Fine", "Ada").await;
        let log = world.begin(id, 0, "build").await;
        log.say("line 1");
        let feeds = Feeds::default();
        let mut slow = feeds.watch(&world.platform, id, true, Cursor::default().into());
        while parse(&slow.next().await.unwrap().unwrap()).1.is_empty() {}
        let quick = feeds.watch(&world.platform, id, true, slow.at);
        let quick = tokio::spawn(all(quick, Duration::ZERO));
        for step in 0..60u64 {
            let some: String = (1..=1000)
                .map(|n| format!("line {}\n", 1 + step * 1000 + n))
                .collect();
            log.output(some.as_bytes());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(lock(&slow.feed.ring).size <= KEPT + 128 * 1024);
        world.end(id, 0, PhaseStatus::Ok, 10).await;
        world.fail(id, "build", "no", 10).await;
        let (lines, _) = tokio::time::timeout(Duration::from_secs(20), quick)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(lines, (2..=60_001).collect::<Vec<_>>());
        let (lines, names) = all(slow, Duration::ZERO).await;
        assert_eq!(names[0], "skip");
        assert_eq!(lines, (lines[0]..=60_001).collect::<Vec<_>>());
    }
}
