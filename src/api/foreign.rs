//! Kinds of other operators, as far as we write them; they may be there or not.

#![allow(missing_docs, reason = "the macro derives types that nobody can document")]

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{Duration, IssuerRef};

/// A certificate that cert-manager keeps in a Secret.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(group = "cert-manager.io", version = "v1", kind = "Certificate", namespaced, schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// The Secret.
    pub secret_name: String,
    /// Names that it is for.
    pub dns_names: Vec<String>,
    /// Who signs it.
    pub issuer_ref: IssuerRef,
}

/// Where the Prometheus operator finds metrics.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(group = "monitoring.coreos.com", version = "v1", kind = "PodMonitor", namespaced, schema = "disabled")]
#[kube(root = "Monitor")]
#[serde(rename_all = "camelCase")]
pub struct MonitorSpec {
    /// The pods.
    pub selector: Matching,
    /// Where they have metrics.
    pub pod_metrics_endpoints: Vec<MetricsEndpoint>,
}

/// Chooses pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Matching {
    /// Labels that they have.
    pub match_labels: BTreeMap<String, String>,
}

/// Where pods have metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsEndpoint {
    /// Name of the port.
    pub port: String,
    /// Path.
    pub path: String,
    /// How often they are read.
    pub interval: Duration,
    /// Labels of the pod that its metrics get.
    pub relabelings: Vec<Relabeling>,
}

/// A label from another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relabeling {
    /// As Prometheus finds it.
    pub source_labels: Vec<String>,
    /// As the metrics have it.
    pub target_label: String,
}
