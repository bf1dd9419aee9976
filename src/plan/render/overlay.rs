//! What users add to the pods: any field of a pod's spec, merged as `kubectl patch` would merge it.
//!
//! Maps are merged by key and lists of things with a name by it; other lists are replaced. `null` takes a field away.

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value};

/// What identifies the things in a list of a pod's spec.
const KEYS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
];

/// The pod's spec with what users add. `Err`: the result is no pod's spec; why.
pub fn merged(pod: PodSpec, more: &Map<String, Value>) -> Result<PodSpec, String> {
    if more.is_empty() {
        return Ok(pod);
    }
    let mut whole = serde_json::to_value(pod).map_err(|error| error.to_string())?;
    merge(&mut whole, &Value::Object(more.clone()));
    // what the type does not know would be lost, and a misspelt field with it
    let pod: PodSpec = serde_json::from_value(whole.clone()).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(&pod).map_err(|error| error.to_string())?;
    match lost(&whole, &known, "") {
        Some(path) => Err(format!("unknown field `{path}`")),
        None => Ok(pod),
    }
}

fn merge(into: &mut Value, more: &Value) {
    let (Value::Object(into), Value::Object(more)) = (&mut *into, more) else {
        *into = more.clone();
        return;
    };
    for (key, more) in more {
        match (into.get_mut(key), more) {
            (_, Value::Null) => {
                into.remove(key);
            }
            (Some(Value::Array(into)), Value::Array(more)) => merge_lists(key, into, more),
            (Some(into), more) => merge(into, more),
            (None, more) => {
                into.insert(key.clone(), more.clone());
            }
        }
    }
}

fn merge_lists(field: &str, into: &mut Vec<Value>, more: &[Value]) {
    let Some((_, id)) = KEYS.iter().find(|(name, _)| *name == field) else {
        *into = more.to_vec();
        return;
    };
    for one in more {
        let same = |other: &&mut Value| other.get(id).is_some() && other.get(id) == one.get(id);
        match into.iter_mut().find(same) {
            Some(known) => merge(known, one),
            None => into.push(one.clone()),
        }
    }
}

/// The first field of `whole` that is not in `known`.
fn lost(whole: &Value, known: &Value, path: &str) -> Option<String> {
    match (whole, known) {
        (Value::Object(whole), Value::Object(known)) => whole.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match known.get(key) {
                Some(known) => lost(value, known, &path),
                // an empty one says nothing
                None if is_empty(value) => None,
                None => Some(path),
            }
        }),
        (Value::Array(whole), Value::Array(known)) => {
            let pairs = whole.iter().zip(known).enumerate();
            pairs.into_iter().find_map(|(at, (whole, known))| lost(whole, known, &format!("{path}[{at}]")))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use k8s_openapi::api::core::v1::Container;
    use serde_json::json;

    use super::*;

    fn pod() -> PodSpec {
        serde_json::from_value(json!({
            "containers": [{"name": "pgpooler", "image": "p", "env": [{"name": "A", "value": "1"}], "args": ["--x"]}],
            "volumes": [{"name": "config", "emptyDir": {}}],
        }))
        .unwrap()
    }

    fn with(more: &Value) -> Result<PodSpec, String> {
        merged(pod(), more.as_object().unwrap())
    }

    #[test]
    fn things_with_a_name_are_merged_by_it() {
        let more = json!({
            "affinity": {"nodeAffinity": {}},
            "containers": [
                {"name": "pgpooler", "env": [{"name": "B", "value": "2"}], "args": ["--y"]},
                {"name": "sidecar", "image": "s"},
            ],
        });
        let pod = with(&more).unwrap();
        let names: Vec<_> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        assert_eq!(names, ["pgpooler", "sidecar"]);
        let Container { image, env, args, .. } = &pod.containers[0];
        assert_eq!(image.as_deref(), Some("p"));
        assert_eq!(env.iter().flatten().map(|env| env.name.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(args.as_deref(), Some(["--y".to_owned()].as_slice()));
        assert!(pod.affinity.is_some());
    }

    #[test]
    fn null_takes_away() {
        assert_eq!(with(&json!({"volumes": null})).unwrap().volumes, None);
    }

    #[test]
    fn what_is_no_field_of_a_pod_is_named() {
        assert_eq!(with(&json!({"afinity": {"a": 1}})), Err("unknown field `afinity`".to_owned()));
        let more = json!({"containers": [{"name": "pgpooler", "livenesProbe": {"periodSeconds": 1}}]});
        assert_eq!(with(&more), Err("unknown field `containers[0].livenesProbe`".to_owned()));
        assert!(with(&json!({"containers": "none"})).is_err());
    }
}
