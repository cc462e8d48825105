//! `/git/{app}/…`: `git push`, `git fetch` and `git clone` over HTTPS, by git's own `http-backend`.
//!
//! What git sends goes to that program as it comes, and what it answers goes back as it comes: the
//! deploy's log reaches the pusher line by line. A client that goes away stops neither: git is read to
//! its end all the same, since one that is killed between moving the branch and telling its hook would
//! leave a push that nobody heard of.
//!
//! The status of an answer is long sent when a deploy fails. So the last four bytes of a push's answer,
//! git's own end, are held back until the hook has spoken, and an error is put before them where the
//! push is not live.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Web;
use super::error::{Error, Plain};
use super::guard::{ClientAddress, Who};
use crate::api::{self, Enter};
use crate::domain::{AppName, Right, Via};
use crate::git::{HttpCall, Report};

/// The query with which a push begins.
const PUSH: &str = "service=git-receive-pack";
/// The query with which a clone or a fetch begins.
const FETCH: &str = "service=git-upload-pack";
/// How long a client may leave a piece unsent or unread.
const STALLED: Duration = Duration::from_secs(60);
/// How long a push may take beside its deploy: to arrive, and to wait for others' builds.
const SLACK: Duration = Duration::from_secs(3600);
/// What a push may have beside its pack: names of branches.
const BESIDE_PACK: u64 = 1 << 20;
/// The longest head of http-backend's answer.
const LONGEST_HEAD: u64 = 8 * 1024;
/// Git's own end of an answer.
const END: &[u8] = b"0000";

/// The app that a path names: `shop` or `shop.git`.
pub(super) fn app(name: &str) -> Result<AppName, Error> {
    name.strip_suffix(".git")
        .unwrap_or(name)
        .parse()
        .map_err(|_| Error::not_found())
}

/// What a request for the list of branches is about to do.
pub(super) fn right(query: Option<&str>) -> Right {
    if query == Some(PUSH) {
        Right::Deploy
    } else {
        Right::View
    }
}

/// All three routes.
pub(super) async fn serve(
    State(web): State<Web>,
    who: Who,
    ClientAddress(address): ClientAddress,
    path: Path<String>,
    request: Request,
) -> Result<Response, Plain> {
    let app = app(&path).map_err(Plain)?;
    let service = Service::of(&request).map_err(Plain)?;
    if service == Service::List(FETCH) {
        let enter = Enter {
            app: app.clone(),
            service: api::Service::Fetch,
        };
        web.ask(&who, enter).await.map_err(Plain)?;
    }
    web.platform()
        .store
        .app(&app)
        .await
        .map_err(|error| Plain(error.into()))?;
    // In a task of its own, which goes on when the client, and with it this one, is gone.
    let answer = tokio::spawn(answer(web, who, address, app, service, request)).await;
    answer
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Plain(Error::defect(error)))
}

/// What git is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    /// The branches, for what the query says.
    List(&'static str),
    Fetch,
    Push,
}

impl Service {
    fn of(request: &Request) -> Result<Self, Error> {
        let sends = |what: &str| {
            request
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind == what)
        };
        match (
            request.uri().path().rsplit('/').next(),
            request.uri().query(),
        ) {
            (Some("refs"), Some(PUSH)) => Ok(Service::List(PUSH)),
            (Some("refs"), Some(FETCH)) => Ok(Service::List(FETCH)),
            (Some("git-upload-pack"), _) if sends("application/x-git-upload-pack-request") => {
                Ok(Service::Fetch)
            }
            (Some("git-receive-pack"), _) if sends("application/x-git-receive-pack-request") => {
                Ok(Service::Push)
            }
            _ => Err(Error::bad("this address is for git: git clone, git push")),
        }
    }

    /// What http-backend calls it.
    fn path(self) -> &'static str {
        match self {
            Service::List(_) => "info/refs",
            Service::Fetch => "git-upload-pack",
            Service::Push => "git-receive-pack",
        }
    }
}

async fn answer(
    web: Web,
    who: Who,
    address: String,
    app: AppName,
    service: Service,
    request: Request,
) -> io::Result<Response> {
    let (parts, body) = request.into_parts();
    let text = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    };
    let call = HttpCall {
        method: if parts.method == Method::GET {
            "GET"
        } else {
            "POST"
        },
        path: service.path(),
        query: parts.uri.query().unwrap_or_default(),
        content_type: text(CONTENT_TYPE),
        content_encoding: text(CONTENT_ENCODING),
        content_length: text(CONTENT_LENGTH).parse().ok(),
        protocol: text(HeaderName::from_static("git-protocol")),
        user: &who.0.name,
    };
    let report = Report::new()?;
    let mut git = Command::from(crate::git::http_backend(
        &web.platform().git.path(&app),
        &call,
        &report,
    ));
    if let Via::Token(id) = who.0.via {
        git.env("WINDLASS_TOKEN", id.to_string());
    }
    git.env_remove("WINDLASS_KEY").env("WINDLASS_FROM", address);
    git.stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = git.stderr(std::process::Stdio::null()).spawn()?;
    crate::git::bound(child.id());
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("git has no pipes"));
    };

    let most = web.platform().config.git.max_push.0 + BESIDE_PACK;
    let fed = tokio::spawn(feed(body, stdin, most));
    let mut from_git = BufReader::new(stdout);
    let (status, headers) = head(&mut from_git).await?;
    // Whoever answers before all has come cuts the client's, and Caddy's, sending short.
    let _ = fed.await;

    let (to_client, pieces) = mpsc::channel(4);
    let broken_off = to_client.clone();
    let relay = Relay {
        child,
        from_git,
        to_client: Some(to_client),
        held: Held::of(service),
    };
    let limit = web.platform().config.deploy_timeout.0 + SLACK;
    let shutdown = web.shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = relay.run(report, limit) => {}
            // The deploy is the next server's to finish; an answer that ended well would hide that.
            () = shutdown.cancelled() => {
                let _ = broken_off.try_send(Err(io::Error::other("the server stops")));
            }
        }
    });
    Ok((
        status,
        headers,
        Body::from_stream(ReceiverStream::new(pieces)),
    )
        .into_response())
}

/// Gives git what comes, and what comes after git has had enough to nobody: a client that is answered
/// while it still sends does not read the answer.
async fn feed(body: Body, stdin: ChildStdin, most: u64) {
    let mut pieces = body.into_data_stream();
    let (mut stdin, mut total) = (Some(stdin), 0);
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(STALLED, pieces.next()).await {
        total += piece.len() as u64;
        if let Some(git) = &mut stdin
            && (total > most || git.write_all(&piece).await.is_err())
        {
            stdin = None;
        }
    }
}

/// The head of a CGI program's answer.
async fn head(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<(StatusCode, HeaderMap)> {
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    let mut from = from.take(LONGEST_HEAD);
    loop {
        let mut line = String::new();
        from.read_line(&mut line).await?;
        let Some(line) = line.strip_suffix('\n') else {
            return Err(io::Error::other("git http-backend gave no answer"));
        };
        let line = line.trim_end_matches('\r');
        let Some((name, value)) = line.split_once(": ") else {
            return Ok((status, headers));
        };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            status = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), HeaderValue::from_str(value))
            && [CONTENT_TYPE, CACHE_CONTROL].contains(&name)
        {
            headers.insert(name, value);
        }
    }
}

/// Git's answer on its way to the client.
struct Relay<R> {
    child: Child,
    from_git: R,
    /// Nobody, once the client has gone.
    to_client: Option<mpsc::Sender<io::Result<Bytes>>>,
    held: Held,
}

impl<R: AsyncBufRead + Unpin> Relay<R> {
    async fn run(mut self, report: Report, limit: Duration) {
        if tokio::time::timeout(limit, self.copy()).await.is_err() {
            let _ = self.child.start_kill();
            return self.send(Err(io::Error::other("it took too long"))).await;
        }
        let _ = self.child.wait().await;
        for piece in std::mem::take(&mut self.held).end(report.failed()) {
            self.send(piece).await;
        }
    }

    async fn copy(&mut self) {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = self.from_git.read(&mut piece).await {
            let ready = self.held.pass(&piece[..read]);
            if !ready.is_empty() {
                self.send(Ok(ready)).await;
            }
        }
    }

    async fn send(&mut self, piece: io::Result<Bytes>) {
        let Some(client) = &self.to_client else {
            return;
        };
        if !matches!(
            tokio::time::timeout(STALLED, client.send(piece)).await,
            Ok(Ok(()))
        ) {
            self.to_client = None;
        }
    }
}

/// The end of a push's answer, held back until it is known how the push ended. Of other answers
/// nothing is.
#[derive(Debug, Default)]
struct Held {
    most: usize,
    tail: Vec<u8>,
    /// The first five bytes of the answer: a packet's length and, where texts and the report share the
    /// line, which of the two it is.
    start: Vec<u8>,
}

impl Held {
    fn of(service: Service) -> Self {
        let most = if service == Service::Push {
            END.len()
        } else {
            0
        };
        Self {
            most,
            ..Self::default()
        }
    }

    /// All but the last bytes so far.
    fn pass(&mut self, piece: &[u8]) -> Bytes {
        self.start.extend(piece.iter().take(5 - self.start.len()));
        self.tail.extend_from_slice(piece);
        let ready = self.tail.len().saturating_sub(self.most);
        self.tail.drain(..ready).collect()
    }

    /// What ends the answer. The error comes on the third band, which is for fatal ones; a client that
    /// did not ask for bands gets an answer that breaks off.
    fn end(self, failed: bool) -> Vec<io::Result<Bytes>> {
        let banded = matches!(self.start[..], [_, _, _, _, 1..=3]);
        match (failed, self.tail == END && banded) {
            (false, _) => vec![Ok(self.tail.into())],
            (true, true) => {
                let text = "the push arrived, and what it brought is not live";
                let packet = format!("{:04x}\u{3}{text}", text.len() + 5);
                vec![Ok(packet.into()), Ok(self.tail.into())]
            }
            (true, false) => vec![Err(io::Error::other("what the push brought is not live"))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&[u8]], failed: bool) -> Result<String, io::Error> {
        let mut held = Held::of(Service::Push);
        let mut all: Vec<u8> = Vec::new();
        for piece in pieces {
            all.extend(held.pass(piece));
        }
        for piece in held.end(failed) {
            all.extend(piece?);
        }
        Ok(String::from_utf8(all).unwrap())
    }

    #[test]
    fn a_push_whose_deploy_failed_ends_with_an_error_before_gits_own_end() {
        let whole: &[u8] = b"000a\x02hello0000";
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(told(&[whole], false).unwrap().as_bytes(), whole);
        assert_eq!(told(&bytes, false).unwrap().as_bytes(), whole);
        let failed = told(&bytes, true).unwrap();
        let (before, rest) = failed.split_at(whole.len() - 4);
        assert_eq!(before, "000a\u{2}hello");
        let length = usize::from_str_radix(&rest[..4], 16).unwrap();
        assert!(
            rest[4..].starts_with('\u{3}')
                && rest.len() == length + 4
                && rest.ends_with("live0000")
        );
        // Without bands, and with an answer that broke off.
        for other in [&b"0030unpack ok0000"[..], b"000a\x02hel", b""] {
            assert_eq!(told(&[other], false).unwrap().as_bytes(), other);
            assert!(told(&[other], true).is_err(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn the_head_of_an_answer_is_read_and_no_more_of_it() {
        let mut answer =
            &b"Status: 403 Forbidden\r\nContent-Type: text/plain\r\nX-Other: 1\r\n\r\nbody"[..];
        let (status, headers) = head(&mut answer).await.unwrap();
        assert_eq!(
            (status, headers.len(), answer),
            (StatusCode::FORBIDDEN, 1, &b"body"[..])
        );
        let mut plain = &b"Content-Type: a/b\n\n"[..];
        assert_eq!(head(&mut plain).await.unwrap().0, StatusCode::OK);
        assert!(head(&mut &b"Content-Type: a/b\n"[..]).await.is_err());
        let long = "x".repeat(10_000);
        assert!(head(&mut long.as_bytes()).await.is_err());
    }
}
