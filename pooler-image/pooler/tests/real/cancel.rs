//! Cancel requests hit what their client asked for, and nothing else.

use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Pooler, RawClient, wire};

use super::{app, options, sqlstate, start, value};

fn cancel(pooler: &Pooler, pid: u32, key: &[u8]) {
    let mut connection = RawClient::connect(pooler.port()).unwrap();
    connection.send(&wire::cancel_request(pid, key)).unwrap();
    connection.read_to_end().unwrap();
}

#[test]
fn a_running_query_is_cancelled_and_its_client_goes_on() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    let (pid, key) = client.backend_key.clone().unwrap();
    client.send(&wire::query("select pg_sleep(30)")).unwrap();
    thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    cancel(&pooler, pid, &key);
    assert_eq!(sqlstate(&client.read_through(b'Z').unwrap()).as_deref(), Some("57014"));
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(value(&mut client, "select 1"), "1");
}

#[test]
fn a_query_that_waits_in_the_queue_is_cancelled_there() {
    let pooler = start(&options(1));
    let mut holder = app(&pooler);
    let mut waiter = app(&pooler);
    holder.query("begin").unwrap();
    let (pid, key) = waiter.backend_key.clone().unwrap();
    waiter.send(&wire::query("select 1")).unwrap();
    thread::sleep(Duration::from_millis(200));
    cancel(&pooler, pid, &key);
    assert_eq!(sqlstate(&waiter.read_through(b'Z').unwrap()).as_deref(), Some("57014"));
    assert_eq!(value(&mut holder, "select 'undisturbed'"), "undisturbed");
    holder.query("commit").unwrap();
    assert_eq!(value(&mut waiter, "select 2"), "2");
}

#[test]
fn a_wrong_key_and_the_key_of_an_idle_client_do_nothing() {
    let pooler = start(&options(1));
    let idle = app(&pooler);
    let mut busy = app(&pooler);
    let (idle_pid, idle_key) = idle.backend_key.clone().unwrap();
    let (pid, key) = busy.backend_key.clone().unwrap();
    busy.send(&wire::query("select pg_sleep(1)")).unwrap();
    thread::sleep(Duration::from_millis(200));
    let wrong: Vec<u8> = key.iter().map(|byte| byte ^ 1).collect();
    cancel(&pooler, pid, &wrong);
    cancel(&pooler, idle_pid, &idle_key);
    assert_eq!(sqlstate(&busy.read_through(b'Z').unwrap()), None);
}
