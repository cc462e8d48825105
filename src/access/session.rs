//! Logging in on the dashboard, and the sessions that come of it.

use std::time::Duration;

use super::{Access, AccessError, hashed, random_token};
use crate::domain::{Principal, Session, UserName, Via};
use crate::store::NewSession;

/// The pause after a wrong answer.
const PENALTY: Duration = Duration::from_millis(700);

/// Somebody tries to log in.
pub struct LogIn {
    /// As whom.
    pub name: String,
    /// Their password.
    pub password: String,
    /// A code of their second factor, or a recovery code; empty without.
    pub code: String,
    /// From where.
    pub address: String,
    /// With which browser.
    pub agent: String,
}

/// What came of a log-in.
#[derive(Debug)]
pub enum Opened {
    /// A session: what its cookie holds.
    Session(String),
    /// Name, password or code is wrong; which of them is not told.
    Wrong,
}

impl Access {
    /// Logs somebody in. A name that nobody has takes as long as one with a wrong password.
    ///
    /// # Errors
    /// [`AccessError::Busy`] for too many tries from there, or for that account.
    pub async fn log_in(&self, try_: LogIn) -> Result<Opened, AccessError> {
        let LogIn {
            name,
            password,
            code,
            address,
            agent,
        } = try_;
        let known = self.store.has_session_from(&name, &address).await?;
        if !self.limits.allow(&name, &address, known) {
            return Err(AccessError::Busy);
        }
        let proof = self.store.proof(&name).await?;
        let hash = proof.as_ref().map(|proof| proof.password_hash.clone());
        let right = self.passwords.verify(hash, password).await?;
        let right = match &proof {
            Some(proof) if right => self.second_factor(&name, proof, &code).await?,
            _ => false,
        };
        let name: String = crate::domain::printable(&name, 60);
        let who = Principal {
            address: address.clone(),
            via: Via::Session,
            ..Principal::local(name.clone())
        };
        self.note(&who, "log_in", "", !right).await?;
        if !right {
            tokio::time::sleep(PENALTY).await;
            return Ok(Opened::Wrong);
        }
        let token = random_token();
        let new = NewSession {
            user: &name,
            token_hash: hashed(&token),
            id: random_token()[..12].to_owned(),
            address: &address,
            agent: &crate::domain::printable(&agent, 160),
        };
        self.store.open_session(&new).await?;
        Ok(Opened::Session(token))
    }

    /// Whose session a cookie names, if it has not ended.
    ///
    /// # Errors
    /// The database's.
    pub async fn session(
        &self,
        token: &str,
        address: &str,
    ) -> Result<Option<Principal>, AccessError> {
        let Some(user) = self.store.session_user(&hashed(token)).await? else {
            return Ok(None);
        };
        let (reach, address) = (user.reach(), address.to_owned());
        Ok(Some(Principal {
            name: user.name.into(),
            role: user.role,
            reach,
            via: Via::Session,
            address,
        }))
    }

    /// Ends the session that a cookie names.
    ///
    /// # Errors
    /// The database's.
    pub async fn log_out(&self, token: &str) -> Result<(), AccessError> {
        Ok(self.store.close_session(&hashed(token)).await?)
    }

    /// A user's sessions, each with whether it is the one of this cookie.
    ///
    /// # Errors
    /// The database's.
    pub async fn sessions(
        &self,
        user: &UserName,
        token: &str,
    ) -> Result<Vec<(Session, bool)>, AccessError> {
        Ok(self.store.sessions(user, &hashed(token)).await?)
    }

    /// Ends one of a user's sessions.
    ///
    /// # Errors
    /// [`AccessError::Refused`] when there is none of that name.
    pub async fn revoke_session(&self, user: &UserName, id: &str) -> Result<(), AccessError> {
        match self.store.revoke_session(user, id).await? {
            true => Ok(()),
            false => Err(AccessError::Refused(
                "that session has ended already".into(),
            )),
        }
    }

    /// Has a user who is logged in prove themselves once more, for what outlives the session.
    ///
    /// # Errors
    /// [`AccessError::Refused`] when it is not their password; [`AccessError::Busy`].
    pub async fn prove(
        &self,
        user: &UserName,
        password: String,
        address: &str,
    ) -> Result<(), AccessError> {
        if !self.limits.allow(user.as_str(), address, true) {
            return Err(AccessError::Busy);
        }
        let proof = self.store.proof(user.as_str()).await?;
        if !self
            .passwords
            .verify(proof.map(|proof| proof.password_hash), password)
            .await?
        {
            tokio::time::sleep(PENALTY).await;
            return Err(AccessError::Refused(
                "the present password is not right".into(),
            ));
        }
        Ok(())
    }

    /// Changes a user's password where `now` is the present one; their other sessions end.
    ///
    /// # Errors
    /// [`AccessError::Refused`] when `now` is not right or `new` is too short; [`AccessError::Busy`].
    pub async fn change_password(
        &self,
        user: &UserName,
        now: String,
        new: String,
        token: &str,
        address: &str,
    ) -> Result<(), AccessError> {
        self.prove(user, now, address).await?;
        let hash = self.passwords.hash(super::users::acceptable(new)?).await?;
        Ok(self
            .store
            .set_password(user, &hash, Some(&hashed(token)))
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewUser;
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::Role;

    #[tokio::test]
    async fn a_log_in_opens_a_session_and_tells_nothing_when_it_does_not() {
        let (_dir, access) = scratch().await;
        let new = NewUser {
            name: "ann".parse().unwrap(),
            role: Role::Admin,
            apps: Vec::new(),
            password: None,
        };
        let password = access.add_user(new).await.unwrap().unwrap();
        let log_in = async |name: &str, password: &str, address: &str| {
            let text = str::to_owned;
            let (name, password, address) = (text(name), text(password), text(address));
            access
                .log_in(LogIn {
                    name,
                    password,
                    code: String::new(),
                    address,
                    agent: "Firefox".into(),
                })
                .await
        };
        let Opened::Session(token) = log_in("ann", &password, "192.0.2.1").await.unwrap() else {
            panic!("wrong")
        };
        let who = access.session(&token, "").await.unwrap().unwrap();
        assert_eq!((who.name.as_str(), who.role), ("ann", Role::Admin));
        assert!(access.session("0", "").await.unwrap().is_none());
        for (name, password) in [("ann", "wrong"), ("eve", password.as_str()), ("", "")] {
            assert!(matches!(
                log_in(name, password, "192.0.2.1").await.unwrap(),
                Opened::Wrong
            ));
        }
        let ann: UserName = "ann".parse().unwrap();
        let short = access
            .change_password(&ann, password.clone(), "short".into(), &token, "")
            .await;
        assert!(matches!(short, Err(AccessError::Refused(_))));
        let Opened::Session(other) = log_in("ann", &password, "192.0.2.2").await.unwrap() else {
            panic!("wrong")
        };
        access
            .change_password(&ann, password, "correct horse battery".into(), &token, "")
            .await
            .unwrap();
        assert!(access.session(&token, "").await.unwrap().is_some());
        assert!(
            access.session(&other, "").await.unwrap().is_none(),
            "others end"
        );
        access.log_out(&token).await.unwrap();
        assert!(access.session(&token, "").await.unwrap().is_none());
    }
}
