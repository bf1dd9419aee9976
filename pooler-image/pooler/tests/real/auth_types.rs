//! How clients are asked for their passwords, by `auth_type` and by what is known of them.

use std::process::Command;

use pgpooler_test_support::{Pooler, PoolerOptions, Postgres, PostgresOptions, Programs, RawClient};

use super::{sqlstate, start, value};

/// A server whose user `ann` has the verifier that is returned.
fn server() -> (Postgres, String) {
    let server =
        Postgres::start(&PostgresOptions { max_connections: 20, ..PostgresOptions::default() }).unwrap();
    server.create_user("ann", "secret").unwrap();
    let stored =
        server.sql("select rolpassword from pg_authid where rolname = 'ann'").unwrap().concat().concat();
    (server, stored)
}

fn pooler(server: &Postgres, secret: &str, auth_type: &str) -> Pooler {
    let options =
        PoolerOptions::before(server).user("ann", secret).setting("auth_type", &format!("\"{auth_type}\""));
    start(&options)
}

/// What a client of libpq gets to see of itself.
fn psql(pooler: &Pooler, password: &str) -> Result<String, String> {
    let output = Command::new(Programs::find(None).unwrap().path("psql"))
        .env("PGPASSWORD", password)
        .args(["-X", "-A", "-t", "-h", "127.0.0.1", "-p", &pooler.port().to_string()])
        .args(["-U", "ann", "-d", "postgres", "-c", "select current_user"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The code of the first Authentication message.
fn asked(pooler: &Pooler) -> u8 {
    let (_, messages) =
        RawClient::login_messages(&pooler.login("ann", "wrong", "postgres")).unwrap_or_else(|_| {
            let mut client = RawClient::connect(pooler.port()).unwrap();
            let hello = [("user", "ann"), ("database", "postgres")];
            client.send(&pgpooler_test_support::wire::startup(196_608, &hello)).unwrap();
            let first = client.read().unwrap();
            (client, vec![first])
        });
    messages[0].body[3]
}

#[test]
fn every_kind_of_secret_and_every_method_let_the_right_password_in_and_no_other() {
    let (server, verifier) = server();
    let (clear, md5, sasl) = (3, 5, 10);
    for (auth_type, secret, method) in [
        ("auto", "secret", sasl),
        ("scram-sha-256", "secret", sasl),
        ("scram-sha-256", &verifier, sasl),
        ("md5", "secret", md5),
        ("md5", &verifier, sasl),
        ("plain", "secret", clear),
        ("plain", &verifier, clear),
    ] {
        let pooler = pooler(&server, secret, auth_type);
        assert_eq!(asked(&pooler), method, "{auth_type}");
        for _ in 0..2 {
            let refused = psql(&pooler, "wrong").unwrap_err();
            assert!(
                refused.contains("password authentication failed for user \"ann\""),
                "{auth_type}: {refused}"
            );
            assert_eq!(psql(&pooler, "secret").as_deref(), Ok("ann"), "{auth_type}");
        }
    }
}

#[test]
fn another_verifier_than_postgresqls_is_said_to_be_one() {
    let (server, _) = server();
    let stale = pgpooler_core::scram::ScramVerifier::derive("secret", b"other salt", 4096).to_string();
    let pooler = pooler(&server, &stale, "auto");
    let (_, messages) = RawClient::login_messages(&pooler.login("ann", "secret", "postgres")).unwrap();
    assert_eq!(sqlstate(&messages).as_deref(), Some("08004"));
    let detail = messages.last().unwrap().field(b'D').unwrap();
    assert!(detail.contains("SCRAM-SHA-256"), "{detail}");
}

#[test]
fn a_password_that_changes_on_both_sides_is_followed_by_a_reload() {
    let (server, _) = server();
    let options =
        PoolerOptions::before(&server).user("ann", "secret").setting("server_login_retry", "\"100ms\"");
    let pooler = start(&options);
    let mut early = RawClient::login(&pooler.login("ann", "secret", "postgres")).unwrap();
    server.sql("alter role ann password 'other'").unwrap();
    pooler.configure(&PoolerOptions::before(&server).user("ann", "other")).unwrap();
    let console = pgpooler_test_support::Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    RawClient::login(&console).unwrap().query("reload").unwrap();
    let mut late = RawClient::login(&pooler.login("ann", "other", "postgres")).unwrap();
    assert_eq!(value(&mut late, "select 1"), "1");
    assert_eq!(value(&mut early, "select 2"), "2", "whoever is in stays in, as with PostgreSQL");
    let (_, messages) = RawClient::login_messages(&pooler.login("ann", "secret", "postgres")).unwrap();
    assert_eq!(sqlstate(&messages).as_deref(), Some("28P01"));
}
