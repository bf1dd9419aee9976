//! The server end: killed connections, waiting clients: traps 47, 48, 53 and 55.

use pgpooler_test_support::wire::{query, sync};

use super::script::{Step, unnamed};
use super::{Script, same, same_each};

fn kill(marker: &str) -> String {
    format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like '%{marker}%' and pid <> pg_backend_pid()"
    )
}

#[test]
fn a_server_that_is_killed_says_so_once() {
    let running = |marker: &str| {
        format!(
            "select count(*) > 0 from pg_stat_activity where query like '%{marker}%' and state = 'active' and pid <> pg_backend_pid()"
        )
    };
    let each = |bytes: &[Vec<u8>], marker: &str| {
        Script::new()
            .send(bytes)
            .admin_until(&running(marker))
            .admin(&kill(marker))
            .closed()
            .client(1)
            .query("select 'undisturbed'")
    };
    same_each([
        ("while it runs a query", each(&[query("select pg_sleep(30), 'kill_a'")], "kill_a")),
        ("while it runs a batch", each(&unnamed("select pg_sleep(30), 'kill_b'"), "kill_b")),
        (
            "with more in the pipeline",
            each(&[query("select pg_sleep(30), 'kill_c'"), query("select 1"), sync()], "kill_c"),
        ),
        (
            "in a transaction",
            Script::new()
                .query("begin")
                .query("select 'kill_d'")
                .admin(&kill("kill_d"))
                .closed()
                .client(1)
                .query("select 'undisturbed'"),
        ),
        (
            "by itself",
            Script::new()
                .send(&[query("select pg_terminate_backend(pg_backend_pid())")])
                .closed()
                .client(1)
                .query("select 'undisturbed'"),
        ),
    ]);
}

#[test]
fn timeouts_of_the_server_are_passed_on() {
    same_each([
        (
            "statement",
            Script::new()
                .query("set statement_timeout = '50ms'")
                .query("select pg_sleep(10)")
                .query("reset statement_timeout")
                .query("select pg_sleep(0.1)"),
        ),
        (
            "lock",
            Script::new()
                .before("drop table if exists locked; create table locked (i int)")
                .client(1)
                .query("begin; lock table locked")
                .client(0)
                .query("set lock_timeout = '50ms'")
                .query("select * from locked")
                .client(1)
                .query("rollback")
                .client(0)
                .query("select * from locked")
                .many_servers(),
        ),
        (
            "idle in a transaction",
            Script::new()
                .query("set idle_in_transaction_session_timeout = '100ms'")
                .query("begin")
                .closed()
                .client(1)
                .query("select 'undisturbed'"),
        ),
    ]);
}

#[test]
fn a_deadlock_is_told_to_one_and_the_other_goes_on() {
    same_each([(
        "",
        Script::new()
            .before("drop table if exists dead; create table dead (i int primary key, v int); insert into dead values (1, 0), (2, 0)")
            .query("begin; set local deadlock_timeout = '50ms'; update dead set v = 1 where i = 1")
            .client(1)
            .query("begin; set local deadlock_timeout = '10s'; update dead set v = 1 where i = 2")
            .send(&[query("update dead set v = 2 where i = 1")])
            .client(0)
            .query("update dead set v = 2 where i = 2")
            .query("rollback")
            .client(1)
            .ready(1)
            .query("commit")
            .many_servers(),
    )]);
}

#[test]
fn clients_that_leave_while_they_wait_lose_nothing() {
    let mut script = Script::new().query("begin").query("select 1");
    for client in 1..6 {
        script = script.client(client).send(&[query("select 'waits'")]).step(Step::Vanish);
    }
    same(
        &script
            .client(0)
            .query("commit")
            .client(6)
            .query("select 'served'")
            .client(0)
            .query("select 'served'"),
    );
}
