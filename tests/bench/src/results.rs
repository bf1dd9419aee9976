//! Everything that was measured, as flat series: all tables, plots and bars are views of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats;

/// The peer that ratios are to.
pub(crate) const BASE: &str = "pgbouncer";
/// PostgreSQL itself, which is no pooler.
pub(crate) const DIRECT: &str = "direct";
/// The least that a pool can cost, which is no pooler either.
pub(crate) const FLOOR: &str = "floor";

/// One figure of one peer in every round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// What was done.
    pub(crate) cell: String,
    /// By how many clients.
    pub(crate) clients: usize,
    /// What was measured.
    pub(crate) metric: String,
    /// With which peer.
    pub(crate) peer: String,
    /// The figures by round, from 1.
    pub(crate) rounds: BTreeMap<usize, f64>,
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
    /// Those of them that are builds of pgpooler; the first is the one that bars are about.
    pub(crate) ours: Vec<String>,
    /// What went wrong.
    pub(crate) failures: Vec<Failure>,
    /// The figures.
    pub(crate) series: Vec<Series>,
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
    /// Takes down a figure.
    pub(crate) fn add(&mut self, row: Row<'_>, peer: &str, round: usize, value: f64) {
        let value = stats::rounded(value);
        let known = self.series.iter_mut().find(|series| series.row() == row && series.peer == peer);
        if let Some(series) = known {
            series.rounds.insert(round, value);
            return;
        }
        let [cell, metric, peer] = [row.cell, row.metric, peer].map(str::to_owned);
        let rounds = BTreeMap::from([(round, value)]);
        self.series.push(Series { cell, clients: row.clients, metric, peer, rounds });
    }

    /// The rows, in the order in which they were first measured.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for row in self.series.iter().map(Series::row) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }

    /// The figures of a peer, by round; none if it was not measured.
    pub(crate) fn rounds(&self, row: Row<'_>, peer: &str) -> Option<&BTreeMap<usize, f64>> {
        let series = self.series.iter().find(|series| series.row() == row && series.peer == peer)?;
        Some(&series.rounds)
    }

    /// What the rounds say of a peer.
    pub(crate) fn summary(&self, row: Row<'_>, peer: &str) -> Option<Summary> {
        let rounds = self.rounds(row, peer)?;
        let figures = || rounds.values().copied();
        let ratios = self.rounds(row, BASE).map(|base| stats::ratios(rounds, base));
        Some(Summary {
            lowest: stats::lowest(figures())?,
            median: stats::median(figures())?,
            highest: stats::highest(figures())?,
            ratio: stats::median(ratios.unwrap_or_default()),
        })
    }
}

impl Series {
    fn row(&self) -> Row<'_> {
        Row { cell: &self.cell, clients: self.clients, metric: &self.metric }
    }
}

impl Summary {
    /// Of a rate the highest, of a cost the lowest: other work on the machine only ever makes either worse.
    pub(crate) fn best(&self, metric: &str) -> f64 {
        if is_rate(metric) { self.highest } else { self.lowest }
    }
}

/// Whether more is better.
fn is_rate(metric: &str) -> bool {
    metric == "tps" || metric.ends_with("_per_s")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row<'_> = Row { cell: "simple", clients: 64, metric: "cpu_us" };

    #[test]
    fn a_summary_compares_rounds_with_themselves() {
        let mut results = Results::default();
        let figures = [(BASE, 1, 20.0), ("pgpooler", 1, 10.0), (BASE, 2, 30.0), ("pgpooler", 2, 24.0)];
        for (peer, round, value) in figures.into_iter().chain([("pgpooler", 3, 9.0)]) {
            results.add(ROW, peer, round, value);
        }
        assert_eq!(results.rows(), [ROW]);
        let summary = results.summary(ROW, "pgpooler").unwrap();
        assert_eq!((summary.lowest, summary.median, summary.highest), (9.0, 10.0, 24.0));
        assert!((summary.ratio.unwrap() - 0.65).abs() < 1e-9);
        assert_eq!(results.summary(ROW, "odyssey"), None);
    }

    #[test]
    fn the_best_of_a_rate_is_its_highest_and_of_a_cost_its_lowest() {
        let summary = Summary { lowest: 1.0, median: 2.0, highest: 3.0, ratio: None };
        let best = ["tps", "mb_per_s", "cpu_us", "p99_us"].map(|metric| Some(summary.best(metric)));
        assert_eq!(best, [Some(3.0), Some(3.0), Some(1.0), Some(1.0)]);
    }
}
