//! A number of server connections, or a percentage of what the server has.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// `80` or `"80%"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Connections {
    /// That many.
    Count(i64),
    /// A percentage, as text with a percent sign.
    Percent(String),
}

impl Connections {
    /// How many that is of `usable` connections, rounded down; `None` if it is neither a positive number nor
    /// 1 to 100 percent.
    pub fn of(&self, usable: u32) -> Option<u32> {
        match self {
            Self::Count(count) => u32::try_from(*count).ok().filter(|count| *count > 0),
            Self::Percent(text) => {
                let percent: u32 = text.strip_suffix('%')?.parse().ok()?;
                let part = u64::from(usable) * u64::from(percent) / 100;
                (1..=100).contains(&percent).then_some(part as u32)
            }
        }
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(text) => text.fmt(f),
        }
    }
}

impl JsonSchema for Connections {
    fn schema_name() -> Cow<'static, str> {
        "Connections".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // `minimum` binds only numbers and `pattern` only text, so no rule is needed
        json_schema!({
            "x-kubernetes-int-or-string": true,
            // `null` becomes the default, as for every other field
            "nullable": false,
            "minimum": 1,
            "maximum": 262_143,
            "pattern": "^([1-9]|[1-9][0-9]|100)%$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_rounded_down() {
        assert_eq!(Connections::Percent("80%".into()).of(97), Some(77));
        assert_eq!(Connections::Percent("100%".into()).of(u32::MAX), Some(u32::MAX));
    }

    #[test]
    fn nonsense_is_no_number() {
        for bad in ["0%", "101%", "80", "%", "-1%", "1.5%"] {
            assert_eq!(Connections::Percent(bad.into()).of(97), None, "{bad}");
        }
        for bad in [0, -1, i64::MAX] {
            assert_eq!(Connections::Count(bad).of(97), None, "{bad}");
        }
    }
}
