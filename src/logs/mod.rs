//! Logs: a file per phase, and a live tail.
//!
//! The files are the only truth. A reader reads the file from its cursor and, at its end, waits for
//! a tick; the tick carries no text. So a reader can be slow, leave, or come back with its cursor
//! and neither loses nor repeats a line, and no reader ever holds the writer up.
//!
//! A line in a file is `<milliseconds since the deploy began>\t<text>\n`.

mod app;
mod clean;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use app::{AppLine, AppLogWriter};
pub use clean::{LineSplitter, clean_line};

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
        Ok(Self { ordinal, offset: offset.parse().map_err(|_| refused())? })
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
    ticks: Arc<Mutex<HashMap<DeployId, watch::Sender<Tick>>>>,
}

impl Logs {
    /// Logs below `dir`, which is made if missing.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), ticks: Arc::default() })
    }

    /// Begins, or goes on with, a phase's log.
    pub fn write(
        &self,
        id: DeployId,
        ordinal: usize,
        phase: &Phase,
        clock: Stopwatch,
    ) -> io::Result<PhaseWriter> {
        let dir = self.deploy_dir(id);
        fs::create_dir_all(&dir)?;
        let name = format!("{ordinal:02}-{}.log", phase.to_string().replace(':', "-"));
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(dir.join(name))?;
        end_line(&mut file)?;
        let out =
            Mutex::new(PhaseFile { file, splitter: LineSplitter::default(), last: Vec::new(), error: None });
        Ok(PhaseWriter { out, clock, tick: self.sender(id) })
    }

    /// What the log of `id` holds from `cursor` on, whole lines only, at most about 64 KiB, and the
    /// cursor behind it. Nothing at the end of that phase's file, or where there is none.
    pub fn read(&self, id: DeployId, cursor: Cursor) -> io::Result<(String, Cursor)> {
        let Some(path) = self.phase_file(id, cursor.ordinal)? else { return Ok((String::new(), cursor)) };
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(cursor.offset))?;
        let mut bytes = Vec::new();
        file.take(READ_AT_MOST as u64).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok((text, Cursor { offset: cursor.offset + whole as u64, ..cursor }))
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

    /// How long ago anything of a deploy was last written; `None` if it has no logs.
    pub fn age(&self, id: DeployId) -> io::Result<Option<Duration>> {
        let entries = match fs::read_dir(self.deploy_dir(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let mut youngest = None;
        for entry in entries {
            let age = entry?.metadata()?.modified()?.elapsed().unwrap_or_default();
            youngest = Some(youngest.map_or(age, |so_far: Duration| so_far.min(age)));
        }
        Ok(youngest)
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
        ticks.entry(id).or_insert_with(|| watch::Sender::new(Tick::default())).clone()
    }
}

/// A server that was killed may have left half a line.
fn end_line(file: &mut File) -> io::Result<()> {
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] { file.write_all(b"\n") } else { Ok(()) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    file: File,
    splitter: LineSplitter,
    last: Vec<String>,
    error: Option<io::Error>,
}

/// How many last lines a phase keeps at hand for the reason of a failure.
const LAST_LINES: usize = 20;

impl PhaseWriter {
    /// Writes text of our own: one line, or several.
    pub fn say(&self, text: impl AsRef<str>) {
        self.put(|_, line| text.as_ref().split('\n').for_each(|l| line(clean_line(l.as_bytes()))));
    }

    /// Writes what a program printed, as it comes; an unfinished line waits for its end.
    pub fn output(&self, bytes: &[u8]) {
        self.put(|splitter, line| splitter.push(bytes, line));
    }

    /// Writes a last unfinished line, when the program has ended.
    pub fn end_output(&self) {
        self.put(|splitter, line| splitter.finish(line));
    }

    /// The last lines written, oldest first, at most `count`.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let out = lock(&self.out);
        out.last[out.last.len().saturating_sub(count)..].to_vec()
    }

    /// The first error of the file, as a full disk; a phase asks for it when it ends.
    pub fn take_error(&self) -> Option<io::Error> {
        lock(&self.out).error.take()
    }

    fn put(&self, write: impl FnOnce(&mut LineSplitter, &mut dyn FnMut(String))) {
        let at = self.clock.elapsed().as_millis();
        let mut out = lock(&self.out);
        let PhaseFile { file, splitter, last, error } = &mut *out;
        let mut bytes = Vec::new();
        write(splitter, &mut |line| {
            bytes.extend_from_slice(format!("{at}\t{line}\n").as_bytes());
            if last.len() == LAST_LINES {
                last.remove(0);
            }
            last.push(line);
        });
        if bytes.is_empty() {
            return;
        }
        match file.write_all(&bytes) {
            Ok(()) => self.tick.send_modify(|tick| tick.written += bytes.len() as u64),
            Err(failed) => drop(error.get_or_insert(failed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Logs) {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path()).unwrap();
        (dir, logs)
    }

    #[test]
    fn a_reader_with_its_cursor_neither_loses_nor_repeats_a_line() {
        let (_dir, logs) = scratch();
        let id = DeployId(7);
        let writer = logs.write(id, 1, &Phase::Build, Stopwatch::start()).unwrap();
        let mut cursor = Cursor { ordinal: 1, offset: 0 };
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
        let lines: Vec<&str> = read.lines().map(|l| l.split_once('\t').unwrap().1).collect();
        assert_eq!(lines.len(), 300 * 98);
        assert_eq!(lines[98 + 3], "line 1 3");
        assert_eq!(lines[97], "unfinished business");
        assert_eq!(writer.last_lines(2), ["line 299 96", "unfinished business"]);
    }

    #[test]
    fn a_tick_comes_with_each_write_and_tickers_do_not_pile_up() {
        let (_dir, logs) = scratch();
        let mut ticks = logs.ticks(DeployId(1));
        let writer = logs.write(DeployId(1), 0, &Phase::Checkout, Stopwatch::start()).unwrap();
        writer.say("hello");
        assert!(ticks.has_changed().unwrap());
        let seen = *ticks.borrow_and_update();
        logs.changed(DeployId(1));
        assert_eq!(ticks.borrow().changes, seen.changes + 1);
        drop((ticks, writer));
        (2..100).for_each(|id| logs.changed(DeployId(id)));
        assert!(lock(&logs.ticks).len() <= 2);
    }

    #[test]
    fn half_a_line_that_a_killed_server_left_ends_before_the_next_one() {
        let (dir, logs) = scratch();
        let id = DeployId(3);
        logs.write(id, 0, &Phase::Build, Stopwatch::start()).unwrap().say("whole");
        let path = logs.phase_file(id, 0).unwrap().unwrap();
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("17\thal");
        fs::write(&path, text).unwrap();
        let again = Logs::open(dir.path()).unwrap();
        again.write(id, 0, &Phase::Build, Stopwatch::showing(Duration::from_secs(9))).unwrap().say("after");
        let (text, _) = again.read(id, Cursor::default()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once('\t').unwrap()).collect();
        assert_eq!(lines.iter().map(|(_, text)| *text).collect::<Vec<_>>(), ["whole", "hal", "after"]);
        assert!(lines[2].0.parse::<u64>().unwrap() >= 9000);
    }

    #[test]
    fn a_deploy_without_logs_reads_as_nothing() {
        let (_dir, logs) = scratch();
        assert_eq!(logs.read(DeployId(1), Cursor::default()).unwrap().0, "");
        logs.remove(DeployId(1)).unwrap();
    }
}
