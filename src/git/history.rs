//! What lies between two commits, for people: the commits and the files, so many of each and no more,
//! in so much time and no more. What strangers committed must neither delay nor fail a deploy, nor take
//! the server's memory.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::{Duration, Instant};

use git2::{Blob, DiffOptions, ObjectType, Oid, Tree};

use super::library::{Library, commit_id, oid, told};
use super::{GitError, Repositories};
use crate::domain::{AppName, ChangedFile, ChangedFiles, CommitId, CommitLine, Commits, printable};

/// The most commits that are named.
const COMMITS: usize = 50;
/// How many more are counted.
const COUNTED: usize = 10_000;
/// Some of what is found may turn out to be in both.
const MOST_FOUND: usize = 2 * (COMMITS + COUNTED);
/// How many commits older than all that is looked for are looked at, since clocks go wrong.
const SLOP: usize = 5;
/// The most files that are named.
const FILES: usize = 100;
/// The longest path and the longest text of a commit that are shown, in characters.
const LONGEST: usize = 200;
/// The longest path that Linux takes; it bounds the depth as well.
const LONGEST_PATH: usize = 4096;
/// A file of more bytes, or of more lines, is not compared line by line.
const MOST_COMPARED: u64 = 1 << 20;
const MOST_LINES: usize = 100_000;
/// Git takes a file for text whose first bytes are not zero.
const LOOKED_AT: usize = 8000;
/// How long each of the two may take.
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
        let from = from.map(oid).transpose()?;
        let to = oid(to)?;
        self.read(app, move |library| {
            let found = Walk::new(library, from, to)?.run()?;
            let more = found.len().saturating_sub(COMMITS) as u64;
            let list = found.iter().take(COMMITS).map(|id| line(library, *id));
            Ok(Commits {
                list: list.collect::<Result<_, _>>()?,
                more,
                unknown: false,
            })
        })
        .await
    }

    /// The files in which two commits differ; a moved one is one that went and one that came.
    pub async fn files_between(
        &self,
        app: &AppName,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<ChangedFiles, GitError> {
        let (from, to) = (oid(from)?, oid(to)?);
        self.read(app, move |library| {
            let trees = (
                library.commit(from)?.tree_id(),
                library.commit(to)?.tree_id(),
            );
            Comparison::new(library).run(trees.0, trees.1)
        })
        .await
    }
}

fn line(library: &Library, id: Oid) -> Result<CommitLine, GitError> {
    let [subject, author] = told(&library.commit(id)?).map(|text| printable(&text, LONGEST));
    Ok(CommitLine {
        id: commit_id(id)?,
        subject,
        author,
    })
}

/// Refuses to go on after [`PATIENCE`].
struct Deadline(Instant);

impl Deadline {
    fn new() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    fn check(&self) -> Result<(), GitError> {
        if Instant::now() < self.0 {
            return Ok(());
        }
        let why = format!("it took longer than {} s", PATIENCE.as_secs());
        Err(GitError::Failed("log".into(), why))
    }
}

/// The way back from `to`, newest commit first, and from `from`, whose commits do not count.
struct Walk<'a> {
    library: &'a Library,
    deadline: Deadline,
    /// Commits that were seen and whose parents were not: by time, then the first seen first.
    waiting: BinaryHeap<(i64, std::cmp::Reverse<usize>, Oid)>,
    /// With their parents.
    seen: HashMap<Oid, Vec<Oid>>,
    /// What `from` has.
    excluded: HashSet<Oid>,
}

impl<'a> Walk<'a> {
    fn new(library: &'a Library, from: Option<Oid>, to: Oid) -> Result<Self, GitError> {
        let mut walk = Self {
            library,
            deadline: Deadline::new(),
            waiting: BinaryHeap::new(),
            seen: HashMap::new(),
            excluded: from.into_iter().collect(),
        };
        for id in [to].into_iter().chain(from) {
            walk.wait(id)?;
        }
        Ok(walk)
    }

    fn wait(&mut self, id: Oid) -> Result<(), GitError> {
        if !self.seen.contains_key(&id) {
            let commit = self.library.commit(id)?;
            self.seen.insert(id, commit.parent_ids().collect());
            let place = std::cmp::Reverse(self.seen.len());
            self.waiting.push((commit.time().seconds(), place, id));
        }
        Ok(())
    }

    /// At most [`COMMITS`] and [`COUNTED`] together.
    fn run(mut self) -> Result<Vec<Oid>, GitError> {
        let mut found: Vec<Oid> = Vec::new();
        let mut oldest = i64::MAX;
        let mut slop = SLOP;
        while let Some((time, _, id)) = self.waiting.pop() {
            self.deadline.check()?;
            let excluded = self.excluded.contains(&id);
            for parent in self.seen.get(&id).cloned().unwrap_or_default() {
                if excluded {
                    self.exclude(parent)?;
                }
                self.wait(parent)?;
            }
            if !excluded {
                found.push(id);
                oldest = oldest.min(time);
                if found.len() == MOST_FOUND {
                    break;
                }
            } else if self.all_excluded() {
                // A commit with a wrong clock may still lead to one that was found.
                slop = if time >= oldest { SLOP } else { slop - 1 };
                if slop == 0 || found.is_empty() {
                    break;
                }
            }
        }
        found.retain(|id| !self.excluded.contains(id));
        found.truncate(COMMITS + COUNTED);
        Ok(found)
    }

    fn all_excluded(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.all(|(_, _, id)| self.excluded.contains(id))
    }

    /// Excludes a commit, and what of its history was seen before it was known to be excluded.
    fn exclude(&mut self, id: Oid) -> Result<(), GitError> {
        let mut all = vec![id];
        while let Some(id) = all.pop() {
            self.deadline.check()?;
            if self.excluded.insert(id) {
                all.extend(self.seen.get(&id).into_iter().flatten());
            }
        }
        Ok(())
    }
}

/// The most bytes of folders that are open at a time.
const MOST_OPEN: u64 = 64 << 20;
const SUBMODULE: Option<ObjectType> = Some(ObjectType::Commit);
const FOLDER: Option<ObjectType> = Some(ObjectType::Tree);

/// Two trees side by side.
struct Comparison<'a> {
    library: &'a Library,
    deadline: Deadline,
    /// From the trees themselves to the folder that is being looked at.
    open: Vec<Folder<'a>>,
    result: ChangedFiles,
}

/// A folder as it was and as it is, up to where it was looked at.
struct Folder<'a> {
    path: Vec<u8>,
    sides: [Side<'a>; 2],
}

/// A folder of one commit; none where that commit does not have it.
struct Side<'a> {
    tree: Option<Tree<'a>>,
    size: u64,
    next: usize,
}

/// What one commit has under a name.
#[derive(Clone, PartialEq)]
struct Item {
    name: Vec<u8>,
    kind: Option<ObjectType>,
    id: Oid,
    mode: i32,
}

impl<'a> Comparison<'a> {
    fn new(library: &'a Library) -> Self {
        Self {
            library,
            deadline: Deadline::new(),
            open: Vec::new(),
            result: ChangedFiles::default(),
        }
    }

    fn run(mut self, from: Oid, to: Oid) -> Result<ChangedFiles, GitError> {
        self.enter(Vec::new(), [Some(from), Some(to)])?;
        while let Some(folder) = self.open.last_mut() {
            self.deadline.check()?;
            let Some(pair) = folder.next() else {
                self.open.pop();
                continue;
            };
            if pair[0] != pair[1] {
                let path = folder.path_of(&pair)?;
                self.differ(path, pair)?;
            }
        }
        Ok(self.result)
    }

    fn enter(&mut self, path: Vec<u8>, ids: [Option<Oid>; 2]) -> Result<(), GitError> {
        let open: u64 = self
            .open
            .iter()
            .flat_map(|f| &f.sides)
            .map(|s| s.size)
            .sum();
        let sides = [self.side(ids[0])?, self.side(ids[1])?];
        if open + sides[0].size + sides[1].size > MOST_OPEN {
            return Err(too_large("its folders are"));
        }
        self.open.push(Folder { path, sides });
        Ok(())
    }

    fn side(&self, id: Option<Oid>) -> Result<Side<'a>, GitError> {
        let library = self.library;
        Ok(Side {
            tree: id.map(|id| library.tree(id)).transpose()?,
            size: id.map_or(Ok(0), |id| library.size(id))?,
            next: 0,
        })
    }

    /// Under this path the two commits have different things, either of which may be nothing.
    fn differ(&mut self, path: Vec<u8>, pair: [Option<Item>; 2]) -> Result<(), GitError> {
        if pair.iter().flatten().any(|item| item.kind == FOLDER) {
            let mut path = path;
            path.push(b'/');
            return self.enter(path, pair.map(|item| item.map(|item| item.id)));
        }
        let lines = self.lines(&pair)?;
        let (added, removed) = lines.unwrap_or_default();
        let result = &mut self.result;
        (result.added, result.removed) = (
            result.added.saturating_add(added),
            result.removed.saturating_add(removed),
        );
        if result.first.len() == FILES {
            result.more += 1;
        } else {
            let path = printable(String::from_utf8_lossy(&path).trim_end(), LONGEST);
            result.first.push(ChangedFile { path, lines });
        }
        Ok(())
    }

    /// How many lines came and went, where both are text of a size that is compared.
    fn lines(&self, pair: &[Option<Item>; 2]) -> Result<Option<(u64, u64)>, GitError> {
        if let [Some(old), Some(new)] = pair
            && old.id == new.id
        {
            return Ok(Some((0, 0)));
        }
        let mut texts = [None, None];
        for (item, text) in pair.iter().zip(&mut texts) {
            match item {
                // To git, a submodule is one line of text: its commit.
                Some(item) if item.kind == SUBMODULE => {}
                Some(item) => match self.text(item.id)? {
                    None => return Ok(None),
                    found => *text = found,
                },
                None => {}
            }
        }
        let module = |item: &Option<Item>| {
            u64::from(item.as_ref().is_some_and(|item| item.kind == SUBMODULE))
        };
        let (removed, added) = (module(&pair[0]), module(&pair[1]));
        let (more, fewer) = match &texts {
            [None, None] => (0, 0),
            [None, Some(new)] => (count_lines(new.content()), 0),
            [Some(old), None] => (0, count_lines(old.content())),
            [Some(old), Some(new)] => self.compare(old, new)?,
        };
        Ok(Some((added + more, removed + fewer)))
    }

    /// A file's content, where it is text that is compared.
    fn text(&self, id: Oid) -> Result<Option<Blob<'a>>, GitError> {
        let library = self.library;
        if library.size(id)? > MOST_COMPARED {
            return Ok(None);
        }
        let blob = library.blob(id)?;
        let content = blob.content();
        let binary = content[..content.len().min(LOOKED_AT)].contains(&0);
        let many = memchr::memchr_iter(b'\n', content).count() > MOST_LINES;
        Ok((!binary && !many).then_some(blob))
    }

    fn compare(&self, old: &Blob<'_>, new: &Blob<'_>) -> Result<(u64, u64), GitError> {
        let (mut added, mut removed) = (0, 0);
        let mut options = DiffOptions::new();
        options.context_lines(0).force_text(true);
        let mut count =
            |_: git2::DiffDelta<'_>, _: Option<git2::DiffHunk<'_>>, line: git2::DiffLine<'_>| {
                added += u64::from(line.origin() == '+');
                removed += u64::from(line.origin() == '-');
                true
            };
        // Without paths: no attribute or driver has a say.
        self.library.git().diff_blobs(
            Some(old),
            None,
            Some(new),
            None,
            Some(&mut options),
            None,
            None,
            None,
            Some(&mut count),
        )?;
        Ok((added, removed))
    }
}

impl Folder<'_> {
    /// The next name that either has, with what each has under it. A file and a folder of one name are
    /// two names.
    fn next(&mut self) -> Option<[Option<Item>; 2]> {
        let [old, new] = [self.sides[0].peek(), self.sides[1].peek()];
        let order = match (&old, &new) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => Iterator::cmp(old.sort_key(), new.sort_key()),
        };
        let take = [order.is_le(), order.is_ge()];
        let mut pair = [old, new];
        for ((item, side), take) in pair.iter_mut().zip(&mut self.sides).zip(take) {
            match take {
                true => side.next += 1,
                false => *item = None,
            }
        }
        Some(pair)
    }

    fn path_of(&self, pair: &[Option<Item>; 2]) -> Result<Vec<u8>, GitError> {
        let name = pair.iter().flatten().map(|item| &item.name).next();
        let path = [&self.path[..], name.map_or(&[], |name| name)].concat();
        match path.len() <= LONGEST_PATH {
            true => Ok(path),
            false => Err(too_large("a path in it is")),
        }
    }
}

impl Side<'_> {
    fn peek(&self) -> Option<Item> {
        let entry = self.tree.as_ref()?.get(self.next)?;
        Some(Item {
            name: entry.name_bytes().to_vec(),
            kind: entry.kind(),
            id: entry.id(),
            mode: entry.filemode(),
        })
    }
}

impl Item {
    /// Git sorts folders as if their names ended with a slash.
    fn sort_key(&self) -> impl Iterator<Item = &u8> + Clone {
        let end: &[u8] = if self.kind == FOLDER { b"/" } else { b"" };
        self.name.iter().chain(end)
    }
}

fn count_lines(text: &[u8]) -> u64 {
    let unended = text.last().is_some_and(|last| *last != b'\n');
    memchr::memchr_iter(b'\n', text).count() as u64 + u64::from(unended)
}

fn too_large(what: &str) -> GitError {
    GitError::Failed("diff".into(), format!("{what} too large to compare"))
}
#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::program::run;
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
