//! Cancel requests that reach another pooler than the one that has the client.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Login, Pooler, PoolerOptions, RawClient, wire};
use rustix::process::Signal;
use tempfile::TempDir;

use super::cancel::{assert_canceled, cancel, key_of, sleep, until, until_somebody_waits};
use super::{app, app_login, options, start, tags, value};

/// A secret for all peers of a test.
pub(super) struct Shared(TempDir);

impl Shared {
    fn new(secret: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), secret).unwrap();
        Self(folder)
    }

    fn options(&self, connections: u32) -> PoolerOptions {
        let path = self.0.path().join("secret");
        options(connections).setting("peer_secret_file", &format!("{:?}", path.display().to_string()))
    }

    pub(super) fn peer(&self, id: u16) -> PoolerOptions {
        self.options(1).setting("peer_id", &id.to_string())
    }

    pub(super) fn peer_with(&self, id: u16, others: &[(u16, u16)]) -> PoolerOptions {
        others.iter().fold(self.peer(id), |options, (id, port)| {
            options.tables(&format!("[[peers]]\npeer_id = {id}\nhost = \"localhost\"\nport = {port}\n"))
        })
    }

    /// The owner of all clients, and another pooler that knows it.
    fn pair(&self) -> (Pooler, Pooler) {
        let owner = start(&self.peer(1));
        let other = start(&self.peer_with(2, &[(1, owner.port())]));
        (owner, other)
    }
}

pub(super) fn shared() -> Shared {
    Shared::new("a secret that the peers share\n")
}

fn long(pooler: &Pooler) -> RawClient {
    let mut login = app_login(pooler);
    login.version = 196_610;
    RawClient::login(&login).unwrap()
}

/// Nothing is answered to a query that sleeps.
fn assert_undisturbed(client: &mut RawClient) {
    assert_eq!(client.read_within(Duration::from_millis(300)).unwrap(), None);
}

#[test]
fn a_request_that_reaches_another_pooler_cancels_the_query() {
    let shared = shared();
    let (owner, other) = shared.pair();
    for mut client in [app(&owner), long(&owner)] {
        sleep(&mut client, "across");
        cancel(&other, &key_of(&client));
        assert_canceled(&client.read_through(b'Z').unwrap());
        assert_eq!(value(&mut client, "select 1"), "1");
    }
    let login = Login { database: "pgbouncer".to_owned(), ..other.superuser() };
    let mut console = RawClient::login(&login).unwrap();
    let port = owner.port().to_string();
    assert_eq!(console.rows("SHOW PEERS").unwrap(), [["1", "localhost", port.as_str(), ""]]);
    // the connections of requests that are dealt with are gone
    until("requests are no more under way", || {
        console.rows("SHOW PEER_POOLS").unwrap() == [["1", "0", "0", "0", "0"]]
    });
}

#[test]
fn a_name_leads_to_the_pooler_with_the_address_in_the_key() {
    let shared = shared();
    let name = |address: &str, dns: &str| {
        shared.options(1).setting("peers_dns", &format!("{dns:?}")).environment("PGPOOLER_POD_IP", address)
    };
    let owner = start(&name("127.0.0.1", "localhost"));
    let other = start(&name("127.0.0.9", &format!("localhost:{}", owner.port())));
    let mut client = app(&owner);
    sleep(&mut client, "by name");
    cancel(&other, &key_of(&client));
    assert_canceled(&client.read_through(b'Z').unwrap());
    // no address of that name has this key
    let mut client = app(&other);
    sleep(&mut client, "by name, gone");
    let stranger = start(&name("127.0.0.8", &format!("localhost:{}", owner.port())));
    cancel(&stranger, &key_of(&client));
    assert_undisturbed(&mut client);
}

#[test]
fn a_query_that_waits_in_the_queue_of_another_pooler_is_cancelled() {
    let shared = shared();
    let (owner, other) = shared.pair();
    let mut holder = app(&owner);
    let mut waiter = app(&owner);
    holder.query("begin").unwrap();
    waiter.send(&wire::query("select 1")).unwrap();
    until_somebody_waits(&owner);
    cancel(&other, &key_of(&waiter));
    assert_canceled(&waiter.read_through(b'Z').unwrap());
    holder.query("commit").unwrap();
    assert_eq!(value(&mut waiter, "select 2"), "2");
}

#[test]
fn a_query_of_a_pooler_that_drains_is_cancelled_through_another() {
    let shared = shared();
    let (mut owner, other) = shared.pair();
    let mut client = app(&owner);
    client.query("begin").unwrap();
    sleep(&mut client, "drain across");
    owner.signal(Signal::TERM).unwrap();
    until("it drains", || owner.log().contains("draining: "));
    cancel(&other, &key_of(&client));
    assert_canceled(&client.read_through(b'Z').unwrap());
    assert_eq!(tags(&client.query("rollback").unwrap()), "CZ");
    assert!(owner.wait(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn the_key_of_a_pooler_that_is_gone_does_nothing_and_ends_soon() {
    let shared = shared();
    let (mut owner, other) = shared.pair();
    let key = key_of(&app(&owner));
    owner.signal(Signal::QUIT).unwrap();
    owner.wait(Duration::from_secs(10)).unwrap();
    assert!(cancel(&other, &key) < Duration::from_secs(3));
}

#[test]
fn a_pooler_that_was_started_anew_takes_no_key_of_its_predecessor() {
    let shared = shared();
    let (mut owner, _) = shared.pair();
    let key = key_of(&app(&owner));
    owner.signal(Signal::QUIT).unwrap();
    owner.wait(Duration::from_secs(10)).unwrap();
    let (owner, other) = shared.pair();
    let mut client = app(&owner);
    sleep(&mut client, "anew");
    cancel(&owner, &key);
    cancel(&other, &key);
    assert_undisturbed(&mut client);
}

#[test]
fn poolers_with_another_secret_or_none_know_no_key_of_ours() {
    let shared = shared();
    let owner = start(&shared.peer(1));
    let other = start(&Shared::new("quite another secret").peer_with(2, &[(1, owner.port())]));
    let alone = start(&options(1));
    let mut client = app(&owner);
    sleep(&mut client, "another secret");
    cancel(&other, &key_of(&client));
    cancel(&alone, &key_of(&client));
    assert_undisturbed(&mut client);
}

/// Takes one connection, reads the request on it, and closes it.
fn overhear(listener: &TcpListener) -> Vec<u8> {
    let (mut connection, _) = listener.accept().unwrap();
    let mut request = vec![0; 4];
    connection.read_exact(&mut request).unwrap();
    let length = u32::from_be_bytes(request[..].try_into().unwrap()) as usize;
    request.resize(length, 0);
    connection.read_exact(&mut request[4..]).unwrap();
    request
}

fn send(port: u16, request: &[u8]) {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    connection.write_all(request).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
}

#[test]
fn a_request_is_passed_on_once_to_its_owner_alone_without_showing_the_key() {
    let shared = shared();
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (ear, bystander) = (listen(), listen());
    let ports = [&ear, &bystander].map(|listener| listener.local_addr().unwrap().port());
    let owner = start(&shared.peer(1));
    let other = start(&shared.peer_with(2, &[(1, ports[0]), (3, ports[1])]));
    let mut client = app(&owner);
    let (pid, secret) = key_of(&client);
    sleep(&mut client, "overheard");
    let request = thread::scope(|scope| {
        let heard = scope.spawn(|| overhear(&ear));
        cancel(&other, &(pid, secret.clone()));
        heard.join().unwrap()
    });
    assert!(!request.windows(4).any(|window| window == secret || window == pid.to_be_bytes()));
    for listener in [&ear, &bystander] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "a second message");
    }
    // to one that is not its owner it means nothing, and it goes no further
    send(other.port(), &request);
    thread::sleep(Duration::from_millis(200));
    assert!(ear.accept().is_err(), "passed on again");
    assert_undisturbed(&mut client);
    send(owner.port(), &request);
    assert_canceled(&client.read_through(b'Z').unwrap());
}

#[test]
fn guesses_and_strange_messages_are_passed_on_to_nobody() {
    let shared = shared();
    let ear = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ear.set_nonblocking(true).unwrap();
    let port = ear.local_addr().unwrap().port();
    let other = start(&shared.peer_with(2, &[(1, port)]));
    let began = Instant::now();
    for guess in 1..500_u32 {
        cancel(&other, &(guess.wrapping_mul(0x9E37_79B9) >> 1, guess.to_be_bytes().to_vec()));
    }
    cancel(&other, &(0, vec![0; 53]));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(ear.accept().is_err());
}
