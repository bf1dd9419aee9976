//! PREPARE, EXECUTE, DEALLOCATE and DISCARD by SQL, among statements of the protocol: traps 25 and 26.

use pgpooler_test_support::wire::{bind, close, describe, parse, query, sync};

use super::super::script::unnamed;
use super::super::{Script, same, same_each};
use super::run;

/// A client with a statement of the protocol, `s`, and one of SQL, `q`.
fn both() -> Script {
    Script::new().parse("s", "select 'by protocol'").query("prepare q as select 'by SQL'").pin()
}

#[test]
fn prepare_and_execute_by_sql() {
    let each = |list: &[&str]| Script::new().pin().queries(list);
    same_each([
        ("plain", each(&["prepare q as select 1", "execute q", "execute q", "deallocate q", "execute q"])),
        (
            "parameters",
            each(&[
                "prepare q(int, text) as select $1 + 1, $2",
                "execute q(1, 'a')",
                "execute q(1)",
                "execute q('x', 'y')",
                "deallocate prepare q",
            ]),
        ),
        ("twice", each(&["prepare q as select 1", "prepare q as select 2", "execute q"])),
        ("failed", each(&["prepare q as select nosuch", "execute q", "prepare q as select 1", "execute q"])),
        (
            "mixed case and comments",
            each(&[
                "/* a */ PREPARE -- b\n \"Q\" /**/ as select 1",
                "ExEcUtE \"Q\"",
                "execute q",
                "DEALLOCATE /* c */ \"Q\"",
                "execute \"Q\"",
            ]),
        ),
        (
            "several statements",
            each(&["prepare q as select 1; execute q; deallocate q; prepare q as select 2", "execute q"]),
        ),
        ("rolled back", each(&["begin", "prepare q as select 1", "rollback", "execute q"])),
        (
            "in a failed transaction",
            each(&[
                "begin",
                "select 1/0",
                "prepare q as select 1",
                "execute q",
                "deallocate q",
                "deallocate all",
                "rollback",
                "execute q",
            ]),
        ),
        (
            "of an insert",
            Script::new().before("drop table if exists sqlprep; create table sqlprep (i int)").pin().queries(
                &[
                    "prepare q(int) as insert into sqlprep values ($1)",
                    "execute q(1)",
                    "begin; execute q(2)",
                    "rollback",
                    "select * from sqlprep",
                ],
            ),
        ),
        (
            "create table as execute",
            each(&[
                "prepare q as select 1 as i",
                "create temp table sqlprep2 as execute q",
                "select * from sqlprep2",
                "explain (costs off) execute q",
            ]),
        ),
        ("in DO", each(&["do $$ begin execute 'prepare q as select 1'; end $$", "execute q"])),
        (
            "in a block rolled back",
            each(&[
                "do $$ begin begin execute 'prepare q as select 1'; perform 1/0; exception when others then null; end; end $$",
                "execute q",
            ]),
        ),
        ("error later in the text", each(&["prepare q as select 1; select 1/0", "execute q"])),
    ]);
}

#[test]
fn prepare_and_execute_by_sql_in_the_extended_protocol() {
    same_each([
        (
            "both",
            Script::new()
                .pin()
                .extended("prepare q as select 1")
                .extended("execute q")
                .extended("deallocate q")
                .extended("execute q"),
        ),
        (
            "one batch",
            Script::new()
                .pin()
                .batch(&[&unnamed("prepare q as select 1")[..4], &unnamed("execute q")].concat()),
        ),
        (
            "named",
            Script::new()
                .pin()
                .parse("p", "prepare q as select 1")
                .execute("p", &[])
                .execute("p", &[])
                .parse("e", "execute q")
                .execute("e", &[])
                .execute("e", &[]),
        ),
        (
            "prepared, then executed by protocol",
            Script::new()
                .pin()
                .query("prepare q as select 'by SQL'")
                .batch(&[describe(b'S', "q"), sync()])
                .execute("q", &[])
                .batch(&[close(b'S', "q"), sync()])
                .execute("q", &[])
                .query("execute q"),
        ),
    ]);
}

#[test]
fn statements_of_both_kinds_share_their_names() {
    same_each([
        (
            "parse of a name that SQL has",
            both().parse("q", "select 1").batch(&[run("q"), sync()]).query("execute q"),
        ),
        (
            "prepare of a name that the protocol has",
            both().query("prepare s as select 1").query("execute s").execute("s", &[]),
        ),
        ("execute of the protocol's", both().query("execute s").query("execute q")),
        (
            "execute of the protocol's, with parameters",
            both()
                .parse("w", "select $1::int + 1")
                .query("execute w(5)")
                .query("execute w")
                .execute("w", &[Some("6")]),
        ),
        (
            "execute of the protocol's only",
            Script::new()
                .parse("s", "select 'by protocol'")
                .query("execute s")
                .query("EXECUTE \"s\" ;")
                .extended("execute s")
                .execute("s", &[]),
        ),
        (
            "deallocate of the protocol's",
            both()
                .query("deallocate s")
                .execute("s", &[])
                .query("deallocate s")
                .parse("s", "select 'again'")
                .execute("s", &[]),
        ),
        (
            "deallocate of the protocol's only",
            Script::new()
                .parse("s", "select 1")
                .query("deallocate s")
                .execute("s", &[])
                .parse("s", "select 2")
                .execute("s", &[]),
        ),
        (
            "deallocate prepare",
            Script::new().parse("s", "select 1").query("DEALLOCATE PREPARE s").execute("s", &[]),
        ),
        (
            "deallocate with a quoted name",
            Script::new()
                .parse("S s", "select 1")
                .query("/* x */ deallocate -- y\n \"S s\"")
                .execute("S s", &[]),
        ),
        (
            "deallocate folds case",
            Script::new()
                .parse("s", "select 1")
                .parse("S", "select 2")
                .query("deallocate S")
                .execute("s", &[])
                .execute("S", &[]),
        ),
        (
            "deallocate of another's",
            Script::new()
                .client(1)
                .parse("theirs", "select 1")
                .client(0)
                .query("deallocate theirs")
                .client(1)
                .execute("theirs", &[]),
        ),
        (
            "deallocate of nothing",
            Script::new()
                .query("deallocate nosuch")
                .query("deallocate prepare nosuch")
                .extended("deallocate nosuch"),
        ),
        (
            "explain execute of the protocol's",
            Script::new().parse("s", "select 1").query("explain (costs off) execute s"),
        ),
    ]);
}

#[test]
fn deallocate_all_and_discard_all_drop_every_statement_of_their_client_only() {
    let mut scripts = Vec::new();
    for all in ["deallocate all", "DEALLOCATE PREPARE ALL", "/* x */ Discard -- y\n All ;", "discard all"] {
        let two = || {
            Script::new()
                .parse("s", "select 1")
                .parse("t", "select $1::int")
                .client(1)
                .parse("s", "select 'other'")
                .client(0)
        };
        let after = |script: Script| {
            script
                .execute("s", &[])
                .execute("t", &[Some("1")])
                .parse("s", "select 2")
                .execute("s", &[])
                .client(1)
                .execute("s", &[])
        };
        scripts.push((format!("{all}: simple"), after(two().query(all))));
        scripts.push((format!("{all}: extended"), after(two().extended(all))));
        scripts.push((
            format!("{all}: named"),
            after(two().parse("d", all).execute("d", &[]).execute("d", &[])),
        ));
        scripts.push((
            format!("{all}: unnamed statement"),
            two().parse("", "select 'u'").batch(&[parse("d", all), run("d"), sync()]).execute("", &[]),
        ));
        scripts.push((
            format!("{all}: failed transaction"),
            after(two().query("begin").query("select 1/0").query(all).extended(all).query("rollback")),
        ));
        scripts.push((
            format!("{all}: before a new parse"),
            two()
                .send(&[query(all), parse("s", "select 3"), run("s"), sync()])
                .ready(2)
                .execute("s", &[])
                .execute("t", &[Some("1")]),
        ));
        scripts.push((
            format!("{all}: before a new parse, extended"),
            two()
                .batch(&[parse("", all), run(""), parse("s", "select 3"), run("s"), sync()])
                .execute("s", &[])
                .execute("t", &[Some("1")]),
        ));
        scripts.push((
            format!("{all}: skipped"),
            two().batch(&[parse("", "selec"), parse("", all), run(""), sync()]).execute("s", &[]),
        ));
        scripts.push((
            format!("{all}: only in a text"),
            two()
                .query(&format!("select '{}' /* {} */", all.replace("/* x */", ""), "deallocate all"))
                .execute("s", &[]),
        ));
    }
    for list in [
        "select 1; deallocate all; select 2",
        "deallocate all; select 1/0",
        "begin; deallocate all; rollback",
        "deallocate all; deallocate s",
        "deallocate nosuch; deallocate all",
    ] {
        scripts.push((
            list.to_owned(),
            Script::new()
                .parse("s", "select 1")
                .query(list)
                .query("select 1")
                .execute("s", &[])
                .parse("s", "select 2")
                .execute("s", &[]),
        ));
    }
    same_each(scripts.iter().map(|(label, script)| (label.as_str(), script.clone())));
}

#[test]
fn discards_in_a_transaction_are_refused_alike() {
    same(
        &Script::new()
            .parse("s", "select 1")
            .queries(&[
                "begin",
                "discard all",
                "rollback",
                "select 1; discard all",
                "begin; deallocate all",
                "rollback",
            ])
            .execute("s", &[]),
    );
}

#[test]
fn what_the_server_calls_a_statement_stays_hidden() {
    same(
        &Script::new()
            .parse("s", "select $1::int")
            .execute("s", &[])
            .execute("s", &[Some("1"), Some("2")])
            .batch(&[bind("", "s", &[Some("x")]), sync()])
            .parse("long name with spaces", "select $1::int, $2::int")
            .execute("long name with spaces", &[])
            .query("execute _p0")
            .query("deallocate _p0")
            .query("deallocate _p1")
            .execute("_p1", &[]),
    );
}
