//! What people ask for: a push, a revert, a redeploy, a restart, a reload.

use super::releases::{live_or_refuse, release_at, release_to};
use crate::deploy::Queue;
use crate::domain::{AppName, CommitId, Deploy, DeployId, Trigger};
use crate::git::GitError;
use crate::platform::{Error, Platform};
use crate::reconcile::restore_branch;
use crate::store::NewDeploy;

/// What became of the refs of one push.
#[derive(Debug, Default)]
pub struct PushAnswer {
    /// Sentences for the pusher.
    pub notes: Vec<String>,
    /// The deploy that the push began.
    pub deploy: Option<Deploy>,
}

/// Takes a push: refs that moved in an app's repository, as `(old, new, full name)`.
///
/// Only the deploy branch deploys; the rest is stored, and the answer says so. A push that was
/// told of before, as by a relay that lost the server, is answered with the deploy it began. If
/// the push cannot be taken, the branch is put back, so that the same push tries again.
pub async fn pushed(
    queue: &Queue,
    app: &AppName,
    updates: &[(CommitId, CommitId, String)],
    actor: &str,
) -> Result<PushAnswer, Error> {
    let platform = queue.platform();
    let answer = take_push(queue, app, updates, actor).await;
    if answer.is_err() {
        let _ = restore_branch(platform, app, None).await;
    }
    answer
}

async fn take_push(
    queue: &Queue,
    app: &AppName,
    updates: &[(CommitId, CommitId, String)],
    actor: &str,
) -> Result<PushAnswer, Error> {
    let platform = queue.platform();
    platform.store.app(app).await?;
    let deploy_ref = platform.git.deploy_ref();
    let branch = deploy_ref.trim_start_matches("refs/heads/");
    let mut answer = PushAnswer::default();
    for (_, new, name) in updates {
        let shown = crate::domain::printable(name, 120);
        let short = shown
            .trim_start_matches("refs/heads/")
            .trim_start_matches("refs/tags/");
        if name == deploy_ref && new.is_zero() {
            restore_branch(platform, app, None).await?;
            answer.notes.push(format!(
                "{branch} names what is live and cannot be deleted; it was put back."
            ));
        } else if name == deploy_ref {
            let commit = platform.git.resolve(app, new.as_str()).await?;
            let open = platform.store.open_deploys(Some(app)).await?;
            let newest = open
                .into_iter()
                .rfind(|deploy| deploy.trigger == Trigger::Push);
            let told = newest.filter(|deploy| deploy.commit == commit);
            answer.deploy = Some(match told {
                Some(deploy) => deploy,
                None => request(queue, app, &commit, Trigger::Push, actor, None).await?,
            });
        } else if new.is_zero() {
            answer
                .notes
                .push(format!("{short} was deleted. Nothing deploys from it."));
        } else if name.starts_with("refs/heads/") {
            answer.notes.push(format!(
                    "{short} was stored and does not deploy: only {branch} does. To deploy it: git push <remote> {short}:{branch}"
                ));
        } else {
            answer.notes.push(format!(
                "{short} was stored and does not deploy: only the branch {branch} does."
            ));
        }
    }
    Ok(answer)
}

/// Queues a deploy of a commit, built again; the live one by default.
pub async fn redeploy(
    queue: &Queue,
    app: &AppName,
    commit: Option<&str>,
    actor: &str,
) -> Result<Deploy, Error> {
    let platform = queue.platform();
    if let Some(name) = commit {
        platform.store.app(app).await?;
        let commit = platform.git.resolve(app, name).await?;
        return request(queue, app, &commit, Trigger::Redeploy, actor, None).await;
    }
    let live = live_or_refuse(platform, app, "redeploy").await?;
    request(
        queue,
        app,
        &live.commit,
        Trigger::Redeploy,
        actor,
        Some(live.id),
    )
    .await
}

/// Queues going back to an earlier release; the one before the live one by default. A commit that
/// was never live is refused.
pub async fn revert(
    queue: &Queue,
    app: &AppName,
    commit: Option<&str>,
    actor: &str,
) -> Result<Deploy, Error> {
    let platform = queue.platform();
    let live = live_or_refuse(platform, app, "go back from").await?;
    let release = release_to(platform, app, commit, &live).await?;
    request(
        queue,
        app,
        &release.commit,
        Trigger::Revert,
        actor,
        Some(release.deploy),
    )
    .await
}

/// Queues going back to the release of one certain deploy.
pub async fn revert_to(
    queue: &Queue,
    app: &AppName,
    to: DeployId,
    actor: &str,
) -> Result<Deploy, Error> {
    let platform = queue.platform();
    let live = live_or_refuse(platform, app, "go back from").await?;
    let release = release_at(platform, app, to, &live).await?;
    request(
        queue,
        app,
        &release.commit,
        Trigger::Revert,
        actor,
        Some(release.deploy),
    )
    .await
}

/// Queues bringing the live image up again with today's environment.
pub async fn restart(queue: &Queue, app: &AppName, actor: &str) -> Result<Deploy, Error> {
    let platform = queue.platform();
    let live = live_or_refuse(platform, app, "restart").await?;
    request(
        queue,
        app,
        &live.commit,
        Trigger::Restart,
        actor,
        Some(live.id),
    )
    .await
}

/// SIGHUP to the app's main process.
pub async fn reload(platform: &Platform, app: &AppName) -> Result<(), Error> {
    live_or_refuse(platform, app, "reload").await?;
    Ok(platform
        .engine
        .signal(&platform.naming.live(app), "SIGHUP")
        .await?)
}

async fn request(
    queue: &Queue,
    app: &AppName,
    commit: &CommitId,
    trigger: Trigger,
    actor: &str,
    source: Option<DeployId>,
) -> Result<Deploy, Error> {
    let platform = queue.platform();
    let info = match platform.git.describe(app, commit).await {
        Ok(info) => info,
        Err(GitError::Failed(..)) => return Err(GitError::NoCommit(commit.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    queue
        .enqueue(NewDeploy {
            app: app.clone(),
            commit: commit.clone(),
            subject: info.subject,
            author: info.author,
            trigger,
            actor: crate::domain::printable(actor, 80),
            source,
        })
        .await
}
