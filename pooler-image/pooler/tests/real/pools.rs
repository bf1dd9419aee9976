//! The console changes what the pools do.

use std::time::Duration;

use pgpooler_test_support::{Login, Pooler, RawClient, wire};

use super::{app, options, sqlstate, start, value};

fn console(pooler: &Pooler) -> RawClient {
    RawClient::login(&Login { database: "pgpooler".to_owned(), ..pooler.superuser() }).unwrap()
}

#[test]
fn pause_waits_for_transactions_and_resume_lets_clients_go_on() {
    let pooler = start(&options(2));
    let mut client = app(&pooler);
    let mut admin = console(&pooler);
    client.query("begin").unwrap();
    admin.send(&wire::query("pause")).unwrap();
    assert!(admin.read_within(Duration::from_millis(300)).unwrap().is_none(), "a transaction is open");
    assert_eq!(value(&mut client, "select 'still served'"), "still served");
    client.query("commit").unwrap();
    admin.read_through(b'Z').unwrap();
    client.send(&wire::query("select 'held'")).unwrap();
    assert!(client.read_within(Duration::from_millis(300)).unwrap().is_none(), "paused");
    assert_eq!(sqlstate(&admin.query("resume").unwrap()), None);
    client.read_through(b'Z').unwrap();
}

#[test]
fn reconnect_replaces_server_connections_after_their_transactions() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    let mut admin = console(&pooler);
    client.query("begin").unwrap();
    let before = value(&mut client, "select pg_backend_pid()");
    admin.query("reconnect").unwrap();
    assert_eq!(value(&mut client, "select pg_backend_pid()"), before);
    client.query("commit").unwrap();
    assert_ne!(value(&mut client, "select pg_backend_pid()"), before);
}

#[test]
fn a_server_connection_that_postgresql_closes_while_idle_is_replaced_unnoticed() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    let pid = value(&mut client, "select pg_backend_pid()");
    super::server().sql(&format!("select pg_terminate_backend({pid})")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_ne!(value(&mut client, "select pg_backend_pid()"), pid);
}

#[test]
fn a_server_connection_that_is_terminated_in_a_transaction_tells_its_client_once() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    client.query("begin").unwrap();
    let pid = value(&mut client, "select pg_backend_pid()");
    super::server().sql(&format!("select pg_terminate_backend({pid})")).unwrap();
    let rest = client.read_to_end().unwrap();
    let errors = rest.windows(6).filter(|part| *part == b"C57P01").count();
    assert_eq!(errors, 1, "{}", rest.escape_ascii());
    assert_eq!(value(&mut app(&pooler), "select 1"), "1");
}

#[test]
fn rules_give_some_pools_another_mode_and_size() {
    let tables = "[[pools]]\nname = \"one\"\nusers = [\"app\"]\npool_size = 1\npool_mode = \"session\"\n";
    let pooler = start(&options(5).tables(tables));
    let mut first = app(&pooler);
    let pid = value(&mut first, "select pg_backend_pid()");
    let mut other = RawClient::login(&pooler.login("other", "other", "postgres")).unwrap();
    assert_ne!(value(&mut other, "select pg_backend_pid()"), pid);
    let mut second = app(&pooler);
    second.send(&wire::query("select pg_backend_pid()")).unwrap();
    assert!(second.read_within(Duration::from_millis(300)).unwrap().is_none(), "the pool has one connection");
    drop(first);
    second.read_through(b'Z').unwrap();
}

#[test]
fn the_only_connection_of_a_small_pool_serves_clients_of_every_loop() {
    let tables = "[[pools]]\nname = \"one\"\npool_size = 1\n";
    let pooler = start(&options(5).setting("workers", "3").tables(tables));
    let mut clients: Vec<_> = (0..6).map(|_| app(&pooler)).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(value(client, "select 'served'"), "served");
        }
    }
}
