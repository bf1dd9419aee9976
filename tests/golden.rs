//! The whole plan and the whole status, case by case. A change of either shows as a difference of these files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pgpooler_operator::api::{PgPooler, Reason};
use pgpooler_operator::plan::conditions::{self, Seen};
use pgpooler_operator::plan::facts::{
    Account, Coverage, Facts, Life, Neighbour, PodAccount, PodPhase, Reach, SecretFact, Server, ServerFact,
    Sharing,
};
use pgpooler_operator::plan::objects::Child;
use pgpooler_operator::plan::plan;
use serde_json::{Value, json};

use fixtures::{
    applied, applied_objects, as_json, facts, pods, pooler, pooler_with, secret, server, settings,
};

/// Plan and status of one case.
fn outcome(object: &PgPooler, facts: &Facts) -> Value {
    let plan = plan(object, facts, &settings());
    let children = applied_objects(&applied(&plan, &facts.children));
    let seen = Seen { object, facts, verdict: &plan.verdict, applied: Ok(&children) };
    let status = conditions::status(seen, &Time("2026-01-02T03:04:05Z".parse().unwrap()));
    json!({ "objects": as_json(&plan.objects), "status": status })
}

fn check(name: &str, object: &PgPooler, facts: &Facts) {
    let mut insta = insta::Settings::clone_current();
    insta.set_snapshot_path("golden");
    insta.set_prepend_module_to_snapshot(false);
    insta.set_omit_expression(true);
    insta.bind(|| insta::assert_yaml_snapshot!(name, outcome(object, facts)));
}

/// As it is once everything runs.
fn running(object: &PgPooler, count: usize) -> Facts {
    let before = facts();
    let children = applied(&plan(object, &before, &settings()), &before.children);
    Facts { pods: pods(&children, count), children, ..before }
}

#[test]
fn minimal() {
    check("minimal", &pooler(include_str!("../examples/minimal.yaml")), &facts());
}

#[test]
fn full() {
    check("full", &pooler(include_str!("../examples/full.yaml")), &facts());
}

#[test]
fn running_and_ready() {
    let object = pooler_with(json!({}));
    check("running", &object, &running(&object, 2));
}

/// Two pods, one of which has most of the budget, and one that has vanished.
fn account() -> Account {
    let pod = |name: &str, phase, reach, limit, held| PodAccount {
        name: name.into(),
        phase,
        reach,
        floor: 1,
        limit,
        held,
        active: held,
        waiting: 0,
        charge: limit,
    };
    Account {
        budget: 77,
        aside: 10,
        departed: 2,
        coverage: Coverage::Covered { pods: 13, floor: 1 },
        pods: vec![
            pod("orders-0", PodPhase::Serving, Reach::Connected, 54, 41),
            pod("orders-1", PodPhase::Serving, Reach::Connected, 10, 3),
            pod("orders-9", PodPhase::Vanished, Reach::Silent, 1, 0),
        ],
        peak: 44,
    }
}

#[test]
fn the_ledger_knows_who_has_what() {
    let object = pooler_with(json!({}));
    check("ledger", &object, &Facts { account: Some(account()), ..running(&object, 2) });
}

#[test]
fn several_pgpoolers_share_one_server_where_others_need_room_too() {
    let object = pooler_with(json!({"budget": {"keepFree": 20}}));
    let other = Neighbour { name: "shop/bills".into(), weight: 300, keep_free: 5, ..Neighbour::default() };
    let sharing = Sharing { others: vec![other], hidden: 2, foreign: Some(9), foreign_peak: 12 };
    let shared = Facts { sharing: sharing.clone(), account: Some(account()), ..running(&object, 2) };
    check("shared", &object, &shared);
    let server = Server { whose: "backup: 20, people: 3".into(), ..server(100) };
    let sharing = Sharing { foreign_peak: 30, ..sharing };
    check("foreign", &object, &Facts { sharing, server: ServerFact::Seen(server), ..shared });
}

#[test]
fn a_larger_deployment_waits_for_the_ledger() {
    let short = Account { coverage: Coverage::Short, ..account() };
    let facts = Facts { account: Some(short), ..running(&pooler_with(json!({})), 2) };
    check("ledger_short", &pooler_with(json!({"replicas": 4})), &facts);
}

#[test]
fn the_server_has_shrunk_below_what_pods_hold() {
    let object = pooler_with(json!({}));
    let account = Account { budget: 45, coverage: Coverage::Short, ..account() };
    let server = ServerFact::Seen(server(60));
    check("budget_shrank", &object, &Facts { account: Some(account), server, ..running(&object, 2) });
}

#[test]
fn nothing_is_limited_where_it_is_only_observed() {
    let object = pooler_with(json!({"replicas": 6, "budget": {"mode": "Observe"}}));
    let sharing = Sharing { foreign: Some(9), foreign_peak: 12, ..Sharing::default() };
    check("observe", &object, &Facts { account: Some(account()), sharing, ..running(&object, 6) });
}

#[test]
fn scaled_to_zero() {
    let object = pooler_with(json!({"replicas": 0}));
    check("scaled_to_zero", &object, &running(&object, 0));
}

#[test]
fn no_configuration_is_applied_and_nothing_is_ready_while_no_pod_exists() {
    for replicas in [0, 1, 2] {
        let object = pooler_with(json!({ "replicas": replicas }));
        for facts in [facts(), running(&object, 0)] {
            let outcome = outcome(&object, &facts);
            for condition in outcome["status"]["conditions"].as_array().unwrap() {
                let needs_pods = matches!(condition["type"].as_str(), Some("ConfigApplied" | "Ready"));
                assert!(!needs_pods || condition["status"] != "True", "{replicas}: {condition}");
            }
        }
    }
}

#[test]
fn whatever_pods_know_each_other_by_is_in_the_hash_that_they_are_made_with() {
    let object = pooler_with(json!({}));
    let hash = |facts: &Facts| plan(&object, facts, &settings()).verdict.config_hash.unwrap();
    let same = facts();
    let mut others = [facts(), facts(), facts(), facts(), facts()];
    others[0].peer_secret.0.push('x');
    others[1].admin_password.0.push('x');
    others[2].internal_tls.ca.push('x');
    others[3].internal_tls.certificate.push('x');
    others[4].internal_tls.key.0.push('x');
    assert_eq!(hash(&same), hash(&facts()));
    for (index, other) in others.iter().enumerate() {
        assert_ne!(hash(&same), hash(other), "{index}");
    }
}

#[test]
fn a_secret_with_only_a_uri() {
    let uri = [("uri", "postgresql://app:p%40ss@db.example.com:6543/shop?sslmode=prefer")];
    check("uri_secret", &pooler_with(json!({})), &Facts { secret: secret(&uri), ..facts() });
}

#[test]
fn a_secret_of_cloudnative_pg() {
    let data = [
        ("username", "app"),
        ("user", "app"),
        ("password", "secret"),
        ("host", "orders-db-rw"),
        ("port", "5432"),
        ("dbname", "app"),
        ("uri", "postgresql://app:secret@orders-db-rw.shop:5432/app"),
        ("jdbc-uri", "jdbc:postgresql://orders-db-rw.shop:5432/app?password=secret&user=app"),
        ("pgpass", "orders-db-rw:5432:app:app:secret\n"),
    ];
    let object = pooler(include_str!("../examples/cloudnative-pg.yaml"));
    check("cnpg_secret", &object, &Facts { secret: secret(&data), ..facts() });
}

#[test]
fn nothing_deployed_and_no_secret() {
    let facts = Facts { secret: SecretFact::Missing, server: ServerFact::NotAsked, ..facts() };
    check("secret_missing", &pooler_with(json!({})), &facts);
}

#[test]
fn the_secret_is_gone_while_pods_run() {
    let object = pooler_with(json!({}));
    let facts = Facts { secret: SecretFact::Missing, server: ServerFact::NotAsked, ..running(&object, 2) };
    check("secret_gone", &object, &facts);
}

#[test]
fn the_secret_is_gone_and_nothing_else_is_known() {
    let object = pooler_with(json!({}));
    let facts = Facts { secret: SecretFact::Missing, server: ServerFact::NotAsked, ..running(&object, 0) };
    let plan = plan(&object, &facts, &settings());
    assert_eq!(plan.objects.deployment, Child::Leave, "pods that are just being moved are not lost");
}

#[test]
fn the_target_is_unreachable_while_pods_run() {
    let object = pooler_with(json!({"image": "changed"}));
    let message = "cannot connect to orders-rw:5432: connection refused".to_owned();
    let server = ServerFact::Failed { reason: Reason::Unreachable, message };
    check("unreachable", &object, &Facts { server, ..running(&pooler_with(json!({})), 2) });
}

#[test]
fn the_budget_bears_no_pod() {
    check(
        "budget_too_small",
        &pooler_with(json!({})),
        &Facts { server: ServerFact::Seen(server(14)), ..facts() },
    );
}

#[test]
fn the_budget_bears_fewer_pods_than_wanted() {
    let object = pooler_with(json!({"replicas": 6, "budget": {"serverConnections": 10}}));
    check("scale_exceeds_budget", &object, &facts());
}

#[test]
fn the_role_has_a_limit() {
    let server = Server { role_limit: Some(20), ..server(100) };
    check("role_limit", &pooler_with(json!({})), &Facts { server: ServerFact::Seen(server), ..facts() });
}

#[test]
fn a_rollout_waits_for_pods_that_drain() {
    let mut facts = running(&pooler_with(json!({"replicas": 6})), 13);
    for pod in &mut facts.pods[6..] {
        pod.life = Life::Terminating;
    }
    check("rollout_waits", &pooler_with(json!({"replicas": 6, "image": "changed"})), &facts);
}

#[test]
fn a_name_is_taken() {
    let facts = Facts { conflicts: vec!["Service `orders`".into()], ..facts() };
    check("name_conflict", &pooler_with(json!({})), &facts);
}

#[test]
fn a_rollout_for_another_reason_brings_the_floor_that_fits_best() {
    let large = |object: &PgPooler| {
        let facts = Facts { server: ServerFact::Seen(server(1000)), ..running(&pooler_with(json!({})), 2) };
        plan(object, &facts, &settings()).verdict.sum.unwrap().floor
    };
    assert_eq!(large(&pooler_with(json!({}))), 1, "no pod is replaced for it");
    assert_eq!(large(&pooler_with(json!({"image": "changed"}))), 6);
}
