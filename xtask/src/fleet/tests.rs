//! The fleet against a real PostgreSQL.

use std::time::Duration;

use pgpooler_test_support::{Postgres, PostgresOptions, free_port};

use super::{
    connection::Target,
    load::{self, Growth},
};

/// Long enough for a task to have tried, and refused.
const SOON: Duration = Duration::from_millis(300);

fn target(server: &Postgres) -> Target {
    at(server.port())
}

fn at(port: u16) -> Target {
    Target {
        address: ([127, 0, 0, 1], port).into(),
        user: "postgres".to_owned(),
        password: "postgres".to_owned(),
        database: "postgres".to_owned(),
        patience: Duration::from_secs(30),
    }
}

#[tokio::test]
async fn a_storm_counts_who_was_refused_and_who_was_served() {
    let server =
        Postgres::start(&PostgresOptions { max_connections: 20, ..PostgresOptions::default() }).unwrap();
    let report = load::storm(&target(&server), 50, 2).await;
    assert_eq!(report.failures_with("53300"), 30, "{report:?}");
    assert_eq!((report.failures(), report.logins.count, report.transactions.count), (30, 20, 40));
}

#[tokio::test]
async fn a_churn_logs_in_for_every_request() {
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    let report = load::churn(&target(&server), 3, 4).await;
    assert_eq!(
        (report.failures(), report.logins.count, report.transactions.count),
        (0, 12, 12),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_ramp_ends_with_every_client_served() {
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    let growth = Growth { from: 2, to: 8, over: Duration::from_secs(1) };
    let report = load::ramp(&target(&server), growth, Duration::from_millis(10)).await;
    assert_eq!((report.failures(), report.logins.count), (0, 8), "{report:?}");
    assert!(report.transactions.count >= 8);
}

#[tokio::test]
async fn every_query_of_a_cancelling_fleet_is_cancelled() {
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    let report = load::cancel(&target(&server), 2).await;
    assert_eq!((report.failures(), report.transactions.count), (0, 2), "{report:?}");
}

#[tokio::test]
async fn an_address_is_reached_once_it_answers_and_not_before() {
    let port = free_port().unwrap();
    let target = at(port);
    let reached = tokio::spawn(async move { load::reach(&target).await });
    tokio::time::sleep(SOON).await;
    assert!(!reached.is_finished(), "nobody listens");
    let _listener = tokio::net::TcpListener::bind(at(port).address).await.unwrap();
    assert_eq!(reached.await.unwrap().failures(), 0);
}

#[tokio::test]
async fn an_address_that_never_answers_is_a_failure() {
    let report = load::reach(&Target { patience: SOON, ..at(free_port().unwrap()) }).await;
    assert_eq!(report.failures_with("refused"), 1, "{report:?}");
}
