//! Simple queries: traps 11 to 14.

use pgpooler_test_support::wire;

use super::{Script, same, same_each};

#[test]
fn a_multi_statement_query_ends_in_one_ready_whatever_fails_in_it() {
    same(&Script::new().queries(&[
        "select 1, 'two', null",
        "",
        " ; ; ",
        "-- nothing but a comment",
        "select 1; select 2; select 3",
        "select 1; selec 2; select 3",
        "select 1; select 1/0; select 3",
        "select 1; commit; select 2",
        "select 1; rollback; select 2",
        "select 1;;select 2;",
        "values (1), (2)",
    ]));
}

#[test]
fn a_query_that_opens_a_transaction_keeps_its_server() {
    same(&Script::new().before("drop table if exists opened; create table opened (i int)").queries(&[
        "begin; insert into opened values (1)",
        "select count(*) from opened",
        "select 1; begin",
        "rollback",
        "select count(*) from opened",
        "begin; insert into opened values (2)",
        "commit; begin; insert into opened values (3)",
        "rollback; select count(*) from opened",
        "start transaction isolation level serializable read only",
        "show transaction_isolation",
        "insert into opened values (1)",
        "end",
        "begin; begin",
        "commit; commit",
    ]));
}

#[test]
fn an_implicit_transaction_fails_as_a_whole() {
    same(&Script::new().before("drop table if exists implicit; create table implicit (i int)").queries(&[
        "insert into implicit values (1); insert into implicit values (1/0)",
        "select count(*) from implicit",
        "insert into implicit values (1); begin; insert into implicit values (2)",
        "select 1/0",
        "commit",
        "select count(*) from implicit",
        "begin; insert into implicit values (3); commit; insert into implicit values (1/0)",
        "select count(*) from implicit",
    ]));
}

#[test]
fn begin_is_never_joined_with_what_follows() {
    let sequence =
        |next: &str| Script::new().queries(&["begin", next, "select 'after'", "rollback", "select 'out'"]);
    same_each([
        ("a syntax error", sequence("selec 1")),
        ("an error with a position", sequence("select nosuch from pg_class")),
        ("a second begin", sequence("begin")),
        ("a notice", sequence("do $$ begin raise notice 'in %', txid_current_if_assigned(); end $$")),
        ("nothing", sequence("")),
        ("a commit", sequence("commit")),
    ]);
}

#[test]
fn begin_and_a_query_in_one_packet_are_two_queries() {
    let packet = |parts: &[&str]| {
        let queries: Vec<_> = parts.iter().map(|sql| wire::query(sql)).collect();
        Script::new().send(&queries).ready(parts.len()).query("select 'after'")
    };
    same_each([
        ("good", packet(&["begin", "select 1", "commit"])),
        ("bad", packet(&["begin", "selec 1", "select 2", "rollback"])),
        ("a begin with options", packet(&["BEGIN READ ONLY", "show transaction_read_only", "COMMIT"])),
        ("many", packet(&["begin", "select 1", "commit", "begin", "select 2", "rollback", "", "select 3"])),
    ]);
}

#[test]
fn chained_transactions_go_on() {
    same(&Script::new().before("drop table if exists chained; create table chained (i int)").queries(&[
        "begin isolation level repeatable read",
        "insert into chained values (1)",
        "commit and chain",
        "show transaction_isolation",
        "insert into chained values (2)",
        "rollback and chain",
        "select count(*) from chained",
        "select 1/0",
        "rollback and chain",
        "select count(*) from chained",
        "select 1/0",
        "commit and chain",
        "commit",
        "commit and chain",
        "select 'out'",
    ]));
}

#[test]
fn savepoints_bring_a_failed_transaction_back() {
    same(&Script::new().queries(&[
        "begin",
        "savepoint a",
        "select 1/0",
        "select 1",
        "rollback to a",
        "select 1",
        "savepoint a",
        "release a",
        "rollback to nosuch",
        "rollback to a",
        "select 2",
        "commit",
        "savepoint outside",
    ]));
}

#[test]
fn a_prepared_transaction_leaves_its_server() {
    same(
        &Script::new().before("drop table if exists prepared_tx; create table prepared_tx (i int)").queries(
            &[
                "begin",
                "insert into prepared_tx values (1)",
                "prepare transaction 'conformance'",
                "select count(*) from prepared_tx",
                "select gid from pg_prepared_xacts where gid = 'conformance'",
                "commit prepared 'conformance'",
                "select count(*) from prepared_tx",
                "rollback prepared 'nosuch'",
                "begin; select 1/0",
                "prepare transaction 'conformance'",
                "select 'out'",
            ],
        ),
    );
}

#[test]
fn procedures_and_blocks_may_commit() {
    let before = "drop table if exists committed; create table committed (i int); \
        create or replace procedure commits(n int) language plpgsql as $$ begin \
        for i in 1..n loop insert into committed values (i); if i % 2 = 0 then commit; else rollback; end if; end loop; \
        end $$";
    same(&Script::new().before(before).queries(&[
        "call commits(5)",
        "select array_agg(i order by i) from committed",
        "begin; call commits(2)",
        "rollback",
        "begin",
        "call commits(2)",
        "rollback",
        "do $$ begin insert into committed values (9); commit; perform 1/0; end $$",
        "select array_agg(i order by i) from committed",
        "call commits(3); select 'behind'",
    ]));
}

#[test]
fn statements_that_refuse_a_transaction_say_so_alike() {
    same(&Script::new().queries(&[
        "begin",
        "vacuum pg_class",
        "rollback",
        "select 1; vacuum pg_class",
        "vacuum pg_catalog.pg_cast",
        "create database nosuch_place template nosuch",
        "drop database if exists nosuch_place",
        "alter system set work_mem = '4MB'",
    ]));
}

#[test]
fn large_texts_pass() {
    let text = "x".repeat(3_000_000);
    same(
        &Script::new()
            .query("select repeat('y', 5000000)")
            .query(&format!("select length('{text}')"))
            .query(&format!("select nosuch('{}')", "z".repeat(70_000))),
    );
}

#[test]
fn many_rows_and_many_columns_pass() {
    let columns: Vec<_> = (0..1600).map(|n| format!("{n} as c{n}")).collect();
    same(
        &Script::new()
            .query("select i, repeat('x', i % 100) from generate_series(1, 20000) i")
            .query(&format!("select {}", columns.join(",")))
            .query("select"),
    );
}

#[test]
fn notices_come_with_their_statement() {
    same(&Script::new().queries(&[
        "do $$ begin raise notice 'one'; raise warning 'two'; raise info 'three'; end $$",
        "set client_min_messages = error",
        "do $$ begin raise notice 'one'; raise warning 'two'; raise info 'three'; end $$",
        "reset client_min_messages",
        "drop table if exists never_there",
        "do $$ begin raise exception using errcode = 'ABCDE', detail = 'd', hint = 'h', table = 't', column = 'c', \
         constraint = 'k', schema = 's', datatype = 'y'; end $$",
        "commit",
        "set local work_mem = '5MB'",
    ]));
}

#[test]
fn a_notice_comes_before_its_statement_ends() {
    same(
        &Script::new()
            .send(&[wire::query("do $$ begin raise notice 'now'; perform pg_sleep(0.4); end $$")])
            .until(b'N')
            .silence(150)
            .ready(1),
    );
}
