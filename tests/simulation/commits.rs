//! The commits that are pushed: one of each way in which an app can turn out. They are made once, with
//! real git, and every life's repository borrows their objects.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use windlass::domain::CommitId;

/// What becomes of a deploy of a commit while nothing else goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It goes live, and stays up.
    Live,
    /// It does not go live.
    Fails,
    /// It goes live and crashes afterwards, again and again.
    Crashes,
}

pub struct Commit {
    pub id: CommitId,
    pub name: &'static str,
    pub outcome: Outcome,
}

pub struct Commits {
    /// The folder with their objects.
    pub objects: PathBuf,
    pub all: Vec<Commit>,
    _dir: tempfile::TempDir,
}

const QUICK: &str = "[health]\nmin_healthy = \"0s\"\ndeadline = \"10s\"\n[verify]\ntimeout = \"10s\"\n[drain]\ntimeout = \"5s\"\nstop_grace = \"2s\"\n";

/// Name, outcome, Dockerfile, and what is added to the manifest.
const KINDS: &[(&str, Outcome, &str, &str)] = &[
    ("plain", Outcome::Live, "CMD [\"serve\", \"200\"]", ""),
    (
        "chatty",
        Outcome::Live,
        "CMD [\"sh\", \"-c\", \"echo started; serve 200; chatter 300; forever\"]",
        "",
    ),
    (
        "slow",
        Outcome::Live,
        "RUN sleep 2\nCMD [\"sh\", \"-c\", \"echo waiting; sleep 3; serve 200; chatter 20; forever\"]",
        "",
    ),
    (
        "port",
        Outcome::Live,
        "EXPOSE 9000\nCMD [\"sh\", \"-c\", \"serve 200 9000; chatter 50; forever\"]",
        "",
    ),
    (
        "gated",
        Outcome::Live,
        "CMD [\"sh\", \"-c\", \"serve 200; forever\"]",
        "[[gates]]\nname = \"look\"\nrun = [\"sh\", \"-c\", \"echo looking; sleep 1; echo good\"]\n",
    ),
    (
        "deaf",
        Outcome::Live,
        "CMD [\"sh\", \"-c\", \"trap '' TERM; serve 200; forever\"]",
        "",
    ),
    (
        "checked",
        Outcome::Live,
        "HEALTHCHECK CMD [\"true\"]\nCMD [\"sh\", \"-c\", \"serve 200; chatter 5; forever\"]",
        "",
    ),
    (
        "unhealthy",
        Outcome::Fails,
        "CMD [\"sh\", \"-c\", \"serve 500; forever\"]",
        "",
    ),
    ("silent", Outcome::Fails, "CMD [\"forever\"]", ""),
    (
        "dead",
        Outcome::Fails,
        "CMD [\"sh\", \"-c\", \"echo no; exit 3\"]",
        "",
    ),
    (
        "unbuilt",
        Outcome::Fails,
        "RUN sleep 1; exit 1\nCMD [\"serve\", \"200\"]",
        "",
    ),
    (
        "red",
        Outcome::Fails,
        "CMD [\"sh\", \"-c\", \"serve 200; forever\"]",
        "[[gates]]\nname = \"look\"\nrun = [\"sh\", \"-c\", \"echo looking; exit 1\"]\n",
    ),
    (
        "worker",
        Outcome::Live,
        "CMD [\"sh\", \"-c\", \"serve 200; chatter 20; forever\"]",
        "[processes.worker]\ncommand = [\"sh\", \"-c\", \"echo working; chatter 10; forever\"]\nmin_healthy = \"1s\"\n\
         replicas = 2\nquiet = { signal = \"TSTP\" }\nunquiet = { signal = \"CONT\" }\nstop_grace = \"3s\"\n",
    ),
    (
        "single",
        Outcome::Live,
        "CMD [\"serve\", \"200\"]",
        "[processes.single]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; echo alone; chatter 5; forever\"]\n\
         min_healthy = \"500ms\"\norder = \"stop-first\"\nstop_grace = \"2s\"\nhealth = { run = [\"true\"] }\n\
         [processes.worker]\ncommand = [\"forever\"]\nmin_healthy = \"0s\"\nquiet = { signal = \"TSTP\" }\n",
    ),
    (
        "lazy",
        Outcome::Fails,
        "CMD [\"serve\", \"200\"]",
        "[processes.single]\ncommand = [\"sh\", \"-c\", \"echo alone; sleep 1; exit 4\"]\nmin_healthy = \"3s\"\n\
         order = \"stop-first\"\n[processes.worker]\ncommand = [\"forever\"]\n",
    ),
    (
        "crashing",
        Outcome::Crashes,
        "CMD [\"sh\", \"-c\", \"serve 200; echo up; sleep 30; exit 7\"]",
        "",
    ),
];

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", dir);
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "Ann");
        command.env(format!("GIT_{name}_EMAIL"), "ann@example.com");
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "git {args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// All commits, made at the first call.
pub fn commits() -> &'static Commits {
    static COMMITS: OnceLock<Commits> = OnceLock::new();
    COMMITS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "--quiet", "--initial-branch", "main"]);
        let mut all = Vec::new();
        for round in 0..2 {
            for (name, outcome, dockerfile, more) in KINDS {
                let dockerfile = format!("FROM scratch\n{dockerfile}\n");
                std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
                std::fs::write(dir.path().join("windlass.toml"), format!("{QUICK}{more}")).unwrap();
                std::fs::write(dir.path().join("round"), round.to_string()).unwrap();
                git(dir.path(), &["add", "."]);
                git(dir.path(), &["commit", "--quiet", "-m", name]);
                let id = git(dir.path(), &["rev-parse", "HEAD"]).parse().unwrap();
                all.push(Commit {
                    id,
                    name,
                    outcome: *outcome,
                });
            }
        }
        git(dir.path(), &["repack", "--quiet", "-a", "-d"]);
        Commits {
            objects: dir.path().join(".git/objects"),
            all,
            _dir: dir,
        }
    })
}
