//! Names of statements and portals: traps 19 to 24 and 28.

use pgpooler_test_support::wire::{bind, close, describe, execute, parse, sync};

use super::super::{Script, same, same_each};
use super::run;

#[test]
fn names_in_use_and_unknown_names_are_told_in_band() {
    same(
        &Script::new()
            .parse("s", "select 1")
            .parse("s", "select 1")
            .parse("s", "select 2")
            .execute("s", &[])
            .execute("nosuch", &[])
            .batch(&[describe(b'S', "nosuch"), sync()])
            .batch(&[describe(b'P', "nosuch"), sync()])
            .batch(&[execute("nosuch", 0), sync()])
            .batch(&[execute("", 0), sync()])
            .batch(&[describe(b'S', ""), sync()])
            .query("begin")
            .execute("nosuch", &[])
            .execute("s", &[])
            .query("rollback")
            .execute("s", &[]),
    );
}

#[test]
fn a_parse_that_fails_leaves_no_name_and_one_rolled_back_does() {
    same(
        &Script::new()
            .parse("f", "selec")
            .execute("f", &[])
            .parse("f", "select 'good'")
            .execute("f", &[])
            .query("begin")
            .query("select 1/0")
            .parse("g", "select 'g'")
            .parse("f", "select 'g'")
            .execute("f", &[])
            .query("rollback")
            .parse("g", "select 'g'")
            .execute("g", &[])
            .query("begin")
            .parse("h", "select 'h'")
            .query("rollback")
            .execute("h", &[])
            .query("begin")
            .query("select 1/0")
            .batch(&[close(b'S', "f"), sync()])
            .batch(&[close(b'S', "h"), parse("h", "select 1"), sync()])
            .batch(&[parse("r", "rollback"), run("r"), sync()])
            .execute("f", &[])
            .execute("h", &[])
            .execute("r", &[]),
    );
}

#[test]
fn a_text_that_never_parses_fails_each_time_the_same() {
    let bad = || [parse("n", "select * from nosuch_table"), run("n"), sync()];
    same(
        &Script::new()
            .before("drop table if exists nosuch_table")
            .batch(&bad())
            .batch(&bad())
            .admin("set role app; create table nosuch_table (i int)")
            .batch(&bad())
            .execute("n", &[])
            .admin("drop table nosuch_table")
            .execute("n", &[])
            .batch(&[describe(b'S', "n"), sync()])
            .parse("n", "select 1")
            .batch(&[close(b'S', "n"), sync()])
            .batch(&bad()),
    );
}

#[test]
fn the_unnamed_statement_and_portal_are_the_clients_own() {
    same(
        &Script::new()
            .parse("", "select 'mine'")
            .execute("", &[])
            .execute("", &[])
            .batch(&[describe(b'S', ""), sync()])
            .parse("", "selec")
            .execute("", &[])
            .parse("", "select $1::int")
            .execute("", &[Some("7")])
            .execute("", &[Some("x")])
            .execute("", &[Some("8")])
            .query("select 'destroys it'")
            .execute("", &[Some("9")])
            .parse("", "select 'mine again'")
            .query("")
            .execute("", &[])
            .parse("", "select 1")
            .batch(&[close(b'S', ""), sync()])
            .execute("", &[])
            .parse("", "select 1")
            .execute("nosuch", &[])
            .execute("", &[])
            .query("begin")
            .batch(&[parse("", "select 'p'"), bind("", "", &[]), sync()])
            .batch(&[execute("", 0), sync()])
            .query("select 1")
            .batch(&[execute("", 0), sync()])
            .query("rollback"),
    );
}

#[test]
fn close_of_anything_is_confirmed() {
    same(
        &Script::new()
            .batch(&[close(b'S', "never"), close(b'P', "never"), close(b'S', ""), close(b'P', ""), sync()])
            .parse("s", "select i from generate_series(1, 4) i")
            .query("begin")
            .batch(&[bind("p", "s", &[]), execute("p", 1), close(b'S', "s"), execute("p", 1), sync()])
            .batch(&[execute("p", 0), close(b'P', "p"), execute("p", 0), sync()])
            .batch(&[close(b'P', "p"), sync()])
            .query("rollback")
            .execute("s", &[])
            .batch(&[parse("s", "select 1"), close(b'S', "s"), parse("s", "select 2"), run("s"), sync()])
            .execute("s", &[]),
    );
}

#[test]
fn any_name_is_a_name() {
    let long = "n".repeat(9_900);
    let names =
        ["a'b\"c", "naïve Ñame 日本", "_p0", "_p1", "_p12", "pg_temp", " ", ";", &"x".repeat(64), &long];
    same_each(names.map(|name| {
        let script = Script::new()
            .parse(name, "select $1::text")
            .execute(name, &[Some("v")])
            .batch(&[
                bind(name, name, &[Some("w")]),
                describe(b'P', name),
                execute(name, 1),
                execute(name, 0),
                sync(),
            ])
            .parse(name, "select 2")
            .batch(&[describe(b'S', name), sync()])
            .batch(&[close(b'S', name), sync()])
            .execute(name, &[Some("v")]);
        (name.get(..8).unwrap_or(name), script)
    }));
}

#[test]
fn more_statements_than_a_server_keeps_are_all_there() {
    let name = |n: u32| format!("many{n}");
    let text = |n: u32| format!("select {n}, $1::text");
    let numbers = || (0..450_u32).collect::<Vec<_>>();
    let parse_all: Vec<_> = numbers().iter().map(|n| parse(&name(*n), &text(*n))).collect();
    let run_all: Vec<_> =
        numbers().iter().map(|n| [bind("", &name(*n), &[Some("v")]), execute("", 0)].concat()).collect();
    same(
        &Script::new()
            .send(&[parse_all.concat(), sync()])
            .ready(1)
            .send(&[run_all.concat(), sync()])
            .ready(1)
            .execute(&name(0), &[Some("w")])
            .execute(&name(449), &[Some("w")])
            .send(&[run_all.concat(), run("nosuch"), run_all.concat(), sync()])
            .ready(1)
            .send(&[run_all.concat(), sync()])
            .ready(1),
    );
}
