//! `SHOW CONFIG`: one row a setting.

use pgpooler_config::Document;

use super::table::{Column, Table, cell, text};
use crate::settings;

const COLUMNS: [Column; 4] = [text("key"), text("value"), text("default"), text("changeable")];

pub(super) fn table(document: &Document) -> Table {
    Table::new(COLUMNS).rows(settings::list(document).into_iter().map(|setting| {
        let changeable = if setting.changeable { "yes" } else { "no" };
        vec![cell(setting.key), cell(setting.value), cell(setting.default), cell(changeable)]
    }))
}
