//! What somebody who is logged in does with their own log-in. Only the dashboard's forms ask for it: it
//! is about a browser's session, which no program has.

use super::{Action, Error, Server, Verb, action};
use crate::domain::{Needs, Principal, UserName};

fn user(who: &Principal) -> Result<UserName, Error> {
    who.name.parse().map_err(Error::defect)
}

/// To be the user that somebody is.
fn myself(who: &Principal) -> Needs {
    who.name.parse().map_or(Needs::Admin, Needs::Account)
}

/// Changes one's own password. Every other session ends.
pub struct ChangePassword {
    /// The present one.
    pub now: String,
    /// The next one.
    pub new: String,
    /// What the cookie of the session holds that goes on.
    pub session: String,
}

impl Verb for ChangePassword {
    type Answer = ();

    fn needs(&self, who: &Principal) -> Needs {
        myself(who)
    }

    fn action(&self) -> Option<Action> {
        action("password", "")
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<(), Error> {
        let Self { now, new, session } = self;
        let (access, user) = (&server.platform().access, user(who)?);
        let changed = access.change_password(&user, now, new, &session, &who.address);
        Ok(changed.await?)
    }
}

/// Logs out.
pub struct LogOut {
    /// What the session's cookie holds.
    pub session: String,
}

impl Verb for LogOut {
    type Answer = ();

    fn needs(&self, _: &Principal) -> Needs {
        Needs::User
    }

    fn action(&self) -> Option<Action> {
        action("log_out", "")
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<(), Error> {
        Ok(server.platform().access.log_out(&self.session).await?)
    }
}

/// Ends one of one's own sessions.
pub struct EndSession {
    /// Which.
    pub id: String,
}

impl Verb for EndSession {
    type Answer = ();

    fn needs(&self, who: &Principal) -> Needs {
        myself(who)
    }

    fn action(&self) -> Option<Action> {
        action("session_end", self.id.as_str())
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<(), Error> {
        let access = &server.platform().access;
        Ok(access.revoke_session(&user(who)?, &self.id).await?)
    }
}

/// Turns one's own second factor on.
pub struct ConfirmSecondFactor {
    /// The secret that was shown.
    pub secret: String,
    /// What the authenticator made of it.
    pub code: String,
}

impl Verb for ConfirmSecondFactor {
    /// The recovery codes, which are shown this once.
    type Answer = Vec<String>;

    fn needs(&self, who: &Principal) -> Needs {
        myself(who)
    }

    fn action(&self) -> Option<Action> {
        action("second_factor_on", "")
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<Vec<String>, Error> {
        let (access, user) = (&server.platform().access, user(who)?);
        let codes = access.confirm_second_factor(&user, &self.secret, &self.code);
        Ok(codes.await?)
    }
}

/// Turns one's own second factor off.
pub struct RemoveSecondFactor {
    /// One's password.
    pub password: String,
}

impl Verb for RemoveSecondFactor {
    type Answer = ();

    fn needs(&self, who: &Principal) -> Needs {
        myself(who)
    }

    fn action(&self) -> Option<Action> {
        action("second_factor_off", "")
    }

    async fn run(self, server: &Server, who: &Principal) -> Result<(), Error> {
        let (access, user) = (&server.platform().access, user(who)?);
        access.prove(&user, self.password, &who.address).await?;
        Ok(access.remove_second_factor(&user).await?)
    }
}
