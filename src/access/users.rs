//! Users, keys and tokens made, changed and removed.

use super::password::readable_password;
use super::{Access, AccessError, PublicKey, hashed, random_token};
use crate::domain::{AppName, Key, Role, Scope, Timestamp, Token, User, UserName};
use crate::store::NewToken;

/// What every token begins with: a scanner for leaked secrets knows it by that.
const TOKEN_PREFIX: &str = "wlt_";
/// The shortest password that is taken, in characters.
const SHORTEST: usize = 10;
/// The longest: hashing takes as long as the password is.
const LONGEST: usize = 1024;

/// A user to be added.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Their name.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// In which apps.
    pub apps: Vec<AppName>,
    /// Their password; without one they get a random one, which is given back.
    pub password: Option<String>,
}

/// A token with what is shown this once.
#[derive(Debug, Clone)]
pub struct MadeToken {
    /// The token, as it is listed.
    pub token: Token,
    /// What is to be sent.
    pub secret: String,
}

/// A password that may be one.
pub(super) fn acceptable(password: String) -> Result<String, AccessError> {
    match password.chars().count() {
        SHORTEST..=LONGEST => Ok(password),
        _ => Err(AccessError::Refused(format!(
            "a password needs {SHORTEST} to {LONGEST} characters"
        ))),
    }
}

/// Only an administrator is one in every app.
fn fitting(role: Role, apps: &[AppName]) -> Result<(), AccessError> {
    match (role, apps.is_empty()) {
        (Role::Admin, false) => Err(AccessError::Refused(
            "an administrator has every app; name apps for a deployer or viewer".into(),
        )),
        _ => Ok(()),
    }
}

impl Access {
    /// Makes the administrator `admin` with a random password where no user exists, and returns that
    /// password: it is to be printed once and is kept nowhere.
    ///
    /// # Errors
    /// The database's.
    pub async fn first_admin(&self) -> Result<Option<String>, AccessError> {
        if self.store.has_users().await? {
            return Ok(None);
        }
        let name = "admin"
            .parse()
            .map_err(|error| AccessError::Refused(format!("{error}")))?;
        self.add_user(NewUser {
            name,
            role: Role::Admin,
            apps: Vec::new(),
            password: None,
        })
        .await
    }

    /// Adds a user. Gives the password that was made up for them.
    ///
    /// # Errors
    /// [`AccessError::Refused`] for apps that do not fit the role, or a password that is too short.
    pub async fn add_user(&self, new: NewUser) -> Result<Option<String>, AccessError> {
        fitting(new.role, &new.apps)?;
        let made = new.password.is_none().then(readable_password);
        let password = match (&made, new.password) {
            (Some(made), _) => made.clone(),
            (None, given) => acceptable(given.unwrap_or_default())?,
        };
        let hash = self.passwords.hash(password).await?;
        self.store
            .add_user(&new.name, &hash, new.role, &new.apps)
            .await?;
        Ok(made)
    }

    /// Every user.
    ///
    /// # Errors
    /// The database's.
    pub async fn users(&self) -> Result<Vec<User>, AccessError> {
        Ok(self.store.users().await?)
    }

    /// A user.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn user(&self, name: &UserName) -> Result<User, AccessError> {
        Ok(self.store.user(name).await?)
    }

    /// Changes what a user may do.
    ///
    /// # Errors
    /// [`AccessError::Refused`] for apps that do not fit the role; when it is the last administrator.
    pub async fn set_role(
        &self,
        name: &UserName,
        role: Role,
        apps: &[AppName],
    ) -> Result<User, AccessError> {
        fitting(role, apps)?;
        self.store.set_role(name, role, apps).await?;
        self.user(name).await
    }

    /// Sets a user's password, or makes one up and gives it; all their sessions end. Their second
    /// factor goes where `without_second_factor` says so.
    ///
    /// # Errors
    /// [`AccessError::Refused`] for one that is too short.
    pub async fn reset_password(
        &self,
        name: &UserName,
        password: Option<String>,
        without_second_factor: bool,
    ) -> Result<Option<String>, AccessError> {
        let made = password.is_none().then(readable_password);
        let password = match (&made, password) {
            (Some(made), _) => made.clone(),
            (None, given) => acceptable(given.unwrap_or_default())?,
        };
        let hash = self.passwords.hash(password).await?;
        self.store.set_password(name, &hash, None).await?;
        if without_second_factor {
            self.remove_second_factor(name).await?;
        }
        Ok(made)
    }

    /// Removes a user with their keys, tokens and sessions.
    ///
    /// # Errors
    /// When there is none, or it is the last administrator.
    pub async fn remove_user(&self, name: &UserName) -> Result<(), AccessError> {
        self.store.remove_user(name).await?;
        self.write_authorized_keys().await
    }

    /// Adds an ssh key for a user: one line as in `id_ed25519.pub`. Without a name its comment is that.
    ///
    /// # Errors
    /// [`AccessError::Refused`] for what is no such key; when it is somebody's already.
    pub async fn add_key(
        &self,
        user: &UserName,
        text: &str,
        name: Option<&str>,
    ) -> Result<Key, AccessError> {
        let key: PublicKey = text.parse().map_err(AccessError::Refused)?;
        let name = name
            .map(|name| crate::domain::printable(name.trim(), 80))
            .unwrap_or(key.comment);
        let id = self
            .store
            .add_key(user, &name, &key.text, &key.fingerprint)
            .await?;
        self.write_authorized_keys().await?;
        let gone = || AccessError::Refused(format!("the key {id} is gone again"));
        self.store.key(id).await?.ok_or_else(gone)
    }

    /// The keys of one user, or all.
    ///
    /// # Errors
    /// The database's.
    pub async fn keys(&self, user: Option<&UserName>) -> Result<Vec<Key>, AccessError> {
        let keys = self.store.keys().await?;
        Ok(keys
            .into_iter()
            .filter(|key| user.is_none_or(|user| key.user == *user))
            .collect())
    }

    /// Removes a key: nobody comes in with it any more.
    ///
    /// # Errors
    /// [`AccessError::Refused`] when there is none of that number.
    pub async fn remove_key(&self, id: i64) -> Result<(), AccessError> {
        if !self.store.remove_key(id).await? {
            return Err(AccessError::Refused(format!(
                "there is no key {id}: windlass key list shows them"
            )));
        }
        self.write_authorized_keys().await
    }

    /// Makes a token for a user, which reaches no further than the user does.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn make_token(
        &self,
        user: &UserName,
        name: &str,
        scope: Scope,
        apps: Option<&[AppName]>,
        expires: Option<Timestamp>,
    ) -> Result<MadeToken, AccessError> {
        let secret = format!("{TOKEN_PREFIX}{}", random_token());
        let name = crate::domain::printable(name.trim(), 80);
        let new = NewToken {
            user,
            name: &name,
            hash: hashed(&secret),
            scope,
            apps,
            expires,
        };
        let id = self.store.add_token(&new).await?;
        let gone =
            || AccessError::Refused("that time is over already: the token would be none".into());
        let token = self.store.token_by_id(id).await?.ok_or_else(gone)?;
        Ok(MadeToken { token, secret })
    }

    /// The tokens of one user, or all.
    ///
    /// # Errors
    /// The database's.
    pub async fn tokens(&self, user: Option<&UserName>) -> Result<Vec<Token>, AccessError> {
        let tokens = self.store.tokens().await?;
        Ok(tokens
            .into_iter()
            .filter(|token| user.is_none_or(|user| token.user == *user))
            .collect())
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`AccessError::Refused`] when there is none of that number.
    pub async fn revoke_token(&self, id: i64) -> Result<(), AccessError> {
        match self.store.remove_token(id).await? {
            true => Ok(()),
            false => Err(AccessError::Refused(format!(
                "there is no token {id}: windlass token list shows them"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::scratch;
    use super::*;

    #[tokio::test]
    async fn the_first_administrator_is_made_once() {
        let (_dir, access) = scratch().await;
        assert_eq!(access.first_admin().await.unwrap().unwrap().len(), 29);
        assert_eq!(access.first_admin().await.unwrap(), None);
        assert_eq!(access.users().await.unwrap()[0].role, Role::Admin);
    }

    #[tokio::test]
    async fn keys_and_users_that_go_leave_the_list_for_sshd() {
        let (_dir, access) = scratch().await;
        access.first_admin().await.unwrap();
        let ann: UserName = "ann".parse().unwrap();
        let new = |password: Option<&str>| NewUser {
            name: ann.clone(),
            role: Role::Viewer,
            apps: Vec::new(),
            password: password.map(str::to_owned),
        };
        assert!(access.add_user(new(Some("short"))).await.is_err());
        assert_eq!(
            access.add_user(new(Some("long enough"))).await.unwrap(),
            None
        );
        let text = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ann@laptop";
        let key = access.add_key(&ann, text, None).await.unwrap();
        assert_eq!(key.name, "ann@laptop");
        let list = || std::fs::read_to_string(access.home.authorized_keys()).unwrap();
        assert!(
            list().contains(&format!(" ssh {}\" {}\n", key.id, key.public_key)),
            "{}",
            list()
        );
        access.remove_user(&ann).await.unwrap();
        assert!(!list().contains("ssh-ed25519"));
        std::fs::write(access.home.authorized_keys(), "ssh-ed25519 somebody's\n").unwrap();
        assert!(matches!(
            access.write_authorized_keys().await,
            Err(AccessError::Keys(..))
        ));
    }
}
