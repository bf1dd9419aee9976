//! The `PodMonitor`, with which the Prometheus operator finds the pods.

use crate::api::{Matching, MetricsEndpoint, Monitor, MonitorSpec, Relabeling};
use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::meta;

/// The pod's label with the name of the `PgPooler`, as Prometheus calls it.
const INSTANCE: &str = "__meta_kubernetes_pod_label_app_kubernetes_io_instance";

/// The `PodMonitor`, if one is wanted. Alerts and dashboard of the chart know a `PgPooler` by the label `pgpooler`.
pub fn render(pooler: &Pooler) -> Option<Monitor> {
    let wanted = &pooler.pod_monitor;
    if !wanted.enabled {
        return None;
    }
    let mut metadata = meta(pooler, names::workload(&pooler.name));
    let mut labels = wanted.labels.clone();
    labels.extend(names::labels(&pooler.name));
    metadata.labels = Some(labels);
    let of_pgpooler =
        Relabeling { source_labels: vec![INSTANCE.to_owned()], target_label: names::POOLER.to_owned() };
    let endpoint = MetricsEndpoint {
        port: names::HTTP_PORT.to_owned(),
        path: "/metrics".to_owned(),
        interval: wanted.interval.clone(),
        relabelings: vec![of_pgpooler],
    };
    Some(Monitor {
        metadata,
        spec: MonitorSpec {
            selector: Matching { match_labels: names::selector(&pooler.name) },
            pod_metrics_endpoints: vec![endpoint],
        },
    })
}
