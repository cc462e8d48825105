//! The control socket: how the command line and the hook talk to the server.
//!
//! One JSON object a line, over a unix socket that only its owner may open. The client sends one
//! [`Envelope`]: a [`Request`] and who asks; the server answers with [`Frame`]s and closes. `curl` cannot speak it, `socat` can.

pub mod answer;
mod rules;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::domain::{
    Allowance, AppName, CommitId, Deploy, DeployId, DomainName, Environment, Phase, PhaseTiming,
    Role, Scope, UserName,
};
use crate::logs::Cursor;

/// A request's longest line, in bytes.
pub const LONGEST_REQUEST: usize = 1024 * 1024;

/// What a client sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// Who asks.
    pub caller: Caller,
    /// For what.
    #[serde(flatten)]
    pub request: Request,
}

/// What git is asked to do with a repository over ssh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// `git push`.
    Push,
    /// `git fetch` and `git clone`.
    Fetch,
}

/// What a client may ask. `rules.rs` says what each needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Is the server there? Answers with its version and process id.
    Ping,
    /// Creates an app. Answers with it.
    AppCreate {
        /// Its name.
        name: AppName,
        /// Its domains.
        domains: Vec<DomainName>,
    },
    /// Every app.
    AppList,
    /// One app.
    AppShow {
        /// Which.
        name: AppName,
    },
    /// Allows an app more than every app may. Answers with it.
    AppAllow {
        /// Which.
        name: AppName,
        /// What: it takes the place of what was allowed of its kind.
        more: Allowance,
        /// Whether all that was allowed before is taken back.
        reset: bool,
    },
    /// An app's domains, after what is added and removed.
    AppDomains {
        /// Whose.
        name: AppName,
        /// It answers to these too.
        add: Vec<DomainName>,
        /// And to these no more.
        remove: Vec<DomainName>,
    },
    /// Makes an app's badge and status there for everybody, or for nobody.
    AppPublic {
        /// Which.
        name: AppName,
        /// Whether they are.
        public: bool,
    },
    /// Removes an app with its containers, images, repository, logs and rows.
    AppDestroy {
        /// Which.
        name: AppName,
    },
    /// Sets variables.
    EnvSet {
        /// Whose.
        app: AppName,
        /// Names and values.
        vars: Environment,
    },
    /// Removes variables.
    EnvUnset {
        /// Whose.
        app: AppName,
        /// Which.
        names: Vec<String>,
    },
    /// Names and, if asked, values: an object; a hidden value is `null`.
    EnvList {
        /// Whose.
        app: AppName,
        /// Whether to show the values.
        reveal: bool,
    },
    /// An app's deploys, newest first.
    Deploys {
        /// Whose.
        app: AppName,
        /// How many at most.
        limit: u32,
    },
    /// One deploy.
    DeployShow {
        /// Which.
        id: DeployId,
    },
    /// A deploy's progress: frames from `from` on, to its end if `follow`, else to what is there.
    DeployFollow {
        /// Which.
        id: DeployId,
        /// Where to go on.
        from: Cursor,
        /// Whether to stay until it ends.
        follow: bool,
        /// Whether its end is known once its release is live, whatever goes on behind that.
        #[serde(default)]
        until_live: bool,
    },
    /// Waits until a deploy has ended or its release is live; answers with [`Frame::Finished`] alone.
    DeployWait {
        /// Which.
        id: DeployId,
    },
    /// Stops a deploy.
    DeployCancel {
        /// Which.
        id: DeployId,
    },
    /// Builds and deploys a commit again; the live one by default. Answers with the deploy.
    Redeploy {
        /// Which app.
        app: AppName,
        /// Anything git can resolve.
        commit: Option<String>,
    },
    /// Goes back to an earlier release; the one before the live one by default.
    Revert {
        /// Which app.
        app: AppName,
        /// Anything git can resolve.
        commit: Option<String>,
    },
    /// What going back to a release would do. Does nothing.
    RevertOutlook {
        /// Which app.
        app: AppName,
        /// Anything git can resolve.
        commit: Option<String>,
    },
    /// Brings the live image up again with today's environment.
    Restart {
        /// Which app.
        app: AppName,
    },
    /// SIGHUP to the app's main process.
    Reload {
        /// Which app.
        app: AppName,
    },
    /// The app's own output.
    AppLogs {
        /// Which app.
        app: AppName,
        /// Stay and go on.
        follow: bool,
        /// Only what is younger than this, in milliseconds.
        since_ms: Option<u64>,
        /// Without `since_ms`: how many of the last lines.
        tail: usize,
    },
    /// From the post-receive hook: these refs moved. Queues what deploys and follows it.
    Pushed {
        /// Into which app's repository.
        app: AppName,
        /// What moved.
        updates: Vec<RefUpdate>,
    },
    /// Who the caller is, and what they may do.
    Whoami,
    /// From the ssh command: may the caller use this repository? Answers with its path.
    Enter {
        /// Which app's.
        app: AppName,
        /// What for.
        service: Service,
    },
    /// Adds a user. Answers with them, and with the password that was made up where none is given.
    UserAdd {
        /// Their name.
        name: UserName,
        /// What they may do.
        role: Role,
        /// In which apps.
        apps: Vec<AppName>,
        /// Their password.
        password: Option<String>,
    },
    /// Every user.
    UserList,
    /// Changes what a user may do.
    UserRole {
        /// Who.
        name: UserName,
        /// What they may do.
        role: Role,
        /// In which apps.
        apps: Vec<AppName>,
    },
    /// Sets a user's password; their sessions end. Answers with the one that was made up where none is
    /// given.
    UserPasswd {
        /// Who.
        name: UserName,
        /// Their password.
        password: Option<String>,
        /// Whether their second factor goes as well.
        without_second_factor: bool,
    },
    /// Removes a user with their keys, tokens and sessions.
    UserRemove {
        /// Who.
        name: UserName,
    },
    /// Adds an ssh key. Answers with it.
    KeyAdd {
        /// Whose; the caller's by default.
        user: Option<UserName>,
        /// The line of a `.pub` file.
        key: String,
        /// What to call it; its comment by default.
        name: Option<String>,
    },
    /// Ssh keys: an administrator's list has everybody's.
    KeyList {
        /// Only those of this user.
        user: Option<UserName>,
    },
    /// Removes an ssh key.
    KeyRemove {
        /// Its number.
        id: i64,
    },
    /// Makes a token. Answers with it, and with the secret that is shown this once.
    TokenCreate {
        /// Whose; the caller's by default.
        user: Option<UserName>,
        /// What to call it.
        name: String,
        /// How far it reaches.
        scope: Scope,
        /// In which apps; every one of its user's by default.
        apps: Option<Vec<AppName>>,
        /// How long it is good, in milliseconds; until it is revoked by default.
        lasts_ms: Option<u64>,
    },
    /// Tokens: an administrator's list has everybody's.
    TokenList {
        /// Only those of this user.
        user: Option<UserName>,
    },
    /// Revokes a token.
    TokenRevoke {
        /// Its number.
        id: i64,
    },
    /// Who did what, newest first.
    Audit {
        /// Only with this app.
        app: Option<AppName>,
        /// How many at most.
        limit: u32,
    },
}

/// One line of what git tells a post-receive hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefUpdate {
    /// Before, or zeroes.
    pub old: CommitId,
    /// After, or zeroes. May name a tag object.
    pub new: CommitId,
    /// The full ref name.
    pub name: String,
}

/// What the server answers, one a line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
pub enum Frame {
    /// The answer to a question, in the shape of `--json`.
    Value {
        /// That answer.
        value: serde_json::Value,
    },
    /// A sentence for the person who waits.
    Note {
        /// The sentence.
        text: String,
    },
    /// From here on the frames tell of this deploy.
    Following {
        /// The deploy as it stands.
        deploy: Deploy,
    },
    /// A phase began.
    PhaseStarted {
        /// Its place in the deploy, from 0.
        ordinal: usize,
        /// Which.
        phase: Phase,
        /// Milliseconds since the deploy began.
        at_ms: u64,
    },
    /// Lines of the running phase: `<ms since the deploy began>\t<text>\n` each.
    Lines {
        /// Where to go on after them.
        next: Cursor,
        /// The lines.
        text: String,
    },
    /// A phase ended.
    PhaseEnded {
        /// Its place in the deploy, from 0.
        ordinal: usize,
        /// Its row of the timing table.
        timing: PhaseTiming,
    },
    /// The deploy ended.
    Finished {
        /// As it ended.
        deploy: Deploy,
        /// The app's public address.
        url: Option<String>,
        /// What serves now.
        serving: Option<Deploy>,
    },
    /// Lines that an app printed.
    AppLines {
        /// Those lines, oldest first.
        lines: Vec<AppLogLine>,
    },
    /// The answer is complete. Without this the server went away in the middle.
    End,
    /// It was not done. The last frame where it comes.
    Error {
        /// What happened and what to do next.
        message: String,
    },
}

/// A line that an app printed, as `windlass logs --json` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppLogLine {
    /// RFC 3339, nanoseconds.
    pub at: String,
    /// The deploy whose container printed it.
    pub deploy: DeployId,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any JSON, often with our own words in it.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let word = "do|app|name|from|updates|old|new|pushed|env_set|app_logs|deploy_follow|shop|[0-9]{1,20}[.][0-9]|\\PC{0,8}";
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            word.prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 6, move |inner| {
            let object = prop::collection::btree_map(word, inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Into::into),
                object.prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_no_request_is_refused_in_words(mut value in json(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = serde_json::from_slice::<Request>(&bytes);
            for word in ["pushed", "app_logs", "deploy_follow", "env_set", "app_create"] {
                if let Some(object) = value.as_object_mut() {
                    object.insert("do".into(), word.into());
                }
                match serde_json::from_value::<Request>(value.clone()) {
                    Ok(request) => {
                        let told = serde_json::to_value(&request).unwrap();
                        let read: Request = serde_json::from_value(told.clone()).unwrap();
                        prop_assert_eq!(serde_json::to_value(read).unwrap(), told);
                    }
                    Err(error) => prop_assert!(!error.to_string().is_empty()),
                }
            }
        }
    }
}
