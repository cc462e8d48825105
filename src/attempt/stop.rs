//! How a deploy stops before its end, and who may stop it.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

use crate::domain::{Failure, printable};
use crate::platform::Error;

/// Why a deploy stopped. The first two are outcomes, the last is a defect of the machine.
#[derive(Debug)]
pub enum Stop {
    /// The new version is not good enough; the text says why.
    NotGood(String),
    /// Someone asked for it; who.
    Cancelled(String),
    /// Something under Windlass broke.
    Broken(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Broken(error.into())
    }
}

/// Where a deploy stopped, and why.
#[derive(Debug)]
pub struct Ended {
    /// The phase's name.
    pub phase: String,
    /// Why.
    pub stop: Stop,
}

impl Ended {
    /// As it is stored and shown.
    pub fn failure(&self) -> Failure {
        let message = match &self.stop {
            Stop::NotGood(reason) => reason.clone(),
            Stop::Cancelled(by) => format!("cancelled by {by}"),
            Stop::Broken(error) => error.to_string(),
        };
        Failure {
            phase: self.phase.clone(),
            message: shown(&message),
        }
    }
}

/// What may be shown of a reason, into which a repository's text or a container's output has gone.
fn shown(reason: &str) -> String {
    let lines = reason.lines().take(100);
    lines
        .map(|line| printable(&line.replace('\t', "    "), 2000))
        .collect::<Vec<_>>()
        .join("\n")
}

/// How a running deploy is told to stop.
#[derive(Debug, Default)]
pub struct Cancel {
    token: CancellationToken,
    by: OnceLock<String>,
}

impl Cancel {
    /// Tells the deploy to stop at its next step. The first one who asks is named.
    pub fn ask(&self, by: &str) {
        let _ = self.by.set(by.to_owned());
        self.token.cancel();
    }

    /// Why to stop, once somebody has asked.
    pub fn asked(&self) -> Option<Stop> {
        self.token
            .is_cancelled()
            .then(|| Stop::Cancelled(self.by.get().cloned().unwrap_or_default()))
    }

    /// Ends when somebody asks.
    pub(super) async fn wait(&self) -> Stop {
        self.token.cancelled().await;
        Stop::Cancelled(self.by.get().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failures_reason_drives_no_terminal_and_is_bounded() {
        let hostile = format!(
            "windlass.toml: \u{1b}[2J\u{202e}<b>\n\tx\n{}",
            "long\n".repeat(1000)
        );
        let stop = Stop::NotGood(hostile + &"x".repeat(10_000));
        let message = Ended {
            phase: "checkout".into(),
            stop,
        }
        .failure()
        .message;
        assert!(
            message.starts_with("windlass.toml: [2J<b>\n    x\nlong\n"),
            "{message}"
        );
        assert!(message.lines().count() == 100 && message.len() < 2000);
    }
}
