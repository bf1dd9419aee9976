//! What users write. The defaults are those of PgBouncer where it has the setting, and safe for Kubernetes where not.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

mod auth;
mod budget;
mod pods;
mod pools;
mod sides;
mod surroundings;
mod target;
mod tls;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Duration, PgPoolerStatus};

pub use auth::{Auth, AuthQuery, AuthType};
pub use budget::{Budget, BudgetMode, Fence};
pub use pods::PodTemplate;
pub use pools::{Pool, PoolMode, SessionState};
pub use sides::{Clients, Drain, Servers};
pub use surroundings::{
    Availability, DisruptionBudget, Monitoring, NetworkPolicy, PodMonitor, Service, ServiceType, Spread,
    WhenUnsatisfiable,
};
pub use target::{Role, Target, TargetTls};
pub use tls::{CaKind, CaRef, ClientTls, IssuerRef, LocalRef, TlsMode};

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
    validation = Rule::new("self.budget.mode == 'Enforce' || self.budget.fence != 'Manage'").message("budget.fence Manage needs budget.mode Enforce: Observe limits nothing"),
    validation = Rule::new("!has(self.connectionSecret) || self.connectionSecret.name != self.target.?secretRef.name.orValue('')").message("connectionSecret would overwrite target.secretRef"),
    validation = Rule::new("self.auth.type != 'Cert' || (has(self.clients.tls) && self.clients.tls.mode in ['VerifyCA', 'VerifyFull'])").message("auth.type Cert needs clients.tls with mode VerifyCA or VerifyFull")
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
    /// What becomes of session state that cannot follow its client to another server connection.
    #[serde(default)]
    pub session_state: SessionState,
    /// How long a client may wait for a server connection; 0: for ever.
    #[serde(default = "two_minutes")]
    pub queue_timeout: Duration,
    /// Settings for some databases and users; the first that matches counts, none: the settings above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), schema_with = "pools::pools_schema")]
    pub pools: Vec<Pool>,
    /// How clients prove who they are.
    #[serde(default)]
    pub auth: Auth,
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
    /// What keeps pods from going all at once.
    #[serde(default)]
    pub availability: Availability,
    /// Who may reach the pods.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// What others read of the pods.
    #[serde(default)]
    pub monitoring: Monitoring,
    /// Secret for applications: `host`, `port`, `dbname`, `username`, `password`, `uri`, `jdbc-uri`, and `ca.crt` where
    /// clients use TLS. Unset: none is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_secret: Option<LocalRef>,
    /// Clients stay connected and wait, as after PAUSE; nothing of PostgreSQL is in use.
    #[serde(default)]
    pub paused: bool,
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
