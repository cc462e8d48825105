//! What a tree comes to, counted before anything is made of it: a few hundred bytes of git objects can
//! name a billion files, and one small object can be gigabytes of zeros.

use std::io;
use std::process::Stdio;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::program::{beginning, bound, quiet};
use super::{GitError, Repositories, subtree};
use crate::clock::Held;
use crate::domain::size::show;
use crate::domain::{AppName, CommitId};

/// How much a tree may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, links, folders and submodules together.
    pub entries: u64,
    /// All files together, in bytes.
    pub bytes: u64,
}

/// What a tree holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeSummary {
    /// Files, links, folders and submodules together.
    pub entries: u64,
    /// All files together, in bytes.
    pub bytes: u64,
    /// Paths of submodules, as text; the first [`MOST_NAMED`] of them.
    pub submodules: Vec<String>,
    /// How many submodules there are.
    pub submodule_count: u64,
}

/// How many paths a summary names.
pub const MOST_NAMED: usize = 20;

/// The longest path that Linux takes; it bounds the depth as well.
const LONGEST_PATH: usize = 4096;

/// A line of `ls-tree` with such a path; one that goes on has a longer one.
const LONGEST_LINE: u64 = LONGEST_PATH as u64 + 128;

/// A tree that holds too much.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TooMuch {
    /// More entries than it may.
    #[error("it has more than {0} files and folders")]
    Entries(u64),
    /// More bytes than it may.
    #[error("its files have more than {}", show(*.0))]
    Bytes(u64),
    /// A path that no file can have.
    #[error("a path in it is longer than {LONGEST_PATH} bytes")]
    Path,
}

impl Repositories {
    /// Counts a commit's tree, or the folder `context` in it, and stops where it is too much: never
    /// reads further, nor keeps more in memory than a path.
    pub async fn summarise_tree(
        &self,
        app: &AppName,
        commit: &CommitId,
        context: &str,
        limits: Limits,
    ) -> Result<Result<TreeSummary, TooMuch>, GitError> {
        let mut command = std::process::Command::new("git");
        command.args(["ls-tree", "-r", "-t", "-l", "-z", &subtree(commit, context)]);
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
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Git would list a billion files to its end.
        let counted = async {
            let counted = TreeSummary::of(stdout, limits).await?;
            if counted.is_err() {
                child.start_kill()?;
            }
            Ok(counted)
        };
        let (counted, said) = tokio::try_join!(counted, beginning(stderr))?;
        let ended = child.wait().await?;
        match counted {
            Ok(_) if !ended.success() => Err(GitError::Failed(
                "ls-tree".into(),
                String::from_utf8_lossy(&said).trim().to_owned(),
            )),
            counted => Ok(counted),
        }
    }
}

impl TreeSummary {
    /// Reads what `ls-tree -l -z` lists, to its end or to where it is too much.
    async fn of(
        listed: Option<impl AsyncRead + Unpin>,
        limits: Limits,
    ) -> io::Result<Result<Self, TooMuch>> {
        let mut summary = Self::default();
        let Some(listed) = listed else {
            return Ok(Ok(summary));
        };
        let (mut listed, mut line) = (BufReader::new(listed), Vec::new());
        while (&mut listed)
            .take(LONGEST_LINE)
            .read_until(0, &mut line)
            .await?
            > 0
        {
            if let Err(too_much) = summary.count(&line, limits) {
                return Ok(Err(too_much));
            }
            line.clear();
        }
        Ok(Ok(summary))
    }

    /// Takes one line of `ls-tree -l -z`: `<mode> <kind> <id> <size>\t<path>\0`.
    fn count(&mut self, line: &[u8], limits: Limits) -> Result<(), TooMuch> {
        let mut parts = line
            .strip_suffix(&[0])
            .ok_or(TooMuch::Path)?
            .splitn(2, |b| *b == b'\t');
        let facts = String::from_utf8_lossy(parts.next().unwrap_or_default());
        let path = parts.next().unwrap_or_default();
        if path.len() > LONGEST_PATH {
            return Err(TooMuch::Path);
        }
        let size = facts
            .split_whitespace()
            .nth(3)
            .and_then(|size| size.parse().ok());
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size.unwrap_or(0));
        if facts.starts_with("160000 ") {
            self.submodule_count += 1;
            if self.submodules.len() < MOST_NAMED {
                self.submodules
                    .push(String::from_utf8_lossy(path).into_owned());
            }
        }
        if self.entries > limits.entries {
            return Err(TooMuch::Entries(limits.entries));
        }
        if self.bytes > limits.bytes {
            return Err(TooMuch::Bytes(limits.bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOMY: Limits = Limits {
        entries: 1000,
        bytes: 1 << 30,
    };

    fn line(mode: &str, size: &str, path: &str) -> Vec<u8> {
        format!("{mode} blob {} {size:>7}\t{path}\0", "a".repeat(40)).into_bytes()
    }

    #[test]
    fn a_summary_counts_and_stops_where_it_is_too_much() {
        let mut summary = TreeSummary::default();
        summary
            .count(
                &line("100644", "20", "a b\tc"),
                Limits {
                    entries: 1,
                    bytes: 20,
                },
            )
            .unwrap();
        summary
            .count(&line("040000", "-", "folder"), ROOMY)
            .unwrap();
        (0..50).for_each(|n| {
            summary
                .count(&line("160000", "-", &format!("module-{n}")), ROOMY)
                .unwrap()
        });
        assert_eq!(
            (summary.entries, summary.bytes, summary.submodule_count),
            (52, 20, 50)
        );
        assert_eq!(
            (summary.submodules.len(), summary.submodules[0].as_str()),
            (MOST_NAMED, "module-0")
        );

        let count = |line: &[u8], limits| TreeSummary::default().count(line, limits).unwrap_err();
        assert_eq!(
            count(
                &line("100644", "20", "a"),
                Limits {
                    entries: 0,
                    ..ROOMY
                }
            ),
            TooMuch::Entries(0)
        );
        let bytes = count(&line("100644", "20", "a"), Limits { bytes: 19, ..ROOMY });
        assert_eq!(bytes.to_string(), "its files have more than 19 B");
        assert_eq!(
            count(&line("100644", "1", &"x/".repeat(2049)), ROOMY),
            TooMuch::Path
        );
        assert_eq!(
            count(b"100644 blob, and the line goes on", ROOMY),
            TooMuch::Path
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = TreeSummary::default().count(&line, ROOMY);
        }
    }
}
