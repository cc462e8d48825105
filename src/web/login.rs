//! `/login` and logging out.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::access::{LogIn, Opened};
use crate::api::LogOut;

use super::error::Error;
use super::guard::{ClientAddress, Who};
use super::{Layout, Web, html, session};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    layout: Layout,
    name: String,
    next: String,
    failed: bool,
}

/// Where to go afterwards.
#[derive(Debug, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Credentials {
    name: String,
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// The form; whoever is logged in already goes on at once.
pub(super) async fn page(
    State(web): State<Web>,
    Query(Next { next }): Query<Next>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if let Some(token) = session::token(&headers)
        && web
            .platform()
            .access
            .session(token, &address)
            .await
            .map_err(Error::of)?
            .is_some()
    {
        return Ok(Redirect::to(local(&next)).into_response());
    }
    form(String::new(), next, false)
}

/// Logs in. The session before, if there is one, ends: a cookie that somebody else planted is worth
/// nothing.
pub(super) async fn submit(
    State(web): State<Web>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Form(Credentials {
        name,
        password,
        code,
        next,
    }): Form<Credentials>,
) -> Result<Response, Error> {
    let access = &web.platform().access;
    let agent = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let log_in = LogIn {
        name: name.clone(),
        password,
        code,
        address,
        agent,
    };
    let Opened::Session(token) = access.log_in(log_in).await.map_err(Error::of)? else {
        tracing::info!("a log-in failed");
        let page = form(name, next, true)?;
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    };
    tracing::info!(user = name, "{name} logged in");
    if let Some(before) = session::token(&headers) {
        access.log_out(before).await.map_err(Error::of)?;
    }
    let cookie = session::opening(&token, &headers)?;
    Ok(([(session::SET, cookie)], Redirect::to(local(&next))).into_response())
}

/// Logs out.
pub(super) async fn logout(
    State(web): State<Web>,
    who: Who,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if let Some(session) = session::token(&headers).map(str::to_owned) {
        web.ask(&who, LogOut { session }).await?;
    }
    Ok((
        [(session::SET, session::closing(&headers)?)],
        Redirect::to("/login"),
    )
        .into_response())
}

fn form(name: String, next: String, failed: bool) -> Result<Response, Error> {
    let next = local(&next).to_owned();
    Ok(html(&LoginPage {
        layout: Layout::new("Log in", None),
        name,
        next,
        failed,
    })?
    .into_response())
}

/// `next` if it is a path on this site, else the front page.
///
/// Browsers take `//host` and `/\host` for another site and drop tabs and newlines, so all that
/// may stand there is plain.
fn local(next: &str) -> &str {
    let plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let path = next.starts_with('/') && !next.starts_with("//");
    if plain && path && !next.starts_with("/login") {
        next
    } else {
        "/"
    }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn no_address_of_another_site_is_gone_to() {
        for bad in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "evil",
        ] {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
        assert_eq!(local("/apps/shop?before=5"), "/apps/shop?before=5");
    }
}
