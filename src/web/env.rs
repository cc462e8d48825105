//! `/apps/{app}/env`: the names of an app's variables, and changing them. No value ever comes out here.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::api::{EnvSet, EnvUnset};
use crate::app::differing;
use crate::domain::{AppName, Environment};

use super::error::Error;
use super::guard::Who;
use super::{AppPath, Layout, Web, html};

#[derive(Template)]
#[template(path = "env.html")]
struct EnvPage {
    layout: Layout,
    app: AppName,
    rows: Vec<Row>,
    /// Variables of what runs now that are not set any more.
    gone: Vec<String>,
    /// How many are not as what runs now has them.
    pending: usize,
    /// Whether something runs at all.
    live: bool,
    may: bool,
    /// What was wrong with what was typed.
    wrong: Option<String>,
    /// What was typed, without its values.
    lines: String,
    name: String,
}

struct Row {
    name: String,
    /// Whether what runs now has another value for it, or none.
    pending: bool,
}

/// What was typed wrong, without its values.
#[derive(Default)]
struct Typed {
    wrong: Option<String>,
    lines: String,
    name: String,
}

/// What is to be set: lines of `NAME=value`, or one variable.
#[derive(Deserialize, Default)]
pub(super) struct Setting {
    #[serde(default)]
    lines: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

/// What is to be removed.
#[derive(Debug, Deserialize)]
pub(super) struct Removing {
    name: String,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
) -> Result<Html<String>, Error> {
    html(&show(&web, &who, app, Typed::default()).await?)
}

async fn show(web: &Web, who: &Who, app: AppName, typed: Typed) -> Result<EnvPage, Error> {
    let store = &web.platform().store;
    let env = store.env(&app).await?;
    let live = match store.live_deploy(&app).await? {
        Some(live) => store.release(live.id).await?,
        None => None,
    };
    let pending = live
        .as_ref()
        .map(|release| differing(&env, &release.env))
        .unwrap_or_default();
    let row = |(name, _): (&str, &str)| Row {
        name: name.to_owned(),
        pending: pending.iter().any(|p| p == name),
    };
    Ok(EnvPage {
        layout: Layout::new(&format!("Environment of {app}"), Some(who)),
        rows: env.iter().map(row).collect(),
        gone: pending
            .iter()
            .filter(|name| env.get(name).is_none())
            .cloned()
            .collect(),
        pending: pending.len(),
        live: live.is_some(),
        may: who.may_deploy(&app),
        wrong: typed.wrong,
        lines: typed.lines,
        name: typed.name,
        app,
    })
}

/// Sets variables, or says what is wrong beside what was typed.
pub(super) async fn set(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    form: Result<Form<Setting>, FormRejection>,
) -> Result<Response, Error> {
    let Ok(Form(setting)) = form else {
        let wrong = format!("A form takes 16 KiB. More at once: windlass env set {app} - < FILE");
        return refuse(
            &web,
            &who,
            app,
            Typed {
                wrong: Some(wrong),
                ..Typed::default()
            },
        )
        .await;
    };
    match setting.read() {
        Ok(vars) => {
            let set = EnvSet {
                app: app.clone(),
                vars,
            };
            web.ask(&who, set).await?;
            Ok(back(&app))
        }
        Err(wrong) => {
            let typed = Typed {
                wrong: Some(wrong),
                lines: names(&setting.lines),
                name: setting.name,
            };
            refuse(&web, &who, app, typed).await
        }
    }
}

/// Removes a variable.
pub(super) async fn remove(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    Form(Removing { name }): Form<Removing>,
) -> Result<Response, Error> {
    let unset = EnvUnset {
        app: app.clone(),
        names: vec![name],
    };
    web.ask(&who, unset).await?;
    Ok(back(&app))
}

async fn refuse(web: &Web, who: &Who, app: AppName, typed: Typed) -> Result<Response, Error> {
    let page = html(&show(web, who, app, typed).await?)?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

fn back(app: &AppName) -> Response {
    Redirect::to(&format!("/apps/{app}/env")).into_response()
}

impl Setting {
    fn read(&self) -> Result<Environment, String> {
        if self.name.is_empty() {
            let env = Environment::from_lines(&self.lines)?;
            return if env.is_empty() {
                Err("there is nothing to set: write NAME=value".into())
            } else {
                Ok(env)
            };
        }
        let mut env = Environment::default();
        // A form ends its lines as a typewriter does; no program expects that.
        let value = self.value.replace("\r\n", "\n");
        env.set(self.name.trim(), &value)
            .map_err(|error| error.to_string())?;
        Ok(env)
    }
}

/// The names of `NAME=value` lines. A line without a name may be all secret.
fn names(lines: &str) -> String {
    let name = |line: &str| {
        let (name, _) = line.split_once('=')?;
        Some(format!("{name}=\n"))
    };
    lines.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::super::tests::World;
    use crate::domain::Environment;

    async fn ask(world: &World, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("cookie", world.cookie().await);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = world
            .router()
            .oneshot(request.body(Body::from(body.to_owned())).unwrap())
            .await
            .unwrap();
        let status = response.status().as_u16();
        let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn values_go_in_and_never_come_out() {
        let world = World::new().await;
        world.create_app("shop").await;
        let app = "shop".parse().unwrap();
        let set = |body: &'static str| ask(&world, "POST", "/apps/shop/env", body);
        assert_eq!(
            set("lines=A%3Ds3cret-one%0D%0A%23+remark%0D%0AB%3Ds3cret-two")
                .await
                .0,
            303
        );
        assert_eq!(set("name=C&value=s3cret%0D%0Athree").await.0, 303);
        let env = world.platform.store.env(&app).await.unwrap();
        assert_eq!(
            env.assignments(),
            ["A=s3cret-one", "B=s3cret-two", "C=s3cret\nthree"]
        );

        let id = world.start("shop", "first", "Ada").await;
        world.go_live(id).await;
        let mut old = Environment::default();
        old.set("OLD", "s3cret-four").unwrap();
        let (status, page) = ask(&world, "GET", "/apps/shop/env", "").await;
        assert!(
            status == 200 && page.contains(">A<") && page.contains("action=\"/apps/shop/restart\""),
            "{page}"
        );
        assert!(!page.contains("s3cret"), "{page}");

        for wrong in [
            "lines=A%3Ds3cret-five%0D%0As3cret-six",
            "name=1A&value=s3cret-seven",
            "lines=+&name=",
        ] {
            let (status, page) = set(wrong).await;
            assert!(
                status == 422 && page.contains("role=\"alert\"") && !page.contains("s3cret"),
                "{page}"
            );
        }
        let (_, page) = set("lines=A%3Ds3cret-five%0D%0As3cret-six").await;
        assert!(page.contains("A=\n") && page.contains("line 2"), "{page}");
        assert_eq!(
            ask(&world, "POST", "/apps/shop/env/remove", "name=A")
                .await
                .0,
            303
        );
        assert_eq!(world.platform.store.env(&app).await.unwrap().get("A"), None);
        let large = format!("lines=A%3D{}", "x".repeat(20_000));
        let (status, page) = ask(&world, "POST", "/apps/shop/env", &large).await;
        assert!(status == 422 && page.contains("16 KiB"), "{page}");
    }
}
