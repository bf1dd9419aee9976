//! Reference pages, in Markdown, made from the types: every field of a `PgPooler`, and every right of the operator.
//!
//! `docs/reference` has the pages; what is between their marks is this, and `tests/docs_current.rs` compares it.

mod rights;
mod schema;

use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::api::PgPooler;

use schema::{Kind, cell, default, kind, limits};

pub use rights::rights;

/// The definition has no JSON form.
#[derive(Debug, thiserror::Error)]
#[error("the CustomResourceDefinition has no JSON form")]
pub struct ReferenceError(#[from] serde_json::Error);

/// When a change of a field is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// In every pod, or around the pods, without a new pod.
    Live,
    /// Without a new pod, unless the floors of the pods that run have become too large for the budget.
    Floors,
    /// In new pods, which replace the old ones.
    Rollout,
}

/// Fields, with all below them, that are not [`Effect::Live`].
const EFFECTS: [(&str, Effect); 9] = [
    ("spec.image", Effect::Rollout),
    ("spec.podTemplate", Effect::Rollout),
    ("spec.drain.timeout", Effect::Rollout),
    ("spec.budget.mode", Effect::Rollout),
    ("spec.availability.topologySpread", Effect::Rollout),
    ("spec.maxReplicas", Effect::Floors),
    ("spec.budget.serverConnections", Effect::Floors),
    ("spec.budget.keepFree", Effect::Floors),
    ("spec.budget.weight", Effect::Floors),
];

/// When a change of the field with this path, such as `spec.drain.timeout`, is in force.
pub fn effect(path: &str) -> Effect {
    let is_below =
        |above: &str| path.strip_prefix(above).is_some_and(|rest| !rest.starts_with(char::is_alphabetic));
    EFFECTS.iter().find(|(above, _)| is_below(above)).map_or(Effect::Live, |(_, effect)| *effect)
}

impl Effect {
    fn text(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Floors => "live, or rollout if floors shrink",
            Self::Rollout => "rollout",
        }
    }
}

const SPEC_HEAD: &str = "| Field | Type | Default | Change | Meaning |\n|---|---|---|---|---|\n";
const STATUS_HEAD: &str = "| Field | Type | Meaning |\n|---|---|---|\n";
const COLUMNS: &str = "
## Columns

`kubectl get pgpooler` shows:

| Column | From | Meaning |
|---|---|---|
";

/// Every field of `spec` and `status`, and the columns of `kubectl get`.
pub fn fields() -> Result<String, ReferenceError> {
    let definition = serde_json::to_value(PgPooler::crd())?;
    let version = &definition["spec"]["versions"][0];
    let root = &version["schema"]["openAPIV3Schema"];
    let mut page = Vec::new();
    for part in ["spec", "status"] {
        page.push(format!("\n## {part}\n"));
        section(part, &root["properties"][part], &mut page);
    }
    page.push(COLUMNS.to_owned());
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let part = |key: &str| cell(column[key].as_str().unwrap_or_default());
        let name = part("name").to_uppercase();
        page.push(format!("| `{name}` | `{}` | {} |\n", part("jsonPath"), part("description")));
    }
    Ok(page.concat())
}

/// The fields of an object, then the sections of those that have fields themselves.
fn section(path: &str, schema: &Value, page: &mut Vec<String>) {
    let is_spec = path.starts_with("spec");
    page.push(format!("\n{}\n\n", schema::description(schema)));
    page.push(if is_spec { SPEC_HEAD } else { STATUS_HEAD }.to_owned());
    let fields = schema::properties(schema);
    for (name, field) in &fields {
        page.push(row(path, name, field, schema, is_spec));
    }
    page.push(rules(schema));
    for (name, field) in fields {
        let (path, of) = match kind(&format!("{path}.{name}"), field) {
            Kind::Object => (format!("{path}.{name}"), field),
            Kind::ListOfObjects => (format!("{path}.{name}[]"), &field["items"]),
            _ => continue,
        };
        page.push(format!("\n### {path}\n"));
        section(&path, of, page);
    }
}

fn row(path: &str, name: &str, field: &Value, parent: &Value, is_spec: bool) -> String {
    let path = format!("{path}.{name}");
    let kind = kind(&path, field);
    // that of an object is said of each of its fields
    let effect = if kind == Kind::Object { "" } else { effect(&path).text() };
    let (shown, type_) = kind.shown(name, &path);
    let limits = limits(field);
    let type_ = if limits.is_empty() { type_ } else { format!("{type_}; {limits}") };
    let meaning = schema::description(field);
    if is_spec {
        let default = default(name, field, parent);
        format!("| `{shown}` | {type_} | {default} | {effect} | {meaning} |\n")
    } else {
        format!("| `{shown}` | {type_} | {meaning} |\n")
    }
}

/// What the API server refuses beyond types and limits.
fn rules(schema: &Value) -> String {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let told: Vec<_> =
        rules.filter_map(|rule| rule["message"].as_str()).map(|text| format!("- {text}\n")).collect();
    if told.is_empty() {
        return String::new();
    }
    format!("\nThe API server refuses what breaks these rules, with these words:\n\n{}", told.concat())
}
