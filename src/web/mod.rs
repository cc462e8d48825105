//! The dashboard: server-rendered pages that work without a script and are livelier with it.
//!
//! One file per page; [`error`] is the one place that maps errors to status codes. Three layers
//! stand around every route, so that none can be forgotten on a new one: headers that forbid
//! inline script and style, the refusal of state changes that another site sends, and the guard
//! ([`guard`]) that lets in who may. Nothing here changes anything but by way of a verb: a form makes one,
//! and has it done by [`crate::api::dispatch`], as the command line does.

mod account;
mod ansi;
mod app;
mod apps;
mod assets;
mod audit;
mod badge;
mod changes;
mod chart;
mod containers;
mod deploy;
mod domains;
mod env;
mod error;
mod events;
mod feed;
mod git;
mod guard;
mod log;
mod login;
mod new_app;
mod output;
mod revert;
mod session;
mod spark;
#[cfg(test)]
mod tests;
mod ticks;
mod view;
mod waterfall;

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{Html, IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tower_http::set_header::SetResponseHeaderLayer;

pub use guard::{Behind, GuardedRoute, Rule};

use crate::api::{self, Place};
use crate::app::Services;
use crate::domain::{AppName, Deploy, DeployId, DeployStatus, Timestamp};
use crate::platform::{Edition, Platform};
use error::Error;
use guard::{Guard, Who};

/// What every handler may need. Cheap to clone.
#[derive(Debug, Clone)]
struct Web {
    services: Services,
    /// Event streams end on it: a server that waited for them would never stop.
    shutdown: CancellationToken,
    /// What those who watch one deploy have in common.
    feeds: feed::Feeds,
}

/// How long a stream of events lasts. Then the browser comes back where it was, and passes the guard
/// again: who was let in once is not for ever.
const STREAM_LASTS: Duration = Duration::from_secs(600);

impl Web {
    fn platform(&self) -> &Arc<Platform> {
        &self.services.platform
    }

    /// What verbs work on.
    fn server(&self) -> api::Server {
        api::Server {
            services: self.services.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    /// Has a verb done for whoever asks.
    async fn ask<V: api::Verb>(&self, who: &Who, verb: V) -> Result<V::Answer, Error> {
        Ok(api::dispatch(&self.server(), &who.0, verb).await?)
    }

    /// Ends when a stream of events has to: once the server stops, or when it has lasted long enough.
    fn stream_end(&self) -> impl Future<Output = ()> + Send + use<> {
        let shutdown = self.shutdown.clone();
        async move { drop(tokio::time::timeout(STREAM_LASTS, shutdown.cancelled_owned()).await) }
    }
}

/// All pages of the dashboard, as they are met `behind` Caddy or not. Event streams end when `shutdown`
/// is cancelled.
pub fn router(services: Services, shutdown: CancellationToken, behind: Behind) -> Router {
    let web = Web {
        services,
        shutdown,
        feeds: feed::Feeds::default(),
    };
    table(web.clone())
        .router()
        .fallback(error::not_found)
        .layer(CatchPanicLayer::new())
        .layer(CsrfLayer::new().with_rejection_response(cross_site))
        .layer(DefaultBodyLimit::max(16 * 1024))
        .layer(always(CONTENT_SECURITY_POLICY, POLICY))
        .layer(always(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
        .layer(always(REFERRER_POLICY, "same-origin"))
        .layer(SetResponseHeaderLayer::if_not_present(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(axum::Extension(behind))
        .with_state(web)
}

fn always(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

/// Every route, with what it asks for.
fn table(web: Web) -> Guard {
    use Rule::{Admin, Deploy, Public, Service, User, View};
    let verbs = api::routes().into_iter().filter(|route| !route.only_socket);
    let routes = verbs.fold(Guard::new(web), Guard::verb);
    routes
        .page(Public, "/api/v1/openapi.json", openapi)
        .page(Public, "/login", login::page)
        .form(Public, "/login", login::submit)
        .form(User, "/logout", login::logout)
        .page(Public, "/static/{file}", assets::serve)
        .page(Public, "/badge/{file}", badge::svg)
        .page(Public, "/status/{file}", badge::json)
        .page(User, "/", apps::page)
        .page(User, "/events", ticks::of_all)
        .page(Admin, "/new", new_app::page)
        .form(User, "/new", new_app::create)
        .page(View, "/apps/{app}", app::page)
        .page(View, "/apps/{app}/events", ticks::of_app)
        .page(View, "/apps/{app}/domains", domains::page)
        .form(View, "/apps/{app}/domains", domains::change)
        .page(View, "/apps/{app}/containers", containers::page)
        .page(View, "/apps/{app}/logs", output::page)
        .page(View, "/apps/{app}/logs/events", output::stream)
        .page(View, "/apps/{app}/env", env::page)
        .form(View, "/apps/{app}/env", env::set)
        .form(View, "/apps/{app}/env/remove", env::remove)
        .page(Deploy, "/apps/{app}/revert", revert::page)
        .form(View, "/apps/{app}/revert", revert::submit)
        .form(View, "/apps/{app}/public", app::public)
        .form(View, "/apps/{app}/destroy", app::destroy)
        .form(View, "/apps/{app}/redeploy", app::redeploy)
        .form(View, "/apps/{app}/restart", app::restart)
        .page(View, "/apps/{app}/deploys/{id}", deploy::page)
        .page(View, "/apps/{app}/deploys/{id}/events", events::stream)
        .page(View, "/apps/{app}/deploys/{id}/lines", log::lines)
        .page(View, "/apps/{app}/deploys/{id}/log", log::log)
        .page(User, "/account", account::page)
        .form(User, "/account/password", account::password)
        .form(User, "/account/sessions/end", account::end_session)
        .page(User, "/account/second-factor", account::begin_second_factor)
        .form(
            User,
            "/account/second-factor",
            account::confirm_second_factor,
        )
        .form(
            User,
            "/account/second-factor/remove",
            account::remove_second_factor,
        )
        .form(User, "/account/keys", account::add_key)
        .form(User, "/account/keys/remove", account::remove_key)
        .form(User, "/account/tokens", account::make_token)
        .form(User, "/account/tokens/revoke", account::revoke_token)
        .page(Admin, "/audit", audit::page)
        .form(View, "/apps/{app}/deploys/{id}/cancel", deploy::cancel)
        .page(Service, "/git/{app}/info/refs", git::serve)
        .service(View, "/git/{app}/git-upload-pack", git::serve)
        .service(Deploy, "/git/{app}/git-receive-pack", git::serve)
}

/// What may be asked over HTTP, for programs.
async fn openapi() -> impl IntoResponse {
    axum::Json(api::document(Place::Dashboard))
}

fn cross_site(_: ProtectionError) -> Response {
    Error(api::Error::CrossSite).into_response()
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every page shows around its own part.
#[derive(Debug)]
struct Layout {
    title: String,
    user: Option<String>,
    style: &'static str,
    script: &'static str,
    /// The icon, and those of each state for the script.
    icons: [(&'static str, &'static str); 4],
    /// The server's clock, for durations that go on being counted in the browser.
    now: i64,
    state: State,
    live: Option<Live>,
}

/// What a page's title and icon tell from afar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Calm,
    Running,
    Failed,
    Live,
}

impl State {
    /// What the icon is called, and the script knows it by.
    fn as_str(self) -> &'static str {
        match self {
            State::Calm => "",
            State::Running => "running",
            State::Failed => "failed",
            State::Live => "live",
        }
    }

    /// What stands before a title.
    fn prefix(self) -> &'static str {
        match self {
            State::Calm => "",
            State::Running => "Running · ",
            State::Failed => "Failed · ",
            State::Live => "Live · ",
        }
    }

    /// Of a deploy, as long as that is what counts.
    fn of(status: DeployStatus) -> Self {
        match status {
            DeployStatus::Queued | DeployStatus::Running => State::Running,
            DeployStatus::Failed | DeployStatus::Interrupted => State::Failed,
            DeployStatus::Live => State::Live,
            DeployStatus::Retired | DeployStatus::Superseded | DeployStatus::Cancelled => {
                State::Calm
            }
        }
    }
}

/// How a page that is open hears of changes.
#[derive(Debug)]
struct Live {
    /// The events.
    path: String,
    /// What it was made with.
    from: Edition,
    /// What somebody who does not see it is told once it is another text.
    says: String,
}

impl Layout {
    fn new(title: &str, who: Option<&Who>) -> Self {
        Self {
            title: title.to_owned(),
            user: who.map(|who| who.0.name.clone()),
            style: assets::style(),
            script: assets::script(),
            icons: assets::icons(),
            now: Timestamp::now().millis(),
            state: State::Calm,
            live: None,
        }
    }

    /// With what its title and icon tell.
    fn in_state(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// Kept current by the events at `path`. `from` was read before what the page shows.
    fn live(self, path: String, from: Edition, says: String) -> Self {
        Self {
            live: Some(Live { path, from, says }),
            ..self
        }
    }

    /// An app's page, whose newest deploy is this one. What is further back in its list stays as it is.
    fn of_app(self, app: &AppName, newest: Option<&Deploy>, first: bool, from: Edition) -> Self {
        let Some(deploy) = newest.filter(|_| first) else {
            return if first {
                self.live(format!("/apps/{app}/events"), from, String::new())
            } else {
                self
            };
        };
        let says = format!("deploy {} is {}", deploy.id, deploy.status);
        self.in_state(State::of(deploy.status))
            .live(format!("/apps/{app}/events"), from, says)
    }

    /// The icon of its state.
    fn icon(&self) -> &'static str {
        let own = self
            .icons
            .iter()
            .find(|(state, _)| *state == self.state.as_str());
        own.map_or(self.icons[0].1, |(_, file)| file)
    }
}

fn html(page: &impl Template) -> Result<Html<String>, Error> {
    page.render().map(Html).map_err(Error::defect)
}

/// The `{app}` of a path. What can be no app's name is simply not found.
struct AppPath(AppName);

impl<S: Send + Sync> FromRequestParts<S> for AppPath {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(app) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::not_found())?;
        Ok(Self(app))
    }
}

/// The `{app}` and `{id}` of a path.
struct DeployPath {
    app: AppName,
    id: DeployId,
}

impl<S: Send + Sync> FromRequestParts<S> for DeployPath {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path((app, id)) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::not_found())?;
        Ok(Self { app, id })
    }
}

impl DeployPath {
    /// The deploy at this path: one that is another app's is not here.
    async fn deploy(&self, web: &Web) -> Result<Deploy, Error> {
        let deploy = web.platform().store.deploy(self.id).await?;
        if deploy.app == self.app {
            Ok(deploy)
        } else {
            Err(Error::not_found())
        }
    }
}

/// Where a deploy is shown.
fn deploy_path(deploy: &Deploy) -> String {
    format!("/apps/{}/deploys/{}", deploy.app, deploy.id)
}
