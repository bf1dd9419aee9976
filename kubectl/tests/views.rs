//! What `status`, `top` and `plan` print, of things that were seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kubectl_pgpooler::live::Figures;
use kubectl_pgpooler::plan::compare::{self, World, compare};
use kubectl_pgpooler::{plan, status, top};
use pgpooler_operator::api::PgPooler;
use pgpooler_operator::observe::internal_tls;
use pgpooler_operator::plan::facts::{Kinds, Served, Server, Sharing};
use serde_json::{Value, json};

fn check(name: &str, text: &str) {
    let mut insta = insta::Settings::clone_current();
    insta.set_snapshot_path("golden/views");
    insta.set_prepend_module_to_snapshot(false);
    insta.set_omit_expression(true);
    insta.bind(|| insta::assert_snapshot!(name, text));
}

/// The page has it as a sample.
fn shown(text: &str) {
    let page = include_str!("../../docs/kubectl-pgpooler.md");
    assert!(page.contains(text.trim_end()), "docs/kubectl-pgpooler.md does not show:\n{text}");
}

fn pooler(spec: Value, status: Value) -> PgPooler {
    let mut full = json!({"target": {"secretRef": {"name": "orders-db"}}});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "1", "generation": 3},
        "spec": full, "status": status,
    }))
    .unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 3,
    })
}

fn in_order() -> Value {
    json!({
        "observedGeneration": 3, "replicas": 2, "readyReplicas": 2, "ready": "2/2",
        "target": {"address": "db.example.com:5432", "serverVersion": "17.5", "role": "Primary"},
        "budget": {
            "maxConnections": 100, "reserved": 3, "usable": 97, "hidden": 0, "keepFree": 10, "foreign": 2, "foreignPeak": 4,
            "serverBudget": 87, "budget": 77, "part": 77, "maxReplicas": 6, "maxPods": 13, "floor": 1, "aside": 11,
            "granted": 20, "charged": 20, "used": 12,
        },
        "clients": {"waiting": 0},
        "pods": [
            {"name": "orders-5b8d9c7f6-aaaaa", "phase": "Serving", "floor": 1, "limit": 15, "held": 9, "charge": 15},
            {"name": "orders-5b8d9c7f6-bbbbb", "phase": "Serving", "floor": 1, "limit": 5, "held": 3, "charge": 5},
        ],
        "conditions": [
            condition("Ready", "True", "Ready", "2 of 2 pods are ready"),
            condition("WithinBudget", "True", "WithinBudget", "20 charged + 11 set aside <= 77"),
            condition("Fenced", "False", "FenceLoose", "the role has no limit"),
        ],
    })
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "status": {"phase": "Running"},
    }))
    .unwrap()
}

fn figures() -> Figures {
    Figures {
        phase: "serving".into(),
        floor: 1,
        limit: 16,
        held: 10,
        charge: 16,
        active: 7,
        clients: 420,
        waiting: 3,
        max_wait: Duration::from_millis(1250),
        transactions: 1000,
        average: 150,
        config_hash: Some("fedcba9876543210".into()),
        paused: false,
    }
}

#[test]
fn a_pgpooler_in_order_is_its_sum_and_its_pods() {
    let pods = [pod("orders-5b8d9c7f6-aaaaa"), pod("orders-5b8d9c7f6-bbbbb")];
    let asked = BTreeMap::from([("orders-5b8d9c7f6-aaaaa".to_owned(), figures())]);
    let report = status::of(&pooler(json!({}), in_order()), &pods, &asked);
    assert_eq!(report.problems, []);
    let text = status::text(&[report]);
    check("in_order", &text);
    shown(&text);
}

#[test]
fn what_is_not_as_it_should_be_comes_with_what_to_do() {
    let mut seen = in_order();
    seen["observedGeneration"] = 2.into();
    seen["budget"]["hidden"] = 2.into();
    seen["budget"]["part"] = 58.into();
    seen["budget"]["roleLimit"] = 50.into();
    seen["budget"]["sharedWith"] = json!(["shop/reports"]);
    seen["pods"] = json!([]);
    let message = "6 pods with their successors would have less than one connection each";
    seen["conditions"] = json!([
        condition("Ready", "False", "ScaleExceedsBudget", message),
        condition("TargetReachable", "True", "Reachable", "PostgreSQL 17.5"),
        condition("WithinBudget", "False", "ScaleExceedsBudget", message),
        condition("Paused", "True", "Paused", "as spec.paused says"),
    ]);
    let mut report = status::of(&pooler(json!({}), seen), &[pod("orders-5b8d9c7f6-ccccc")], &BTreeMap::new());
    report.unseen = vec!["pods were not asked: cannot read Secret `orders-auth`: forbidden".into()];
    let fresh = status::of(&pooler(json!({}), json!({})), &[], &BTreeMap::new());
    check("problems", &status::text(&[report, fresh]));
}

#[test]
fn figures_are_read_from_the_rows_of_the_console() {
    let row =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let read = Figures::read(
        &[row(&[
            ("phase", "serving"),
            ("floor", "1"),
            ("limit", "16"),
            ("held", "10"),
            ("charge", "16"),
            ("active", "7"),
        ])],
        &[
            row(&[("cl_active", "400"), ("cl_waiting", "1"), ("maxwait", "1"), ("maxwait_us", "250000")]),
            row(&[("cl_active", "17"), ("cl_waiting", "2"), ("maxwait", "0"), ("maxwait_us", "9")]),
        ],
        &[
            row(&[("total_xact_count", "900"), ("avg_xact_count", "149")]),
            row(&[("total_xact_count", "100"), ("avg_xact_count", "1")]),
        ],
        &[
            row(&[("key", "config_hash"), ("value", "fedcba9876543210")]),
            row(&[("key", "paused"), ("value", "no")]),
        ],
    );
    assert_eq!(read, figures());
    assert_eq!(Figures::read(&[], &[], &[], &[]), Figures::default());
}

#[test]
fn top_adds_up_the_pods_and_says_who_is_silent() {
    let lines = [
        top::Line { pod: "orders-5b8d9c7f6-aaaaa".into(), said: Ok((figures(), 12345)) },
        top::Line {
            pod: "orders-5b8d9c7f6-b".into(),
            said: Ok((Figures { max_wait: Duration::ZERO, ..figures() }, 5)),
        },
        top::Line { pod: "orders-5b8d9c7f6-c".into(), said: Err("not running".into()) },
    ];
    check("top", &top::text(&lines));
    shown(&top::text(&lines[..2]));
}

#[test]
fn transactions_per_second_are_those_between_two_answers() {
    let at = |transactions| Figures { transactions, ..Figures::default() };
    assert_eq!(top::rate(&at(100), &at(350), Duration::from_millis(500)), Some(500));
    assert_eq!(top::rate(&at(100), &at(50), Duration::from_secs(1)), None, "the pod was started anew");
    assert_eq!(top::rate(&at(100), &at(150), Duration::ZERO), None);
}

fn world() -> World {
    World {
        server: Some(Server { max_connections: 100, superuser_reserved: 3, ..Server::default() }),
        sharing: Sharing::default(),
        deployment: None,
        pods: 2,
        image: "pgpooler:1".into(),
        kinds: Kinds { certificate: Served::Present, pod_monitor: Served::Present },
        certificate: internal_tls::make(k8s_openapi::jiff::Timestamp::now()).unwrap(),
    }
}

fn change(now: Option<Value>, then: Value) -> compare::Change {
    let now = now.map(|spec| pooler(spec, in_order()));
    compare(now.as_ref(), &pooler(then, json!({})), &world())
}

fn effect(then: Value) -> compare::Effect {
    let change = change(Some(json!({})), then);
    assert_eq!(change.fields.len(), 1, "{:?}", change.fields);
    change.fields[0].effect
}

#[test]
fn a_new_one_comes_with_its_children_and_its_sum() {
    check("plan_new", &plan::render::text(&[change(None, json!({"replicas": 3}))]));
}

#[test]
fn a_change_is_told_field_by_field() {
    let then = json!({
        "replicas": 4, "maxReplicas": 8, "budget": {"serverConnections": 40, "keepFree": 20},
        "podTemplate": {"resources": {"limits": {"memory": "128Mi"}}},
        "service": {"annotations": {"a": "b"}},
    });
    let changed = change(Some(json!({})), then);
    assert_eq!(changed.pods.replaced, 2);
    let text = plan::render::text(&[changed]);
    check("plan_change", &text);
    shown(&text);
}

#[test]
fn the_effect_of_a_field_is_what_the_operator_would_do() {
    use compare::Effect;
    assert_eq!(effect(json!({"replicas": 3})), Effect::Scale);
    assert_eq!(effect(json!({"budget": {"serverConnections": "70%"}})), Effect::Live);
    assert_eq!(effect(json!({"service": {"port": 6432}})), Effect::Live);
    assert_eq!(effect(json!({"image": "other:2"})), Effect::Rollout);
    assert_eq!(effect(json!({"podTemplate": {"labels": {"a": "b"}}})), Effect::Rollout);
    assert_eq!(effect(json!({"networkPolicy": {"enabled": true}})), Effect::Live);
    assert_eq!(effect(json!({"connectionSecret": {"name": "orders-uri"}})), Effect::Live);
}

#[test]
fn nothing_changes_where_nothing_differs() {
    let same = change(Some(json!({"replicas": 3})), json!({"replicas": 3}));
    assert_eq!((same.fields.len(), same.pods.replaced, same.children.len()), (0, 0, 0));
    check("plan_same", &plan::render::text(&[same]));
}

#[test]
fn what_would_not_work_is_said_before() {
    let tiny = change(Some(json!({})), json!({"budget": {"serverConnections": 2}}));
    let small = change(Some(json!({})), json!({"budget": {"serverConnections": 9}}));
    let refused = compare::Change {
        name: "shop/orders".into(),
        refused: Some("PgPooler.pgpooler.dev \"orders\" is invalid: replicas is above maxReplicas".into()),
        ..compare::Change::default()
    };
    check("plan_warnings", &plan::render::text(&[tiny, small, refused]));
}
