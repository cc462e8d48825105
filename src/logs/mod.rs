//! Logs: a file per phase, and a live tail.
//!
//! The files are the only truth. A reader reads the file from its cursor and, at its end, waits for
//! a tick; the tick carries no text. So a reader can be slow, leave, or come back with its cursor
//! and neither loses nor repeats a line, and no reader ever holds the writer up.
//!
//! A line in a file is `<milliseconds since the deploy began>\t<text>\n`. A file takes as much as it
//! may; what a program prints beyond that is counted and left out, and a line says so.

mod app;
mod clean;
mod pages;
mod place;
mod redact;
mod search;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

pub use app::{AppLine, AppLogWriter};
pub use clean::LineSplitter;
pub use pages::{LineAt, Page, PageSize, Place};
pub use place::{AppPlace, ClaimedPlace};
pub use redact::{Redactor, bare};
pub use search::{Found, Hit, LONGEST_QUERY};

use crate::domain::size::show;
use crate::domain::{DeployId, Phase, Stopwatch};

/// The most that one read returns, in bytes, give or take a line.
const READ_AT_MOST: usize = 64 * 1024;

/// A place in a deploy's log: which phase's file, and how far into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// The phase's place in the deploy, from 0.
    pub ordinal: usize,
    /// Bytes read of its file.
    pub offset: u64,
}

impl PartialSchema for Cursor {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let text = text.pattern(Some("^[0-9]{1,9}[.][0-9]{1,18}$"));
        text.examples(["0.0"]).into()
    }
}

impl ToSchema for Cursor {}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ordinal, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "a log position reads <phase>.<offset>".to_owned();
        let (ordinal, offset) = text.split_once('.').ok_or_else(refused)?;
        let ordinal = ordinal.parse().map_err(|_| refused())?;
        Ok(Self {
            ordinal,
            offset: offset.parse().map_err(|_| refused())?,
        })
    }
}

impl TryFrom<String> for Cursor {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> String {
        cursor.to_string()
    }
}

/// Says that there is something new to read, or that a deploy's rows have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Bytes written so far.
    pub written: u64,
    /// Status changes so far.
    pub changes: u64,
}

/// All logs of this installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
    /// The most that a program's output in one phase may take, in bytes.
    limit: u64,
    ticks: Arc<Mutex<HashMap<DeployId, watch::Sender<Tick>>>>,
    counted: Arc<Mutex<pages::Counted>>,
    /// The apps' logs that are being written: every container of a deploy writes to one.
    apps: app::Open,
}

impl Logs {
    /// Logs below `dir`, which is made if missing. A phase's takes at most `limit` bytes, but for a
    /// few lines of our own.
    pub fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            limit,
            ticks: Arc::default(),
            counted: Arc::default(),
            apps: Arc::default(),
        })
    }

    /// Begins, or goes on with, a phase's log, in which none of these secrets comes.
    pub fn write(
        &self,
        id: DeployId,
        ordinal: usize,
        phase: &Phase,
        clock: Stopwatch,
        redactor: Redactor,
    ) -> io::Result<PhaseWriter> {
        let name = format!("{ordinal:02}-{}.log", phase.to_string().replace(':', "-"));
        let mut file = Appended::open(self.deploy_dir(id).join(name))?;
        file.end_line()?;
        let out = PhaseFile {
            file,
            limit: self.limit,
            full: false,
            left_out: LeftOut::default(),
            redactor,
            splitters: HashMap::new(),
            last: Vec::new(),
            error: None,
        };
        Ok(PhaseWriter {
            out: Mutex::new(out),
            clock,
            tick: self.sender(id),
        })
    }

    /// What the log of `id` holds from `cursor` on, whole lines only, at most about 64 KiB, and the
    /// cursor behind it. Nothing at the end of that phase's file, or where there is none.
    pub fn read(&self, id: DeployId, cursor: Cursor) -> io::Result<(String, Cursor)> {
        self.read_up_to(id, cursor, u64::MAX)
    }

    /// As [`Logs::read`], and not beyond the line that ends at `end`.
    pub fn read_up_to(
        &self,
        id: DeployId,
        cursor: Cursor,
        end: u64,
    ) -> io::Result<(String, Cursor)> {
        let Some(path) = self.phase_file(id, cursor.ordinal)? else {
            return Ok((String::new(), cursor));
        };
        let mut file = File::open(path)?;
        // A file that was removed and begun anew is read from its beginning.
        let from = if cursor.offset > file.metadata()?.len() {
            0
        } else {
            cursor.offset
        };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(end.saturating_sub(from).min(READ_AT_MOST as u64))
            .read_to_end(&mut bytes)?;
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |end| end + 1);
        bytes.truncate(whole);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok((
            text,
            Cursor {
                offset: from + whole as u64,
                ..cursor
            },
        ))
    }

    /// How many bytes one phase's log has.
    pub fn size(&self, id: DeployId, ordinal: usize) -> io::Result<u64> {
        self.phase_file(id, ordinal)?
            .map_or(Ok(0), |path| Ok(path.metadata()?.len()))
    }

    /// The file of one phase of a deploy, for reading it whole.
    pub fn phase_file(&self, id: DeployId, ordinal: usize) -> io::Result<Option<PathBuf>> {
        let prefix = format!("{ordinal:02}-");
        let entries = match fs::read_dir(self.deploy_dir(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }

    /// Ticks of a deploy from now on.
    pub fn ticks(&self, id: DeployId) -> watch::Receiver<Tick> {
        self.sender(id).subscribe()
    }

    /// Says that a deploy's rows have changed.
    pub fn changed(&self, id: DeployId) {
        self.sender(id).send_modify(|tick| tick.changes += 1);
    }

    /// Deploys that have logs here.
    pub fn ids(&self) -> io::Result<Vec<DeployId>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let id = |entry: io::Result<fs::DirEntry>| {
            entry
                .map(|entry| {
                    entry
                        .file_name()
                        .to_str()
                        .and_then(|name| name.parse().ok())
                })
                .transpose()
        };
        entries.filter_map(id).collect()
    }

    /// Whether nothing of a deploy was written for `age`; false where there is nothing.
    pub fn older_than(&self, id: DeployId, age: Duration) -> io::Result<bool> {
        let folder = self.deploy_dir(id);
        let old = |path: &Path| -> io::Result<bool> {
            Ok(path.metadata()?.modified()?.elapsed().unwrap_or_default() > age)
        };
        let all_old = || -> io::Result<bool> {
            // A file is made, which the folder tells, before anything is written to it: most are too
            // young by that alone.
            if !old(&folder)? {
                return Ok(false);
            }
            for entry in fs::read_dir(&folder)? {
                if !old(&entry?.path())? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        match all_old() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other,
        }
    }

    /// Removes a deploy's logs.
    pub fn remove(&self, id: DeployId) -> io::Result<()> {
        match fs::remove_dir_all(self.deploy_dir(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn deploy_dir(&self, id: DeployId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// A deploy's ticker. Those that nobody waits for any more are dropped on the way.
    fn sender(&self, id: DeployId) -> watch::Sender<Tick> {
        let mut ticks = lock(&self.ticks);
        if !ticks.contains_key(&id) {
            // One count is the map's own.
            ticks.retain(|_, tick| tick.receiver_count() > 0 || tick.sender_count() > 1);
        }
        ticks
            .entry(id)
            .or_insert_with(|| watch::Sender::new(Tick::default()))
            .clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that only grows, by whole lines: one that could not be written whole is taken back, so
/// that the next one does not run into it.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Appended {
    /// Opens the file, or begins it, and the folder it lies in.
    fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size })
    }

    /// Ends half a line, as a server that was killed may have left it.
    fn end_line(&mut self) -> io::Result<()> {
        let mut last = [b'\n'];
        if self.size > 0 {
            self.file.seek(SeekFrom::End(-1))?;
            self.file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            self.append(b"\n")
        } else {
            Ok(())
        }
    }

    /// Whether somebody has removed the file: what is written to it then is lost, and takes room
    /// that nobody finds.
    fn is_gone(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines);
        match written {
            Ok(()) => self.size += lines.len() as u64,
            Err(_) => self.file.set_len(self.size)?,
        }
        written
    }
}

/// Writes one phase's log. Every line is in the file when the call returns.
#[derive(Debug)]
pub struct PhaseWriter {
    out: Mutex<PhaseFile>,
    clock: Stopwatch,
    tick: watch::Sender<Tick>,
}

#[derive(Debug)]
struct PhaseFile {
    file: Appended,
    limit: u64,
    /// Whether the limit was reached and told of.
    full: bool,
    left_out: LeftOut,
    redactor: Redactor,
    /// The unfinished lines of what prints side by side.
    splitters: HashMap<usize, LineSplitter>,
    last: Vec<String>,
    error: Option<io::Error>,
}

/// What was printed beyond the limit and not told of yet.
#[derive(Debug, Default)]
struct LeftOut {
    lines: u64,
    bytes: u64,
}

/// How many last lines a phase keeps at hand for the reason of a failure.
const LAST_LINES: usize = 20;

impl PhaseWriter {
    /// Writes text of our own: one line, or several. There is always room for it.
    pub fn say(&self, text: impl AsRef<str>) {
        self.put(|out, lines| {
            lines.extend(out.tell_left_out());
            let redactor = out.redactor.clone();
            let said = text
                .as_ref()
                .split('\n')
                .map(|line| redactor.clean(line.as_bytes()));
            said.for_each(|line| lines.push(out.remember(line)));
        });
    }

    /// Writes what a program printed, as it comes; an unfinished line waits for its end.
    pub fn output(&self, bytes: &[u8]) {
        self.output_of(0, bytes);
    }

    /// As [`PhaseWriter::output`], for one of several that print side by side: their lines do not run
    /// into each other.
    pub fn output_of(&self, source: usize, bytes: &[u8]) {
        self.put(|out, lines| {
            out.take_output(source, lines, |splitter, line| splitter.push(bytes, line))
        });
    }

    /// Writes the last unfinished line of one that has ended.
    pub fn end_output_of(&self, source: usize) {
        self.put(|out, lines| out.end_output(source, lines));
    }

    /// Writes all unfinished lines, when the program has ended, and what was left out.
    pub fn end_output(&self) {
        self.put(|out, lines| {
            let mut sources: Vec<usize> = out.splitters.keys().copied().collect();
            sources.sort_unstable();
            sources
                .into_iter()
                .for_each(|source| out.end_output(source, lines));
            lines.extend(out.tell_left_out());
        });
    }

    /// The last lines printed, oldest first, at most `count`; also those that were left out.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let out = lock(&self.out);
        out.last[out.last.len().saturating_sub(count)..].to_vec()
    }

    /// The first error of the file, as a full disk; a phase asks for it when it ends.
    pub fn take_error(&self) -> Option<io::Error> {
        lock(&self.out).error.take()
    }

    fn put(&self, say: impl FnOnce(&mut PhaseFile, &mut Vec<String>)) {
        let at = self.clock.elapsed().as_millis();
        let mut out = lock(&self.out);
        let mut lines = Vec::new();
        say(&mut out, &mut lines);
        if lines.is_empty() {
            return;
        }
        let text: String = lines.iter().map(|line| format!("{at}\t{line}\n")).collect();
        match out.append(at, &text) {
            Ok(()) => self
                .tick
                .send_modify(|tick| tick.written += text.len() as u64),
            Err(failed) => drop(out.error.get_or_insert(failed)),
        }
    }
}

impl PhaseFile {
    /// What a program printed, as far as there is room for it.
    fn take_output(
        &mut self,
        source: usize,
        lines: &mut Vec<String>,
        print: impl FnOnce(&mut LineSplitter, &mut dyn FnMut(String)),
    ) {
        let splitter = self.splitters.remove(&source);
        let mut splitter = splitter.unwrap_or_else(|| LineSplitter::new(self.redactor.clone()));
        let mut size = self.file.size;
        print(&mut splitter, &mut |line| {
            let bytes = line.len() as u64;
            size += bytes + BESIDE;
            let line = self.remember(line);
            if size <= self.limit && !self.full {
                lines.push(line);
                return;
            }
            self.left_out.lines += 1;
            self.left_out.bytes += bytes;
            if !std::mem::replace(&mut self.full, true) {
                let limit = show(self.limit);
                lines.push(format!(
                    "[this log has reached {limit} (keep.log_size); what is printed from here on is left out]"
                ));
            }
        });
        self.splitters.insert(source, splitter);
    }

    fn end_output(&mut self, source: usize, lines: &mut Vec<String>) {
        self.take_output(source, lines, |splitter, line| splitter.finish(line));
        self.splitters.remove(&source);
    }

    /// Keeps a line at hand for the reason of a failure.
    fn remember(&mut self, line: String) -> String {
        if self.last.len() == LAST_LINES {
            self.last.remove(0);
        }
        self.last.push(line.clone());
        line
    }

    /// How much was left out since this was last told.
    fn tell_left_out(&mut self) -> Option<String> {
        let LeftOut { lines, bytes } = std::mem::take(&mut self.left_out);
        (lines > 0).then(|| format!("[left out here: {lines} lines, {}]", show(bytes)))
    }

    fn append(&mut self, at: u128, text: &str) -> io::Result<()> {
        if self.file.is_gone()? {
            self.file = Appended::open(self.file.path.clone())?;
            let told = "[this log was removed while it was written; it goes on here]";
            self.file.append(format!("{at}\t{told}\n").as_bytes())?;
        }
        self.file.append(text.as_bytes())
    }
}

/// What a line takes beside its text, about: the time before it.
const BESIDE: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Logs) {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        (dir, logs)
    }

    #[test]
    fn a_reader_with_its_cursor_neither_loses_nor_repeats_a_line() {
        let (_dir, logs) = scratch();
        let id = DeployId(7);
        let writer = logs
            .write(
                id,
                1,
                &Phase::Build,
                Stopwatch::start(),
                Redactor::default(),
            )
            .unwrap();
        let mut cursor = Cursor {
            ordinal: 1,
            offset: 0,
        };
        let mut read = String::new();
        for round in 0..300 {
            (0..97).for_each(|n| writer.output(format!("line {round} {n}\n").as_bytes()));
            writer.output(b"unfinished ");
            writer.output(b"business\n");
            let (text, next) = logs.read(id, cursor).unwrap();
            read.push_str(&text);
            cursor = next.to_string().parse().unwrap();
        }
        loop {
            let (text, next) = logs.read(id, cursor).unwrap();
            if text.is_empty() {
                break;
            }
            read.push_str(&text);
            cursor = next;
        }
        let lines: Vec<&str> = read
            .lines()
            .map(|l| l.split_once('\t').unwrap().1)
            .collect();
        assert_eq!(lines.len(), 300 * 98);
        assert_eq!(lines[98 + 3], "line 1 3");
        assert_eq!(lines[97], "unfinished business");
        assert_eq!(writer.last_lines(2), ["line 299 96", "unfinished business"]);
    }

    #[test]
    fn a_tick_comes_with_each_write_and_tickers_do_not_pile_up() {
        let (_dir, logs) = scratch();
        let mut ticks = logs.ticks(DeployId(1));
        let writer = logs
            .write(
                DeployId(1),
                0,
                &Phase::Checkout,
                Stopwatch::start(),
                Redactor::default(),
            )
            .unwrap();
        writer.say("hello");
        assert!(ticks.has_changed().unwrap());
        let seen = *ticks.borrow_and_update();
        logs.changed(DeployId(1));
        assert_eq!(ticks.borrow().changes, seen.changes + 1);
        drop((ticks, writer));
        (2..100).for_each(|id| logs.changed(DeployId(id)));
        assert!(lock(&logs.ticks).len() <= 2);
    }

    /// All lines of a deploy's first phase, without their times.
    fn lines(logs: &Logs, id: DeployId) -> Vec<String> {
        let (text, _) = logs.read(id, Cursor::default()).unwrap();
        text.lines()
            .map(|line| line.split_once('\t').unwrap().1.to_owned())
            .collect()
    }

    #[test]
    fn what_a_program_prints_beyond_the_limit_is_counted_and_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), 1000).unwrap();
        let writer = logs
            .write(
                DeployId(1),
                0,
                &Phase::Build,
                Stopwatch::start(),
                Redactor::default(),
            )
            .unwrap();
        (0..50).for_each(|n| writer.output(format!("line {n:02} {}\n", "x".repeat(92)).as_bytes()));
        writer.output(b"short\nthe last words");
        writer.end_output();
        writer.say("#5 done 3s");
        writer.output(b"more\n");
        writer.end_output();
        let read = lines(&logs, DeployId(1));
        let expected = [
            "[this log has reached 1000 B (keep.log_size); what is printed from here on is left out]",
            "[left out here: 43 lines, 4 KiB]",
            "#5 done 3s",
            "[left out here: 1 lines, 4 B]",
        ];
        assert_eq!(read[9..], expected);
        assert_eq!(read[8], format!("line 08 {}", "x".repeat(92)));
        assert_eq!(
            writer.last_lines(4),
            ["short", "the last words", "#5 done 3s", "more"]
        );
        assert!(writer.take_error().is_none());
    }

    #[test]
    fn what_prints_side_by_side_keeps_its_lines_and_its_secrets() {
        let (_dir, logs) = scratch();
        let mut env = crate::domain::Environment::default();
        env.set("TOKEN", "s3cret-t0ken").unwrap();
        let secrets = Redactor::new(&env, &[]);
        let writer = logs
            .write(DeployId(1), 0, &Phase::Build, Stopwatch::start(), secrets)
            .unwrap();
        writer.output_of(1, b"one s3cret");
        writer.output_of(2, b"two\nand s3cret-");
        writer.end_output_of(3);
        writer.output_of(1, b"-t0ken\n");
        writer.output_of(2, b"t0ken");
        writer.end_output();
        writer.say("said: s3cret-t0ken");
        let expected = ["two", "one [TOKEN]", "and [TOKEN]", "said: [TOKEN]"];
        assert_eq!(lines(&logs, DeployId(1)), expected);
        assert_eq!(writer.last_lines(4), expected);
    }

    #[test]
    fn a_log_that_somebody_removes_goes_on_and_says_so() {
        let (dir, logs) = scratch();
        let id = DeployId(1);
        let writer = logs
            .write(
                id,
                0,
                &Phase::Build,
                Stopwatch::start(),
                Redactor::default(),
            )
            .unwrap();
        (0..9).for_each(|n| writer.say(format!("line {n}")));
        let (_, cursor) = logs.read(id, Cursor::default()).unwrap();
        fs::remove_dir_all(dir.path()).unwrap();
        writer.say("again");
        let expected = [
            "[this log was removed while it was written; it goes on here]",
            "again",
        ];
        assert_eq!(lines(&logs, id), expected);
        assert!(cursor.offset > 0 && writer.take_error().is_none());
        fs::remove_dir_all(dir.path()).unwrap();
        writer.say("x");
        assert!(
            logs.read(
                id,
                Cursor {
                    offset: 1 << 20,
                    ..cursor
                }
            )
            .unwrap()
            .0
            .ends_with("\tx\n")
        );
    }

    #[test]
    fn half_a_line_that_a_killed_server_left_ends_before_the_next_one() {
        let (dir, logs) = scratch();
        let id = DeployId(3);
        logs.write(
            id,
            0,
            &Phase::Build,
            Stopwatch::start(),
            Redactor::default(),
        )
        .unwrap()
        .say("whole");
        let path = logs.phase_file(id, 0).unwrap().unwrap();
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("17\thal");
        fs::write(&path, text).unwrap();
        let again = Logs::open(dir.path(), u64::MAX).unwrap();
        again
            .write(
                id,
                0,
                &Phase::Build,
                Stopwatch::showing(Duration::from_secs(9)),
                Redactor::default(),
            )
            .unwrap()
            .say("after");
        let (text, _) = again.read(id, Cursor::default()).unwrap();
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_once('\t').unwrap())
            .collect();
        assert_eq!(
            lines.iter().map(|(_, text)| *text).collect::<Vec<_>>(),
            ["whole", "hal", "after"]
        );
        assert!(lines[2].0.parse::<u64>().unwrap() >= 9000);
    }

    #[test]
    fn logs_are_as_old_as_their_last_line() {
        let (dir, logs) = scratch();
        fs::write(dir.path().join("not-a-deploy"), "").unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(1000);
        for id in [1, 2].map(DeployId) {
            logs.write(
                id,
                0,
                &Phase::Build,
                Stopwatch::start(),
                Redactor::default(),
            )
            .unwrap()
            .say("text");
            logs.write_app(id, &crate::domain::Replica::web(), Redactor::default())
                .unwrap();
            for path in ["", "00-build.log", "app.log"] {
                let file = File::open(logs.deploy_dir(id).join(path)).unwrap();
                file.set_modified(long_ago).unwrap();
            }
        }
        logs.write_app(
            DeployId(2),
            &crate::domain::Replica::web(),
            Redactor::default(),
        )
        .unwrap()
        .append("2026-11-21T00:00:00Z", false, b"late\n")
        .unwrap();
        let mut ids = logs.ids().unwrap();
        ids.sort();
        assert_eq!(ids, [1, 2].map(DeployId));
        let old = |id, secs| {
            logs.older_than(DeployId(id), Duration::from_secs(secs))
                .unwrap()
        };
        assert_eq!(
            [old(1, 900), old(1, 1100), old(2, 900)],
            [true, false, false]
        );
    }

    #[test]
    fn a_deploy_without_logs_reads_as_nothing() {
        let (_dir, logs) = scratch();
        assert_eq!(logs.read(DeployId(1), Cursor::default()).unwrap().0, "");
        logs.remove(DeployId(1)).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_cursor_or_refused_and_any_cursor_reads(text in "(\\PC{0,12}|[0-9]{1,21}[.][0-9]{1,21})", ordinal: usize, offset: u64) {
            if let Ok(cursor) = text.parse::<Cursor>() {
                assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
            }
            let (_dir, logs) = scratch();
            let writer = logs.write(DeployId(1), 0, &Phase::Build, Stopwatch::start(), Redactor::default()).unwrap();
            writer.say("a line with a sharp \u{df}");
            for cursor in [Cursor { ordinal, offset }, Cursor { ordinal: 0, offset }, Cursor { ordinal: 0, offset: offset % 40 }] {
                let (text, next) = logs.read(DeployId(1), cursor).unwrap();
                assert!(text.is_empty() || text.ends_with('\n'));
                assert_eq!(logs.read(DeployId(1), next).unwrap().0, "");
            }
        }
    }
}
