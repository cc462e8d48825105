//! What git's hook and the ssh command ask. Only the control socket takes these.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::deploys::tell;
use super::event::Sender;
use super::{Action, Endpoint, Error, Event, Events, Server, Verb, action, deploy, view};
use crate::app;
use crate::domain::{AppName, CommitId, Needs, Principal};
use crate::logs::Cursor;

/// What git is asked to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// `git push`.
    Push,
    /// `git fetch` and `git clone`.
    Fetch,
}

/// From the ssh command: may the caller use this repository?
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enter {
    /// The app.
    pub app: AppName,
    /// What for.
    pub service: Service,
}

/// Where a repository lies.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Entered {
    /// The user.
    pub user: String,
    /// The repository's folder.
    #[schema(value_type = String)]
    pub path: PathBuf,
}

impl Verb for Enter {
    type Answer = Entered;

    fn needs(&self, _: &Principal) -> Needs {
        match self.service {
            Service::Push => deploy(&self.app),
            Service::Fetch => view(&self.app),
        }
    }

    fn action(&self) -> Option<Action> {
        match self.service {
            // What comes of it is a push, which is written down itself.
            Service::Push => None,
            Service::Fetch => action("fetch", ""),
        }
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Entered, Error> {
        server.platform().store.app(&self.app).await?;
        Ok(Entered {
            user: who.name.clone(),
            path: server.platform().git.path(&self.app),
        })
    }
}

impl Endpoint for Enter {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/enter";
    const ID: &'static str = "enter";
}

/// One line of what git tells a post-receive hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefUpdate {
    /// Before, or zeroes.
    pub old: CommitId,
    /// After, or zeroes. May name a tag object.
    pub new: CommitId,
    /// The full ref name.
    pub name: String,
}

/// From the post-receive hook: these refs moved. Queues what deploys, and follows it as a stream of
/// events.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pushed {
    /// The app.
    pub app: AppName,
    /// What moved.
    pub updates: Vec<RefUpdate>,
}

impl Verb for Pushed {
    type Answer = Events;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    fn action(&self) -> Option<Action> {
        let moved = self.updates.iter().take(5).map(|update| {
            let branch = update.name.trim_start_matches("refs/heads/");
            format!("{branch} {}", update.new.short())
        });
        action("push", moved.collect::<Vec<_>>().join(", "))
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Events, Error> {
        let Self { app, updates } = self;
        let updates = updates.into_iter().map(|u| (u.old, u.new, u.name));
        let updates: Vec<_> = updates.collect();
        let platform = server.platform().clone();
        let answer = app::pushed(&server.services.queue, &app, &updates, &who.name).await?;
        Ok(Events::of(server, async move |to: Sender| {
            let told = async {
                for text in answer.notes {
                    to.send(Event::Note { text }).await?;
                }
                match answer.deploy {
                    Some(deploy) => tell(&platform, deploy, Cursor::default(), true, &to).await,
                    None => Ok(()),
                }
            };
            let told = told.await;
            (to, told)
        }))
    }
}

impl Endpoint for Pushed {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/pushed";
    const ID: &'static str = "pushed";
}
