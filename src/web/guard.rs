//! The one way a route gets into the dashboard: with the rule that it is guarded by.
//!
//! [`Guard`] is all that the table of routes has to add one with, and takes a rule for each. A form's is
//! that of its page: what it changes is a verb's to say, which [`crate::api::dispatch`] asks. What asks
//! for an app has to have one in its path, or the server does not start.

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, on};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::SocketAddr;
use std::time::Duration;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::error::{Error, Plain};
use super::{Web, git, session};
use crate::access::AccessError;
use crate::api::{self, Place, Route};
use crate::domain::{AppName, Denied, Needs, Principal, Right};

/// How long a client may leave a piece of a form unsent.
const UNSENT: Duration = Duration::from_secs(10);

/// What a route asks for before anything of it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing: it tells nothing.
    Public,
    /// A user. What is listed is what that one may see.
    User,
    /// To see the app of the path.
    View,
    /// To deploy the app of the path.
    Deploy,
    /// To deploy the app of the path where the query says that git is about to push, else to see it.
    Service,
    /// To be an administrator.
    Admin,
    /// A user, and then what the verb that it stands for needs.
    Verb,
}

/// A route as it stands in the table.
#[derive(Debug, Clone)]
pub struct GuardedRoute {
    /// Its method.
    pub method: &'static str,
    /// Its path, with `{app}` and the like.
    pub path: String,
    /// What it asks for.
    pub rule: Rule,
}

impl GuardedRoute {
    /// Whether git asks here, and nothing else.
    fn is_gits(&self) -> bool {
        self.path.starts_with("/git/")
    }

    /// Whether programs come in here, by a token in the `Authorization` header.
    fn takes_tokens(&self) -> bool {
        self.is_gits() || self.path.starts_with("/api/")
    }
}

/// The table while it is written.
pub(super) struct Guard {
    web: Web,
    router: Router<Web>,
    /// What is in it so far.
    pub(super) table: Vec<GuardedRoute>,
}

/// How a browser's requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Through Caddy's socket, which says where they come from; nobody else can open that.
    Caddy,
    /// From the connection's own address.
    Nothing,
}

impl Guard {
    pub(super) fn new(web: Web) -> Self {
        Self {
            web,
            router: Router::new(),
            table: Vec::new(),
        }
    }

    /// Something to look at.
    pub(super) fn page<H, T>(self, rule: Rule, path: &str, handler: H) -> Self
    where
        H: Handler<T, Web>,
        T: 'static,
    {
        self.add("GET", rule, path.to_owned(), handler)
    }

    /// Something that has a verb done.
    pub(super) fn form<H, T>(self, rule: Rule, path: &str, handler: H) -> Self
    where
        H: Handler<T, Web>,
        T: 'static,
    {
        self.add("POST", rule, path.to_owned(), handler)
    }

    /// A verb.
    pub(super) fn verb(self, route: Route) -> Self {
        let guarded = GuardedRoute {
            method: route.method,
            path: route.full_path(),
            rule: Rule::Verb,
        };
        let serve = route.serve(self.web.server(), Place::Dashboard);
        self.open(guarded, serve.with_state(()))
    }

    /// What git sends to. It changes nothing by itself: a push is in the audit log once its hook tells.
    pub(super) fn service<H, T>(self, rule: Rule, path: &str, handler: H) -> Self
    where
        H: Handler<T, Web>,
        T: 'static,
    {
        self.add("POST", rule, path.to_owned(), handler)
    }

    fn add<H, T>(self, method: &'static str, rule: Rule, path: String, handler: H) -> Self
    where
        H: Handler<T, Web>,
        T: 'static,
    {
        let serve = on(api::method(method), handler);
        let route = GuardedRoute { method, path, rule };
        self.open(route, serve)
    }

    fn open(mut self, route: GuardedRoute, serve: MethodRouter<Web>) -> Self {
        let of_app = matches!(route.rule, Rule::View | Rule::Deploy | Rule::Service);
        assert!(
            !of_app || route.path.contains("{app}"),
            "{route:?} has no app in its path"
        );
        let state = (self.web.clone(), route.clone());
        let guarded = serve.route_layer(from_fn_with_state(state, guard));
        // What git sends may take its time, and has limits of its own.
        let guarded = match route.is_gits() {
            true => guarded,
            false => guarded.route_layer(RequestBodyTimeoutLayer::new(UNSENT)),
        };
        self.router = self.router.route(&route.path, guarded);
        self.table.push(route);
        self
    }

    pub(super) fn router(self) -> Router<Web> {
        self.router
    }
}

/// Who asks. Only the guard makes one, so a handler that takes it cannot be reached without.
#[derive(Debug, Clone)]
pub(super) struct Who(pub(super) Principal);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts
            .extensions
            .get::<Who>()
            .cloned()
            .ok_or_else(|| Error::defect("a page outside the guard"))
    }
}

impl Who {
    /// The user: whoever is logged in is one.
    pub(super) fn user(&self) -> Result<crate::domain::UserName, Error> {
        self.0.name.parse().map_err(Error::defect)
    }

    /// Whether this one may deploy an app.
    pub(super) fn may_deploy(&self, app: &AppName) -> bool {
        self.0
            .may(&Needs::App(Right::Deploy, app.clone()), None)
            .is_ok()
    }

    /// Whether this one is an administrator.
    pub(super) fn is_admin(&self) -> bool {
        self.0.may(&Needs::Admin, None).is_ok()
    }
}

/// Where a request comes from: an address, or nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientAddress(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(origin(&parts.headers, &parts.extensions))
    }
}

fn origin(headers: &HeaderMap, extensions: &axum::http::Extensions) -> ClientAddress {
    match extensions.get::<Behind>() {
        // Caddy adds the address that it sees at the end, and drops what a client claims before it.
        Some(Behind::Caddy) => {
            let claimed = headers.get_all("x-forwarded-for").iter().next_back();
            let last = claimed.and_then(|value| value.to_str().ok()?.rsplit(',').next());
            ClientAddress(
                last.map(|address| address.trim().chars().take(45).collect())
                    .unwrap_or_default(),
            )
        }
        _ => ClientAddress(
            extensions
                .get::<ConnectInfo<SocketAddr>>()
                .map(|from| from.0.ip().to_string())
                .unwrap_or_default(),
        ),
    }
}

/// Stands before every route.
async fn guard(
    State((web, route)): State<(Web, GuardedRoute)>,
    request: Request,
    next: Next,
) -> Response {
    match pass(&web, &route, request).await {
        Ok(request) => next.run(request).await,
        Err(mut refusal) => {
            refusal.extensions_mut().insert(RefusedByGuard);
            refusal
        }
    }
}

/// Marks what the gate refused, before anything of it was done.
#[derive(Debug, Clone)]
pub(super) struct RefusedByGuard;

async fn pass(web: &Web, route: &GuardedRoute, request: Request) -> Result<Request, Response> {
    if route.rule == Rule::Public {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let ClientAddress(address) = origin(&parts.headers, &parts.extensions);
    let path = parts.uri.path().to_owned();
    let refused = |error: Error| match route.is_gits() {
        true => Plain(error).into_response(),
        false => error.at(&path),
    };
    let found = match (
        parts.headers.get(AUTHORIZATION),
        session::token(&parts.headers),
    ) {
        (Some(header), _) if route.takes_tokens() => {
            let secret = token(header).unwrap_or_default();
            known(web.platform().access.token(&secret, &address).await)
        }
        // Git has no cookies, and what has is not git.
        (_, Some(token)) if !route.is_gits() => {
            web.platform().access.session(token, &address).await
        }
        _ => Ok(None),
    };
    let who = found.map_err(|error| refused(Error::of(error)))?;
    let Some(who) = who else {
        return Err(not_known(&parts));
    };
    let needs = match route.rule {
        Rule::Public => Needs::Nothing,
        Rule::User | Rule::Verb => Needs::User,
        Rule::Admin => Needs::Admin,
        Rule::View => Needs::App(Right::View, app(&mut parts).await.map_err(refused)?),
        Rule::Deploy => Needs::App(Right::Deploy, app(&mut parts).await.map_err(refused)?),
        Rule::Service => Needs::App(
            git::right(parts.uri.query()),
            app(&mut parts).await.map_err(refused)?,
        ),
    };
    let allowed = web.platform().access.authorise(&who, &needs, None).await;
    allowed.map_err(|error| refused(Error::of(error)))?;
    // For verbs, and for pages.
    parts.extensions.insert(who.clone());
    parts.extensions.insert(Who(who));
    Ok(Request::from_parts(parts, body))
}

/// The token of an `Authorization` header: as it is, or as the password of whatever user name.
fn token(header: &HeaderValue) -> Option<String> {
    let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    let basic = scheme.eq_ignore_ascii_case("basic").then_some(value)?;
    let pair = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
    Some(pair.split_once(':')?.1.to_owned())
}

/// A token that is none is nobody's.
fn known(found: Result<Principal, AccessError>) -> Result<Option<Principal>, AccessError> {
    match found {
        Err(AccessError::Denied(Denied::NobodyKnown)) => Ok(None),
        found => found.map(Some),
    }
}

/// The app of the path. What can be no app's name is simply not found.
async fn app(parts: &mut Parts) -> Result<AppName, Error> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| Error::not_found())?;
    let (_, name) = params
        .iter()
        .find(|(name, _)| *name == "app")
        .ok_or(Error::not_found())?;
    if parts.uri.path().starts_with("/git/") {
        return git::app(name);
    }
    name.parse().map_err(|_| Error::not_found())
}

/// Whoever is nobody: git and other programs are asked for a token, a browser goes
/// to the log-in page, and back afterwards where that makes sense.
fn not_known(parts: &Parts) -> Response {
    if parts.uri.path().starts_with("/git/") {
        let ask = [(
            WWW_AUTHENTICATE,
            "Basic realm=\"Windlass: any user name, and a token as password\"",
        )];
        let text = "A token is wanted as the password: windlass token create makes one.\n";
        return (StatusCode::UNAUTHORIZED, ask, text).into_response();
    }
    if parts.uri.path().starts_with("/api/") {
        return Error::of(Denied::NobodyKnown.into()).at(parts.uri.path());
    }
    session::to_login(parts.method == Method::GET, &parts.uri).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_bearers_or_a_password() {
        let of = |text: &str| token(&HeaderValue::from_str(text).unwrap());
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(of("Bearer wlt_1").as_deref(), Some("wlt_1"));
        assert_eq!(of("bearer  wlt_1 ").as_deref(), Some("wlt_1"));
        assert_eq!(of(&basic("ann:wlt_1:2")).as_deref(), Some("wlt_1:2"));
        for bad in [
            "wlt_1",
            "Basic wlt_1",
            "Basic ",
            "Digest wlt_1",
            &basic("wlt_1"),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_clients_address_is_what_caddy_says_and_nobody_else() {
        let mut headers = HeaderMap::new();
        headers.append(
            "x-forwarded-for",
            "198.51.100.9, 192.0.2.7".parse().unwrap(),
        );
        let mut extensions = axum::http::Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 9))));
        extensions.insert(Behind::Nothing);
        assert_eq!(origin(&headers, &extensions).0, "127.0.0.1");
        extensions.insert(Behind::Caddy);
        assert_eq!(origin(&headers, &extensions).0, "192.0.2.7");
    }
}
