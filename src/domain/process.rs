//! Processes: the commands of a release that run all the time. `web` is the one that visitors reach.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::Argv;
use super::deploy::DeployId;
use super::duration::HumanDuration;
use super::instant::Timestamp;
use super::limits::Limits;
use super::name::ProcessName;

/// How a container of a process stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Condition {
    /// It runs, or the engine is bringing it back.
    Running,
    /// Somebody paused it.
    Paused,
    /// It has ended.
    Stopped,
    /// It should be there and is not.
    Missing,
}

/// A container of a process, as `windlass ps --json` gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaState {
    /// The process.
    pub process: ProcessName,
    /// Which of its containers.
    pub replica: u32,
    /// How it stands.
    pub state: Condition,
    /// `live`, or what it is beside that: a `candidate`, or `retiring`.
    pub part: String,
    /// The deploy whose release it runs.
    pub release: DeployId,
    /// Since when it stands so.
    pub since: Option<Timestamp>,
    /// The machine it runs on; null where there is only one.
    pub node: Option<String>,
    /// Percent of one processor; null where that is not known.
    pub cpu_percent: Option<f64>,
    /// Bytes, without what the kernel only caches for it; null where that is not known.
    pub memory_bytes: Option<u64>,
    /// How often the engine brought it back.
    pub restarts: u64,
    /// Its last exit status, while it has ended.
    pub last_exit: Option<i64>,
}

/// `[processes.NAME]`: what runs beside `web`, and how one release takes over from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSettings {
    /// The command and its arguments, without a shell.
    pub command: Argv,
    /// In how many containers it runs.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Which of two releases runs first, the new one or none.
    #[serde(default)]
    pub order: Order,
    /// Has the old release's take no new work, before the new one's begins.
    #[serde(default)]
    pub quiet: Option<Request>,
    /// Has it take work again when the new release does not go live; without it, it is started anew.
    #[serde(default)]
    pub unquiet: Option<Request>,
    /// Asks it to end.
    #[serde(default)]
    pub stop_signal: Signal,
    /// Time between that and SIGKILL.
    #[serde(default = "stop_grace")]
    pub stop_grace: HumanDuration,
    /// Up for this long, the new one counts as good.
    #[serde(default = "min_healthy")]
    pub min_healthy: HumanDuration,
    /// What has to pass in it besides.
    #[serde(default)]
    pub health: Option<ProcessHealth>,
    /// What each of its containers may take; what is not said is as in `[limits]`.
    #[serde(default)]
    pub limits: Limits,
}

impl ProcessSettings {
    /// A command with every default.
    pub fn of(command: Argv) -> Self {
        Self {
            command,
            replicas: one(),
            order: Order::default(),
            quiet: None,
            unquiet: None,
            stop_signal: Signal::default(),
            stop_grace: stop_grace(),
            min_healthy: min_healthy(),
            health: None,
            limits: Limits::default(),
        }
    }

    /// More containers of one process than this are a slip.
    pub const MOST_REPLICAS: u32 = 100;
}

fn one() -> u32 {
    1
}

fn stop_grace() -> HumanDuration {
    HumanDuration::secs(30)
}

fn min_healthy() -> HumanDuration {
    HumanDuration::secs(5)
}

/// How one release's process follows on another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The new one runs beside the old one until it has proved itself.
    #[default]
    StartFirst,
    /// The old one has ended before the new one begins: never two at once.
    StopFirst,
}

/// What a process is told while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// By a signal to its first process.
    Signal(Signal),
    /// By a command in its container.
    Run(Argv),
}

/// `processes.NAME.health`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessHealth {
    /// A command in its container that passes once it works.
    pub run: Argv,
}

/// A signal by name, with or without `SIG`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[serde(try_from = "String", into = "String")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Signal {
    /// End, please.
    #[default]
    Term,
    /// As Ctrl-C.
    Int,
    /// As Ctrl-\\.
    Quit,
    /// Read the configuration anew.
    Hup,
    /// What the program makes of it.
    Usr1,
    /// What the program makes of it.
    Usr2,
    /// As Ctrl-Z; some take no new work then.
    Tstp,
    /// As Ctrl-Z in the background.
    Ttin,
    /// Go on.
    Cont,
    /// The window's size changed; some go quietly then.
    Winch,
}

impl TryFrom<String> for Signal {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let name = text.strip_prefix("SIG").unwrap_or(&text);
        name.parse().map_err(|_| {
            let known = <Self as strum::VariantNames>::VARIANTS.join(", ");
            format!("{text:?} is no signal that can be sent here; there is {known}")
        })
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> String {
        signal.to_string()
    }
}

/// A process of a release, and in how many containers it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Process {
    /// Its name.
    #[serde(rename = "process")]
    pub name: ProcessName,
    /// So many containers.
    pub replicas: u32,
}

impl Process {
    /// Its containers, the first one first.
    pub fn each(&self) -> impl Iterator<Item = Replica> + '_ {
        (1..=self.replicas).map(|number| Replica {
            process: self.name.clone(),
            number,
        })
    }
}

/// One container of a process: `web.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// Which process.
    pub process: ProcessName,
    /// Which of its containers, from 1.
    pub number: u32,
}

impl Replica {
    /// The container that serves, and the only one of an app's release that has no processes of its own.
    pub fn web() -> Self {
        Self {
            process: ProcessName::web(),
            number: 1,
        }
    }

    /// Whether it is [`Replica::web`].
    pub fn is_web(&self) -> bool {
        self.process.is_web() && self.number == 1
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process, self.number)
    }
}

impl FromStr for Replica {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no replica: write PROCESS.NUMBER, as in web.1");
        let (process, number) = text.split_once('.').ok_or_else(bad)?;
        Ok(Self {
            process: process.parse().map_err(|_| bad())?,
            number: number
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(bad)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_and_signals_their_usual_names() {
        let read = |text: &str| toml::from_str::<ProcessSettings>(text);
        let least = read("command = [\"work\"]").unwrap();
        assert_eq!(
            (least.replicas, least.order, least.stop_signal),
            (1, Order::StartFirst, Signal::Term)
        );
        let all = "command = [\"work\"]\norder = \"stop-first\"\nquiet = { signal = \"SIGTSTP\" }\n\
                   unquiet = { run = [\"wake\"] }\nhealth = { run = [\"ping\"] }\nlimits = { memory = \"256m\" }";
        let all = read(all).unwrap();
        assert_eq!(all.quiet, Some(Request::Signal(Signal::Tstp)));
        assert_eq!(all.unquiet, Some(Request::Run(Argv(vec!["wake".into()]))));
        let kept = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<ProcessSettings>(&kept).unwrap(), all);
        for (bad, says) in [
            ("replicas = 2", "missing field `command`"),
            ("command = \"work hard\"", "write [\"work\", \"hard\"]"),
            (
                "command = [\"w\"]\nstop_signal = \"KILL\"",
                "there is TERM, INT",
            ),
            ("command = [\"w\"]\norder = \"later\"", "start-first"),
            ("command = [\"w\"]\nquiet = { sign = \"TERM\" }", "signal"),
            ("command = [\"w\"]\nport = 1", "port"),
        ] {
            let said = read(bad).unwrap_err().to_string();
            assert!(said.contains(says), "{bad}: {said}");
        }
    }

    #[test]
    fn a_replica_reads_back_as_it_is_shown() {
        let worker = Process {
            name: "worker".parse().unwrap(),
            replicas: 2,
        };
        let shown: Vec<String> = worker.each().map(|replica| replica.to_string()).collect();
        assert_eq!(shown, ["worker.1", "worker.2"]);
        assert_eq!("web.1".parse(), Ok(Replica::web()));
        for bad in [
            "", "web", "web.", "web.0", "web.-1", ".1", "We.1", "web.1.1",
        ] {
            assert!(bad.parse::<Replica>().is_err(), "{bad}");
        }
    }
}
