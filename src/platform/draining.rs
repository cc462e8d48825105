//! Which containers drain behind a live release: whoever puts an app in order leaves them alone, and a
//! new one waits while too many do.
//!
//! Only a note of what this server does now. After a restart nothing stands here, and the rows say what
//! is to be taken up again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{AppName, DeployId};

/// How many old containers of one app may drain at once: each takes memory as one that serves does.
const MOST: usize = 2;

/// The containers that drain now, of every app. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Draining {
    apps: Arc<Mutex<HashMap<AppName, Vec<Entry>>>>,
    ended: watch::Sender<()>,
}

#[derive(Debug)]
struct Entry {
    behind: DeployId,
    container: Option<DeployId>,
    stop: CancellationToken,
}

/// Somebody sees to a drain; noted for as long as this lives.
#[derive(Debug)]
pub struct UnderWay {
    draining: Draining,
    app: AppName,
    behind: DeployId,
    /// Fires when the app is destroyed, and nothing is left to wait for.
    pub stop: CancellationToken,
}

impl Draining {
    fn apps(&self) -> MutexGuard<'_, HashMap<AppName, Vec<Entry>>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that behind this deploy the container of another one drains, or that there is none.
    pub fn begin(&self, app: &AppName, behind: DeployId, container: Option<DeployId>) -> UnderWay {
        let stop = CancellationToken::new();
        self.apps().entry(app.clone()).or_default().push(Entry {
            behind,
            container,
            stop: stop.clone(),
        });
        UnderWay {
            draining: self.clone(),
            app: app.clone(),
            behind,
            stop,
        }
    }

    /// The deploys behind which something drains now.
    pub fn behind(&self, app: &AppName) -> Vec<DeployId> {
        let apps = self.apps();
        let entries = apps.get(app).into_iter().flatten();
        entries.map(|entry| entry.behind).collect()
    }

    /// The deploys whose containers drain now.
    pub fn containers(&self, app: &AppName) -> Vec<DeployId> {
        let apps = self.apps();
        let entries = apps.get(app).into_iter().flatten();
        entries.filter_map(|entry| entry.container).collect()
    }

    /// Waits until one more container of the app may drain. `say` is told once that it waits.
    pub async fn room(&self, app: &AppName, say: impl FnOnce(usize)) {
        if self.containers(app).len() >= MOST {
            say(MOST);
            self.until(|| self.containers(app).len() < MOST).await;
        }
    }

    /// Ends all drains of an app, for one that is destroyed.
    pub async fn end(&self, app: &AppName) {
        let stops: Vec<_> = {
            let apps = self.apps();
            let entries = apps.get(app).into_iter().flatten();
            entries.map(|entry| entry.stop.clone()).collect()
        };
        stops.iter().for_each(CancellationToken::cancel);
        self.until(|| self.behind(app).is_empty()).await;
    }

    async fn until(&self, true_now: impl Fn() -> bool) {
        let mut ended = self.ended.subscribe();
        while !true_now() {
            // The sender lives as long as this does.
            let _ = ended.changed().await;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut apps = self.draining.apps();
        if let Some(entries) = apps.get_mut(&self.app) {
            entries.retain(|entry| entry.behind != self.behind);
            if entries.is_empty() {
                apps.remove(&self.app);
            }
        }
        drop(apps);
        self.draining.ended.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn shop() -> AppName {
        "shop".parse().unwrap()
    }

    #[tokio::test]
    async fn a_third_drain_waits_until_one_has_ended_and_a_first_release_takes_no_room() {
        let (draining, shop) = (Draining::default(), shop());
        let _none = draining.begin(&shop, DeployId(1), None);
        let first = draining.begin(&shop, DeployId(2), Some(DeployId(1)));
        draining.room(&shop, |_| panic!("there is room")).await;
        let _second = draining.begin(&shop, DeployId(3), Some(DeployId(2)));
        assert_eq!(draining.containers(&shop), [DeployId(1), DeployId(2)]);
        let told = AtomicBool::new(false);
        let waits = draining.room(&shop, |_| told.store(true, Ordering::Relaxed));
        let ends = async {
            while !told.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            drop(first);
        };
        tokio::join!(waits, ends);
        assert_eq!(draining.behind(&shop), [DeployId(1), DeployId(3)]);
        draining
            .room(&"blog".parse().unwrap(), |_| panic!("another app"))
            .await;
    }

    #[tokio::test]
    async fn ending_an_apps_drains_waits_until_nobody_sees_to_one() {
        let (draining, shop) = (Draining::default(), shop());
        let under_way = draining.begin(&shop, DeployId(2), Some(DeployId(1)));
        let drains = async {
            under_way.stop.cancelled().await;
            drop(under_way);
        };
        tokio::join!(draining.end(&shop), drains);
        assert_eq!(draining.behind(&shop), []);
        draining.end(&shop).await;
    }
}
