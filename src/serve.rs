//! The server: everything is opened here, in the order in which one needs the other, and closed here.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::{self, socket as control};
use crate::app::Services;
use crate::config::{Config, ConfigError, Home};
use crate::domain::Timestamp;
use crate::platform::{self, Platform};
use crate::reconcile;
use crate::store::{SealError, Sealer, Store, StoreError};
use crate::web::{self, Behind};

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Nothing can be kept there.
    #[error(
        "the home folder {0} cannot be used: {1}. Make it writable for this user, or choose another with --home"
    )]
    Home(PathBuf, io::Error),
    /// One home, one server.
    #[error(
        "another windlass server runs on {0}; two would undo each other's work. Stop it first, or use another --home"
    )]
    Taken(PathBuf),
    /// A copy of a home, beside it.
    #[error(
        "a server runs on {0}, with the same containers: one of the two home folders is a copy of the other, and each would undo the other's work. Stop that one first; or try a backup out on a machine, or an engine, of its own"
    )]
    Twin(PathBuf),
    /// Not yet a home, or no more.
    #[error(
        "a restore works in {0}, or was cut off there. Wait for its end, or run windlass restore again; to begin anew without it, remove that folder"
    )]
    Restoring(PathBuf),
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A new key would open nothing of what is there.
    #[error(
        "{0} is gone, and the database holds secrets that only it opens. Restore it from a backup; or move windlass.db away to begin anew"
    )]
    KeyGone(PathBuf),
    /// `secret.key`.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine, Caddy, git.
    #[error(transparent)]
    Deploy(#[from] platform::Error),
    /// A socket.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    /// The runtime.
    #[error("the server cannot start: {0}")]
    Runtime(io::Error),
}

/// Runs the server on `home` until it is told to stop.
///
/// # Errors
/// When it cannot start; each says what is in the way and what to do.
pub fn run(home: &Home) -> Result<(), ServeError> {
    crate::telemetry::init();
    // Two threads do: builds and apps have their own processes, and each thread's stack and heap
    // arena cost memory on a small server.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let done = runtime.block_on(serve(home));
    // What still runs is a deploy; the next start finishes or undoes it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(home: &Home) -> Result<(), ServeError> {
    let _lock = take_home(home)?;
    settle_restore(home)?;
    let config = Config::read(home)?;
    if home.database().exists() && !home.key().exists() {
        return Err(ServeError::KeyGone(home.key()));
    }
    let store = Store::open(&home.database(), Sealer::open(&home.key())?).await?;
    let instance = store.instance().await?;
    let platform = Platform::new(home.clone(), config, store, &instance)?;
    let services = Services::new(platform.clone());
    refuse_twin(&platform).await?;
    link_binary(home)?;
    let begun = begin(&services).await?;

    let shutdown = CancellationToken::new();
    let socket = home.control_socket();
    let control = control::open(&socket)
        .map_err(|error| ServeError::Listen(socket.display().to_string(), error))?;
    let listen = platform.config.listen;
    let page = TcpListener::bind(listen)
        .await
        .map_err(|error| ServeError::Listen(listen.to_string(), error))?;
    let behind_caddy = open_dashboard_socket(&platform)?;
    let door = |behind| web::router(services.clone(), shutdown.clone(), behind);
    let server = api::Server {
        services: services.clone(),
        shutdown: shutdown.clone(),
    };
    let tasks = [
        tokio::spawn(control::serve(control, server, shutdown.clone())),
        tokio::spawn(direct_pages(page, door(Behind::Nothing), shutdown.clone())),
        tokio::spawn(pages(behind_caddy, door(Behind::Caddy), shutdown.clone())),
        tokio::spawn(retention(platform.clone(), shutdown.clone())),
        tokio::spawn(watch(services.clone(), begun, shutdown.clone())),
    ];
    if let Err(error) = platform.access.write_authorized_keys().await {
        warn!(%error, "nobody comes in by ssh until that is mended: {error}");
    }
    // Last, so that no start that fails has used up the one time the password is shown.
    if let Some(password) = platform
        .access
        .first_admin()
        .await
        .map_err(platform::Error::from)?
    {
        println!("The dashboard's first user is admin, with the password {password}");
        println!("It is shown this once and stored only as a hash.");
    }
    println!(
        "Windlass is ready. Dashboard: http://{listen}/  Control: {}",
        socket.display()
    );
    info!(%instance, home = %home.path().display(), "ready");

    wait_for_signal().await;
    info!("stopping");
    shutdown.cancel();
    let ended = futures_util::future::join_all(tasks);
    let _ = tokio::time::timeout(Duration::from_secs(3), ended).await;
    let _ = fs::remove_file(&socket);
    Ok(())
}

/// What a server found when it began.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    /// When.
    since: Timestamp,
    /// Whether everything on the engine is in order.
    in_order: bool,
}

/// Takes up what the server before this one left: the first thing that a server does, before anybody
/// can ask it for something.
pub async fn begin(services: &Services) -> Result<Begun, ServeError> {
    let since = Timestamp::now();
    let platform = &services.platform;
    // Where Caddy runs already, its configuration is rendered as it was: a load cuts connections.
    let _ = reconcile::learn_caddy(platform).await;
    // Before there are new deploys: one of a database that was put back could get the number of logs
    // that are still there.
    if let Err(error) = reconcile::prune_logs(platform).await {
        warn!(%error, "old logs are left for the next time");
    }
    services.queue.begin().await?;
    let in_order = put_in_order(services).await?;
    Ok(Begun { since, in_order })
}

/// Puts everything on the engine in order. False when the engine does not answer: the server runs
/// without it, and tells what it knows.
async fn put_in_order(services: &Services) -> Result<bool, ServeError> {
    match reconcile::put_in_order(&services.platform, &services.queue).await {
        Ok(()) => Ok(true),
        Err(error @ platform::Error::Engine(_)) => {
            println!("{error}");
            println!(
                "What runs is left as it is; everything is put in order when the engine is back."
            );
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Watches the engine until the server stops.
pub async fn watch(services: Services, begun: Begun, shutdown: CancellationToken) {
    let Begun { since, in_order } = begun;
    tokio::select! {
        () = reconcile::watch_engine(&services.platform, &services.queue, in_order, since) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Makes the home folder and locks it for this process.
fn take_home(home: &Home) -> Result<File, ServeError> {
    let failed = |error| ServeError::Home(home.path().to_owned(), error);
    if !home.path().exists() {
        fs::create_dir_all(home.path()).map_err(failed)?;
        fs::set_permissions(home.path(), Permissions::from_mode(0o750)).map_err(failed)?;
    }
    fs::create_dir_all(home.run()).map_err(failed)?;
    fs::set_permissions(home.run(), Permissions::from_mode(0o700)).map_err(failed)?;
    let lock = File::create(home.run().join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ServeError::Taken(home.path().to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A copy of a home folder has the same mark, and so the same containers. Once the other one's server
/// has stopped, this one takes them over.
async fn refuse_twin(platform: &Platform) -> Result<(), ServeError> {
    let Ok(Some(caddy)) = platform.engine.container(&platform.naming.caddy()).await else {
        return Ok(());
    };
    let other = caddy.home.filter(|other| other != platform.home.path());
    let lock = other
        .as_ref()
        .and_then(|other| File::open(other.join("run/lock")).ok());
    match (other, lock.map(|lock| lock.try_lock())) {
        (Some(other), Some(Err(TryLockError::WouldBlock))) => Err(ServeError::Twin(other)),
        _ => Ok(()),
    }
}

/// A restore puts the database in place last: without one the rest is not to be served from.
fn settle_restore(home: &Home) -> Result<(), ServeError> {
    let folder = home.restoring();
    if folder.exists() && !home.database().exists() {
        return Err(ServeError::Restoring(folder));
    }
    // Of one that was killed when everything was in place.
    let _ = fs::remove_dir_all(folder);
    Ok(())
}

/// Hooks find this server's binary by a link in the home folder, so they need no path of their own.
fn link_binary(home: &Home) -> Result<(), ServeError> {
    let failed = |error| ServeError::Home(home.path().to_owned(), error);
    let binary = std::env::current_exe().map_err(failed)?;
    let (link, beside) = (home.binary(), home.run().join("windlass.new"));
    let _ = fs::remove_file(&beside);
    std::os::unix::fs::symlink(binary, &beside).map_err(failed)?;
    fs::rename(beside, link).map_err(failed)
}

/// The dashboard's socket in the folder that Caddy shares.
fn open_dashboard_socket(platform: &Platform) -> Result<UnixListener, ServeError> {
    let path = platform.proxy.sockets().join("dashboard.sock");
    let _ = fs::remove_file(&path);
    UnixListener::bind(&path).map_err(|error| ServeError::Listen(path.display().to_string(), error))
}

/// The dashboard for whoever connects by themselves: their address is the connection's.
async fn direct_pages(listener: TcpListener, router: axum::Router, shutdown: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned());
    told(served.await);
}

/// The dashboard behind Caddy.
async fn pages(listener: UnixListener, router: axum::Router, shutdown: CancellationToken) {
    told(
        axum::serve(listener, router)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await,
    );
}

fn told(served: io::Result<()>) {
    if let Err(error) = served {
        warn!(%error, "the dashboard's listener");
    }
}

/// Once at the start and then every hour: what is kept no longer goes.
pub async fn retention(platform: std::sync::Arc<Platform>, shutdown: CancellationToken) {
    let hourly = async {
        loop {
            reconcile::apply_retention(&platform).await;
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    };
    tokio::select! {
        () = hourly => {}
        () = shutdown.cancelled() => {}
    }
}

async fn wait_for_signal() {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
