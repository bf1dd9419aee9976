//! The extended protocol, statements by their names: traps 15 to 24 and 28.

mod names;
mod portals;
mod sql;

use pgpooler_test_support::wire::{bind, close, copy_data, describe, execute, flush, parse, query, sync};

use super::script::unnamed;
use super::{Script, same, same_each};

fn run(name: &str) -> Vec<u8> {
    [bind("", name, &[]), execute("", 0)].concat()
}

#[test]
fn one_batch_gives_each_reply_in_its_place() {
    same(
        &Script::new()
            .extended("select 1, 'two', null")
            .extended("select i from generate_series(1, 3) i")
            .extended("")
            .extended("set datestyle = 'ISO'")
            .batch(&[parse("s", "select $1::int + 1, $2::text"), describe(b'S', "s"), sync()])
            .batch(&[
                describe(b'S', "s"),
                bind("", "s", &[Some("1"), None]),
                describe(b'P', ""),
                execute("", 0),
                sync(),
            ])
            .batch(&[run("nosuch"), sync()])
            .execute("s", &[Some("2"), Some("x")])
            .execute("s", &[Some("not a number"), Some("x")])
            .execute("s", &[Some("1")])
            .batch(&[close(b'S', "s"), sync()])
            .execute("s", &[Some("2"), Some("x")]),
    );
}

#[test]
fn a_flush_gives_replies_without_ready_and_the_server_stays() {
    same(
        &Script::new()
            .send(&[parse("s", "select $1::int"), describe(b'S', "s"), flush()])
            .until(b'T')
            .silence(50)
            .send(&[bind("", "s", &[Some("5")]), flush()])
            .until(b'2')
            .send(&[describe(b'P', ""), execute("", 0), flush()])
            .until(b'C')
            .silence(50)
            .send(&[sync()])
            .ready(1)
            .send(&[parse("", "select 1"), flush()])
            .until(b'1')
            .query("select 'a query between'")
            .batch(&[run(""), sync()]),
    );
}

#[test]
fn every_sync_is_answered_also_without_a_server() {
    same(
        &Script::new()
            .batch(&[sync()])
            .send(&[sync(), sync(), sync()])
            .ready(3)
            .query("begin")
            .send(&[sync(), sync()])
            .ready(2)
            .query("select 1/0")
            .batch(&[sync()])
            .query("rollback")
            .send(&[flush()])
            .silence(30)
            .batch(&[sync()])
            .batch(&[flush(), flush(), sync()]),
    );
}

#[test]
fn an_error_skips_to_the_sync_wherever_it_is() {
    let tail =
        || [parse("u", "select 'skipped'"), run("u"), describe(b'S', "u"), close(b'S', "s"), sync()].concat();
    let script = |bad: &[Vec<u8>]| {
        Script::new()
            .parse("s", "select 'there'")
            .batch(&[bad.concat(), tail()])
            .batch(&[run("s"), sync()])
            .batch(&[run("u"), sync()])
            .batch(&[parse("u", "select 'now'"), run("u"), sync()])
            .query("select 'in step'")
    };
    same_each([
        ("Parse", script(&[parse("bad", "selec")])),
        ("Parse of a name in use", script(&[parse("s", "select 2")])),
        ("Bind of an unknown statement", script(&[run("nosuch")])),
        ("Bind with too few parameters", script(&[parse("n", "select $1::int"), bind("", "n", &[])])),
        ("Bind with a bad value", script(&[parse("n", "select $1::int"), bind("", "n", &[Some("x")])])),
        ("Describe of an unknown statement", script(&[describe(b'S', "nosuch")])),
        ("Describe of an unknown portal", script(&[describe(b'P', "nosuch")])),
        ("Execute of an unknown portal", script(&[execute("nosuch", 0)])),
        ("Execute that fails", script(&[parse("n", "select 1/(random()*0)::int"), run("n")])),
        (
            "Execute that fails behind good ones",
            script(&[run("s"), run("s"), parse("n", "select 1/0"), run("n")]),
        ),
        ("Close of neither", script(&[close(b'X', "s")])),
        ("Describe of neither", script(&[describe(b'X', "s")])),
        ("two statements in one Parse", script(&[parse("n", "select 1; select 2")])),
        ("a query in the skipped part", script(&[parse("bad", "selec"), query("select 'skipped too'")])),
    ]);
}

#[test]
fn an_error_comes_without_waiting_for_the_sync() {
    let script = |bad: &[Vec<u8>]| {
        Script::new()
            .parse("s", "select 1")
            .send(bad)
            .until(b'E')
            .silence(50)
            .batch(&[sync()])
            .query("select 'in step'")
    };
    same_each([
        ("Parse", script(&[parse("", "selec")])),
        ("Parse of a name in use", script(&[parse("s", "select 2")])),
        ("an unknown statement", script(&[run("nosuch")])),
        ("an unknown portal", script(&[execute("nosuch", 0)])),
        ("behind good ones", script(&[run("s"), parse("", "select 1/0"), run("")])),
        ("then skipped ones", script(&[parse("", "selec"), run("s"), parse("t", "select 1"), flush()])),
    ]);
}

#[test]
fn an_error_in_one_segment_leaves_the_next_alone() {
    let good = |n: u32| unnamed(&format!("select {n}")).concat();
    let bad = [parse("p", "select 1/0"), run("p"), parse("q", "select 'skipped'"), sync()].concat();
    let after = [run("q"), sync()].concat();
    same(
        &Script::new()
            .send(&[good(1), good(2), good(3)])
            .ready(3)
            .send(&[good(1), bad, good(2), after.clone()])
            .ready(4)
            .send(&[after, good(3)])
            .ready(2)
            .send(&[parse("bad", "selec"), query("select 'skipped'"), sync(), good(5)])
            .ready(2)
            .send(&[query("select 1"), good(4), query("select 2"), sync(), query("")])
            .ready(5),
    );
}

#[test]
fn a_known_parse_keeps_its_place_among_the_replies() {
    // the second client of a text finds it prepared: its ParseComplete is the pooler's own
    let text = "select $1::text || '!'";
    let warm = |script: Script| script.client(1).parse("w", text).execute("w", &[Some("a")]).client(0);
    let each = |bytes: &[Vec<u8>]| {
        warm(Script::new()).batch(bytes).query("select 'in step'").execute("w", &[Some("x")])
    };
    let bind_w = || bind("", "w", &[Some("b")]);
    same_each([
        ("first", each(&[parse("w", text), bind_w(), execute("", 0), sync()])),
        (
            "in the middle",
            each(&[parse("", "select 1"), parse("w", text), run(""), bind_w(), execute("", 0), sync()]),
        ),
        ("last", each(&[parse("", "select 1"), run(""), parse("w", text), sync()])),
        ("after an error", each(&[parse("", "selec"), parse("w", text), sync()])),
        ("before an error", each(&[parse("w", text), parse("", "selec"), sync()])),
        ("twice", each(&[parse("w", text), parse("w", text), sync()])),
        ("twice with a close", each(&[parse("w", text), close(b'S', "w"), parse("w", text), sync()])),
        (
            "portal described between",
            each(&[parse("", "select 2"), bind("", "", &[]), parse("w", text), describe(b'P', ""), sync()]),
        ),
        (
            "two executes then describe",
            each(&[
                parse("w", text),
                bind_w(),
                execute("", 0),
                bind_w(),
                execute("", 0),
                bind_w(),
                describe(b'P', ""),
                sync(),
            ]),
        ),
        (
            "many",
            each(&[
                parse("w", text),
                parse("w1", text),
                parse("w2", text),
                bind("", "w1", &[Some("1")]),
                execute("", 0),
                describe(b'S', "w2"),
                sync(),
            ]),
        ),
        (
            "under two names",
            each(&[parse("w", text), parse("v", text), close(b'S', "v"), describe(b'S', "v"), sync()]),
        ),
    ]);
    same(
        &warm(Script::new())
            .send(&[parse("w", text), flush()])
            .until(b'1')
            .silence(30)
            .send(&[parse("", "select 1"), parse("v", text), flush()])
            .until(b'1')
            .until(b'1')
            .batch(&[describe(b'S', "v"), sync()]),
    );
}

#[test]
fn copy_data_outside_of_copy_is_ignored() {
    same(
        &Script::new().send(&[copy_data("1\n"), query("select 1")]).ready(1).batch(&[copy_data("x"), sync()]),
    );
}
