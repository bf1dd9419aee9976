//! JSON schemas of what the chart renders, for kubeconform.
//!
//! Of the oldest Kubernetes that the chart supports, from the API description in its Go module: what the test cluster's
//! API server accepts is checked elsewhere, and it is a newer one. The Prometheus operator's come from the CRDs in its
//! module, ours from the chart. Modules come through Go's own client, verified by the sums here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{command, workspace};

use super::{CHART, yaml};

/// A Go module that is read, not built.
struct Module {
    path: &'static str,
    version: &'static str,
    sum: &'static str,
}

/// `kubeVersion` of Chart.yaml.
const KUBERNETES: Module = Module {
    path: "k8s.io/kubernetes",
    version: "v1.29.15",
    sum: "h1:hLcyf3XmxtfkubCEmmPX5QVD7lDclXjvEUrJeP283LM=",
};
const PROMETHEUS_OPERATOR: Module = Module {
    path: "github.com/prometheus-operator/prometheus-operator",
    version: "v0.85.0",
    sum: "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
};
const SWAGGER: &str = "api/openapi-spec/swagger.json";
const CRDS: &str = "example/prometheus-operator-crd";
/// Objects of these types may be numbers too, which the document does not say.
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const VERSIONED_KIND: &str = "x-kubernetes-group-version-kind";

/// The CRDs of `PodMonitor` and `PrometheusRule`.
pub(crate) fn monitoring_crds() -> Result<Vec<PathBuf>> {
    let folder = obtain(&PROMETHEUS_OPERATOR)?.join(CRDS);
    Ok(["podmonitors", "prometheusrules"]
        .map(|kind| folder.join(format!("monitoring.coreos.com_{kind}.yaml")))
        .into())
}

/// Writes a schema for each kind named, as `KIND-VERSION.json`, into `folder`. Kinds that nobody knows have none.
pub(super) fn write(folder: &Path, kinds: &[(String, String)]) -> Result<()> {
    let swagger = fs::read_to_string(obtain(&KUBERNETES)?.join(SWAGGER)).context(SWAGGER)?;
    let swagger: Value = serde_json::from_str(&swagger).context(SWAGGER)?;
    let definitions = swagger["definitions"].as_object().context("no definitions")?;
    for (api_version, kind) in kinds {
        if let Some(schema) = built_in(definitions, api_version, kind) {
            save(folder, api_version, kind, &schema)?;
        }
    }
    let mut crds = monitoring_crds()?;
    for entry in fs::read_dir(workspace::root().join(CHART).join("files/crds"))? {
        crds.push(entry?.path());
    }
    for path in crds {
        let crd = yaml(&fs::read_to_string(&path).with_context(|| path.display().to_string())?)?;
        let kind = crd.pointer("/spec/names/kind").and_then(Value::as_str).context("a CRD without a kind")?;
        let group = crd.pointer("/spec/group").and_then(Value::as_str).context("a CRD without a group")?;
        for version in crd.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten() {
            let name = version["name"].as_str().unwrap_or_default();
            let schema = version.pointer("/schema/openAPIV3Schema").context("a CRD without a schema")?;
            save(folder, &format!("{group}/{name}"), kind, &strict(schema.clone()))?;
        }
    }
    Ok(())
}

fn save(folder: &Path, api_version: &str, kind: &str, schema: &Value) -> Result<()> {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let path = folder.join(format!("{}-{version}.json", kind.to_lowercase()));
    ensure!(!path.exists(), "two groups have a {kind} of {version}");
    fs::write(&path, schema.to_string()).with_context(|| path.display().to_string())
}

/// Where Go keeps the module, fetched if it is not there.
fn obtain(module: &Module) -> Result<PathBuf> {
    let at = tempfile::tempdir()?;
    let mut go = Command::new("go");
    go.current_dir(at.path())
        .args(["mod", "download", "-json"])
        .arg(format!("{}@{}", module.path, module.version));
    // outside of any module, and with whatever Go there is
    let go = go.envs([("GOFLAGS", "-mod=mod"), ("GOWORK", "off"), ("GOTOOLCHAIN", "local")]);
    let answer: Value = serde_json::from_str(&command::output(go)?).context("go mod download")?;
    ensure!(answer["Sum"] == module.sum, "{} is not what it was: {}", module.path, answer["Sum"]);
    answer["Dir"].as_str().map(PathBuf::from).context("go mod download names no folder")
}

/// A definition with all that it refers to.
fn built_in(definitions: &Map<String, Value>, api_version: &str, kind: &str) -> Option<Value> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let wanted = json!({"group": group, "version": version, "kind": kind});
    let is_it = |definition: &Value| {
        definition[VERSIONED_KIND].as_array().is_some_and(|kinds| kinds.contains(&wanted))
    };
    let (name, _) = definitions.iter().find(|(_, definition)| is_it(definition))?;
    let mut reached = BTreeMap::new();
    reach(definitions, name, &mut reached);
    Some(json!({"$ref": format!("#/definitions/{name}"), "definitions": reached}))
}

fn reach(definitions: &Map<String, Value>, name: &str, reached: &mut BTreeMap<String, Value>) {
    if reached.contains_key(name) {
        return;
    }
    let Some(definition) = definitions.get(name) else { return };
    let schema =
        if name == QUANTITY { json!({"type": ["string", "number"]}) } else { strict(definition.clone()) };
    reached.insert(name.to_owned(), schema);
    for reference in references(definition) {
        reach(definitions, reference, reached);
    }
}

fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(map) => {
            let own =
                map.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/definitions/"));
            own.into_iter().chain(map.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// What Kubernetes' schemas leave to the API server: no unknown fields, and integers where a string may be one.
fn strict(mut schema: Value) -> Value {
    let Value::Object(map) = &mut schema else { return schema };
    let either = map.get("format").is_some_and(|format| format == "int-or-string")
        || map.get("x-kubernetes-int-or-string").is_some_and(|either| either == true);
    if either {
        map.remove("format");
        map.insert("type".to_owned(), json!(["string", "integer"]));
    }
    let keeps = map.get("x-kubernetes-preserve-unknown-fields").is_some_and(|keeps| keeps == true);
    if map.contains_key("properties") && !map.contains_key("additionalProperties") && !keeps {
        map.insert("additionalProperties".to_owned(), json!(false));
    }
    for key in ["properties", "patternProperties"] {
        for property in map.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            *property = strict(property.take());
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            *inner = strict(inner.take());
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn unknown_fields_are_refused_and_ports_may_be_either() {
        let schema = strict(json!({"properties": {
            "port": {"type": "string", "format": "int-or-string"},
            "free": {"properties": {}, "x-kubernetes-preserve-unknown-fields": true},
            "list": {"items": {"properties": {"a": {"type": "string"}}}},
        }}));
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["port"]["type"], json!(["string", "integer"]));
        assert_eq!(schema["properties"]["free"].get("additionalProperties"), None);
        assert_eq!(schema["properties"]["list"]["items"]["additionalProperties"], false);
    }

    #[test]
    fn a_definition_takes_along_what_it_refers_to_even_in_a_circle() {
        let definitions = json!({
            "Pod": {"x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}],
                "properties": {"spec": {"$ref": "#/definitions/Spec"}}},
            "Spec": {"properties": {"of": {"items": {"$ref": "#/definitions/Spec"}}}},
            "Other": {},
        });
        let schema = built_in(definitions.as_object().unwrap(), "v1", "Pod").unwrap();
        assert_eq!(schema["definitions"].as_object().unwrap().len(), 2);
        assert!(built_in(definitions.as_object().unwrap(), "v2", "Pod").is_none());
    }
}
