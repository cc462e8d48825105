//! What a deploy brings, and what exactly it runs.

use askama::Template;

use crate::domain::limits::USUAL;
use crate::domain::{self, ChangedFile, ChangedFiles, Commits, Deploy, DeployId, size};
use crate::platform::Platform;
use crate::store::Store;

use super::error::Error;

/// The commits and files between what was live and this deploy.
#[derive(Template)]
#[template(path = "deploy_changes.html")]
pub(super) struct Changes {
    told: Option<Told>,
    app: String,
}

struct Told {
    /// In one line.
    title: String,
    since: Option<DeployId>,
    come: Commits,
    go: Commits,
    files: Option<Files>,
}

struct Files {
    first: Vec<File>,
    more: u64,
    added: u64,
    removed: u64,
}

struct File {
    path: String,
    lines: Option<(u64, u64)>,
    /// How much of a bar of 60 stands for what was added, and for what was removed.
    bar: (u64, u64),
}

impl Changes {
    /// Of a deploy, as far as it is known.
    pub(super) async fn new(store: &Store, deploy: &Deploy) -> Result<Self, Error> {
        let told = store.changes(deploy.id).await?.and_then(Told::of);
        Ok(Self {
            told,
            app: deploy.app.to_string(),
        })
    }
}

impl Told {
    /// `None` where there is nothing to tell.
    fn of(changes: domain::Changes) -> Option<Self> {
        let domain::Changes {
            since,
            come,
            go,
            files,
        } = changes;
        let parts: Vec<String> = [
            count(&come, "commit", ""),
            count(&go, "commit", " taken back"),
        ]
        .into_iter()
        .chain([files.as_ref().and_then(differing)])
        .flatten()
        .collect();
        let title = match parts.is_empty() {
            true if since.is_some() => "the same commit as before".to_owned(),
            true => return None,
            false => parts.join(", "),
        };
        Some(Self {
            title,
            since,
            come,
            go,
            files: files.map(Files::from),
        })
    }
}

fn count(commits: &Commits, noun: &str, what: &str) -> Option<String> {
    let all = commits.list.len() as u64 + commits.more;
    (all > 0).then(|| format!("{all} {noun}{}{what}", if all == 1 { "" } else { "s" }))
}

fn differing(files: &ChangedFiles) -> Option<String> {
    let all = files.first.len() as u64 + files.more;
    (all > 0).then(|| format!("{all} file{}", if all == 1 { "" } else { "s" }))
}

impl From<ChangedFiles> for Files {
    fn from(
        ChangedFiles {
            first,
            more,
            added,
            removed,
        }: ChangedFiles,
    ) -> Self {
        let both = |file: &ChangedFile| {
            file.lines
                .map_or(0, |(added, removed)| added.saturating_add(removed))
        };
        let most = first.iter().map(both).max().unwrap_or(0).max(1);
        let part = |lines: u64| match lines {
            0 => 0,
            lines => (lines as f64 * 60.0 / most as f64).ceil() as u64,
        };
        let file = |file: ChangedFile| {
            let (added, removed) = file.lines.unwrap_or_default();
            File {
                path: file.path,
                lines: file.lines,
                bar: (part(added), part(removed)),
            }
        };
        Self {
            first: first.into_iter().map(file).collect(),
            more,
            added,
            removed,
        }
    }
}

/// The image, manifest and settings that a release runs with.
#[derive(Template)]
#[template(path = "deploy_ran.html")]
pub(super) struct Ran {
    image: String,
    kept: bool,
    /// Its id and its size.
    facts: Option<(String, String)>,
    port: u16,
    /// Names of the environment's variables; no values.
    variables: Vec<String>,
    memory: String,
    pids: String,
    cpus: String,
    /// Beyond those that every app has.
    capabilities: Vec<String>,
    usual: String,
    /// The manifest, its defaults filled in.
    manifest: String,
}

impl Ran {
    /// Of a deploy that went live.
    pub(super) async fn new(platform: &Platform, deploy: &Deploy) -> Result<Option<Self>, Error> {
        let Some(release) = platform.store.release(deploy.id).await? else {
            return Ok(None);
        };
        let facts = platform.store.image_facts(deploy.id).await?;
        let limits = release.manifest.limits.or(platform.config.apps.limits());
        let none = || "no limit".to_owned();
        let more = release
            .manifest
            .security
            .capabilities
            .iter()
            .filter(|capability| !capability.is_usual());
        Ok(Some(Self {
            image: release.image.to_string(),
            kept: release.image_kept,
            facts: facts.map(|(id, bytes)| (id, size::show(bytes))),
            port: release.port,
            variables: release
                .env
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect(),
            memory: limits
                .memory
                .map_or_else(none, |memory| size::show(memory.0)),
            pids: limits.pids.map_or_else(none, |pids| pids.to_string()),
            cpus: limits.cpus.map_or_else(none, |cpus| cpus.to_string()),
            capabilities: more.map(ToString::to_string).collect(),
            usual: USUAL.join(", "),
            manifest: toml::to_string_pretty(&release.manifest).map_err(Error::defect)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CommitId, CommitLine};

    fn commits(subjects: &[&str], more: u64) -> Commits {
        let commit = |subject: &&str| CommitLine {
            id: "ab".repeat(20).parse::<CommitId>().unwrap(),
            subject: (*subject).into(),
            author: "Ada <b>".into(),
        };
        Commits {
            list: subjects.iter().map(commit).collect(),
            more,
            unknown: false,
        }
    }

    #[test]
    fn what_comes_and_what_goes_is_told_in_a_line_and_escaped() {
        let file = |path: &str, lines| ChangedFile {
            path: path.into(),
            lines,
        };
        let files = ChangedFiles {
            first: vec![
                file("<a>", Some((30, 0))),
                file("b", Some((1, 9))),
                file("c", None),
            ],
            more: 2,
            added: 40,
            removed: 9,
        };
        let changes = domain::Changes {
            since: Some(DeployId(3)),
            come: commits(&["<script>", ""], 7),
            go: commits(&["gone"], 0),
            files: Some(files),
        };
        let told = Told::of(changes).unwrap();
        assert_eq!(told.title, "9 commits, 1 commit taken back, 5 files");
        let bars: Vec<_> = told
            .files
            .as_ref()
            .unwrap()
            .first
            .iter()
            .map(|file| file.bar)
            .collect();
        assert_eq!(bars, [(60, 0), (2, 18), (0, 0)]);
        let html = Changes {
            told: Some(told),
            app: "shop".into(),
        }
        .render()
        .unwrap();
        for escaped in [
            "&#60;script&#62;",
            "Ada &#60;b&#62;",
            "&#60;a&#62;",
            "not text",
            "/apps/shop/deploys/3",
        ] {
            assert!(html.contains(escaped), "no {escaped} in {html}");
        }
        let same = domain::Changes {
            since: Some(DeployId(3)),
            files: Some(ChangedFiles::default()),
            ..Default::default()
        };
        assert_eq!(Told::of(same).unwrap().title, "the same commit as before");
        assert!(Told::of(domain::Changes::default()).is_none());
        assert_eq!(
            Changes {
                told: None,
                app: "shop".into()
            }
            .render()
            .unwrap()
            .trim(),
            ""
        );
    }
}
