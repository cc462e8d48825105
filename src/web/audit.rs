//! `/audit`: who did what, and what came of it.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;

use super::error::Error;
use super::guard::Who;
use super::view::When;
use super::{Layout, Web, html};
use crate::domain::{AuditEntry, AuditOutcome};

/// Entries on a page.
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    layout: Layout,
    rows: Vec<Row>,
    older: Option<i64>,
    newest: bool,
}

struct Row {
    entry: AuditEntry,
    at: When,
}

impl Row {
    /// What came of it, where that is not what was asked for.
    fn came_to(&self) -> Option<&'static str> {
        match self.entry.outcome {
            Some(AuditOutcome::Refused) => Some("refused"),
            Some(AuditOutcome::Failed) => Some("failed"),
            Some(AuditOutcome::Done) | None => None,
        }
    }
}

/// Which entries.
#[derive(Debug, Deserialize)]
pub(super) struct Older {
    before: Option<i64>,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    who: Who,
    older: Result<Query<Older>, axum::extract::rejection::QueryRejection>,
) -> Result<Html<String>, Error> {
    let Query(Older { before }) =
        older.map_err(|_| Error::bad("before= takes an entry's number"))?;
    let mut entries = web
        .platform()
        .store
        .audit_entries(None, PAGE + 1, before)
        .await?;
    let more = entries.len() > PAGE as usize;
    entries.truncate(PAGE as usize);
    html(&AuditPage {
        layout: Layout::new("Audit log", Some(&who)),
        older: entries.last().filter(|_| more).map(|entry| entry.id),
        rows: entries
            .into_iter()
            .map(|entry| Row {
                at: entry.at.into(),
                entry,
            })
            .collect(),
        newest: before.is_none(),
    })
}
