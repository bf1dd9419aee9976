//! The alerts: complete, tried one by one, explained.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{command, workspace};

use super::{CHART, promtool::promtool, read, yaml};

/// Tries every alert.
const TESTS: &str = "tests/chart/alerts.yaml";
/// Explains every alert.
const PAGE: &str = "docs/alerts.md";

/// Every rule of files/rules.yaml.
pub(super) fn rules() -> Result<Vec<Value>> {
    let file = yaml(&read(&path())?)?;
    let groups = file["groups"].as_array().context("no groups of rules")?;
    let rules: Vec<_> =
        groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect();
    ensure!(rules.len() > 20, "{} rules only", rules.len());
    Ok(rules)
}

fn alerts() -> Result<Vec<(String, Value)>> {
    let named = |rule: Value| Some((rule["alert"].as_str()?.to_owned(), rule));
    Ok(rules()?.into_iter().filter_map(named).collect())
}

fn path() -> String {
    format!("{CHART}/files/rules.yaml")
}

/// Prometheus can read them, and none lacks what people need.
pub(super) fn complete() -> Result<()> {
    command::output(promtool()?.args(["check", "rules"]).arg(workspace::root().join(path())))?;
    let schema: Value = serde_json::from_str(&read(&format!("{CHART}/values.yaml")).and_then(|text| {
        yaml(&text).map(|values| values["metrics"]["prometheusRule"]["runbookUrl"].to_string())
    })?)?;
    let page = schema.as_str().context("no runbookUrl in values.yaml")?;
    for (name, rule) in alerts()? {
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        ensure!(["critical", "warning", "info"].contains(&severity), "{name}: severity {severity:?}");
        for annotation in ["summary", "description"] {
            let text = rule["annotations"][annotation].as_str().unwrap_or_default();
            ensure!(text.len() > 15, "{name}: {annotation} {text:?}");
        }
        let runbook = format!("{page}#{}", name.to_lowercase());
        ensure!(rule["annotations"]["runbook_url"] == runbook, "{name}: runbook_url is not {runbook}");
        ensure!(rule.get("for").is_some(), "{name} fires at once");
    }
    Ok(())
}

/// promtool runs the tests, of which each alert has at least one that fires and one that does not.
pub(super) fn tried() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::copy(workspace::root().join(path()), folder.path().join("rules.yaml"))?;
    std::fs::copy(workspace::root().join(TESTS), folder.path().join("alerts.yaml"))?;
    let mut promtool = promtool()?;
    promtool.current_dir(folder.path()).args(["test", "rules", "alerts.yaml"]);
    let done = promtool.output().context("cannot run promtool")?;
    let told = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "{told}{}", String::from_utf8_lossy(&done.stderr));
    let tried = outcomes(&yaml(&read(TESTS)?)?);
    for (name, _) in alerts()? {
        let (fires, rests) = tried.get(&name).copied().unwrap_or_default();
        ensure!(fires > 0 && rests > 0, "{name}: {fires} tests that it fires, {rests} that it does not");
    }
    Ok(())
}

/// How often each alert is expected to fire and not to.
fn outcomes(tests: &Value) -> BTreeMap<String, (u32, u32)> {
    let mut tried: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let all = tests["tests"].as_array().into_iter().flatten();
    for test in all.filter_map(|test| test["alert_rule_test"].as_array()).flatten() {
        let (fires, rests) = tried.entry(test["alertname"].as_str().unwrap_or_default().into()).or_default();
        let expected = test["exp_alerts"].as_array().map_or(0, Vec::len);
        *(if expected > 0 { fires } else { rests }) += 1;
    }
    tried
}

/// The anchor of every runbook is a heading of the page, and every heading an alert.
pub(super) fn explained() -> Result<()> {
    let page = read(PAGE)?;
    let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts = alerts()?;
    for (name, _) in &alerts {
        ensure!(headings.contains(&name.as_str()), "{PAGE} does not explain {name}");
    }
    let named = |heading: &&&str| !alerts.iter().any(|(name, _)| name == **heading);
    let unknown: Vec<_> = headings.iter().filter(named).collect();
    ensure!(unknown.is_empty(), "{PAGE} explains alerts that do not exist: {unknown:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn tests_that_expect_nothing_count_apart() {
        let tests = yaml(
            "tests:\n- alert_rule_test: [{alertname: A, exp_alerts: []}]\n\
             - alert_rule_test: [{alertname: A, exp_alerts: [{exp_labels: {}}]}, {alertname: B}]\n",
        );
        let expected = BTreeMap::from([("A".to_owned(), (1, 1)), ("B".to_owned(), (0, 1))]);
        assert_eq!(outcomes(&tests.unwrap()), expected);
    }
}
