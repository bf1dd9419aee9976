//! The operator's own metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of failures.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    reason: &'static str,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciliations: Counter,
    failures: Family<Failure, Counter>,
    duration: Histogram,
    leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("pgpooler_operator");
        let reconciliations = Counter::default();
        let failures = Family::default();
        let duration = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let leading = Gauge::default();
        registry.register("reconciliations", "Reconciliations that ended", reconciliations.clone());
        registry.register("reconcile_errors", "Reconciliations that failed, by reason", failures.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciliations took",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register("leading", "Whether this operator leads", leading.clone());
        Self { registry: Arc::new(registry), reconciliations, failures, duration, leading }
    }
}

impl Metrics {
    /// A reconciliation ended, well or with the reason given.
    pub fn reconciled(&self, took: Duration, failure: Option<&'static str>) {
        self.reconciliations.inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(reason) = failure {
            self.failures.get_or_create(&Failure { reason }).inc();
        }
    }

    /// This operator leads, or no more.
    pub fn leads(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
