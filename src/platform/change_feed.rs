//! That something which pages show has changed: a count, and nothing else.
//!
//! Whoever is woken by it looks again at what the database says. So there is nothing to lose when a
//! connection breaks, and nothing to repeat: who comes back with another [`Edition`] than the present
//! one looks once, however much happened meanwhile. Editions of an earlier server are other ones.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use tokio::sync::watch;

use crate::domain::{AppName, Timestamp};

/// What a page shows the state of: the server that told, and its count. Written `<start in ms>-<count>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    server: i64,
    count: u64,
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.server, self.count)
    }
}

impl FromStr for Edition {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (server, count) = text.split_once('-').ok_or(())?;
        Ok(Self {
            server: server.parse().map_err(drop)?,
            count: count.parse().map_err(drop)?,
        })
    }
}

/// Counts what changes, for all and for each app.
#[derive(Debug)]
pub struct ChangeFeed {
    server: i64,
    counts: watch::Sender<Counts>,
}

/// The count at which something last changed. Apps that had no change_feed since the start have no entry.
#[derive(Debug, Default)]
struct Counts {
    now: u64,
    everybody: u64,
    apps: HashMap<AppName, u64>,
}

impl Default for ChangeFeed {
    fn default() -> Self {
        Self {
            server: Timestamp::now().millis(),
            counts: watch::Sender::default(),
        }
    }
}

impl ChangeFeed {
    /// Something of an app has changed.
    pub fn of(&self, app: &AppName) {
        self.counts.send_modify(|counts| {
            counts.now += 1;
            match counts.apps.get_mut(app) {
                Some(at) => *at = counts.now,
                None => drop(counts.apps.insert(app.clone(), counts.now)),
            }
        });
    }

    /// Something has changed that may be everybody's business: there is an app more, say, or the engine
    /// is away.
    pub fn for_everybody(&self) {
        self.counts.send_modify(|counts| {
            counts.now += 1;
            counts.everybody = counts.now;
            // Whatever they were told before, this is newer.
            counts.apps.clear();
        });
    }

    /// Follows the change_feed of the apps that `sees` says.
    pub fn follow(&self, sees: impl Fn(&AppName) -> bool + Send + Sync + 'static) -> Reader {
        Reader {
            server: self.server,
            counts: self.counts.subscribe(),
            sees: Box::new(sees),
        }
    }

    /// The present edition for somebody who sees these apps. To be read before what it stands for.
    pub fn edition(&self, sees: impl Fn(&AppName) -> bool) -> Edition {
        edition(self.server, &self.counts.borrow(), sees)
    }
}

/// Somebody's reading of the [`ChangeFeed`].
pub struct Reader {
    server: i64,
    counts: watch::Receiver<Counts>,
    sees: Box<dyn Fn(&AppName) -> bool + Send + Sync>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// The present edition of what this one sees.
    pub fn edition(&self) -> Edition {
        edition(self.server, &self.counts.borrow(), &self.sees)
    }

    /// Waits for another edition than `known`, and gives it; none when there will be no more.
    pub async fn other_than(&mut self, known: Option<Edition>) -> Option<Edition> {
        let (server, sees) = (self.server, &self.sees);
        let counts = self
            .counts
            .wait_for(|counts| Some(edition(server, counts, sees)) != known)
            .await
            .ok()?;
        Some(edition(server, &counts, sees))
    }
}

fn edition(server: i64, counts: &Counts, sees: impl Fn(&AppName) -> bool) -> Edition {
    let seen = counts
        .apps
        .iter()
        .filter(|(app, _)| sees(app))
        .map(|(_, at)| *at);
    Edition {
        server,
        count: seen.max().unwrap_or_default().max(counts.everybody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn whoever_comes_back_looks_once_and_nobody_is_told_of_what_they_may_not_see() {
        let change_feed = ChangeFeed::default();
        let mut shop = change_feed.follow(|name| name.as_str() == "shop");
        let mut all = change_feed.follow(|_| true);
        let before = (shop.edition(), all.edition());
        change_feed.of(&app("blog"));
        assert_eq!(shop.edition(), before.0);
        assert_ne!(all.edition(), before.1);
        for _ in 0..5 {
            change_feed.of(&app("shop"));
        }
        let now = shop.other_than(Some(before.0)).await.unwrap();
        assert_eq!(
            Some(now),
            all.other_than(Some(before.1)).await,
            "one edition for all five"
        );
        let silent = tokio::time::timeout(
            std::time::Duration::from_millis(20),
            shop.other_than(Some(now)),
        );
        assert!(silent.await.is_err(), "nothing is told twice");

        change_feed.for_everybody();
        let now = shop.other_than(Some(now)).await.unwrap();
        assert_eq!(now.to_string().parse(), Ok(now));
        let other_server = Edition {
            server: now.server - 1,
            ..now
        };
        assert_eq!(
            shop.other_than(Some(other_server)).await,
            Some(now),
            "a restart is change_feed"
        );
        assert_eq!(
            shop.other_than(None).await,
            Some(now),
            "and so is having seen nothing yet"
        );
    }

    #[test]
    fn what_is_no_edition_is_none() {
        for text in ["", "-", "1", "1-", "-1", "a-1", "1-1-1"] {
            assert!(text.parse::<Edition>().is_err(), "{text:?}");
        }
    }
}
