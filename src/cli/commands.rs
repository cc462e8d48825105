//! The commands that ask the server, and how their answers are shown.

use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::args::{AppCommand, Command, DeployCommand, EnvCommand};
use super::client::{Client, read, strange};
use super::follow::{Followed, PATIENCE, to_the_end};
use super::render::{Renderer, colours, named, timings};
use super::table::{Table, ago, plain, shorten, took};
use super::{CliError, Outcome, accounts, print, print_json};
use crate::api::{
    AppAllow, AppCreate, AppDestroy, AppDomains, AppList, AppLogLine, AppLogsFollow, AppPublic,
    AppShow, DeployCancel, DeployFollow, DeployShow, DeployWait, Deploys, Domains, Endpoint,
    EnvList, EnvSet, EnvUnset, Event, Processes, Redeploy, Reload, Restart, Revert, RevertOutlook,
    Switched, Unset, Variables,
};
use crate::domain::{
    Allowance, App, Commits, Deploy, DeployId, Environment, Limits, MigrationsSince, Phase,
    ReplicaState, RevertEnvironment, RevertPreview, size,
};
use crate::logs::Cursor;

/// How long a cancelled deploy may take to end.
const CANCEL_TAKES: Duration = Duration::from_secs(60);

/// Runs a command that asks the server.
pub fn run(client: &Client, command: Command) -> Result<Outcome, CliError> {
    match command {
        Command::App(command) => app(client, command),
        Command::Env(command) => env(client, command),
        Command::Deploy(command) => deploy(client, command),
        Command::Deploys {
            name,
            limit,
            output,
        } => ask(client, &Deploys { app: name, limit }, output.json, deploys),
        Command::Redeploy(again) => {
            let request = Redeploy {
                app: again.name,
                commit: again.commit,
            };
            queue(client, &request, again.wait.wait, again.output.json)
        }
        Command::Revert {
            again,
            dry_run: true,
        } => {
            let request = RevertOutlook {
                app: again.name,
                commit: again.commit,
            };
            ask(client, &request, again.output.json, preview)
        }
        Command::Revert {
            again,
            dry_run: false,
        } => {
            let request = Revert {
                app: again.name,
                commit: again.commit,
                to: None,
            };
            queue(client, &request, again.wait.wait, again.output.json)
        }
        Command::Restart { name, wait, output } => {
            queue(client, &Restart { app: name }, wait.wait, output.json)
        }
        Command::Reload { name } => {
            let done = format!("Sent SIGHUP to {name}'s main process.\n");
            tell(client, &Reload { app: name }, &done)
        }
        Command::Ps { name, output } => {
            ask(client, &Processes { app: name }, output.json, processes)
        }
        Command::Logs {
            name,
            follow,
            since,
            tail,
            process,
            output,
        } => {
            let since_ms = since.map(|age| age.0.as_millis() as u64);
            logs(
                client,
                &AppLogsFollow {
                    app: name,
                    follow,
                    since_ms,
                    tail,
                    process,
                },
                output.json,
            )
        }
        Command::User(command) => accounts::user(client, command),
        Command::Key(command) => accounts::key(client, command),
        Command::Token(command) => accounts::token(client, command),
        Command::Audit { app, limit, output } => accounts::audit(client, app, limit, output.json),
        Command::Whoami { output } => accounts::whoami(client, output.json),
        Command::Serve
        | Command::Doctor { .. }
        | Command::Setup(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Hook(_)
        | Command::Ssh { .. }
        | Command::Completions { .. } => Err(CliError::Usage(
            "this command does not ask the server".into(),
        )),
    }
}

fn app(client: &Client, command: AppCommand) -> Result<Outcome, CliError> {
    match command {
        AppCommand::Create {
            name,
            domains,
            output,
        } => ask(client, &AppCreate { name, domains }, output.json, created),
        AppCommand::List { output } => ask(client, &AppList {}, output.json, apps),
        AppCommand::Show { name, output } => ask(client, &AppShow { name }, output.json, one_app),
        AppCommand::Allow {
            name,
            memory,
            pids,
            cpus,
            capabilities,
            reset,
            output,
        } => {
            let more = Allowance {
                limits: Limits { memory, pids, cpus },
                capabilities,
            };
            if more == Allowance::default() && !reset {
                let options = "--memory, --pids, --cpus, --capability or --reset";
                return Err(CliError::Usage(format!(
                    "say what to allow {name}: {options}"
                )));
            }
            ask(
                client,
                &AppAllow { name, more, reset },
                output.json,
                allowed,
            )
        }
        AppCommand::Domains {
            name,
            add,
            remove,
            from,
            output,
        } => {
            let change = AppDomains {
                name,
                add,
                remove,
                from,
            };
            ask(client, &change, output.json, domains)
        }
        AppCommand::Public {
            name,
            switch,
            output,
        } => {
            let public = switch == "on";
            ask(
                client,
                &AppPublic { name, public },
                output.json,
                self::public,
            )
        }
        AppCommand::Destroy { name, yes: true } => {
            let done = format!("Removed {name} with everything of it.\n");
            tell(client, &AppDestroy { name }, &done)
        }
        AppCommand::Destroy { name, yes: false } => Err(CliError::Usage(format!(
            "this removes {name} with its containers, images, repository, logs and environment, for good.\n\
             If that is meant: windlass app destroy {name} --yes"
        ))),
    }
}

fn env(client: &Client, command: EnvCommand) -> Result<Outcome, CliError> {
    let counts =
        |app| format!("It counts from the next deploy on, or now: windlass restart {app}\n");
    match command {
        EnvCommand::Set { name, vars } => {
            let vars = assignments(&vars, io::stdin().lock()).map_err(CliError::Usage)?;
            let done = format!(
                "Set {}. {}",
                list(vars.iter().map(|(name, _)| name)),
                counts(&name)
            );
            tell(client, &EnvSet { app: name, vars }, &done)
        }
        EnvCommand::Unset { name, names } => {
            let wrong = names
                .iter()
                .find_map(|name| Environment::check_name(name).err());
            if let Some(wrong) = wrong {
                return Err(CliError::Usage(wrong.to_string()));
            }
            let counts = counts(&name);
            let gone = client.ask(&EnvUnset { app: name, names })?;
            print(&(unset(&gone) + &counts))
        }
        EnvCommand::List {
            name,
            reveal,
            output,
        } => ask(
            client,
            &EnvList { app: name, reveal },
            output.json,
            variables,
        ),
    }
}

fn deploy(client: &Client, command: DeployCommand) -> Result<Outcome, CliError> {
    match command {
        DeployCommand::Show { id, output } => {
            ask(client, &DeployShow { id }, output.json, one_deploy)
        }
        DeployCommand::Log {
            id,
            phase,
            follow,
            output,
        } => {
            let from = phase.as_ref().map_or(Ok(Cursor::default()), |phase| {
                begin(client, id, phase, follow)
            })?;
            if follow && phase.is_none() && !output.json {
                return self::follow(client, id, false).map(|_| Outcome::Done);
            }
            let request = DeployFollow {
                id,
                from,
                follow,
                until_live: false,
            };
            log(client, &request, phase.as_ref(), output.json)
        }
        DeployCommand::Wait { id, output } => wait(client, id, output.json),
        DeployCommand::Cancel { id } => {
            client.ask(&DeployCancel { id })?;
            let at_most_ms = Some(CANCEL_TAKES.as_millis() as u64);
            let ended = last_event(client, &DeployWait { id, at_most_ms }, false)?;
            Ok(Outcome::done_if(!ended.status.went_live()))
        }
    }
}

/// Asks a question and shows its answer: as JSON, or as `text` puts it.
pub(super) fn ask<V: Endpoint<Answer: DeserializeOwned>>(
    client: &Client,
    verb: &V,
    json: bool,
    text: impl FnOnce(V::Answer) -> String,
) -> Result<Outcome, CliError> {
    let value = client.value(verb)?;
    if json {
        print_json(&value)
    } else {
        print(&text(read(value)?))
    }
}

/// Has something done, and says so.
pub(super) fn tell<V: Endpoint>(
    client: &Client,
    verb: &V,
    done: &str,
) -> Result<Outcome, CliError> {
    client.value(verb)?;
    print(done)
}

/// Queues a deploy and, if asked, follows it to its end.
fn queue<V: Endpoint<Answer = Deploy>>(
    client: &Client,
    verb: &V,
    wait: bool,
    json: bool,
) -> Result<Outcome, CliError> {
    let value = client.value(verb)?;
    let deploy: Deploy = read(value.clone())?;
    let id = deploy.id;
    match (wait, json) {
        (true, true) => self::wait(client, id, true),
        (true, false) => follow(client, id, true),
        (false, true) => print_json(&value),
        (false, false) => print(&format!(
            "Queued deploy {id} of {}: {}, {}.\nWatch it: windlass deploy log {id} --follow\n",
            deploy.app,
            named(&deploy),
            deploy.trigger
        )),
    }
}

fn follow(client: &Client, id: DeployId, until_live: bool) -> Result<Outcome, CliError> {
    let out = io::stdout();
    let mut show = Renderer::new(out.lock(), colours(&out));
    let answer = client.follow(&DeployFollow {
        id,
        from: Cursor::default(),
        follow: true,
        until_live,
    })?;
    match to_the_end(client, answer, &mut show, PATIENCE, until_live)? {
        Followed::Ended(deploy) => Ok(Outcome::done_if(deploy.status.went_live())),
        Followed::NoDeploy => Err(strange("no deploy")),
        Followed::Lost(id) => Err(CliError::Unreachable(format!(
            "the server has not come back. Deploy {id} is its to finish; once it runs again: windlass deploy show {id}"
        ))),
    }
}

/// Waits for a deploy's end and tells only that.
fn wait(client: &Client, id: DeployId, json: bool) -> Result<Outcome, CliError> {
    let at_most_ms = None;
    let ended = last_event(client, &DeployWait { id, at_most_ms }, json)?;
    Ok(Outcome::done_if(ended.status.went_live()))
}

/// Asks for what is answered by a deploy's end, and shows that.
fn last_event(client: &Client, verb: &DeployWait, json: bool) -> Result<Deploy, CliError> {
    let mut answer = client.follow(verb)?;
    while let Some(event) = answer.next()? {
        let Event::Finished { deploy, .. } = &event else {
            continue;
        };
        if json {
            print_json(deploy)?;
        } else {
            let out = io::stdout();
            Renderer::new(out.lock(), colours(&out)).event(&event)?;
        }
        return Ok(deploy.clone());
    }
    Err(strange("no end"))
}

/// Where the log of one phase begins.
fn begin(client: &Client, id: DeployId, phase: &Phase, follow: bool) -> Result<Cursor, CliError> {
    let deploy = client.ask(&DeployShow { id })?;
    let ordinal = deploy
        .phases
        .iter()
        .position(|timing| timing.phase == *phase);
    match ordinal {
        Some(ordinal) => Ok(Cursor { ordinal, offset: 0 }),
        None if follow && deploy.status.is_open() => Ok(Cursor::default()),
        None => {
            let phases = list(deploy.phases.iter().map(|timing| timing.phase.to_string()));
            Err(CliError::Refused(format!(
                "deploy {id} has no phase {phase}; it has: {phases}"
            )))
        }
    }
}

/// Prints a deploy's log, or one phase of it.
fn log(
    client: &Client,
    verb: &DeployFollow,
    only: Option<&Phase>,
    json: bool,
) -> Result<Outcome, CliError> {
    let out = io::stdout();
    let mut show = Renderer::new(out.lock(), colours(&out));
    let mut answer = client.follow(verb)?;
    let mut phase: Option<Phase> = None;
    while let Some(event) = answer.next()? {
        if let Event::PhaseStarted { phase: began, .. } = &event {
            phase = Some(began.clone());
        }
        if only.is_some() && only != phase.as_ref() {
            continue;
        }
        match (&event, json) {
            (Event::Lines { text, .. }, true) => {
                let name = phase.as_ref().map(Phase::to_string).unwrap_or_default();
                print(&log_as_json(&name, text))?;
            }
            (_, true) => {}
            (_, false) => show.event(&event)?,
        }
        if only.is_some() && matches!(event, Event::PhaseEnded { .. }) {
            break;
        }
    }
    Ok(Outcome::Done)
}

/// Each line of a log as a JSON document of its own.
fn log_as_json(phase: &str, text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.split_terminator('\n') {
        let (ms, line) = line.split_once('\t').unwrap_or(("0", line));
        let at_ms: u64 = ms.parse().unwrap_or(0);
        let _ = writeln!(
            out,
            "{}",
            serde_json::json!({"phase": phase, "at_ms": at_ms, "text": line})
        );
    }
    out
}

/// Prints an app's own output.
fn logs(client: &Client, verb: &AppLogsFollow, json: bool) -> Result<Outcome, CliError> {
    let mut answer = client.follow(verb)?;
    let mut out = io::stdout().lock();
    let mut shown = AppOutput {
        colour: colours(&out),
        release: None,
    };
    while let Some(event) = answer.next()? {
        let text = match event {
            Event::AppLines { lines } if json => lines
                .iter()
                .filter_map(|line| serde_json::to_string(line).ok())
                .map(|line| line + "\n")
                .collect(),
            Event::AppLines { lines } => shown.text(&lines),
            // What is not the app's does not stand among its lines.
            Event::Note { text } => {
                eprintln!("{}", plain(&text));
                continue;
            }
            _ => continue,
        };
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    Ok(Outcome::Done)
}

struct AppOutput {
    colour: bool,
    release: Option<DeployId>,
}

impl AppOutput {
    /// Lines under a heading per release, each with its time to the second.
    fn text(&mut self, lines: &[AppLogLine]) -> String {
        let mut text = String::new();
        for line in lines {
            if self.release.replace(line.deploy) != Some(line.deploy) {
                let _ = writeln!(text, "-----> deploy {}", line.deploy);
            }
            let at = plain(line.at.get(..19).unwrap_or(&line.at)).replace('T', " ");
            let _ = write!(text, "{at}  ");
            // What serves alone needs no name.
            if !line.process.is_web() || line.replica != 1 {
                let _ = write!(text, "{}.{}  ", line.process, line.replica);
            }
            super::render::painted(&mut text, &line.text, self.colour);
            text.push('\n');
        }
        text
    }
}

/// `NAME=value` words; `-` stands for such lines on standard input, where empty lines and those
/// that begin with `#` do not count. What is wrong is named by its place: it may hold a secret.
fn assignments(words: &[String], input: impl BufRead) -> Result<Environment, String> {
    let mut env = Environment::default();
    let mut input = Some(input);
    for (n, word) in words.iter().enumerate() {
        if word != "-" {
            env.assign(word, &format!("variable {}", n + 1))?;
        } else if let Some(input) = input.take() {
            for (n, line) in input.lines().enumerate() {
                let line = line.map_err(|error| format!("standard input: {error}"))?;
                if !line.trim().is_empty() && !line.starts_with('#') {
                    env.assign(&line, &format!("line {} of standard input", n + 1))?;
                }
            }
        }
    }
    if env.is_empty() {
        Err("there is nothing to set: write NAME=value".into())
    } else {
        Ok(env)
    }
}

/// Which variables are gone, and which never were there.
fn unset(answer: &Unset) -> String {
    let (unknown, gone): (Vec<_>, Vec<_>) = answer
        .unset
        .iter()
        .partition(|name| answer.unknown.contains(name));
    let said = |word, names: Vec<&String>| {
        if names.is_empty() {
            String::new()
        } else {
            format!("{word} {}. ", list(names))
        }
    };
    said("Removed", gone) + &said("Was not set:", unknown)
}

fn created(app: App) -> String {
    format!(
        "Created {name}. It deploys what is pushed to it:\n  git remote add prod {remote}\n  git push prod main\n",
        name = app.name,
        remote = plain(&app.remote)
    )
}

fn domains(Domains { app, domains }: Domains) -> String {
    if domains.is_empty() {
        return format!("{app} has no domain: windlass app domains {app} --add HOST\n");
    }
    domains.iter().map(|domain| format!("{domain}\n")).collect()
}

fn allowed(app: App) -> String {
    if app.allowed == Allowance::default() {
        return format!("{} is allowed what every app is.\n", app.name);
    }
    format!(
        "{name} is allowed: {}. Its windlass.toml asks for it, and it counts from the next deploy on.\n",
        app.allowed,
        name = app.name
    )
}

fn apps(apps: Vec<App>) -> String {
    if apps.is_empty() {
        return "There is no app yet: windlass app create NAME --domain HOST\n".into();
    }
    let mut table = Table::new(&["NAME", "STATUS", "LIVE", "SINCE", "DOMAINS"]);
    for app in apps {
        let live = app
            .live
            .as_ref()
            .map_or_else(String::new, |d| format!("{} {}", d.id, named(d)));
        table.row([
            app.name.to_string(),
            app.status.as_str().into(),
            live,
            since(app.live.as_ref()),
            list(&app.domains),
        ]);
    }
    table.text()
}

fn times(count: u64) -> String {
    if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    }
}

fn one_app(app: App) -> String {
    let mut table = Table::facts();
    let live = app.live.as_ref();
    table.row(["name".into(), app.name.to_string()]);
    let restarts = match app.restarts {
        None | Some(0) => String::new(),
        Some(count) => format!(", brought back {} after it ended by itself", times(count)),
    };
    table.row(["status".into(), format!("{}{restarts}", app.status)]);
    table.row([
        "live".into(),
        live.map_or("nothing yet".into(), |d| {
            format!("deploy {}: {}", d.id, named(d))
        }),
    ]);
    table.row(["since".into(), since(live)]);
    table.row(["domains".into(), list(&app.domains)]);
    if app.allowed != Allowance::default() {
        table.row(["allowed".into(), app.allowed.to_string()]);
    }
    table.row(["remote".into(), app.remote]);
    table.text()
}

/// What runs, a row a container.
fn processes(all: Vec<ReplicaState>) -> String {
    if all.is_empty() {
        return "Nothing runs: no release is live.\n".to_owned();
    }
    let headings = [
        "PROCESS", "STATE", "RELEASE", "SINCE", "CPU", "MEMORY", "RESTARTS",
    ];
    let mut table = Table::new(&headings);
    let dash = || "-".to_owned();
    for one in all {
        let mut state = one.state.to_string();
        if let Some(exit) = one.last_exit {
            state = format!("{state} (exit status {exit})");
        }
        if one.part != "live" {
            state = format!("{state}, {}", one.part);
        }
        table.row([
            format!("{}.{}", one.process, one.replica),
            state,
            one.release.to_string(),
            one.since.map_or_else(dash, ago),
            one.cpu_percent
                .map_or_else(dash, |cpu| format!("{cpu:.1} %")),
            one.memory_bytes.map_or_else(dash, size::show),
            one.restarts.to_string(),
        ]);
    }
    table.text()
}

fn since(live: Option<&Deploy>) -> String {
    live.and_then(Deploy::live_at).map_or_else(String::new, ago)
}

fn deploys(deploys: Vec<Deploy>) -> String {
    if deploys.is_empty() {
        return "Nothing was deployed yet: git push <remote> main\n".into();
    }
    let mut table = Table::new(&[
        "ID", "STATUS", "TRIGGER", "COMMIT", "SUBJECT", "BY", "QUEUED", "TIME",
    ]);
    for d in deploys {
        table.row([
            d.id.to_string(),
            d.status.to_string(),
            d.trigger.to_string(),
            d.commit.short().into(),
            shorten(&d.subject, 40),
            shorten(&d.actor, 20),
            ago(d.queued_at),
            took(d.took_ms()),
        ]);
    }
    table.text()
}

fn public(now: Switched) -> String {
    let Switched { name, public } = now;
    match public {
        true => {
            format!(
                "Everybody may see /badge/{name}.svg and /status/{name}.json on the dashboard now.\n"
            )
        }
        false => format!("The badge and the status of {name} are not there any more.\n"),
    }
}

/// What a revert would do.
fn preview(it: RevertPreview) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} serves now (deploy {}).",
        named(&it.live),
        it.live.id
    );
    let _ = writeln!(
        text,
        "{} would serve (deploy {}).\n",
        named(&it.to),
        it.to.id
    );
    let usual = it
        .usual_ms
        .map(|ms| format!(", usually in {}", took(Some(ms))))
        .unwrap_or_default();
    let _ = match it.image_kept {
        true => writeln!(text, "Its image is there: nothing is built{usual}."),
        false => writeln!(
            text,
            "Its image is not kept any more: it is built again{usual}."
        ),
    };
    let whose = match it.environment {
        RevertEnvironment::Release => "the environment that it had then",
        RevertEnvironment::Today => "the environment that is set today",
    };
    let other = match it.variables.as_slice() {
        [] => ", the same as what runs now".to_owned(),
        names => format!("; other than what runs now: {}", list(names)),
    };
    let _ = writeln!(text, "It runs with {whose}{other}.");
    text.push_str(&commits("Commits that go away", &it.leaving));
    text.push_str(&commits("Commits that come back", &it.coming));
    text.push_str(&migrations(&it.migrations));
    let _ = writeln!(
        text,
        "\nTo do it: windlass revert {} {}",
        it.to.app,
        it.to.commit.short()
    );
    text
}

fn commits(title: &str, some: &Commits) -> String {
    if some.unknown {
        return format!("\n{title}: the repository cannot tell.\n");
    }
    if some.list.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{title}:\n");
    for commit in &some.list {
        let _ = writeln!(
            text,
            "  {} {} ({})",
            commit.id.short(),
            plain(&commit.subject),
            plain(&commit.author)
        );
    }
    if some.more > 0 {
        let _ = writeln!(text, "  and {} more", some.more);
    }
    text
}

fn migrations(since: &MigrationsSince) -> String {
    let mut text = String::new();
    if since.applied.is_empty() && since.unknown.is_empty() {
        return "\nNo migration was applied since.\n".to_owned();
    }
    if !since.applied.is_empty() {
        text.push_str("\nThe database has changed since. These migrations stay applied:\n");
        for migration in &since.applied {
            let _ = writeln!(
                text,
                "  {} (deploy {})",
                plain(&migration.name),
                migration.deploy
            );
        }
    }
    if !since.unknown.is_empty() {
        let ids = list(since.unknown.iter().take(20));
        let _ = writeln!(
            text,
            "\nWhether the database was changed by these deploys is not known: {ids}"
        );
    }
    text
}

fn one_deploy(deploy: Deploy) -> String {
    let mut table = Table::facts();
    let time = deploy
        .took_ms()
        .map_or_else(String::new, |ms| format!(" after {}", took(Some(ms))));
    table.row(["deploy".into(), format!("{} of {}", deploy.id, deploy.app)]);
    table.row(["status".into(), format!("{}{time}", deploy.status)]);
    table.row(["commit".into(), deploy.commit.to_string()]);
    table.row([
        "subject".into(),
        format!("{} ({})", deploy.subject, deploy.author),
    ]);
    table.row([
        "asked".into(),
        format!(
            "{} by {}, {}",
            deploy.trigger,
            deploy.actor,
            ago(deploy.queued_at)
        ),
    ]);
    let mut text = table.text();
    if let Some(failure) = &deploy.failure {
        let _ = writeln!(text, "{}:", plain(&failure.phase));
        failure
            .message
            .trim()
            .lines()
            .for_each(|line| text.push_str(&format!("  {}\n", plain(line))));
    }
    if !deploy.phases.is_empty() {
        text.push('\n');
        text.push_str(&timings(&deploy));
    }
    text
}

fn variables(Variables(vars): Variables) -> String {
    if vars.is_empty() {
        return "No variable is set: windlass env set NAME K=V\n".into();
    }
    let mut table = Table::new(&["NAME", "VALUE"]);
    for (name, value) in vars {
        let value = value.unwrap_or_else(|| "(hidden; --reveal shows it)".into());
        table.row([name, value]);
    }
    table.text()
}

pub(super) fn list<T: ToString>(words: impl IntoIterator<Item = T>) -> String {
    words
        .into_iter()
        .map(|word| word.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::tests::deploy;
    use crate::domain::{AppStatus, DeployStatus, PhaseStatus};
    use serde_json::Value;

    #[test]
    fn variables_come_from_words_and_from_standard_input() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let input = &b"# secrets\nTOKEN=a=b\n\nEMPTY=\n"[..];
        let vars = assignments(&words(&["A=1", "-", "B=x y"]), input).unwrap();
        assert_eq!(vars.assignments(), ["A=1", "B=x y", "EMPTY=", "TOKEN=a=b"]);

        let refused = |word: &str, input: &[u8]| assignments(&words(&[word]), input).unwrap_err();
        assert_eq!(
            refused("s3cret", b""),
            "variable 1 is not NAME=value: it has no '='"
        );
        assert_eq!(
            refused("-", b"A=1\ns3cret\n"),
            "line 2 of standard input is not NAME=value: it has no '='"
        );
        assert!(refused("A-B=s3cret", b"").contains("letters, digits and '_'"));
        assert!(!refused("A-B=s3cret", b"").contains("s3cret"));
        assert!(refused("-", b"").contains("nothing to set"));
    }

    #[test]
    fn what_was_never_set_is_told() {
        let answer = |unknown: &[&str]| Unset {
            unset: vec!["A".into(), "B".into()],
            unknown: unknown.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(unset(&answer(&["B"])), "Removed A. Was not set: B. ");
        assert_eq!(unset(&answer(&[])), "Removed A, B. ");
    }

    #[test]
    fn answers_read_well() {
        let live = deploy(12, DeployStatus::Live, &[("build", PhaseStatus::Ok, 8200)]);
        let app = App {
            name: "shop".parse().unwrap(),
            domains: vec![
                "a.example.com".parse().unwrap(),
                "b.example.com".parse().unwrap(),
            ],
            remote: "ssh://deploy@host/shop".into(),
            status: AppStatus::Serving,
            restarts: Some(2),
            allowed: Allowance {
                capabilities: vec!["NET_RAW".parse().unwrap()],
                ..Allowance::default()
            },
            live: Some(live.clone()),
        };
        let listed = apps(vec![app.clone()]);
        assert!(
            listed.contains("shop  serving  12 1a2b3c4d5e \"Say hello  [2J\""),
            "{listed}"
        );
        assert!(
            listed.contains("a.example.com, b.example.com\n"),
            "{listed}"
        );
        assert!(
            one_app(app.clone()).contains("serving, brought back 2 times after it ended by itself")
        );
        assert!(one_app(app.clone()).contains("allowed  NET_RAW\n"));
        assert!(allowed(app.clone()).starts_with("shop is allowed: NET_RAW. Its windlass.toml"));
        assert!(one_app(app.clone()).contains("remote   ssh://deploy@host/shop\n"));
        assert!(
            created(app)
                .contains("  git remote add prod ssh://deploy@host/shop\n  git push prod main\n")
        );
        let shown = one_deploy(live.clone());
        assert!(
            shown.contains("status   live after 8.2s\n") && shown.contains("  build"),
            "{shown}"
        );
        assert!(deploys(vec![live]).contains("12  live    push     1a2b3c4d5e"));
        assert!(deploys(vec![]).contains("git push"));
    }

    #[test]
    fn logs_as_json_are_one_document_a_line() {
        let text = log_as_json("build", "5\tsays \"hi\"\n17\t\n");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[0],
            serde_json::json!({"phase": "build", "at_ms": 5, "text": "says \"hi\""})
        );
        assert_eq!((lines.len(), &lines[1]["text"]), (2, &Value::from("")));
    }

    #[test]
    fn app_output_has_a_heading_per_release() {
        let line = |deploy, text: &str| AppLogLine {
            at: "2026-11-21T10:20:30.123456789Z".into(),
            process: crate::domain::ProcessName::web(),
            replica: if text == "c" { 2 } else { 1 },
            deploy: DeployId(deploy),
            stream: "stdout".into(),
            text: text.into(),
        };
        let mut shown = AppOutput {
            colour: false,
            release: None,
        };
        let text = shown.text(&[line(1, "a"), line(1, "\x1b[31mb\x1b[0m"), line(2, "c")]);
        let at = "2026-11-21 10:20:30";
        assert_eq!(
            text,
            format!("-----> deploy 1\n{at}  a\n{at}  b\n-----> deploy 2\n{at}  web.2  c\n")
        );
    }
}
