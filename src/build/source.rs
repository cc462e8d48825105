//! Checkout and build: from a commit to an image.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::allowance::expect_allowed;
use super::context;
use super::room::make_room;
use super::secrets::build_secrets;
use crate::attempt::{Attempt, Stop};
use crate::domain::duration::show;
use crate::domain::{BuildStep, CommitId, Environment, Manifest, Procfile, Trigger, printable};
use crate::git::{Limits, TooMuch, TreeEntry, TreeSummary};
use crate::logs::{PhaseWriter, Redactor};
use crate::runtime::{BuildEvent, BuildLimit, BuildSpec, BuildStop};
use crate::store::SecretName;
use crate::workload::Image;

/// A commit that can be built.
pub struct Source {
    commit: CommitId,
    manifest: Manifest,
    env: Environment,
    /// What of it the build may mount.
    secrets: Environment,
}

/// The manifest is a text file that people write; a longer one is none.
const LONGEST_MANIFEST: u64 = 256 * 1024;

/// Resolves the commit and reads its manifest.
pub async fn checkout(
    attempt: &Attempt,
    log: &PhaseWriter,
    env: Environment,
) -> Result<Source, Stop> {
    let (git, app, commit) = (
        &attempt.platform.git,
        &attempt.deploy.app,
        &attempt.deploy.commit,
    );
    log.say(format!(
        "commit {} {}",
        commit.short(),
        attempt.deploy.subject
    ));
    log.say(format!(
        "by {}, {} by {}",
        attempt.deploy.author, attempt.deploy.trigger, attempt.deploy.actor
    ));
    if matches!(attempt.deploy.trigger, Trigger::Revert | Trigger::Restart) {
        log.say("the image of this release is not kept any more: it is built again, and runs with today's environment");
    }
    let mut manifest = match plain_file(attempt, commit, "windlass.toml", LONGEST_MANIFEST).await? {
        None => {
            log.say("no windlass.toml: everything has its default");
            Manifest::default()
        }
        Some(bytes) => parse_manifest(&bytes).map_err(Stop::NotGood)?,
    };
    if let Some(procfile) = plain_file(attempt, commit, "Procfile", LONGEST_MANIFEST).await? {
        let procfile = parse_procfile(&procfile).map_err(Stop::NotGood)?;
        let taken = manifest.take_procfile(procfile);
        log.say(match taken.is_empty() {
            true => "the Procfile does not count: windlass.toml says it all".to_owned(),
            false => format!("from the Procfile: {}", taken.join(", ")),
        });
    }
    let django = matches!(
        git.entry(app, commit, "manage.py").await?,
        Some(TreeEntry::File(_))
    );
    manifest.settle_gates(django);
    expect_allowed(&attempt.platform, app, &manifest).await?;
    let secrets = build_secrets(&manifest.build.secrets, app, &env)?;
    expect_dockerfile(attempt, commit, &manifest).await?;
    let tree = expect_small(attempt, commit, &manifest).await?;
    for path in &tree.submodules {
        let path = Path::new(&manifest.build.context).join(path);
        let path = printable(path.to_string_lossy().trim_start_matches("./"), 200);
        log.say(format!(
            "warning: the submodule {path} is an empty folder in the build: submodules are not fetched"
        ));
    }
    let more = tree.submodule_count - tree.submodules.len() as u64;
    if more > 0 {
        log.say(format!("warning: so are {more} more submodules"));
    }
    Ok(Source {
        commit: commit.clone(),
        manifest,
        env,
        secrets,
    })
}

/// A file that people write, of a commit. One that is too long, or a link or a folder, is a mistake.
pub async fn plain_file(
    attempt: &Attempt,
    commit: &CommitId,
    path: &str,
    longest: u64,
) -> Result<Option<Vec<u8>>, Stop> {
    let (git, app) = (&attempt.platform.git, &attempt.deploy.app);
    match git.entry(app, commit, path).await? {
        None => Ok(None),
        Some(TreeEntry::File(size)) if size <= longest => {
            Ok(git.file(app, commit, path, longest).await?)
        }
        Some(TreeEntry::File(size)) => Err(Stop::NotGood(format!(
            "{path} has {size} bytes; at most {longest} are read"
        ))),
        Some(_) => Err(Stop::NotGood(format!("{path} must be a plain file"))),
    }
}

/// Counts what the build would get, before anything is made of it.
async fn expect_small(
    attempt: &Attempt,
    commit: &CommitId,
    manifest: &Manifest,
) -> Result<TreeSummary, Stop> {
    let (git, build) = (&attempt.platform.git, &attempt.platform.config.build);
    let limits = Limits {
        entries: build.max_files,
        bytes: build.max_context.0,
    };
    let counted = git
        .summarise_tree(&attempt.deploy.app, commit, &manifest.build.context, limits)
        .await?;
    counted.map_err(|too_much| {
        let key = match &too_much {
            TooMuch::Entries(_) => " (build.max_files)",
            TooMuch::Bytes(_) => " (build.max_context)",
            TooMuch::Path => "",
        };
        Stop::NotGood(format!(
            "this commit is too large to build: {too_much}{key}.\nTake what the build does not need out of the commit, point build.context of windlass.toml at a smaller folder, or have the bound raised in the server's config.toml"
        ))
    })
}

fn parse_procfile(bytes: &[u8]) -> Result<Procfile, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the Procfile is not UTF-8".to_owned())?;
    Procfile::parse(text).map_err(|error| error.to_string())
}

fn parse_manifest(bytes: &[u8]) -> Result<Manifest, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| "windlass.toml is not UTF-8 text".to_owned())?;
    let manifest: Manifest =
        toml::from_str(text).map_err(|error| format!("windlass.toml: {error}"))?;
    manifest
        .check()
        .map_err(|error| format!("windlass.toml: {error}"))?;
    Ok(manifest)
}

async fn expect_dockerfile(
    attempt: &Attempt,
    commit: &CommitId,
    manifest: &Manifest,
) -> Result<(), Stop> {
    let (git, app) = (&attempt.platform.git, &attempt.deploy.app);
    let context = manifest
        .build
        .context
        .trim_matches('/')
        .trim_start_matches("./");
    if !matches!(context, "" | ".") {
        match git.entry(app, commit, context).await? {
            Some(TreeEntry::Folder) => {}
            Some(_) => {
                return Err(Stop::NotGood(format!(
                    "build.context = {context:?} is not a folder"
                )));
            }
            None => {
                return Err(Stop::NotGood(format!(
                    "build.context = {context:?} is not in this commit"
                )));
            }
        }
    }
    let path = match context {
        "" | "." => manifest.build.dockerfile.clone(),
        folder => format!("{folder}/{}", manifest.build.dockerfile),
    };
    match git.entry(app, commit, &path).await? {
        Some(TreeEntry::File(_) | TreeEntry::Symlink) => Ok(()),
        _ => Err(Stop::NotGood(format!(
            "there is no {path} in this commit. Add a Dockerfile, or name it in windlass.toml:\n    [build]\n    dockerfile = \"path/to/Dockerfile\""
        ))),
    }
}

/// Builds the image, one build at a time by default.
pub async fn build(attempt: &Attempt, log: &PhaseWriter, source: Source) -> Result<Image, Stop> {
    if attempt.platform.build_slots.available_permits() == 0 {
        log.say("waiting for another build to end");
    }
    let began = Instant::now();
    // Turns come in the order of asking, and an app has one build at a time: none starves another.
    let _turn = attempt
        .queue_for(attempt.platform.build_slots.acquire())
        .await;
    build_now(attempt, log, source, began).await
}

/// Builds now, in a phase that began at this instant.
async fn build_now(
    attempt: &Attempt,
    log: &PhaseWriter,
    source: Source,
    began: Instant,
) -> Result<Image, Stop> {
    let (platform, deploy) = (&attempt.platform, &attempt.deploy);
    let Source {
        commit,
        manifest,
        env,
        secrets,
    } = source;
    let app = &deploy.app;
    let secret = platform.store.secret_name(app, SecretName::Image).await?;
    let name = platform.naming.image(app, &secret, deploy.id);
    let cache = platform
        .store
        .secret_name(app, SecretName::BuildCache)
        .await?;
    let facts = platform.engine.facts().await?;
    make_room(attempt, log, &facts.root).await?;
    if let BuildLimit::NotPossible(why) = platform
        .engine
        .limit_builds(platform.config.build.memory.0, &facts)
    {
        log.say(format!("no memory limit for this build: {why}"));
    }
    let timeout = platform.config.build.timeout.0;
    let spec = BuildSpec {
        image: name.to_string(),
        dockerfile: manifest.build.dockerfile.clone(),
        args: manifest.build.args.clone(),
        cache,
        secrets,
        app: deploy.app.to_string(),
        deploy: deploy.id.to_string(),
        commit: commit.to_string(),
        // The engine looks for what stands behind the first colon.
        session: format!("windlass-{}-{:016x}", deploy.id, rand::random::<u64>()),
        timeout,
    };
    let (context, sending) = context::stream(attempt, &commit, &manifest.build).await?;
    let record = |change: StepChange| {
        attempt.steps(|steps| change.apply(steps, began.elapsed(), &attempt.redactor()))
    };
    let mut printer = Printer {
        log,
        numbers: HashMap::new(),
        printed: HashMap::new(),
        record,
    };
    let building = platform
        .engine
        .build(&spec, context, |event| printer.print(event));
    let built = tokio::time::timeout(timeout, building).await;
    log.end_output();
    for line in sending.summary() {
        log.say(line);
    }
    match built {
        Err(_) => Err(Stop::NotGood(format!(
            "the build took longer than build.timeout = {}",
            show(timeout)
        ))),
        Ok(Err(_)) if let Some(why) = sending.failed() => Err(Stop::NotGood(format!(
            "this commit cannot be sent to a build: {why}"
        ))),
        Ok(Err(BuildStop::Engine(error))) => Err(error.into()),
        Ok(Err(BuildStop::Failed(message))) => {
            Err(Stop::NotGood(format!("the build failed: {message}")))
        }
        Ok(Ok(())) => Ok(Image {
            name,
            commit,
            manifest,
            env,
        }),
    }
}

/// What the timing table is told of a build's step, by its number.
#[derive(Debug)]
enum StepChange {
    Began {
        number: usize,
        name: String,
    },
    Ended {
        number: usize,
        name: String,
        took: Duration,
        cached: bool,
        failed: bool,
    },
}

/// More steps are not recorded: a Dockerfile is a stranger's.
const MOST_STEPS: usize = 200;

impl StepChange {
    /// Brings the steps up to date, `now` after their phase began. A step has one name from beginning to
    /// end, and it may be as foreign as any line of a log.
    fn apply(self, steps: &mut Vec<BuildStep>, now: Duration, redactor: &Redactor) {
        let now = now.as_millis() as u64;
        let (StepChange::Began { number, ref name }
        | StepChange::Ended {
            number, ref name, ..
        }) = self;
        if number == steps.len() + 1 && number <= MOST_STEPS {
            let name = printable(&redactor.clean(name.as_bytes()), 200);
            steps.push(BuildStep {
                name,
                began_ms: now,
                duration_ms: None,
                cached: false,
                failed: false,
            });
        }
        let Some(step) = steps.get_mut(number - 1) else {
            return;
        };
        if let StepChange::Ended {
            took,
            cached,
            failed,
            ..
        } = self
        {
            let took = took.as_millis() as u64;
            // Word of its beginning may have come late.
            step.began_ms = step.began_ms.min(now.saturating_sub(took));
            (step.duration_ms, step.cached, step.failed) = (Some(took), cached, failed);
        }
    }
}

/// Writes a build's events as lines, steps numbered in the order in which they begin.
struct Printer<'a, R> {
    log: &'a PhaseWriter,
    /// Takes what the timing table shows of a step.
    record: R,
    numbers: HashMap<String, usize>,
    /// Steps that have printed something, in that order.
    printed: HashMap<String, usize>,
}

impl<R: FnMut(StepChange)> Printer<'_, R> {
    fn print(&mut self, event: BuildEvent) {
        match event {
            BuildEvent::Step { step, name } if !name.starts_with("[internal]") => {
                let number = self.number(step);
                self.log.say(format!("#{number} {name}"));
                (self.record)(StepChange::Began { number, name });
            }
            BuildEvent::Output {
                step,
                stderr,
                bytes,
            } => {
                let [stdout, complaints] = self.sources(step);
                self.log
                    .output_of(if stderr { complaints } else { stdout }, &bytes);
            }
            BuildEvent::Done {
                step,
                name,
                cached,
                took,
                error,
            } => {
                if name.starts_with("[internal]") && error.is_none() {
                    return;
                }
                self.sources(step.clone())
                    .into_iter()
                    .for_each(|source| self.log.end_output_of(source));
                let told = self.numbers.contains_key(&step);
                let number = self.number(step);
                let failed = error.is_some();
                (self.record)(StepChange::Ended {
                    number,
                    name: name.clone(),
                    took,
                    cached,
                    failed,
                });
                let name = if told {
                    String::new()
                } else {
                    format!(" {name}")
                };
                self.log.say(match (error, cached) {
                    (Some(error), _) => {
                        format!("#{number}{name} FAILED after {}: {error}", show(took))
                    }
                    (None, true) => format!("#{number}{name} CACHED"),
                    (None, false) => format!("#{number}{name} done {}", show(took)),
                });
            }
            BuildEvent::Warning(text) => self.log.say(format!("warning: {text}")),
            BuildEvent::Step { .. } => {}
        }
    }

    /// What a step prints to standard output and to standard error, apart from all other steps.
    fn sources(&mut self, step: String) -> [usize; 2] {
        let next = self.printed.len();
        let place = *self.printed.entry(step).or_insert(next);
        [2 * place, 2 * place + 1]
    }

    fn number(&mut self, step: String) -> usize {
        let next = self.numbers.len() + 1;
        *self.numbers.entry(step).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_are_recorded_as_they_are_printed_and_their_names_are_foreign() {
        let mut env = Environment::default();
        env.set("TOKEN", "s3cret-t0ken").unwrap();
        let redactor = Redactor::new(&env, &[]);
        let dir = tempfile::tempdir().unwrap();
        let logs = crate::logs::Logs::open(dir.path(), u64::MAX).unwrap();
        let clock = crate::domain::Stopwatch::start();
        let (id, phase) = (crate::domain::DeployId(1), crate::domain::Phase::Build);
        let log = logs.write(id, 0, &phase, clock, redactor.clone()).unwrap();
        let (mut steps, mut now) = (Vec::new(), 0);
        let record = |change: StepChange| {
            now += 100;
            change.apply(&mut steps, Duration::from_millis(now), &redactor);
        };
        let mut printer = Printer {
            log: &log,
            numbers: HashMap::new(),
            printed: HashMap::new(),
            record,
        };
        let begins = |step: &str, name: &str| BuildEvent::Step {
            step: step.into(),
            name: name.into(),
        };
        let ends = |step: &str, name: &str, cached, ms, error: Option<&str>| BuildEvent::Done {
            step: step.into(),
            name: name.into(),
            cached,
            took: Duration::from_millis(ms),
            error: error.map(str::to_owned),
        };
        printer.print(begins("i", "[internal] load build context"));
        printer.print(ends("i", "[internal] load build context", false, 5, None));
        printer.print(begins(
            "b",
            "[2/3] RUN echo s3cret-t0ken \u{1b}[2J\u{202e}<b>",
        ));
        printer.print(ends("a", "[1/3] FROM base", true, 0, None));
        printer.print(begins("c", "[3/3] RUN never ends"));
        printer.print(ends(
            "b",
            "[2/3] RUN echo s3cret-t0ken",
            false,
            150,
            Some("exit code: 1"),
        ));
        let told: Vec<_> = steps
            .iter()
            .map(|s| {
                (
                    s.name.as_str(),
                    s.began_ms,
                    s.duration_ms,
                    s.cached,
                    s.failed,
                )
            })
            .collect();
        let expected = [
            ("[2/3] RUN echo [TOKEN] <b>", 100, Some(150), false, true),
            ("[1/3] FROM base", 200, Some(0), true, false),
            ("[3/3] RUN never ends", 300, None, false, false),
        ];
        assert_eq!(told, expected);
        let printed = logs.read(id, Default::default()).unwrap().0;
        assert!(
            printed.contains("\t#1 [2/3] RUN echo [TOKEN] <b>\n"),
            "{printed}"
        );

        let many = |number| StepChange::Began {
            number,
            name: "x".repeat(1000),
        };
        let mut steps = Vec::new();
        (1..1000).for_each(|n| many(n).apply(&mut steps, Duration::ZERO, &redactor));
        assert!(steps.len() == MOST_STEPS && steps[0].name.len() == 200);
    }

    #[test]
    fn a_manifest_that_is_not_text_is_refused() {
        assert!(parse_manifest(&[0xff, 0xfe]).unwrap_err().contains("UTF-8"));
        assert!(
            parse_manifest(b"[web]\nprot = 1")
                .unwrap_err()
                .contains("line 2")
        );
    }

    /// Lines of a manifest, with the keys that there are and values that may not fit.
    const LINES: &str = "(\\[(build|web|health|verify|drain|\\[gates\\])\\]|(name|run|path|status|port|command|context|dockerfile|args|timeout|interval|min_healthy|deadline) = (-?[0-9]{1,20}|\"(\\PC|/|[.]{2}){0,12}\"|\"[0-9]{1,21}(ms|s|m|h|d)\"|\\[\"\\PC{0,6}\"\\]|\\{ a = \"b\" \\}|true)|\\PC{0,12})";

    proptest! {
        #[test]
        fn any_bytes_are_a_manifest_or_a_reason(lines in prop::collection::vec(LINES, 0..8), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            for text in [lines.join("\n").into_bytes(), bytes] {
                match parse_manifest(&text) {
                    Ok(manifest) => {
                        // What a release keeps of it reads back.
                        let kept = serde_json::to_string(&manifest).unwrap();
                        prop_assert_eq!(serde_json::from_str::<Manifest>(&kept).unwrap(), manifest);
                    }
                    Err(why) => prop_assert!(why.starts_with("windlass.toml"), "{}", why),
                }
            }
        }
    }
}
