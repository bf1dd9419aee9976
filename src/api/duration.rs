//! Durations as people write them in Kubernetes: `30s`, `5m`, `1h30m`.

use std::borrow::Cow;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What the API server lets through; [`Duration::parse`] reads all of it.
const PATTERN: &str = "^(0|([0-9]{1,7}(ms|s|m|h))+)$";

/// The text of a duration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

/// A text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration; write for example 30s, 5m or 1h30m")]
pub struct BadDuration(pub String);

impl Duration {
    /// The duration that the text means.
    pub fn parse(&self) -> Result<StdDuration, BadDuration> {
        parse(&self.0).ok_or_else(|| BadDuration(self.0.clone()))
    }
}

impl From<&str> for Duration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

fn parse(text: &str) -> Option<StdDuration> {
    if text == "0" {
        return Some(StdDuration::ZERO);
    }
    let mut rest = text;
    let mut sum = StdDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, next) = tail.split_at(letters);
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "ms" => StdDuration::from_millis(number),
            "s" => StdDuration::from_secs(number),
            "m" => StdDuration::from_secs(number.checked_mul(60)?),
            "h" => StdDuration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        sum = sum.checked_add(part)?;
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": 32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse("1h30m5s250ms"), Some(StdDuration::from_millis(5_405_250)));
        assert_eq!(parse("0"), Some(StdDuration::ZERO));
        assert_eq!(parse("90s"), Some(StdDuration::from_secs(90)));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "5", "s", "1d", "1s1", "-1s", "1.5s", "99999999999999999999s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
