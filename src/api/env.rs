//! An app's environment variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Action, Endpoint, Error, Server, Verb, action, deploy, view};
use crate::domain::{AppName, Environment, Needs, Principal};

/// Sets variables. They take effect with the next deploy or restart.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvSet {
    /// The app.
    pub app: AppName,
    /// Names and values.
    pub vars: Environment,
}

/// Which variables were set.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Set {
    /// Their names.
    pub set: Vec<String>,
}

impl EnvSet {
    fn names(&self) -> Vec<String> {
        let names = self.vars.iter().map(|(name, _)| name.to_owned());
        names.collect()
    }
}

impl Verb for EnvSet {
    type Answer = Set;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    fn action(&self) -> Option<Action> {
        action("env_set", self.names().join(" "))
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Set, Error> {
        let set = self.names();
        let mut env = Environment::default();
        for (name, value) in self.vars.iter() {
            let valid = env.set(name, value);
            valid.map_err(|error| Error::refused(error.to_string()))?;
        }
        server.platform().store.set_env(&self.app, &env).await?;
        Ok(Set { set })
    }
}

impl Endpoint for EnvSet {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/env";
    const ID: &'static str = "env_set";
}

/// Removes variables. They are gone with the next deploy or restart.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvUnset {
    /// The app.
    pub app: AppName,
    /// Their names.
    pub names: Vec<String>,
}

/// Which variables are gone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Unset {
    /// All that were named.
    pub unset: Vec<String>,
    /// Those of them that were not set.
    pub unknown: Vec<String>,
}

impl Verb for EnvUnset {
    type Answer = Unset;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.app)
    }

    fn action(&self) -> Option<Action> {
        action("env_unset", self.names.join(" "))
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Unset, Error> {
        let Self { app, names } = self;
        let unknown = server.platform().store.unset_env(&app, &names).await?;
        Ok(Unset {
            unset: names,
            unknown,
        })
    }
}

impl Endpoint for EnvUnset {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{app}/env/unset";
    const ID: &'static str = "env_unset";
}

/// An app's variables.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvList {
    /// The app.
    pub app: AppName,
    /// The values too.
    #[serde(default)]
    #[schema(default = false)]
    pub reveal: bool,
}

/// Names of variables and their values; a value that is not shown is `null`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Variables(pub BTreeMap<String, Option<String>>);

impl Verb for EnvList {
    type Answer = Variables;

    fn needs(&self, _: &Principal) -> Needs {
        match self.reveal {
            true => deploy(&self.app),
            false => view(&self.app),
        }
    }

    fn action(&self) -> Option<Action> {
        self.reveal.then(|| action("env_reveal", ""))?
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Variables, Error> {
        let env = server.platform().store.env(&self.app).await?;
        let shown = env.iter().map(|(name, value)| {
            let value = self.reveal.then(|| value.to_owned());
            (name.to_owned(), value)
        });
        Ok(Variables(shown.collect()))
    }
}

impl Endpoint for EnvList {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps/{app}/env";
    const ID: &'static str = "env_list";
}
