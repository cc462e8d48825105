//! Bare repositories, by the system's git: every argument a word of its own, never a shell string,
//! and whatever came from outside behind `--end-of-options` or `--`.

mod history;
mod service;
mod survey;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

pub use service::{HttpCall, Report, http_backend, receive_pack, report, upload_pack};
pub use survey::{Limits, Survey, TooMuch};

use crate::clock::Held;
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

/// Every repository's hooks: file and whole text. Git runs them in the repository's folder; what they
/// need to know they read from where they stand.
const HOOKS: [(&str, &str); 2] = [
    (
        "hooks/pre-receive",
        "#!/bin/sh\nexec ../../run/windlass hook pre-receive\n",
    ),
    (
        "hooks/post-receive",
        "#!/bin/sh\nexec ../../run/windlass hook post-receive\n",
    ),
];

/// The file with every repository's settings, which its own `config` includes.
const SETTINGS: &str = "windlass.config";

/// The text of [`SETTINGS`]. Objects are checked on arrival, and no push is larger than it may be;
/// what deploys keep alive is nobody's to push or delete; a commit is what its id says, and no ref
/// replaces it by another; large files pass through git without being held in memory; `git push -o`
/// works; what a pusher was told is there outlives a power cut (git by itself leaves small objects to
/// the kernel).
fn settings(max_push: u64) -> String {
    format!(
        "[transfer]\n\tfsckObjects = true\n\thideRefs = refs/deploys\n\thideRefs = refs/replace\n\
         [receive]\n\tmaxInputSize = {max_push}\n\tadvertisePushOptions = true\n\tdenyDeleteCurrent = refuse\n\
         [receive \"fsck\"]\n\tfullPathname = error\n\
         [core]\n\tlogAllRefUpdates = true\n\tuseReplaceRefs = false\n\tbigFileThreshold = 32m\n\
         \tfsync = committed,reference\n\tfsyncMethod = batch\n"
    )
}

/// What git run by the server may hold in memory, files that it maps aside. A stranger's commit may ask
/// for any amount; what fails for want of it is that deploy.
const MOST_MEMORY: u64 = 1 << 30;

/// The most that is kept of what git prints.
const MOST_PRINTED: u64 = 4 << 20;

/// Objects are copied as they lie, large ones without being held in memory: 400 MB of large files take
/// 100 MB of it and 18 seconds, where git by itself looks for similar ones with 890 MB and 50 seconds.
const SPARING: [&str; 6] = [
    "-c",
    "core.bigFileThreshold=1m",
    "-c",
    "pack.window=0",
    "-c",
    "pack.threads=1",
];

const ZERO: &str = "0000000000000000000000000000000000000000";

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
        let branch = self.branch.trim_start_matches("refs/heads/");
        std::fs::create_dir_all(&self.dir)?;
        let target = path.display().to_string();
        run(
            &self.dir,
            &[
                "init",
                "--quiet",
                "--bare",
                "--template=",
                "--initial-branch",
                branch,
                "--",
                &target,
            ],
        )
        .await?;
        run(&path, &["config", "include.path", SETTINGS]).await?;
        std::fs::create_dir_all(path.join("hooks"))?;
        for (name, text) in HOOKS {
            let hook = path.join(name);
            std::fs::write(&hook, text)?;
            std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        // Last: it says that all of the above is there.
        Ok(std::fs::write(path.join(SETTINGS), &self.settings)?)
    }

    /// Whether [`Repositories::create`] has nothing to do.
    fn is_up_to_date(&self, repository: &Path) -> bool {
        let is = |name: &str, text: &str| {
            std::fs::read(repository.join(name)).is_ok_and(|there| there == text.as_bytes())
        };
        is(SETTINGS, &self.settings) && HOOKS.iter().all(|(name, text)| is(name, text))
    }

    /// Removes an app's repository.
    pub fn destroy(&self, app: &AppName) -> std::io::Result<()> {
        match std::fs::remove_dir_all(self.path(app)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The commit that `name` (a branch, a tag, an id or part of one) stands for.
    pub async fn resolve(&self, app: &AppName, name: &str) -> Result<CommitId, GitError> {
        let unknown = || GitError::NoCommit(name.chars().take(80).collect());
        if name.contains('\0') {
            return Err(unknown());
        }
        let spec = format!("{name}^{{commit}}");
        let found = run(
            &self.path(app),
            &[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                &spec,
            ],
        )
        .await;
        match found {
            Ok(id) => id.trim().parse().map_err(|_| unknown()),
            Err(GitError::Failed(..)) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// What people see of a commit.
    pub async fn describe(&self, app: &AppName, commit: &CommitId) -> Result<CommitInfo, GitError> {
        let format = "--format=%s%x00%an";
        let text = run(
            &self.path(app),
            &["log", "-1", format, "--end-of-options", commit.as_str()],
        )
        .await?;
        let (subject, author) = text
            .trim_end_matches('\n')
            .split_once('\0')
            .unwrap_or((&text, ""));
        let shown = |s: &str| crate::domain::printable(s, 200);
        Ok(CommitInfo {
            subject: shown(subject),
            author: shown(author),
        })
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
        let old = old.map_or(ZERO, CommitId::as_str);
        let path = self.path(app);
        let moved = match new {
            Some(new) => run(&path, &["update-ref", &self.branch, new.as_str(), old]).await,
            None => run(&path, &["update-ref", "-d", &self.branch, old]).await,
        };
        match moved {
            Ok(_) => Ok(true),
            Err(GitError::Failed(..)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps a deploy's commit reachable, whatever becomes of the branch.
    pub async fn keep(
        &self,
        app: &AppName,
        deploy: DeployId,
        commit: &CommitId,
    ) -> Result<(), GitError> {
        let name = format!("refs/deploys/{deploy}");
        run(&self.path(app), &["update-ref", &name, commit.as_str()])
            .await
            .map(drop)
    }

    /// Lets go of what [`Repositories::keep`] kept for these deploys: git may then remove their commits.
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
        let path = path.trim_end_matches('/');
        let repo = self.path(app);
        let listed = run(
            &repo,
            &[
                "--literal-pathspecs",
                "ls-tree",
                "-l",
                "-z",
                commit.as_str(),
                "--",
                path,
            ],
        )
        .await?;
        Ok(listed.split('\0').find_map(parse_entry))
    }

    /// A file's content, at most `limit` bytes of it.
    pub async fn file(
        &self,
        app: &AppName,
        commit: &CommitId,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let Some(TreeEntry::File(size)) = self.entry(app, commit, path).await? else {
            return Ok(None);
        };
        if size > limit {
            let what = format!("{path} has {size} bytes; at most {limit} are read");
            return Err(GitError::Failed("cat-file".into(), what));
        }
        let name = format!("{commit}:{path}");
        let output = output(&self.path(app), &["cat-file", "blob", &name]).await?;
        Ok(Some(output))
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
}

/// What git calls the folder `context` of a commit.
fn subtree(commit: &CommitId, context: &str) -> String {
    match context.trim_matches('/').trim_start_matches("./") {
        "" | "." => commit.to_string(),
        folder => format!("{commit}:{folder}"),
    }
}

fn parse_entry(line: &str) -> Option<TreeEntry> {
    let mut fields = line.split('\t').next()?.split_whitespace();
    let (mode, _kind, _id, size) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    match mode {
        "040000" => Some(TreeEntry::Folder),
        "120000" => Some(TreeEntry::Symlink),
        "160000" => Some(TreeEntry::Submodule),
        _ => Some(TreeEntry::File(size.parse().ok()?)),
    }
}

async fn run(dir: &Path, args: &[&str]) -> Result<String, GitError> {
    Ok(String::from_utf8_lossy(&output(dir, args).await?).into_owned())
}

async fn output(dir: &Path, args: &[&str]) -> Result<Vec<u8>, GitError> {
    git(dir, args, &[], Stdio::piped()).await
}

/// Runs git to its end with `input` on its standard input, and gives what it printed where that is
/// piped.
async fn git(dir: &Path, args: &[&str], input: &[u8], stdout: Stdio) -> Result<Vec<u8>, GitError> {
    let mut command = std::process::Command::new("git");
    command.args(args);
    quiet(&mut command, dir);
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let _held = Held::new();
    let mut command = Command::from(command);
    command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    // What moves a whole repository spares by itself, and may need what that is worth.
    if !args.starts_with(&SPARING) {
        bound(child.id());
    }
    // It prints little before it has read all.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).await?;
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (printed, said, status) =
        tokio::try_join!(beginning(stdout), beginning(stderr), child.wait())?;
    if status.success() {
        return Ok(printed);
    }
    let subcommand = args
        .iter()
        .find(|arg| !arg.starts_with('-') && !arg.contains('='))
        .unwrap_or(&"");
    Err(GitError::Failed(
        (*subcommand).to_owned(),
        String::from_utf8_lossy(&said).trim().to_owned(),
    ))
}

/// What git prints, [`MOST_PRINTED`] bytes of it; the rest is read and dropped.
async fn beginning(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(mut from) = from {
        (&mut from)
            .take(MOST_PRINTED)
            .read_to_end(&mut read)
            .await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(read)
}

/// Bounds the memory of a git that was just begun, and of what it begins: a push of 16 KB can ask for
/// 2 GB of it. Where the kernel will not, it has what there is.
pub fn bound(pid: Option<u32>) {
    let pid = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    let limit = Rlimit {
        current: Some(MOST_MEMORY),
        maximum: Some(MOST_MEMORY),
    };
    let _ = pid.map(|pid| prlimit(Some(pid), Resource::Data, limit));
}

/// Nothing of the caller's git environment or configuration reaches the server's git. It works for
/// the repository's owner only, so root acts as that one.
fn quiet(command: &mut std::process::Command, dir: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    if let (true, Ok(folder)) = (rustix::process::geteuid().is_root(), dir.metadata())
        && folder.uid() != 0
    {
        command.uid(folder.uid()).gid(folder.gid());
    }
    command
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
}

#[cfg(test)]
mod tests {
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
        let whole = repos.survey(&app, &id, ".", limits).await.unwrap();
        assert_eq!(whole, Err(TooMuch::Entries(5000)));
        let leaf = repos
            .survey(&app, &id, "bomb/0/0/0/0/0/0", limits)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((leaf.entries, leaf.bytes), (10 + 100 + 100, 0));
        assert!(matches!(
            repos.survey(&app, &id, "gone", limits).await,
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
}
