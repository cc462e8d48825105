//! `windlass doctor`: what the machine is like, what is wrong with it and how to mend that.
//!
//! It works without the server and changes nothing. Each check is a function that gives findings.

mod engine;
mod files;
mod host;
mod space;
mod ssh;

use serde::Serialize;

use super::client::Client;
use super::table::plain;
use super::{CliError, Outcome, print, print_json};
use crate::api::Ping;
use crate::config::{Config, Home};
use crate::domain::size::show;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// What one check found.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    check: String,
    status: Status,
    found: String,
    /// How to mend it.
    mend: Option<String>,
    /// Of what takes space: how much.
    bytes: Option<u64>,
}

impl Finding {
    fn ok(check: &str, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            status: Status::Ok,
            found: found.into(),
            mend: None,
            bytes: None,
        }
    }
    fn warn(check: &str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            status: Status::Warn,
            mend: Some(mend.into()),
            ..Self::ok(check, found)
        }
    }
    fn fail(check: &str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(check, found, mend)
        }
    }
    /// Something that takes space.
    fn taker(check: &str, bytes: u64, found: impl std::fmt::Display) -> Self {
        Self {
            bytes: Some(bytes),
            ..Self::ok(check, format!("{} {found}", show(bytes)))
        }
    }
}

/// Runs every check and prints what was found; not done if one failed.
pub fn run(home: &Home, json: bool) -> Result<Outcome, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let findings = runtime.block_on(examine(home));
    if json {
        print_json(&findings)?;
    } else {
        print(&text(&findings))?;
    }
    Ok(Outcome::done_if(worst(&findings) != Status::Fail))
}

async fn examine(home: &Home) -> Vec<Finding> {
    let (config, finding) = configuration(home);
    let mut findings = files::check(home);
    let asked = home.clone();
    // A client blocks.
    let server = tokio::task::spawn_blocking(move || server(&asked)).await;
    let server = server.unwrap_or_else(|error| Finding::fail("server", error.to_string(), ""));
    findings.extend([finding, server, host::git()]);
    findings.extend(ssh::check(home));
    let engine = engine::check(home, &config).await;
    findings.extend(engine.findings);
    findings.extend(host::ports(&config, &engine.caddy_ports));
    findings.extend(space::disks(home, &config, engine.root.as_deref()));
    findings.extend(
        [host::memory(), host::mtu(), host::address_pool(&config)]
            .into_iter()
            .flatten(),
    );
    findings.extend(space::takers(home, &config, engine.usage.as_ref()));
    findings
}

fn configuration(home: &Home) -> (Config, Finding) {
    let path = home.config();
    match Config::read(home) {
        Ok(config) if path.exists() => (
            config,
            Finding::ok("config", format!("{} reads", path.display())),
        ),
        Ok(config) => (
            config,
            Finding::ok("config", "no config.toml: every key has its default"),
        ),
        Err(error) => {
            let mend =
                "Mend it; the checks below go by the defaults. Every key: docs/configuration.md";
            (
                Config::default(),
                Finding::fail("config", error.to_string(), mend),
            )
        }
    }
}

fn server(home: &Home) -> Finding {
    let client = Client::new(home.control_socket(), crate::cli::caller());
    match client.and_then(|client| client.value(&Ping {})) {
        Ok(value) => {
            let version = value["version"].as_str().unwrap_or("of unknown version");
            Finding::ok(
                "server",
                format!("answers; windlass {version}, process {}", value["pid"]),
            )
        }
        Err(CliError::Unreachable(why)) => {
            let (found, mend) = why.split_once('\n').unwrap_or((&why, ""));
            Finding::fail("server", found, mend)
        }
        Err(CliError::Refused(why) | CliError::Usage(why)) => {
            Finding::fail("server", why, "Restart it: systemctl restart windlass")
        }
        Err(CliError::Output(error)) => Finding::fail("server", error.to_string(), ""),
    }
}

fn worst(findings: &[Finding]) -> Status {
    findings
        .iter()
        .map(|finding| finding.status)
        .max()
        .unwrap_or(Status::Ok)
}

fn text(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.check.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let first_taker = findings.iter().position(|finding| finding.bytes.is_some());
    for (number, finding) in findings.iter().enumerate() {
        if Some(number) == first_taker {
            text.push_str("\nWhat takes the space:\n");
        }
        let (mark, word) = match finding.status {
            Status::Ok => ('✓', ""),
            Status::Warn => ('!', "warning: "),
            Status::Fail => ('✗', "FAILED: "),
        };
        let mut found = finding.found.lines();
        let first = plain(found.next().unwrap_or_default());
        text.push_str(&format!("{mark} {:width$}  {word}{first}\n", finding.check));
        for line in found.chain(finding.mend.iter().flat_map(|mend| mend.lines())) {
            text.push_str(format!("  {:width$}    {}", "", plain(line)).trim_end());
            text.push('\n');
        }
    }
    let count = |status| {
        findings
            .iter()
            .filter(|finding| finding.status == status)
            .count()
    };
    text.push_str(&match (count(Status::Fail), count(Status::Warn)) {
        (0, 0) => "\nAll is well.\n".to_owned(),
        (0, warnings) => format!("\nNothing failed; warnings: {warnings}.\n"),
        (failures, warnings) => format!("\nFailed: {failures}; warnings: {warnings}.\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_read_as_a_list_with_how_to_mend() {
        let findings = [
            Finding::ok("git", "2.47"),
            Finding::warn("memory", "180 MiB available", "Add swap."),
            Finding::fail("config", "line 2\n  | htp", "Mend it.\nSee docs."),
        ];
        assert_eq!(
            text(&findings),
            "✓ git     2.47\n! memory  warning: 180 MiB available\n            Add swap.\n\
             ✗ config  FAILED: line 2\n              | htp\n            Mend it.\n            See docs.\n\n\
             Failed: 1; warnings: 1.\n"
        );
        assert_eq!(worst(&findings), Status::Fail);
        let space = [
            Finding::ok("git", "2.47"),
            Finding::taker("logs", 3 << 20, "of 2 deploys"),
        ];
        assert_eq!(
            text(&space),
            "✓ git   2.47\n\nWhat takes the space:\n✓ logs  3 MiB of 2 deploys\n\nAll is well.\n"
        );
    }

    #[tokio::test]
    async fn a_machine_without_server_engine_and_sound_configuration_is_examined_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path()).unwrap();
        std::fs::write(
            home.config(),
            "[docker]\nsocket = \"/nonexistent/docker.sock\"\n",
        )
        .unwrap();
        let findings = examine(&home).await;
        let status = |check: &str| findings.iter().find(|f| f.check == check).map(|f| f.status);
        assert_eq!(status("home"), Some(Status::Ok), "{findings:#?}");
        assert_eq!(status("config"), Some(Status::Ok));
        assert_eq!(status("server"), Some(Status::Fail));
        assert_eq!(status("docker"), Some(Status::Fail));
        assert!(status("git").is_some() && status("disk").is_some() && status("memory").is_some());
        assert!(
            findings
                .iter()
                .all(|f| f.status == Status::Ok || f.mend.is_some()),
            "{findings:#?}"
        );
        std::fs::write(home.config(), "[docker]\nsockt = 1\n").unwrap();
        let (_, finding) = configuration(&home);
        assert!(
            finding.status == Status::Fail && finding.found.contains("line 2"),
            "{finding:?}"
        );
    }
}
