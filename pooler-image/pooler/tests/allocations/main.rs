//! A transaction allocates nothing.
//!
//! The pooler runs inside of the test, whose allocator counts; the load is pgbench, another process. A binary of its
//! own with one test: whatever else runs in the process would be counted too.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, which clippy does not recognise as such

use std::alloc::System;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use pgpooler::reload::Source;
use pgpooler_test_support::{Postgres, PostgresOptions, Programs, RawClient, free_port};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// More than there are servers: some wait.
const CLIENTS: u64 = 8;
const SERVERS: u32 = 3;
const TRANSACTIONS: u64 = 500;

/// The bar is none in steady state; this is for the timers, which go on meanwhile.
const MOST_PER_TRANSACTION: f64 = 0.01;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_transaction_allocates_nothing_by_any_protocol() {
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = start(&server, &folder);
    for protocol in ["simple", "extended", "prepared"] {
        run(port, folder.path(), protocol, TRANSACTIONS);
        let once = allocations(|| run(port, folder.path(), protocol, TRANSACTIONS));
        let twice = allocations(|| run(port, folder.path(), protocol, 2 * TRANSACTIONS));
        // both have the same logins in them
        let each = (twice as f64 - once as f64) / (CLIENTS * TRANSACTIONS) as f64;
        assert!(each <= MOST_PER_TRANSACTION, "{protocol}: {each} allocations in a transaction");
    }
}

/// Allocations of all threads of this process while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let count = || {
        let stats = ALLOCATOR.stats();
        (stats.allocations + stats.reallocations) as u64
    };
    let before = count();
    work();
    count() - before
}

/// Starts the pooler on threads of this process; its port.
fn start(server: &Postgres, folder: &TempDir) -> u16 {
    let port = free_port().unwrap();
    let document = folder.path().join("pgpooler.toml");
    let text = format!(
        "listen_addr = \"127.0.0.1\"\nlisten_port = {port}\nhttp_port = 0\nauth_file = \"userlist.txt\"\nworkers = 1\n\
         max_server_connections = {SERVERS}\n\n[target]\nhost = \"127.0.0.1\"\nport = {}\n",
        server.port()
    );
    fs::write(&document, text).unwrap();
    fs::write(folder.path().join("userlist.txt"), "\"postgres\" \"postgres\"\n").unwrap();
    fs::write(folder.path().join("script.sql"), "SELECT 1;\n").unwrap();
    let source = Source::new(document);
    let loaded = source.load().unwrap();
    thread::spawn(move || pgpooler::run(source, loaded, pgpooler::Allowance::Document));
    let until = Instant::now() + PATIENCE;
    while RawClient::connect(port).is_err() {
        assert!(Instant::now() < until, "the pooler does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    port
}

/// Each of pgbench's clients logs in and runs so many transactions.
fn run(port: u16, folder: &Path, protocol: &str, transactions: u64) {
    let pgbench = Command::new(Programs::find(None).unwrap().path("pgbench"))
        .args(["--host=127.0.0.1", "--username=postgres", "--no-vacuum", "--file=script.sql"])
        .arg(format!("--port={port}"))
        .arg(format!("--client={CLIENTS}"))
        .arg(format!("--transactions={transactions}"))
        .arg(format!("--protocol={protocol}"))
        .arg("postgres")
        .env("PGPASSWORD", "postgres")
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(pgbench.status.success(), "{}", String::from_utf8_lossy(&pgbench.stderr));
}
