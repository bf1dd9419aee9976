//! Clients that get TLS.

use std::time::Duration;

use pgpooler_test_support::scram::ClientFirst;
use pgpooler_test_support::{Login, Pooler, RawClient, TlsOptions, wire};

use super::{Files, certified, drip, large_goes_both_ways, over_tls, psql};
use crate::{app_login, options, sqlstate, start, tags, value};

#[test]
fn every_mode_meets_every_sslmode_of_libpq_as_postgresql_would() {
    let files = Files::new();
    for mode in ["disable", "allow", "prefer", "require"] {
        let pooler = start(&files.clients(options(2), mode));
        for sslmode in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
            let root = files.path("ca.crt");
            let parameters = format!("host=localhost sslmode={sslmode} sslrootcert={}", root.display());
            let outcome = psql(pooler.port(), &parameters, "SELECT 'hello'");
            let secured = outcome.as_ref().map(|text| text.contains("SSL connection"));
            let expected = match (mode, sslmode) {
                ("disable", "require" | "verify-ca" | "verify-full") | ("require", "disable") => None,
                ("disable", _) | ("allow" | "prefer", "disable" | "allow") => Some(false),
                _ => Some(true),
            };
            assert_eq!(secured.ok(), expected, "client_tls_sslmode={mode}, sslmode={sslmode}: {outcome:?}");
            assert!(outcome.is_err() || outcome.is_ok_and(|text| text.contains("hello")));
        }
    }
}

#[test]
fn a_client_that_checks_names_is_told_by_the_certificate() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let root = files.path("ca.crt");
    let parameters = format!("host=elsewhere sslmode=verify-full sslrootcert={}", root.display());
    let told = psql(pooler.port(), &parameters, "SELECT 1").unwrap_err();
    assert!(told.contains("does not match host name"), "{told}");
}

#[test]
fn both_versions_of_tls_and_direct_tls_carry_queries() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let postgresql = || vec!["postgresql".to_owned()];
    for tls in [
        TlsOptions { old: true, ..over_tls() },
        TlsOptions { alpn: postgresql(), ..over_tls() },
        TlsOptions { direct: true, alpn: postgresql(), ..over_tls() },
        TlsOptions { direct: true, alpn: postgresql(), old: true, ..over_tls() },
    ] {
        let mut client = RawClient::login(&app_login(&pooler).secure(tls)).unwrap();
        assert_eq!(value(&mut client, "SELECT 40 + 2"), "42");
        client.query("BEGIN").unwrap();
        assert_eq!(sqlstate(&client.query("SELECT 1/0").unwrap()).unwrap(), "22012");
        client.query("ROLLBACK").unwrap();
    }
}

#[test]
fn gss_encryption_is_declined_and_tls_is_given_then() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let mut client = RawClient::connect(pooler.port()).unwrap();
    client.send(&wire::gssenc_request()).unwrap();
    assert_eq!(client.read_bytes(1).unwrap(), b"N");
    client.send(&wire::ssl_request()).unwrap();
    assert_eq!(client.read_bytes(1).unwrap(), b"S");
    let mut client = client.secure(&over_tls()).unwrap();
    client.send(&wire::startup(196_608, &[("user", "app"), ("database", "postgres")])).unwrap();
    assert_eq!(client.read().unwrap().tag, b'R');
}

#[test]
fn a_login_that_arrives_byte_by_byte_succeeds() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    for old in [false, true] {
        let login = Login { port: drip(pooler.port()), ..app_login(&pooler) };
        let mut client = RawClient::login(&login.secure(TlsOptions { old, ..over_tls() })).unwrap();
        assert_eq!(value(&mut client, "SELECT repeat('x', 100000)").len(), 100_000);
        assert_eq!(value(&mut client, &format!("SELECT length('{}')", "y".repeat(50_000))), "50000");
    }
}

#[test]
fn what_is_large_goes_both_ways_and_a_slow_reader_loses_nothing() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let mut client = RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
    large_goes_both_ways(&mut client);
}

#[test]
fn the_end_of_a_reply_reaches_a_client_that_is_slower_than_the_server_to_the_last() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let mut client = RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
    client.send(&wire::query("SELECT repeat('x', 100000) FROM generate_series(1, 150)")).unwrap();
    let mut tag = 0;
    while tag != b'Z' {
        // so that the socket is always full
        std::thread::sleep(Duration::from_millis(3));
        tag = client.read().unwrap().tag;
    }
}

#[test]
fn many_messages_in_one_record_are_all_answered() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let mut client = RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
    client.send(&wire::query("SELECT 1").repeat(200)).unwrap();
    for _ in 0..200 {
        assert_eq!(tags(&client.read_through(b'Z').unwrap()), "TDCZ");
    }
    assert!(client.read_within(Duration::from_millis(50)).unwrap().is_none());
}

#[test]
fn queries_in_the_record_of_the_proof_are_answered_without_another_byte() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let mut client = RawClient::connect_tls(pooler.port(), &over_tls()).unwrap();
    client.send(&wire::startup(196_608, &[("user", "app"), ("database", "postgres")])).unwrap();
    client.read().unwrap();
    let (exchange, first) = ClientFirst::begin();
    let length = (first.len() as u32).to_be_bytes();
    let body = [&wire::cstr("SCRAM-SHA-256")[..], &length, first.as_bytes()].concat();
    client.send(&wire::message(b'p', &body)).unwrap();
    let server_first = client.read().unwrap().body.split_off(4);
    let (_, last) = exchange.answer("app", &String::from_utf8(server_first).unwrap()).unwrap();
    // more than is read at once during a login
    let queries = wire::query(&format!("SELECT length('{}')", "x".repeat(1000))).repeat(10);
    client.send(&[wire::message(b'p', last.as_bytes()), queries].concat()).unwrap();
    client.read_through(b'Z').unwrap();
    for _ in 0..10 {
        assert_eq!(tags(&client.read_through(b'Z').unwrap()), "TDCZ");
    }
}

#[test]
fn a_cancel_request_inside_tls_cancels() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let mut client = RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
    let (pid, key) = client.backend_key.clone().unwrap();
    client.send(&wire::query("SELECT pg_sleep(60)")).unwrap();
    assert!(client.read_within(Duration::from_millis(200)).unwrap().is_none());
    let mut canceler = RawClient::connect_tls(pooler.port(), &over_tls()).unwrap();
    canceler.send(&wire::cancel_request(pid, &key)).unwrap();
    assert_eq!(sqlstate(&client.read_through(b'Z').unwrap()).unwrap(), "57014");
    assert!(canceler.ends_properly());
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    client.send(&wire::terminate()).unwrap();
    assert!(client.ends_properly());
}

#[test]
fn the_console_is_reached_over_tls() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require"));
    let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    let mut console = RawClient::login(&login.secure(over_tls())).unwrap();
    assert!(value(&mut console, "SHOW VERSION").contains("pgpooler"));
}

#[test]
fn the_console_tells_what_both_sides_speak() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let old = TlsOptions { old: true, ..over_tls() };
    let _old = RawClient::login(&app_login(&pooler).secure(old)).unwrap();
    let mut plain = RawClient::login(&app_login(&pooler)).unwrap();
    plain.query("SELECT 1").unwrap();
    let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    let mut console = RawClient::login(&login).unwrap();
    let column = |console: &mut RawClient, command: &str| -> Vec<String> {
        let rows = console.rows(command).unwrap().into_iter();
        rows.filter(|row| row[2] != "pgbouncer").map(|row| row[17].clone()).collect()
    };
    let mut clients = column(&mut console, "SHOW CLIENTS");
    clients.sort();
    assert_eq!(clients, ["", "TLSv1.2/TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]);
    assert_eq!(column(&mut console, "SHOW SERVERS"), [""]);
}

#[test]
fn a_client_certificate_is_asked_for_and_checked() {
    let files = Files::new();
    let options = files.clients(options(1), "verify-ca").setting("client_tls_ca_file", &files.toml("ca.crt"));
    let pooler = start(&options);
    let with = |identity| {
        RawClient::login_messages(&app_login(&pooler).secure(TlsOptions { identity, ..over_tls() }))
    };
    let (_, messages) = with(None).unwrap();
    assert_eq!(messages[0].field(b'M').unwrap(), "connection requires a valid client certificate");
    assert_eq!(sqlstate(&messages).unwrap(), "28000");
    let (mut client, _) = with(Some(certified("app", &[]))).unwrap();
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    let stranger = pgpooler_test_support::Authority::new("somebody else").unwrap();
    assert!(with(Some(stranger.certify("app", &[]).unwrap())).is_err());
}

/// Resident memory of the pooler that is its own.
fn memory(pooler: &Pooler) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pooler.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn an_idle_client_with_tls_keeps_no_buffers() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "require").setting("workers", "1"));
    let login = |old| {
        let mut client =
            RawClient::login(&app_login(&pooler).secure(TlsOptions { old, ..over_tls() })).unwrap();
        assert_eq!(value(&mut client, "SELECT length(repeat('x', 10000))"), "10000");
        client
    };
    for old in [false, true] {
        let _warm: Vec<_> = (0..100).map(|_| login(old)).collect();
        let before = memory(&pooler);
        let _clients: Vec<_> = (0..500).map(|_| login(old)).collect();
        let each = (memory(&pooler) - before) / 500;
        assert!(each <= 12 * 1024, "{each} bytes for a client, TLS 1.{}", if old { 2 } else { 3 });
        println!("{each} bytes for an idle client, TLS 1.{}", if old { 2 } else { 3 });
    }
}
