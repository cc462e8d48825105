//! An app's secrets, taken out of whatever is printed before it is stored or sent.
//!
//! The values of an app's environment are what is secret; `[NAME]` takes the place of one. A value of
//! several lines is looked for line by line, and the password in a URL also by itself. What is shorter than [`SHORTEST`], in [`COMMON`], or part
//! of the app's public address stays: it would be found where nothing is meant by it, and hides nothing.
//!
//! Only a value as it was set is found: a program that prints it encoded, or letter by letter, still
//! shows it.

use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::clean::{LONGEST_LINE, clean_line};
use crate::domain::Environment;

/// What is shorter, in bytes, is not taken out.
pub const SHORTEST: usize = 8;
/// Words that environments are full of.
const COMMON: [&str; 5] = [
    "production",
    "development",
    "localhost",
    "127.0.0.1",
    "en_US.UTF-8",
];

/// Knows an app's secrets. Cheap to clone; one that knows none costs nothing.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Known>>);

struct Known {
    search: AhoCorasick,
    /// What takes the place of each pattern, as `[NAME]`.
    marks: Vec<String>,
    /// The longest pattern's length in bytes.
    longest: usize,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().flat_map(|known| &known.marks))
            .finish()
    }
}

impl Redactor {
    /// For the values of an environment. What occurs in one of the `public` texts is no secret.
    pub fn new(env: &Environment, public: &[String]) -> Self {
        let is_public = |text: &str| {
            COMMON.contains(&text) || public.iter().any(|public| public.contains(text))
        };
        let (mut patterns, mut marks) = (Vec::new(), Vec::new());
        for (name, value) in env.iter() {
            // As it will look when it comes out of a program.
            let lines = value
                .split(['\n', '\r'])
                .chain(password(value))
                .map(|line| without_colours(&clean_line(line.as_bytes())).0);
            for line in lines.map(|line| line.trim().to_owned()) {
                if line.len() >= SHORTEST && !is_public(&line) {
                    patterns.push(line);
                    marks.push(format!("[{name}]"));
                }
            }
        }
        let Some(longest) = patterns.iter().map(String::len).max() else {
            return Self(None);
        };
        // The smallest form that is not slow.
        let kind = Some(AhoCorasickKind::ContiguousNFA);
        let search = AhoCorasick::builder().kind(kind).build(&patterns);
        let search = search.expect("an environment is far smaller than what can be searched for");
        Self(Some(Arc::new(Known {
            search,
            marks,
            longest,
        })))
    }

    /// One line, or text, that was cleaned, without the secrets in it. Colours stay, also those
    /// within a secret.
    pub fn redact(&self, text: String) -> String {
        let Some(known) = &self.0 else { return text };
        let (bare, colours) = without_colours(&text);
        let found = known.find(bare.as_bytes());
        if found.is_empty() {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        let mut colours = colours.into_iter().peekable();
        let mut copy = |out: &mut String, mut from: usize, to: usize, shown: bool| {
            while let Some((at, colour)) = colours.next_if(|(at, _)| *at <= to) {
                if shown {
                    out.push_str(&bare[from..at]);
                }
                out.push_str(colour);
                from = at;
            }
            if shown {
                out.push_str(&bare[from..to]);
            }
        };
        let mut at = 0;
        for (range, pattern) in found {
            copy(&mut out, at, range.start, true);
            out.push_str(&known.marks[pattern]);
            copy(&mut out, range.start, range.end, false);
            at = range.end;
        }
        copy(&mut out, at, bare.len(), true);
        out
    }

    /// One line as a program printed it, made safe to store and to show.
    pub fn clean(&self, raw: &[u8]) -> String {
        self.redact(clean_line(raw))
    }

    /// How much of an unfinished line may be the beginning of a secret.
    pub(super) fn longest(&self) -> usize {
        self.0.as_ref().map_or(0, |known| known.longest)
    }

    /// Where to cut a line that is longer than [`LONGEST_LINE`]: not within a secret.
    pub(super) fn cut_at(&self, raw: &[u8]) -> usize {
        let Some(known) = &self.0 else {
            return LONGEST_LINE;
        };
        let near = &raw[..raw.len().min(LONGEST_LINE + known.longest)];
        let cuts = |range: &Range<usize>| range.start < LONGEST_LINE && LONGEST_LINE < range.end;
        match known
            .find(near)
            .into_iter()
            .map(|(range, _)| range)
            .find(cuts)
        {
            Some(range) if range.start > 0 => range.start,
            Some(range) => range.end,
            None => LONGEST_LINE,
        }
    }
}

/// The password in a URL such as a database's.
fn password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (who, _) = authority.rsplit_once('@')?;
    who.split_once(':').map(|(_, password)| password)
}

impl Known {
    /// Where secrets stand, in order, and which. Those that overlap are one, called by the first.
    fn find(&self, text: &[u8]) -> Vec<(Range<usize>, usize)> {
        let mut all: Vec<_> = self.search.find_overlapping_iter(text).collect();
        all.sort_by_key(|found| (found.start(), Reverse(found.end())));
        let mut merged: Vec<(Range<usize>, usize)> = Vec::new();
        for found in all {
            match merged.last_mut() {
                Some((last, _)) if found.start() < last.end => last.end = last.end.max(found.end()),
                _ => merged.push((found.range(), found.pattern().as_usize())),
            }
        }
        merged
    }
}

/// A line's text without its colours.
pub fn bare(line: &str) -> String {
    without_colours(line).0
}

/// A line's text, and its colours with where they stood in it.
fn without_colours(line: &str) -> (String, Vec<(usize, &str)>) {
    let (mut bare, mut colours) = (String::with_capacity(line.len()), Vec::new());
    let mut rest = line;
    while let Some(at) = rest.find('\x1b') {
        bare.push_str(&rest[..at]);
        let end = at + colour_at(&rest[at..]);
        if end == at {
            bare.push('\x1b');
            rest = &rest[at + 1..];
        } else {
            colours.push((bare.len(), &rest[at..end]));
            rest = &rest[end..];
        }
    }
    bare.push_str(rest);
    (bare, colours)
}

/// The length of the colour that a text begins with: `ESC [ 1 ; 31 m`.
fn colour_at(text: &str) -> usize {
    let Some(numbers) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let end = numbers
        .find(|c: char| !c.is_ascii_digit() && c != ';')
        .unwrap_or(numbers.len());
    if numbers[end..].starts_with('m') {
        "\x1b[".len() + end + 1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::clean::LineSplitter;
    use super::*;
    use proptest::prelude::*;

    const KEY: &str =
        "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\r\nhkiG9w0BAQEFAASC\nshort\n-----END KEY-----\n";

    fn redactor() -> Redactor {
        let mut env = Environment::default();
        let vars = [
            ("TOKEN", "s3cret-t0ken"),
            ("LONGER", "s3cret-t0ken-and-more"),
            ("OVERLAPS", "and-more-of-it"),
            ("KEY", KEY),
            ("SPACED", "  padded value  "),
            ("UMLAUT", "grüße\u{202e}-geheim"),
            ("DATABASE_URL", "postgres://shop:pa55-w0rd@db:5432/shop"),
            ("PIN", "1234567"),
            ("MODE", "production"),
            ("ORIGIN", "https://shop.example.com"),
        ];
        vars.iter()
            .for_each(|(name, value)| env.set(name, value).unwrap());
        Redactor::new(&env, &["https://shop.example.com/".into()])
    }

    #[test]
    fn a_name_takes_the_place_of_each_value() {
        let redactor = redactor();
        for (printed, stored) in [
            ("token=s3cret-t0ken!", "token=[TOKEN]!"),
            ("s3cret-t0ken-and-more s3cret-t0ken", "[LONGER] [TOKEN]"),
            ("s3cret-t0ken-and-more-of-it", "[LONGER]"),
            ("-----BEGIN KEY-----", "[KEY]"),
            ("  MIIEvQIBADANBgkq", "  [KEY]"),
            ("hkiG9w0BAQEFAASC", "[KEY]"),
            (
                "{'PASSWORD': 'pa55-w0rd'}",
                "{'PASSWORD': '[DATABASE_URL]'}",
            ),
            (
                "to postgres://shop:pa55-w0rd@db:5432/shop",
                "to [DATABASE_URL]",
            ),
            ("short 1234567 production", "short 1234567 production"),
            ("<padded value>", "<[SPACED]>"),
            ("gr\u{fc}\u{df}e\u{202e}-geheim", "[UMLAUT]"),
            (
                "https://shop.example.com/ answers 200",
                "https://shop.example.com/ answers 200",
            ),
            (
                "\x1b[31ms3cret-t0ken\x1b[0m end",
                "\x1b[31m[TOKEN]\x1b[0m end",
            ),
            (
                "a s3cr\x1b[1met-t0\x1b[0mken b",
                "a [TOKEN]\x1b[1m\x1b[0m b",
            ),
            ("s3cret\x1b[2J-t0ken\0", "[TOKEN]"),
            ("10% s3cret-t0ken\rdone", "done"),
        ] {
            assert_eq!(redactor.clean(printed.as_bytes()), stored, "{printed:?}");
        }
        assert_eq!(Redactor::default().clean(b"s3cret-t0ken"), "s3cret-t0ken");
        // A reason of a failure comes as it is.
        let raw = "\x1b]0;s3cret-t0ken me\n\x1b[31ms3cret-t0ken\x1b[";
        assert_eq!(
            redactor.redact(raw.into()),
            "\x1b]0;[TOKEN] me\n\x1b[31m[TOKEN]\x1b["
        );
    }

    #[test]
    fn debug_output_names_no_value() {
        let shown = format!("{:?}", redactor());
        assert!(
            shown.contains("[TOKEN]") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn a_secret_at_the_place_where_a_long_line_is_cut_stays_whole() {
        for before in LONGEST_LINE - 30..LONGEST_LINE + 3 {
            let line = format!(
                "{}s3cret-t0ken{}",
                "x".repeat(before),
                "y".repeat(LONGEST_LINE)
            );
            for step in [7, 1000, line.len()] {
                let mut lines = Vec::new();
                let mut splitter = LineSplitter::new(redactor());
                line.as_bytes()
                    .chunks(step)
                    .for_each(|chunk| splitter.push(chunk, |line| lines.push(line)));
                splitter.finish(|line| lines.push(line));
                let all = lines.concat();
                let cut = line.replace("s3cret-t0ken", "[TOKEN]");
                assert_eq!(all, cut, "{before} {step}");
                assert!(lines.iter().all(|line| line.len() <= LONGEST_LINE));
            }
        }
    }

    #[test]
    fn a_secret_longer_than_a_line_may_be_is_taken_out_as_well() {
        let mut env = Environment::default();
        env.set("HUGE", &"abcdefgh".repeat(LONGEST_LINE / 4))
            .unwrap();
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(Redactor::new(&env, &[]));
        let printed = format!("<{}>\n", env.get("HUGE").unwrap());
        printed
            .as_bytes()
            .chunks(999)
            .for_each(|chunk| splitter.push(chunk, |line| lines.push(line)));
        assert_eq!(lines.concat(), "<[HUGE]>");
    }

    proptest! {
        #[test]
        fn however_it_is_split_no_secret_is_left(
            words in prop::collection::vec("[a-z \n]{0,9}|s3cret-t0ken|s3cret-t0ken-and-more|hkiG9w0BAQEFAASC", 0..60),
            step in 1usize..40,
        ) {
            let text = words.concat();
            let mut lines = Vec::new();
            let mut splitter = LineSplitter::new(redactor());
            text.as_bytes().chunks(step).for_each(|chunk| splitter.push(chunk, |line| lines.push(line)));
            splitter.finish(|line| lines.push(line));
            let left = |line: &String| line.contains("s3cret-t0ken") || line.contains("hkiG9w0BAQEFAASC");
            prop_assert!(!lines.iter().any(left), "{lines:?}");
            prop_assert_eq!(lines.len(), text.lines().count());
        }
    }
}
