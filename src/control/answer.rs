//! Answering what has one answer: for the control socket, and for the API, which asks the same.

use serde_json::{Value, json};

use super::{AppLogLine, Request};
use crate::access::NewUser;
use crate::app::{self, AppLogQuery, Follower, Progress, Services};
use crate::domain::{DeployId, Environment, Needs, Principal, Timestamp, UserName};
use crate::logs::{AppLine, Cursor};
use crate::platform::Error;

/// So much of a log is given at once, in bytes, give or take a read.
const PIECE: usize = 256 * 1024;

/// Lets `who` ask for this, or does not.
///
/// # Errors
/// What the gate says.
pub async fn allow(services: &Services, who: &Principal, request: &Request) -> Result<(), Error> {
    let (needs, action) = (request.needs(who), request.action());
    Ok(services
        .platform
        .access
        .authorise(who, &needs, action.as_ref())
        .await?)
}

/// Whose account it is about: the caller's where nobody is named.
fn account(who: &Principal, user: Option<UserName>) -> Result<UserName, Error> {
    let nobody = |_| {
        Error::Refused(format!(
            "{} is no user of Windlass: say for whom, with --user NAME",
            who.name
        ))
    };
    user.map_or_else(|| who.name.parse().map_err(nobody), Ok)
}

/// An administrator's list has everybody's.
fn whose(who: &Principal, user: Option<UserName>) -> Result<Option<UserName>, Error> {
    match user {
        None if who.may(&Needs::Admin, None).is_ok() => Ok(None),
        user => account(who, user).map(Some),
    }
}

/// The answer to a request that [`allow`] let through, in the shape of `--json`. What is followed over
/// time has none.
///
/// # Errors
/// What kept it from being done.
pub async fn value(services: &Services, who: &Principal, request: Request) -> Result<Value, Error> {
    let news = request.action().map(|_| request.needs(who));
    let value = found(services, who, request).await;
    // Whatever came of it: pages look for themselves.
    match news {
        Some(Needs::App(_, app)) => services.platform.change_feed.of(&app),
        Some(Needs::Admin) => services.platform.change_feed.for_everybody(),
        _ => {}
    }
    value
}

async fn found(services: &Services, who: &Principal, request: Request) -> Result<Value, Error> {
    let (access, actor) = (&services.platform.access, who.name.as_str());
    Ok(match request {
        Request::Ping => json!({ "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id() }),
        Request::AppCreate { name, domains } => {
            json!(app::create(&services.queue, &name, &domains).await?)
        }
        Request::AppList => {
            json!(access.seen(who, app::all(&services.platform).await?, |app| &app.name))
        }
        Request::AppShow { name } => json!(app::show(&services.platform, &name).await?),
        Request::AppAllow { name, more, reset } => {
            json!(app::allow(&services.platform, &name, more, reset).await?)
        }
        Request::AppDomains { name, add, remove } => {
            let domains = app::change_domains(&services.platform, &name, &add, &remove).await?;
            json!({ "app": name, "domains": domains })
        }
        Request::AppPublic { name, public } => {
            services.platform.store.set_public(&name, public).await?;
            json!({ "name": name, "public": public })
        }
        Request::AppDestroy { name } => {
            app::destroy(&services.queue, &name).await?;
            json!({ "destroyed": name })
        }
        Request::EnvSet { app, vars } => {
            let mut env = Environment::default();
            for (name, value) in vars.iter() {
                env.set(name, value)
                    .map_err(|error| Error::Refused(error.to_string()))?;
            }
            services.platform.store.set_env(&app, &env).await?;
            json!({ "set": vars.iter().map(|(name, _)| name).collect::<Vec<_>>() })
        }
        Request::EnvUnset { app, names } => {
            let unknown = services.platform.store.unset_env(&app, &names).await?;
            json!({ "unset": names, "unknown": unknown })
        }
        Request::EnvList { app, reveal } => {
            let env = services.platform.store.env(&app).await?;
            let shown = env
                .iter()
                .map(|(name, value)| (name.to_owned(), reveal.then(|| value.to_owned())));
            json!(shown.collect::<std::collections::BTreeMap<_, _>>())
        }
        Request::Deploys { app, limit } => {
            json!(services.platform.store.deploys(&app, limit, None).await?)
        }
        Request::DeployShow { id } => json!(services.platform.store.deploy(id).await?),
        Request::Redeploy { app, commit } => {
            json!(app::redeploy(&services.queue, &app, commit.as_deref(), actor).await?)
        }
        Request::Revert { app, commit } => {
            json!(app::revert(&services.queue, &app, commit.as_deref(), actor).await?)
        }
        Request::RevertOutlook { app, commit } => {
            json!(app::preview_revert(&services.platform, &app, commit.as_deref()).await?)
        }
        Request::Restart { app } => json!(app::restart(&services.queue, &app, actor).await?),
        Request::Reload { app } => {
            app::reload(&services.platform, &app).await?;
            json!({ "reloaded": app })
        }
        Request::Whoami => {
            let apps = access.seen(who, app::all(&services.platform).await?, |app| &app.name);
            let apps: Vec<_> = apps.into_iter().map(|app| app.name).collect();
            json!({ "name": who.name, "role": who.role, "via": who.via.to_string(), "apps": apps })
        }
        Request::Enter { app, .. } => {
            services.platform.store.app(&app).await?;
            json!({ "user": who.name, "path": services.platform.git.path(&app) })
        }
        Request::UserAdd {
            name,
            role,
            apps,
            password,
        } => {
            let made = access
                .add_user(NewUser {
                    name: name.clone(),
                    role,
                    apps,
                    password,
                })
                .await?;
            json!({ "user": access.user(&name).await?, "password": made })
        }
        Request::UserList => json!(access.users().await?),
        Request::UserRole { name, role, apps } => json!(access.set_role(&name, role, &apps).await?),
        Request::UserPasswd {
            name,
            password,
            without_second_factor,
        } => {
            let made = access
                .reset_password(&name, password, without_second_factor)
                .await?;
            json!({ "user": name, "password": made })
        }
        Request::UserRemove { name } => {
            access.remove_user(&name).await?;
            json!({ "removed": name })
        }
        Request::KeyAdd { user, key, name } => {
            let user = account(who, user)?;
            json!(access.add_key(&user, &key, name.as_deref()).await?)
        }
        Request::KeyList { user } => json!(access.keys(whose(who, user)?.as_ref()).await?),
        Request::KeyRemove { id } => {
            access.remove_key(id).await?;
            json!({ "removed": id })
        }
        Request::TokenCreate {
            user,
            name,
            scope,
            apps,
            lasts_ms,
        } => {
            let user = account(who, user)?;
            let end = |ms: u64| {
                Timestamp::from_millis(Timestamp::now().millis().saturating_add_unsigned(ms))
            };
            let made = access
                .make_token(&user, &name, scope, apps.as_deref(), lasts_ms.map(end))
                .await?;
            json!({ "token": made.token, "secret": made.secret })
        }
        Request::TokenList { user } => json!(access.tokens(whose(who, user)?.as_ref()).await?),
        Request::TokenRevoke { id } => {
            access.revoke_token(id).await?;
            json!({ "revoked": id })
        }
        Request::Audit { app, limit } => {
            json!(
                services
                    .platform
                    .store
                    .audit_entries(app.as_ref(), limit, None)
                    .await?
            )
        }
        Request::DeployCancel { id } => {
            services.queue.cancel(id, actor).await?;
            json!(services.platform.store.deploy(id).await?)
        }
        Request::AppLogs {
            app,
            since_ms,
            tail,
            ..
        } => {
            json!(app_lines(
                &app::read_log(
                    &services.platform,
                    &app,
                    AppLogQuery::newest(since_ms, tail)
                )
                .await?
                .lines
            ))
        }
        Request::DeployFollow {
            id,
            from,
            follow: false,
            ..
        } => log(services, id, from).await?,
        Request::DeployFollow { follow: true, .. }
        | Request::DeployWait { .. }
        | Request::Pushed { .. } => {
            return Err(Error::Refused(
                "that is followed over time, and has no single answer".into(),
            ));
        }
    })
}

/// A piece of a deploy's log from `from` on, as `deploy log --json` has its lines, and where the next
/// one begins: where that is the same place, there is no more yet.
async fn log(services: &Services, id: DeployId, from: Cursor) -> Result<Value, Error> {
    let deploy = services.platform.store.deploy(id).await?;
    let (mut lines, mut next, mut size) = (Vec::new(), from, 0);
    let mut follower = Follower::new(&services.platform, id, from);
    while let (true, Some(progress)) = (size < PIECE, follower.now().await?) {
        let Progress::Lines { next: behind, text } = progress else {
            continue;
        };
        let phase = deploy
            .phases
            .get(behind.ordinal)
            .map(|timing| timing.phase.to_string());
        for line in text.lines() {
            let (at_ms, text) = line.split_once('\t').unwrap_or(("0", line));
            lines.push(
                json!({ "phase": phase, "at_ms": at_ms.parse().unwrap_or(0_u64), "text": text }),
            );
        }
        (next, size) = (behind, size + text.len());
    }
    Ok(json!({ "lines": lines, "next": next }))
}

/// Lines that an app printed, as they are sent.
pub(super) fn app_lines(lines: &[AppLine]) -> Vec<AppLogLine> {
    let line = |line: &AppLine| AppLogLine {
        at: line.at.clone(),
        deploy: line.deploy,
        stream: if line.stderr { "stderr" } else { "stdout" }.to_owned(),
        text: line.text.clone(),
    };
    lines.iter().map(line).collect()
}
