//! Temporary tables, cursors, locks, sequences: kept for their client, never seen by another.

use pgpooler_test_support::wire::{bind, execute, parse, sync};

use super::super::script::{Step, unnamed};
use super::super::{Script, same_each};

#[test]
fn what_lives_in_a_session_is_kept_for_its_client() {
    let each = |list: &[&str]| Script::new().pin().queries(list);
    same_each([
        (
            "temp table",
            each(&[
                "create temp table kept (i int)",
                "insert into kept values (1)",
                "select * from kept",
                "begin",
                "insert into kept values (2)",
                "rollback",
                "select * from kept",
                "drop table kept",
                "select * from kept",
            ]),
        ),
        (
            "temp table from a query",
            each(&[
                "create temporary table kept as select 1 as i",
                "select * from kept",
                "select 5 as j into temp kept2",
                "select * from kept2",
                "discard temp",
                "select * from kept2",
            ]),
        ),
        ("temp table in pg_temp", each(&["create table pg_temp.kept (i int)", "select * from kept"])),
        (
            "temp view, sequence, function",
            each(&[
                "create temp view kept as select 1",
                "select * from kept",
                "create temp sequence kept_s",
                "select nextval('kept_s')",
                "create function pg_temp.kept_f() returns int language sql as 'select 5'",
                "select pg_temp.kept_f()",
                "discard all",
                "select * from kept",
            ]),
        ),
        (
            "temp table in DO",
            each(&[
                "do $$ begin create temp table kept (i int); end $$",
                "select * from kept",
                "drop table kept",
            ]),
        ),
        (
            "temp table on commit drop",
            each(&["begin; create temp table kept (i int) on commit drop; commit", "select * from kept"]),
        ),
        (
            "temp table rolled back",
            each(&["begin; create temp table kept (i int)", "rollback", "select * from kept"]),
        ),
        (
            "local temp",
            each(&[
                "CREATE /* c */ LOCAL TEMP TABLE kept (i int) ON COMMIT DELETE ROWS",
                "insert into kept values (1)",
                "select * from kept",
            ]),
        ),
        (
            "with hold",
            each(&[
                "begin",
                "declare held cursor with hold for select i from generate_series(1, 5) i",
                "fetch 2 held",
                "commit",
                "fetch 2 held",
                "select name, is_holdable from pg_cursors",
                "close held",
                "fetch held",
            ]),
        ),
        (
            "with hold, rolled back",
            each(&["begin", "declare held cursor with hold for select 1", "rollback", "fetch held"]),
        ),
        (
            "without hold",
            each(&[
                "begin",
                "declare loose cursor for select i from generate_series(1, 5) i",
                "fetch 2 loose",
                "move 1 loose",
                "fetch all loose",
                "commit",
                "fetch loose",
                "declare outside cursor for select 1",
            ]),
        ),
        (
            "close all",
            each(&["begin; declare held cursor with hold for select 1; commit", "close all", "fetch held"]),
        ),
        (
            "advisory lock",
            each(&[
                "select pg_advisory_lock(801)",
                "select count(*) from pg_locks where locktype = 'advisory' and objid = 801",
                "select pg_advisory_unlock(801)",
                "select pg_advisory_unlock(801)",
            ]),
        ),
        (
            "try advisory lock",
            each(&[
                "select pg_try_advisory_lock(802)",
                "select pg_try_advisory_lock_shared(1, 803)",
                "select count(*) from pg_locks where locktype = 'advisory' and objid in (802, 803) and pid = pg_backend_pid()",
                "select pg_advisory_unlock_all()",
            ]),
        ),
        (
            "advisory lock of a transaction",
            each(&[
                "begin",
                "select pg_advisory_xact_lock(804)",
                "commit",
                "select count(*) from pg_locks where locktype = 'advisory' and objid = 804",
            ]),
        ),
        (
            "advisory lock in a function",
            each(&[
                "do $$ begin perform pg_advisory_lock(805); end $$",
                "select count(*) from pg_locks where locktype = 'advisory' and objid = 805",
                "select pg_advisory_unlock(805)",
            ]),
        ),
        (
            "sequences",
            Script::new().before("drop sequence if exists conf_seq; create sequence conf_seq").queries(&[
                "select currval('conf_seq')",
                "begin",
                "select nextval('conf_seq')",
                "select currval('conf_seq')",
                "select lastval()",
                "select setval('conf_seq', 10)",
                "select currval('conf_seq'), lastval()",
                "commit",
                "discard sequences",
                "select lastval()",
            ]),
        ),
        (
            "serial",
            Script::new()
                .before("drop table if exists conf_serial; create table conf_serial (id serial, v int)")
                .queries(&[
                    "begin",
                    "insert into conf_serial (v) values (1)",
                    "select lastval()",
                    "insert into conf_serial (v) values (2) returning id",
                    "select currval('conf_serial_id_seq')",
                    "commit",
                ]),
        ),
        ("load", each(&["load 'auto_explain'", "show auto_explain.log_min_duration"])),
        (
            "large objects",
            each(&[
                "begin",
                "select lo_open(lo_create(77001), 393216)",
                "select lowrite(0, 'abc')",
                "select lo_close(0)",
                "commit",
                "select lo_get(77001)",
                "select lo_unlink(77001)",
            ]),
        ),
        (
            "constraints",
            Script::new()
                .before("drop table if exists conf_def; create table conf_def (i int primary key deferrable)")
                .queries(&[
                    "begin",
                    "set constraints all deferred",
                    "insert into conf_def values (1), (1)",
                    "commit",
                    "select count(*) from conf_def",
                    "begin; insert into conf_def values (1), (1)",
                    "rollback",
                    "set constraints all deferred",
                ]),
        ),
        (
            "discard plans",
            each(&[
                "discard plans",
                "discard sequences",
                "discard temp",
                "discard all",
                "begin",
                "discard all",
                "rollback",
                "select 1; discard all",
            ]),
        ),
    ]);
}

#[test]
fn what_lives_in_a_session_by_the_extended_protocol() {
    same_each([
        (
            "temp table",
            Script::new()
                .pin()
                .batch(&unnamed("create temp table ext_kept (i int)"))
                .extended("select * from ext_kept")
                .batch(&[
                    parse("k", "insert into ext_kept values ($1) returning i"),
                    bind("", "k", &[Some("4")]),
                    execute("", 0),
                    sync(),
                ])
                .execute("k", &[Some("5")])
                .extended("table ext_kept"),
        ),
        (
            "advisory lock",
            Script::new()
                .pin()
                .batch(&[
                    parse("k", "select pg_advisory_lock($1)"),
                    bind("", "k", &[Some("811")]),
                    execute("", 0),
                    sync(),
                ])
                .extended("select count(*) from pg_locks where locktype = 'advisory' and objid = 811")
                .extended("select pg_advisory_unlock(811)"),
        ),
        (
            "with hold",
            Script::new()
                .pin()
                .query("begin")
                .extended("declare ext_held cursor with hold for select i from generate_series(1, 5) i")
                .query("commit")
                .extended("fetch 2 from ext_held")
                .extended("close ext_held"),
        ),
        (
            "sequence",
            Script::new()
                .before("drop sequence if exists conf_seq2; create sequence conf_seq2")
                .query("begin")
                .extended("select nextval('conf_seq2')")
                .extended("select lastval()")
                .query("commit"),
        ),
    ]);
}

#[test]
fn nobody_sees_what_another_keeps() {
    // the keeper goes first: with one server connection the other can only come after it
    let each = |keeps: &[&str], look: &str| {
        Script::new().client(1).queries(keeps).pin().step(Step::Leave).client(0).query(look).extended(look)
    };
    let many = |keeps: &[&str], look: &str| {
        Script::new().client(1).queries(keeps).client(0).query(look).extended(look).pin().many_servers()
    };
    let things: [(&str, &[&str], &str); 9] = [
        ("temp table", &["create temp table unseen (i int)"], "select * from unseen"),
        (
            "temp function",
            &["create function pg_temp.unseen_f() returns int language sql as 'select 5'"],
            "select count(*) from pg_proc where proname = 'unseen_f' and pronamespace = pg_my_temp_schema()",
        ),
        (
            "cursor",
            &["begin; declare unseen cursor with hold for select 1; commit"],
            "select count(*) from pg_cursors where name = 'unseen'",
        ),
        ("sequence", &["create temp sequence unseen_s; select nextval('unseen_s')"], "select lastval()"),
        ("listen", &["listen unseen"], "select count(*) from pg_listening_channels()"),
        (
            "set_config",
            &["select set_config('work_mem', '78MB', false), set_config('app.custom', 'x', false)"],
            "select current_setting('work_mem'), coalesce(current_setting('app.custom', true), '')",
        ),
        ("role in a block", &["do $$ begin set role helper; end $$"], "select current_user"),
        (
            "prepared",
            &["prepare unseen as select 1"],
            "select count(*) from pg_prepared_statements where name = 'unseen'",
        ),
        ("library", &["load 'auto_explain'; set auto_explain.log_min_duration = 77"], "show work_mem"),
    ];
    same_each(things.map(|(label, keeps, look)| (label, each(keeps, look))));
    same_each(things.map(|(label, keeps, look)| (label, many(keeps, look))));
}
