//! Every metric that alerts and dashboard use is one that pooler or operator have, or Kubernetes itself.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::{dashboard, read, rules};

const REFERENCE: &str = "docs/reference/metrics.md";
/// The kubelet's own.
const FOREIGN: [&str; 2] = ["container_cpu_usage_seconds_total", "container_memory_working_set_bytes"];
/// How names of metrics begin, ours and those.
const PREFIXES: [&str; 2] = ["pgpooler", "container_"];

/// Looks each of them up in the reference, which the tests of both programs keep complete.
pub(super) fn exist() -> Result<()> {
    let reference = read(REFERENCE)?;
    let mut known = known(&reference);
    let rules = rules::rules()?;
    known.extend(rules.iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)));
    let of_rules = rules.iter().filter_map(|rule| rule["expr"].as_str().map(str::to_owned));
    let expressions: Vec<_> = of_rules.chain(dashboard::expressions()?).collect();
    for expression in &expressions {
        let used = used(expression);
        ensure!(!used.is_empty(), "no metric of ours in {expression}");
        for name in used {
            ensure!(known.contains(name), "{REFERENCE} has no {name}, used in {expression}");
        }
    }
    Ok(())
}

/// Names by the headings of the reference; a histogram has three.
fn known(reference: &str) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = FOREIGN.map(str::to_owned).into();
    let mut lines = reference.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("### pgpooler").map(|rest| format!("pgpooler{rest}")) else {
            continue;
        };
        if lines.peek().is_some_and(|line| line.starts_with("Histogram.")) {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            known.insert(name);
        }
    }
    known
}

/// Words that begin as names of metrics do; what is quoted is a label's value.
fn used(expression: &str) -> BTreeSet<&str> {
    let outside = expression.split('"').step_by(2);
    let is_of_a_name = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    let words = outside.flat_map(move |text| text.split(move |character| !is_of_a_name(character)));
    // `pgpooler` alone is a label
    let is_metric = |word: &&str| *word != "pgpooler" && PREFIXES.iter().any(|begin| word.starts_with(begin));
    words.filter(is_metric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_quotes_and_labels_are_no_metrics() {
        let expression =
            "sum by (pgpooler, le) (rate(pgpooler_a_bucket{le=\"pgpooler_b\"}[5m])) / pgpooler:c:d";
        assert_eq!(used(expression), BTreeSet::from(["pgpooler_a_bucket", "pgpooler:c:d"]));
    }

    #[test]
    fn a_histogram_is_known_by_its_parts() {
        let known = known("### pgpooler_a\nGauge.\n\n### pgpooler_b_seconds\nHistogram. Text.\n");
        assert!(known.contains("pgpooler_a") && known.contains("pgpooler_b_seconds_bucket"));
        assert!(!known.contains("pgpooler_b_seconds"));
    }
}
