//! Every verb that goes over HTTP, as a table. The control socket and the dashboard's address are served
//! from it, and so is the OpenAPI document.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, FromRequest, RawPathParams, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::Operation;

use super::openapi::{self, Components};
use super::wire::{self, PREFIX};
use super::{Endpoint, Error, Events, Server, dispatch};
use crate::domain::Principal;

/// By which listener a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The control socket, whose callers its owner lets in.
    Socket,
    /// The dashboard's address, or Caddy before it.
    Dashboard,
}

/// A verb as it goes over HTTP.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path, with `{app}` and the like, below [`PREFIX`].
    pub path: &'static str,
    /// Its name in the OpenAPI document.
    pub id: &'static str,
    /// Whether only the control socket takes it.
    pub only_socket: bool,
    serve: fn(Server, Place) -> MethodRouter,
    describe: fn(&mut Components) -> Operation,
}

/// Every verb.
pub fn routes() -> Vec<Route> {
    use super::*;
    vec![
        Route::of::<Ping>().of_the_socket(),
        Route::of::<Whoami>(),
        Route::of::<AppList>(),
        Route::of::<AppCreate>(),
        Route::of::<AppShow>(),
        Route::of::<AppAllow>(),
        Route::of::<AppDomains>(),
        Route::of::<AppPublic>(),
        Route::of::<AppDestroy>(),
        Route::of::<EnvList>(),
        Route::of::<EnvSet>(),
        Route::of::<EnvUnset>(),
        Route::of::<Deploys>(),
        Route::of::<Redeploy>(),
        Route::of::<Revert>(),
        Route::of::<RevertOutlook>(),
        Route::of::<Restart>(),
        Route::of::<Reload>(),
        Route::of::<Processes>(),
        Route::of::<AppLogs>(),
        Route::of::<AppLogsFollow>(),
        Route::of::<Enter>().of_the_socket(),
        Route::of::<Pushed>().of_the_socket(),
        Route::of::<DeployShow>(),
        Route::of::<DeployLog>(),
        Route::of::<DeployFollow>(),
        Route::of::<DeployWait>(),
        Route::of::<DeployCancel>(),
        Route::of::<UserList>(),
        Route::of::<UserAdd>(),
        Route::of::<UserRole>(),
        Route::of::<UserPasswd>(),
        Route::of::<UserRemove>(),
        Route::of::<KeyList>(),
        Route::of::<KeyAdd>(),
        Route::of::<KeyRemove>(),
        Route::of::<TokenList>(),
        Route::of::<TokenCreate>(),
        Route::of::<TokenRevoke>(),
        Route::of::<AuditLog>(),
    ]
}

impl Route {
    fn of<V: Endpoint<Answer: Reply>>() -> Self {
        Self {
            method: V::METHOD,
            path: V::PATH,
            id: V::ID,
            only_socket: false,
            serve: |server, place| {
                on(filter(V::METHOD), move |request: Request| {
                    answer::<V>(server, place, request)
                })
            },
            describe: openapi::operation::<V>,
        }
    }

    fn of_the_socket(self) -> Self {
        Self {
            only_socket: true,
            ..self
        }
    }

    /// The whole path.
    pub fn full_path(&self) -> String {
        format!("{PREFIX}{}", self.path)
    }

    /// What answers it there. Whoever asks has to be among the request's extensions, as a
    /// [`Principal`].
    pub fn serve(&self, server: Server, place: Place) -> MethodRouter {
        (self.serve)(server, place)
    }

    /// Its place in the OpenAPI document.
    pub(super) fn describe(&self, components: &mut Components) -> Operation {
        (self.describe)(components)
    }
}

/// The method of a route.
pub fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

/// What an answer is over HTTP.
pub(super) trait Reply {
    /// As it is sent.
    fn reply(self, place: Place) -> Response;
    /// What it is called and looks like.
    fn describe(components: &mut Components) -> openapi::Content;
}

impl<T: Serialize + ToSchema> Reply for T {
    fn reply(self, _: Place) -> Response {
        Json(self).into_response()
    }

    fn describe(components: &mut Components) -> openapi::Content {
        openapi::Content {
            kind: "application/json",
            schema: components.schema::<T>(),
        }
    }
}

impl Reply for Events {
    fn reply(self, place: Place) -> Response {
        self.into_response(place)
    }

    fn describe(components: &mut Components) -> openapi::Content {
        openapi::events(components)
    }
}

async fn answer<V: Endpoint<Answer: Reply>>(
    server: Server,
    place: Place,
    request: Request,
) -> Response {
    let asked = async {
        let (who, verb) = understand::<V>(request).await?;
        dispatch(&server, &who, verb).await
    };
    match asked.await {
        Ok(answer) => answer.reply(place),
        Err(error) => error.problem(place),
    }
}

/// Who asks, and for what.
async fn understand<V: Endpoint>(request: Request) -> Result<(Principal, V), Error> {
    use axum::RequestExt;
    let (mut request, query) = {
        let query = request.uri().query().unwrap_or_default().to_owned();
        (request, query)
    };
    let Extension(who): Extension<Principal> =
        request.extract_parts().await.map_err(Error::defect)?;
    let path: RawPathParams = request.extract_parts().await.map_err(|_| Error::NotFound)?;
    let path: Vec<_> = path
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let json = is_json(request.headers());
    let body = Bytes::from_request(request, &()).await.map_err(unread)?;
    if !body.is_empty() && !json {
        return Err(Error::bad(
            "a body is to be JSON, with content-type: application/json",
        ));
    }
    let verb = wire::read(path.into_iter(), &query, Some(&body))?;
    Ok((who, verb))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim() == "application/json")
}

/// Why a body was not read to its end.
fn unread(rejection: BytesRejection) -> Error {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::bad("that is too much for one request"),
        _ => Error::bad("the body cannot be read"),
    }
}
