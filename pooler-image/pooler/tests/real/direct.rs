//! The same bytes to PostgreSQL and through the pooler give the same messages back.

use pgpooler_test_support::{Message, RawClient, wire};

use super::{app, options, server, start};

/// Bytes to send, each with how many ReadyForQuery it is answered by.
type Script = Vec<(Vec<u8>, usize)>;

fn play(client: &mut RawClient, script: &Script) -> Vec<Message> {
    let mut messages = Vec::new();
    for (bytes, ready) in script {
        client.send(bytes).expect("a write");
        for _ in 0..*ready {
            messages.extend(client.read_through(b'Z').expect("an answer"));
        }
    }
    messages
}

/// Runs a script directly, and through poolers of one and of many server connections with another client in between.
fn same(name: &str, script: &Script) {
    let mut direct = RawClient::login(&server_login()).expect("a direct login");
    let expected = play(&mut direct, script);
    for connections in [1, 5] {
        let pooler = start(&options(connections).setting("workers", "1"));
        let mut first = app(&pooler);
        assert_eq!(play(&mut first, script), expected, "{name}, {connections} server connections");
        let mut second = app(&pooler);
        assert_eq!(
            play(&mut second, script),
            expected,
            "{name}, second client, {connections} server connections"
        );
    }
}

fn server_login() -> pgpooler_test_support::Login {
    pgpooler_test_support::Login::new(server().port(), "app", "app", "postgres")
}

fn batch(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn simple_queries() {
    same(
        "simple",
        &vec![
            (wire::query("select 1, 'two', null"), 1),
            (wire::query(""), 1),
            (wire::query("select 1; select 2; select 3"), 1),
            (wire::query("select 1; selec 2; select 3"), 1),
            (wire::query("select 1/0"), 1),
            (wire::query("begin"), 1),
            (wire::query("select 1/0"), 1),
            (wire::query("select 1"), 1),
            (wire::query("rollback"), 1),
            (wire::query("begin; select 1"), 1),
            (wire::query("commit and chain"), 1),
            (wire::query("commit"), 1),
        ],
    );
}

#[test]
fn named_statements() {
    let bind_execute =
        |name: &str| batch(&[wire::bind("", name, &[Some("7")]), wire::execute("", 0), wire::sync()]);
    same(
        "named statements",
        &vec![
            (batch(&[wire::parse("s", "select $1::int + 1"), wire::describe(b'S', "s"), wire::sync()]), 1),
            (bind_execute("s"), 1),
            (bind_execute("s"), 1),
            (bind_execute("nosuch"), 1),
            (batch(&[wire::parse("s", "select 2"), wire::sync()]), 1),
            (bind_execute("s"), 1),
            (batch(&[wire::close(b'S', "s"), wire::sync()]), 1),
            (bind_execute("s"), 1),
            (batch(&[wire::close(b'S', "s"), wire::close(b'S', "never"), wire::sync()]), 1),
            (batch(&[wire::parse("s", "select 'again', $1::text"), wire::sync()]), 1),
            (bind_execute("s"), 1),
            (batch(&[wire::close(b'S', "s"), wire::sync()]), 1),
        ],
    );
}

#[test]
fn statements_and_failed_transactions() {
    same(
        "failed transactions",
        &vec![
            (wire::query("begin"), 1),
            (wire::query("select 1/0"), 1),
            (batch(&[wire::parse("f", "select 1"), wire::sync()]), 1),
            (wire::query("rollback"), 1),
            (batch(&[wire::parse("f", "select 1"), wire::sync()]), 1),
            (batch(&[wire::bind("", "f", &[]), wire::execute("", 0), wire::sync()]), 1),
            (wire::query("begin"), 1),
            (batch(&[wire::parse("g", "select 'rolled back'"), wire::sync()]), 1),
            (wire::query("rollback"), 1),
            (batch(&[wire::bind("", "g", &[]), wire::execute("", 0), wire::sync()]), 1),
            (wire::query("begin"), 1),
            (wire::query("select 1/0"), 1),
            (batch(&[wire::close(b'S', "f"), wire::parse("f", "select 1"), wire::sync()]), 1),
            (
                batch(&[
                    wire::parse("r", "rollback"),
                    wire::bind("", "r", &[]),
                    wire::execute("", 0),
                    wire::sync(),
                ]),
                1,
            ),
            (
                batch(&[
                    wire::close(b'S', "f"),
                    wire::close(b'S', "g"),
                    wire::close(b'S', "r"),
                    wire::sync(),
                ]),
                1,
            ),
        ],
    );
}

#[test]
fn unnamed_statements_outlive_their_batch() {
    same(
        "unnamed",
        &vec![
            (batch(&[wire::parse("", "select 'mine'"), wire::sync()]), 1),
            (batch(&[wire::bind("", "", &[]), wire::execute("", 0), wire::sync()]), 1),
            (batch(&[wire::parse("", "selec"), wire::sync()]), 1),
            (batch(&[wire::bind("", "", &[]), wire::execute("", 0), wire::sync()]), 1),
            (batch(&[wire::parse("", "select 'mine'"), wire::sync()]), 1),
            (wire::query("select 'destroys it'"), 1),
            (batch(&[wire::bind("", "", &[]), wire::execute("", 0), wire::sync()]), 1),
        ],
    );
}

#[test]
fn pipelines() {
    let good = |n: u32| {
        batch(&[
            wire::parse("", &format!("select {n}")),
            wire::bind("", "", &[]),
            wire::describe(b'P', ""),
            wire::execute("", 0),
            wire::sync(),
        ])
    };
    let bad = batch(&[
        wire::parse("p", "select 1/0"),
        wire::bind("", "p", &[]),
        wire::execute("", 0),
        wire::parse("q", "select 'skipped'"),
        wire::sync(),
    ]);
    let after = batch(&[wire::bind("", "q", &[]), wire::execute("", 0), wire::sync()]);
    same(
        "pipelines",
        &vec![
            (batch(&[good(1), good(2), good(3)]), 3),
            (batch(&[good(1), bad, good(2), after]), 4),
            (batch(&[wire::sync(), wire::sync()]), 2),
            (batch(&[wire::query("select 1"), good(4), wire::query("select 2")]), 3),
            (
                batch(&[wire::parse("bad", "selec"), wire::query("select 'skipped'"), wire::sync(), good(5)]),
                2,
            ),
            (batch(&[wire::close(b'S', "p"), wire::sync()]), 1),
        ],
    );
}

#[test]
fn portals() {
    let rows = "select i from generate_series(1, 5) i";
    same(
        "portals",
        &vec![
            (wire::query("begin"), 1),
            (
                batch(&[
                    wire::parse("c", rows),
                    wire::bind("portal", "c", &[]),
                    wire::execute("portal", 2),
                    wire::sync(),
                ]),
                1,
            ),
            (batch(&[wire::describe(b'P', "portal"), wire::execute("portal", 2), wire::sync()]), 1),
            (batch(&[wire::execute("portal", 0), wire::close(b'P', "portal"), wire::sync()]), 1),
            (batch(&[wire::execute("portal", 0), wire::sync()]), 1),
            (wire::query("rollback"), 1),
            (batch(&[wire::close(b'S', "c"), wire::sync()]), 1),
        ],
    );
}

#[test]
fn copy_in_and_out() {
    let data = |text: &str| wire::message(b'd', text.as_bytes());
    let done = || wire::message(b'c', b"");
    same(
        "copy",
        &vec![
            (
                wire::query(
                    "create temp table copied (i int) on commit drop; copy copied from stdin; select count(*) from copied",
                ),
                0,
            ),
            (batch(&[data("1\n2\n"), data("3\n"), done()]), 1),
            (wire::query("create temp table copied (i int) on commit drop; copy copied from stdin"), 0),
            (batch(&[data("not a number\n"), data("2\n"), done()]), 1),
            (wire::query("create temp table copied (i int) on commit drop; copy copied from stdin"), 0),
            (wire::message(b'f', b"changed my mind\0"), 1),
            (wire::query("copy (select i, repeat('x', 100) from generate_series(1, 2000) i) to stdout"), 1),
            (wire::query("begin"), 1),
            (wire::query("create temp table early (i int) on commit drop"), 1),
            (
                batch(&[
                    wire::parse("", "copy early from stdin"),
                    wire::bind("", "", &[]),
                    wire::execute("", 0),
                    wire::sync(),
                    data("1\n"),
                    done(),
                    wire::sync(),
                ]),
                1,
            ),
            (wire::query("rollback"), 1),
        ],
    );
}

#[test]
fn large_messages() {
    let text = "x".repeat(3_000_000);
    same(
        "large",
        &vec![
            (wire::query("select repeat('y', 5000000)"), 1),
            (
                batch(&[
                    wire::parse("big", "select length($1)"),
                    wire::bind("", "big", &[Some(&text)]),
                    wire::execute("", 0),
                    wire::sync(),
                ]),
                1,
            ),
            (wire::query(&format!("select length('{text}')")), 1),
            (batch(&[wire::close(b'S', "big"), wire::sync()]), 1),
        ],
    );
}

#[test]
fn an_error_comes_before_the_sync_and_notices_come_at_once() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    client.send(&batch(&[wire::parse("", "selec 1"), wire::flush()])).unwrap();
    assert_eq!(client.read().unwrap().tag, b'E');
    client.send(&wire::sync()).unwrap();
    assert_eq!(client.read().unwrap().tag, b'Z');
    client.send(&wire::query("do $$ begin raise notice 'now'; perform pg_sleep(1); end $$")).unwrap();
    let notice = client.read_within(std::time::Duration::from_millis(800)).unwrap();
    assert_eq!(notice.map(|message| message.tag), Some(b'N'));
    client.read_through(b'Z').unwrap();
}

#[test]
fn the_reply_to_a_query_in_the_same_packet_as_terminate_is_delivered() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    client.send(&batch(&[wire::query("select 'owed'"), wire::terminate()])).unwrap();
    let rest = client.read_to_end().unwrap();
    assert!(rest.windows(4).any(|part| part == b"owed"));
    assert_eq!(rest.last(), Some(&b'I'), "ReadyForQuery is the last");
}
