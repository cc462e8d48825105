//! A command as a manifest gives it: words, and no shell.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A command and its arguments. In TOML it is an array; a string is an error that shows how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Argv(pub Vec<String>);

impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl<'de> Deserialize<'de> for Argv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Argv;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of words such as [\"python\", \"manage.py\"]")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Argv, E> {
                let words: Vec<&str> = text.split_whitespace().collect();
                Err(E::custom(format!(
                    "no shell runs this, so it must be an array: write {words:?}"
                )))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Argv, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = seq.next_element::<String>()? {
                    words.push(word);
                }
                if words.first().is_none_or(String::is_empty) {
                    return Err(de::Error::custom("the command is empty"));
                }
                Ok(Argv(words))
            }
        }
        deserializer.deserialize_any(Words)
    }
}
