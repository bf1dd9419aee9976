//! Settings that are not a SET by a simple query: by the extended protocol, in functions, roles, reports.

use pgpooler_test_support::wire::{bind, close, execute, parse, query, sync};

use super::super::script::unnamed;
use super::super::{Script, same, same_each};
use super::settings::look;

#[test]
fn a_setting_by_set_config_and_in_functions() {
    let follow = |name: &str, sets: &[&str]| {
        let show = look(name);
        let before = "create or replace function sets_work_mem() returns text language plpgsql as $$ begin set work_mem = '7MB'; return 'set'; end $$; \
             create or replace function has_work_mem() returns text language plpgsql set work_mem = '9MB' as $$ begin return current_setting('work_mem'); end $$; \
             create or replace function has_and_sets() returns text language plpgsql set work_mem = '9MB' as $$ begin set work_mem = '8MB'; set timezone = 'Japan'; return 'both'; end $$; \
             create or replace function fails() returns text language plpgsql as $$ begin begin set work_mem = '8MB'; perform 1/0; exception when others then null; end; return 'caught'; end $$; \
             drop table if exists triggers; create table triggers (i int); \
             drop function if exists on_insert; \
             create or replace procedure sets_and_commits() language plpgsql as $$ begin set work_mem = '7MB'; commit; set work_mem = '8MB'; rollback; end $$";
        Script::new()
            .before(before)
            .queries(sets)
            .query(&show)
            .pin()
            .extended(&show)
            .query("begin")
            .query(&show)
            .query("rollback")
            .query("reset all")
            .query(&show)
    };
    same_each([
        ("set_config", follow("work_mem", &["select set_config('work_mem', '7MB', false)"])),
        (
            "set_config, local",
            follow(
                "work_mem",
                &["begin", "select set_config('work_mem', '7MB', true)", "show work_mem", "commit"],
            ),
        ),
        ("set_config, local, outside", follow("work_mem", &["select set_config('work_mem', '7MB', true)"])),
        (
            "set_config, rolled back",
            follow("work_mem", &["begin", "select set_config('work_mem', '7MB', false)", "rollback"]),
        ),
        ("set_config, reported", follow("timezone", &["select set_config('timezone', 'Japan', false)"])),
        ("set_config, custom", follow("app.custom", &["select set_config('app.custom', 'mine', false)"])),
        (
            "set_config in an expression",
            follow(
                "work_mem",
                &[
                    "select length(set_config('work' || '_mem', i || 'MB', false)) from generate_series(5, 7) i",
                ],
            ),
        ),
        (
            "set_config in mixed case, qualified",
            follow("work_mem", &["SELECT pg_catalog . \"set_config\" ('work_mem', '7MB', false)"]),
        ),
        (
            "update pg_settings",
            follow("work_mem", &["update pg_settings set setting = '7168' where name = 'work_mem'"]),
        ),
        ("in DO", follow("work_mem", &["do $$ begin set work_mem = '7MB'; end $$"])),
        (
            "in DO, by execute",
            follow("work_mem", &["do $$ begin execute 'se' || 't work_mem = ''7MB'''; end $$"]),
        ),
        ("in a function", follow("work_mem", &["select sets_work_mem()"])),
        ("in a function, rolled back", follow("work_mem", &["begin", "select sets_work_mem()", "rollback"])),
        ("function with a SET clause", follow("work_mem", &["select has_work_mem()"])),
        ("function with a SET clause that sets", follow("work_mem", &["select has_and_sets()"])),
        ("in a block that is rolled back", follow("work_mem", &["select fails()"])),
        (
            "in a trigger",
            follow(
                "work_mem",
                &[
                    "create function on_insert() returns trigger language plpgsql as $$ begin \
                     perform set_config('work_mem', '7MB', false); return new; end $$",
                    "create trigger t before insert on triggers for each row execute function on_insert()",
                    "insert into triggers values (1)",
                ],
            ),
        ),
        ("in a procedure that commits", follow("work_mem", &["call sets_and_commits()"])),
        ("load of a role's defaults", follow("role", &["select set_config('role', 'helper', false)"])),
    ]);
}

#[test]
fn roles_stay_with_their_client() {
    let who = "select current_user, session_user, current_setting('role'), current_setting('is_superuser')";
    let each = |sets: &[&str]| {
        Script::new()
            .queries(sets)
            .query(who)
            .client(1)
            .query(who)
            .client(0)
            .query(who)
            .query("reset role")
            .query(who)
    };
    same_each([
        ("set role", each(&["set role helper"])),
        ("quoted", each(&["set role 'helper'"])),
        ("set role none", each(&["set role helper", "set role none"])),
        ("set local role", each(&["begin", "set local role helper", who, "commit"])),
        ("rolled back", each(&["begin", "set role helper", who, "rollback"])),
        ("committed", each(&["begin", "set role helper", "commit"])),
        ("unknown", each(&["set role nosuch"])),
        ("not a member", each(&["set role pg_signal_backend"])),
        ("reset all does not touch it", each(&["set role helper", "reset all"])),
        ("session authorization to itself", each(&["set session authorization app"])),
        ("session authorization of another", each(&["set session authorization helper"])),
        ("discard all", each(&["set role helper", "discard all"])),
    ]);
}

#[test]
fn a_setting_that_only_a_role_may_make_is_made_again_by_it() {
    same(
        &Script::new()
            .before("drop schema if exists of_helper cascade; create schema of_helper; create table of_helper.here (i int)")
            .query("set search_path = of_helper")
            .query("set role helper")
            .query("set work_mem = '7MB'")
            .query("set session characteristics as transaction read only")
            .query("show search_path")
            .query("select current_user, current_setting('work_mem'), current_setting('transaction_read_only')")
            .query("select * from here")
            .query("reset role")
            .query("select * from here")
            .query("insert into here values (1)")
            .query("reset default_transaction_read_only")
            .query("insert into here values (1)")
            .client(1)
            .query("select * from here")
            .query("select current_user, current_setting('search_path')"),
    );
}
#[test]
fn a_setting_by_the_extended_protocol() {
    let follow = |name: &str, parts: &[Vec<u8>]| {
        let show = format!("show {name}");
        Script::new().batch(parts).query(&show).client(1).query(&show).client(0).extended(&show)
    };
    let prepared = |sql: &str| [parse("s", sql), bind("", "s", &[]), execute("", 0), sync()];
    same_each([
        ("unnamed", follow("work_mem", &unnamed("set work_mem = '7MB'"))),
        ("named", follow("work_mem", &prepared("set work_mem = '7MB'"))),
        ("reported", follow("timezone", &prepared("set timezone = 'Japan'"))),
        ("role", follow("role", &prepared("set role helper"))),
        (
            "fails later",
            follow("work_mem", &[&unnamed("set work_mem = '7MB'")[..4], &unnamed("select 1/0")].concat()),
        ),
        (
            "two in one segment",
            follow(
                "work_mem",
                &[&unnamed("set work_mem = '6MB'")[..4], &unnamed("set work_mem = '7MB'")].concat(),
            ),
        ),
        (
            "skipped",
            follow("work_mem", &[&[parse("x", "selec")][..], &unnamed("set work_mem = '7MB'")].concat()),
        ),
        (
            "only described",
            follow("work_mem", &[parse("s", "set work_mem = '7MB'"), bind("", "s", &[]), sync()]),
        ),
        (
            "in a failed transaction",
            Script::new()
                .query("begin")
                .query("select 1/0")
                .batch(&unnamed("set work_mem = '7MB'"))
                .query("rollback")
                .query("show work_mem"),
        ),
        (
            "run again later",
            Script::new()
                .batch(&prepared("set work_mem = '7MB'"))
                .query("reset work_mem")
                .execute("s", &[])
                .query("show work_mem")
                .query("begin")
                .query("reset work_mem")
                .execute("s", &[])
                .query("rollback")
                .query("show work_mem")
                .batch(&[close(b'S', "s"), sync()])
                .query("show work_mem"),
        ),
        (
            "in a pipeline",
            Script::new()
                .send(&[
                    unnamed("set work_mem = '7MB'").concat(),
                    query("show work_mem"),
                    unnamed("reset work_mem").concat(),
                    query("show work_mem"),
                    query("set timezone = 'Japan'"),
                    unnamed("show timezone").concat(),
                ])
                .ready(6)
                .query("show timezone")
                .client(1)
                .query("show timezone"),
        ),
        (
            "by EXECUTE",
            Script::new()
                .query("prepare e as select set_config('work_mem', '7MB', false)")
                .query("execute e")
                .query("show work_mem")
                .pin(),
        ),
    ]);
}

#[test]
fn a_setting_reported_is_reported_once_and_to_its_client_only() {
    same(
        &Script::new()
            .query("set timezone = 'Japan'")
            .query("set timezone = 'Japan'")
            .query("select 1")
            .client(1)
            .query("select 1")
            .query("set timezone = 'Portugal'; set datestyle = 'German'; set application_name = 'x'")
            .client(0)
            .query("begin")
            .query("set timezone = 'Portugal'")
            .query("rollback")
            .query("begin; set timezone = 'Portugal'; set timezone = 'Japan'; commit")
            .query("set client_encoding = 'sql_ascii'")
            .query("reset all")
            .client(1)
            .query("reset timezone; reset datestyle")
            .query("set time zone 'utc'")
            .query("discard all"),
    );
}
