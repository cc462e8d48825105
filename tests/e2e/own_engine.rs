//! An engine that a test may stop, kill and freeze: a second dockerd on this machine, with network,
//! processes, mounts and files of its own.
//!
//! It is made once in a run, because loading the base images takes a while, and given from test to
//! test. All of it ends with its first process, `own_engine/init.sh`, and that one when this run does,
//! however it ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::world::{Output, run, wait_for};

/// Where the engines of runs lie, each below the id of the run's process.
const FOLDERS: &str = "/tmp/wl-e2e-engine.";
/// How long an engine may take to come or to go on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether containers go on while the engine is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    GoOn,
    Stop,
}

/// Where an engine is, and how to get there.
#[derive(Debug, Clone, Default)]
pub struct Place {
    own: Option<PathBuf>,
    init: u32,
}

impl Place {
    /// The address under which a visitor asks Caddy.
    pub fn address(&self) -> &'static str {
        if self.own.is_some() {
            "192.0.2.1"
        } else {
            "127.0.0.1"
        }
    }

    /// The engine's socket, where it is not the machine's own.
    pub fn socket(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|folder| folder.join("socket"))
    }

    /// A program that runs in this place's network.
    pub fn command(&self, program: &str) -> Command {
        if self.own.is_none() {
            return Command::new(program);
        }
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.init))
            .arg(program);
        command
    }

    /// Takes this thread into the place's network.
    pub fn enter(&self) {
        if self.own.is_some() {
            let network = File::open(format!("/proc/{}/ns/net", self.init)).unwrap();
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        }
    }

    /// `docker` with these words.
    pub fn docker(&self, args: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        if let Some(socket) = self.socket() {
            docker.arg("-H").arg(format!("unix://{}", socket.display()));
        }
        run(docker.args(args))
    }

    /// A program in the network of a container, which runs.
    pub fn in_network_of(&self, container: &str, program: &str) -> Command {
        let pid = self
            .docker(&["inspect", "-f", "{{.State.Pid}}", container])
            .ok();
        let processes = if self.own.is_some() {
            format!("/proc/{}/root", self.init)
        } else {
            String::new()
        };
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={processes}/proc/{}/ns/net", pid.trim()))
            .arg(program);
        command
    }
}

/// The machine and its engine.
pub struct OwnEngine {
    place: Place,
    folder: PathBuf,
    daemon: Mutex<Daemon>,
    _init: Child,
}

struct Daemon {
    process: Option<Child>,
    containers: Containers,
}

/// The engine, for one test.
pub struct Turn {
    engine: &'static OwnEngine,
    _alone: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Turn {
    type Target = OwnEngine;
    fn deref(&self) -> &OwnEngine {
        self.engine
    }
}

impl OwnEngine {
    /// The engine, running and empty but for the base images, for as long as the caller holds it.
    pub fn take(containers: Containers) -> Turn {
        static ENGINE: OnceLock<OwnEngine> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let alone = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = ENGINE.get_or_init(OwnEngine::make);
        engine.empty();
        engine.kill();
        engine.daemon().containers = containers;
        engine.start();
        Turn {
            engine,
            _alone: alone,
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    fn make() -> Self {
        remove_old();
        let folder = PathBuf::from(format!("{FOLDERS}{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/own_engine/init.sh");
        let mut unshare = Command::new("unshare");
        unshare
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "bash",
            ])
            .arg(script)
            .arg(&folder);
        let mut unshare = unshare
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(unshare.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "ready\n", "namespaces need root");
        let task = format!("/proc/{0}/task/{0}/children", unshare.id());
        let init = fs::read_to_string(task).unwrap().trim().parse().unwrap();
        let place = Place {
            own: Some(folder.clone()),
            init,
        };
        let daemon = Mutex::new(Daemon {
            process: None,
            containers: Containers::Stop,
        });
        let engine = Self {
            place,
            folder,
            daemon,
            _init: unshare,
        };
        engine.start();
        let socket = format!("unix://{}", engine.place.socket().unwrap().display());
        let images = "windlass-local/python windlass-local/caddy";
        run(Command::new("sh").args([
            "-c",
            &format!("docker save {images} | docker -H {socket} load"),
        ]))
        .ok();
        engine
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the engine and waits until it answers.
    pub fn start(&self) {
        let mut daemon = self.daemon();
        if daemon.process.is_some() {
            return;
        }
        let at = |name: &str| self.folder.join(name).display().to_string();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let mut dockerd = Command::new("nsenter");
        dockerd.args([
            "--target",
            &self.place.init.to_string(),
            "--net",
            "--mount",
            "--pid",
            "dockerd",
        ]);
        dockerd.args([
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("run"),
            "--pidfile",
            &at("pid"),
        ]);
        dockerd.args(["--host", &format!("unix://{}", at("socket"))]);
        // Without a service manager, whatever the machine's own engine has.
        let group = self.folder.file_name().unwrap().to_str().unwrap();
        dockerd.args([
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
            "--cgroup-parent",
            group,
        ]);
        if daemon.containers == Containers::GoOn {
            dockerd.arg("--live-restore");
        }
        dockerd
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        daemon.process = Some(dockerd.spawn().unwrap());
        wait_for("the engine answers", PATIENCE, || {
            let ended = daemon.process.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none(),
                "dockerd ended: {}",
                fs::read_to_string(self.folder.join("log")).unwrap()
            );
            (self.place.docker(&["version"]).code == 0).then_some(())
        });
    }

    /// Stops the engine as the system's service manager would.
    pub fn stop(&self) {
        self.end(Signal::TERM);
    }

    /// Kills the engine.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    fn end(&self, signal: Signal) {
        let mut daemon = self.daemon();
        let Some(mut process) = daemon.process.take() else {
            return;
        };
        if process.try_wait().unwrap().is_none() {
            self.signal(&process, signal);
        }
        wait_for("the engine ends", PATIENCE, || process.try_wait().unwrap());
        // One that was killed leaves it behind, and another process may get the number.
        let _ = fs::remove_file(self.folder.join("pid"));
    }

    /// Stops the engine from doing anything, as a machine out of memory would, until dropped.
    pub fn freeze(&self) -> Frozen<'_> {
        self.signal(self.daemon().process.as_ref().unwrap(), Signal::STOP);
        Frozen(self)
    }

    /// What a power cut leaves: the disk. The engine, its containers and all that runs beside them end,
    /// and what the engine keeps in memory is gone.
    pub fn lose_power(&self) {
        let run = self.folder.join("run").display().to_string();
        let script = "kill -9 -1; sleep 0.1; \
            grep -o \" $1/[^ ]*\" /proc/mounts | sort -r | while read -r mount; do umount -l \"$mount\"; done; \
            rm -rf \"$1\"";
        let init = self.place.init.to_string();
        let mut inside = Command::new("nsenter");
        inside.args([
            "--target", &init, "--net", "--mount", "--pid", "bash", "-c", script, "bash", &run,
        ]);
        crate::world::run(&mut inside).ok();
        self.end(Signal::KILL);
    }

    /// `nsenter` waits for the daemon as its one child.
    fn signal(&self, nsenter: &Child, signal: Signal) {
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", nsenter.id())).unwrap();
        let pid = children
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .expect("dockerd runs");
        kill_process(pid, signal).unwrap();
    }

    /// Removes what a test that failed has left.
    fn empty(&self) {
        self.start();
        let ids = self.place.docker(&["ps", "-aq"]).ok();
        for id in ids.lines() {
            self.place.docker(&["rm", "-fv", id]);
        }
        self.place.docker(&["network", "prune", "-f"]);
    }
}

/// An engine that does nothing while this is there.
pub struct Frozen<'e>(&'e OwnEngine);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let daemon = self.0.daemon();
        let nsenter = daemon.process.as_ref().unwrap();
        self.0.signal(nsenter, Signal::CONT);
        // It stops with what it waits for.
        kill_process(Pid::from_child(nsenter), Signal::CONT).unwrap();
    }
}

/// Removes the folders of runs that are over: those of killed ones clean up after themselves, unless
/// their first process was killed as well.
fn remove_old() {
    for entry in fs::read_dir("/tmp").unwrap().flatten() {
        let path = entry.path();
        let run = path.to_str().and_then(|path| path.strip_prefix(FOLDERS));
        if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}
