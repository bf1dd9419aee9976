//! From CloudNativePG's `Pooler`. What it leaves to PgBouncer (`parameters`) goes the way of `pgbouncer.ini`.

use std::path::{Path, PathBuf};

use serde_json::{Map as Fields, Value, json};

use super::draft::Draft;
use super::notes::Notes;
use super::settings::{self, Settings};
use super::tls;
use super::words;
use super::yaml::Map;

/// What the schema of a `PgPooler` has where nothing is said.
const MAX_REPLICAS: u64 = 6;
/// Most pods that the schema takes.
const MOST_REPLICAS: u64 = 100;
/// PgBouncer's pools have so many where nothing is said.
const DEFAULT_POOL_SIZE: u32 = 20;
/// Name of PgBouncer's container.
const CONTAINER: &str = "pgbouncer";

/// No Pooler can be made out.
#[derive(Debug, thiserror::Error)]
pub enum PoolerError {
    /// The manifest.
    #[error("{path} is no YAML")]
    Yaml {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<serde_saphyr::Error>,
    },
    /// There is something else in it, or nothing.
    #[error("{0} has no Pooler of postgresql.cnpg.io")]
    NoPooler(PathBuf),
    /// A Pooler without what every Pooler has.
    #[error("a Pooler in {path} has no {field}")]
    Missing {
        /// The manifest.
        path: PathBuf,
        /// The field.
        field: &'static str,
    },
}

/// One `PgPooler` for each Pooler of the manifest.
pub(super) fn drafts(path: &Path, text: &str) -> Result<Vec<Draft>, PoolerError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|source| PoolerError::Yaml { path: path.to_owned(), source: Box::new(source) })?;
    // what `kubectl get -o yaml` prints for several
    let items = |document: Value| match document.get("items") {
        Some(Value::Array(items)) => items.clone(),
        _ => vec![document],
    };
    let ours = documents.into_iter().flat_map(items).filter(is_pooler);
    let drafts: Vec<_> = ours.map(|pooler| draft(path, &pooler)).collect::<Result<_, _>>()?;
    if drafts.is_empty() { Err(PoolerError::NoPooler(path.to_owned())) } else { Ok(drafts) }
}

fn is_pooler(document: &Value) -> bool {
    document["kind"] == "Pooler"
        && document["apiVersion"].as_str().is_some_and(|version| version.starts_with("postgresql.cnpg.io/"))
}

fn draft(path: &Path, pooler: &Value) -> Result<Draft, PoolerError> {
    let missing = |field| PoolerError::Missing { path: path.to_owned(), field };
    let name =
        pooler.pointer("/metadata/name").and_then(Value::as_str).ok_or_else(|| missing("metadata.name"))?;
    let cluster = pooler
        .pointer("/spec/cluster/name")
        .and_then(Value::as_str)
        .ok_or_else(|| missing("spec.cluster.name"))?;
    let namespace = pooler.pointer("/metadata/namespace").and_then(Value::as_str);
    let mut draft = Draft {
        title: format!("{name}: for the CloudNativePG cluster {cluster}"),
        namespace: namespace.map(str::to_owned),
        ..Draft::default()
    };
    metadata(&mut draft, name, pooler);
    let Draft { spec: out, notes, .. } = &mut draft;
    let spec = &pooler["spec"];
    notes.add(format!(
        "Both have a Deployment and a Service named `{name}`: delete the Pooler first, or give one of them another name and \
         change over the applications."
    ));
    target(spec, cluster, out.child("target"), notes);
    replicas(spec, out);
    let given = parameters(spec, notes);
    let mut settings = Settings::new(given);
    budget(&mut settings, notes);
    settings::fields(&mut settings, out, notes);
    auth(spec, &mut settings, out, notes);
    server_tls(spec, &mut settings, out.child("target"), notes);
    client_tls(spec, &mut settings, cluster, out, notes);
    service(spec, out, notes);
    pods(spec, out, notes);
    others(spec, out, notes);
    min_pool_size(&mut settings, out, notes);
    settings.rest(notes);
    Ok(draft)
}

fn metadata(draft: &mut Draft, name: &str, pooler: &Value) {
    let fits = words::object_name(name).filter(|fits| fits == name);
    let fits = fits.or_else(|| words::object_name(name)).unwrap_or_else(|| "pooler".to_owned());
    if fits != name {
        draft.notes.add(format!("`{name}` cannot be the name of a PgPooler: it is `{fits}` now."));
    }
    draft.metadata.set("name", fits);
    if let Some(namespace) = &draft.namespace {
        draft.metadata.set("namespace", namespace.as_str());
    }
    for kind in ["labels", "annotations"] {
        let theirs = pooler.pointer(&format!("/metadata/{kind}"));
        if let Some(kept) =
            theirs.and_then(Value::as_object).map(kept_metadata).filter(|kept| !kept.is_empty())
        {
            draft.metadata.set(kind, Value::Object(kept));
        }
    }
}

/// Not those of kubectl, of CloudNativePG and of tools that own the object.
fn kept_metadata(fields: &Fields<String, Value>) -> Fields<String, Value> {
    let foreign = |key: &str| {
        ["cnpg.io/", "kubectl.kubernetes.io/", "argocd.argoproj.io/", "meta.helm.sh/"]
            .iter()
            .any(|part| key.contains(part))
    };
    fields.iter().filter(|(key, _)| !foreign(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn target(spec: &Value, cluster: &str, target: &mut Map, notes: &mut Notes) {
    target.child("clusterRef").set("name", cluster);
    match spec["type"].as_str().unwrap_or("rw") {
        "ro" => target.set("role", "Standby"),
        "r" => target.set("role", "Any"),
        // the default
        _ => {}
    }
    notes.add(format!(
        "CloudNativePG's poolers look up every user, with a role and a certificate of their own. Here the cluster's application \
         user (Secret {cluster}-app) can log in as it is; for others give spec.auth.users or spec.auth.query, see docs/auth.md."
    ));
}

fn replicas(spec: &Value, out: &mut Map) {
    let instances = spec["instances"].as_u64().unwrap_or(1).min(MOST_REPLICAS);
    out.set("replicas", json!(instances));
    if instances > MAX_REPLICAS {
        out.set("maxReplicas", json!(instances));
    }
}

fn parameters(spec: &Value, notes: &mut Notes) -> Vec<(String, String)> {
    let bouncer = &spec["pgbouncer"];
    let mut given: Vec<_> = Vec::new();
    for (key, value) in bouncer["parameters"].as_object().into_iter().flatten() {
        match value {
            Value::String(text) => given.push((key.clone(), text.clone())),
            Value::Number(_) | Value::Bool(_) => given.push((key.clone(), value.to_string())),
            _ => notes.add(format!("parameters.{key}: this is no text; nothing was made of it.")),
        }
    }
    // CloudNativePG's default is PgBouncer's
    if let Some(mode) = bouncer["poolMode"].as_str() {
        given.push(("pool_mode".to_owned(), mode.to_owned()));
    }
    given
}

fn budget(settings: &mut Settings, notes: &mut Notes) {
    let size = settings.take_number("default_pool_size", notes);
    notes.add(format!(
        "Each instance had up to {} server connections for each pair of database and user (default_pool_size), and there was no \
         limit for the whole. Here all pods together have 80% of what PostgreSQL leaves to ordinary roles; spec.budget changes \
         that.",
        size.unwrap_or(DEFAULT_POOL_SIZE)
    ));
}

fn min_pool_size(settings: &mut Settings, out: &mut Map, notes: &mut Notes) {
    let min = settings.take_number("min_pool_size", notes).filter(|min| *min > 0);
    let Some(min) = min else { return };
    let mut pool = Map::default();
    pool.set("name", "all");
    pool.set("minConnections", json!(min));
    out.set_list("pools", vec![pool]);
}

fn auth(spec: &Value, settings: &mut Settings, out: &mut Map, notes: &mut Notes) {
    let bouncer = &spec["pgbouncer"];
    // a parameter of the same name is overruled there too
    let (statement, _) = (bouncer["authQuery"].as_str(), settings.take("auth_query"));
    if let Some(secret) = bouncer.pointer("/authQuerySecret/name").and_then(Value::as_str) {
        let query = out.child("auth").child("query");
        query.child("secretRef").set("name", secret);
        if let Some(database) = settings.take("auth_dbname") {
            query.set("database", database);
        }
        if let Some(statement) = statement {
            query.set("statement", statement);
            notes.add("authQuery: search_path is pg_catalog while it runs, so name the schemas of its functions and tables.");
        }
        notes.add(format!(
            "Secret `{secret}` needs the keys username and password: auth.query logs in with them."
        ));
    }
    if let Some(rules) = bouncer["pg_hba"].as_array().filter(|rules| !rules.is_empty()) {
        notes.add(format!(
            "pg_hba has {} rules: there are no rules by address here. Who may reach the pods is said by spec.networkPolicy, who may \
             log in by users, auth.query and TLS.",
            rules.len()
        ));
    }
}

/// The authority is that of the cluster, unless there is one of its own.
fn server_tls(spec: &Value, settings: &mut Settings, target: &mut Map, notes: &mut Notes) {
    let bouncer = &spec["pgbouncer"];
    let text = settings.take("server_tls_sslmode");
    match &text {
        Some(text) => tls::server(text, target, notes),
        None => target.child("tls").set_because("mode", "VerifyCA", "CloudNativePG's default"),
    }
    let verifies = text.is_none_or(|text| text.starts_with("verify-"));
    if let Some(name) = bouncer.pointer("/serverCASecret/name").and_then(Value::as_str).filter(|_| verifies) {
        tls::authority(name, target.child("tls").child("caRef"));
    }
    if let Some(name) = bouncer.pointer("/serverTLSSecret/name").and_then(Value::as_str) {
        target.child("tls").child("certificateRef").set("name", name);
    }
}

fn client_tls(spec: &Value, settings: &mut Settings, cluster: &str, out: &mut Map, notes: &mut Notes) {
    let bouncer = &spec["pgbouncer"];
    let secret = bouncer.pointer("/clientTLSSecret/name").and_then(Value::as_str);
    let authority = bouncer.pointer("/clientCASecret/name").and_then(Value::as_str);
    let mode = settings.take("client_tls_sslmode").unwrap_or_else(|| "prefer".to_owned());
    let Some(mode) = tls::client_mode(&mode) else { return };
    let reference = out.child("clients").child("tls");
    reference.set("mode", mode);
    if let Some(secret) = secret {
        reference.child("secretRef").set("name", secret);
    } else {
        let secret = format!("{cluster}-server");
        let remark = "as CloudNativePG has it; its names are those of the cluster's Services";
        reference.child("secretRef").set_because("name", secret, remark);
        notes.add(
            "Clients that check the name in the certificate (verify-full) need one with the name of this Service: \
             spec.clients.tls.issuerRef has cert-manager make it.",
        );
    }
    if let Some(authority) = authority {
        tls::authority(authority, reference.child("clientCARef"));
    }
}

fn service(spec: &Value, out: &mut Map, notes: &mut Notes) {
    let template = &spec["serviceTemplate"];
    for kind in ["annotations", "labels"] {
        let theirs = template.pointer(&format!("/metadata/{kind}")).and_then(Value::as_object);
        if let Some(fields) = theirs.filter(|fields| !fields.is_empty()) {
            out.child("service").set(kind, Value::Object(fields.clone()));
        }
    }
    for (field, value) in template["spec"].as_object().into_iter().flatten() {
        match (field.as_str(), value) {
            ("type", Value::String(_)) => out.child("service").set("type", value.clone()),
            ("ports", Value::Array(ports)) => {
                if let Some(port) = ports.first().and_then(|port| port["port"].as_u64()) {
                    out.child("service").set("port", json!(port));
                }
                if ports.len() > 1 {
                    notes.add(
                        "serviceTemplate has several ports: the Service has one, for PostgreSQL's clients.",
                    );
                }
            }
            _ => notes
                .add(format!("serviceTemplate.spec.{field}: the Service of a PgPooler has no such field.")),
        }
    }
}

fn pods(spec: &Value, out: &mut Map, notes: &mut Notes) {
    let template = &spec["template"];
    for kind in ["annotations", "labels"] {
        let theirs = template.pointer(&format!("/metadata/{kind}")).and_then(Value::as_object);
        if let Some(kept) = theirs.map(kept_metadata).filter(|kept| !kept.is_empty()) {
            out.child("podTemplate").set(kind, Value::Object(kept));
        }
    }
    for (field, value) in template["spec"].as_object().into_iter().flatten() {
        match field.as_str() {
            "containers" => containers(value, out, notes),
            "terminationGracePeriodSeconds" => drain(value, out, notes),
            // a Deployment takes no other
            "restartPolicy" => {}
            "serviceAccountName" | "serviceAccount" | "automountServiceAccountToken" => {
                notes.add(format!(
                    "template.spec.{field}: pods have a service account of their own, without a token."
                ));
            }
            _ => out.child("podTemplate").set(field, value.clone()),
        }
    }
}

fn containers(containers: &Value, out: &mut Map, notes: &mut Notes) {
    let (bouncers, others): (Vec<_>, Vec<_>) =
        containers.as_array().into_iter().flatten().partition(|container| container["name"] == CONTAINER);
    for container in &others {
        let name = container["name"].as_str().unwrap_or_default();
        notes.add(format!(
            "The container `{name}` runs on beside the pooler; if it is about PgBouncer, leave it out."
        ));
    }
    if !others.is_empty() {
        out.child("podTemplate").set("containers", json!(others));
    }
    for container in bouncers {
        for (field, value) in container.as_object().into_iter().flatten() {
            match field.as_str() {
                "name" => {}
                "resources" => out.child("podTemplate").set("resources", value.clone()),
                _ => notes
                    .add(format!("{field} of the container `{CONTAINER}` was left out: it is PgBouncer's.")),
            }
        }
    }
}

fn drain(seconds: &Value, out: &mut Map, notes: &mut Notes) {
    // the operator adds what it takes to end
    let timeout = seconds.as_u64().filter(|seconds| (1..=3600).contains(seconds));
    match timeout.and_then(|seconds| words::duration(&seconds.to_string())) {
        Some(timeout) => {
            out.child("drain").set_because("timeout", timeout, "terminationGracePeriodSeconds");
        }
        None => notes
            .add(format!("terminationGracePeriodSeconds {seconds}: spec.drain.timeout may be 1h at most.")),
    }
}

fn others(spec: &Value, out: &mut Map, notes: &mut Notes) {
    if spec.pointer("/monitoring/enablePodMonitor").and_then(Value::as_bool) == Some(true) {
        out.child("monitoring").child("podMonitor").set("enabled", json!(true));
        notes.add("Metrics have other names: docs/reference/metrics.md.");
    }
    for field in ["podMonitorMetricRelabelings", "podMonitorRelabelings", "tls"] {
        if spec["monitoring"].get(field).is_some() {
            notes.add(format!("monitoring.{field} was left out."));
        }
    }
    if spec.get("deploymentStrategy").is_some() {
        notes.add("deploymentStrategy: a rollout always starts one new pod, and ends an old one when that is ready.");
    }
    if spec.get("serviceAccountName").is_some() {
        notes.add("serviceAccountName: pods have a service account of their own, without a token.");
    }
    if spec.pointer("/pgbouncer/paused").and_then(Value::as_bool) == Some(true) {
        out.set("paused", json!(true));
    }
}
