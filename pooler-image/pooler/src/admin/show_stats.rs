//! `SHOW STATS`, `SHOW STATS_TOTALS` and `SHOW STATS_AVERAGES`: one row a database.

use super::statistics::{FIGURES, Figures, Totals};
use super::table::{Cell, Column, Table, cell, numeric, text};

/// Which of the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `SHOW STATS`
    All,
    /// `SHOW STATS_TOTALS`
    Totals,
    /// `SHOW STATS_AVERAGES`
    Averages,
}

const TOTALS: [&str; FIGURES] = [
    "total_server_assignment_count",
    "total_xact_count",
    "total_query_count",
    "total_received",
    "total_sent",
    "total_xact_time",
    "total_query_time",
    "total_wait_time",
    "total_client_parse_count",
    "total_server_parse_count",
    "total_bind_count",
];

const AVERAGES: [&str; FIGURES] = [
    "avg_server_assignment_count",
    "avg_xact_count",
    "avg_query_count",
    "avg_recv",
    "avg_sent",
    "avg_xact_time",
    "avg_query_time",
    "avg_wait_time",
    "avg_client_parse_count",
    "avg_server_parse_count",
    "avg_bind_count",
];

/// Of `STATS_TOTALS` and `STATS_AVERAGES`.
const PLAIN: [&str; FIGURES] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "bytes_received",
    "bytes_sent",
    "xact_time",
    "query_time",
    "wait_time",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
];

pub(super) fn table(part: Part, current: &Totals, averages: impl Fn(&str) -> Figures) -> Table {
    Table::new(columns(part)).rows(current.iter().map(|(database, totals)| {
        let averages = averages(database);
        let figures: Vec<&u64> = match part {
            Part::All => totals.iter().chain(&averages).collect(),
            Part::Totals => totals.iter().collect(),
            Part::Averages => averages.iter().collect(),
        };
        row(database, figures)
    }))
}

fn columns(part: Part) -> Vec<Column> {
    let names: Vec<&'static str> = match part {
        Part::All => TOTALS.into_iter().chain(AVERAGES).collect(),
        Part::Totals | Part::Averages => PLAIN.to_vec(),
    };
    std::iter::once(text("database")).chain(names.into_iter().map(numeric)).collect()
}

fn row(database: &str, figures: Vec<&u64>) -> Vec<Cell> {
    std::iter::once(cell(database)).chain(figures.into_iter().map(cell)).collect()
}
