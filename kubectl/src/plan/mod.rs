//! `plan`: what applying a manifest would do. Everything is read, and the API server is asked for a dry run; nothing is
//! written.

pub mod compare;
pub mod fields;
pub mod merge;
pub mod render;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use pgpooler_operator::api::CaKind;
use pgpooler_operator::api::PgPooler;
use pgpooler_operator::names;
use pgpooler_operator::observe::internal_tls;
use pgpooler_operator::plan::facts::{Kinds, Neighbour, Served, Sharing};
use pgpooler_operator::plan::materials;
use serde_json::{Value, json};

use crate::cli;
use crate::cluster::{Cluster, ClusterError, why};
use crate::explain::{neighbour, server};
use crate::manifests::{self, ManifestError};

use compare::{Change, World, compare};

/// Field manager of `kubectl apply --server-side`: what it owns and the manifest has no more, goes.
const KUBECTL: &str = "kubectl";
/// Where cert-manager's kinds are.
const CERTIFICATES: &str = "cert-manager.io/v1";
/// Where the Prometheus operator's kinds are.
const MONITORS: &str = "monitoring.coreos.com/v1";
/// Image of poolers, where none is to be seen.
const IMAGE: &str = "pgpooler";

/// Nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A `PgPooler` in it.
    #[error("PgPooler `{name}` cannot be read")]
    Object {
        /// Its name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The library.
    #[error("cannot make up a certificate")]
    Certificate(#[source] rcgen::Error),
}

/// What the manifests would change.
pub async fn changes(cluster: &Cluster, options: &cli::Plan) -> Result<Vec<Change>, PlanError> {
    let mut changes = Vec::new();
    for manifest in manifests::poolers(&options.files)? {
        let namespace = manifest.pointer("/metadata/namespace").and_then(Value::as_str);
        let namespace = namespace.unwrap_or(&cluster.namespace).to_owned();
        let cluster = Cluster { namespace, ..cluster.clone() };
        // it is large, and there are few
        changes.push(Box::pin(change(&cluster, manifest, options.server)).await?);
    }
    Ok(changes)
}

async fn change(
    cluster: &Cluster,
    manifest: Value,
    options: cli::ServerOptions,
) -> Result<Change, PlanError> {
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let live = cluster.get(&name).await?;
    let mut unseen = Vec::new();
    let refused = match dry_run(cluster, &name, live.as_ref(), &manifest).await {
        Ok(object) => return seen(cluster, live, object, options, unseen).await,
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 409 | 422) => {
            Some(status.message.clone())
        }
        Err(error) => {
            unseen.push(format!("what the API server says to it: {}", why(&error)));
            None
        }
    };
    // what our own types make of it is the next best
    let object = parse(cluster, manifest, live.as_ref());
    match (refused, object) {
        (None, Ok(object)) => seen(cluster, live, object, options, unseen).await,
        (None, Err(source)) => Err(PlanError::Object { name, source }),
        (refused, _) => {
            let is_new = live.is_none();
            Ok(Change { name: format!("{}/{name}", cluster.namespace), is_new, refused, ..Change::default() })
        }
    }
}

fn parse(cluster: &Cluster, manifest: Value, live: Option<&PgPooler>) -> Result<PgPooler, serde_json::Error> {
    let mut object: PgPooler = serde_json::from_value(manifest)?;
    object.metadata.namespace = Some(cluster.namespace.clone());
    object.metadata.uid = live.and_then(|live| live.metadata.uid.clone());
    Ok(object)
}

/// The object as it would be, with the API server's defaults, if it takes it.
async fn dry_run(
    cluster: &Cluster,
    name: &str,
    live: Option<&PgPooler>,
    manifest: &Value,
) -> Result<PgPooler, kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(
        cluster.client.clone(),
        &cluster.namespace,
        &ApiResource::erase::<PgPooler>(&()),
    );
    let last = live.and_then(|live| live.annotations().get(merge::LAST_APPLIED));
    let last: Option<Value> = last.and_then(|text| serde_json::from_str(text).ok());
    let answer = match (live, last) {
        (None, _) => {
            let object = serde_json::from_value(manifest.clone()).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams { dry_run: true, field_manager: Some(KUBECTL.to_owned()) }, &object)
                .await?
        }
        (Some(_), Some(last)) => {
            let patch = json!({"spec": merge::patch(&last["spec"], &manifest["spec"])});
            let params = PatchParams {
                dry_run: true,
                field_manager: Some(KUBECTL.to_owned()),
                ..PatchParams::default()
            };
            api.patch(name, &params.validation_strict(), &Patch::Merge(patch)).await?
        }
        (Some(_), None) => {
            let params = PatchParams { dry_run: true, ..PatchParams::apply(KUBECTL).force() };
            api.patch(name, &params.validation_strict(), &Patch::Apply(manifest)).await?
        }
    };
    serde_json::to_value(answer).and_then(serde_json::from_value).map_err(kube::Error::SerdeError)
}

async fn seen(
    cluster: &Cluster,
    live: Option<PgPooler>,
    then: PgPooler,
    options: cli::ServerOptions,
    mut unseen: Vec<String>,
) -> Result<Change, PlanError> {
    let world = world(cluster, live.as_ref(), &then, options, &mut unseen).await?;
    let mut change = compare(live.as_ref(), &then, &world);
    change.warnings.extend(missing(cluster, &then, &mut unseen).await);
    change.unseen = unseen;
    Ok(change)
}

async fn world(
    cluster: &Cluster,
    live: Option<&PgPooler>,
    then: &PgPooler,
    options: cli::ServerOptions,
    unseen: &mut Vec<String>,
) -> Result<World, PlanError> {
    let name = then.name_any();
    let budget = live.and_then(|live| live.status.as_ref()?.budget.clone());
    let known = budget.is_some() || options.max_connections.is_some();
    if !known {
        unseen.push(
            "the server, so there is no sum: describe it with --max-connections and the like".to_owned(),
        );
    }
    let budget = budget.unwrap_or_default();
    let (seen, foreign_peak) = server(&budget, options);
    let mut others = Vec::new();
    for other in &budget.shared_with {
        match neighbour(cluster, other).await {
            Some(found) => others.push(as_neighbour(other, &found)),
            None => unseen.push(format!("PgPooler {other}, which shares the server")),
        }
    }
    let hidden = u32::try_from(budget.hidden).unwrap_or(0);
    let deployment = deployment(cluster, &name, unseen).await;
    Ok(World {
        server: known.then_some(seen),
        sharing: Sharing { others, hidden, foreign_peak, ..Sharing::default() },
        kinds: kinds(cluster).await,
        certificate: internal_tls::make(Timestamp::now()).map_err(PlanError::Certificate)?,
        image: deployment.as_deref().and_then(image).unwrap_or_else(|| IMAGE.to_owned()),
        deployment,
        pods: pods(cluster, &name, unseen).await,
    })
}

fn as_neighbour(name: &str, other: &PgPooler) -> Neighbour {
    let budget = &other.spec.budget;
    Neighbour {
        name: name.to_owned(),
        weight: u32::try_from(budget.weight).unwrap_or(1),
        keep_free: u32::try_from(budget.keep_free).unwrap_or(0),
        ..Neighbour::default()
    }
}

async fn deployment(cluster: &Cluster, name: &str, unseen: &mut Vec<String>) -> Option<Arc<Deployment>> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match api.get_opt(&names::workload(name)).await {
        Ok(found) => found.map(Arc::new),
        Err(error) => {
            unseen.push(format!("the Deployment: {}", why(&error)));
            None
        }
    }
}

fn image(deployment: &Deployment) -> Option<String> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.iter().find(|container| container.name == names::POOLER)?.image.clone()
}

async fn pods(cluster: &Cluster, name: &str, unseen: &mut Vec<String>) -> usize {
    match cluster.pods(name).await {
        Ok(pods) => pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count(),
        Err(error) => {
            unseen.push(pgpooler_operator::error::chain(&error));
            0
        }
    }
}

/// What the spec names and is not there; what is in it is not looked at.
async fn missing(cluster: &Cluster, then: &PgPooler, unseen: &mut Vec<String>) -> Vec<String> {
    let ordered = then.spec.clients.tls.as_ref().is_some_and(|tls| tls.issuer_ref.is_some());
    let ordered = materials::client_secret(then).filter(|_| ordered);
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut warnings = Vec::new();
    for (kind, name) in materials::references(then) {
        // cert-manager makes it
        if ordered.as_ref() == Some(&name) {
            continue;
        }
        let (what, found) = match kind {
            CaKind::Secret => ("Secret", secrets.get_metadata_opt(&name).await.map(|found| found.is_some())),
            CaKind::ConfigMap => {
                ("ConfigMap", maps.get_metadata_opt(&name).await.map(|found| found.is_some()))
            }
        };
        match found {
            Ok(true) => {}
            Ok(false) => warnings
                .push(format!("{what} `{name}` does not exist: nothing new is put in place until it does")),
            Err(error) => unseen.push(format!("whether {what} `{name}` exists: {}", why(&error))),
        }
    }
    warnings
}

/// Of operators that may be there or not.
async fn kinds(cluster: &Cluster) -> Kinds {
    let served = async |group: &str| match cluster.client.list_api_group_resources(group).await {
        Ok(_) => Served::Present,
        Err(_) => Served::Absent,
    };
    Kinds { certificate: served(CERTIFICATES).await, pod_monitor: served(MONITORS).await }
}
