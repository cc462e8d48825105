//! What sshd runs for whoever comes in with a key: git, and this command line.
//!
//! sshd's list of keys has one forced command a key, `windlass ssh <number>`, so what the other side
//! asks for is only ever read here. It is words, never a shell's: two git services on an app's
//! repository, or a command that asks the server. Who may what, the server says.

use std::ffi::OsStr;
use std::io;
use std::process::exit;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use rustix::event::{PollFd, PollFlags, poll};

use super::account_args::KeyCommand;
use super::args::{Cli, Command};
use super::client::Client;
use super::{CliError, FROM, KEY, Outcome, TOKEN, accounts, commands, print};
use crate::access::Caller;
use crate::api::{Enter, Service};
use crate::config::Home;
use crate::domain::AppName;
use crate::git;

/// What is said where something else is wanted.
const OFFERED: &str = "over ssh there are git push, git fetch and git clone, and windlass's commands that ask the server: \
     ssh … help lists them";

/// `windlass ssh KEY`, run by sshd.
pub fn run(home: &Home, key: i64) -> Result<Outcome, CliError> {
    let address = address(&std::env::var("SSH_CONNECTION").unwrap_or_default());
    let client = Client::new(home.control_socket(), Caller::Key(key, address.clone()))?;
    let line = std::env::var_os("SSH_ORIGINAL_COMMAND").unwrap_or_default();
    match asked(&line)? {
        Asked::Nothing => greet(&client),
        Asked::Help(text) => print(&text),
        Asked::Git(service, app) => serve(
            &client,
            service,
            app,
            &[(KEY, &key.to_string()), (FROM, &address)],
        ),
        Asked::Command(command) => {
            end_with_the_client();
            commands::run(&client, *command)
        }
    }
}

/// What somebody asks for.
#[derive(Debug)]
enum Asked {
    Nothing,
    Git(Service, AppName),
    Command(Box<Command>),
    /// Help, or the version.
    Help(String),
}

fn asked(line: &OsStr) -> Result<Asked, CliError> {
    let words = line.to_str().and_then(shlex::split);
    let words =
        words.ok_or_else(|| CliError::Usage(format!("that command cannot be read; {OFFERED}")))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => Ok(Asked::Nothing),
        ["git-receive-pack", of] | ["git", "receive-pack", of] => {
            Ok(Asked::Git(Service::Push, app(of)?))
        }
        ["git-upload-pack", of] | ["git", "upload-pack", of] => {
            Ok(Asked::Git(Service::Fetch, app(of)?))
        }
        [git, ..] if git == "git" || git.starts_with("git-") => Err(CliError::Usage(format!(
            "of git only push, fetch and clone are served here; {OFFERED}"
        ))),
        ["windlass", ref rest @ ..] => command(rest),
        ["wait", ref rest @ ..] => command(&[&["deploy", "wait"], rest].concat()),
        ref words => command(words),
    }
}

/// The app that a remote names: `shop`, `shop.git`, `/shop.git`.
fn app(path: &str) -> Result<AppName, CliError> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.strip_suffix(".git").unwrap_or(name);
    name.parse().map_err(|_| {
        CliError::Usage(
            "that names no app: a remote ends in the app's name, as in git@host:shop".into(),
        )
    })
}

/// A command as it would be typed on the server, if it is one that asks the server and nothing else.
fn command(words: &[&str]) -> Result<Asked, CliError> {
    let parsed = Cli::command().try_get_matches_from([&["windlass"], words].concat());
    let parsed = parsed.and_then(|matches| {
        let home = matches.value_source("home") == Some(ValueSource::CommandLine);
        Ok((home, Cli::from_arg_matches(&matches)?))
    });
    match parsed {
        Ok((true, _)) => Err(CliError::Usage(
            "over ssh there is one home folder: leave --home out".into(),
        )),
        Ok((false, cli)) => match needs(&cli.command) {
            Asks::TheServer => Ok(Asked::Command(Box::new(cli.command))),
            Asks::ForAFile => Err(CliError::Usage(
                "over ssh a key comes by standard input: key add - < id_ed25519.pub".into(),
            )),
            Asks::TheMachine => Err(CliError::Usage(format!(
                "that works on the server itself; {OFFERED}"
            ))),
        },
        Err(error) if !error.use_stderr() => Ok(Asked::Help(error.to_string())),
        Err(error) => {
            let text = error.to_string();
            Err(CliError::Usage(
                text.trim_start_matches("error: ").trim_end().to_owned(),
            ))
        }
    }
}

/// What a command needs to be done.
enum Asks {
    TheServer,
    /// A file of this machine, which is not the other side's to read.
    ForAFile,
    TheMachine,
}

fn needs(command: &Command) -> Asks {
    match command {
        Command::Key(KeyCommand::Add { file, .. }) if file.as_os_str() != "-" => Asks::ForAFile,
        Command::App(_)
        | Command::Env(_)
        | Command::Deploys { .. }
        | Command::Deploy(_)
        | Command::Redeploy(_)
        | Command::Revert { .. }
        | Command::Restart { .. }
        | Command::Reload { .. }
        | Command::Ps { .. }
        | Command::Logs { .. }
        | Command::User(_)
        | Command::Key(_)
        | Command::Token(_)
        | Command::Audit { .. }
        | Command::Whoami { .. } => Asks::TheServer,
        Command::Serve
        | Command::Doctor { .. }
        | Command::Setup(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Hook(_)
        | Command::Ssh { .. }
        | Command::Completions { .. } => Asks::TheMachine,
    }
}

/// `ssh git@host` without a command: there is no shell, and a greeting shows that the key works.
fn greet(client: &Client) -> Result<Outcome, CliError> {
    accounts::whoami(client, false)?;
    print(&format!("This is Windlass, and no shell: {OFFERED}.\n"))
}

/// Runs git's side of a push or a fetch, for whoever `whom` names to the hook.
fn serve(
    client: &Client,
    service: Service,
    app: AppName,
    whom: &[(&str, &str)],
) -> Result<Outcome, CliError> {
    let path = client.ask(&Enter { app, service })?.path;
    let report = git::Report::new()?;
    let mut git = match service {
        Service::Push => git::receive_pack(&path, &report),
        Service::Fetch => git::upload_pack(&path),
    };
    git.envs(whom.iter().copied()).env_remove(TOKEN);
    let failed = |error| CliError::Refused(format!("git cannot be run: {error}"));
    let mut child = git.spawn().map_err(failed)?;
    git::bound(Some(child.id()));
    let status = child.wait().map_err(failed)?;
    // The only way in which a push whose deploy failed is no success: git ignores how its hook ends.
    Ok(Outcome::done_if(status.success() && !report.failed()))
}

/// The first word of `SSH_CONNECTION`: where the client is.
fn address(connection: &str) -> String {
    crate::domain::printable(connection.split(' ').next().unwrap_or_default(), 45)
}

/// Ends this process as soon as nobody can read what it prints: sshd sends no signal, and who follows
/// the output of a quiet app writes nothing by which it would notice.
fn end_with_the_client() {
    std::thread::spawn(|| {
        let out = io::stdout();
        loop {
            // Asked for nothing, it tells of errors and hang-ups alone.
            let mut out = [PollFd::new(&out, PollFlags::empty())];
            match poll(&mut out, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
                Ok(_) => exit(1),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Asked, String> {
        asked(OsStr::new(line)).map_err(|error| match error {
            CliError::Usage(text) => text,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_push_and_a_clone_name_an_app_in_one_of_three_ways() {
        for path in ["shop", "shop.git", "/shop.git", "/shop"] {
            for (service, pushes) in [("receive-pack", true), ("upload-pack", false)] {
                for line in [
                    format!("git-{service} '{path}'"),
                    format!("git {service} {path}"),
                ] {
                    match read(&line) {
                        Ok(Asked::Git(Service::Push, app)) => {
                            assert!(pushes && app.as_str() == "shop")
                        }
                        Ok(Asked::Git(Service::Fetch, app)) => {
                            assert!(!pushes && app.as_str() == "shop")
                        }
                        other => panic!("{line}: {other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_else_is_written_there_is_refused() {
        for line in [
            "git-receive-pack",
            "git-receive-pack 'shop' 'blog'",
            "git-receive-pack --help 'shop'",
            "git-receive-pack --stateless-rpc",
            "git-receive-pack '../shop'",
            "git-receive-pack 'shop/../blog'",
            "git-receive-pack '/etc/passwd'",
            "git-receive-pack ''",
            "git-receive-pack '.git'",
            "git-receive-pack 'sh\nop'",
            "git-receive-pack '$(id)'",
            "git-receive-pack 'shop;id'",
            "git-receive-pack \"it's\"",
            "git-upload-pack -- shop",
            "git-upload-archive 'shop'",
            "git upload-archive shop",
            "git -c core.sshCommand=id receive-pack shop",
            "git --exec-path=/tmp receive-pack shop",
            "git config --global x y",
            "git-shell",
            "git-receive-pack 'shop",
            "sh -c id",
            "scp -t /tmp",
            "id; whoami",
            "whoami; id",
            "whoami && id",
            "whoami --home /tmp",
            "--home /tmp whoami",
            "--home=/var/lib/windlass whoami",
            "deploys shop --home /tmp",
            "key add /etc/shadow",
            "key add /dev/stdin",
            "serve",
            "doctor",
            "setup",
            "backup -",
            "restore -",
            "hook post-receive",
            "ssh 1",
            "completions bash",
        ] {
            let refused = read(line)
                .map(|asked| panic!("{line}: {asked:?}"))
                .unwrap_err();
            assert!(!refused.is_empty(), "{line}");
        }
        use std::os::unix::ffi::OsStrExt;
        assert!(asked(OsStr::from_bytes(b"whoami \xff")).is_err());
    }

    #[test]
    fn commands_that_ask_the_server_are_served() {
        for line in [
            "whoami",
            "windlass whoami",
            "deploys shop --json",
            "revert shop --wait",
            "logs shop --follow",
            "env set shop -",
            "env set shop 'GREETING=it is; $(id)'",
            "key add - --name laptop",
            "key list",
            "wait 12",
            "deploy wait 12",
        ] {
            assert!(
                matches!(read(line), Ok(Asked::Command(_))),
                "{line}: {:?}",
                read(line)
            );
        }
        assert!(matches!(read(""), Ok(Asked::Nothing)));
        assert!(matches!(read("--help"), Ok(Asked::Help(text)) if text.contains("Usage")));
        assert!(matches!(read("help revert"), Ok(Asked::Help(text)) if text.contains("Usage")));
    }

    proptest! {
        #[test]
        fn no_line_gets_further_than_a_service_or_a_command(
            line in "(windlass |git |git-)?[a-z-]{0,14}( ?[-a-z'\"$;&|/.0-9\\\\=\n]{0,12}){0,5}|\\PC{0,60}"
        ) {
            match read(&line) {
                Ok(Asked::Git(_, app)) => prop_assert!(line.contains(app.as_str())),
                Ok(Asked::Command(command)) => prop_assert!(matches!(needs(&command), Asks::TheServer)),
                Ok(Asked::Nothing | Asked::Help(_)) | Err(_) => {}
            }
        }
    }

    #[test]
    fn the_client_is_where_sshd_says() {
        assert_eq!(address("192.0.2.7 50022 198.51.100.1 22"), "192.0.2.7");
        assert_eq!(address(""), "");
    }
}
