//! An app's environment variables. Values are secrets until shown otherwise: `Debug` hides them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// Variables by name, in order of name.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Environment(BTreeMap<String, String>);

/// A variable's name or value that no process could be given.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidVariable {
    /// Not a name a shell could set.
    #[error(
        "{0:?} is no environment variable name: use letters, digits and '_', not beginning with a digit"
    )]
    Name(String),
    /// Values are C strings.
    #[error("the value of {0} contains a NUL byte")]
    Value(String),
}

impl Environment {
    /// Sets one variable; the last value given for a name counts.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidVariable> {
        Self::check_name(name)?;
        if value.contains('\0') {
            return Err(InvalidVariable::Value(name.to_owned()));
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Sets what `NAME=value` says. What is wrong is told by its place: it may hold a secret.
    pub fn assign(&mut self, text: &str, place: &str) -> Result<(), String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{place} is not NAME=value: it has no '='"))?;
        self.set(name, value).map_err(|error| error.to_string())
    }

    /// Reads `NAME=value` lines. Empty ones and those that begin with `#` do not count.
    pub fn from_lines(text: &str) -> Result<Self, String> {
        let mut env = Self::default();
        for (n, line) in text.lines().enumerate() {
            if !line.trim().is_empty() && !line.starts_with('#') {
                env.assign(line, &format!("line {}", n + 1))?;
            }
        }
        Ok(env)
    }

    /// Whether `name` may name a variable.
    pub fn check_name(name: &str) -> Result<(), InvalidVariable> {
        let first = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if first && rest && name.len() <= 256 {
            return Ok(());
        }
        Err(InvalidVariable::Name(name.chars().take(80).collect()))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether there is no variable.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// As `NAME=value` lines for the engine.
    pub fn assignments(&self) -> Vec<String> {
        self.iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_command_line_reads_them() {
        let env = Environment::from_lines("# a remark\r\nA=1\r\n\nB=x=y \n").unwrap();
        assert_eq!(env.assignments(), ["A=1", "B=x=y "]);
        let wrong = Environment::from_lines("A=1\ns3cret-without-a-name").unwrap_err();
        assert!(
            wrong.starts_with("line 2") && !wrong.contains("s3cret"),
            "{wrong}"
        );
        assert!(Environment::from_lines("1A=x").is_err());
    }

    #[test]
    fn values_never_show_in_debug_output() {
        let mut env = Environment::default();
        env.set("TOKEN", "s3cret").unwrap();
        assert_eq!(format!("{env:?}"), "{\"TOKEN\"}");
        assert!(
            env.set("1A", "x").is_err()
                && env.set("A-B", "x").is_err()
                && env.set("", "x").is_err()
        );
    }
}
