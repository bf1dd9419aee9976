//! `SHOW POOLS`: one row a (database, user) pair, and one for the console.

use super::CONSOLE;
use super::sockets::mode_word;
use super::table::{Cell, Column, Table, cell, int4, text};
use crate::report::{PoolReport, Report};

const COLUMNS: [Column; 17] = [
    text("database"),
    text("user"),
    int4("cl_active"),
    int4("cl_waiting"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active"),
    int4("sv_active_cancel"),
    int4("sv_being_canceled"),
    int4("sv_idle"),
    int4("sv_used"),
    int4("sv_tested"),
    int4("sv_login"),
    int4("maxwait"),
    int4("maxwait_us"),
    text("pool_mode"),
    text("load_balance_hosts"),
];

pub(super) fn table(report: &Report) -> Table {
    Table::new(COLUMNS).rows(report.work.pools.iter().map(row))
}

fn row(pool: &PoolReport) -> Vec<Cell> {
    let (clients, servers) = (&pool.clients, &pool.servers);
    vec![
        cell(&pool.database),
        cell(&pool.user),
        // PgBouncer's cl_active counts the idle ones too
        cell(clients.active + clients.idle),
        cell(clients.waiting),
        cell(clients.active_cancel),
        cell(clients.waiting_cancel),
        cell(servers.active),
        cell(servers.active_cancel),
        cell(servers.being_canceled),
        cell(servers.idle),
        cell(servers.used),
        cell(servers.tested),
        cell(servers.login),
        cell(pool.max_wait.as_secs()),
        cell(pool.max_wait.subsec_micros()),
        cell(if pool.database == CONSOLE { "statement" } else { mode_word(pool.pool_mode) }),
        None,
    ]
}
