//! The process ends as a daemon does, and its clients' applications do not notice.

use std::thread;
use std::time::Duration;

use pgpooler_test_support::{Login, Message, Pooler, PoolerOptions, RawClient, wire};
use rustix::process::Signal;

use super::{app, app_login, options, sqlstate, start, tags, value};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Clients that need it are served for as long as any test takes.
pub(super) fn patient(server_connections: u32) -> PoolerOptions {
    options(server_connections).setting("drain_timeout", "\"10m\"")
}

/// A client of an application, and so of a pace, of its own.
pub(super) fn named(pooler: &Pooler, application: &str) -> RawClient {
    RawClient::login(&app_login(pooler).parameter("application_name", application)).unwrap()
}

/// Asks again and again, as a pool tests its connection, until the answer is the end.
pub(super) fn test_until_closed(client: &mut RawClient, test: &[u8]) {
    loop {
        client.send(test).unwrap();
        let mut answer = vec![client.read().unwrap()];
        if answer[0].tag == b'E' {
            return assert_farewell(client, &answer[0]);
        }
        while answer.last().is_some_and(|message| message.tag != b'Z') {
            answer.push(client.read().unwrap());
        }
        assert_eq!(sqlstate(&answer), None);
        thread::sleep(LOOK);
    }
}

/// 57P01, and behind it the end, in good order.
pub(super) fn assert_farewell(client: &mut RawClient, message: &Message) {
    assert_eq!(message.field(b'C').as_deref(), Some("57P01"));
    assert_eq!(message.field(b'S').as_deref(), Some("FATAL"));
    assert!(client.ends_properly());
}

pub(super) fn wait_for_the_end(client: &mut RawClient) {
    let message = client.read().unwrap();
    assert_farewell(client, &message);
}

fn console(pooler: &Pooler) -> RawClient {
    RawClient::login(&Login { database: "pgpooler".to_owned(), ..pooler.superuser() }).unwrap()
}

/// The rows of `SHOW DRAIN` by application: clients, then how many left in which way.
fn drain_of(admin: &mut RawClient, application: &str) -> String {
    let rows = admin.rows("SHOW DRAIN").unwrap();
    let row = rows.iter().find(|row| row[0] == application);
    row.map(|row| row[1..].join(" ")).unwrap_or_default()
}

/// The row of an application, once it is this.
fn await_drain_of(admin: &mut RawClient, application: &str, expected: &str) {
    while drain_of(admin, application) != expected {
        thread::sleep(LOOK);
    }
}

fn prepared(name: &str, text: &str) -> Vec<u8> {
    [wire::parse(name, text), wire::sync()].concat()
}

fn by_name(name: &str) -> Vec<u8> {
    [wire::bind("", name, &[]), wire::describe(b'P', ""), wire::execute("", 0), wire::sync()].concat()
}

#[test]
fn sigterm_makes_unready_and_clients_are_taken_and_served_for_as_long_as_the_process_is_there() {
    let mut pooler = start(&patient(2));
    let mut busy = app(&pooler);
    busy.query("begin").unwrap();
    let mut silent = named(&pooler, "silent");
    pooler.signal(Signal::TERM).unwrap();
    while pooler.http_get("/readyz").unwrap().0 != 503 {
        thread::sleep(LOOK);
    }
    let mut late = named(&pooler, "late");
    assert_eq!(value(&mut late, "select 'late'"), "late", "Kubernetes still sends clients here");
    wait_for_the_end(&mut silent);
    // by now clients are on their way out
    let mut later = named(&pooler, "later");
    assert_eq!(value(&mut later, "select 'later'"), "later");
    assert_eq!(value(&mut busy, "select 'served'"), "served");
    wait_for_the_end(&mut late);
    wait_for_the_end(&mut later);
    assert_eq!(tags(&busy.query("commit").unwrap()), "CZ");
    wait_for_the_end(&mut busy);
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
    assert!(pooler.log().contains("drained"), "{}", pooler.log());
}

#[test]
fn each_test_of_a_connection_is_answered_with_the_end() {
    let mut pooler = start(&patient(2));
    let unnamed = [wire::parse("", ""), wire::bind("", "", &[]), wire::execute("", 0), wire::sync()];
    let tests = [
        ("empty", wire::query("")),
        ("semicolon", wire::query(";")),
        ("comment", wire::query("-- ping")),
        ("sync", wire::sync()),
        ("extended", unnamed.concat()),
        ("prepared", by_name("ping")),
    ];
    let mut clients: Vec<_> = tests.iter().map(|(name, test)| (named(&pooler, name), test)).collect();
    for (client, _) in &mut clients {
        assert_eq!(tags(&client.exchange(&prepared("ping", "-- ping")).unwrap()), "1Z");
    }
    pooler.signal(Signal::TERM).unwrap();
    for (client, test) in &mut clients {
        test_until_closed(client, test);
    }
    drop(clients);
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn in_the_middle_of_a_unit_silence_is_no_reason_and_a_statement_is_no_test() {
    let pooler = start(&patient(3));
    let (mut tested, mut preparing) = (named(&pooler, "tested"), named(&pooler, "preparing"));
    let mut selects = named(&pooler, "selects");
    assert_eq!(tags(&tested.query("").unwrap()), "IZ");
    let prepares = [wire::parse("s", "select 1"), wire::describe(b'S', "s"), wire::sync()].concat();
    assert_eq!(tags(&preparing.exchange(&prepares).unwrap()), "1tTZ");
    pooler.signal(Signal::TERM).unwrap();
    // silent for as long as each that leaves, one after the other
    for name in ["first", "second"] {
        let mut witness = named(&pooler, name);
        assert_eq!(value(&mut witness, "select 1"), "1");
        while witness.read_within(LOOK).unwrap().is_none() {
            assert_eq!(value(&mut selects, "select 1"), "1");
        }
    }
    assert_eq!(tags(&preparing.exchange(&by_name("s")).unwrap()), "2TDCZ");
    assert_eq!(value(&mut tested, "select 'served'"), "served");
    // their units have ended now
    wait_for_the_end(&mut preparing);
    wait_for_the_end(&mut tested);
}

#[test]
fn a_long_silence_is_one_whatever_came_before_it() {
    let pooler = start(&patient(2).setting("drain_idle_timeout", "\"100ms\""));
    let (mut tested, mut begun) = (named(&pooler, "tests when idle"), named(&pooler, "holds a transaction"));
    assert_eq!(tags(&tested.query("").unwrap()), "IZ");
    begun.query("begin").unwrap();
    pooler.signal(Signal::TERM).unwrap();
    wait_for_the_end(&mut tested);
    assert_eq!(value(&mut begun, "select 'served'"), "served");
    begun.query("commit").unwrap();
    wait_for_the_end(&mut begun);
}

#[test]
fn a_test_in_pieces_takes_no_server_connection_and_what_is_none_is_done() {
    let pooler = start(&patient(1).setting("drain_idle_timeout", "0"));
    let (mut slow, mut other) = (named(&pooler, "slow"), named(&pooler, "other"));
    let mut split = named(&pooler, "split");
    pooler.signal(Signal::TERM).unwrap();
    test_until_closed(&mut named(&pooler, "witness"), &wire::sync());
    let test = wire::query("-- ping");
    slow.send(&test[..8]).unwrap();
    thread::sleep(LOOK);
    assert_eq!(value(&mut other, "select 'free'"), "free", "the only server connection is free");
    slow.send(&test[8..]).unwrap();
    wait_for_the_end(&mut slow);
    let query = wire::query("select 'whole'");
    for byte in &query[..query.len() - 1] {
        split.send(&[*byte]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let answer = split.exchange(&query[query.len() - 1..]).unwrap();
    assert_eq!(tags(&answer), "TDCZ");
    // what follows a test in one write is done, and the test is answered
    let both = [wire::query(""), wire::query("select 'behind'")].concat();
    split.send(&both).unwrap();
    assert_eq!(tags(&split.read_through(b'Z').unwrap()), "IZ");
    assert_eq!(tags(&split.read_through(b'Z').unwrap()), "TDCZ");
}

#[test]
fn at_the_deadline_who_has_only_prepared_is_waited_for() {
    let options = options(2).setting("drain_timeout", "\"1s\"").setting("drain_idle_timeout", "\"0s\"");
    let mut pooler = start(&options);
    let (mut preparing, mut between) = (named(&pooler, "preparing"), named(&pooler, "between"));
    assert_eq!(value(&mut between, "select 1"), "1");
    let prepares = [wire::parse("s", "select 1"), wire::describe(b'S', "s"), wire::sync()].concat();
    assert_eq!(tags(&preparing.exchange(&prepares).unwrap()), "1tTZ");
    pooler.signal(Signal::TERM).unwrap();
    wait_for_the_end(&mut between);
    assert_eq!(tags(&preparing.exchange(&by_name("s")).unwrap()), "2TDCZ");
    wait_for_the_end(&mut preparing);
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn who_never_tests_is_served_until_the_deadline_and_closed_between_transactions() {
    let mut pooler = start(&options(2).setting("drain_timeout", "\"3s\""));
    let mut busy = named(&pooler, "never tests");
    busy.query("begin").unwrap();
    pooler.signal(Signal::TERM).unwrap();
    while !pooler.log().contains("deadline has come") {
        assert_eq!(value(&mut busy, "select 'served'"), "served");
        thread::sleep(LOOK);
    }
    assert!(pooler.log().contains("never tests"), "the log names it: {}", pooler.log());
    assert_eq!(value(&mut busy, "select 'served'"), "served");
    assert_eq!(tags(&busy.query("commit").unwrap()), "CZ");
    wait_for_the_end(&mut busy);
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn behind_the_deadline_running_statements_are_cancelled() {
    let mut pooler = start(&options(1).setting("drain_timeout", "\"500ms\""));
    let mut busy = app(&pooler);
    busy.send(&wire::query("select pg_sleep(60)")).unwrap();
    pooler.signal(Signal::TERM).unwrap();
    assert_eq!(sqlstate(&busy.read_through(b'Z').unwrap()).as_deref(), Some("57014"));
    wait_for_the_end(&mut busy);
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
    assert!(pooler.log().contains("cancelled 1"), "{}", pooler.log());
}

#[test]
fn a_second_signal_means_now() {
    let mut pooler = start(&patient(1));
    let mut busy = app(&pooler);
    busy.query("begin").unwrap();
    pooler.signal(Signal::TERM).unwrap();
    thread::sleep(Duration::from_millis(200));
    pooler.signal(Signal::TERM).unwrap();
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn one_application_loses_one_client_after_the_other() {
    let pooler = start(&patient(2));
    let mut clients: Vec<_> = (0..4).map(|_| named(&pooler, "pool")).collect();
    let mut alone = named(&pooler, "another");
    for client in &mut clients {
        assert_eq!(value(client, "select 1"), "1");
    }
    pooler.signal(Signal::TERM).unwrap();
    test_until_closed(&mut alone, &wire::sync());
    // all test at once, over and over; at most one is let go each time
    let mut closed = 0;
    while closed < 4 {
        let before = closed;
        clients.retain_mut(|client| {
            client.send(&wire::query("")).unwrap();
            let message = client.read().unwrap();
            if message.tag == b'E' {
                assert_farewell(client, &message);
                closed += 1;
                return false;
            }
            client.read_through(b'Z').unwrap();
            true
        });
        assert!(closed - before <= 1, "two at once");
    }
}

#[test]
fn a_session_mode_client_leaves_as_others_do_and_one_that_holds_something_stays() {
    let options =
        patient(3).tables("[[pools]]\nname = \"s\"\nusers = [\"other\"]\npool_mode = \"session\"\n");
    let mut pooler = start(&options);
    let login = |name: &str| {
        let login = pooler.login("other", "other", "postgres").parameter("application_name", name);
        RawClient::login(&login).unwrap()
    };
    let (mut silent, mut testing) = (login("silent"), login("testing"));
    let mut listening = named(&pooler, "listening");
    for client in [&mut silent, &mut testing] {
        assert_eq!(value(client, "select 1"), "1");
    }
    assert_eq!(tags(&listening.query("listen news").unwrap()), "CZ");
    assert_eq!(tags(&testing.exchange(&prepared("ping", "")).unwrap()), "1Z");
    pooler.signal(Signal::TERM).unwrap();
    test_until_closed(&mut testing, &by_name("ping"));
    wait_for_the_end(&mut silent);
    assert_eq!(tags(&listening.query("").unwrap()), "IZ", "it holds its LISTEN");
    assert_eq!(tags(&listening.query("unlisten *").unwrap()), "CZ");
    wait_for_the_end(&mut listening);
    assert!(pooler.wait(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn the_console_and_metrics_tell_who_left_how_and_who_stays() {
    let pooler = start(&patient(2));
    let mut admin = console(&pooler);
    let (mut tests, mut silent, mut own) =
        (named(&pooler, "tests"), named(&pooler, "is silent"), named(&pooler, "goes"));
    let mut stays = named(&pooler, "stays");
    assert_eq!(tags(&stays.query("begin").unwrap()), "CZ");
    assert_eq!(drain_of(&mut admin, "stays"), "postgres app 1 0 0 0 0 0");
    pooler.signal(Signal::TERM).unwrap();
    test_until_closed(&mut tests, &wire::query(""));
    wait_for_the_end(&mut silent);
    own.send(&wire::terminate()).unwrap();
    drop((tests, silent));
    await_drain_of(&mut admin, "tests", "postgres app 0 1 0 0 0 0");
    await_drain_of(&mut admin, "is silent", "postgres app 0 0 1 0 0 0");
    let goes = |row: &str| row.starts_with("postgres app 0 ");
    while !goes(&drain_of(&mut admin, "goes")) {
        thread::sleep(LOOK);
    }
    assert_eq!(drain_of(&mut admin, "stays"), "postgres app 1 0 0 0 0 0");
    let (_, metrics) = pooler.http_get("/metrics").unwrap();
    for line in [
        "pgpooler_clients_left_total{application=\"tests\",way=\"liveness_test\"} 1",
        "pgpooler_clients_left_total{application=\"is silent\",way=\"silence\"} 1",
        "pgpooler_clients_staying{application=\"stays\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    assert_eq!(tags(&stays.query("commit").unwrap()), "CZ");
    wait_for_the_end(&mut stays);
}

#[test]
fn so_many_clients_are_shed_and_the_process_goes_on() {
    let pooler = start(&options(2));
    let mut admin = console(&pooler);
    let mut never: Vec<_> = (0..2).map(|n| named(&pooler, &format!("never tests {n}"))).collect();
    let mut clients: Vec<_> = (0..3).map(|_| named(&pooler, "tests")).collect();
    let columns = admin.rows("SHOW BUDGET").unwrap().concat();
    assert_eq!(columns.last().map(String::as_str), Some("5"), "{columns:?}");
    assert_eq!(sqlstate(&admin.query("SHED 5 EPOCH 7").unwrap()), None);
    assert_eq!(sqlstate(&admin.query("SHED 2").unwrap()), None, "a newer number takes its place");
    // whose pool never tests would notice that a silent connection has gone
    thread::sleep(Duration::from_secs(3));
    for client in never.iter_mut().chain(&mut clients) {
        assert!(client.read_within(LOOK).unwrap().is_none(), "it was silent only");
    }
    test_until_closed(&mut clients.remove(0), b"Q\0\0\0\x05\0");
    let mut gone = 1;
    while gone < 2 {
        clients.retain_mut(|client| match client.read_within(LOOK).unwrap() {
            Some(message) => {
                assert_farewell(client, &message);
                gone += 1;
                false
            }
            None => true,
        });
    }
    let mut clients: Vec<_> = never.into_iter().chain(clients).collect();
    // tests of connections and silence are nothing special any more
    for client in &mut clients {
        assert_eq!(tags(&client.query("").unwrap()), "IZ");
        assert_eq!(value(client, "select 'stays'"), "stays");
    }
    assert_eq!(pooler.http_get("/readyz").unwrap().0, 200);
    assert_eq!(sqlstate(&admin.query("SHED 1").unwrap()), None);
    assert_eq!(sqlstate(&admin.query("SHED 0").unwrap()), None, "none after all");
    for client in &mut clients {
        assert_eq!(tags(&client.query("").unwrap()), "IZ");
    }
    assert_eq!(sqlstate(&admin.query("CLAIM EPOCH 9").unwrap()), None);
    assert_eq!(sqlstate(&admin.query("SHED 1 EPOCH 8").unwrap()).as_deref(), Some("55000"));
}

#[test]
fn clients_that_stay_share_the_connections_for_as_long_as_they_stay() {
    let pooler = start(&patient(1).setting("drain_idle_timeout", "0"));
    let mut clients: Vec<_> = (0..3).map(|n| named(&pooler, &format!("stays {n}"))).collect();
    pooler.signal(Signal::TERM).unwrap();
    test_until_closed(&mut named(&pooler, "witness"), &wire::sync());
    for _ in 0..5 {
        for client in &mut clients {
            client.send(&wire::query("select pg_sleep(0.01), 'served'")).unwrap();
        }
        for client in &mut clients {
            assert_eq!(tags(&client.read_through(b'Z').unwrap()), "TDCZ", "they wait for each other");
        }
        // idle connections are closed soon, and opened again
        thread::sleep(Duration::from_millis(300));
    }
}
