//! An app's own output, kept per deploy beyond the life of its containers: `logs/<deploy>/app.log`.
//!
//! A line is `<RFC 3339 time, nanoseconds> <o|e> <text>\n`, with Docker's own time of the line. Behind
//! `o` or `e` stands which container printed it, as `o:worker.1`, unless that is `web.1`. The time is
//! what a collector resumes by: it asks the engine for everything since its container's last line and
//! drops what it has.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Appended, LineSplitter, Logs, Redactor};
use crate::domain::{DeployId, Replica};

/// At this size the file moves aside to `app.log.1`, and what was there goes.
const ROTATE_AT: u64 = 10 * 1024 * 1024;

/// A line that an app printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppLine {
    /// RFC 3339 in UTC with nanoseconds: sorts as text.
    pub at: String,
    /// The deploy whose container printed it.
    pub deploy: DeployId,
    /// Which of its containers.
    pub replica: Replica,
    /// Whether it went to standard error.
    pub stderr: bool,
    /// The text, cleaned.
    pub text: String,
}

/// The logs that are open, each for as long as one writer has it.
pub(super) type Open = Arc<Mutex<HashMap<DeployId, Weak<Mutex<Appended>>>>>;

/// Appends what one container prints to its deploy's app log.
#[derive(Debug)]
pub struct AppLogWriter {
    file: Arc<Mutex<Appended>>,
    replica: Replica,
    /// Its last line's time when this writer began: what the engine gives again up to there is known.
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
        let line = match self.replica.is_web() {
            true => format!("{at} {mark} {text}\n"),
            false => format!("{at} {mark}:{} {text}\n", self.replica),
        };
        let mut file = lock(&self.file);
        let path = &file.path;
        if file.size > ROTATE_AT {
            fs::rename(path, path.with_extension("log.1"))?;
            *file = Appended::open(path.clone())?;
        } else if file.is_gone()? {
            *file = Appended::open(path.clone())?;
        }
        file.append(line.as_bytes())
    }
}

impl Logs {
    /// Goes on writing what a container prints to its deploy's app log, in which none of these secrets
    /// comes.
    pub fn write_app(
        &self,
        id: DeployId,
        replica: &Replica,
        redactor: Redactor,
    ) -> io::Result<AppLogWriter> {
        let file = self.open_app(id)?;
        let mut known = None;
        self.app_before(self.app_end(id)?, |_, line| {
            let own = line.replica == *replica;
            known = own.then_some(line.at);
            !own
        })?;
        let unfinished = || Unfinished {
            at: String::new(),
            splitter: LineSplitter::new(redactor.clone()),
        };
        let unfinished = [unfinished(), unfinished()];
        Ok(AppLogWriter {
            file,
            replica: replica.clone(),
            known,
            unfinished,
        })
    }

    /// A deploy's app log, opened once for all that write to it: one alone knows when it moves aside.
    fn open_app(&self, id: DeployId) -> io::Result<Arc<Mutex<Appended>>> {
        let mut open = lock(&self.apps);
        open.retain(|_, file| file.strong_count() > 0);
        if let Some(file) = open.get(&id).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let path = self.deploy_dir(id).join("app.log");
        end_last_line(&path)?;
        let file = Arc::new(Mutex::new(Appended::open(path)?));
        open.insert(id, Arc::downgrade(&file));
        Ok(file)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
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
    let (stream, replica) = match mark.split_once(':') {
        Some((stream, replica)) => (stream, replica.parse().ok()?),
        None => (mark, Replica::web()),
    };
    Some(AppLine {
        at: at.to_owned(),
        deploy,
        replica,
        stderr: stream == "e",
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
        let mut writer = logs
            .write_app(id, &Replica::web(), Redactor::default())
            .unwrap();
        writer
            .append("2026-11-21T00:00:01.000000000Z", false, b"whole\n")
            .unwrap();
        drop(writer);
        fs::write(
            &path,
            fs::read_to_string(&path).unwrap() + "2026-11-21T00:00:02.000000000Z o cut sh",
        )
        .unwrap();
        let mut writer = logs
            .write_app(id, &Replica::web(), Redactor::default())
            .unwrap();
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
        drop(writer);
        fs::write(&path, "no line at all").unwrap();
        logs.write_app(id, &Replica::web(), Redactor::default())
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_line_in_parts_is_one_and_a_secret_in_it_is_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let mut env = crate::domain::Environment::default();
        env.set("TOKEN", "s3cret-t0ken").unwrap();
        let mut writer = logs
            .write_app(DeployId(1), &Replica::web(), Redactor::new(&env, &[]))
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
    fn containers_of_a_deploy_share_its_log_and_each_resumes_by_its_own_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let id = DeployId(3);
        let at = |n: usize| format!("2026-11-21T00:{:02}:{:02}.000000000Z", n / 60, n % 60);
        let (web, worker) = (Replica::web(), "worker.2".parse().unwrap());
        let open = |replica| logs.write_app(id, replica, Redactor::default()).unwrap();
        // Together they fill the file, so that it moves aside under both.
        let (mut one, mut two) = (open(&web), open(&worker));
        let wide = "x".repeat(8000);
        for n in 0..700 {
            for (writer, name) in [(&mut one, "web"), (&mut two, "worker")] {
                let line = format!("{name} {n} {wide}\n");
                writer.append(&at(n), n % 2 == 1, line.as_bytes()).unwrap();
            }
        }
        drop((one, two));
        open(&web).append(&at(701), false, b"web 701 x\n").unwrap();
        // The engine gives the other's last lines again, older than the log's last one.
        let mut two = open(&worker);
        assert_eq!(two.known_until(), Some(at(699).as_str()));
        for n in [698, 699, 700] {
            two.append(&at(n), false, format!("worker {n} x\n").as_bytes())
                .unwrap();
        }

        let mut place = super::super::AppPlace::beginning(id);
        let mut told = Vec::new();
        loop {
            let lines = logs.app_after(&mut place).unwrap();
            if lines.is_empty() {
                break;
            }
            told.extend(lines.into_iter().map(|line| {
                let text: Vec<&str> = line.text.split(' ').take(2).collect();
                assert_eq!(text[0], line.replica.process.as_str());
                (line.replica, text[1].parse::<usize>().unwrap())
            }));
        }
        let of = |replica: &Replica| {
            let own = told.iter().filter(|(by, _)| by == replica);
            own.map(|(_, n)| *n).collect::<Vec<_>>()
        };
        assert_eq!(of(&web), (0..700).chain([701]).collect::<Vec<_>>());
        assert_eq!(of(&worker), (0..701).collect::<Vec<_>>());
        assert!(dir.path().join("3/app.log.1").exists());
    }

    #[test]
    fn a_collector_that_resumes_repeats_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let id = DeployId(3);
        let at = |n: usize| format!("2026-11-21T00:00:{:02}.{:09}Z", n / 100, n);
        let mut writer = logs
            .write_app(id, &Replica::web(), Redactor::default())
            .unwrap();
        (0..500).for_each(|n| {
            writer
                .append(&at(n), n % 2 == 1, format!("line {n}\n").as_bytes())
                .unwrap()
        });
        drop(writer);
        let mut writer = logs
            .write_app(id, &Replica::web(), Redactor::default())
            .unwrap();
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
