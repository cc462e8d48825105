//! `/account`: a user's own password, second factor, sessions, ssh keys and tokens.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{Html, Redirect};
use serde::Deserialize;

use super::error::Error;
use super::guard::Who;
use super::session;
use super::view::When;
use super::{Layout, Web, html};
use crate::access::Enrolment;
use crate::api::{
    ChangePassword, ConfirmSecondFactor, EndSession, KeyAdd, KeyRemove, RemoveSecondFactor,
    TokenCreate, TokenMade, TokenRevoke,
};
use crate::domain::{Key, Scope, Session, Token, User};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    layout: Layout,
    user: User,
    sessions: Vec<SessionRow>,
    keys: Vec<KeyRow>,
    tokens: Vec<TokenRow>,
    /// A token that was made just now: shown this once.
    made: Option<TokenMade>,
    /// Recovery codes that were made just now: shown this once.
    codes: Vec<String>,
    admin: bool,
}

struct SessionRow {
    session: Session,
    own: bool,
    since: When,
    seen: When,
}

struct KeyRow {
    key: Key,
    added: When,
    used: Option<When>,
}

struct TokenRow {
    token: Token,
    apps: String,
    expires: Option<When>,
    used: Option<When>,
}

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SecondFactorPage {
    layout: Layout,
    enrolment: Enrolment,
    wrong: bool,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    headers: HeaderMap,
) -> Result<Html<String>, Error> {
    show(&web, &who, &headers, None, Vec::new()).await
}

async fn show(
    web: &Web,
    who: &Who,
    headers: &HeaderMap,
    made: Option<TokenMade>,
    codes: Vec<String>,
) -> Result<Html<String>, Error> {
    let (access, name) = (&web.platform().access, who.user()?);
    let sessions = access
        .sessions(&name, session::token(headers).unwrap_or_default())
        .await;
    let session_row = |(session, own): (Session, bool)| SessionRow {
        own,
        since: session.created_at.into(),
        seen: session.seen_at.into(),
        session,
    };
    let key_row = |key: Key| KeyRow {
        added: key.created_at.into(),
        used: key.used_at.map(When::from),
        key,
    };
    let token_row = |token: Token| TokenRow {
        apps: token.apps.as_ref().map_or_else(
            || "all your apps".to_owned(),
            |apps| {
                apps.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            },
        ),
        expires: token.expires_at.map(When::from),
        used: token.used_at.map(When::from),
        token,
    };
    html(&AccountPage {
        layout: Layout::new("Account", Some(who)),
        user: access.user(&name).await.map_err(Error::of)?,
        sessions: sessions
            .map_err(Error::of)?
            .into_iter()
            .map(session_row)
            .collect(),
        keys: access
            .keys(Some(&name))
            .await
            .map_err(Error::of)?
            .into_iter()
            .map(key_row)
            .collect(),
        tokens: access
            .tokens(Some(&name))
            .await
            .map_err(Error::of)?
            .into_iter()
            .map(token_row)
            .collect(),
        made,
        codes,
        admin: who.is_admin(),
    })
}

/// What the form for a password sends.
#[derive(Deserialize)]
pub(super) struct NewPassword {
    now: String,
    new: String,
}

/// Changes the password; every other session ends.
pub(super) async fn password(
    State(web): State<Web>,
    who: Who,
    headers: HeaderMap,
    Form(NewPassword { now, new }): Form<NewPassword>,
) -> Result<Redirect, Error> {
    let session = session::token(&headers).unwrap_or_default().to_owned();
    web.ask(&who, ChangePassword { now, new, session }).await?;
    Ok(Redirect::to("/account"))
}

/// The name of something in a list.
#[derive(Deserialize)]
pub(super) struct Named {
    id: String,
}

impl Named {
    fn number(&self) -> Result<i64, Error> {
        self.id.parse().map_err(|_| Error::not_found())
    }
}

/// Ends a session.
pub(super) async fn end_session(
    State(web): State<Web>,
    who: Who,
    Form(named): Form<Named>,
) -> Result<Redirect, Error> {
    web.ask(&who, EndSession { id: named.id }).await?;
    Ok(Redirect::to("/account"))
}

/// Shows a fresh secret for the authenticator app.
pub(super) async fn begin_second_factor(
    State(web): State<Web>,
    who: Who,
) -> Result<Html<String>, Error> {
    let enrolment = web
        .platform()
        .access
        .begin_second_factor(&who.user()?)
        .map_err(Error::of)?;
    let layout = Layout::new("Second factor", Some(&who));
    html(&SecondFactorPage {
        layout,
        enrolment,
        wrong: false,
    })
}

/// What proves that the app knows the secret.
#[derive(Deserialize)]
pub(super) struct Proof {
    secret: String,
    code: String,
}

/// Turns the second factor on, and shows the recovery codes.
pub(super) async fn confirm_second_factor(
    State(web): State<Web>,
    who: Who,
    headers: HeaderMap,
    Form(Proof { secret, code }): Form<Proof>,
) -> Result<Html<String>, Error> {
    let confirm = ConfirmSecondFactor {
        secret: secret.clone(),
        code,
    };
    match web.ask(&who, confirm).await {
        Ok(codes) => show(&web, &who, &headers, None, codes).await,
        Err(error) => {
            error.refused()?;
            let access = &web.platform().access;
            let enrolment = access
                .same_second_factor(&who.user()?, &secret)
                .map_err(Error::of)?;
            let layout = Layout::new("Second factor", Some(&who));
            html(&SecondFactorPage {
                layout,
                enrolment,
                wrong: true,
            })
        }
    }
}

/// Only the password.
#[derive(Deserialize)]
pub(super) struct Password {
    password: String,
}

/// Turns the second factor off.
pub(super) async fn remove_second_factor(
    State(web): State<Web>,
    who: Who,
    Form(Password { password }): Form<Password>,
) -> Result<Redirect, Error> {
    web.ask(&who, RemoveSecondFactor { password }).await?;
    Ok(Redirect::to("/account"))
}

/// A key as it is pasted.
#[derive(Deserialize)]
pub(super) struct NewKey {
    key: String,
    #[serde(default)]
    name: String,
}

/// Lets an ssh key in.
pub(super) async fn add_key(
    State(web): State<Web>,
    who: Who,
    Form(NewKey { key, name }): Form<NewKey>,
) -> Result<Redirect, Error> {
    let (user, name) = (Some(who.user()?), Some(name));
    web.ask(&who, KeyAdd { user, key, name }).await?;
    Ok(Redirect::to("/account"))
}

/// Lets one of the user's own ssh keys in no more.
pub(super) async fn remove_key(
    State(web): State<Web>,
    who: Who,
    Form(named): Form<Named>,
) -> Result<Redirect, Error> {
    let (access, id) = (&web.platform().access, named.number()?);
    let own = access.keys(Some(&who.user()?)).await.map_err(Error::of)?;
    own.iter()
        .find(|key| key.id == id)
        .ok_or_else(Error::not_found)?;
    web.ask(&who, KeyRemove { id }).await?;
    Ok(Redirect::to("/account"))
}

/// A token as it is wanted.
#[derive(Deserialize)]
pub(super) struct NewToken {
    name: String,
    scope: Scope,
    #[serde(default)]
    apps: String,
    days: u32,
}

/// Makes a token, and shows it this once.
pub(super) async fn make_token(
    State(web): State<Web>,
    who: Who,
    headers: HeaderMap,
    Form(new): Form<NewToken>,
) -> Result<Html<String>, Error> {
    let words = new.apps.split([',', ' ']).filter(|word| !word.is_empty());
    let apps = words.map(str::parse).collect::<Result<Vec<_>, _>>();
    let apps = apps.map_err(|error: crate::domain::InvalidName| Error::bad(error.to_string()))?;
    let apps = (!apps.is_empty()).then_some(apps);
    let create = TokenCreate {
        user: Some(who.user()?),
        name: new.name,
        scope: new.scope,
        apps,
        lasts_ms: (new.days > 0).then(|| u64::from(new.days) * 24 * 3600 * 1000),
    };
    let made = web.ask(&who, create).await?;
    show(&web, &who, &headers, Some(made), Vec::new()).await
}

/// Lets one of the user's own tokens in no more.
pub(super) async fn revoke_token(
    State(web): State<Web>,
    who: Who,
    Form(named): Form<Named>,
) -> Result<Redirect, Error> {
    let (access, id) = (&web.platform().access, named.number()?);
    let own = access.tokens(Some(&who.user()?)).await.map_err(Error::of)?;
    own.iter()
        .find(|token| token.id == id)
        .ok_or_else(Error::not_found)?;
    web.ask(&who, TokenRevoke { id }).await?;
    Ok(Redirect::to("/account"))
}
