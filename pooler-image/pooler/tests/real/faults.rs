//! What goes wrong around the pooler: what clients see of it, for how long, and that the budget holds.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Pooler, PoolerOptions, Postgres, PostgresOptions, RawClient, wire};
use rustix::process::Signal;

use super::{app, app_login, options, sqlstate, start, value};

/// A server that a test may disturb.
fn own_server() -> Postgres {
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    server.create_user("app", "app").unwrap();
    server
}

fn before(server: &Postgres, server_connections: u32) -> PoolerOptions {
    let limit = server_connections.to_string();
    PoolerOptions::before(server).user("app", "app").setting("max_server_connections", &limit)
}

fn sessions(server: &Postgres) -> u32 {
    let count = "select count(*) from pg_stat_activity where usename = 'app'";
    server.sql(count).unwrap().concat().concat().parse().unwrap()
}

fn metric(pooler: &Pooler, name: &str) -> u64 {
    let (_, text) = pooler.http_get("/metrics").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[test]
fn a_server_that_hangs_costs_those_who_wait_too_long_and_nobody_else() {
    let server = own_server();
    let pooler = start(&before(&server, 2).setting("query_wait_timeout", "\"1s\""));
    let (mut one, mut two, mut three) = (app(&pooler), app(&pooler), app(&pooler));
    for client in [&mut one, &mut two] {
        // both server connections are open, and each client has one
        client.query("begin").unwrap();
    }
    server.freeze().unwrap();
    for client in [&mut one, &mut two] {
        client.send(&wire::query("select 'late'; commit")).unwrap();
    }
    thread::sleep(Duration::from_millis(200));
    let told = three.query("select 'never sent'").unwrap();
    assert_eq!(sqlstate(&told).as_deref(), Some("53400"), "query_wait_timeout, and it stays connected");
    server.thaw().unwrap();
    for client in [&mut one, &mut two] {
        let messages = client.read_through(b'Z').unwrap();
        assert!(messages.iter().any(|message| message.tag == b'D'), "{messages:?}");
    }
    assert_eq!(value(&mut three, "select 'served'"), "served");
    assert!(sessions(&server) <= 2);
}

#[test]
fn a_frozen_pooler_goes_on_where_it_was() {
    let server = own_server();
    let pooler = start(&before(&server, 3).setting("query_wait_timeout", "\"2s\""));
    let mut idle = app(&pooler);
    let mut between = app(&pooler);
    let mut running = app(&pooler);
    assert_eq!(value(&mut idle, "select 1"), "1");
    between.query("begin").unwrap();
    running.send(&wire::query("select 'done' from pg_sleep(1)")).unwrap();
    thread::sleep(Duration::from_millis(200));
    pooler.signal(Signal::STOP).unwrap();
    // sent into the socket of a process that does not read
    idle.send(&wire::query("select 'read later'")).unwrap();
    let late = thread::spawn({
        let login = app_login(&pooler);
        move || RawClient::login(&login).map(|mut client| value(&mut client, "select 'new'"))
    });
    thread::sleep(Duration::from_secs(5));
    assert!(sessions(&server) <= 3, "its server connections are its own still");
    pooler.signal(Signal::CONT).unwrap();
    for client in [&mut idle, &mut running] {
        let messages = client.read_through(b'Z').unwrap();
        assert_eq!(sqlstate(&messages), None, "{messages:?}");
    }
    assert_eq!(value(&mut between, "select 'in the same transaction'"), "in the same transaction");
    between.query("commit").unwrap();
    assert_eq!(late.join().unwrap().unwrap(), "new");
    assert!(sessions(&server) <= 3);
}

/// Packets are dropped, not refused: a listener whose queue is full answers no SYN.
struct BlackHole {
    listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    fn dig() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queue.push(stream);
            assert!(queue.len() < 16, "this system answers always");
        }
        Self { listener, _queue: queue }
    }
}

#[test]
fn a_black_hole_instead_of_the_server_holds_clients_for_as_long_as_was_set() {
    let server = own_server();
    let hole = BlackHole::dig();
    let mut options = before(&server, 2)
        .setting("server_connect_timeout", "\"500ms\"")
        .setting("server_login_retry", "\"200ms\"")
        .setting("server_hold_timeout", "\"2s\"");
    options.target_port = hole.listener.local_addr().unwrap().port();
    let pooler = start(&options);
    let login = app_login(&pooler);
    let asked = Instant::now();
    let refused = RawClient::login(&login).and_then(|mut client| client.query("select 1"));
    assert!(asked.elapsed() >= Duration::from_secs(1), "it was held for a while first");
    // the client hears why in a proper message, not by a connection that breaks
    let told = refused.map_or_else(|error| Some(error.to_string()), |messages| sqlstate(&messages));
    let told = told.unwrap_or_default();
    assert!(told.contains("08") || told.contains("57P03"), "{told}");
    assert!(metric(&pooler, "pgpooler_server_connections_held") <= 2);
    // the way is free again, without a new process
    options.target_port = server.port();
    pooler.configure(&options).unwrap();
    pooler.signal(Signal::HUP).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match RawClient::login(&login).and_then(|mut client| client.rows("select 'back'")) {
            Ok(rows) => break assert_eq!(rows.concat().concat(), "back"),
            Err(error) => assert!(Instant::now() < end, "{error:#}"),
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// A pooler whose log goes to `log`, at its most talkative.
fn talkative(log: &Path) -> Pooler {
    start(&options(2).environment("PGPOOLER_LOG", "trace").log_to(log))
}

fn logs_a_lot(pooler: &Pooler) {
    for _ in 0..300 {
        let mut client = app(pooler);
        assert_eq!(value(&mut client, "select 'served'"), "served");
    }
}

#[test]
fn a_full_disk_behind_the_log_stops_nobody() {
    let mut pooler = talkative(Path::new("/dev/full"));
    logs_a_lot(&pooler);
    pooler.signal(Signal::INT).unwrap();
    assert!(pooler.wait(Duration::from_secs(20)).unwrap().success());
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // keeps the pipe open, and never reads
    let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let pooler = talkative(&pipe);
    let end = Instant::now() + Duration::from_mins(1);
    while metric(&pooler, "pgpooler_log_lines_dropped_total") == 0 {
        assert!(Instant::now() < end, "the pipe takes all of it");
        logs_a_lot(&pooler);
    }
    logs_a_lot(&pooler);
}

/// Answers every question for an address with 127.0.0.1, late.
fn slow_names(delay: Duration) -> Option<&'static str> {
    const ADDRESS: &str = "127.77.77.77";
    // the port is a resolver's, which only root may have
    let socket = UdpSocket::bind((ADDRESS, 53)).ok()?;
    thread::spawn(move || {
        let mut question = [0_u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let asked = question[..length].to_vec();
            let socket = socket.try_clone().unwrap();
            thread::spawn(move || {
                thread::sleep(delay);
                let _ = socket.send_to(&answer(&asked), from);
            });
        }
    });
    Some(ADDRESS)
}

/// RFC 1035: the question again, and, if it is for an A record, one that is good for no time.
fn answer(asked: &[u8]) -> Vec<u8> {
    let end = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let is_a = asked[end..end + 2] == [0, 1];
    let mut out = asked[..2].to_vec();
    out.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    out.extend(&asked[12..end + 4]);
    if is_a {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    out
}

/// The pooler's program in a mount namespace whose resolver is another.
fn with_resolver(folder: &Path, address: &str) -> std::path::PathBuf {
    let (conf, script) = (folder.join("resolv.conf"), folder.join("pgpooler"));
    fs::write(&conf, format!("nameserver {address}\noptions timeout:20 attempts:1\n")).unwrap();
    let mut file = File::create(&script).unwrap();
    let (program, conf) = (env!("CARGO_BIN_EXE_pgpooler"), conf.display());
    writeln!(
        file,
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind {conf} /etc/resolv.conf && exec {program} \"$@\"' sh \"$@\""
    )
    .unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn slow_names_hold_up_only_those_who_need_a_new_server_connection() {
    const DELAY: Duration = Duration::from_secs(2);
    let Some(address) = slow_names(DELAY) else {
        eprintln!("skipped: only root may answer for names");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = own_server();
    let options = before(&server, 2).host("db.slow.test");
    let pooler = Pooler::start(with_resolver(folder.path(), address), &options).unwrap();
    let asked = Instant::now();
    let mut first = app(&pooler);
    assert_eq!(value(&mut first, "select 'served'"), "served");
    assert!(asked.elapsed() >= DELAY / 2, "the name was not asked for");
    // the second connection needs the name again; whoever has the first goes on meanwhile
    let mut second = app(&pooler);
    first.query("begin").unwrap();
    second.send(&wire::query("select 'late'")).unwrap();
    let mut answers = 0;
    while second.read_within(Duration::from_millis(20)).unwrap().is_none() {
        assert_eq!(value(&mut first, "select 'meanwhile'"), "meanwhile");
        answers += 1;
        assert!(asked.elapsed() < Duration::from_mins(1));
    }
    assert!(answers > 10, "{answers} answers while a name was looked up");
}
