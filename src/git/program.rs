//! Git's own programs, for what the library is not for: every argument a word of its own, never a shell
//! string, whatever came from outside behind `--end-of-options` or `--`, and memory that the kernel
//! bounds.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::GitError;
use crate::clock::Held;

/// What git run by the server may hold in memory, files that it maps aside. A stranger's commit may ask
/// for any amount; what fails for want of it is that deploy.
pub(super) const MOST_MEMORY: u64 = 1 << 30;

/// The most that is kept of what git prints.
pub(super) const MOST_PRINTED: u64 = 4 << 20;

/// Objects are copied as they lie, large ones without being held in memory: 400 MB of large files take
/// 100 MB of it and 18 seconds, where git by itself looks for similar ones with 890 MB and 50 seconds.
pub(super) const SPARING: [&str; 6] = [
    "-c",
    "core.bigFileThreshold=1m",
    "-c",
    "pack.window=0",
    "-c",
    "pack.threads=1",
];

pub(super) async fn run(dir: &Path, args: &[&str]) -> Result<String, GitError> {
    Ok(String::from_utf8_lossy(&output(dir, args).await?).into_owned())
}

pub(super) async fn output(dir: &Path, args: &[&str]) -> Result<Vec<u8>, GitError> {
    git(dir, args, &[], Stdio::piped()).await
}

/// Runs git to its end with `input` on its standard input, and gives what it printed where that is
/// piped.
pub(super) async fn git(
    dir: &Path,
    args: &[&str],
    input: &[u8],
    stdout: Stdio,
) -> Result<Vec<u8>, GitError> {
    let mut command = std::process::Command::new("git");
    command.args(args);
    quiet(&mut command, dir);
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let _held = Held::new();
    let mut command = Command::from(command);
    command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        // Cut off, a change of refs would leave its lock, and nobody could change them any more. It ends
        // by itself within moments.
        .kill_on_drop(args.first() != Some(&"update-ref"));
    let mut child = command.spawn()?;
    // What moves a whole repository spares by itself, and may need what that is worth.
    if !args.starts_with(&SPARING) {
        bound(child.id());
    }
    // It prints little before it has read all.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).await?;
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (printed, said, status) =
        tokio::try_join!(beginning(stdout), beginning(stderr), child.wait())?;
    if status.success() {
        return Ok(printed);
    }
    let subcommand = args
        .iter()
        .find(|arg| !arg.starts_with('-') && !arg.contains('='))
        .unwrap_or(&"");
    Err(GitError::Failed(
        (*subcommand).to_owned(),
        String::from_utf8_lossy(&said).trim().to_owned(),
    ))
}

/// What git prints, [`MOST_PRINTED`] bytes of it; the rest is read and dropped.
pub(super) async fn beginning(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(mut from) = from {
        (&mut from)
            .take(MOST_PRINTED)
            .read_to_end(&mut read)
            .await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(read)
}

/// Bounds the memory of a git that was just begun, and of what it begins: a push of 16 KB can ask for
/// 2 GB of it. Where the kernel will not, it has what there is.
pub fn bound(pid: Option<u32>) {
    let pid = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    let limit = Rlimit {
        current: Some(MOST_MEMORY),
        maximum: Some(MOST_MEMORY),
    };
    let _ = pid.map(|pid| prlimit(Some(pid), Resource::Data, limit));
}

/// Nothing of the caller's git environment or configuration reaches the server's git. It works for
/// the repository's owner only, so root acts as that one.
pub(super) fn quiet(command: &mut std::process::Command, dir: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    if let (true, Ok(folder)) = (rustix::process::geteuid().is_root(), dir.metadata())
        && folder.uid() != 0
    {
        command.uid(folder.uid()).gid(folder.gid());
    }
    command
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
}
