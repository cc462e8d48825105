//! Room for a build: a disk that is nearly full fails the deploy that would fill it, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use tracing::warn;

use crate::attempt::{Attempt, Stop};
use crate::domain::size::show;
use crate::logs::PhaseWriter;
use crate::platform::Platform;
use crate::reconcile::apply_retention;
use crate::runtime::APP;
use crate::space::{room, taken};

/// A disk with less room than `keep.free`.
struct Short {
    /// What lies there.
    path: String,
    /// Bytes.
    free: u64,
}

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} free at {}", show(self.free), self.path)
    }
}

/// Makes sure that there is room for a build under the home folder and in the engine's store, at
/// `root`, if need be by removing what policy allows.
pub async fn make_room(attempt: &Attempt, log: &PhaseWriter, root: &Path) -> Result<(), Stop> {
    let platform = &attempt.platform;
    let Some(short) = short_of_room(platform, root) else {
        return Ok(());
    };
    log.say(format!(
        "only {short}: removing old logs, deploys and build cache"
    ));
    apply_retention(platform).await;
    let Some(short) = short_of_room(platform, root) else {
        log.say("there is room now");
        return Ok(());
    };
    warn!("no room for a build: {short}");
    let wanted = show(platform.config.keep.free.0);
    let takes = what_takes_room(platform).await;
    Err(Stop::NotGood(format!(
        "there is no room for a build: {short}, and {wanted} must be (keep.free).\n{takes}\n\
         To see more: windlass doctor, docker system df. Make room, or keep less by [keep] in config.toml; then push again."
    )))
}

fn short_of_room(platform: &Platform, root: &Path) -> Option<Short> {
    let wanted = platform.config.keep.free.0;
    // An engine on another machine has its root there.
    let engine = root.is_dir().then_some(root);
    let paths = [Some(platform.home.path()), engine].into_iter().flatten();
    let rooms = paths.filter_map(|path| Some((path, room(path).ok()?)));
    let short = rooms
        .filter(|(_, room)| room.free < wanted)
        .min_by_key(|(_, room)| room.free);
    short.map(|(path, room)| Short {
        path: path.display().to_string(),
        free: room.free,
    })
}

/// What of Windlass takes room, as a sentence.
async fn what_takes_room(platform: &Platform) -> String {
    let mut parts = Vec::new();
    match platform.engine.usage().await {
        Ok(usage) => {
            let mut apps: BTreeMap<&str, u64> = BTreeMap::new();
            for image in &usage.images {
                *apps
                    .entry(image.label(APP).unwrap_or_default())
                    .or_default() += image.own;
            }
            parts.push(format!(
                "images {}{}",
                show(apps.values().sum()),
                largest(apps)
            ));
            parts.push(format!(
                "the engine's build cache {}",
                show(usage.build_cache)
            ));
        }
        Err(error) => warn!(%error, "what the engine's images take is not known"),
    }
    let (logs, repos) = (platform.home.logs(), platform.home.repos());
    let sizes = tokio::task::spawn_blocking(move || (taken(&logs), taken(&repos))).await;
    let (logs, repos) = sizes.unwrap_or_default();
    parts.push(format!("logs {}", show(logs)));
    parts.push(format!("repositories {}", show(repos)));
    format!("Windlass takes: {}.", parts.join(", "))
}

/// The apps that take most, in brackets.
fn largest(apps: BTreeMap<&str, u64>) -> String {
    let mut apps: Vec<(&str, u64)> = apps.into_iter().collect();
    apps.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let named: Vec<String> = apps
        .iter()
        .take(3)
        .map(|(app, bytes)| format!("{app} {}", show(*bytes)))
        .collect();
    if named.is_empty() {
        String::new()
    } else {
        format!(" ({})", named.join(", "))
    }
}
