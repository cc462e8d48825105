//! Looking for a text in all lines of a deploy, however many there are.
//!
//! Files are read a piece at a time and never held whole. Upper and lower case are one, as far as ASCII
//! goes; colours are no part of a line's text, and neither is the time before it.

use std::fs::File;
use std::io::{self, Read};

use aho_corasick::{AhoCorasick, Input};
use memchr::{memchr, memchr_iter, memrchr};

use super::{LineAt, Logs};
use crate::domain::{DeployId, printable};

/// The most characters that are looked for.
pub const LONGEST_QUERY: usize = 200;

/// How much of a line is shown before and behind what was found, in characters.
const AROUND: (usize, usize) = (100, 200);

/// How much is read at once; a line is shorter.
const PIECE: usize = 256 * 1024;

/// A line in which the text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Which.
    pub at: LineAt,
    /// What stands before the text.
    pub before: String,
    /// The text, as it stands there.
    pub text: String,
    /// What comes behind it.
    pub after: String,
}

/// The lines in which a text is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The first of them.
    pub hits: Vec<Hit>,
    /// How many more there are behind those.
    pub more: u64,
}

impl Logs {
    /// The first `most` lines behind `after` in which `query` is, of the first `phases` phases' logs.
    pub fn search(
        &self,
        id: DeployId,
        phases: usize,
        query: &str,
        after: Option<LineAt>,
        most: usize,
    ) -> io::Result<Found> {
        let query: String = query.chars().take(LONGEST_QUERY).collect();
        let mut found = Found::default();
        if query.is_empty() || query.contains('\n') {
            return Ok(found);
        }
        let pattern = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build([&query]);
        let pattern = pattern.map_err(io::Error::other)?;
        for ordinal in after.map_or(0, |after| after.ordinal)..phases {
            let Some(path) = self.phase_file(id, ordinal)? else {
                continue;
            };
            let after = after
                .filter(|after| after.ordinal == ordinal)
                .map_or(0, |after| after.line);
            pieces(File::open(path)?, |before, lines| {
                matches(&pattern, lines, before, |line, hit: [&[u8]; 3]| {
                    if line <= after {
                    } else if found.hits.len() < most {
                        found.hits.push(shown(LineAt { ordinal, line }, hit));
                    } else {
                        found.more += 1;
                    }
                })
            })?;
        }
        Ok(found)
    }
}

/// Hands a file's lines on, a piece at a time, with the number of lines before it.
fn pieces(mut file: File, mut take: impl FnMut(u64, &[u8]) -> u64) -> io::Result<()> {
    let (mut buffer, mut bare) = (vec![0; PIECE], Vec::new());
    let (mut filled, mut lines) = (0, 0);
    loop {
        let read = file.read(&mut buffer[filled..])?;
        filled += read;
        // Half a line at the end waits for its other half; at the end of the file it is not one yet.
        let whole = match memrchr(b'\n', &buffer[..filled]) {
            Some(newline) => newline + 1,
            None if filled == buffer.len() => filled,
            None => 0,
        };
        let piece = without_colours(&buffer[..whole], &mut bare);
        lines += take(lines, piece);
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if read == 0 {
            return Ok(());
        }
    }
}

/// The bytes without their colours, which `bare` holds then.
fn without_colours<'a>(bytes: &'a [u8], bare: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr(0x1b, bytes).is_none() {
        return bytes;
    }
    bare.clear();
    let mut rest = bytes;
    while let Some(at) = memchr(0x1b, rest) {
        bare.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        // `[`, digits and semicolons, `m`: a log has no other sequences.
        if let Some(colour) = rest.strip_prefix(b"[") {
            let end = colour
                .iter()
                .position(|b| !b.is_ascii_digit() && *b != b';')
                .unwrap_or(colour.len());
            rest = colour[end..].strip_prefix(b"m").unwrap_or(&colour[end..]);
        }
    }
    bare.extend_from_slice(rest);
    bare
}

/// Tells of each line in which the pattern is, with the line in three: what is before, the text, what is
/// behind. Gives the number of lines.
fn matches(
    pattern: &AhoCorasick,
    lines: &[u8],
    before: u64,
    mut tell: impl FnMut(u64, [&[u8]; 3]),
) -> u64 {
    let (mut at, mut counted, mut count) = (0, 0, 0);
    while let Some(found) = pattern.find(Input::new(lines).span(at..lines.len())) {
        let start = memrchr(b'\n', &lines[..found.start()]).map_or(0, |newline| newline + 1);
        let end =
            memchr(b'\n', &lines[found.start()..]).map_or(lines.len(), |more| found.start() + more);
        let text = start + time_of(&lines[start..end]);
        if found.start() < text {
            at = text;
            continue;
        }
        count += memchr_iter(b'\n', &lines[counted..start]).count() as u64;
        counted = start;
        let (from, to) = (found.start(), found.end().min(end));
        tell(
            before + count + 1,
            [&lines[text..from], &lines[from..to], &lines[to..end]],
        );
        at = (end + 1).min(lines.len());
    }
    count + memchr_iter(b'\n', &lines[counted..]).count() as u64
}

/// How much of a stored line is the time before its text.
fn time_of(line: &[u8]) -> usize {
    match memchr(b'\t', line) {
        Some(tab) if line[..tab].iter().all(u8::is_ascii_digit) => tab + 1,
        _ => 0,
    }
}

fn shown(at: LineAt, [before, text, after]: [&[u8]; 3]) -> Hit {
    let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\t', "    ");
    let (before, after) = (text_of(before), text_of(after));
    let cut = before
        .char_indices()
        .rev()
        .nth(AROUND.0)
        .map(|(at, c)| at + c.len_utf8());
    let start = cut.map_or_else(|| before.clone(), |cut| format!("…{}", &before[cut..]));
    let end = match after.char_indices().nth(AROUND.1) {
        Some((cut, _)) => format!("{}…", &after[..cut]),
        None => after,
    };
    let clean = |text: &str| printable(text, usize::MAX);
    Hit {
        at,
        before: clean(&start),
        text: clean(&text_of(text)),
        after: clean(&end),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Phase, Stopwatch};
    use crate::logs::Redactor;

    const ID: DeployId = DeployId(1);

    fn logs(phases: &[&str]) -> (tempfile::TempDir, Logs) {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path(), u64::MAX).unwrap();
        for (ordinal, text) in phases.iter().enumerate() {
            let phase = if ordinal == 0 {
                Phase::Checkout
            } else {
                Phase::Build
            };
            let writer = logs
                .write(ID, ordinal, &phase, Stopwatch::start(), Redactor::default())
                .unwrap();
            writer.output(text.as_bytes());
            writer.end_output();
        }
        (dir, logs)
    }

    fn lines(found: &Found) -> Vec<String> {
        found
            .hits
            .iter()
            .map(|hit| format!("{} {}[{}]{}", hit.at, hit.before, hit.text, hit.after))
            .collect()
    }

    #[test]
    fn a_text_is_found_in_any_phase_whatever_its_case_and_colours() {
        let coloured =
            "one\n\x1b[1;31mErr\x1b[0mor: \x1b[33mbad\x1b[0m\nERROR twice, error\n\terror\n";
        let (_dir, logs) = logs(&["nothing\n", coloured]);
        let found = logs.search(ID, 2, "error", None, 10).unwrap();
        assert_eq!(
            lines(&found),
            [
                "1.2 [Error]: bad",
                "1.3 [ERROR] twice, error",
                "1.4     [error]"
            ]
        );
        assert_eq!(found.more, 0);
        let after = Some("1.2".parse().unwrap());
        assert_eq!(
            lines(&logs.search(ID, 2, "error", after, 1).unwrap()),
            ["1.3 [ERROR] twice, error"]
        );
        assert_eq!(logs.search(ID, 2, "error", after, 1).unwrap().more, 1);
        for nothing in [
            "",
            "[31m",
            "\x1b",
            "one\n",
            "nothing at all",
            &"e".repeat(500),
        ] {
            assert_eq!(
                logs.search(ID, 2, nothing, None, 10).unwrap(),
                Found::default(),
                "{nothing:?}"
            );
        }
        assert_eq!(
            logs.search(ID, 1, "error", None, 10).unwrap(),
            Found::default(),
            "not yet a phase"
        );
    }

    #[test]
    fn the_time_before_a_line_is_no_part_of_it() {
        let (dir, logs) = logs(&[]);
        std::fs::create_dir(dir.path().join("1")).unwrap();
        std::fs::write(
            dir.path().join("1/00-build.log"),
            "1234\tabout 34\n3400\tnothing\n34\t34\n34",
        )
        .unwrap();
        let found = logs.search(ID, 1, "34", None, 10).unwrap();
        assert_eq!(lines(&found), ["0.1 about [34]", "0.3 [34]"]);
    }

    #[test]
    fn one_of_a_million_lines_is_found_and_many_are_counted() {
        let (_dir, logs) = logs(&["x\n", ""]);
        let many: String = (1..=1_000_000)
            .map(|n| format!("7\tline {n} of many\n"))
            .collect();
        std::fs::write(logs.phase_file(ID, 1).unwrap().unwrap(), many).unwrap();
        let one = logs.search(ID, 2, "LINE 765432 of", None, 100).unwrap();
        assert_eq!(lines(&one), ["1.765432 [line 765432 of] many"]);
        let all = logs.search(ID, 2, "of many", None, 100).unwrap();
        assert_eq!((all.hits.len(), all.more), (100, 999_900));
        assert_eq!(all.hits[99].at.line, 100);
    }

    #[test]
    fn of_a_long_line_what_is_around_is_shown() {
        let (_dir, logs) = logs(&[&format!(
            "{}needle{}\n",
            "é".repeat(5000),
            "<&>".repeat(3000)
        )]);
        let hit = &logs.search(ID, 1, "Needle", None, 1).unwrap().hits[0];
        assert_eq!(
            (hit.before.chars().count(), hit.text.as_str()),
            (101, "needle")
        );
        assert!(hit.after.ends_with('…') && hit.after.chars().count() == 201);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_plain_search_finds(
            text in "([abAB\\n ]|\x1b\\[3[0-7]m|é){0,400}", query in "[abé ]{1,3}", after in 0u64..10, most in 0usize..9,
        ) {
            let (_dir, logs) = logs(&[&text]);
            let bare: Vec<String> = (0..8).fold(text.clone(), |text, n| text.replace(&format!("\x1b[3{n}m"), ""))
                .lines().map(str::to_ascii_lowercase).collect();
            let expected: Vec<u64> = bare.iter().enumerate()
                .filter(|(_, line)| line.contains(&query.to_ascii_lowercase()))
                .map(|(n, _)| n as u64 + 1).filter(|n| *n > after).collect();
            let found = logs.search(ID, 1, &query, Some(LineAt { ordinal: 0, line: after }), most).unwrap();
            let numbers: Vec<u64> = found.hits.iter().map(|hit| hit.at.line).collect();
            prop_assert_eq!(found.more as usize, expected.len().saturating_sub(most));
            prop_assert_eq!(&numbers[..], &expected[..expected.len().min(most)]);
        }
    }
}
