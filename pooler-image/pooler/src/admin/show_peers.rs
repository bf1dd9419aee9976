//! `SHOW PEERS` and `SHOW PEER_POOLS`: other processes that cancel requests are passed on to.

use pgpooler_config::Document;

use super::table::{Column, Table, cell, int4, text};
use crate::report::Report;

const PEERS: [Column; 4] = [int4("peer_id"), text("host"), int4("port"), int4("pool_size")];

const PEER_POOLS: [Column; 5] = [
    int4("peer_id"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active_cancel"),
    int4("sv_login"),
];

/// `SHOW PEERS`: one row a peer of the document; for `peers_dns` one row with the name, since its addresses come and go.
pub(super) fn peers(document: &Document) -> Table {
    let listed = document.peers.iter().map(|peer| (Some(peer.peer_id), peer.host.as_str(), peer.port));
    let named = document.peers_name().map(|(host, port)| (None, host, port));
    // requests have no limit by peer: NULL, as PgBouncer shows what is not set
    let row =
        |(id, host, port): (Option<u16>, &str, u16)| vec![id.and_then(cell), cell(host), cell(port), None];
    Table::new(PEERS).rows(named.into_iter().chain(listed).map(row))
}

/// `SHOW PEER_POOLS`: one row a peer that a request was passed on to. Each request has a connection of its own, which it
/// asks for nothing but that, so those that log in are never seen.
pub(super) fn pools(report: &Report) -> Table {
    Table::new(PEER_POOLS).rows(report.process.peer_pools.iter().map(|pool| {
        vec![pool.peer_id.and_then(cell), cell(pool.active), cell(pool.waiting), cell(pool.active), cell(0)]
    }))
}
