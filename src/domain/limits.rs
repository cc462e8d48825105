//! What an app's containers may take and do: what every app may, what a manifest asks for, and what an
//! admin allows beyond.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{Object, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::size::Bytes;

/// `[limits]`: what a container may take. What is not said is left to the server's configuration; there
/// it means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory; swap does not add to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 4294967295u32)]
    pub pids: Option<NonZeroU32>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
}

impl Limits {
    /// Docker takes no less.
    pub const LEAST_MEMORY: Bytes = Bytes(6 << 20);

    /// These limits, and `usual` where they say nothing.
    pub fn or(self, usual: Limits) -> Self {
        Self {
            memory: self.memory.or(usual.memory),
            pids: self.pids.or(usual.pids),
            cpus: self.cpus.or(usual.cpus),
        }
    }
}

/// A number of processors, to the thousandth: `2`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schema(value_type = f64, minimum = 0.01, maximum = 1024)]
pub struct Cpus(u32);

impl Cpus {
    /// As thousandths of one.
    pub fn millis(self) -> u32 {
        self.0
    }

    /// From thousandths of one.
    pub fn from_millis(millis: u32) -> Self {
        Self(millis)
    }
}

impl TryFrom<f64> for Cpus {
    type Error = String;
    fn try_from(cpus: f64) -> Result<Self, String> {
        match (0.01..=1024.0).contains(&cpus) {
            true => Ok(Self((cpus * 1000.0).round() as u32)),
            false => Err(format!(
                "{cpus} is no number of processors: write one from 0.01 on, as in 0.5 or 2"
            )),
        }
    }
}

impl From<Cpus> for f64 {
    fn from(cpus: Cpus) -> f64 {
        f64::from(cpus.0) / 1000.0
    }
}

impl FromStr for Cpus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>()
            .unwrap_or(f64::NAN)
            .try_into()
            .map_err(|_: String| {
                format!(
                    "{text:?} is no number of processors: write one from 0.01 on, as in 0.5 or 2"
                )
            })
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(*self))
    }
}

/// `[security]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// What the app's processes may do beyond what every app's may.
    pub capabilities: Vec<Capability>,
}

/// A Linux capability that an app may have, without `CAP_` in front.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^(CHOWN|DAC_OVERRIDE|FOWNER|KILL|NET_BIND_SERVICE|SETGID|SETUID|AUDIT_WRITE|FSETID|IPC_LOCK|LEASE|MKNOD|NET_ADMIN|NET_RAW|SETFCAP|SETPCAP|SYS_CHROOT|SYS_NICE|SYS_PTRACE)$")]
pub struct Capability(String);

/// What every app's containers have: an image that begins as root needs it to hand its files and
/// itself over to another user, and to listen on port 80.
pub const USUAL: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
];

/// What an admin may allow an app. The others give the machine away, and no app gets them.
const MORE: [&str; 12] = [
    "AUDIT_WRITE",
    "FSETID",
    "IPC_LOCK",
    "LEASE",
    "MKNOD",
    "NET_ADMIN",
    "NET_RAW",
    "SETFCAP",
    "SETPCAP",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
];

impl Capability {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every app has it.
    pub fn is_usual(&self) -> bool {
        USUAL.contains(&self.as_str())
    }
}

impl FromStr for Capability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        let known = USUAL.into_iter().chain(MORE).find(|known| *known == name);
        known.map(|known| Self(known.to_owned())).ok_or_else(|| {
            format!(
                "{text:?} is no capability that an app may have; there are {}",
                MORE.join(", ")
            )
        })
    }
}

impl TryFrom<String> for Capability {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> String {
        capability.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an admin allows an app beyond what every app may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allowance {
    /// Up to how much its manifest may ask for.
    #[serde(flatten)]
    pub limits: Limits,
    /// Which capabilities it may ask for.
    pub capabilities: Vec<Capability>,
}

impl PartialSchema for Allowance {
    fn schema() -> RefOr<Schema> {
        // The limits are fields of its own, among which theirs forbids all others.
        let mut object = match Limits::schema() {
            RefOr::T(Schema::Object(limits)) => limits,
            _ => Object::new(),
        };
        object.description = Some("What an admin allows an app beyond what every app may.".into());
        object.additional_properties = None;
        let capabilities = Vec::<Capability>::schema();
        object
            .properties
            .insert("capabilities".into(), capabilities);
        object.required.push("capabilities".into());
        RefOr::T(Schema::Object(object))
    }
}

impl ToSchema for Allowance {
    fn schemas(found: &mut Vec<(String, RefOr<Schema>)>) {
        Limits::schemas(found);
    }
}

/// What a manifest asks for and may not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// As in the manifest: `memory = "2g"`.
    pub asked: Vec<String>,
    /// As for `windlass app allow`: `--memory 2g`.
    pub options: Vec<String>,
}

impl Allowance {
    /// This allowance with `more`: what that says takes the place of what was allowed of its kind.
    pub fn with(self, more: Allowance) -> Self {
        let mut capabilities = match more.capabilities.is_empty() {
            true => self.capabilities,
            false => more.capabilities,
        };
        capabilities.sort();
        capabilities.dedup();
        Self {
            limits: more.limits.or(self.limits),
            capabilities,
        }
    }

    /// What of `limits` and `security` is neither usual nor allowed.
    pub fn excess(&self, limits: &Limits, security: &Security, usual: &Limits) -> Option<Excess> {
        let (mut asked, mut options) = (Vec::new(), Vec::new());
        if let Some(memory) = beyond(limits.memory, usual.memory, self.limits.memory) {
            asked.push(format!("memory = \"{memory}\""));
            options.push(format!("--memory {memory}"));
        }
        if let Some(pids) = beyond(limits.pids, usual.pids, self.limits.pids) {
            asked.push(format!("pids = {pids}"));
            options.push(format!("--pids {pids}"));
        }
        if let Some(cpus) = beyond(limits.cpus, usual.cpus, self.limits.cpus) {
            asked.push(format!("cpus = {cpus}"));
            options.push(format!("--cpus {cpus}"));
        }
        let wanted: Vec<&Capability> = security
            .capabilities
            .iter()
            .filter(|c| !c.is_usual())
            .collect();
        let refused = || {
            wanted
                .iter()
                .filter(|wanted| !self.capabilities.contains(wanted))
        };
        if refused().next().is_some() {
            asked.extend(refused().map(|capability| format!("the capability {capability}")));
            // The command takes the place of what was allowed: what stays has to be in it as well.
            let mut all: Vec<_> = self
                .capabilities
                .iter()
                .chain(wanted.iter().copied())
                .collect();
            all.sort();
            all.dedup();
            options.extend(
                all.into_iter()
                    .map(|capability| format!("--capability {capability}")),
            );
        }
        (!asked.is_empty()).then_some(Excess { asked, options })
    }
}

/// What is asked for, where that is more than the usual and more than what is allowed.
fn beyond<T: Ord + Copy>(asked: Option<T>, usual: Option<T>, allowed: Option<T>) -> Option<T> {
    asked.filter(|asked| {
        usual.is_some_and(|usual| *asked > usual) && allowed.is_none_or(|most| *asked > most)
    })
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { memory, pids, cpus } = self.limits;
        let limits = [
            memory.map(|memory| format!("memory {memory}")),
            pids.map(|pids| format!("{pids} pids")),
            cpus.map(|cpus| format!("{cpus} cpus")),
        ];
        let capabilities = self.capabilities.iter().map(Capability::to_string);
        let said: Vec<String> = limits.into_iter().flatten().chain(capabilities).collect();
        f.write_str(&said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memory: Option<&str>, pids: Option<u32>, cpus: Option<f64>) -> Limits {
        Limits {
            memory: memory.map(|memory| memory.parse().unwrap()),
            pids: pids.map(|pids| pids.try_into().unwrap()),
            cpus: cpus.map(|cpus| cpus.try_into().unwrap()),
        }
    }

    fn security(capabilities: &[&str]) -> Security {
        Security {
            capabilities: capabilities
                .iter()
                .map(|name| name.parse().unwrap())
                .collect(),
        }
    }

    #[test]
    fn what_is_usual_or_allowed_is_no_excess() {
        let usual = limits(Some("512m"), Some(512), None);
        let nothing = Allowance::default();
        let within = limits(Some("100m"), Some(512), Some(64.0));
        assert_eq!(
            nothing.excess(&within, &security(&["chown", "CAP_KILL"]), &usual),
            None
        );

        let asked = limits(Some("1g"), Some(600), Some(2.0));
        let capped = Limits {
            cpus: Some("1".parse().unwrap()),
            ..usual
        };
        let excess = nothing
            .excess(&asked, &security(&["NET_RAW"]), &capped)
            .unwrap();
        assert_eq!(
            excess.asked,
            [
                "memory = \"1g\"",
                "pids = 600",
                "cpus = 2",
                "the capability NET_RAW"
            ]
        );
        let options = [
            "--memory 1g",
            "--pids 600",
            "--cpus 2",
            "--capability NET_RAW",
        ];
        assert_eq!(excess.options, options);

        let allowed = Allowance {
            limits: asked,
            capabilities: security(&["NET_RAW"]).capabilities,
        };
        assert_eq!(
            allowed.excess(&asked, &security(&["net_raw"]), &capped),
            None
        );
        let more = limits(Some("1025m"), None, None);
        assert_eq!(
            allowed
                .excess(&more, &security(&[]), &capped)
                .unwrap()
                .options,
            ["--memory 1025m"]
        );
        // The command that is told allows all that it has to.
        let excess = allowed
            .excess(&asked, &security(&["SYS_NICE"]), &capped)
            .unwrap();
        assert_eq!(
            excess.options,
            ["--capability NET_RAW", "--capability SYS_NICE"]
        );
        assert_eq!(excess.asked, ["the capability SYS_NICE"]);
    }

    #[test]
    fn what_is_said_takes_the_place_of_what_was_allowed_of_its_kind() {
        let before = Allowance {
            limits: limits(Some("1g"), Some(600), None),
            capabilities: security(&["NET_RAW"]).capabilities,
        };
        let more = Allowance {
            limits: limits(Some("2g"), None, Some(1.5)),
            capabilities: security(&["SYS_NICE", "IPC_LOCK", "SYS_NICE"]).capabilities,
        };
        assert_eq!(before.clone().with(Allowance::default()), before);
        let after = before.with(more);
        assert_eq!(
            after.to_string(),
            "memory 2g, 600 pids, 1.5 cpus, IPC_LOCK, SYS_NICE"
        );
        assert_eq!(Allowance::default().to_string(), "");
    }

    #[test]
    fn the_schema_names_every_capability() {
        let schema = serde_json::to_value(Capability::schema()).unwrap();
        let names = schema["pattern"].as_str().unwrap();
        let names = names.trim_start_matches("^(").trim_end_matches(")$");
        let all: Vec<&str> = USUAL.into_iter().chain(MORE).collect();
        assert_eq!(names.split('|').collect::<Vec<_>>(), all);
    }

    #[test]
    fn what_gives_the_machine_away_is_no_capability_of_an_app() {
        for name in ["SYS_ADMIN", "SYS_MODULE", "DAC_READ_SEARCH", "ALL", ""] {
            let refused = name.parse::<Capability>().unwrap_err();
            assert!(refused.contains("NET_RAW"), "{refused}");
        }
    }

    #[test]
    fn processors_are_numbers_above_zero() {
        for text in ["0", "-1", "two", "NaN", "inf"] {
            assert!(
                text.parse::<Cpus>().unwrap_err().contains("0.5 or 2"),
                "{text}"
            );
        }
        assert_eq!(
            ["0.5", "2", "1.25"].map(|t| t.parse::<Cpus>().unwrap().to_string()),
            ["0.5", "2", "1.25"]
        );
    }
}
