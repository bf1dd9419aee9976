//! The schema of the definition, enough of it to refuse what an API server would: unknown fields, types, words,
//! patterns and ranges. Rules (CEL) are for the tests with a real API server.
#![allow(unreachable_pub, clippy::expect_used, reason = "tests")]

use serde_json::Value;

/// Panics where the API server would refuse the object.
pub fn check(object: &Value) {
    let definition: Value =
        serde_saphyr::from_str(&pgpooler_operator::crd::yaml().expect("YAML")).expect("a definition");
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").expect("a schema");
    field(&object["spec"], &schema["properties"]["spec"], "spec");
}

fn field(value: &Value, schema: &Value, path: &str) {
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{path}: {value} is none of {words:?}");
    }
    match value {
        Value::Object(fields) => object(fields, schema, path),
        Value::Array(items) => {
            assert_eq!(schema["type"], "array", "{path}");
            range(items.len() as f64, &schema["minItems"], &schema["maxItems"], path);
            for (index, item) in items.iter().enumerate() {
                field(item, &schema["items"], &format!("{path}[{index}]"));
            }
        }
        Value::String(text) => self::text(text, schema, path),
        Value::Number(number) => {
            let numeric = schema["type"] == "integer" || schema["type"] == "number";
            assert!(numeric || schema["x-kubernetes-int-or-string"] == true, "{path}: {value}");
            let number = number.as_f64().expect("a number");
            range(number, &schema["minimum"], &schema["maximum"], path);
        }
        Value::Bool(_) => assert_eq!(schema["type"], "boolean", "{path}"),
        Value::Null => panic!("{path} is null"),
    }
}

fn object(fields: &serde_json::Map<String, Value>, schema: &Value, path: &str) {
    if schema["x-kubernetes-preserve-unknown-fields"] != true {
        assert_eq!(schema["type"], "object", "{path}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().expect("a name");
        assert!(fields.contains_key(name), "{path}.{name} is required");
    }
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => {
                assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "unknown field {path}");
            }
            (Value::Null, more) => field(value, more, &path),
            (known, _) => field(value, known, &path),
        }
    }
}

fn text(text: &str, schema: &Value, path: &str) {
    assert!(
        schema["type"] == "string" || schema["x-kubernetes-int-or-string"] == true,
        "{path}: {text} is no {}",
        schema["type"]
    );
    range(text.chars().count() as f64, &schema["minLength"], &schema["maxLength"], path);
    if let Some(pattern) = schema["pattern"].as_str() {
        let fits = regex::Regex::new(pattern).expect("a pattern").is_match(text);
        assert!(fits, "{path}: {text} is not {pattern}");
    }
}

fn range(number: f64, least: &Value, most: &Value, path: &str) {
    assert!(least.as_f64().is_none_or(|least| number >= least), "{path}: {number} is below {least}");
    assert!(most.as_f64().is_none_or(|most| number <= most), "{path}: {number} is above {most}");
}
