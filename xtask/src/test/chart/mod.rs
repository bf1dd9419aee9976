//! The chart without a cluster: rendered, compared, linted, checked against schemas; its alerts tried, its dashboard read.
//!
//! What needs an API server is in [`admission`], what needs a node in [`upgrade`].

mod admission;
mod dashboard;
mod manifests;
mod metrics;
mod promtool;
mod render;
mod rules;
mod schemas;
mod security;
pub(crate) mod upgrade;
mod values;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{generate, ui};

use super::Count;

pub(crate) use admission::dry_run;
pub(crate) use render::{golden, helm};
pub(crate) use values::readme;

/// The chart, from the repository's root.
pub(crate) const CHART: &str = "charts/pgpooler-operator";

type Check = fn() -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("what is rendered is what is checked in", generate::check_rendered),
    ("helm lint --strict, with every set of values", render::lint),
    ("values that make no sense are refused with what to do", render::refusals),
    ("every value has a comment and a place in the schema, and the other way round", values::complete),
    ("rendered objects conform to the schemas of the oldest Kubernetes supported", manifests::conform),
    ("rendered pods meet the restricted Pod Security standard", security::restricted),
    ("the alerts are rules that Prometheus can read, and complete", rules::complete),
    ("every alert fires when it should and does not when it should not", rules::tried),
    ("every alert has its section in docs/alerts.md", rules::explained),
    ("every expression of the dashboard can be read", dashboard::readable),
    ("alerts and dashboard use metrics that exist", metrics::exist),
];

/// Runs all.
pub(super) fn run() -> Count {
    let mut count = Count::default();
    for (name, check) in CHECKS {
        match check() {
            Ok(()) => {
                ui::say(&format!("{name} ... {}", ui::good("ok")));
                count.passed += 1;
            }
            Err(error) => {
                ui::say(&format!("{name} ... {}\n{error:#}", ui::bad("FAILED")));
                count.failed += 1;
            }
        }
    }
    count
}

/// A file of the repository.
fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(crate::workspace::root().join(path)).with_context(|| path.to_owned())
}

/// A YAML document.
fn yaml(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text).context("no YAML")
}
