//! `windlass backup` and `windlass restore`: where the key comes from, and what is told.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::args::{Backup, Restore};
use super::table::{Table, plain};
use super::{CliError, Outcome, print, print_json};
use crate::backup::{self, App, BackupError, Key, Made, Manifest, Restored, Sealed, Target, To};
use crate::config::Home;

/// What no backup of Windlass's has in it.
const NOT_IN_IT: &str = "Not in it: images, which are built again; logs; and what apps keep in volumes and databases, \
                         whose backup is yours.";

/// Makes a backup. What it should have in it and lacks makes it count as not done.
pub fn back_up(home: &Home, asked: &Backup) -> Result<Outcome, CliError> {
    let to_stdout = asked.file == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(CliError::Usage(
            "a backup is nothing for a terminal: give a file, or a pipe".into(),
        ));
    }
    // Nobody types a passphrase for nothing.
    if !to_stdout && !asked.force && asked.file.exists() {
        return Err(refused(BackupError::Exists(asked.file.clone())));
    }
    let to = whom(asked)?;
    let target = if to_stdout {
        None
    } else {
        Some(Target::new(&asked.file, asked.force).map_err(refused)?)
    };
    let scratch = match &asked.scratch {
        Some(folder) => folder.join("windlass-backup"),
        None => home.run().join("backup"),
    };
    let made = interruptible(async |stop| match &target {
        Some(target) => backup::create(home, &to, target.file(), &scratch, stop).await,
        None => backup::create(home, &to, io::stdout().lock(), &scratch, stop).await,
    })?;
    let complete = made.missing.is_empty();
    if let Some(target) = target {
        if !complete && asked.file.exists() {
            let lacks = made.missing.join("\n");
            let file = asked.file.display();
            return Err(CliError::Refused(format!(
                "{lacks}\n{file} stays as it is: it is not replaced by a backup that lacks something. Give another file"
            )));
        }
        target.keep().map_err(refused)?;
    }
    match (asked.output.json, to_stdout) {
        (true, false) => print_json(&made)?,
        (true, true) => {
            eprintln!("{}", serde_json::to_string(&made).unwrap_or_default());
            Outcome::Done
        }
        (false, false) => print(&made_text(&made, &asked.file))?,
        (false, true) => {
            eprint!("{}", made_text(&made, &asked.file));
            Outcome::Done
        }
    };
    Ok(Outcome::done_if(complete))
}

/// Restores a backup.
pub fn restore(home: &Home, asked: &Restore) -> Result<Outcome, CliError> {
    backup::check_unused(home).map_err(refused)?;
    let input: Box<dyn BufRead> = if asked.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(&asked.file);
        let file = opened.map_err(|error| refused(BackupError::Read(asked.file.clone(), error)))?;
        Box::new(BufReader::new(file))
    };
    let sealed = Sealed::read(input).map_err(refused)?;
    let key = key(asked, sealed.wants_passphrase())?;
    let opened = sealed.open(&key).map_err(refused)?;
    let restored = interruptible(async |stop| backup::restore(home, opened, stop).await)?;
    if asked.output.json {
        print_json(&restored)?;
    } else {
        print(&restored_text(&restored))?;
    }
    Ok(Outcome::done_if(restored.missing.is_empty()))
}

/// Runs something that a signal stops, and that cleans up after itself then. A second signal does
/// not wait for that.
fn interruptible<T>(
    work: impl AsyncFnOnce(&CancellationToken) -> Result<T, BackupError>,
) -> Result<T, CliError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    let stop = CancellationToken::new();
    runtime.spawn(wait_for_signals(stop.clone()));
    runtime.block_on(work(&stop)).map_err(refused)
}

async fn wait_for_signals(stop: CancellationToken) {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else {
        return;
    };
    loop {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
        if stop.is_cancelled() {
            std::process::exit(1);
        }
        stop.cancel();
    }
}

/// Whom a backup is encrypted to: recipients where there are any, else whoever knows the passphrase.
fn whom(asked: &Backup) -> Result<To, CliError> {
    let mut recipients = asked.recipient.clone();
    if let Some(file) = &asked.recipients_file {
        let more = To::recipients(&read(file)?).map_err(|why| usage(file, &why))?;
        if more.is_empty() {
            return Err(usage(file, "there is no recipient in it"));
        }
        recipients.extend(more);
    }
    if !recipients.is_empty() {
        return Ok(To::Recipients(recipients));
    }
    let passphrase = match passphrase(asked.passphrase_file.as_deref())? {
        Some(passphrase) => passphrase,
        None => {
            let first = ask("Passphrase for the backup: ")?;
            if ask("The same again: ")? != first {
                return Err(CliError::Usage("the two are not the same".into()));
            }
            first
        }
    };
    To::passphrase(passphrase).map_err(CliError::Usage)
}

/// What opens a backup.
fn key(asked: &Restore, wants_passphrase: bool) -> Result<Key, CliError> {
    if wants_passphrase {
        let passphrase = match passphrase(asked.passphrase_file.as_deref())? {
            Some(passphrase) => passphrase,
            None => ask("Passphrase of the backup: ")?,
        };
        return Key::passphrase(passphrase).map_err(CliError::Usage);
    }
    let Some(file) = &asked.identity else {
        return Err(refused(BackupError::NeedsIdentity));
    };
    Key::identities(&read(file)?).map_err(|why| usage(file, &why))
}

/// The passphrase that was given, if one was.
fn passphrase(file: Option<&Path>) -> Result<Option<String>, CliError> {
    match file {
        // An editor ends the line.
        Some(file) => Ok(Some(read(file)?.trim_end_matches(['\r', '\n']).to_owned())),
        None => match std::env::var("WINDLASS_PASSPHRASE") {
            Ok(passphrase) => Ok(Some(passphrase)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(CliError::Usage(format!("WINDLASS_PASSPHRASE: {error}"))),
        },
    }
}

/// Asks on the terminal, whatever standard input is.
fn ask(prompt: &str) -> Result<String, CliError> {
    rpassword::prompt_password(prompt).map_err(|error| {
        CliError::Usage(format!(
            "there is no terminal to ask for a passphrase ({error}): give --passphrase-file or WINDLASS_PASSPHRASE, or encrypt to a --recipient"
        ))
    })
}

fn read(file: &Path) -> Result<String, CliError> {
    fs::read_to_string(file).map_err(|error| usage(file, &error.to_string()))
}

fn usage(file: &Path, why: &str) -> CliError {
    CliError::Usage(format!("{}: {why}", file.display()))
}

fn refused(error: BackupError) -> CliError {
    CliError::Refused(error.to_string())
}

fn made_text(made: &Made, file: &Path) -> String {
    let mut text = apps(&made.manifest);
    let size = size(made.bytes);
    let _ = writeln!(
        text,
        "{}: {size}, {} apps. {NOT_IN_IT}",
        file.display(),
        made.manifest.apps.len()
    );
    lacks(&mut text, "MISSING in it", &made.missing);
    text
}

fn restored_text(restored: &Restored) -> String {
    let Manifest {
        made_at, windlass, ..
    } = &restored.manifest;
    let mut text = apps(&restored.manifest);
    let home = restored.home.display();
    let _ = writeln!(
        text,
        "{home} is restored: the backup of {made_at}, by windlass {windlass}. {NOT_IN_IT}"
    );
    lacks(&mut text, "MISSING", &restored.missing);
    text.push_str("Next:\n  windlass serve, or: systemctl start windlass\n");
    for App { name, live } in &restored.manifest.apps {
        if live.is_some() {
            let _ = writeln!(text, "  windlass redeploy {name} --wait");
        }
    }
    text.push_str(
        "An app whose container still runs on this machine serves on, and needs no redeploy.\n",
    );
    text
}

fn apps(manifest: &Manifest) -> String {
    let mut table = Table::new(&["NAME", "LIVE"]);
    for App { name, live } in &manifest.apps {
        table.row([
            name.to_string(),
            live.as_ref()
                .map_or("nothing".into(), |live| live.short().to_owned()),
        ]);
    }
    table.text()
}

fn lacks(text: &mut String, heading: &str, missing: &[String]) {
    for what in missing {
        let _ = writeln!(text, "{heading}: {}", plain(what));
    }
}

/// As people say it: 12.3 MB.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
