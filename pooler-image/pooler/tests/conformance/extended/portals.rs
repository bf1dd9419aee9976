//! Portals, formats, descriptions, changed plans: traps 27 to 32.

use pgpooler_test_support::wire::{
    bind, bind_formats, close, describe, execute, flush, function_call, parse, parse_typed, query, sync,
};

use super::super::{Script, same, same_each};

const ROWS: &str = "select i from generate_series(1, 6) i";

#[test]
fn a_row_limit_suspends_a_portal() {
    same(
        &Script::new()
            .query("begin")
            .batch(&[parse("c", ROWS), bind("p", "c", &[]), execute("p", 2), sync()])
            .batch(&[describe(b'P', "p"), execute("p", 2), sync()])
            .batch(&[bind("p", "c", &[]), sync()])
            .query("rollback; begin")
            .batch(&[
                bind("p", "c", &[]),
                execute("p", 5),
                execute("p", 1),
                execute("p", 1),
                execute("p", 1),
                sync(),
            ])
            .batch(&[close(b'P', "p"), execute("p", 0), sync()])
            .query("rollback")
            .batch(&[bind("p", "c", &[]), execute("p", 2), execute("p", 2), sync()])
            .batch(&[execute("p", 2), sync()])
            .send(&[bind("p", "c", &[]), execute("p", 3), flush()])
            .until(b's')
            .silence(30)
            .send(&[execute("p", 0), flush()])
            .until(b'C')
            .batch(&[sync()]),
    );
}

#[test]
fn portals_and_cursors_are_one_space() {
    same(
        &Script::new()
            .query("begin")
            .query(&format!("declare c cursor for {ROWS}"))
            .batch(&[execute("c", 2), describe(b'P', "c"), sync()])
            .batch(&[parse("s", ROWS), bind("p", "s", &[]), execute("p", 1), sync()])
            .query("fetch 2 from p")
            .query("close p")
            .batch(&[execute("p", 1), sync()])
            .query("rollback to nosuch")
            .query("rollback")
            .query("begin")
            .batch(&[parse("i", "select 1"), bind("", "i", &[]), execute("", 1), execute("", 1), sync()])
            .query("commit"),
    );
}

#[test]
fn descriptions_come_as_they_are() {
    let each = |sql: &str| {
        Script::new()
            .before("drop table if exists described; create table described (i int, t varchar(7))")
            .batch(&[parse("d", sql), describe(b'S', "d"), sync()])
            .send(&[describe(b'S', "d"), flush()])
            .until(b't')
            .batch(&[sync()])
            .batch(&[describe(b'S', "d"), describe(b'S', "d"), sync()])
    };
    same_each([
        ("rows", each("select i, t, 1.5::numeric(5,2) from described")),
        ("parameters", each("select $1::int, $2 || 'x', $3::varchar(3)")),
        ("no rows", each("insert into described values ($1, $2)")),
        ("returning", each("insert into described values ($1, $2) returning *")),
        ("nothing", each("")),
        ("utility", each("show work_mem")),
        ("explain", each("explain select 1")),
        ("set", each("set work_mem = '4MB'")),
        ("undetermined", each("select $1")),
    ]);
}

#[test]
fn formats_and_types_pass_untouched() {
    let int = 7_i32.to_be_bytes();
    let many: Vec<Option<&[u8]>> = vec![Some(&int); 65_535];
    let sum = "select array_length(array[".to_owned()
        + &(1..=65_535).map(|n| format!("${n}")).collect::<Vec<_>>().join(",")
        + "]::int[], 1)";
    same_each([
        (
            "binary",
            Script::new().batch(&[
                parse_typed("b", "select $1 + 1, $2", &[23, 25]),
                bind_formats("", "b", &[1, 0], &[Some(&int), Some(b"text")], &[1, 0]),
                execute("", 0),
                sync(),
            ]),
        ),
        (
            "one format for all",
            Script::new().batch(&[
                parse_typed("b", "select $1, $2", &[23, 23]),
                bind_formats("", "b", &[1], &[Some(&int), None], &[1]),
                describe(b'P', ""),
                execute("", 0),
                sync(),
            ]),
        ),
        (
            "wrong count of formats",
            Script::new().batch(&[
                parse_typed("b", "select $1", &[23]),
                bind_formats("", "b", &[1, 1, 1], &[Some(&int)], &[]),
                execute("", 0),
                sync(),
            ]),
        ),
        (
            "wrong length",
            Script::new().batch(&[
                parse_typed("b", "select $1", &[23]),
                bind_formats("", "b", &[1], &[Some(b"abc")], &[]),
                execute("", 0),
                sync(),
            ]),
        ),
        (
            "a bad format",
            Script::new().batch(&[
                parse_typed("b", "select $1", &[23]),
                bind_formats("", "b", &[7], &[Some(&int)], &[]),
                execute("", 0),
                sync(),
            ]),
        ),
        (
            "zero bytes in text",
            Script::new().batch(&[
                parse_typed("b", "select $1", &[25]),
                bind_formats("", "b", &[], &[Some(b"a\0b")], &[]),
                execute("", 0),
                sync(),
            ]),
        ),
        ("an unknown type", Script::new().batch(&[parse_typed("b", "select $1", &[4_000_000]), sync()])),
        (
            "types of one text differ",
            Script::new()
                .batch(&[
                    parse_typed("a", "select $1", &[23]),
                    parse_typed("b", "select $1", &[25]),
                    parse("c", "select $1"),
                    describe(b'S', "a"),
                    describe(b'S', "b"),
                    describe(b'S', "c"),
                    sync(),
                ])
                .execute("a", &[Some("1")])
                .execute("b", &[Some("1")])
                .execute("c", &[Some("1")]),
        ),
        (
            "65,535 parameters",
            Script::new().send(&[parse("m", &sum), sync()]).ready(1).batch(&[
                bind_formats("", "m", &[1], &many, &[]),
                execute("", 0),
                sync(),
            ]),
        ),
        (
            "a large parameter",
            Script::new()
                .parse("l", "select length($1), md5($1)")
                .execute("l", &[Some(&"x".repeat(3_000_000))])
                .execute("l", &[Some("")]),
        ),
        (
            "a portal and a statement with names",
            Script::new().batch(&[
                parse("st", "select $1::text"),
                bind("po", "st", &[Some("v")]),
                describe(b'P', "po"),
                execute("po", 0),
                close(b'P', "po"),
                sync(),
            ]),
        ),
    ]);
}

#[test]
fn a_table_that_changes_changes_no_plan_of_a_fresh_client() {
    let before =
        "drop table if exists changing; create table changing (i int); insert into changing values (1)";
    let text = "select * from changing";
    let run = || [bind("", "s", &[]), describe(b'P', ""), execute("", 0), sync()];
    let changed = |how: &str| {
        Script::new()
            .before(before)
            .parse("s", text)
            .batch(&run())
            .batch(&run())
            .admin(how)
            .client(1)
            .parse("s", text)
            .batch(&run())
            .client(0)
            .batch(&run())
            .batch(&[describe(b'S', "s"), sync()])
            .batch(&[close(b'S', "s"), sync()])
            .parse("s", text)
            .batch(&run())
            .client(1)
            .batch(&run())
            .client(2)
            .batch(&[parse("", text), describe(b'S', ""), bind("", "", &[]), execute("", 0), sync()])
    };
    same_each([
        ("a column more", changed("alter table changing add column t text default 'new'")),
        (
            "a column less",
            changed("alter table changing add column t text; alter table changing drop column i"),
        ),
        ("another type", changed("alter table changing alter column i type text")),
        ("made anew", changed("drop table changing; set role app; create table changing (t text)")),
        ("made anew alike", changed("drop table changing; set role app; create table changing (i int)")),
        (
            "renamed",
            changed(
                "alter table changing rename to changing_old; set role app; create table changing (z int); drop table changing_old",
            ),
        ),
        ("gone", changed("drop table changing")),
    ]);
    same_each([(
        "in a transaction",
        Script::new()
            .before(before)
            .parse("s", text)
            .batch(&run())
            .query("begin")
            .admin("alter table changing add column t text")
            .batch(&run())
            .query("rollback")
            .client(1)
            .query("begin")
            .parse("s", text)
            .batch(&run())
            .query("commit")
            .batch(&run()),
    )]);
}

#[test]
fn a_statement_means_what_it_meant_when_it_was_prepared() {
    let before = "drop schema if exists one cascade; drop schema if exists two cascade; create schema one; create schema two; \
        create table one.here as select 'one' as v; create table two.here as select 'two' as v";
    same(
        &Script::new()
            .before(before)
            .query("set search_path = one")
            .parse("s", "select * from here")
            .execute("s", &[])
            .client(1)
            .query("set search_path = two")
            .parse("s", "select * from here")
            .execute("s", &[])
            .client(0)
            .execute("s", &[])
            .client(2)
            .parse("s", "select * from here")
            .client(1)
            .execute("s", &[]),
    );
}

#[test]
fn a_prepared_statement_sees_a_new_search_path() {
    let before = "drop schema if exists one1 cascade; drop schema if exists two2 cascade; create schema one1; create schema two2; \
        create table one1.here as select 'one' as v; create table two2.here as select 'two' as v";
    same(
        &Script::new()
            .before(before)
            .query("set search_path = one1")
            .parse("s", "select * from here")
            .execute("s", &[])
            .query("set search_path = two2")
            .execute("s", &[])
            .query("reset search_path")
            .execute("s", &[])
            .query("set search_path = one1")
            .execute("s", &[]),
    );
}

#[test]
fn function_calls_pass() {
    let int = |n: i32| n.to_be_bytes().to_vec();
    let text = "x".repeat(8_000_000);
    same_each([
        // int4abs, repeat
        ("binary", Script::new().batch(&[function_call(1397, 1, &[Some(&int(-5))])]).query("select 1")),
        ("text", Script::new().batch(&[function_call(1397, 0, &[Some(b"-5")])])),
        ("null", Script::new().batch(&[function_call(1397, 0, &[None])])),
        ("8 MB", Script::new().batch(&[function_call(1622, 0, &[Some(b"y"), Some(b"8000000")])])),
        ("8 MB argument", Script::new().batch(&[function_call(1317, 0, &[Some(text.as_bytes())])])),
        (
            "an error",
            Script::new().batch(&[function_call(1397, 0, &[Some(b"x")])]).batch(&[function_call(1, 0, &[])]),
        ),
        (
            "in a transaction",
            Script::new()
                .query("begin")
                .batch(&[function_call(1397, 0, &[Some(b"-5")])])
                .batch(&[function_call(1397, 0, &[Some(b"x")])])
                .batch(&[function_call(1397, 0, &[Some(b"-5")])])
                .query("rollback"),
        ),
        (
            "skipped",
            Script::new().batch(&[parse("", "selec"), function_call(1397, 0, &[Some(b"-5")]), sync()]),
        ),
        (
            "pipelined",
            Script::new()
                .send(&[
                    function_call(1397, 0, &[Some(b"-5")]),
                    query("select 1"),
                    function_call(1397, 0, &[Some(b"-6")]),
                ])
                .ready(3),
        ),
    ]);
}
