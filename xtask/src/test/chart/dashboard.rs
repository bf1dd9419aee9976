//! The Grafana dashboard: its expressions, read by promtool as if they were rules.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::command;

use super::{CHART, promtool::promtool, read};

/// Grafana's variables, and something of the same form.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "5m"), ("$namespace", ".*"), ("$pgpooler", ".*")];

/// Every panel asks something that Prometheus understands, of the data source that the reader chooses.
pub(super) fn readable() -> Result<()> {
    let dashboard = dashboard()?;
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap_or_default();
        ensure!(panel["datasource"]["uid"] == "${datasource}", "{title}: a data source of its own");
        ensure!(
            panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()),
            "{title} asks nothing"
        );
    }
    let named = |(index, expr)| json!({"record": format!("dashboard:{index}"), "expr": expr});
    let rules: Vec<_> = expressions()?.into_iter().enumerate().map(named).collect();
    ensure!(rules.len() > 40, "{} expressions only", rules.len());
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    // JSON is YAML too
    let text = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    std::fs::write(file.path(), text)?;
    command::output(promtool()?.args(["check", "rules"]).arg(file.path())).map(drop)
}

/// The expressions, with values for Grafana's variables.
pub(super) fn expressions() -> Result<Vec<String>> {
    let dashboard = dashboard()?;
    let targets = panels(&dashboard).into_iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.filter_map(|target| target["expr"].as_str());
    expressions.map(filled).collect()
}

fn dashboard() -> Result<Value> {
    serde_json::from_str(&read(&format!("{CHART}/files/dashboard.json"))?).context("dashboard.json")
}

/// Rows are headings.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels.filter(|panel| panel["type"] != "row").collect()
}

fn filled(expression: &str) -> Result<String> {
    let filled =
        VARIABLES.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    ensure!(!filled.contains('$'), "a variable that the dashboard does not have: {expression}");
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_variable_is_found() {
        assert!(filled("rate(a{b=~\"$namespace\"}[$__rate_interval])").is_ok_and(|text| !text.contains('$')));
        assert!(filled("a{b=\"$cluster\"}").is_err());
    }
}
