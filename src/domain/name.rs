//! Names that come from outside, parsed once. Whatever holds one of these types is safe to put
//! into a container name, a path, a DNS label or an argument vector.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// Why a name was refused; the message says which characters are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {given:?} is not valid: {rule}")]
pub struct InvalidName {
    what: &'static str,
    given: String,
    rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $pattern:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String, pattern = $pattern)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(given: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(given) {
                    return Ok(Self(given.to_owned()));
                }
                // A refused name may be anything; what is quoted back stays short.
                let given = given.chars().take(80).collect();
                Err(InvalidName { what: $what, given, rule: $rule })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(given: String) -> Result<Self, InvalidName> {
                given.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// An app's name: a DNS label, because it becomes part of container and network names.
    AppName,
    "the app name",
    "use 1 to 40 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
    |s| is_label(s, 40)
);

name_type!(
    /// A gate's name: shown as the phase `gate:<name>` and part of its container's name.
    GateName,
    "the gate name",
    "use 1 to 40 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
    |s| is_label(s, 40)
);

name_type!(
    /// A process's name: part of its containers' names, as `web` or `worker`.
    ProcessName,
    "the process name",
    "use 1 to 40 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
    "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
    |s| is_label(s, 40)
);

name_type!(
    /// A public host name an app answers to, lower case, without port or scheme.
    DomainName,
    "the domain",
    "use a host name such as shop.example.com: lower-case labels of a-z, 0-9 and '-' joined by dots, without scheme or port",
    "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?([.][a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,3}$",
    |s| s.len() <= 253 && s.split('.').all(|label| is_label(label, 63))
);

name_type!(
    /// A full git object name: 40 lower-case hex digits.
    CommitId,
    "the commit",
    "a full commit id has 40 hex digits",
    "^[0-9a-f]{40}$",
    |s| s.len() == 40 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);

name_type!(
    /// A user's name.
    UserName,
    "the user name",
    "use 1 to 40 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
    "^[a-z0-9][a-z0-9._-]{0,39}$",
    |s| {
        let first = s.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        first && s.len() <= 40 && s.bytes().all(plain)
    }
);

impl ProcessName {
    /// The process that visitors reach.
    pub fn web() -> Self {
        Self("web".to_owned())
    }

    /// Whether visitors reach it.
    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }
}

impl CommitId {
    /// The first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }

    /// Git's all-zero id: "no commit", in what a hook is told of created and deleted refs.
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

fn is_label(s: &str, longest: usize) -> bool {
    let inner = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = s.as_bytes();
    (1..=longest).contains(&bytes.len())
        && bytes.iter().all(|b| inner(*b))
        && edge(bytes.first())
        && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refused_name_says_what_is_allowed() {
        let error = "Shop_1".parse::<AppName>().unwrap_err().to_string();
        assert!(
            error.contains("\"Shop_1\"") && error.contains("a-z, 0-9 and '-'"),
            "{error}"
        );
    }

    #[test]
    fn names_that_would_escape_are_refused() {
        for bad in [
            "",
            "-a",
            "a-",
            "a/b",
            "..",
            "a b",
            "a;b",
            "$(id)",
            "A",
            "é",
            "a\n",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "a..b", "a.", "http://a", "a:80", "*.a.b", "A.b"] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_app_name_is_a_plain_label(s in "\\PC{0,60}") {
            if let Ok(name) = s.parse::<AppName>() {
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}
