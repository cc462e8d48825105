//! Users.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Action, Endpoint, Error, Server, Verb, action};
use crate::access::NewUser;
use crate::domain::{AppName, Needs, Principal, Role, User, UserName};

/// Adds a user.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserAdd {
    /// Their name.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// In which apps.
    #[serde(default)]
    pub apps: Vec<AppName>,
    /// Their password; made up and given back by default.
    #[serde(default)]
    pub password: Option<String>,
}

/// A user that was added.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct UserAdded {
    /// The user.
    pub user: User,
    /// The password that was made up where none was given. It is shown this once.
    pub password: Option<String>,
}

impl Verb for UserAdd {
    type Answer = UserAdded;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    fn action(&self) -> Option<Action> {
        action("user_add", described(&self.name, self.role, &self.apps))
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<UserAdded, Error> {
        let access = &server.platform().access;
        let name = self.name.clone();
        let new = NewUser {
            name: self.name,
            role: self.role,
            apps: self.apps,
            password: self.password,
        };
        let password = access.add_user(new).await?;
        let user = access.user(&name).await?;
        Ok(UserAdded { user, password })
    }
}

impl Endpoint for UserAdd {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/users";
    const ID: &'static str = "user_add";
}

/// Every user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserList {}

impl Verb for UserList {
    type Answer = Vec<User>;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Vec<User>, Error> {
        Ok(server.platform().access.users().await?)
    }
}

impl Endpoint for UserList {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/users";
    const ID: &'static str = "user_list";
}

/// Changes what a user may do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRole {
    /// The user.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// In which apps.
    #[serde(default)]
    pub apps: Vec<AppName>,
}

impl Verb for UserRole {
    type Answer = User;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    fn action(&self) -> Option<Action> {
        action("user_role", described(&self.name, self.role, &self.apps))
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<User, Error> {
        let access = &server.platform().access;
        Ok(access.set_role(&self.name, self.role, &self.apps).await?)
    }
}

impl Endpoint for UserRole {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/users/{name}/role";
    const ID: &'static str = "user_role";
}

/// Gives a user another password. Their sessions end.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPasswd {
    /// The user.
    pub name: UserName,
    /// Their password; made up and given back by default.
    #[serde(default)]
    pub password: Option<String>,
    /// Turns their second factor off.
    #[serde(default)]
    pub without_second_factor: bool,
}

/// A password that was set.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct PasswordSet {
    /// Whose.
    pub user: UserName,
    /// The one that was made up where none was given. It is shown this once.
    pub password: Option<String>,
}

impl Verb for UserPasswd {
    type Answer = PasswordSet;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    fn action(&self) -> Option<Action> {
        let factor = match self.without_second_factor {
            true => " without second factor",
            false => "",
        };
        action("user_passwd", format!("{}{factor}", self.name))
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<PasswordSet, Error> {
        let access = &server.platform().access;
        let set = access.reset_password(&self.name, self.password, self.without_second_factor);
        let password = set.await?;
        Ok(PasswordSet {
            user: self.name,
            password,
        })
    }
}

impl Endpoint for UserPasswd {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/users/{name}/password";
    const ID: &'static str = "user_passwd";
}

/// Removes a user with their keys, tokens and sessions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRemove {
    /// The user.
    pub name: UserName,
}

/// A user who is gone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserRemoved {
    /// Their name.
    pub removed: UserName,
}

impl Verb for UserRemove {
    type Answer = UserRemoved;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Admin
    }

    fn action(&self) -> Option<Action> {
        action("user_remove", self.name.as_str())
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<UserRemoved, Error> {
        let removed = self.name;
        server.platform().access.remove_user(&removed).await?;
        Ok(UserRemoved { removed })
    }
}

impl Endpoint for UserRemove {
    const METHOD: &'static str = "DELETE";
    const PATH: &'static str = "/users/{name}";
    const ID: &'static str = "user_remove";
}

fn described(name: &UserName, role: Role, apps: &[AppName]) -> String {
    let apps = apps.iter().map(|app| format!(" {app}"));
    format!("{name} {role}{}", apps.collect::<String>())
}
