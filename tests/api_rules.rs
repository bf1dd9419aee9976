//! Every rule of the definition, and every field at its edges, before a real API server: what is refused is refused with
//! words that help, and what is accepted is kept as it was written.
//!
//! `PGPOOLER_TEST_KUBECONFIG` names a kubeconfig for a throw-away cluster where no operator runs; without it these
//! tests do nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "tests"
)]

#[path = "fixtures/cluster.rs"]
mod cluster;

use serde_json::{Value, json};

use cluster::{client, create_raw, namespace, remove};

/// What is refused, and a part of what is said to it.
fn refused() -> Vec<(Value, &'static str)> {
    let target = |target: Value| json!({"target": target});
    let db = || json!({"name": "db"});
    let tls = |tls: Value| json!({"clients": {"tls": tls}});
    vec![
        // the target
        (target(json!({})), "needs secretRef, or clusterRef"),
        (target(json!({"secretRef": {"name": ""}})), "target.secretRef.name"),
        (
            target(json!({"secretRef": db(), "host": "a", "hosts": ["b"]})),
            "only one of host, hosts and clusterRef",
        ),
        (target(json!({"secretRef": db(), "host": "a", "clusterRef": db()})), "only one of host, hosts"),
        (target(json!({"clusterRef": db(), "port": 1})), "port is that of the Cluster"),
        (target(json!({"secretRef": db(), "host": ""})), "target.host"),
        (target(json!({"secretRef": db(), "host": "h".repeat(254)})), "target.host"),
        (target(json!({"secretRef": db(), "hosts": []})), "target.hosts"),
        (target(json!({"secretRef": db(), "hosts": ["a", "a"]})), "Duplicate"),
        (target(json!({"secretRef": db(), "port": 0})), "target.port"),
        (target(json!({"secretRef": db(), "port": 65536})), "target.port"),
        (target(json!({"secretRef": db(), "database": ""})), "target.database"),
        (target(json!({"secretRef": db(), "role": "primary"})), "target.role"),
        (target(json!({"secretRef": db(), "holdTimeout": "25h"})), "24h at most"),
        (target(json!({"secretRef": db(), "holdTimeout": "1"})), "holdTimeout"),
        (target(json!({"secretRef": db(), "tls": {"mode": "verify-full"}})), "target.tls.mode"),
        (target(json!({"secretRef": db(), "tls": {"caRef": db()}})), "caRef is of no use in this mode"),
        (
            target(
                json!({"secretRef": db(), "tls": {"mode": "VerifyCA", "caRef": {"kind": "Pod", "name": "a"}}}),
            ),
            "caRef.kind",
        ),
        // numbers of pods
        (json!({"replicas": -1}), "spec.replicas"),
        (json!({"replicas": 101, "maxReplicas": 100}), "spec.replicas"),
        (json!({"maxReplicas": 0, "replicas": 0}), "spec.maxReplicas"),
        (json!({"maxReplicas": 101}), "spec.maxReplicas"),
        (json!({"replicas": 7}), "replicas is above maxReplicas"),
        // the budget
        (json!({"budget": {"serverConnections": 262_144}}), "serverConnections"),
        (json!({"budget": {"serverConnections": "-1%"}}), "serverConnections"),
        (json!({"budget": {"keepFree": -1}}), "keepFree"),
        (json!({"budget": {"weight": 0}}), "weight"),
        (json!({"budget": {"weight": 1001}}), "weight"),
        (json!({"budget": {"mode": "Off"}}), "budget.mode"),
        (json!({"budget": {"fence": "On"}}), "budget.fence"),
        (json!({"budget": {"mode": "Observe", "fence": "Manage"}}), "Observe limits nothing"),
        // pools
        (json!({"mode": "Query"}), "spec.mode"),
        (json!({"sessionState": "Keep"}), "spec.sessionState"),
        (json!({"pools": [{"name": "Upper"}]}), "pools[0].name"),
        (json!({"pools": [{"name": "a", "database": ""}]}), "pools[0].database"),
        (json!({"pools": [{"name": "a", "users": []}]}), "pools[0].users"),
        (json!({"pools": [{"name": "a", "users": ["*", "b"]}]}), "`*` stands alone"),
        (json!({"pools": [{"name": "a", "weight": 0}]}), "pools[0].weight"),
        (json!({"pools": [{"name": "a", "minConnections": -1}]}), "minConnections"),
        (
            json!({"pools": [{"name": "a", "minConnections": 3, "maxConnections": 2}]}),
            "minConnections is above maxConnections",
        ),
        (json!({"pools": [{"name": "a", "maxConnections": 0}]}), "maxConnections"),
        (
            json!({"pools": (0..65).map(|n| json!({"name": format!("p{n}")})).collect::<Vec<_>>()}),
            "spec.pools",
        ),
        // users
        (json!({"auth": {"type": "Trust"}}), "auth.type"),
        (json!({"auth": {"type": "Cert"}}), "needs clients.tls with mode VerifyCA or VerifyFull"),
        (json!({"auth": {"users": [db(), db()]}}), "Duplicate"),
        (json!({"auth": {"query": {"statement": "SELECT 1"}}}), "statement needs $1"),
        (json!({"auth": {"query": {"cacheTimeout": "25h"}}}), "24h at most"),
        (json!({"auth": {"statsUsers": [""]}}), "statsUsers"),
        // clients
        (json!({"clients": {"max": 0}}), "clients.max"),
        (json!({"clients": {"idleTimeout": "1 minute"}}), "idleTimeout"),
        (tls(json!({})), "TLS needs a certificate"),
        (tls(json!({"secretRef": db(), "issuerRef": db()})), "set one of them"),
        (tls(json!({"secretRef": db(), "mode": "VerifyFull"})), "takes clientCARef"),
        (tls(json!({"secretRef": db(), "mode": "Allow"})), "clients.tls.mode"),
        // servers, drain
        (json!({"servers": {"maxPreparedStatements": -1}}), "maxPreparedStatements"),
        (json!({"servers": {"lifetime": "1d"}}), "lifetime"),
        (json!({"drain": {"timeout": "61m"}}), "1h at most"),
        // around the pods
        (json!({"service": {"port": 0}}), "service.port"),
        (json!({"service": {"type": "ExternalName"}}), "service.type"),
        (json!({"image": ""}), "spec.image"),
        (json!({"availability": {"podDisruptionBudget": {"maxUnavailable": 0}}}), "maxUnavailable"),
        (
            json!({"availability": {"topologySpread": [{"topologyKey": "a"}, {"topologyKey": "a"}]}}),
            "Duplicate",
        ),
        (json!({"availability": {"topologySpread": [{"topologyKey": "a", "maxSkew": 0}]}}), "maxSkew"),
        (json!({"networkPolicy": {"allowFrom": [{"unknown": {}}]}}), "unknown"),
        (json!({"monitoring": {"podMonitor": {"interval": "0"}}}), "interval"),
        (json!({"monitoring": {"podMonitor": {"interval": "2h"}}}), "between 1s and 1h"),
        (json!({"connectionSecret": db()}), "connectionSecret would overwrite"),
        (json!({"paused": "yes"}), "paused"),
        (json!({"podTemplate": {"labels": {"a": 1}}}), "labels"),
    ]
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_says_why() {
    let Some(client) = client().await else { return };
    let namespace = namespace(&client, "rules").await;
    let mut wrong = Vec::new();
    for (spec, words) in refused() {
        match create_raw(&client, &namespace, "a", spec.clone()).await {
            Err(kube::Error::Api(refusal)) if refusal.message.contains(words) => {}
            Err(error) => wrong.push(format!("{spec}: expected `{words}`, got {error}")),
            Ok(_) => {
                wrong.push(format!("{spec} was accepted"));
                let api: kube::Api<pgpooler_operator::api::PgPooler> =
                    kube::Api::namespaced(client.clone(), &namespace);
                api.delete("a", &kube::api::DeleteParams::default()).await.expect("deleted");
            }
        }
    }
    remove(&client, &namespace).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Nothing that a user wrote is dropped or changed by the schema: what is read again has every field.
fn is_within(part: &Value, whole: &Value, path: &str) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                let kept = whole.get(key).unwrap_or_else(|| panic!("{path}.{key} was dropped"));
                is_within(value, kept, &format!("{path}.{key}"));
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            for (index, (part, whole)) in part.iter().zip(whole).enumerate() {
                is_within(part, whole, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(part, whole, "{path}"),
    }
}

#[tokio::test]
async fn every_example_is_accepted_and_kept() {
    let Some(client) = client().await else { return };
    let namespace = namespace(&client, "examples").await;
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let object: Value = serde_saphyr::from_str(&text).expect("YAML");
        if object["kind"] != "PgPooler" {
            continue;
        }
        let name = format!("example-{count}");
        let created = create_raw(&client, &namespace, &name, object["spec"].clone()).await;
        let created = created.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kept = serde_json::to_value(&created.spec).unwrap();
        is_within(&object["spec"], &kept, &path.display().to_string());
        count += 1;
    }
    remove(&client, &namespace).await;
    assert!(count >= 10, "{count} examples");
}

#[tokio::test]
async fn edges_are_accepted() {
    let Some(client) = client().await else { return };
    let namespace = namespace(&client, "edges").await;
    let accepted = [
        json!({"replicas": 0}),
        json!({"replicas": 100, "maxReplicas": 100}),
        json!({"budget": {"serverConnections": 1}}),
        json!({"budget": {"serverConnections": "100%", "keepFree": 262_143, "weight": 1000}}),
        json!({"queueTimeout": "0", "drain": {"timeout": "0"}}),
        json!({"drain": {"timeout": "1h"}}),
        json!({"target": {"secretRef": {"name": "db"}, "holdTimeout": "0", "port": 65535}}),
        json!({"target": {"clusterRef": {"name": "c"}, "tls": {"mode": "VerifyFull"}}}),
        json!({"availability": {"topologySpread": [], "podDisruptionBudget": {"enabled": false}}}),
        json!({"podTemplate": {"hostAliases": [{"ip": "127.0.0.1", "hostnames": ["a"]}]}}),
        json!({"networkPolicy": {"enabled": true, "allowFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}}),
        json!({"pools": [{"name": "a", "minConnections": 2, "maxConnections": 2, "mode": "Statement"}]}),
    ];
    for (number, spec) in accepted.into_iter().enumerate() {
        let created = create_raw(&client, &namespace, &format!("edge-{number}"), spec.clone()).await;
        created.unwrap_or_else(|error| panic!("{spec}: {error}"));
    }
    remove(&client, &namespace).await;
}
