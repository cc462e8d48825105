//! Places in an app's log that stay good: over reconnects, over the server's end, and when the file moves
//! aside.
//!
//! A file is known by the time of its first line, so that a place in it is found again under its other
//! name. From a place one reads on, or back, without a line lost or given twice.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Logs;
use super::app::{AppLine, open, parse};
use crate::domain::{DeployId, OwnedDeploys};

/// So much is read at once, in bytes.
const WINDOW: u64 = 256 * 1024;

/// A place in one deploy's app log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppPlace {
    /// Whose log.
    pub deploy: DeployId,
    /// The digits of the time of the file's first line; 0 for the beginning of all.
    file: u128,
    offset: u64,
}

impl fmt::Display for AppPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.deploy, self.file, self.offset)
    }
}

/// A place as a client sent it: it may name any deploy there is. [`ClaimedPlace::of`] makes a place of
/// it, once the store has said which deploys are the app's.
#[derive(Debug, Clone, Copy)]
pub struct ClaimedPlace(AppPlace);

impl ClaimedPlace {
    /// The deploy that it names.
    pub fn deploy(self) -> DeployId {
        self.0.deploy
    }

    /// The place, if it is in the log of one of these deploys.
    pub fn of(self, owned: &OwnedDeploys) -> Option<AppPlace> {
        owned.contains(self.0.deploy).then_some(self.0)
    }
}

impl FromStr for ClaimedPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.');
        let mut next = || {
            parts
                .next()
                .ok_or_else(|| format!("{text:?} is no place in a log"))
        };
        let bad = |_| format!("{text:?} is no place in a log");
        let deploy = next()?
            .parse()
            .map_err(|_| format!("{text:?} is no place in a log"))?;
        Ok(Self(AppPlace {
            deploy,
            file: next()?.parse().map_err(bad)?,
            offset: next()?.parse().map_err(bad)?,
        }))
    }
}

impl AppPlace {
    /// The beginning of a deploy's log.
    pub fn beginning(deploy: DeployId) -> Self {
        Self {
            deploy,
            file: 0,
            offset: 0,
        }
    }
}

/// A file of a log, open.
struct Part {
    file: File,
    mark: u128,
    size: u64,
}

impl Part {
    fn open(path: &PathBuf) -> io::Result<Option<Self>> {
        let Some(mut file) = open(path)? else {
            return Ok(None);
        };
        let mut first = [0; 30];
        let read = file.read(&mut first)?;
        let digits: String = first[..read]
            .iter()
            .filter(|b| b.is_ascii_digit())
            .map(|b| *b as char)
            .collect();
        let size = file.metadata()?.len();
        Ok(Some(Self {
            file,
            mark: digits.parse().unwrap_or(0),
            size,
        }))
    }

    fn read(&mut self, from: u64, length: u64) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        (&mut self.file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The files of a log, the older one first.
fn parts(path: &Path) -> io::Result<Vec<Part>> {
    // The newer one first: if it moves aside in between, it is seen twice rather than not at all.
    let new = Part::open(&path.to_path_buf())?;
    let old = Part::open(&path.with_extension("log.1"))?;
    let old = old.filter(|old| new.as_ref().is_none_or(|new| new.mark != old.mark));
    Ok(old.into_iter().chain(new).collect())
}

impl Logs {
    fn app_parts(&self, id: DeployId) -> io::Result<Vec<Part>> {
        parts(&self.deploy_dir(id).join("app.log"))
    }

    /// The end of a deploy's app log as it is now.
    pub fn app_end(&self, id: DeployId) -> io::Result<AppPlace> {
        let last = self.app_parts(id)?.pop();
        let (file, offset) = last.map_or((0, 0), |part| (part.mark, part.size));
        Ok(AppPlace {
            deploy: id,
            file,
            offset,
        })
    }

    /// Lines of a deploy's app log behind a place, which moves on; some 256 KiB of them at most, and none
    /// only at the end.
    pub fn app_after(&self, place: &mut AppPlace) -> io::Result<Vec<AppLine>> {
        let parts = self.app_parts(place.deploy)?;
        // What is not there any more is as if read: what is there is younger.
        let at = parts
            .iter()
            .position(|part| part.mark == place.file && place.offset <= part.size);
        for (n, mut part) in parts.into_iter().enumerate().skip(at.unwrap_or(0)) {
            let from = if at == Some(n) { place.offset } else { 0 };
            let bytes = part.read(from, WINDOW)?;
            let whole = bytes
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |end| end + 1);
            if whole > 0 {
                *place = AppPlace {
                    deploy: place.deploy,
                    file: part.mark,
                    offset: from + whole as u64,
                };
                let lines = bytes[..whole].split(|b| *b == b'\n');
                return Ok(lines.filter_map(|line| parse(line, place.deploy)).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Goes back through a deploy's app log from a place on, line by line, while `each` wants more. It is
    /// given the place before the line.
    pub fn app_before(
        &self,
        place: AppPlace,
        mut each: impl FnMut(AppPlace, AppLine) -> bool,
    ) -> io::Result<()> {
        for mut part in self.app_parts(place.deploy)?.into_iter().rev() {
            // Files younger than the place do not count, and one that is gone has nothing before it.
            let end = match part.mark.cmp(&place.file) {
                std::cmp::Ordering::Greater => continue,
                std::cmp::Ordering::Equal => place.offset.min(part.size),
                std::cmp::Ordering::Less => part.size,
            };
            if !back(&mut part, end, place.deploy, &mut each)? {
                break;
            }
        }
        Ok(())
    }
}

/// Goes back through one file. False when `each` wants no more.
fn back(
    part: &mut Part,
    mut end: u64,
    deploy: DeployId,
    each: &mut impl FnMut(AppPlace, AppLine) -> bool,
) -> io::Result<bool> {
    let mut window = WINDOW;
    while end > 0 {
        let from = end.saturating_sub(window);
        let bytes = part.read(from, end - from)?;
        let first = bytes
            .iter()
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |at| at + 1);
        let begin = if from == 0 { 0 } else { first };
        if begin >= bytes.len() {
            // A line longer than this.
            window *= 2;
            continue;
        }
        let mut behind = bytes.len();
        while behind > begin {
            let line_end = behind - usize::from(bytes[behind - 1] == b'\n');
            let start = bytes[begin..line_end]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(begin, |at| begin + at + 1);
            let place = AppPlace {
                deploy,
                file: part.mark,
                offset: from + start as u64,
            };
            if let Some(line) = parse(&bytes[start..line_end], deploy)
                && !each(place, line)
            {
                return Ok(false);
            }
            behind = start;
        }
        (end, window) = (from + begin as u64, WINDOW);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Replica;
    use crate::logs::Redactor;

    const ID: DeployId = DeployId(3);

    fn write(logs: &Logs, numbers: std::ops::Range<usize>, width: usize) {
        let mut writer = logs
            .write_app(ID, &Replica::web(), Redactor::default())
            .unwrap();
        for n in numbers {
            let at = format!(
                "2026-11-21T{:02}:{:02}:{:02}.000000000Z",
                n / 3600,
                n / 60 % 60,
                n % 60
            );
            writer
                .append(
                    &at,
                    false,
                    format!("{n} {}\n", "x".repeat(width)).as_bytes(),
                )
                .unwrap();
        }
    }

    fn number(line: &AppLine) -> usize {
        line.text.split(' ').next().unwrap().parse().unwrap()
    }

    fn rest(logs: &Logs, place: &mut AppPlace) -> Vec<usize> {
        let mut all = Vec::new();
        loop {
            let lines = logs.app_after(place).unwrap();
            if lines.is_empty() {
                return all;
            }
            all.extend(lines.iter().map(number));
        }
    }

    #[test]
    fn a_place_is_found_again_when_its_file_has_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        assert_eq!(logs.app_end(ID).unwrap(), AppPlace::beginning(ID));
        write(&logs, 0..900, 12_000);
        // Ten megabytes are full after some 870 lines: the end is in the second file.
        let mut place = logs.app_end(ID).unwrap();
        write(&logs, 900..950, 12_000);
        let resumed = place.to_string().parse::<ClaimedPlace>().unwrap().0;
        assert_eq!(resumed, place);
        assert_eq!(rest(&logs, &mut place), (900..950).collect::<Vec<_>>());
        let mut before = resumed;
        write(&logs, 950..1900, 12_000);
        assert_eq!(
            rest(&logs, &mut before),
            (900..1900).collect::<Vec<_>>(),
            "over a file that moved aside"
        );

        let mut back = Vec::new();
        logs.app_before(logs.app_end(ID).unwrap(), |_, line| {
            back.push(number(&line));
            back.len() < 1000
        })
        .unwrap();
        assert_eq!(back, (900..1900).rev().collect::<Vec<_>>());
        // What is long gone has nothing before it, and what is there is behind it.
        logs.app_before(AppPlace { file: 1, ..resumed }, |_, _| {
            panic!("nothing is older")
        })
        .unwrap();
        assert!(rest(&logs, &mut AppPlace::beginning(ID)).len() > 1000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Wherever one stands, what is before it and what is behind it are the whole log.
        #[test]
        fn before_and_after_a_place_are_everything(count in 1usize..80, width in 0usize..9000, stop in 0usize..80) {
            let dir = tempfile::tempdir().unwrap();
            let logs = Logs::open(dir.path(), u64::MAX).unwrap();
            write(&logs, 0..count, width);
            let (mut back, mut place) = (Vec::new(), logs.app_end(ID).unwrap());
            logs.app_before(place, |at, line| {
                if back.len() == stop { return false; }
                back.push(number(&line));
                place = at;
                true
            }).unwrap();
            let mut older = Vec::new();
            logs.app_before(place, |_, line| { older.push(number(&line)); true }).unwrap();
            back.reverse();
            older.reverse();
            prop_assert_eq!(&rest(&logs, &mut place.clone()), &back);
            prop_assert_eq!([older, back].concat(), (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn no_text_is_taken_for_a_place_that_it_is_not(text in "[0-9.]{0,50}|\\PC{0,30}") {
            if let Ok(ClaimedPlace(place)) = text.parse() {
                prop_assert_eq!(place.to_string().parse::<ClaimedPlace>().unwrap().0, place);
            }
        }
    }
}
