//! What stands around the pods: the Service, and what else applications and platform teams ask for.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Duration;

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

/// What keeps pods from going all at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Availability {
    /// For evictions, as of nodes that are emptied.
    pub pod_disruption_budget: DisruptionBudget,
    /// Where pods are spread over, in this order.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["topologyKey"]))]
    pub topology_spread: Vec<Spread>,
}

/// A `PodDisruptionBudget` for the pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionBudget {
    /// Whether there is one. For a single pod there is none, since it would make the node impossible to empty.
    pub enabled: bool,
    /// Pods that may be gone at once.
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable: i32,
}

/// Spreads pods over nodes or zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Label of nodes, such as `topology.kubernetes.io/zone`.
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
    /// How many pods more one node or zone may have than another.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub max_skew: i32,
    /// Whether a pod that cannot be placed so is placed all the same.
    #[serde(default)]
    pub when_unsatisfiable: WhenUnsatisfiable,
}

/// What becomes of a pod that cannot be placed as wished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// It is placed all the same.
    #[default]
    ScheduleAnyway,
    /// It waits.
    DoNotSchedule,
}

/// A `NetworkPolicy` for the pods. The operator and the pods themselves reach them in any case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Whether there is one.
    pub enabled: bool,
    /// Who may connect as a client: `NetworkPolicyPeer`s. Empty: all pods of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allow_from: Vec<NetworkPolicyPeer>,
    /// Who may read metrics: `NetworkPolicyPeer`s. Empty: everybody in the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

/// What others read of the pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Monitoring {
    /// For the Prometheus operator.
    pub pod_monitor: PodMonitor,
}

/// A `PodMonitor`, with which the Prometheus operator finds the pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("duration(self.interval) >= duration('1s') && duration(self.interval) <= duration('1h')").message("interval must be between 1s and 1h")
)]
#[serde(rename_all = "camelCase")]
pub struct PodMonitor {
    /// Whether there is one; its kind must be there.
    #[serde(default)]
    pub enabled: bool,
    /// How often metrics are read.
    #[serde(default = "half_a_minute")]
    pub interval: Duration,
    /// Labels of the `PodMonitor`, by which some Prometheus choose theirs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
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

impl Default for Availability {
    fn default() -> Self {
        Self { pod_disruption_budget: DisruptionBudget::default(), topology_spread: by_node() }
    }
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        Self { enabled: true, max_unavailable: 1 }
    }
}

impl Default for PodMonitor {
    fn default() -> Self {
        Self { enabled: false, interval: half_a_minute(), labels: BTreeMap::new() }
    }
}

fn half_a_minute() -> Duration {
    "30s".into()
}

fn one() -> i32 {
    1
}

fn by_node() -> Vec<Spread> {
    vec![Spread {
        topology_key: "kubernetes.io/hostname".to_owned(),
        max_skew: 1,
        when_unsatisfiable: WhenUnsatisfiable::ScheduleAnyway,
    }]
}
