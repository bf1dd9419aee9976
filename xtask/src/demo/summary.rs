//! The table at the end, and whether the promises were kept.

use anyhow::{Result, bail};

use crate::{
    fleet::{Latency, Report},
    ui,
};

/// All loads.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// In the order of their running.
    pub(crate) rows: Vec<Row>,
}

/// One load on one path.
#[derive(Debug)]
pub(crate) struct Row {
    /// What the clients did.
    pub(crate) name: &'static str,
    /// Through the pooler, with this budget.
    pub(crate) pooled: Option<u64>,
    /// What the clients saw.
    pub(crate) report: Report,
    /// The most sessions of the application on the server.
    pub(crate) peak: u64,
}

impl Summary {
    /// The table.
    pub(crate) fn text(&self) -> String {
        let titles = [
            "load",
            "path",
            "clients",
            "errors",
            "login p50/p99 ms",
            "request p50/p99 ms",
            "server conns",
            "budget",
        ];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().map(Row::cells));
        format!("{}\n\n{}", ui::table(&rows), self.verdict_text())
    }

    /// An error if a promise was broken.
    pub(crate) fn verdict(&self) -> Result<()> {
        let broken = self.broken();
        if !broken.is_empty() {
            bail!("{}", broken.join("; "));
        }
        Ok(())
    }

    fn verdict_text(&self) -> String {
        let broken = self.broken();
        if broken.is_empty() {
            let refused = |row: &Row| row.pooled.is_none().then(|| row.report.failures_with("53300"));
            let refused: u64 = self.rows.iter().filter_map(refused).sum();
            ui::good(&format!(
                "Directly, {refused} logins were refused with SQLSTATE 53300, too many connections. Through pgpooler none \
                 failed, and its server connections stayed within the budget."
            ))
        } else {
            ui::bad(&format!("Broken: {}", broken.join("; ")))
        }
    }

    fn broken(&self) -> Vec<String> {
        self.rows
            .iter()
            .filter_map(|row| row.pooled.map(|budget| (row, budget)))
            .flat_map(|(row, budget)| row.broken(budget))
            .collect()
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let latency = |latency: &Latency| format!("{:.1} / {:.1}", latency.p50, latency.p99);
        vec![
            self.name.to_owned(),
            self.pooled.map_or("direct", |_| "pgpooler").to_owned(),
            self.report.clients.to_string(),
            self.report.failures().to_string(),
            latency(&self.report.logins),
            latency(&self.report.transactions),
            self.peak.to_string(),
            self.pooled.map(|budget| budget.to_string()).unwrap_or_default(),
        ]
    }

    fn broken(&self, budget: u64) -> Vec<String> {
        let mut broken = Vec::new();
        if self.report.failures() > 0 {
            broken.push(format!("{}: {} errors through pgpooler", self.name, self.report.failures()));
        }
        if self.report.transactions.count == 0 {
            broken.push(format!("{}: nothing was served through pgpooler", self.name));
        }
        if self.peak > budget {
            broken.push(format!("{}: {} server connections with a budget of {budget}", self.name, self.peak));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(pooled: Option<u64>, errors: u64, peak: u64) -> Row {
        let transactions = Latency { count: 1, ..Latency::default() };
        let errors = BTreeMap::from([("FATAL 53300".to_owned(), errors)]);
        let report =
            Report { clients: 1, moved: 0, seconds: 1.0, logins: Latency::default(), transactions, errors };
        Row { name: "load", pooled, report, peak }
    }

    #[test]
    fn errors_of_the_direct_path_break_no_promise() {
        assert!(Summary { rows: vec![row(None, 903, 97), row(Some(77), 0, 77)] }.verdict().is_ok());
    }

    #[test]
    fn an_error_or_a_connection_too_many_breaks_one() {
        assert!(Summary { rows: vec![row(Some(77), 1, 10)] }.verdict().is_err());
        assert!(Summary { rows: vec![row(Some(77), 0, 78)] }.verdict().is_err());
    }
}
