//! What one client leaves behind, no other sees.

use std::thread;
use std::time::Duration;

use pgpooler_test_support::wire;

use super::{app, options, start, tags, value};

#[test]
fn settings_of_one_client_are_not_seen_by_another() {
    for set in [
        "set work_mem = '77MB'",
        "set search_path = 'elsewhere'",
        "set application_name = 'x'",
        "set timezone = 'Japan'",
    ] {
        let pooler = start(&options(1));
        let (mut one, mut two) = (app(&pooler), app(&pooler));
        let name = set.split_whitespace().nth(1).unwrap();
        let show = format!("show {name}");
        let before = value(&mut two, &show);
        one.query(set).unwrap();
        assert_eq!(value(&mut two, &show), before, "{set}");
    }
}

#[test]
fn a_reported_setting_stays_with_the_client_that_set_it() {
    let pooler = start(&options(1));
    let (mut one, mut two) = (app(&pooler), app(&pooler));
    one.query("set timezone = 'Japan'").unwrap();
    for _ in 0..2 {
        assert_ne!(value(&mut two, "show timezone"), "Japan");
        assert_eq!(value(&mut one, "show timezone"), "Japan");
    }
    one.query("begin").unwrap();
    one.query("set timezone = 'Portugal'").unwrap();
    one.query("rollback").unwrap();
    assert_eq!(value(&mut one, "show timezone"), "Japan");
}

#[test]
fn temporary_tables_statements_cursors_and_listens_are_not_seen_by_another() {
    let pooler = start(&options(2));
    for (leave, look, clean) in [
        ("create temp table left_behind (i int)", "select to_regclass('left_behind') is null", "t"),
        (
            "prepare left_behind as select 1",
            "select count(*) from pg_prepared_statements where from_sql",
            "0",
        ),
        (
            "begin; declare c cursor with hold for select 1; commit",
            "select count(*) from pg_cursors where name = 'c'",
            "0",
        ),
        ("listen left_behind", "select count(*) from pg_listening_channels()", "0"),
        ("set role pg_monitor", "select current_user", "app"),
    ] {
        let mut one = app(&pooler);
        one.query(leave).unwrap();
        assert_eq!(value(&mut app(&pooler), look), clean, "{leave}");
        drop(one);
        for _ in 0..5 {
            assert_eq!(value(&mut app(&pooler), look), clean, "{leave}, then its client left");
        }
    }
}

#[test]
fn a_client_that_leaves_in_a_transaction_is_rolled_back() {
    let pooler = start(&options(1));
    let mut setup = app(&pooler);
    setup.query("drop table if exists half; create table half (i int)").unwrap();
    for _ in 0..5 {
        let mut client = app(&pooler);
        client.query("begin").unwrap();
        client.query("insert into half values (1)").unwrap();
        drop(client);
    }
    assert_eq!(value(&mut setup, "select count(*) from half"), "0");
    assert_eq!(
        value(
            &mut setup,
            "select count(*) from pg_stat_activity where state = 'idle in transaction' and query ~ 'into half'"
        ),
        "0"
    );
}

#[test]
fn a_client_that_leaves_while_its_query_runs_does_not_keep_the_server_busy() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    client.send(&wire::query("select pg_sleep(30)")).unwrap();
    thread::sleep(Duration::from_millis(200));
    drop(client);
    // the only server connection is free again long before the 30 s are over
    assert_eq!(value(&mut app(&pooler), "select 1"), "1");
}

#[test]
fn a_transaction_keeps_its_server_connection_and_a_pause_between_two_does_not() {
    let pooler = start(&options(2));
    let mut one = app(&pooler);
    one.query("begin").unwrap();
    let first = value(&mut one, "select pg_backend_pid()");
    let mut two = app(&pooler);
    assert_ne!(value(&mut two, "select pg_backend_pid()"), first);
    assert_eq!(value(&mut one, "select pg_backend_pid()"), first);
    one.query("commit").unwrap();
}

#[test]
fn in_session_mode_a_client_keeps_its_server_connection_and_its_settings() {
    let pooler = start(&options(2).setting("pool_mode", "\"session\""));
    let mut one = app(&pooler);
    one.query("set work_mem = '77MB'").unwrap();
    one.query("create temp table mine (i int)").unwrap();
    let pid = value(&mut one, "select pg_backend_pid()");
    assert_eq!(value(&mut one, "show work_mem"), "77MB");
    assert_eq!(value(&mut one, "select count(*) from mine"), "0");
    assert_eq!(value(&mut one, "select pg_backend_pid()"), pid);
    let batch = [wire::parse("s", "select 1"), wire::sync()].concat();
    assert_eq!(tags(&one.exchange(&batch).unwrap()), "1Z");
    assert_eq!(
        value(&mut one, "select name from pg_prepared_statements"),
        "s",
        "under the client's own name"
    );
    drop(one);
    let mut two = app(&pooler);
    assert_eq!(value(&mut two, "show work_mem"), "4MB");
    assert_eq!(value(&mut two, "select count(*) from pg_prepared_statements"), "0");
}

#[test]
fn a_message_that_its_client_never_finished_does_not_swallow_the_next_clients() {
    for tag in [b'd', b'f', b'H', b'c', b'Q'] {
        let pooler = start(&options(1));
        let mut client = app(&pooler);
        // says 1,000 bytes, sends ten, and owes the server the rest when it leaves
        client.send(&[&[tag][..], &1000_u32.to_be_bytes(), b"0123456789"].concat()).unwrap();
        thread::sleep(Duration::from_millis(200));
        drop(client);
        assert_eq!(value(&mut app(&pooler), "select 'undisturbed'"), "undisturbed", "{}", char::from(tag));
    }
}

#[test]
fn in_session_mode_nothing_is_left_behind_that_no_command_tag_tells() {
    let pooler = start(&options(1).setting("pool_mode", "\"session\""));
    let mut one = app(&pooler);
    value(&mut one, "select set_config('work_mem', '77MB', false)");
    one.query("select pg_advisory_lock(4711)").unwrap();
    drop(one);
    let mut two = app(&pooler);
    assert_eq!(value(&mut two, "show work_mem"), "4MB");
    assert_eq!(value(&mut two, "select count(*) from pg_locks where locktype = 'advisory'"), "0");
}
