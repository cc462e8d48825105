//! The manifest: what an app's repository says about building, proving and running it.
//!
//! These types are both what `windlass.toml` may contain and what a release keeps of it.
//! Unknown keys are refused; every value has a default.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::command::Argv;
use super::duration::HumanDuration;
use super::environment::{Environment, InvalidVariable};
use super::limits::{Limits, Security};
use super::name::{GateName, ProcessName};
use super::process::{Process, ProcessSettings};
use super::procfile::Procfile;

/// The port an app is expected on when neither manifest nor image says one.
pub const DEFAULT_PORT: u16 = 8000;

/// All of `windlass.toml`, defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// How the image is built.
    pub build: Build,
    /// What visitors reach.
    pub web: Web,
    /// What else runs all the time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<ProcessName, ProcessSettings>,
    /// What must pass first; `None` leaves it to [`Manifest::settle_gates`].
    pub gates: Option<Vec<Gate>>,
    /// When the candidate counts as healthy.
    pub health: Health,
    /// What the public URL must answer.
    pub verify: Verify,
    /// How the old container goes.
    pub drain: Drain,
    /// What a container may take.
    pub limits: Limits,
    /// What its processes may do.
    pub security: Security,
}

/// `[build]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// The Dockerfile, relative to the context.
    pub dockerfile: String,
    /// The folder of the repository that is sent to the build.
    pub context: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Variables of the app that a step may mount, as `RUN --mount=type=secret,id=NAME`.
    pub secrets: Vec<String>,
}

/// `[web]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// Instead of the image's own command.
    pub command: Option<Argv>,
    /// Instead of the image's one exposed port.
    pub port: Option<u16>,
}

/// `[[gates]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Shown as `gate:<name>`.
    pub name: GateName,
    /// The command and its arguments, without a shell.
    pub run: Argv,
    /// How long it may take.
    #[serde(default = "gate_timeout")]
    pub timeout: HumanDuration,
}

/// `[health]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Asked of the candidate.
    pub path: String,
    /// Answers that count as healthy.
    pub status: StatusRange,
    /// Time between two probes.
    pub interval: HumanDuration,
    /// How long one probe may take.
    pub timeout: HumanDuration,
    /// Healthy without a break for this long.
    pub min_healthy: HumanDuration,
    /// Given up after this long.
    pub deadline: HumanDuration,
}

/// `[verify]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// Asked of the public URL.
    pub path: String,
    /// Answers that count as good.
    pub status: StatusRange,
    /// Swapped back after this long.
    pub timeout: HumanDuration,
}

/// `[drain]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long running requests may still take.
    pub timeout: HumanDuration,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: HumanDuration,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            dockerfile: "Dockerfile".into(),
            context: ".".into(),
            args: BTreeMap::new(),
            secrets: Vec::new(),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: "/".into(),
            status: StatusRange::default(),
            interval: HumanDuration::secs(1),
            timeout: HumanDuration::secs(2),
            min_healthy: HumanDuration::secs(10),
            deadline: HumanDuration::secs(300),
        }
    }
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            path: "/".into(),
            status: StatusRange::default(),
            timeout: HumanDuration::secs(90),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: HumanDuration::secs(30),
            stop_grace: HumanDuration::secs(30),
        }
    }
}

fn gate_timeout() -> HumanDuration {
    HumanDuration::secs(600)
}

/// A manifest that reads but makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidManifest {
    /// A path that leaves the repository.
    #[error(
        "{key} = {given:?} must be a path inside the repository, without a leading '/' and without '..'"
    )]
    Path {
        /// The key, as `build.context`.
        key: &'static str,
        /// What it was set to.
        given: String,
    },
    /// A URL path that is none.
    #[error("{key} = {given:?} must begin with '/' and contain no spaces or control characters")]
    UrlPath {
        /// The key, as `health.path`.
        key: &'static str,
        /// What it was set to.
        given: String,
    },
    /// Two gates of one name.
    #[error("two gates are named {0:?}: names must differ, as each has its own phase and log")]
    TwoGates(String),
    /// A deadline that can never be met.
    #[error(
        "health.min_healthy = \"{min_healthy}\" is not below health.deadline = \"{deadline}\": no candidate could ever pass"
    )]
    Deadline {
        /// As set.
        min_healthy: HumanDuration,
        /// As set.
        deadline: HumanDuration,
    },
    /// A pause of nothing between probes.
    #[error("{0} = \"0ms\" makes no sense: give a time above zero")]
    Zero(&'static str),
    /// Less than any process can do with.
    #[error("{0}limits.memory must be at least 6m: Docker takes no less")]
    LittleMemory(String),
    /// One that the builder itself obeys.
    #[error(
        "build.args may not set {0}: the builder itself obeys it, and leaves it out of what tells builds apart. Give the argument another name, or set a proxy for the engine"
    )]
    BuildArg(String),
    /// Not the name of a variable.
    #[error("build.secrets: {0}")]
    Secret(InvalidVariable),
    /// The one process that has a table of its own.
    #[error("processes.web is what [web] says: write its command there")]
    WebTwice,
    /// More than anybody means.
    #[error("processes.{process}.replicas = {replicas} is too many: at most {most}")]
    Replicas {
        /// Which process.
        process: ProcessName,
        /// As set.
        replicas: u32,
        /// As many may be.
        most: u32,
    },
    /// No port is numbered 0.
    #[error("web.port = 0 is no port: give the one the app listens on inside its container")]
    PortZero,
}

/// Build arguments that BuildKit knows without an `ARG`: proxies, and its own settings.
fn is_builders(arg: &str) -> bool {
    const PROXIES: [&str; 5] = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "FTP_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
    ];
    let upper = arg.to_ascii_uppercase();
    PROXIES.contains(&upper.as_str()) || upper.starts_with("BUILDKIT_")
}

impl Manifest {
    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// The first thing that makes no sense, named by its key.
    pub fn check(&self) -> Result<(), InvalidManifest> {
        repository_path("build.dockerfile", &self.build.dockerfile)?;
        repository_path("build.context", &self.build.context)?;
        url_path("health.path", &self.health.path)?;
        url_path("verify.path", &self.verify.path)?;
        let little = |limits: &Limits| limits.memory.is_some_and(|m| m < Limits::LEAST_MEMORY);
        if little(&self.limits) {
            return Err(InvalidManifest::LittleMemory(String::new()));
        }
        for (name, settings) in &self.processes {
            if name.is_web() {
                return Err(InvalidManifest::WebTwice);
            }
            if little(&settings.limits) {
                return Err(InvalidManifest::LittleMemory(format!("processes.{name}.")));
            }
            if settings.replicas > ProcessSettings::MOST_REPLICAS {
                return Err(InvalidManifest::Replicas {
                    process: name.clone(),
                    replicas: settings.replicas,
                    most: ProcessSettings::MOST_REPLICAS,
                });
            }
        }
        if let Some(name) = self.build.args.keys().find(|name| is_builders(name)) {
            return Err(InvalidManifest::BuildArg(name.clone()));
        }
        for name in &self.build.secrets {
            Environment::check_name(name).map_err(InvalidManifest::Secret)?;
        }
        if self.web.port == Some(0) {
            return Err(InvalidManifest::PortZero);
        }
        for (key, duration) in [
            ("health.interval", self.health.interval),
            ("health.timeout", self.health.timeout),
        ] {
            if duration.0.is_zero() {
                return Err(InvalidManifest::Zero(key));
            }
        }
        let Health {
            min_healthy,
            deadline,
            ..
        } = self.health;
        if min_healthy >= deadline {
            return Err(InvalidManifest::Deadline {
                min_healthy,
                deadline,
            });
        }
        let gates = self.gates.as_deref().unwrap_or_default();
        let repeated = gates
            .iter()
            .enumerate()
            .find(|(i, g)| gates[..*i].iter().any(|e| e.name == g.name));
        match repeated {
            Some((_, gate)) => Err(InvalidManifest::TwoGates(gate.name.to_string())),
            None => Ok(()),
        }
    }

    /// What runs all the time: `web` first, the others by name.
    pub fn processes(&self) -> Vec<Process> {
        let web = Process {
            name: ProcessName::web(),
            replicas: 1,
        };
        let others = self.processes.iter().map(|(name, settings)| Process {
            name: name.clone(),
            replicas: settings.replicas,
        });
        [web].into_iter().chain(others).collect()
    }

    /// Takes from a Procfile what this does not say: `web`'s command, `release` as the one gate, and every
    /// other line as a process. Gives the names of what it took.
    pub fn take_procfile(&mut self, mut procfile: Procfile) -> Vec<String> {
        let (web, release) = (procfile.take("web"), procfile.take("release"));
        let mut taken = Vec::new();
        if let (None, Some(command)) = (&self.web.command, web) {
            self.web.command = Some(command);
            taken.push("web".to_owned());
        }
        if let (None, Some(run)) = (&self.gates, release) {
            let name = "release".parse().expect("a valid gate name");
            let timeout = gate_timeout();
            self.gates = Some(vec![Gate { name, run, timeout }]);
            taken.push("release, as a gate".to_owned());
        }
        if self.processes.is_empty() {
            let rest = procfile.rest();
            self.processes = rest
                .map(|(name, command)| (name, ProcessSettings::of(command)))
                .collect();
            taken.extend(self.processes.keys().map(ProcessName::to_string));
        }
        taken
    }

    /// The gates that run. Where the manifest names none, a Django project (one with a
    /// `manage.py`) is checked and migrated; anything else has no gate.
    pub fn settle_gates(&mut self, has_manage_py: bool) {
        self.gates.get_or_insert_with(|| {
            if has_manage_py {
                django_gates()
            } else {
                Vec::new()
            }
        });
    }
}

fn django_gates() -> Vec<Gate> {
    let gate = |name: &str, args: [&str; 2]| Gate {
        name: name.parse().expect("a valid gate name"),
        run: Argv(
            ["python", "manage.py"]
                .iter()
                .chain(&args)
                .map(|w| (*w).to_owned())
                .collect(),
        ),
        timeout: gate_timeout(),
    };
    vec![
        gate("check", ["check", "--deploy"]),
        gate("migrate", ["migrate", "--noinput"]),
    ]
}

fn repository_path(key: &'static str, given: &str) -> Result<(), InvalidManifest> {
    let inside = !given.is_empty()
        && !given.starts_with('/')
        && given.split('/').all(|part| part != "..")
        && !given.contains(|c: char| c.is_control());
    if inside {
        Ok(())
    } else {
        Err(InvalidManifest::Path {
            key,
            given: given.to_owned(),
        })
    }
}

fn url_path(key: &'static str, given: &str) -> Result<(), InvalidManifest> {
    let plain = given.starts_with('/') && given.bytes().all(|b| b.is_ascii_graphic());
    if plain {
        Ok(())
    } else {
        Err(InvalidManifest::UrlPath {
            key,
            given: given.to_owned(),
        })
    }
}

/// HTTP statuses from one to another, both included: `"200-399"`, or `"204"` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    from: u16,
    to: u16,
}

impl StatusRange {
    /// Whether `status` lies in the range.
    pub fn contains(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl Default for StatusRange {
    fn default() -> Self {
        Self { from: 200, to: 399 }
    }
}

impl FromStr for StatusRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no status range: write \"200-399\" or \"204\"");
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let status = |s: &str| {
            s.trim()
                .parse::<u16>()
                .ok()
                .filter(|s| (100..=599).contains(s))
        };
        let range = Self {
            from: status(from).ok_or_else(refused)?,
            to: status(to).ok_or_else(refused)?,
        };
        if range.from <= range.to {
            Ok(range)
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}-{}", self.from, self.to)
        }
    }
}

impl TryFrom<String> for StatusRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> String {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| e.to_string())?;
        manifest.check().map_err(|e| e.to_string())?;
        Ok(manifest)
    }

    #[test]
    fn an_empty_manifest_is_all_defaults() {
        let mut manifest = read("").unwrap();
        assert_eq!(manifest, Manifest::default());
        manifest.settle_gates(true);
        let gates = manifest.gates.unwrap();
        assert_eq!(gates[0].run.to_string(), "python manage.py check --deploy");
        assert_eq!(
            gates[1].run.to_string(),
            "python manage.py migrate --noinput"
        );
    }

    #[test]
    fn gates_named_in_the_manifest_replace_the_default_ones() {
        let mut manifest = read("gates = []").unwrap();
        manifest.settle_gates(true);
        assert_eq!(manifest.gates, Some(vec![]));
    }

    #[test]
    fn a_mistyped_key_is_named_with_its_line() {
        let error = read("[health]\npath = \"/\"\nintervall = \"1s\"\n").unwrap_err();
        assert!(
            error.contains("line 3") && error.contains("intervall") && error.contains("interval"),
            "{error}"
        );
    }

    #[test]
    fn a_shell_string_is_refused_with_the_array_to_write() {
        let error = read("[[gates]]\nname = \"t\"\nrun = \"python manage.py test\"\n").unwrap_err();
        assert!(
            error.contains(r#"["python", "manage.py", "test"]"#) && error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, says) in [
            ("[build]\ncontext = \"../other\"", "build.context"),
            ("[build]\ndockerfile = \"/etc/passwd\"", "build.dockerfile"),
            ("[health]\npath = \"health\"", "health.path"),
            (
                "[health]\nmin_healthy = \"301s\"",
                "no candidate could ever pass",
            ),
            ("[health]\nstatus = \"399-200\"", "200-399"),
            ("[web]\nport = 0", "web.port"),
            ("[limits]\nmemory = \"1m\"", "limits.memory"),
            ("[limits]\npids = 0", "nonzero"),
            ("[limits]\ncpus = 0.0", "0.5 or 2"),
            ("[security]\ncapabilities = [\"SYS_ADMIN\"]", "NET_RAW"),
            ("[build]\nsecrets = [\"A-B\"]", "build.secrets: \"A-B\""),
            ("[web]\ncommand = []", "empty"),
            (
                "[[gates]]\nname=\"a\"\nrun=[\"x\"]\n[[gates]]\nname=\"a\"\nrun=[\"y\"]",
                "two gates",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_a_release_keeps_reads_back() {
        let mut manifest =
            read("[web]\nport = 9000\ncommand = [\"run\", \"a b\"]\n[build.args]\nA = \"1\"\n\
                  [limits]\nmemory = \"1536m\"\npids = 9\ncpus = 1.5\n[security]\ncapabilities = [\"cap_net_raw\"]",
            ).unwrap();
        manifest.settle_gates(true);
        let kept = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&kept).unwrap(), manifest);
    }

    proptest! {
        #[test]
        fn no_manifest_panics(text in "[\\[\\]a-z=\"0-9\\n. -]{0,200}") {
            let _ = read(&text);
        }
    }
}
