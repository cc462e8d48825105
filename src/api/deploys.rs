//! Deploys: asked for, looked at, followed and stopped.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::event::{Sender, Stop};
use super::{Action, Endpoint, Error, Event, Events, Server, Verb, action, deploy, view};
use crate::app::{self, Follower, Progress};
use crate::domain::{
    AppName, Deploy, DeployId, DeployStatus, Needs, Phase, Principal, RevertPreview, Right,
};
use crate::logs::Cursor;
use crate::platform::Platform;

/// So much of a log is given at once, in bytes, give or take a read.
const PIECE: usize = 256 * 1024;

/// How many of a list are given where nobody says.
pub(super) fn usual_limit() -> u32 {
    20
}

fn looks(id: DeployId) -> Needs {
    Needs::Deploy(Right::View, id)
}

/// What the audit log says of a deploy that is queued.
fn queued(deploy: &Deploy) -> String {
    let commit = deploy.commit.short();
    format!("deploy {} of {commit}", deploy.id)
}

/// An app's deploys, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploys {
    /// The app.
    pub app: AppName,
    /// How many at most.
    #[serde(default = "usual_limit")]
    #[schema(default = 20, minimum = 0, maximum = 4294967295u32)]
    pub limit: u32,
}

impl Verb for Deploys {
    type Answer = Vec<Deploy>;

    fn needs(&self, _: &Principal) -> Needs {
        view(&self.app)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Vec<Deploy>, Error> {
        let store = &server.platform().store;
        Ok(store.deploys(&self.app, self.limit, None).await?)
    }
}

impl Endpoint for Deploys {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps/{app}/deploys";
    const ID: &'static str = "deploys";
}

/// A deploy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployShow {
    /// Its number.
    pub id: DeployId,
}

impl Verb for DeployShow {
    type Answer = Deploy;

    fn needs(&self, _: &Principal) -> Needs {
        looks(self.id)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Deploy, Error> {
        Ok(server.platform().store.deploy(self.id).await?)
    }
}

impl Endpoint for DeployShow {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/deploys/{id}";
    const ID: &'static str = "deploy_show";
}

/// A piece of a deploy's log, and where the next one begins.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployLog {
    /// Its number.
    pub id: DeployId,
    /// Where to go on, as `next` told.
    #[serde(default)]
    #[schema(value_type = String, pattern = "^[0-9]{1,9}[.][0-9]{1,18}$", default = "0.0")]
    pub from: Cursor,
}

/// A piece of a deploy's log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogPiece {
    /// Its lines.
    pub lines: Vec<LogLine>,
    /// Where the next piece begins. Where that is the same place, there is no more yet.
    pub next: Cursor,
}

/// A line of a deploy's log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The phase that printed it.
    pub phase: Option<Phase>,
    /// Milliseconds since the deploy began.
    pub at_ms: u64,
    /// The text.
    pub text: String,
}

impl Verb for DeployLog {
    type Answer = LogPiece;

    fn needs(&self, _: &Principal) -> Needs {
        looks(self.id)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<LogPiece, Error> {
        let Self { id, from } = self;
        let deploy = server.platform().store.deploy(id).await?;
        let mut follower = Follower::new(server.platform(), id, from);
        let (mut lines, mut next, mut size) = (Vec::new(), from, 0);
        while let (true, Some(progress)) = (size < PIECE, follower.now().await?) {
            let Progress::Lines { next: behind, text } = progress else {
                continue;
            };
            let phase = deploy.phases.get(behind.ordinal);
            let phase = phase.map(|timing| timing.phase.clone());
            lines.extend(text.lines().map(|line| {
                let (at_ms, text) = line.split_once('\t').unwrap_or(("0", line));
                LogLine {
                    phase: phase.clone(),
                    at_ms: at_ms.parse().unwrap_or(0),
                    text: text.to_owned(),
                }
            }));
            (next, size) = (behind, size + text.len());
        }
        Ok(LogPiece { lines, next })
    }
}

impl Endpoint for DeployLog {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/deploys/{id}/log";
    const ID: &'static str = "deploy_log";
}

/// A deploy's progress as a stream of events: from a place in its log on, to its end or to what is
/// there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployFollow {
    /// Its number.
    pub id: DeployId,
    /// Where to go on: the id of the last event.
    #[serde(default)]
    #[schema(value_type = String, pattern = "^[0-9]{1,9}[.][0-9]{1,18}$", default = "0.0")]
    pub from: Cursor,
    /// Stays until the deploy ends.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub follow: bool,
    /// Ends once the release is live, whatever goes on behind that.
    #[serde(default)]
    pub until_live: bool,
}

fn yes() -> bool {
    true
}

impl Verb for DeployFollow {
    type Answer = Events;

    fn needs(&self, _: &Principal) -> Needs {
        looks(self.id)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Events, Error> {
        let deploy = server.platform().store.deploy(self.id).await?;
        let platform = server.platform().clone();
        let Self {
            from,
            follow,
            until_live,
            ..
        } = self;
        Ok(Events::of(server, async move |to: Sender| {
            let told = match follow {
                true => tell(&platform, deploy, from, until_live, &to).await,
                false => tell_so_far(&platform, deploy, from, &to).await,
            };
            (to, told)
        }))
    }
}

impl Endpoint for DeployFollow {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/deploys/{id}/events";
    const ID: &'static str = "deploy_follow";
}

/// Waits until a deploy has ended: a stream of events with that one alone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployWait {
    /// Its number.
    pub id: DeployId,
    /// How long to wait at most, in milliseconds; to its end by default.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 18446744073709551615u64)]
    pub at_most_ms: Option<u64>,
}

impl Verb for DeployWait {
    type Answer = Events;

    fn needs(&self, _: &Principal) -> Needs {
        looks(self.id)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Events, Error> {
        let Self { id, at_most_ms } = self;
        server.platform().store.deploy(id).await?;
        let platform = server.platform().clone();
        Ok(Events::of(server, async move |to: Sender| {
            let ended = tell_end(&platform, id, &to);
            let told = match at_most_ms.map(Duration::from_millis) {
                None => ended.await,
                Some(most) => tokio::time::timeout(most, ended).await.unwrap_or_else(|_| {
                    let why = format!("deploy {id} has not ended yet: windlass deploy show {id}");
                    Err(Error::refused(why).into())
                }),
            };
            (to, told)
        }))
    }
}

impl Endpoint for DeployWait {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/deploys/{id}/end";
    const ID: &'static str = "deploy_wait";
}

/// Stops a deploy. What is live stays live.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployCancel {
    /// Its number.
    pub id: DeployId,
}

impl Verb for DeployCancel {
    type Answer = Deploy;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Deploy(Right::Deploy, self.id)
    }

    fn action(&self) -> Option<Action> {
        action("cancel", self.id.to_string())
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Deploy, Error> {
        server.services.queue.cancel(self.id, &who.name).await?;
        Ok(server.platform().store.deploy(self.id).await?)
    }
}

impl Endpoint for DeployCancel {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/deploys/{id}/cancel";
    const ID: &'static str = "deploy_cancel";
}

/// Builds and deploys a commit again; the live one by default.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeploy {
    /// The app.
    pub app: AppName,
    /// An id, the beginning of one, or a branch.
    #[serde(default)]
    pub commit: Option<String>,
}

impl Verb for Redeploy {
    type Answer = Deploy;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    fn action(&self) -> Option<Action> {
        action("redeploy", self.commit.as_deref().unwrap_or_default())
    }

    fn outcome(deploy: &Deploy) -> String {
        queued(deploy)
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Deploy, Error> {
        let (app, commit) = (&self.app, self.commit.as_deref());
        Ok(app::redeploy(&server.services.queue, app, commit, &who.name).await?)
    }
}

impl Endpoint for Redeploy {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/redeploy";
    const ID: &'static str = "redeploy";
}

/// Goes back to a release; the one before the live one by default.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// The app.
    pub app: AppName,
    /// The newest release of this commit: an id, the beginning of one, or a branch.
    #[serde(default)]
    pub commit: Option<String>,
    /// The release of this deploy, in place of a commit.
    #[serde(default)]
    pub to: Option<DeployId>,
}

impl Verb for Revert {
    type Answer = Deploy;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    fn action(&self) -> Option<Action> {
        let commit = self.commit.clone().unwrap_or_default();
        let to = self.to.map(|id| format!("to the release of deploy {id}"));
        action("revert", to.unwrap_or(commit))
    }

    fn outcome(deploy: &Deploy) -> String {
        queued(deploy)
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Deploy, Error> {
        let (queue, Self { app, commit, to }) = (&server.services.queue, self);
        Ok(match (to, commit) {
            (Some(_), Some(_)) => {
                return Err(Error::refused(
                    "a revert goes to a commit or to a deploy's release, not to both",
                ));
            }
            (Some(to), None) => app::revert_to(queue, &app, to, &who.name).await?,
            (None, commit) => app::revert(queue, &app, commit.as_deref(), &who.name).await?,
        })
    }
}

impl Endpoint for Revert {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/revert";
    const ID: &'static str = "revert";
}

/// What going back to a release would do; to the one before the live one by default. Does nothing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertOutlook {
    /// The app.
    pub app: AppName,
    /// An id, the beginning of one, or a branch.
    #[serde(default)]
    pub commit: Option<String>,
}

impl Verb for RevertOutlook {
    type Answer = RevertPreview;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<RevertPreview, Error> {
        let (app, commit) = (&self.app, self.commit.as_deref());
        Ok(app::preview_revert(server.platform(), app, commit).await?)
    }
}

impl Endpoint for RevertOutlook {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps/{app}/revert";
    const ID: &'static str = "revert_outlook";
}

/// Brings the live image up again with today's environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// The app.
    pub app: AppName,
}

impl Verb for Restart {
    type Answer = Deploy;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    fn action(&self) -> Option<Action> {
        action("restart", "")
    }

    fn outcome(deploy: &Deploy) -> String {
        queued(deploy)
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Deploy, Error> {
        Ok(app::restart(&server.services.queue, &self.app, &who.name).await?)
    }
}

impl Endpoint for Restart {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/restart";
    const ID: &'static str = "restart";
}

/// Sends SIGHUP to the app's main process.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// The app.
    pub app: AppName,
}

/// An app whose main process was told.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// The app.
    pub reloaded: AppName,
}

impl Verb for Reload {
    type Answer = Reloaded;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    fn action(&self) -> Option<Action> {
        action("reload", "")
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Reloaded, Error> {
        let reloaded = self.app;
        app::reload(server.platform(), &reloaded).await?;
        Ok(Reloaded { reloaded })
    }
}

impl Endpoint for Reload {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/reload";
    const ID: &'static str = "reload";
}

/// Tells of a deploy to its end, or until its release is live.
pub(super) async fn tell(
    platform: &Platform,
    deploy: Deploy,
    from: Cursor,
    until_live: bool,
    to: &Sender,
) -> Result<(), Stop> {
    let (id, app) = (deploy.id, deploy.app.clone());
    let ahead = match deploy.status {
        DeployStatus::Queued => platform.store.open_deploys(Some(&app)).await?,
        _ => Vec::new(),
    };
    to.send(Event::Following { deploy }).await?;
    if let Some(first) = ahead.iter().find(|other| other.id < id) {
        let text = format!(
            "Deploy {id} waits: deploy {} of {app} is {}.",
            first.id, first.status
        );
        to.send(Event::Note { text }).await?;
    }
    let mut follower = Follower::new(platform, id, from);
    if until_live {
        follower = follower.until_live();
    }
    while let Some(progress) = to.or_gone(follower.next()).await?? {
        to.send(event(platform, progress).await?).await?;
    }
    Ok(())
}

async fn tell_so_far(
    platform: &Platform,
    deploy: Deploy,
    from: Cursor,
    to: &Sender,
) -> Result<(), Stop> {
    let mut follower = Follower::new(platform, deploy.id, from);
    to.send(Event::Following { deploy }).await?;
    while let Some(progress) = follower.now().await? {
        to.send(event(platform, progress).await?).await?;
    }
    Ok(())
}

/// Skips to the end without sending what lies between.
async fn tell_end(platform: &Platform, id: DeployId, to: &Sender) -> Result<(), Stop> {
    let mut ticks = platform.logs.ticks(id);
    loop {
        ticks.mark_unchanged();
        let deploy = platform.store.deploy(id).await?;
        if deploy.is_decided() {
            return to.send(finished(platform, deploy).await?).await;
        }
        let changed = tokio::time::timeout(Duration::from_secs(5), ticks.changed());
        let _ = to.or_gone(changed).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn event(platform: &Platform, progress: Progress) -> Result<Event, Error> {
    Ok(match progress {
        Progress::Started {
            ordinal,
            phase,
            at_ms,
        } => Event::PhaseStarted {
            ordinal,
            phase,
            at_ms,
        },
        Progress::Lines { next, text } => Event::Lines { next, text },
        Progress::Ended { ordinal, timing } => Event::PhaseEnded { ordinal, timing },
        Progress::Finished(deploy) => finished(platform, *deploy).await?,
    })
}

async fn finished(platform: &Platform, deploy: Deploy) -> Result<Event, Error> {
    let url = app::url(platform, &deploy.app).await?;
    let serving = platform.store.live_deploy(&deploy.app).await?;
    Ok(Event::Finished {
        deploy,
        url,
        serving,
    })
}
