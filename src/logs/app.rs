//! An app's own output, kept per deploy beyond the life of its container: `logs/<deploy>/app.log`.
//!
//! A line is `<RFC 3339 time, nanoseconds> <o|e> <text>\n`, with Docker's own time of the line. It
//! is what a collector resumes by: it asks the engine for everything since the last line's time and
//! drops what it has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::{Appended, LineSplitter, Logs, Redactor};
use crate::domain::DeployId;

/// At this size the file moves aside to `app.log.1`, and what was there goes.
const ROTATE_AT: u64 = 10 * 1024 * 1024;

/// A line that an app printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppLine {
    /// RFC 3339 in UTC with nanoseconds: sorts as text.
    pub at: String,
    /// The deploy whose container printed it.
    pub deploy: DeployId,
    /// Whether it went to standard error.
    pub stderr: bool,
    /// The text, cleaned.
    pub text: String,
}

/// Appends to one deploy's app log.
#[derive(Debug)]
pub struct AppLogWriter {
    file: Appended,
    /// The last line's time when this writer began: what the engine gives again up to there is known.
    known: Option<String>,
    /// Of standard output and standard error.
    unfinished: [Unfinished; 2],
}

/// The engine gives a long line in parts of this size, all with one time. The last is shorter, and
/// from old engines (20.10) it has no newline.
const PART: usize = 16 * 1024;

/// A line that has not ended.
#[derive(Debug)]
struct Unfinished {
    /// When it began; empty while there is none.
    at: String,
    splitter: LineSplitter,
}

impl AppLogWriter {
    /// The time of the last line that writers before this one wrote.
    pub fn known_until(&self) -> Option<&str> {
        self.known.as_deref()
    }

    /// Appends a line, or a part of one, that the engine gave with its time, unless a writer before
    /// this one had it.
    pub fn append(&mut self, at: &str, stderr: bool, text: &[u8]) -> io::Result<()> {
        if self.known.as_deref().is_some_and(|known| at <= known) {
            return Ok(());
        }
        if self.unfinished[usize::from(stderr)].at != at {
            self.end_line(stderr)?;
        }
        let line = &mut self.unfinished[usize::from(stderr)];
        line.at.replace_range(.., at);
        let mut lines = Vec::new();
        line.splitter.push(text, |line| lines.push(line));
        lines
            .iter()
            .try_for_each(|line| self.write(at, stderr, line))?;
        if text.len() < PART {
            self.end_line(stderr)
        } else {
            Ok(())
        }
    }

    /// Appends what has not ended and will not.
    pub fn finish(&mut self) -> io::Result<()> {
        [false, true]
            .into_iter()
            .try_for_each(|stderr| self.end_line(stderr))
    }

    fn end_line(&mut self, stderr: bool) -> io::Result<()> {
        let line = &mut self.unfinished[usize::from(stderr)];
        let at = std::mem::take(&mut line.at);
        let mut lines = Vec::new();
        line.splitter.finish(|line| lines.push(line));
        lines
            .iter()
            .try_for_each(|line| self.write(&at, stderr, line))
    }

    fn write(&mut self, at: &str, stderr: bool, text: &str) -> io::Result<()> {
        let mark = if stderr { 'e' } else { 'o' };
        let line = format!("{at} {mark} {text}\n");
        let path = &self.file.path;
        if self.file.size > ROTATE_AT {
            fs::rename(path, path.with_extension("log.1"))?;
            self.file = Appended::open(path.clone())?;
        } else if self.file.is_gone()? {
            self.file = Appended::open(path.clone())?;
        }
        self.file.append(line.as_bytes())
    }
}

impl Logs {
    /// Goes on writing a deploy's app log, in which none of these secrets comes.
    pub fn write_app(&self, id: DeployId, redactor: Redactor) -> io::Result<AppLogWriter> {
        let path = self.deploy_dir(id).join("app.log");
        end_last_line(&path)?;
        let mut known = None;
        self.app_before(self.app_end(id)?, |_, line| {
            known = Some(line.at);
            false
        })?;
        let unfinished = || Unfinished {
            at: String::new(),
            splitter: LineSplitter::new(redactor.clone()),
        };
        let unfinished = [unfinished(), unfinished()];
        Ok(AppLogWriter {
            file: Appended::open(path)?,
            known,
            unfinished,
        })
    }
}

/// Takes back a last line that a power cut has left unfinished: the engine gives it again.
fn end_last_line(path: &PathBuf) -> io::Result<()> {
    let Some(mut file) = open(path)? else {
        return Ok(());
    };
    let size = file.metadata()?.len();
    let from = size.saturating_sub(64 * 1024);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |end| end as u64 + 1);
    if from + whole == size || from > 0 && whole == 0 {
        return Ok(());
    }
    OpenOptions::new()
        .write(true)
        .open(path)?
        .set_len(from + whole)
}

pub(super) fn open(path: &PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

pub(super) fn parse(line: &[u8], deploy: DeployId) -> Option<AppLine> {
    let line = std::str::from_utf8(line).ok()?;
    let (at, rest) = line.split_once(' ')?;
    let (mark, text) = rest.split_once(' ')?;
    Some(AppLine {
        at: at.to_owned(),
        deploy,
        stderr: mark == "e",
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(logs: &Logs, id: DeployId) -> Vec<AppLine> {
        logs.app_after(&mut super::super::AppPlace::beginning(id))
            .unwrap()
    }

    fn texts(logs: &Logs, id: DeployId) -> Vec<String> {
        lines(logs, id).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_line_that_was_cut_short_is_taken_back_and_a_removed_file_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let (id, path) = (DeployId(3), dir.path().join("3/app.log"));
        let mut writer = logs.write_app(id, Redactor::default()).unwrap();
        writer
            .append("2026-11-21T00:00:01.000000000Z", false, b"whole\n")
            .unwrap();
        fs::write(
            &path,
            fs::read_to_string(&path).unwrap() + "2026-11-21T00:00:02.000000000Z o cut sh",
        )
        .unwrap();
        let mut writer = logs.write_app(id, Redactor::default()).unwrap();
        assert_eq!(writer.known_until(), Some("2026-11-21T00:00:01.000000000Z"));
        writer
            .append("2026-11-21T00:00:02.000000000Z", false, b"cut short\n")
            .unwrap();
        assert_eq!(texts(&logs, id), ["whole", "cut short"]);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        writer
            .append("2026-11-21T00:00:03.000000000Z", false, b"anew\n")
            .unwrap();
        assert_eq!(texts(&logs, id), ["anew"]);
        fs::write(&path, "no line at all").unwrap();
        logs.write_app(id, Redactor::default()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_line_in_parts_is_one_and_a_secret_in_it_is_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let mut env = crate::domain::Environment::default();
        env.set("TOKEN", "s3cret-t0ken").unwrap();
        let mut writer = logs
            .write_app(DeployId(1), Redactor::new(&env, &[]))
            .unwrap();
        let at = |n: u32| format!("2026-11-21T00:00:00.{n:09}Z");
        let long = "x".repeat(PART - 6) + "s3cret";
        writer.append(&at(1), false, long.as_bytes()).unwrap();
        writer.append(&at(2), true, b"a complaint\n").unwrap();
        writer.append(&at(1), false, b"-t0ken\n").unwrap();
        // As old engines give it.
        writer.append(&at(3), false, long.as_bytes()).unwrap();
        writer.append(&at(3), false, b"-t0ken").unwrap();
        writer.append(&at(4), false, b"another line\n").unwrap();
        // More of it never came.
        writer.append(&at(5), false, long.as_bytes()).unwrap();
        writer.append(&at(6), false, long.as_bytes()).unwrap();
        writer.finish().unwrap();
        let lines = lines(&logs, DeployId(1));
        let lines: Vec<_> = lines
            .iter()
            .map(|l| (l.at.clone(), l.text.trim_start_matches('x')))
            .collect();
        let expected = [
            (at(2), "a complaint"),
            (at(1), ""),
            (at(1), "[TOKEN]"),
            (at(3), ""),
            (at(3), "[TOKEN]"),
            (at(4), "another line"),
            (at(5), "s3cret"),
            (at(6), "s3cret"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_collector_that_resumes_repeats_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let id = DeployId(3);
        let at = |n: usize| format!("2026-11-21T00:00:{:02}.{:09}Z", n / 100, n);
        let mut writer = logs.write_app(id, Redactor::default()).unwrap();
        (0..500).for_each(|n| {
            writer
                .append(&at(n), n % 2 == 1, format!("line {n}\n").as_bytes())
                .unwrap()
        });
        drop(writer);
        let mut writer = logs.write_app(id, Redactor::default()).unwrap();
        assert_eq!(writer.known_until(), Some(at(499).as_str()));
        (480..510).for_each(|n| {
            writer
                .append(&at(n), false, format!("line {n}\n").as_bytes())
                .unwrap()
        });

        let lines = texts(&logs, id);
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[509].as_str()),
            (510, "line 0", "line 509")
        );
    }
}
