//! What users write. The defaults are those of PgBouncer where it has the setting, and safe for Kubernetes where not.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Connections, Duration, PgPoolerStatus, Resources};

/// A PostgreSQL pooler in front of one PostgreSQL server, sized from that server's `max_connections`.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "pgpooler.dev",
    version = "v1alpha1",
    kind = "PgPooler",
    plural = "pgpoolers",
    shortname = "pgp",
    category = "all",
    namespaced,
    status = "PgPoolerStatus",
    derive = "PartialEq",
    doc = "A PostgreSQL pooler in front of one PostgreSQL server, sized from that server's max_connections.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", description = "Ready pods of those wanted"),
    printcolumn(name = "Budget", type_ = "integer", json_path = ".status.budget.budget", description = "Most server connections of all pods together"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.budget.used", description = "Server connections in use"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.clients.waiting", description = "Clients that wait for a server connection"),
    printcolumn(name = "MaxConn", type_ = "integer", json_path = ".status.budget.maxConnections", description = "max_connections of the server"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target.address", description = "The PostgreSQL server"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Ready, or why not"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 52").message("the name may have at most 52 characters, so that the names of the children fit"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name must start with a letter and have no dot, since a Service gets it")
)]
#[x_kube(
    validation = Rule::new("self.replicas <= self.maxReplicas").message("replicas is above maxReplicas; raise maxReplicas too"),
    validation = Rule::new("self.budget.mode == 'Enforce' || self.budget.fence != 'Manage'").message("budget.fence Manage needs budget.mode Enforce: Observe limits nothing")
)]
#[serde(rename_all = "camelCase")]
pub struct PgPoolerSpec {
    /// The PostgreSQL server behind the pooler.
    pub target: Target,
    /// Pods. An autoscaler may own it through the scale subresource; more pods never mean more server connections.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// Most pods that there may ever be. For each, for one more and for as many that still drain, one server connection
    /// or more is set aside.
    #[serde(default = "six")]
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,
    /// How many of the server's connections the pods may use together.
    #[serde(default)]
    pub budget: Budget,
    /// When a server connection goes back to its pool.
    #[serde(default)]
    pub mode: PoolMode,
    /// How long a client may wait for a server connection; 0: for ever.
    #[serde(default = "two_minutes")]
    pub queue_timeout: Duration,
    /// Settings for some databases and users; the first that matches counts, none: the settings above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), schema_with = "pools_schema")]
    pub pools: Vec<Pool>,
    /// The clients' side.
    #[serde(default)]
    pub clients: Clients,
    /// The side of PostgreSQL.
    #[serde(default)]
    pub servers: Servers,
    /// How a pod ends.
    #[serde(default)]
    pub drain: Drain,
    /// The Service that clients connect to.
    #[serde(default)]
    pub service: Service,
    /// Image of the pooler; unset: the one that the operator was installed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// More for the pods.
    #[serde(default)]
    pub pod_template: PodTemplate,
}

/// The PostgreSQL server behind the pooler. What is set here counts before what the Secret says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Secret with `username` (or `user`), `password`, and unless they are set here `host`, `port` and `dbname` (or
    /// `database`), or all of it as `uri`. A Secret of CloudNativePG for an application works as it is.
    pub secret_ref: LocalRef,
    /// Host name or address. A name without dots is a Service of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Port; unset here and in the Secret: 5432.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Database that the operator connects to for its own session; clients choose their own. Unset here and in the
    /// Secret: the name of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub database: Option<String>,
}

/// The name of an object in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalRef {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How many of the server's connections the pods may use together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Budget {
    /// A number, or a percentage of what PostgreSQL leaves to ordinary roles.
    pub server_connections: Connections,
    /// Connections that are left to others in any case: people, migrations, backups. Others who were seen to use more
    /// have more.
    #[schemars(range(min = 0, max = 262_143))]
    pub keep_free: i32,
    /// Its part, compared with other `PgPoolers` on the same server, when all of them want more.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: i32,
    /// `Observe` measures and recommends, and limits nothing: for a first look at a server that is in use.
    pub mode: BudgetMode,
    /// What the operator does about the CONNECTION LIMIT of the login role, with which PostgreSQL itself can guard the
    /// budget.
    pub fence: Fence,
}

/// Whether the budget binds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BudgetMode {
    /// All pods together never hold more than the budget.
    #[default]
    Enforce,
    /// Nothing is limited; status says what the budget would be, and recommends one.
    Observe,
}

/// What the operator does about the CONNECTION LIMIT of the login role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Fence {
    /// Nothing.
    Off,
    /// Compares it with the budget and says so where it does not fit.
    #[default]
    Verify,
    /// Sets it, and puts back what was there when the `PgPooler` is deleted. The role needs the right to do so.
    Manage,
}

/// Settings for the pools of some databases and users. A pool is a pair of database and user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Name in logs and metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Database, or `*` for every one.
    #[serde(default = "any")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Users, or `*` alone for every one.
    #[serde(default = "any_user")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub users: Vec<String>,
    /// Overrides `mode` of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PoolMode>,
    /// Most server connections of one such pool over all pods; a pod gets its part of it, one at least. Unset: only
    /// the budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 262_143))]
    pub max_connections: Option<i32>,
    /// Overrides `queueTimeout` of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<Duration>,
}

/// When a server connection goes back to its pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PoolMode {
    /// When the transaction ends.
    #[default]
    Transaction,
    /// When the client disconnects.
    Session,
}

/// The clients' side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Clients {
    /// Most clients of one pod.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: i32,
    /// A client that is silent for longer outside a transaction is closed; 0: never.
    pub idle_timeout: Duration,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
}

/// The side of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Servers {
    /// A server connection unused for longer is closed; 0: never.
    pub idle_timeout: Duration,
    /// A server connection older than this is closed when it is next idle; 0: never.
    pub lifetime: Duration,
    /// How long a connection to PostgreSQL with its login may take.
    pub connect_timeout: Duration,
    /// Prepared statements kept on a server connection, the least recently used closed first.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_prepared_statements: i32,
}

/// How a pod ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.timeout == '0' || duration(self.timeout) <= duration('1h')").message("timeout may be 1h at most")
)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long running transactions may go on.
    #[serde(default = "half_a_minute")]
    pub timeout: Duration,
}

/// The Service that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Type of the Service.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Annotations of the Service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the Service, besides the operator's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Type of a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reachable inside the cluster.
    #[default]
    ClusterIP,
    /// Reachable on a port of every node too.
    NodePort,
    /// Reachable through a load balancer of the cloud too.
    LoadBalancer,
}

/// More for the pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// Annotations of the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the pods, besides the operator's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Requests and limits of the pooler's container; unset: requests of 50m CPU and 64Mi memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Secrets to pull the image with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalRef>,
    /// Priority class of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            server_connections: Connections::Percent("80%".into()),
            keep_free: 10,
            weight: 100,
            mode: BudgetMode::default(),
            fence: Fence::default(),
        }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self { max: 10_000, idle_timeout: "0".into(), login_timeout: "60s".into() }
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            idle_timeout: "10m".into(),
            lifetime: "1h".into(),
            connect_timeout: "15s".into(),
            max_prepared_statements: 200,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: half_a_minute() }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            type_: ServiceType::default(),
            port: 5432,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

fn two() -> i32 {
    2
}

fn six() -> i32 {
    6
}

fn two_minutes() -> Duration {
    "2m".into()
}

fn half_a_minute() -> Duration {
    "30s".into()
}

fn any() -> String {
    pgpooler_config::ANY.to_owned()
}

fn any_user() -> Vec<String> {
    vec![any()]
}

/// Pools are a map by name, so that two owners can each apply their own.
fn pools_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Pool>>();
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["name"]));
    schema
}
