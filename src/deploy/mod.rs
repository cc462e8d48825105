//! Deploys, from the queue to the retired container: what Windlass is for.

mod error;
mod follow;

pub use error::{Error, ErrorKind};
pub use follow::{Follower, Progress};

use std::sync::Arc;

use crate::config::Config;
use crate::domain::{App, AppName, Deploy, DeployId, DomainName, Environment};
use crate::logs::{Cursor, Logs};
use crate::store::Store;

/// Everything that pages and the control socket may ask for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Windlass {
    /// The database.
    pub store: Store,
    /// The logs.
    pub logs: Logs,
    /// The configuration.
    pub config: Arc<Config>,
}

impl Windlass {
    /// Creates an app: its row, repository, network and route.
    pub async fn create_app(&self, _name: &AppName, _domains: &[DomainName]) -> Result<App, Error> {
        unimplemented!()
    }
    /// Every app, by name.
    pub async fn apps(&self) -> Result<Vec<App>, Error> {
        unimplemented!()
    }
    /// One app.
    pub async fn app(&self, _name: &AppName) -> Result<App, Error> {
        unimplemented!()
    }
    /// Removes an app with everything of it.
    pub async fn destroy_app(&self, _name: &AppName) -> Result<(), Error> {
        unimplemented!()
    }
    /// The app's public address, if it has a domain: `https://shop.example.com`.
    pub async fn url(&self, _name: &AppName) -> Result<Option<String>, Error> {
        unimplemented!()
    }
    /// Queues a deploy of a commit, built again; the live one by default.
    pub async fn redeploy(
        &self,
        _app: &AppName,
        _commit: Option<&str>,
        _actor: &str,
    ) -> Result<Deploy, Error> {
        unimplemented!()
    }
    /// Queues going back to an earlier release; the one before the live one by default.
    pub async fn revert(&self, _app: &AppName, _commit: Option<&str>, _actor: &str) -> Result<Deploy, Error> {
        unimplemented!()
    }
    /// Queues bringing the live image up again with today's environment.
    pub async fn restart(&self, _app: &AppName, _actor: &str) -> Result<Deploy, Error> {
        unimplemented!()
    }
    /// SIGHUP to the app's main process.
    pub async fn reload(&self, _app: &AppName) -> Result<(), Error> {
        unimplemented!()
    }
    /// Stops a deploy.
    pub async fn cancel(&self, _id: DeployId, _actor: &str) -> Result<(), Error> {
        unimplemented!()
    }
    /// The environment as it is set today.
    pub async fn env(&self, app: &AppName) -> Result<Environment, Error> {
        Ok(self.store.env(app).await?)
    }
    /// Follows a deploy from `cursor` on.
    pub fn follow(&self, id: DeployId, cursor: Cursor) -> Follower {
        Follower::new(self.store.clone(), self.logs.clone(), id, cursor)
    }
}
