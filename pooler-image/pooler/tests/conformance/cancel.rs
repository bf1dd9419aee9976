//! Requests to cancel: traps 49 and 50. Those across replicas and to TLS servers are tested where they are made.

use pgpooler_test_support::wire::{copy_data, parse, query, sync};

use super::script::{Key, unnamed};
use super::{Script, same, same_each};

fn running(marker: &str) -> String {
    format!(
        "select count(*) > 0 from pg_stat_activity where query like '%{marker}%' and state = 'active' and pid <> pg_backend_pid()"
    )
}

#[test]
fn what_runs_is_cancelled_and_its_client_goes_on() {
    let sleep = |marker: &str| format!("select pg_sleep(30), '{marker}'");
    let each = |script: Script, marker: &str| script.admin_until(&running(marker)).cancel(Key::Right);
    let simple = |script: Script, marker: &str| each(script.send(&[query(&sleep(marker))]), marker);
    same_each([
        ("simple", simple(Script::new(), "cancel_a").ready(1).query("select 'in step'")),
        (
            "extended",
            each(Script::new().send(&unnamed(&sleep("cancel_b"))), "cancel_b")
                .ready(1)
                .query("select 'in step'"),
        ),
        (
            "in a transaction",
            simple(Script::new().query("begin"), "cancel_c").ready(1).query("select 1").query("rollback"),
        ),
        (
            "a pipeline",
            each(
                Script::new().send(&[
                    query(&sleep("cancel_d")),
                    query("select 'behind'"),
                    unnamed("select 1").concat(),
                ]),
                "cancel_d",
            )
            .ready(3),
        ),
        (
            "without sync yet",
            each(
                Script::new()
                    .send(&unnamed(&sleep("cancel_e"))[..4])
                    .send(&[pgpooler_test_support::wire::flush()]),
                "cancel_e",
            )
            .until(b'E')
            .silence(30)
            .batch(&[sync()]),
        ),
        ("several statements", simple(Script::new(), "cancel_f").ready(1).query("select 'in step'")),
        (
            "in copy",
            each(
                Script::new().send(&[query("copy (select pg_sleep(30), 'cancel_g') to stdout")]),
                "cancel_g",
            )
            .ready(1)
            .query("select 'in step'"),
        ),
        (
            "twice",
            simple(Script::new(), "cancel_h")
                .ready(1)
                .cancel(Key::Right)
                .silence(30)
                .query("select 'in step'"),
        ),
    ]);
}

#[test]
fn copy_in_is_cancelled_when_it_has_read_on() {
    same(
        &Script::new()
            .before("drop table if exists cancelled_copy; create table cancelled_copy (i int)")
            .send(&[query("copy cancelled_copy from stdin")])
            .until(b'G')
            .admin_until(
                "select count(*) > 0 from pg_stat_activity where query like 'copy cancelled_copy%' and wait_event = 'ClientRead'",
            )
            .cancel(Key::Right)
            .silence(100)
            .send(&[copy_data("1\n")])
            .until(b'E')
            .ready(1)
            .query("select count(*) from cancelled_copy"),
    );
}

#[test]
fn keys_of_nothing_that_runs_do_nothing() {
    same_each([
        (
            "idle",
            Script::new().query("select 1").cancel(Key::Right).silence(50).query("select 'undisturbed'"),
        ),
        (
            "idle in a transaction",
            Script::new()
                .query("begin")
                .cancel(Key::Right)
                .silence(50)
                .query("select 'undisturbed'")
                .query("commit"),
        ),
        (
            "after Parse",
            Script::new()
                .batch(&[parse("s", "select 1"), sync()])
                .cancel(Key::Right)
                .silence(30)
                .execute("s", &[]),
        ),
        ("fresh", Script::new().login(&[]).cancel(Key::Right).silence(30).query("select 1")),
        (
            "idle while another runs",
            Script::new()
                .query("select 1")
                .client(1)
                .send(&[query("select pg_sleep(0.3), 'cancel_i'")])
                .admin_until(&running("cancel_i"))
                .client(0)
                .cancel(Key::Right)
                .client(1)
                .ready(1),
        ),
    ]);
}

#[test]
fn wrong_keys_do_nothing() {
    let each = |key: Key| {
        Script::new()
            .send(&[query("select pg_sleep(0.4), 'cancel_j'")])
            .admin_until(&running("cancel_j"))
            .cancel(key)
            .ready(1)
            .query("select 'in step'")
    };
    same_each([
        ("wrong", each(Key::Wrong)),
        ("too long", each(Key::Long)),
        ("of nobody", each(Key::Stranger)),
    ]);
}

#[test]
fn a_cancel_never_hits_what_comes_later() {
    let mut script = Script::new();
    for _ in 0..10 {
        script =
            script.query("select 1").cancel(Key::Right).client(1).query("select pg_sleep(0.01)").client(0);
    }
    same(&script.query("select 'undisturbed'").client(1).query("select 'undisturbed'"));
}
