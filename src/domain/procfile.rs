//! `Procfile`: a line a process, as `worker: celery -A shop worker`. What it says counts where the
//! manifest says nothing.

use thiserror::Error;

use super::command::Argv;
use super::name::ProcessName;

/// What the lines of a Procfile name, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Procfile(Vec<(ProcessName, Argv)>);

/// A line that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidProcfile {
    /// Without a name and a command.
    #[error("line {0} of the Procfile is not NAME: COMMAND, as in worker: python worker.py")]
    Line(usize),
    /// Not a name of ours.
    #[error("line {0} of the Procfile: {1}")]
    Name(usize, super::name::InvalidName),
    /// Two lines of one name.
    #[error("line {0} of the Procfile names {1} again")]
    Twice(usize, ProcessName),
}

impl Procfile {
    /// Reads a Procfile's text. Empty lines and those that begin with `#` do not count.
    ///
    /// # Errors
    /// The first line that makes no sense.
    pub fn parse(text: &str) -> Result<Self, InvalidProcfile> {
        let mut all = Self::default();
        for (n, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, command) = line.split_once(':').ok_or(InvalidProcfile::Line(n))?;
            let name: ProcessName = name
                .trim()
                .parse()
                .map_err(|error| InvalidProcfile::Name(n, error))?;
            if command.trim().is_empty() {
                return Err(InvalidProcfile::Line(n));
            }
            if all.0.iter().any(|(known, _)| *known == name) {
                return Err(InvalidProcfile::Twice(n, name));
            }
            all.0.push((name, shell(command.trim())));
        }
        Ok(all)
    }

    /// Takes the line of this name out.
    pub(super) fn take(&mut self, name: &str) -> Option<Argv> {
        let at = self
            .0
            .iter()
            .position(|(known, _)| known.as_str() == name)?;
        Some(self.0.remove(at).1)
    }

    /// The lines that are left.
    pub(super) fn rest(self) -> impl Iterator<Item = (ProcessName, Argv)> {
        self.0.into_iter()
    }
}

/// A line as its shell gets it. A simple command takes the shell's place, so that signals reach it.
fn shell(line: &str) -> Argv {
    const NOT_SIMPLE: &[char] = &[';', '&', '|', '<', '>', '(', ')', '`', '{', '}', '\n'];
    const BUILTINS: [&str; 22] = [
        ".", ":", "[", "!", "alias", "cd", "command", "eval", "exec", "exit", "export", "for",
        "if", "case", "read", "set", "source", "trap", "ulimit", "umask", "until", "while",
    ];
    let first = line.split_whitespace().next().unwrap_or_default();
    let assigns = first.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    let line = match line.contains(NOT_SIMPLE) || BUILTINS.contains(&first) {
        true => line.to_owned(),
        false if assigns => format!("exec env {line}"),
        false => format!("exec {line}"),
    };
    Argv(["sh", "-c", &line].map(str::to_owned).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_command_takes_the_shells_place() {
        for (line, run) in [
            (
                "gunicorn shop --bind :$PORT",
                "exec gunicorn shop --bind :$PORT",
            ),
            (
                "A=1 B=\"x y\" python w.py",
                "exec env A=1 B=\"x y\" python w.py",
            ),
            ("cd src && python w.py", "cd src && python w.py"),
            ("cd src", "cd src"),
            ("exec python w.py", "exec python w.py"),
            ("python w.py 2>&1", "python w.py 2>&1"),
        ] {
            assert_eq!(shell(line).0[2], run);
        }
    }

    #[test]
    fn lines_are_read_and_what_is_none_is_named() {
        let mut read = Procfile::parse("# all\r\nweb: a b:c\n\nworker:  d\n").unwrap();
        assert_eq!(read.take("web").unwrap().0[2], "exec a b:c");
        assert_eq!(read.take("release"), None);
        let rest: Vec<_> = read.rest().collect();
        assert_eq!((rest.len(), rest[0].0.as_str()), (1, "worker"));
        for (bad, says) in [
            (
                "web: a\nworker",
                "line 2 of the Procfile is not NAME: COMMAND",
            ),
            ("web:", "line 1"),
            ("Web: a", "line 1 of the Procfile: the process name \"Web\""),
            ("a: b\na: c", "line 2 of the Procfile names a again"),
        ] {
            let said = Procfile::parse(bad).unwrap_err().to_string();
            assert!(said.contains(says), "{bad}: {said}");
        }
    }
}
