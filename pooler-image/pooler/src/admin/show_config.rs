//! `SHOW CONFIG`: one row a setting.
//!
//! What tools look for and cannot be set here is shown as what it always is.

use pgpooler_config::Document;

use super::table::{Column, Table, cell, text};
use crate::settings::{self, Setting};

const COLUMNS: [Column; 4] = [text("key"), text("value"), text("default"), text("changeable")];

/// Settings of PgBouncer's that are not settings here: no limits by user or database but those of `[[pools]]`, errors
/// that clients are sent are counted, and logged where they say something of the pooler.
const FIXED: [(&str, &str); 3] =
    [("log_pooler_errors", "0"), ("max_db_connections", "0"), ("max_user_connections", "0")];

pub(super) fn table(document: &Document) -> Table {
    let mut listed = settings::list(document);
    for (key, value) in FIXED {
        if !listed.iter().any(|setting| setting.key == key) {
            listed.push(fixed(key, value));
        }
    }
    listed.sort_by(|one, two| one.key.cmp(&two.key));
    Table::new(COLUMNS).rows(listed.into_iter().map(|setting| {
        let changeable = if setting.changeable { "yes" } else { "no" };
        vec![cell(setting.key), cell(setting.value), cell(setting.default), cell(changeable)]
    }))
}

fn fixed(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: value.to_owned(), default: value.to_owned(), changeable: false }
}
