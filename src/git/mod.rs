//! Bare repositories: read and written by libgit2 in this process, off the async threads, and by git's
//! own programs where they serve a push, remove refs, or walk what only the kernel can bound.

mod cost;
mod history;
mod library;
mod program;
mod service;
mod tree_limits;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use thiserror::Error;

use library::{Library, commit_id, oid};
pub use program::bound;
use program::{SPARING, git, quiet, run};
pub use service::{HttpCall, Report, http_backend, receive_pack, report, upload_pack};
pub use tree_limits::{Limits, TooMuch, TreeSummary};

use crate::domain::{AppName, CommitId, DeployId};

/// Git did not do as asked.
#[derive(Debug, Error)]
pub enum GitError {
    /// Nothing there answers to that name.
    #[error("there is no commit {0:?} in this app's repository")]
    NoCommit(String),
    /// It could not be run.
    #[error("git cannot be run: {0}")]
    NotRun(#[from] std::io::Error),
    /// It failed; with what it said.
    #[error("git {0} failed: {1}")]
    Failed(String, String),
}

/// Files that are the same in every repository, with whether they can be executed. Git runs the hooks
/// in the repository's folder; what they need to know they read from where they stand.
const FILES: [(&str, &str, bool); 4] = [
    (
        "hooks/pre-receive",
        include_str!("../../hooks/pre-receive"),
        true,
    ),
    (
        "hooks/post-receive",
        include_str!("../../hooks/post-receive"),
        true,
    ),
    ("info/attributes", ATTRIBUTES, false),
    (LIBRARY_SETTINGS, LIBRARY, false),
];

/// A build gets a commit's files as they are, whatever its `.gitattributes` says of archives and of
/// line ends.
const ATTRIBUTES: &str = "* !export-ignore !export-subst !text !eol !crlf !ident !filter !working-tree-encoding !diff !encoding\n";

/// The file with what libgit2 needs to be told, which is not for git's own programs.
const LIBRARY_SETTINGS: &str = "windlass.libgit2.config";

/// What libgit2 writes outlives a power cut, and the deploy branch has its log.
const LIBRARY: &str =
    "[core]\n\tbare = true\n\tlogAllRefUpdates = true\n\tfsyncObjectFiles = true\n";

/// The file with every repository's settings, which its own `config` includes.
const SETTINGS: &str = "windlass.config";

/// The text of [`SETTINGS`]. Objects are checked on arrival, and no push is larger than it may be;
/// no configuration of whoever pushes brings
/// other hooks; what deploys keep alive is nobody's to push or delete; a commit is what its id says, and no ref
/// replaces it by another; large files pass through git without being held in memory; `git push -o`
/// works; what a pusher was told is there outlives a power cut (git by itself leaves small objects to
/// the kernel).
fn settings(max_push: u64) -> String {
    format!(
        "[transfer]\n\tfsckObjects = true\n\thideRefs = refs/deploys\n\thideRefs = refs/replace\n\
         [receive]\n\tmaxInputSize = {max_push}\n\tadvertisePushOptions = true\n\tdenyDeleteCurrent = refuse\n\
         [receive \"fsck\"]\n\tfullPathname = error\n\
         [core]\n\thooksPath = hooks\n\tlogAllRefUpdates = true\n\tuseReplaceRefs = false\n\tbigFileThreshold = 32m\n\
         \tfsync = committed,reference\n\tfsyncMethod = batch\n"
    )
}

/// What people see of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// First line of its message.
    pub subject: String,
    /// Its author's name.
    pub author: String,
}

/// A file of a commit, as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeEntry {
    /// A plain file, with its size in bytes.
    File(u64),
    /// A symbolic link.
    Symlink,
    /// A folder.
    Folder,
    /// A submodule: an empty folder to everything but git.
    Submodule,
}

/// All repositories of this installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repositories {
    dir: PathBuf,
    branch: String,
    settings: String,
}

impl Repositories {
    /// Repositories below `dir`, whose pushes deploy from `branch` and have at most `max_push` bytes.
    pub fn new(dir: PathBuf, branch: &str, max_push: u64) -> Self {
        Self {
            dir,
            branch: format!("refs/heads/{branch}"),
            settings: settings(max_push),
        }
    }

    /// Where an app's repository lies: what `git remote add` takes on this machine.
    pub fn path(&self, app: &AppName) -> PathBuf {
        self.dir.join(format!("{app}.git"))
    }

    /// The full name of the deploy branch.
    pub fn deploy_ref(&self) -> &str {
        &self.branch
    }

    /// Makes an app's repository, or brings one that is there up to date. One that is so already is
    /// only looked at: a server also starts when its disk is full.
    pub async fn create(&self, app: &AppName) -> Result<(), GitError> {
        let path = self.path(app);
        if self.is_up_to_date(&path) {
            return Ok(());
        }
        let branch = self.branch.trim_start_matches("refs/heads/").to_owned();
        let text = self.settings.clone();
        blocking(move || {
            Library::create(&path, &branch)?;
            Library::open(&path)?.include(SETTINGS)?;
            for (name, text, executable) in FILES {
                write_file(&path.join(name), text, executable)?;
            }
            // Last: it says that all of the above is there.
            Ok(std::fs::write(path.join(SETTINGS), text)?)
        })
        .await
    }

    /// Removes the locks that a power cut has left in a repository: whoever made them is gone with the
    /// machine's last start, and git would refuse every push for them.
    pub async fn remove_stale_locks(&self, app: &AppName) -> Result<(), GitError> {
        let path = self.path(app);
        let up = u64::try_from(rustix::system::sysinfo().uptime).unwrap_or(0);
        let booted = SystemTime::now().checked_sub(Duration::from_secs(up));
        blocking(move || {
            let Some(booted) = booted else { return Ok(()) };
            Ok(remove_locks_before(&path, booted)?)
        })
        .await
    }

    /// Whether [`Repositories::create`] has nothing to do.
    fn is_up_to_date(&self, repository: &Path) -> bool {
        let is = |name: &str, text: &str| {
            std::fs::read(repository.join(name)).is_ok_and(|there| there == text.as_bytes())
        };
        is(SETTINGS, &self.settings) && FILES.iter().all(|(name, text, _)| is(name, text))
    }

    /// Removes an app's repository.
    pub fn destroy(&self, app: &AppName) -> std::io::Result<()> {
        match std::fs::remove_dir_all(self.path(app)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The commit that `name` (a branch, a tag, an id or part of one) stands for, or the one as many
    /// before it as `~` is followed by say.
    pub async fn resolve(&self, app: &AppName, name: &str) -> Result<CommitId, GitError> {
        let unknown = GitError::NoCommit(name.chars().take(80).collect());
        let name = name.to_owned();
        let found = self
            .read(app, move |library| library.resolve(&name))
            .await?;
        Ok(commit_id(found.ok_or(unknown)?)?)
    }

    /// What people see of a commit.
    pub async fn describe(&self, app: &AppName, commit: &CommitId) -> Result<CommitInfo, GitError> {
        let commit = oid(commit)?;
        self.read(app, move |library| library.describe(commit))
            .await
    }

    /// What the deploy branch names.
    pub async fn branch(&self, app: &AppName) -> Result<Option<CommitId>, GitError> {
        match self.resolve(app, &self.branch).await {
            Ok(commit) => Ok(Some(commit)),
            Err(GitError::NoCommit(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the deploy branch from `old` to `new`, if it still is at `old`; `None` is no branch.
    /// False when something else had moved it.
    pub async fn move_branch(
        &self,
        app: &AppName,
        old: Option<&CommitId>,
        new: Option<&CommitId>,
    ) -> Result<bool, GitError> {
        let Some(new) = new else {
            let Some(old) = old else { return Ok(true) };
            let args = ["update-ref", "-d", &self.branch, old.as_str()];
            return match run(&self.path(app), &args).await {
                Ok(_) => Ok(true),
                Err(GitError::Failed(_, said)) if is_elsewhere(&said) => Ok(false),
                Err(error) => Err(error),
            };
        };
        let (name, old, new) = (self.branch.clone(), old.map(oid).transpose()?, oid(new)?);
        self.read(app, move |library| library.swap_ref(&name, old, new))
            .await
    }

    /// Keeps a deploy's commit reachable, whatever becomes of the branch.
    pub async fn keep(
        &self,
        app: &AppName,
        deploy: DeployId,
        commit: &CommitId,
    ) -> Result<(), GitError> {
        let (name, commit) = (format!("refs/deploys/{deploy}"), oid(commit)?);
        self.read(app, move |library| library.set_ref(&name, commit))
            .await
    }

    /// Lets go of what [`Repositories::keep`] kept for these deploys: git may then remove their commits.
    /// By git's own program: libgit2 rewrites `packed-refs` from what it read before it has the lock, and
    /// would lose what another git packs in between.
    pub async fn forget(&self, app: &AppName, deploys: &[DeployId]) -> Result<(), GitError> {
        let commands: String = deploys
            .iter()
            .map(|id| format!("delete refs/deploys/{id}\n"))
            .collect();
        git(
            &self.path(app),
            &["update-ref", "--stdin"],
            commands.as_bytes(),
            Stdio::piped(),
        )
        .await
        .map(drop)
    }

    /// What lies at `path` in a commit.
    pub async fn entry(
        &self,
        app: &AppName,
        commit: &CommitId,
        path: &str,
    ) -> Result<Option<TreeEntry>, GitError> {
        let (commit, path) = (oid(commit)?, path.to_owned());
        self.read(app, move |library| {
            Ok(library.entry(commit, &path)?.map(|(entry, _)| entry))
        })
        .await
    }

    /// A file's content, at most `limit` bytes of it.
    pub async fn file(
        &self,
        app: &AppName,
        commit: &CommitId,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let (commit, path) = (oid(commit)?, path.to_owned());
        self.read(app, move |library| match library.entry(commit, &path)? {
            Some((TreeEntry::File(size), _)) if size > limit => Err(GitError::Failed(
                "cat-file".into(),
                format!("{path} has {size} bytes; at most {limit} are read"),
            )),
            Some((TreeEntry::File(_), id)) => Ok(Some(library.blob(id)?.content().to_vec())),
            _ => Ok(None),
        })
        .await
    }

    /// `git archive` of a commit's tree, or of the folder `context` in it, as a tar on its standard
    /// output. Modes do not depend on the server's umask.
    pub fn archive(
        &self,
        app: &AppName,
        commit: &CommitId,
        context: &str,
    ) -> Result<std::process::Child, GitError> {
        let mut command = std::process::Command::new("git");
        command.args([
            "-c",
            "tar.umask=0022",
            "archive",
            "--format=tar",
            &subtree(commit, context),
        ]);
        quiet(&mut command, &self.path(app));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        bound(Some(child.id()));
        Ok(child)
    }

    /// Writes everything of an app's repository, each ref with all that it reaches, into one file.
    /// Pushes may go on meanwhile. False, and nothing written, when the repository is empty.
    pub async fn bundle(&self, app: &AppName, into: File) -> Result<bool, GitError> {
        let path = self.path(app);
        if git(&path, &["for-each-ref", "--count=1"], &[], Stdio::piped())
            .await?
            .is_empty()
        {
            return Ok(false);
        }
        let bundle = ["bundle", "create", "--quiet", "-", "--all"];
        git(
            &path,
            &[&SPARING[..], &bundle[..]].concat(),
            &[],
            into.into(),
        )
        .await
        .map(|_| true)
    }

    /// Makes an app's repository with everything that [`Repositories::bundle`] wrote. Whatever is
    /// damaged or missing in it is an error; how objects are written is not judged again.
    pub async fn unbundle(&self, app: &AppName, bundle: &Path) -> Result<(), GitError> {
        self.create(app).await?;
        let bundle = bundle.display().to_string();
        let accepted = [
            "-c",
            "fetch.fsckObjects=false",
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
        ];
        let refs = ["--no-tags", "--", &bundle, "+refs/*:refs/*"];
        run(
            &self.path(app),
            &[&SPARING[..], &accepted[..], &refs[..]].concat(),
        )
        .await
        .map(drop)
    }

    /// Does this with an app's repository, on a thread that may wait.
    async fn read<T: Send + 'static>(
        &self,
        app: &AppName,
        work: impl FnOnce(&Library) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let path = self.path(app);
        blocking(move || work(&Library::open(&path)?)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| GitError::NotRun(std::io::Error::other(error)))?
}

fn write_file(path: &Path, text: &str, executable: bool) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)?;
    let mode = if executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// What git calls the folder `context` of a commit.
fn subtree(commit: &CommitId, context: &str) -> String {
    match context.trim_matches('/').trim_start_matches("./") {
        "" | "." => commit.to_string(),
        folder => format!("{commit}:{folder}"),
    }
}

/// Whether git would not change a ref because it is not where it was expected.
fn is_elsewhere(said: &str) -> bool {
    said.contains("but expected") || said.contains("unable to resolve reference")
}

/// Removes the locks of refs that are older than this: those in the repository's folder, where
/// `packed-refs` and `HEAD` have theirs, and those below `refs`.
fn remove_locks_before(repository: &Path, time: SystemTime) -> std::io::Result<()> {
    let mut folders = vec![repository.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, about) = (entry.path(), entry.metadata()?);
            if about.is_dir() && (folder != repository || entry.file_name() == "refs") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "lock")
                && about.is_file()
                && about.modified()? < time
            {
                tracing::info!(lock = %path.display(), "a lock from before this machine's start is removed");
                std::fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::program::{MOST_MEMORY, git, run};
    use super::*;

    pub(super) async fn scratch() -> (tempfile::TempDir, Repositories, AppName, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let repos = Repositories::new(dir.path().join("repos"), "main", 1 << 30);
        let app: AppName = "shop".parse().unwrap();
        repos.create(&app).await.unwrap();
        // Pushes of these tests have no server to talk to.
        std::fs::remove_dir_all(repos.path(&app).join("hooks")).unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        run(&work, &["init", "-q", "-b", "main"]).await.unwrap();
        (dir, repos, app, work)
    }

    #[tokio::test]
    async fn a_lock_that_a_power_cut_left_goes_and_one_of_today_is_an_error() {
        let (_dir, repos, app, work) = scratch().await;
        let one = commit(&work, &repos, &app, "one").await;
        let lock = repos.path(&app).join("refs/heads/main.lock");
        let (old, folder) = (SystemTime::UNIX_EPOCH, repos.path(&app));
        let packed = folder.join("packed-refs.lock");
        for path in [&lock, &packed] {
            File::create(path).unwrap().set_modified(old).unwrap();
        }
        // Not that the branch is elsewhere: whoever puts it where it belongs tries again.
        assert!(repos.move_branch(&app, Some(&one), None).await.is_err());
        repos.remove_stale_locks(&app).await.unwrap();
        assert!(!lock.exists() && !packed.exists());
        File::create(&lock).unwrap();
        repos.remove_stale_locks(&app).await.unwrap();
        assert!(lock.exists(), "somebody may be at work");
        std::fs::remove_file(&lock).unwrap();
        let other: CommitId = "1".repeat(40).parse().unwrap();
        assert!(!repos.move_branch(&app, Some(&other), None).await.unwrap());
        assert!(repos.move_branch(&app, Some(&one), None).await.unwrap());
        assert!(!repos.move_branch(&app, Some(&one), None).await.unwrap());
    }

    pub(super) async fn commit(
        work: &Path,
        repos: &Repositories,
        app: &AppName,
        subject: &str,
    ) -> CommitId {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        run(work, &["add", "-A"]).await.unwrap();
        run(
            work,
            &[&who[..], &["commit", "-q", "--allow-empty", "-m", subject]].concat(),
        )
        .await
        .unwrap();
        let remote = repos.path(app).display().to_string();
        run(work, &["push", "-q", "-f", &remote, "HEAD:refs/heads/main"])
            .await
            .unwrap();
        run(work, &["rev-parse", "HEAD"])
            .await
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    #[tokio::test]
    async fn the_branch_moves_only_from_where_it_was_believed() {
        let (_dir, repos, app, work) = scratch().await;
        assert_eq!(repos.branch(&app).await.unwrap(), None);
        let first = commit(&work, &repos, &app, "First").await;
        let second = commit(&work, &repos, &app, "Second \u{1b}[31m").await;
        assert_eq!(
            repos.describe(&app, &second).await.unwrap().subject,
            "Second [31m"
        );
        assert!(
            !repos
                .move_branch(&app, Some(&first), Some(&first))
                .await
                .unwrap()
        );
        assert!(
            repos
                .move_branch(&app, Some(&second), Some(&first))
                .await
                .unwrap()
        );
        assert_eq!(repos.branch(&app).await.unwrap(), Some(first.clone()));
        assert!(repos.move_branch(&app, Some(&first), None).await.unwrap());
        assert_eq!(repos.branch(&app).await.unwrap(), None);
        repos.keep(&app, DeployId(1), &second).await.unwrap();
        assert_eq!(repos.resolve(&app, second.short()).await.unwrap(), second);
    }

    #[tokio::test]
    async fn git_removes_a_commit_only_once_it_was_let_go_of() {
        let (_dir, repos, app, work) = scratch().await;
        let mut commits = Vec::new();
        for number in 1..=3 {
            let message = format!("Number {number}");
            run(
                &work,
                &["checkout", "-q", "--orphan", &message.replace(' ', "")],
            )
            .await
            .unwrap();
            commits.push(commit(&work, &repos, &app, &message).await);
            repos
                .keep(&app, DeployId(number), &commits[number as usize - 1])
                .await
                .unwrap();
        }
        let collect = [
            "-c",
            "gc.reflogExpireUnreachable=now",
            "gc",
            "--quiet",
            "--prune=now",
        ];
        let there = async || {
            run(&repos.path(&app), &collect).await.unwrap();
            let mut there = Vec::new();
            for commit in &commits {
                there.push(repos.resolve(&app, commit.as_str()).await.is_ok());
            }
            there
        };
        assert_eq!(there().await, [true, true, true]);
        repos
            .forget(&app, &[DeployId(1), DeployId(3), DeployId(7)])
            .await
            .unwrap();
        assert_eq!(
            there().await,
            [false, true, true],
            "the branch still names the third"
        );
        repos.forget(&app, &[DeployId(1)]).await.unwrap();
    }

    #[tokio::test]
    async fn a_repository_is_brought_up_to_date_once() {
        let (_dir, repos, app, _work) = scratch().await;
        let path = repos.path(&app);
        assert!(!repos.is_up_to_date(&path), "without its hooks");
        // As an earlier version made it.
        std::fs::remove_file(path.join(SETTINGS)).unwrap();
        run(&path, &["config", "--unset", "include.path"])
            .await
            .unwrap();
        run(&path, &["config", "transfer.fsckObjects", "false"])
            .await
            .unwrap();
        repos.create(&app).await.unwrap();
        repos.create(&app).await.unwrap();
        assert!(repos.is_up_to_date(&path));
        let larger = Repositories::new(repos.dir.clone(), "main", 2 << 30);
        assert!(!larger.is_up_to_date(&path), "with another bound");
        for (key, value) in [
            ("transfer.fsckObjects", "true"),
            ("transfer.hideRefs", "refs/replace"),
            ("receive.maxInputSize", "1073741824"),
            ("receive.fsck.fullPathname", "error"),
            ("core.useReplaceRefs", "false"),
            ("receive.advertisePushOptions", "true"),
            ("core.fsync", "committed,reference"),
            ("core.logAllRefUpdates", "true"),
        ] {
            assert_eq!(
                run(&path, &["config", "--get", key]).await.unwrap().trim(),
                value,
                "{key}"
            );
        }
        assert_eq!(
            run(&path, &["config", "--get-all", "include.path"])
                .await
                .unwrap(),
            "windlass.config\n"
        );
    }

    #[tokio::test]
    async fn hostile_names_resolve_to_nothing() {
        let (_dir, repos, app, work) = scratch().await;
        commit(&work, &repos, &app, "First").await;
        for name in [
            "--help",
            "-x",
            "main; id",
            "$(id)",
            "",
            "main..main",
            "../../etc",
            "@{-1}",
            "\n",
            "main\0",
        ] {
            let found = repos.resolve(&app, name).await;
            assert!(
                matches!(found, Err(GitError::NoCommit(_))),
                "{name:?}: {found:?}"
            );
        }
    }

    #[tokio::test]
    async fn files_links_folders_and_what_is_not_there() {
        let (_dir, repos, app, work) = scratch().await;
        std::fs::create_dir(work.join("sub")).unwrap();
        std::fs::write(work.join("sub/a*b"), "text").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", work.join("link")).unwrap();
        let id = commit(&work, &repos, &app, "Files").await;
        assert_eq!(
            repos.entry(&app, &id, "sub/a*b").await.unwrap(),
            Some(TreeEntry::File(4))
        );
        assert_eq!(
            repos.entry(&app, &id, "sub/").await.unwrap(),
            Some(TreeEntry::Folder)
        );
        assert_eq!(
            repos.entry(&app, &id, "link").await.unwrap(),
            Some(TreeEntry::Symlink)
        );
        assert_eq!(repos.entry(&app, &id, "s*").await.unwrap(), None);
        assert_eq!(
            repos
                .file(&app, &id, "sub/a*b", 10)
                .await
                .unwrap()
                .as_deref(),
            Some(&b"text"[..])
        );
        assert_eq!(repos.file(&app, &id, "link", 10).await.unwrap(), None);
        assert!(repos.file(&app, &id, "sub/a*b", 3).await.is_err());
    }

    #[tokio::test]
    async fn a_tree_is_counted_up_to_where_it_is_too_much() {
        let (_dir, repos, app, work) = scratch().await;
        // Ten folders in ten folders, eight deep, of a few objects: 10^9 paths.
        let text = run(&work, &["hash-object", "-w", "--", "/dev/null"])
            .await
            .unwrap();
        let mut tree = mktree(&work, &format!("100644 blob {}\tfile\n", text.trim())).await;
        for _ in 0..8 {
            let ten: String = (0..10)
                .map(|n| format!("040000 tree {tree}\t{n}\n"))
                .collect();
            tree = mktree(&work, &ten).await;
        }
        let module = format!(
            "040000 tree {tree}\tbomb\n160000 commit {}\tmodule\n100644 blob {}\tone\n",
            "1".repeat(40),
            text.trim()
        );
        let tree = mktree(&work, &module).await;
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        let id = run(
            &work,
            &[&who[..], &["commit-tree", "-m", "bomb", &tree]].concat(),
        )
        .await
        .unwrap();
        let remote = repos.path(&app).display().to_string();
        run(
            &work,
            &[
                "push",
                "-q",
                &remote,
                &format!("{}:refs/heads/main", id.trim()),
            ],
        )
        .await
        .unwrap();
        let id: CommitId = id.trim().parse().unwrap();

        let limits = Limits {
            entries: 5000,
            bytes: 10,
        };
        let whole = repos.summarise_tree(&app, &id, ".", limits).await.unwrap();
        assert_eq!(whole, Err(TooMuch::Entries(5000)));
        let leaf = repos
            .summarise_tree(&app, &id, "bomb/0/0/0/0/0/0", limits)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((leaf.entries, leaf.bytes), (10 + 100 + 100, 0));
        assert!(matches!(
            repos.summarise_tree(&app, &id, "gone", limits).await,
            Err(GitError::Failed(..))
        ));
    }

    async fn mktree(work: &Path, entries: &str) -> String {
        let made = git(
            work,
            &["mktree", "--missing"],
            entries.as_bytes(),
            Stdio::piped(),
        )
        .await
        .unwrap();
        String::from_utf8(made).unwrap().trim().to_owned()
    }

    #[tokio::test]
    async fn what_reads_a_commit_has_a_bound_on_its_memory() {
        let (_dir, repos, app, work) = scratch().await;
        let id = commit(&work, &repos, &app, "First").await;
        let mut archive = repos.archive(&app, &id, ".").unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", archive.id()));
        archive.kill().unwrap();
        archive.wait().unwrap();
        let limits = limits.unwrap();
        let data = limits
            .lines()
            .find(|line| line.starts_with("Max data size"))
            .unwrap();
        assert_eq!(
            data.split_whitespace().nth(3),
            Some(MOST_MEMORY.to_string().as_str())
        );
    }

    #[tokio::test]
    async fn a_commit_is_what_its_id_says_and_its_words_are_short() {
        let (_dir, repos, app, work) = scratch().await;
        let long = format!(
            "{} \u{202e}\u{1b}]0;x\u{7}<b>\u{200b}",
            "long ".repeat(100_000)
        );
        std::fs::write(work.join("message"), &long).unwrap();
        let first = commit(&work, &repos, &app, "First").await;
        let who = [
            "-c",
            "user.name=A\u{2066}da",
            "-c",
            "user.email=ada@example.com",
        ];
        run(
            &work,
            &[
                &who[..],
                &["commit", "-q", "--allow-empty", "-F", "message"],
            ]
            .concat(),
        )
        .await
        .unwrap();
        let remote = repos.path(&app).display().to_string();
        run(&work, &["push", "-q", &remote, "HEAD:refs/heads/main"])
            .await
            .unwrap();
        let second: CommitId = run(&work, &["rev-parse", "HEAD"])
            .await
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let info = repos.describe(&app, &second).await.unwrap();
        assert_eq!(
            (info.subject.chars().count(), info.author.as_str()),
            (200, "Ada")
        );

        // A ref that tells git to take the second for the first.
        let replace = format!("refs/replace/{first}");
        run(
            &repos.path(&app),
            &["update-ref", &replace, second.as_str()],
        )
        .await
        .unwrap();
        assert_eq!(repos.describe(&app, &first).await.unwrap().subject, "First");
        let pushed = run(
            &work,
            &[
                "push",
                "-q",
                &remote,
                &format!("HEAD:refs/replace/{second}"),
            ],
        )
        .await;
        assert!(
            matches!(&pushed, Err(GitError::Failed(_, said)) if said.contains("hidden ref")),
            "{pushed:?}"
        );
    }

    /// Every ref with what it names, but HEAD.
    async fn refs(path: &Path) -> String {
        run(path, &["for-each-ref", "--format=%(refname) %(objectname)"])
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_bundle_brings_everything_back_as_it_was() {
        let (dir, repos, app, work) = scratch().await;
        let file = |name: &str| File::create_new(dir.path().join(name)).unwrap();
        assert!(!repos.bundle(&app, file("empty")).await.unwrap());

        let first = commit(&work, &repos, &app, "First").await;
        let second = commit(&work, &repos, &app, "Second").await;
        repos.keep(&app, DeployId(2), &second).await.unwrap();
        repos
            .move_branch(&app, Some(&second), Some(&first))
            .await
            .unwrap();
        let path = repos.path(&app);
        for args in [
            &["update-ref", "refs/heads/a/b", second.as_str()][..],
            &[
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@b",
                "tag",
                "-a",
                "-m",
                "one",
                "v1",
                first.as_str(),
            ],
        ] {
            run(&path, args).await.unwrap();
        }
        let refs = refs(&path).await;
        assert!(repos.bundle(&app, file("full")).await.unwrap());

        let again = Repositories::new(dir.path().join("again"), "main", 1 << 30);
        again
            .unbundle(&app, &dir.path().join("full"))
            .await
            .unwrap();
        assert_eq!(self::refs(&again.path(&app)).await, refs);
        assert_eq!(refs.lines().count(), 4, "{refs}");
        assert!(again.is_up_to_date(&again.path(&app)));
        run(&again.path(&app), &["fsck", "--strict", "--no-dangling"])
            .await
            .unwrap();

        let mut bytes = std::fs::read(dir.path().join("full")).unwrap();
        let last = bytes.len() - 30;
        bytes[last] ^= 1;
        std::fs::write(dir.path().join("damaged"), bytes).unwrap();
        let other = Repositories::new(dir.path().join("other"), "main", 1 << 30);
        let damaged = other.unbundle(&app, &dir.path().join("damaged")).await;
        assert!(
            matches!(&damaged, Err(GitError::Failed(what, _)) if what == "fetch"),
            "{damaged:?}"
        );
    }

    #[tokio::test]
    async fn root_reads_the_repository_of_somebody_else() {
        let (dir, repos, app, work) = scratch().await;
        commit(&work, &repos, &app, "First").await;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(1234), None).unwrap();
            std::process::Command::new("chown")
                .arg("-R")
                .arg("1234")
                .arg(dir.path())
                .status()
                .unwrap();
        }
        let bundle = File::create_new(dir.path().join("bundle")).unwrap();
        assert!(repos.bundle(&app, bundle).await.unwrap());
    }

    #[tokio::test]
    async fn a_build_gets_the_files_as_they_were_committed() {
        let (_dir, repos, app, work) = scratch().await;
        let files = [
            (
                ".gitattributes",
                "gone export-ignore\nversion export-subst\n*.sh text eol=crlf\n*.c ident\n",
            ),
            ("gone", "here\n"),
            ("version", "$Format:%H$\n"),
            ("run.sh", "#!/bin/sh\necho\n"),
            ("main.c", "$Id$\n"),
        ];
        for (name, text) in files {
            std::fs::write(work.join(name), text).unwrap();
        }
        let id = commit(&work, &repos, &app, "Files").await;
        let mut archive = repos.archive(&app, &id, ".").unwrap();
        let mut found = std::collections::BTreeMap::new();
        let mut tar = tar::Archive::new(archive.stdout.take().unwrap());
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        archive.wait().unwrap();
        found.remove("pax_global_header");
        let expected = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found, expected.into());
    }

    #[tokio::test]
    async fn a_pusher_brings_no_hooks() {
        let (dir, repos, app, work) = scratch().await;
        let id = commit(&work, &repos, &app, "First").await;
        let hook = repos.path(&app).join("hooks/post-receive");
        write_file(&hook, "#!/bin/sh\ntouch ran\n", true).unwrap();
        let theirs = dir.path().join("gitconfig");
        std::fs::write(&theirs, "[core]\n\thooksPath = /nowhere\n").unwrap();
        let pushed = std::process::Command::new("git")
            .current_dir(&work)
            .env("GIT_CONFIG_GLOBAL", theirs)
            .args(["push", "-q"])
            .arg(repos.path(&app))
            .arg(format!("{id}:refs/heads/other"))
            .status();
        assert!(pushed.unwrap().success());
        assert!(repos.path(&app).join("ran").exists());
    }

    #[tokio::test]
    async fn the_machines_configuration_does_not_count() {
        let (_dir, repos, app, _work) = scratch().await;
        let library = Library::open(&repos.path(&app)).unwrap();
        let config = library.git().config().unwrap();
        let mut names = Vec::new();
        let mut entries = config.entries(None).unwrap();
        while let Some(entry) = entries.next() {
            names.push(entry.unwrap().name().unwrap().to_owned());
        }
        names.sort();
        let ours = [
            "core.bare",
            "core.fsyncobjectfiles",
            "core.logallrefupdates",
        ];
        assert_eq!(names, ours);
    }

    /// Of those who believe that the branch is where it is, one moves it.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_two_gits_moves_the_branch() {
        let (_dir, repos, app, work) = scratch().await;
        let mut now = commit(&work, &repos, &app, "First").await;
        let ours = commit(&work, &repos, &app, "Ours").await;
        let theirs = commit(&work, &repos, &app, "Theirs").await;
        let path = repos.path(&app);
        repos
            .move_branch(&app, Some(&theirs), Some(&now))
            .await
            .unwrap();
        for _ in 0..20 {
            let args = [
                "update-ref",
                "refs/heads/main",
                theirs.as_str(),
                now.as_str(),
            ];
            let (by_us, by_them) = tokio::join!(
                repos.move_branch(&app, Some(&now), Some(&ours)),
                run(&path, &args)
            );
            let at = repos.branch(&app).await.unwrap().unwrap();
            let (by_us, by_them) = (by_us.unwrap(), by_them.is_ok());
            assert!(by_us != by_them, "{by_us} {by_them}");
            assert_eq!(at, if by_us { ours.clone() } else { theirs.clone() });
            now = repos.resolve(&app, &format!("{theirs}~2")).await.unwrap();
            assert!(
                repos
                    .move_branch(&app, Some(&at), Some(&now))
                    .await
                    .unwrap()
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_ref_is_lost_while_another_git_packs_them() {
        let (_dir, repos, app, work) = scratch().await;
        let id = commit(&work, &repos, &app, "First").await;
        let path = repos.path(&app);
        let packing = async {
            for _ in 0..20 {
                run(&path, &["pack-refs", "--all", "--prune"])
                    .await
                    .unwrap();
            }
        };
        let keeping = async {
            for number in 1..=200 {
                repos.keep(&app, DeployId(number), &id).await.unwrap();
                if number % 5 == 0 {
                    repos.forget(&app, &[DeployId(number)]).await.unwrap();
                }
            }
        };
        tokio::join!(packing, keeping);
        let kept = run(&path, &["for-each-ref", "refs/deploys"]).await.unwrap();
        assert_eq!(kept.lines().count(), 160);
    }

    /// A file of 16 bytes that is stored as a difference to one of 64 MB: git takes it, and so does a
    /// server that looks at sizes alone.
    #[tokio::test]
    async fn a_small_file_that_stands_on_a_huge_one_is_not_read() {
        let (dir, repos, app, work) = scratch().await;
        commit(&work, &repos, &app, "First").await;
        let small = dir.path().join("small");
        std::fs::write(&small, [0; 16]).unwrap();
        let small = small.display().to_string();
        let blob = run(&work, &["hash-object", "--", &small]).await.unwrap();

        let size = 64 << 20;
        let zipped = |bytes: &[u8]| {
            let level = flate2::Compression::fast();
            let mut zip = flate2::write::ZlibEncoder::new(Vec::new(), level);
            std::io::Write::write_all(&mut zip, bytes).unwrap();
            zip.finish().unwrap()
        };
        // Kind 3 is a file, 6 a difference to what begins so many bytes before.
        let mut pack = [&b"PACK\0\0\0\x02\0\0\0\x02"[..], &number(3, size)].concat();
        pack.extend(zipped(&vec![0; size]));
        let back = pack.len() - 12;
        // Copies sixteen bytes from the beginning.
        let difference = [&varint(size)[..], &varint(16), &[0b1001_0000, 16]].concat();
        pack.extend(number(6, difference.len()));
        pack.extend(distance(back));
        pack.extend(zipped(&difference));
        let path = repos.path(&app);
        let file = dir.path().join("pack");
        std::fs::write(&file, &pack).unwrap();
        let sum = std::process::Command::new("sha1sum").arg(&file).output();
        let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
        pack.extend(git2::Oid::from_str(&sum[..40]).unwrap().as_bytes());
        let index = ["index-pack", "--stdin", "--strict"];
        git(&path, &index, &pack, Stdio::piped()).await.unwrap();

        let tree = mktree(&path, &format!("100644 blob {}\tmanifest\n", blob.trim())).await;
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        let made = [&who[..], &["commit-tree", "-m", "bomb", &tree]].concat();
        let id: CommitId = run(&path, &made).await.unwrap().trim().parse().unwrap();
        let entry = repos.entry(&app, &id, "manifest").await.unwrap();
        assert_eq!(entry, Some(TreeEntry::File(16)));
        let read = repos.file(&app, &id, "manifest", 100).await;
        let said = read.unwrap_err().to_string();
        assert!(
            said.contains("an object in it takes 64 MiB to read"),
            "{said}"
        );
    }

    /// The head of an object in a pack.
    fn number(kind: u8, size: usize) -> Vec<u8> {
        let mut head = varint(size >> 4);
        let more = if size >> 4 == 0 { 0 } else { 128 };
        let first = more | kind << 4 | (size & 15) as u8;
        if more == 0 {
            head.clear();
        }
        head.insert(0, first);
        head
    }

    fn varint(mut size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while size > 127 {
            bytes.push((size & 127) as u8 | 128);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes
    }

    fn distance(mut back: usize) -> Vec<u8> {
        let mut bytes = vec![(back & 127) as u8];
        while back > 127 {
            back = (back >> 7) - 1;
            bytes.insert(0, (back & 127) as u8 | 128);
        }
        bytes
    }

    #[tokio::test]
    async fn what_an_object_takes_is_read_from_real_packs() {
        let (_dir, repos, app, work) = scratch().await;
        for number in 0..30 {
            let text: String = (0..2000)
                .map(|n| format!("{}\n", n * 7919 + u64::from(n == 70 * number)))
                .collect();
            std::fs::write(work.join("file"), text).unwrap();
            commit(&work, &repos, &app, &format!("Number {number}")).await;
        }
        let path = repos.path(&app);
        for repacked in [false, true] {
            if repacked {
                run(&path, &["repack", "-adfq"]).await.unwrap();
            }
            let all = [
                "cat-file",
                "--batch-all-objects",
                "--batch-check=%(objectname) %(objectsize) %(deltabase)",
            ];
            let listed = run(&path, &all).await.unwrap();
            let mut cost = cost::Cost::new(&path);
            let mut differences = 0;
            for line in listed.lines() {
                let [id, size, base] = line.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                let (id, size) = (git2::Oid::from_str(id).unwrap(), size.parse().unwrap());
                let takes = cost.of(id).unwrap().unwrap();
                if base.bytes().all(|b| b == b'0') {
                    assert_eq!(takes, size, "{line}");
                } else {
                    assert!(takes >= size, "{line}");
                    differences += 1;
                }
            }
            assert_eq!(differences >= 20, repacked, "{differences}");
            let absent = git2::Oid::from_str(&"1".repeat(40)).unwrap();
            assert_eq!(cost.of(absent).unwrap(), None);
        }
    }
}
