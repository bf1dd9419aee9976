//! The `PodDisruptionBudget`: a node that is emptied takes one pod at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::{meta, selector};

/// The `PodDisruptionBudget`; none for a single pod, which it would make impossible to move.
pub fn render(pooler: &Pooler) -> Option<PodDisruptionBudget> {
    let wanted = &pooler.availability.pod_disruption_budget;
    (wanted.enabled && pooler.replicas > 1).then(|| PodDisruptionBudget {
        metadata: meta(pooler, names::workload(&pooler.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(wanted.max_unavailable)),
            selector: Some(selector(pooler)),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
