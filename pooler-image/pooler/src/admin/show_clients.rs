//! `SHOW CLIENTS`: one row a client.

use super::sockets::{COLUMNS, address_cells, client_ref, server_ref, time_text};
use super::table::{Cell, Table, cell};
use crate::report::{ClientReport, Report};

pub(super) fn table(report: &Report) -> Table {
    Table::new(COLUMNS).rows(report.work.clients.iter().map(row))
}

fn row(client: &ClientReport) -> Vec<Cell> {
    let [addr, port, local_addr, local_port] = address_cells(&client.socket);
    vec![
        cell("C"),
        cell(&client.user),
        cell(&client.database),
        cell("none"),
        cell(client.state.word()),
        addr,
        port,
        local_addr,
        local_port,
        cell(time_text(client.socket.connected)),
        client.requested.map(time_text),
        cell(client.wait.as_secs()),
        cell(client.wait.subsec_micros()),
        cell(0),
        cell(client_ref(client.id)),
        cell(client.link.map(server_ref).unwrap_or_default()),
        cell(0),
        cell(&client.socket.tls),
        cell(&client.application_name),
        cell(client.prepared_statements),
        cell(client.id),
        cell(client.pinned),
    ]
}
