//! Every pod that the chart makes meets the restricted Pod Security standard, as the standard lists it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::render;

/// Fields of a pod that the standard forbids.
const OF_HOST: [&str; 4] = ["hostNetwork", "hostPID", "hostIPC", "hostUsers"];
/// Volumes that it allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// All pods, with every set of values.
pub(super) fn restricted() -> Result<()> {
    let mut pods = 0;
    for document in render::documents()? {
        let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let spec = match document["kind"].as_str() {
            Some("Pod") => document.pointer("/spec"),
            _ => document.pointer("/spec/template/spec"),
        };
        if let Some(spec) = spec {
            meets(spec).with_context(|| format!("{} {name}", document["kind"]))?;
            pods += 1;
        }
    }
    ensure!(pods >= 7, "{pods} pods only: the operator's with every set of values, and the tests'");
    Ok(())
}

fn meets(pod: &Value) -> Result<()> {
    for field in OF_HOST {
        ensure!(pod.get(field).is_none(), "{field} is set");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let known = |key: &String| key == "name" || VOLUMES.contains(&key.as_str());
        ensure!(volume.as_object().is_some_and(|volume| volume.keys().all(known)), "volume {volume}");
    }
    let whole = &pod["securityContext"];
    ensure!(whole["runAsNonRoot"] == true, "runAsNonRoot is not set");
    ensure!(whole["seccompProfile"]["type"] == "RuntimeDefault", "seccompProfile is not RuntimeDefault");
    let all = ["containers", "initContainers", "ephemeralContainers"];
    let containers: Vec<_> = all.iter().filter_map(|kind| pod[*kind].as_array()).flatten().collect();
    ensure!(!containers.is_empty(), "no container");
    containers.into_iter().try_for_each(contained)
}

fn contained(container: &Value) -> Result<()> {
    let context = &container["securityContext"];
    ensure!(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation is not false");
    ensure!(context["capabilities"]["drop"] == serde_json::json!(["ALL"]), "capabilities are not dropped");
    ensure!(context["capabilities"].get("add").is_none(), "capabilities are added");
    ensure!(context["privileged"] != true, "privileged");
    ensure!(context["runAsNonRoot"] != false && context["runAsUser"] != 0, "root");
    ensure!(context["readOnlyRootFilesystem"] == true, "the root file system can be written");
    for port in container["ports"].as_array().into_iter().flatten() {
        ensure!(port.get("hostPort").is_none(), "a port of the host");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn pod() -> Value {
        serde_json::json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"securityContext": {"allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}],
        })
    }

    #[test]
    fn every_field_counts() {
        assert!(meets(&pod()).is_ok());
        let broken = [
            ("/hostNetwork", serde_json::json!(true)),
            ("/volumes", serde_json::json!([{"name": "a", "hostPath": {"path": "/"}}])),
            ("/securityContext", serde_json::json!({"runAsNonRoot": true})),
            ("/containers/0/securityContext/capabilities", serde_json::json!({"drop": []})),
            ("/containers/0/securityContext/privileged", serde_json::json!(true)),
            ("/containers/0/ports", serde_json::json!([{"hostPort": 80}])),
        ];
        for (pointer, value) in broken {
            let mut pod = pod();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value;
            assert!(meets(&pod).is_err(), "{pointer}");
        }
    }
}
