//! Sizes, pieces, pauses, violations, half-closed connections: traps 37 to 41 and 46.

use pgpooler_test_support::wire::{
    bind, cstr, describe, execute, flush, message, parse, query, sync, terminate,
};

use super::script::{Step, unnamed};
use super::{Script, same, same_each};

/// One of everything, in one stretch of bytes.
fn mixture() -> Vec<u8> {
    [
        query("select 1, 'two'"),
        unnamed("select i from generate_series(1, 3) i").concat(),
        parse("p", "select $1::text"),
        bind("", "p", &[Some("value")]),
        execute("", 0),
        sync(),
        query(""),
        parse("", "selec"),
        bind("", "p", &[Some("skipped")]),
        sync(),
        sync(),
        pgpooler_test_support::wire::close(b'S', "p"),
        flush(),
        sync(),
    ]
    .concat()
}

const MIXTURE_READY: usize = 7;

#[test]
fn a_message_may_be_split_anywhere() {
    let bytes = mixture();
    let mut script = Script::new();
    for size in [1, 2, 3, 5, 7, 11, 64] {
        script =
            script.step(Step::Pieces(bytes.clone(), size, std::time::Duration::ZERO)).ready(MIXTURE_READY);
    }
    same(&script);
}

#[test]
fn a_message_may_pause_in_every_byte_of_its_head() {
    let mut script = Script::new();
    for cut in 1..8 {
        let bytes = query("select 'paused'");
        let (first, second) = bytes.split_at(cut);
        script = script.send(&[first.to_vec()]).silence(10).send(&[second.to_vec()]).ready(1);
        let bytes = bind("", "p", &[Some("paused")]);
        let (first, second) = bytes.split_at(cut);
        script = script
            .send(&[parse("p", "select $1::text"), first.to_vec()])
            .silence(10)
            .send(&[second.to_vec(), execute("", 0), pgpooler_test_support::wire::close(b'S', "p"), sync()])
            .ready(1);
    }
    same(&script);
}

#[test]
fn a_huge_pipeline_is_answered_in_order() {
    let simple: Vec<_> = (0..2000).map(|n| query(&format!("select {n}"))).collect();
    let extended: Vec<_> =
        (0..2000).map(|n| unnamed(&format!("select {n}, repeat('x', 300)")).concat()).collect();
    let one: Vec<_> =
        (0..3000).map(|n| [bind("", "h", &[Some(&n.to_string())]), execute("", 0)].concat()).collect();
    same_each([
        ("simple", Script::new().send(&simple).ready(2000)),
        ("extended", Script::new().send(&extended).ready(2000)),
        ("one sync", Script::new().parse("h", "select $1::int").send(&[one.concat(), sync()]).ready(1)),
        (
            "an error in the middle",
            Script::new()
                .parse("h", "select 1/($1::int - 1500)")
                .send(&[one.concat(), sync(), query("select 'in step'")])
                .ready(2),
        ),
        ("only syncs", Script::new().send(&vec![sync(); 3000]).ready(3000)),
    ]);
}

#[test]
fn large_rows_and_parameters_pass() {
    let text = "z".repeat(20_000_000);
    same(
        &Script::new()
            .query("select repeat('x', 40000000)")
            .send(&[parse("", "select length($1)"), bind("", "", &[Some(&text)]), execute("", 0), sync()])
            .ready(1)
            .query("select i, repeat('y', 1000000) from generate_series(1, 30) i"),
    );
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    // one that closes its side while it waits for a server connection is taken for one that has left
    let each = |bytes: &[Vec<u8>]| Script::new().pin().send(bytes).step(Step::HalfClose).closed();
    same_each([
        ("a query", each(&[query("select 'owed'")])),
        ("a slow query", each(&[query("select pg_sleep(0.2), 'owed'")])),
        ("several", each(&[query("select 1"), unnamed("select 2").concat(), query("select 3")])),
        ("an error", each(&[query("selec")])),
        ("rows", each(&[query("select i, repeat('x', 100) from generate_series(1, 5000) i")])),
        ("a batch without sync", each(&[parse("", "select 1"), bind("", "", &[]), execute("", 0), flush()])),
        ("nothing", each(&[])),
        ("half a message", each(&[query("select 1"), b"Q\0\0\0\x20sel".to_vec()])),
        ("an open transaction", each(&[query("begin")])),
    ]);
}

#[test]
fn terminate_comes_after_the_answers() {
    let each = |bytes: &[Vec<u8>]| Script::new().send(bytes).closed();
    same_each([
        ("a query", each(&[query("select 'owed'"), terminate()])),
        ("a slow query", each(&[query("select pg_sleep(0.2), 'owed'"), terminate()])),
        ("a batch", each(&[unnamed("select 'owed'").concat(), terminate()])),
        ("a batch without sync", each(&[unnamed("select 'owed'")[..4].concat(), terminate()])),
        ("an error without sync", each(&[parse("", "selec"), terminate()])),
        (
            "several",
            each(&[
                query("select 1"),
                query("selec"),
                query("select 3"),
                terminate(),
                query("select 'never'"),
            ]),
        ),
        ("alone", each(&[terminate()])),
        ("in a transaction", Script::new().query("begin").send(&[query("select 1"), terminate()]).closed()),
        ("many rows", each(&[query("select repeat('x', 1000) from generate_series(1, 5000)"), terminate()])),
    ]);
    same(
        &Script::new()
            .before("drop table if exists terminated; create table terminated (i int)")
            .client(1)
            .send(&[query("insert into terminated values (1)"), terminate()])
            .closed()
            .client(0)
            .query("select count(*) from terminated"),
    );
}

/// A message whose length says something else than it has.
fn lying(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

#[test]
fn violations_of_the_protocol_end_as_postgresql_ends_them() {
    let each = |bytes: &[Vec<u8>]| Script::new().send(bytes).closed();
    same_each([
        ("length 0", each(&[lying(b'Q', 0, b"")])),
        ("length 3", each(&[lying(b'Q', 3, b"")])),
        ("negative length", each(&[lying(b'Q', 0xffff_fff0, b"")])),
        ("above 1 GB", each(&[lying(b'Q', 0x4000_0000, b"")])),
        ("an unknown type", each(&[message(b'?', b"")])),
        ("an unknown type with a body", each(&[message(b'z', b"abc")])),
        ("a type of the server", each(&[message(b'Z', b"I")])),
        ("a zero byte", each(&[vec![0, 0, 0, 0, 4]])),
        ("behind a query", each(&[query("select 'owed'"), message(b'?', b"")])),
        ("a Describe of 100 kB", each(&[describe(b'S', &"n".repeat(100_000))])),
        ("a password", each(&[message(b'p', b"secret\0")])),
    ]);
}

#[test]
fn a_long_sync_or_terminate_or_flush_is_refused_alike() {
    let each = |bytes: &[Vec<u8>]| Script::new().send(bytes);
    same_each([
        ("sync with a body", each(&[message(b'S', b"x")]).ready(1).query("select 1")),
        ("flush with a body", each(&[message(b'H', b"x"), sync()]).ready(1).query("select 1")),
        ("terminate with a body", each(&[message(b'X', b"x")]).closed()),
        ("sync of length 4 many times", each(&[message(b'S', b""), message(b'S', b"")]).ready(2)),
    ]);
}

#[test]
fn malformed_bodies_are_refused_in_band() {
    let each = |bytes: &[Vec<u8>]| {
        Script::new()
            .parse("s", "select $1::text")
            .send(&[bytes.concat(), sync()])
            .ready(1)
            .query("select 'in step'")
    };
    same_each([
        ("Bind without a body", each(&[message(b'B', b"")])),
        ("Bind without a statement", each(&[message(b'B', b"\0")])),
        ("Bind without its end", each(&[message(b'B', b"\0s")])),
        ("Bind of an unnamed one without its end", each(&[parse("", "select 1"), message(b'B', b"\0\0")])),
        ("Bind cut in its parameters", each(&[message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x09abc")])),
        ("Bind with more than it says", each(&[message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x01a\0\0extra")])),
        ("Bind with a negative count", each(&[message(b'B', b"\0s\0\xff\xff")])),
        ("Bind with a length of -5", each(&[message(b'B', b"\0s\0\0\0\0\x01\xff\xff\xff\xfb\0\0")])),
        ("Parse without a body", each(&[message(b'P', b"")])),
        ("Parse without text", each(&[message(b'P', b"n\0")])),
        ("Parse without types", each(&[message(b'P', b"n\0select 1\0")])),
        ("Parse cut in its types", each(&[message(b'P', b"n\0select 1\0\0\x02\0\0\0\x17")])),
        ("Parse with more than it says", each(&[message(b'P', b"n\0select 1\0\0\0extra")])),
        ("Describe without a name", each(&[message(b'D', b"S")])),
        ("Describe without a body", each(&[message(b'D', b"")])),
        ("Describe with more", each(&[message(b'D', b"Ss\0x")])),
        ("Execute without a count", each(&[message(b'E', b"\0")])),
        ("Execute without a body", each(&[message(b'E', b"")])),
        (
            "Execute with a negative count",
            each(&[bind("", "s", &[None]), message(b'E', b"\0\xff\xff\xff\xff")]),
        ),
        ("Close without a name", each(&[message(b'C', b"S")])),
        ("Close without a body", each(&[message(b'C', b"")])),
        ("FunctionCall without a body", each(&[message(b'F', b"")])),
    ]);
    same_each([
        (
            "Query without its end",
            Script::new().batch(&[message(b'Q', b"select 1")]).query("select 'in step'"),
        ),
        ("Query without a body", Script::new().batch(&[message(b'Q', b"")]).query("select 'in step'")),
        (
            "Query with more",
            Script::new().batch(&[message(b'Q', b"select 1\0select 2\0")]).query("select 'in step'"),
        ),
        (
            "text of another encoding",
            Script::new().batch(&[message(b'Q', b"select '\xff\xfe'\0")]).query("select 'in step'"),
        ),
        (
            "a name of another encoding",
            Script::new().batch(&[message(b'P', b"\xff\0select 1\0\0\0"), sync()]).query("select 'in step'"),
        ),
        (
            "a text of another encoding",
            Script::new()
                .batch(&[message(b'P', &[cstr("n"), b"select '\xff'\0\0\0".to_vec()].concat()), sync()])
                .query("select 'in step'"),
        ),
    ]);
}

#[test]
fn a_slow_reader_misses_nothing() {
    same(
        &Script::new()
            .send(&[
                query("select i, repeat('x', 2000) from generate_series(1, 4000) i"),
                query("select 'last'"),
            ])
            .step(Step::Pieces(Vec::new(), 1, std::time::Duration::ZERO))
            .admin("select pg_sleep(0.3)")
            .ready(2),
    );
}
