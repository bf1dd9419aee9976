//! Replication connections have a server connection to themselves, byte for byte.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgpooler_test_support::{
    Login, Message, Pooler, PoolerOptions, Postgres, PostgresOptions, Programs, RawClient, wire,
};

use super::{sqlstate, start, tags, value};

fn server() -> Postgres {
    let settings = PostgresOptions { max_connections: 20, ..PostgresOptions::default() }
        .setting("wal_level", "logical")
        .setting("max_wal_senders", "4")
        .setting("max_replication_slots", "4");
    let server = Postgres::start(&settings).unwrap();
    server.sql("create role copier login replication password 'copier'").unwrap();
    server.create_user("app", "app").unwrap();
    server.sql("create table orders (id int primary key, what text); create publication all_of_it for all tables").unwrap();
    server
}

fn pooler(server: &Postgres, connections: u32) -> Pooler {
    let options = PoolerOptions::before(server)
        .user("copier", "copier")
        .user("app", "app")
        .setting("max_server_connections", &connections.to_string());
    start(&options)
}

fn copier(port: u16, kind: &str) -> Login {
    Login::new(port, "copier", "copier", "postgres").parameter("replication", kind)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(server: &Postgres, sql: &str) -> String {
    server.sql(sql).unwrap().concat().concat()
}

/// Types and bodies, but for what differs between any two connections.
fn stable(messages: Vec<Message>) -> Vec<Message> {
    messages.into_iter().filter(|message| !matches!(message.tag, b'K' | b'R')).collect()
}

#[test]
fn a_physical_walsender_says_the_same_as_a_direct_one() {
    let server = server();
    let pooler = pooler(&server, 2);
    for kind in ["true", "on", "1", "database"] {
        let named = |port| {
            copier(port, kind).parameter("application_name", "standby").parameter("DateStyle", "german")
        };
        let (mut direct, expected) = RawClient::login_messages(&named(server.port())).unwrap();
        let (mut through, told) = RawClient::login_messages(&named(pooler.port())).unwrap();
        assert_eq!(tags(&told), tags(&expected), "{kind}");
        assert_eq!(stable(told), stable(expected), "{kind}");
        for command in ["IDENTIFY_SYSTEM", "SHOW wal_level", "NONSENSE", "TIMELINE_HISTORY 7"] {
            assert_eq!(through.query(command).unwrap(), direct.query(command).unwrap(), "{kind} {command}");
        }
    }
}

#[test]
fn a_logical_walsender_takes_sql_and_streams_changes() {
    let server = server();
    let pooler = pooler(&server, 2);
    let mut client = RawClient::login(&copier(pooler.port(), "database")).unwrap();
    assert_eq!(value(&mut client, "select current_database()"), "postgres");
    assert_eq!(
        value(&mut client, "select application_name from pg_stat_activity where pid = pg_backend_pid()"),
        ""
    );
    let made = client.query("CREATE_REPLICATION_SLOT watcher LOGICAL pgoutput").unwrap();
    assert_eq!(tags(&made), "TDCZ");
    let begin =
        "START_REPLICATION SLOT watcher LOGICAL 0/0 (proto_version '1', publication_names 'all_of_it')";
    client.send(&wire::query(begin)).unwrap();
    assert_eq!(client.read().unwrap().tag, b'W');
    server.sql("insert into orders values (1, 'tea')").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"BRIC") {
        let message = client.read().unwrap();
        assert_eq!(message.tag, b'd');
        match message.body.first() {
            Some(b'w') => seen.push(message.body[25]),
            // a keepalive: answered, so that the server goes on
            Some(b'k') => client.send(&wire::message(b'd', &[b"r".as_slice(), &[0; 33]].concat())).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    // the copy is ended by the client, and the connection is good for more
    client.send(&wire::message(b'c', b"")).unwrap();
    let ended = client.read_through(b'Z').unwrap();
    assert!(tags(&ended).trim_start_matches('d').starts_with('c'), "{ended:?}");
    assert_eq!(tags(&client.query("DROP_REPLICATION_SLOT watcher").unwrap()), "CZ");
}

#[test]
fn a_walsender_has_a_slot_waits_for_it_and_gives_it_back() {
    let server = server();
    let pooler = pooler(&server, 1);
    let mut app = RawClient::login(&pooler.login("app", "app", "postgres")).unwrap();
    app.query("begin").unwrap();
    let login = copier(pooler.port(), "true");
    let walsenders = "select count(*) from pg_stat_activity where usename = 'copier'";
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| RawClient::login(&login).unwrap());
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(count(&server, walsenders), "0");
        app.query("commit").unwrap();
        let mut walsender = waiter.join().unwrap();
        assert_eq!(tags(&walsender.query("IDENTIFY_SYSTEM").unwrap()), "TDCZ");
        // now the other one waits
        app.send(&wire::query("select 1")).unwrap();
        assert!(app.read_within(Duration::from_millis(300)).unwrap().is_none());
        walsender.send(&wire::terminate()).unwrap();
        assert_eq!(tags(&app.read_through(b'Z').unwrap()), "TDCZ");
    });
    until("a walsender is left", || count(&server, walsenders) == "0");
}

#[test]
fn a_walsender_ends_with_its_client_whatever_it_was_doing() {
    let server = server();
    let pooler = pooler(&server, 2);
    let mut client = RawClient::login(&copier(pooler.port(), "true")).unwrap();
    let place = client.rows("IDENTIFY_SYSTEM").unwrap()[0][2].clone();
    client.send(&wire::query(&format!("START_REPLICATION PHYSICAL {place}"))).unwrap();
    assert_eq!(client.read().unwrap().tag, b'W');
    drop(client);
    let left = "select count(*) from pg_stat_activity where usename = 'copier'";
    until("a walsender is left", || count(&server, left) == "0");
    // and the client with its walsender
    let mut client = RawClient::login(&copier(pooler.port(), "true")).unwrap();
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'copier'").unwrap();
    assert_eq!(sqlstate(&[client.read().unwrap()]).as_deref(), Some("57P01"));
    assert_eq!(client.read_to_end().unwrap(), b"");
}

#[test]
fn a_statement_of_a_logical_walsender_can_be_cancelled() {
    let server = server();
    let pooler = pooler(&server, 2);
    let mut client = RawClient::login(&copier(pooler.port(), "database")).unwrap();
    let (pid, key) = client.backend_key.clone().unwrap();
    client.send(&wire::query("select pg_sleep(30)")).unwrap();
    let running =
        "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
    until("the statement runs", || count(&server, running) == "1");
    RawClient::connect(pooler.port()).unwrap().send(&wire::cancel_request(pid, &key)).unwrap();
    assert_eq!(sqlstate(&client.read_through(b'Z').unwrap()).as_deref(), Some("57014"));
}

#[test]
fn what_postgresql_says_of_a_faulty_walsender_is_told_as_it_says_it() {
    let server = server();
    let pooler = pooler(&server, 3);
    let app = |port| Login::new(port, "app", "app", "postgres").parameter("replication", "true");
    let nowhere = |port| Login { database: "nosuch".to_owned(), ..copier(port, "database") };
    let setting = |port| copier(port, "true").parameter("nosuch", "1");
    for login in [&app as &dyn Fn(u16) -> Login, &nowhere, &setting] {
        let last = |port| RawClient::login_messages(&login(port)).unwrap().1.pop().unwrap();
        let (direct, through) = (last(server.port()), last(pooler.port()));
        assert_eq!(through, direct);
        assert_eq!(direct.tag, b'E');
    }
    // nothing of it keeps a slot
    until("a session is left", || {
        count(&server, "select count(*) from pg_stat_activity where usename in ('app', 'copier')") == "0"
    });
    let wrong = Login { password: "wrong".to_owned(), ..copier(pooler.port(), "true") };
    assert_eq!(sqlstate(&RawClient::login_messages(&wrong).unwrap().1).as_deref(), Some("28P01"));
}

fn program(name: &str, pooler: &Pooler) -> Command {
    let mut command = Command::new(Programs::find(None).unwrap().path(name));
    command
        .env("PGPASSWORD", "copier")
        .args(["-h", "127.0.0.1", "-p", &pooler.port().to_string(), "-U", "copier"])
        .stdin(Stdio::null());
    command
}

#[test]
fn pg_basebackup_and_pg_recvlogical_work_through_the_pooler() {
    let server = server();
    let pooler = pooler(&server, 3);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let output = program("pg_basebackup", &pooler)
        .args(["--checkpoint=fast", "--wal-method=stream", "--no-sync", "-D"])
        .arg(&backup)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}\n{}\n{}", pooler.log(), server.log());
    assert!(backup.join("PG_VERSION").exists() && backup.join("backup_manifest").exists());

    let watcher = |action: &str| {
        let mut command = program("pg_recvlogical", &pooler);
        command.args(["-d", "postgres", "--slot", "watcher", action]);
        command
    };
    assert!(watcher("--create-slot").args(["-P", "test_decoding"]).status().unwrap().success());
    server.sql("set synchronous_commit = on; insert into orders values (2, 'coffee')").unwrap();
    let end = count(&server, "select pg_current_wal_lsn()");
    let output = watcher("--start").args(["-f", "-", "--endpos", &end]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("INSERT: id[integer]:2 what[text]:'coffee'"), "{output:?}");
    assert!(watcher("--drop-slot").status().unwrap().success());
}

#[test]
fn kill_ends_replication_connections_of_a_database_and_disable_refuses_new_ones() {
    let server = server();
    let pooler = pooler(&server, 4);
    let mut console =
        RawClient::login(&Login { database: "pgbouncer".to_owned(), ..pooler.superuser() }).unwrap();
    let mut client = RawClient::login(&copier(pooler.port(), "database")).unwrap();
    let pid = value(&mut client, "select pg_backend_pid()");
    assert_eq!(tags(&console.query("KILL postgres").unwrap()), "CZ");
    client.read_to_end().unwrap();
    let alive = format!("select count(*) from pg_stat_activity where pid = {pid}");
    until("its server connection is closed", || count(&server, &alive) == "0");
    assert_eq!(tags(&console.query("RESUME postgres; DISABLE postgres").unwrap()), "CCZ");
    let (_, answer) = RawClient::login_messages(&copier(pooler.port(), "database")).unwrap();
    assert_eq!(sqlstate(&answer).unwrap(), "08P01");
}
