//! `.dockerignore`, by Docker's rules (moby/patternmatcher): patterns are anchored at the context's
//! root, a pattern that matches a folder takes all below it, the last pattern that matches decides,
//! and `!` takes a path back even out of an excluded folder.
//!
//! A stranger wrote the patterns and the paths. So a pattern is followed in all its possible places
//! at once and nothing is tried twice: the time is a path's length times a pattern's, or times its own
//! where that is less.

use std::path::Path;

/// Written by people, as the manifest is; a longer one is none.
pub const LONGEST: u64 = 64 * 1024;

/// The patterns of a `.dockerignore`, in order.
#[derive(Debug, Default)]
pub struct DockerIgnore(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    pattern: Vec<Token>,
    /// Takes back what a rule before it left out.
    negated: bool,
}

/// A piece of a pattern. Only the last two match a slash.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// `?`
    Any,
    /// `[…]`: one of these ranges, or none of them.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`
    Many,
    /// `**/`: nothing, or whole folders.
    Folders,
    /// `**` elsewhere: anything.
    Everything,
}

impl DockerIgnore {
    /// Reads the file's text. The error names the pattern that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            // A comment begins in the first column; a pattern's spaces at both ends do not count.
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (line, negated) = line
                .strip_prefix('!')
                .map_or((line, false), |rest| (rest.trim(), true));
            let cleaned = clean(line);
            if !cleaned.is_empty() {
                let pattern =
                    tokens(&cleaned).map_err(|why| format!(".dockerignore: {line:?}: {why}"))?;
                rules.push(Rule { pattern, negated });
            }
        }
        Ok(Self(rules))
    }

    /// Whether the path, relative to the context's root, is left out.
    pub fn ignores(&self, path: &Path) -> bool {
        let path = clean(&path.to_string_lossy());
        let decisive = self
            .0
            .iter()
            .rev()
            .find(|rule| matches(&rule.pattern, &path));
        decisive.is_some_and(|rule| !rule.negated)
    }
}

/// A pattern or path without leading and trailing slashes, `.` and `..`, as Go's `filepath.Clean`
/// leaves it.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn tokens(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        let token = match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                while rest.next_if_eq(&'*').is_some() {}
                let whole = matches!(
                    tokens.last(),
                    None | Some(Token::Char('/') | Token::Folders)
                );
                match whole && rest.next_if_eq(&'/').is_some() {
                    // Once more is the same.
                    true if tokens.last() == Some(&Token::Folders) => continue,
                    true => Token::Folders,
                    false => Token::Everything,
                }
            }
            '*' => Token::Many,
            '?' => Token::Any,
            '[' => class(&mut rest)?,
            '\\' => Token::Char(rest.next().ok_or("it ends with a backslash")?),
            c => Token::Char(c),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// What follows a `[`, as Go's `filepath.Match` reads it.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "a [ is not closed";
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let member =
        |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| match rest.next().ok_or(OPEN)? {
            '\\' => rest.next().ok_or(OPEN),
            c => Ok(c),
        };
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let from = member(rest)?;
        let to = if rest.next_if_eq(&'-').is_some() {
            member(rest)?
        } else {
            from
        };
        if to < from {
            return Err("a range in [] ends before it begins");
        }
        ranges.push((from, to));
    }
}

impl Token {
    /// What reading a character here leads to: to staying inside this token, to having it behind.
    fn read(&self, c: char) -> (bool, bool) {
        match self {
            Token::Char(wanted) => (false, *wanted == c),
            Token::Any => (false, c != '/'),
            Token::Class { negated, ranges } => {
                let within = ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
                (false, c != '/' && within != *negated)
            }
            Token::Many => (c != '/', c != '/'),
            Token::Folders => (true, c == '/'),
            Token::Everything => (true, true),
        }
    }

    /// Whether nothing at all is enough for it.
    fn takes_nothing(&self) -> bool {
        matches!(self, Token::Many | Token::Folders | Token::Everything)
    }
}

/// Whether the pattern matches the path or a folder above it.
fn matches(pattern: &[Token], path: &str) -> bool {
    let end = pattern.len();
    // The places in the pattern that what was read of the path may have led to; none beyond `last`.
    let mut places = vec![false; end + 1];
    let mut next = places.clone();
    let mut last = enter(pattern, &mut places, 0);
    for c in path.chars() {
        if std::mem::take(&mut places[end]) && c == '/' {
            return true;
        }
        let mut reached = None;
        for (at, token) in pattern.iter().enumerate().take(last + 1) {
            if !std::mem::take(&mut places[at]) {
                continue;
            }
            let (stays, passes) = token.read(c);
            if stays {
                next[at] = true;
                reached = reached.max(Some(at));
            }
            if passes {
                reached = reached.max(Some(enter(pattern, &mut next, at + 1)));
            }
        }
        let Some(reached) = reached else { return false };
        last = reached;
        std::mem::swap(&mut places, &mut next);
    }
    places[end]
}

/// Marks a place, and those behind it that take no character to come to. Gives the last one.
fn enter(pattern: &[Token], places: &mut [bool], mut at: usize) -> usize {
    places[at] = true;
    while pattern.get(at).is_some_and(Token::takes_nothing) {
        at += 1;
        places[at] = true;
    }
    at
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use proptest::prelude::*;

    fn ignored(patterns: &str, path: &str) -> bool {
        DockerIgnore::parse(patterns)
            .unwrap()
            .ignores(Path::new(path))
    }

    /// The cases of Docker's documentation and of moby/patternmatcher's own tests.
    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        for (patterns, path, expected) in [
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "temporary.txt", false),
            ("*/*/temp*", "somedir/subdir/temporary.txt", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("*.md\n!README.md", "README.md", false),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                "README-secret.md",
                true,
            ),
            (
                "*.md\nREADME-secret.md\n!README*.md",
                "README-secret.md",
                false,
            ),
            ("**/*.go", "a/b/c.go", true),
            ("**/*.go", "c.go", true),
            ("*.go", "a/c.go", false),
            ("node_modules", "node_modules/a/b.js", true),
            ("node_modules", "web/node_modules/a.js", false),
            ("**/node_modules", "web/node_modules/a.js", true),
            ("dir\n!dir/keep", "dir/keep", false),
            ("dir\n!dir/keep", "dir/other", true),
            ("/anchored", "anchored", true),
            ("anchored/", "anchored/x", true),
            ("./a/../b", "b", true),
            ("# comment\n\n  spaced  ", "spaced", true),
            ("a{b,c}", "ab", false),
            ("a{b,c}", "a{b,c}", true),
            ("docs/**", "docs/a/b", true),
            ("*", "anything", true),
            ("*\n!src", "src/main.rs", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*", ".hidden", true),
            ("**.pyc", "a/b/c.pyc", true),
            ("**.pyc", "c.pyc", true),
            ("**.pyc", "c.py", false),
            ("tmp**", "tmpfiles/a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/b", true),
            ("\\!name", "!name", true),
            ("a**b", "axb", true),
            ("a**b", "ax/y/zb", true),
            ("a**b", "ax/y/zc", false),
            ("**foo**", "x/yfooz/w", true),
            ("", "a", false),
        ] {
            assert_eq!(
                ignored(patterns, path),
                expected,
                "{patterns:?} on {path:?}"
            );
        }
    }

    #[test]
    fn a_broken_pattern_is_named() {
        for broken in ["a[", "[]", "[^]", "[z-a]", "[a-", "end\\"] {
            let error = DockerIgnore::parse(&format!("fine\n{broken}\n")).unwrap_err();
            assert!(error.contains(&format!("{broken:?}")), "{error}");
        }
    }

    /// Backtracking, with a matcher that tries every way, this would outlast the universe.
    #[test]
    fn no_pattern_takes_exponential_time() {
        let began = Instant::now();
        let path = format!("{}/x", "a".repeat(250));
        let folders = "a/".repeat(100) + "c";
        for (pattern, path) in [
            ("*a".repeat(100) + "*b", &path),
            ("**/a/".repeat(50) + "b", &folders),
            ("**a".repeat(100) + "**b", &folders),
            ("**/**/*/".repeat(100) + "b", &folders),
            ("[^b]*".repeat(100) + "b", &path),
            ("*a".repeat(LONGEST as usize / 2), &path),
        ] {
            assert!(!ignored(&pattern, path), "{pattern}");
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    }

    /// The same question asked the plain way: for short patterns only.
    fn plainly(pattern: &[Token], path: &[char]) -> bool {
        let Some((token, rest)) = pattern.split_first() else {
            return path.is_empty() || path[0] == '/';
        };
        match token {
            Token::Char(_) | Token::Any | Token::Class { .. } => {
                path.first().is_some_and(|c| token.read(*c).1) && plainly(rest, &path[1..])
            }
            Token::Many => {
                let most = path.iter().take_while(|c| **c != '/').count();
                (0..=most).any(|taken| plainly(rest, &path[taken..]))
            }
            Token::Everything => (0..=path.len()).any(|taken| plainly(rest, &path[taken..])),
            Token::Folders => {
                let ends = (0..path.len())
                    .filter(|at| path[*at] == '/')
                    .map(|at| at + 1);
                std::iter::once(0)
                    .chain(ends)
                    .any(|taken| plainly(rest, &path[taken..]))
            }
        }
    }

    proptest! {
        #[test]
        fn it_answers_as_the_plain_way_does(pattern in "([ab/?*]|[*][*]/|\\[a\\]){1,8}", path in "[ab]{1,3}(/[ab]{1,2}){0,3}") {
            let pattern = tokens(&clean(&pattern)).unwrap();
            prop_assume!(!pattern.is_empty());
            let chars: Vec<char> = path.chars().collect();
            prop_assert_eq!(matches(&pattern, &path), plainly(&pattern, &chars), "{:?} on {:?}", pattern, path);
        }

        #[test]
        fn no_text_and_no_path_panics(text in "(\\PC|[*?!#/\\\\\\[\\]^ \n-]){0,80}", path in "\\PC{0,40}") {
            if let Ok(ignore) = DockerIgnore::parse(&text) {
                ignore.ignores(Path::new(&path));
            }
        }
    }
}
