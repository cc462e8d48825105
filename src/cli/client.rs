//! Asking the server: one HTTP request over the control socket, and its answer: a value, or events as
//! they come.
//!
//! A client waits for one thing at a time, so it blocks.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::CliError;
use crate::access::Caller;
use crate::api::socket::CALLER;
use crate::api::{Endpoint, Event, Events, LONGEST_REQUEST, Problem, wire};

/// An answer that is a value is no longer than this.
const LONGEST_ANSWER: usize = 256 * 1024 * 1024;
/// Of an event, the line that is longest is.
const LONGEST_LINE: usize = 64 * 1024 * 1024;

/// Knows where the server listens.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    caller: Caller,
    runtime: Runtime,
}

/// Events that are still coming.
#[derive(Debug)]
pub struct Answer<'a> {
    runtime: &'a Runtime,
    body: Incoming,
    unread: Vec<u8>,
}

impl Client {
    /// Speaks for `caller` to the server that listens on `socket`.
    pub fn new(socket: PathBuf, caller: Caller) -> Result<Self, CliError> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().map_err(CliError::Output)?;
        Ok(Self {
            socket,
            caller,
            runtime,
        })
    }

    /// Asks for what is answered with a value, in the shape of `--json`.
    pub fn value<V: Endpoint>(&self, verb: &V) -> Result<Value, CliError> {
        let body = self.send(verb)?;
        self.runtime.block_on(async {
            let whole = Limited::new(body, LONGEST_ANSWER).collect().await;
            let whole = whole.map_err(|_| closed())?.to_bytes();
            serde_json::from_slice(&whole).map_err(strange)
        })
    }

    /// The same as what it stands for.
    pub fn ask<V: Endpoint<Answer: DeserializeOwned>>(
        &self,
        verb: &V,
    ) -> Result<V::Answer, CliError> {
        read(self.value(verb)?)
    }

    /// Asks for what is answered with events.
    pub fn follow<V: Endpoint<Answer = Events>>(&self, verb: &V) -> Result<Answer<'_>, CliError> {
        Ok(Answer {
            body: self.send(verb)?,
            runtime: &self.runtime,
            unread: Vec::new(),
        })
    }

    /// Sends a request; an answer that says why it was not done is an error.
    fn send<V: Endpoint>(&self, verb: &V) -> Result<Incoming, CliError> {
        let usage = |error: crate::api::Error| CliError::Usage(error.parts().2);
        let sent = wire::write(verb).map_err(usage)?;
        let body = sent.body.unwrap_or_default();
        if body.len() > LONGEST_REQUEST {
            let most = LONGEST_REQUEST / 1024;
            return Err(CliError::Usage(format!(
                "that is too much for one request: at most {most} KiB"
            )));
        }
        let caller = serde_json::to_string(&self.caller).map_err(strange)?;
        let request = Request::builder()
            .method(sent.method)
            .uri(sent.target)
            .header(HOST, "windlass")
            .header(CALLER, caller.as_bytes())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let response = self.runtime.block_on(self.exchange(request))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        Err(self.runtime.block_on(problem(response)))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, CliError> {
        let unreachable = |error| CliError::Unreachable(unreachable(&self.socket, &error));
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(unreachable)?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(|_| closed())?;
        // It goes on while something is waited for, which is all that a client does.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| {
            if error.is_parse() {
                strange(error)
            } else {
                closed()
            }
        })
    }
}

/// Why it was not done.
async fn problem(response: Response<Incoming>) -> CliError {
    let status = response.status();
    let read = Limited::new(response.into_body(), LONGEST_REQUEST)
        .collect()
        .await;
    let problem = read
        .ok()
        .and_then(|body| serde_json::from_slice::<Problem>(&body.to_bytes()).ok());
    match problem {
        Some(problem) => CliError::Refused(problem.detail),
        None => strange(format!("HTTP {status}")),
    }
}

impl Answer<'_> {
    /// The next event; `None` at the end of the answer.
    ///
    /// # Errors
    /// [`CliError::Unreachable`] when the server went away before the end.
    pub fn next(&mut self) -> Result<Option<Event>, CliError> {
        loop {
            let Some(line) = self.line()? else {
                return Err(closed());
            };
            // What an event is called and where it ends is in its data as well.
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            return match serde_json::from_slice(data).map_err(strange)? {
                Event::Error { message } => Err(CliError::Refused(message)),
                Event::End => Ok(None),
                event => Ok(Some(event)),
            };
        }
    }

    /// The next line of the stream; `None` where it breaks off.
    fn line(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let mut looked_at = 0;
        loop {
            let end = memchr::memchr(b'\n', &self.unread[looked_at..]);
            if let Some(end) = end {
                let rest = self.unread.split_off(looked_at + end + 1);
                return Ok(Some(std::mem::replace(&mut self.unread, rest)));
            }
            looked_at = self.unread.len();
            if looked_at > LONGEST_LINE {
                return Err(strange("a line without an end"));
            }
            match self.runtime.block_on(self.body.frame()) {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.unread.extend_from_slice(&data);
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

/// The server's value as what it stands for.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(strange)
}

/// The server went away in the middle.
fn closed() -> CliError {
    CliError::Unreachable(
        "the server closed the connection before it had answered: it was stopped or it crashed.\n\
         Its log says why: journalctl -u windlass"
            .into(),
    )
}

/// The server answered what was not asked.
pub fn strange(what: impl std::fmt::Display) -> CliError {
    CliError::Refused(format!(
        "the server's answer makes no sense here ({what}): are server and command of the same version?\n\
         Restart the server after an upgrade: systemctl restart windlass"
    ))
}

/// Why the server cannot be reached, and what to do about it.
fn unreachable(socket: &Path, error: &io::Error) -> String {
    let socket_shown = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "the server cannot be reached: there is no socket {socket_shown}.\n\
             It is not running, or it has another home folder (--home, WINDLASS_HOME).\n\
             Start it: systemctl start windlass, or windlass serve"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "the server cannot be reached: nobody answers at {socket_shown}. It has stopped.\n\
             Start it: systemctl start windlass, or windlass serve"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "the server cannot be reached: this user may not open {socket_shown}.\n\
             Run the command as the server's user: sudo -u {} windlass …",
            owner_nearby(socket)
        ),
        _ => format!("the server cannot be reached at {socket_shown}: {error}"),
    }
}

/// Who owns `path`, or the nearest folder above it that may be looked at.
fn owner_nearby(path: &Path) -> String {
    let seen = path.ancestors().find_map(|path| path.metadata().ok());
    seen.map_or_else(
        || "git".into(),
        |metadata| crate::machine::user_name(metadata.uid()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DeployWait, Deploys, Ping};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    /// What the client makes of an answer, and what it had asked.
    fn answered_with(bytes: &[u8]) -> (Result<Value, CliError>, String) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let bytes = bytes.to_vec();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(&bytes).unwrap();
            request.truncate(read);
            String::from_utf8(request).unwrap()
        });
        let client = Client::new(socket, Caller::Local("ann".into())).unwrap();
        let answer = client.value(&Deploys {
            app: "shop".parse().unwrap(),
            limit: 5,
        });
        (answer, server.join().unwrap())
    }

    fn http(status: &str, kind: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    #[test]
    fn a_question_is_a_request_that_says_who_asks() {
        let (value, asked) = answered_with(&http("200 OK", "application/json", "[]"));
        assert_eq!(value.unwrap(), serde_json::json!([]));
        let asked = asked.to_ascii_lowercase();
        assert!(
            asked.starts_with("get /api/v1/apps/shop/deploys?limit=5 http/1.1\r\n")
                && asked.contains("windlass-caller: {\"local\":\"ann\"}\r\n"),
            "{asked}"
        );
    }

    #[test]
    fn refusals_closed_connections_and_nonsense_are_told_apart() {
        let problem =
            r#"{"type":"about:blank","title":"Not here","status":404,"detail":"there is no app"}"#;
        let refused = http("404 Not Found", "application/problem+json", problem);
        let of = |bytes: &[u8]| answered_with(bytes).0.unwrap_err();
        assert!(matches!(of(&refused), CliError::Refused(text) if text == "there is no app"));
        let cut = &http("200 OK", "application/json", "[1, 2]")[..70];
        for broken in [&b""[..], b"HTTP/1.1 200 OK\r\n", cut] {
            assert!(matches!(of(broken), CliError::Unreachable(_)), "{broken:?}");
        }
        for nonsense in [
            b"\0\xff\n\r\n\r\n".to_vec(),
            http("500 Oh", "text/html", "<p>"),
            http("200 OK", "application/json", "{"),
        ] {
            assert!(
                matches!(of(&nonsense), CliError::Refused(text) if text.contains("same version"))
            );
        }
    }

    #[test]
    fn events_come_one_by_one_and_a_stream_without_an_end_broke_off() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            for piece in [
                ":\n\nevent: note\ndata: {\"is\":\"no",
                "te\",\"text\":\"a\"}\n\nevent: note\nid: 1.2\ndata: {\"is\":\"note\",\"text\":\"b\"}\n\n",
            ] {
                stream.write_all(piece.as_bytes()).unwrap();
            }
        });
        let client = Client::new(socket, Caller::Local("ann".into())).unwrap();
        let mut answer = client
            .follow(&DeployWait {
                id: crate::domain::DeployId(1),
                at_most_ms: None,
            })
            .unwrap();
        for told in ["a", "b"] {
            match answer.next().unwrap() {
                Some(Event::Note { text }) => assert_eq!(text, told),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(answer.next(), Err(CliError::Unreachable(_))));
        server.join().unwrap();
    }

    #[test]
    fn an_unreachable_server_is_told_with_its_socket_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let client = Client::new(socket.clone(), Caller::Local(String::new())).unwrap();
        let said = || match client.value(&Ping {}) {
            Err(CliError::Unreachable(text)) => text,
            other => panic!("{other:?}"),
        };
        let missing = said();
        assert!(
            missing.contains("there is no socket") && missing.contains("windlass serve"),
            "{missing}"
        );
        drop(UnixListener::bind(&socket).unwrap());
        let dead = said();
        assert!(
            dead.contains("nobody answers") && dead.contains("control.sock"),
            "{dead}"
        );
        let denied = unreachable(&socket, &io::ErrorKind::PermissionDenied.into());
        assert!(denied.contains("sudo -u "), "{denied}");
    }
}
