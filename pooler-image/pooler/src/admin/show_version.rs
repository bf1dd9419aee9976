//! `SHOW VERSION`.

use super::table::{Table, cell, text};

/// `server_version` of the console, in PgBouncer's form: its own version, and whose it is.
pub(super) const SERVER_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/pgpooler");

pub(super) fn table() -> Table {
    Table::new([text("version")]).rows([vec![cell(concat!("pgpooler ", env!("CARGO_PKG_VERSION")))]])
}
