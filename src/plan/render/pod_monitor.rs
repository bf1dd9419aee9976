//! The `PodMonitor`, with which the Prometheus operator finds the pods.

use crate::api::{Matching, MetricsEndpoint, Monitor, MonitorSpec};
use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::meta;

/// The `PodMonitor`, if one is wanted.
pub fn render(pooler: &Pooler) -> Option<Monitor> {
    let wanted = &pooler.pod_monitor;
    if !wanted.enabled {
        return None;
    }
    let mut metadata = meta(pooler, names::workload(&pooler.name));
    let mut labels = wanted.labels.clone();
    labels.extend(names::labels(&pooler.name));
    metadata.labels = Some(labels);
    let endpoint = MetricsEndpoint {
        port: names::HTTP_PORT.to_owned(),
        path: "/metrics".to_owned(),
        interval: wanted.interval.clone(),
    };
    Some(Monitor {
        metadata,
        spec: MonitorSpec {
            selector: Matching { match_labels: names::selector(&pooler.name) },
            pod_metrics_endpoints: vec![endpoint],
        },
    })
}
