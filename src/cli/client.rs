//! Asking the server: one request over the control socket, and its answer frame by frame.
//!
//! Plain blocking sockets: a client waits for one thing at a time.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CliError;
use crate::access::Caller;
use crate::control::{Envelope, Frame, LONGEST_REQUEST, Request};

/// Knows where the server listens.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    caller: Caller,
}

/// An answer that is still coming.
#[derive(Debug)]
pub struct Answer {
    from: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Client {
    /// Speaks for `caller` to the server that listens on `socket`.
    pub fn new(socket: PathBuf, caller: Caller) -> Self {
        Self { socket, caller }
    }

    /// Sends a request.
    pub fn ask(&self, request: &Request) -> Result<Answer, CliError> {
        let envelope = Envelope {
            caller: self.caller.clone(),
            request: request.clone(),
        };
        let mut line =
            serde_json::to_vec(&envelope).map_err(|error| CliError::Usage(error.to_string()))?;
        line.push(b'\n');
        if line.len() > LONGEST_REQUEST {
            let most = LONGEST_REQUEST / 1024;
            return Err(CliError::Usage(format!(
                "that is too much for one request: at most {most} KiB"
            )));
        }
        let unreachable = |error| CliError::Unreachable(unreachable(&self.socket, &error));
        let mut stream = UnixStream::connect(&self.socket).map_err(unreachable)?;
        stream.write_all(&line).map_err(unreachable)?;
        Ok(Answer {
            from: BufReader::with_capacity(64 * 1024, stream),
            line: Vec::new(),
        })
    }

    /// Asks a question that is answered with one value. Notes on the way go to standard error.
    pub fn value(&self, request: &Request) -> Result<Value, CliError> {
        let mut answer = self.ask(request)?;
        let mut noted = false;
        while let Some(frame) = answer.next()? {
            match frame {
                Frame::Value { value } => return Ok(value),
                Frame::Note { text } => {
                    eprintln!("{text}");
                    noted = true;
                }
                _ => return Err(strange("a frame that answers another question")),
            }
        }
        if noted {
            Ok(Value::Null)
        } else {
            Err(strange("no value"))
        }
    }
}

impl Answer {
    /// The next frame; `None` at the end of the answer.
    ///
    /// # Errors
    /// [`CliError::Unreachable`] when the server went away before the end.
    pub fn next(&mut self) -> Result<Option<Frame>, CliError> {
        self.line.clear();
        let read = self.from.read_until(b'\n', &mut self.line);
        if read.is_err() || self.line.last() != Some(&b'\n') {
            return Err(closed());
        }
        match serde_json::from_slice(&self.line).map_err(strange)? {
            Frame::Error { message } => Err(CliError::Refused(message)),
            Frame::End => Ok(None),
            frame => Ok(Some(frame)),
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
    use std::os::unix::net::UnixListener;

    fn answered_with(bytes: &'static [u8]) -> Result<Value, CliError> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut request)
                .unwrap();
            stream.write_all(bytes).unwrap();
            request
        });
        let answer = Client::new(socket, Caller::Local("ann".into())).value(&Request::Ping);
        assert_eq!(
            server.join().unwrap(),
            "{\"caller\":{\"local\":\"ann\"},\"do\":\"ping\"}\n"
        );
        answer
    }

    #[test]
    fn a_question_is_one_line_and_so_is_its_answer() {
        let value =
            answered_with(b"{\"is\":\"value\",\"value\":{\"version\":\"0.1.0\"}}\n").unwrap();
        assert_eq!(value["version"], "0.1.0");
    }

    #[test]
    fn refusals_closed_connections_and_nonsense_are_told_apart() {
        let refused =
            answered_with(b"{\"is\":\"error\",\"message\":\"there is no app\"}\n").unwrap_err();
        assert!(matches!(refused, CliError::Refused(text) if text == "there is no app"));
        assert!(matches!(
            answered_with(b"").unwrap_err(),
            CliError::Unreachable(_)
        ));
        assert!(matches!(
            answered_with(b"{\"is\":\"va").unwrap_err(),
            CliError::Unreachable(_)
        ));
        assert!(matches!(
            answered_with(b"\0\xff\n").unwrap_err(),
            CliError::Refused(_)
        ));
    }

    #[test]
    fn an_unreachable_server_is_told_with_its_socket_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let said = || match Client::new(socket.clone(), Caller::Local(String::new()))
            .ask(&Request::Ping)
        {
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
