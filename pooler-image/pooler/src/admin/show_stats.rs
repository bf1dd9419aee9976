//! `SHOW STATS`, `SHOW STATS_TOTALS` and `SHOW STATS_AVERAGES`: one row a database. `SHOW TOTALS`: one row a figure.

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
    "total_client_login_count",
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
    "avg_client_login_count",
];

/// Of `STATS_TOTALS`.
const PLAIN_TOTALS: [&str; FIGURES] = [
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
    "client_login_count",
];

/// Of `STATS_AVERAGES`: the last ones have a prefix in PgBouncer too.
const PLAIN_AVERAGES: [&str; FIGURES] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "bytes_received",
    "bytes_sent",
    "xact_time",
    "query_time",
    "wait_time",
    "avg_client_parse_count",
    "avg_server_parse_count",
    "avg_bind_count",
    "avg_client_login_count",
];

/// In `SHOW TOTALS`, behind `total_` and `avg_`.
const OVERALL: [&str; FIGURES] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

/// `total_query_count` under the name that it had before PgBouncer 1.8, which older exporters ask for.
const REQUESTS: &str = "total_requests";

/// The place of `total_query_count`.
const QUERIES: usize = 2;

pub(super) fn table(part: Part, current: &Totals, averages: impl Fn(&str) -> Figures) -> Table {
    Table::new(columns(part)).rows(current.iter().map(|(database, totals)| {
        let averages = averages(database);
        let figures: Vec<&u64> = match part {
            Part::All => totals.iter().chain(&averages).chain(totals.get(QUERIES)).collect(),
            Part::Totals => totals.iter().collect(),
            Part::Averages => averages.iter().collect(),
        };
        row(database, figures)
    }))
}

/// `SHOW TOTALS`.
pub(super) fn overall(totals: &Figures, averages: &Figures) -> Table {
    let rows = [("total", totals), ("avg", averages)].into_iter().flat_map(|(prefix, figures)| {
        OVERALL
            .iter()
            .zip(figures)
            .map(move |(name, figure)| vec![cell(format!("{prefix}_{name}")), cell(figure)])
    });
    Table::new([text("name"), numeric("value")]).rows(rows)
}

fn columns(part: Part) -> Vec<Column> {
    let names: Vec<&'static str> = match part {
        Part::All => TOTALS.into_iter().chain(AVERAGES).chain([REQUESTS]).collect(),
        Part::Totals => PLAIN_TOTALS.to_vec(),
        Part::Averages => PLAIN_AVERAGES.to_vec(),
    };
    std::iter::once(text("database")).chain(names.into_iter().map(numeric)).collect()
}

fn row(database: &str, figures: Vec<&u64>) -> Vec<Cell> {
    std::iter::once(cell(database)).chain(figures.into_iter().map(cell)).collect()
}
