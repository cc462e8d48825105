//! Ssh keys and tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Action, Endpoint, Error, Server, Verb, account, action, own, whose};
use crate::domain::{AppName, Key, Needs, Principal, Scope, Timestamp, Token, UserName};

/// Adds an ssh key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAdd {
    /// Whose; your own by default.
    #[serde(default)]
    pub user: Option<UserName>,
    /// The line of a `.pub` file.
    pub key: String,
    /// What to call it; its comment by default.
    #[serde(default)]
    pub name: Option<String>,
}

impl Verb for KeyAdd {
    type Answer = Key;

    fn needs(&self, who: &Principal) -> Needs {
        account(who, &self.user)
    }

    fn action(&self) -> Option<Action> {
        let name = self.name.as_deref().unwrap_or_default();
        action("key_add", format!("{} {name}", named(&self.user)).trim())
    }

    fn outcome(key: &Key) -> String {
        format!("key {} {}", key.id, key.fingerprint)
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Key, Error> {
        let (user, name) = (own(who, self.user)?, self.name.as_deref());
        let name = name.filter(|name| !name.trim().is_empty());
        Ok(server
            .platform()
            .access
            .add_key(&user, &self.key, name)
            .await?)
    }
}

impl Endpoint for KeyAdd {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/keys";
    const ID: &'static str = "key_add";
}

/// Ssh keys: your own, or as an administrator everybody's.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    /// Only of this user.
    #[serde(default)]
    pub user: Option<UserName>,
}

impl Verb for KeyList {
    type Answer = Vec<Key>;

    fn needs(&self, _: &Principal) -> Needs {
        self.user.clone().map_or(Needs::User, Needs::Account)
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Vec<Key>, Error> {
        let user = whose(who, self.user)?;
        Ok(server.platform().access.keys(user.as_ref()).await?)
    }
}

impl Endpoint for KeyList {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/keys";
    const ID: &'static str = "key_list";
}

/// Removes an ssh key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRemove {
    /// Its number.
    pub id: i64,
}

/// A key that is gone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Its number.
    pub removed: i64,
}

impl Verb for KeyRemove {
    type Answer = Removed;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Key(self.id)
    }

    fn action(&self) -> Option<Action> {
        action("key_remove", self.id.to_string())
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Removed, Error> {
        server.platform().access.remove_key(self.id).await?;
        Ok(Removed { removed: self.id })
    }
}

impl Endpoint for KeyRemove {
    const METHOD: &'static str = "DELETE";
    const PATH: &'static str = "/keys/{id}";
    const ID: &'static str = "key_remove";
}

/// Makes a token. It is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// Whose; your own by default.
    #[serde(default)]
    pub user: Option<UserName>,
    /// What to call it.
    pub name: String,
    /// How far it reaches.
    pub scope: Scope,
    /// In which apps; all by default.
    #[serde(default)]
    pub apps: Option<Vec<AppName>>,
    /// How long it is good, in milliseconds; until it is revoked by default.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 18446744073709551615u64)]
    pub lasts_ms: Option<u64>,
}

/// A token that was made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token, as it is listed.
    pub token: Token,
    /// What is to be sent. It is shown this once.
    pub secret: String,
}

impl Verb for TokenCreate {
    type Answer = TokenMade;

    fn needs(&self, who: &Principal) -> Needs {
        account(who, &self.user)
    }

    fn action(&self) -> Option<Action> {
        let Self { name, scope, .. } = self;
        let detail = format!("{} {name} {scope}", named(&self.user));
        action("token_create", detail.trim())
    }

    fn outcome(made: &TokenMade) -> String {
        format!("token {}", made.token.id)
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<TokenMade, Error> {
        let user = own(who, self.user)?;
        let end =
            |ms: u64| Timestamp::from_millis(Timestamp::now().millis().saturating_add_unsigned(ms));
        let (apps, ends) = (self.apps.as_deref(), self.lasts_ms.map(end));
        let access = &server.platform().access;
        let made = access.make_token(&user, &self.name, self.scope, apps, ends);
        let made = made.await?;
        Ok(TokenMade {
            token: made.token,
            secret: made.secret,
        })
    }
}

impl Endpoint for TokenCreate {
    const METHOD: &'static str = "POST";
    const PATH: &'static str = "/tokens";
    const ID: &'static str = "token_create";
}

/// Tokens: your own, or as an administrator everybody's.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenList {
    /// Only of this user.
    #[serde(default)]
    pub user: Option<UserName>,
}

impl Verb for TokenList {
    type Answer = Vec<Token>;

    fn needs(&self, _: &Principal) -> Needs {
        self.user.clone().map_or(Needs::User, Needs::Account)
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Vec<Token>, Error> {
        let user = whose(who, self.user)?;
        Ok(server.platform().access.tokens(user.as_ref()).await?)
    }
}

impl Endpoint for TokenList {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/tokens";
    const ID: &'static str = "token_list";
}

/// Revokes a token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRevoke {
    /// Its number.
    pub id: i64,
}

/// A token that is revoked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Its number.
    pub revoked: i64,
}

impl Verb for TokenRevoke {
    type Answer = Revoked;

    fn needs(&self, _: &Principal) -> Needs {
        Needs::Token(self.id)
    }

    fn action(&self) -> Option<Action> {
        action("token_revoke", self.id.to_string())
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Revoked, Error> {
        server.platform().access.revoke_token(self.id).await?;
        Ok(Revoked { revoked: self.id })
    }
}

impl Endpoint for TokenRevoke {
    const METHOD: &'static str = "DELETE";
    const PATH: &'static str = "/tokens/{id}";
    const ID: &'static str = "token_revoke";
}

fn named(user: &Option<UserName>) -> &str {
    user.as_ref().map_or("", UserName::as_str)
}
