//! Cancel requests hit what their client asked for, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Message, Pooler, Postgres, PostgresOptions, RawClient, wire};
use rustix::process::Signal;

use super::{app, app_login, options, server, sqlstate, start, tags, value};

const PROTOCOL_3_2: u32 = 196_610;

pub(super) type Key = (u32, Vec<u8>);

/// Sends a cancel request and waits for the end of its connection, which must be all that comes.
pub(super) fn cancel(pooler: &Pooler, (pid, secret): &Key) -> Duration {
    let mut connection = RawClient::connect(pooler.port()).unwrap();
    let asked = Instant::now();
    connection.send(&wire::cancel_request(*pid, secret)).unwrap();
    assert_eq!(connection.read_to_end().unwrap(), b"");
    asked.elapsed()
}

pub(super) fn key_of(client: &RawClient) -> Key {
    client.backend_key.clone().unwrap()
}

pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(asked.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Begins to sleep for long, and waits until PostgreSQL does so.
pub(super) fn sleep(client: &mut RawClient, mark: &str) {
    client.send(&wire::query(&format!("select pg_sleep(30) /* {mark} */"))).unwrap();
    let found =
        format!("select 1 from pg_stat_activity where state = 'active' and query like '%/* {mark} */'");
    until("the query runs", || !server().sql(&found).unwrap().is_empty());
}

/// The sum of a gauge over all pools.
fn gauge(pooler: &Pooler, name: &str) -> f64 {
    let text = pooler.http_get("/metrics").unwrap().1;
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

pub(super) fn until_somebody_waits(pooler: &Pooler) {
    until("a client waits", || gauge(pooler, "pgpooler_clients_waiting") > 0.0);
}

pub(super) fn assert_canceled(answer: &[Message]) {
    assert_eq!(sqlstate(answer).as_deref(), Some("57014"), "{answer:?}");
}

fn long(pooler: &Pooler) -> RawClient {
    let mut login = app_login(pooler);
    login.version = PROTOCOL_3_2;
    RawClient::login(&login).unwrap()
}

/// Ends threads that look at it, also when a test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A server whose log tells every connection, cancel requests included.
fn talkative() -> Postgres {
    let server = Postgres::start(&PostgresOptions::default().setting("log_connections", "on")).unwrap();
    server.create_user("app", "app").unwrap();
    server
}

fn connections(server: &Postgres) -> usize {
    server.log().matches("connection received").count()
}

#[test]
fn a_running_query_is_cancelled_and_its_client_goes_on() {
    let pooler = start(&options(1));
    for mut client in [app(&pooler), long(&pooler)] {
        sleep(&mut client, "running");
        let asked = Instant::now();
        cancel(&pooler, &key_of(&client));
        assert_canceled(&client.read_through(b'Z').unwrap());
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert_eq!(value(&mut client, "select 1"), "1");
    }
}

#[test]
fn a_query_in_a_transaction_is_cancelled_and_the_transaction_has_failed() {
    let pooler = start(&options(1));
    let mut client = app(&pooler);
    client.query("begin").unwrap();
    sleep(&mut client, "in transaction");
    cancel(&pooler, &key_of(&client));
    let answer = client.read_through(b'Z').unwrap();
    assert_canceled(&answer);
    assert_eq!(answer.last().unwrap().body, b"E");
    assert_eq!(sqlstate(&client.query("select 1").unwrap()).as_deref(), Some("25P02"));
    assert_eq!(tags(&client.query("rollback").unwrap()), "CZ");
    assert_eq!(value(&mut client, "select 1"), "1");
}

#[test]
fn a_query_is_cancelled_in_session_mode() {
    let pooler = start(&options(1).setting("pool_mode", "\"session\""));
    let mut client = app(&pooler);
    client.query("set work_mem = '5MB'").unwrap();
    sleep(&mut client, "session");
    cancel(&pooler, &key_of(&client));
    assert_canceled(&client.read_through(b'Z').unwrap());
    assert_eq!(value(&mut client, "show work_mem"), "5MB");
}

#[test]
fn a_query_that_waits_in_the_queue_is_cancelled_there() {
    let pooler = start(&options(1));
    let mut holder = app(&pooler);
    let mut waiter = app(&pooler);
    holder.query("begin").unwrap();
    waiter.send(&wire::query("select 1")).unwrap();
    until_somebody_waits(&pooler);
    cancel(&pooler, &key_of(&waiter));
    assert_canceled(&waiter.read_through(b'Z').unwrap());
    assert_eq!(value(&mut holder, "select 'undisturbed'"), "undisturbed");
    holder.query("commit").unwrap();
    assert_eq!(value(&mut waiter, "select 2"), "2");
}

#[test]
fn a_batch_that_waits_in_the_queue_is_cancelled_up_to_its_sync() {
    let pooler = start(&options(1));
    let mut holder = app(&pooler);
    let mut waiter = app(&pooler);
    holder.query("begin").unwrap();
    let batch = |sql: &str| {
        let [bind, execute] = [wire::bind("", "", &[]), wire::execute("", 0)];
        [wire::parse("", sql), bind, execute, wire::sync()].concat()
    };
    waiter.send(&[batch("select 'first'"), batch("select 'second'")].concat()).unwrap();
    until_somebody_waits(&pooler);
    cancel(&pooler, &key_of(&waiter));
    let answer = waiter.read_through(b'Z').unwrap();
    assert_canceled(&answer);
    assert_eq!(tags(&answer), "EZ");
    holder.query("commit").unwrap();
    let answer = waiter.read_through(b'Z').unwrap();
    assert_eq!(tags(&answer), "12DCZ");
    assert_eq!(answer[2].columns(), ["second"]);
}

#[test]
fn the_key_of_an_idle_client_does_nothing_to_anybody_or_to_its_next_query() {
    let pooler = start(&options(1));
    let mut idle = app(&pooler);
    let mut busy = app(&pooler);
    assert_eq!(value(&mut idle, "select 'before'"), "before");
    busy.send(&wire::query("select pg_sleep(0.5)")).unwrap();
    for _ in 0..20 {
        cancel(&pooler, &key_of(&idle));
    }
    idle.send(&wire::query("select 'after'")).unwrap();
    assert_eq!(tags(&busy.read_through(b'Z').unwrap()), "TDCZ");
    assert_eq!(tags(&idle.read_through(b'Z').unwrap()), "TDCZ");
}

#[test]
fn nothing_reaches_postgresql_for_a_client_that_is_idle_in_a_transaction() {
    let server = talkative();
    let pooler = start(&options(1).target(&server));
    let mut client = app(&pooler);
    client.query("begin").unwrap();
    assert_eq!(value(&mut client, "select 1"), "1");
    let before = connections(&server);
    cancel(&pooler, &key_of(&client));
    assert_eq!(value(&mut client, "select 2"), "2");
    assert_eq!(connections(&server), before);
}

#[test]
fn a_wrong_key_does_nothing_and_ends_in_silence_like_that_of_an_idle_client() {
    let pooler = start(&options(1));
    let mut busy = app(&pooler);
    let idle = app(&pooler);
    let (pid, secret) = key_of(&busy);
    let (long_pid, long_secret) = key_of(&long(&pooler));
    sleep(&mut busy, "wrong key");
    let flipped = |secret: &[u8]| secret.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    let mut keys: Vec<Key> = vec![
        (pid, flipped(&secret)),
        (pid ^ 1, secret.clone()),
        (pid | 1 << 31, secret.clone()),
        (0, secret.clone()),
        (long_pid, flipped(&long_secret)),
        (long_pid, long_secret[..4].to_vec()),
    ];
    keys.extend(
        [5, 8, 31, 32, 33, 53, 256]
            .map(|length| (pid, secret.iter().copied().cycle().take(length).collect())),
    );
    keys.extend([31, 33, 53, 256].map(|length| (0, vec![7; length])));
    let median = |key: &Key| {
        let mut times: Vec<_> = (0..9).map(|_| cancel(&pooler, key)).collect();
        times.sort();
        times[4]
    };
    let known = median(&key_of(&idle));
    for key in &keys {
        let took = median(key);
        assert!(took.abs_diff(known) < Duration::from_millis(50), "{key:?}: {took:?}, idle: {known:?}");
    }
    assert_eq!(busy.read_within(Duration::ZERO + Duration::from_millis(100)).unwrap(), None, "undisturbed");
    cancel(&pooler, &(pid, secret));
    assert_canceled(&busy.read_through(b'Z').unwrap());
}

#[test]
fn a_key_is_of_no_use_when_its_client_has_left() {
    let pooler = start(&options(1));
    let old = app(&pooler);
    let key = key_of(&old);
    drop(old);
    until("the client has left", || gauge(&pooler, "pgpooler_clients_idle") == 0.0);
    let mut next = app(&pooler);
    sleep(&mut next, "next in the same place");
    cancel(&pooler, &key);
    assert_eq!(next.read_within(Duration::from_millis(300)).unwrap(), None);
}

#[test]
fn many_requests_for_one_query_cost_postgresql_few() {
    let server = talkative();
    let pooler = start(&options(1).target(&server));
    let mut client = app(&pooler);
    client.send(&wire::query("select pg_sleep(30)")).unwrap();
    until("the query runs", || {
        !server
            .sql("select 1 from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'")
            .unwrap()
            .is_empty()
    });
    let before = connections(&server);
    let key = key_of(&client);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| cancel(&pooler, &key));
        }
    });
    assert_canceled(&client.read_through(b'Z').unwrap());
    let cost = connections(&server) - before;
    assert!((1..=20).contains(&cost), "{cost} connections");
    assert_eq!(value(&mut client, "select 1"), "1");
}

/// What libpq's users rely on: `PQcancel` returns when the connection ends.
#[test]
fn when_the_request_is_answered_it_cannot_hit_the_next_query_any_more() {
    let pooler = start(&options(1).setting("pool_mode", "\"session\""));
    let mut client = app(&pooler);
    let key = key_of(&client);
    let mut canceled = 0;
    for round in 0..200 {
        client.send(&wire::query(&format!("select pg_sleep({})", f64::from(round % 5) / 2000.0))).unwrap();
        cancel(&pooler, &key);
        canceled += u32::from(sqlstate(&client.read_through(b'Z').unwrap()).is_some());
        for _ in 0..3 {
            assert_eq!(value(&mut client, "select 'next'"), "next", "round {round}");
        }
    }
    assert!(canceled > 0, "no request was in time: this showed nothing");
}

#[test]
fn requests_that_race_with_the_end_of_their_query_never_hit_another_client() {
    for connections in [1, 2] {
        let pooler = start(&options(connections));
        let mut victim = app(&pooler);
        let key = key_of(&victim);
        let done = &AtomicBool::new(false);
        let canceled = thread::scope(|scope| {
            let _ended = Until(done);
            for _ in 0..3 {
                let mut bystander = app(&pooler);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let answer = bystander.query("select 1 from pg_sleep(0.001)").unwrap();
                        assert_eq!(tags(&answer), "TDCZ", "{answer:?}");
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        cancel(&pooler, &key);
                    }
                });
            }
            let end = Instant::now() + Duration::from_secs(2);
            let mut canceled = 0;
            while Instant::now() < end {
                let answer = victim.query("select 1 from pg_sleep(0.001)").unwrap();
                match sqlstate(&answer).as_deref() {
                    Some("57014") => canceled += 1,
                    other => assert_eq!(other, None),
                }
            }
            canceled
        });
        assert!(canceled > 0, "no request was in time: this showed nothing");
    }
}

#[test]
fn requests_that_hit_settings_on_their_way_cost_the_client_its_query_at_most() {
    let pooler = start(&options(1));
    let mut victim = app(&pooler);
    let mut other = app(&pooler);
    victim.query("set work_mem = '5MB'").unwrap();
    other.query("set work_mem = '6MB'").unwrap();
    let key = key_of(&victim);
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _ended = Until(done);
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    cancel(&pooler, &key);
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(3);
        let mut canceled = 0;
        while Instant::now() < end {
            assert_eq!(value(&mut other, "show work_mem"), "6MB");
            // what it does to the session is asked for behind it
            let answer = victim.query("select set_config('work_mem', '5MB', false)").unwrap();
            assert!(matches!(sqlstate(&answer).as_deref(), None | Some("57014")), "{answer:?}");
            let mut ended = victim.query("begin; set work_mem = '7MB'; rollback").unwrap();
            while ended.last().unwrap().body != b"I" {
                ended = victim.query("rollback").unwrap();
            }
            let answer = victim.query("show work_mem").unwrap();
            if let Some(row) = answer.iter().find(|message| message.tag == b'D') {
                assert_eq!(row.columns(), ["5MB"]);
            } else {
                assert_canceled(&answer);
                canceled += 1;
            }
        }
        assert!(canceled > 0, "no request was in time: this showed nothing");
    });
}

#[test]
fn a_query_is_cancelled_while_the_pooler_leaves() {
    let mut pooler = start(&options(1).setting("drain_timeout", "0"));
    let mut client = app(&pooler);
    client.query("begin").unwrap();
    sleep(&mut client, "drain");
    pooler.signal(Signal::TERM).unwrap();
    until("the loops leave", || pooler.log().contains("clients are closed as their transactions end"));
    let late = RawClient::login(&app_login(&pooler)).unwrap_err().to_string();
    assert!(late.contains("57P03"), "{late}");
    cancel(&pooler, &key_of(&client));
    assert_canceled(&client.read_through(b'Z').unwrap());
    assert_eq!(tags(&client.query("rollback").unwrap()), "CZ");
    assert_eq!(client.read().unwrap().field(b'C').as_deref(), Some("57P01"));
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
}
