//! The monitor session against a real server: what it sees, and how it comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use pgpooler_operator::api::{PgPooler, Reason};
use pgpooler_operator::observe::postgres::Sessions;
use pgpooler_operator::plan::backends::{Addresses, Departed, Origin, Start, Whose};
use pgpooler_operator::plan::facts::{Hidden, Server, ServerFact};
use pgpooler_operator::plan::target::Target;
use pgpooler_test_support::{Login, Postgres, PostgresOptions, RawClient};
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
        host: "127.0.0.1".into(),
        port: server.port(),
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
    assert_eq!(after.could_be_of(&gone, &["app", "backup"], Addresses::OfPods), 2, "{after:?}");
    assert!(after.rows.iter().any(|row| row.start == Start::After(before.now)), "{after:?}");
    assert_eq!(after.foreign(&["127.0.0.1".parse().unwrap()], &["app"], 2), 2);
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
