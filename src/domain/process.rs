//! Processes: the commands of a release that run all the time. `web` is the one that visitors reach.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::name::ProcessName;

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
