//! Memory per client that asks for nothing, and what is left of it when all have gone.
//!
//! Counted is what the process has to itself, heap and stacks, in the program as `cargo test` builds it; a release build
//! has as much.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use pgpooler_test_support::{Authority, Login, Pooler, RawClient, TlsOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{options, start};

/// Bytes for a client without TLS, before its first query and after it. PgBouncer has 1,045 and 6,330.
const MOST_PER_CLIENT: u64 = 1_300;

/// Bytes for a client with TLS. PgBouncer has 17,700.
const MOST_PER_TLS_CLIENT: u64 = 12_000;

/// Bytes that may stay when the clients have left. PgBouncer keeps 64 MB.
const MOST_LEFT: u64 = 10_000_000;

/// They bring the process to its usual size, and stay.
const FIRST: usize = 100;
const CLIENTS: usize = 3_000;
const TLS_CLIENTS: usize = 1_000;
const MANY_CLIENTS: usize = 10_000;
const FILES: u64 = 15_000;

/// Threads that log clients in.
const HANDS: usize = 8;

/// What is given back may be given back a little later.
const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn an_idle_client_takes_little_memory_and_no_more_once_it_has_asked_something() {
    let pooler = start(&options(20));
    let login = pooler.login("app", "app", "postgres");
    let _first = settled(&login);
    let before = private_bytes(&pooler);
    let mut clients = log_in(&login, CLIENTS);
    assert_sinks_to(before + CLIENTS as u64 * MOST_PER_CLIENT, &pooler, "logged in");
    ask(&mut clients);
    assert_sinks_to(before + CLIENTS as u64 * MOST_PER_CLIENT, &pooler, "have asked something");
}

#[test]
fn an_idle_client_with_tls_takes_little_more_than_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let certified = Authority::new("gates").unwrap().certify("localhost", &["localhost"]).unwrap();
    certified.write(folder.path(), "pooler").unwrap();
    let path = |name: &str| format!("{:?}", folder.path().join(name).display().to_string());
    let options = options(20)
        .setting("client_tls_sslmode", "\"require\"")
        .setting("client_tls_cert_file", &path("pooler.crt"))
        .setting("client_tls_key_file", &path("pooler.key"));
    let pooler = start(&options);
    let login = Login { tls: Some(TlsOptions::default()), ..pooler.login("app", "app", "postgres") };
    let _first = settled(&login);
    let before = private_bytes(&pooler);
    let mut clients = log_in(&login, TLS_CLIENTS);
    assert_sinks_to(before + TLS_CLIENTS as u64 * MOST_PER_TLS_CLIENT, &pooler, "logged in");
    ask(&mut clients);
    assert_sinks_to(before + TLS_CLIENTS as u64 * MOST_PER_TLS_CLIENT, &pooler, "have asked something");
}

#[test]
fn memory_is_given_back_when_clients_have_left() {
    let pooler = start(&options(20));
    let before = private_bytes(&pooler);
    let mut clients = log_in(&pooler.login("app", "app", "postgres"), MANY_CLIENTS);
    ask(&mut clients);
    drop(clients);
    assert_sinks_to(before + MOST_LEFT, &pooler, "have left");
}

/// What the process has to itself.
fn private_bytes(pooler: &Pooler) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pooler.pid().unwrap())).unwrap();
    let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    anonymous.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

fn assert_sinks_to(limit: u64, pooler: &Pooler, what_clients_did: &str) {
    let until = Instant::now() + PATIENCE;
    while private_bytes(pooler) > limit {
        let now = private_bytes(pooler);
        assert!(Instant::now() < until, "{now} bytes and not {limit} when clients {what_clients_did}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The first clients, who have asked something too.
fn settled(login: &Login) -> Vec<RawClient> {
    let mut first = log_in(login, FIRST);
    ask(&mut first);
    first
}

fn log_in(login: &Login, clients: usize) -> Vec<RawClient> {
    raise_file_limit();
    let some =
        |hand| (hand..clients).step_by(HANDS).map(|_| RawClient::login(login).unwrap()).collect::<Vec<_>>();
    thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS).map(|hand| scope.spawn(move || some(hand))).collect();
        hands.into_iter().flat_map(|hand| hand.join().unwrap()).collect()
    })
}

/// For the clients of all tests here, which run side by side.
fn raise_file_limit() {
    let files = getrlimit(Resource::Nofile);
    let enough = files.maximum.is_none_or(|most| most >= FILES);
    assert!(enough, "this needs {FILES} open files: raise the hard limit (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
}

/// One query by each, some at the same time.
fn ask(clients: &mut [RawClient]) {
    let share = clients.len().div_ceil(HANDS);
    thread::scope(|scope| {
        for some in clients.chunks_mut(share) {
            scope.spawn(|| some.iter_mut().for_each(|client| drop(client.query("select 1").unwrap())));
        }
    });
}
