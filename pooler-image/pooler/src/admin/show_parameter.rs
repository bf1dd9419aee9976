//! `SHOW` and `SET` of parameters that drivers use without being asked to; PgBouncer's console fakes them too.

use super::table::{Table, cell, text};

/// A parameter with the value that the console has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    name: &'static str,
    value: &'static str,
}

const READABLE: [Parameter; 6] = [
    Parameter { name: "client_encoding", value: "UTF8" },
    Parameter { name: "datestyle", value: "ISO" },
    Parameter { name: "default_transaction_isolation", value: "read committed" },
    Parameter { name: "server_version", value: super::show_version::SERVER_VERSION },
    Parameter { name: "standard_conforming_strings", value: "on" },
    Parameter { name: "timezone", value: "GMT" },
];

const IGNORED: [&str; 5] = [
    "application_name",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "search_path",
    "statement_timeout",
];

impl Parameter {
    /// The parameter of that lower-case name.
    pub fn named(name: &str) -> Option<Self> {
        READABLE.into_iter().find(|parameter| parameter.name == name)
    }

    /// Whether drivers are known to set it.
    pub fn drivers_set(name: &str) -> bool {
        Self::named(name).is_some() || IGNORED.contains(&name)
    }
}

pub(super) fn table(parameter: Parameter) -> Table {
    Table::new([text(parameter.name)]).rows([vec![cell(parameter.value)]])
}
