//! Statement mode, compared with transaction mode.

use std::time::Duration;

use pgpooler_test_support::{Message, Pooler, RawClient, wire};

use super::{app, options, server, sqlstate, start, tags, value};

fn statement_mode(connections: u32) -> Pooler {
    start(&options(connections).setting("pool_mode", "\"statement\""))
}

/// What a client gets for these bytes, which end `ready` statements.
fn replies(client: &mut RawClient, bytes: &[u8], ready: usize) -> Vec<Message> {
    client.send(bytes).unwrap();
    (0..ready).flat_map(|_| client.read_through(b'Z').unwrap()).collect()
}

fn extended(name: &str, sql: &str, parameters: &[Option<&str>]) -> Vec<u8> {
    let parts =
        [wire::parse(name, sql), wire::bind("", name, parameters), wire::execute("", 0), wire::sync()];
    parts.concat()
}

/// One client's conversation: what it sends, and how many ReadyForQuery that brings.
fn conversation() -> Vec<(Vec<u8>, usize)> {
    let again = [wire::bind("", "s", &[Some("5")]), wire::execute("", 0), wire::sync()].concat();
    let copy = |end: Vec<u8>| [wire::query("copy stm from stdin"), wire::copy_data("7\n"), end].concat();
    let copy_extended = [
        wire::parse("", "copy stm from stdin"),
        wire::bind("", "", &[]),
        wire::execute("", 0),
        wire::copy_data("8\n"),
        wire::copy_done(),
        wire::sync(),
    ];
    vec![
        (wire::query("create table stm (i int)"), 1),
        (wire::query("insert into stm values (1); insert into stm values (2)"), 1),
        (wire::query("insert into stm values (3); select 1/0"), 1),
        (wire::query("begin; insert into stm values (4); commit"), 1),
        (wire::query("set search_path = public, pg_catalog"), 1),
        (wire::query("show search_path"), 1),
        (extended("s", "insert into stm values ($1::int)", &[Some("4")]), 1),
        // a pipeline, prepared statements and an error in it
        (
            [
                again.clone(),
                extended("", "select 1/0", &[]),
                again.clone(),
                wire::query("select i + 0 from stm"),
            ]
            .concat(),
            4,
        ),
        ([wire::query("select 1"), wire::query(""), wire::query("select 2")].concat(), 3),
        (copy(wire::copy_done()), 1),
        (copy(wire::copy_fail("no")), 1),
        (copy_extended.concat(), 1),
        ([copy(wire::copy_done()), wire::query("select i + 0 from stm")].concat(), 2),
        (wire::query("copy stm to stdout"), 1),
        (wire::query("vacuum stm"), 1),
        (wire::query("drop table stm"), 1),
    ]
}

#[test]
fn a_client_without_blocks_gets_what_it_gets_in_transaction_mode() {
    let (statement, transaction) = (statement_mode(2), start(&options(2)));
    let talk = |pooler: &Pooler| -> Vec<Vec<(u8, Vec<u8>)>> {
        let mut client = app(pooler);
        let parts = conversation().into_iter().map(|(bytes, ready)| replies(&mut client, &bytes, ready));
        parts.map(|part| part.into_iter().map(|message| (message.tag, message.body)).collect()).collect()
    };
    assert_eq!(talk(&statement), talk(&transaction));
}

#[test]
fn the_server_connection_goes_back_between_statements_of_a_pipeline() {
    let pooler = statement_mode(1);
    let (mut first, mut second) = (app(&pooler), app(&pooler));
    first.send(&[wire::query("select pg_sleep(0.5)"), wire::query("select pg_sleep(2)")].concat()).unwrap();
    first.read_within(Duration::from_millis(100)).unwrap();
    assert_eq!(value(&mut second, "select 'between'"), "between");
    let told = first.read_through(b'Z').unwrap();
    assert!(tags(&told).ends_with("CZ"));
    assert!(first.read_within(Duration::from_millis(300)).unwrap().is_none(), "its second statement runs");
    first.read_through(b'Z').unwrap();
}

#[test]
fn a_transaction_block_ends_its_client_and_leaves_nothing_to_the_next() {
    let pooler = statement_mode(1);
    let mut table = app(&pooler);
    table.query("create table if not exists blocks (i int)").unwrap();
    let pid = value(&mut table, "select pg_backend_pid()");
    let inside = wire::query("insert into blocks values (1)");
    let extended_begin = extended("", "begin", &[]);
    for block in [
        [wire::query("begin"), inside.clone(), wire::query("commit")].concat(),
        [extended_begin, inside.clone(), wire::query("commit")].concat(),
        wire::query("begin; set local statement_timeout = 77; insert into blocks values (1)"),
        wire::query("begin; insert into blocks values (1); select 1/0"),
    ] {
        let mut client = app(&pooler);
        client.send(&block).unwrap();
        let mut told = Vec::new();
        while let Ok(message) = client.read() {
            told.push(message);
        }
        assert_eq!(sqlstate(&told[told.len() - 1..]).as_deref(), Some("25P01"), "{}", tags(&told));
        assert_eq!(
            told.last().and_then(|error| error.field(b'M')).as_deref(),
            Some("transaction blocks not allowed in statement pooling mode")
        );
        assert!(!tags(&told).contains('Z'), "nothing tells it to go on: {}", tags(&told));
        assert_eq!(value(&mut table, "select count(*) from blocks"), "0");
        assert_eq!(value(&mut table, "show statement_timeout"), "0");
        let next = value(&mut table, "select pg_backend_pid()");
        assert_eq!(next, pid, "the connection was rolled back, not closed");
    }
    let open = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    assert_eq!(server().sql(open).unwrap()[0][0], "0");
    table.query("drop table blocks").unwrap();
}

#[test]
fn what_ties_a_client_to_its_connection_does_so_here_too() {
    let pooler = statement_mode(1);
    let mut client = app(&pooler);
    let told = replies(
        &mut client,
        &[wire::query("create temp table t as select 7 as i"), wire::query("select i from t")].concat(),
        2,
    );
    assert_eq!(sqlstate(&told), None);
    assert_eq!(value(&mut client, "select i from t"), "7");
}
