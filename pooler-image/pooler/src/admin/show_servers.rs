//! `SHOW SERVERS`: one row a server connection.

use super::sockets::{COLUMNS, address_cells, client_ref, server_ref, time_text};
use super::table::{Cell, Table, cell};
use crate::report::{Report, ServerReport};

pub(super) fn table(report: &Report) -> Table {
    Table::new(COLUMNS).rows(report.work.servers.iter().map(row))
}

fn row(server: &ServerReport) -> Vec<Cell> {
    let [addr, port, local_addr, local_port] = address_cells(&server.socket);
    vec![
        cell("S"),
        cell(&server.user),
        cell(&server.database),
        cell("none"),
        cell(server.state.word()),
        addr,
        port,
        local_addr,
        local_port,
        cell(time_text(server.socket.connected)),
        server.requested.map(time_text),
        cell(0),
        cell(0),
        cell(u8::from(server.close_needed)),
        cell(server_ref(server.id)),
        cell(server.link.map(client_ref).unwrap_or_default()),
        cell(server.backend_pid),
        cell(&server.socket.tls),
        cell(&server.application_name),
        cell(server.prepared_statements),
        cell(server.id),
        cell(server.pinned),
    ]
}
