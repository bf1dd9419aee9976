//! What all children have in common.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Resource;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::api::PgPooler;
use crate::names;
use crate::plan::pooler::Pooler;

/// Name, namespace, labels and owner.
pub fn meta(pooler: &Pooler, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pooler.namespace.clone()),
        labels: Some(names::labels(&pooler.name)),
        owner_references: Some(vec![pooler.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// Whether `owner` controls an object.
pub fn is_owned_by<K: Resource>(object: &K, owner: &PgPooler) -> bool {
    let uid = owner.metadata.uid.as_deref();
    let mut references = object.meta().owner_references.iter().flatten();
    references.any(|reference| reference.controller == Some(true) && Some(reference.uid.as_str()) == uid)
}

/// The pods.
pub fn selector(pooler: &Pooler) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&pooler.name)), match_expressions: None }
}

/// `None` for an empty map: the API server drops those, and what it drops would look like a difference for ever.
pub fn unless_empty(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}

/// A short hash of anything that has a JSON form; map keys are sorted, so equal things have equal hashes.
pub fn hash(thing: &impl Serialize) -> String {
    // what has no JSON form is no Kubernetes object; its hash then never matches and it is applied again
    let json = serde_json::to_value(thing).unwrap_or_default().to_string();
    hash_bytes(json.as_bytes())
}

/// A short hash of bytes.
pub fn hash_bytes(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}
