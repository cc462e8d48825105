//! What a container of the fake does: a timeline, made from its command when it starts.
//!
//! It knows just enough of a shell for the same command to do the same on a real engine (`sh -c` with
//! `echo`, `sleep`, `exit`), and one command that no real image has: `serve`, a web server.

use std::time::Duration;

/// What a process does at some time after its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// A line; to standard error if so.
    Print(bool, String),
    /// From now on it answers with this status, on this port or the one in `PORT`.
    Serve(u16, Option<u16>),
    /// It ends.
    Exit(i64),
}

/// What a process does, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Program {
    /// When after the start, and what.
    pub(super) acts: Vec<(Duration, Act)>,
    /// It takes no notice of SIGTERM.
    pub(super) ignores_term: bool,
}

impl Program {
    /// The program that a command stands for.
    pub(super) fn of(command: &[String]) -> Self {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut program = Self::default();
        let mut at = Duration::ZERO;
        match words.as_slice() {
            ["sh" | "/bin/sh", "-c", script] => {
                let mut last = 0;
                for line in script.split([';', '\n']) {
                    match program.line(&mut at, line.trim().trim_start_matches("exec ")) {
                        Some(status) => last = status,
                        None => return program,
                    }
                }
                program.acts.push((at, Act::Exit(last)));
            }
            words => {
                if let Some(status) = program.line(&mut at, &words.join(" ")) {
                    program.acts.push((at, Act::Exit(status)));
                }
            }
        }
        program
    }

    /// Takes one command: its status, or none where the process ends with it or never.
    fn line(&mut self, at: &mut Duration, line: &str) -> Option<i64> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["true"] => Some(0),
            ["false"] => Some(1),
            ["echo", text @ .., ">&2"] => {
                self.acts.push((*at, Act::Print(true, text.join(" "))));
                Some(0)
            }
            ["echo", text @ ..] => {
                self.acts.push((*at, Act::Print(false, text.join(" "))));
                Some(0)
            }
            ["sleep", seconds] => {
                let seconds: f64 = seconds.parse().unwrap_or(0.0);
                *at += Duration::from_secs_f64(seconds);
                Some(0)
            }
            ["exit", status] => {
                let status = status.parse().unwrap_or(2);
                self.acts.push((*at, Act::Exit(status)));
                None
            }
            ["trap", .., "TERM"] => {
                self.ignores_term = true;
                Some(0)
            }
            ["caddy", "version"] => Some(0),
            ["caddy", ..] => None,
            ["serve", status, more @ ..] => {
                let port = more.first().and_then(|port| port.parse().ok());
                let status = status.parse().unwrap_or(200);
                self.acts.push((*at, Act::Serve(status, port)));
                Some(0)
            }
            ["chatter", count] => {
                // A line every 100 ms.
                for number in 1..=count.parse().unwrap_or(0) {
                    self.acts
                        .push((*at, Act::Print(false, format!("line {number}"))));
                    *at += Duration::from_millis(100);
                }
                Some(0)
            }
            ["forever"] => None,
            [command, ..] => {
                let why = format!("sh: 1: {command}: not found");
                self.acts.push((*at, Act::Print(true, why)));
                Some(127)
            }
        }
    }

    /// When it ends by itself, after its start.
    pub(super) fn end(&self) -> Option<(Duration, i64)> {
        self.acts.iter().find_map(|(at, act)| match act {
            Act::Exit(status) => Some((*at, *status)),
            _ => None,
        })
    }

    /// What it printed up to a time after its start.
    pub(super) fn printed(&self, until: Duration) -> impl Iterator<Item = (Duration, bool, &str)> {
        self.acts.iter().filter_map(move |(at, act)| match act {
            Act::Print(stderr, text) if *at <= until => Some((*at, *stderr, text.as_str())),
            _ => None,
        })
    }

    /// What it answers with, and on which port if it says so itself.
    pub(super) fn serves(&self, at: Duration) -> Option<(u16, Option<u16>)> {
        self.acts
            .iter()
            .rev()
            .find_map(|(from, act)| match act {
                Act::Serve(status, port) if *from <= at => Some((*status, *port)),
                _ => None,
            })
            .filter(|(status, _)| *status != 0)
    }

    /// The next time after `now` at which it does something.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        self.acts
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| *at > now)
            .min()
    }
}

/// What the fake reads of a Dockerfile.
#[derive(Debug, Clone, Default)]
pub(super) struct Recipe {
    pub(super) command: Vec<String>,
    pub(super) ports: Vec<u16>,
    pub(super) healthcheck: Option<Vec<String>>,
    /// Steps that are run: their text, how long they take, their status.
    pub(super) steps: Vec<(String, Duration, i64)>,
}

impl Recipe {
    pub(super) fn of(dockerfile: &str) -> Self {
        let mut recipe = Self::default();
        let argv = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap_or_default();
        for line in dockerfile.lines() {
            let Some((word, rest)) = line.trim().split_once(' ') else {
                continue;
            };
            match word {
                "CMD" => recipe.command = argv(rest),
                "EXPOSE" => recipe.ports.extend(rest.parse::<u16>()),
                "HEALTHCHECK" => {
                    recipe.healthcheck = rest.split_once("CMD ").map(|(_, rest)| argv(rest));
                }
                "RUN" => {
                    let shell = ["sh", "-c", rest].map(str::to_owned);
                    let (took, status) = Program::of(&shell).end().unwrap_or_default();
                    recipe.steps.push((rest.to_owned(), took, status));
                }
                _ => {}
            }
        }
        recipe
    }
}
