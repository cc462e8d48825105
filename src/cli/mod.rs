//! The command line: what `windlass` does when it is typed, and the hook that git runs.
//!
//! Everything but `serve`, `doctor`, `setup`, `backup`, `restore` and `completions` asks the server over
//! its control socket.

mod account_args;
mod accounts;
mod args;
mod backup;
mod client;
mod commands;
mod doctor;
mod follow;
mod hook;
mod render;
mod setup;
mod ssh;
mod table;
mod watched;

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};

use clap::{CommandFactory, Parser};

use crate::access::Caller;
use crate::config::Home;
use crate::machine::user_name;
use args::{Cli, Command, HookCommand};
use client::Client;

/// Why a command was not done.
#[derive(Debug)]
enum CliError {
    /// It makes no sense as written.
    Usage(String),
    /// The server, or the machine, said no.
    Refused(String),
    /// The server cannot be reached.
    Unreachable(String),
    /// What was to be written could not be.
    Output(io::Error),
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        CliError::Output(error)
    }
}

/// What a command that ran came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// What was asked for is done.
    Done,
    /// It was tried, and did not succeed; the output has said so.
    NotDone,
}

impl Outcome {
    fn done_if(done: bool) -> Self {
        if done {
            Outcome::Done
        } else {
            Outcome::NotDone
        }
    }
}

/// Runs what the process's arguments ask for.
pub fn run() -> ExitCode {
    let outcome = dispatch(Cli::parse());
    let (code, message) = match outcome {
        Ok(Outcome::Done) => (0, None),
        Ok(Outcome::NotDone) => (1, None),
        // `windlass deploys shop | head` is no failure.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => (0, None),
        Err(CliError::Output(error)) => (1, Some(format!("the output cannot be written: {error}"))),
        Err(CliError::Refused(message)) => (1, Some(message)),
        Err(CliError::Usage(message)) => (2, Some(message)),
        Err(CliError::Unreachable(message)) => (3, Some(message)),
    };
    if let Some(message) = message {
        // Nobody may be left to read it.
        let _ = writeln!(io::stderr(), "windlass: {message}");
    }
    ExitCode::from(code)
}

fn dispatch(cli: Cli) -> Result<Outcome, CliError> {
    let refused = |error: io::Error| CliError::Refused(format!("the home folder: {error}"));
    let home = Home::new(&cli.home).map_err(refused)?;
    match cli.command {
        Command::Serve => serve(&home),
        Command::Doctor { output } => doctor::run(&home, output.json),
        Command::Backup(asked) => backup::back_up(&home, &asked),
        Command::Restore(asked) => backup::restore(&home, &asked),
        Command::Hook(HookCommand::PreReceive) => hook::pre_receive(),
        Command::Hook(HookCommand::PostReceive) => hook::post_receive(),
        Command::Setup(asked) => setup::run(&home, &asked),
        Command::Ssh { key } => ssh::run(&home, key),
        Command::Completions { shell } => completions(shell),
        command => commands::run(&Client::new(home.control_socket(), caller())?, command),
    }
}

/// Runs the server until it is told to stop.
fn serve(home: &Home) -> Result<Outcome, CliError> {
    settle_allocator();
    crate::serve::run(home).map_err(|error| CliError::Refused(error.to_string()))?;
    Ok(Outcome::Done)
}

/// Lets glibc give back what a burst took: after five log-ins of 19 MiB it would keep 70 MB for
/// good. It reads this only when a program begins, so the server begins once more, as the same
/// process. What the environment says already stays.
fn settle_allocator() {
    let settings = [
        ("MALLOC_ARENA_MAX", "1"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ];
    let missing = settings
        .into_iter()
        .filter(|(name, _)| std::env::var_os(name).is_none());
    let missing: Vec<_> = missing.collect();
    if let (false, Ok(binary)) = (missing.is_empty(), std::env::current_exe()) {
        // It returns only where it fails, and without these the server runs as well.
        let _ = process::Command::new(binary)
            .args(std::env::args_os().skip(1))
            .envs(missing)
            .exec();
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "windlass", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes text to standard output, all of it.
fn print(text: &str) -> Result<Outcome, CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Done)
}

/// Pretty JSON as one document.
fn print_json(value: &impl serde::Serialize) -> Result<Outcome, CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::Refused(error.to_string()))?;
    print(&(text + "\n"))
}

/// Who asks: whoever came in by ssh or HTTPS, as what let them in has said; else the login name, else
/// the user id.
fn caller() -> Caller {
    let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let number = |name: &str| text(name).and_then(|id| id.parse().ok());
    let from = || text(FROM).unwrap_or_default();
    match (number(KEY), number(TOKEN)) {
        (Some(key), _) => Caller::Key(key, from()),
        (None, Some(token)) => Caller::Token(token, from()),
        (None, None) => {
            let named = ["USER", "LOGNAME"].iter().find_map(|name| text(name));
            Caller::Local(named.unwrap_or_else(|| user_name(rustix::process::getuid().as_raw())))
        }
    }
}

/// By which the ssh command and the hook know for whom they act: the number of a key, or of a token,
/// and where it came from.
const KEY: &str = "WINDLASS_KEY";
const TOKEN: &str = "WINDLASS_TOKEN";
const FROM: &str = "WINDLASS_FROM";
