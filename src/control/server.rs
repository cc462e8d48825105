//! The server's end of the control socket: one task a connection, one request each.
//!
//! A client that stops reading holds nothing up but its own task, and that not for ever.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::answer::{self, app_lines};
use super::{Envelope, Frame, LONGEST_REQUEST, Request};
use crate::app::{self, AppLogQuery, AppPlaces, Follower, Progress, Services};
use crate::domain::{AppName, Deploy, DeployId, Principal};
use crate::logs::Cursor;
use crate::platform::{Error, ErrorKind};

/// A client that takes nothing for this long is given up.
const STALLED: Duration = Duration::from_secs(60);

/// Opens the socket, for its owner alone. One that a dead server left is replaced; the caller holds
/// the home folder's lock.
pub fn open(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves clients until `shutdown`.
pub async fn serve(listener: UnixListener, services: Services, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, services.clone()))),
            Err(error) => {
                warn!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, services: Services) {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(LONGEST_REQUEST));
    let request = match tokio::time::timeout(STALLED, lines.next()).await {
        Ok(Some(Ok(line))) => {
            serde_json::from_str::<Envelope>(&line).map_err(|error| error.to_string())
        }
        Ok(Some(Err(error))) => Err(error.to_string()),
        Ok(None) | Err(_) => return,
    };
    let mut client = Client { lines };
    let answered = match request {
        Ok(Envelope { caller, request }) => match services.platform.access.caller(caller).await {
            Ok(who) => match answer::allow(&services, &who, &request).await {
                Ok(()) => answer(&services, &who, request, &mut client).await,
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(Trouble::Asked(error.into())),
        },
        Err(error) => Err(Trouble::Asked(Error::Refused(format!(
            "that request cannot be read: {error}"
        )))),
    };
    match answered {
        Ok(()) => drop(client.send(&Frame::End).await),
        Err(Trouble::Gone) => debug!("a client went away"),
        Err(Trouble::Asked(error)) => {
            if error.kind() == ErrorKind::Broken {
                warn!(%error, "a request failed");
            }
            let _ = client
                .send(&Frame::Error {
                    message: error.to_string(),
                })
                .await;
        }
    }
}

/// Why a conversation ended early.
enum Trouble {
    /// The client is no longer there.
    Gone,
    /// What it asked for failed.
    Asked(Error),
}

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Trouble::Asked(error.into())
    }
}

struct Client {
    lines: Framed<UnixStream, LinesCodec>,
}

impl Client {
    async fn send(&mut self, frame: &Frame) -> Result<(), Trouble> {
        let line = serde_json::to_string(frame).map_err(|_| Trouble::Gone)?;
        match tokio::time::timeout(STALLED, self.lines.send(line)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Trouble::Gone),
        }
    }

    async fn value(&mut self, value: Value) -> Result<(), Trouble> {
        self.send(&Frame::Value { value }).await
    }

    /// Ends when the client goes: it sends nothing after its request.
    async fn gone(&mut self) {
        while let Some(Ok(_)) = self.lines.next().await {}
    }
}

async fn answer(
    services: &Services,
    who: &Principal,
    request: Request,
    client: &mut Client,
) -> Result<(), Trouble> {
    let actor = who.name.as_str();
    match request {
        Request::DeployFollow {
            id,
            from,
            follow: true,
            until_live,
        } => {
            let follower = Follower::new(&services.platform, id, from);
            let follower = match until_live {
                true => follower.until_live(),
                false => follower,
            };
            follow(services, id, follower, client).await
        }
        Request::DeployFollow {
            id,
            from,
            follow: false,
            ..
        } => so_far(services, id, from, client).await,
        Request::DeployWait { id } => wait(services, id, client).await,
        Request::DeployCancel { id } => cancel(services, id, actor, client).await,
        Request::AppLogs {
            app,
            follow: true,
            since_ms,
            tail,
        } => app_logs(services, &app, since_ms, tail, client).await,
        Request::AppLogs {
            app,
            follow: false,
            since_ms,
            tail,
        } => tell_app_log(services, &app, since_ms, tail, client)
            .await
            .map(drop),
        Request::Pushed { app, updates } => {
            let updates: Vec<_> = updates
                .into_iter()
                .map(|u| (u.old, u.new, u.name))
                .collect();
            let answer = app::pushed(&services.queue, &app, &updates, actor).await?;
            for text in answer.notes {
                client.send(&Frame::Note { text }).await?;
            }
            match answer.deploy {
                Some(deploy) => {
                    let begin = Cursor::default();
                    let follower = Follower::new(&services.platform, deploy.id, begin);
                    follow(services, deploy.id, follower.until_live(), client).await
                }
                None => Ok(()),
            }
        }
        request => {
            client
                .value(answer::value(services, who, request).await?)
                .await
        }
    }
}

async fn follow(
    services: &Services,
    id: DeployId,
    mut follower: Follower,
    client: &mut Client,
) -> Result<(), Trouble> {
    let deploy = services.platform.store.deploy(id).await?;
    let app = deploy.app.clone();
    let ahead = match deploy.status {
        crate::domain::DeployStatus::Queued => {
            services.platform.store.open_deploys(Some(&app)).await?
        }
        _ => Vec::new(),
    };
    client.send(&Frame::Following { deploy }).await?;
    if let Some(first) = ahead.iter().find(|other| other.id < id) {
        let text = format!(
            "Deploy {id} waits: deploy {} of {app} is {}.",
            first.id, first.status
        );
        client.send(&Frame::Note { text }).await?;
    }
    loop {
        let progress = tokio::select! {
            progress = follower.next() => progress?,
            () = client.gone() => return Err(Trouble::Gone),
        };
        match progress {
            Some(progress) => {
                let frame = frame(services, progress).await?;
                client.send(&frame).await?;
            }
            None => return Ok(()),
        }
    }
}

async fn so_far(
    services: &Services,
    id: DeployId,
    from: Cursor,
    client: &mut Client,
) -> Result<(), Trouble> {
    client
        .send(&Frame::Following {
            deploy: services.platform.store.deploy(id).await?,
        })
        .await?;
    let mut follower = Follower::new(&services.platform, id, from);
    while let Some(progress) = follower.now().await? {
        let frame = frame(services, progress).await?;
        client.send(&frame).await?;
    }
    Ok(())
}

async fn frame(services: &Services, progress: Progress) -> Result<Frame, Error> {
    Ok(match progress {
        Progress::Started {
            ordinal,
            phase,
            at_ms,
        } => Frame::PhaseStarted {
            ordinal,
            phase,
            at_ms,
        },
        Progress::Lines { next, text } => Frame::Lines { next, text },
        Progress::Ended { ordinal, timing } => Frame::PhaseEnded { ordinal, timing },
        Progress::Finished(deploy) => finished(services, *deploy).await?,
    })
}

async fn finished(services: &Services, deploy: Deploy) -> Result<Frame, Error> {
    let url = app::url(&services.platform, &deploy.app).await?;
    let serving = services.platform.store.live_deploy(&deploy.app).await?;
    Ok(Frame::Finished {
        deploy,
        url,
        serving,
    })
}

/// Skips to the end without sending what lies between.
async fn wait(services: &Services, id: DeployId, client: &mut Client) -> Result<(), Trouble> {
    let mut ticks = services.platform.logs.ticks(id);
    loop {
        ticks.mark_unchanged();
        let deploy = services.platform.store.deploy(id).await?;
        if deploy.is_decided() {
            let frame = finished(services, deploy).await?;
            return client.send(&frame).await;
        }
        tokio::select! {
            _ = tokio::time::timeout(Duration::from_secs(5), ticks.changed()) => {}
            () = client.gone() => return Err(Trouble::Gone),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Cancels, and tells what came of it as soon as that is known.
async fn cancel(
    services: &Services,
    id: DeployId,
    actor: &str,
    client: &mut Client,
) -> Result<(), Trouble> {
    services.queue.cancel(id, actor).await?;
    match tokio::time::timeout(Duration::from_secs(60), wait(services, id, client)).await {
        Ok(done) => done,
        Err(_) => Err(Error::Refused(format!(
            "deploy {id} is told to stop and has not ended yet: windlass deploy show {id}"
        ))
        .into()),
    }
}

/// Sends what an app has printed so far, and gives the place behind it.
async fn tell_app_log(
    services: &Services,
    app: &AppName,
    since_ms: Option<u64>,
    tail: usize,
    client: &mut Client,
) -> Result<AppPlaces, Trouble> {
    let query = AppLogQuery::newest(since_ms, tail);
    let wanted = query.count;
    let page = app::read_log(&services.platform, app, query).await?;
    if page.older.is_some() && page.lines.len() < wanted {
        let text = format!(
            "there may be more; these are the newest {} lines",
            page.lines.len()
        );
        client.send(&Frame::Note { text }).await?;
    }
    for some in page.lines.chunks(500) {
        client
            .send(&Frame::AppLines {
                lines: app_lines(some),
            })
            .await?;
    }
    Ok(page.end)
}

async fn app_logs(
    services: &Services,
    app: &AppName,
    since_ms: Option<u64>,
    tail: usize,
    client: &mut Client,
) -> Result<(), Trouble> {
    let end = tell_app_log(services, app, since_ms, tail, client).await?;
    let mut output = app::follow_log(&services.platform, app, end, "");
    loop {
        let (lines, _) = tokio::select! {
            told = output.next() => told?,
            () = client.gone() => return Err(Trouble::Gone),
        };
        client
            .send(&Frame::AppLines {
                lines: app_lines(&lines),
            })
            .await?;
    }
}
