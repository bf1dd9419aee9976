//! The pooler between real clients and a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, which clippy does not recognise as such

mod auth_query;
mod auth_types;
mod budget;
mod cancel;
mod configure;
mod console;
mod direct;
mod drain;
mod faults;
mod flow;
mod hostile;
mod limits;
mod login;
mod login_errors;
mod loops;
mod peers;
mod pool_shares;
mod pools;
mod replication;
mod rust_driver;
mod session_state;
mod sql;
mod state;
mod statement_mode;
mod storms;
mod switchover;
mod tls;
mod tools;

use std::sync::OnceLock;

use pgpooler_test_support::{Login, Message, Pooler, PoolerOptions, Postgres, PostgresOptions, RawClient};

/// One server for all tests that do not disturb it.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start(&PostgresOptions::default()).expect("a PostgreSQL server");
        server.create_user("app", "app").expect("a user");
        server.create_user("other", "other").expect("a user");
        server.sql("GRANT ALL ON SCHEMA public TO public").expect("a grant");
        server
    })
}

/// Options with the user `app`, and as many server connections as said.
fn options(server_connections: u32) -> PoolerOptions {
    PoolerOptions::before(server())
        .user("app", "app")
        .user("other", "other")
        .setting("max_server_connections", &server_connections.to_string())
}

fn start(options: &PoolerOptions) -> Pooler {
    Pooler::start(env!("CARGO_BIN_EXE_pgpooler"), options).expect("a pooler")
}

fn app(pooler: &Pooler) -> RawClient {
    RawClient::login(&app_login(pooler)).expect("a login through the pooler")
}

/// How often a server connection went to another loop.
fn lends(pooler: &Pooler) -> u64 {
    let (_, metrics) = pooler.http_get("/metrics").unwrap();
    let counts = metrics.lines().filter(|line| line.starts_with("pgpooler_lends_total{"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn app_login(pooler: &Pooler) -> Login {
    pooler.login("app", "app", "postgres")
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

/// The only value that a query gives.
fn value(client: &mut RawClient, sql: &str) -> String {
    client.rows(sql).expect("rows").concat().concat()
}

fn sqlstate(messages: &[Message]) -> Option<String> {
    messages.iter().find(|message| message.tag == b'E')?.field(b'C')
}
