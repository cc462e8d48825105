//! The build context: exactly the commit's tree, less what `.dockerignore` names, as a tar stream.
//!
//! The engine does not apply `.dockerignore` to a tar it is sent, so it is applied here. Nothing is
//! unpacked, so no link or path in the tree leads anywhere on this machine, and nothing is held in
//! memory but one buffer.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::dockerignore::{self as ignore, DockerIgnore};
use super::source::plain_file;
use crate::attempt::{Attempt, Stop};
use crate::domain::manifest::Build;
use crate::domain::{CommitId, printable};

/// A context on its way to the engine. Dropping it ends the git that writes it, which may be busy
/// with what a stranger thought up, and so everything that reads from it.
pub struct Sending {
    found: Arc<Mutex<Found>>,
    archive: Arc<Mutex<Child>>,
}

/// What was noticed about it.
#[derive(Default)]
struct Found {
    first_lfs_pointer: Option<String>,
    lfs_pointers: u64,
    error: Option<io::Error>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        let _ = lock(&self.archive).kill();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sending {
    /// What there is to say about it, once it was sent.
    pub fn summary(&self) -> Vec<String> {
        let found = lock(&self.found);
        let mut lines: Vec<String> = found
            .error
            .iter()
            .map(|e| format!("the context broke off: {e}"))
            .collect();
        if let Some(first) = &found.first_lfs_pointer {
            let count = found.lfs_pointers;
            lines.push(format!(
                "warning: {count} files, {first} among them, are Git LFS pointers, not their content: LFS is not fetched"
            ));
        }
        lines
    }

    /// Why git could not write it, where that is what went wrong.
    pub fn failed(&self) -> Option<String> {
        let found = lock(&self.found);
        // Everything else is the reader's: it left.
        found
            .error
            .as_ref()
            .filter(|error| error.kind() == io::ErrorKind::Other)
            .map(io::Error::to_string)
    }
}

/// Begins to send the context of a commit.
pub async fn stream(
    attempt: &Attempt,
    commit: &CommitId,
    build: &Build,
) -> Result<(ReceiverStream<io::Result<Bytes>>, Sending), Stop> {
    let ignore = read_ignore(attempt, commit, build).await?;
    let archive = attempt
        .platform
        .git
        .archive(&attempt.deploy.app, commit, &build.context)?;
    let (sender, receiver) = mpsc::channel(4);
    let sending = Sending {
        found: Arc::default(),
        archive: Arc::new(Mutex::new(archive)),
    };
    let (keep, found, archive) = (
        build.dockerfile.clone(),
        sending.found.clone(),
        sending.archive.clone(),
    );
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&archive, &ignore, &keep, Chunks(sender.clone()), &found) {
            let told = io::Error::new(error.kind(), error.to_string());
            lock(&found).error = Some(error);
            let _ = sender.blocking_send(Err(told));
        }
    });
    Ok((ReceiverStream::new(receiver), sending))
}

async fn read_ignore(
    attempt: &Attempt,
    commit: &CommitId,
    build: &Build,
) -> Result<DockerIgnore, Stop> {
    let folder = Path::new(build.context.trim_matches('/'));
    // BuildKit looks for one beside the Dockerfile first.
    for name in [
        format!("{}.dockerignore", build.dockerfile),
        ".dockerignore".to_owned(),
    ] {
        let path: PathBuf = folder
            .join(name)
            .components()
            .filter(|c| c.as_os_str() != ".")
            .collect();
        let path = path.to_string_lossy();
        if let Some(bytes) = plain_file(attempt, commit, &path, ignore::LONGEST).await? {
            return DockerIgnore::parse(&String::from_utf8_lossy(&bytes)).map_err(Stop::NotGood);
        }
    }
    Ok(DockerIgnore::default())
}

/// Sends the whole archive, and ends with git's own end.
fn send(
    archive: &Mutex<Child>,
    ignore: &DockerIgnore,
    dockerfile: &str,
    out: Chunks,
    found: &Mutex<Found>,
) -> io::Result<()> {
    let (stdout, stderr) = {
        let mut archive = lock(archive);
        (archive.stdout.take(), archive.stderr.take())
    };
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
        return Ok(());
    };
    // Git may have so much to say that it waits for somebody to listen.
    let listening = std::thread::spawn(move || beginning(stderr));
    let copied = filter(stdout, ignore, dockerfile, out, found);
    if copied.is_err() {
        let _ = lock(archive).kill();
    }
    let said = listening.join().unwrap_or_default();
    let ended = lock(archive).wait()?;
    match (copied, String::from_utf8_lossy(&said).trim()) {
        (Ok(()), _) if ended.success() => Ok(()),
        (Err(error), "") => Err(error),
        // An archive that breaks off does so for git's reason, told or not.
        (_, "") => Err(io::Error::other(format!("git archive ended with {ended}"))),
        (_, said) => Err(io::Error::other(format!("git archive: {said}"))),
    }
}

/// Copies the archive's entries but the ignored ones.
fn filter(
    archive: impl Read,
    ignore: &DockerIgnore,
    dockerfile: &str,
    out: Chunks,
    found: &Mutex<Found>,
) -> io::Result<()> {
    let mut input = tar::Archive::new(io::BufReader::with_capacity(64 * 1024, archive));
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
                    let mut found = lock(found);
                    found.lfs_pointers += 1;
                    found
                        .first_lfs_pointer
                        .get_or_insert_with(|| printable(&path.to_string_lossy(), 200));
                }
                output.append_data(&mut header, &path, head[..peeked].chain(entry))?;
            }
            kind if kind.is_dir() => output.append_data(&mut header, &path, io::empty())?,
            _ => {}
        }
    }
    output.into_inner()?.flush()?;
    // Git fills its last block behind the end of the archive, and dies if nobody reads that.
    io::copy(&mut input.into_inner(), &mut io::sink())?;
    Ok(())
}

/// A few lines of what is read to its end.
fn beginning(mut from: impl Read) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = (&mut from).take(4096).read_to_end(&mut read);
    let _ = io::copy(&mut from, &mut io::sink());
    read
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
        sent.map(|()| bytes.len())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn git(folder: &Path, words: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b.c"])
            .args(words)
            .current_dir(folder)
            .env_remove("GIT_DIR");
        git
    }

    /// A repository with a tag for each size, whose commit has one file of that many bytes.
    fn repository(sizes: &[usize]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let run = |words: &[&str]| assert!(git(folder.path(), words).status().unwrap().success());
        run(&["init", "--quiet"]);
        for size in sizes {
            std::fs::write(folder.path().join("file"), vec![b'a'; *size]).unwrap();
            run(&["add", "file"]);
            run(&["commit", "--quiet", "--message", "x"]);
            run(&["tag", &format!("s{size}")]);
        }
        folder
    }

    /// The bytes that a build gets of a commit.
    fn sent(folder: &Path, commit: &str) -> io::Result<u64> {
        let archive = git(folder, &["archive", "--format=tar", commit])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        let (ignore, found) = (DockerIgnore::default(), Mutex::default());
        std::thread::scope(|scope| {
            let reads = scope.spawn(move || {
                let mut bytes = 0;
                while let Some(Ok(chunk)) = receiver.blocking_recv() {
                    bytes += chunk.len() as u64;
                }
                bytes
            });
            let out = Chunks(sender);
            send(&Mutex::new(archive), &ignore, "Dockerfile", out, &found)?;
            Ok(reads.join().unwrap())
        })
    }

    #[test]
    fn two_thousand_contexts_are_sent_whole() {
        // Around a block of tar, a record of git's, our buffer and a pipe's.
        let sizes = [
            0,
            511,
            512,
            8_192,
            9_216,
            10_240,
            60_000,
            65_536,
            66_000,
            1 << 20,
        ];
        let folder = repository(&sizes);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..500 {
                        let size = sizes[n % sizes.len()];
                        let bytes = sent(folder.path(), &format!("s{size}")).unwrap();
                        // A header, the file to whole blocks, and two empty blocks at the end.
                        let whole = 512 + size.div_ceil(512) * 512 + 1024;
                        assert_eq!(bytes, whole as u64, "{size}");
                    }
                });
            }
        });
    }

    #[test]
    fn a_git_that_fails_is_told_with_its_words_or_its_end() {
        let folder = repository(&[10]);
        let error = sent(folder.path(), "nothing").unwrap_err().to_string();
        assert!(
            error.contains("git archive: fatal") && error.contains("nothing"),
            "{error}"
        );
    }
}
