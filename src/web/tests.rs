//! The router as a browser meets it, on a scratch database.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::app::Services;
use crate::config::{Config, Home};
use crate::domain::{
    DeployEvent, Environment, Failure, ImageRef, Manifest, Phase, PhaseStatus, Principal, Release,
    Role, Scope, Stopwatch, Trigger, UserName, Via,
};
use crate::logs::{PhaseWriter, Redactor};
use crate::store::tests::scratch;
use crate::store::{NewDeploy, NewSession, NewToken};

/// Somebody who may do everything.
pub(super) fn known(name: &str) -> Who {
    Who(Principal {
        via: Via::Session,
        ..Principal::local(name.into())
    })
}

/// A small installation that the tests fill themselves.
pub(super) struct World {
    pub(super) platform: Arc<Platform>,
    pub(super) shutdown: CancellationToken,
    _dir: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let (dir, store) = scratch().await;
        let home = Home::new(dir.path()).unwrap();
        // The machine's own engine is nobody's to change from here.
        let mut config = Config::default();
        config.docker.socket = dir.path().join("no-docker.sock");
        let platform = Platform::new(home, config, store, "0a1b2c").unwrap();
        Self {
            platform,
            shutdown: CancellationToken::new(),
            _dir: dir,
        }
    }

    pub(super) fn router(&self) -> Router {
        router(
            Services::new(self.platform.clone()),
            self.shutdown.clone(),
            Behind::Nothing,
        )
    }

    /// A session of `admin`, as the cookie header that a browser would send.
    pub(super) async fn cookie(&self) -> String {
        self.cookie_of("admin", Role::Admin, &[]).await
    }

    /// A session of a user of that role, who is made where there is none.
    pub(super) async fn cookie_of(&self, name: &str, role: Role, apps: &[&str]) -> String {
        let store = &self.platform.store;
        let user: UserName = name.parse().unwrap();
        if store.user(&user).await.is_err() {
            let apps: Vec<AppName> = apps.iter().map(|app| app.parse().unwrap()).collect();
            store
                .add_user(&user, "no password", role, &apps)
                .await
                .unwrap();
        }
        let token = format!("{:064x}", rand::random::<u128>());
        let (token_hash, id) = (crate::access::hashed(&token), token[32..44].to_owned());
        let new = NewSession {
            user: name,
            token_hash,
            id,
            address: "",
            agent: "",
        };
        store.open_session(&new).await.unwrap();
        let set = session::opening(&token, &Default::default()).unwrap();
        set.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    /// A token of a user who is there, as the header that a program would send.
    async fn token_of(&self, name: &str) -> String {
        let (secret, user) = (
            format!("wlt_{:032x}", rand::random::<u128>()),
            name.parse().unwrap(),
        );
        let hash = crate::access::hashed(&secret);
        let new = NewToken {
            user: &user,
            name: "ci",
            hash,
            scope: Scope::Admin,
            apps: None,
            expires: None,
        };
        self.platform.store.add_token(&new).await.unwrap();
        format!("Bearer {secret}")
    }

    pub(super) async fn create_app(&self, name: &str) {
        let subnets = self.platform.store.apps().await.unwrap().len();
        let subnet = format!("10.213.{subnets}.0/26").parse().unwrap();
        let domains = [format!("{name}.example.com").parse().unwrap()];
        self.platform
            .store
            .create_app(&name.parse().unwrap(), &domains, subnet)
            .await
            .unwrap();
        self.platform.change_feed.for_everybody();
    }

    /// A deploy that has started.
    pub(super) async fn start(&self, app: &str, subject: &str, author: &str) -> DeployId {
        let store = &self.platform.store;
        let seed: u64 = subject
            .bytes()
            .fold(7, |hash, b| hash * 31 % 1_000_003 + u64::from(b));
        let new = NewDeploy {
            app: app.parse().unwrap(),
            commit: format!(
                "{:040x}",
                u128::from(seed) * 0x9E37_79B9_7F4A_7C15_F39C_0C5D
            )
            .parse()
            .unwrap(),
            subject: subject.into(),
            author: author.into(),
            trigger: Trigger::Push,
            actor: "ada".into(),
            source: None,
        };
        let (id, _) = store.queue_deploy(&new).await.unwrap();
        store
            .change_deploy(id, DeployEvent::Start, None, None)
            .await
            .unwrap();
        self.platform.changed(&new.app, id);
        id
    }

    /// A phase that has begun.
    pub(super) async fn begin(&self, id: DeployId, ordinal: usize, phase: &str) -> PhaseWriter {
        let phase: Phase = phase.parse().unwrap();
        self.platform
            .store
            .begin_phase(id, ordinal, &phase)
            .await
            .unwrap();
        let writer = self
            .platform
            .logs
            .write(id, ordinal, &phase, Stopwatch::start(), Redactor::default())
            .unwrap();
        self.platform.logs.changed(id);
        writer
    }

    pub(super) async fn end(&self, id: DeployId, ordinal: usize, status: PhaseStatus, ms: u64) {
        self.platform
            .store
            .end_phase(id, ordinal, status, ms)
            .await
            .unwrap();
        self.platform.logs.changed(id);
    }

    pub(super) async fn go_live(&self, id: DeployId) {
        let deploy = self.platform.store.deploy(id).await.unwrap();
        let release = Release {
            deploy: id,
            app: deploy.app,
            commit: deploy.commit,
            image: ImageRef(format!("windlass-abc/shop:d{id}")),
            image_kept: true,
            processes: Manifest::default().processes(),
            manifest: Manifest::default(),
            port: 8000,
            env: Environment::default(),
        };
        self.platform.store.go_live(&release).await.unwrap();
        self.platform.change_feed.of(&release.app);
    }

    pub(super) async fn finish(&self, id: DeployId, ms: u64) {
        let store = &self.platform.store;
        if store.deploy(id).await.unwrap().status.went_live() {
            // Not its place among these phases, but how long it took.
            store.end_verify(id, 99, 0, ms).await.unwrap();
        }
        store.finish_deploy(id, ms).await.unwrap();
        self.platform.logs.changed(id);
    }

    pub(super) async fn fail(&self, id: DeployId, phase: &str, message: &str, ms: u64) {
        let failure = Failure {
            phase: phase.into(),
            message: message.into(),
        };
        let store = &self.platform.store;
        store
            .change_deploy(id, DeployEvent::Fail, Some(&failure), Some(ms))
            .await
            .unwrap();
        self.platform.change_feed.for_everybody();
        self.platform.logs.changed(id);
    }

    pub(super) async fn get(&self, path: &str) -> Response<Body> {
        let request = Request::get(path).header("cookie", self.cookie().await);
        self.router()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }
}

pub(super) async fn text(response: Response<Body>) -> String {
    String::from_utf8(
        to_bytes(response.into_body(), 10 << 20)
            .await
            .unwrap()
            .to_vec(),
    )
    .unwrap()
}

/// What server-sent events came: their names, ids and data.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: serde_json::Value,
}

/// Reads events until `enough` or the end of the stream.
pub(super) async fn events(
    response: Response<Body>,
    mut enough: impl FnMut(&Told) -> bool,
) -> Vec<Told> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let (mut text, mut all) = (String::new(), Vec::new());
    while let Some(piece) = body.next().await {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|l| l.strip_prefix(name))
                    .map(str::to_owned)
            };
            let (event, rest) = (
                field("event: ").map(|name| Told {
                    name,
                    id: field("id: "),
                    data: serde_json::from_str(&field("data: ").unwrap()).unwrap(),
                }),
                rest.to_owned(),
            );
            text = rest;
            let Some(event) = event else { continue };
            all.push(event);
            if enough(all.last().unwrap()) {
                return all;
            }
        }
    }
    all
}

/// The texts of log rows, in order.
pub(super) fn row_texts(html: &str) -> Vec<String> {
    let rows = html.split("<div data-t=\"").skip(1);
    rows.map(|row| {
        row.split_once("</a>")
            .unwrap()
            .1
            .split_once("</div>")
            .unwrap()
            .0
            .to_owned()
    })
    .collect()
}

pub(super) fn texts_of(all: &[Told]) -> Vec<String> {
    let lines = all.iter().filter(|told| told.name == "lines");
    let texts = lines.flat_map(|told| told.data["lines"].as_array().unwrap());
    texts
        .map(|line| {
            line.as_str()
                .unwrap()
                .split_once('\t')
                .unwrap()
                .1
                .to_owned()
        })
        .collect()
}

const HOSTILE: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";

fn assert_harmless(page: &str) {
    for raw in ["<script>alert", "<img src=x"] {
        assert!(!page.contains(raw), "{raw} in {page}");
    }
    assert!(
        page.contains("&lt;script&gt;") || page.contains("&#60;script&#62;"),
        "{page}"
    );
    assert!(
        !page.contains(" style=") && !page.contains("<style"),
        "inline style in {page}"
    );
}

#[tokio::test]
async fn nobody_gets_in_without_a_session() {
    let world = World::new().await;
    let pages = [
        "/apps/shop",
        "/apps/shop/deploys/1",
        "/apps/shop/deploys/1/events",
    ];
    for path in pages {
        let response = world
            .router()
            .oneshot(Request::get(path).body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
        assert_eq!(
            response.headers()["location"],
            format!("/login?next={path}").as_str()
        );
    }
    for path in ["/nowhere", "/static", "/apps"] {
        let response = world
            .router()
            .oneshot(Request::get(path).body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for path in [
        "/logout",
        "/apps/shop/revert",
        "/apps/shop/deploys/1/cancel",
    ] {
        let request = Request::post(path)
            .header("cookie", "windlass_session=00")
            .body(Body::empty())
            .unwrap();
        let response = world.router().oneshot(request).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["location"]),
            (StatusCode::SEE_OTHER, &HeaderValue::from_static("/login"))
        );
    }
    let style = format!("/static/{}", assets::style());
    let response = world
        .router()
        .oneshot(Request::get(style).body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        response.headers()["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
}

async fn log_in(world: &World, password: &str, next: &str) -> Response<Body> {
    let form = format!("name=admin&password={password}&next={next}");
    let request =
        Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
    world
        .router()
        .oneshot(request.body(Body::from(form)).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_password_opens_a_session_and_logging_out_ends_it() {
    let world = World::new().await;
    let password = world.platform.access.first_admin().await.unwrap().unwrap();
    let wrong = log_in(&world, "guess", "/apps/shop").await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers().contains_key("set-cookie"));
    assert!(
        text(wrong).await.contains("value=\"/apps/shop\""),
        "the way back is kept"
    );

    let right = log_in(&world, &password, "/apps/shop?before=3").await;
    assert_eq!(
        (right.status(), &right.headers()["location"]),
        (
            StatusCode::SEE_OTHER,
            &HeaderValue::from_static("/apps/shop?before=3")
        )
    );
    let set = right.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        set.contains("; HttpOnly; SameSite=Lax") && set.contains("; Path=/; Max-Age="),
        "{set}"
    );
    let cookie = set.split(';').next().unwrap();
    let ask = |method: Method, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("cookie", cookie);
        world.router().oneshot(request.body(Body::empty()).unwrap())
    };
    assert_eq!(
        ask(Method::GET, "/").await.unwrap().status(),
        StatusCode::OK
    );
    assert_eq!(
        ask(Method::GET, "/login?next=//evil")
            .await
            .unwrap()
            .headers()["location"],
        "/"
    );
    assert!(
        ask(Method::POST, "/logout").await.unwrap().headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(
        ask(Method::GET, "/").await.unwrap().status(),
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn another_site_changes_nothing() {
    let world = World::new().await;
    let cookie = world.cookie().await;
    let post = |site: &'static str, origin: &'static str| {
        let request = Request::post("/logout")
            .header("cookie", &cookie)
            .header("host", "deploy.example.com");
        let request = request
            .header("sec-fetch-site", site)
            .header("origin", origin);
        world.router().oneshot(request.body(Body::empty()).unwrap())
    };
    for (site, origin) in [
        ("cross-site", "https://evil.example"),
        ("same-site", "https://shop.example.com"),
        ("", "https://evil.example"),
    ] {
        let refused = post(site, origin).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{site} {origin}");
        assert!(refused.headers().contains_key("content-security-policy"));
    }
    assert_eq!(
        world.get("/nowhere").await.status(),
        StatusCode::NOT_FOUND,
        "still logged in"
    );
    assert_eq!(
        post("same-origin", "https://deploy.example.com")
            .await
            .unwrap()
            .status(),
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn every_answer_carries_the_safe_headers() {
    let world = World::new().await;
    world.create_app("shop").await;
    world.start("shop", "Add a page", "Ada").await;
    let asset = format!("/static/{}", assets::script());
    let paths = [
        "/login",
        "/nowhere",
        "/apps/shop/deploys/1",
        "/apps/shop/deploys/1/events",
        "/apps/shop/deploys/1/log",
        &asset,
    ];
    for path in paths {
        let response = world.get(path).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert!(
            header("content-security-policy")
                .starts_with("default-src 'none'; style-src 'self'; script-src 'self'"),
            "{path}"
        );
        assert!(!header("content-security-policy").contains("unsafe"));
        assert_eq!(
            (header("x-content-type-options"), header("referrer-policy")),
            ("nosniff", "same-origin")
        );
        let kept = header("cache-control");
        assert!(
            if path == asset {
                kept.contains("immutable")
            } else {
                kept.starts_with("no-")
            },
            "{path}: {kept}"
        );
    }
}

#[tokio::test]
async fn what_strangers_wrote_stays_text_on_every_page() {
    let world = World::new().await;
    world.create_app("shop").await;
    let id = world.start("shop", HOSTILE, HOSTILE).await;
    world.begin(id, 0, "build").await.say(HOSTILE);
    world.end(id, 0, PhaseStatus::Failed, 900).await;
    let path = format!("/apps/shop/deploys/{id}");
    assert_harmless(&text(world.get(&path).await).await);
    world.fail(id, "build", HOSTILE, 900).await;
    let page = text(world.get(&path).await).await;
    assert_harmless(&page);
    assert!(
        page.contains("It failed in build") && page.contains("nothing serves"),
        "{page}"
    );

    let told = events(world.get(&format!("{path}/events")).await, |_| false).await;
    assert_eq!(told.last().unwrap().name, "finished");
    for told in told {
        let values = told
            .data
            .as_object()
            .unwrap()
            .values()
            .filter_map(|value| value.as_str());
        values.for_each(|value| {
            assert!(
                !value.contains("<script>") && !value.contains("<img"),
                "{value}"
            )
        });
    }

    for path in ["/apps/shop", "/apps/shop?status=failed", "/"] {
        assert_harmless(&text(world.get(path).await).await);
    }
}

#[tokio::test]
async fn the_lists_say_what_is_live_and_what_can_be_gone_back_to() {
    let world = World::new().await;
    world.create_app("shop").await;
    for subject in ["first", "second", "third"] {
        let id = world.start("shop", subject, "Ada").await;
        world.begin(id, 0, "build").await;
        world.end(id, 0, PhaseStatus::Ok, 1000).await;
        world.go_live(id).await;
        world.finish(id, 1000).await;
    }
    let store = &world.platform.store;
    store.forget_image(DeployId(1)).await.unwrap();
    let failed = world.start("shop", "fourth", "Ada").await;
    world.fail(failed, "build", "no", 5).await;
    let page = text(world.get("/").await).await;
    for said in [
        "unknown",
        "third",
        "https://shop.example.com",
        "1 failed last",
        "fourth",
        "3 went live, 1 failed",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(
        page.contains("<title>Failed · Apps · Windlass</title>")
            && page.contains("data-live=\"/events\"")
    );
    let page = text(world.get("/apps/shop").await).await;
    assert_eq!(
        page.matches("/apps/shop/revert?to=").count(),
        2,
        "every release but the live one"
    );
    assert!(
        page.contains("faint\" href=\"/apps/shop/revert?to=1\""),
        "one of them without its image: {page}"
    );
    assert!(page.contains("aria-label=\"build 1.0s\"") && !page.contains("data-refresh"));
    assert!(
        page.contains("class=\"chart\"")
            && page.contains("median 1.0s")
            && !page.contains("rel=\"next\"")
    );
    let page = text(world.get("/apps/shop?status=failed").await).await;
    assert!(
        page.contains("id=\"d4\"")
            && !page.contains("id=\"d3\"")
            && !page.contains("class=\"chart\"")
    );
    assert_eq!(
        world.get("/apps/shop?status=x").await.status(),
        StatusCode::BAD_REQUEST
    );
    for n in 0..50 {
        let id = world.start("shop", &format!("more {n}"), "Ada").await;
        world.fail(id, "build", "no", 5).await;
    }
    let page = text(world.get("/apps/shop?status=failed").await).await;
    assert!(
        page.contains("?status=failed&#38;before=35\" rel=\"next\""),
        "{page}"
    );

    world.create_app("blog").await;
    let page = text(world.get("/apps/blog").await).await;
    assert!(
        page.contains("Nothing deployed yet") && page.contains("repos/blog.git"),
        "{page}"
    );
}

#[tokio::test]
async fn an_empty_installation_teaches_and_a_refused_form_keeps_what_was_typed() {
    let world = World::new().await;
    let page = text(world.get("/").await).await;
    for said in [
        "name=\"domains\"",
        "git push prod main",
        "windlass app create",
        "/repos/<span",
        "href=\"/account\"",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let admin = world.cookie().await;
    let viewer = world.cookie_of("viewer", Role::Viewer, &[]).await;
    let seen = ask_as(&world, Some(("cookie", &viewer)), "GET", "/", "").await;
    assert!(
        !text(seen).await.contains("action=\"/new\""),
        "who may not create is offered no form"
    );

    world.create_app("blog").await;
    for (body, status, said) in [
        ("name=My+Shop&domains=%3Cb%3E", 422, "use 1 to 40 of a-z"),
        (
            "name=my-shop&domains=https%3A%2F%2Fx",
            422,
            "without scheme or port",
        ),
    ] {
        let answer = ask_as(&world, Some(("cookie", &admin)), "POST", "/new", body).await;
        assert_eq!(answer.status(), status, "{body}");
        let page = text(answer).await;
        assert!(
            page.contains(said) && page.contains("aria-invalid"),
            "{page}"
        );
        assert!(
            page.contains("value=\"My Shop\"") || page.contains("value=\"my-shop\""),
            "{page}"
        );
        assert!(!page.contains("<b>"));
    }

    let domains = async |body| {
        ask_as(
            &world,
            Some(("cookie", &admin)),
            "POST",
            "/apps/blog/domains",
            body,
        )
        .await
    };
    for (body, status, said) in [
        (
            "add=%3Cb%3E",
            422,
            "aria-describedby=\"add-domain-refused\"",
        ),
        ("add=https%3A%2F%2Fx", 422, "value=\"https://x\""),
        (
            "remove=nowhere.test",
            409,
            "does not answer to nowhere.test",
        ),
    ] {
        let answer = domains(body).await;
        assert_eq!(answer.status(), status, "{body}");
        let page = text(answer).await;
        assert!(
            page.contains(said) && page.contains("blog.example.com") && !page.contains("<b>"),
            "{page}"
        );
    }
    assert_eq!(
        domains("add=www.blog.test").await.status(),
        StatusCode::SEE_OTHER
    );
    assert!(
        text(world.get("/apps/blog/domains").await)
            .await
            .contains("Remove www.blog.test")
    );
}

#[tokio::test]
async fn names_are_searched_filtered_and_paged() {
    let world = World::new().await;
    for n in 0..25 {
        world.create_app(&format!("app-{n:02}")).await;
    }
    world.start("app-07", "under way", "Ada").await;
    let rows = |page: &str| page.matches("class=\"card app\"").count();
    let page = async |path: &str| text(world.get(path).await).await;
    let first = page("/").await;
    assert!(
        rows(&first) == 20 && first.contains("href=\"/?page=2\"") && first.contains("20 of 25"),
        "{first}"
    );
    assert!(
        first.contains("1 deploying")
            && first.contains("under way")
            && first.contains("Running · Apps")
    );
    assert_eq!(rows(&page("/?page=2").await), 5);
    assert_eq!(
        rows(&page("/?page=99").await),
        5,
        "beyond the end is the end"
    );
    assert_eq!(rows(&page("/?q=P-1").await), 10);
    assert_eq!(rows(&page("/?show=deploying").await), 1);
    assert_eq!(rows(&page("/?show=down&q=app").await), 0);
    assert_eq!(
        world.get("/?show=up").await.status(),
        StatusCode::BAD_REQUEST
    );
    let only = world
        .cookie_of("ann", Role::Viewer, &["app-03", "app-04"])
        .await;
    let seen = text(ask_as(&world, Some(("cookie", &only)), "GET", "/?q=app", "").await).await;
    assert!(
        rows(&seen) == 2 && !seen.contains("app-07") && !seen.contains("deploying"),
        "{seen}"
    );
}

#[tokio::test]
async fn an_open_page_is_told_to_look_again_once_for_all_that_happened() {
    let world = World::new().await;
    world.create_app("shop").await;
    world.create_app("blog").await;
    let page = text(world.get("/apps/shop").await).await;
    let edition = page
        .split_once("data-edition=\"")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let path = |from: &str| format!("/apps/shop/events?from={from}");
    let soon =
        |response| tokio::time::timeout(Duration::from_millis(250), events(response, |_| true));

    let nothing = soon(world.get(&path(&edition)).await).await;
    assert!(
        nothing.is_err(),
        "a page that is as things are is told nothing"
    );
    world.platform.change_feed.of(&"blog".parse().unwrap());
    assert!(
        soon(world.get(&path(&edition)).await).await.is_err(),
        "nor of another app"
    );
    world.start("shop", "first", "Ada").await;
    let told = soon(world.get(&path(&edition)).await).await.unwrap();
    assert_eq!((told.len(), told[0].name.as_str()), (1, "changed"));
    let now = told[0].id.clone().unwrap();
    assert!(soon(world.get(&path(&now)).await).await.is_err());
    for of_another_server in ["1-1", "", "x"] {
        let told = soon(world.get(&path(of_another_server)).await)
            .await
            .unwrap();
        assert_eq!(told[0].id.as_ref(), Some(&now), "{of_another_server:?}");
    }

    // However much happens, three a second and a little.
    let stream = world.get(&path(&now)).await;
    let storm = async {
        for _ in 0..100 {
            world.platform.change_feed.of(&"shop".parse().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        world.shutdown.cancel();
    };
    let (told, ()) = tokio::join!(events(stream, |_| false), storm);
    assert!((2..=6).contains(&told.len()), "{} events", told.len());
    let last = world
        .platform
        .change_feed
        .edition(|app| app.as_str() == "shop")
        .to_string();
    assert_eq!(
        told.last().unwrap().id.as_ref(),
        Some(&last),
        "the last state is told"
    );
}

#[tokio::test]
async fn a_page_and_its_stream_show_each_line_once() {
    let world = World::new().await;
    world.create_app("shop").await;
    let id = world.start("shop", "Add a page", "Ada").await;
    let log = world.begin(id, 0, "checkout").await;
    log.say("resolved");
    world.end(id, 0, PhaseStatus::Ok, 10).await;
    let log = world.begin(id, 1, "build").await;
    (0..700).for_each(|n| log.say(format!("line {n}")));

    let path = format!("/apps/shop/deploys/{id}");
    let page = text(world.get(&path).await).await;
    let shown = row_texts(&page);
    assert_eq!(
        (shown.len(), shown[1].as_str()),
        (501, "line 200"),
        "one phase whole and the end of the other"
    );
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>"));
    let from = page
        .split_once("data-from=\"")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap();

    // Lines come while the stream is open; it breaks in the middle and is taken up again.
    let first = world.get(&format!("{path}/events?from={from}")).await;
    (700..9000).for_each(|n| log.say(format!("line {n}")));
    let first = events(first, |told| told.name == "lines").await;
    let resume = first.last().unwrap().id.clone().unwrap();
    world.end(id, 1, PhaseStatus::Ok, 4000).await;
    world.begin(id, 2, "health").await.say("healthy");
    world.end(id, 2, PhaseStatus::Ok, 500).await;
    world.go_live(id).await;
    world.finish(id, 5000).await;
    let request =
        Request::get(format!("{path}/events?from={from}")).header("last-event-id", resume);
    let request = request
        .header("cookie", world.cookie().await)
        .body(Body::empty())
        .unwrap();
    let second = events(world.router().oneshot(request).await.unwrap(), |_| false).await;

    let mut all = shown[1..].to_vec();
    all.extend(texts_of(&first));
    all.extend(texts_of(&second));
    let expected: Vec<String> = (200..9000)
        .map(|n| format!("line {n}"))
        .chain(["healthy".into()])
        .collect();
    assert_eq!(all.len(), expected.len());
    assert!(all == expected, "neither loss nor repetition");
    let phases = second.iter().filter(|told| told.name == "phase");
    let phases: Vec<(u64, &str)> = phases
        .map(|t| {
            (
                t.data["ordinal"].as_u64().unwrap(),
                t.data["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(phases, [(1, "ok"), (2, "ok"), (2, "ok")]);
    let end = second.last().unwrap();
    assert_eq!(
        (end.name.as_str(), &end.data["status"]),
        ("finished", &"live".into())
    );

    let whole = text(world.get(&format!("{path}/log")).await).await;
    assert_eq!(
        whole
            .lines()
            .filter(|line| line.contains("  line "))
            .count(),
        9000
    );
    assert!(whole.starts_with("== checkout (ok)\n") && whole.contains("== health (ok)\n"));
}

#[tokio::test]
async fn a_stream_ends_with_the_server_and_a_deploy_is_only_its_own_apps() {
    let world = World::new().await;
    world.create_app("shop").await;
    world.create_app("blog").await;
    let id = world.start("shop", "Add a page", "Ada").await;
    for path in [
        format!("/apps/blog/deploys/{id}"),
        "/apps/shop/deploys/99".into(),
        "/apps/..%2f/deploys/1".into(),
        "/apps/shop/deploys/x/events".into(),
    ] {
        assert_eq!(
            world.get(&path).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let bad = world
        .get(&format!("/apps/shop/deploys/{id}/events?from=x"))
        .await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    let stream = world.get(&format!("/apps/shop/deploys/{id}/events")).await;
    world.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), events(stream, |_| false)).await;
    assert!(ended.unwrap().is_empty());
}

/// Whether the guard let a request in.
fn came_in(response: &Response<Body>) -> bool {
    response
        .extensions()
        .get::<guard::RefusedByGuard>()
        .is_none()
}

/// Nobody, a deployer of another app, a viewer, a deployer, and an administrator.
async fn everybody(world: &World) -> [Option<String>; 5] {
    [
        None,
        Some(world.cookie_of("outsider", Role::Deployer, &["blog"]).await),
        Some(world.cookie_of("viewer", Role::Viewer, &["shop"]).await),
        Some(world.cookie_of("deployer", Role::Deployer, &["shop"]).await),
        Some(world.cookie_of("admin", Role::Admin, &[]).await),
    ]
}

async fn with_apps() -> (World, DeployId) {
    let world = World::new().await;
    world.create_app("shop").await;
    world.create_app("blog").await;
    let id = world.start("shop", "first", "Ada").await;
    (world, id)
}

async fn ask_as(
    world: &World,
    known: Option<(&str, &str)>,
    method: &str,
    path: &str,
    body: &str,
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some((header, value)) = known {
        request = request.header(header, value);
    }
    let json = path.starts_with("/api/");
    let kind = if json {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    let request = request
        .header("content-type", kind)
        .body(Body::from(body.to_owned()))
        .unwrap();
    world.router().oneshot(request).await.unwrap()
}

fn row(method: &str, path: &str, allowed: [bool; 5]) -> String {
    let cells = allowed.map(|yes| if yes { "yes" } else { "" });
    format!("| {method} | `{path}` | {} |\n", cells.join(" | "))
}

/// Walks every route as nobody and as each role, and holds docs/access.md to what it finds.
#[tokio::test]
async fn every_route_lets_in_whom_its_rule_says() {
    let (world, id) = with_apps().await;
    let who = everybody(&world).await;
    let mut tokens = vec![None];
    for name in ["outsider", "viewer", "deployer", "admin"] {
        tokens.push(Some(world.token_of(name).await));
    }
    let mut rows = String::new();
    for route in guarded_routes(&world) {
        // What ends a session is tried by a test of its own.
        if matches!(route.rule, Rule::Public | Rule::Verb) || route.path == "/logout" {
            continue;
        }
        let path = filled(&route.path, id);
        let mut allowed = [false; 5];
        for n in 0..who.len() {
            // Git has tokens and no cookies.
            let gits = route.path.starts_with("/git/");
            if route.method == "POST" && !gits {
                allowed[n] = form_is_done(&route.path, n).await;
                continue;
            }
            let (header, known) = if gits {
                ("authorization", &tokens[n])
            } else {
                ("cookie", &who[n])
            };
            let known = known.as_ref().map(|known| (header, known.as_str()));
            let response = ask_as(&world, known, route.method, &path, "id=0").await;
            let expected = match route.rule {
                Rule::Public => true,
                Rule::User | Rule::Verb => n > 0,
                Rule::View | Rule::Service => n > 1,
                Rule::Deploy => n > 2,
                Rule::Admin => n > 3,
            };
            assert_eq!(
                came_in(&response),
                expected,
                "{route:?} as {n}: {}",
                response.status()
            );
            allowed[n] = expected;
        }
        rows += &row(route.method, &route.path, allowed);
    }
    assert!(
        include_str!("../../docs/access.md").contains(&rows),
        "docs/access.md should have:\n{rows}"
    );
}

fn guarded_routes(world: &World) -> Vec<GuardedRoute> {
    let web = Web {
        services: Services::new(world.platform.clone()),
        shutdown: world.shutdown.clone(),
        feeds: Default::default(),
    };
    table(web).table
}

fn filled(path: &str, id: DeployId) -> String {
    let named = match path.contains("/users/") {
        true => "viewer",
        false => "shop",
    };
    let path = path.replace("{app}", "shop").replace("{name}", named);
    path.replace("{id}", &id.to_string())
}

/// Whether a form, filled in as it should be, is let through by the gate for the `n`th of everybody: in
/// a world of its own, as it is done then. Either way the audit log has one row of it, with an outcome.
async fn form_is_done(path: &str, n: usize) -> bool {
    let (world, id) = with_apps().await;
    let who = everybody(&world).await;
    let body = match path {
        "/new" => "name=fresh",
        "/apps/{app}/domains" => "add=shop.test",
        "/apps/{app}/env" => "name=A&value=b",
        "/apps/{app}/env/remove" => "name=A",
        "/apps/{app}/revert" | "/apps/{app}/redeploy" => "commit=main",
        "/apps/{app}/public" => "public=true",
        "/apps/{app}/destroy" => "name=shop",
        "/account/password" => "now=x&new=correct+horse+battery",
        "/account/second-factor" => "secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&code=000000",
        "/account/second-factor/remove" => "password=x",
        "/account/keys" => "key=ssh-ed25519+AAAA&name=",
        "/account/tokens" => "name=ci&scope=read&days=1",
        _ => "id=1",
    };
    let owner = ["nobody", "outsider", "viewer", "deployer", "admin"][n];
    if let ("/account/keys/remove" | "/account/tokens/revoke", Ok(user)) = (path, owner.parse()) {
        give(&world, if n == 0 { None } else { Some(&user) }).await;
    }
    let before = entries(&world).await.len();
    let known = who[n].as_ref().map(|cookie| ("cookie", cookie.as_str()));
    let response = ask_as(&world, known, "POST", &filled(path, id), body).await;
    let status = response.status();
    let done = came_in(&response);
    let written = entries(&world).await.len() - before;
    let expected = usize::from(n > 0);
    assert_eq!(written, expected, "{path} as {owner}: {status}");
    let newest = entries(&world).await.into_iter().next();
    if let Some(entry) = newest.filter(|_| n > 0) {
        assert!(entry.outcome.is_some(), "{path} as {owner}: {entry:?}");
        assert_eq!(entry.denied, !done, "{path} as {owner}: {entry:?}");
    }
    done
}

/// A key and a token, each the first there is.
async fn give(world: &World, user: Option<&UserName>) {
    let Some(user) = user else { return };
    let (store, access) = (&world.platform.store, &world.platform.access);
    let key = store.add_key(user, "laptop", "ssh-ed25519 AAAA", "SHA256:x");
    key.await.unwrap();
    let token = access.make_token(user, "ci", crate::domain::Scope::Read, None, None);
    token.await.unwrap();
}

async fn entries(world: &World) -> Vec<crate::domain::AuditEntry> {
    let entries = world.platform.store.audit_entries(None, 100, None).await;
    entries.unwrap()
}

/// A body that fits a verb.
fn body_of(id: &str) -> &'static str {
    match id {
        "app_create" => r#"{"name":"fresh","domains":["shop.test"]}"#,
        "app_allow" => r#"{"more":{"memory":"1g","capabilities":["NET_RAW"]},"reset":true}"#,
        "app_domains" => r#"{"add":["shop.test"],"remove":[]}"#,
        "app_public" => r#"{"public":true}"#,
        "env_set" => r#"{"vars":{"TOKEN":"x"}}"#,
        "env_unset" => r#"{"names":["TOKEN"]}"#,
        "redeploy" | "revert" => r#"{"commit":"shop"}"#,
        "user_add" => {
            r#"{"name":"fresh","role":"viewer","apps":["shop"],"password":"correct horse battery"}"#
        }
        "user_role" => r#"{"role":"viewer","apps":["shop"]}"#,
        "user_passwd" => r#"{"password":"correct horse battery","without_second_factor":true}"#,
        "key_add" => r#"{"user":"viewer","key":"shop","name":"fresh"}"#,
        "token_create" => {
            r#"{"user":"viewer","name":"fresh","scope":"read","apps":["shop"],"lasts_ms":7}"#
        }
        _ => "",
    }
}

/// The same for every verb of the API, each with fields as they should be, in a world of its own: what
/// is allowed is done.
#[tokio::test]
async fn every_verb_lets_in_whom_its_needs_say() {
    let mut rows = String::new();
    for route in api::routes().into_iter().filter(|route| !route.only_socket) {
        let mut allowed = [false; 5];
        for (n, allowed) in allowed.iter_mut().enumerate() {
            let (world, id) = with_apps().await;
            let who = everybody(&world).await;
            give(&world, Some(&"admin".parse().unwrap())).await;
            let path = filled(&route.full_path(), id);
            let known = who[n].as_ref().map(|cookie| ("cookie", cookie.as_str()));
            let response = ask_as(&world, known, route.method, &path, body_of(route.id)).await;
            let status = response.status().as_u16();
            if status == 400 {
                panic!("{route:?}: {}", text(response).await);
            }
            *allowed = !matches!(status, 401 | 403 | 404);
        }
        rows += &row(route.method, &route.full_path(), allowed);
    }
    assert!(
        include_str!("../../docs/access.md").contains(&rows),
        "docs/access.md should have:\n{rows}"
    );
}

/// What only the control socket takes is not here, and whoever says here that they are somebody as one
/// does there is nobody.
#[tokio::test]
async fn no_header_of_the_control_socket_counts_here() {
    let (world, _) = with_apps().await;
    let local = (api::socket::CALLER, r#"{"local":"root"}"#);
    for path in ["/api/v1/apps", "/api/v1/whoami", "/apps/shop"] {
        let answer = ask_as(&world, Some(local), "GET", path, "").await;
        assert!(matches!(answer.status().as_u16(), 401 | 303), "{path}");
    }
    let cookie = world.cookie_of("viewer", Role::Viewer, &["shop"]).await;
    let both = Request::get("/api/v1/whoami")
        .header("cookie", cookie)
        .header(local.0, local.1)
        .body(Body::empty())
        .unwrap();
    let who = text(world.router().oneshot(both).await.unwrap()).await;
    assert!(who.contains("\"viewer\""), "{who}");
    let admin = world.cookie().await;
    for path in [
        "/api/v1/ping",
        "/api/v1/apps/shop/pushed",
        "/api/v1/apps/shop/enter",
    ] {
        for method in ["GET", "POST"] {
            let known = Some(("cookie", admin.as_str()));
            let answer = ask_as(&world, known, method, path, "{}").await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

#[test]
fn no_query_header_cookie_or_form_breaks_a_page() {
    use proptest::prelude::*;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (world, cookie) = runtime.block_on(async {
        let world = World::new().await;
        world.create_app("shop").await;
        let id = world.start("shop", "Fine", "Ada").await;
        world.begin(id, 0, "checkout").await.say("a line");
        world.end(id, 0, PhaseStatus::Ok, 5).await;
        let cookie = world.cookie().await;
        (world, cookie)
    });
    let router = world.router();
    const PAGES: &[&str] = &[
        "/login",
        "/",
        "/apps/shop",
        "/apps/shop/deploys/1",
        "/apps/shop/deploys/1/log",
        "/apps/shop/deploys/1/events",
        "/events",
        "/apps/shop/events",
        "/new",
        "/apps/shop/logs",
        "/apps/shop/logs/events",
        "/apps/shop/env",
        "/apps/shop/revert",
        "/badge/x",
        "/static/x",
    ];
    const FORMS: &[&str] = &[
        "/login",
        "/apps/none/revert",
        "/apps/none/redeploy",
        "/apps/none/deploys/1/cancel",
        "/apps/none/domains",
    ];
    let value = "([0-9.+-]{1,25}|[!-~]{0,20}|%[0-9a-f]{2}|&|=){0,4}";
    // A header's value is any of these bytes.
    let bytes = || prop::collection::vec(prop_oneof![32u8..127, 128u8..=255], 0..60);
    let runner = ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(runner, |(
        page in prop::sample::select(PAGES), key in "before|from|phase|next|page|q|show|since|status|to|x", value in value,
        header in "cookie|last-event-id|range|host|origin|accept-language|x-forwarded-proto", bytes in bytes(),
        form in prop::option::of((prop::sample::select(FORMS), "([a-z]{1,8}=[!-~]{0,9}&?){0,4}")),
    )| {
        let value = value.replace(|c: char| !c.is_ascii_alphanumeric() && !"&=%.+-_".contains(c), "");
        let uri = match &form {
            Some((path, _)) => (*path).to_owned(),
            None => format!("{page}?{key}={value}"),
        };
        let body = form.map(|(_, body)| Body::from(body));
        let mut request = Request::builder().uri(uri).header("cookie", &cookie).header(header, &bytes[..]);
        if body.is_some() {
            request = request.method(Method::POST).header("content-type", "application/x-www-form-urlencoded");
        }
        let request = request.body(body.unwrap_or_else(Body::empty)).unwrap();
        let status = runtime.block_on(router.clone().oneshot(request)).unwrap().status();
        prop_assert!(!status.is_server_error(), "{}", status);
    });
}

/// Asks as git does, with a token or without.
async fn by_git(world: &World, path: &str, authorization: Option<&str>) -> Response<Body> {
    let mut request = Request::get(path).header("user-agent", "git/2.47.3");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    world
        .router()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn git_is_asked_for_a_token_and_told_in_plain_words_what_is_not_allowed() {
    let world = World::new().await;
    world.create_app("shop").await;
    let cookie = world.cookie_of("viewer", Role::Viewer, &["shop"]).await;
    let token = world.token_of("viewer").await;
    let (fetch, push) = ("?service=git-upload-pack", "?service=git-receive-pack");
    let info = |query: &str| format!("/git/shop.git/info/refs{query}");

    for nobody in [None, Some("Bearer wlt_0"), Some("Basic !"), Some("")] {
        let refused = by_git(&world, &info(fetch), nobody).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{nobody:?}");
        assert!(
            refused.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Basic realm=")
        );
    }
    let request = Request::get(info(fetch))
        .header("cookie", &cookie)
        .body(Body::empty())
        .unwrap();
    let by_cookie = world.router().oneshot(request).await.unwrap();
    assert_eq!(
        by_cookie.status(),
        StatusCode::UNAUTHORIZED,
        "a browser's log-in is not git's"
    );
    let page = Request::get("/apps/shop")
        .header("authorization", &token)
        .body(Body::empty())
        .unwrap();
    let page = world.router().oneshot(page).await.unwrap();
    assert_eq!(
        page.status(),
        StatusCode::SEE_OTHER,
        "a token is not a browser's log-in"
    );

    let refused = by_git(&world, &info(push), Some(&token)).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(
        refused.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    assert!(
        text(refused)
            .await
            .starts_with("Viewer may see shop and not deploy it")
    );
    for there_is_none in [
        "/git/blog/info/refs",
        "/git/Sh%20op/info/refs",
        "/git/shop.git.git/info/refs",
    ] {
        let refused = by_git(&world, &format!("{there_is_none}{fetch}"), Some(&token)).await;
        assert_eq!(refused.status(), StatusCode::NOT_FOUND, "{there_is_none}");
    }
    for meaningless in [
        "",
        "?service=git-upload-archive",
        "?service=git-upload-pack&x",
    ] {
        let refused = by_git(&world, &info(meaningless), Some(&token)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{meaningless}");
    }
}

/// What comes of an answer within a moment: a stream that stays open has told what it had by then.
async fn beginning(response: Response<Body>) -> String {
    let mut chunks = response.into_body().into_data_stream();
    let mut read = Vec::new();
    let moment = tokio::time::sleep(Duration::from_millis(300));
    let mut moment = std::pin::pin!(moment);
    loop {
        tokio::select! {
            chunk = chunks.next() => match chunk {
                Some(Ok(bytes)) => read.extend_from_slice(&bytes),
                _ => break,
            },
            () = &mut moment => break,
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Somebody who may see one app sends every number and place of another to every route there is that
/// reads: nothing of the other comes back.
#[tokio::test]
async fn no_number_and_no_place_of_another_app_opens_it() {
    let (world, own) = with_apps().await;
    let other = world.start("blog", "nobody elses", "Ada").await;
    world.begin(other, 0, "build").await.say("nobody elses");
    world.go_live(other).await;
    let mut output = world
        .platform
        .logs
        .write_app(other, &crate::domain::Replica::web(), Redactor::default())
        .unwrap();
    let at = "2026-11-21T00:00:01.000000000Z";
    output.append(at, false, b"nobody elses\n").unwrap();
    output.finish().unwrap();
    let viewer = world.cookie_of("viewer", Role::Viewer, &["shop"]).await;

    let routes = guarded_routes(&world).into_iter();
    let pages = routes.filter(|route| route.method == "GET" && !route.path.starts_with("/git/"));
    let verbs = api::routes().into_iter();
    let verbs = verbs.filter(|route| route.method == "GET" && !route.only_socket);
    let mut paths: Vec<String> = pages.map(|route| route.path.to_string()).collect();
    paths.extend(verbs.map(|route| route.full_path()));
    assert!(paths.len() > 40, "{paths:?}");
    let claims = [
        format!("{other}"),
        "0.0".to_owned(),
        format!("{other}.0.0"),
        format!("{own}~{own}~{other}.0.0"),
        format!("{other}~{other}~{other}.0.0"),
        format!("9999~0~{other}.0.0"),
    ];
    for path in &paths {
        let mut asked = Vec::new();
        for id in [own, other] {
            let path = filled(path, id);
            for claim in &claims {
                for name in ["from", "before", "to", "line", "older"] {
                    let request = Request::get(format!("{path}?{name}={claim}"))
                        .header("cookie", &viewer)
                        .header("last-event-id", claim)
                        .body(Body::empty())
                        .unwrap();
                    let router = world.router();
                    asked.push(
                        async move { beginning(router.oneshot(request).await.unwrap()).await },
                    );
                }
            }
        }
        for told in futures_util::future::join_all(asked).await {
            assert!(!told.contains("nobody elses"), "{path}: {told}");
        }
    }
}
