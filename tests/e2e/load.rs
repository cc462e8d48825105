//! No request is lost: deploys, a revert and a failed verify under load.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::app::MANIFEST;
use crate::world::World;

/// Clients that ask again and again until told to stop, each time over a connection of its own.
pub struct Asking {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Failure>>>,
}

/// A request that was not answered as it should be.
#[derive(Debug)]
pub struct Failure {
    pub begun: Instant,
    /// Nobody took the connection.
    pub refused: bool,
    /// What came instead, and when by the clock.
    _what: String,
}

impl Asking {
    /// Six: four for the front page, and two that send something.
    pub fn begin(world: &World, domain: &str) -> Self {
        Self::with(world, domain, 4, 2)
    }

    /// So many for the front page, and so many that send something.
    pub fn with(world: &World, domain: &str, getting: usize, posting: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let get = format!("GET / HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n");
        let body = "x".repeat(5000);
        let post = get
            .replace("GET", "POST")
            .replace("\r\n\r\n", "\r\nContent-Length: 5000\r\n\r\n")
            + &body;
        let client = |number| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let (place, port) = (world.place.clone(), world.port);
            let (request, status) = if number < getting {
                (get.clone(), 200)
            } else {
                (post.clone(), 201)
            };
            std::thread::spawn(move || {
                place.enter();
                ask_until(&stop, &answered, (place.address(), port), &request, status)
            })
        };
        let clients = (0..getting + posting).map(client).collect();
        Self {
            stop,
            answered,
            clients,
        }
    }

    /// How many were answered well so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops them: each request, at least `least` of them, was answered well and in full.
    pub fn all_good(self, least: usize) {
        self.all_good_but(least, |_| false);
    }

    /// As [`Asking::all_good`], but some may have failed.
    pub fn all_good_but(self, least: usize, mut may_fail: impl FnMut(&Failure) -> bool) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self
            .clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        let failed: Vec<Failure> = failed.filter(|failure| !may_fail(failure)).collect();
        let answered = self.answered.load(Ordering::Relaxed);
        let few = &failed[..failed.len().min(5)];
        assert!(
            failed.is_empty(),
            "{} failed, {answered} did not: {few:#?}",
            failed.len()
        );
        assert!(answered >= least, "only {answered} requests");
    }
}

fn ask_until(
    stop: &AtomicBool,
    answered: &AtomicUsize,
    at: (&str, u16),
    request: &str,
    status: u16,
) -> Vec<Failure> {
    let mut failed = Vec::new();
    let good = format!("HTTP/1.1 {status} ");
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = ask(at, request);
        if answer.as_ref().is_ok_and(|line| line.starts_with(&good)) {
            answered.fetch_add(1, Ordering::Relaxed);
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let refused = answer
                .as_ref()
                .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
            let what = format!("at {now:?}: {answer:?}");
            failed.push(Failure {
                begun,
                refused,
                _what: what,
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    failed
}

/// Sends a request and reads the answer to its end: the first line of it.
fn ask(at: (&str, u16), request: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(at)?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let length: Option<usize> = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    match length {
        Some(length) if body.len() != length => {
            Err(io::Error::other(format!("cut off: {answer:?}")))
        }
        _ => Ok(head.lines().next().unwrap_or_default().to_owned()),
    }
}

/// A `hey` under way.
struct Hey {
    name: &'static str,
    child: Child,
}

impl Hey {
    fn begin(world: &World, domain: &str, name: &'static str, path: &str, args: &[&str]) -> Self {
        let mut hey = Command::new("hey");
        hey.args(["-host", domain, "-t", "60", "-z", "50s"])
            .args(args);
        hey.arg(format!("http://127.0.0.1:{}{path}", world.port));
        let child = hey
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self {
            name,
            child: child.expect("hey, which `make setup` with --tests installs"),
        }
    }

    /// Waits for its end: every answer has the expected status, and there are at least so many.
    fn all_good(self, status: u16, least: usize) {
        let output = self.child.wait_with_output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {report}", self.name);
        assert!(
            !report.contains("Error distribution"),
            "{} had errors:\n{report}",
            self.name
        );
        let (_, statuses) = report
            .split_once("Status code distribution:")
            .expect("a report by hey");
        let counts: Vec<&str> = statuses
            .lines()
            .map(str::trim)
            .filter(|l| l.starts_with('['))
            .collect();
        assert!(
            counts.len() == 1 && counts[0].starts_with(&format!("[{status}]")),
            "{}: {counts:?}",
            self.name
        );
        let count: usize = counts[0]
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        assert!(count >= least, "{}: only {count} answers", self.name);
    }
}

#[test]
fn no_request_is_lost_over_deploys_a_revert_and_a_failed_verify() {
    let world = World::new();
    let app = world.app("shop");
    app.write(
        "windlass.toml",
        &MANIFEST.replace("timeout = \"10s\"", "timeout = \"20s\""),
    );
    app.version("edition 1");
    app.went_live(&app.push(), "edition 1");

    let body = world.home.with_file_name("body");
    fs::write(&body, "x".repeat(20_000)).unwrap();
    let post = [
        "-c",
        "10",
        "-q",
        "8",
        "-m",
        "POST",
        "-D",
        body.to_str().unwrap(),
    ];
    let load = [
        (
            Hey::begin(&world, &app.domain, "GET", "/", &["-c", "20", "-q", "8"]),
            200,
            3000,
        ),
        (
            Hey::begin(&world, &app.domain, "POST", "/", &post),
            201,
            1500,
        ),
        (
            Hey::begin(&world, &app.domain, "slow", "/slow/5", &["-c", "3"]),
            200,
            15,
        ),
    ];
    let mut stream = Command::new("curl");
    stream.args([
        "-sSN",
        "--noproxy",
        "*",
        "-H",
        &format!("Host: {}", app.domain),
    ]);
    stream.arg(format!("http://127.0.0.1:{}/events/12", world.port));
    let stream = stream
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    app.version("edition 2");
    app.went_live(&app.push(), "edition 2");
    let other = world.app("other");
    app.version("edition 3");
    app.went_live(&app.push(), "edition 3");
    app.write(
        "windlass.toml",
        &MANIFEST.replace("[verify]", "[verify]\npath = \"/status/500\""),
    );
    app.version("edition 4");
    app.failed(&app.push(), "verify", "answers 500", Some("edition 3"));
    app.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    world.windlass(&["revert", "shop", "--wait"]).ok();
    app.serves("edition 2");
    app.version("edition 5");
    app.went_live(&app.push(), "edition 5");

    let streamed = stream.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&streamed.stdout);
    assert!(streamed.status.success(), "{streamed:?}");
    assert_eq!(text.matches("data: edition 1: ").count(), 12, "{text}");
    assert!(
        text.ends_with("event: end\ndata: end\n\n"),
        "the stream arrived whole: {text}"
    );
    for (hey, status, least) in load {
        hey.all_good(status, least);
    }
    other.serves_nothing();
}
