//! Who may do what: roles, what a request needs, and the one place that answers.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::{AppName, DeployId, UserName};

/// What a user may do. Each may what the one before may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_fn = unknown_role, parse_err_ty = Unknown)]
pub enum Role {
    /// Sees named apps: deploys, logs, names of variables.
    Viewer,
    /// Pushes, deploys, reverts and sets variables of named apps.
    Deployer,
    /// Everything, in every app.
    Admin,
}

impl Role {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn has(self, right: Right) -> bool {
        match right {
            Right::View => true,
            Right::Deploy => self >= Role::Deployer,
        }
    }
}

/// How far a token reaches, of what its user may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_fn = unknown_scope, parse_err_ty = Unknown)]
pub enum Scope {
    /// Reads.
    Read,
    /// Deploys as well.
    Deploy,
    /// Whatever its user may.
    Admin,
}

impl Scope {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn role(self) -> Role {
        match self {
            Scope::Read => Role::Viewer,
            Scope::Deploy => Role::Deployer,
            Scope::Admin => Role::Admin,
        }
    }
}

/// Not the name of a role or scope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{given:?} is none of {known}")]
pub struct Unknown {
    given: String,
    known: &'static str,
}

fn unknown_role(given: &str) -> Unknown {
    Unknown::new(given, "viewer, deployer, admin")
}

fn unknown_scope(given: &str) -> Unknown {
    Unknown::new(given, "read, deploy, admin")
}

impl Unknown {
    fn new(given: &str, known: &'static str) -> Self {
        let given = given.chars().take(40).collect();
        Self { given, known }
    }
}

/// What may be done with one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// See it.
    View,
    /// Change what it serves, and with what environment.
    Deploy,
}

/// What has to be allowed before a request is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// Whoever asks: it tells nothing and changes nothing.
    Nothing,
    /// Any user. What is listed is what that one may see.
    User,
    /// A right over an app.
    App(Right, AppName),
    /// A right over the app that a deploy is of.
    Deploy(Right, DeployId),
    /// To be this user, or an administrator.
    Account(UserName),
    /// To be the owner of the ssh key of that number, or an administrator.
    Key(i64),
    /// To be the owner of the token of that number, or an administrator.
    Token(i64),
    /// To be an administrator.
    Admin,
}

/// Which apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Every one.
    All,
    /// These.
    Only(BTreeSet<AppName>),
}

impl Reach {
    /// Whether an app is among them.
    pub fn has(&self, app: &AppName) -> bool {
        match self {
            Reach::All => true,
            Reach::Only(apps) => apps.contains(app),
        }
    }

    /// What is in both.
    pub fn and(&self, other: &Reach) -> Reach {
        match (self, other) {
            (Reach::All, reach) | (reach, Reach::All) => reach.clone(),
            (Reach::Only(one), Reach::Only(two)) => {
                Reach::Only(one.intersection(two).cloned().collect())
            }
        }
    }
}

/// By what somebody is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// The control socket, which only the server's own user and root may open.
    Local,
    /// An ssh key, by its number.
    Key(i64),
    /// A token, by its number.
    Token(i64),
    /// A log-in on the dashboard.
    Session,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Local => f.write_str("local"),
            Via::Key(id) => write!(f, "key {id}"),
            Via::Token(id) => write!(f, "token {id}"),
            Via::Session => f.write_str("session"),
        }
    }
}

/// Somebody who asks, with what that one may do: the only thing that [`Principal::may`] looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user's name; for [`Via::Local`] that of the account on this machine.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// In which apps.
    pub reach: Reach,
    /// By what they are known.
    pub via: Via,
    /// From where they come, as far as that is known: an address, or nothing.
    pub address: String,
}

/// It may not be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denied {
    /// Nobody is known.
    #[error("nobody is logged in")]
    NobodyKnown,
    /// Whoever may not see an app does not learn whether there is one.
    #[error("there is no app named {0}, or {1} may not see it")]
    NoApp(AppName, String),
    /// The same for a deploy.
    #[error("there is no deploy {0}, or {1} may not see it")]
    NoDeploy(DeployId, String),
    /// It may be seen and not changed.
    #[error(
        "{1} may see {0} and not deploy it ({2}). An administrator may change that: windlass user role {1} deployer --app {0}"
    )]
    OnlySeen(AppName, String, String),
    /// Only administrators may.
    #[error("only an administrator may do that; {0} is none ({1})")]
    NoAdmin(String, String),
}

impl Principal {
    /// Somebody at the machine itself.
    pub fn local(name: String) -> Self {
        Self {
            name,
            role: Role::Admin,
            reach: Reach::All,
            via: Via::Local,
            address: String::new(),
        }
    }

    /// The same one with no more than a token's scope.
    pub fn within(self, scope: Scope, apps: &Reach) -> Self {
        Self {
            role: self.role.min(scope.role()),
            reach: self.reach.and(apps),
            ..self
        }
    }

    /// Whether an app may be seen: what lists show.
    pub fn sees(&self, app: &AppName) -> bool {
        self.role == Role::Admin && self.reach == Reach::All || self.reach.has(app)
    }

    /// Whether this one may do what needs `needs`. A deploy's app has to be known by then: `app` is it
    /// where `needs` names a deploy. Keys and tokens whose owner is not known are administrators'.
    ///
    /// # Errors
    /// [`Denied`], in words for the one who asked.
    pub fn may(&self, needs: &Needs, app: Option<&AppName>) -> Result<(), Denied> {
        let who = || self.name.clone();
        let what = || format!("{}, by {}", self.role, self.via);
        let over = |right: Right, app: &AppName| match (self.sees(app), self.role.has(right)) {
            (false, _) => Err(Denied::NoApp(app.clone(), who())),
            (true, false) => Err(Denied::OnlySeen(app.clone(), who(), what())),
            (true, true) => Ok(()),
        };
        let everything = self.role == Role::Admin && self.reach == Reach::All;
        match needs {
            Needs::Nothing | Needs::User => Ok(()),
            Needs::App(right, app) => over(*right, app),
            Needs::Deploy(right, id) => match app.filter(|app| self.sees(app)) {
                Some(app) => over(*right, app),
                None => Err(Denied::NoDeploy(*id, who())),
            },
            // A token that may less than its user must not make one that may more.
            Needs::Account(user)
                if user.as_str() == self.name && !matches!(self.via, Via::Token(_)) =>
            {
                Ok(())
            }
            _ if everything => Ok(()),
            Needs::Account(_) | Needs::Key(_) | Needs::Token(_) | Needs::Admin => {
                Err(Denied::NoAdmin(who(), what()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    fn ann(role: Role, apps: &[&str], via: Via) -> Principal {
        let reach = match role {
            Role::Admin => Reach::All,
            _ => Reach::Only(apps.iter().map(|name| app(name)).collect()),
        };
        Principal {
            name: "ann".into(),
            role,
            reach,
            via,
            address: String::new(),
        }
    }

    #[test]
    fn each_role_may_what_it_may_and_no_more() {
        let (view, deploy) = (
            Needs::App(Right::View, app("shop")),
            Needs::App(Right::Deploy, app("shop")),
        );
        let all = [
            Needs::Nothing,
            Needs::User,
            view.clone(),
            deploy,
            Needs::Account("bob".parse().unwrap()),
            Needs::Admin,
        ];
        let may = |who: &Principal| all.clone().map(|needs| who.may(&needs, None).is_ok());
        assert_eq!(
            may(&ann(Role::Viewer, &["shop"], Via::Session)),
            [true, true, true, false, false, false]
        );
        assert_eq!(
            may(&ann(Role::Deployer, &["shop"], Via::Key(1))),
            [true, true, true, true, false, false]
        );
        assert_eq!(
            may(&ann(Role::Deployer, &["blog"], Via::Key(1))),
            [true, true, false, false, false, false]
        );
        assert_eq!(may(&ann(Role::Admin, &[], Via::Session)), [true; 6]);
        let own = Needs::Account("ann".parse().unwrap());
        assert!(ann(Role::Viewer, &[], Via::Key(1)).may(&own, None).is_ok());
        assert!(
            ann(Role::Viewer, &[], Via::Token(1))
                .may(&own, None)
                .is_err()
        );
    }

    #[test]
    fn a_token_narrows_its_user() {
        let only = |name: &str| Reach::Only([app(name)].into());
        let admin = || ann(Role::Admin, &[], Via::Token(1));
        let deploys = Needs::App(Right::Deploy, app("shop"));
        assert!(
            admin()
                .within(Scope::Deploy, &only("shop"))
                .may(&deploys, None)
                .is_ok()
        );
        assert!(
            admin()
                .within(Scope::Deploy, &only("blog"))
                .may(&deploys, None)
                .is_err()
        );
        assert!(
            admin()
                .within(Scope::Read, &Reach::All)
                .may(&deploys, None)
                .is_err()
        );
        // An administrator's token for one app is none.
        assert!(
            admin()
                .within(Scope::Admin, &only("shop"))
                .may(&Needs::Admin, None)
                .is_err()
        );
        assert!(
            admin()
                .within(Scope::Admin, &Reach::All)
                .may(&Needs::Admin, None)
                .is_ok()
        );
        let viewer = ann(Role::Viewer, &["shop"], Via::Token(1)).within(Scope::Admin, &Reach::All);
        assert!(viewer.may(&deploys, None).is_err());
    }

    #[test]
    fn what_may_not_be_seen_is_not_told_from_what_there_is_not() {
        let bob = ann(Role::Viewer, &["shop"], Via::Session);
        let deploy = Needs::Deploy(Right::View, DeployId(7));
        assert_eq!(bob.may(&deploy, Some(&app("blog"))), bob.may(&deploy, None));
        assert!(bob.may(&deploy, Some(&app("shop"))).is_ok());
    }
}
