//! Sessions: a random token in a cookie, its SHA-256 in the store; and the guard that lets nobody
//! in without one.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest, Sha256};

use crate::domain::Timestamp;
use crate::store::{Store, StoreError};

use super::Web;
use super::error::Error;

const COOKIE_NAME: &str = "windlass_session";

/// How long a session lasts, in seconds.
const LASTS: i64 = 14 * 24 * 3600;

/// Who asks. Only the guard makes one, so a handler that takes it cannot be reached without.
#[derive(Debug, Clone)]
pub(super) struct User(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get::<User>().cloned().ok_or_else(|| Error::defect("a page outside the guard"))
    }
}

/// Stands before every route: what is not on its short list needs a session.
pub(super) async fn guard(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/login" || path.starts_with("/static/") {
        return next.run(request).await;
    }
    match user(&web.windlass.store, request.headers()).await {
        Ok(Some(user)) => {
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Ok(None) => to_login(&request).into_response(),
        Err(error) => Error::from(error).into_response(),
    }
}

/// To the log-in page, and back afterwards where that makes sense.
fn to_login(request: &Request) -> Redirect {
    let wanted = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if request.method() != Method::GET || wanted == "/" {
        return Redirect::to("/login");
    }
    Redirect::to(&format!("/login?next={}", encode(wanted)))
}

fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Whose session the cookie names.
pub(super) async fn user(store: &Store, headers: &HeaderMap) -> Result<Option<User>, StoreError> {
    match token(headers) {
        Some(token) => Ok(store.session_user(&hashed(token)).await?.map(User)),
        None => Ok(None),
    }
}

/// Opens a session and returns the cookie for it.
pub(super) async fn open(store: &Store, user: &str, headers: &HeaderMap) -> Result<HeaderValue, Error> {
    let token: String = rand::random::<[u8; 32]>().iter().map(|b| format!("{b:02x}")).collect();
    let expires = Timestamp::from_millis(Timestamp::now().millis() + LASTS * 1000);
    store.open_session(user, &hashed(&token), expires).await?;
    cookie(&token, LASTS, headers)
}

/// Ends the session that the cookie names, and returns a cookie that removes it.
pub(super) async fn close(store: &Store, headers: &HeaderMap) -> Result<HeaderValue, Error> {
    if let Some(token) = token(headers) {
        store.close_session(&hashed(token)).await?;
    }
    cookie("", 0, headers)
}

/// The header that a session's cookie goes into.
pub(super) const SET: axum::http::HeaderName = SET_COOKIE;

fn cookie(token: &str, seconds: i64, headers: &HeaderMap) -> Result<HeaderValue, Error> {
    // Caddy says how the browser came; without Caddy it is http on a local port. Whoever forges
    // this header changes no cookie but his own.
    let https = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if https { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&cookie).map_err(Error::defect)
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, token)| token)
}

fn hashed(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_survives_the_query() {
        let request =
            Request::builder().uri("/apps/shop?before=5&x=%0a").body(axum::body::Body::empty()).unwrap();
        let response = to_login(&request).into_response();
        assert_eq!(response.headers()["location"], "/login?next=/apps/shop%3Fbefore%3D5%26x%3D%250a");
    }

    #[test]
    fn a_cookie_is_secure_behind_https() {
        let mut headers = HeaderMap::new();
        assert!(!cookie("t", 1, &headers).unwrap().to_str().unwrap().contains("Secure"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert!(cookie("t", 1, &headers).unwrap().to_str().unwrap().ends_with("; Secure"));
    }

    proptest::proptest! {
        #[test]
        fn any_cookie_is_a_token_or_none(raw in proptest::collection::vec(32u8..=255, 0..80), token in "[0-9a-f]{1,64}") {
            let ours = format!("{COOKIE_NAME}={token}");
            let lines = [raw.clone(), [&raw[..], b"; ", ours.as_bytes()].concat()];
            for line in lines {
                let Ok(value) = HeaderValue::from_bytes(&line) else { continue };
                let mut headers = HeaderMap::new();
                headers.insert(COOKIE, value);
                if let Some(found) = super::token(&headers) {
                    assert!(!found.contains(';') && found.len() < line.len());
                }
            }
        }
    }
}
