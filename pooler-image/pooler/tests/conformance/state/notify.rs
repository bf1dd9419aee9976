//! LISTEN and NOTIFY.

use super::super::script::Step;
use super::super::{Script, same_each};

#[test]
fn a_listening_client_hears_while_idle() {
    same_each([
        (
            "from another session",
            Script::new()
                .query("listen conf_n1")
                .pin()
                .admin("notify conf_n1, 'hello'")
                .until(b'A')
                .silence(30)
                .query("select 1")
                .query("unlisten conf_n1")
                .admin("notify conf_n1, 'too late'")
                .silence(50)
                .query("select 1"),
        ),
        (
            "from itself",
            Script::new()
                .query("listen conf_n2")
                .pin()
                .query("notify conf_n2, 'mine'")
                .query("begin")
                .query("notify conf_n2, 'later'")
                .query("notify conf_n2, 'later'")
                .query("commit")
                .query("begin")
                .query("notify conf_n2, 'never'")
                .query("rollback")
                .query("select 1"),
        ),
        (
            "in a transaction only at its end",
            Script::new()
                .query("listen conf_n3")
                .pin()
                .query("begin")
                .admin("notify conf_n3")
                .silence(50)
                .query("commit")
                .query("select 1"),
        ),
        (
            "listen rolled back",
            Script::new()
                .query("begin")
                .query("listen conf_n4")
                .query("rollback")
                .admin("notify conf_n4")
                .silence(50)
                .query("select count(*) from pg_listening_channels()"),
        ),
        (
            "listen committed",
            Script::new()
                .query("begin; listen conf_n5; commit")
                .pin()
                .admin("notify conf_n5, 'x'")
                .until(b'A')
                .query("select * from pg_listening_channels()"),
        ),
        (
            "by the extended protocol",
            Script::new()
                .extended("listen \"Conf N6\"")
                .pin()
                .admin("notify \"Conf N6\", 'x'")
                .until(b'A')
                .extended("unlisten *")
                .admin("notify \"Conf N6\", 'y'")
                .silence(50)
                .query("select 1"),
        ),
        (
            "many",
            Script::new()
                .query("listen conf_n7; listen conf_n8")
                .pin()
                .admin("notify conf_n7, '1'; notify conf_n8, '2'; select pg_notify('conf_n7', '3')")
                .until(b'A')
                .until(b'A')
                .until(b'A')
                .query("select 1"),
        ),
        (
            "discard all ends it",
            Script::new()
                .query("listen conf_n9")
                .pin()
                .query("discard all")
                .admin("notify conf_n9")
                .silence(50)
                .query("select count(*) from pg_listening_channels()"),
        ),
    ]);
}

#[test]
fn nobody_hears_what_another_listened_to() {
    same_each([
        (
            "after it left",
            Script::new()
                .client(1)
                .query("listen conf_m1")
                .pin()
                .step(Step::Leave)
                .client(0)
                .query("select * from pg_listening_channels()")
                .admin("notify conf_m1")
                .query("select 1")
                .silence(50),
        ),
        (
            "after unlisten",
            Script::new()
                .client(1)
                .query("listen conf_m2")
                .pin()
                .query("unlisten *")
                .client(0)
                .query("select * from pg_listening_channels()")
                .admin("notify conf_m2")
                .query("select 1")
                .silence(50),
        ),
        (
            "from a client that does not listen",
            Script::new()
                .query("notify conf_m3, 'x'")
                .query("select pg_notify('conf_m3', 'y')")
                .query("notify conf_m3, ''")
                .silence(30),
        ),
    ]);
}

#[test]
fn two_clients_listen_to_one_channel() {
    let script = Script::new()
        .query("listen conf_two")
        .client(1)
        .query("listen conf_two")
        .pin()
        .client(2)
        .query("notify conf_two, 'both'")
        .client(0)
        .until(b'A')
        .client(1)
        .until(b'A')
        .query("unlisten conf_two")
        .client(0)
        .query("notify conf_two, 'one'")
        .client(1)
        .silence(50)
        .query("select 1");
    same_each([("", script.many_servers())]);
}
