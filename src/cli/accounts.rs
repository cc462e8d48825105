//! Users, keys, tokens and the audit log, as they are asked for and shown.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::account_args::{KeyCommand, TokenCommand, UserCommand};
use super::client::Client;
use super::commands::{ask, list, tell};
use super::table::{Table, ago, plain, shorten};
use super::{CliError, Outcome};
use crate::api::{
    AuditLog, KeyAdd, KeyList, KeyRemove, PasswordSet, TokenCreate, TokenList, TokenMade,
    TokenRevoke, UserAdd, UserAdded, UserList, UserPasswd, UserRemove, UserRole, Whoami,
    WhoamiAnswer,
};
use crate::domain::{AppName, AuditEntry, AuditOutcome, Key, Role, Timestamp, Token, User};

/// What is read of a key or a password: more is neither.
const LONGEST_INPUT: u64 = 64 * 1024;

pub(super) fn user(client: &Client, command: UserCommand) -> Result<Outcome, CliError> {
    match command {
        UserCommand::Add {
            name,
            may,
            password_stdin,
            output,
        } => {
            let password = password_stdin.then(password_from_input).transpose()?;
            let request = UserAdd {
                name,
                role: may.role,
                apps: may.apps,
                password,
            };
            ask(client, &request, output.json, |added: UserAdded| {
                let UserAdded { user, password } = added;
                let text = format!("Added {} ({}{}).\n", user.name, user.role, of_apps(&user));
                text + &made_up(&user.name, password.as_deref())
            })
        }
        UserCommand::List { output } => ask(client, &UserList {}, output.json, users),
        UserCommand::Role {
            name,
            role,
            apps,
            output,
        } => {
            let request = UserRole { name, role, apps };
            ask(client, &request, output.json, |user: User| {
                format!("{} is {}{} now.\n", user.name, user.role, of_apps(&user))
            })
        }
        UserCommand::Passwd {
            name,
            password_stdin,
            without_second_factor,
            output,
        } => {
            let password = password_stdin.then(password_from_input).transpose()?;
            let request = UserPasswd {
                name: name.clone(),
                password,
                without_second_factor,
            };
            ask(client, &request, output.json, |set: PasswordSet| {
                let text = format!("Changed {name}'s password; their sessions have ended.\n");
                text + &made_up(&name, set.password.as_deref())
            })
        }
        UserCommand::Remove { name, yes: true } => {
            let done = format!(
                "Removed {name}. Their keys, tokens and sessions let nobody in any more.\n"
            );
            tell(client, &UserRemove { name }, &done)
        }
        UserCommand::Remove { name, yes: false } => Err(CliError::Usage(format!(
            "this removes {name} with their keys, tokens and sessions. If that is meant: windlass user remove {name} --yes"
        ))),
    }
}

pub(super) fn key(client: &Client, command: KeyCommand) -> Result<Outcome, CliError> {
    match command {
        KeyCommand::Add {
            file,
            user,
            name,
            output,
        } => {
            let key = text_of(&file)?;
            ask(
                client,
                &KeyAdd { user, key, name },
                output.json,
                |key: Key| {
                    format!(
                        "Added key {} of {}: {} {}\n",
                        key.id,
                        key.user,
                        key.fingerprint,
                        plain(&key.name)
                    )
                },
            )
        }
        KeyCommand::List { user, output } => ask(client, &KeyList { user }, output.json, keys),
        KeyCommand::Remove { id } => tell(
            client,
            &KeyRemove { id },
            &format!("Removed key {id}. It lets nobody in any more.\n"),
        ),
    }
}

pub(super) fn token(client: &Client, command: TokenCommand) -> Result<Outcome, CliError> {
    match command {
        TokenCommand::Create {
            name,
            user,
            scope,
            apps,
            expires,
            output,
        } => {
            let apps = (!apps.is_empty()).then_some(apps);
            let lasts_ms = expires.map(|time| time.0.as_millis() as u64);
            let request = TokenCreate {
                user,
                name,
                scope,
                apps,
                lasts_ms,
            };
            ask(client, &request, output.json, |made: TokenMade| {
                let TokenMade { token, secret } = made;
                format!(
                    "Token {} of {} ({}, {}):\n{}\nIt is shown this once and stored only as a hash.\n",
                    token.id,
                    token.user,
                    token.scope,
                    reach(&token),
                    plain(&secret)
                )
            })
        }
        TokenCommand::List { user, output } => {
            ask(client, &TokenList { user }, output.json, tokens)
        }
        TokenCommand::Revoke { id } => {
            let done = format!("Revoked token {id}. It lets nobody in any more.\n");
            tell(client, &TokenRevoke { id }, &done)
        }
    }
}

pub(super) fn audit(
    client: &Client,
    app: Option<AppName>,
    limit: u32,
    json: bool,
) -> Result<Outcome, CliError> {
    ask(client, &AuditLog { app, limit }, json, entries)
}

pub(super) fn whoami(client: &Client, json: bool) -> Result<Outcome, CliError> {
    ask(client, &Whoami {}, json, |who: WhoamiAnswer| {
        let apps = match who.apps.is_empty() {
            true => "no app yet".to_owned(),
            false => list(&who.apps),
        };
        format!(
            "{} ({}, by {}), in: {apps}\n",
            plain(&who.name),
            who.role,
            plain(&who.via)
        )
    })
}

/// The first line of standard input.
fn password_from_input() -> Result<String, CliError> {
    let text = text_of(Path::new("-"))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(CliError::Usage(
            "there is no password on standard input".into(),
        )),
    }
}

fn text_of(file: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => io::stdin().take(LONGEST_INPUT).read_to_string(&mut text),
        _ => {
            fs::File::open(file).and_then(|file| file.take(LONGEST_INPUT).read_to_string(&mut text))
        }
    };
    read.map_err(|error| CliError::Refused(format!("{} cannot be read: {error}", file.display())))?;
    Ok(text)
}

fn made_up(name: &impl std::fmt::Display, password: Option<&str>) -> String {
    match password {
        Some(password) => format!(
            "{name}'s password: {}\nIt is shown this once and stored only as a hash.\n",
            plain(password)
        ),
        None => String::new(),
    }
}

fn of_apps(user: &User) -> String {
    match (user.role, user.apps.is_empty()) {
        (Role::Admin, _) => ", in every app".into(),
        (_, true) => ", in no app yet".into(),
        (_, false) => format!(" in {}", list(&user.apps)),
    }
}

fn reach(token: &Token) -> String {
    token
        .apps
        .as_ref()
        .map_or_else(|| "all their apps".into(), list)
}

fn used(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".into(), ago)
}

fn users(users: Vec<User>) -> String {
    let mut table = Table::new(&["NAME", "ROLE", "APPS", "PASSWORD", "SECOND FACTOR", "SINCE"]);
    for user in users {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let apps = if user.role == Role::Admin {
            "all".into()
        } else {
            list(&user.apps)
        };
        table.row([
            user.name.to_string(),
            user.role.to_string(),
            apps,
            yes(user.password),
            yes(user.second_factor),
            ago(user.created_at),
        ]);
    }
    table.text()
}

fn keys(keys: Vec<Key>) -> String {
    if keys.is_empty() {
        return "No ssh key is let in: windlass key add FILE --user NAME\n".into();
    }
    let mut table = Table::new(&["ID", "USER", "NAME", "FINGERPRINT", "ADDED", "USED"]);
    for key in keys {
        table.row([
            key.id.to_string(),
            key.user.to_string(),
            shorten(&key.name, 40),
            key.fingerprint,
            ago(key.created_at),
            used(key.used_at),
        ]);
    }
    table.text()
}

fn tokens(tokens: Vec<Token>) -> String {
    if tokens.is_empty() {
        return "There is no token: windlass token create NAME --user USER\n".into();
    }
    let mut table = Table::new(&[
        "ID", "USER", "NAME", "SCOPE", "APPS", "ADDED", "EXPIRES", "USED",
    ]);
    for token in tokens {
        let expires = token
            .expires_at
            .map_or_else(|| "never".into(), |at| at.to_string());
        table.row([
            token.id.to_string(),
            token.user.to_string(),
            shorten(&token.name, 40),
            token.scope.to_string(),
            reach(&token),
            ago(token.created_at),
            expires,
            used(token.used_at),
        ]);
    }
    table.text()
}

fn entries(entries: Vec<AuditEntry>) -> String {
    let mut table = Table::new(&["AT", "WHO", "BY", "FROM", "WHAT", "APP", "DETAIL"]);
    for entry in entries {
        let came_to = match entry.outcome {
            Some(AuditOutcome::Refused) => "refused: ",
            Some(AuditOutcome::Failed) => "failed: ",
            Some(AuditOutcome::Done) | None => "",
        };
        table.row([
            entry.at.to_string(),
            shorten(&entry.actor, 20),
            entry.via,
            entry.address,
            format!("{came_to}{}", entry.action),
            entry.app.map(|app| app.to_string()).unwrap_or_default(),
            shorten(&entry.detail, 60),
        ]);
    }
    table.text()
}
