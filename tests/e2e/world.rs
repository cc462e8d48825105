//! A small stateful world: a home folder, a server on it, and everything that it makes.
//!
//! Dropping a world removes all of it, also after a panic, by the label that names the home folder;
//! a test that was good so far fails then if its apps left anything behind.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::app::App;
use crate::own_engine::{OwnEngine, Place};

/// Worlds at a time: each has a server, a Caddy and builds.
const AT_ONCE: usize = 2;
/// Where homes lie: short, since unix sockets lie below.
const HOMES: &str = "/tmp/wl-e2e.";
/// Slices of 10.214.0.0/16, a /20 each, shared by all runs on this machine.
const SLICES: u16 = 16;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output of a command that has to succeed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    let done = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output {
        code: code(done.status),
        stdout: text(&done.stdout),
        stderr: text(&done.stderr),
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// `docker` with these words, on the machine's engine.
pub fn docker(args: &[&str]) -> Output {
    Place::default().docker(args)
}

/// A number that no earlier run had: a build step with it in it is in nobody's cache.
pub fn salt() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}

/// How much longer than on a quiet machine things may take here, where tests run side by side.
pub const BUSY: u32 = 3;

/// Asks again and again until there is an answer; panics with `what` when there is none in time. The limit
/// is that of a quiet machine.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let limit = limit * BUSY;
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(30));
    }
}

/// Sends a signal to a process that this test started.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub struct World {
    // In the order in which they have to go.
    server: Mutex<Option<Server>>,
    leftovers: Leftovers,
    pub home: PathBuf,
    pub port: u16,
    pub listen: u16,
    pub place: Place,
    config: String,
    _slice: File,
    _permit: Permit,
}

impl World {
    /// A world with a running server and the current Caddy.
    pub fn new() -> Self {
        Self::with("")
    }

    /// As [`World::new`], with more in its `config.toml`.
    pub fn with(more: &str) -> Self {
        Self::on(Disk::Shared, more)
    }

    /// As [`World::new`], with its `config.toml` changed.
    pub fn changed(change: impl FnOnce(String) -> String) -> Self {
        let mut world = Self::idle();
        world.config = change(std::mem::take(&mut world.config));
        world.write_config();
        world.start();
        world
    }

    /// A world with a running server on an engine of the test's own.
    pub fn with_engine(engine: &OwnEngine) -> Self {
        let world = Self::idle_at(engine.place().clone(), Disk::Shared);
        world.start();
        world
    }

    /// As [`World::with`], its home folder on a file system of its own.
    pub fn on(disk: Disk, more: &str) -> Self {
        let world = Self::idle_on(disk);
        world.add_config(more);
        world.start();
        world
    }

    /// A home folder with a configuration and no server yet.
    pub fn idle() -> Self {
        Self::idle_on(Disk::Shared)
    }

    /// As [`World::idle`], its home folder on a file system of its own.
    pub fn idle_on(disk: Disk) -> Self {
        Self::idle_at(Place::default(), disk)
    }

    fn idle_at(place: Place, disk: Disk) -> Self {
        let permit = Permit::acquire();
        let (number, slice) = take_slice();
        let [port, listen] = free_ports(number);
        let leftovers = Leftovers::record(&slice, place.clone());
        let home = leftovers.home.clone();
        let socket = place
            .socket()
            .map(|socket| format!("socket = {socket:?}\n"))
            .unwrap_or_default();
        disk.make(&home);
        disk.mount(&home);
        let config = format!(
            "listen = \"127.0.0.1:{listen}\"\n\
             [caddy]\nimage = \"windlass-local/caddy\"\nhttp_port = {port}\ntls = \"off\"\n\
             [docker]\n{socket}address_pool = \"10.214.{}.0/20\"\n",
            number * 16
        );
        let world = Self {
            server: Mutex::new(None),
            leftovers,
            home,
            port,
            listen,
            place,
            config,
            _slice: slice,
            _permit: permit,
        };
        world.write_config();
        world
    }

    /// The server's configuration as text.
    pub fn config(&self) -> String {
        self.config.clone()
    }

    /// More at the end of `config.toml`, for the next start.
    pub fn add_config(&self, more: &str) {
        let mut file = File::options()
            .append(true)
            .open(self.home.join("config.toml"))
            .unwrap();
        file.write_all(more.as_bytes()).unwrap();
    }

    pub fn write_config(&self) {
        fs::write(self.home.join("config.toml"), &self.config).unwrap();
    }

    /// Starts the server and waits until it is ready.
    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// As [`World::start`], with more in its environment.
    pub fn start_with(&self, environment: &[(&str, &str)]) {
        self.start_binary(Path::new(WINDLASS), environment);
    }

    /// As [`World::start`], the server of another version.
    pub fn start_binary(&self, binary: &Path, environment: &[(&str, &str)]) {
        let server = Server::start(binary, &self.home, &self.place, environment);
        *self.server() = Some(server);
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the server as a power cut would.
    pub fn kill_server(&self) {
        let mut server = self.server().take().expect("a running server");
        server.child.kill().unwrap();
        server.child.wait().unwrap();
    }

    /// Stops the server as the system's service manager would, and gives its exit status.
    pub fn stop_server(&self) -> i32 {
        let mut server = self.server().take().expect("a running server");
        signal(&server.child, Signal::TERM);
        wait_for(
            "the server stops on SIGTERM",
            Duration::from_secs(10),
            || server.child.try_wait().unwrap().map(code),
        )
    }

    pub fn server_pid(&self) -> u32 {
        self.server().as_ref().expect("a running server").child.id()
    }

    pub fn server_runs(&self) -> bool {
        self.server()
            .as_mut()
            .is_some_and(|server| server.child.try_wait().unwrap().is_none())
    }

    /// All that servers of this home folder printed so far.
    pub fn server_log(&self) -> String {
        fs::read_to_string(server_log(&self.home)).unwrap_or_default()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        command(&self.home, args)
    }

    /// `windlass` with these words.
    pub fn windlass(&self, args: &[&str]) -> Output {
        run(&mut self.command(args))
    }

    /// The JSON that `windlass` with these words and `--json` prints.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.windlass(&[args, &["--json"]].concat());
        let printed = output.stdout.clone();
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{args:?}: {e}\n{output:?}"))
    }

    pub fn deploy(&self, id: i64) -> Value {
        self.json(&["deploy", "show", &id.to_string()])
    }

    /// As [`World::deploy`]; `None` where there is no deploy of that number.
    pub fn deploy_if_any(&self, id: i64) -> Option<Value> {
        let output = self.windlass(&["deploy", "show", &id.to_string(), "--json"]);
        serde_json::from_str(&output.stdout).ok()
    }

    /// A new app with the tests' own small web app in its work tree, not yet committed.
    pub fn app(&self, name: &str) -> App<'_> {
        App::create(self, name)
    }

    /// Names of this world's containers with this label, sorted.
    pub fn containers(&self, label: &str) -> Vec<String> {
        let home = format!("label=windlass.home={}", self.home.display());
        let label = format!("label={label}");
        let filters = [
            "ps",
            "-a",
            "--filter",
            &home,
            "--filter",
            &label,
            "--format",
            "{{.Names}}",
        ];
        lines(&self.place.docker(&filters).ok())
    }

    /// This world's images, as `name:tag`, sorted.
    pub fn images(&self) -> Vec<String> {
        let home = format!("label=windlass.home={}", self.home.display());
        lines(
            &self
                .place
                .docker(&[
                    "image",
                    "ls",
                    "--filter",
                    &home,
                    "--format",
                    "{{.Repository}}:{{.Tag}}",
                ])
                .ok(),
        )
    }

    pub fn networks(&self) -> Vec<String> {
        let home = format!("label=windlass.home={}", self.home.display());
        lines(
            &self
                .place
                .docker(&["network", "ls", "--filter", &home, "--format", "{{.Name}}"])
                .ok(),
        )
    }

    /// GETs a page through Caddy: status and body. Status 0 is no answer.
    pub fn get(&self, domain: &str, path: &str) -> (u16, String) {
        let mut curl = self.place.command("curl");
        curl.args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
        ]);
        curl.arg("-H").arg(format!("Host: {domain}"));
        let output = run(curl.arg(format!(
            "http://{}:{}{path}",
            self.place.address(),
            self.port
        )));
        let (body, status) = output.stdout.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap(), body.to_owned())
    }

    /// The machine is lost: the server, every container, network and image, and the home folder.
    pub fn lose_machine(&self) {
        self.kill_server();
        self.leftovers.remove_from_engine();
        fs::remove_dir_all(&self.home).unwrap();
    }

    /// Destroys the apps and tells what of them is still there.
    fn remains(&self) -> String {
        let mut remains = String::new();
        for app in self.json(&["app", "list"]).as_array().unwrap() {
            let name = app["name"].as_str().unwrap();
            let done = self.windlass(&["app", "destroy", name, "--yes"]);
            if done.code != 0 {
                let _ = writeln!(remains, "app destroy {name}: {}", done.stderr);
            }
        }
        let containers = self.containers("windlass.home");
        for name in containers.iter().filter(|name| !name.ends_with("_caddy")) {
            let _ = writeln!(remains, "container {name}");
        }
        for image in self.images() {
            let _ = writeln!(remains, "image {image}");
        }
        for network in self
            .networks()
            .iter()
            .filter(|name| !name.ends_with("_edge"))
        {
            let _ = writeln!(remains, "network {network}");
        }
        for folder in ["repos", "logs"] {
            for entry in fs::read_dir(self.home.join(folder))
                .into_iter()
                .flatten()
                .flatten()
            {
                let _ = writeln!(remains, "{}", entry.path().display());
            }
        }
        remains
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "---- the server's last lines\n{}\n----",
                last_lines(&self.server_log(), 60)
            );
            let caddy =
                fs::read_to_string(self.home.join("caddy/data/caddy.log")).unwrap_or_default();
            eprintln!("Caddy's\n{}\n----", last_lines(&caddy, 40));
        } else if self.server_runs() {
            self.leftovers.remove_databases();
            let remains = self.remains();
            assert!(
                remains.is_empty(),
                "left behind after every app was destroyed:\n{remains}"
            );
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let from = text.lines().count().saturating_sub(count);
    text.lines().skip(from).collect::<Vec<_>>().join("\n")
}

fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// `windlass` with these words, on `home`.
pub fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(WINDLASS);
    command
        .args(args)
        .env("WINDLASS_HOME", home)
        .env("NO_COLOR", "1");
    command
}

fn server_log(home: &Path) -> PathBuf {
    home.with_extension("log")
}

/// A `windlass serve`; dropping it kills it.
/// The binary that is tested.
const WINDLASS: &str = env!("CARGO_BIN_EXE_windlass");

struct Server {
    child: Child,
}

impl Server {
    fn start(binary: &Path, home: &Path, place: &Place, environment: &[(&str, &str)]) -> Self {
        let path = server_log(home);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        let before = log.metadata().unwrap().len() as usize;
        let mut command = place.command(binary.to_str().unwrap());
        command.arg("serve").envs([
            ("WINDLASS_HOME", home.as_os_str()),
            ("NO_COLOR", "1".as_ref()),
        ]);
        command.envs(environment.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut server = Self {
            child: command.spawn().unwrap(),
        };
        wait_for("the server is ready", Duration::from_secs(60), || {
            let said = fs::read_to_string(&path).unwrap();
            let ended = server.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the server ended: {ended:?}\n{}",
                &said[before..]
            );
            said[before..].contains("Windlass is ready").then_some(())
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a home folder lies on. Mounting takes root.
#[derive(Debug, Clone, Copy)]
pub enum Disk {
    /// The machine's own.
    Shared,
    /// A tmpfs with so many MiB.
    Memory(u64),
    /// An ext4 of so many MiB in a file, which turns read-only at its first error, as is usual.
    Image(u64),
}

impl Disk {
    fn image(home: &Path) -> PathBuf {
        home.with_extension("img")
    }

    fn make(self, home: &Path) {
        if let Self::Image(mib) = self {
            let image = Self::image(home);
            File::create(&image).unwrap().set_len(mib << 20).unwrap();
            run(Command::new("/sbin/mkfs.ext4")
                .args(["-q", "-m", "0"])
                .arg(image))
            .ok();
        }
    }

    /// Mounts it as the home folder.
    pub fn mount(self, home: &Path) {
        let mut mount = Command::new("mount");
        match self {
            Self::Shared => return,
            Self::Memory(mib) => mount.args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mib}m,mode=750"),
                "windlass-e2e",
            ]),
            Self::Image(_) => mount
                .args(["-o", "loop,errors=remount-ro"])
                .arg(Self::image(home)),
        };
        run(mount.arg(home)).ok();
    }
}

/// Where file systems are mounted at `folder` and below, the innermost last.
pub fn mounts(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = table.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((PathBuf::from(words.next()?), PathBuf::from(words.next()?)))
    });
    mounts.filter(|(_, at)| at.starts_with(folder)).collect()
}

/// Removes what bears the home folder's label, and then the folder.
struct Leftovers {
    home: PathBuf,
    place: Place,
}

impl Leftovers {
    /// Makes a home folder, and writes its name into the slice's file. What was written there before
    /// is that of a run that was killed, and is removed.
    fn record(mut slice: &File, place: Place) -> Self {
        let mut before = String::new();
        slice.read_to_string(&mut before).unwrap();
        if before.starts_with(HOMES) {
            drop(Self {
                home: before.into(),
                place: Place::default(),
            });
        }
        let dir = tempfile::Builder::new()
            .prefix("wl-e2e.")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let home = dir.join("h");
        slice.set_len(0).unwrap();
        slice.write_all(home.as_os_str().as_bytes()).unwrap();
        fs::create_dir(&home).unwrap();
        Self { home, place }
    }

    fn list(&self, args: &[&str]) -> Vec<String> {
        let filter = format!("label=windlass.home={}", self.home.display());
        lines(
            &self
                .place
                .docker(&[args, &["--filter", &filter]].concat())
                .stdout,
        )
    }

    fn remove_databases(&self) {
        for id in self.list(&["ps", "-aq", "--filter", "label=windlass.test=database"]) {
            self.place.docker(&["rm", "-fv", &id]);
        }
    }
}

impl Leftovers {
    fn remove_from_engine(&self) {
        let all: [(&[&str], &[&str]); 4] = [
            (&["ps", "-aq"], &["rm", "-fv"]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
            (&["image", "ls", "-q"], &["image", "rm", "-f"]),
        ];
        for (list, remove) in all {
            for id in self.list(list) {
                self.place.docker(&[remove, &[&id]].concat());
            }
        }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.remove_from_engine();
        // The server is gone, and Caddy with it: nothing writes here any more.
        let folder = self.home.parent().expect("the folder made for this world");
        for (_, at) in mounts(folder).into_iter().rev() {
            run(Command::new("umount").arg("-l").arg(at));
        }
        let _ = fs::remove_dir_all(folder);
    }
}

/// One of the worlds that may exist at a time in this process.
struct Permit;

static PERMITS: (Mutex<usize>, Condvar) = (Mutex::new(AT_ONCE), Condvar::new());

impl Permit {
    fn acquire() -> Self {
        let free = PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = PERMITS
            .1
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        PERMITS.1.notify_one();
    }
}

/// A slice of addresses and ports that no other world on this machine has. Locked by a file, so
/// that a killed run gives its own back.
fn take_slice() -> (u16, File) {
    wait_for(
        "a free slice of addresses",
        Duration::from_secs(600),
        || {
            (0..SLICES).find_map(|number| {
                let path = format!("/tmp/wl-e2e-slice-{number}.lock");
                let file = File::options()
                    .create(true)
                    .read(true)
                    .append(true)
                    .open(path)
                    .unwrap();
                file.try_lock().is_ok().then_some((number, file))
            })
        },
    )
}

/// Ports of this slice that nobody listens on, below those that the system gives to clients.
fn free_ports<const N: usize>(slice: u16) -> [u16; N] {
    let first = 21_000 + slice * 100;
    let mut free =
        (first..first + 100).filter(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
    std::array::from_fn(|_| free.next().expect("a free port"))
}
