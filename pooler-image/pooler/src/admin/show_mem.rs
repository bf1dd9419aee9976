//! `SHOW MEM`: what takes memory. The kinds of things have PgBouncer's names; `process` is all of it.

use std::fs;

use pgpooler_config::Document;

use super::table::{Cell, Column, Table, cell, int4, text};
use crate::report::{PoolReport, Report};

const COLUMNS: [Column; 5] = [text("name"), int4("size"), int4("used"), int4("free"), int4("memtotal")];

pub(super) fn table(report: &Report, document: &Document) -> Table {
    let (work, sizes) = (&report.work, &report.process.sizes);
    let sum = |count: fn(&PoolReport) -> u32| work.pools.iter().map(count).map(u64::from).sum::<u64>();
    let buffered = work.buffered_bytes;
    let things = [
        thing("pool_cache", sizes.pool, work.pools.len() as u64),
        thing("server_cache", sizes.server, sum(|pool| pool.servers.total())),
        thing("client_cache", sizes.client, sum(|pool| pool.clients.total())),
        row("iobuf_cache", [1, buffered, document.max_buffered_bytes.saturating_sub(buffered), buffered]),
    ];
    Table::new(COLUMNS).rows(things.into_iter().chain(process()))
}

/// Nothing is kept in store for things to come.
fn thing(name: &str, size: usize, used: u64) -> Vec<Cell> {
    row(name, [size as u64, used, 0, size as u64 * used])
}

/// The process's memory; nothing where the system does not tell.
fn process() -> Option<Vec<Cell>> {
    let kilobytes = resident(&fs::read_to_string("/proc/self/status").ok()?)?;
    Some(row("process", [1024, kilobytes, 0, kilobytes.saturating_mul(1024)]))
}

/// Kilobytes that are in memory (proc(5)).
fn resident(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// The columns are `int4`, as PgBouncer's, so what is larger shows as the largest.
fn row(name: &str, numbers: [u64; 4]) -> Vec<Cell> {
    let told = |number: u64| cell(i32::try_from(number).unwrap_or(i32::MAX));
    std::iter::once(cell(name)).chain(numbers.into_iter().map(told)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_in_memory_in_kilobytes() {
        assert_eq!(resident("Name:\tpgpooler\nVmHWM:\t    9 kB\nVmRSS:\t    1234 kB\n"), Some(1234));
        assert_eq!(resident("Name:\tpgpooler\n"), None);
    }

    #[test]
    fn no_number_is_larger_than_its_type() {
        let cells = row("process", [1024, u64::MAX, 0, 1 << 31]);
        assert_eq!(cells[2..], [cell(i32::MAX), cell(0), cell(i32::MAX)]);
    }
}
