//! `SHOW DNS_HOSTS` and `SHOW DNS_ZONES`: empty. Names are asked of the system whenever a connection is opened, and no
//! answer is kept.

use super::table::{Table, int4, int8, text};

/// `SHOW DNS_HOSTS`.
pub(super) fn hosts() -> Table {
    Table::new([text("hostname"), int8("ttl"), text("addrs")])
}

/// `SHOW DNS_ZONES`.
pub(super) fn zones() -> Table {
    Table::new([text("zonename"), int8("serial"), int4("count")])
}
