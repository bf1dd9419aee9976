//! Every example can be copied: it is parsed, has no unknown field, and gives a plan that is not blocked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use pgpooler_operator::plan::plan;
use serde_json::Value;

use fixtures::{pooler, settings, world};

/// Every field of `part` is in `whole`: nothing was dropped as unknown.
fn is_within(part: &Value, whole: &Value, path: &str) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                let known = whole.get(key).unwrap_or_else(|| panic!("unknown field {path}.{key}"));
                is_within(value, known, &format!("{path}.{key}"));
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            for (index, (part, whole)) in part.iter().zip(whole).enumerate() {
                is_within(part, whole, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(part, whole, "{path}"),
    }
}

#[test]
fn every_example_is_parsed_and_planned() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let object = pooler(&text);
        is_within(
            &serde_saphyr::from_str(&text).expect("YAML"),
            &serde_json::to_value(&object).unwrap(),
            &path.display().to_string(),
        );
        let plan = plan(&object, &world(&object), &settings());
        assert_eq!(plan.verdict.blocked, None, "{}", path.display());
        count += 1;
    }
    assert!(count >= 3);
}
