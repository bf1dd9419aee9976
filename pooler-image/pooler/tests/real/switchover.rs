//! A server that goes away and comes back, or another in its place: who notices, and what they are told.

mod silent;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{
    Login, Message, Pooler, PoolerOptions, Postgres, PostgresOptions, RawClient, wire,
};

use super::{app, app_login, sqlstate, start, value};

const PATIENCE: Duration = Duration::from_secs(30);

/// A row for each transaction that is known to have been committed.
const WORK: &str = "insert into done values (1)";

fn primary() -> Postgres {
    let server = Postgres::start(&PostgresOptions::default().replicating()).unwrap();
    server.create_user("app", "app").unwrap();
    server.sql("grant all on schema public to public").unwrap();
    server.sql("create table done (i int); grant all on done to public").unwrap();
    server
}

fn before(server: &Postgres) -> PoolerOptions {
    PoolerOptions::before(server)
        .user("app", "app")
        .setting("max_server_connections", "8")
        .setting("server_login_retry", "\"50ms\"")
}

fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn show_state(pooler: &Pooler, key: &str) -> String {
    let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    let rows = RawClient::login(&login).unwrap().rows("show state").unwrap();
    rows.into_iter().find(|row| row[0] == key).unwrap().remove(1)
}

/// The messages of one query up to its end, or that of the connection.
fn ask(client: &mut RawClient, sql: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    if client.send(&wire::query(sql)).is_ok() {
        while let Ok(message) = client.read() {
            let last = message.tag == b'Z';
            messages.push(message);
            if last {
                break;
            }
        }
    }
    messages
}

/// What busy clients have come by.
#[derive(Default)]
struct Tally {
    committed: AtomicUsize,
    failed: AtomicUsize,
    over: AtomicBool,
}

/// One transaction after the other until it is over. A transaction that fails costs the client its connection, since
/// PostgreSQL says so; it comes back at once, which must succeed.
fn be_busy(pooler: &Pooler, tally: &Tally) {
    let mut client = app(pooler);
    while !tally.over.load(Ordering::Relaxed) {
        let messages = ask(&mut client, WORK);
        match sqlstate(&messages) {
            None if messages.last().is_some_and(|last| last.tag == b'Z') => {
                tally.committed.fetch_add(1, Ordering::Relaxed);
            }
            told => {
                let told = told.expect("a client is told why its transaction has failed");
                assert!(["57P01", "57P02", "08006"].contains(&told.as_str()), "{messages:?}");
                tally.failed.fetch_add(1, Ordering::Relaxed);
                client = app(pooler);
            }
        }
    }
}

/// What `change` does to the server while many clients are busy and as many idle. Afterwards all go on, and no
/// transaction has failed but those that a server connection had at that moment.
fn goes_on(pooler: &Pooler, busy: usize, idle: usize, connections: usize, change: impl FnOnce()) -> usize {
    let mut silent: Vec<_> = (0..idle).map(|_| app(pooler)).collect();
    for client in &mut silent {
        assert_eq!(value(client, "select 1"), "1");
    }
    let tally = Tally::default();
    thread::scope(|scope| {
        for _ in 0..busy {
            scope.spawn(|| be_busy(pooler, &tally));
        }
        let committed = || tally.committed.load(Ordering::Relaxed);
        wait_until("clients are busy", || committed() >= 5 * busy);
        change();
        let before = committed();
        wait_until("they go on", || committed() >= before + 20 * busy);
        for client in &mut silent {
            assert_eq!(
                value(client, "select pg_is_in_recovery()"),
                "f",
                "an idle client has noticed nothing"
            );
        }
        tally.over.store(true, Ordering::Relaxed);
    });
    let failed = tally.failed.into_inner();
    assert!(failed <= connections, "{failed} transactions have failed");
    tally.committed.into_inner()
}

#[test]
fn clients_go_on_at_the_promoted_standby() {
    let mut old = primary();
    let new = old.standby().unwrap();
    let pooler = start(&before(&old).targets(&[&old, &new], "primary"));
    let committed = goes_on(&pooler, 12, 12, 8, || {
        assert_eq!(show_state(&pooler, "server_host"), format!("127.0.0.1:{}", old.port()));
        old.shut_down().unwrap();
        thread::sleep(Duration::from_millis(500));
        new.promote().unwrap();
    });
    assert_eq!(show_state(&pooler, "server_host"), format!("127.0.0.1:{}", new.port()));
    assert_eq!(show_state(&pooler, "server_role"), "primary");
    assert_eq!(show_state(&pooler, "hold"), "no");
    let rows: usize = new.sql("select count(*) from done").unwrap().concat().concat().parse().unwrap();
    assert!(rows >= committed, "{rows} of {committed} transactions are there");
    let log = pooler.log();
    assert_eq!(log.matches("clients are held").count(), log.matches("clients go on").count(), "{log}");
}

#[test]
fn twenty_idle_and_twenty_busy_clients_outlive_a_restart() {
    let mut server = primary();
    let pooler = start(&before(&server));
    goes_on(&pooler, 20, 20, 8, || {
        server.shut_down().unwrap();
        server.resume().unwrap();
    });
    assert_eq!(show_state(&pooler, "hold"), "no");
    assert_eq!(show_state(&pooler, "server_connections_limit"), "8");
}

#[test]
fn a_server_of_the_wrong_role_is_passed_over_in_any_order() {
    let one = primary();
    let two = one.standby().unwrap();
    for (role, recovery) in [("primary", "f"), ("standby", "t")] {
        for order in [[&one, &two], [&two, &one]] {
            let pooler = start(&before(&one).targets(&order, role));
            let mut client = app(&pooler);
            assert_eq!(value(&mut client, "select pg_is_in_recovery()"), recovery);
            assert_eq!(show_state(&pooler, "server_role"), role);
            assert_eq!(show_state(&pooler, "server_connections_held"), "1", "the other has let go");
        }
    }
    let options = before(&one).setting("server_hold_timeout", "\"300ms\"");
    let pooler = start(&options.targets(&[&two], "primary"));
    let (_, messages) = RawClient::login_messages(&app_login(&pooler)).unwrap();
    let error = messages.iter().find(|message| message.tag == b'E').unwrap();
    assert_eq!(error.field(b'C').as_deref(), Some("57P03"));
    let told = error.field(b'M').unwrap();
    let expected = format!("127.0.0.1:{}: the server is a standby, and target.role is primary", two.port());
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn who_wants_a_standby_leaves_one_that_is_promoted() {
    let one = primary();
    let two = one.standby().unwrap();
    let options = before(&one).setting("server_hold_timeout", "\"300ms\"");
    let pooler = start(&options.targets(&[&one, &two], "standby"));
    let mut client = app(&pooler);
    assert_eq!(value(&mut client, "select pg_is_in_recovery()"), "t");
    two.promote().unwrap();
    // the connection that is open says what it is behind its next reply
    if two.version() >= 14 {
        ask(&mut client, "select 1");
        wait_until("it is left", || sqlstate(&ask(&mut client, "select 1")).as_deref() == Some("57P03"));
    }
}

#[test]
fn after_the_hold_clients_are_refused_at_once_and_it_heals_by_itself() {
    let mut server = primary();
    let options = before(&server).setting("server_hold_timeout", "\"700ms\"");
    let pooler = start(&options);
    let (mut waiting, mut idle) = (app(&pooler), app(&pooler));
    waiting.query("set application_name = 'kept'").unwrap();
    assert_eq!(value(&mut idle, "select 1"), "1");
    server.crash().unwrap();
    waiting.send(&wire::query("select 1")).unwrap();
    assert_eq!(waiting.read_within(Duration::from_millis(300)).unwrap(), None, "it is held");
    assert_eq!(show_state(&pooler, "hold"), "holding");
    let mut newcomer = app(&pooler);
    newcomer.send(&wire::query("select 1")).unwrap();
    for client in [&mut waiting, &mut newcomer] {
        let messages = client.read_through(b'Z').unwrap();
        assert_eq!(sqlstate(&messages).as_deref(), Some("57P03"));
        let told = messages[0].field(b'M').unwrap();
        assert!(told.contains(&format!("127.0.0.1:{}: cannot connect", server.port())), "{told}");
    }
    assert_eq!(sqlstate(&ask(&mut idle, "select 1")).as_deref(), Some("57P03"), "at once");
    let (_, messages) = RawClient::login_messages(&app_login(&pooler)).unwrap();
    assert_eq!(sqlstate(&messages).as_deref(), Some("57P03"));
    assert_eq!(show_state(&pooler, "hold"), "refusing");
    let (_, metrics) = pooler.http_get("/metrics").unwrap();
    assert!(metrics.contains("\npgpooler_server_hold_refusing 1\n"), "{metrics}");
    assert!(metrics.contains("\npgpooler_server_hold_refusals_total 4\n"), "{metrics}");
    server.resume().unwrap();
    // nobody asks for anything
    wait_until("it heals", || show_state(&pooler, "hold") == "no");
    for client in [&mut waiting, &mut newcomer, &mut idle] {
        assert_eq!(value(client, "select 1"), "1");
    }
    assert_eq!(value(&mut waiting, "show application_name"), "kept");
    let log = pooler.log();
    for once in ["clients are held", "clients are refused", "clients go on"] {
        assert_eq!(log.matches(once).count(), 1, "{once}\n{log}");
    }
}

#[test]
fn without_a_hold_timeout_only_the_wait_for_a_connection_ends() {
    let mut server = primary();
    let options = before(&server).setting("server_hold_timeout", "0").setting("query_wait_timeout", "\"1s\"");
    let pooler = start(&options);
    let mut client = app(&pooler);
    assert_eq!(value(&mut client, "select 1"), "1");
    server.crash().unwrap();
    assert_eq!(sqlstate(&ask(&mut client, "select 1")).as_deref(), Some("53400"));
    assert_eq!(show_state(&pooler, "hold"), "holding");
    // a reload counts at once
    pooler.configure(&options.setting("server_hold_timeout", "\"100ms\"")).unwrap();
    let console = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    RawClient::login(&console).unwrap().query("reload").unwrap();
    wait_until("clients are refused", || show_state(&pooler, "hold") == "refusing");
    server.resume().unwrap();
    wait_until("it heals", || show_state(&pooler, "hold") == "no");
    assert_eq!(value(&mut client, "select 1"), "1");
}

#[test]
fn a_reload_moves_clients_to_another_target() {
    let (one, two) = (primary(), primary());
    let options = before(&one);
    let pooler = start(&options);
    let mut client = app(&pooler);
    assert_eq!(value(&mut client, "select inet_server_port()"), one.port().to_string());
    pooler.configure(&options.targets(&[&two], "primary")).unwrap();
    let console = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    RawClient::login(&console).unwrap().query("reload").unwrap();
    wait_until("clients are there", || {
        value(&mut client, "select inet_server_port()") == two.port().to_string()
    });
    assert_eq!(show_state(&pooler, "server_host"), format!("127.0.0.1:{}", two.port()));
}
