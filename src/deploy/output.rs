//! An app's own output across its releases: `windlass logs`.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::{Error, Windlass};
use crate::domain::{AppName, DeployId};
use crate::logs::AppLine;

/// Reads an app's output, oldest first, and goes on with what comes.
#[derive(Debug)]
pub struct AppOutput {
    windlass: Windlass,
    app: AppName,
    news: watch::Receiver<u64>,
    /// How far each deploy's file was read.
    offsets: HashMap<DeployId, u64>,
}

/// Deploys looked at: an app's output is spread over its releases' logs.
const DEPLOYS: u32 = 50;

impl Windlass {
    /// Opens an app's output: the last `tail` lines, or all that is younger than `since_ms`.
    ///
    /// Returns those lines and what follows them.
    pub async fn app_output(
        &self,
        app: &AppName,
        since_ms: Option<u64>,
        tail: usize,
    ) -> Result<(Vec<AppLine>, AppOutput), Error> {
        let news = self.app_output.subscribe();
        let mut offsets = HashMap::new();
        for id in self.collected(app) {
            offsets.insert(id, self.logs.app_size(id)?);
        }
        let since = since_ms.map(nanos_ago).unwrap_or_default();
        let mut lines = Vec::new();
        for deploy in self.store.deploys(app, DEPLOYS, None).await? {
            match since_ms {
                Some(_) => self.logs.app_since(deploy.id, &since, |line| {
                    lines.push(line);
                    true
                })?,
                None if lines.len() < tail => lines.extend(self.logs.app_tail(deploy.id, tail)?),
                None => break,
            }
        }
        lines.sort_by(|one, other| one.at.cmp(&other.at));
        let from = if since_ms.is_some() { 0 } else { lines.len().saturating_sub(tail) };
        let lines = lines.split_off(from);
        Ok((lines, AppOutput { windlass: self.clone(), app: app.clone(), news, offsets }))
    }
}

impl AppOutput {
    /// The next lines, waiting for them.
    pub async fn next(&mut self) -> Result<Vec<AppLine>, Error> {
        loop {
            let mut lines = Vec::new();
            for id in self.windlass.collected(&self.app) {
                let offset = self.offsets.entry(id).or_default();
                lines.extend(self.windlass.logs.app_from(id, offset)?);
            }
            if !lines.is_empty() {
                lines.sort_by(|one, other| one.at.cmp(&other.at));
                return Ok(lines);
            }
            let _ = self.news.changed().await;
            // Gathers what comes in one burst.
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.news.mark_unchanged();
        }
    }
}

/// The instant `ms` milliseconds ago, 1970 at the earliest, as Docker writes it: RFC 3339, UTC, nine
/// decimals.
pub fn nanos_ago(ms: u64) -> String {
    let now = OffsetDateTime::now_utc();
    let since_1970 = (now - OffsetDateTime::UNIX_EPOCH).unsigned_abs();
    let at = now - Duration::from_millis(ms).min(since_1970);
    let whole = at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default();
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), at.nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_older_than_1970() {
        assert_eq!(nanos_ago(u64::MAX), "1970-01-01T00:00:00.000000000Z");
        assert!(nanos_ago(60_000) < nanos_ago(0));
    }
}
