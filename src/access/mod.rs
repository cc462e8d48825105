//! Who comes in: users, what they prove themselves with, and the one gate that every request passes.
//!
//! Whoever asks becomes a [`Principal`]: by a session, a token, an ssh key, or by having the control
//! socket open. What is asked says what it needs ([`Needs`]). [`Access::authorise`] brings the two
//! together, and writes down what was done or refused; nothing else decides.

mod authorized_keys;
mod limits;
mod password;
mod second_factor;
mod session;
mod users;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use authorized_keys::{LINE_PREFIX, PublicKey};
pub use second_factor::Enrolment;
pub use session::{LogIn, Opened};
pub use users::{MadeToken, NewUser};

use crate::config::Home;
use crate::domain::{AppName, AuditOutcome, Denied, Needs, Principal, Reach, Via};
use crate::store::{Store, StoreError};
use limits::Limits;
use password::Passwords;

/// Why somebody did not come in, or an account was not changed.
#[derive(Debug, Error)]
pub enum AccessError {
    /// It may not be done.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It makes no sense; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// Too many at once.
    #[error("too many log-ins at once; wait a little and try again")]
    Busy,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `authorized_keys`.
    #[error("the list of ssh keys cannot be written: {0}")]
    Keys(PathBuf, std::io::Error),
    /// The machine.
    #[error("{0}")]
    Machine(#[from] std::io::Error),
}

/// Who somebody on the control socket is. The socket's owner is believed: the ssh command and the hook
/// are that one, and say whom they act for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// Somebody on this machine, by the name of their account there.
    Local(String),
    /// Whoever has this ssh key; with where they come from.
    Key(i64, String),
    /// Whoever has this token; with where they come from.
    Token(i64, String),
}

/// What is about to be done, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// In one word.
    pub name: &'static str,
    /// To what in particular. Never a secret.
    pub detail: String,
}

/// The gate, and what is behind it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access {
    store: Store,
    passwords: Passwords,
    limits: Arc<Limits>,
    home: Home,
}

impl Access {
    /// The gate of the installation at `home`.
    pub fn new(store: Store, home: Home) -> Self {
        Self {
            store,
            passwords: Passwords::new(),
            limits: Arc::new(Limits::new()),
            home,
        }
    }

    /// Who somebody on the control socket is.
    ///
    /// # Errors
    /// [`Denied::NobodyKnown`] for a key or token that is no more.
    pub async fn caller(&self, caller: Caller) -> Result<Principal, AccessError> {
        match caller {
            Caller::Local(name) => Ok(Principal::local(crate::domain::printable(&name, 60))),
            Caller::Key(id, address) => {
                let key = self.store.key(id).await?.ok_or(Denied::NobodyKnown)?;
                let user = self.store.user(&key.user).await?;
                let reach = user.reach();
                let who = Principal {
                    name: user.name.into(),
                    role: user.role,
                    reach,
                    via: Via::Key(id),
                    address,
                };
                self.came_in(&who).await;
                Ok(who)
            }
            Caller::Token(id, address) => {
                let token = self
                    .store
                    .token_by_id(id)
                    .await?
                    .ok_or(Denied::NobodyKnown)?;
                self.of_token(token, address).await
            }
        }
    }

    /// Who has this token.
    ///
    /// # Errors
    /// [`Denied::NobodyKnown`].
    pub async fn token(&self, secret: &str, address: &str) -> Result<Principal, AccessError> {
        let token = self
            .store
            .token(&hashed(secret))
            .await?
            .ok_or(Denied::NobodyKnown)?;
        self.of_token(token, address.to_owned()).await
    }

    async fn of_token(
        &self,
        token: crate::domain::Token,
        address: String,
    ) -> Result<Principal, AccessError> {
        let user = self.store.user(&token.user).await?;
        let apps = token
            .apps
            .map_or(Reach::All, |apps| Reach::Only(apps.into_iter().collect()));
        let (reach, via) = (user.reach(), Via::Token(token.id));
        let who = Principal {
            name: user.name.into(),
            role: user.role,
            reach,
            via,
            address,
        };
        let who = who.within(token.scope, &apps);
        self.came_in(&who).await;
        Ok(who)
    }

    /// That somebody came in is worth knowing and not worth failing for.
    async fn came_in(&self, who: &Principal) {
        let _ = self.store.came_in(&who.via).await;
    }

    /// Lets somebody do what needs `needs`, or does not. What changes something has an `action`, which
    /// is written down before it is done; what is refused is written down in any case. Gives the number
    /// of that row, for [`Access::came_to`].
    ///
    /// # Errors
    /// [`AccessError::Denied`].
    pub async fn authorise(
        &self,
        who: &Principal,
        needs: &Needs,
        action: Option<&Action>,
    ) -> Result<Option<i64>, AccessError> {
        let owner = match needs {
            Needs::Key(id) => self.store.key(*id).await?.map(|key| key.user),
            // One that has expired is still its owner's to revoke.
            Needs::Token(id) => self
                .store
                .tokens()
                .await?
                .into_iter()
                .find(|t| t.id == *id)
                .map(|t| t.user),
            _ => None,
        };
        let needs = &owner.map_or_else(|| needs.clone(), Needs::Account);
        let app = match needs {
            Needs::App(_, app) => Some(app.clone()),
            Needs::Deploy(_, id) => self.store.deploy(*id).await.ok().map(|deploy| deploy.app),
            _ => None,
        };
        let allowed = who.may(needs, app.as_ref());
        let looks = Action {
            name: "look",
            detail: String::new(),
        };
        let mut entry = None;
        if action.is_some() || allowed.is_err() {
            let action = action.unwrap_or(&looks);
            let detail = crate::domain::printable(&action.detail, 300);
            let outcome = allowed.is_err().then_some(AuditOutcome::Refused);
            let written = self
                .store
                .audit(who, action.name, app.as_ref(), &detail, outcome);
            entry = Some(written.await?);
        }
        allowed?;
        Ok(entry)
    }

    /// Writes down what came of an action that [`Access::authorise`] let through, and what of it is
    /// known only now.
    ///
    /// # Errors
    /// The database's.
    pub async fn came_to(
        &self,
        entry: i64,
        outcome: AuditOutcome,
        more: &str,
    ) -> Result<(), AccessError> {
        let more = crate::domain::printable(more, 300);
        Ok(self.store.audit_came_to(entry, outcome, &more).await?)
    }

    /// Writes down what is no request: a log-in, say.
    async fn note(
        &self,
        who: &Principal,
        name: &str,
        detail: &str,
        denied: bool,
    ) -> Result<(), AccessError> {
        let outcome = match denied {
            true => AuditOutcome::Refused,
            false => AuditOutcome::Done,
        };
        let detail = crate::domain::printable(detail, 300);
        self.store
            .audit(who, name, None, &detail, Some(outcome))
            .await?;
        Ok(())
    }

    /// The apps of a list that somebody may see.
    pub fn seen<T>(&self, who: &Principal, items: Vec<T>, app: impl Fn(&T) -> &AppName) -> Vec<T> {
        items
            .into_iter()
            .filter(|item| who.sees(app(item)))
            .collect()
    }
}

/// How a random token is stored. It needs no salt and no slow hash: it cannot be guessed.
pub fn hashed(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// 32 random bytes as hex digits.
fn random_token() -> String {
    rand::random::<[u8; 32]>()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::{Right, Role, Scope, UserName};
    use crate::store::NewToken;

    pub(crate) async fn scratch() -> (tempfile::TempDir, Access) {
        let (dir, store) = crate::store::tests::scratch().await;
        let home = Home::new(dir.path()).unwrap();
        (dir, Access::new(store, home))
    }

    #[tokio::test]
    async fn what_is_done_and_what_is_refused_is_written_down() {
        let (_dir, access) = scratch().await;
        let [shop, blog]: [AppName; 2] = ["shop", "blog"].map(|name| name.parse().unwrap());
        for (n, app) in [&shop, &blog].into_iter().enumerate() {
            let subnet = format!("10.0.{n}.0/26").parse().unwrap();
            access.store.create_app(app, &[], subnet).await.unwrap();
        }
        let ann: UserName = "ann".parse().unwrap();
        access
            .store
            .add_user(&ann, "", Role::Deployer, std::slice::from_ref(&shop))
            .await
            .unwrap();
        let (secret, user) = (random_token(), &ann);
        let new = NewToken {
            user,
            name: "ci",
            hash: hashed(&secret),
            scope: Scope::Read,
            apps: None,
            expires: None,
        };
        access.store.add_token(&new).await.unwrap();
        let id = access
            .store
            .add_key(&ann, "laptop", "ssh-ed25519 AAAA", "SHA256:x")
            .await
            .unwrap();

        let by_key = access
            .caller(Caller::Key(id, "192.0.2.7".into()))
            .await
            .unwrap();
        let by_token = access.token(&secret, "").await.unwrap();
        assert!(access.token("another", "").await.is_err());
        assert!(access.caller(Caller::Key(99, String::new())).await.is_err());
        let set = Action {
            name: "env_set",
            detail: "TOKEN\u{1b}[2J".into(),
        };
        let deploy = |app: &AppName| Needs::App(Right::Deploy, app.clone());
        access
            .authorise(&by_key, &deploy(&shop), Some(&set))
            .await
            .unwrap();
        access
            .authorise(&by_key, &deploy(&blog), Some(&set))
            .await
            .unwrap_err();
        access
            .authorise(&by_token, &deploy(&shop), Some(&set))
            .await
            .unwrap_err();
        access
            .authorise(&by_token, &Needs::App(Right::View, shop.clone()), None)
            .await
            .unwrap();
        access
            .authorise(&by_token, &Needs::Admin, None)
            .await
            .unwrap_err();
        let over = Some(crate::domain::Timestamp::from_millis(1));
        let expired = NewToken {
            name: "old",
            hash: [1; 32],
            expires: over,
            ..new
        };
        let expired = access.store.add_token(&expired).await.unwrap();
        access
            .authorise(&by_key, &Needs::Token(expired), None)
            .await
            .expect("still its owner's to revoke");
        let entries = access.store.audit_entries(None, 10, None).await.unwrap();
        let told: Vec<_> = entries
            .iter()
            .rev()
            .map(|e| {
                (
                    e.via.as_str(),
                    e.action.as_str(),
                    e.detail.as_str(),
                    e.denied,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("key 1", "env_set", "TOKEN[2J", false),
                ("key 1", "env_set", "TOKEN[2J", true),
                ("token 1", "env_set", "TOKEN[2J", true),
                ("token 1", "look", "", true)
            ]
        );
    }
}
