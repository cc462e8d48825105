//! `/apps/{app}/revert`: what going back to a release will do, and the one button that does it.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::api::Revert;
use crate::domain::{Commits, DeployId, RevertEnvironment, RevertPreview};

use super::error::Error;
use super::guard::Who;
use super::view::{Took, When};
use super::{AppPath, Layout, Web, deploy_path, html};

#[derive(Template)]
#[template(path = "revert.html")]
struct RevertPage {
    layout: Layout,
    app: String,
    to: Version,
    live: Version,
    leaving: Commits,
    coming: Commits,
    image_kept: bool,
    /// How long it usually takes.
    usual: Option<String>,
    own_environment: bool,
    variables: Vec<String>,
    migrations: Vec<Applied>,
    unknown: Vec<DeployId>,
    /// Whether something else went live since the page before this one was shown.
    moved: bool,
}

struct Version {
    path: String,
    id: DeployId,
    short: String,
    subject: String,
    author: String,
    when: When,
}

/// A deploy's migrations.
struct Applied {
    deploy: DeployId,
    names: Vec<String>,
}

/// To which release.
#[derive(Debug, Deserialize)]
pub(super) struct To {
    to: i64,
    #[serde(default)]
    moved: bool,
}

/// What is to be put live.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// The release of this deploy.
    to: Option<i64>,
    /// What served when that was asked.
    from: Option<i64>,
    /// The release of a commit, where no deploy is named.
    #[serde(default)]
    commit: String,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    to: Result<Query<To>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(To { to, moved }) = to.map_err(|_| Error::bad("to= takes the number of a deploy"))?;
    let preview = crate::app::preview_revert_to(web.platform(), &app, DeployId(to)).await?;
    html(&RevertPage {
        moved,
        ..RevertPage::new(Layout::new(&format!("Revert {app}"), Some(&who)), preview)
    })
}

impl RevertPage {
    fn new(layout: Layout, preview: RevertPreview) -> Self {
        let mut migrations: Vec<Applied> = Vec::new();
        for migration in preview.migrations.applied {
            match migrations
                .last_mut()
                .filter(|last| last.deploy == migration.deploy)
            {
                Some(last) => last.names.push(migration.name),
                None => migrations.push(Applied {
                    deploy: migration.deploy,
                    names: vec![migration.name],
                }),
            }
        }
        let version = |deploy: &crate::domain::Deploy| Version {
            path: deploy_path(deploy),
            id: deploy.id,
            short: deploy.commit.short().to_owned(),
            subject: deploy.subject.clone(),
            author: deploy.author.clone(),
            when: deploy.live_at().unwrap_or(deploy.queued_at).into(),
        };
        Self {
            layout,
            app: preview.to.app.to_string(),
            to: version(&preview.to),
            live: version(&preview.live),
            leaving: preview.leaving,
            coming: preview.coming,
            image_kept: preview.image_kept,
            usual: preview.usual_ms.map(|ms| Took::fixed(ms).text),
            own_environment: preview.environment == RevertEnvironment::Release,
            variables: preview.variables,
            migrations,
            unknown: preview.migrations.unknown,
            moved: false,
        }
    }
}

/// Goes back to a release: what was confirmed, or nothing.
pub(super) async fn submit(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Error> {
    let platform = web.platform();
    let Some(to) = wanted.to else {
        let commit = Some(wanted.commit).filter(|commit| !commit.is_empty());
        let deploy = web
            .ask(
                &who,
                Revert {
                    app,
                    commit,
                    to: None,
                },
            )
            .await?;
        return Ok(Redirect::to(&deploy_path(&deploy)).into_response());
    };
    // Whoever confirmed had something else before them.
    let live = platform
        .store
        .live_deploy(&app)
        .await?
        .map(|live| live.id.0);
    if wanted.from.is_some() && wanted.from != live && live != Some(to) {
        return Ok(Redirect::to(&format!("/apps/{app}/revert?to={to}&moved=true")).into_response());
    }
    let revert = Revert {
        app,
        commit: None,
        to: Some(DeployId(to)),
    };
    let deploy = web.ask(&who, revert).await?;
    Ok(Redirect::to(&deploy_path(&deploy)).into_response())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{World, known};
    use super::*;
    use crate::domain::{CommitLine, Migration, MigrationsSince};

    const HOSTILE: &str = "<script>alert('x')</script>";

    async fn preview(world: &World) -> RevertPreview {
        for subject in ["first", HOSTILE] {
            let id = world.start("shop", subject, "Ada").await;
            world.go_live(id).await;
            world.finish(id, 1000).await;
        }
        let store = &world.platform.store;
        let (to, live) = (
            store.deploy(DeployId(1)).await.unwrap(),
            store.deploy(DeployId(2)).await.unwrap(),
        );
        let line = CommitLine {
            id: live.commit.clone(),
            subject: HOSTILE.into(),
            author: HOSTILE.into(),
        };
        RevertPreview {
            live,
            to,
            leaving: Commits {
                list: vec![line],
                more: 3,
                unknown: false,
            },
            coming: Commits::default(),
            image_kept: true,
            usual_ms: Some(4200),
            environment: RevertEnvironment::Release,
            variables: vec!["TOKEN".into()],
            migrations: MigrationsSince::default(),
        }
    }

    fn page(preview: RevertPreview) -> String {
        RevertPage::new(Layout::new("x", Some(&known("admin"))), preview)
            .render()
            .unwrap()
    }

    #[tokio::test]
    async fn a_confirmation_says_what_will_happen_and_warns_of_what_cannot_be_undone() {
        let world = World::new().await;
        world.create_app("shop").await;
        let calm = preview(&world).await;
        let shown = page(calm.clone());
        for said in [
            "and 3 more",
            "4.2s",
            "TOKEN",
            "No migration was applied since",
            "name=\"to\" value=\"1\"",
        ] {
            assert!(shown.contains(said), "{said} in {shown}");
        }
        assert!(
            !shown.contains("<script>alert") && !shown.contains("class=\"note bad\""),
            "{shown}"
        );

        let applied = vec![Migration {
            deploy: DeployId(2),
            name: "shop.0002_price".into(),
        }];
        let warned = page(RevertPreview {
            migrations: MigrationsSince {
                applied,
                unknown: vec![DeployId(2)],
            },
            image_kept: false,
            environment: RevertEnvironment::Today,
            usual_ms: None,
            leaving: Commits {
                unknown: true,
                ..Commits::default()
            },
            ..calm
        });
        for said in [
            "class=\"note bad\"",
            "shop.0002_price",
            "built again",
            "set today",
            "cannot be told",
        ] {
            assert!(warned.contains(said), "{said} in {warned}");
        }
    }
}
