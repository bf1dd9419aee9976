//! `SHOW DRAIN`: whose clients have left, and how, and whose are still there.

use std::collections::BTreeMap;

use pgpooler_core::drain::{Application, Way};

use super::table::{Column, Table, cell, int4, int8, text};
use crate::report::Report;

const COLUMNS: [Column; 9] = [
    text("application_name"),
    text("database"),
    text("user"),
    int4("clients"),
    int8(Way::LivenessTest.as_str()),
    int8(Way::Silence.as_str()),
    int8(Way::Deadline.as_str()),
    int8(Way::Cancelled.as_str()),
    int8(Way::Own.as_str()),
];

pub(super) fn table(report: &Report) -> Table {
    let mut rows: BTreeMap<Application, (u32, [u64; Way::ALL.len()])> = BTreeMap::new();
    for (application, counts) in report.process.drain.departures.iter() {
        rows.insert(application.clone(), (0, *counts));
    }
    for client in &report.work.clients {
        let application = Application {
            name: client.application_name.clone(),
            database: client.database.clone(),
            user: client.user.clone(),
        };
        rows.entry(application).or_default().0 += 1;
    }
    Table::new(COLUMNS).rows(rows.into_iter().map(|(application, (clients, counts))| {
        let Application { name, database, user } = application;
        let who = [cell(name), cell(database), cell(user), cell(clients)];
        who.into_iter().chain(counts.map(cell)).collect()
    }))
}
