//! PostgreSQL behind TLS.

use std::time::{Duration, Instant};

use pgpooler_test_support::{
    Authority, Certified, Login, Pooler, PoolerOptions, Postgres, PostgresOptions, RawClient, wire,
};

use super::{Files, certified, large_goes_both_ways, over_tls, postgres, record};
use crate::{app, app_login, lends, server, sqlstate, start, value};

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

fn before(server: &Postgres, mode: &str, files: &Files) -> PoolerOptions {
    PoolerOptions::before(server)
        .user("app", "app")
        .setting("max_server_connections", "1")
        .setting("server_tls_sslmode", &format!("\"{mode}\""))
        .setting("server_tls_ca_file", &files.toml("ca.crt"))
}

/// Whether the server connection of `app` has TLS; none: no login.
fn secured(pooler: &Pooler) -> Option<bool> {
    let mut client = RawClient::login(&app_login(pooler)).ok()?;
    Some(value(&mut client, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t")
}

fn assert_modes(server: &Postgres, expected: [Option<bool>; 6]) {
    let files = Files::new();
    for (mode, expected) in MODES.into_iter().zip(expected) {
        let pooler = start(&before(server, mode, &files));
        let begun = Instant::now();
        assert_eq!(secured(&pooler), expected, "{mode}\n{}", pooler.log());
        // who is not let in is told so, and does not wait for a login that cannot succeed
        assert!(begun.elapsed() < Duration::from_secs(5), "{mode}\n{}", pooler.log());
        assert!(!pooler.log().contains("panicked"), "{mode}\n{}", pooler.log());
    }
}

fn good() -> Certified {
    certified("server", &["127.0.0.1"])
}

const PLAIN: Option<bool> = Some(false);
const TLS: Option<bool> = Some(true);

#[test]
fn a_server_without_tls_is_refused_by_the_modes_that_insist() {
    assert_modes(server(), [PLAIN, PLAIN, PLAIN, None, None, None]);
}

#[test]
fn a_server_with_tls_is_spoken_to_as_the_mode_prefers() {
    assert_modes(&postgres(&good(), "host"), [PLAIN, PLAIN, TLS, TLS, TLS, TLS]);
}

#[test]
fn a_server_that_demands_tls_gets_it_when_the_mode_allows() {
    assert_modes(&postgres(&good(), "hostssl"), [None, TLS, TLS, TLS, TLS, TLS]);
}

#[test]
fn a_server_that_wants_no_tls_for_a_user_is_tried_without_by_prefer() {
    assert_modes(&postgres(&good(), "hostnossl"), [PLAIN, PLAIN, PLAIN, None, None, None]);
}

#[test]
fn a_certificate_of_a_stranger_or_for_another_host_does_not_pass_verification() {
    let stranger = Authority::new("somebody else").unwrap().certify("server", &["127.0.0.1"]).unwrap();
    assert_modes(&postgres(&stranger, "host"), [PLAIN, PLAIN, TLS, TLS, None, None]);
    assert_modes(
        &postgres(&certified("server", &["elsewhere"]), "host"),
        [PLAIN, PLAIN, TLS, TLS, TLS, None],
    );
}

#[test]
fn a_common_name_counts_where_there_are_no_other_names() {
    assert_modes(&postgres(&certified("127.0.0.1", &[]), "host"), [PLAIN, PLAIN, TLS, TLS, TLS, TLS]);
    let other = certified("127.0.0.1", &["elsewhere"]);
    assert_modes(&postgres(&other, "host"), [PLAIN, PLAIN, TLS, TLS, TLS, None]);
}

#[test]
fn a_self_signed_certificate_is_good_where_it_stands_among_the_authorities() {
    let own = Certified::self_signed("server", &["localhost"]).unwrap();
    let (server, files) = (postgres(&own, "hostssl"), Files::new());
    std::fs::write(files.path("ca.crt"), &own.certificate).unwrap();
    let options = before(&server, "verify-full", &files);
    let named = PoolerOptions { target_host: Some("localhost".to_owned()), ..options.clone() };
    assert_eq!(secured(&start(&named)), TLS);
    assert_eq!(secured(&start(&options)), None);
}

#[test]
fn a_client_hears_why_there_is_no_tls_and_the_log_tells_it() {
    let files = Files::new();
    let pooler = start(&before(server(), "require", &files));
    let (_, messages) = RawClient::login_messages(&app_login(&pooler)).unwrap();
    assert!(sqlstate(&messages).is_some());
    assert!(
        pooler.log().contains("the server has no TLS, which server_tls_sslmode requires"),
        "{}",
        pooler.log()
    );
}

#[test]
fn a_certificate_of_our_own_opens_servers_that_ask_for_one() {
    let files = Files::new();
    let options = PostgresOptions {
        tls: Some(good()),
        client_authorities: Some(std::fs::read_to_string(files.path("ca.crt")).unwrap()),
        hba: vec![
            "host all postgres 127.0.0.1/32 scram-sha-256".to_owned(),
            "hostssl all app 127.0.0.1/32 cert".to_owned(),
        ],
        ..PostgresOptions::default()
    };
    let server = Postgres::start(&options).unwrap();
    server.create_user("app", "app").unwrap();
    files.certify("app", &certified("app", &[]));
    let without = before(&server, "require", &files);
    assert_eq!(secured(&start(&without)), None);
    let with = without
        .setting("server_tls_cert_file", &files.toml("app.crt"))
        .setting("server_tls_key_file", &files.toml("app.key"));
    assert_eq!(secured(&start(&with)), TLS);
}

#[test]
fn a_request_to_cancel_is_as_secret_as_its_connection() {
    let (server, files) = (postgres(&good(), "hostssl"), Files::new());
    let (port, records) = record(server.port());
    let options = PoolerOptions { target_port: port, ..before(&server, "verify-full", &files) };
    let pooler = start(&options);
    let mut client = app(&pooler);
    let (pid, key) = client.backend_key.clone().unwrap();
    client.send(&wire::query("SELECT pg_sleep(60)")).unwrap();
    assert!(client.read_within(Duration::from_millis(200)).unwrap().is_none());
    RawClient::connect(pooler.port()).unwrap().send(&wire::cancel_request(pid, &key)).unwrap();
    assert_eq!(sqlstate(&client.read_through(b'Z').unwrap()).unwrap(), "57014");
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    let records = records.lock().unwrap();
    assert!(records.len() >= 2, "{}", records.len());
    for record in &*records {
        assert!(record.starts_with(&wire::ssl_request()));
        // a TLS record of the handshake follows, and nothing else
        assert_eq!(record[8], 0x16);
    }
}

#[test]
fn the_only_free_server_connection_of_two_loops_keeps_its_tls_when_it_moves() {
    let (server, files) = (postgres(&good(), "hostssl"), Files::new());
    // a smaller pool would live on one loop
    let settings = before(&server, "require", &files).setting("max_server_connections", "4");
    let pooler = start(&settings.setting("workers", "2"));
    let mut holders: Vec<_> = (0..3).map(|_| app(&pooler)).collect();
    for holder in &mut holders {
        holder.query("BEGIN").unwrap();
    }
    let mut clients: Vec<_> = (0..4).map(|_| app(&pooler)).collect();
    let mut pids = Vec::new();
    for _ in 0..20 {
        for client in &mut clients {
            pids.push(value(
                client,
                "SELECT pg_backend_pid() FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl",
            ));
        }
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    assert!(lends(&pooler) > 0, "it has not moved");
}

#[test]
fn what_is_large_goes_through_tls_on_both_sides() {
    let (server, files) = (postgres(&good(), "hostssl"), Files::new());
    let options = files.clients(before(&server, "verify-full", &files), "require");
    let pooler = start(&options);
    let mut client = RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
    large_goes_both_ways(&mut client);
}

#[test]
fn the_console_tells_what_a_server_speaks() {
    let (server, files) = (postgres(&good(), "hostssl"), Files::new());
    let pooler = start(&before(&server, "require", &files));
    value(&mut app(&pooler), "SELECT 1");
    let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    let servers = RawClient::login(&login).unwrap().rows("SHOW SERVERS").unwrap();
    assert_eq!(servers[0][17], "TLSv1.3/TLS_AES_256_GCM_SHA384");
}

#[test]
fn a_server_connection_that_postgresql_ends_while_idle_is_replaced_unnoticed() {
    let (server, files) = (postgres(&good(), "hostssl"), Files::new());
    let pooler = start(&before(&server, "require", &files));
    let mut client = app(&pooler);
    let pid = value(&mut client, "SELECT pg_backend_pid()");
    server.sql(&format!("SELECT pg_terminate_backend({pid}, 5000)")).unwrap();
    assert_ne!(value(&mut client, "SELECT pg_backend_pid()"), pid);
}
