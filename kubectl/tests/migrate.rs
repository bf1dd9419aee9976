//! What `migrate` makes of real-looking files, whole: the text, that it can be applied, and that it keeps secrets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod schema;

use std::path::{Path, PathBuf};
use std::{fs, io};

use kubectl_pgpooler::migrate::{self, MigrateError, PgBouncer};
use pgpooler_operator::api::PgPooler;
use serde_json::Value;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

/// The samples are the only files there are.
fn read(path: &Path) -> io::Result<String> {
    if path.is_absolute() {
        Err(io::ErrorKind::NotFound.into())
    } else {
        fs::read_to_string(samples().join(path))
    }
}

fn options(name: &str) -> PgBouncer {
    let userlist = PathBuf::from(format!("{name}.userlist.txt"));
    PgBouncer {
        file: format!("{name}.ini").into(),
        userlist: read(&userlist).is_ok().then_some(userlist),
        ..PgBouncer::default()
    }
}

fn check(name: &str, text: &str) {
    let mut insta = insta::Settings::clone_current();
    insta.set_snapshot_path("golden");
    insta.set_prepend_module_to_snapshot(false);
    insta.set_omit_expression(true);
    insta.bind(|| insta::assert_snapshot!(name, text));
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let poolers: Vec<_> = documents.iter().filter(|document| document["kind"] == "PgPooler").collect();
    assert!(!poolers.is_empty());
    for pooler in poolers {
        schema::check(pooler);
        serde_json::from_value::<PgPooler>(pooler.clone()).expect("a PgPooler");
    }
}

fn pgbouncer(name: &str) {
    let text = migrate::pgbouncer(&options(name), &read).unwrap();
    assert!(!text.contains("secret\""), "a password is printed:\n{text}");
    check(name, &text);
}

#[test]
fn the_example_of_pgbouncer() {
    pgbouncer("small");
}

#[test]
fn one_server_with_tls_and_users_that_are_looked_up() {
    pgbouncer("web");
}

#[test]
fn several_servers_with_sizes_users_and_peers() {
    pgbouncer("many");
}

#[test]
fn session_mode_with_certificates_of_clients() {
    pgbouncer("session");
}

#[test]
fn a_configuration_of_long_ago() {
    pgbouncer("old");
}

#[test]
fn secrets_are_printed_when_they_are_asked_for_and_only_then() {
    let asked = PgBouncer {
        with_secrets: true,
        name: Some("shop".into()),
        namespace: Some("prod".into()),
        ..options("small")
    };
    let text = migrate::pgbouncer(&asked, &read).unwrap();
    check("with_secrets", &text);
    for secret in ["foo-secret", "app-\\\"secret\\\""] {
        assert!(text.contains(secret), "{secret}");
        for name in ["small", "web", "many"] {
            let without = migrate::pgbouncer(&options(name), &read).unwrap();
            assert!(!without.contains(secret), "{name}");
        }
    }
    for (name, secret) in [
        ("web", "lookup-secret"),
        ("many", "plain-secret"),
        ("many", "stored-secret"),
        ("many", "it's secret"),
    ] {
        assert!(!migrate::pgbouncer(&options(name), &read).unwrap().contains(secret), "{secret}");
    }
}

fn cloudnative(name: &str) {
    let file = format!("{name}.yaml");
    let text = migrate::cloudnative_pg(Path::new(&file), &read(Path::new(&file)).unwrap()).unwrap();
    check(name, &text);
}

#[test]
fn a_pooler_of_cloudnative_pg() {
    cloudnative("pooler");
}

#[test]
fn poolers_for_standbys_with_certificates_of_their_own() {
    cloudnative("pooler-ro");
}

#[test]
fn what_cannot_be_read_is_named() {
    let failed = |options: PgBouncer| migrate::pgbouncer(&options, &read).unwrap_err();
    assert!(matches!(failed(options("none")), MigrateError::Ini(_)));
    assert!(matches!(failed(options("limits")), MigrateError::Ini(_)), "a setting before the first section");
    let named = |name: &str| PgBouncer { name: Some(name.into()), ..options("small") };
    assert!(matches!(failed(named("Orders")), MigrateError::BadName(_)));
    let missing = PgBouncer { userlist: Some("none.txt".into()), ..options("small") };
    assert!(matches!(failed(missing), MigrateError::Userlist { .. }));
    for (text, message) in
        [("a: [", "x.yaml is no YAML"), ("kind: Pooler", "x.yaml has no Pooler of postgresql.cnpg.io")]
    {
        assert_eq!(migrate::cloudnative_pg(Path::new("x.yaml"), text).unwrap_err().to_string(), message);
    }
}
