//! `SHOW LISTS`: how many there are of everything.

use super::table::{Column, Table, cell, int4, text};
use super::{show_databases, show_users};
use crate::reload::Loaded;
use crate::report::Report;

const COLUMNS: [Column; 2] = [text("list"), int4("items")];

pub(super) fn table(report: &Report, settings: &Loaded) -> Table {
    let work = &report.work;
    let clients: u32 = work.pools.iter().map(|pool| pool.clients.total()).sum();
    let servers: u32 = work.pools.iter().map(|pool| pool.servers.total()).sum();
    let rows = [
        ("databases", show_databases::names(report, &settings.document).len()),
        ("users", show_users::names(report, settings).len()),
        ("peers", settings.document.peers.len()),
        ("pools", work.pools.len()),
        ("peer_pools", report.process.peer_pools.len()),
        ("free_clients", 0),
        ("used_clients", (clients + work.login_clients) as usize),
        ("login_clients", work.login_clients as usize),
        ("free_servers", 0),
        ("used_servers", servers as usize),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    Table::new(COLUMNS).rows(rows.into_iter().map(|(list, items)| vec![cell(list), cell(items)]))
}
