//! The limit of server connections holds, and clients wait instead of failing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Pooler, Postgres, PostgresOptions, RawClient, wire};

use super::{app, app_login, options, sqlstate, start, value};

/// Most sessions of a role that a superuser saw while `work` ran.
fn peak_of<T>(server: &Postgres, role: &str, work: impl FnOnce() -> T) -> (u64, T) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut watcher = RawClient::login(&server.superuser()).unwrap();
            let sql = format!("select count(*) from pg_stat_activity where usename = '{role}'");
            let mut peak = 0;
            while !over.load(Ordering::Relaxed) {
                peak = peak.max(value(&mut watcher, &sql).parse().unwrap());
                thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        (sampler.join().unwrap(), outcome)
    })
}

/// Many clients at once, each with some transactions; how many failed.
fn storm(pooler: &Pooler, user: &str, clients: usize, transactions: usize) -> usize {
    let login = pooler.login(user, user, "postgres");
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let Ok(mut client) = RawClient::login(&login) else { return 1 };
                    let work =
                        |_| client.query("select pg_sleep(0.002)").is_ok_and(|m| sqlstate(&m).is_none());
                    usize::from(!(0..transactions).all(work))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn a_hundred_clients_share_three_server_connections_on_every_number_of_loops() {
    for workers in ["1", "2", "4"] {
        let server = own_server(20);
        let pooler = start_before(&server, 3, workers);
        let (peak, failed) = peak_of(&server, "app", || storm(&pooler, "app", 100, 5));
        assert_eq!(failed, 0, "{workers} loops");
        assert!((1..=3).contains(&peak), "{peak} sessions, {workers} loops");
    }
}

#[test]
fn the_first_storm_on_a_fresh_process_leaves_nobody_behind() {
    let server = own_server(40);
    for _ in 0..3 {
        let pooler = start_before(&server, 15, "2");
        assert_eq!(storm(&pooler, "app", 500, 2), 0);
    }
}

fn own_server(max_connections: u32) -> Postgres {
    let server = Postgres::start(&PostgresOptions { max_connections, ..PostgresOptions::default() }).unwrap();
    server.create_user("app", "app").unwrap();
    server.create_user("other", "other").unwrap();
    server
}

fn start_before(server: &Postgres, connections: u32, workers: &str) -> Pooler {
    let options = pgpooler_test_support::PoolerOptions::before(server)
        .user("app", "app")
        .user("other", "other")
        .setting("max_server_connections", &connections.to_string())
        .setting("workers", workers);
    start(&options)
}

#[test]
fn pools_take_connections_from_each_other_and_nobody_starves() {
    let server = own_server(20);
    let pooler = start_before(&server, 4, "2");
    let (_, failed) = peak_of(&server, "app", || {
        thread::scope(|scope| {
            let app = scope.spawn(|| storm(&pooler, "app", 40, 10));
            let other = scope.spawn(|| storm(&pooler, "other", 40, 10));
            app.join().unwrap() + other.join().unwrap()
        })
    });
    assert_eq!(failed, 0);
    let held: u64 = server
        .sql("select count(*) from pg_stat_activity where usename in ('app', 'other')")
        .unwrap()
        .concat()
        .concat()
        .parse()
        .unwrap();
    assert!(held <= 4, "{held} server connections of two pools under a limit of 4");
}

#[test]
fn a_server_that_is_full_makes_clients_wait_not_fail() {
    // 8 - 3 reserved leaves 5 for ordinary roles, and three of them are taken by somebody else
    let server = own_server(8);
    let login = pgpooler_test_support::Login::new(server.port(), "other", "other", "postgres");
    let others: Vec<_> = (0..4).map(|_| RawClient::login(&login).unwrap()).collect();
    let pooler = start_before(&server, 5, "1");
    assert_eq!(storm(&pooler, "app", 20, 5), 0);
    drop(others);
}

#[test]
fn a_client_that_waits_too_long_hears_so_and_stays() {
    let pooler = start(&options(1).setting("query_wait_timeout", "\"300ms\""));
    let mut holder = app(&pooler);
    let mut waiter = app(&pooler);
    holder.query("begin").unwrap();
    let asked = Instant::now();
    let answer = waiter.query("select 1").unwrap();
    assert_eq!(sqlstate(&answer).as_deref(), Some("53400"));
    assert!(asked.elapsed() >= Duration::from_millis(300));
    let batch = [wire::parse("", "select 1"), wire::bind("", "", &[]), wire::execute("", 0), wire::sync()];
    assert_eq!(super::tags(&waiter.exchange(&batch.concat()).unwrap()), "EZ");
    holder.query("commit").unwrap();
    assert_eq!(value(&mut waiter, "select 2"), "2");
}

#[test]
fn a_client_that_hangs_up_while_it_waits_leaves_the_queue() {
    let pooler = start(&options(1));
    let mut holder = app(&pooler);
    holder.query("begin").unwrap();
    let mut waiter = app(&pooler);
    waiter.send(&wire::query("select 1")).unwrap();
    thread::sleep(Duration::from_millis(100));
    drop(waiter);
    let mut last = app(&pooler);
    holder.query("commit").unwrap();
    assert_eq!(value(&mut last, "select 3"), "3");
}

#[test]
fn clients_beyond_max_client_conn_are_refused_and_others_are_not() {
    let pooler = start(&options(1).setting("max_client_conn", "2"));
    let (mut one, _two) = (app(&pooler), app(&pooler));
    let (_, messages) = RawClient::login_messages(&app_login(&pooler)).unwrap();
    assert_eq!(sqlstate(&messages).as_deref(), Some("53300"));
    assert_eq!(value(&mut one, "select 1"), "1");
}

#[test]
fn a_reload_with_a_lower_limit_closes_what_is_idle_above_it() {
    let server = own_server(20);
    let pooler = start_before(&server, 6, "2");
    storm(&pooler, "app", 20, 3);
    let options = pgpooler_test_support::PoolerOptions::before(&server)
        .user("app", "app")
        .setting("max_server_connections", "2")
        .setting("workers", "2");
    pooler.configure(&options).unwrap();
    let mut console = RawClient::login(&pgpooler_test_support::Login {
        database: "pgpooler".to_owned(),
        ..pooler.superuser()
    })
    .unwrap();
    console.query("reload").unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    let count = || {
        let sql = "select count(*) from pg_stat_activity where usename = 'app'";
        server.sql(sql).unwrap().concat().concat().parse::<u32>().unwrap()
    };
    while count() > 2 {
        assert!(Instant::now() < until, "{} server connections under a limit of 2", count());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(value(&mut app(&pooler), "select 1"), "1");
}

#[test]
fn one_statement_text_of_many_clients_is_prepared_once_per_server_connection() {
    let pooler = start(&options(1));
    for name in ["a", "b", "c"] {
        let mut client = app(&pooler);
        let batch = [
            wire::parse(name, "select 'shared'"),
            wire::bind("", name, &[]),
            wire::execute("", 0),
            wire::sync(),
        ];
        assert_eq!(super::tags(&client.exchange(&batch.concat()).unwrap()), "12DCZ");
    }
    let mut client = app(&pooler);
    let prepared = value(
        &mut client,
        "select count(*) from pg_prepared_statements where statement = 'select ''shared'''",
    );
    assert_eq!(prepared, "1");
}
