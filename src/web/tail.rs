//! The end of a phase's log, for the first look at it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::domain::DeployId;
use crate::logs::{Cursor, Logs};

/// The most lines of a phase's log that a page begins with.
const LINES: usize = 500;

/// The most bytes of it: a line may be long.
const BYTES: u64 = 256 * 1024;

/// The end of one phase's log.
#[derive(Debug)]
pub(super) struct Tail {
    /// Its lines, as stored.
    pub(super) text: String,
    /// Whether there is more before it.
    pub(super) cut: bool,
    /// The place behind it.
    pub(super) end: Cursor,
}

/// Reads the last [`LINES`] whole lines of a phase's log.
pub(super) fn tail(logs: &Logs, id: DeployId, ordinal: usize) -> io::Result<Tail> {
    let end = Cursor { ordinal, offset: 0 };
    let Some(path) = logs.phase_file(id, ordinal)? else {
        return Ok(Tail { text: String::new(), cut: false, end });
    };
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    // Not beyond what was measured: a build that prints without end would be read without end.
    file.take(BYTES).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(whole);
    let newlines = || bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
    let first_whole = if from == 0 { 0 } else { newlines().next().unwrap_or(whole) };
    let last_lines = newlines().rev().nth(LINES).unwrap_or(0);
    let begin = first_whole.max(last_lines);
    Ok(Tail {
        text: String::from_utf8_lossy(&bytes[begin..]).into_owned(),
        cut: from > 0 || begin > 0,
        end: Cursor { ordinal, offset: from + whole as u64 },
    })
}

#[cfg(test)]
mod tests {
    use crate::logs::Redactor;

    use super::*;
    use crate::domain::{Phase, Stopwatch};

    #[test]
    fn a_tail_ends_where_the_rest_begins() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let id = DeployId(1);
        assert_eq!(tail(&logs, id, 0).unwrap().end, Cursor::default());
        let writer = logs.write(id, 0, &Phase::Build, Stopwatch::start(), Redactor::default()).unwrap();
        for (lines, width) in [(LINES, 1), (1, 1), (2000, 1), (300, 2000)] {
            (0..lines).for_each(|n| writer.say(format!("{n} {}", "x".repeat(width))));
            let tail = tail(&logs, id, 0).unwrap();
            assert!(tail.text.lines().count() <= LINES && tail.text.len() as u64 <= BYTES);
            assert!(tail.text.lines().all(|line| line.split_once('\t').is_some()), "whole lines only");
            let last = format!("{} ", lines - 1);
            assert!(tail.text.lines().last().unwrap().split_once('\t').unwrap().1.starts_with(&last));
            writer.say("next");
            let (rest, _) = logs.read(id, tail.end).unwrap();
            assert!(rest.ends_with("\tnext\n") && rest.lines().count() == 1);
        }
    }

    #[test]
    fn exactly_as_many_lines_as_fit_are_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let writer =
            logs.write(DeployId(1), 0, &Phase::Build, Stopwatch::start(), Redactor::default()).unwrap();
        (0..LINES).for_each(|n| writer.say(n.to_string()));
        assert!(!tail(&logs, DeployId(1), 0).unwrap().cut);
        writer.say("one more");
        let tail = tail(&logs, DeployId(1), 0).unwrap();
        assert!(tail.cut && tail.text.lines().count() == LINES);
    }
}
