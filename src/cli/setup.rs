//! `windlass setup`: brings this machine to where the server runs as a user of its own, whom pushers
//! reach by ssh.
//!
//! It looks first and does only what is missing, so a second run does nothing. The server, its hooks and
//! the forced command are all this one user: the control socket is its own, and sshd finds its list of
//! keys because the user's home folder is Windlass's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use super::args::Setup;
use super::client::Client;
use super::table::Table;
use super::{CliError, Outcome, caller, print, print_json};
use crate::api::Ping;
use crate::config::Home;
use crate::machine::Account;

/// Where systemd looks for what an administrator adds.
const UNITS: &str = "/etc/systemd/system";
/// A shell that runs the forced command, and which every machine has.
const SHELL: &str = "/bin/sh";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Step {
    step: &'static str,
    state: State,
    /// What there is, was done, or is to be done.
    found: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It was so already.
    Was,
    /// It is so now.
    Done,
    /// It would have been done.
    Would,
    /// It is left to the administrator.
    Left,
}

/// A step that is to be taken: what it does in words, and how.
struct Todo {
    words: String,
    how: How,
}

enum How {
    Run(Vec<Vec<String>>),
    /// A folder with a mode, for a user.
    Folder(PathBuf, u32, String),
    Write(PathBuf, String),
}

/// What looking at one thing came to.
enum Look {
    Was(String),
    Left(String),
    Todo(Todo),
}

/// Runs every step and says what came of each.
pub fn run(home: &Home, asked: &Setup) -> Result<Outcome, CliError> {
    if !asked.dry_run && !rustix::process::geteuid().is_root() {
        let why = "setup makes a user and a service, so it runs as root: sudo windlass setup. What it would do: windlass setup --dry-run";
        return Err(CliError::Usage(why.into()));
    }
    check(home, &asked.user)?;
    let mut steps = Vec::new();
    let mut take = |step, look: Look| -> Result<(), CliError> {
        let (state, found) = match look {
            Look::Was(found) => (State::Was, found),
            Look::Left(found) => (State::Left, found),
            Look::Todo(todo) if asked.dry_run => (State::Would, todo.words),
            Look::Todo(todo) => {
                todo.how
                    .act()
                    .map_err(|error| CliError::Refused(format!("{step}: {error}")))?;
                (State::Done, todo.words)
            }
        };
        steps.push(Step { step, state, found });
        Ok(())
    };
    take("user", user(home, &asked.user)?)?;
    take("shell", shell(&asked.user))?;
    take("password", password(&asked.user))?;
    take("docker", docker(&asked.user))?;
    take("home", folder(home, &asked.user))?;
    take("files", files(home, &asked.user))?;
    take("keys", keys(home, &asked.user))?;
    take("service", service(home, &asked.user)?)?;
    if asked.output.json {
        print_json(&steps)
    } else {
        print(&text(&steps, home, &asked.user))
    }
}

/// What goes into a unit and a list of keys has to be plain.
fn check(home: &Home, user: &str) -> Result<(), CliError> {
    let plain = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    if !plain(user, b"_-")
        || !user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        || user.len() > 32
    {
        return Err(CliError::Usage(
            "a user name has a-z, 0-9, '_' and '-', and begins with a letter".into(),
        ));
    }
    if user == "root" {
        return Err(CliError::Usage(
            "keys would let people in as root: choose another user".into(),
        ));
    }
    let path = home.path().to_str().unwrap_or_default();
    if !plain(path, b"/._-") || home.path().components().count() < 3 {
        return Err(CliError::Usage(format!(
            "{path} is no home folder for this: sshd gives it to a shell, so a-z, A-Z, 0-9 and /._- alone, and below a folder"
        )));
    }
    Ok(())
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|word| (*word).to_owned()).collect()
}

fn user(home: &Home, name: &str) -> Result<Look, CliError> {
    let path = home.path().display().to_string();
    match Account::named(name) {
        Some(account) if account.home == home.path() => {
            Ok(Look::Was(format!("{name}, at home in {path}")))
        }
        Some(account) => Err(CliError::Refused(format!(
            "there is a user {name} already, at home in {}, which is not {path}: sshd would look for its keys there. \
             Choose another with --user NAME; or, if nobody needs that home: usermod --home {path} {name}",
            account.home.display()
        ))),
        None => {
            let add = [
                "useradd",
                "--system",
                "--user-group",
                "--home-dir",
                &path,
                "--no-create-home",
            ];
            let add = [&add[..], &["--shell", SHELL, "--password", "*", "--", name]].concat();
            let words =
                format!("{name}, at home in {path}, with the shell {SHELL} and no password");
            Ok(Look::Todo(Todo {
                words,
                how: How::Run(vec![self::words(&add)]),
            }))
        }
    }
}

/// sshd runs the forced command by the user's shell.
fn shell(name: &str) -> Look {
    match Account::named(name) {
        Some(account) if !runs_commands(&account.shell) => Look::Todo(Todo {
            words: format!(
                "{SHELL} instead of {}, which runs no forced command",
                account.shell
            ),
            how: How::Run(vec![words(&["usermod", "--shell", SHELL, "--", name])]),
        }),
        Some(account) => Look::Was(account.shell),
        None => Look::Was(SHELL.into()),
    }
}

/// Whether a shell is there to run commands, rather than to keep somebody out.
pub(super) fn runs_commands(shell: &str) -> bool {
    let keeps_out = ["nologin", "false", "git-shell", "true"];
    let name = Path::new(shell)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    !keeps_out.contains(&name) && Path::new(shell).exists()
}

/// A `!` before the password locks the account for sshd as well, where it does without PAM; a `*` is
/// only a password that nobody can type.
fn password(name: &str) -> Look {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let line = shadow
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    match line.and_then(|line| line.split(':').nth(1)) {
        Some(locked) if locked.starts_with('!') => Look::Todo(Todo {
            words: "none, and not locked: sshd may refuse a locked account's keys".into(),
            how: How::Run(vec![words(&["usermod", "--password", "*", "--", name])]),
        }),
        Some("*") | None => Look::Was("none".into()),
        Some(_) => Look::Left(format!(
            "{name} has a password: passwd --delete would open it, usermod --password '*' {name} removes it"
        )),
    }
}

fn docker(name: &str) -> Look {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let Some(line) = groups.lines().find(|line| line.starts_with("docker:")) else {
        return Look::Left("there is no group docker: install Docker, then run setup again".into());
    };
    let members = line.rsplit(':').next().unwrap_or_default();
    if members.split(',').any(|member| member == name) {
        return Look::Was(format!("{name} is in the group docker"));
    }
    Look::Todo(Todo {
        words: format!("{name} into the group docker, which is as good as root on this machine"),
        how: How::Run(vec![words(&[
            "usermod", "--append", "--groups", "docker", "--", name,
        ])]),
    })
}

/// sshd takes no keys from a home folder that others may write to.
fn folder(home: &Home, name: &str) -> Look {
    own_folder(home.path(), 0o750, name, |mode| mode & 0o022 == 0)
}

fn keys(home: &Home, name: &str) -> Look {
    let list = home.authorized_keys();
    own_folder(list.parent().unwrap_or(&list), 0o700, name, |mode| {
        mode & 0o077 == 0
    })
}

fn own_folder(path: &Path, mode: u32, name: &str, good: impl Fn(u32) -> bool) -> Look {
    let (shown, there) = (path.display(), path.metadata().ok());
    if let (Some(there), Some(account)) = (&there, Account::named(name))
        && good(there.mode())
        && there.uid() == account.uid
    {
        return Look::Was(format!("{shown}, mode {:04o}", there.mode() & 0o7777));
    }
    // What is stricter already stays so.
    let mode = there.map_or(mode, |there| there.mode() & 0o7777 & mode | 0o700);
    let words = format!("{shown}, {name}'s, mode {mode:04o}");
    Look::Todo(Todo {
        words,
        how: How::Folder(path.to_owned(), mode, name.to_owned()),
    })
}

/// Files of an earlier user of the home folder become this one's, while no server runs.
fn files(home: &Home, name: &str) -> Look {
    let foreign = home
        .database()
        .metadata()
        .ok()
        .map(|metadata| metadata.uid());
    let own = Account::named(name).map(|account| account.uid);
    match foreign {
        None => Look::Was("none yet: the server makes them".into()),
        Some(uid) if Some(uid) == own => Look::Was(format!("{name}'s")),
        Some(_)
            if Client::new(home.control_socket(), caller())
                .and_then(|client| client.value(&Ping {}))
                .is_ok() =>
        {
            Look::Left(
                "they are another user's, and a server runs on them: stop it, then run setup again"
                    .into(),
            )
        }
        Some(_) => Look::Todo(Todo {
            words: format!("everything in {} to {name}", home.path().display()),
            how: How::Run(vec![words(&[
                "chown",
                "--recursive",
                "--no-dereference",
                &format!("{name}:"),
                "--",
                &home.path().display().to_string(),
            ])]),
        }),
    }
}

fn service(home: &Home, name: &str) -> Result<Look, CliError> {
    let unknown =
        |error| CliError::Refused(format!("where this program lies is not known: {error}"));
    let binary = std::env::current_exe().map_err(unknown)?;
    let unit = unit(home, name, &binary.display().to_string());
    let path = Path::new(UNITS).join("windlass.service");
    if !systemd_runs() {
        return Ok(Look::Left(format!(
            "no systemd runs here: have whatever starts services run this as {name}: {} --home {} serve",
            binary.display(),
            home.path().display()
        )));
    }
    Ok(match fs::read_to_string(&path) {
        Ok(there) if there == unit => Look::Was(path.display().to_string()),
        Ok(_) => Look::Left(format!(
            "{} is not what setup would write, and is left as it is: move it away to have it written anew",
            path.display()
        )),
        Err(_) => Look::Todo(Todo {
            words: path.display().to_string(),
            how: How::Write(path, unit),
        }),
    })
}

fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// What the server never needs. It may use Docker, so this prevents accidents and slows down; it is no
/// wall.
const HARDENING: &str = "NoNewPrivileges=yes\n\
     CapabilityBoundingSet=\n\
     UMask=0027\n\
     ProtectSystem=strict\n\
     PrivateTmp=yes\n\
     PrivateDevices=yes\n\
     ProtectClock=yes\n\
     ProtectHostname=yes\n\
     ProtectKernelLogs=yes\n\
     ProtectKernelModules=yes\n\
     ProtectKernelTunables=yes\n\
     ProtectControlGroups=yes\n\
     RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n\
     RestrictNamespaces=yes\n\
     RestrictRealtime=yes\n\
     RestrictSUIDSGID=yes\n\
     LockPersonality=yes\n\
     MemoryDenyWriteExecute=yes\n\
     SystemCallArchitectures=native\n";

fn unit(home: &Home, name: &str, binary: &str) -> String {
    format!(
        "[Unit]\nDescription=Windlass\nWants=network-online.target docker.service\n\
         After=network-online.target docker.service\nStartLimitIntervalSec=0\n\n\
         [Service]\nUser={name}\nGroup={name}\nSupplementaryGroups=docker\n\
         ExecStart={binary} --home {home} serve\nRestart=always\nRestartSec=5\n\
         ReadWritePaths={home}\n{HARDENING}\n\
         [Install]\nWantedBy=multi-user.target\n",
        home = home.path().display()
    )
}

impl How {
    fn act(self) -> Result<(), String> {
        let said = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
        match self {
            How::Run(lines) => lines.iter().try_for_each(|line| execute(line)),
            How::Folder(path, mode, name) => {
                let account =
                    Account::named(&name).ok_or_else(|| format!("there is no user {name}"))?;
                let (uid, gid) = (account.uid, account.gid);
                fs::create_dir_all(&path).map_err(|error| said(&path, error))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                    .map_err(|error| said(&path, error))?;
                std::os::unix::fs::chown(&path, Some(uid), Some(gid))
                    .map_err(|error| said(&path, error))
            }
            How::Write(path, text) => {
                fs::write(&path, text).map_err(|error| said(&path, error))?;
                execute(&words(&["systemctl", "daemon-reload"]))
            }
        }
    }
}

fn execute(line: &[String]) -> Result<(), String> {
    let [program, arguments @ ..] = line else {
        return Ok(());
    };
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| format!("{program} cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {}", line.join(" "), said.trim()))
    }
}

fn text(steps: &[Step], home: &Home, user: &str) -> String {
    let mut table = Table::facts();
    for Step { step, state, found } in steps {
        let state = match state {
            State::Was => "",
            State::Done => "done:",
            State::Would => "would do:",
            State::Left => "LEFT:",
        };
        table.row([(*step).into(), format!("{state} {found}").trim().to_owned()]);
    }
    let start = if systemd_runs() {
        "  systemctl enable --now windlass\n"
    } else {
        ""
    };
    let next = format!(
        "\nNext:\n{start}  sudo -u {user} windlass --home {home} doctor\n  \
         sudo -u {user} windlass --home {home} key add - --user NAME < id_ed25519.pub\n\
         So that the remotes shown begin with {user}@: ssh_host = \"…\" in {home}/config.toml\n",
        home = home.path().display()
    );
    table.text() + &next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders_that_a_shell_could_misread_are_refused() {
        let home = |path: &str| Home::new(Path::new(path)).unwrap();
        assert!(check(&home("/var/lib/windlass"), "git").is_ok());
        for user in [
            "",
            "root",
            "-git",
            "Git",
            "g it",
            "git;id",
            "git\n",
            "$(id)",
            &"g".repeat(33),
        ] {
            assert!(check(&home("/var/lib/windlass"), user).is_err(), "{user:?}");
        }
        for path in [
            "/",
            "/srv",
            "/srv/a b",
            "/srv/$(id)",
            "/srv/a\nb",
            "/srv/%h",
        ] {
            assert!(check(&home(path), "git").is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_user_whose_home_is_elsewhere_is_nobody_elses_to_move() {
        let home = Home::new(Path::new("/var/lib/windlass")).unwrap();
        assert!(
            matches!(user(&home, "root"), Err(CliError::Refused(why)) if why.contains("--user NAME"))
        );
        assert!(matches!(
            user(&home, "nobody-of-that-name"),
            Ok(Look::Todo(_))
        ));
    }

    #[test]
    fn a_shell_that_keeps_people_out_keeps_the_forced_command_out() {
        assert!(runs_commands("/bin/sh"));
        for shell in ["/usr/sbin/nologin", "/bin/false", "/nowhere/sh"] {
            assert!(!runs_commands(shell), "{shell}");
        }
    }

    #[test]
    fn the_unit_is_the_one_in_the_handbook() {
        let home = Home::new(Path::new("/var/lib/windlass")).unwrap();
        let unit = unit(&home, "git", "/usr/local/bin/windlass");
        assert!(
            include_str!("../../docs/operations.md").contains(&unit),
            "docs/operations.md:\n{unit}"
        );
    }
}
