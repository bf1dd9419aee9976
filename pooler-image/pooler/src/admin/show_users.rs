//! `SHOW USERS`: one row a user of the user list.

use std::collections::{BTreeMap, BTreeSet};

use super::CONSOLE;
use super::table::{Cell, Column, Table, cell, int4, text};
use crate::reload::Loaded;
use crate::report::Report;

const COLUMNS: [Column; 8] = [
    text("name"),
    text("pool_size"),
    text("reserve_pool_size"),
    text("pool_mode"),
    int4("max_user_connections"),
    int4("current_connections"),
    int4("max_user_client_connections"),
    int4("current_client_connections"),
];

/// Names of the users that are known: a user who was taken off the list may still be connected.
pub(super) fn names(report: &Report, settings: &Loaded) -> BTreeSet<String> {
    let listed = settings.userlist.iter().map(|(name, _)| name.to_owned());
    listed.chain(report.work.pools.iter().map(|pool| pool.user.clone())).collect()
}

/// `on_console`: sessions there, by user.
pub(super) fn table(report: &Report, settings: &Loaded, on_console: &BTreeMap<String, u32>) -> Table {
    Table::new(COLUMNS).rows(names(report, settings).into_iter().map(|name| {
        let sessions = on_console.get(&name).copied().unwrap_or_default();
        row(&name, report, sessions)
    }))
}

fn row(name: &str, report: &Report, sessions: u32) -> Vec<Cell> {
    // the console's own pool counts every session there once more
    let pools = || report.work.pools.iter().filter(|pool| pool.user == name && pool.database != CONSOLE);
    let servers: u32 = pools().map(|pool| pool.servers.total()).sum();
    let clients: u32 = pools().map(|pool| pool.clients.total()).sum();
    // no limits by user: empty and zero, as PgBouncer shows what is not set
    vec![cell(name), cell(""), cell(""), None, cell(0), cell(servers), cell(0), cell(clients + sessions)]
}
