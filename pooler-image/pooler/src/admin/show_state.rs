//! `SHOW STATE`: PgBouncer's rows, then ours. Until 1.25 it had `suspended` too.

use super::table::{Column, Table, cell, text};
use crate::report::{Phase, Report};

const COLUMNS: [Column; 2] = [text("key"), text("value")];

pub(super) fn table(report: &Report, config_hash: &str) -> Table {
    let process = &report.process;
    let draining = process.phase == Phase::Draining;
    let rows = [
        ("active", yes_no(!process.paused.all)),
        ("paused", yes_no(process.paused.all)),
        ("suspended", "no".to_owned()),
        ("draining", yes_no(draining)),
        ("config_hash", config_hash.to_owned()),
        ("server_connections_limit", process.ledger.limit.to_string()),
        ("server_connections_held", process.ledger.held.to_string()),
        ("server_connections_waiting", process.ledger.waiting.to_string()),
    ];
    Table::new(COLUMNS).rows(rows.into_iter().map(|(key, value)| vec![cell(key), cell(value)]))
}

fn yes_no(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}
