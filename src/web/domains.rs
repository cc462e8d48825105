//! `/apps/{app}/domains`: which domains an app answers to.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::api::AppDomains;
use crate::domain::{App, AppName, DomainName, InvalidName};

use super::error::Error;
use super::guard::Who;
use super::{AppPath, Layout, Web, html};

#[derive(Template)]
#[template(path = "domains.html")]
struct DomainsPage {
    layout: Layout,
    app: App,
    admin: bool,
    domain: NewDomain,
    /// Why one was not removed.
    not_removed: Option<String>,
}

/// What was typed as a domain more, with what is wrong about it.
#[derive(Debug, Default)]
pub(super) struct NewDomain {
    pub(super) typed: String,
    pub(super) refused: Option<String>,
}

/// One domain more, or one less.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    #[serde(default)]
    add: String,
    #[serde(default)]
    remove: String,
}

/// Domains as people write them down: a space, a comma or a line apart.
pub(super) fn domains(text: &str) -> Result<Vec<DomainName>, String> {
    let words = text
        .split([' ', ',', ';', '\n', '\r', '\t'])
        .filter(|word| !word.is_empty());
    words
        .map(|word| {
            word.to_ascii_lowercase()
                .parse()
                .map_err(|error: InvalidName| error.to_string())
        })
        .collect()
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
) -> Result<Html<String>, Error> {
    show(&web, &who, &app, NewDomain::default(), None).await
}

async fn show(
    web: &Web,
    who: &Who,
    app: &AppName,
    domain: NewDomain,
    not_removed: Option<String>,
) -> Result<Html<String>, Error> {
    let app = web
        .services
        .overview
        .known_app(web.platform().store.app(app).await?)
        .await?;
    let layout = Layout::new(&format!("Domains of {}", app.name), Some(who));
    html(&DomainsPage {
        layout,
        app,
        admin: who.is_admin(),
        domain,
        not_removed,
    })
}

/// Changes an app's domains. What is refused stands beside what was typed.
pub(super) async fn change(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    Form(Change { add, remove }): Form<Change>,
) -> Result<Response, Error> {
    let (status, why) = match (domains(&add), domains(&remove)) {
        (Ok(add), Ok(remove)) => {
            let name = app.clone();
            let change = AppDomains {
                name,
                add,
                remove,
                from: None,
            };
            match web.ask(&who, change).await {
                Ok(_) => return Ok(Redirect::to(&format!("/apps/{app}#domains")).into_response()),
                Err(error) => (StatusCode::CONFLICT, error.refused()?),
            }
        }
        (Err(why), _) | (_, Err(why)) => (StatusCode::UNPROCESSABLE_ENTITY, why),
    };
    let (refused, not_removed) = if add.is_empty() {
        (None, Some(why))
    } else {
        (Some(why), None)
    };
    let page = show(
        &web,
        &who,
        &app,
        NewDomain {
            typed: add,
            refused,
        },
        not_removed,
    )
    .await?;
    Ok((status, page).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_may_be_written_as_people_do() {
        let read = domains("shop.example.com, WWW.shop.example.com\r\nb.example.com").unwrap();
        let read: Vec<&str> = read.iter().map(DomainName::as_str).collect();
        assert_eq!(
            read,
            ["shop.example.com", "www.shop.example.com", "b.example.com"]
        );
        assert!(
            domains("https://shop.example.com")
                .unwrap_err()
                .contains("without scheme")
        );
        assert!(domains(" \n").unwrap().is_empty());
    }
}
