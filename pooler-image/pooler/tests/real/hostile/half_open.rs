//! Connections that do not log in.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pgpooler_test_support::{Pooler, RawClient};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::super::{app_login, options, sqlstate};
use super::{
    app_startup, client_from, connect_from, lines, metric, raise_file_limit, scram_first, start,
    work_honestly,
};

const CONNECTIONS: usize = 10_000;

/// The addresses that they come from.
const HOSTS: std::ops::Range<u8> = 2..10;

/// Bytes of the process for one of them, however far it has come: 2,700 were measured for a silent one, and 6,500 for one in the
/// middle of SCRAM.
const MOST_PER_CONNECTION: u64 = 9_000;

/// More than may be there.
const TOO_MANY: usize = 1_000;

/// The files of this process do not suffice for two such floods.
fn alone() -> MutexGuard<'static, ()> {
    static FLOOD: Mutex<()> = Mutex::new(());
    raise_file_limit();
    FLOOD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the process has to itself.
fn private_bytes(pooler: &Pooler) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pooler.pid().unwrap())).unwrap();
    let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    anonymous.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// A connection that stops at one of the states before the login's end.
fn half_open(n: usize, pooler: &Pooler) -> TcpStream {
    let hosts = HOSTS.len();
    let mut stream = connect_from(HOSTS.start + (n % hosts) as u8, pooler);
    let startup = app_startup();
    match n / hosts % 4 {
        0 => {}
        1 => stream.write_all(&startup[..startup.len() - 1]).unwrap(),
        2 => stream.write_all(&startup).unwrap(),
        _ => stream.write_all(&[startup, scram_first()].concat()).unwrap(),
    }
    stream
}

#[test]
fn ten_thousand_that_do_not_log_in_cost_little_and_keep_nobody_out() {
    let _alone = alone();
    let pooler = start(&options(5));
    work_honestly(&pooler, 5);
    let before = private_bytes(&pooler);
    let mut open = Vec::with_capacity(CONNECTIONS + TOO_MANY);
    for n in 0..CONNECTIONS + TOO_MANY {
        open.push(half_open(n, &pooler));
        if n % 1_000 == 0 {
            work_honestly(&pooler, 1);
        }
    }
    work_honestly(&pooler, 20);
    let grown = private_bytes(&pooler).saturating_sub(before);
    assert!(grown < CONNECTIONS as u64 * MOST_PER_CONNECTION, "{grown} bytes for {CONNECTIONS} connections");
    let refused = metric(&pooler, "pgpooler_client_logins_refused_total{reason=\"max_client_logins\"}");
    // besides the honest ones, who were there for a moment
    assert!(refused >= TOO_MANY as u64, "{refused} had to go");
    assert!(metric(&pooler, "pgpooler_clients_login") <= CONNECTIONS as u64);
    assert_eq!(metric(&pooler, "pgpooler_client_logins_total{result=\"failed\"}"), 0);
    let told = lines(&pooler, "too many connections have not logged in");
    assert!((1..=5 * HOSTS.len()).contains(&told), "{told} lines about {refused} connections");
    // the oldest of those who flood us went
    let mut first = &open[0];
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut heard = Vec::new();
    first.read_to_end(&mut heard).unwrap();
    assert!(String::from_utf8_lossy(&heard).contains("C53300"), "{:?}", String::from_utf8_lossy(&heard));
}

#[test]
fn an_address_with_a_limit_of_its_own_loses_its_oldest_and_others_none() {
    let options = options(2).setting("max_client_logins_per_address", "3");
    let pooler = start(&options);
    let mut other = client_from(3, &pooler);
    let mut flood: Vec<_> = (0..4).map(|_| client_from(2, &pooler)).collect();
    assert_eq!(flood[0].read().unwrap().field(b'C').as_deref(), Some("53300"));
    for client in flood.iter_mut().skip(1).chain([&mut other]) {
        client.send(&app_startup()).unwrap();
        assert_eq!(client.read().unwrap().tag, b'R');
    }
}

/// Threads that play a fleet.
const HANDS: usize = 8;

#[test]
fn a_fleet_of_ten_thousand_behind_one_address_that_comes_at_once_gets_in() {
    let _alone = alone();
    let pooler = start(&options(5));
    work_honestly(&pooler, 1);
    let (login, connected) = (app_login(&pooler), Barrier::new(HANDS));
    let hand = || {
        let connect = |_| {
            let mut client = client_from(2, &pooler);
            client.send(&app_startup()).unwrap();
            client
        };
        let mut clients: Vec<RawClient> = (0..CONNECTIONS / HANDS).map(connect).collect();
        connected.wait();
        // the request for SCRAM, the challenge
        for _ in 0..2 {
            for client in &mut clients {
                let asked = client.read().unwrap();
                client.follow_login(&login.password, &asked).unwrap();
            }
        }
        for client in &mut clients {
            assert_eq!(sqlstate(&client.read_through(b'Z').unwrap()), None);
        }
        clients
    };
    let fleet: Vec<RawClient> = thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(hand)).collect();
        hands.into_iter().flat_map(|hand| hand.join().unwrap()).collect()
    });
    assert_eq!(fleet.len(), CONNECTIONS);
    assert_eq!(metric(&pooler, "pgpooler_client_logins_total{result=\"refused\"}"), 0);
    assert_eq!(lines(&pooler, " WARN "), 0, "{}", pooler.log());
}

#[test]
fn when_files_run_out_those_who_do_not_log_in_make_room() {
    const FILES: u64 = 200;
    let pooler = start(&options(2));
    work_honestly(&pooler, 2);
    let pid = pooler.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).unwrap()));
    let limit = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let flood: Vec<_> = (0..2 * FILES).map(|_| connect_from(2, &pooler)).collect();
    work_honestly(&pooler, 10);
    assert!((1..=5).contains(&lines(&pooler, "connection could not be accepted")), "{}", pooler.log());
    assert!(metric(&pooler, "pgpooler_client_logins_refused_total{reason=\"max_client_logins\"}") > 0);
    drop(flood);
}

#[test]
fn a_process_that_leaves_waits_for_nobody_who_does_not_log_in() {
    let mut pooler = start(&options(1).setting("drain_timeout", "\"10m\""));
    let mut silent = client_from(2, &pooler);
    let mut halfway = client_from(2, &pooler);
    halfway.send(&app_startup()).unwrap();
    assert_eq!(halfway.read().unwrap().tag, b'R');
    pooler.signal(Signal::TERM).unwrap();
    for client in [&mut silent, &mut halfway] {
        assert_eq!(client.read().unwrap().field(b'C').as_deref(), Some("57P03"));
    }
    assert!(pooler.wait(Duration::from_mins(1)).unwrap().success());
}
