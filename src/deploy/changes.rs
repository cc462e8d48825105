//! What a deploy brings, found beside the pipeline: it neither waits for this nor fails by it.

use std::sync::Arc;

use crate::domain::{Changes, Deploy};
use crate::git::GitError;
use crate::platform::Platform;

/// Begins to find out what a deploy brings, against what is live now, and to write it down. Nothing
/// comes of it where history cannot be read.
pub async fn note_changes(platform: &Arc<Platform>, deploy: &Deploy) {
    let Ok(live) = platform.store.live_deploy(&deploy.app).await else {
        return;
    };
    let (platform, deploy) = (platform.clone(), deploy.clone());
    tokio::spawn(async move {
        let changes = changes(&platform, &deploy, live.as_ref()).await;
        if let Err(error) = platform.store.set_changes(deploy.id, &changes).await {
            tracing::debug!(%error, "what deploy {} brings is not written down", deploy.id);
        }
    });
}

/// As much of it as can be read.
async fn changes(platform: &Platform, deploy: &Deploy, live: Option<&Deploy>) -> Changes {
    let (git, app, to) = (&platform.git, &deploy.app, &deploy.commit);
    let from = live.map(|live| &live.commit);
    let mut changes = Changes {
        since: live.map(|live| live.id),
        ..Changes::default()
    };
    changes.come = read(git.commits_between(app, from, to).await).unwrap_or_default();
    if let Some(from) = from {
        changes.go = read(git.commits_between(app, Some(to), from).await).unwrap_or_default();
        changes.files = read(git.files_between(app, from, to).await);
    }
    changes
}

fn read<T>(read: Result<T, GitError>) -> Option<T> {
    read.inspect_err(|error| tracing::debug!(%error, "some of a deploy's changes cannot be read"))
        .ok()
}
