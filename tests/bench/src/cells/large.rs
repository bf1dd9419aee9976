//! Large results and COPY: 200 MB in rows of 100 bytes.

use anyhow::{Context as _, Result, ensure};

use super::{Notes, SERVERS, Security, World, cost};
use crate::{
    load::{Load, Request},
    peers::{Peer, Postgres, Started},
};

/// Bytes of a row's value; a line of COPY has its end besides.
const ROW: usize = 100;
/// Rows, and the same with `--quick`.
const ROWS: (usize, usize) = (2_000_000, 100_000);
const GIGABYTE: f64 = 1e9;

/// Makes the tables, once for a run.
pub(super) fn prepare(postgres: &Postgres, rows: usize) -> Result<()> {
    postgres.sql("CREATE UNLOGGED TABLE IF NOT EXISTS source (value text)")?;
    postgres.sql("CREATE UNLOGGED TABLE IF NOT EXISTS sink (value text)")?;
    let there = postgres.sql("SELECT count(*) FROM source")?;
    if there != [[rows.to_string()]] {
        postgres.sql("TRUNCATE source")?;
        postgres
            .sql(&format!("INSERT INTO source SELECT repeat('x', {ROW}) FROM generate_series(1, {rows})"))?;
        postgres.sql("VACUUM source")?;
    }
    Ok(())
}

/// SELECT, COPY out and COPY in by one client.
pub(super) fn visit(peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let rows = if world.pace.quick { ROWS.1 } else { ROWS.0 };
    prepare(&world.postgres, rows)?;
    let started = world.start(peer, SERVERS, Security::Plain)?;
    let mut load = world.load(&started, Security::Plain)?;
    load.log_in(1, 1)?;
    let with = (peer, &started);
    let select = Request::query("SELECT value FROM source", b"TDCZ", rows as u64);
    measure("SELECT", &[select], rows, with, &mut load, notes)?;
    let copy_out = Request::query("COPY source TO STDOUT", b"HdcCZ", rows as u64);
    measure("COPY out", &[copy_out], rows, with, &mut load, notes)?;
    world.postgres.sql("TRUNCATE sink")?;
    let line = format!("{}\n", "x".repeat(ROW));
    let copy_in = [Request::copy_in("sink"), Request::copy_lines(&line, rows)];
    measure("COPY in", &copy_in, rows, with, &mut load, notes)?;
    let arrived = world.postgres.sql("SELECT count(*) FROM sink")?;
    ensure!(arrived == [[rows.to_string()]], "COPY in has brought {arrived:?} rows of {rows}");
    world.postgres.sql("TRUNCATE sink")?;
    Ok(())
}

fn measure(
    cell: &str,
    requests: &[Request],
    rows: usize,
    (peer, started): (&Peer, &Started),
    load: &mut Load,
    notes: &mut Notes,
) -> Result<()> {
    let before = cost::used(peer, started)?;
    let mut seconds = 0.0;
    for request in requests {
        let tally = load.each(request).with_context(|| cell.to_owned())?;
        ensure!(tally.done() == 1, "{cell}: {}", tally.errors);
        seconds += tally.took.as_secs_f64();
    }
    let used = cost::used(peer, started)? - before;
    let bytes = (rows * ROW) as f64;
    notes.add(cell, 1, "cpu_s_per_gb", used.seconds() * GIGABYTE / bytes);
    notes.add(cell, 1, "mb_per_s", bytes / 1e6 / seconds);
    Ok(())
}
