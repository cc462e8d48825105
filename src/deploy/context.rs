//! The build context: exactly the commit's tree, less what `.dockerignore` names, as a tar stream.
//!
//! The engine does not apply `.dockerignore` to a tar it is sent, so it is applied here, by Docker's
//! rules (moby/patternmatcher): patterns are anchored at the context's root, a pattern that matches
//! a folder takes all below it, the last pattern that matches decides, and `!` takes a path back
//! even out of an excluded folder. Nothing is held in memory but one buffer.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use glob::{MatchOptions, Pattern};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::run::Stop;
use crate::domain::manifest::Build;
use crate::domain::{AppName, CommitId};
use crate::git::Repositories;

/// What was noticed about a context on its way to the engine.
pub(super) struct Told(Arc<Mutex<Found>>);

#[derive(Default)]
struct Found {
    lfs_pointers: Vec<String>,
    error: Option<String>,
}

impl Told {
    /// What there is to say about it, once it was sent.
    pub fn summary(&self) -> Vec<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<String> =
            found.error.iter().map(|e| format!("the context broke off: {e}")).collect();
        if let Some(first) = found.lfs_pointers.first() {
            let count = found.lfs_pointers.len();
            lines.push(format!(
                "warning: {count} files, {first} among them, are Git LFS pointers, not their content: LFS is not fetched"
            ));
        }
        lines
    }
}

/// Begins to send the context of a commit.
pub(super) async fn stream(
    git: &Repositories,
    app: &AppName,
    commit: &CommitId,
    build: &Build,
) -> Result<(ReceiverStream<io::Result<Bytes>>, Told), Stop> {
    let ignore = read_ignore(git, app, commit, build).await?;
    let archive = git.archive(app, commit, &build.context)?;
    let (sender, receiver) = mpsc::channel(4);
    let found = Arc::new(Mutex::new(Found::default()));
    let (keep, told) = (build.dockerfile.clone(), found.clone());
    tokio::task::spawn_blocking(move || {
        let mut archive = archive;
        let sent = filter(&mut archive, &ignore, &keep, Chunks(sender.clone()), &told);
        let _ = archive.kill();
        let _ = archive.wait();
        if let Err(error) = sent {
            told.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error.to_string());
            let _ = sender.blocking_send(Err(error));
        }
    });
    Ok((ReceiverStream::new(receiver), Told(found)))
}

async fn read_ignore(
    git: &Repositories,
    app: &AppName,
    commit: &CommitId,
    build: &Build,
) -> Result<DockerIgnore, Stop> {
    let folder = Path::new(build.context.trim_matches('/'));
    // BuildKit looks for one beside the Dockerfile first.
    for name in [format!("{}.dockerignore", build.dockerfile), ".dockerignore".to_owned()] {
        let path: PathBuf = folder.join(name).components().filter(|c| c.as_os_str() != ".").collect();
        let path = path.to_string_lossy();
        if let Some(bytes) = git.file(app, commit, &path, 1024 * 1024).await? {
            return DockerIgnore::parse(&String::from_utf8_lossy(&bytes)).map_err(Stop::NotGood);
        }
    }
    Ok(DockerIgnore(Vec::new()))
}

/// Copies the archive's entries but the ignored ones.
fn filter(
    archive: &mut Child,
    ignore: &DockerIgnore,
    dockerfile: &str,
    out: Chunks,
    found: &Mutex<Found>,
) -> io::Result<()> {
    let Some(input) = archive.stdout.take() else { return Ok(()) };
    let mut input = tar::Archive::new(io::BufReader::with_capacity(64 * 1024, input));
    let mut output = tar::Builder::new(io::BufWriter::with_capacity(64 * 1024, out));
    for entry in input.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        // The engine must find the Dockerfile, ignored or not.
        if ignore.ignores(&path) && path != Path::new(dockerfile) {
            continue;
        }
        let mut header = entry.header().clone();
        match header.entry_type() {
            kind if kind.is_symlink() => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                output.append_link(&mut header, &path, target)?;
            }
            kind if kind.is_file() => {
                let size = entry.size();
                header.set_size(size);
                let mut head = [0; 42];
                let peeked = read_up_to(&mut entry, &mut head)?;
                if &head[..peeked] == b"version https://git-lfs.github.com/spec/v1" {
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.lfs_pointers.push(path.display().to_string());
                }
                output.append_data(&mut header, &path, head[..peeked].chain(entry))?;
            }
            kind if kind.is_dir() => output.append_data(&mut header, &path, io::empty())?,
            _ => {}
        }
    }
    output.into_inner()?.flush()?;
    let mut said = String::new();
    if let Some(mut stderr) = archive.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    if archive.wait()?.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("git archive: {}", said.trim())))
    }
}

fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// A writer that hands its chunks to a channel; a reader that has gone ends the writing.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The patterns of a `.dockerignore`, in order, each with whether it takes paths back.
#[derive(Debug)]
struct DockerIgnore(Vec<(Pattern, bool)>);

impl DockerIgnore {
    fn parse(text: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for line in text.lines() {
            // A comment begins in the first column; a pattern's spaces at both ends do not count.
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (line, negated) = line.strip_prefix('!').map_or((line, false), |rest| (rest.trim(), true));
            let cleaned = clean(line);
            if cleaned.is_empty() {
                continue;
            }
            for pattern in translate(&cleaned) {
                let pattern = Pattern::new(&pattern)
                    .map_err(|error| format!(".dockerignore: {line:?}: {}", error.msg))?;
                patterns.push((pattern, negated));
            }
        }
        Ok(Self(patterns))
    }

    fn ignores(&self, path: &Path) -> bool {
        let path: PathBuf = path.components().collect();
        let matching = |pattern: &Pattern| {
            path.ancestors().any(|p| p != Path::new("") && pattern.matches_path_with(p, DOCKER))
        };
        let decisive = self.0.iter().rev().find(|(glob, _)| matching(glob));
        decisive.is_some_and(|(_, negated)| !negated)
    }
}

/// `*` and `?` stop at a slash, and a leading dot is nothing special.
const DOCKER: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// A pattern of Docker's as patterns of this crate, of which any may match.
fn translate(pattern: &str) -> Vec<String> {
    let mut whole = vec![Vec::new()];
    for part in pattern.split('/') {
        let forms = widen(part);
        whole = whole
            .iter()
            .flat_map(|so_far| forms.iter().map(|form| [&so_far[..], std::slice::from_ref(form)].concat()))
            .collect();
    }
    whole.iter().map(|parts| unescape(&parts.join("/"))).collect()
}

/// `**` beside other characters crosses slashes for Docker there too: `**.pyc` is `**/*.pyc`, `tmp**`
/// is `tmp*`, which takes all below what it matches, and `a**b` is `a*b` or `a*/**/*b`.
fn widen(part: &str) -> Vec<String> {
    if part == "*" {
        return vec!["*".to_owned()];
    }
    let inner = part.trim_matches('*');
    if inner.is_empty() {
        return vec!["**".to_owned()];
    }
    let front = if part.starts_with("**") {
        "**/*"
    } else {
        &part[..part.len() - part.trim_start_matches('*').len()]
    };
    let back = if part.ends_with('*') { "*" } else { "" };
    match inner.split_once("**") {
        None => vec![format!("{front}{inner}{back}")],
        Some((left, right)) => {
            let right = right.trim_start_matches('*');
            vec![format!("{front}{left}*{right}{back}"), format!("{front}{left}*/**/*{right}{back}")]
        }
    }
}

/// `\x` stands for x itself, and `[^…]` is written `[!…]` here.
fn unescape(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some(special @ ('*' | '?' | '[' | ']')) => written.extend(['[', special, ']']),
                Some(plain) => written.push(plain),
                None => {}
            },
            '^' if written.ends_with('[') => written.push('!'),
            c => written.push(c),
        }
    }
    written
}

/// A pattern without leading and trailing slashes, `.` and `..`, as Go's `filepath.Clean` leaves it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(patterns: &str, path: &str) -> bool {
        DockerIgnore::parse(patterns).unwrap().ignores(Path::new(path))
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
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
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
            assert_eq!(ignored(patterns, path), expected, "{patterns:?} on {path:?}");
        }
    }

    #[test]
    fn a_broken_pattern_is_named() {
        assert!(DockerIgnore::parse("a[").unwrap_err().contains("\"a[\""));
    }
}
