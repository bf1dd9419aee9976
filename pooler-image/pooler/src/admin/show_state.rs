//! `SHOW STATE`: PgBouncer's rows, then ours. Until 1.25 it had `suspended` too.

use pgpooler_config::Place;

use super::table::{Column, Table, cell, text};
use crate::report::{Phase, ProcessReport, Report};

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
    let rows = rows.into_iter().chain(server(process));
    Table::new(COLUMNS).rows(rows.map(|(key, value)| vec![cell(key), cell(value)]))
}

/// Which server there is, and what becomes of clients while there is none.
fn server(process: &ProcessReport) -> [(&'static str, String); 7] {
    let server = &process.server;
    let absence = server.absence.as_ref();
    let hold = match absence {
        None => "no",
        Some(absence) if absence.refuses => "refusing",
        Some(_) => "holding",
    };
    let host = server.host.as_ref().map(|(host, port)| Place { host: host.clone(), port: Some(*port) });
    let clients = absence.map_or(0, |_| process.ledger.waiting);
    [
        ("server_host", told(host)),
        ("server_address", told(server.address)),
        ("server_role", told(server.role)),
        ("hold", hold.to_owned()),
        ("hold_seconds", absence.map_or(0, |absence| absence.away.as_secs()).to_string()),
        ("hold_clients", clients.to_string()),
        ("hold_reason", absence.map(|absence| absence.why.clone()).unwrap_or_default()),
    ]
}

fn told(what: Option<impl ToString>) -> String {
    what.map(|what| what.to_string()).unwrap_or_default()
}

fn yes_no(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}
