//! Log text to HTML: colours become classes, everything else becomes text.
//!
//! What a build prints is written by strangers. The only markup that can come out of here is
//! `<span class="…">` with classes from the tables below, `</span>`, and the five character
//! entities; a property test holds it to that.

use std::fmt::Write;
use std::time::Duration;

use vte::{Params, ParamsIter, Parser, Perform};

use crate::domain::duration::show;
use crate::logs::LineAt;

/// The rows of a log's text (`<ms>\t<text>\n` each), ready to be put into a page, the first of them this
/// line. Each has its number, as a link to the page around it and as the anchor of that link.
///
/// The time stands in an attribute, and the number is not to be selected, so that copying a log copies
/// what was printed and no more.
pub(super) fn rows(text: &str, first: LineAt) -> String {
    numbered(text, first, |at| format!(" id=\"{}\"", anchor(at)))
}

/// As [`rows`], for a second time in a page: without anchors.
pub(super) fn excerpt(text: &str, first: LineAt) -> String {
    numbered(text, first, |_| String::new())
}

fn numbered(text: &str, first: LineAt, id: impl Fn(LineAt) -> String) -> String {
    let mut html = String::with_capacity(text.len() * 3);
    for (stored, line) in text.lines().zip(first.line..) {
        let (at, (t, printed)) = (LineAt { line, ..first }, timed(stored));
        let (id, anchor) = (id(at), anchor(at));
        let _ = write!(
            html,
            "<div data-t=\"{t}\"><a{id} href=\"?line={at}#{anchor}\" tabindex=\"-1\">{line}</a>{}</div>",
            line_html(printed)
        );
    }
    html
}

/// The anchor of a line.
pub(super) fn anchor(at: LineAt) -> String {
    format!("p{}-L{}", at.ordinal, at.line)
}

/// A log's lines for the script, which makes the same rows of them: `<time>\t<html>` each.
pub(super) fn told(text: &str) -> Vec<String> {
    let line = |stored| {
        let (t, printed) = timed(stored);
        format!("{t}\t{}", line_html(printed))
    };
    text.lines().map(line).collect()
}

/// A stored line's time, as it is shown, and its text.
fn timed(stored: &str) -> (String, &str) {
    let (ms, line) = split(stored);
    (
        ms.map(|ms| show(Duration::from_millis(ms)))
            .unwrap_or_default(),
        line,
    )
}

/// The same rows as plain text, without colours.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for stored in text.lines() {
        let (at, line) = timed(stored);
        let mut words = Words(String::with_capacity(line.len()));
        Parser::new().advance(&mut words, line.as_bytes());
        let _ = writeln!(out, "{at:>8}  {}", words.0);
    }
    out
}

/// A stored line's time and text. A line cut by a strange cursor has no time.
fn split(stored: &str) -> (Option<u64>, &str) {
    match stored.split_once('\t') {
        Some((ms, line)) => match ms.parse() {
            Ok(ms) => (Some(ms), line),
            Err(_) => (None, stored),
        },
        None => (None, stored),
    }
}

/// One line as HTML. A colour that a line does not end, ends with it.
pub(super) fn line_html(line: &str) -> String {
    let mut page = Html {
        out: String::with_capacity(line.len() + 16),
        ..Html::default()
    };
    Parser::new().advance(&mut page, line.as_bytes());
    page.close();
    page.out
}

struct Words(String);

impl Perform for Words {
    fn print(&mut self, c: char) {
        self.0.push(c);
    }
    fn execute(&mut self, byte: u8) {
        if byte == b'\t' {
            self.0.push('\t');
        }
    }
}

/// How text looks; colours are 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Style {
    front: Option<u8>,
    back: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
}

#[derive(Debug, Default)]
struct Html {
    out: String,
    /// What the next character shall look like.
    wanted: Style,
    /// What the open span says; plain means that none is open.
    open: Style,
}

impl Html {
    fn close(&mut self) {
        if self.open != Style::default() {
            self.out.push_str("</span>");
            self.open = Style::default();
        }
    }

    fn open_wanted(&mut self) {
        if self.open == self.wanted {
            return;
        }
        self.close();
        let style = self.wanted;
        let mut classes: Vec<String> = Vec::new();
        classes.extend(style.front.map(|n| format!("f{n}")));
        classes.extend(style.back.map(|n| format!("b{n}")));
        let flags = [
            (style.bold, "bo"),
            (style.dim, "di"),
            (style.italic, "it"),
            (style.underline, "un"),
        ];
        classes.extend(
            flags
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, class)| (*class).to_owned()),
        );
        if !classes.is_empty() {
            let _ = write!(self.out, "<span class=\"{}\">", classes.join(" "));
        }
        self.open = style;
    }
}

impl Perform for Html {
    fn print(&mut self, c: char) {
        self.open_wanted();
        match c {
            '&' => self.out.push_str("&amp;"),
            '<' => self.out.push_str("&lt;"),
            '>' => self.out.push_str("&gt;"),
            '"' => self.out.push_str("&quot;"),
            '\'' => self.out.push_str("&#39;"),
            c => self.out.push(c),
        }
    }

    fn execute(&mut self, byte: u8) {
        if byte == b'\t' {
            self.out.push('\t');
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if action == 'm' && intermediates.is_empty() && !ignore {
            self.wanted.apply(params);
        }
    }
}

impl Style {
    fn apply(&mut self, params: &Params) {
        let mut rest = params.iter();
        while let Some(param) = rest.next() {
            match param[0] {
                0 => *self = Style::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = param.get(1) != Some(&0),
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                n @ 30..=37 => self.front = Some((n - 30) as u8),
                n @ 90..=97 => self.front = Some((n - 82) as u8),
                n @ 40..=47 => self.back = Some((n - 40) as u8),
                n @ 100..=107 => self.back = Some((n - 92) as u8),
                38 => self.front = extended(param, &mut rest).or(self.front),
                48 => self.back = extended(param, &mut rest).or(self.back),
                39 => self.front = None,
                49 => self.back = None,
                _ => {}
            }
        }
    }
}

/// The colour after 38 or 48: `5;n` of the palette of 256, or `2;r;g;b`; both also with colons.
fn extended(param: &[u16], rest: &mut ParamsIter<'_>) -> Option<u8> {
    if param.len() > 1 {
        return match *param {
            [_, 5, n, ..] => from_256(n),
            // With colons there may be a colour space between the 2 and the red.
            [_, 2, _, r, g, b, ..] | [_, 2, r, g, b] => nearest([r, g, b]),
            _ => None,
        };
    }
    let mut next = || rest.next().map(|param| param[0]);
    match next()? {
        5 => from_256(next()?),
        2 => nearest([next()?, next()?, next()?]),
        _ => None,
    }
}

fn from_256(n: u16) -> Option<u8> {
    match n {
        0..=15 => Some(n as u8),
        16..=231 => {
            let level = |n: u16| if n == 0 { 0 } else { 55 + 40 * n };
            let n = n - 16;
            nearest([level(n / 36), level(n / 6 % 6), level(n % 6)])
        }
        232..=255 => nearest([8 + 10 * (n - 232); 3]),
        _ => None,
    }
}

/// The sixteen colours as xterm has them.
const PALETTE: [[i32; 3]; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

fn nearest(rgb: [u16; 3]) -> Option<u8> {
    let far = |known: &[i32; 3]| -> i32 {
        known
            .iter()
            .zip(rgb)
            .map(|(k, c)| (k - i32::from(c.min(255))).pow(2))
            .sum()
    };
    (0u8..16).min_by_key(|n| far(&PALETTE[usize::from(*n)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_become_classes_and_end_with_the_line() {
        assert_eq!(
            line_html("\x1b[31mred\x1b[0m plain"),
            "<span class=\"f1\">red</span> plain"
        );
        assert_eq!(
            line_html("\x1b[1;4;92mall"),
            "<span class=\"f10 bo un\">all</span>"
        );
        assert_eq!(
            line_html("\x1b[31m\x1b[0m"),
            "",
            "a colour of nothing opens nothing"
        );
        assert_eq!(
            line_html("\x1b[38;5;196ma\x1b[48;2;0;0;0mb"),
            "<span class=\"f9\">a</span><span class=\"f9 b0\">b</span>"
        );
        assert_eq!(
            line_html("\x1b[38:2::255:255:255mw"),
            "<span class=\"f15\">w</span>"
        );
        assert_eq!(
            line_html("\x1b[38;5mx\x1b[38;7;1my"),
            "x<span class=\"bo\">y</span>"
        );
    }

    #[test]
    fn markup_in_a_log_stays_text() {
        let first = LineAt {
            ordinal: 1,
            line: 7,
        };
        let row = rows("420\t<img src=x onerror=\"alert('1')\"> & more\n", first);
        assert_eq!(
            row,
            "<div data-t=\"0.42s\"><a id=\"p1-L7\" href=\"?line=1.7#p1-L7\" tabindex=\"-1\">7</a>&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt; &amp; more</div>"
        );
        let strange = "\"><b>\tx\n";
        assert_eq!(
            excerpt(strange, first),
            "<div data-t=\"\"><a href=\"?line=1.7#p1-L7\" tabindex=\"-1\">7</a>&quot;&gt;&lt;b&gt;\tx</div>"
        );
        assert_eq!(told(strange), ["\t&quot;&gt;&lt;b&gt;\tx"]);
        assert_eq!(plain("8200\t\x1b[31m<b>\x1b[0m\n"), "    8.2s  <b>\n");
    }

    /// Takes our own markup away, and fails on any other.
    fn text_of(html: &str) -> String {
        let (mut out, mut rest, mut open) = (String::new(), html, false);
        while let Some(at) = rest.find(['<', '>', '"', '\'', '&']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(tail) = rest.strip_prefix("<span class=\"") {
                let (classes, tail) = tail.split_once("\">").expect("an end of the tag");
                let known = |c: &str| {
                    let number = c
                        .get(1..)
                        .and_then(|n| n.parse::<u8>().ok())
                        .is_some_and(|n| n < 16);
                    ["bo", "di", "it", "un"].contains(&c) || c.starts_with(['f', 'b']) && number
                };
                assert!(classes.split(' ').all(known), "{classes}");
                assert!(!open, "spans do not nest");
                (open, rest) = (true, tail);
            } else if let Some(tail) = rest.strip_prefix("</span>") {
                assert!(open, "a span that was not open ends");
                (open, rest) = (false, tail);
            } else {
                let entities = [
                    ("&amp;", '&'),
                    ("&lt;", '<'),
                    ("&gt;", '>'),
                    ("&quot;", '"'),
                    ("&#39;", '\''),
                ];
                let (entity, c) = entities
                    .iter()
                    .find(|(e, _)| rest.starts_with(e))
                    .expect("one of our entities");
                out.push(*c);
                rest = &rest[entity.len()..];
            }
        }
        assert!(!open, "an open span");
        out + rest
    }

    proptest! {
        #[test]
        fn no_line_yields_any_markup_but_our_spans(line in "(\\PC|\x1b\\[[0-9;:]{0,12}m|[<>&\"'\t\x1b]){0,60}") {
            let mut words = Words(String::new());
            Parser::new().advance(&mut words, line.as_bytes());
            prop_assert_eq!(text_of(&line_html(&line)), words.0);
        }

        #[test]
        fn every_stored_line_is_one_row_and_nothing_is_left_open(text in "([0-9]{0,22}\t?(\\PC|\x1b\\[[0-9;:]{0,12}m|[<>&\"'\t\x1b\r]){0,20}\n){0,6}") {
            let html = rows(&text, LineAt { ordinal: 0, line: 1 });
            let mut rest = html.as_str();
            for (line, told) in (1..).zip(told(&text)) {
                let (time, row) = rest.strip_prefix("<div data-t=\"").unwrap().split_once("\">").unwrap();
                prop_assert!(time.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == ' '), "{}", time);
                let (row, after) = row.split_once("</div>").unwrap();
                let (number, row) = row.split_once("</a>").unwrap();
                prop_assert_eq!(number, format!("<a id=\"p0-L{line}\" href=\"?line=0.{line}#p0-L{line}\" tabindex=\"-1\">{line}"));
                prop_assert_eq!(told, format!("{time}\t{row}"));
                text_of(row);
                rest = after;
            }
            prop_assert_eq!(rest, "");
            prop_assert_eq!(plain(&text).lines().count(), text.lines().count());
        }

        #[test]
        fn no_bytes_yield_any_markup_but_our_spans(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            text_of(&line_html(&String::from_utf8_lossy(&raw)));
        }
    }
}
