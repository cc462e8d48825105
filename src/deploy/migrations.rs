//! Which schema migrations a gate applies, where the gate is Django's `migrate`: so that nobody goes
//! back to a release whose code cannot read the schema without having been told.
//!
//! Before the gate runs, Django's own plan is read in a container of the new image. What it did is told
//! by its output, since Django commits each migration by itself, and by the plan where the output says
//! nothing. That it is about to change the schema is written down first: whoever is killed in the middle
//! leaves a deploy that says "unknown". None of this fails a deploy.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;

use crate::attempt::Attempt;
use crate::build::choose_port;
use crate::domain::Gate;
use crate::logs::PhaseWriter;
use crate::platform::{Error, Platform};
use crate::runtime::{ContainerSpec, Exit};
use crate::workload::{Image, one_off_container, run_container};

/// How long reading the plan may take.
const LIMIT: Duration = Duration::from_secs(30);
/// So much of what a plan or a gate prints is read, in bytes.
pub const READ: usize = 1024 * 1024;
/// The longest name of a migration: Django keeps 255 characters of it.
const LONGEST: usize = 300;
/// So many names stand in one line of a log.
const NAMED: usize = 20;

/// A gate that applies Django's migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrate {
    /// The command that prints its plan, if one does.
    plan: Option<Vec<String>>,
}

/// Django's plan, or why there is none.
pub type Plan = Result<Vec<String>, String>;

impl Migrate {
    /// What a gate is, if it is one: `… manage.py migrate`. One that only looks is none.
    pub fn of(gate: &Gate) -> Option<Self> {
        let words = &gate.run.0;
        let script = words
            .iter()
            .position(|word| word.rsplit('/').next() == Some("manage.py"))?;
        let (before, options) = (
            &words[..=script],
            words.get(script + 2..).unwrap_or_default(),
        );
        let only_looks = options
            .iter()
            .any(|option| matches!(option.as_str(), "--plan" | "--check"));
        if words.get(script + 1).map(String::as_str) != Some("migrate") || only_looks {
            return None;
        }
        let ask = ["showmigrations", "--plan", "--no-color"].map(str::to_owned);
        let plan = common(options).map(|options| [before, &ask[..], &options[..]].concat());
        Some(Self { plan })
    }

    /// Reads the plan in a container of the image: what is not applied yet, in its order.
    pub async fn read_plan(&self, attempt: &Attempt, image: &Image, gate: &Gate) -> Plan {
        let Some(plan) = &self.plan else {
            return Err("it goes to one certain migration".into());
        };
        let (naming, deploy) = (&attempt.platform.naming, &attempt.deploy);
        let name = naming.plan(&deploy.app, deploy.id, &gate.name);
        let read = tokio::time::timeout(LIMIT, ask(attempt, image, plan, &name)).await;
        // What stays is removed when the app is settled.
        let _ = attempt.platform.engine.remove(&name).await;
        let late = || Err(format!("it took longer than {} s", LIMIT.as_secs()));
        read.unwrap_or_else(|_| late())
    }
}

async fn ask(attempt: &Attempt, image: &Image, plan: &[String], name: &str) -> Plan {
    let platform = &attempt.platform;
    let failed = |error: Error| error.to_string();
    let facts = platform
        .engine
        .image(&image.name.0)
        .await
        .map_err(|error| failed(error.into()))?;
    let facts = facts.ok_or("the image is gone")?;
    let port = choose_port(&image.manifest, &facts).map_err(|_| "the image has no one port")?;
    let (app, id) = (&attempt.deploy.app, attempt.deploy.id);
    let spec = ContainerSpec {
        command: Some(plan.to_vec()),
        ..one_off_container(platform, app, id, image, port, name.to_owned())
    };
    run_container(platform, app, spec).await.map_err(failed)?;
    let exit = platform.engine.wait(name).await;
    let printed = printed(platform, name).await?;
    match exit {
        Exit {
            status: 0,
            out_of_memory: false,
        } => {
            let names = planned(&String::from_utf8_lossy(&printed));
            Ok(names
                .iter()
                .map(|name| attempt.redactor().clean(name.as_bytes()))
                .collect())
        }
        exit => Err(format!("it ended with {exit}")),
    }
}

/// What the ended container printed to its standard output.
async fn printed(platform: &Platform, name: &str) -> Result<Vec<u8>, String> {
    let mut output = std::pin::pin!(platform.engine.output(name, false, None));
    let mut all = Vec::new();
    while let Some(chunk) = output.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        if !chunk.stderr {
            all.extend_from_slice(&chunk.bytes);
        }
        if all.len() > READ {
            return Err("it printed more than a plan has".into());
        }
    }
    Ok(all)
}

/// What of `migrate`'s options `showmigrations` takes as well: which database, which settings, which app.
/// None where it is told to go to one certain migration: no plan says what that is.
fn common(options: &[String]) -> Option<Vec<String>> {
    const KEPT: [&str; 3] = ["--database", "--settings", "--pythonpath"];
    const DROPPED: [&str; 2] = ["-v", "--verbosity"];
    let (mut kept, mut apps, mut words) = (Vec::new(), Vec::new(), options.iter());
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        let value = if word.contains('=') { None } else { Some(()) };
        if KEPT.contains(&name) {
            kept.push(word.clone());
            kept.extend(value.and_then(|()| words.next()).cloned());
        } else if DROPPED.contains(&name) {
            value.and_then(|()| words.next());
        } else if !word.starts_with('-') {
            apps.push(word.clone());
        }
    }
    kept.extend(apps.first().cloned());
    (apps.len() < 2).then_some(kept)
}

/// The migrations that a plan calls not applied: `[ ]  shop.0002_price … (dependencies)`.
pub fn planned(text: &str) -> Vec<String> {
    let line = |line: &str| {
        migration(
            line.trim_start()
                .strip_prefix("[ ]")?
                .split_whitespace()
                .next()?,
        )
    };
    text.lines().filter_map(line).collect()
}

/// The migrations that a gate's output calls applied: `  Applying shop.0002_price... OK`. None where it
/// tells nothing of them at all.
pub fn applied(text: &str) -> Option<Vec<String>> {
    let line = |line: &str| {
        let (name, rest) = line
            .trim_start()
            .strip_prefix("Applying ")?
            .split_once("...")?;
        // `FAKED` has changed nothing, but what comes after it is built on that it had.
        let done = rest
            .split_whitespace()
            .next()
            .is_some_and(|word| matches!(word, "OK" | "FAKED"));
        if done { migration(name) } else { None }
    };
    let told = text
        .lines()
        .any(|line| line.trim_end().ends_with("Running migrations:"));
    told.then(|| text.lines().filter_map(line).collect())
}

/// A migration's name, as it may be stored and shown: `app.name`, words as Python has them.
fn migration(text: &str) -> Option<String> {
    let (app, name) = text.split_once('.')?;
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    (word(app) && name.split('.').all(word) && text.len() <= LONGEST).then(|| text.to_owned())
}

/// Says in a gate's log what it is about to apply.
pub fn say(log: &PhaseWriter, plan: &Plan) {
    log.say(match plan {
        Ok(names) if names.is_empty() => "no migrations to apply".to_owned(),
        Ok(names) => {
            let first: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
            let more = match names.len() - first.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let s = if names.len() == 1 { "" } else { "s" };
            format!(
                "{} migration{s} to apply: {}{more}",
                names.len(),
                first.join(", ")
            )
        }
        Err(why) => format!("which migrations are to be applied is not known: {why}"),
    });
}

/// Writes down what a gate applied: by its own output, or by the plan where it passed and its output
/// says nothing. `known`: whether that is so of what the deploy applied before it.
pub async fn record(attempt: &Attempt, plan: Plan, output: &str, passed: bool, known: bool) {
    let told = applied(output).map(|names| {
        names
            .iter()
            .map(|n| attempt.redactor().clean(n.as_bytes()))
            .collect()
    });
    let names: Option<Vec<String>> =
        told.or_else(|| plan.ok().filter(|names| passed || names.is_empty()));
    let all = known && names.is_some();
    // In the order of the first time that each is told.
    let mut seen = BTreeSet::new();
    let names: Vec<String> = names
        .unwrap_or_default()
        .into_iter()
        .filter(|n| seen.insert(n.clone()))
        .collect();
    let (store, deploy) = (&attempt.platform.store, &attempt.deploy);
    if let Err(error) = store
        .add_migrations(&deploy.app, deploy.id, &names, all)
        .await
    {
        // It goes on saying that nobody knows.
        tracing::warn!(app = %deploy.app, deploy = %deploy.id, %error, "the migrations of a deploy are not written down");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Argv;

    fn of(words: &[&str]) -> Option<Migrate> {
        let run = Argv(words.iter().map(|word| (*word).to_owned()).collect());
        Migrate::of(&Gate {
            name: "x".parse().unwrap(),
            run,
            timeout: "1m".parse().unwrap(),
        })
    }

    #[test]
    fn djangos_migrate_is_known_and_its_plan_asked_as_it_runs() {
        let plan = |words: &[&str]| of(words).unwrap().plan.unwrap().join(" ");
        assert_eq!(
            plan(&["python", "manage.py", "migrate", "--noinput"]),
            "python manage.py showmigrations --plan --no-color"
        );
        let long = [
            "uv",
            "run",
            "python",
            "-X",
            "utf8",
            "src/manage.py",
            "migrate",
            "-v",
            "2",
            "shop",
        ];
        let asked = "uv run python -X utf8 src/manage.py showmigrations --plan --no-color --database=b shop";
        assert_eq!(plan(&[&long[..], &["--database=b"]].concat()), asked);
        assert!(plan(&["./manage.py", "migrate", "--database", "b"]).ends_with(" --database b"));
        assert_eq!(
            of(&["manage.py", "migrate", "shop", "0002"]).unwrap().plan,
            None
        );
        for other in [
            &["python", "manage.py", "check"][..],
            &["python", "manage.py"],
            &["migrate"],
            &["python", "manage.py", "migrate", "--check"],
            &["alembic", "upgrade", "head"],
        ] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    const PLAN: &str = "[X]  contenttypes.0001_initial\n[X]  auth.0001_initial\n\
        [ ]  shop.0002_price\n[ ]  shop.0003_squashed_0004 (2 squashed migrations)\nsome other line\n";
    const OUTPUT: &str = "Operations to perform:\n  Apply all migrations: auth, shop\nRunning migrations:\n\
        \x20 Applying shop.0002_price... OK\n  Applying shop.0003_tax...Traceback (most recent call last):\n";

    #[test]
    fn a_plan_and_an_output_are_read() {
        assert_eq!(
            planned(PLAN),
            ["shop.0002_price", "shop.0003_squashed_0004"]
        );
        assert_eq!(applied(OUTPUT).unwrap(), ["shop.0002_price"]);
        assert_eq!(
            applied("Running migrations:\n  No migrations to apply.\n").unwrap(),
            [""; 0]
        );
        assert_eq!(applied("nothing of that kind"), None);
        assert_eq!(
            applied("Running migrations:\n  Applying s.0001_a... OK (0.012s)\n").unwrap(),
            ["s.0001_a"]
        );
        assert_eq!(
            applied("Running migrations:\n  Applying s.0001_a... FAKED\n").unwrap(),
            ["s.0001_a"]
        );
    }

    proptest! {
        /// Whatever a hostile image prints, what is taken for a migration's name is one.
        #[test]
        fn any_text_gives_names_or_nothing(
            text in "((Running migrations:|\\[[ X]\\]|  Applying|OK|\\.\\.\\.|shop\\.[a-z0-9_]{1,9}|[ \n\u{1b}<>\"]|\\PC){0,30}\n){0,8}",
        ) {
            for name in planned(&text).into_iter().chain(applied(&text).unwrap_or_default()) {
                prop_assert!(name.contains('.') && name.len() <= LONGEST);
                prop_assert!(!name.contains(|c: char| c.is_control() || c.is_whitespace() || "<>&\"'".contains(c)));
            }
        }
    }
}
