//! The one place that turns an error into a status and a page.
//!
//! What broke is logged and never shown: it may name paths, addresses or what a user typed.

use askama::Template;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::access::AccessError;
use crate::platform::{self, ErrorKind};

use super::{Layout, html};

/// What ends a request early.
#[derive(Debug)]
pub(super) enum Error {
    /// Something that Windlass was asked for.
    Platform(platform::Error),
    /// No such page.
    NotFound,
    /// The request makes no sense; the text says why.
    Bad(String),
    /// A state-changing request that another site sent.
    CrossSite,
    /// A defect of ours.
    Defect(String),
}

impl<E: Into<platform::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        Error::Platform(error.into())
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    layout: Layout,
    code: u16,
    title: &'static str,
    message: String,
}

impl Error {
    /// What the gate says.
    pub(super) fn of(error: AccessError) -> Self {
        Error::Platform(error.into())
    }

    /// Something that only a defect can bring about.
    pub(super) fn defect(what: impl std::fmt::Display) -> Self {
        Error::Defect(what.to_string())
    }

    /// A request that makes no sense, and why.
    pub(super) fn bad(why: impl Into<String>) -> Self {
        Error::Bad(why.into())
    }

    /// As whoever asks at this path reads it.
    pub(super) fn at(self, path: &str) -> Response {
        if path.starts_with("/api/") {
            self.problem()
        } else {
            self.into_response()
        }
    }

    /// For programs: problem details (RFC 9457).
    pub(super) fn problem(self) -> Response {
        self.log();
        let (status, title, detail) = self.parts();
        let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        (
            status,
            [(CONTENT_TYPE, "application/problem+json")],
            body.to_string(),
        )
            .into_response()
    }

    fn parts(&self) -> (StatusCode, &'static str, String) {
        const NOT_HERE: (StatusCode, &str) = (StatusCode::NOT_FOUND, "Not here");
        let broken = || {
            let message =
                "Nothing was changed by this page. The server's own log says what happened.";
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something on this server failed",
                message.to_owned(),
            )
        };
        match self {
            Error::Platform(error) => match error.kind() {
                ErrorKind::NobodyKnown => {
                    (StatusCode::UNAUTHORIZED, "Nobody is known", sentence(error))
                }
                ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "Not allowed", sentence(error)),
                ErrorKind::Busy => (
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many at once",
                    sentence(error),
                ),
                ErrorKind::NotFound => (NOT_HERE.0, NOT_HERE.1, sentence(error)),
                ErrorKind::Refused => (StatusCode::CONFLICT, "Not possible now", sentence(error)),
                ErrorKind::Broken => broken(),
            },
            Error::NotFound => (
                NOT_HERE.0,
                NOT_HERE.1,
                "There is no page at this address.".to_owned(),
            ),
            Error::Bad(why) => (StatusCode::BAD_REQUEST, "Not understood", why.clone()),
            Error::CrossSite => (
                StatusCode::FORBIDDEN,
                "Refused",
                "This request came from another site. Open the dashboard and ask again there."
                    .to_owned(),
            ),
            Error::Defect(_) => broken(),
        }
    }

    fn log(&self) {
        match self {
            Error::Platform(error) if error.kind() == ErrorKind::Broken => {
                tracing::error!(%error, "a page failed: {error}");
            }
            Error::Defect(error) => tracing::error!(error, "a page failed: {error}"),
            _ => {}
        }
    }
}

/// The same for programs that show people what they are told: git does, line by line.
#[derive(Debug)]
pub(super) struct Plain(pub(super) Error);

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        self.0.log();
        let (status, _, message) = self.0.parts();
        (status, message + "\n").into_response()
    }
}

/// The error's text as a sentence.
pub(super) fn sentence(error: &platform::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let stop = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{first}{}{stop}", chars.as_str())
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let (status, title, message) = self.parts();
        let page = ErrorPage {
            layout: Layout::new(title, None),
            code: status.as_u16(),
            title,
            message,
        };
        match html(&page) {
            Ok(page) => (status, page).into_response(),
            // Not by way of this page again.
            Err(_) => status.into_response(),
        }
    }
}

/// Everything that no route leads to.
pub(super) async fn not_found(uri: Uri) -> Response {
    Error::NotFound.at(uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn internals_are_not_shown_and_refusals_are() {
        let broken = Error::from(StoreError::Unreadable("users")).parts();
        assert_eq!(broken.0, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!broken.2.contains("users"));
        let refused = Error::from(platform::Error::Refused("deploy 3 has ended".into())).parts();
        assert_eq!(
            (refused.0, refused.2.as_str()),
            (StatusCode::CONFLICT, "Deploy 3 has ended.")
        );
        assert_eq!(
            Error::from(StoreError::NoDeploy(crate::domain::DeployId(9)))
                .parts()
                .0,
            StatusCode::NOT_FOUND
        );
    }
}
