//! The full set of children, by kind. Rendered and applied sets are of different types, so that status cannot be
//! reckoned from what was only meant.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::api::{Certificate, Monitor};

/// How far the objects have come.
pub trait Stage {
    /// What is kept of an object of kind `K`.
    type Of<K>;
}

/// As they should be.
#[derive(Debug)]
pub struct Rendered;

/// As the API server has them.
#[derive(Debug)]
pub struct Applied;

impl Stage for Rendered {
    type Of<K> = Child<K>;
}

impl Stage for Applied {
    type Of<K> = Option<Arc<K>>;
}

/// What to do with one child.
#[derive(Debug, Clone, PartialEq)]
pub enum Child<K> {
    /// It shall be so.
    Apply(Box<K>),
    /// It stays as it is, or absent.
    Leave,
    /// It shall not be.
    Remove,
}

/// All children. Whoever handles them names every field, so that a new kind cannot be forgotten.
pub struct Objects<S: Stage> {
    /// Identity of the pods, without a token.
    pub service_account: S::Of<ServiceAccount>,
    /// Users and passwords.
    pub auth: S::Of<Secret>,
    /// The configuration document.
    pub config: S::Of<ConfigMap>,
    /// Headless Service: one name for each pod.
    pub peers: S::Of<Service>,
    /// What clients connect to.
    pub service: S::Of<Service>,
    /// Keeps evictions from taking all pods at once.
    pub disruption_budget: S::Of<PodDisruptionBudget>,
    /// Who may reach the pods.
    pub network_policy: S::Of<NetworkPolicy>,
    /// For applications.
    pub connection: S::Of<Secret>,
    /// What clients are shown, ordered.
    pub certificate: S::Of<Certificate>,
    /// For the Prometheus operator.
    pub pod_monitor: S::Of<Monitor>,
    /// The pods.
    pub deployment: S::Of<Deployment>,
}

/// What becomes of a child, whatever its kind.
#[derive(Clone, PartialEq)]
pub enum Fate {
    /// It shall be so. A Secret too: not to be printed.
    Apply(serde_json::Value),
    /// It stays as it is, or absent.
    Leave,
    /// It shall not be.
    Remove,
}

impl Objects<Rendered> {
    /// Each child, for those who compare plans.
    pub fn fates(&self) -> Vec<(&'static str, Fate)> {
        let Self {
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
        } = self;
        vec![
            ("ServiceAccount", service_account.fate()),
            ("Secret", auth.fate()),
            ("ConfigMap", config.fate()),
            ("Service of the pods", peers.fate()),
            ("Service", service.fate()),
            ("PodDisruptionBudget", disruption_budget.fate()),
            ("NetworkPolicy", network_policy.fate()),
            ("Secret for applications", connection.fate()),
            ("Certificate", certificate.fate()),
            ("PodMonitor", pod_monitor.fate()),
            ("Deployment", deployment.fate()),
        ]
    }
}

impl<K: serde::Serialize> Child<K> {
    fn fate(&self) -> Fate {
        match self {
            // what cannot be written down cannot be applied either
            Self::Apply(wanted) => serde_json::to_value(wanted).map_or(Fate::Leave, Fate::Apply),
            Self::Leave => Fate::Leave,
            Self::Remove => Fate::Remove,
        }
    }
}

impl fmt::Debug for Objects<Rendered> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the Secret's content must never reach a log
        f.debug_struct("Objects").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}
