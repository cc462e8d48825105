//! The cookie of a session: a random token, of which the store has the hash.

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Redirect;
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::Error;

const COOKIE_NAME: &str = "windlass_session";

/// A path as a query's value: its slashes may stay.
const QUERY_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// How long a browser keeps the cookie, in seconds; the server decides how long it is good.
const LASTS: i64 = 14 * 24 * 3600;

/// The header that a session's cookie goes into.
pub(super) const SET: axum::http::HeaderName = SET_COOKIE;

/// The cookie that opens a session.
pub(super) fn opening(token: &str, headers: &HeaderMap) -> Result<HeaderValue, Error> {
    cookie(token, LASTS, headers)
}

/// The cookie that takes it away.
pub(super) fn closing(headers: &HeaderMap) -> Result<HeaderValue, Error> {
    cookie("", 0, headers)
}

/// To the log-in page; `back` afterwards where that makes sense.
pub(super) fn to_login(back: bool, uri: &Uri) -> Redirect {
    let wanted = uri.path_and_query().map_or("/", |path| path.as_str());
    if !back || wanted == "/" {
        return Redirect::to("/login");
    }
    Redirect::to(&format!(
        "/login?next={}",
        utf8_percent_encode(wanted, QUERY_PATH)
    ))
}

fn cookie(token: &str, seconds: i64, headers: &HeaderMap) -> Result<HeaderValue, Error> {
    // Caddy says how the browser came; without Caddy it is http on a local port. Whoever forges
    // this header changes no cookie but his own.
    let https = headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto == "https");
    let cookie = Cookie::build((COOKIE_NAME, token))
        .path("/")
        .max_age(Duration::seconds(seconds))
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(https);
    HeaderValue::from_str(&cookie.to_string()).map_err(Error::defect)
}

/// What the cookie of a request holds.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter();
    let cookies = lines.filter_map(|line| line.to_str().ok());
    let cookies = cookies.flat_map(Cookie::split_parse).flatten();
    let ours = cookies.filter(|cookie| cookie.name() == COOKIE_NAME);
    ours.filter_map(|cookie| cookie.value_raw()).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn the_way_back_survives_the_query() {
        let response =
            to_login(true, &Uri::from_static("/apps/shop?before=5&x=%0a")).into_response();
        assert_eq!(
            response.headers()["location"],
            "/login?next=/apps/shop%3Fbefore%3D5%26x%3D%250a"
        );
    }

    #[test]
    fn a_cookie_is_secure_behind_https() {
        let mut headers = HeaderMap::new();
        assert!(
            !opening("t", &headers)
                .unwrap()
                .to_str()
                .unwrap()
                .contains("Secure")
        );
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert!(
            opening("t", &headers)
                .unwrap()
                .to_str()
                .unwrap()
                .contains("; Secure")
        );
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
