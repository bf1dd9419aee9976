//! Durations as people write them in the document.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in the document: a number of seconds as in PgBouncer (`120`, `0.5`), or a string with a unit
/// (`"250ms"`, `"10s"`, `"5m"`, `"1h"`). Written back as such a string.
///
/// Never negative, at most ten years, exact to the microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(Duration);

/// A duration that cannot be in the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecondsError {
    /// Neither a number nor a number with a unit.
    #[error(
        "`{0}` is not a duration; write a number of seconds or a string such as \"250ms\", \"10s\", \"5m\" or \"1h\""
    )]
    Form(String),
    /// Below zero.
    #[error("a duration must not be negative")]
    Negative,
    /// So long that it cannot be meant.
    #[error("a duration must not be longer than ten years")]
    TooLong,
}

/// So that adding one to any clock's reading cannot overflow.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// Units from long to short, in microseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Seconds {
    /// Zero; for most settings it turns the limit off.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Whole seconds; ten years when there are more.
    pub const fn from_secs(seconds: u64) -> Self {
        if seconds > LONGEST.as_secs() { Self(LONGEST) } else { Self(Duration::from_secs(seconds)) }
    }

    /// Milliseconds; ten years when there are more.
    pub const fn from_millis(millis: u64) -> Self {
        if millis > LONGEST.as_secs() * 1000 { Self(LONGEST) } else { Self(Duration::from_millis(millis)) }
    }

    /// The duration.
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The duration, or `None` for zero: for settings where zero turns the limit off.
    pub fn unless_zero(self) -> Option<Duration> {
        (!self.is_zero()).then_some(self.0)
    }

    fn from_number(seconds: f64) -> Result<Self, SecondsError> {
        if seconds < 0.0 {
            return Err(SecondsError::Negative);
        }
        if !seconds.is_finite() || seconds > LONGEST.as_secs_f64() {
            return Err(SecondsError::TooLong);
        }
        Ok(Self(Duration::from_micros((seconds * 1e6).round() as u64)))
    }
}

impl TryFrom<Duration> for Seconds {
    type Error = SecondsError;

    /// Rounds down to whole microseconds.
    fn try_from(duration: Duration) -> Result<Self, SecondsError> {
        if duration > LONGEST {
            return Err(SecondsError::TooLong);
        }
        Ok(Self(Duration::from_micros(duration.as_micros() as u64)))
    }
}

impl FromStr for Seconds {
    type Err = SecondsError;

    fn from_str(text: &str) -> Result<Self, SecondsError> {
        let form = || SecondsError::Form(text.to_owned());
        let trimmed = text.trim();
        let unit_at = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(unit_at);
        let number: f64 = number.trim_end().parse().map_err(|_| form())?;
        let unit = if unit.is_empty() { "s" } else { unit };
        let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        Self::from_number(number * *micros as f64 / 1e6)
    }
}

/// The largest unit that needs no fraction.
impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros() as u64;
        // days read badly beside PgBouncer's seconds; hours are the longest that is written
        let fits = |&&(unit, size): &&(&str, u64)| unit != "d" && micros.is_multiple_of(size);
        match UNITS.iter().find(fits) {
            Some((unit, size)) if micros > 0 => write!(formatter, "{}{unit}", micros / size),
            _ => formatter.write_str("0s"),
        }
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

struct SecondsVisitor;

impl de::Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of seconds or a string such as \"250ms\", \"10s\", \"5m\" or \"1h\"")
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
        Seconds::from_number(seconds).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Duration, SecondsError> {
        text.parse().map(Seconds::as_duration)
    }

    #[test]
    fn every_unit_is_understood() {
        for (text, micros) in [
            ("250ms", 250_000),
            ("10s", 10_000_000),
            ("10", 10_000_000),
            ("0.5", 500_000),
            ("1.5 s", 1_500_000),
            ("5m", 300_000_000),
            ("1h", 3_600_000_000),
            ("2d", 172_800_000_000),
            ("7us", 7),
            (" 0 ", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "s", "10 parsecs", "1h30m", "nan", "ten"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("-1"), Err(SecondsError::Negative));
        assert_eq!(parse("11000d"), Err(SecondsError::TooLong));
    }

    #[test]
    fn a_duration_is_written_in_the_largest_unit_that_needs_no_fraction() {
        for (text, shown) in
            [("3600", "1h"), ("86400", "24h"), ("90", "90s"), ("120", "2m"), ("0.25", "250ms"), ("0", "0s")]
        {
            assert_eq!(text.parse::<Seconds>().unwrap().to_string(), shown);
        }
    }
}
