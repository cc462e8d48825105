//! What is followed over time, as server-sent events.
//!
//! An event's name is its kind, its data one line of JSON, and its id, where it has one, the place to go
//! on after it. A stream that is whole ends with [`Event::End`] or [`Event::Error`]: one that breaks off
//! without them is a server that went away, and whoever follows comes back with the last id.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{Error, Place, Server};
use crate::domain::{Deploy, DeployId, Phase, PhaseTiming, ProcessName};
use crate::logs::Cursor;

/// A client that takes nothing for this long is given up.
pub const STALLED: Duration = Duration::from_secs(60);

/// How long a stream lasts that comes in by the dashboard's address. Then whoever follows comes back
/// where they were, and passes the gate again: who was let in once is not for ever.
const LASTS: Duration = Duration::from_secs(600);

/// A quiet stream says this often that it is there, so that a client that is gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

/// So many events wait for a client, at most.
const WAITING: usize = 16;

/// One thing that is told.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
pub enum Event {
    /// A sentence for the person who waits.
    Note {
        /// The sentence.
        text: String,
    },
    /// From here on the events tell of this deploy.
    Following {
        /// The deploy as it stands.
        deploy: Deploy,
    },
    /// A phase began.
    PhaseStarted {
        /// Its place in the deploy, from 0.
        ordinal: usize,
        /// Which.
        phase: Phase,
        /// Milliseconds since the deploy began.
        at_ms: u64,
    },
    /// Lines of the running phase: `<ms since the deploy began>\t<text>\n` each.
    Lines {
        /// Where to go on after them: the event's id as well.
        next: Cursor,
        /// The lines.
        text: String,
    },
    /// A phase ended.
    PhaseEnded {
        /// Its place in the deploy, from 0.
        ordinal: usize,
        /// Its row of the timing table.
        timing: PhaseTiming,
    },
    /// The deploy ended.
    Finished {
        /// As it ended.
        deploy: Deploy,
        /// The app's public address.
        url: Option<String>,
        /// What serves now.
        serving: Option<Deploy>,
    },
    /// Lines that an app printed.
    AppLines {
        /// Those lines, oldest first.
        lines: Vec<AppLogLine>,
    },
    /// Nothing follows. Without this the server went away in the middle.
    End,
    /// It was not done to its end. The last event where it comes.
    Error {
        /// What happened and what to do next.
        message: String,
    },
}

/// Which replica a server of before there were several told of.
fn first() -> u32 {
    1
}

/// A line that an app printed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppLogLine {
    /// RFC 3339, nanoseconds.
    pub at: String,
    /// The deploy whose container printed it.
    pub deploy: DeployId,
    /// The process that the container runs.
    #[serde(default = "ProcessName::web")]
    pub process: ProcessName,
    /// Which of the process's containers.
    #[serde(default = "first")]
    pub replica: u32,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text.
    pub text: String,
}

impl Event {
    /// What it is called on the wire.
    fn name(&self) -> &'static str {
        match self {
            Event::Note { .. } => "note",
            Event::Following { .. } => "following",
            Event::PhaseStarted { .. } => "phase_started",
            Event::Lines { .. } => "lines",
            Event::PhaseEnded { .. } => "phase_ended",
            Event::Finished { .. } => "finished",
            Event::AppLines { .. } => "app_lines",
            Event::End => "end",
            Event::Error { .. } => "error",
        }
    }

    fn on_the_wire(&self) -> sse::Event {
        let event = sse::Event::default().event(self.name());
        let event = match self {
            Event::Lines { next, .. } => event.id(next.to_string()),
            _ => event,
        };
        // JSON has its line ends escaped, so the data is one line.
        event.data(serde_json::to_string(self).unwrap_or_default())
    }
}

/// Why nothing more is sent.
#[derive(Debug)]
pub enum Stop {
    /// Nobody is there who reads.
    Gone,
    /// What was asked for failed.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

/// Where events are put, by whatever makes them.
#[derive(Debug)]
pub struct Sender(mpsc::Sender<Result<Event, Error>>);

impl Sender {
    /// Sends one, as soon as the client has room for it.
    ///
    /// # Errors
    /// When nobody is there, or takes nothing for [`STALLED`].
    pub async fn send(&self, event: Event) -> Result<(), Stop> {
        match tokio::time::timeout(STALLED, self.0.send(Ok(event))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Stop::Gone),
        }
    }

    /// What `work` comes to, unless nobody waits for it any more.
    ///
    /// # Errors
    /// [`Stop::Gone`].
    pub async fn or_gone<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            done = work => Ok(done),
            () = self.0.closed() => Err(Stop::Gone),
        }
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Result<Event, Error>>);

impl Events {
    /// What `told` sends, to its end. It stops when the client goes, and with the server.
    pub fn of<F>(server: &Server, told: impl FnOnce(Sender) -> F + Send + 'static) -> Self
    where
        F: Future<Output = (Sender, Result<(), Stop>)> + Send,
    {
        let (sender, events) = mpsc::channel(WAITING);
        let shutdown = server.shutdown.clone();
        tokio::spawn(async move {
            let work = told(Sender(sender));
            let Some((sender, done)) = shutdown.run_until_cancelled(work).await else {
                return;
            };
            let last = match done {
                Ok(()) => Ok(Event::End),
                Err(Stop::Gone) => return,
                Err(Stop::Failed(error)) => Err(error),
            };
            let _ = sender.0.send(last).await;
        });
        Self(events)
    }

    /// The answer to an HTTP request.
    pub fn into_response(self, place: Place) -> Response {
        let end = match place {
            Place::Socket => None,
            Place::Dashboard => Some(Box::pin(tokio::time::sleep(LASTS))),
        };
        let events = stream::unfold((self.0, end), move |(mut events, mut end)| async move {
            let next = match &mut end {
                None => events.recv().await,
                Some(end) => tokio::select! {
                    event = events.recv() => event,
                    () = end => None,
                },
            }?;
            let event = next.unwrap_or_else(|error| {
                error.log();
                let message = error.said(place);
                Event::Error { message }
            });
            Some((Ok::<_, Infallible>(event.on_the_wire()), (events, end)))
        });
        let alive = KeepAlive::new().interval(ALIVE);
        Sse::new(events).keep_alive(alive).into_response()
    }
}
