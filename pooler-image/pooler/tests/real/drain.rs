//! The process ends as a daemon does.

use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{RawClient, wire};
use rustix::process::Signal;

use super::{app, app_login, options, sqlstate, start, value};

#[test]
fn sigterm_finishes_transactions_and_tells_idle_clients() {
    let mut pooler = start(&options(2));
    let mut idle = app(&pooler);
    let mut busy = app(&pooler);
    busy.query("begin").unwrap();
    pooler.signal(Signal::TERM).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(pooler.http_get("/readyz").unwrap().0, 503);
    let late = RawClient::login(&app_login(&pooler)).map(|mut client| value(&mut client, "select 'late'"));
    assert_eq!(late.unwrap(), "late", "Kubernetes still sends clients here");
    assert_eq!(value(&mut busy, "select 'served'"), "served");
    let farewell = idle.read().unwrap();
    assert_eq!(farewell.field(b'C').as_deref(), Some("57P01"));
    assert_eq!(value(&mut busy, "select 'served'"), "served");
    assert_eq!(super::tags(&busy.query("commit").unwrap()), "CZ");
    assert_eq!(busy.read().unwrap().field(b'C').as_deref(), Some("57P01"));
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn behind_the_deadline_running_statements_are_cancelled() {
    let mut pooler = start(&options(1).setting("drain_timeout", "\"500ms\""));
    let mut busy = app(&pooler);
    busy.send(&wire::query("select pg_sleep(60)")).unwrap();
    thread::sleep(Duration::from_millis(200));
    let asked = Instant::now();
    pooler.signal(Signal::TERM).unwrap();
    assert_eq!(sqlstate(&busy.read_through(b'Z').unwrap()).as_deref(), Some("57014"));
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(12));
}

#[test]
fn a_second_signal_means_now() {
    let mut pooler = start(&options(1));
    let mut busy = app(&pooler);
    busy.query("begin").unwrap();
    pooler.signal(Signal::TERM).unwrap();
    thread::sleep(Duration::from_millis(200));
    pooler.signal(Signal::TERM).unwrap();
    let asked = Instant::now();
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(6));
}
