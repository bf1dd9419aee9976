//! The process's side of the budget: what it is told it may hold, it holds, by what PostgreSQL itself sees.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Login, Pooler, PoolerOptions, Postgres, PostgresOptions, RawClient, wire};
use rustix::process::Signal;

use super::{app, lends, sqlstate, start, tags, value};

const PATIENCE: Duration = Duration::from_secs(20);

fn own_server(max_connections: u32) -> Postgres {
    let server = Postgres::start(&PostgresOptions { max_connections, ..PostgresOptions::default() }).unwrap();
    server.create_user("app", "app").unwrap();
    server.create_user("other", "other").unwrap();
    server
}

/// With this floor, and so short a grace that it is over when the pooler is ready.
fn pod(server: &Postgres, floor: u32, workers: u32) -> PoolerOptions {
    PoolerOptions::before(server)
        .user("app", "app")
        .user("other", "other")
        .setting("workers", &workers.to_string())
        .setting("server_login_retry", "0.1")
        .environment("PGPOOLER_FLOOR", &floor.to_string())
        .environment("PGPOOLER_START_GRACE", "10ms")
}

/// The operator, or somebody with psql.
struct Operator {
    console: RawClient,
    sequence: u64,
}

type Row = BTreeMap<String, String>;

impl Operator {
    fn of(pooler: &Pooler) -> Self {
        let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
        Self { console: RawClient::login(&login).unwrap(), sequence: 0 }
    }

    /// The row that a command answers, or the SQLSTATE and the detail of its error.
    fn ask(&mut self, command: &str) -> Result<Row, (String, Row)> {
        let messages = self.console.query(command).unwrap();
        if let Some(error) = messages.iter().find(|message| message.tag == b'E') {
            return Err((error.field(b'C').unwrap(), pairs(&error.field(b'D').unwrap_or_default())));
        }
        let names = messages.iter().find(|message| message.tag == b'T').map(|message| {
            let mut rest = &message.body[2..];
            let mut names = Vec::new();
            while let Some(end) = rest.iter().position(|byte| *byte == 0) {
                names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
                rest = &rest[end + 19..];
            }
            names
        });
        let values = messages.iter().find(|message| message.tag == b'D').unwrap().columns();
        Ok(names.unwrap().into_iter().zip(values).collect())
    }

    fn show(&mut self) -> Row {
        self.ask("SHOW BUDGET").unwrap()
    }

    fn claim(&mut self, epoch: u64) -> Row {
        self.ask(&format!("CLAIM EPOCH {epoch}")).unwrap()
    }

    /// As the leader of epoch 1, for a server of a hundred.
    fn limit(&mut self, limit: u32) -> Row {
        self.sequence += 1;
        let sequence = self.sequence;
        self.ask(&format!("LIMIT {limit} OF 97 EPOCH 1 SEQUENCE {sequence} MAX_CONNECTIONS 100")).unwrap()
    }
}

fn pairs(text: &str) -> Row {
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split(' ').filter_map(pair).collect()
}

fn number(row: &Row, column: &str) -> u32 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

/// Sessions of our two users, as PostgreSQL counts them.
fn sessions(watcher: &mut RawClient) -> u32 {
    value(watcher, "select count(*) from pg_stat_activity where usename in ('app', 'other')").parse().unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Clients that run transactions until they are told to stop; errors are counted.
struct Load<'a> {
    over: &'a AtomicBool,
    served: &'a AtomicU64,
    failed: &'a AtomicU64,
}

impl Load<'_> {
    fn run(&self, pooler: &Pooler, user: &str, sql: &str) {
        let login = pooler.login(user, user, "postgres");
        let mut client = None;
        while !self.over.load(Ordering::Relaxed) {
            let mut connected = client.take().or_else(|| RawClient::login(&login).ok());
            match connected.as_mut().and_then(|client| client.query(sql).ok()) {
                Some(messages) if sqlstate(&messages).is_none() => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    client = connected;
                }
                _ => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Runs `work` while so many clients of each user are busy; how many transactions failed.
fn under_load(pooler: &Pooler, clients: &[(&str, usize)], sql: &str, work: impl FnOnce(&AtomicU64)) -> u64 {
    let (over, served, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let load = Load { over: &over, served: &served, failed: &failed };
    thread::scope(|scope| {
        for (user, count) in clients {
            for _ in 0..*count {
                scope.spawn(|| load.run(pooler, user, sql));
            }
        }
        // clients end even when an assertion fails
        let stop = Stop(&over);
        work(&served);
        drop(stop);
    });
    failed.into_inner()
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_pod_that_waits_for_its_operator_holds_nothing_and_after_the_grace_its_floor() {
    let server = own_server(50);
    let options = pod(&server, 2, 2).environment("PGPOOLER_START_GRACE", "2s");
    let began = Instant::now();
    let (pooler, mut watcher) = thread::scope(|scope| {
        let watcher = scope.spawn(|| RawClient::login(&server.superuser()).unwrap());
        (start(&options), watcher.join().unwrap())
    });
    assert!(began.elapsed() >= Duration::from_secs(2), "it is ready only after the grace");
    let failed = under_load(&pooler, &[("app", 10)], "select pg_sleep(0.001)", |served| {
        wait_until("it serves", || served.load(Ordering::Relaxed) > 200);
        for _ in 0..100 {
            assert!(sessions(&mut watcher) <= 2);
        }
    });
    assert_eq!(failed, 0);
    let row = Operator::of(&pooler).show();
    assert_eq!((row["phase"].as_str(), number(&row, "limit"), number(&row, "charge")), ("floor", 2, 2));
}

#[test]
fn a_limit_is_lowered_under_load_and_the_charge_falls_when_postgresql_has_closed() {
    let server = own_server(100);
    for workers in [1, 2] {
        let pooler = start(&pod(&server, 2, workers));
        let mut watcher = RawClient::login(&server.superuser()).unwrap();
        let mut operator = Operator::of(&pooler);
        assert_eq!(operator.claim(1)["phase"], "floor");
        assert_eq!(operator.limit(20)["phase"], "serving");
        let failed = under_load(&pooler, &[("app", 50)], "select pg_sleep(0.05)", |_| {
            wait_until("all of the limit is used", || sessions(&mut watcher) == 20);
            let row = operator.limit(5);
            assert_eq!((number(&row, "limit"), number(&row, "charge")), (5, number(&row, "held").max(5)));
            wait_until("the limit is reached", || {
                let charge = number(&operator.show(), "charge");
                // PostgreSQL may have closed more than we have read the end of, never less
                assert!(sessions(&mut watcher) <= charge);
                charge == 5
            });
            assert!(sessions(&mut watcher) <= 5);
            operator.limit(20);
            wait_until("clients that waited are served", || number(&operator.show(), "active") == 20);
            assert_eq!(sessions(&mut watcher), 20);
            let row = operator.show();
            assert_eq!(row["max_connections"], "100");
            assert!(number(&row, "waiting") >= 20, "{row:?}");
        });
        assert_eq!(failed, 0);
        // what lies idle is closed at once
        operator.limit(3);
        wait_until("idle connections are closed", || sessions(&mut watcher) <= 3);
        wait_until("their ends are read", || number(&operator.show(), "charge") == 3);
    }
}

#[test]
fn who_is_stale_is_refused_and_changes_nothing() {
    let server = own_server(50);
    let pooler = start(&pod(&server, 2, 1));
    let (mut old, mut new) = (Operator::of(&pooler), Operator::of(&pooler));
    old.claim(1);
    old.limit(7);
    new.claim(3);
    let stale = "LIMIT 9 OF 97 EPOCH 1 SEQUENCE 9 MAX_CONNECTIONS 50";
    let (code, detail) = old.ask(stale).unwrap_err();
    assert_eq!((code.as_str(), detail["epoch"].as_str(), detail["limit"].as_str()), ("55000", "3", "7"));
    assert_eq!(old.ask("CLAIM EPOCH 2").unwrap_err().0, "55000");
    let (code, detail) = new.ask("LIMIT 9 OF 97 EPOCH 4 SEQUENCE 1 MAX_CONNECTIONS 50").unwrap_err();
    assert_eq!((code.as_str(), detail["epoch"].as_str()), ("55000", "3"), "it must claim first");
    let two = "LIMIT 8 OF 97 EPOCH 3 SEQUENCE 2 MAX_CONNECTIONS 50";
    assert_eq!(number(&new.ask(two).unwrap(), "limit"), 8);
    assert_eq!(new.ask(two).unwrap_err().1["sequence"], "2", "doubled");
    assert_eq!(new.ask("LIMIT 30").unwrap_err().0, "42501", "by hand it can only be lowered");
    assert_eq!(number(&new.ask("limit 4").unwrap(), "limit"), 4);
    let row = new.show();
    assert_eq!((row["epoch"].as_str(), row["sequence"].as_str(), row["limit"].as_str()), ("3", "2", "4"));
}

#[test]
fn after_a_restart_as_a_smaller_server_no_more_than_the_floor_is_opened_until_the_next_limit() {
    let mut server = own_server(100);
    let pooler = start(&pod(&server, 3, 2));
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    operator.limit(20);
    server.sql("alter system set max_connections = 30").unwrap();
    under_load(&pooler, &[("app", 40)], "select pg_sleep(0.01)", |served| {
        wait_until("all of the limit is used", || number(&operator.show(), "held") == 20);
        server.shut_down().unwrap();
        server.resume().unwrap();
        let mut watcher = RawClient::login(&server.superuser()).unwrap();
        wait_until("the pod knows the new server", || {
            assert!(sessions(&mut watcher) <= 3);
            operator.show().get("max_connections").is_some_and(|most| most == "30")
        });
        let before = served.load(Ordering::Relaxed);
        wait_until("it serves", || {
            assert!(sessions(&mut watcher) <= 3);
            served.load(Ordering::Relaxed) > before + 200
        });
        let row = operator.ask("LIMIT 12 OF 27 EPOCH 1 SEQUENCE 50 MAX_CONNECTIONS 30").unwrap();
        assert_eq!(number(&row, "limit"), 12);
        wait_until("the new limit is used", || sessions(&mut watcher) == 12);
        assert!((0..50).all(|_| sessions(&mut watcher) <= 12));
    });
}

#[test]
fn after_a_restart_as_large_as_before_the_whole_limit_is_back_by_itself() {
    let mut server = own_server(100);
    server.sql("checkpoint").unwrap();
    let pooler = start(&pod(&server, 1, 2));
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    operator.limit(20);
    under_load(&pooler, &[("app", 40)], "select pg_sleep(0.01)", |_| {
        wait_until("all of the limit is used", || number(&operator.show(), "held") == 20);
        server.crash().unwrap();
        assert_eq!(operator.show()["max_connections"], "", "it may be another next time");
        server.resume().unwrap();
        let mut watcher = RawClient::login(&server.superuser()).unwrap();
        wait_until("all of the limit is used again", || sessions(&mut watcher) == 20);
    });
}

#[test]
fn one_session_that_is_terminated_costs_the_others_nothing() {
    let server = own_server(100);
    let pooler = start(&pod(&server, 1, 1));
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    operator.limit(5);
    let mut clients: Vec<_> = (0..5).map(|_| app(&pooler)).collect();
    for client in &mut clients {
        client.query("begin").unwrap();
    }
    let pids: Vec<_> = clients.iter_mut().map(|client| value(client, "select pg_backend_pid()")).collect();
    for client in &mut clients {
        client.query("commit").unwrap();
    }
    server.sql(&format!("select pg_terminate_backend({})", pids[0])).unwrap();
    wait_until("it is noticed", || number(&operator.show(), "held") == 4);
    for client in &mut clients {
        client.query("begin").unwrap();
    }
    let after: Vec<_> = clients.iter_mut().map(|client| value(client, "select pg_backend_pid()")).collect();
    assert_eq!(after.iter().filter(|pid| pids.contains(pid)).count(), 4);
    assert_eq!(operator.show()["max_connections"], "100");
}

#[test]
fn clients_of_a_server_that_is_full_wait_and_its_refusals_are_counted() {
    // 20 - 3 reserved leaves 17 for ordinary roles
    let server = own_server(20);
    let pooler = start(&pod(&server, 1, 1));
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    let mut waiter = app(&pooler);
    operator.ask("LIMIT 0 OF 17 EPOCH 1 SEQUENCE 1 MAX_CONNECTIONS 20").unwrap();
    wait_until("nothing is held", || number(&operator.show(), "held") == 0);
    let mut others: Vec<_> = (0..17).map(|_| RawClient::login(&server.superuser()).unwrap()).collect();
    operator.ask("LIMIT 10 OF 17 EPOCH 1 SEQUENCE 2 MAX_CONNECTIONS 20").unwrap();
    waiter.send(&wire::query("select 1")).unwrap();
    wait_until("the refusal is counted", || number(&operator.show(), "refused") >= 2);
    assert!(waiter.read_within(Duration::from_millis(100)).unwrap().is_none(), "it waits");
    let (_, metrics) = pooler.http_get("/metrics").unwrap();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("pgpooler_server_refusals_total "));
    assert!(counted.unwrap().parse::<u64>().unwrap() >= 2);
    others.truncate(12);
    let failed = under_load(&pooler, &[("app", 20)], "select pg_sleep(0.005)", |served| {
        wait_until("they are served by what there is", || served.load(Ordering::Relaxed) > 200);
    });
    assert_eq!(failed, 0);
    assert_eq!(tags(&waiter.read_through(b'Z').unwrap()), "TDCZ");
}

#[test]
fn the_limit_of_a_role_is_no_refusal_of_the_server() {
    let server = own_server(50);
    server.sql("alter role app connection limit 1").unwrap();
    let pooler = start(&pod(&server, 1, 1));
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    operator.ask("LIMIT 10 OF 47 EPOCH 1 SEQUENCE 1 MAX_CONNECTIONS 50").unwrap();
    let failed = under_load(&pooler, &[("app", 10)], "select pg_sleep(0.005)", |served| {
        wait_until("they are served by the one", || served.load(Ordering::Relaxed) > 100);
        let row = operator.show();
        assert_eq!(
            (number(&row, "refused"), number(&row, "waiting")),
            (0, 0),
            "slots would not help: {row:?}"
        );
    });
    assert_eq!(failed, 0);
}

#[test]
fn who_listens_is_told_when_the_first_client_waits_and_of_nothing_when_nothing_happens() {
    let server = own_server(100);
    let pooler = start(&pod(&server, 1, 1));
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    assert_eq!(tags(&operator.console.query("LISTEN budget").unwrap()), "CZ");
    let told = |operator: &mut Operator| {
        let message = operator.console.read_within(Duration::from_secs(5)).unwrap().expect("a notification");
        assert_eq!(message.tag, b'A');
        let text = String::from_utf8_lossy(&message.body[4..]).into_owned();
        let (channel, payload) = text.split_once('\0').unwrap();
        assert_eq!(channel, "budget");
        pairs(payload.trim_end_matches('\0'))
    };
    let first = told(&mut operator);
    assert_eq!((first["limit"].as_str(), first.contains_key("max_connections")), ("1", false));
    assert!(operator.console.read_within(Duration::from_secs(1)).unwrap().is_none(), "nothing happens");
    let (mut holder, mut waiter) = (app(&pooler), app(&pooler));
    holder.query("begin").unwrap();
    waiter.send(&wire::query("select 1")).unwrap();
    let mut last = 0;
    loop {
        let row = told(&mut operator);
        assert!(number(&row, "number") > last);
        last = number(&row, "number");
        // the holder has waited, too, until its connection was there
        if row["waiting"] == "1" && row["active"] == "1" {
            assert_eq!(row["held"], "1");
            break;
        }
    }
    operator.limit(4);
    waiter.read_through(b'Z').unwrap();
    assert_eq!(tags(&operator.console.query("UNLISTEN").unwrap()).trim_start_matches('A'), "CZ");
    Operator::of(&pooler).ask("LIMIT 3").unwrap();
    assert!(operator.console.read_within(Duration::from_millis(500)).unwrap().is_none(), "nobody listens");
}

#[test]
fn two_pools_under_pressure_have_equal_parts_and_the_one_that_is_left_has_all() {
    let server = own_server(50);
    for workers in [1, 2] {
        let pooler = start(&pod(&server, 1, workers));
        let mut operator = Operator::of(&pooler);
        operator.claim(1);
        operator.ask("LIMIT 8 OF 47 EPOCH 1 SEQUENCE 1 MAX_CONNECTIONS 50").unwrap();
        let mut watcher = RawClient::login(&server.superuser()).unwrap();
        let mut of = |user: &str| -> u32 {
            let sql = format!("select count(*) from pg_stat_activity where usename = '{user}'");
            value(&mut watcher, &sql).parse().unwrap()
        };
        let busy = "select pg_sleep(0.003)";
        let failed = under_load(&pooler, &[("app", 30)], busy, |_| {
            wait_until("the first has all", || of("app") == 8);
            let failed = under_load(&pooler, &[("other", 30)], busy, |_| {
                wait_until("the second has its part", || of("other") >= 3);
                thread::sleep(Duration::from_millis(300));
                for _ in 0..20 {
                    let parts = [of("app"), of("other")];
                    assert!(parts.iter().all(|part| (3..=5).contains(part)), "{parts:?}, {workers} loops");
                    thread::sleep(Duration::from_millis(10));
                }
            });
            assert_eq!(failed, 0);
            wait_until("the first has all again", || of("app") == 8);
        });
        assert_eq!(failed, 0);
    }
}

#[test]
fn a_pool_has_its_part_of_what_it_may_have_over_all_pods() {
    let server = own_server(50);
    let rule = "[[pools]]\nname = \"few\"\nusers = [\"app\"]\npool_size_total = 10\n";
    let pooler = start(&pod(&server, 1, 2).tables(rule));
    let mut watcher = RawClient::login(&server.superuser()).unwrap();
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    let mut limit = |sequence: u32, limit: u32| {
        let command = format!("LIMIT {limit} OF 40 EPOCH 1 SEQUENCE {sequence} MAX_CONNECTIONS 50");
        operator.ask(&command).unwrap();
    };
    limit(1, 20);
    let failed = under_load(&pooler, &[("app", 30)], "select pg_sleep(0.01)", |_| {
        for (sequence, of_all, part) in [(2, 20, 5), (3, 12, 3), (4, 40, 10), (5, 3, 1)] {
            limit(sequence, of_all);
            wait_until("it has its part", || sessions(&mut watcher) == part);
            for _ in 0..20 {
                assert!(sessions(&mut watcher) <= part, "a part of {part}");
            }
        }
    });
    assert_eq!(failed, 0);
}

#[test]
fn a_process_that_is_told_to_end_gives_up_what_is_idle_at_once_and_keeps_transactions() {
    let server = own_server(50);
    let pooler = start(&pod(&server, 1, 2));
    let mut watcher = RawClient::login(&server.superuser()).unwrap();
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    operator.ask("LIMIT 10 OF 47 EPOCH 1 SEQUENCE 1 MAX_CONNECTIONS 50").unwrap();
    under_load(&pooler, &[("app", 20)], "select pg_sleep(0.01)", |_| {
        wait_until("all of the limit is used", || sessions(&mut watcher) == 10);
    });
    let mut busy = app(&pooler);
    busy.query("begin").unwrap();
    pooler.signal(Signal::TERM).unwrap();
    wait_until("what is idle is closed", || sessions(&mut watcher) == 1);
    assert!(!pooler.log().contains("leaving: running transactions"), "new clients are still served");
    wait_until("the report says so", || {
        let row = operator.show();
        row["phase"] == "draining" && row["held"] == "1" && row["active"] == "1"
    });
    assert_eq!(value(&mut busy, "select 'still served'"), "still served");
    busy.query("commit").unwrap();
}

#[test]
fn a_process_without_an_operator_has_the_limit_of_its_document() {
    let server = own_server(50);
    let options = PoolerOptions::before(&server).user("app", "app").setting("max_server_connections", "7");
    let pooler = start(&options);
    let mut operator = Operator::of(&pooler);
    let row = operator.show();
    assert_eq!((row["phase"].as_str(), number(&row, "limit"), number(&row, "floor")), ("standalone", 7, 7));
    assert_eq!(number(&operator.ask("LIMIT 9").unwrap(), "limit"), 9, "nobody knows better");
    pooler.configure(&options.setting("max_server_connections", "5")).unwrap();
    operator.console.query("RELOAD").unwrap();
    assert_eq!(number(&operator.show(), "limit"), 5);
    let mut client = app(&pooler);
    assert_eq!(value(&mut client, "select 1"), "1");
    assert_eq!(operator.show()["max_connections"], "", "nothing is asked");
}

#[test]
fn the_clients_of_a_pod_with_a_large_limit_are_on_all_of_its_loops() {
    let server = own_server(100);
    // as the operator writes it
    let pooler = start(&pod(&server, 1, 2).setting("max_server_connections", "1"));
    let mut operator = Operator::of(&pooler);
    operator.claim(1);
    operator.limit(4);
    let mut holders: Vec<_> = (0..3).map(|_| app(&pooler)).collect();
    for holder in &mut holders {
        holder.query("begin").unwrap();
    }
    let mut clients: Vec<_> = (0..4).map(|_| app(&pooler)).collect();
    for _ in 0..5 {
        for client in &mut clients {
            assert_eq!(value(client, "select 'served'"), "served");
        }
    }
    assert!(lends(&pooler) > 0, "all were on one loop");
}
