//! `SHOW SOCKETS` and `SHOW ACTIVE_SOCKETS`: one row a client or server connection.

use super::sockets::{COLUMNS, client_cells, server_cells};
use super::table::{Cell, Column, Table, cell, int4, text};
use crate::report::{ClientState, Report, ServerState};

/// Places in PgBouncer's buffers. Here a connection that has nothing under way has no buffer, and the others' are no
/// packet buffers, so all are 0; `SHOW MEM` tells what is held.
const PLACES: [Column; 7] = [
    int4("recv_pos"),
    int4("pkt_pos"),
    int4("pkt_remain"),
    int4("send_pos"),
    int4("send_remain"),
    int4("pkt_avail"),
    int4("send_avail"),
];

/// The columns that each of the three tables has before its own.
const COMMON: usize = COLUMNS.len() - 1;

/// Which connections are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `SHOW SOCKETS`
    All,
    /// `SHOW ACTIVE_SOCKETS`: those with something under way.
    Active,
}

pub(super) fn table(report: &Report, which: Which) -> Table {
    let work = &report.work;
    let clients =
        work.clients.iter().filter(|client| which == Which::All || client.state == ClientState::Active);
    let servers =
        work.servers.iter().filter(|server| which == Which::All || server.state == ServerState::Active);
    let columns: Vec<Column> =
        COLUMNS.into_iter().take(COMMON).chain(PLACES).chain([text("pinned")]).collect();
    Table::new(columns)
        .rows(clients.map(|client| row(client_cells(client, client.state.socket_word()))))
        .rows(servers.map(|server| row(server_cells(server, server.state.socket_word()))))
}

fn row(mut cells: Vec<Cell>) -> Vec<Cell> {
    let pinned = cells.split_off(COMMON);
    cells.extend(PLACES.iter().map(|_| cell(0)));
    cells.extend(pinned);
    cells
}
