//! What a program prints, made safe for any terminal and page, and cut into lines.
//!
//! Output of builds, gates and apps is shown on the terminals of people who did not write it.
//! So it is cleaned once, before it is stored: colours stay (SGR sequences), every other escape
//! sequence and control character goes, and so do the characters that reorder text.

use std::fmt::Write;

use vte::{Params, Parser, Perform};

use super::redact::Redactor;
use crate::domain::is_printable;

/// A longer line is cut into several.
pub const LONGEST_LINE: usize = 16 * 1024;

/// One line, without its newline, as it may be stored and shown.
///
/// Of a line that overwrites itself with carriage returns, as progress bars do, only what would be
/// left to see remains.
pub fn clean_line(raw: &[u8]) -> String {
    let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
    let shown = raw.rsplit(|b| *b == b'\r').next().unwrap_or(raw);
    if shown.iter().all(|b| (0x20..0x7f).contains(b)) {
        return String::from_utf8_lossy(shown).into_owned();
    }
    let mut kept = Kept(String::with_capacity(shown.len()));
    Parser::new().advance(&mut kept, shown);
    kept.0
}

struct Kept(String);

impl Perform for Kept {
    fn print(&mut self, c: char) {
        if is_printable(c) {
            self.0.push(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        if byte == b'\t' {
            self.0.push('\t');
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if action != 'm' || !intermediates.is_empty() || ignore {
            return;
        }
        let numbers: Vec<String> = params.iter().flatten().map(u16::to_string).collect();
        let _ = write!(self.0, "\x1b[{}m", numbers.join(";"));
    }
}

/// Cuts a stream of bytes into lines without secrets; keeps an unfinished one until it ends.
#[derive(Debug, Default)]
pub struct LineSplitter {
    unfinished: Vec<u8>,
    redactor: Redactor,
}

impl LineSplitter {
    /// One that takes these secrets out.
    pub fn new(redactor: Redactor) -> Self {
        Self {
            unfinished: Vec::new(),
            redactor,
        }
    }

    /// Takes more bytes and gives each line they complete, cleaned.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.unfinished.is_empty() {
                self.finish_line(head, &mut line);
            } else {
                self.unfinished.extend_from_slice(head);
                let whole = std::mem::take(&mut self.unfinished);
                self.finish_line(&whole, &mut line);
            }
        }
        self.unfinished.extend_from_slice(bytes);
        // The end of it may be the beginning of a secret.
        let left = self
            .cut(&self.unfinished, self.redactor.longest(), &mut line)
            .len();
        self.unfinished.drain(..self.unfinished.len() - left);
    }

    /// The last line, if the stream ended without a newline.
    pub fn finish(&mut self, mut line: impl FnMut(String)) {
        let last = std::mem::take(&mut self.unfinished);
        if !last.is_empty() {
            self.finish_line(&last, &mut line);
        }
    }

    fn finish_line(&self, raw: &[u8], line: &mut impl FnMut(String)) {
        let end = self.cut(raw, 0, line);
        line(self.redactor.clean(end));
    }

    /// Gives as much as is too long for a line with `more` behind it, and returns the rest.
    fn cut<'a>(&self, mut raw: &'a [u8], more: usize, line: &mut impl FnMut(String)) -> &'a [u8] {
        while raw.len() > LONGEST_LINE + more {
            let (part, rest) = raw.split_at(self.redactor.cut_at(raw));
            line(self.redactor.clean(part));
            raw = rest;
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_stay_and_everything_else_that_drives_a_terminal_goes() {
        let raw = b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[10;10H\x1b]8;;javascript:x\x07link\x1b]8;;\x07\0\x08\tend";
        assert_eq!(clean_line(raw), "\u{1b}[31mred\u{1b}[0m link\tend");
        assert_eq!(clean_line(b"10%\r50%\r100%"), "100%");
        assert_eq!(clean_line(b"windows\r"), "windows");
        assert_eq!(
            clean_line("caf\u{e9} \u{202e}evil".as_bytes()),
            "caf\u{e9} evil"
        );
    }

    proptest! {
        #[test]
        fn nothing_but_text_tabs_and_colours_is_left(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let shown = clean_line(&raw);
            let mut rest = shown.as_str();
            while let Some(at) = rest.find('\x1b') {
                let tail = rest[at..].strip_prefix("\x1b[").expect("a CSI");
                let end = tail.find(|c: char| !c.is_ascii_digit() && c != ';').expect("an end");
                prop_assert_eq!(&tail[end..=end], "m");
                rest = &tail[end..];
            }
            prop_assert!(shown.chars().all(|c| c == '\t' || c == '\x1b' || !c.is_control()));
        }

        #[test]
        fn however_it_is_split_the_lines_are_the_same(
            text in "[a-z\\n]{0,300}", cuts in prop::collection::vec(0usize..300, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut lines = Vec::new();
            let mut splitter = LineSplitter::default();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                splitter.push(&text.as_bytes()[from..cut], |l| lines.push(l));
                from = cut;
            }
            splitter.finish(|l| lines.push(l));
            prop_assert_eq!(lines, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
