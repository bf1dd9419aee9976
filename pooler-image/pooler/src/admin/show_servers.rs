//! `SHOW SERVERS`: one row a server connection.

use super::sockets::{COLUMNS, server_cells};
use super::table::Table;
use crate::report::Report;

pub(super) fn table(report: &Report) -> Table {
    Table::new(COLUMNS)
        .rows(report.work.servers.iter().map(|server| server_cells(server, server.state.word())))
}
