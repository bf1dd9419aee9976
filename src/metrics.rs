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

use crate::plan::facts::Account;

/// Labels of failures.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    reason: &'static str,
}

/// Labels of one `PgPooler`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pooler {
    namespace: String,
    name: String,
}

/// The terms of the sum: `charged` + `aside` is never above `budget`.
const TERMS: [(&str, &str); 7] = [
    ("budget_connections", "Server connections that all pods of a PgPooler may hold together"),
    ("charged_connections", "Server connections that its pods could be holding at most"),
    ("aside_connections", "Floors of its pods that could still come"),
    ("granted_connections", "Limits of its pods together, floors included"),
    ("used_connections", "Server connections that its pods hold"),
    ("departed_connections", "Server connections that pods of it which have gone may still hold"),
    ("waiting_clients", "Clients of its pods that wait for a server connection"),
];

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciliations: Counter,
    failures: Family<Failure, Counter>,
    duration: Histogram,
    leading: Gauge,
    terms: [Family<Pooler, Gauge>; TERMS.len()],
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
        let terms = TERMS.map(|(name, help)| {
            let family = Family::default();
            registry.register(name, help, Family::clone(&family));
            family
        });
        Self { registry: Arc::new(registry), reconciliations, failures, duration, leading, terms }
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

    /// The sum of one `PgPooler`; `None`: it is no more, or is not accounted for.
    pub fn accounted(&self, namespace: &str, name: &str, account: Option<&Account>) {
        let pooler = Pooler { namespace: namespace.to_owned(), name: name.to_owned() };
        let Some(account) = account else {
            for term in &self.terms {
                term.remove(&pooler);
            }
            return;
        };
        let values = [
            account.budget,
            account.charged(),
            account.aside,
            account.total(|pod| pod.limit),
            account.total(|pod| pod.held),
            account.departed,
            account.total(|pod| pod.waiting),
        ];
        for (term, value) in self.terms.iter().zip(values) {
            term.get_or_create(&pooler).set(i64::from(value));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::facts::PodAccount;

    #[test]
    fn the_sum_of_a_pgpooler_can_be_checked_and_goes_with_it() {
        let metrics = Metrics::default();
        let pod = PodAccount { limit: 37, held: 12, charge: 37, waiting: 3, ..PodAccount::default() };
        let account =
            Account { budget: 77, aside: 3, departed: 2, pods: vec![pod.clone(), pod], ..Account::default() };
        metrics.accounted("shop", "orders", Some(&account));
        let text = metrics.text().expect("written");
        for (name, value) in [("budget", 77), ("charged", 76), ("aside", 3), ("granted", 74), ("used", 24)] {
            let line =
                format!("pgpooler_operator_{name}_connections{{namespace=\"shop\",name=\"orders\"}} {value}");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        metrics.accounted("shop", "orders", None);
        assert!(!metrics.text().expect("written").contains("orders"));
    }
}
