//! Git for whoever is far away: the programs behind `git push` and `git clone`, and what became of a
//! push.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use super::program::quiet;

/// By which a hook knows where to say what became of its push.
const REPORT: &str = "WINDLASS_REPORT";

/// What git may be asked by HTTP, in the words of its own `http-backend` (a CGI program).
#[derive(Debug)]
pub struct HttpCall<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// What follows the repository's name: `info/refs`.
    pub path: &'a str,
    /// Behind the question mark.
    pub query: &'a str,
    /// `Content-Type`.
    pub content_type: &'a str,
    /// `Content-Encoding`: what is zipped is inflated by git.
    pub content_encoding: &'a str,
    /// `Content-Length`, where it is known.
    pub content_length: Option<u64>,
    /// `Git-Protocol`.
    pub protocol: &'a str,
    /// Who asks.
    pub user: &'a str,
}

/// What takes a push into a repository. The hook's word on it comes to `report`.
pub fn receive_pack(repository: &Path, report: &Report) -> Command {
    let mut git = Command::new("git");
    git.arg("receive-pack").arg(repository);
    quiet(&mut git, repository);
    spoken(&mut git, &std::env::var("GIT_PROTOCOL").unwrap_or_default());
    git.env(REPORT, report.path());
    git
}

/// What answers a clone or a fetch of a repository.
pub fn upload_pack(repository: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("upload-pack").arg("--strict").arg(repository);
    quiet(&mut git, repository);
    spoken(&mut git, &std::env::var("GIT_PROTOCOL").unwrap_or_default());
    git
}

/// Both by HTTP.
pub fn http_backend(repository: &Path, call: &HttpCall, report: &Report) -> Command {
    let mut git = Command::new("git");
    git.arg("http-backend");
    quiet(&mut git, repository);
    spoken(&mut git, call.protocol);
    let (root, name) = (
        repository.parent(),
        repository.file_name().unwrap_or_default(),
    );
    git.env(REPORT, report.path())
        .env("GIT_PROJECT_ROOT", root.unwrap_or(repository))
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env(
            "PATH_INFO",
            format!("/{}/{}", name.to_string_lossy(), call.path),
        )
        .env("REQUEST_METHOD", call.method)
        .env("QUERY_STRING", call.query)
        .env("CONTENT_TYPE", call.content_type)
        .env("HTTP_CONTENT_ENCODING", call.content_encoding)
        // Only somebody who is known may push; that they are is known before git is asked.
        .env("REMOTE_USER", call.user);
    match call.content_length {
        Some(length) => git.env("CONTENT_LENGTH", length.to_string()),
        None => git.env_remove("CONTENT_LENGTH"),
    };
    git
}

/// Which protocol the client speaks, where that is a plain word.
fn spoken(git: &mut Command, protocol: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"=:.-_".contains(&b);
    if (1..=60).contains(&protocol.len()) && protocol.bytes().all(plain) {
        git.env("GIT_PROTOCOL", protocol);
    }
}

/// Where the hook of one push says what became of it.
///
/// Git lets a post-receive hook print, and ignores how it ends. This is a file in memory that the
/// process around git holds; the hook opens it by that process's list of open files. So each push has
/// its own, nobody else knows it, and none is left behind, whoever is killed.
#[derive(Debug)]
pub struct Report(File);

impl Report {
    /// Of a push that is about to begin.
    ///
    /// # Errors
    /// The machine's.
    pub fn new() -> io::Result<Self> {
        Ok(Self(File::from(memfd_create(
            "windlass-report",
            MemfdFlags::CLOEXEC,
        )?)))
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Whether a hook ran, and its last word is not that all is well.
    pub fn failed(&self) -> bool {
        let mut word = [0];
        self.0
            .read_at(&mut word, 0)
            .is_ok_and(|read| read == 1 && word != *b"1")
    }
}

/// From the hook: whether all is well with its push. It says no when it begins, so that one that is
/// killed has not said yes. A push that nobody runs for somebody far away has nobody to tell.
pub fn report(well: bool) {
    if let Some(path) = std::env::var_os(REPORT)
        && let Ok(file) = File::options().write(true).open(path)
    {
        let _ = file.write_all_at(if well { b"1" } else { b"0" }, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_last_word_of_the_hook_counts() {
        let report = Report::new().unwrap();
        assert!(!report.failed(), "no hook ran");
        let file = File::options().write(true).open(report.path()).unwrap();
        file.write_all_at(b"0", 0).unwrap();
        assert!(report.failed());
        file.write_all_at(b"1", 0).unwrap();
        assert!(!report.failed());
        assert!(!Report::new().unwrap().failed(), "each has its own");
    }

    #[test]
    fn only_a_plain_protocol_is_passed_on() {
        for (protocol, kept) in [
            ("version=2", true),
            ("", false),
            ("version=2 x", false),
            ("$(id)", false),
        ] {
            let mut git = Command::new("git");
            spoken(&mut git, protocol);
            let set: BTreeMap<_, _> = git.get_envs().collect();
            assert_eq!(
                set.contains_key(std::ffi::OsStr::new("GIT_PROTOCOL")),
                kept,
                "{protocol}"
            );
        }
    }
}
