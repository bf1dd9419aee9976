//! Apply and status against a fake API server that keeps what it is given and notes every request.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector::ObjectRef;
use pgpooler_operator::api::PgPooler;
use pgpooler_operator::apply::{ApplyError, OwnWrites, Writer, apply};
use pgpooler_operator::observe::caches;
use pgpooler_operator::plan::conditions::{self, Seen};
use pgpooler_operator::plan::facts::{Children, Facts, Kinds, SecretFact, ServerFact};
use pgpooler_operator::plan::objects::{Applied, Objects};
use pgpooler_operator::plan::{Plan, plan};
use pgpooler_operator::status::StatusWriter;
use serde_json::{Value, json};
use tokio::time::timeout;

use fixtures::{facts, pooler, pooler_with, settings};

/// What the server has and what it was asked.
#[derive(Clone, Default)]
struct Server {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(&self) -> Client {
        let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            let mut handle = pin!(handle);
            while let Some((request, respond)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                respond.send_response(server.answer(&parts.method, parts.uri.path(), &body));
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
        self.requests.lock().unwrap().push(format!("{method} {path}"));
        let mut objects = self.objects.lock().unwrap();
        let found = match *method {
            Method::GET => objects.get(path).cloned(),
            Method::DELETE => objects.remove(path),
            _ => {
                let mut object: Value = serde_json::from_slice(body).expect("JSON");
                if path.ends_with("/status") {
                    object["spec"] = json!({"target": {"secretRef": {"name": "orders-db"}}});
                }
                objects.insert(path.to_owned(), object.clone());
                Some(object)
            }
        };
        let (code, object) = match found {
            Some(object) => (200, object),
            None => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
        };
        Response::builder().status(code).body(Body::from(serde_json::to_vec(&object).unwrap())).unwrap()
    }

    /// The requests since the last time, without reads.
    fn writes(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        requests.into_iter().filter(|request| !request.starts_with("GET")).collect()
    }
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

fn planned(object: &PgPooler, facts: &Facts) -> Plan {
    plan(object, facts, &settings())
}

/// What is planned, written by an operator that remembers nothing.
async fn applied(client: &Client, object: &PgPooler, facts: &Facts) -> Result<Objects<Applied>, ApplyError> {
    let writer = Writer { client, own: &OwnWrites::default() };
    apply(writer, object, planned(object, facts).objects, &facts.children).await
}

#[tokio::test]
async fn everything_is_created_once_and_then_left_alone() {
    let server = Server::default();
    let client = server.start();
    let object =
        pooler_with(json!({"podTemplate": {"resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}}));

    let first = applied(&client, &object, &facts()).await.unwrap();
    let namespaced = |kind: &str, name: &str| format!("PATCH {kind}/namespaces/shop/{name}");
    assert_eq!(
        server.writes(),
        [
            namespaced("/api/v1", "serviceaccounts/orders-pooler"),
            namespaced("/api/v1", "secrets/orders-auth"),
            namespaced("/api/v1", "configmaps/orders-config"),
            namespaced("/api/v1", "services/orders-peers"),
            namespaced("/api/v1", "services/orders"),
            namespaced("/apis/policy/v1", "poddisruptionbudgets/orders"),
            namespaced("/apis/apps/v1", "deployments/orders"),
        ]
    );

    let after = Facts { children: children(first), ..facts() };
    applied(&client, &object, &after).await.unwrap();
    assert_eq!(server.requests.lock().unwrap().as_slice(), <[String; 0]>::default(), "not even a read");
}

#[tokio::test]
async fn what_others_change_is_put_right_and_what_is_not_wanted_any_more_is_removed() {
    let server = Server::default();
    let client = server.start();
    let object = pooler_with(json!({}));
    let first = applied(&client, &object, &facts()).await.unwrap();
    let mut after = Facts { children: children(first), ..facts() };
    server.writes();

    let mut service = (**after.children.service.as_ref().unwrap()).clone();
    service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].port = 1;
    after.children.service = Some(Arc::new(service));
    applied(&client, &object, &after).await.unwrap();
    assert_eq!(server.writes(), ["PATCH /api/v1/namespaces/shop/services/orders"]);

    let single = pooler_with(json!({"replicas": 1}));
    let after = Facts {
        children: Children { service: None, ..after.children },
        secret: SecretFact::Missing,
        ..after
    };
    applied(&client, &single, &after).await.unwrap();
    let writes = server.writes();
    assert!(
        writes.contains(&"DELETE /apis/policy/v1/namespaces/shop/poddisruptionbudgets/orders".to_owned())
    );
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_touched_and_nothing_is_half_done() {
    let server = Server::default();
    let client = server.start();
    let foreign =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders", "namespace": "shop"}});
    server.objects.lock().unwrap().insert("/api/v1/namespaces/shop/services/orders".into(), foreign);
    let object = pooler_with(json!({}));
    let result = applied(&client, &object, &facts()).await;
    let Err(ApplyError::NameConflict { what }) = result else { panic!("must be refused") };
    assert_eq!(what, "Service `orders`");
    assert_eq!(server.writes(), <[String; 0]>::default());
}

#[tokio::test]
async fn a_stored_pgpooler_that_cannot_be_read_does_not_hide_the_others() {
    let server = Server::default();
    let client = server.start();
    let good = serde_json::to_value(pooler(include_str!("../examples/full.yaml"))).unwrap();
    let mut bad = good.clone();
    bad["metadata"]["name"] = "bad".into();
    bad["spec"]["replicas"] = "many".into();
    let list = json!({
        "apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPoolerList",
        "metadata": {"resourceVersion": "1"}, "items": [bad, good],
    });
    server.objects.lock().unwrap().insert("/apis/pgpooler.dev/v1alpha1/pgpoolers".into(), list);
    let (_known, kinds) = tokio::sync::watch::channel(Kinds::default());
    let (caches, watches) = caches::open(&client, None, kinds, &std::sync::Arc::default());
    let watch = watches.poolers.for_each(|_| std::future::ready(()));
    let ready = timeout(Duration::from_secs(5), caches.poolers.wait_until_ready());
    tokio::select! {
        () = watch => panic!("the watch ended"),
        ready = ready => ready.expect("in time").expect("filled"),
    }
    let seen: Vec<_> = caches.poolers.state().iter().map(|object| (**object).clone()).collect();
    let [seen] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(serde_json::to_value(&seen.spec).unwrap(), good["spec"]);
}

#[test]
fn a_log_that_no_terminal_shows_has_no_colours() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "nowhere", "cluster": {"server": format!("http://{nobody}")}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
    });
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("nowhere.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_pgpooler-operator"));
    program.args(["--context", "nowhere", "--http-address", "127.0.0.1:0", "--log-format", "text"]);
    let output = program.env("KUBECONFIG", &path).env("RUST_LOG", "trace").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("DEBUG") || log.contains("TRACE"), "nothing was logged: {log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn a_status_is_written_once_with_an_event_for_each_condition_that_turned() {
    let server = Server::default();
    let client = server.start();
    let writer = StatusWriter::new(client, Some("operator-0".into()));
    let object = pooler_with(json!({}));
    let facts = Facts { secret: SecretFact::Missing, server: ServerFact::NotAsked, ..facts() };
    let status = |object: &PgPooler, time: &str| {
        let plan = planned(object, &facts);
        let objects = fixtures::applied_objects(&Children::default());
        let seen = Seen { object, facts: &facts, verdict: &plan.verdict, applied: Ok(&objects) };
        conditions::status(seen, &Time(time.parse().unwrap()))
    };
    writer.write(&object, status(&object, "2026-01-01T00:00:00Z")).await.unwrap();
    let requests = server.writes();
    assert_eq!(
        requests,
        [
            "PATCH /apis/pgpooler.dev/v1alpha1/namespaces/shop/pgpoolers/orders/status",
            "POST /apis/events.k8s.io/v1/namespaces/shop/events",
        ]
    );

    // the cache has not seen the write yet
    let latest = writer.latest(&object).await;
    writer.write(&latest, status(&latest, "2026-01-01T00:01:00Z")).await.unwrap();
    assert_eq!(server.writes(), <[String; 0]>::default());

    // one of the same name that came after it has no status yet
    let mut second = object.clone();
    second.metadata.uid = Some("another".into());
    assert_eq!(writer.latest(&second).await.status, None);
    writer.forget(&ObjectRef::from_obj(&object)).await;
    assert_eq!(writer.latest(&object).await.status, None, "nothing is kept of what is gone");
}
