//! `SHOW CLIENTS`: one row a client, those on the console included.

use super::sockets::{COLUMNS, client_cells};
use super::table::Table;
use crate::report::Report;

pub(super) fn table(report: &Report) -> Table {
    Table::new(COLUMNS)
        .rows(report.work.clients.iter().map(|client| client_cells(client, client.state.word())))
}
