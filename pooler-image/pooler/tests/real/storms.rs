//! A fleet that arrives in one instant gets in, and neither those who are at work nor PostgreSQL suffer from it.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Authority, Login, Pooler, PoolerOptions, RawClient, TlsOptions, wire};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{app, options, server, start, value};

const CLIENTS: usize = 1_000;

/// Of somebody who goes on meanwhile. In five waves of logins they were 340 to 19,000 on a busy machine, and mostly fewer
/// than ten in a pooler that served them only when nobody was logging in.
const FEWEST_TRANSACTIONS: usize = 50;

/// Server connections that there may be.
const SERVERS: usize = 5;

const PATIENCE: Duration = Duration::from_secs(20);

/// Threads that play the clients.
const HANDS: usize = 8;

#[test]
fn a_thousand_logins_at_once_leave_room_for_transactions() {
    let pooler = start(&options(SERVERS as u32).setting("workers", "1"));
    assert_transactions_go_on(&pooler, &pooler.login("app", "app", "postgres"), 20);
}

#[test]
fn a_thousand_logins_at_once_with_tls_leave_room_for_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let certified = Authority::new("storms").unwrap().certify("localhost", &["localhost"]).unwrap();
    certified.write(folder.path(), "pooler").unwrap();
    let path = |name: &str| format!("{:?}", folder.path().join(name).display().to_string());
    let options = options(SERVERS as u32)
        .setting("workers", "1")
        .setting("client_tls_sslmode", "\"allow\"")
        .setting("client_tls_cert_file", &path("pooler.crt"))
        .setting("client_tls_key_file", &path("pooler.key"));
    let pooler = start(&options);
    let login = Login { tls: Some(TlsOptions::default()), ..pooler.login("app", "app", "postgres") };
    assert_transactions_go_on(&pooler, &login, 5);
}

fn assert_transactions_go_on(pooler: &Pooler, login: &Login, waves: usize) {
    let mut runner = app(pooler);
    let (progress, over) = (Progress::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let begun = progress.begun.load(Ordering::Relaxed);
                assert_eq!(value(&mut runner, "select 1"), "1");
                progress.transactions.fetch_add(usize::from(begun), Ordering::Relaxed);
            }
        });
        storm(login, waves, &progress);
        over.store(true, Ordering::Relaxed);
    });
    let transactions = progress.transactions.into_inner();
    assert!(transactions >= FEWEST_TRANSACTIONS, "{transactions} transactions, {waves} x {CLIENTS} logins");
}

#[test]
fn a_thousand_logins_before_a_slow_server_open_as_many_connections_to_it_as_there_may_be() {
    let door = Door::before(server().port());
    let options = PoolerOptions { target_port: door.port, ..options(SERVERS as u32) };
    let pooler = start(&options.setting("workers", "2"));
    let login = pooler.login("app", "app", "postgres");
    let progress = Progress::default();
    thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&login, 1, &progress));
        wait_until(|| progress.proven.load(Ordering::Relaxed) == CLIENTS && door.opened() >= SERVERS);
        assert_eq!(door.opened(), SERVERS);
        door.open();
        let mut clients = storm.join().unwrap();
        for client in clients.iter_mut().step_by(50) {
            assert_eq!(value(client, "select 1"), "1");
        }
    });
    assert_eq!(door.opened(), SERVERS, "no login was in vain");
}

/// Stands before a server, counts who comes, and lets nobody through until it is opened.
struct Door {
    port: u16,
    opened: Arc<AtomicUsize>,
    key: mpsc::Sender<()>,
}

impl Door {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let opened = Arc::new(AtomicUsize::new(0));
        let (key, lock) = mpsc::channel();
        let count = Arc::clone(&opened);
        thread::spawn(move || {
            let (waiting, come_in) = mpsc::channel::<TcpStream>();
            thread::spawn(move || {
                if lock.recv().is_ok() {
                    for client in come_in {
                        pass_on(client, server);
                    }
                }
            });
            for client in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                // nobody takes it when the test is over
                let _ = waiting.send(client.unwrap());
            }
        });
        Self { port, opened, key }
    }

    /// So many connections have come.
    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    fn open(&self) {
        self.key.send(()).unwrap();
    }
}

fn pass_on(mut client: TcpStream, port: u16) {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut server, &mut client);
        let _ = client.shutdown(Shutdown::Both);
    });
}

fn wait_until(happened: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < until, "it did not happen within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How far the storm has come, and somebody else meanwhile.
#[derive(Default)]
struct Progress {
    transactions: AtomicUsize,
    /// All are connected.
    begun: AtomicBool,
    /// So many have sent their proof.
    proven: AtomicUsize,
}

/// A thousand clients that are at the same step of their login at once, as far as a few threads can play them; in each
/// wave anew, until somebody else has got on. Those of the last one.
fn storm(login: &Login, waves: usize, progress: &Progress) -> Vec<RawClient> {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let all = Barrier::new(HANDS);
    let hand = || {
        // the machine's cores are for those who are tested
        rustix::process::setpriority_process(None, 19).unwrap();
        let mut clients = connect(login);
        all.wait();
        progress.begun.store(true, Ordering::Relaxed);
        clients = log_in(clients, login, progress);
        for _ in 1..waves {
            if progress.transactions.load(Ordering::Relaxed) >= FEWEST_TRANSACTIONS {
                break;
            }
            clients = log_in(connect(login), login, progress);
        }
        clients
    };
    thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(hand)).collect();
        hands.into_iter().flat_map(|hand| hand.join().unwrap()).collect()
    })
}

/// A hand's share of the clients.
fn connect(login: &Login) -> Vec<RawClient> {
    (0..CLIENTS / HANDS).map(|_| RawClient::connect(login.port).unwrap()).collect()
}

/// Each step by all of them before the next.
fn log_in(mut clients: Vec<RawClient>, login: &Login, progress: &Progress) -> Vec<RawClient> {
    if let Some(options) = &login.tls {
        send(&mut clients, &wire::ssl_request());
        let secure = |mut client: RawClient| {
            assert_eq!(client.read_bytes(1).unwrap(), b"S");
            client.secure(options).unwrap()
        };
        clients = clients.into_iter().map(secure).collect();
    }
    let startup = wire::startup(196_608, &[("user", &login.user), ("database", &login.database)]);
    send(&mut clients, &startup);
    // the request for SCRAM, the challenge
    for _ in 0..2 {
        for client in &mut clients {
            let asked = client.read().unwrap();
            client.follow_login(&login.password, &asked).unwrap();
        }
    }
    progress.proven.fetch_add(clients.len(), Ordering::Relaxed);
    for client in &mut clients {
        let greeting = client.read_through(b'Z').unwrap();
        assert!(greeting.iter().all(|message| message.tag != b'E'), "{greeting:?}");
    }
    clients
}

fn send(clients: &mut [RawClient], bytes: &[u8]) {
    for client in clients {
        client.send(bytes).unwrap();
    }
}
