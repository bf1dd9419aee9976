//! tokio-postgres, as applications and pools above it use it.

use std::{pin::pin, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use drivers::{HOLDER, SERVER_CONNECTIONS, Scenarios, equal, fails, variable};
use futures_util::{
    SinkExt as _, StreamExt as _, TryStreamExt as _,
    future::{join_all, poll_fn, try_join_all},
    stream,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, SimpleQueryMessage, Transaction,
    types::{FromSql, Json, ToSql, Type},
};

#[tokio::main]
async fn main() -> ExitCode {
    let mut all = Scenarios::default();
    all.run("what_connect_says_holds_for_good", what_connect_says()).await;
    all.run("settings_stay_with_their_client", settings_stay()).await;
    all.run("statements_are_prepared_and_closed", statements()).await;
    all.run("statements_are_cached_by_the_application", cached_statements()).await;
    all.run("queries_sent_at_once_are_answered_in_order", at_once()).await;
    all.run("typed_queries_need_no_statement", typed()).await;
    all.run("a_simple_query_gives_several_results", simple()).await;
    all.run("copy_goes_in_and_out", copies()).await;
    all.run("a_running_query_is_cancelled", cancel()).await;
    all.run("a_query_that_is_dropped_does_no_harm", dropped()).await;
    all.run("notifications_and_notices_arrive", messages()).await;
    all.run("savepoints_hold_what_was_before_them", savepoints()).await;
    all.run("portals_are_read_in_parts", portals()).await;
    all.run("large_values_pass", large_values()).await;
    all.run("types_are_looked_up_and_travel_in_binary", types()).await;
    all.run("a_pools_reset_leaves_a_usable_client", reset()).await;
    all.run("temp_tables_and_locks_stay_with_their_client", temp_tables()).await;
    all.run("twenty_workers_never_see_each_other", twenty_workers()).await;
    all.conclude()
}

fn config() -> Result<Config> {
    let mut config = Config::new();
    config.host(variable("PGHOST")?).port(variable("PGPORT")?.parse()?).dbname(variable("PGDATABASE")?);
    config.user(variable("PGUSER")?).password(variable("PGPASSWORD")?);
    Ok(config)
}

async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn client() -> Result<Client> {
    connect(&config()?).await
}

async fn value<T: for<'a> FromSql<'a>>(
    client: &Client,
    sql: &str,
    arguments: &[&(dyn ToSql + Sync)],
) -> Result<T, Error> {
    client.query_one(sql, arguments).await?.try_get(0)
}

async fn setting(client: &Client, name: &str) -> Result<String, Error> {
    value(client, "select current_setting($1)", &[&name]).await
}

fn state(error: &Error) -> Option<String> {
    error.code().map(|code| code.code().to_owned())
}

/// Clients on every server connection at once, each with settings and statements of its own.
struct Neighbours(Vec<Client>);

impl Neighbours {
    async fn new() -> Result<Self> {
        let others = try_join_all((0..SERVER_CONNECTIONS).map(|_| client())).await?;
        for (n, other) in others.iter().enumerate() {
            let set = format!(
                "set work_mem = '{}MB'; set search_path = other{n}; set datestyle = 'German'",
                n + 10
            );
            other.batch_execute(&set).await?;
        }
        let neighbours = Self(others);
        neighbours.stir().await?;
        Ok(neighbours)
    }

    /// Lets them all work again.
    async fn stir(&self) -> Result<()> {
        for other in &self.0 {
            other.batch_execute("begin").await?;
        }
        for (n, other) in self.0.iter().enumerate() {
            equal(setting(other, "work_mem").await?, format!("{}MB", n + 10))?;
        }
        for other in &self.0 {
            other.batch_execute("commit").await?;
        }
        Ok(())
    }
}

async fn what_connect_says() -> Result<()> {
    let neighbours = Neighbours::new().await?;
    let options = "-c search_path=pg_catalog -c statement_timeout=54321 -c app.tenant=blue";
    let client = connect(config()?.application_name("mine").options(options)).await?;
    for _ in 0..3 {
        equal(setting(&client, "application_name").await?, "mine")?;
        equal(setting(&client, "search_path").await?, "pg_catalog")?;
        equal(setting(&client, "statement_timeout").await?, "54321ms")?;
        equal(setting(&client, "app.tenant").await?, "blue")?;
        neighbours.stir().await?;
    }
    client.batch_execute("set statement_timeout = 1000; set application_name = 'changed'; reset all").await?;
    equal(setting(&client, "statement_timeout").await?, "54321ms")?;
    equal(setting(&client, "application_name").await?, "mine")
}

async fn settings_stay() -> Result<()> {
    let neighbours = Neighbours::new().await?;
    let mut client = client().await?;
    client.batch_execute("set search_path = mine, public; set time zone 'Asia/Tokyo'").await?;
    client.execute("select set_config('work_mem', $1, false)", &[&"77MB"]).await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute("set statement_timeout = 888").await?;
    transaction.rollback().await?;
    for _ in 0..3 {
        neighbours.stir().await?;
        equal(setting(&client, "search_path").await?, "mine, public")?;
        equal(setting(&client, "timezone").await?, "Asia/Tokyo")?;
        equal(setting(&client, "work_mem").await?, "77MB")?;
        equal(setting(&client, "statement_timeout").await?, "0")?;
    }
    Ok(())
}

async fn statements() -> Result<()> {
    let neighbours = Neighbours::new().await?;
    let client = client().await?;
    for round in 0..3 {
        let mut kept = Vec::new();
        for n in 0..20 {
            let statement =
                client.prepare(&format!("select $1::int4 + {n} as sum, $2::text as word")).await?;
            equal(statement.params(), [Type::INT4, Type::TEXT])?;
            equal(statement.columns()[1].name(), "word")?;
            kept.push(statement);
        }
        neighbours.stir().await?;
        for (n, statement) in kept.iter().enumerate() {
            let row = client.query_one(statement, &[&round, &"x"]).await?;
            equal(row.get::<_, i32>(0), round + n as i32)?;
        }
        // dropping them closes them on the server
    }
    Ok(())
}

async fn cached_statements() -> Result<()> {
    let clients = try_join_all((0..6).map(|_| client())).await?;
    let work = clients.iter().enumerate().map(|(k, client)| async move {
        let same = client.prepare("select $1::int8").await?;
        let own = client.prepare(&format!("select $1::text || '-{k}'")).await?;
        for n in 0..50_i64 {
            equal(client.query_one(&same, &[&n]).await?.get::<_, i64>(0), n)?;
            let row = client.query_one(&own, &[&n.to_string()]).await?;
            equal(row.get::<_, String>(0), format!("{n}-{k}"))?;
        }
        anyhow::Ok(())
    });
    try_join_all(work).await.map(drop)
}

async fn at_once() -> Result<()> {
    let _neighbours = Neighbours::new().await?;
    let client = client().await?;
    let statement = client.prepare("select $1::int4, repeat('x', 1000)").await?;
    let numbers: Vec<i32> = (0..300).collect();
    let queries = numbers.iter().map(|n| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[n]).await }
    });
    let got: Vec<i32> = try_join_all(queries).await?.iter().map(|row| row.get(0)).collect();
    equal(got, numbers)?;
    let divide = client.prepare("select 12 / $1::int4").await?;
    let outcomes =
        join_all([3, 0, 4].map(|n| {
            let (client, divide) = (&client, &divide);
            async move {
                client.query_one(divide, &[&n]).await.map(|row| row.get::<_, i32>(0)).map_err(|e| state(&e))
            }
        }));
    equal(outcomes.await, [Ok(4), Err(Some("22012".to_owned())), Ok(3)])
}

async fn typed() -> Result<()> {
    let neighbours = Neighbours::new().await?;
    let client = client().await?;
    for n in 0..10_i32 {
        let row =
            client.query_typed_one("select $1 + 1, $2", &[(&n, Type::INT4), (&"x", Type::TEXT)]).await?;
        equal((row.get::<_, i32>(0), row.get::<_, String>(1)), (n + 1, "x".to_owned()))?;
        neighbours.stir().await?;
    }
    Ok(())
}

async fn simple() -> Result<()> {
    let client = client().await?;
    let messages =
        client.simple_query("select 1; values ('a'), ('b'); create temp table x () on commit drop").await?;
    let rows = messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
    let done =
        messages.iter().filter(|message| matches!(message, SimpleQueryMessage::CommandComplete(_))).count();
    equal((rows, done), (3, 3))?;
    fails(client.simple_query("select 1; select nothing; select 2").await, "42703", state).map(drop)
}

async fn copies() -> Result<()> {
    let neighbours = Neighbours::new().await?;
    let client = client().await?;
    client
        .batch_execute("drop table if exists rust_copy; create table rust_copy (n int primary key, t text)")
        .await?;
    let copy = |lines: String| async {
        let mut sink = pin!(client.copy_in::<_, Bytes>("copy rust_copy from stdin").await?);
        let parts = lines.into_bytes().chunks(1000).map(Bytes::copy_from_slice).map(Ok).collect::<Vec<_>>();
        sink.send_all(&mut stream::iter(parts)).await?;
        sink.finish().await
    };
    let lines: String = (0..20_000).map(|n| format!("{n}\trow {n}\n")).collect();
    equal(copy(lines.clone()).await?, 20_000)?;
    neighbours.stir().await?;
    let out = client.copy_out("copy (select * from rust_copy order by n) to stdout").await?;
    let bytes: Vec<Bytes> = out.try_collect().await?;
    equal(bytes.concat() == lines.as_bytes(), true)?;
    fails(copy(lines).await, "23505", state)?;
    // a sink that is dropped makes the copy fail
    let sink = client.copy_in::<_, Bytes>("copy rust_copy from stdin").await?;
    drop(sink);
    equal(value::<i64>(&client, "select count(*) from rust_copy", &[]).await?, 20_000)?;
    Ok(client.batch_execute("drop table rust_copy").await?)
}

async fn cancel() -> Result<()> {
    let _neighbours = Neighbours::new().await?;
    let (client, bystander) = (client().await?, client().await?);
    for _ in 0..3 {
        let token = client.cancel_token();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            token.cancel_query(NoTls).await
        };
        let (outcome, cancelled) = tokio::join!(client.batch_execute("select pg_sleep(30)"), cancel);
        cancelled?;
        fails(outcome, "57014", state)?;
        equal(value::<i32>(&client, "select 5", &[]).await?, 5)?;
        equal(value::<i32>(&bystander, "select 6", &[]).await?, 6)?;
    }
    client.cancel_token().cancel_query(NoTls).await?;
    equal(value::<i32>(&client, "select 7", &[]).await?, 7)
}

async fn dropped() -> Result<()> {
    let client = client().await?;
    for n in 0..5_i32 {
        let slow = client.query("select pg_sleep(0.2)", &[]);
        let _ = tokio::time::timeout(Duration::from_millis(50), slow).await;
        equal(value::<i32>(&client, "select $1::int4", &[&n]).await?, n)?;
    }
    Ok(())
}

async fn messages() -> Result<()> {
    let (listener, mut connection) = config()?.user(HOLDER).password(HOLDER).connect(NoTls).await?;
    let (sender, mut received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            let text = match message {
                AsyncMessage::Notification(one) => format!("{}: {}", one.channel(), one.payload()),
                AsyncMessage::Notice(notice) => format!("{}: {}", notice.severity(), notice.message()),
                _ => continue,
            };
            let _ = sender.send(text);
        }
    });
    listener.batch_execute("listen rust_channel").await?;
    let other = client().await?;
    for n in 0..3 {
        other.execute("select pg_notify('rust_channel', $1)", &[&format!("message {n}")]).await?;
    }
    for n in 0..3 {
        let got =
            tokio::time::timeout(Duration::from_secs(10), received.recv()).await?.context("no message")?;
        equal(got, format!("rust_channel: message {n}"))?;
    }
    listener.batch_execute("do $$ begin raise notice 'seen'; end $$; unlisten *").await?;
    equal(received.recv().await.context("no notice")?, "NOTICE: seen")?;
    other.batch_execute("notify rust_channel, 'late'").await?;
    listener.batch_execute("select 1").await?;
    equal(received.try_recv().is_err(), true)
}

async fn savepoints() -> Result<()> {
    let neighbours = Neighbours::new().await?;
    let mut client = client().await?;
    let builder = client.build_transaction().isolation_level(IsolationLevel::Serializable);
    let mut transaction = builder.start().await?;
    transaction
        .batch_execute("create temp table kept (n int) on commit drop; insert into kept values (1)")
        .await?;
    let inner: Transaction<'_> = transaction.transaction().await?;
    inner.batch_execute("insert into kept values (2)").await?;
    fails(inner.query_one("select 1 / $1::int4", &[&0]).await, "22012", state)?;
    fails(inner.batch_execute("select 1").await, "25P02", state)?;
    inner.rollback().await?;
    // a dropped one rolls itself back
    drop(transaction.savepoint("dropped").await?);
    let inner = transaction.savepoint("point").await?;
    inner.execute("insert into kept values ($1)", &[&3]).await?;
    inner.commit().await?;
    let kept: Vec<i32> = transaction.query_one("select array_agg(n) from kept", &[]).await?.get(0);
    equal(kept, [1, 3])?;
    transaction.commit().await?;
    neighbours.stir().await?;
    fails(client.batch_execute("select * from kept").await, "42P01", state).map(drop)
}

async fn portals() -> Result<()> {
    let _neighbours = Neighbours::new().await?;
    let mut client = client().await?;
    let transaction = client.transaction().await?;
    let numbers = transaction.bind("select generate_series(1, $1::int4)", &[&1000]).await?;
    let words = transaction.bind("select 'w' || generate_series(1, 10)", &[]).await?;
    let mut total = 0;
    loop {
        let rows = transaction.query_portal(&numbers, 77).await?;
        if rows.is_empty() {
            break;
        }
        total += rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>();
        transaction.query_portal(&words, 1).await?;
    }
    equal(total, 500_500)?;
    transaction.commit().await?;
    let rows = client.query_raw("select generate_series(1, 10000)", &[] as &[i32]).await?;
    equal(rows.count().await, 10_000)
}

async fn large_values() -> Result<()> {
    let _neighbours = Neighbours::new().await?;
    let client = client().await?;
    let (text, data) = ("ä€😀".repeat(2_000_000), b"pgpooler\0".repeat(2_000_000));
    let row = client.query_one("select $1::text, $2::bytea", &[&text, &data]).await?;
    equal(row.get::<_, String>(0) == text && row.get::<_, Vec<u8>>(1) == data, true)
}

async fn types() -> Result<()> {
    let neighbours = Neighbours::new().await?;
    let client = client().await?;
    let pair = "create type rust_pair as (n int4, t text)";
    client.batch_execute("drop type if exists rust_pair; drop type if exists rust_mood").await?;
    client.batch_execute(&format!("create type rust_mood as enum ('sad', 'glad'); {pair}")).await?;
    neighbours.stir().await?;
    let statement =
        client.prepare("select $1::int4[], $2::jsonb, $3::text::rust_mood, row(1, 'a')::rust_pair").await?;
    equal(statement.columns()[2].type_().name(), "rust_mood")?;
    equal(statement.columns()[3].type_().name(), "rust_pair")?;
    let document = json!({"ü": [1, null]});
    let row = client.query_one(&statement, &[&vec![Some(1), None], &Json(&document), &"glad"]).await?;
    equal(row.get::<_, Vec<Option<i32>>>(0), [Some(1), None])?;
    equal(row.get::<_, Json<serde_json::Value>>(1).0, document)?;
    drop(statement);
    Ok(client.batch_execute("drop type rust_pair; drop type rust_mood").await?)
}

/// What deadpool sends before it lends a connection again, and `DISCARD ALL`, as others do.
async fn reset() -> Result<()> {
    const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
        SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;";
    let neighbours = Neighbours::new().await?;
    let client = client().await?;
    for reset in [CLEAN, "DISCARD ALL", CLEAN] {
        client.batch_execute("set search_path = left_behind; set timezone = 'Asia/Tokyo'").await?;
        equal(setting(&client, "search_path").await?, "left_behind")?;
        client.batch_execute(reset).await?;
        neighbours.stir().await?;
        equal(setting(&client, "search_path").await?, "\"$user\", public")?;
        equal(value::<i32>(&client, "select $1::int4 + 1", &[&1]).await?, 2)?;
    }
    Ok(())
}

async fn temp_tables() -> Result<()> {
    let holder = config()?.user(HOLDER).password(HOLDER).clone();
    let clients = try_join_all((0..5).map(|_| connect(&holder))).await?;
    let lock = "select pg_try_advisory_lock(147, $1)";
    for (n, client) in clients.iter().enumerate() {
        client.batch_execute("create temp table mine (n int4)").await?;
        client.execute("insert into mine values ($1)", &[&(n as i32)]).await?;
        equal(value::<bool>(client, lock, &[&(n as i32)]).await?, true)?;
    }
    for (n, client) in clients.iter().enumerate() {
        equal(value::<i32>(client, "select n from mine", &[]).await?, n as i32)?;
        equal(value::<bool>(client, lock, &[&((n as i32 + 1) % 5)]).await?, false)?;
    }
    Ok(())
}

async fn twenty_workers() -> Result<()> {
    try_join_all((0..20).map(|worker| async move { tokio::spawn(one_of_twenty(worker)).await? }))
        .await
        .map(drop)
}

async fn one_of_twenty(worker: i32) -> Result<()> {
    let zone = format!("<W{worker:02}>-{:02}", worker % 12);
    let mut client = connect(config()?.application_name(format!("worker {worker}"))).await?;
    client.batch_execute(&format!("set work_mem = '{}MB'; set timezone = '{zone}'", 100 + worker)).await?;
    let own = client.prepare(&format!("select $1::int4 * 1000 + {worker}")).await?;
    for n in 0..100 {
        match n % 5 {
            0 => {
                let transaction = client.transaction().await?;
                let row = transaction.query_one("select current_setting('work_mem')", &[]).await?;
                transaction.commit().await?;
                equal(row.get::<_, String>(0), format!("{}MB", 100 + worker))?;
                equal(setting(&client, "application_name").await?, format!("worker {worker}"))?;
            }
            1 => equal(client.query_one(&own, &[&n]).await?.get::<_, i32>(0), n * 1000 + worker)?,
            2 => {
                let some: Vec<i32> = (0..5).map(|k| n * 10 + k).collect();
                let rows = try_join_all(some.iter().map(|n| {
                    let (client, own) = (&client, &own);
                    async move { client.query_one(own, &[n]).await }
                }));
                let got: Vec<i32> = rows.await?.iter().map(|row| row.get(0)).collect();
                equal(got, some.iter().map(|n| n * 1000 + worker).collect::<Vec<_>>())?;
            }
            3 => equal(setting(&client, "timezone").await?, zone.as_str())?,
            _ => {
                let raise = format!("do $$ begin raise exception 'mine {worker}'; end $$");
                let error = fails(client.batch_execute(&raise).await, "P0001", state)?;
                let message = error.as_db_error().context("no error of PostgreSQL")?.message().to_owned();
                equal(message, format!("mine {worker}"))?;
            }
        }
    }
    Ok(())
}
