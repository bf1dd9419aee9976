//! Peers that do not read, or do not write.

use std::time::{Duration, Instant};

use pgpooler_test_support::{Login, RawClient, wire};

use super::super::{app, options, server, start, value};
use super::{growth, skim};

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_client_that_does_not_read_pauses_its_own_server_and_nobody_else() {
    const ROWS: usize = 100_000;
    let pooler = start(&options(2).setting("workers", "1"));
    let (mut slow, mut other) = (app(&pooler), app(&pooler));
    other.query("select 1").unwrap();
    slow.query("select 1").unwrap();
    let (grown, ()) = growth(&pooler, || {
        let sql = format!("select 'slow reader', repeat('x', 1000) from generate_series(1, {ROWS})");
        slow.send(&wire::query(&sql)).unwrap();
        let paused = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite' and query like '%slow reader%'";
        wait_until("back-pressure", || server().sql(paused).unwrap().concat().concat() == "1");
        for _ in 0..100 {
            assert_eq!(value(&mut other, "select 2"), "2");
        }
    });
    assert!(grown < 1 << 20, "{grown} bytes more for a client that does not read");
    let rows = skim(&slow, 1).iter().filter(|(tag, _)| *tag == b'D').count();
    assert_eq!(rows, ROWS, "it gets all of it when it reads");
}

/// As PostgreSQL does: it waits, and nothing is lost.
fn pipeline_without_reading(login: &Login) {
    const QUERIES: usize = 10_000;
    let client = RawClient::login(login).unwrap();
    let query = wire::query(&format!("select repeat('x', 5000) -- {}", "y".repeat(5000)));
    let mut writer = client.stream().try_clone().unwrap();
    let blocked = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            use std::io::Write as _;
            for n in 0..QUERIES {
                writer.write_all(&query).unwrap();
                blocked.store(n, std::sync::atomic::Ordering::Relaxed);
            }
        });
        // until the pipeline stands still: both directions are full
        let mut last = usize::MAX;
        wait_until("a full pipeline", || {
            std::thread::sleep(Duration::from_millis(300));
            let now = blocked.load(std::sync::atomic::Ordering::Relaxed);
            std::mem::replace(&mut last, now) == now
        });
        assert!(!writing.is_finished(), "the pipeline was meant to be longer than all buffers");
        let messages = skim(&client, QUERIES);
        assert_eq!(messages.len(), 4 * QUERIES);
    });
}

#[test]
fn a_pipeline_longer_than_all_buffers_waits_and_then_completes() {
    pipeline_without_reading(&Login::new(server().port(), "app", "app", "postgres"));
    let pooler = start(&options(1).setting("workers", "1"));
    let (grown, ()) = growth(&pooler, || pipeline_without_reading(&pooler.login("app", "app", "postgres")));
    assert!(grown < 2 << 20, "{grown} bytes more for a pipeline");
}
