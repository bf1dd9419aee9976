//! A real driver, as applications use it: many tasks, pipelines, prepared statements, COPY, cancel.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use pgpooler_test_support::Pooler;
use tokio_postgres::{Client, NoTls, error::SqlState};

use super::{options, start};

async fn connect(pooler: &Pooler) -> Client {
    let parameters = format!("host=127.0.0.1 port={} user=app password=app dbname=postgres", pooler.port());
    let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn many_clients_reuse_prepared_statements_over_few_connections() {
    let pooler = start(&options(3));
    let clients = join_all((0..30).map(|_| connect(&pooler))).await;
    let work = clients.iter().enumerate().map(|(n, client)| async move {
        let statement = client.prepare("select $1::int + 1").await?;
        for _ in 0..20 {
            let row = client.query_one(&statement, &[&(n as i32)]).await?;
            assert_eq!(row.get::<_, i32>(0), n as i32 + 1);
        }
        Ok::<_, tokio_postgres::Error>(())
    });
    try_join_all(work).await.unwrap();
}

#[tokio::test]
async fn queries_in_flight_together_come_back_in_order() {
    let pooler = start(&options(1));
    let client = connect(&pooler).await;
    let statement = client.prepare("select $1::int").await.unwrap();
    let numbers: Vec<i32> = (0..100).collect();
    let rows = try_join_all(numbers.iter().map(|n| {
        let statement = &statement;
        let client = &client;
        async move { client.query_one(statement, &[n]).await }
    }));
    let got: Vec<i32> = rows.await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(got, numbers);
}

#[tokio::test]
async fn transactions_copy_and_errors_work_as_without_a_pooler() {
    let pooler = start(&options(2));
    let mut client = connect(&pooler).await;
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("create temp table copied (i int) on commit drop").await.unwrap();
    let sink = transaction.copy_in::<_, bytes::Bytes>("copy copied from stdin").await.unwrap();
    pin_mut!(sink);
    for n in 0..1000 {
        sink.send(format!("{n}\n").into()).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1000);
    let out = transaction.copy_out("copy copied to stdout").await.unwrap();
    let bytes: Vec<_> = out.try_collect().await.unwrap();
    assert_eq!(String::from_utf8(bytes.concat()).unwrap().lines().count(), 1000);
    let error = transaction.query_one("select 1/0", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
    transaction.rollback().await.unwrap();
    assert_eq!(client.query_one("select 7", &[]).await.unwrap().get::<_, i32>(0), 7);
}

#[tokio::test]
async fn a_cancel_token_cancels() {
    let pooler = start(&options(2));
    let client = connect(&pooler).await;
    let token = client.cancel_token();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(client.batch_execute("select pg_sleep(30)"), cancel);
    assert_eq!(outcome.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    client.batch_execute("select 1").await.unwrap();
}
