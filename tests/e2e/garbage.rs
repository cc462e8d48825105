//! Garbage: requests that nobody means, on the control socket and on the dashboard of a real server.
//! It answers each or closes, never with a failure of its own, and afterwards it is as it was.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::browser::first_password;
use crate::kill::Dice;
use crate::world::{World, run};

/// How much more a server may hold after it all, in KiB: its allocator keeps some of what it had.
const GROWTH: u64 = 32 << 10;

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.roll() as u8).collect()
    }

    /// Some bytes of `bytes` changed, left out or doubled.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len().max(1)).min(bytes.len());
            match self.below(3) {
                0 => bytes.insert(at, self.roll() as u8),
                1 => bytes.truncate(at),
                _ => drop((at < bytes.len()).then(|| bytes.remove(at))),
            }
        }
    }
}

/// `WINDLASS_GARBAGE_SEED=<number>` makes the same garbage again.
fn seed() -> u64 {
    let seed = std::env::var("WINDLASS_GARBAGE_SEED")
        .ok()
        .map_or(8, |seed| seed.parse().unwrap());
    println!("WINDLASS_GARBAGE_SEED={seed}");
    seed
}

/// The memory that the server holds, in KiB.
fn memory(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.server_pid())).unwrap();
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    held.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Nothing in the server failed, nothing is left open, and it answers as before.
fn unharmed(world: &World, before: u64) {
    assert!(world.server_runs());
    let log = world.server_log();
    let broken = |line: &&str| {
        line.contains("panicked") || line.contains("ERROR") || line.contains("a request failed")
    };
    assert_eq!(
        log.lines().filter(broken).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
    let began = Instant::now();
    assert_eq!(world.json(&["app", "list"]).as_array().unwrap().len(), 1);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    let now = memory(world);
    println!("memory: {before} KiB, then {now} KiB");
    assert!(
        now < before + GROWTH,
        "the server held {before} KiB, and now {now} KiB"
    );
}

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "18446744073709551615",
    "9223372036854775807",
    "-9223372036854775808",
    "1e999",
    "1.5",
    "null",
    "\"1\"",
    "1e400",
    "99999999999999999999",
];
const WORDS: &[&str] = &[
    "shop",
    "",
    "..",
    "../../etc/passwd",
    "Shop",
    "shop\\u0000",
    "\\ud800",
    "a'; DROP TABLE apps; --",
    "$(id)",
    "--help",
    "\\u202e",
    "0.18446744073709551615",
    "18446744073709551615.0",
    "refs/heads/main",
    "refs/heads/../x",
    "0000000000000000000000000000000000000000",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "HEAD",
    "@{-1}",
    ":/x",
    "main^{/x}",
];
/// What may be asked, but for what would change the app: N is a number, W a word. Method, path below
/// `/api/v1`, and body.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("GET", "/ping", ""),
    ("POST", "/apps", r#"{"name":"..","domains":["W"]}"#),
    ("GET", "/apps?more=N", ""),
    ("GET", "/apps/W", ""),
    ("POST", "/apps/none/env", r#"{"vars":{"W":"W"}}"#),
    ("POST", "/apps/W/env/unset", r#"{"names":["W"]}"#),
    ("GET", "/apps/W/env?reveal=N", ""),
    ("GET", "/apps/W/deploys?limit=N", ""),
    ("GET", "/apps/shop/deploys?limit=N", ""),
    ("GET", "/deploys/N", ""),
    ("GET", "/deploys/N/events?from=W&follow=true", ""),
    ("GET", "/deploys/1/events?from=W&follow=false", ""),
    ("GET", "/deploys/1/events?from=N.N&follow=false", ""),
    ("GET", "/deploys/1/log?from=N.N", ""),
    ("GET", "/deploys/N/end?at_most_ms=N", ""),
    ("GET", "/deploys/1/end", ""),
    ("POST", "/deploys/N/cancel", "{}"),
    ("POST", "/apps/none/redeploy", r#"{"commit":"W"}"#),
    ("POST", "/apps/shop/redeploy", r#"{"commit":"W:nothing"}"#),
    ("POST", "/apps/shop/revert", r#"{"commit":"W:nothing"}"#),
    ("POST", "/apps/shop/revert", r#"{"commit":"W","to":N}"#),
    ("GET", "/apps/shop/revert?commit=W:nothing", ""),
    ("GET", "/apps/W/logs?since_ms=N&tail=N", ""),
    ("GET", "/apps/shop/logs?since_ms=N&tail=10", ""),
    ("GET", "/apps/shop/logs?tail=N", ""),
    ("GET", "/apps/shop/logs/events?tail=N&follow=false", ""),
    (
        "POST",
        "/apps/shop/pushed",
        r#"{"updates":[{"old":"W","new":"W","name":"W"}]}"#,
    ),
    (
        "POST",
        "/apps/W/pushed",
        r#"{"updates":[{"old":"0000000000000000000000000000000000000000","new":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","name":"W"}]}"#,
    ),
    ("GET", "/whoami", ""),
    ("POST", "/apps/W/enter", r#"{"service":"W"}"#),
    ("POST", "/users/W/role", r#"{"role":"W","apps":["W"]}"#),
    (
        "POST",
        "/users",
        r#"{"name":"W","role":"W","apps":["none"],"password":"W"}"#,
    ),
    ("POST", "/keys", r#"{"user":"W","key":"W","name":"W"}"#),
    ("DELETE", "/keys/N", ""),
    (
        "POST",
        "/tokens",
        r#"{"user":"W","name":"W","scope":"W","apps":null,"lasts_ms":N}"#,
    ),
    ("DELETE", "/tokens/N", ""),
    ("GET", "/audit?app=W&limit=N", ""),
    ("PUT", "/apps/W", "W"),
    ("GET", "/W", ""),
];

/// As whom: most of it is asked by somebody who may do anything.
const CALLERS: &[&str] = &[
    r#"{"local":"root"}"#,
    r#"{"local":"root"}"#,
    r#"{"local":"root"}"#,
    r#"{"local":"root"}"#,
    r#"{"local":"root"}"#,
    r#"{"local":"root"}"#,
    r#"{"local":"root"}"#,
    r#"{"local":"root"}"#,
    r#"{"local":"W"}"#,
    r#"{"key":[N,"W"]}"#,
    r#"{"token":[N,"W"]}"#,
    "W",
];

fn filled(dice: &mut Dice, text: &str, encoded: bool) -> String {
    let mut filled = String::new();
    for c in text.chars() {
        match c {
            'N' => filled.push_str(dice.one(NUMBERS)),
            'W' if encoded => {
                let bytes = dice.one(WORDS).bytes();
                filled.extend(bytes.map(|byte| format!("%{byte:02x}")));
            }
            'W' => filled.push_str(dice.one(WORDS)),
            c => filled.push(c),
        }
    }
    filled
}

/// A request for the control socket, and whether it has an end, so that an answer has to come.
fn request(dice: &mut Dice) -> (Vec<u8>, bool) {
    let (method, path, body) = REQUESTS[dice.below(REQUESTS.len())];
    // Without its commit such a request would be a good one.
    let whole = path.contains("redeploy") || path.contains("revert");
    let target = filled(dice, path, true);
    let mut body = match dice.below(if method == "POST" { 12 } else { 200 }) {
        0 if !whole => dice.bytes(2000),
        1 if !whole => vec![b'['; dice.below(200_000)],
        2 if !whole => vec![b'x'; (1 << 20) + dice.below(1 << 20)],
        3 if !whole => format!("{{\"do\":{}}}", "{\"a\":".repeat(dice.below(5000))).into_bytes(),
        _ => filled(dice, body, false).into_bytes(),
    };
    if dice.below(4) == 0 && !whole && !body.is_empty() {
        dice.spoil(&mut body);
    }
    let kind = dice.one(&[
        "application/json",
        "application/json",
        "application/json",
        "text/W",
    ]);
    let caller = dice.one(CALLERS);
    let caller = filled(dice, caller, false);
    let more = match dice.below(30) {
        0 => dice.below(9),
        _ => 0,
    };
    let length = body.len() + more;
    let head = format!(
        "{method} /api/v1{target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nwindlass-caller: {caller}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    let (mut head, mut has_end) = match dice.below(20) {
        0 => (dice.bytes(2000), false),
        1 => (vec![b'x'; dice.below(1 << 20)], false),
        _ => (head.into_bytes(), more == 0),
    };
    if dice.below(20) == 0 && !whole {
        dice.spoil(&mut head);
        has_end = false;
    }
    head.extend(body);
    (head, has_end)
}

/// Sends a request and reads the answer to its end. A client that says it sends no more is gone, as the
/// server sees it, and may get none.
fn ask(world: &World, (request, has_end): &(Vec<u8>, bool)) -> String {
    let mut socket = UnixStream::connect(world.home.join("run/control.sock")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // It may close before it has read all of it.
    let _ = socket.write_all(request);
    if !has_end {
        let _ = socket.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let read = (&mut socket).take(8 << 20).read_to_end(&mut answer);
    if let Err(error) = read {
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]);
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{shown}");
    }
    String::from_utf8(answer).unwrap()
}

/// The status of an answer, which says in JSON what it is, or why it was not done.
fn understood(answer: &str) -> Option<u16> {
    let status = answer.strip_prefix("HTTP/1.")?.get(2..5)?;
    let status: u16 = status.parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let json = head.contains("application/json") || head.contains("application/problem+json");
    if json && !head.contains("chunked") {
        let value: serde_json::Value = serde_json::from_str(body).expect(answer);
        assert!(status < 400 || value["detail"].is_string(), "{answer}");
    }
    Some(status)
}

#[test]
fn garbage_is_answered_and_leaves_the_server_as_it_was() {
    let world = World::new();
    let app = world.app("shop");
    app.version("fine");
    app.went_live(&app.push(), "fine");
    let mut dice = Dice(seed());

    // What is allocated once is there after a few.
    (0..100).for_each(|_| drop(ask(&world, &request(&mut dice))));
    let before = memory(&world);
    let (began, mut counts) = (Instant::now(), std::collections::BTreeMap::new());
    for _ in 0..1000 {
        let request = request(&mut dice);
        let answer = ask(&world, &request);
        let shown = String::from_utf8_lossy(&request.0[..request.0.len().min(600)]);
        let status = understood(&answer);
        // It may close before it has read all of a body.
        assert!(
            status.is_some() || !request.1 || request.0.len() > 1 << 16,
            "{shown}"
        );
        if let Some(status) = status {
            assert!(status < 500, "{shown}: {answer}");
            *counts.entry(status).or_insert(0) += 1;
        }
    }
    println!("1000 requests in {:?}: {counts:?}", began.elapsed());
    let of = |status| counts.get(&status).copied().unwrap_or(0);
    assert!(
        of(400) + of(404) + of(409) > 400 && of(200) > 50,
        "most of it is refused in words: {counts:?}"
    );
    unharmed(&world, before);
    let refused = ask(&world, &(b"garbage\r\n\r\n".to_vec(), false));
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");

    dashboard(&world, dice.roll());
    unharmed(&world, before);
    assert_eq!(app.deploys().len(), 1, "nothing was asked for");
    app.serves("fine");
}

/// Ten thousand requests to the dashboard, over four connections at a time; none fails.
fn dashboard(world: &World, seed: u64) {
    let session = log_in(world);
    let began = Instant::now();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let (session, listen) = (&session, world.listen);
        let one = |part: u64| {
            scope.spawn(move || {
                let mut dice = Dice(seed ^ part);
                (0..2500)
                    .filter_map(|_| answer(listen, &http(&mut dice, session)))
                    .collect::<Vec<_>>()
            })
        };
        let parts: Vec<_> = (0..4).map(one).collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap())
            .collect()
    });
    let mut counts = std::collections::BTreeMap::new();
    statuses
        .iter()
        .for_each(|status| *counts.entry(*status).or_insert(0) += 1);
    println!("10000 requests in {:?}: {counts:?}", began.elapsed());
    assert!(
        statuses.len() > 9000 && statuses.iter().all(|status| *status < 500),
        "{counts:?}"
    );
    assert!(
        [200, 400, 404]
            .iter()
            .all(|status| counts.contains_key(status)),
        "{counts:?}"
    );
}

/// The cookie of a session.
fn log_in(world: &World) -> String {
    let mut curl = Command::new("curl");
    curl.args([
        "-sSi",
        "--noproxy",
        "*",
        "-d",
        &format!("name=admin&password={}", first_password(world)),
    ]);
    let answer = run(curl.arg(format!("http://127.0.0.1:{}/login", world.listen))).stdout;
    let cookie = answer
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .expect("a cookie");
    cookie.split(';').next().unwrap().to_owned()
}

const PATHS: &[&str] = &[
    "/",
    "/login",
    "/login?next=W",
    "/apps/shop",
    "/apps/W",
    "/apps/shop?before=W",
    "/apps/shop/deploys/1",
    "/apps/shop/deploys/W",
    "/apps/W/deploys/1",
    "/apps/shop/deploys/1/log?W=W",
    "/apps/shop/deploys/1/log?phase=W",
    "/apps/shop/deploys/1/log",
    "/apps/shop/deploys/1/events?from=W",
    "/apps/shop/deploys/1/events",
    "/account",
    "/audit?before=W",
    "/api/v1/W",
    "/api/v1/apps/shop/deploys?limit=W",
    "/api/v1/apps/shop/env?reveal=W",
    "/api/v1/apps/shop/logs?since_ms=W&tail=W",
    "/api/v1/deploys/W",
    "/api/v1/deploys/1/log?from=W",
    "/api/v1/audit?app=W&limit=W",
    "/api/v1/keys/W",
    "/api/v1/openapi.json",
    "/git/W/info/refs?service=W",
    "/git/shop.git/info/refs?service=git-upload-pack",
    "/static/W",
    "/static/windlass.css",
    "W",
    "//W",
    "/%00",
    "/%ff%fe",
    "/apps/%2e%2e/W",
    "/apps/shop/../../W",
    "*",
    "http://W/",
    "/?W=W&W=W",
];
const VALUES: &[&str] = &[
    "",
    "1",
    "-1",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
    "0.18446744073709551615",
    "18446744073709551615.1",
    "0.0",
    "3.7",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "%",
    "%zz",
    "%ff",
    "shop",
    "<script>",
    "'\"><b>",
    "a=b;c",
    "\u{202e}",
    "{}",
    "[]",
    "build",
    "gate:check",
    "//evil.example",
    "/\\evil.example",
];
/// What a header may be given, `W` being any value.
const HEADERS: &[&str] = &[
    "Cookie: windlass_session=W",
    "Cookie: W",
    "Cookie: ;;;=W;windlass_session",
    "Last-Event-ID: W",
    "Range: bytes=W-W",
    "Range: bytes=-W",
    "Range: W",
    "If-None-Match: W",
    "If-Modified-Since: W",
    "Accept-Encoding: W",
    "Host: W",
    "X-Forwarded-Proto: W",
    "X-Forwarded-For: W",
    "Origin: W",
    "Sec-Fetch-Site: W",
    "Content-Length: W",
    "Transfer-Encoding: W",
    "Content-Type: W",
    "Expect: 100-continue",
    "Upgrade: W",
    "Connection: W",
    "W: W",
];
const METHODS: &[&str] = &[
    "GET", "GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT",
    "get", "W",
];

/// A request with some of it wrong, often in somebody's session; and whether it has an end, so that an
/// answer has to come.
fn http(dice: &mut Dice, session: &str) -> (Vec<u8>, bool) {
    let fill = |dice: &mut Dice, text: &str| -> String {
        text.split('W')
            .map(str::to_owned)
            .reduce(|so_far, part| so_far + dice.one(VALUES) + &part)
            .unwrap_or_default()
    };
    if dice.below(20) == 0 {
        return (dice.bytes(3000), false);
    }
    let (method, path) = match dice.below(12) {
        // Nothing that an app of this name would be changed by.
        0 => (
            "POST".to_owned(),
            dice.one(&[
                "/login",
                "/logout",
                "/apps/none/revert",
                "/apps/none/deploys/1/cancel",
                "/account/password",
                "/account/keys",
                "/account/tokens",
                "/account/second-factor",
                "/api/v1/apps/none/env",
                "/api/v1/apps/none/revert",
                "/api/v1/tokens",
                "/git/none/git-receive-pack",
                "/nowhere",
            ])
            .to_owned(),
        ),
        _ => {
            let (method, path) = (dice.one(METHODS), dice.one(PATHS));
            (fill(dice, method), fill(dice, path))
        }
    };
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    if dice.below(2) == 0 && path != "/logout" {
        text.push_str(&format!("Cookie: {session}\r\n"));
    }
    for _ in 0..dice.below(4) {
        let header = dice.one(HEADERS);
        text.push_str(&format!("{}\r\n", fill(dice, header)));
    }
    if dice.below(100) == 0 {
        text.push_str(&format!("X-Long: {}\r\n", "x".repeat(dice.below(200_000))));
    }
    let mut bytes = text.into_bytes();
    if method == "POST" {
        // One log-in in a few is read, as each takes 19 MiB and its time.
        let form = dice.one(&[
            "name=W&password=W&next=W",
            "name=%ff%00",
            "name",
            "&&&==",
            "{\"a\":1}",
            "",
        ]);
        let form = if path == "/login" && form.contains('W') && dice.below(2) > 0 {
            "name=x"
        } else {
            form
        };
        let body = fill(dice, form)
            + &"x".repeat(if dice.below(10) == 0 {
                dice.below(40_000)
            } else {
                0
            });
        let kind = dice.one(&[
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded",
            "application/json",
            "text/plain",
            "multipart/form-data; boundary=x",
        ]);
        bytes.extend(
            format!(
                "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .bytes(),
        );
    } else {
        bytes.extend(b"\r\n");
    }
    let spoilt = dice.below(20) == 0;
    if spoilt {
        dice.spoil(&mut bytes);
    }
    (bytes, !spoilt)
}

/// The status that a request is answered with; none where the server closes without a word, or may wait
/// for more.
fn answer(listen: u16, (request, whole): &(Vec<u8>, bool)) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", listen)).unwrap();
    let patience = Duration::from_millis(if *whole { 20_000 } else { 100 });
    stream.set_read_timeout(Some(patience)).unwrap();
    // It may close before it has read all of it.
    let _ = stream.write_all(request);
    // Of a page only its beginning matters; of an event stream there may be no end.
    let mut head = [0; 1024];
    let read = match stream.read(&mut head) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            assert!(!whole, "no answer to {}", String::from_utf8_lossy(request));
            return None;
        }
        read => read.unwrap_or(0),
    };
    let line = String::from_utf8_lossy(&head[..read]).into_owned();
    line.strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .map(|status| status.parse().unwrap())
}
