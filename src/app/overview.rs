//! How all apps stand, for lists: which there are, which deploy, which are down.
//!
//! Looked up once for each edition of the news and kept until the next, or for a few seconds: a cache,
//! like `running.rs`, so that a list of a thousand apps costs a page no more than its own rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::apps::describe;
use crate::domain::{App, AppName, AppStatus};
use crate::platform::{Edition, Error, Platform};
use crate::store::AppRow;

/// How all apps stand.
#[derive(Debug, Default)]
pub struct Board {
    /// Every app, by name.
    pub all: Vec<AppName>,
    /// Those with a deploy that is queued or runs.
    pub deploying: HashSet<AppName>,
    /// Those whose live container does not run.
    pub down: HashSet<AppName>,
    /// Those whose last deploy failed.
    pub failed: HashSet<AppName>,
    /// Those that have a live release.
    live: HashSet<AppName>,
    /// Whether the engine tells what runs.
    known: bool,
}

impl Board {
    /// Whether an app serves.
    pub fn status(&self, app: &AppName) -> AppStatus {
        match (self.live.contains(app), self.known) {
            (false, _) => AppStatus::Empty,
            (true, false) => AppStatus::Unknown,
            (true, true) if self.down.contains(app) => AppStatus::Down,
            (true, true) => AppStatus::Serving,
        }
    }
}

/// The longest that a board counts, for what changes without any news: rows that somebody writes by
/// hand, say.
const LASTS: Duration = Duration::from_secs(5);

/// Keeps the newest [`Board`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Overview {
    platform: Arc<Platform>,
    last: Arc<Mutex<Option<Known>>>,
}

/// A board, of which edition it is, and since when.
type Known = (Edition, Instant, Arc<Board>);

impl Overview {
    /// Nothing is known yet.
    pub fn new(platform: Arc<Platform>) -> Self {
        Self {
            platform,
            last: Arc::default(),
        }
    }

    /// How all apps stand now.
    pub async fn board(&self) -> Result<Arc<Board>, Error> {
        let mut last = self.last.lock().await;
        // What changes while it is looked up makes another edition, and so is looked up again.
        let edition = self.platform.change_feed.edition(|_| true);
        let counts = |of: &Edition, since: &Instant| *of == edition && since.elapsed() < LASTS;
        if let Some((.., board)) = last.as_ref().filter(|(of, since, _)| counts(of, since)) {
            return Ok(board.clone());
        }
        let board = Arc::new(look_at_all(&self.platform).await?);
        *last = Some((edition, Instant::now(), board.clone()));
        Ok(board)
    }

    /// An app, by what is known without asking the engine.
    pub async fn known_app(&self, row: AppRow) -> Result<App, Error> {
        let status = self.board().await?.status(&row.name);
        Ok(App {
            status,
            ..describe(&self.platform, row, None).await?
        })
    }
}

async fn look_at_all(platform: &Platform) -> Result<Board, Error> {
    let running = platform.running.all();
    let standing = platform.store.standing().await?;
    let named = |app: &AppName| {
        running
            .as_ref()
            .is_none_or(|r| r.contains(&platform.naming.live(app)))
    };
    // Between the two renames of a swap nobody has the live name, and both containers serve.
    let runs = |app: &AppName| named(app) || standing.swapping.contains(app);
    Ok(Board {
        down: standing
            .live
            .iter()
            .filter(|app| !runs(app))
            .cloned()
            .collect(),
        all: standing.all,
        deploying: standing.deploying.into_iter().collect(),
        failed: standing.failed.into_iter().collect(),
        live: standing.live.into_iter().collect(),
        known: running.is_some(),
    })
}
