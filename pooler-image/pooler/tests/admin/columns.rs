//! Columns and their types are PgBouncer 1.26's, in its order, so that what reads PgBouncer reads this. Ours are behind them.

use pgpooler::admin::Access;
use pgpooler_core::budget::Report;
use tokio::io::AsyncWriteExt;

use crate::protocol::{Wire, query};

/// Recorded from a running PgBouncer.
const PGBOUNCER: &str = include_str!("pgbouncer-1.26.1.txt");

/// Columns that only this console has, by table.
const OURS: [(&str, &[&str]); 6] = [
    ("clients", &["pinned/text"]),
    ("servers", &["pinned/text"]),
    ("sockets", &["pinned/text"]),
    ("active_sockets", &["pinned/text"]),
    ("stats", &["total_requests/numeric"]),
    ("databases", &["reserve_pool/int4"]),
];

/// What is written behind a label in what was recorded.
fn recorded(label: &str) -> Option<Vec<&'static str>> {
    let line = PGBOUNCER.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(": "))?;
    Some(line.split(' ').collect())
}

/// The tables that were recorded.
fn tables() -> impl Iterator<Item = &'static str> {
    let labels = PGBOUNCER.lines().filter_map(|line| line.split_once(": ")).map(|(label, _)| label);
    labels.filter(|label| !label.contains(' '))
}

/// Columns as `name/type`, and the first cell of each row.
async fn shown(command: &str) -> (Vec<String>, Vec<String>) {
    let mut wire = Wire::open(Access::Stats).await;
    wire.stream.write_all(&query(command)).await.unwrap();
    let (tag, body) = wire.message().await;
    assert_eq!(tag, b'T', "{command}");
    let columns = described(&body);
    let mut rows = Vec::new();
    loop {
        let (tag, body) = wire.message().await;
        if tag != b'D' {
            return (columns, rows);
        }
        assert_eq!(usize::from(u16::from_be_bytes([body[0], body[1]])), columns.len(), "{command}");
        let length = i32::from_be_bytes(body[2..6].try_into().unwrap()).max(0) as usize;
        rows.push(String::from_utf8(body[6..6 + length].to_vec()).unwrap());
    }
}

fn described(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let kind = match u32::from_be_bytes(rest[end + 7..end + 11].try_into().unwrap()) {
            25 => "text",
            23 => "int4",
            20 => "int8",
            1700 => "numeric",
            other => panic!("type {other}"),
        };
        columns.push(format!("{}/{kind}", str::from_utf8(&rest[..end]).unwrap()));
        rest = &rest[end + 19..];
    }
    assert_eq!(columns.len(), usize::from(u16::from_be_bytes([body[0], body[1]])));
    columns
}

#[tokio::test]
async fn every_table_has_the_columns_of_pgbouncer_and_ours_behind_them() {
    assert_eq!(tables().count(), 20);
    for table in tables() {
        let ours = OURS.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, columns)| columns);
        let mut expected = recorded(table).unwrap();
        expected.extend(ours);
        assert_eq!(shown(&format!("SHOW {table}")).await.0, expected, "SHOW {table}");
    }
}

#[tokio::test]
async fn tables_of_one_row_a_figure_begin_with_the_rows_of_pgbouncer() {
    for table in ["totals", "lists", "state"] {
        let expected = recorded(&format!("rows of {table}")).unwrap();
        let rows = shown(&format!("SHOW {table}")).await.1;
        assert_eq!(rows[..expected.len()], expected, "SHOW {table}");
    }
}

#[tokio::test]
async fn show_budget_has_the_columns_that_an_operator_reads() {
    let columns = shown("SHOW BUDGET").await.0;
    let (names, types): (Vec<_>, Vec<_>) =
        columns.iter().map(|column| column.split_once('/').unwrap()).unzip();
    assert_eq!(names, Report::COLUMNS);
    let expected = "text int8 int8 int8 int8 text int4 int4 int4 int4 int4 int8 int4 int4 int4";
    assert_eq!(types.join(" "), expected);
}
