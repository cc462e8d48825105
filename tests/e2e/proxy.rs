//! Stands between a server and a unix socket, Docker's or Caddy's, and lets chosen calls go wrong.
//!
//! Every connection carries one request: `Connection: close` is written into its head, unless it is
//! to be upgraded. So each call is seen, and known by its kind: method and path, with what is named
//! in it left out.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Not passed on, and hung up at once.
    Refuse,
    /// Not passed on, and answered with status 500.
    Error,
    /// Passed on after so many milliseconds.
    Delay(u64),
    /// Passed on, and hung up in the middle of the answer.
    Truncate,
    /// Passed on, and hung up before the answer.
    Lost,
    /// Passed on; the answer stops in its middle, and nothing more comes.
    Stall,
    /// Neither passed on nor answered.
    Hang,
    /// Passed on, and not answered.
    HangAfter,
    /// Passed on only when whoever called has given up, so many milliseconds later.
    Late(u64),
}

impl Fault {
    /// Those that a call with a short answer may meet.
    pub const ALL: [Fault; 10] = [
        Fault::Refuse,
        Fault::Error,
        Fault::Delay(1500),
        Fault::Truncate,
        Fault::Lost,
        Fault::Stall,
        Fault::Hang,
        Fault::HangAfter,
        Fault::Late(0),
        Fault::Late(4000),
    ];

    /// Those that a stream may meet: it is not done when its answer has come.
    pub const OF_STREAMS: [Fault; 6] = [
        Fault::Refuse,
        Fault::Error,
        Fault::Delay(1500),
        Fault::Truncate,
        Fault::Stall,
        Fault::Hang,
    ];
}

/// One request as it was seen.
#[derive(Debug, Clone)]
pub struct Call {
    /// As `POST /containers/{}/rename`.
    pub kind: String,
    /// The request's own words, and whose container it names.
    about: String,
}

impl Call {
    /// Whether it is about this app; app names that are words of the API or of each other are no use.
    pub fn concerns(&self, app: &str) -> bool {
        self.about.contains(app)
    }
}

/// Whether calls of this kind are answered bit by bit, until something ends.
pub fn is_stream(kind: &str) -> bool {
    let endless = [
        "/build",
        "/session",
        "/grpc",
        "/wait",
        "/logs+follow",
        "/events",
        "/exec/{}/start",
    ];
    endless.iter().any(|end| kind.ends_with(end))
}

/// A fault that waits for its call.
#[derive(Debug)]
pub struct Trap {
    app: String,
    kind: String,
    fault: Fault,
    /// How many more calls of that kind pass before it, and whether it is over with that call.
    left: Mutex<(usize, bool)>,
    over: Condvar,
}

impl Trap {
    /// Whether its call came.
    pub fn reached(&self) -> bool {
        self.left.lock().unwrap().0 == 0
    }

    /// Whether its call came. Waits until one that is passed on late has been.
    pub fn sprung(&self) -> bool {
        let left = self.left.lock().unwrap();
        let (limit, late) = (
            Duration::from_secs(30),
            matches!(self.fault, Fault::Late(_)),
        );
        let ahead = |(left, over): &mut (usize, bool)| late && *left == 0 && !*over;
        let waited = self.over.wait_timeout_while(left, limit, ahead).unwrap();
        assert!(!waited.1.timed_out(), "{self:?} is over");
        waited.0.0 == 0
    }

    /// Counts a call, and tells whether it is the one.
    fn takes(&self, call: &Call) -> bool {
        let mut left = self.left.lock().unwrap();
        if left.0 == 0 || call.kind != self.kind || !call.concerns(&self.app) {
            return false;
        }
        left.0 -= 1;
        left.0 == 0
    }

    fn end(&self) {
        self.left.lock().unwrap().1 = true;
        self.over.notify_all();
    }
}

/// How the other side seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Well,
    /// Takes connections, and says nothing more on any.
    Hangs,
    /// Not there: its socket refuses, its connections are cut.
    Away,
    /// The proxy itself ends.
    Over,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    listening: bool,
    calls: Vec<Call>,
    traps: Vec<Arc<Trap>>,
    open: HashMap<usize, UnixStream>,
    next: usize,
    owners: HashMap<String, String>,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    upstream: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

/// A proxy, until dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// Of its own socket; without one the other side's socket goes back to where it was.
    folder: Option<TempDir>,
}

impl Proxy {
    /// One on a socket of its own, before Docker's.
    pub fn docker() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("wl-proxy.")
            .tempdir_in("/tmp")
            .unwrap();
        let socket = folder.path().join("docker.sock");
        Self::begin(socket, "/var/run/docker.sock".into(), Some(folder))
    }

    /// One in the place of a socket that somebody listens on already. Whoever is connected to it
    /// stays connected to the other side.
    pub fn in_place_of(socket: &Path) -> Self {
        let aside = socket.with_extension("aside");
        fs::rename(socket, &aside).unwrap();
        Self::begin(socket.to_owned(), aside, None)
    }

    fn begin(socket: PathBuf, upstream: PathBuf, folder: Option<TempDir>) -> Self {
        let state = State {
            mode: Mode::Well,
            listening: true,
            calls: Vec::new(),
            traps: Vec::new(),
            open: HashMap::new(),
            next: 0,
            owners: HashMap::new(),
        };
        let listener = UnixListener::bind(&socket).unwrap();
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared {
            socket,
            upstream,
            state,
            changed,
        });
        let for_thread = shared.clone();
        let acceptor = Some(thread::spawn(move || for_thread.accept(listener)));
        Self {
            shared,
            acceptor,
            folder,
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.shared.socket
    }

    /// All calls that came since the last time this was asked.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.state().calls)
    }

    /// Lets the `nth` call of a kind from now on (1 is the next) that concerns `app` meet a fault.
    pub fn trap(&self, app: &str, kind: &str, nth: usize, fault: Fault) -> Arc<Trap> {
        let (app, kind, left) = (app.to_owned(), kind.to_owned(), Mutex::new((nth, false)));
        let trap = Arc::new(Trap {
            app,
            kind,
            fault,
            left,
            over: Condvar::new(),
        });
        self.shared.state().traps.push(trap.clone());
        trap
    }

    /// Takes a trap away, sprung or not.
    pub fn disarm(&self, trap: &Arc<Trap>) {
        self.shared
            .state()
            .traps
            .retain(|other| !Arc::ptr_eq(other, trap));
    }

    /// Takes away all traps for an app.
    pub fn disarm_all(&self, app: &str) {
        self.shared.state().traps.retain(|trap| trap.app != app);
    }

    /// From now on nothing comes through, in either direction; connections stay.
    pub fn hang(&self) {
        self.shared.set_mode(Mode::Hangs);
    }

    /// From now on nobody listens, and every connection is cut.
    pub fn leave(&self) {
        self.shared.set_mode(Mode::Away);
        self.shared.cut_all();
        self.shared.wait_until(|state| !state.listening);
    }

    /// All is well again.
    pub fn recover(&self) {
        self.shared.set_mode(Mode::Well);
        self.shared.wait_until(|state| state.listening);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.set_mode(Mode::Over);
        self.shared.cut_all();
        let _ = self.acceptor.take().expect("one acceptor").join();
        if self.folder.is_none() {
            let _ = fs::rename(&self.shared.upstream, &self.shared.socket);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_mode(&self, mode: Mode) {
        self.state().mode = mode;
        self.changed.notify_all();
        // Who waits for a connection sees it by this one.
        let _ = UnixStream::connect(&self.socket);
    }

    fn wait_until(&self, met: impl Fn(&State) -> bool) {
        let state = self.state();
        let waited = self
            .changed
            .wait_timeout_while(state, Duration::from_secs(10), |state| !met(state));
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "the proxy does as told");
    }

    /// While everything hangs; false when the connection is to end.
    fn go_on(&self) -> bool {
        let state = self.state();
        let state = self
            .changed
            .wait_while(state, |state| state.mode == Mode::Hangs);
        state.unwrap_or_else(PoisonError::into_inner).mode == Mode::Well
    }

    fn cut_all(&self) {
        for stream in self.state().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Remembers a connection, so that it can be cut.
    fn remember(&self, stream: &UnixStream) -> usize {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.open.insert(number, stream.try_clone().unwrap());
        number
    }

    fn accept(self: Arc<Self>, first: UnixListener) {
        let mut listener = first;
        loop {
            for client in listener.incoming().flatten() {
                if matches!(self.state().mode, Mode::Away | Mode::Over) {
                    break;
                }
                let shared = self.clone();
                thread::spawn(move || {
                    let number = shared.remember(&client);
                    // The other side may hang up at any time; that is nothing to tell of.
                    let _ = shared.serve(Client {
                        stream: client,
                        pending: Vec::new(),
                    });
                    shared.state().open.remove(&number);
                });
            }
            drop(listener);
            let _ = fs::remove_file(&self.socket);
            self.state().listening = false;
            self.changed.notify_all();
            let state = self.state();
            let state = self
                .changed
                .wait_while(state, |state| state.mode == Mode::Away);
            if state.unwrap_or_else(PoisonError::into_inner).mode == Mode::Over {
                return;
            }
            listener = UnixListener::bind(&self.socket).unwrap();
            self.state().listening = true;
            self.changed.notify_all();
        }
    }

    fn serve(&self, mut client: Client) -> io::Result<()> {
        let Some(head) = client.read_request()? else {
            return Ok(());
        };
        let call = self.recognise(&head);
        let trap = self.note(&call);
        let done = if self.go_on() {
            self.carry(client, &call, trap.as_ref().map(|t| t.fault))
        } else {
            Ok(())
        };
        trap.inspect(|trap| trap.end());
        done
    }

    fn carry(&self, mut client: Client, call: &Call, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            Some(Fault::Refuse) => return Ok(()),
            Some(Fault::Error) => return client.refuse(),
            Some(Fault::Hang) => return client.until_gone(),
            Some(Fault::Late(millis)) => {
                client.until_gone()?;
                thread::sleep(Duration::from_millis(millis));
            }
            Some(Fault::Delay(millis)) => thread::sleep(Duration::from_millis(millis)),
            _ => {}
        }
        let mut upstream = UnixStream::connect(&self.upstream)?;
        let number = self.remember(&upstream);
        upstream.write_all(&client.pending)?;
        let client = &client.stream;
        let answered = thread::scope(|scope| {
            // An engine that is late knows nothing of whoever has given up.
            let sending = (!matches!(fault, Some(Fault::Late(_))))
                .then(|| scope.spawn(|| self.pump(client, &upstream)));
            let answered = self.answer(call, fault, client, &upstream);
            if let (Some(Fault::Stall | Fault::HangAfter), Some(sending)) = (fault, sending) {
                let _ = sending.join();
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = upstream.shutdown(Shutdown::Both);
            answered
        });
        self.state().open.remove(&number);
        answered
    }

    /// Passes on what comes from `from` until that ends, which `to` is told.
    fn pump(&self, mut from: &UnixStream, mut to: &UnixStream) {
        let _ = from.set_read_timeout(None);
        let mut chunk = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            if !self.go_on() || to.write_all(&chunk[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn answer(
        &self,
        call: &Call,
        fault: Option<Fault>,
        mut client: &UnixStream,
        mut upstream: &UnixStream,
    ) -> io::Result<()> {
        match fault {
            None | Some(Fault::Delay(_)) => self.pump(upstream, client),
            Some(Fault::Truncate | Fault::Stall) if is_stream(&call.kind) => {
                client.write_all(&read_some(upstream, BEGINNING)?)?;
            }
            _ => {
                let mut whole = Vec::new();
                upstream.read_to_end(&mut whole)?;
                if matches!(fault, Some(Fault::Truncate | Fault::Stall)) {
                    let (head, body) = split_head(&whole).unwrap_or((&whole, &[]));
                    let half = if body.is_empty() {
                        head.len() / 2
                    } else {
                        head.len() + body.len() / 2
                    };
                    client.write_all(&whole[..half])?;
                }
            }
        }
        Ok(())
    }

    /// Writes a call down, and takes the trap that lies ready for it.
    fn note(&self, call: &Call) -> Option<Arc<Trap>> {
        let mut state = self.state();
        state.calls.push(call.clone());
        // Each counts it; of two for the same call the first one springs.
        let taken: Vec<bool> = state.traps.iter().map(|trap| trap.takes(call)).collect();
        let first = taken.iter().position(|taken| *taken)?;
        Some(state.traps[first].clone())
    }

    fn recognise(&self, head: &str) -> Call {
        let mut words = head.split_whitespace();
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let session = head
            .lines()
            .find(|line| line.to_lowercase().contains("session-uuid"));
        let owner = self.owner(target).unwrap_or_default();
        let about = format!("{target} {} {owner}", session.unwrap_or_default());
        Call {
            kind: kind(method, target),
            about,
        }
    }

    /// Whose container an id in a path stands for. What has been removed is nobody's, unless it was
    /// asked for before.
    fn owner(&self, target: &str) -> Option<String> {
        let mut words = target.split(['/', '?']).filter(|word| !word.is_empty());
        let noun = words.find(|word| matches!(*word, "containers" | "exec"))?;
        let id = words.next().filter(|id| id.len() == 64)?;
        if let Some(known) = self.state().owners.get(id) {
            return Some(known.clone());
        }
        let container = match noun {
            "exec" => self.ask(&format!("/exec/{id}/json"))?["ContainerID"]
                .as_str()?
                .to_owned(),
            _ => id.to_owned(),
        };
        let container = self.ask(&format!("/containers/{container}/json"))?;
        let owner = container["Config"]["Labels"]["windlass.app"]
            .as_str()?
            .to_owned();
        self.state().owners.insert(id.to_owned(), owner.clone());
        Some(owner)
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let mut upstream = UnixStream::connect(&self.upstream).ok()?;
        write!(upstream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).ok()?;
        serde_json::from_slice(split_head(&answer)?.1).ok()
    }
}

/// So many bytes of a stream come before it is cut: its head and not much more.
const BEGINNING: usize = 600;

/// The first `least` bytes, or all there are; never more than the kernel gives at once.
fn read_some(mut from: &UnixStream, least: usize) -> io::Result<Vec<u8>> {
    let (mut read, mut chunk) = (Vec::new(), [0; 1024]);
    while read.len() < least {
        match from.read(&mut chunk)? {
            0 => break,
            count => read.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(read)
}

fn split_head(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(message.split_at(end + 4))
}

/// Method and path, with `{}` for what is named in it.
fn kind(method: &str, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    if words.first().is_some_and(|word| word.starts_with("v1.")) {
        words.remove(0);
    }
    let named = matches!(
        words.first(),
        Some(&("containers" | "images" | "networks" | "exec"))
    );
    if named && words.len() > 1 && !matches!(words[1..], ["json" | "create"]) {
        // Images have slashes in their names.
        let last = words
            .last()
            .filter(|last| words.len() > 2 && LAST.contains(last))
            .copied();
        words.truncate(1);
        words.push("{}");
        words.extend(last);
    }
    let follow = if query.contains("follow=true") {
        "+follow"
    } else {
        ""
    };
    format!("{method} /{}{follow}", words.join("/"))
}

/// What may be asked of something named.
const LAST: [&str; 14] = [
    "json",
    "start",
    "stop",
    "kill",
    "wait",
    "logs",
    "rename",
    "update",
    "exec",
    "tag",
    "connect",
    "disconnect",
    "attach",
    "stats",
];

/// Whoever is connected to the proxy.
struct Client {
    stream: UnixStream,
    /// Read and not yet passed on.
    pending: Vec<u8>,
}

impl Client {
    /// Reads a request's head, and its body where it tells its length; gives the head.
    fn read_request(&mut self) -> io::Result<Option<String>> {
        let body = loop {
            if let Some((_, body)) = split_head(&self.pending) {
                break body.to_vec();
            }
            if self.gone_within(Duration::from_secs(60))? {
                return Ok(None);
            }
        };
        let head =
            String::from_utf8_lossy(&self.pending[..self.pending.len() - body.len()]).into_owned();
        let header = |name: &str| {
            let found = head
                .lines()
                .find(|line| line.to_lowercase().starts_with(name));
            found
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_lowercase())
        };
        let length: usize = header("content-length:")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let kept: Vec<&str> = match header("upgrade:") {
            Some(_) => head.trim_end().lines().collect(),
            None => {
                let other = head
                    .trim_end()
                    .lines()
                    .filter(|l| !l.to_lowercase().starts_with("connection:"));
                other.chain(["Connection: close"]).collect()
            }
        };
        let begin = format!("{}\r\n\r\n", kept.join("\r\n")).into_bytes();
        let whole = begin.len() + length;
        self.pending = [begin, body].concat();
        while self.pending.len() < whole {
            if self.gone_within(Duration::from_secs(60))? {
                return Ok(None);
            }
        }
        Ok(Some(head))
    }

    /// Reads once, and tells whether the other side has hung up.
    fn gone_within(&mut self, limit: Duration) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        self.stream.set_read_timeout(Some(limit))?;
        match self.stream.read(&mut chunk) {
            Ok(count) => {
                self.pending.extend_from_slice(&chunk[..count]);
                Ok(count == 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(_) => Ok(true),
        }
    }

    fn until_gone(&mut self) -> io::Result<()> {
        while !self.gone_within(Duration::from_secs(60))? {}
        Ok(())
    }

    /// Answers as an engine, or a Caddy, that cannot do it.
    fn refuse(&mut self) -> io::Result<()> {
        let body = format!("{{\"message\":\"{REFUSAL}\",\"error\":\"{REFUSAL}\"}}");
        let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close";
        write!(
            self.stream,
            "{head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        self.stream.shutdown(Shutdown::Write)?;
        // What is still being sent is read: else the answer would be lost with it.
        self.until_gone()
    }
}

/// What [`Fault::Error`] says.
pub const REFUSAL: &str = "the test lets this fail";

#[test]
fn calls_are_known_by_their_kind() {
    for (method, target, expected) in [
        (
            "POST",
            "/v1.41/containers/windlass-0_a_live/rename?name=x",
            "POST /containers/{}/rename",
        ),
        ("GET", "/containers/json?all=true", "GET /containers/json"),
        (
            "POST",
            "/containers/create?name=json",
            "POST /containers/create",
        ),
        (
            "DELETE",
            "/containers/abc?force=true",
            "DELETE /containers/{}",
        ),
        ("GET", "/images/windlass-0/a:d1/json", "GET /images/{}/json"),
        ("DELETE", "/images/windlass-0/a:d1", "DELETE /images/{}"),
        (
            "GET",
            "/containers/a/logs?follow=true&stdout=true",
            "GET /containers/{}/logs+follow",
        ),
        ("POST", "/exec/abc/start", "POST /exec/{}/start"),
        ("GET", "/info", "GET /info"),
        ("POST", "/load", "POST /load"),
        (
            "GET",
            "/reverse_proxy/upstreams",
            "GET /reverse_proxy/upstreams",
        ),
    ] {
        assert_eq!(kind(method, target), expected);
    }
    assert!(is_stream("POST /containers/{}/wait") && !is_stream("POST /containers/{}/rename"));
}
