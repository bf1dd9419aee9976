//! Clients that mean harm, or might as well: what they cost is bounded, and nobody else notices them.

mod garbage;
mod half_open;
mod passwords;
mod slow;
mod startup;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

use pgpooler_test_support::{Authority, Pooler, PoolerOptions, RawClient, wire};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::{app, start, value};

/// Open files that a test here may need, on both sides.
const FILES: u64 = 15_000;

/// A connection from 127.0.0.`host`; honest clients come from 127.0.0.1.
fn connect_from(host: u8, pooler: &Pooler) -> TcpStream {
    let address = |ip: Ipv4Addr, port: u16| SocketAddr::from((ip, port)).into();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&address(Ipv4Addr::new(127, 0, 0, host), 0)).unwrap();
    socket.connect(&address(Ipv4Addr::LOCALHOST, pooler.port())).unwrap();
    socket.into()
}

fn client_from(host: u8, pooler: &Pooler) -> RawClient {
    RawClient::over(connect_from(host, pooler)).unwrap()
}

/// Options of a pooler that offers TLS, with its files in this folder.
fn with_tls(options: PoolerOptions, folder: &Path) -> PoolerOptions {
    let certified = Authority::new("hostile").unwrap().certify("localhost", &["localhost"]).unwrap();
    certified.write(folder, "pooler").unwrap();
    let path = |name: &str| format!("{:?}", folder.join(name).display().to_string());
    options
        .setting("client_tls_sslmode", "\"allow\"")
        .setting("client_tls_cert_file", &path("pooler.crt"))
        .setting("client_tls_key_file", &path("pooler.key"))
}

/// StartupMessage of the user `app`.
fn app_startup() -> Vec<u8> {
    wire::startup(196_608, &[("user", "app"), ("database", "postgres")])
}

/// SASLInitialResponse for SCRAM-SHA-256: the challenge is its answer.
fn scram_first() -> Vec<u8> {
    let first = "n,,n=,r=hostile";
    let length = (first.len() as u32).to_be_bytes();
    wire::message(b'p', &[&wire::cstr("SCRAM-SHA-256")[..], &length, first.as_bytes()].concat())
}

/// Somebody logs in and works, with every answer as it should be.
fn work_honestly(pooler: &Pooler, clients: usize) {
    for _ in 0..clients {
        let mut client = app(pooler);
        client.query("begin").unwrap();
        assert_eq!(value(&mut client, "select 41 + 1"), "42");
        client.query("commit").unwrap();
        assert_eq!(value(&mut client, "select 'fine'"), "fine");
    }
}

/// One figure of `/metrics`, with its labels; 0 while it is not there.
fn metric(pooler: &Pooler, name: &str) -> u64 {
    let (_, text) = pooler.http_get("/metrics").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Lines of the log with this text.
fn lines(pooler: &Pooler, text: &str) -> usize {
    pooler.log().lines().filter(|line| line.contains(text)).count()
}

fn raise_file_limit() {
    let files = getrlimit(Resource::Nofile);
    let enough = files.maximum.is_none_or(|most| most >= FILES);
    assert!(enough, "this needs {FILES} open files: raise the hard limit (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
}
