//! Sizes as people write them, `512m`, and as they read them: `312 MiB`, `1.2 GiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A size in bytes, written `512m` or `2g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9]{1,9}[kmgKMG]$", example = "512m")]
pub struct Bytes(pub u64);

/// What a letter behind the number stands for, as a power of two.
const LETTERS: [(char, u32); 3] = [('g', 30), ('m', 20), ('k', 10)];

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!("{text:?} is not a size: write a whole number and k, m or g, as in \"512m\"")
        };
        let last = text.chars().last().map(|c| c.to_ascii_lowercase());
        let unit = LETTERS.iter().find(|(letter, _)| Some(*letter) == last);
        let (_, shift) = unit.ok_or_else(refused)?;
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| refused())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = LETTERS
            .iter()
            .find(|(_, shift)| self.0 > 0 && self.0.trailing_zeros() >= *shift);
        let (letter, shift) = whole.unwrap_or(&LETTERS[2]);
        write!(f, "{}{letter}", self.0 >> shift)
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        bytes.to_string()
    }
}

/// A number of bytes, with one decimal below ten of its unit.
pub fn show(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 2)) > 0 {
        unit += 1;
    }
    let shift = 10 * (unit + 1);
    let (whole, tenth) = (bytes >> shift, ((bytes >> (shift - 10)) & 1023) * 10 / 1024);
    match (whole, tenth) {
        (0..10, 1..) => format!("{whole}.{tenth} {}", UNITS[unit]),
        _ => format!("{whole} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["512m", "2g", "1025m", "1k", "0k", "1536k"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("2048m".parse::<Bytes>().unwrap().to_string(), "2g");
        for text in ["", "m", "12", "1.5g", "99999999999g", "512µ"] {
            assert!(
                text.parse::<Bytes>().unwrap_err().contains("512m"),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_have_one_decimal_below_ten() {
        let shown = [
            0,
            1023,
            1024,
            1536,
            10_700,
            1 << 20,
            (5 << 30) + (1 << 29),
            u64::MAX,
        ]
        .map(show);
        assert_eq!(
            shown,
            [
                "0 B",
                "1023 B",
                "1 KiB",
                "1.5 KiB",
                "10 KiB",
                "1 MiB",
                "5.5 GiB",
                "16383 PiB"
            ]
        );
    }
}
