//! Why something was not done, and the one place that turns it into a status.
//!
//! What broke is logged where it is answered. Only the control socket, whose callers the server's owner
//! lets in, is told of it: it may name paths and addresses.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Place;
use crate::platform::{self, ErrorKind};

/// Why something was not done.
#[derive(Debug)]
pub enum Error {
    /// Windlass says why.
    Windlass(platform::Error),
    /// There is nothing at this address.
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
        Error::Windlass(error.into())
    }
}

/// Why a request was not done: problem details (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind it is.
    pub r#type: String,
    /// The kind, in words.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened and what to do next.
    pub detail: String,
}

/// What is said of a failure to whoever must not read the server's own words.
const BROKEN: &str = "The server's own log says what happened.";

impl Error {
    /// Something that only a defect can bring about.
    pub fn defect(what: impl std::fmt::Display) -> Self {
        Error::Defect(what.to_string())
    }

    /// A request that makes no sense, and why.
    pub fn bad(why: impl Into<String>) -> Self {
        Error::Bad(why.into())
    }

    /// Something that cannot be done as things stand, and why.
    pub fn refused(why: impl Into<String>) -> Self {
        Error::Windlass(platform::Error::Refused(why.into()))
    }

    /// Whose turn it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Windlass(error) => error.kind(),
            Error::NotFound => ErrorKind::NotFound,
            Error::Bad(_) => ErrorKind::Refused,
            Error::CrossSite => ErrorKind::Forbidden,
            Error::Defect(_) => ErrorKind::Broken,
        }
    }

    /// Whether the gate refused it: whoever asked may not.
    pub fn is_denied(&self) -> bool {
        let denied = |error: &platform::Error| {
            matches!(
                error,
                platform::Error::Access(crate::access::AccessError::Denied(_))
            )
        };
        matches!(self, Error::Windlass(error) if denied(error))
    }

    /// Status, title, and what may be said to anybody.
    pub fn parts(&self) -> (StatusCode, &'static str, String) {
        let said = match self {
            Error::Windlass(error) => error.to_string(),
            Error::NotFound => "There is nothing at this address.".to_owned(),
            Error::Bad(why) => why.clone(),
            Error::CrossSite => {
                "This request came from another site. Open the dashboard and ask again there."
                    .to_owned()
            }
            Error::Defect(_) => BROKEN.to_owned(),
        };
        match (self, self.kind()) {
            (Error::Bad(_), _) => (StatusCode::BAD_REQUEST, "Not understood", said),
            (Error::CrossSite, _) => (StatusCode::FORBIDDEN, "Refused", said),
            (_, ErrorKind::NobodyKnown) => (StatusCode::UNAUTHORIZED, "Nobody is known", said),
            (_, ErrorKind::Forbidden) => (StatusCode::FORBIDDEN, "Not allowed", said),
            (_, ErrorKind::Busy) => (StatusCode::TOO_MANY_REQUESTS, "Too many at once", said),
            (_, ErrorKind::NotFound) => (StatusCode::NOT_FOUND, "Not here", said),
            (_, ErrorKind::Refused) => (StatusCode::CONFLICT, "Not possible now", said),
            (_, ErrorKind::Broken) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something on this server failed",
                BROKEN.to_owned(),
            ),
        }
    }

    /// What is said of it there.
    pub fn said(&self, place: Place) -> String {
        match (self, place) {
            (Error::Windlass(error), Place::Socket) => error.to_string(),
            _ => self.parts().2,
        }
    }

    /// Logs what broke.
    pub fn log(&self) {
        match self {
            Error::Windlass(error) if error.kind() == ErrorKind::Broken => {
                tracing::error!(%error, "a request failed: {error}");
            }
            Error::Defect(error) => tracing::error!(error, "a request failed: {error}"),
            _ => {}
        }
    }

    /// As a program reads it.
    pub fn problem(self, place: Place) -> Response {
        self.log();
        let (status, title, _) = self.parts();
        let problem = Problem {
            r#type: "about:blank".into(),
            title: title.into(),
            status: status.as_u16(),
            detail: self.said(place),
        };
        let body = serde_json::to_string(&problem).unwrap_or_default();
        (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
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
        let refused = Error::refused("deploy 3 has ended").parts();
        assert_eq!(
            (refused.0, refused.2.as_str()),
            (StatusCode::CONFLICT, "deploy 3 has ended")
        );
        let unknown = Error::from(StoreError::NoDeploy(crate::domain::DeployId(9)));
        assert_eq!(unknown.parts().0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_socket_is_told_what_broke_and_nobody_else() {
        for (place, told) in [(Place::Socket, true), (Place::Dashboard, false)] {
            let response = Error::from(StoreError::Unreadable("users")).problem(place);
            let body = axum::body::to_bytes(response.into_body(), 4096).await;
            let problem: Problem = serde_json::from_slice(&body.unwrap()).unwrap();
            assert_eq!(
                (problem.status, problem.detail.contains("users")),
                (500, told)
            );
        }
    }
}
