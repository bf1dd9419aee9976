//! COPY in every awkward order: traps 33 to 36.

use pgpooler_test_support::wire::{
    bind, copy_data, copy_done, copy_fail, execute, flush, parse, query, sync, terminate,
};

use super::script::Step;
use super::{Script, same, same_each};

const BEFORE: &str = "drop table if exists TABLE; create table TABLE (i int, t text)";

fn script(table: &str) -> Script {
    Script::new().before(&BEFORE.replace("TABLE", table))
}

fn copy_in(table: &str) -> Vec<u8> {
    query(&format!("copy {table} from stdin"))
}

fn extended_copy(table: &str) -> Vec<u8> {
    [parse("", &format!("copy {table} from stdin")), bind("", "", &[]), execute("", 0)].concat()
}

#[test]
fn copy_in_by_a_simple_query() {
    same(
        &script("copy_a")
            .send(&[copy_in("copy_a")])
            .until(b'G')
            .batch(&[copy_data("1\tone\n2\ttw"), copy_data("o\n"), copy_data("\\.\n"), copy_done()])
            .query("select * from copy_a order by i")
            .send(&[copy_in("copy_a")])
            .until(b'G')
            .batch(&[copy_done()])
            .send(&[
                copy_in("copy_a"),
                copy_data("3\tthree\n"),
                copy_done(),
                query("select count(*) from copy_a"),
            ])
            .ready(2)
            .send(&[copy_in("copy_a")])
            .until(b'G')
            .batch(&[copy_fail("changed my mind")])
            .query("select count(*) from copy_a"),
    );
}

#[test]
fn copy_among_other_statements_of_one_query() {
    same(
        &script("copy_b")
            .send(&[query("select 1; copy copy_b from stdin; select count(*) from copy_b; copy copy_b from stdin; select 2")])
            .until(b'G')
            .send(&[copy_data("1\ta\n"), copy_done()])
            .until(b'G')
            .batch(&[copy_data("2\tb\n"), copy_done()])
            .query("copy (select 1) to stdout; select 2; copy (select 3) to stdout")
            .send(&[query("begin; copy copy_b from stdin")])
            .until(b'G')
            .batch(&[copy_data("3\tc\n"), copy_done()])
            .query("select count(*) from copy_b")
            .query("rollback; select count(*) from copy_b"),
    );
}

#[test]
fn an_error_during_copy_comes_at_once_and_the_rest_is_swallowed() {
    let after = |script: Script| script.query("select 'in step'").query("select count(*) from copy_c");
    let begun = || {
        script("copy_c")
            .send(&[copy_in("copy_c")])
            .until(b'G')
            .send(&[copy_data("not a number\tx\n")])
            .until(b'E')
            .ready(1)
    };
    same_each([
        ("then nothing", after(begun())),
        ("then data", after(begun().send(&[copy_data("1\tx\n"), copy_data("2\tx\n")]).silence(50))),
        ("then data and done", after(begun().send(&[copy_data("1\tx\n"), copy_done()]).silence(50))),
        ("then fail", after(begun().send(&[copy_fail("late")]).silence(50))),
        (
            "then done in two pieces",
            after(begun().pieces(&[copy_data("1\tx\n"), copy_done()], 3, 2).silence(30)),
        ),
        ("then done and a query", begun().send(&[copy_done(), query("select 'behind'")]).ready(1)),
        (
            "all in one packet",
            after(script("copy_c").batch(&[
                copy_in("copy_c"),
                copy_data("x\n"),
                copy_data("1\tx\n"),
                copy_done(),
            ])),
        ),
        (
            "all in one packet with a query",
            script("copy_c")
                .send(&[
                    copy_in("copy_c"),
                    copy_data("x\n"),
                    copy_data("1\tx\n"),
                    copy_done(),
                    query("select 'behind'"),
                ])
                .ready(2),
        ),
        (
            "in a transaction",
            script("copy_c")
                .query("begin")
                .send(&[copy_in("copy_c"), copy_data("x\n"), copy_done()])
                .ready(1)
                .query("select 1")
                .query("rollback"),
        ),
    ]);
}

#[test]
fn a_large_copy_that_fails_early() {
    let data: Vec<_> = (0..2000).map(|n| copy_data(&format!("{n}\t{}\n", "x".repeat(500)))).collect();
    same(
        &script("copy_d")
            .send(&[copy_in("copy_d")])
            .until(b'G')
            .send(&[copy_data("bad\tx\n"), data.concat(), copy_done(), query("select 'behind'")])
            .ready(2)
            .send(&[copy_in("copy_d"), data.concat(), copy_done()])
            .ready(1)
            .query("select count(*), sum(length(t)) from copy_d"),
    );
}

#[test]
fn sync_and_flush_during_copy_are_ignored() {
    same_each([
        (
            "simple",
            script("copy_e")
                .send(&[copy_in("copy_e")])
                .until(b'G')
                .send(&[sync(), flush(), copy_data("1\tx\n"), sync()])
                .silence(50)
                .batch(&[copy_done()])
                .query("select count(*) from copy_e"),
        ),
        (
            "extended, sync early",
            script("copy_e")
                .send(&[extended_copy("copy_e"), sync()])
                .until(b'G')
                .send(&[copy_data("1\tx\n"), copy_done(), sync()])
                .ready(1)
                .query("select count(*) from copy_e"),
        ),
        (
            "extended, all at once",
            script("copy_e")
                .batch(&[extended_copy("copy_e"), sync(), copy_data("1\tx\n"), copy_done(), sync()])
                .query("select count(*) from copy_e"),
        ),
        (
            "extended, flush first",
            script("copy_e")
                .send(&[extended_copy("copy_e"), flush()])
                .until(b'G')
                .batch(&[copy_data("1\tx\n"), flush(), copy_done(), sync()])
                .query("select count(*) from copy_e"),
        ),
        (
            "extended, more behind it",
            script("copy_e").send(&[extended_copy("copy_e"), flush()]).until(b'G').batch(&[
                copy_data("1\tx\n"),
                copy_done(),
                parse("", "select 'behind'"),
                bind("", "", &[]),
                execute("", 0),
                sync(),
            ]),
        ),
        (
            "extended, without sync first",
            script("copy_e")
                .send(&[extended_copy("copy_e"), flush()])
                .until(b'G')
                .send(&[copy_done(), flush()])
                .until(b'C')
                .silence(30)
                .batch(&[sync()]),
        ),
    ]);
}

#[test]
fn an_error_in_an_extended_copy_skips_to_the_sync_behind_it() {
    let begun = || {
        script("copy_f").send(&[extended_copy("copy_f"), flush()]).until(b'G').send(&[copy_data("bad\tx\n")])
    };
    let after = |script: Script| script.query("select 'in step'").query("select count(*) from copy_f");
    same_each([
        ("done and sync", after(begun().send(&[copy_done(), sync()]).until(b'E').ready(1))),
        (
            "error first",
            after(
                begun()
                    .send(&[flush()])
                    .until(b'E')
                    .silence(30)
                    .send(&[copy_data("1\tx\n"), copy_done()])
                    .silence(30)
                    .batch(&[sync()]),
            ),
        ),
        ("fail and sync", after(begun().send(&[copy_fail("no"), sync()]).ready(1))),
        (
            "only fail",
            after(script("copy_f").send(&[extended_copy("copy_f"), flush()]).until(b'G').batch(&[
                copy_fail("no"),
                parse("", "selec"),
                sync(),
            ])),
        ),
        (
            "early sync",
            after(
                script("copy_f")
                    .send(&[extended_copy("copy_f"), sync()])
                    .until(b'G')
                    .send(&[copy_data("bad\tx\n"), copy_done(), sync()])
                    .ready(1),
            ),
        ),
        (
            "two syncs",
            after(
                script("copy_f")
                    .send(&[extended_copy("copy_f"), sync()])
                    .until(b'G')
                    .send(&[copy_data("bad\tx\n"), copy_done(), sync(), sync()])
                    .ready(2),
            ),
        ),
    ]);
}

#[test]
fn a_message_that_copy_does_not_know_ends_it() {
    let begun = || script("copy_g").send(&[copy_in("copy_g")]).until(b'G').send(&[copy_data("1\tx\n")]);
    same_each([
        (
            "a query",
            begun()
                .send(&[query("select 'too early'")])
                .closed()
                .client(1)
                .query("select count(*) from copy_g"),
        ),
        (
            "a parse",
            begun().send(&[parse("", "select 1")]).closed().client(1).query("select count(*) from copy_g"),
        ),
        ("terminate", begun().send(&[terminate()]).closed().client(1).query("select count(*) from copy_g")),
    ]);
}

#[test]
fn a_client_that_leaves_during_copy_takes_nothing_with_it() {
    let begun =
        || script("copy_h").client(1).send(&[copy_in("copy_h")]).until(b'G').send(&[copy_data("1\tx\n")]);
    let settled =
        "select count(*) = 0 from pg_stat_activity where query like 'copy copy_h%' and state <> 'idle'";
    let after = |script: Script| script.admin_until(settled).client(0).query("select count(*) from copy_h");
    same_each([
        ("without a word", after(begun().step(Step::Vanish))),
        (
            "in the middle of a message",
            after(begun().send(&[copy_data("2\ttwo\n")[..7].to_vec()]).step(Step::Vanish)),
        ),
        ("half", after(begun().step(Step::HalfClose).closed())),
    ]);
}

#[test]
fn copy_out_in_all_forms() {
    let rows = "select i, repeat('x', 100) from generate_series(1, 3000) i";
    same(
        &Script::new()
            .query(&format!("copy ({rows}) to stdout"))
            .query(&format!("copy ({rows}) to stdout (format binary)"))
            .query("copy (select 1/(3-i) from generate_series(1, 5) i) to stdout")
            .query("copy (select 1 where false) to stdout")
            .extended(&format!("copy ({rows}) to stdout (format csv)"))
            .extended("copy (select 1/(3-i) from generate_series(1, 5) i) to stdout")
            .query("copy nosuch to stdout"),
    );
}

#[test]
fn a_client_that_leaves_in_the_middle_of_copy_out() {
    let settled = "select count(*) = 0 from pg_stat_activity where query like 'copy (select repeat%' and state = 'active'";
    same(
        &Script::new()
            .client(1)
            .send(&[query(
                "copy (select repeat('conformance', 100) from generate_series(1, 3000000)) to stdout",
            )])
            .until(b'H')
            .until(b'd')
            .step(Step::Vanish)
            .admin_until(settled)
            .client(0)
            .query("select 'undisturbed'"),
    );
}
