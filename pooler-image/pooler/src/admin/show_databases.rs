//! `SHOW DATABASES`: one row a database that has a pool or a rule of its own. Any other name works as well: databases
//! need no entry.

use std::collections::{BTreeMap, BTreeSet};

use pgpooler_config::{ANY, Document, PoolRule};

use super::CONSOLE;
use super::sockets::mode_word;
use super::table::{Cell, Column, Table, cell, int4, text};
use crate::report::{ProcessReport, Report};

const COLUMNS: [Column; 18] = [
    text("name"),
    text("host"),
    int4("port"),
    text("database"),
    text("force_user"),
    int4("pool_size"),
    int4("min_pool_size"),
    int4("reserve_pool_size"),
    int4("server_lifetime"),
    text("pool_mode"),
    text("load_balance_hosts"),
    int4("max_connections"),
    int4("current_connections"),
    int4("max_client_connections"),
    int4("current_client_connections"),
    int4("paused"),
    int4("disabled"),
    // `reserve_pool_size` under the name that earlier versions gave it, which older exporters ask for
    int4("reserve_pool"),
];

#[derive(Clone, Copy, Default)]
struct Connections {
    clients: u32,
    servers: u32,
}

/// Names of the databases that are known.
pub(super) fn names(report: &Report, document: &Document) -> BTreeSet<String> {
    let pools = report.work.pools.iter().map(|pool| pool.database.clone());
    let rules = document.pools.iter().map(|rule| rule.database.clone()).filter(|name| name != ANY);
    let ProcessReport { paused, disabled, .. } = &report.process;
    pools.chain(rules).chain(paused.databases.iter().chain(disabled).cloned()).collect()
}

pub(super) fn table(report: &Report, document: &Document) -> Table {
    let connections = connections(report);
    Table::new(COLUMNS).rows(names(report, document).into_iter().map(|name| {
        let counted = connections.get(name.as_str()).copied().unwrap_or_default();
        if name == CONSOLE { console(counted, document) } else { row(&name, counted, report, document) }
    }))
}

fn connections(report: &Report) -> BTreeMap<&str, Connections> {
    let mut sums = BTreeMap::<&str, Connections>::new();
    for pool in &report.work.pools {
        let sum = sums.entry(&pool.database).or_default();
        sum.clients += pool.clients.total();
        sum.servers += pool.servers.total();
    }
    sums
}

fn row(name: &str, counted: Connections, report: &Report, document: &Document) -> Vec<Cell> {
    let rule = rule_of(name, document);
    let limit = document.max_server_connections;
    // the one in use, or the one that would be tried first
    let in_use = report.process.server.host.as_ref().map(|(host, port)| (host.as_str(), *port));
    let host = in_use.or_else(|| document.target.places().next());
    vec![
        cell(name),
        host.map(|(host, _)| host.to_owned()),
        host.and_then(|(_, port)| cell(port)),
        cell(name),
        None,
        cell(rule.and_then(|rule| rule.pool_size).unwrap_or(limit)),
        cell(rule.and_then(|rule| rule.min_pool_size).unwrap_or(document.min_pool_size)),
        cell(0),
        cell(document.server_lifetime.as_duration().as_secs()),
        rule.and_then(|rule| rule.pool_mode).map(|mode| mode_word(mode).to_owned()),
        None,
        cell(limit),
        cell(counted.servers),
        cell(document.max_client_conn),
        cell(counted.clients),
        cell(u8::from(report.process.paused.covers(name))),
        cell(u8::from(report.process.disabled.contains(name))),
        cell(0),
    ]
}

/// The console, which has no server behind it.
fn console(counted: Connections, document: &Document) -> Vec<Cell> {
    vec![
        cell(CONSOLE),
        None,
        cell(document.listen_port),
        cell(CONSOLE),
        cell(CONSOLE),
        cell(0),
        cell(0),
        cell(0),
        cell(0),
        cell("statement"),
        None,
        cell(0),
        cell(0),
        cell(0),
        cell(counted.clients),
        cell(0),
        cell(0),
        cell(0),
    ]
}

/// The first rule for every user of the database; rules for some users show in `SHOW POOLS`.
fn rule_of<'a>(name: &str, document: &'a Document) -> Option<&'a PoolRule> {
    let for_all = |rule: &&PoolRule| rule.users.iter().any(|user| user == ANY);
    document.pools.iter().filter(for_all).find(|rule| rule.database == ANY || rule.database == name)
}
