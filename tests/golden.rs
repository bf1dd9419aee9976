//! The whole plan and the whole status, case by case. A change of either shows as a difference of these files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pgpooler_operator::api::{PgPooler, Reason};
use pgpooler_operator::plan::conditions::{self, Seen};
use pgpooler_operator::plan::facts::{
    Account, Configured, Coverage, Facts, Life, Neighbour, PodAccount, PodPhase, Reach, SecretFact, Server,
    ServerFact, Sharing,
};
use pgpooler_operator::plan::objects::Child;
use pgpooler_operator::plan::{Plan, Settings, Upgrade, plan};
use serde_json::{Value, json};

use fixtures::{
    applied, applied_objects, as_json, facts, pods, pooler, pooler_with, secret, server, settings, world,
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
    let object = pooler(include_str!("../examples/full.yaml"));
    check("full", &object, &world(&object));
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
        configured: Configured::default(),
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
fn what_only_another_process_can_have_is_in_the_template_and_all_of_it_in_what_pods_are_told() {
    let object = pooler_with(json!({}));
    let template = |facts: &Facts| plan(&object, facts, &settings()).verdict.template_hash.unwrap();
    let hash = |facts: &Facts| plan(&object, facts, &settings()).verdict.configuration.unwrap().hash;
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
        // a certificate of the same authority is told
        assert_eq!(template(&same) != template(other), index < 3, "{index}");
    }
}

/// Two pods that say that they run this.
fn told(object: &PgPooler, configured: &Configured) -> Facts {
    let facts = running(object, 2);
    let pods = facts.pods.iter().map(|pod| PodAccount {
        name: pod.name.clone(),
        reach: Reach::Connected,
        configured: configured.clone(),
        ..PodAccount::default()
    });
    Facts { account: Some(Account { pods: pods.collect(), ..Account::default() }), ..facts }
}

fn hash_of(object: &PgPooler, facts: &Facts) -> String {
    plan(object, facts, &settings()).verdict.configuration.expect("a configuration").hash
}

/// Status, reason and message of a condition.
fn condition(object: &PgPooler, facts: &Facts, type_: &str) -> (String, String, String) {
    let outcome = outcome(object, facts);
    let conditions = outcome["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == type_).unwrap();
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("status"), text("reason"), text("message"))
}

#[test]
fn the_configuration_is_applied_when_every_pod_has_said_so() {
    let object = pooler_with(json!({}));
    let hash = hash_of(&object, &facts());
    let applied = |configured: Configured| {
        let (status, reason, message) = condition(&object, &told(&object, &configured), "ConfigApplied");
        (format!("{status} {reason}"), message)
    };
    let runs = Configured { hash: Some(hash.clone()), ..Configured::default() };
    assert_eq!(
        applied(runs.clone()),
        ("True Applied".into(), format!("all 2 pods run configuration {hash}"))
    );
    let old = Configured { hash: Some("old".into()), ..Configured::default() };
    assert_eq!(applied(old.clone()).0, "False Pushing");
    let silent = Configured { fault: Some("it refuses the login".into()), ..Configured::default() };
    let (status, message) = applied(silent);
    assert_eq!(status, "False Pushing");
    assert!(message.ends_with("orders-0: it refuses the login"), "{message}");
    let refuses = Configured { rejected: Some("unknown field `x`".into()), ..old };
    let (status, message) = applied(refuses);
    assert_eq!(status, "False Rejected");
    assert!(
        message.starts_with("pod orders-0 refuses") && message.ends_with("unknown field `x`"),
        "{message}"
    );
    let late = Configured { needs_restart: vec!["workers".into()], ..runs };
    assert_eq!(applied(late).0, "False NeedsRestart");
}

#[test]
fn an_operator_that_has_heard_no_pod_yet_believes_the_last_status_about_the_same_configuration() {
    let mut object = pooler_with(json!({}));
    let hash = hash_of(&object, &facts());
    let unheard =
        |object: &PgPooler| condition(object, &told(object, &Configured::default()), "ConfigApplied").0;
    assert_eq!(unheard(&object), "False");
    let runs = told(&object, &Configured { hash: Some(hash), ..Configured::default() });
    object.status = Some(serde_json::from_value(outcome(&object, &runs)["status"].clone()).unwrap());
    assert_eq!(unheard(&object), "True");
    let old = Configured { hash: Some("old".into()), ..Configured::default() };
    assert_eq!(condition(&object, &told(&object, &old), "ConfigApplied").0, "False");
    let silent = Configured { fault: Some("no way there".into()), ..Configured::default() };
    assert_eq!(condition(&object, &told(&object, &silent), "ConfigApplied").0, "False");
    object.spec.clients.max += 1;
    assert_eq!(unheard(&object), "False", "another configuration");
}

#[test]
fn it_is_paused_when_every_pod_has_said_so_and_no_connection_is_in_use() {
    let served = pooler_with(json!({}));
    let object = pooler_with(json!({"paused": true}));
    let says = |hash: String| told(&object, &Configured { hash: Some(hash), ..Configured::default() });
    let before = hash_of(&served, &facts());
    let paused = |facts: &Facts| condition(&object, facts, "Paused");
    assert_eq!(condition(&served, &says(before.clone()), "Paused").1, "NotPaused");
    assert_eq!(paused(&says(before)).1, "Pausing");
    let mut facts = says(hash_of(&object, &facts()));
    assert_eq!(paused(&facts).0, "True");
    assert_eq!(condition(&object, &facts, "Ready").0, "True", "pods stay ready");
    facts.account.as_mut().unwrap().pods[1].active = 1;
    assert_eq!(
        paused(&facts),
        ("False".into(), "Pausing".into(), "1 server connections are still in use".into())
    );
}

#[test]
fn a_pause_reaches_pods_while_the_target_is_away_and_nothing_else_does() {
    let served = pooler_with(json!({}));
    let object = pooler_with(json!({"paused": true, "clients": {"max": 7}}));
    let away = Facts { server: ServerFact::NotAsked, ..running(&served, 2) };
    let plan = plan(&object, &away, &settings());
    let Child::Apply(config) = &plan.objects.config else { panic!("the document changes") };
    let text = &config.data.as_ref().unwrap()["pgpooler.toml"];
    let before = &away.children.config.as_ref().unwrap().data.as_ref().unwrap()["pgpooler.toml"];
    assert!(text.contains("paused = true") && !text.contains("max_client_conn = 7"), "{text}");
    let without: Vec<_> = text.lines().filter(|line| *line != "paused = true").collect();
    assert_eq!(without, before.lines().collect::<Vec<_>>());
    assert_eq!(plan.objects.auth, Child::Leave);
    assert!(plan.verdict.configuration.unwrap().paused);
}

#[test]
fn the_document_is_stored_while_a_rollout_waits() {
    let mut facts = running(&pooler_with(json!({"replicas": 6})), 13);
    for pod in &mut facts.pods[6..] {
        pod.life = Life::Terminating;
    }
    let object = pooler_with(json!({"replicas": 6, "image": "changed", "clients": {"max": 7}}));
    let plan = plan(&object, &facts, &settings());
    assert!(plan.verdict.step.unwrap().waits);
    let Child::Apply(config) = &plan.objects.config else { panic!("the document changes") };
    assert!(config.data.as_ref().unwrap()["pgpooler.toml"].contains("max_client_conn = 7"));
}

/// What is applied live leaves the template as it is.
#[test]
fn only_what_needs_another_process_is_in_the_template() {
    let template =
        |spec: Value| plan(&pooler_with(spec), &facts(), &settings()).verdict.template_hash.unwrap();
    let now = template(json!({}));
    for live in [
        json!({"paused": true}),
        json!({"queueTimeout": "7s", "mode": "Session", "clients": {"max": 7, "idleTimeout": "1h"}}),
        json!({"pools": [{"name": "a", "maxConnections": 3}], "servers": {"lifetime": "5m"}}),
        json!({"target": {"secretRef": {"name": "orders-db"}, "host": "other", "port": 7}}),
    ] {
        assert_eq!(template(live.clone()), now, "{live}");
    }
    for other in [json!({"image": "changed"}), json!({"drain": {"timeout": "7s"}})] {
        assert_ne!(template(other.clone()), now, "{other}");
    }
    let secret =
        secret(&[("username", "app"), ("password", "new"), ("host", "orders-rw"), ("dbname", "orders")]);
    let rotated = plan(&pooler_with(json!({})), &Facts { secret, ..facts() }, &settings());
    assert_eq!(rotated.verdict.template_hash.unwrap(), now);
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

#[test]
fn an_operator_that_was_upgraded_replaces_no_pod_unless_it_is_told_to() {
    let object = pooler_with(json!({}));
    let before = running(&object, 2);
    let newer = Settings { pooler_image: "registry.example/pgpooler:2.0.0".into(), ..settings() };
    let after = plan(&object, &before, &newer);
    assert!(matches!(after.objects.deployment, Child::Leave), "{:?}", after.objects.deployment);
    assert!(after.verdict.step.is_some_and(|step| !step.waits));
    let image = |plan: &Plan| match &plan.objects.deployment {
        Child::Apply(deployment) => {
            deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].image.clone()
        }
        _ => None,
    };
    // whoever changes the pods' template gets the new image with it
    let changed = pooler_with(json!({"podTemplate": {"labels": {"a": "b"}}}));
    assert_eq!(image(&plan(&changed, &before, &newer)).as_deref(), Some("registry.example/pgpooler:2.0.0"));
    // a scale keeps what there is
    let scaled = pooler_with(json!({"replicas": 1}));
    assert_eq!(image(&plan(&scaled, &before, &newer)), image(&plan(&scaled, &before, &settings())));
    let eager = Settings { upgrade: Upgrade::Always, ..newer };
    assert_eq!(image(&plan(&object, &before, &eager)).as_deref(), Some("registry.example/pgpooler:2.0.0"));
}

#[test]
fn a_new_authority_that_brings_the_old_one_is_pushed_and_another_is_not() {
    let object = pooler_with(json!({}));
    let mut facts = running(&object, 2);
    let pem = |name: &str| format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n");
    facts.internal_tls.ca = pem("first");
    let hash = |facts: &Facts| plan(&object, facts, &settings()).verdict.template_hash;
    let first = hash(&facts);
    facts.internal_tls.ca = format!("{}{}", pem("second"), pem("first"));
    assert_eq!(hash(&facts), first);
    facts.internal_tls.ca = pem("second");
    assert_ne!(hash(&facts), first, "nobody could tell the pods anything");
}
