//! What runs of an app.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Error, Server, Verb, view};
use crate::app;
use crate::domain::{AppName, Needs, Principal, ReplicaState};

/// The app's processes, a row a container: those of the live release first, which there should be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Processes {
    /// The app.
    pub app: AppName,
}

impl Verb for Processes {
    type Answer = Vec<ReplicaState>;

    fn needs(&self, _: &Principal) -> Needs {
        view(&self.app)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Vec<ReplicaState>, Error> {
        Ok(app::processes(server.platform(), &self.app).await?)
    }
}

impl Endpoint for Processes {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps/{app}/processes";
    const ID: &'static str = "processes";
}
