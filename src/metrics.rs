//! The operator's own metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api::{BudgetStatus, PgPoolerStatus};
use crate::plan::facts::Account;

/// Labels of failures.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    reason: &'static str,
}

/// Labels of requests to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
}

/// Labels of one `PgPooler`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pooler {
    namespace: String,
    name: String,
}

/// Labels of a condition as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Condition {
    namespace: String,
    name: String,
    r#type: String,
    status: String,
    reason: String,
}

/// A figure of a status; `None`: it is not known.
type Figure = fn(&PgPoolerStatus) -> Option<i32>;

/// What the sum is measured by, and the pods.
const FIGURES: [(&str, &str, Figure); 7] = [
    ("server_max_connections", "max_connections of the server of a PgPooler", |status| {
        of_budget(status, |budget| budget.max_connections)
    }),
    ("server_usable_connections", "Of these what ordinary roles can have", |status| {
        of_budget(status, |budget| budget.usable)
    }),
    ("keep_free_connections", "Of these what is kept free for others", |status| {
        of_budget(status, |budget| budget.keep_free)
    }),
    ("foreign_sessions", "Sessions on the server that are not from a pooler", |status| {
        of_budget(status, |budget| budget.foreign)
    }),
    (
        "floor_connections",
        "Server connections that each pod may hold without hearing from anybody",
        |status| of_budget(status, |budget| budget.floor),
    ),
    ("replicas", "Pods of a PgPooler that exist and are not going", |status| Some(status.replicas)),
    ("ready_replicas", "Pods of a PgPooler that serve clients", |status| Some(status.ready_replicas)),
];

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
    requests: Family<Request, Counter>,
    terms: [Family<Pooler, Gauge>; TERMS.len()],
    figures: [Family<Pooler, Gauge>; FIGURES.len()],
    conditions: Family<Condition, Gauge>,
    /// Which conditions of each there are, so that what is no more goes.
    told: Arc<Mutex<HashMap<Pooler, Vec<Condition>>>>,
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
        let requests = Family::default();
        registry.register("kube_requests", "Requests to the API server, by method", Family::clone(&requests));
        let terms = TERMS.map(|(name, help)| {
            let family = Family::default();
            registry.register(name, help, Family::clone(&family));
            family
        });
        let figures = FIGURES.map(|(name, help, _)| {
            let family = Family::default();
            registry.register(name, help, Family::clone(&family));
            family
        });
        let conditions = Family::default();
        let help = "Always 1: the conditions of a PgPooler as they are";
        registry.register("condition", help, Family::clone(&conditions));
        let told = Arc::default();
        let registry = Arc::new(registry);
        Self {
            registry,
            reconciliations,
            failures,
            duration,
            leading,
            requests,
            terms,
            figures,
            conditions,
            told,
        }
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

    /// The status of one `PgPooler`, written or not; `None`: it is no more.
    pub fn told(&self, namespace: &str, name: &str, status: Option<&PgPoolerStatus>) {
        let pooler = Pooler { namespace: namespace.to_owned(), name: name.to_owned() };
        for (family, (_, _, figure)) in self.figures.iter().zip(FIGURES) {
            match status.and_then(figure) {
                Some(value) => {
                    family.get_or_create(&pooler).set(i64::from(value));
                }
                None => {
                    family.remove(&pooler);
                }
            }
        }
        let now = status.map(|status| conditions(&pooler, status)).unwrap_or_default();
        for condition in &now {
            self.conditions.get_or_create(condition).set(1);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if now.is_empty() { told.remove(&pooler) } else { told.insert(pooler, now.clone()) };
        for gone in before.unwrap_or_default().iter().filter(|condition| !now.contains(condition)) {
            self.conditions.remove(gone);
        }
    }

    /// A request to the API server begins; a watch is one.
    pub fn asks(&self, method: &str) {
        self.requests.get_or_create(&Request { method: method.to_owned() }).inc();
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

fn of_budget(status: &PgPoolerStatus, figure: fn(&BudgetStatus) -> i32) -> Option<i32> {
    status.budget.as_ref().map(figure)
}

fn conditions(pooler: &Pooler, status: &PgPoolerStatus) -> Vec<Condition> {
    let Pooler { namespace, name } = pooler;
    let labels = status.conditions.iter().map(|condition| Condition {
        namespace: namespace.clone(),
        name: name.clone(),
        r#type: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
    });
    labels.collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as Told, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::plan::facts::PodAccount;

    fn status(reason: &str, state: &str, budget: Option<BudgetStatus>) -> PgPoolerStatus {
        let condition = Told {
            type_: "TargetReachable".to_owned(),
            status: state.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        PgPoolerStatus { budget, conditions: vec![condition], ..PgPoolerStatus::default() }
    }

    #[test]
    fn a_condition_is_told_as_it_is_now_and_only_so() {
        let metrics = Metrics::default();
        let budget = BudgetStatus { max_connections: 100, foreign: 4, ..BudgetStatus::default() };
        metrics.told("shop", "orders", Some(&status("Unreachable", "False", Some(budget))));
        metrics.told("shop", "bills", Some(&status("Reachable", "True", None)));
        let text = metrics.text().expect("written");
        let line = "pgpooler_operator_condition{namespace=\"shop\",name=\"orders\",type=\"TargetReachable\",\
                    status=\"False\",reason=\"Unreachable\"} 1";
        assert!(text.contains(line), "{line} is not in\n{text}");
        let line = "pgpooler_operator_foreign_sessions{namespace=\"shop\",name=\"orders\"} 4";
        assert!(text.contains(line), "{line} is not in\n{text}");
        assert!(!text.contains("foreign_sessions{namespace=\"shop\",name=\"bills\"}"), "unknown is not 0");

        metrics.told("shop", "orders", Some(&status("Reachable", "True", None)));
        let text = metrics.text().expect("written");
        assert!(text.contains("name=\"orders\",type=\"TargetReachable\",status=\"True\""), "{text}");
        assert!(!text.contains("Unreachable"), "what was is no more: {text}");

        metrics.told("shop", "orders", None);
        let text = metrics.text().expect("written");
        assert!(!text.contains("orders") && text.contains("bills"), "{text}");
    }

    #[test]
    fn every_metric_has_a_heading_in_the_reference_and_every_heading_a_metric() {
        let reference = include_str!("../docs/reference/metrics.md");
        // a family without points is not written
        let metrics = Metrics::default();
        metrics.reconciled(Duration::ZERO, Some("apply"));
        metrics.asks("GET");
        metrics.accounted("shop", "orders", Some(&Account::default()));
        metrics.told("shop", "orders", Some(&status("Reachable", "True", Some(BudgetStatus::default()))));
        let text = metrics.text().expect("written");
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let mut names: Vec<_> = names
            .map(|(name, kind)| format!("### {name}{}", if kind == "counter" { "_total" } else { "" }))
            .collect();
        let is_ours = |line: &&str| line.starts_with("### pgpooler_operator_");
        let mut headings: Vec<_> = reference.lines().filter(is_ours).collect();
        names.sort();
        headings.sort_unstable();
        assert_eq!(names, headings);
    }

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
