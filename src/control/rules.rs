//! What each request needs, and what the audit log says of it. A request without a line in both does
//! not compile.

use super::{Request, Service};
use crate::access::Action;
use crate::domain::{AppName, DomainName, Needs, Principal, Right, UserName};

impl Request {
    /// What has to be allowed before this is done for `who`.
    pub fn needs(&self, who: &Principal) -> Needs {
        let view = |app: &AppName| Needs::App(Right::View, app.clone());
        let deploy = |app: &AppName| Needs::App(Right::Deploy, app.clone());
        // Whoever is no user, such as root on this machine, has no account of their own.
        let account = |user: &Option<UserName>| match user.clone().or_else(|| who.name.parse().ok())
        {
            Some(user) => Needs::Account(user),
            None => Needs::Admin,
        };
        match self {
            Request::Ping | Request::Whoami => Needs::Nothing,
            Request::AppList => Needs::User,
            Request::AppCreate { .. } | Request::AppAllow { .. } | Request::AppDestroy { .. } => {
                Needs::Admin
            }
            Request::AppDomains { name, add, remove } if add.is_empty() && remove.is_empty() => {
                view(name)
            }
            Request::AppDomains { .. } => Needs::Admin,
            Request::AppShow { name } => view(name),
            Request::EnvList { app, reveal: false } => view(app),
            Request::EnvList { app, reveal: true }
            | Request::EnvSet { app, .. }
            | Request::EnvUnset { app, .. } => deploy(app),
            Request::Deploys { app, .. } | Request::AppLogs { app, .. } => view(app),
            Request::DeployShow { id }
            | Request::DeployFollow { id, .. }
            | Request::DeployWait { id } => Needs::Deploy(Right::View, *id),
            Request::DeployCancel { id } => Needs::Deploy(Right::Deploy, *id),
            Request::Redeploy { app, .. }
            | Request::Revert { app, .. }
            | Request::RevertOutlook { app, .. }
            | Request::AppPublic { name: app, .. }
            | Request::Restart { app }
            | Request::Reload { app }
            | Request::Pushed { app, .. }
            | Request::Enter {
                app,
                service: Service::Push,
            } => deploy(app),
            Request::Enter {
                app,
                service: Service::Fetch,
            } => view(app),
            Request::UserAdd { .. }
            | Request::UserList
            | Request::UserRole { .. }
            | Request::UserRemove { .. } => Needs::Admin,
            Request::UserPasswd { .. } => Needs::Admin,
            Request::KeyAdd { user, .. } | Request::TokenCreate { user, .. } => account(user),
            Request::KeyList { user: None } | Request::TokenList { user: None } => Needs::User,
            Request::KeyList { user: Some(user) } | Request::TokenList { user: Some(user) } => {
                Needs::Account(user.clone())
            }
            Request::KeyRemove { id } => Needs::Key(*id),
            Request::TokenRevoke { id } => Needs::Token(*id),
            Request::Audit { app: Some(app), .. } => view(app),
            Request::Audit { app: None, .. } => Needs::Admin,
        }
    }

    /// What the audit log says of it; nothing for what only looks.
    pub fn action(&self) -> Option<Action> {
        let (name, detail) = match self {
            Request::AppDomains { add, remove, .. } if add.is_empty() && remove.is_empty() => return None,
            Request::Ping
            | Request::Whoami
            | Request::AppList
            | Request::AppShow { .. }
            | Request::EnvList { reveal: false, .. }
            | Request::Deploys { .. }
            | Request::DeployShow { .. }
            | Request::DeployFollow { .. }
            | Request::DeployWait { .. }
            | Request::AppLogs { .. }
            | Request::RevertOutlook { .. }
            | Request::UserList
            | Request::KeyList { .. }
            | Request::TokenList { .. }
            | Request::Audit { .. }
            // What comes of it is a push, which is written down itself.
            | Request::Enter { service: Service::Push, .. } => return None,
            Request::Enter { service: Service::Fetch, .. } => ("fetch", String::new()),
            Request::AppCreate { name, .. } => ("app_create", name.to_string()),
            Request::AppAllow { name, more, reset } => {
                let before = if *reset { "instead of what was allowed" } else { "" };
                ("app_allow", format!("{name} {more} {before}").trim().to_owned())
            }
            Request::AppDomains { name, add, remove } => {
                let signed = |sign, domains: &[DomainName]| domains.iter().map(|d| format!(" {sign}{d}")).collect::<String>();
                ("app_domains", format!("{name}{}{}", signed('+', add), signed('-', remove)))
            }
            Request::AppPublic { public, .. } => ("app_public", if *public { "on" } else { "off" }.to_owned()),
            Request::AppDestroy { name } => ("app_destroy", name.to_string()),
            Request::EnvSet { vars, .. } => ("env_set", vars.iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")),
            Request::EnvUnset { names, .. } => ("env_unset", names.join(" ")),
            Request::EnvList { reveal: true, .. } => ("env_reveal", String::new()),
            Request::DeployCancel { id } => ("cancel", id.to_string()),
            Request::Redeploy { commit, .. } => ("redeploy", commit.clone().unwrap_or_default()),
            Request::Revert { commit, .. } => ("revert", commit.clone().unwrap_or_default()),
            Request::Restart { .. } => ("restart", String::new()),
            Request::Reload { .. } => ("reload", String::new()),
            Request::Pushed { updates, .. } => {
                let moved = updates.iter().take(5).map(|update| {
                    format!("{} {}", update.name.trim_start_matches("refs/heads/"), update.new.short())
                });
                ("push", moved.collect::<Vec<_>>().join(", "))
            }
            Request::UserAdd { name, role, apps, .. } => ("user_add", described(name, role, apps)),
            Request::UserRole { name, role, apps } => ("user_role", described(name, role, apps)),
            Request::UserPasswd { name, .. } => ("user_passwd", name.to_string()),
            Request::UserRemove { name } => ("user_remove", name.to_string()),
            Request::KeyAdd { user, name, .. } => {
                let user = user.as_ref().map_or("", UserName::as_str);
                ("key_add", format!("{user} {}", name.as_deref().unwrap_or_default()).trim().to_owned())
            }
            Request::KeyRemove { id } => ("key_remove", id.to_string()),
            Request::TokenCreate { user, name, scope, .. } => {
                let user = user.as_ref().map_or("", UserName::as_str);
                ("token_create", format!("{user} {name} {scope}").trim().to_owned())
            }
            Request::TokenRevoke { id } => ("token_revoke", id.to_string()),
        };
        Some(Action { name, detail })
    }
}

fn described(name: &UserName, role: &crate::domain::Role, apps: &[AppName]) -> String {
    let apps: Vec<_> = apps.iter().map(AppName::as_str).collect();
    format!("{name} {role} {}", apps.join(" "))
        .trim()
        .to_owned()
}
