//! What a transaction and an idle client may cost: counts, not times, so that they hold on a busy machine.
//!
//! The limits are the bars that pgpooler has set itself; a change that exceeds one has made the pooler fatter.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, which clippy does not recognise as such

mod calls;
mod memory;
mod strace;
mod transactions;

use std::sync::OnceLock;

use pgpooler_test_support::{Pooler, PoolerOptions, Postgres, PostgresOptions};

/// One server for all.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start(&PostgresOptions::default()).expect("a PostgreSQL server");
        server.create_user("app", "app").expect("a user");
        server
    })
}

/// A pooler with one loop: what two loops lend each other comes on top.
fn start(options: &PoolerOptions) -> Pooler {
    Pooler::start(env!("CARGO_BIN_EXE_pgpooler"), options).expect("a pooler")
}

fn options(server_connections: u32) -> PoolerOptions {
    PoolerOptions::before(server())
        .user("app", "app")
        .setting("workers", "1")
        .setting("max_client_conn", "20000")
        .setting("max_server_connections", &server_connections.to_string())
}
