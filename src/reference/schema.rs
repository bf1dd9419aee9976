//! An `OpenAPI` schema in words.

use serde_json::Value;

/// Types of Kubernetes itself, whose fields are not repeated.
const FOREIGN: [(&str, &str); 4] = [
    ("spec.networkPolicy.allowFrom", "list of NetworkPolicyPeer"),
    ("spec.networkPolicy.metricsFrom", "list of NetworkPolicyPeer"),
    ("spec.podTemplate.tolerations", "list of Toleration"),
    ("status.conditions", "[conditions](conditions.md)"),
];

/// What a field is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Said in these words.
    Plain(String),
    /// The name of another object.
    Reference,
    /// Names of other objects.
    References,
    /// Has a section of its own.
    Object,
    /// The items have one.
    ListOfObjects,
}

impl Kind {
    /// The field as the table has it, and its type.
    pub(super) fn shown(self, name: &str, path: &str) -> (String, String) {
        let anchor = path.replace('.', "").replace("[]", "").to_lowercase();
        match self {
            Self::Plain(text) => (name.to_owned(), text),
            Self::Reference => (format!("{name}.name"), "string".to_owned()),
            Self::References => (format!("{name}[].name"), "list, by name".to_owned()),
            Self::Object => (name.to_owned(), format!("[object](#{anchor})")),
            Self::ListOfObjects => (format!("{name}[]"), format!("[list of objects](#{anchor})")),
        }
    }
}

/// Finds it out.
pub(super) fn kind(path: &str, field: &Value) -> Kind {
    if let Some((_, text)) = FOREIGN.iter().find(|(foreign, _)| *foreign == path) {
        return Kind::Plain((*text).to_owned());
    }
    let items = &field["items"];
    match field["type"].as_str() {
        Some("object") if is_reference(field) => Kind::Reference,
        Some("object") if field.get("properties").is_some() => Kind::Object,
        Some("object") => Kind::Plain(format!("map of {}", plural(&field["additionalProperties"]))),
        Some("array") if is_reference(items) => Kind::References,
        Some("array") if items.get("properties").is_some() => Kind::ListOfObjects,
        Some("array") => Kind::Plain(format!("list of {}", plural(items))),
        _ => Kind::Plain(scalar(field)),
    }
}

fn is_reference(schema: &Value) -> bool {
    properties(schema).iter().map(|(name, _)| *name).eq(["name"])
}

fn plural(schema: &Value) -> &'static str {
    if schema.get("x-kubernetes-int-or-string").is_some() { "quantities" } else { "strings" }
}

fn scalar(field: &Value) -> String {
    let pattern = field["pattern"].as_str().unwrap_or_default();
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    if field.get("x-kubernetes-int-or-string").is_some() {
        return "integer, or text such as `80%`".to_owned();
    }
    match field["type"].as_str() {
        Some("string") if pattern.contains("(ms|s|m|h)") => "duration".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

/// Bounds, where a person has a use for them.
pub(super) fn limits(field: &Value) -> String {
    let number = |key: &str| field[key].as_f64();
    let between = |least: Option<f64>, most: Option<f64>, unit: &str| match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}{unit}"),
        (None, Some(most)) => format!("at most {most}{unit}"),
        _ => String::new(),
    };
    let is_duration = field["pattern"].as_str().is_some_and(|pattern| pattern.contains("(ms|s|m|h)"));
    match field["type"].as_str() {
        Some("integer") => between(number("minimum"), number("maximum"), ""),
        Some("array") => between(number("minItems"), number("maxItems"), ""),
        Some("string") if !is_duration => between(number("minLength"), number("maxLength"), " characters"),
        _ => String::new(),
    }
}

/// What counts when the field is left out.
pub(super) fn default(name: &str, field: &Value, parent: &Value) -> String {
    let required = parent["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    match &field["default"] {
        _ if required => "required".to_owned(),
        Value::String(text) => format!("`{}`", cell(text)),
        value @ (Value::Number(_) | Value::Bool(_)) => format!("`{value}`"),
        // that of an object are the defaults of its fields
        Value::Object(_) => String::new(),
        Value::Array(all) if all.is_empty() => "none".to_owned(),
        value @ Value::Array(_) => format!("`{}`", cell(&value.to_string())),
        Value::Null => "unset".to_owned(),
    }
}

/// Fields by name.
pub(super) fn properties(schema: &Value) -> Vec<(&str, &Value)> {
    let all = schema["properties"].as_object().into_iter().flatten();
    all.map(|(name, field)| (name.as_str(), field)).collect()
}

/// What the field is for, on one line.
pub(super) fn description(schema: &Value) -> String {
    cell(schema["description"].as_str().unwrap_or_default())
}

/// Text in a table's cell.
pub(super) fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
