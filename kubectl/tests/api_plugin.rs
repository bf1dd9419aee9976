//! The plugin's commands against a real API server: dry runs that change nothing, the pause that waits, what is said of
//! things that are not there.
//!
//! `PGPOOLER_TEST_KUBECONFIG` names a kubeconfig for a throw-away cluster where no operator runs; without it these tests
//! do nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt as _, ResourceExt as _};
use kubectl_pgpooler::cli::{self, ClusterOptions, ServerOptions};
use kubectl_pgpooler::cluster::{Cluster, ClusterError};
use kubectl_pgpooler::pause::{self, PauseError};
use kubectl_pgpooler::plan::compare::Effect;
use kubectl_pgpooler::{plan, status};
use pgpooler_operator::api::PgPooler;
use serde_json::{Value, json};

/// A namespace of its own, and a folder for manifests.
struct Site {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Site {
    /// Nothing where there is no cluster.
    async fn open() -> Option<Self> {
        let Some(path) = std::env::var_os("PGPOOLER_TEST_KUBECONFIG") else {
            eprintln!("skipped: PGPOOLER_TEST_KUBECONFIG is not set");
            return None;
        };
        let options = ClusterOptions { kubeconfig: Some(path.into()), ..ClusterOptions::default() };
        let cluster = Cluster::connect(&options).await.expect("a cluster");
        define(&cluster).await;
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        let metadata = ObjectMeta { generate_name: Some("pgpooler-plugin-".into()), ..ObjectMeta::default() };
        let made = api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await;
        let cluster = Cluster { namespace: made.expect("a namespace").name_any(), ..cluster };
        Some(Self { cluster, folder: tempfile::tempdir().unwrap() })
    }

    async fn remove(self) {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        api.delete(&self.cluster.namespace, &DeleteParams::default()).await.expect("removed");
    }

    fn manifest(&self, spec: &Value) -> PathBuf {
        let path = self.folder.path().join("manifest.yaml");
        fs::write(&path, object(spec).to_string()).unwrap();
        path
    }

    async fn plan(&self, spec: &Value) -> plan::compare::Change {
        let server = ServerOptions { max_connections: Some(100), ..ServerOptions::default() };
        let options = cli::Plan { files: vec![self.manifest(spec)], output: cli::Output::Text, server };
        plan::changes(&self.cluster, &options).await.expect("a plan").remove(0)
    }

    async fn apply(&self, spec: &Value) {
        let params = PatchParams::apply("kubectl").force();
        self.cluster.poolers().patch("orders", &params, &Patch::Apply(object(spec))).await.expect("applied");
    }
}

/// The definition, served.
async fn define(cluster: &Cluster) {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let params = PatchParams::apply("pgpooler-tests").force();
    let name = PgPooler::crd().name_any();
    api.patch(&name, &params, &Patch::Apply(PgPooler::crd())).await.expect("the definition is valid");
    for _ in 0..300 {
        let found = api.get(&name).await.expect("there");
        let conditions = found.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
        if conditions
            .into_iter()
            .any(|condition| condition.type_ == "Established" && condition.status == "True")
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the definition is not served");
}

fn object(spec: &Value) -> Value {
    let mut full = json!({"target": {"secretRef": {"name": "db"}}});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler", "metadata": {"name": "orders"}, "spec": full})
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_changes_nothing() {
    let Some(site) = Site::open().await else { return };
    let new = site.plan(&json!({})).await;
    assert!(new.is_new && new.refused.is_none());
    assert!(
        new.warnings.iter().any(|warning| warning.contains("Secret `db` does not exist")),
        "{:?}",
        new.warnings
    );
    assert!(site.cluster.get("orders").await.unwrap().is_none(), "nothing was made");

    site.apply(&json!({"replicas": 3, "budget": {"keepFree": 5}})).await;
    let before = site.cluster.get("orders").await.unwrap().unwrap();
    let same = site.plan(&json!({"replicas": 3, "budget": {"keepFree": 5}})).await;
    assert_eq!(same.fields, []);
    let change = site.plan(&json!({"replicas": 3, "image": "other:2"})).await;
    let fields: Vec<_> = change.fields.iter().map(|field| (field.field.as_str(), field.effect)).collect();
    let expected = [("budget.keepFree", Effect::Live), ("image", Effect::Rollout)];
    assert_eq!(fields, expected, "what the manifest has no more goes back to its default");
    let after = site.cluster.get("orders").await.unwrap().unwrap();
    assert_eq!(before.resource_version(), after.resource_version());
    site.remove().await;
}

#[tokio::test]
async fn a_plan_follows_kubectl_where_it_keeps_the_last_manifest() {
    let Some(site) = Site::open().await else { return };
    let last = object(&json!({"replicas": 3, "budget": {"weight": 50}}));
    let mut made = last.clone();
    made["metadata"]["annotations"] = json!({plan::merge::LAST_APPLIED: last.to_string()});
    let made: PgPooler = serde_json::from_value(made).unwrap();
    site.cluster.poolers().create(&PostParams::default(), &made).await.expect("created");
    // somebody else, as an autoscaler
    let five = Patch::Merge(json!({"spec": {"maxReplicas": 9}}));
    site.cluster.poolers().patch("orders", &PatchParams::default(), &five).await.expect("changed");
    let change = site.plan(&json!({"replicas": 3})).await;
    let fields: Vec<_> = change.fields.iter().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["budget.weight"], "what the last manifest had goes, what others have set stays");
    site.remove().await;
}

#[tokio::test]
async fn what_the_api_server_refuses_is_refused_before() {
    let Some(site) = Site::open().await else { return };
    let refused = |change: plan::compare::Change| change.refused.expect("refused");
    assert!(refused(site.plan(&json!({"replicas": 7})).await).contains("replicas is above maxReplicas"));
    site.apply(&json!({})).await;
    assert!(refused(site.plan(&json!({"replicas": 7})).await).contains("replicas is above maxReplicas"));
    site.remove().await;
}

#[tokio::test]
async fn a_pause_is_asked_for_and_waited_for() {
    let Some(site) = Site::open().await else { return };
    let options = |wait| cli::Pause { name: "orders".into(), wait, timeout: Duration::from_secs(1) };
    let missing = pause::set(&site.cluster, &options(false), true).await.unwrap_err();
    assert!(matches!(missing, PauseError::Cluster(ClusterError::Missing { .. })), "{missing:?}");

    site.apply(&json!({})).await;
    let asked = pause::set(&site.cluster, &options(false), true).await.expect("asked for");
    assert_eq!(asked, "pgpooler/orders is being paused\n");
    let paused = site.cluster.get("orders").await.unwrap().unwrap();
    assert!(paused.spec.paused);
    let late = pause::set(&site.cluster, &options(true), true).await.unwrap_err();
    assert!(matches!(late, PauseError::TimedOut { .. }), "nobody answers: {late:?}");

    let condition = json!({
        "type": "Paused", "status": "True", "reason": "Paused", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z",
        "observedGeneration": paused.metadata.generation,
    });
    let said =
        Patch::Merge(json!({"status": {"conditions": [condition], "replicas": 0, "readyReplicas": 0}}));
    site.cluster.poolers().patch_status("orders", &PatchParams::default(), &said).await.expect("a status");
    let done = pause::set(&site.cluster, &options(true), true).await.expect("paused");
    assert_eq!(done, "pgpooler/orders paused\n");
    pause::set(&site.cluster, &options(false), false).await.expect("asked for");
    assert!(!site.cluster.get("orders").await.unwrap().unwrap().spec.paused);
    site.remove().await;
}

#[tokio::test]
async fn a_status_is_shown_for_what_has_none_yet() {
    let Some(site) = Site::open().await else { return };
    let options = |name: Option<&str>| cli::Status {
        name: name.map(str::to_owned),
        output: cli::Output::Text,
        no_live: false,
    };
    let none = status::reports(&site.cluster, &options(None)).await.unwrap_err();
    assert!(matches!(none, ClusterError::None(_)), "{none:?}");
    site.apply(&json!({})).await;
    let reports = status::reports(&site.cluster, &options(None)).await.expect("a report");
    assert_eq!((reports.len(), reports[0].name.as_str(), &reports[0].unseen), (1, "orders", &Vec::new()));
    let missing = status::reports(&site.cluster, &options(Some("other"))).await.unwrap_err();
    assert!(missing.to_string().contains("there is no PgPooler `other`"), "{missing}");
    site.remove().await;
}
