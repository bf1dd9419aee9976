//! Everything that was measured, as flat records: all tables, plots and bars are views of them.

use serde::{Deserialize, Serialize};

use crate::stats;

/// The peer that ratios are to.
pub(crate) const BASE: &str = "pgbouncer";

/// One figure of one peer in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What was done.
    pub(crate) cell: String,
    /// By how many clients.
    pub(crate) clients: usize,
    /// What was measured.
    pub(crate) metric: String,
    /// With which peer.
    pub(crate) peer: String,
    /// In which round, from 1.
    pub(crate) round: usize,
    /// The figure.
    pub(crate) value: f64,
}

/// A visit that did not come to its end, or that saw errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What was done, by how many clients.
    pub(crate) cell: String,
    /// With which peer.
    pub(crate) peer: String,
    /// In which round.
    pub(crate) round: usize,
    /// What went wrong.
    pub(crate) error: String,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Names of the peers, in the order of reports.
    pub(crate) peers: Vec<String>,
    /// The figures.
    pub(crate) records: Vec<Record>,
    /// What went wrong.
    pub(crate) failures: Vec<Failure>,
}

/// One row of a table: a metric of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// What was done.
    pub(crate) cell: &'a str,
    /// By how many clients.
    pub(crate) clients: usize,
    /// What was measured.
    pub(crate) metric: &'a str,
}

/// What the rounds say of one peer in one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The lowest figure.
    pub(crate) lowest: f64,
    /// The median figure.
    pub(crate) median: f64,
    /// The highest figure.
    pub(crate) highest: f64,
    /// The median of the ratios to [`BASE`] in the same round.
    pub(crate) ratio: Option<f64>,
}

impl Results {
    /// The rows, in the order in which they were first measured.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for Record { cell, clients, metric, .. } in &self.records {
            let row = Row { cell, clients: *clients, metric };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }

    /// The figures of a peer, by round.
    pub(crate) fn values(&self, row: Row<'_>, peer: &str) -> Vec<(usize, f64)> {
        let fits = |record: &&Record| {
            record.cell == row.cell
                && record.clients == row.clients
                && record.metric == row.metric
                && record.peer == peer
        };
        self.records.iter().filter(fits).map(|record| (record.round, record.value)).collect()
    }

    /// What the rounds say of a peer.
    pub(crate) fn summary(&self, row: Row<'_>, peer: &str) -> Option<Summary> {
        let rounds = self.values(row, peer);
        let figures = || rounds.iter().map(|(_, value)| *value);
        Some(Summary {
            lowest: stats::lowest(figures())?,
            median: stats::median(figures())?,
            highest: stats::highest(figures())?,
            ratio: stats::median(stats::ratios(&rounds, &self.values(row, BASE))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(peer: &str, round: usize, value: f64) -> Record {
        let [cell, metric, peer] = ["simple", "cpu_us", peer].map(str::to_owned);
        Record { cell, clients: 64, metric, peer, round, value }
    }

    #[test]
    fn a_summary_compares_rounds_with_themselves() {
        let records = vec![
            record(BASE, 1, 20.0),
            record("pgpooler", 1, 10.0),
            record(BASE, 2, 30.0),
            record("pgpooler", 2, 24.0),
            record("pgpooler", 3, 9.0),
        ];
        let results = Results { records, ..Results::default() };
        let row = Row { cell: "simple", clients: 64, metric: "cpu_us" };
        assert_eq!(results.rows(), [row]);
        let summary = results.summary(row, "pgpooler").unwrap();
        assert_eq!((summary.lowest, summary.median, summary.highest), (9.0, 10.0, 24.0));
        assert!((summary.ratio.unwrap() - 0.65).abs() < 1e-9);
        assert_eq!(results.summary(row, "odyssey"), None);
    }
}
