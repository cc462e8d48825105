//! A phase's log by the numbers of its lines: where a line lies, and a page of lines around it.
//!
//! Files stay what they are; lines are counted when somebody asks. What was counted of a long file is
//! remembered, block by block, so that the next one who asks counts little. It is a convenience: a
//! server that starts again counts again.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::str::FromStr;
use std::sync::Arc;

use memchr::{memchr, memchr_iter, memrchr};
use serde::{Deserialize, Serialize};

use super::{Cursor, Logs, lock};
use crate::domain::DeployId;

/// A line of a deploy's log, as `<phase>.<line>`: the phase's place from 0, the line's number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LineAt {
    /// The phase's place in the deploy, from 0.
    pub ordinal: usize,
    /// The line's number in that phase's log, from 1.
    pub line: u64,
}

impl fmt::Display for LineAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ordinal, self.line)
    }
}

impl FromStr for LineAt {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "a line of a log reads <phase>.<line>, as in 1.234".to_owned();
        let (ordinal, line) = text.split_once('.').ok_or_else(refused)?;
        let ordinal = ordinal.parse().map_err(|_| refused())?;
        Ok(Self {
            ordinal,
            line: line.parse().map_err(|_| refused())?,
        })
    }
}

impl TryFrom<String> for LineAt {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LineAt> for String {
    fn from(at: LineAt) -> String {
        at.to_string()
    }
}

/// Which lines of a phase's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The last ones.
    Last,
    /// From this line on.
    From(u64),
    /// Those that end right before this line.
    Before(u64),
    /// This line, with as many before it as behind it.
    Around(u64),
}

/// How much a page holds: a line may be long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    /// The most lines.
    pub lines: usize,
    /// The most bytes; two of the longest lines at least, for a page around one.
    pub bytes: u64,
}

impl PageSize {
    /// No more bytes than these.
    pub fn within(self, bytes: u64) -> Self {
        Self {
            bytes: self.bytes.min(bytes),
            ..self
        }
    }

    fn half(self) -> Self {
        Self {
            lines: self.lines.div_ceil(2),
            bytes: self.bytes.div_ceil(2),
        }
    }
}

/// Some lines of a phase's log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The lines as stored, `<ms>\t<text>\n` each.
    pub text: String,
    /// The first one's number; what the next line will have where there are none.
    pub first: u64,
    /// The number behind the last one's.
    pub next: u64,
    /// How many lines the log has by now.
    pub total: u64,
    /// How many bytes these are: the place behind the log's last whole line.
    pub end: u64,
}

/// What is remembered of a file, in steps of so many bytes.
const BLOCK: u64 = 256 * 1024;

/// How many files are remembered.
const REMEMBERED: usize = 16;

/// How many lines end in the first block of a file, the first two, and so on.
type Blocks = Arc<Vec<u64>>;

/// What was counted so far, newest last.
#[derive(Debug, Default)]
pub(super) struct Counted(VecDeque<(Key, Blocks)>);

/// Which file: a log that was removed and begun anew is another one.
type Key = (DeployId, usize, u64);

impl Logs {
    /// How many lines of a phase's log lie before this place.
    pub fn lines_before(&self, id: DeployId, cursor: Cursor) -> io::Result<u64> {
        match self.counted(id, cursor.ordinal)? {
            Some(lines) => lines.before(cursor.offset.min(lines.len)),
            None => Ok(0),
        }
    }

    /// Some lines of a phase's log, whole ones only.
    pub fn page(
        &self,
        id: DeployId,
        ordinal: usize,
        place: Place,
        size: PageSize,
    ) -> io::Result<Page> {
        let Some(lines) = self.counted(id, ordinal)? else {
            return Ok(Page {
                first: 1,
                next: 1,
                ..Page::default()
            });
        };
        let total = lines.before(lines.len)?;
        let end = lines.start_of(total + 1)?;
        let (text, first) = match place {
            Place::Last => lines.up_to(total + 1, size)?,
            Place::Before(line) => lines.up_to(line.clamp(1, total + 1), size)?,
            Place::From(line) => lines.from(line.clamp(1, total + 1), end, size)?,
            Place::Around(line) => {
                let line = line.clamp(1, total.max(1));
                let (before, first) = lines.up_to(line, size.half())?;
                (before + &lines.from(line, end, size.half())?.0, first)
            }
        };
        let next = first + memchr_iter(b'\n', text.as_bytes()).count() as u64;
        Ok(Page {
            text,
            first,
            next,
            total,
            end,
        })
    }

    /// Where somebody goes on who has more than `most` bytes of a phase's log before them: behind a
    /// line, with at least its last `keep` bytes left. `None` while there is not so much.
    pub fn short_cut(
        &self,
        id: DeployId,
        from: Cursor,
        most: u64,
        keep: u64,
    ) -> io::Result<Option<Cursor>> {
        let Some(path) = self.phase_file(id, from.ordinal)? else {
            return Ok(None);
        };
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let at = len.saturating_sub(keep);
        if len.saturating_sub(from.offset) <= most || at <= from.offset {
            return Ok(None);
        }
        let mut near = vec![0; 64 * 1024];
        let start = at.saturating_sub(near.len() as u64);
        let read = read_up_to(&file, &mut near[..(at - start) as usize], start)?;
        let behind = memrchr(b'\n', &near[..read]).map(|newline| start + newline as u64 + 1);
        Ok(behind
            .filter(|offset| *offset > from.offset)
            .map(|offset| Cursor { offset, ..from }))
    }

    /// A phase's log with what is known of its lines.
    fn counted(&self, id: DeployId, ordinal: usize) -> io::Result<Option<Lines>> {
        let Some(path) = self.phase_file(id, ordinal)? else {
            return Ok(None);
        };
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let (key, len) = ((id, ordinal, metadata.ino()), metadata.len());
        let known = lock(&self.counted)
            .0
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, b)| b.clone());
        let mut lines = Lines {
            file,
            len,
            blocks: known.unwrap_or_default(),
        };
        if lines.count_more()? {
            let mut counted = lock(&self.counted);
            counted.0.retain(|(known, _)| *known != key);
            counted.0.push_back((key, lines.blocks.clone()));
            if counted.0.len() > REMEMBERED {
                counted.0.pop_front();
            }
        }
        Ok(Some(lines))
    }
}

/// A file of lines, as long as it was when it was opened.
struct Lines {
    file: File,
    len: u64,
    blocks: Blocks,
}

impl Lines {
    /// Counts the blocks that nobody has counted; whether there were any. The last whole one waits: a
    /// line that could not be written is taken back, so the end of a file may still change.
    fn count_more(&mut self) -> io::Result<bool> {
        let stable = (self.len / BLOCK).saturating_sub(1) as usize;
        let known = self.blocks.len();
        if known > stable {
            Arc::make_mut(&mut self.blocks).truncate(stable);
        }
        let mut fresh = Vec::new();
        for block in self.blocks.len()..stable {
            let before = fresh.last().or(self.blocks.last()).copied().unwrap_or(0);
            let from = block as u64 * BLOCK;
            fresh.push(before + self.newlines(from, from + BLOCK)?);
        }
        Arc::make_mut(&mut self.blocks).extend(fresh);
        Ok(self.blocks.len() != known)
    }

    fn newlines(&self, from: u64, to: u64) -> io::Result<u64> {
        let mut count = 0;
        self.chunks(from, to, |_, chunk| {
            count += memchr_iter(b'\n', chunk).count() as u64;
            true
        })?;
        Ok(count)
    }

    /// Hands the bytes from `from` to `to` on, a piece at a time with its place, until told to stop.
    fn chunks(
        &self,
        from: u64,
        to: u64,
        mut take: impl FnMut(u64, &[u8]) -> bool,
    ) -> io::Result<()> {
        let (mut buffer, mut at) = (vec![0; 64 * 1024], from);
        while at < to {
            let most = buffer.len().min((to - at) as usize);
            let read = read_up_to(&self.file, &mut buffer[..most], at)?;
            if read == 0 || !take(at, &buffer[..read]) {
                break;
            }
            at += read as u64;
        }
        Ok(())
    }

    /// How many lines end before `offset`.
    fn before(&self, offset: u64) -> io::Result<u64> {
        let block = ((offset / BLOCK) as usize).min(self.blocks.len());
        let known = block.checked_sub(1).map_or(0, |last| self.blocks[last]);
        Ok(known + self.newlines(block as u64 * BLOCK, offset)?)
    }

    /// Where a line begins; where the last whole one ends, for a number beyond it.
    fn start_of(&self, line: u64) -> io::Result<u64> {
        let wanted = line.saturating_sub(1);
        if wanted == 0 {
            return Ok(0);
        }
        let block = self.blocks.partition_point(|lines| *lines < wanted);
        let mut before = block.checked_sub(1).map_or(0, |last| self.blocks[last]);
        let mut found = 0;
        self.chunks(block as u64 * BLOCK, self.len, |at, chunk| {
            for newline in memchr_iter(b'\n', chunk) {
                before += 1;
                found = at + newline as u64 + 1;
                if before == wanted {
                    return false;
                }
            }
            true
        })?;
        Ok(found)
    }

    /// As many lines before `line` as a page holds, and the first one's number.
    fn up_to(&self, line: u64, size: PageSize) -> io::Result<(String, u64)> {
        let end = self.start_of(line)?;
        let from = end.saturating_sub(size.bytes);
        let bytes = self.bytes(from, end)?;
        let whole = if from == 0 {
            0
        } else {
            memchr(b'\n', &bytes).map_or(bytes.len(), |at| at + 1)
        };
        let behind_lines = memchr_iter(b'\n', &bytes)
            .rev()
            .map(|at| at + 1)
            .nth(size.lines);
        let text = &bytes[whole.max(behind_lines.unwrap_or(0))..];
        Ok((
            String::from_utf8_lossy(text).into_owned(),
            line - memchr_iter(b'\n', text).count() as u64,
        ))
    }

    /// As many lines from `line` on as a page holds, none behind `end`; and the first one's number.
    fn from(&self, line: u64, end: u64, size: PageSize) -> io::Result<(String, u64)> {
        let from = self.start_of(line)?;
        let bytes = self.bytes(from, end.min(from + size.bytes))?;
        let last = memchr_iter(b'\n', &bytes).take(size.lines).last();
        let text = &bytes[..last.map_or(0, |at| at + 1)];
        Ok((String::from_utf8_lossy(text).into_owned(), line))
    }

    fn bytes(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; to.saturating_sub(from) as usize];
        let read = read_up_to(&self.file, &mut bytes, from)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// Fills the buffer from this place of a file on, as far as the file goes.
fn read_up_to(file: &File, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Phase, Stopwatch};
    use crate::logs::{PhaseWriter, Redactor};

    const ID: DeployId = DeployId(1);

    fn scratch() -> (tempfile::TempDir, Logs, PhaseWriter) {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        let writer = logs
            .write(
                ID,
                0,
                &Phase::Build,
                Stopwatch::start(),
                Redactor::default(),
            )
            .unwrap();
        (dir, logs, writer)
    }

    fn texts(page: &Page) -> Vec<String> {
        page.text
            .lines()
            .map(|line| line.split_once('\t').unwrap().1.to_owned())
            .collect()
    }

    #[test]
    fn a_page_is_a_window_and_knows_what_lies_around_it() {
        let (_dir, logs, writer) = scratch();
        let size = PageSize {
            lines: 10,
            bytes: 1 << 20,
        };
        let nothing = logs.page(ID, 0, Place::Last, size).unwrap();
        assert_eq!((nothing.first, nothing.next, nothing.total), (1, 1, 0));
        assert_eq!(
            logs.page(ID, 7, Place::Around(3), size).unwrap().next,
            1,
            "a phase without a log"
        );
        (1..=100).for_each(|n| writer.say(format!("line {n}")));
        let page = |place| logs.page(ID, 0, place, size).unwrap();
        for (place, first, next) in [
            (Place::Last, 91, 101),
            (Place::From(1), 1, 11),
            (Place::From(0), 1, 11),
            (Place::From(96), 96, 101),
            (Place::From(900), 101, 101),
            (Place::Before(51), 41, 51),
            (Place::Before(4), 1, 4),
            (Place::Before(1), 1, 1),
            (Place::Before(u64::MAX), 91, 101),
            (Place::Around(50), 45, 55),
            (Place::Around(1), 1, 6),
            (Place::Around(u64::MAX), 95, 101),
        ] {
            let page = page(place);
            assert_eq!(
                (page.first, page.next, page.total),
                (first, next, 100),
                "{place:?}"
            );
            let expected: Vec<String> = (first..next).map(|n| format!("line {n}")).collect();
            assert_eq!(texts(&page), expected, "{place:?}");
        }
        writer.say("one more");
        let rest = logs
            .read(
                ID,
                Cursor {
                    ordinal: 0,
                    offset: page(Place::From(3)).end,
                },
            )
            .unwrap()
            .0;
        assert_eq!(rest, "", "the end is the log's, not the page's");
    }

    #[test]
    fn a_million_lines_are_counted_once_and_after_that_by_what_came_since() {
        let (_dir, logs, writer) = scratch();
        let path = logs.phase_file(ID, 0).unwrap().unwrap();
        let many: String = (1..=1_000_000).map(|n| format!("7\tline {n}\n")).collect();
        std::fs::write(&path, &many).unwrap();
        let size = PageSize {
            lines: 3,
            bytes: 1 << 16,
        };
        for n in [1, 2, 499_999, 500_000, 999_999] {
            let page = logs.page(ID, 0, Place::From(n), size).unwrap();
            assert_eq!(
                (page.total, texts(&page)[0].as_str()),
                (1_000_000, &*format!("line {n}"))
            );
        }
        let blocks = || lock(&logs.counted).0.back().unwrap().1.len() as u64;
        let len = many.len() as u64;
        assert_eq!(blocks(), len / BLOCK - 1);
        (0..20_000).for_each(|_| writer.say("x".repeat(30)));
        assert_eq!(
            logs.page(ID, 0, Place::Last, size).unwrap().total,
            1_020_000
        );
        assert!(blocks() > len / BLOCK);
        (2..40).for_each(|id| {
            let writer = logs.write(
                DeployId(id),
                0,
                &Phase::Build,
                Stopwatch::start(),
                Redactor::default(),
            );
            drop(writer.unwrap());
            let path = logs.phase_file(DeployId(id), 0).unwrap().unwrap();
            std::fs::write(path, &many.as_bytes()[..600_000]).unwrap();
            logs.page(DeployId(id), 0, Place::Last, size).unwrap();
        });
        assert_eq!(lock(&logs.counted).0.len(), REMEMBERED);
    }

    #[test]
    fn who_is_far_behind_goes_on_at_a_line_near_the_end() {
        let (_dir, logs, writer) = scratch();
        let begin = Cursor::default();
        assert_eq!(logs.short_cut(ID, begin, 200, 100).unwrap(), None);
        (1..=1000).for_each(|n| writer.say(format!("line {n}")));
        let cut = logs.short_cut(ID, begin, 200, 100).unwrap().unwrap();
        let rest = logs.read(ID, cut).unwrap().0;
        assert!(rest.len() >= 100 && rest.len() < 140, "{rest}");
        let number: u64 = rest
            .split_once("\tline ")
            .unwrap()
            .1
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(logs.lines_before(ID, cut).unwrap(), number - 1);
        assert_eq!(logs.short_cut(ID, cut, 200, 100).unwrap(), None);
        assert_eq!(logs.short_cut(ID, begin, 1 << 20, 100).unwrap(), None);
    }

    proptest! {
        #[test]
        fn one_page_behind_the_other_is_the_whole_log_and_backwards_as_well(
            lengths in prop::collection::vec(0usize..300, 0..120), lines in 1usize..40, bytes in 800u64..4000,
        ) {
            let (_dir, logs, writer) = scratch();
            lengths.iter().for_each(|length| writer.say("x".repeat(*length)));
            let size = PageSize { lines, bytes };
            let whole = logs.read(ID, Cursor::default()).unwrap().0;
            let (mut forwards, mut at) = (String::new(), 1);
            loop {
                let page = logs.page(ID, 0, Place::From(at), size).unwrap();
                prop_assert!(page.text.len() as u64 <= bytes && (page.next - page.first) as usize <= lines);
                prop_assert_eq!((page.first, page.total), (at, lengths.len() as u64));
                if page.next == page.first {
                    break;
                }
                forwards.push_str(&page.text);
                at = page.next;
            }
            prop_assert_eq!(&forwards, &whole);
            let (mut backwards, mut at) = (String::new(), u64::MAX);
            loop {
                let page = logs.page(ID, 0, Place::Before(at), size).unwrap();
                if page.next == page.first {
                    break;
                }
                backwards.insert_str(0, &page.text);
                at = page.first;
            }
            prop_assert_eq!(&backwards, &whole);
            prop_assert!(at == 1 || lengths.is_empty());
        }

        #[test]
        fn any_text_is_a_line_or_refused(text in "(\\PC{0,12}|[0-9]{1,21}[.][0-9]{1,21})") {
            if let Ok(at) = text.parse::<LineAt>() {
                prop_assert_eq!(at.to_string().parse::<LineAt>(), Ok(at));
            }
        }
    }
}
