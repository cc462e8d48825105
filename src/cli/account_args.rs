//! What may be written about users, keys and tokens.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::Output;
use crate::domain::{AppName, HumanDuration, Role, Scope, UserName};

/// `windlass user …`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user, and print the password that was made up for them.
    #[command(after_help = "Examples:
  windlass user add ann --role deployer --app shop --app blog
  windlass user add bob --role viewer --app shop
  windlass user add eve --role admin

A viewer sees the named apps; a deployer also pushes, deploys, reverts and sets variables there; an administrator \
does everything everywhere. The password is shown this once; windlass user passwd makes another.")]
    Add {
        /// Their name.
        name: UserName,
        #[command(flatten)]
        may: May,
        /// Read their password from standard input instead of making one up.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List every user.
    #[command(after_help = "Example:
  windlass user list")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Change what a user may do, and in which apps.
    #[command(after_help = "Examples:
  windlass user role ann admin
  windlass user role bob deployer --app shop --app blog     these, and no others")]
    Role {
        /// Who.
        name: UserName,
        /// viewer, deployer or admin.
        role: Role,
        /// An app they may do that in; may be given several times.
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<AppName>,
        #[command(flatten)]
        output: Output,
    },
    /// Give a user another password, and end their sessions.
    #[command(after_help = "Examples:
  windlass user passwd ann                             makes one up and prints it
  windlass user passwd ann --without-second-factor     also when their phone is lost")]
    Passwd {
        /// Who.
        name: UserName,
        /// Read it from standard input instead of making one up.
        #[arg(long)]
        password_stdin: bool,
        /// Turn their second factor off as well.
        #[arg(long)]
        without_second_factor: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a user with their keys, tokens and sessions.
    #[command(after_help = "Example:
  windlass user remove ann --yes")]
    Remove {
        /// Who.
        name: UserName,
        /// Yes, really.
        #[arg(long)]
        yes: bool,
    },
}

/// What a user may do.
#[derive(Debug, Args)]
pub struct May {
    /// viewer, deployer or admin.
    #[arg(long, default_value_t = Role::Deployer)]
    pub role: Role,
    /// An app they may do that in; may be given several times.
    #[arg(long = "app", value_name = "APP")]
    pub apps: Vec<AppName>,
}

/// `windlass key …`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Let an ssh key in, for pushes and for this command line over ssh.
    #[command(after_help = "Examples:
  windlass key add ~/ann.pub --user ann
  windlass key add - --user ann --name laptop < id_ed25519.pub

Then, from Ann's machine: git remote add prod git@this-host:shop, and git push prod main")]
    Add {
        /// The .pub file; '-' is standard input.
        file: PathBuf,
        /// Whose; your own by default.
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        /// What to call it; its comment by default.
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// List ssh keys, and when each came in last.
    #[command(after_help = "Example:
  windlass key list --user ann")]
    List {
        /// Only those of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        #[command(flatten)]
        output: Output,
    },
    /// Let an ssh key in no more.
    #[command(after_help = "Example:
  windlass key remove 3")]
    Remove {
        /// Its number, as `windlass key list` shows it.
        id: i64,
    },
}

/// `windlass token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for programs: for `git push` over HTTPS and for the API.
    #[command(after_help = "Examples:
  windlass token create ci --user ann --scope deploy --app shop --expires 90d
  windlass token create monitor --user ann --scope read

It reaches no further than its user does, and is shown this once.")]
    Create {
        /// What to call it.
        name: String,
        /// Whose; your own by default.
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        /// read, deploy or admin.
        #[arg(long, default_value_t = Scope::Deploy)]
        scope: Scope,
        /// An app it reaches; may be given several times. By default every one of its user's.
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<AppName>,
        /// How long it is good, as in 90d; by default until it is revoked.
        #[arg(long, value_name = "TIME")]
        expires: Option<HumanDuration>,
        #[command(flatten)]
        output: Output,
    },
    /// List tokens, and when each came in last.
    #[command(after_help = "Example:
  windlass token list --user ann")]
    List {
        /// Only those of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,
        #[command(flatten)]
        output: Output,
    },
    /// Let a token in no more.
    #[command(after_help = "Example:
  windlass token revoke 3")]
    Revoke {
        /// Its number, as `windlass token list` shows it.
        id: i64,
    },
}
