//! No page reads a table from end to end: what every route that shows something asks of the database
//! goes by an index, as SQLite itself plans it. So a page takes no longer with 100,000 deploys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use windlass::app::Services;
use windlass::config::{Config, Home};
use windlass::domain::{
    DeployEvent, DeployId, Environment, Failure, ImageRef, Manifest, Phase, PhaseStatus, Release,
    Trigger,
};
use windlass::platform::Platform;
use windlass::store::{NewDeploy, Sealer, Store};
use windlass::web::{Behind, router};

const ROUTES: &str = include_str!("../docs/access.md");

/// Tables that stay small, or of which a page shows all: how many users, keys, tokens and sessions
/// there are does not grow with deploys.
const SMALL: &[&str] = &[
    "meta",
    "users",
    "u",
    "keys",
    "k",
    "tokens",
    "t",
    "sessions",
    "s",
    "user_apps",
];

/// What the same pages are asked besides, as their links and forms do.
const ASKED: &[&str] = &[
    "/?q=s",
    "/?page=2",
    "/?show=failed",
    "/?show=deploying",
    "/?show=down",
    "/apps/shop?before=3",
    "/apps/shop?status=failed",
    "/apps/shop?status=failed&before=3",
    "/apps/shop/revert?to=1",
    "/apps/shop/deploys/2?q=a",
    "/apps/shop/logs?q=a",
    "/audit?before=3",
];

/// Keeps every statement that is run.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeSet<String>>>);

struct Statement(Option<String>);

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        // The summary is the whole statement where that is short, and else ends with dots.
        let whole = field.name() == "db.statement" && !value.trim().is_empty();
        if whole || field.name() == "summary" && self.0.is_none() {
            self.0 = Some(value.trim().to_owned());
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut statement = Statement(None);
            event.record(&mut statement);
            self.0.lock().unwrap().extend(statement.0);
        }
    }
}

/// An installation with two apps that have deploys of every kind.
async fn fill(store: &Store) {
    for (n, name) in ["shop", "blog"].into_iter().enumerate() {
        let app = name.parse().unwrap();
        let domains = [format!("{name}.example.com").parse().unwrap()];
        store
            .create_app(&app, &domains, format!("10.213.{n}.0/26").parse().unwrap())
            .await
            .unwrap();
        for number in 0..4 {
            let new = NewDeploy {
                app: app.clone(),
                commit: format!("{number:040x}").parse().unwrap(),
                subject: "A change".into(),
                author: "Ada".into(),
                trigger: Trigger::Push,
                actor: "ann".into(),
                source: None,
            };
            let (id, _) = store.queue_deploy(&new).await.unwrap();
            store
                .change_deploy(id, DeployEvent::Start, None, None)
                .await
                .unwrap();
            store.begin_phase(id, 0, &Phase::Build).await.unwrap();
            if number == 3 {
                continue;
            }
            store.end_phase(id, 0, PhaseStatus::Ok, 10).await.unwrap();
            if number == 2 {
                let why = Failure {
                    phase: "build".into(),
                    message: "no".into(),
                };
                store
                    .change_deploy(id, DeployEvent::Fail, Some(&why), Some(10))
                    .await
                    .unwrap();
                continue;
            }
            let release = Release {
                deploy: id,
                app: app.clone(),
                commit: new.commit.clone(),
                image: ImageRef(format!("windlass-0a1b2c/{name}:d{id}")),
                image_kept: true,
                processes: Manifest::default().processes(),
                manifest: Manifest::default(),
                port: 8000,
                env: Environment::default(),
            };
            store.go_live(&release).await.unwrap();
            store.finish_deploy(id, 10).await.unwrap();
        }
    }
}

/// Logs in, and gives the cookie.
async fn log_in(platform: &Platform, router: &Router) -> String {
    let password = platform.access.first_admin().await.unwrap().unwrap();
    let form = Body::from(format!("name=admin&password={password}&next=/"));
    let request =
        Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
    let response = router
        .clone()
        .oneshot(request.body(form).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    response.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

/// Every route that shows something, as the reference lists them, with an app and a deploy put in.
fn shown() -> Vec<String> {
    let rows = ROUTES
        .lines()
        .filter_map(|line| line.strip_prefix("| GET | `")?.split('`').next());
    let paths = rows.filter(|path| !path.starts_with("/git/"));
    let mut all: Vec<String> = paths
        .map(|path| {
            path.replace("{app}", "shop")
                .replace("{name}", "shop")
                .replace("{id}", "2")
        })
        .collect();
    // What is asked of the same pages besides.
    all.extend(ASKED.iter().map(|path| (*path).to_owned()));
    all
}

/// The steps of a statement's plan.
async fn plan(pool: &SqlitePool, statement: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(pool).await;
    let rows = rows.unwrap_or_else(|error| panic!("{statement}: {error}"));
    rows.iter().map(|row| row.get::<String, _>(3)).collect()
}

/// Whether a step reads a table from end to end that grows with use.
fn reads_all(step: &str) -> bool {
    let Some(table) = step
        .strip_prefix("SCAN ")
        .and_then(|rest| rest.split(' ').next())
    else {
        return false;
    };
    let made_up = table == "json_each" || table == "CONSTANT" || table.starts_with('(');
    // Apps come in the order of their names, a page at a time.
    let in_order = step.contains(" USING ") && ["apps", "a", "domains"].contains(&table);
    !made_up && !SMALL.contains(&table) && !in_order
}

async fn raw(home: &Path) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(home.join("windlass.db")))
        .await
        .unwrap()
}

#[tokio::test]
async fn every_page_finds_what_it_shows_by_an_index() {
    let statements = Statements::default();
    let subscriber = tracing_subscriber::registry().with(statements.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::open(&dir.path().join("secret.key")).unwrap();
    let store = Store::open(&dir.path().join("windlass.db"), sealer)
        .await
        .unwrap();
    fill(&store).await;
    let home = Home::new(dir.path()).unwrap();
    let platform = Platform::new(home, Config::default(), store, "0a1b2c").unwrap();
    let router = router(
        Services::new(platform.clone()),
        CancellationToken::new(),
        Behind::Nothing,
    );
    let cookie = log_in(&platform, &router).await;

    statements.0.lock().unwrap().clear();
    let paths = shown();
    assert!(paths.len() > 15, "{paths:?}");
    for path in &paths {
        let request = Request::get(path)
            .header("cookie", &cookie)
            .body(Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        assert!(
            !status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE,
            "{path}: {status}"
        );
        assert!(
            status == StatusCode::OK || !ASKED.contains(&path.as_str()),
            "{path}: {status}"
        );
        // An event stream has no end.
        let body = to_bytes(response.into_body(), 10 << 20);
        let _ = tokio::time::timeout(Duration::from_millis(300), body).await;
    }

    let pool = raw(dir.path()).await;
    let ran: Vec<String> = statements.0.lock().unwrap().iter().cloned().collect();
    let asks = |statement: &&String| statement.to_uppercase().starts_with("SELECT");
    assert!(ran.iter().filter(asks).count() > 15, "{ran:#?}");
    assert!(
        ran.iter().all(|statement| !statement.ends_with('…')),
        "statements are told whole: {ran:#?}"
    );
    for statement in ran.iter().filter(asks) {
        let steps = plan(&pool, statement).await;
        assert!(
            !steps.iter().any(|step| reads_all(step)),
            "{statement}\n{steps:#?}"
        );
    }
    assert_eq!(
        DeployId(2),
        platform.store.deploy(DeployId(2)).await.unwrap().id
    );
}

#[test]
fn a_table_that_is_read_from_end_to_end_is_found_out() {
    assert!(reads_all("SCAN deploys") && reads_all("SCAN d USING COVERING INDEX deploys_by_app"));
    assert!(
        !reads_all("SCAN apps USING INDEX sqlite_autoindex_apps_1") && !reads_all("SCAN users")
    );
    assert!(!reads_all("SEARCH d USING INDEX deploys_by_app (app_id=?)"));
    assert!(!reads_all("SCAN json_each VIRTUAL TABLE INDEX 1:") && !reads_all("SCAN CONSTANT ROW"));
}
