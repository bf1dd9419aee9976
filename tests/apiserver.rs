//! What only a real API server can show: defaults, validation, the scale subresource, applies that change nothing.
//!
//! `PGPOOLER_TEST_KUBECONFIG` names a kubeconfig for a throw-away cluster where no operator runs; without it these
//! tests do nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "fixtures/cluster.rs"]
mod cluster;
mod fixtures;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector;
use kube::{Api, ResourceExt as _};
use pgpooler_operator::api::PgPooler;
use pgpooler_operator::apply::{OwnWrites, Writer, apply};
use pgpooler_operator::fence::{Fences, Memory};
use pgpooler_operator::names;
use pgpooler_operator::observe::postgres::Sessions;
use pgpooler_operator::observe::target_from_here;
use pgpooler_operator::plan::facts::{Children, Facts};
use pgpooler_operator::plan::fence::helper;
use pgpooler_operator::plan::objects::{Applied, Objects};
use pgpooler_operator::plan::plan;
use pgpooler_operator::status::StatusWriter;
use pgpooler_test_support::{Postgres, PostgresOptions};
use serde_json::{Value, json};

use cluster::{client, create_raw, namespace, remove};
use fixtures::{facts, secret, settings};

fn object(name: &str, spec: Value) -> PgPooler {
    let mut full = json!({"target": {"secretRef": {"name": "db"}}});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler", "metadata": {"name": name}, "spec": full,
    }))
    .unwrap()
}

#[tokio::test]
async fn defaults_appear_and_what_cannot_be_is_refused() {
    let Some(client) = client().await else { return };
    let namespace = namespace(&client, "schema").await;
    let created =
        create_raw(&client, &namespace, "good", json!({})).await.expect("the smallest one is accepted");
    assert_eq!(created.spec, object("good", json!({})).spec, "the schema's defaults are those of the code");

    let long = "n".repeat(53);
    let cases = [
        ("a", json!({"replicas": 7}), "replicas is above maxReplicas"),
        ("a", json!({"budget": {"serverConnections": "0%"}}), "serverConnections"),
        ("a", json!({"budget": {"serverConnections": "101%"}}), "serverConnections"),
        ("a", json!({"budget": {"serverConnections": 0}}), "serverConnections"),
        ("a", json!({"budget": {"serverConnections": "80"}}), "serverConnections"),
        ("a", json!({"queueTimeout": "5"}), "queueTimeout"),
        ("a", json!({"drain": {"timeout": "61m"}}), "1h at most"),
        ("a", json!({"mode": "transaction"}), "mode"),
        ("a", json!({"pools": [{"name": "x"}, {"name": "x"}]}), "Duplicate"),
        ("a", json!({"podTemplate": {"resources": {"limits": {"cpu": "much"}}}}), "cpu"),
        ("a", json!({"unknown": 1}), "unknown"),
        ("a.b", json!({}), "no dot"),
        (long.as_str(), json!({}), "52"),
    ];
    for (name, spec, message) in cases {
        let answer = create_raw(&client, &namespace, name, spec.clone()).await;
        let Err(kube::Error::Api(refusal)) = answer else { panic!("{name} {spec} was accepted: {answer:?}") };
        assert!(refusal.message.contains(message), "{spec}: {}", refusal.message);
    }
    remove(&client, &namespace).await;
}

#[tokio::test]
async fn the_scale_subresource_works() {
    let Some(client) = client().await else { return };
    let namespace = namespace(&client, "scale").await;
    let api: Api<PgPooler> = Api::namespaced(client.clone(), &namespace);
    api.create(&PostParams::default(), &object("orders", json!({}))).await.expect("created");
    let status = json!({"status": {"replicas": 2, "selector": "app.kubernetes.io/instance=orders"}});
    api.patch_status("orders", &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    let scale = api.get_scale("orders").await.expect("a scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(2));
    let selector = scale.status.and_then(|status| status.selector);
    assert_eq!(selector.as_deref(), Some("app.kubernetes.io/instance=orders"));

    let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
    api.patch_scale("orders", &PatchParams::default(), &five).await.expect("scaled");
    assert_eq!(api.get("orders").await.expect("there").spec.replicas, 5);
    let too_many = Patch::Merge(json!({"spec": {"replicas": 7}}));
    assert!(api.patch_scale("orders", &PatchParams::default(), &too_many).await.is_err());
    remove(&client, &namespace).await;
}

fn children(applied: Objects<Applied>) -> Children {
    let Objects {
        service_account,
        auth,
        config,
        peers,
        service,
        disruption_budget,
        network_policy,
        connection,
        certificate,
        pod_monitor,
        deployment,
    } = applied;
    Children {
        service_account,
        auth,
        config,
        peers,
        service,
        disruption_budget,
        network_policy,
        connection,
        certificate,
        pod_monitor,
        deployment,
    }
}

/// What a write changes; controllers write status into some kinds, which only leaves their generation alone.
fn version<K: kube::Resource>(object: Option<&std::sync::Arc<K>>) -> Option<String> {
    let meta = object?.meta();
    meta.generation.map(|generation| generation.to_string()).or_else(|| meta.resource_version.clone())
}

fn versions(children: &Children) -> Vec<Option<String>> {
    let Children {
        service_account,
        auth,
        config,
        peers,
        service,
        disruption_budget,
        network_policy,
        connection,
        certificate,
        pod_monitor,
        deployment,
    } = children;
    vec![
        version(service_account.as_ref()),
        version(auth.as_ref()),
        version(config.as_ref()),
        version(peers.as_ref()),
        version(service.as_ref()),
        version(disruption_budget.as_ref()),
        version(network_policy.as_ref()),
        version(connection.as_ref()),
        version(certificate.as_ref()),
        version(pod_monitor.as_ref()),
        version(deployment.as_ref()),
    ]
}

#[tokio::test]
async fn children_applied_twice_are_written_once() {
    let Some(client) = client().await else { return };
    let namespace = namespace(&client, "apply").await;
    let api: Api<PgPooler> = Api::namespaced(client.clone(), &namespace);
    let spec = json!({
        "podTemplate": {
            "resources": {"requests": {"cpu": "0.25", "memory": "1024Mi"}, "limits": {"cpu": 1}},
            "tolerations": [{"key": "k", "operator": "Exists"}], "nodeSelector": {"a": "b"},
            "imagePullSecrets": [{"name": "registry"}],
        },
        "service": {"annotations": {"a": "b"}},
    });
    let created = api.create(&PostParams::default(), &object("orders", spec)).await.expect("created");
    let first = plan(&created, &facts(), &settings());
    assert_eq!(first.verdict.blocked, None);
    let own = OwnWrites::default();
    let writer = Writer { client: &client, own: &own };
    let first =
        children(apply(writer, &created, first.objects, &Children::default()).await.expect("applied"));

    let seen = Facts { children: first.clone(), ..facts() };
    let again = plan(&created, &seen, &settings());
    let second = children(apply(writer, &created, again.objects, &seen.children).await.expect("applied"));
    assert_eq!(versions(&first), versions(&second), "nothing differs, so nothing is written");

    // and what is written in spite of it changes nothing
    let again = plan(&created, &seen, &settings());
    let forced =
        children(apply(writer, &created, again.objects, &Children::default()).await.expect("applied"));
    assert_eq!(versions(&first), versions(&forced), "a server-side apply of the same changes nothing");
    remove(&client, &namespace).await;
}

#[tokio::test]
async fn a_managed_fence_keeps_its_object_until_it_is_put_back_and_others_keep_their_finalizers() {
    let Some(client) = client().await else { return };
    let server = Postgres::start(&PostgresOptions::default()).expect("a server");
    server.create_user("app", "app").expect("a role");
    server.sql(&helper("app")).expect("a function");
    let limit =
        || server.sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'").unwrap().concat().concat();

    let namespace = namespace(&client, "fence").await;
    let api: Api<PgPooler> = Api::namespaced(client.clone(), &namespace);
    let spec = json!({"budget": {"serverConnections": 40, "fence": "Manage"}});
    let created = api.create(&PostParams::default(), &object("orders", spec)).await.expect("created");
    let port = server.port().to_string();
    let pairs = [
        ("username", "app"),
        ("password", "app"),
        ("host", "127.0.0.1"),
        ("port", port.as_str()),
        ("dbname", "postgres"),
    ];
    let (sessions, memory) = (Sessions::default(), Memory::default());
    let status = StatusWriter::new(client.clone(), None);
    let (poolers, _writer) = reflector::store();
    let fences =
        Fences { client: &client, poolers: &poolers, sessions: &sessions, status: &status, memory: &memory };
    let mut facts = Facts { secret: secret(&pairs), ..facts() };
    let target = target_from_here(&created, &facts.secret, &facts.references).expect("a target");
    facts.server = sessions.observe(&target, &reflector::ObjectRef::from_obj(&created)).await;
    fences.sum(created, &mut facts, &settings()).await.expect("a sum");
    assert_eq!(limit(), "41");
    let claimed = api.get("orders").await.expect("there");
    assert_eq!(claimed.finalizers(), [names::FENCE]);
    assert_eq!(claimed.status.as_ref().and_then(|status| status.fence.as_ref()?.original), Some(-1));

    let theirs = "example.com/theirs";
    let add = Patch::Merge(json!({"metadata": {"finalizers": [names::FENCE, theirs]}}));
    api.patch("orders", &PatchParams::default(), &add).await.expect("another finalizer");
    let generation = claimed.metadata.generation;
    api.delete("orders", &DeleteParams::default()).await.expect("deleted");
    let gone = api.get("orders").await.expect("still there");
    assert!(gone.metadata.deletion_timestamp.is_some());
    assert_ne!(gone.metadata.generation, generation, "deletion is seen by a watch for generations");

    let now = k8s_openapi::jiff::Timestamp::now();
    assert!(fences.end(&gone, Some(target), now).await.expect("an end"));
    assert_eq!(limit(), "-1");
    assert_eq!(api.get("orders").await.expect("still there").finalizers(), [theirs]);
    let none = Patch::Merge(json!({"metadata": {"finalizers": []}}));
    api.patch("orders", &PatchParams::default(), &none).await.expect("no finalizer");
    assert!(api.get_opt("orders").await.expect("an answer").is_none());
    remove(&client, &namespace).await;
}
