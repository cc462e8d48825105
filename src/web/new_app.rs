//! `/new`: creating an app.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::api::AppCreate;
use crate::domain::{AppName, DomainName};
use crate::platform::Platform;

use super::domains::domains;
use super::error::Error;
use super::guard::Who;
use super::{Layout, Web, html};

#[derive(Template)]
#[template(path = "new_app.html")]
struct NewAppPage {
    layout: Layout,
    typed: Typed,
}

/// What was typed into the form, with what is wrong about it.
#[derive(Debug)]
pub(super) struct Typed {
    /// The name.
    pub(super) name: String,
    /// The domains.
    pub(super) domains: String,
    /// What is wrong with the name.
    pub(super) name_refused: Option<String>,
    /// What is wrong with the domains.
    pub(super) domains_refused: Option<String>,
    /// What stands before and after an app's name in what `git remote add` takes.
    pub(super) remote: (String, String),
    /// Whether that is a path on this machine.
    pub(super) local: bool,
}

/// The form.
#[derive(Debug, Deserialize)]
pub(super) struct NewApp {
    #[serde(default)]
    name: String,
    #[serde(default)]
    domains: String,
}

impl Typed {
    /// Nothing yet.
    pub(super) fn new(platform: &Platform) -> Self {
        Self::with(
            platform,
            NewApp {
                name: String::new(),
                domains: String::new(),
            },
        )
    }

    fn with(platform: &Platform, NewApp { name, domains }: NewApp) -> Self {
        let remote = platform.git_remote("shop");
        let (before, after) = remote.rsplit_once("shop").unwrap_or((&remote, ""));
        let remote = (before.to_owned(), after.to_owned());
        let local = platform.config.ssh_host.is_none();
        Self {
            name,
            domains,
            name_refused: None,
            domains_refused: None,
            remote,
            local,
        }
    }

    /// What the commands show as the app's name.
    pub(super) fn shown(&self) -> &str {
        if self.name.parse::<AppName>().is_ok() {
            &self.name
        } else {
            "shop"
        }
    }

    /// What the form asks for, or what of it makes no sense.
    fn read(&mut self) -> Option<(AppName, Vec<DomainName>)> {
        let name = self.name.trim().to_owned();
        let name = name
            .parse::<AppName>()
            .map_err(|error| self.name_refused = Some(error.to_string()));
        let domains = domains(&self.domains).map_err(|error| self.domains_refused = Some(error));
        Some((name.ok()?, domains.ok()?))
    }
}

/// The page.
pub(super) async fn page(State(web): State<Web>, who: Who) -> Result<Html<String>, Error> {
    show(&who, Typed::new(web.platform()))
}

fn show(who: &Who, typed: Typed) -> Result<Html<String>, Error> {
    html(&NewAppPage {
        layout: Layout::new("New app", Some(who)),
        typed,
    })
}

/// Creates an app; its page then says how to push. What is refused stands beside what was typed.
pub(super) async fn create(
    State(web): State<Web>,
    who: Who,
    Form(form): Form<NewApp>,
) -> Result<Response, Error> {
    let mut typed = Typed::with(web.platform(), form);
    let Some((name, domains)) = typed.read() else {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, show(&who, typed)?).into_response());
    };
    match web.ask(&who, AppCreate { name, domains }).await {
        Ok(app) => Ok(Redirect::to(&format!("/apps/{}", app.name)).into_response()),
        Err(error) => {
            let taken = error.is_of_a_name();
            let said = Some(error.refused()?);
            match taken {
                true => typed.name_refused = said,
                false => typed.domains_refused = said,
            }
            Ok((StatusCode::CONFLICT, show(&who, typed)?).into_response())
        }
    }
}
