//! What people ask for: a push, a revert, a redeploy, a restart, a reload.

use super::{Error, Windlass};
use crate::domain::{AppName, CommitId, Deploy, DeployId, Release, Trigger};
use crate::git::GitError;
use crate::store::NewDeploy;

/// What became of the refs of one push.
#[derive(Debug, Default)]
pub struct PushAnswer {
    /// Sentences for the pusher.
    pub notes: Vec<String>,
    /// The deploy that the push began.
    pub deploy: Option<Deploy>,
}

impl Windlass {
    /// Takes a push: refs that moved in an app's repository, as `(old, new, full name)`.
    ///
    /// Only the deploy branch deploys; the rest is stored, and the answer says so. A push that was
    /// told of before, as by a relay that lost the server, is answered with the deploy it began. If
    /// the push cannot be taken, the branch is put back, so that the same push tries again.
    pub async fn pushed(
        &self,
        app: &AppName,
        updates: &[(CommitId, CommitId, String)],
        actor: &str,
    ) -> Result<PushAnswer, Error> {
        let answer = self.take_push(app, updates, actor).await;
        if answer.is_err() {
            let _ = self.settle_branch(app, None).await;
        }
        answer
    }

    async fn take_push(
        &self,
        app: &AppName,
        updates: &[(CommitId, CommitId, String)],
        actor: &str,
    ) -> Result<PushAnswer, Error> {
        self.store.app(app).await?;
        let deploy_ref = self.git.deploy_ref();
        let branch = deploy_ref.trim_start_matches("refs/heads/");
        let mut answer = PushAnswer::default();
        for (_, new, name) in updates {
            let shown = crate::domain::printable(name, 120);
            let short = shown
                .trim_start_matches("refs/heads/")
                .trim_start_matches("refs/tags/");
            if name == deploy_ref && new.is_zero() {
                self.settle_branch(app, None).await?;
                answer.notes.push(format!(
                    "{branch} names what is live and cannot be deleted; it was put back."
                ));
            } else if name == deploy_ref {
                let commit = self.git.resolve(app, new.as_str()).await?;
                let open = self.store.open_deploys(Some(app)).await?;
                let newest = open
                    .into_iter()
                    .rfind(|deploy| deploy.trigger == Trigger::Push);
                let told = newest.filter(|deploy| deploy.commit == commit);
                answer.deploy = Some(match told {
                    Some(deploy) => deploy,
                    None => {
                        self.request(app, &commit, Trigger::Push, actor, None)
                            .await?
                    }
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
        &self,
        app: &AppName,
        commit: Option<&str>,
        actor: &str,
    ) -> Result<Deploy, Error> {
        if let Some(name) = commit {
            self.store.app(app).await?;
            let commit = self.git.resolve(app, name).await?;
            return self
                .request(app, &commit, Trigger::Redeploy, actor, None)
                .await;
        }
        let live = self.live_or_refuse(app, "redeploy").await?;
        self.request(app, &live.commit, Trigger::Redeploy, actor, Some(live.id))
            .await
    }

    /// Queues going back to an earlier release; the one before the live one by default. A commit that
    /// was never live is refused.
    pub async fn revert(
        &self,
        app: &AppName,
        commit: Option<&str>,
        actor: &str,
    ) -> Result<Deploy, Error> {
        let live = self.live_or_refuse(app, "go back from").await?;
        let release = self.release_to(app, commit, &live).await?;
        self.request(
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
        &self,
        app: &AppName,
        to: DeployId,
        actor: &str,
    ) -> Result<Deploy, Error> {
        let live = self.live_or_refuse(app, "go back from").await?;
        let release = self.release_at(app, to, &live).await?;
        self.request(
            app,
            &release.commit,
            Trigger::Revert,
            actor,
            Some(release.deploy),
        )
        .await
    }

    /// The release that a revert goes to: a commit's, or the one before the live one.
    pub(super) async fn release_to(
        &self,
        app: &AppName,
        commit: Option<&str>,
        live: &Deploy,
    ) -> Result<Release, Error> {
        match commit {
            Some(name) => self.release_named(app, name).await,
            None => self.release_before(app, live).await,
        }
    }

    /// The release of one certain deploy of this app, which is not the one that serves.
    pub(super) async fn release_at(
        &self,
        app: &AppName,
        to: DeployId,
        live: &Deploy,
    ) -> Result<Release, Error> {
        if to == live.id {
            return Err(Error::Refused(format!(
                "deploy {to} is what serves now: there is nothing to go back to"
            )));
        }
        let found = self
            .store
            .release(to)
            .await?
            .filter(|release| release.app == *app);
        found
            .ok_or_else(|| Error::Refused(format!("no release of {app} was made by a deploy {to}")))
    }

    /// Queues bringing the live image up again with today's environment.
    pub async fn restart(&self, app: &AppName, actor: &str) -> Result<Deploy, Error> {
        let live = self.live_or_refuse(app, "restart").await?;
        self.request(app, &live.commit, Trigger::Restart, actor, Some(live.id))
            .await
    }

    /// SIGHUP to the app's main process.
    pub async fn reload(&self, app: &AppName) -> Result<(), Error> {
        self.live_or_refuse(app, "reload").await?;
        Ok(self.engine.signal(&self.naming.live(app), "SIGHUP").await?)
    }

    pub(super) async fn live_or_refuse(&self, app: &AppName, verb: &str) -> Result<Deploy, Error> {
        self.store.app(app).await?;
        let live = self.store.live_deploy(app).await?;
        live.ok_or_else(|| {
            Error::Refused(format!(
                "{app} has no live release to {verb}: push a commit first"
            ))
        })
    }

    async fn release_named(&self, app: &AppName, name: &str) -> Result<Release, Error> {
        let commit = self.git.resolve(app, name).await?;
        let found = self.store.release_of(app, &commit).await?;
        found.ok_or_else(|| {
            let short = commit.short();
            Error::Refused(format!(
                "{short} was never live. To put it live: windlass redeploy {app} {short}"
            ))
        })
    }

    /// The newest release of another commit than the live one's.
    async fn release_before(&self, app: &AppName, live: &Deploy) -> Result<Release, Error> {
        let releases = self.store.releases(app, 1000).await?;
        // After a revert, "before" means before what it went back to.
        let from = self.origin(app, live.id, &releases).await?;
        let before = releases
            .into_iter()
            .find(|r| r.deploy < from && r.commit != live.commit);
        before.ok_or_else(|| Error::Refused(format!("{app} has no release before the live one")))
    }

    async fn origin(
        &self,
        _app: &AppName,
        live: DeployId,
        releases: &[Release],
    ) -> Result<DeployId, Error> {
        let mut origin = live;
        while let Some(source) = self.store.source_release(origin).await? {
            if !releases.iter().any(|release| release.deploy == source) {
                break;
            }
            origin = source;
        }
        Ok(origin)
    }

    async fn request(
        &self,
        app: &AppName,
        commit: &CommitId,
        trigger: Trigger,
        actor: &str,
        source: Option<DeployId>,
    ) -> Result<Deploy, Error> {
        let info = match self.git.describe(app, commit).await {
            Ok(info) => info,
            Err(GitError::Failed(..)) => return Err(GitError::NoCommit(commit.to_string()).into()),
            Err(error) => return Err(error.into()),
        };
        self.enqueue(NewDeploy {
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
}
