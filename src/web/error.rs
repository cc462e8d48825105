//! An error as a page. What it says and its status are the API's ([`api::Error`]); what broke is logged
//! and never shown: it may name paths, addresses or what a user typed.

use askama::Template;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};

use super::guard::RefusedByGuard;
use super::{Layout, html};
use crate::access::AccessError;
use crate::api::{self, Place};
use crate::platform::{self, ErrorKind};
use crate::store::StoreError;

/// What ends a request early.
#[derive(Debug)]
pub(super) struct Error(pub(super) api::Error);

impl<E: Into<api::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        Error(error.into())
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
        Error(error.into())
    }

    /// No such page.
    pub(super) fn not_found() -> Self {
        Error(api::Error::NotFound)
    }

    /// Something that only a defect can bring about.
    pub(super) fn defect(what: impl std::fmt::Display) -> Self {
        Error(api::Error::defect(what))
    }

    /// A request that makes no sense, and why.
    pub(super) fn bad(why: impl Into<String>) -> Self {
        Error(api::Error::bad(why))
    }

    /// Why it cannot be done as things stand, where that is so: it stands beside what was typed.
    pub(super) fn refused(self) -> Result<String, Self> {
        match &self.0 {
            api::Error::Windlass(error) if error.kind() == ErrorKind::Refused => {
                Ok(sentence(error))
            }
            _ => Err(self),
        }
    }

    /// Whether an app's name is taken.
    pub(super) fn is_of_a_name(&self) -> bool {
        let taken = |error: &StoreError| matches!(error, StoreError::AppExists(_));
        matches!(&self.0, api::Error::Windlass(platform::Error::Store(error)) if taken(error))
    }

    /// As whoever asks at this path reads it.
    pub(super) fn at(self, path: &str) -> Response {
        if path.starts_with("/api/") {
            self.0.problem(Place::Dashboard)
        } else {
            self.into_response()
        }
    }
}

/// The same for programs that show people what they are told: git does, line by line.
#[derive(Debug)]
pub(super) struct Plain(pub(super) Error);

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        self.0.0.log();
        let (status, _, message) = self.0.0.parts();
        (status, sentenced(&message) + "\n").into_response()
    }
}

/// The error's text as a sentence.
pub(super) fn sentence(error: &platform::Error) -> String {
    sentenced(&error.to_string())
}

fn sentenced(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    let first: String = first.collect();
    let stop = match text.ends_with(['.', '!', '?']) {
        true => "",
        false => ".",
    };
    format!("{first}{}{stop}", chars.as_str())
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.0.log();
        let (status, title, message) = self.0.parts();
        let page = ErrorPage {
            layout: Layout::new(title, None),
            code: status.as_u16(),
            title,
            message: sentenced(&message),
        };
        let mut response = match html(&page) {
            Ok(page) => (status, page).into_response(),
            // Not by way of this page again.
            Err(_) => status.into_response(),
        };
        if self.0.is_denied() {
            response.extensions_mut().insert(RefusedByGuard);
        }
        response
    }
}

/// Everything that no route leads to.
pub(super) async fn not_found(uri: Uri) -> Response {
    Error::not_found().at(uri.path())
}
