//! What lies between two commits, for people: the commits and the files, so many of each and no more,
//! in so much time and no more. What strangers committed must neither delay nor fail a deploy.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::{GitError, Repositories, beginning, bound, quiet};
use crate::clock::Held;
use crate::domain::{AppName, ChangedFile, ChangedFiles, CommitId, CommitLine, Commits, printable};

/// The most commits that are named.
const COMMITS: usize = 50;
/// How many more are counted.
const COUNTED: u64 = 10_000;
/// The most files that are named.
const FILES: usize = 100;
/// The longest path and the longest text of a commit that are shown, in characters.
const LONGEST: usize = 200;
/// A line of git's, of which the rest is not read.
const LONGEST_LINE: u64 = 64 * 1024;
/// How long git may take for each of the two.
const PATIENCE: Duration = Duration::from_secs(10);

impl Repositories {
    /// The commits that `to` has and `from` has not, newest first; all of `to`'s where there is no
    /// `from`.
    pub async fn commits_between(
        &self,
        app: &AppName,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Result<Commits, GitError> {
        let range = from.map_or_else(|| to.to_string(), |from| format!("{from}..{to}"));
        let most = format!("--max-count={}", COMMITS as u64 + COUNTED);
        let named = format!("--max-count={COMMITS}");
        // Git cuts what is long: a message may have megabytes.
        let format = "--format=%H%x00%<(400,trunc)%s%x00%<(400,trunc)%an%x00";
        let log = [
            "log",
            "-z",
            &named,
            "--encoding=UTF-8",
            "--no-show-signature",
            format,
            "--end-of-options",
        ];
        let list = self
            .read(app, &[&log[..], &[&range]].concat(), commits)
            .await?;
        let mut more = 0;
        if list.len() == COMMITS {
            let count = ["rev-list", "--count", &most, "--end-of-options", &range];
            let counted = self
                .read(app, &count, async |git| first_number(git).await)
                .await?;
            more = counted.saturating_sub(COMMITS as u64);
        }
        Ok(Commits {
            list,
            more,
            unknown: false,
        })
    }

    /// The files in which two commits differ; a moved one is one that went and one that came.
    pub async fn files_between(
        &self,
        app: &AppName,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<ChangedFiles, GitError> {
        let (from, to) = (from.as_str(), to.as_str());
        // A file of more than a megabyte is not compared line by line.
        let diff = [
            "-c",
            "core.bigFileThreshold=1m",
            "diff-tree",
            "-r",
            "-z",
            "--numstat",
            "--no-renames",
        ];
        let safely = [
            "--no-ext-diff",
            "--no-textconv",
            "--end-of-options",
            from,
            to,
        ];
        self.read(app, &[&diff[..], &safely[..]].concat(), files)
            .await
    }

    /// Runs git and reads what it prints, in [`PATIENCE`].
    async fn read<T>(
        &self,
        app: &AppName,
        args: &[&str],
        read: impl AsyncFnOnce(BufReader<tokio::process::ChildStdout>) -> std::io::Result<T>,
    ) -> Result<T, GitError> {
        let failed = |why: String| GitError::Failed("log".into(), why);
        let mut command = std::process::Command::new("git");
        command.args(args);
        quiet(&mut command, &self.path(app));
        let _held = Held::new();
        let mut command = Command::from(command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        bound(child.id());
        let (Some(stdout), stderr) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed("no output".into()));
        };
        let work = async {
            let (done, said) = tokio::try_join!(read(BufReader::new(stdout)), beginning(stderr))?;
            Ok::<_, GitError>((done, said, child.wait().await?))
        };
        let (done, said, ended) = tokio::time::timeout(PATIENCE, work)
            .await
            .map_err(|_| failed(format!("it took longer than {} s", PATIENCE.as_secs())))??;
        match ended.success() {
            true => Ok(done),
            false => Err(failed(String::from_utf8_lossy(&said).trim().to_owned())),
        }
    }
}

/// Reads up to the next NUL. `None` at the end, or when there is none for too long.
async fn field(git: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    git.take(LONGEST_LINE).read_until(0, &mut bytes).await?;
    Ok((bytes.pop() == Some(0)).then_some(bytes))
}

fn shown(bytes: &[u8]) -> String {
    printable(String::from_utf8_lossy(bytes).trim_end(), LONGEST)
}

/// Reads `log -z` of `<id>\0<subject>\0<author>\0`, with one more NUL behind each commit.
async fn commits(mut git: impl AsyncBufReadExt + Unpin) -> std::io::Result<Vec<CommitLine>> {
    let mut all = Vec::new();
    while let Some(id) = field(&mut git).await? {
        let (Some(subject), Some(author)) = (field(&mut git).await?, field(&mut git).await?) else {
            break;
        };
        let Ok(id) = String::from_utf8_lossy(&id).trim().parse() else {
            break;
        };
        all.push(CommitLine {
            id,
            subject: shown(&subject),
            author: shown(&author),
        });
        if all.len() == COMMITS
            || field(&mut git)
                .await?
                .is_none_or(|between| !between.is_empty())
        {
            break;
        }
    }
    drain(git).await?;
    Ok(all)
}

async fn first_number(git: impl AsyncRead + Unpin) -> std::io::Result<u64> {
    let text = beginning(Some(git)).await?;
    Ok(String::from_utf8_lossy(&text).trim().parse().unwrap_or(0))
}

/// Reads `--numstat -z`: `<added>\t<removed>\t<path>\0`, with `-` for what is not text.
async fn files(mut git: impl AsyncBufReadExt + Unpin) -> std::io::Result<ChangedFiles> {
    let mut all = ChangedFiles::default();
    while let Some(line) = field(&mut git).await? {
        let mut parts = line.splitn(3, |b| *b == b'\t');
        let mut count = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
        let lines = (count(), count());
        let Some(path) = parts.next() else { break };
        let lines = lines.0.zip(lines.1);
        let (added, removed) = lines.unwrap_or_default();
        (all.added, all.removed) = (
            all.added.saturating_add(added),
            all.removed.saturating_add(removed),
        );
        if all.first.len() < FILES {
            all.first.push(ChangedFile {
                path: shown(path),
                lines,
            });
        } else {
            all.more += 1;
        }
    }
    drain(git).await?;
    Ok(all)
}

/// Git ends only when all it prints is read.
async fn drain(mut git: impl AsyncRead + Unpin) -> std::io::Result<()> {
    tokio::io::copy(&mut git, &mut tokio::io::sink())
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::run;
    use super::super::tests::{commit, scratch};
    use super::*;

    fn write(work: &Path, name: &str, bytes: impl AsRef<[u8]>) {
        let path = work.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn subjects(commits: &Commits) -> Vec<&str> {
        commits
            .list
            .iter()
            .map(|commit| commit.subject.as_str())
            .collect()
    }

    #[tokio::test]
    async fn what_comes_what_goes_and_which_files_differ() {
        let (_dir, repos, app, work) = scratch().await;
        write(&work, "a.txt", "one\ntwo\n");
        write(&work, "old name", "same\n");
        let first = commit(&work, &repos, &app, "First").await;
        write(&work, "a.txt", "one\nthree\nfour\n");
        write(&work, "b/c.bin", [0, 1, 2, 3]);
        std::fs::rename(work.join("old name"), work.join("new name")).unwrap();
        commit(&work, &repos, &app, "Second").await;
        let third = commit(&work, &repos, &app, "Third").await;

        let come = repos
            .commits_between(&app, Some(&first), &third)
            .await
            .unwrap();
        assert_eq!((subjects(&come), come.more), (vec!["Third", "Second"], 0));
        assert_eq!(
            (come.list[0].author.as_str(), &come.list[0].id),
            ("Ada", &third)
        );
        let go = repos
            .commits_between(&app, Some(&third), &first)
            .await
            .unwrap();
        assert_eq!(go, Commits::default());
        let all = repos.commits_between(&app, None, &third).await.unwrap();
        assert_eq!(subjects(&all), ["Third", "Second", "First"]);

        let files = repos.files_between(&app, &first, &third).await.unwrap();
        let told: Vec<_> = files
            .first
            .iter()
            .map(|file| (file.path.as_str(), file.lines))
            .collect();
        let expected = [
            ("a.txt", Some((2, 1))),
            ("b/c.bin", None),
            ("new name", Some((1, 0))),
            ("old name", Some((0, 1))),
        ];
        assert_eq!(told, expected);
        assert_eq!((files.more, files.added, files.removed), (0, 3, 2));
        assert_eq!(
            repos.files_between(&app, &third, &third).await.unwrap(),
            ChangedFiles::default()
        );
    }

    #[tokio::test]
    async fn much_is_counted_and_little_named() {
        let (_dir, repos, app, work) = scratch().await;
        let first = commit(&work, &repos, &app, "First").await;
        for number in 0..COMMITS + 5 {
            write(&work, &format!("{number:03}"), "line\n".repeat(number));
            if number < 3 {
                commit(&work, &repos, &app, &format!("Commit {number}")).await;
            }
        }
        for number in 0..COMMITS + 60 {
            write(&work, &format!("more/{number:03}"), "line\n");
        }
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        let empty = ["commit", "-q", "--allow-empty", "-m", "Empty"];
        for _ in 0..COMMITS {
            run(&work, &[&who[..], &empty[..]].concat()).await.unwrap();
        }
        let last = commit(&work, &repos, &app, "Last").await;
        let come = repos
            .commits_between(&app, Some(&first), &last)
            .await
            .unwrap();
        assert_eq!(
            (come.list.len(), come.more, subjects(&come)[0]),
            (COMMITS, 4, "Last")
        );
        let files = repos.files_between(&app, &first, &last).await.unwrap();
        let sum = (0..COMMITS as u64 + 5).sum::<u64>() + COMMITS as u64 + 60;
        assert_eq!(
            (files.first.len(), files.more, files.added),
            (FILES, 65, sum)
        );
    }

    #[tokio::test]
    async fn what_is_made_to_fool_is_shown_as_text_or_not_at_all() {
        let (_dir, repos, app, work) = scratch().await;
        let first = commit(&work, &repos, &app, "First").await;
        // A driver that its attributes name, and a name full of what drives a terminal.
        write(&work, ".gitattributes", "* diff=evil\n*.x -diff\n");
        write(&work, "a\u{1b}[2J\n\t\u{202e}<b>.x", "text\n");
        write(&work, "huge", vec![b'\n'; 3 << 20]);
        let long = format!("{}\u{202e}<script>\u{1b}]0;x\u{7}", "long ".repeat(200_000));
        std::fs::write(work.join("../message"), &long).unwrap();
        let who = [
            "-c",
            "user.name=A\u{2066}da <b>",
            "-c",
            "user.email=ada@example.com",
        ];
        run(&work, &["add", "-A"]).await.unwrap();
        run(
            &work,
            &[&who[..], &["commit", "-q", "-F", "../message"]].concat(),
        )
        .await
        .unwrap();
        let strange = commit(&work, &repos, &app, "\u{1b}[31m--format=%H --output=/tmp/x").await;

        let come = repos
            .commits_between(&app, Some(&first), &strange)
            .await
            .unwrap();
        assert_eq!(subjects(&come)[0], "[31m--format=%H --output=/tmp/x");
        assert_eq!(come.list[1].subject.chars().count(), LONGEST);
        assert!(come.list[1].author.starts_with("Ada"), "{come:?}");
        let files = repos.files_between(&app, &first, &strange).await.unwrap();
        let paths: Vec<&str> = files.first.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".gitattributes", "a[2J<b>.x", "huge"]);
        assert_eq!(files.first[2].lines, None, "too large to be compared");

        // Histories that have nothing in common, and a commit that is not there.
        run(&work, &["checkout", "-q", "--orphan", "other"])
            .await
            .unwrap();
        let other = commit(&work, &repos, &app, "Other").await;
        assert_eq!(
            subjects(
                &repos
                    .commits_between(&app, Some(&strange), &other)
                    .await
                    .unwrap()
            ),
            ["Other"]
        );
        let gone: CommitId = "1".repeat(40).parse().unwrap();
        assert!(
            repos
                .commits_between(&app, Some(&gone), &other)
                .await
                .is_err()
        );
        assert!(repos.files_between(&app, &gone, &other).await.is_err());
    }
}
