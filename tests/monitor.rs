//! The monitor session against a real server: what it sees, and how it comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use pgpooler_operator::api::{PgPooler, Reason, Role, TlsMode};
use pgpooler_operator::observe::postgres::Sessions;
use pgpooler_operator::plan::backends::{Addresses, Departed, Origin, Roles, Start, Whose};
use pgpooler_operator::plan::facts::{Hidden, Server, ServerFact};
use pgpooler_operator::plan::materials::Credentials;
use pgpooler_operator::plan::target::{Host, Target, Tls};
use pgpooler_test_support::{Authority, Login, Postgres, PostgresOptions, RawClient};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> Postgres {
    let server = Postgres::start(&PostgresOptions::default()).expect("PostgreSQL");
    server.create_user("app", "secret").expect("a role");
    server.create_user("backup", "other").expect("a role");
    server
}

fn target(server: &Postgres, password: &str) -> Target {
    Target {
        hosts: vec![Host { name: "127.0.0.1".into(), port: server.port() }],
        role: Role::Any,
        tls: Tls::default(),
        monitor: None,
        database: "postgres".into(),
        user: "app".into(),
        password: Hidden(password.into()),
    }
}

fn orders() -> ObjectRef<PgPooler> {
    ObjectRef::new("orders").within("shop")
}

fn seen(fact: ServerFact) -> Server {
    match fact {
        ServerFact::Seen(server) => server,
        other => panic!("{other:?}"),
    }
}

async fn login(server: &Postgres, user: &str, password: &str) -> RawClient {
    let login = Login::new(server.port(), user, password, "postgres");
    tokio::task::spawn_blocking(move || RawClient::login(&login)).await.unwrap().expect("a login")
}

#[tokio::test]
async fn a_restart_with_another_max_connections_is_told_without_being_asked() {
    let mut server = server();
    let sessions = Sessions::default();
    let target = target(&server, "secret");
    assert_eq!(seen(sessions.observe(&target, &orders()).await).max_connections, 100);
    let mut changes = sessions.changes();
    server.sql("ALTER SYSTEM SET max_connections = 60").expect("a superuser");
    server.shut_down().expect("a shutdown");
    assert_eq!(timeout(PATIENCE, changes.recv()).await.expect("told").unwrap(), orders());
    let down = sessions.observe(&target, &orders()).await;
    assert!(matches!(down, ServerFact::Failed { reason: Reason::Unreachable, .. }), "{down:?}");
    server.resume().expect("a start");
    let back = async {
        loop {
            changes.recv().await.unwrap();
            if let ServerFact::Seen(server) = sessions.observe(&target, &orders()).await {
                return server;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, back).await.expect("back").max_connections, 60);
}

#[tokio::test]
async fn sessions_of_the_role_are_seen_and_those_of_others_are_hidden() {
    let server = server();
    let sessions = Sessions::default();
    let target = target(&server, "secret");
    let _ours = login(&server, "app", "secret").await;
    let _theirs = login(&server, "backup", "other").await;
    seen(sessions.observe(&target, &orders()).await);
    let here = Origin::Address("127.0.0.1".parse().unwrap());
    let expected = [(Whose::Operator, here), (Whose::Ours, here), (Whose::Others, Origin::Hidden)];
    // the session that made the roles may still be ending
    let alone = async {
        loop {
            let seen = sessions.backends(&target).await.expect("an answer");
            let mut found: Vec<_> = seen.rows.iter().map(|row| (row.whose, row.origin)).collect();
            found.sort_by_key(|(whose, _)| *whose as u8);
            if found == expected {
                return seen;
            }
        }
    };
    let before = timeout(PATIENCE, alone).await.expect("those three");
    let figures = seen(Sessions::default().observe(&target, &orders()).await);
    assert_eq!((figures.of_role, figures.of_others, figures.whose.as_str()), (1, 1, "backup: 1"));

    let gone = Departed { address: "127.0.0.1".parse().unwrap(), gone_at: before.now };
    let _later = login(&server, "app", "secret").await;
    let _hidden = login(&server, "backup", "other").await;
    let mut after = sessions.backends(&target).await.expect("an answer");
    // that of the figures may still be ending
    after.rows.retain(|row| row.whose != Whose::Operator);
    assert_eq!(after.rows.len(), 4);
    assert_eq!(after.could_be_of(&gone, &Roles::these(["app", "backup"]), Addresses::OfPods), 2, "{after:?}");
    assert!(after.rows.iter().any(|row| row.start == Start::After(before.now)), "{after:?}");
    assert_eq!(after.foreign(&["127.0.0.1".parse().unwrap()], &Roles::these(["app"]), 2), 2);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_nobody_can_be_asked() {
    let server = server();
    let sessions = Sessions::default();
    let target = target(&server, "wrong");
    let fact = sessions.observe(&target, &orders()).await;
    assert!(matches!(fact, ServerFact::Failed { reason: Reason::AuthenticationFailed, .. }), "{fact:?}");
    assert_eq!(timeout(PATIENCE, sessions.backends(&target)).await.expect("an answer"), None);
}

fn failed(fact: ServerFact) -> (Reason, String) {
    match fact {
        ServerFact::Failed { reason, message } => (reason, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tls_is_had_and_checked_as_the_spec_says() {
    let authority = Authority::new("the right one").unwrap();
    let certificate = authority.certify("db", &["127.0.0.1", "localhost"]).unwrap();
    let hba = ["hostssl all app all scram-sha-256", "host all postgres all scram-sha-256"];
    let hba = hba.map(str::to_owned).to_vec();
    let options = PostgresOptions { tls: Some(certificate), hba, ..PostgresOptions::default() };
    let server = Postgres::start(&options).expect("PostgreSQL");
    server.create_user("app", "secret").expect("a role");
    let at = |name: &str, mode, ca: Option<&Authority>| Target {
        hosts: vec![Host { name: name.into(), port: server.port() }],
        tls: Tls { mode, ca: ca.map(|ca| Hidden(ca.pem().to_owned())), identity: None },
        ..target(&server, "secret")
    };
    let sessions = Sessions::default();
    for good in [
        at("127.0.0.1", TlsMode::Prefer, None),
        at("127.0.0.1", TlsMode::Require, None),
        at("127.0.0.1", TlsMode::VerifyCA, Some(&authority)),
        at("localhost", TlsMode::VerifyFull, Some(&authority)),
    ] {
        assert_eq!(seen(sessions.observe(&good, &orders()).await).max_connections, 100);
    }
    let plain = failed(sessions.observe(&at("127.0.0.1", TlsMode::Disable, None), &orders()).await);
    assert_eq!(plain.0, Reason::AuthenticationFailed, "{}", plain.1);
    let stranger = Authority::new("another one").unwrap();
    let wrong =
        failed(sessions.observe(&at("localhost", TlsMode::VerifyFull, Some(&stranger)), &orders()).await);
    assert_eq!(wrong.0, Reason::TlsFailed, "{}", wrong.1);
}

#[tokio::test]
async fn a_server_of_another_role_is_none_and_of_several_hosts_the_one_that_suits_is_asked() {
    let primary = Postgres::start(&PostgresOptions::default().replicating()).expect("PostgreSQL");
    primary.create_user("app", "secret").expect("a role");
    let standby = primary.standby().expect("a standby");
    let sessions = Sessions::default();
    let of = |role, servers: &[&Postgres]| Target {
        hosts: servers.iter().map(|one| Host { name: "127.0.0.1".into(), port: one.port() }).collect(),
        role,
        ..target(&primary, "secret")
    };
    let wrong = failed(sessions.observe(&of(Role::Standby, &[&primary]), &orders()).await);
    assert_eq!(wrong.0, Reason::WrongRole, "{}", wrong.1);
    assert!(!seen(sessions.observe(&of(Role::Primary, &[&standby, &primary]), &orders()).await).in_recovery);
    assert!(seen(sessions.observe(&of(Role::Standby, &[&primary, &standby]), &orders()).await).in_recovery);
}

#[tokio::test]
async fn a_role_of_its_own_asks_about_the_login_role() {
    let server = server();
    server.create_user("watcher", "watching").expect("a role");
    server.sql("GRANT pg_monitor TO watcher").expect("a superuser");
    server.sql("ALTER ROLE app CONNECTION LIMIT 7").expect("a superuser");
    let _app = login(&server, "app", "secret").await;
    let monitor = Credentials { user: "watcher".into(), password: Hidden("watching".into()) };
    let target = Target { monitor: Some(monitor), ..target(&server, "secret") };
    let sessions = Sessions::default();
    let seen = seen(sessions.observe(&target, &orders()).await);
    assert_eq!((seen.role_limit, seen.of_role, seen.of_others), (Some(7), 1, 0), "{seen:?}");
    let backends = sessions.backends(&target).await.expect("an answer");
    let whose: Vec<_> = backends.rows.iter().map(|row| row.whose).collect();
    assert!(whose.contains(&Whose::Operator) && whose.contains(&Whose::Ours), "{backends:?}");
}
