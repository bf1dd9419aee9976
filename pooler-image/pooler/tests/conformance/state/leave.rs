//! What a client leaves behind is gone when it has gone: trap 45.

use pgpooler_test_support::wire::{bind, copy_data, execute, flush, parse, query, sync};

use super::super::script::Step;
use super::super::{Script, same_each};

fn ways() -> [(&'static str, Step); 2] {
    [("goodbye", Step::Leave), ("no goodbye", Step::Vanish)]
}

#[test]
fn the_next_client_can_make_the_same_again() {
    let things: [(&str, &[&str]); 6] = [
        ("temp table", &["create temp table again (i int)"]),
        ("prepared", &["prepare again as select 1", "execute again"]),
        ("cursor", &["begin; declare again cursor with hold for select 1; commit"]),
        ("lock", &["select pg_try_advisory_lock(821)"]),
        (
            "settings",
            &[
                "show work_mem",
                "set work_mem = '7MB'",
                "select nullif(current_setting('app.again', true), '')",
                "set app.again = 'x'",
            ],
        ),
        ("role", &["select current_user", "set role helper"]),
    ];
    let mut scripts = Vec::new();
    for (thing, makes) in things {
        for (way, step) in ways() {
            let mut script = Script::new().pin();
            for client in 0..3 {
                script = script.client(client).queries(makes).step(step.clone());
                if thing == "lock" {
                    script = script.admin_until(
                        "select count(*) = 0 from pg_locks where locktype = 'advisory' and objid = 821",
                    );
                }
            }
            scripts.push((format!("{thing}, {way}"), script));
        }
    }
    same_each(scripts.iter().map(|(label, script)| (label.as_str(), script.clone())));
}

#[test]
fn a_client_that_leaves_in_the_middle_is_undone() {
    let before = "drop table if exists undone; create table undone (i int)";
    let settled = "select count(*) = 0 from pg_stat_activity where query like '%undone%' and state <> 'idle' and pid <> pg_backend_pid()";
    let each = |script: Script| {
        script
            .step(Step::Vanish)
            .admin_until(settled)
            .client(0)
            .query("select count(*) from undone")
            .execute("s", &[])
            .query("select 'in step'")
    };
    let begun = || Script::new().before(before).client(1);
    same_each([
        ("in a transaction", each(begun().query("begin").query("insert into undone values (1)"))),
        (
            "in a failed one",
            each(begun().query("begin").query("insert into undone values (1)").query("select 1/0")),
        ),
        (
            "without sync",
            each(
                begun()
                    .send(&[
                        parse("s", "insert into undone values (1) returning i"),
                        bind("", "s", &[]),
                        execute("", 0),
                        flush(),
                    ])
                    .until(b'C'),
            ),
        ),
        (
            "after an error without sync",
            each(
                begun()
                    .send(&[
                        parse("s", "insert into undone values (1)"),
                        bind("", "s", &[]),
                        execute("", 0),
                        parse("", "selec"),
                        flush(),
                    ])
                    .until(b'E'),
            ),
        ),
        (
            "in the middle of Parse",
            each(begun().send(&[parse("s", "insert into undone values (1)")[..20].to_vec()])),
        ),
        (
            "in the middle of Bind",
            each(begun().send(&[
                parse("s", "insert into undone values ($1)"),
                bind("", "s", &[Some("12345")])[..12].to_vec(),
            ])),
        ),
        (
            "in the middle of a header",
            each(begun().send(&[query("select 1"), b"Q\0\0".to_vec()]).until(b'C')),
        ),
        (
            "with a row limit",
            each(
                begun()
                    .query("begin")
                    .send(&[
                        parse("s", "select i, 'undone' from generate_series(1, 9) i"),
                        bind("p", "s", &[]),
                        execute("p", 2),
                        flush(),
                    ])
                    .until(b's'),
            ),
        ),
        (
            "in copy",
            each(begun().send(&[query("copy undone from stdin")]).until(b'G').send(&[copy_data("1\n")])),
        ),
        (
            "owed replies",
            each(begun().send(&[
                query("select 'undone', pg_sleep(0.2)"),
                sync(),
                query("select 'undone', pg_sleep(0.2)"),
            ])),
        ),
    ]);
}
