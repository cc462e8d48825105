//! The server's end of the control socket: one task a connection, one request each.
//!
//! A client that stops reading holds nothing up but its own task, and that not for ever.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{AppLogLine, Frame, LONGEST_REQUEST, Request};
use crate::deploy::{Error, ErrorKind, Progress, Windlass};
use crate::domain::{AppName, Deploy, DeployId, Environment};
use crate::logs::{AppLine, Cursor};

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
pub async fn serve(listener: UnixListener, windlass: Windlass, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, windlass.clone()))),
            Err(error) => {
                warn!(%error, "the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, windlass: Windlass) {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(LONGEST_REQUEST));
    let request = match tokio::time::timeout(STALLED, lines.next()).await {
        Ok(Some(Ok(line))) => serde_json::from_str::<Request>(&line).map_err(|error| error.to_string()),
        Ok(Some(Err(error))) => Err(error.to_string()),
        Ok(None) | Err(_) => return,
    };
    let mut client = Client { lines };
    let answered = match request {
        Ok(request) => answer(&windlass, request, &mut client).await,
        Err(error) => Err(Trouble::Asked(Error::Refused(format!("that request cannot be read: {error}")))),
    };
    match answered {
        Ok(()) => drop(client.send(&Frame::End).await),
        Err(Trouble::Gone) => debug!("a client went away"),
        Err(Trouble::Asked(error)) => {
            if error.kind() == ErrorKind::Broken {
                warn!(%error, "a request failed");
            }
            let _ = client.send(&Frame::Error { message: error.to_string() }).await;
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

async fn answer(windlass: &Windlass, request: Request, client: &mut Client) -> Result<(), Trouble> {
    match request {
        Request::Ping => {
            client.value(json!({ "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id() })).await
        }
        Request::AppCreate { name, domains } => {
            client.value(json!(windlass.create_app(&name, &domains).await?)).await
        }
        Request::AppList => client.value(json!(windlass.apps().await?)).await,
        Request::AppShow { name } => client.value(json!(windlass.app(&name).await?)).await,
        Request::AppAllow { name, more, reset } => {
            client.value(json!(windlass.allow(&name, more, reset).await?)).await
        }
        Request::AppDestroy { name } => {
            windlass.destroy_app(&name).await?;
            client.value(json!({ "destroyed": name })).await
        }
        Request::EnvSet { app, vars } => {
            let mut env = Environment::default();
            for (name, value) in vars.iter() {
                env.set(name, value).map_err(|error| Error::Refused(error.to_string()))?;
            }
            windlass.store.set_env(&app, &env).await?;
            client.value(json!({ "set": vars.iter().map(|(name, _)| name).collect::<Vec<_>>() })).await
        }
        Request::EnvUnset { app, names } => {
            let unknown = windlass.store.unset_env(&app, &names).await?;
            client.value(json!({ "unset": names, "unknown": unknown })).await
        }
        Request::EnvList { app, reveal } => {
            let env = windlass.env(&app).await?;
            let shown = env.iter().map(|(name, value)| (name.to_owned(), reveal.then(|| value.to_owned())));
            client.value(json!(shown.collect::<std::collections::BTreeMap<_, _>>())).await
        }
        Request::Deploys { app, limit } => {
            client.value(json!(windlass.store.deploys(&app, limit, None).await?)).await
        }
        Request::DeployShow { id } => client.value(json!(windlass.store.deploy(id).await?)).await,
        Request::DeployFollow { id, from, follow: true } => follow(windlass, id, from, client).await,
        Request::DeployFollow { id, from, follow: false } => so_far(windlass, id, from, client).await,
        Request::DeployWait { id } => wait(windlass, id, client).await,
        Request::DeployCancel { id, actor } => cancel(windlass, id, &actor, client).await,
        Request::Redeploy { app, commit, actor } => {
            client.value(json!(windlass.redeploy(&app, commit.as_deref(), &actor).await?)).await
        }
        Request::Revert { app, commit, actor } => {
            client.value(json!(windlass.revert(&app, commit.as_deref(), &actor).await?)).await
        }
        Request::Restart { app, actor } => client.value(json!(windlass.restart(&app, &actor).await?)).await,
        Request::Reload { app } => {
            windlass.reload(&app).await?;
            client.value(json!({ "reloaded": app })).await
        }
        Request::AppLogs { app, follow, since_ms, tail } => {
            app_logs(windlass, &app, follow, since_ms, tail, client).await
        }
        Request::Pushed { app, updates, actor } => {
            let updates: Vec<_> = updates.into_iter().map(|u| (u.old, u.new, u.name)).collect();
            let answer = windlass.pushed(&app, &updates, &actor).await?;
            for text in answer.notes {
                client.send(&Frame::Note { text }).await?;
            }
            match answer.deploy {
                Some(deploy) => follow(windlass, deploy.id, Cursor::default(), client).await,
                None => Ok(()),
            }
        }
    }
}

async fn follow(windlass: &Windlass, id: DeployId, from: Cursor, client: &mut Client) -> Result<(), Trouble> {
    let deploy = windlass.store.deploy(id).await?;
    let app = deploy.app.clone();
    let ahead = match deploy.status {
        crate::domain::DeployStatus::Queued => windlass.store.open_deploys(Some(&app)).await?,
        _ => Vec::new(),
    };
    client.send(&Frame::Following { deploy }).await?;
    if let Some(first) = ahead.iter().find(|other| other.id < id) {
        let text = format!("Deploy {id} waits: deploy {} of {app} is {}.", first.id, first.status);
        client.send(&Frame::Note { text }).await?;
    }
    let mut follower = windlass.follow(id, from);
    loop {
        let progress = tokio::select! {
            progress = follower.next() => progress?,
            () = client.gone() => return Err(Trouble::Gone),
        };
        match progress {
            Some(progress) => {
                let frame = frame(windlass, progress).await?;
                client.send(&frame).await?;
            }
            None => return Ok(()),
        }
    }
}

async fn so_far(windlass: &Windlass, id: DeployId, from: Cursor, client: &mut Client) -> Result<(), Trouble> {
    client.send(&Frame::Following { deploy: windlass.store.deploy(id).await? }).await?;
    let mut follower = windlass.follow(id, from);
    while let Some(progress) = follower.now().await? {
        let frame = frame(windlass, progress).await?;
        client.send(&frame).await?;
    }
    Ok(())
}

async fn frame(windlass: &Windlass, progress: Progress) -> Result<Frame, Error> {
    Ok(match progress {
        Progress::Started { ordinal, phase, at_ms } => Frame::PhaseStarted { ordinal, phase, at_ms },
        Progress::Lines { next, text } => Frame::Lines { next, text },
        Progress::Ended { ordinal, timing } => Frame::PhaseEnded { ordinal, timing },
        Progress::Finished(deploy) => finished(windlass, *deploy).await?,
    })
}

async fn finished(windlass: &Windlass, deploy: Deploy) -> Result<Frame, Error> {
    let url = windlass.url(&deploy.app).await?;
    let serving = windlass.store.live_deploy(&deploy.app).await?;
    Ok(Frame::Finished { deploy, url, serving })
}

/// Skips to the end without sending what lies between.
async fn wait(windlass: &Windlass, id: DeployId, client: &mut Client) -> Result<(), Trouble> {
    let mut ticks = windlass.logs.ticks(id);
    loop {
        ticks.mark_unchanged();
        let deploy = windlass.store.deploy(id).await?;
        if !deploy.status.is_open() && deploy.finished_at.is_some() {
            let frame = finished(windlass, deploy).await?;
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
async fn cancel(windlass: &Windlass, id: DeployId, actor: &str, client: &mut Client) -> Result<(), Trouble> {
    windlass.cancel(id, actor).await?;
    match tokio::time::timeout(Duration::from_secs(60), wait(windlass, id, client)).await {
        Ok(done) => done,
        Err(_) => Err(Error::Refused(format!(
            "deploy {id} is told to stop and has not ended yet: windlass deploy show {id}"
        ))
        .into()),
    }
}

async fn app_logs(
    windlass: &Windlass,
    app: &AppName,
    follow: bool,
    since_ms: Option<u64>,
    tail: usize,
    client: &mut Client,
) -> Result<(), Trouble> {
    let (lines, mut output) = windlass.app_output(app, since_ms, tail).await?;
    for some in lines.chunks(500) {
        client.send(&app_lines(some)).await?;
    }
    if !follow {
        return Ok(());
    }
    loop {
        let lines = tokio::select! {
            lines = output.next() => lines?,
            () = client.gone() => return Err(Trouble::Gone),
        };
        client.send(&app_lines(&lines)).await?;
    }
}

fn app_lines(lines: &[AppLine]) -> Frame {
    let line = |line: &AppLine| AppLogLine {
        at: line.at.clone(),
        deploy: line.deploy,
        stream: if line.stderr { "stderr" } else { "stdout" }.to_owned(),
        text: line.text.clone(),
    };
    Frame::AppLines { lines: lines.iter().map(line).collect() }
}
