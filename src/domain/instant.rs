//! Points in time: milliseconds since the Unix epoch inside, RFC 3339 in UTC outside.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// A wall-clock instant with millisecond resolution.
///
/// Never subtract two of them for a duration that matters: the clock may be set back. Phases
/// are timed with [`std::time::Instant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = DateTime)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The present instant.
    pub fn now() -> Self {
        Self::from_offset(OffsetDateTime::now_utc())
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339, as Docker and git print it.
    pub fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(Self::from_offset)
    }

    /// How long ago this was, zero when it lies ahead.
    pub fn age(self) -> Duration {
        Duration::from_millis((Self::now().0 - self.0).max(0) as u64)
    }

    fn from_offset(at: OffsetDateTime) -> Self {
        Self((at.unix_timestamp_nanos() / 1_000_000) as i64)
    }
}

/// Time that has passed, by a monotonic clock: setting the wall clock does not change it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    from: Instant,
    before: Duration,
}

impl Stopwatch {
    /// One that begins now.
    pub fn start() -> Self {
        Self::showing(Duration::ZERO)
    }

    /// One that shows `before` already.
    pub fn showing(before: Duration) -> Self {
        Self {
            from: Instant::now(),
            before,
        }
    }

    /// What it shows now.
    pub fn elapsed(&self) -> Duration {
        self.before + self.from.elapsed()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, time) = (at.date(), at.time());
        let (hour, minute, second, milli) = time.as_hms_milli();
        write!(f, "{date}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl TryFrom<String> for Timestamp {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not an RFC 3339 time"))
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> String {
        at.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_rfc_3339_in_utc_and_read_back() {
        let at = Timestamp::from_millis(1_795_219_200_042);
        assert_eq!(at.to_string(), "2026-11-21T00:00:00.042Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        assert_eq!(
            Timestamp::parse("2026-11-21T01:00:00.042123456+01:00"),
            Some(at)
        );
    }
}
