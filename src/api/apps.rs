//! Apps: made, shown, changed and removed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Action, Endpoint, Error, Server, Verb, action, deploy, view};
use crate::app;
use crate::domain::{Allowance, App, AppName, DomainName, Needs, Principal};

/// Creates an app.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppCreate {
    /// Its name.
    pub name: AppName,
    /// Its domains.
    #[serde(default)]
    pub domains: Vec<DomainName>,
}

impl Verb for AppCreate {
    type Answer = App;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    fn action(&self) -> Option<Action> {
        let domains = self.domains.iter().map(|domain| format!(" {domain}"));
        action(
            "app_create",
            self.name.to_string() + &domains.collect::<String>(),
        )
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<App, Error> {
        let queue = &server.services.queue;
        Ok(app::create(queue, &self.name, &self.domains).await?)
    }
}

impl Endpoint for AppCreate {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps";
    const ID: &'static str = "app_create";
}

/// The apps that you may see.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppList {}

impl Verb for AppList {
    type Answer = Vec<App>;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::User
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Vec<App>, Error> {
        let apps = app::all(server.platform()).await?;
        Ok(server.platform().access.seen(who, apps, |app| &app.name))
    }
}

impl Endpoint for AppList {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps";
    const ID: &'static str = "app_list";
}

/// An app.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppShow {
    /// The app.
    pub name: AppName,
}

impl Verb for AppShow {
    type Answer = App;

    fn needs(&self, _: &Principal) -> Needs {
        view(&self.name)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<App, Error> {
        Ok(app::show(server.platform(), &self.name).await?)
    }
}

impl Endpoint for AppShow {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps/{name}";
    const ID: &'static str = "app_show";
}

/// Allows an app more than every app may. It takes effect with the next deploy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppAllow {
    /// The app.
    pub name: AppName,
    /// What: it takes the place of what was allowed of its kind.
    #[serde(default)]
    pub more: Allowance,
    /// Takes back all that was allowed before.
    #[serde(default)]
    pub reset: bool,
}

impl Verb for AppAllow {
    type Answer = App;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    fn action(&self) -> Option<Action> {
        let Self { name, more, reset } = self;
        let before = if *reset {
            "instead of what was allowed"
        } else {
            ""
        };
        action("app_allow", format!("{name} {more} {before}").trim())
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<App, Error> {
        let Self { name, more, reset } = self;
        Ok(app::allow(server.platform(), &name, more, reset).await?)
    }
}

impl Endpoint for AppAllow {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{name}/allow";
    const ID: &'static str = "app_allow";
}

/// An app's domains, after what is added and removed. It takes effect immediately.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppDomains {
    /// The app.
    pub name: AppName,
    /// It answers to these too.
    #[serde(default)]
    pub add: Vec<DomainName>,
    /// And no longer to these.
    #[serde(default)]
    pub remove: Vec<DomainName>,
    /// What is added comes from this app, which answers to it no longer. No visitor meets neither.
    #[serde(default)]
    pub from: Option<AppName>,
}

/// An app's domains.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Domains {
    /// The app.
    pub app: AppName,
    /// All of them.
    pub domains: Vec<DomainName>,
}

impl AppDomains {
    fn only_looks(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

impl Verb for AppDomains {
    type Answer = Domains;

    fn needs(&self, _: &Principal) -> Needs {
        match self.only_looks() {
            true => view(&self.name),
            false => Needs::Admin,
        }
    }

    fn action(&self) -> Option<Action> {
        if self.only_looks() {
            return None;
        }
        let signed = |sign, domains: &[DomainName]| {
            let signed = domains.iter().map(|domain| format!(" {sign}{domain}"));
            signed.collect::<String>()
        };
        let (added, removed) = (signed('+', &self.add), signed('-', &self.remove));
        let from = self.from.iter().map(|from| format!(" from {from}"));
        let from = from.collect::<String>();
        action(
            "app_domains",
            format!("{}{added}{removed}{from}", self.name),
        )
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Domains, Error> {
        let Self {
            name,
            add,
            remove,
            from,
        } = self;
        let platform = server.platform();
        let domains = match from {
            Some(from) if !add.is_empty() => {
                app::move_domains(platform, &name, &add, &remove, &from).await?
            }
            _ => app::change_domains(platform, &name, &add, &remove).await?,
        };
        Ok(Domains { app: name, domains })
    }
}

impl Endpoint for AppDomains {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{name}/domains";
    const ID: &'static str = "app_domains";
}

/// Shows an app's badge and status to everybody, or to nobody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppPublic {
    /// The app.
    pub name: AppName,
    /// Whether everybody sees them.
    pub public: bool,
}

/// What an app's switch says now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Switched {
    /// The app.
    pub name: AppName,
    /// Whether everybody sees its badge and status.
    pub public: bool,
}

impl Verb for AppPublic {
    type Answer = Switched;

    fn needs(&self, _: &Principal) -> Needs {
        deploy(&self.name)
    }

    fn action(&self) -> Option<Action> {
        action("app_public", if self.public { "on" } else { "off" })
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Switched, Error> {
        let Self { name, public } = self;
        server.platform().store.set_public(&name, public).await?;
        Ok(Switched { name, public })
    }
}

impl Endpoint for AppPublic {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/apps/{name}/public";
    const ID: &'static str = "app_public";
}

/// Removes an app with its containers, images, repository, logs and environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppDestroy {
    /// The app.
    pub name: AppName,
}

/// An app that is gone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Destroyed {
    /// The app.
    pub destroyed: AppName,
}

impl Verb for AppDestroy {
    type Answer = Destroyed;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    fn action(&self) -> Option<Action> {
        action("app_destroy", self.name.as_str())
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Destroyed, Error> {
        let destroyed = self.name;
        app::destroy(&server.services.queue, &destroyed).await?;
        Ok(Destroyed { destroyed })
    }
}

impl Endpoint for AppDestroy {
    const METHOD: &'static str = "DELETE";
    const PATH: &'static str = "/apps/{name}";
    const ID: &'static str = "app_destroy";
}
