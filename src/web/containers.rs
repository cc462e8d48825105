//! `/apps/{app}/containers`: what an app's containers take of the machine now.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;

use crate::app::ContainerUsage;
use crate::domain::{AppName, size};

use super::error::Error;
use super::guard::Who;
use super::{AppPath, Layout, Web, html};

#[derive(Template)]
#[template(path = "app_containers.html")]
struct Containers {
    app: AppName,
    rows: Vec<ContainerUsage>,
    /// Why nothing is known of them.
    trouble: Option<String>,
}

impl Containers {
    /// Whether what serves ended by itself.
    fn came_back(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.part == "live" && row.restarts > 0)
    }

    fn cpu(&self, row: &ContainerUsage) -> String {
        row.load
            .map_or_else(|| "–".to_owned(), |load| format!("{:.1} %", load.cpu))
    }

    fn memory(&self, row: &ContainerUsage) -> String {
        match row.load {
            Some(load) => match load.memory_limit {
                Some(limit) => format!("{} of {}", size::show(load.memory), size::show(limit)),
                None => size::show(load.memory),
            },
            None => "–".to_owned(),
        }
    }
}

#[derive(Template)]
#[template(path = "app_containers_page.html")]
struct ContainersPage {
    layout: Layout,
    containers: Containers,
}

/// Whether only the part of a page is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(default)]
    part: bool,
}

/// What the app's containers take now: a page, or the part of one that the script fetches.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    AppPath(app): AppPath,
    part: Result<Query<Part>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(Part { part }) = part.map_err(|_| Error::bad("part= takes true or false"))?;
    web.platform().store.app(&app).await?;
    let (rows, trouble) = match crate::app::usage(web.platform(), &app).await {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let containers = Containers {
        app: app.clone(),
        rows,
        trouble,
    };
    match part {
        true => html(&containers),
        false => html(&ContainersPage {
            layout: Layout::new(&format!("Containers of {app}"), Some(&who)),
            containers,
        }),
    }
}
