//! An app in a world: its work tree, its pushes, and what it has to show after each.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::world::{BUSY, Output, World, run, wait_for};

/// The manifest that the tests' own app begins with.
pub const MANIFEST: &str = include_str!("app/windlass.toml");

pub struct App<'w> {
    pub world: &'w World,
    pub name: String,
    pub domain: String,
    pub work: PathBuf,
}

/// A push that has ended.
#[derive(Debug)]
pub struct Push {
    pub code: i32,
    /// All that git printed.
    pub output: String,
}

impl Push {
    /// The last line that came from the server.
    pub fn last(&self) -> &str {
        let said = |line: &&str| line.starts_with("remote: ") && line.len() > "remote: ".len();
        let last = self
            .output
            .lines()
            .rev()
            .map(str::trim_end)
            .find(said)
            .unwrap_or_default();
        last.trim_start_matches("remote: ")
    }

    pub fn says(&self, part: &str) -> &Self {
        assert!(
            self.output.contains(part),
            "no {part:?} in:\n{}",
            self.output
        );
        self
    }
}

/// A push under way, ended when dropped, in a process group of its own.
pub struct Pushing {
    child: Child,
    output: Option<JoinHandle<String>>,
    /// What it has printed so far.
    printed: Arc<Mutex<Vec<u8>>>,
}

/// No push of these tests takes longer.
const LONGEST_PUSH: Duration = Duration::from_secs(90);

impl Pushing {
    /// Waits until it has printed this.
    pub fn wait_for(&self, part: &str) {
        wait_for(part, LONGEST_PUSH, || {
            let printed = self.printed.lock().unwrap();
            String::from_utf8_lossy(&printed)
                .contains(part)
                .then_some(())
        });
    }

    /// Waits for its end.
    pub fn end(mut self) -> Push {
        let status = wait_for("the push ends", LONGEST_PUSH, || {
            self.child.try_wait().unwrap()
        });
        let output = self
            .output
            .take()
            .expect("the push's output")
            .join()
            .unwrap();
        Push {
            code: status.code().unwrap_or(-1),
            output,
        }
    }

    /// What Ctrl-C does in a terminal.
    pub fn interrupt(self) -> Push {
        kill_process_group(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.end()
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        if self.output.is_some() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Whether a deploy's newest phase is this one, and under way.
fn is_in(deploy: &Value, phase: &str) -> bool {
    let last = deploy["phases"].as_array().and_then(|all| all.last());
    last.is_some_and(|last| last["phase"] == phase && last["status"] == "running")
}

/// Whether a deploy is done with this phase, or will never come to it.
fn is_past(deploy: &Value, phase: &str) -> bool {
    // One that failed may come again, once the server has started again.
    let done = |row: &Value| row["phase"] == phase && row["status"] == "ok";
    !deploy["finished_at"].is_null() || deploy["phases"].as_array().unwrap().iter().any(done)
}

impl<'w> App<'w> {
    /// Creates the app, with the domain `<name>.test`.
    pub fn create(world: &'w World, name: &str) -> Self {
        let app = Self::work_tree(world, name);
        world
            .windlass(&["app", "create", name, "--domain", &app.domain])
            .ok();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/app");
        app.copy(&fixture);
        app
    }

    /// A work tree without files and without an app on the server.
    pub fn work_tree(world: &'w World, name: &str) -> Self {
        let work = world.home.with_file_name(format!("work-{name}"));
        let app = Self {
            world,
            name: name.into(),
            domain: format!("{name}.test"),
            work,
        };
        fs::create_dir(&app.work).unwrap();
        app.git(&["init", "-q", "-b", "main"]).ok();
        app.git(&["remote", "add", "prod", app.repository().to_str().unwrap()])
            .ok();
        app
    }

    /// Copies a folder's files into the work tree.
    pub fn copy(&self, from: &Path) {
        let from = format!("{}/.", from.display());
        run(Command::new("cp").arg("-R").arg(from).arg(&self.work)).ok();
    }

    /// The bare repository.
    pub fn repository(&self) -> PathBuf {
        self.world.home.join(format!("repos/{}.git", self.name))
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the usual manifest and more.
    pub fn manifest(&self, more: &str) {
        self.write("windlass.toml", &format!("{MANIFEST}\n{more}"));
    }

    /// Writes the usual manifest with something else for `part` of it.
    pub fn manifest_with(&self, part: &str, instead: &str) {
        assert!(MANIFEST.contains(part), "no {part:?} in the manifest");
        self.write("windlass.toml", &MANIFEST.replace(part, instead));
    }

    /// The usual manifest, but a candidate is proved for three seconds: time enough for a request to reach
    /// the live container before the swap.
    pub fn write_slow_health(&self) {
        self.manifest_with("min_healthy = \"1s\"", "min_healthy = \"3s\"");
    }

    pub fn git_in(folder: &Path, args: &[&str]) -> Command {
        // A shell's background jobs ignore Ctrl-C, and so would everything below them.
        let mut git = Command::new("env");
        git.args(["--default-signal=INT", "git"])
            .current_dir(folder)
            .args(args);
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "Ada"),
            ("GIT_AUTHOR_EMAIL", "ada@example.com"),
            ("GIT_COMMITTER_NAME", "Ada"),
            ("GIT_COMMITTER_EMAIL", "ada@example.com"),
            ("NO_COLOR", "1"),
            ("LC_ALL", "C.UTF-8"),
        ] {
            git.env(name, value);
        }
        git
    }

    pub fn git(&self, args: &[&str]) -> Output {
        run(&mut Self::git_in(&self.work, args))
    }

    /// Commits everything, and gives the commit's id.
    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "--allow-empty", "-m", subject])
            .ok();
        self.head()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).ok().trim().to_owned()
    }

    /// Writes a new version text and commits it.
    pub fn version(&self, text: &str) -> String {
        self.write("version.txt", text);
        self.commit(text)
    }

    /// `git push prod main`.
    pub fn push(&self) -> Push {
        self.push_refs(&["main"])
    }

    /// `git push prod` with these words, to its end.
    pub fn push_refs(&self, refs: &[&str]) -> Push {
        self.begin_push(refs).end()
    }

    /// `git push prod` with these words, in the background.
    pub fn begin_push(&self, refs: &[&str]) -> Pushing {
        let mut git = Self::git_in(&self.work, &[&["push", "prod"], refs].concat());
        // Both streams through one pipe, in the order in which they are written.
        let (mut reader, writer) = std::io::pipe().unwrap();
        git.stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .process_group(0);
        let child = git.spawn().unwrap();
        drop(git);
        let printed = Arc::<Mutex<Vec<u8>>>::default();
        let so_far = printed.clone();
        let output = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let read = reader.read(&mut chunk).unwrap();
                let mut printed = so_far.lock().unwrap();
                printed.extend_from_slice(&chunk[..read]);
                if read == 0 {
                    return String::from_utf8_lossy(&printed).into_owned();
                }
            }
        });
        Pushing {
            child,
            output: Some(output),
            printed,
        }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.world.get(&self.domain, path)
    }

    /// The app's deploys, newest first.
    pub fn deploys(&self) -> Vec<Value> {
        self.world
            .json(&["deploys", &self.name])
            .as_array()
            .unwrap()
            .clone()
    }

    /// The newest deploy.
    pub fn newest(&self) -> Value {
        self.deploys().into_iter().next().expect("a deploy")
    }

    /// Waits until a deploy has this phase under way, and gives the deploy's number. Fails at once where
    /// the phase is over before it was seen: a test has to make it last.
    pub fn wait_for_phase(&self, phase: &str) -> i64 {
        let (head, mut first) = (self.head(), None);
        wait_for(
            &format!("the phase {phase} of {}", self.name),
            Duration::from_secs(30),
            || {
                let deploy = self.deploys().into_iter().next()?;
                if is_in(&deploy, phase) {
                    return deploy["id"].as_i64();
                }
                // The deploy before may still be the newest.
                let new = *first.get_or_insert(deploy["id"].clone()) != deploy["id"]
                    || deploy["commit"] == head.as_str()
                        && ["running", "live"].iter().any(|is| deploy["status"] == *is);
                assert!(
                    !(new && is_past(&deploy, phase)),
                    "the phase {phase} was over before it was seen: {deploy:#}"
                );
                None
            },
        )
    }

    /// Waits until a deploy has ended, and gives it.
    pub fn wait_for_end(&self, id: i64) -> Value {
        wait_for(&format!("deploy {id} ends"), LONGEST_PUSH, || {
            let deploy = self.world.deploy(id);
            (!deploy["finished_at"].is_null()).then_some(deploy)
        })
    }

    /// Waits until no old container drains behind a live release: nobody else waits for that.
    pub fn wait_for_drains(&self) {
        let drains = |deploy: &Value| {
            let went_live = deploy["status"] == "live" || deploy["status"] == "retired";
            went_live && deploy["finished_at"].is_null()
        };
        wait_for("no old container drains", LONGEST_PUSH, || {
            (!self.deploys().iter().any(drains)).then_some(())
        });
    }

    /// The live deploy.
    pub fn live(&self) -> Option<Value> {
        let live = self.world.json(&["app", "show", &self.name])["live"].clone();
        (!live.is_null()).then_some(live)
    }

    /// What the deploy branch in the bare repository names.
    pub fn branch(&self) -> Option<String> {
        let mut git = Self::git_in(
            &self.repository(),
            &["rev-parse", "--verify", "-q", "refs/heads/main"],
        );
        Some(run(&mut git).stdout.trim().to_owned()).filter(|id| !id.is_empty())
    }

    /// This app's containers.
    pub fn containers(&self) -> Vec<String> {
        self.world
            .containers(&format!("windlass.app={}", self.name))
    }

    /// This app's containers but for what runs beside `web`.
    fn web_and_strays(&self) -> Vec<String> {
        let beside = self.world.containers("windlass.role=process");
        let mut all = self.containers();
        all.retain(|name| !beside.contains(name));
        all
    }

    /// The container that serves.
    pub fn live_container(&self) -> String {
        let live = self
            .containers()
            .into_iter()
            .find(|name| name.ends_with("_live"));
        live.expect("a live container")
    }

    /// Everything agrees that what shows `text` is live, and nothing else of the app runs.
    pub fn serves(&self, text: &str) {
        let (status, body) = self.get("/");
        assert!(
            status == 200 && body.contains(text),
            "expected {text:?}, got {status}: {body}"
        );
        let live = self.live().expect("a live deploy");
        assert_eq!(live["status"], "live");
        assert_eq!(
            self.branch().as_deref(),
            live["commit"].as_str(),
            "the branch names what is live"
        );
        self.wait_for_drains();
        let containers = self.web_and_strays();
        assert!(
            containers.len() == 1 && containers[0].ends_with("_live"),
            "{containers:?}"
        );
        let running = self
            .world
            .place
            .docker(&["inspect", "-f", "{{.State.Running}}", &containers[0]])
            .ok();
        assert_eq!(running.trim(), "true");
        assert_eq!(
            self.world.json(&["app", "show", &self.name])["status"],
            "serving"
        );
    }

    /// Within `limit` everything is as [`App::serves`] wants it.
    pub fn in_order(&self, text: &str, limit: Duration) {
        let (began, limit) = (Instant::now(), limit * BUSY);
        let container = format!("{}_live", self.name);
        let settled = || {
            let (status, body) = self.get("/");
            let live = self.world.json(&["app", "show", &self.name]);
            let containers = self.web_and_strays();
            status == 200
                && body.contains(text)
                && live["status"] == "serving"
                && self.branch().as_deref() == live["live"]["commit"].as_str()
                && containers.len() == 1
                && containers[0].ends_with(&container)
        };
        while !settled() && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.serves(text);
    }

    /// Nothing was ever live, and nothing is left of what was tried.
    pub fn serves_nothing(&self) {
        assert_eq!(self.live(), None);
        assert_eq!(self.branch(), None, "no branch while nothing is live");
        assert_eq!(self.containers(), Vec::<String>::new());
        assert_eq!(
            self.world.json(&["app", "show", &self.name])["status"],
            "empty"
        );
    }

    /// The push went live: the newest deploy, the push's last line, and the page say so. Gives the deploy
    /// once the old container is gone, which the push does not wait for.
    pub fn went_live(&self, push: &Push, text: &str) -> Value {
        let deploy = self.newest();
        assert_eq!(deploy["status"], "live", "{deploy:#}\n{}", push.output);
        assert_eq!(deploy["failure"], Value::Null);
        assert_eq!(push.code, 0, "{}", push.output);
        let url = format!(
            "LIVE  http://{}:{}  deploy {}",
            self.domain, self.world.port, deploy["id"]
        );
        assert!(push.last().starts_with(&url), "{}", push.output);
        assert_eq!(deploy["commit"].as_str(), Some(self.head().as_str()));
        let deploy = self.wait_for_end(deploy["id"].as_i64().unwrap());
        self.serves(text);
        deploy
    }

    /// The push failed in `phase` for a reason with `part` in it, and what served before still does.
    pub fn failed(&self, push: &Push, phase: &str, part: &str, still: Option<&str>) -> Value {
        let deploy = self.newest();
        assert_eq!(deploy["status"], "failed", "{deploy:#}\n{}", push.output);
        assert_eq!(deploy["commit"].as_str(), Some(self.head().as_str()));
        assert_eq!(deploy["failure"]["phase"], phase, "{deploy:#}");
        let message = deploy["failure"]["message"].as_str().unwrap();
        assert!(message.contains(part), "no {part:?} in {message:?}");
        let last_phase = deploy["phases"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last_phase["phase"], &last_phase["status"]),
            (&phase.into(), &"failed".into())
        );
        assert!(
            push.last()
                .starts_with(&format!("FAILED in {phase}  deploy ")),
            "{}",
            push.output
        );
        match still {
            Some(text) => {
                let live = self.live().expect("a live deploy");
                let still = format!("deploy {} is still serving", live["id"]);
                assert!(push.last().ends_with(&still), "{}", push.last());
                self.serves(text);
            }
            None => {
                assert!(
                    push.last().ends_with("nothing is serving"),
                    "{}",
                    push.last()
                );
                self.serves_nothing();
            }
        }
        deploy
    }

    /// As [`App::failed`], of a candidate that ended by itself: in `start` or in `health`, whichever saw it.
    pub fn died(&self, push: &Push, part: &str, still: Option<&str>) -> Value {
        let phase = self.newest()["failure"]["phase"].clone();
        assert!(phase == "start" || phase == "health", "{}", push.output);
        self.failed(push, phase.as_str().unwrap(), part, still)
    }

    /// The status of each phase of a deploy, as `build:ok`.
    pub fn phases(deploy: &Value) -> Vec<String> {
        let phases = deploy["phases"].as_array().unwrap().iter();
        phases
            .map(|p| {
                format!(
                    "{}:{}",
                    p["phase"].as_str().unwrap(),
                    p["status"].as_str().unwrap()
                )
            })
            .collect()
    }
}
