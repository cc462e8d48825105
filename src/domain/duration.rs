//! Durations as people write them: `500ms`, `10s`, `2m`, `1h`, `90d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A duration read from and written as `<whole number><ms|s|m|h|d>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(pub Duration);

/// The text was not a duration.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a duration: write a whole number and ms, s, m, h or d, as in \"500ms\", \"10s\" or \"2m\""
)]
pub struct InvalidDuration(String);

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl HumanDuration {
    /// A whole number of seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for HumanDuration {
    type Err = InvalidDuration;
    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let refused = || InvalidDuration(text.chars().take(40).collect());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refused())?;
        let (_, millis) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(refused)?;
        let millis = number.checked_mul(*millis).ok_or_else(refused)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let whole = |(_, size): &&(&str, u64)| millis.is_multiple_of(*size) && millis >= *size;
        let (unit, size) = UNITS.iter().rev().find(whole).unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", millis / size)
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = InvalidDuration;
    fn try_from(text: String) -> Result<Self, InvalidDuration> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(duration: HumanDuration) -> String {
        duration.to_string()
    }
}

/// The middle one of some durations in milliseconds; of an even number, the mean of the two in the middle.
pub fn median(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    let middle = all.len() / 2;
    match all.len() {
        0 => None,
        even if even % 2 == 0 => Some(all[middle - 1].midpoint(all[middle])),
        _ => Some(all[middle]),
    }
}

/// A measured time, in the one form used everywhere: `0.42s`, `8.2s`, `1m 04s`, `2h 05m`.
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}.{:02}s", 0, millis / 10),
        1..60 => format!("{}.{}s", seconds, millis % 1000 / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bare_number_is_refused_with_the_forms_that_work() {
        let error = "10".parse::<HumanDuration>().unwrap_err().to_string();
        assert!(error.contains("\"10s\""), "{error}");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let all = [
            vec![],
            vec![7],
            vec![9, 1],
            vec![5, 1, 100],
            vec![u64::MAX, u64::MAX],
        ];
        assert_eq!(
            all.map(median),
            [None, Some(7), Some(5), Some(5), Some(u64::MAX)]
        );
    }

    #[test]
    fn shown_times_have_one_form() {
        let shown = |ms| show(Duration::from_millis(ms));
        assert_eq!(
            [shown(0), shown(423), shown(8_249)],
            ["0.00s", "0.42s", "8.2s"]
        );
        assert_eq!([shown(64_000), shown(7_500_000)], ["1m 04s", "2h 05m"]);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0u64..10_000_000_000) {
            let duration = HumanDuration(Duration::from_millis(ms));
            prop_assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<HumanDuration>();
        }
    }
}
