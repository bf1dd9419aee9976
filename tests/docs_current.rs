//! The reference says what the code does: generated pages are current, what they say of changes is tried out, and every
//! condition and reason has its row.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use std::collections::BTreeSet;

use pgpooler_operator::api::{ConditionType, PgPooler, Reason};
use pgpooler_operator::plan::plan;
use pgpooler_operator::reference::{self, Effect, effect};
use serde_json::{Value, json};

use fixtures::{NAMESPACE, settings, world};

const FIELDS: &str = include_str!("../docs/reference/pgpooler.md");
const RIGHTS: &str = include_str!("../docs/reference/rbac.md");
const CONDITIONS: &str = include_str!("../docs/reference/conditions.md");

fn made_part(page: &str) -> &str {
    let (_, rest) = page.split_once("cargo xtask generate -->\n").expect("where the generated part begins");
    rest.split_once("<!-- end -->").expect("where it ends").0
}

#[test]
fn every_field_is_in_the_reference_as_it_is() {
    assert!(made_part(FIELDS) == reference::fields().expect("a page"), "run cargo xtask generate");
}

#[test]
fn every_right_is_in_the_reference_as_it_is() {
    assert!(made_part(RIGHTS) == reference::rights(), "run cargo xtask generate");
}

/// Rows of a page's tables, as the first cells.
fn first_cells(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(cell, _)| cell)
}

#[test]
fn every_condition_and_reason_has_a_row_and_no_other_has() {
    let types = ConditionType::ALL.iter().map(|one| one.as_str());
    let known: BTreeSet<_> = types.chain(Reason::ALL.iter().map(|one| one.as_str())).collect();
    let told: BTreeSet<_> = first_cells(CONDITIONS).collect();
    assert_eq!(known.difference(&told).collect::<Vec<_>>(), Vec::<&&str>::new(), "without a row");
    assert_eq!(told.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new(), "rows of nothing");
}

#[test]
fn every_condition_but_the_summary_has_a_section_with_its_reasons() {
    for one in ConditionType::ALL {
        let heading = if one == ConditionType::Ready {
            "\n## Further reasons of `Ready`\n".to_owned()
        } else {
            format!("\n## Reasons of `{}`\n", one.as_str())
        };
        assert!(CONDITIONS.contains(&heading), "{heading}");
    }
}

/// Fields of the spec that have no fields themselves, as the page has them.
fn leaves() -> Vec<String> {
    let mut section = String::new();
    let mut leaves = Vec::new();
    for line in made_part(FIELDS).lines() {
        if let Some(heading) =
            line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with("##"))
        {
            heading.clone_into(&mut section);
        } else if let Some((field, rest)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            let is_object = rest.starts_with(" | [object]") || rest.starts_with(" | [list of objects]");
            if section.starts_with("spec") && !is_object {
                leaves.push(format!("{section}.{field}"));
            }
        }
    }
    leaves
}

/// Another value for a field of `examples/full.yaml`, or one if it has none.
fn other_value(path: &str) -> Value {
    match path.rsplit('.').next().unwrap() {
        "annotations" | "labels" | "nodeSelector" => json!({"example.com/other": "x"}),
        "adminUsers" | "statsUsers" | "users" => json!(["another"]),
        "limits" | "requests" => json!({"memory": "1Gi"}),
        "tolerations" => json!([{"key": "another", "operator": "Exists"}]),
        "allowFrom" | "metricsFrom" => json!([{"podSelector": {"matchLabels": {"another": "x"}}}]),
        "hosts" => json!(["another.example.com"]),
        "dnsNames" => json!(["another.example.com"]),
        "paused" => json!(true),
        "enabled" => json!(false),
        "fence" => json!("Off"),
        "sessionState" => json!("Reject"),
        "role" => json!("Any"),
        "key" => json!(if path.contains("clientCARef") { "ca-bundle.pem" } else { "ca.crt" }),
        "kind" if path.contains("issuer") => json!("ClusterIssuer"),
        "kind" => json!(if path.contains("clientCARef") { "ConfigMap" } else { "Secret" }),
        "whenUnsatisfiable" => json!("DoNotSchedule"),
        "type" => json!(if path == "spec.service.type" { "NodePort" } else { "Md5" }),
        "mode" if path == "spec.budget.mode" => json!("Observe"),
        "mode" if path.contains("tls") => json!("VerifyCA"),
        "mode" => json!("Statement"),
        "statement" => json!("SELECT a, b FROM c($1)"),
        "serverConnections" => json!("40%"),
        "replicas" => json!(2),
        "port"
        | "max"
        | "maxReplicas"
        | "keepFree"
        | "weight"
        | "maxPreparedStatements"
        | "minConnections"
        | "maxConnections"
        | "maxSkew"
        | "maxUnavailable" => json!(7),
        last if last.ends_with("imeout") || last == "interval" || last == "lifetime" => json!("17s"),
        _ => json!("another"),
    }
}

/// What must be otherwise for the field to have a place.
fn made_ready(path: &str, mut object: Value) -> Value {
    let target = "/spec/target";
    let mut without = |pointer: &str, key: &str| {
        object.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap().remove(key);
    };
    if path.starts_with("spec.clients.tls.issuerRef") || path.ends_with("dnsNames") {
        without("/spec/clients/tls", "secretRef");
        set(&mut object, "spec.clients.tls.issuerRef.name", json!("issuer"));
    } else if path == "spec.target.host" {
        without(target, "hosts");
        set(&mut object, path, json!("one.example.com"));
    } else if path == "spec.target.clusterRef.name" {
        without(target, "hosts");
        without(target, "port");
        set(&mut object, path, json!("one"));
    } else if path == "spec.image" {
        // named or not, an image is one
        set(&mut object, path, json!("pgpooler/pgpooler:1"));
    }
    object
}

/// Sets a value; of a list its first item's.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for step in path.split('.') {
        let (name, is_list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        place = &mut place[name];
        if is_list {
            place = &mut place[0];
        }
    }
    *place = value;
}

fn template_hash(object: &Value) -> String {
    let mut object: PgPooler = serde_json::from_value(object.clone()).expect("a PgPooler");
    object.metadata.namespace = Some(NAMESPACE.into());
    object.metadata.uid = Some("6f1c3b1e-0000-4000-8000-000000000001".into());
    let plan = plan(&object, &world(&object), &settings());
    assert_eq!(plan.verdict.blocked, None);
    plan.verdict.template_hash.expect("a pod template")
}

#[test]
fn a_change_costs_a_rollout_where_the_reference_says_so() {
    let full: Value = serde_saphyr::from_str(include_str!("../examples/full.yaml")).expect("YAML");
    let leaves = leaves();
    assert!(leaves.len() > 80, "{leaves:?}");
    for path in leaves {
        let before = made_ready(&path, full.clone());
        let mut after = before.clone();
        set(&mut after, &path, other_value(&path));
        assert!(before != after, "{path} has that value already");
        let is_another = template_hash(&before) != template_hash(&after);
        match effect(&path) {
            Effect::Live => assert!(!is_another, "{path} costs a rollout"),
            Effect::Rollout => assert!(is_another, "{path} costs no rollout"),
            Effect::Floors => {}
        }
    }
}
