//! Every PgPooler among the examples can be copied: it is parsed, has no unknown field, and gives a plan that is not blocked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use fixtures::{is_within, pooler, settings, world};
use pgpooler_operator::plan::plan;
use serde_json::Value;

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
        let value: Value = serde_saphyr::from_str(&text).expect("YAML");
        if value["kind"] != "PgPooler" {
            continue;
        }
        let object = pooler(&text);
        is_within(&value, &serde_json::to_value(&object).unwrap(), &path.display().to_string());
        let plan = plan(&object, &world(&object), &settings());
        assert_eq!(plan.verdict.blocked, None, "{}", path.display());
        count += 1;
    }
    assert!(count >= 3);
}
