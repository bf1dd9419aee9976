//! The rendered chart before a real API server: a dry run of every object, in namespaces that enforce the restricted Pod
//! Security standard, so that the server itself says whether the pods meet it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{site::Site, ui};

use super::{
    Count,
    render::{self, VALUES},
    schemas,
};

/// Where objects of the sets of values are.
const NAMESPACES: [&str; 4] = ["pgpooler-system", "shop", "billing", "monitoring"];
const RESTRICTED: &str = "pod-security.kubernetes.io/enforce=restricted";

/// Everything, with every set of values.
pub(crate) fn dry_run(site: &Site) -> Result<Count> {
    for crd in schemas::monitoring_crds()? {
        let crd = crd.to_str().context("a path that is no text")?;
        site.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", crd])?;
    }
    for namespace in NAMESPACES {
        site.namespace(namespace)?;
        site.kubectl(&["label", "namespace", namespace, RESTRICTED, "--overwrite"])?;
    }
    for values in VALUES {
        ui::say(&format!("dry run of the chart with the values {values}"));
        let documents: Vec<Value> = serde_saphyr::from_multiple(&render::template(values)?)?;
        let pods: Vec<_> = documents.iter().filter_map(pod).collect();
        // a pod without its account is refused for that
        for account in pods.iter().filter_map(account) {
            site.apply_where_it_says(&account.to_string())?;
        }
        let others = documents.iter().filter(|document| !document.is_null() && document["kind"] != "Pod");
        let all: Vec<_> = others.chain(&pods).collect();
        site.dry_run(&json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string())?;
    }
    refuses_what_is_not_restricted(site)?;
    // the tests that come after begin without these kinds
    let monitoring = ["podmonitors", "prometheusrules"].map(|kind| format!("{kind}.monitoring.coreos.com"));
    site.kubectl(&["delete", "customresourcedefinitions", &monitoring[0], &monitoring[1], "--timeout=60s"])?;
    // and with no account that Helm would find to be another's
    site.kubectl(&[&["delete", "namespaces", "--timeout=90s"][..], &NAMESPACES[..]].concat())?;
    Ok(Count { passed: VALUES.len() as u64 + 1, failed: 0 })
}

/// The pod itself, or the one that a Deployment would make.
fn pod(document: &Value) -> Option<Value> {
    if document["kind"] == "Pod" {
        return Some(document.clone());
    }
    let spec = document.pointer("/spec/template/spec")?;
    let metadata =
        json!({"name": "of-the-deployment", "namespace": document.pointer("/metadata/namespace")?});
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

fn account(pod: &Value) -> Option<Value> {
    let metadata = json!({
        "name": pod.pointer("/spec/serviceAccountName")?,
        "namespace": pod.pointer("/metadata/namespace")?,
    });
    Some(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}))
}

/// Or the dry runs above would show nothing.
fn refuses_what_is_not_restricted(site: &Site) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "loose", "namespace": "shop"},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    });
    ensure!(site.dry_run(&pod.to_string()).is_err(), "the namespaces enforce nothing");
    Ok(())
}
