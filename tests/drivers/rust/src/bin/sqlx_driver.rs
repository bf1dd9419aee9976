//! sqlx, as applications use it.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use drivers::{HOLDER, SERVER_CONNECTIONS, Scenarios, equal, fails};
use futures_util::{TryStreamExt as _, future::try_join_all};
use serde_json::json;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Decode, Error, Executor as _, PgConnection, PgPool,
    Postgres, Statement as _, Type, TypeInfo as _,
    migrate::{Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
    types::Json,
};

#[tokio::main]
async fn main() -> ExitCode {
    let mut all = Scenarios::default();
    all.run("what_connect_says_holds_for_good", what_connect_says()).await;
    all.run("settings_stay_with_their_client", settings_stay()).await;
    all.run("statements_are_cached", statements()).await;
    all.run("statements_beyond_the_cache_are_closed", beyond_the_cache()).await;
    all.run("unprepared_queries_give_the_same", unprepared()).await;
    all.run("a_statement_survives_a_change_of_its_table", stale_statement()).await;
    all.run("rows_are_inserted_in_bulk", bulk()).await;
    all.run("copy_goes_in_and_out", copies()).await;
    all.run("a_query_that_is_dropped_does_no_harm", dropped()).await;
    all.run("notifications_arrive", notifications()).await;
    all.run("savepoints_hold_what_was_before_them", savepoints()).await;
    all.run("large_values_pass", large_values()).await;
    all.run("types_are_looked_up_and_travel_in_binary", types()).await;
    all.run("migrations_run_under_their_lock", migrations()).await;
    all.run("a_pool_gives_configured_clients", pool_configures()).await;
    all.run("a_pool_replaces_dead_connections", pool_replaces()).await;
    all.run("twenty_workers_never_see_each_other", twenty_workers()).await;
    all.run("twenty_tasks_share_a_pool", shared_pool()).await;
    all.conclude()
}

/// From libpq's variables.
fn options() -> PgConnectOptions {
    PgConnectOptions::new().ssl_mode(sqlx::postgres::PgSslMode::Prefer)
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    PgConnection::connect_with(options).await
}

fn pool(size: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(size).acquire_timeout(Duration::from_secs(20))
}

async fn value<'a, T>(client: &mut PgConnection, sql: &str) -> Result<T, Error>
where
    T: Send + Unpin + Type<Postgres> + for<'r> Decode<'r, Postgres>,
{
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(client).await
}

async fn setting(client: &mut PgConnection, name: &str) -> Result<String, Error> {
    sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(client).await
}

async fn execute(client: &mut PgConnection, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(client).await.map(drop)
}

fn state(error: &Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}

/// Clients on every server connection at once, each with settings and statements of its own.
struct Neighbours(Vec<PgConnection>);

impl Neighbours {
    async fn new() -> Result<Self> {
        let mut others = Vec::new();
        for n in 0..SERVER_CONNECTIONS {
            let mut other = connect(&options().application_name(&format!("other {n}"))).await?;
            let set = format!(
                "set work_mem = '{}MB'; set search_path = other{n}; set datestyle = 'German'",
                n + 10
            );
            execute(&mut other, &set).await?;
            others.push(other);
        }
        let mut neighbours = Self(others);
        neighbours.stir().await?;
        Ok(neighbours)
    }

    /// Lets them all work again.
    async fn stir(&mut self) -> Result<()> {
        for other in &mut self.0 {
            execute(other, "begin").await?;
        }
        for (n, other) in self.0.iter_mut().enumerate() {
            equal(setting(other, "work_mem").await?, format!("{}MB", n + 10))?;
        }
        for other in &mut self.0 {
            execute(other, "commit").await?;
        }
        Ok(())
    }
}

async fn what_connect_says() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let given = [("search_path", "pg_catalog"), ("statement_timeout", "54321"), ("app.tenant", "blue")];
    let mut client = connect(&options().application_name("mine").options(given)).await?;
    for _ in 0..3 {
        equal(setting(&mut client, "application_name").await?, "mine")?;
        equal(setting(&mut client, "search_path").await?, "pg_catalog")?;
        equal(setting(&mut client, "statement_timeout").await?, "54321ms")?;
        equal(setting(&mut client, "app.tenant").await?, "blue")?;
        // sqlx asks for it at start-up
        equal(setting(&mut client, "timezone").await?, "UTC")?;
        neighbours.stir().await?;
    }
    execute(&mut client, "set statement_timeout = 1000; set timezone = 'Asia/Tokyo'; reset all").await?;
    equal(setting(&mut client, "statement_timeout").await?, "54321ms")?;
    equal(setting(&mut client, "timezone").await?, "UTC")
}

async fn settings_stay() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let mut client = connect(&options()).await?;
    sqlx::query("set search_path = mine, public").execute(&mut client).await?;
    sqlx::query("set time zone 'Asia/Tokyo'").execute(&mut client).await?;
    sqlx::query("select set_config('work_mem', $1, false)").bind("77MB").execute(&mut client).await?;
    let mut transaction = client.begin().await?;
    execute(&mut transaction, "set statement_timeout = 888").await?;
    transaction.rollback().await?;
    for _ in 0..3 {
        neighbours.stir().await?;
        equal(setting(&mut client, "search_path").await?, "mine, public")?;
        equal(setting(&mut client, "timezone").await?, "Asia/Tokyo")?;
        equal(setting(&mut client, "work_mem").await?, "77MB")?;
        equal(setting(&mut client, "statement_timeout").await?, "0")?;
    }
    Ok(())
}

async fn statements() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let mut clients = try_join_all((0..4).map(async |_| connect(&options()).await)).await?;
    for n in 0..20_i32 {
        for (k, client) in clients.iter_mut().enumerate() {
            let sum: i32 = sqlx::query_scalar("select $1::int4 + 1").bind(n).fetch_one(&mut *client).await?;
            equal(sum, n + 1)?;
            let own = AssertSqlSafe(format!("select $1::text || '-{k}'"));
            let word: String = sqlx::query_scalar(own).bind(n.to_string()).fetch_one(&mut *client).await?;
            equal(word, format!("{n}-{k}"))?;
        }
        if n % 5 == 0 {
            neighbours.stir().await?;
        }
    }
    clients[0].clear_cached_statements().await?;
    let sum: i32 = sqlx::query_scalar("select $1::int4 + 1").bind(1).fetch_one(&mut clients[0]).await?;
    equal(sum, 2)
}

async fn beyond_the_cache() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let mut client = connect(&options().statement_cache_capacity(5)).await?;
    for round in 0..3_i32 {
        for n in 0..12 {
            let query = AssertSqlSafe(format!("select $1::int4 + {n}"));
            equal(sqlx::query_scalar::<_, i32>(query).bind(round).fetch_one(&mut client).await?, round + n)?;
        }
        neighbours.stir().await?;
    }
    Ok(())
}

async fn unprepared() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let mut client = connect(&options()).await?;
    for n in 0..10_i32 {
        let query = sqlx::query_scalar::<_, i32>("select $1::int4 + 1").bind(n).persistent(false);
        equal(query.fetch_one(&mut client).await?, n + 1)?;
        let rows = sqlx::raw_sql("select 1; select 2; select 3").fetch_all(&mut client).await?;
        equal(rows.len(), 3)?;
        neighbours.stir().await?;
    }
    Ok(())
}

async fn stale_statement() -> Result<()> {
    let (mut first, mut second) = (connect(&options()).await?, connect(&options()).await?);
    execute(&mut first, "drop table if exists sqlx_changing").await?;
    execute(&mut first, "create table sqlx_changing (a int); insert into sqlx_changing values (1)").await?;
    let read = "select * from sqlx_changing where a > $1";
    equal(sqlx::query(read).bind(0).fetch_all(&mut first).await?.len(), 1)?;
    execute(&mut first, "alter table sqlx_changing add b text default 'new'").await?;
    let row: (i32, String) = sqlx::query_as(read).bind(0).fetch_one(&mut second).await?;
    equal(row, (1, "new".to_owned()))?;
    // it reads rows by the description that it remembers
    fails(sqlx::query(read).bind(0).fetch_all(&mut first).await, "0A000", state)?;
    first.clear_cached_statements().await?;
    equal(sqlx::query(read).bind(0).fetch_all(&mut first).await?.len(), 1)?;
    Ok(execute(&mut first, "drop table sqlx_changing").await?)
}

async fn bulk() -> Result<()> {
    let mut client = connect(&options()).await?;
    execute(
        &mut client,
        "drop table if exists sqlx_bulk; create table sqlx_bulk (n int primary key, t text)",
    )
    .await?;
    let mut insert = sqlx::QueryBuilder::<Postgres>::new("insert into sqlx_bulk ");
    insert.push_values(0..5000, |mut row, n| {
        row.push_bind(n).push_bind(format!("row {n}"));
    });
    equal(insert.build().execute(&mut client).await?.rows_affected(), 5000)?;
    let unnested = sqlx::query("insert into sqlx_bulk select * from unnest($1::int4[], $2::text[])");
    let outcome = unnested.bind(vec![9000, 7]).bind(vec!["a", "b"]).execute(&mut client).await;
    let error = fails(outcome, "23505", state)?;
    equal(error.as_database_error().and_then(|error| error.constraint()), Some("sqlx_bulk_pkey"))?;
    let total = sqlx::query_scalar::<_, i32>("select n from sqlx_bulk").fetch(&mut client);
    equal(total.try_fold(0, async |sum, n| Ok(sum + n)).await?, 12_497_500)?;
    Ok(execute(&mut client, "drop table sqlx_bulk").await?)
}

async fn copies() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let mut client = connect(&options()).await?;
    execute(
        &mut client,
        "drop table if exists sqlx_copy; create table sqlx_copy (n int primary key, t text)",
    )
    .await?;
    let lines: String = (0..20_000).map(|n| format!("{n}\trow {n}\n")).collect();
    let mut copy = client.copy_in_raw("copy sqlx_copy from stdin").await?;
    for part in lines.as_bytes().chunks(10_000) {
        copy.send(part).await?;
    }
    equal(copy.finish().await?, 20_000)?;
    neighbours.stir().await?;
    let out = client.copy_out_raw("copy (select * from sqlx_copy order by n) to stdout").await?;
    let bytes: Vec<_> = out.try_collect().await?;
    equal(bytes.concat() == lines.as_bytes(), true)?;
    let mut copy = client.copy_in_raw("copy sqlx_copy from stdin").await?;
    copy.send(lines.as_bytes()).await?;
    fails(copy.finish().await, "23505", state)?;
    let mut copy = client.copy_in_raw("copy sqlx_copy from stdin").await?;
    copy.send(b"99999\tx\n".as_slice()).await?;
    copy.abort("changed my mind").await?;
    equal(value::<i64>(&mut client, "select count(*) from sqlx_copy").await?, 20_000)?;
    Ok(execute(&mut client, "drop table sqlx_copy").await?)
}

async fn dropped() -> Result<()> {
    let pool = pool(2).connect_with(options()).await?;
    for n in 0..5_i32 {
        let slow = sqlx::query("select pg_sleep(0.2)").fetch_all(&pool);
        let _ = tokio::time::timeout(Duration::from_millis(50), slow).await;
        equal(sqlx::query_scalar::<_, i32>("select $1::int4").bind(n).fetch_one(&pool).await?, n)?;
    }
    pool.close().await;
    Ok(())
}

async fn notifications() -> Result<()> {
    let holders = pool(2).connect_with(options().username(HOLDER).password(HOLDER)).await?;
    let mut listener = PgListener::connect_with(&holders).await?;
    listener.listen_all(["sqlx_channel", "sqlx_other"]).await?;
    let mut sender = connect(&options()).await?;
    for n in 0..3 {
        let notify = sqlx::query("select pg_notify('sqlx_channel', $1)").bind(format!("message {n}"));
        notify.execute(&mut sender).await?;
    }
    for n in 0..3 {
        let got = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await??;
        equal((got.channel(), got.payload()), ("sqlx_channel", format!("message {n}").as_str()))?;
    }
    listener.unlisten_all().await?;
    execute(&mut sender, "notify sqlx_channel, 'late'").await?;
    let late = tokio::time::timeout(Duration::from_millis(200), listener.recv()).await;
    equal(late.is_err(), true)
}

async fn savepoints() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let mut client = connect(&options()).await?;
    let mut transaction = client.begin_with("begin isolation level serializable").await?;
    execute(&mut transaction, "create temp table kept (n int) on commit drop").await?;
    execute(&mut transaction, "insert into kept values (1)").await?;
    let mut inner = transaction.begin().await?;
    execute(&mut inner, "insert into kept values (2)").await?;
    let divide = sqlx::query("select 1 / $1::int4").bind(0);
    fails(divide.fetch_one(&mut *inner).await, "22012", state)?;
    // dropping it rolls it back with the next use
    drop(inner);
    let mut inner = transaction.begin().await?;
    sqlx::query("insert into kept values ($1)").bind(3).execute(&mut *inner).await?;
    inner.commit().await?;
    equal(value::<Vec<i32>>(&mut transaction, "select array_agg(n) from kept").await?, [1, 3])?;
    transaction.commit().await?;
    neighbours.stir().await?;
    fails(execute(&mut client, "select * from kept").await, "42P01", state).map(drop)
}

async fn large_values() -> Result<()> {
    let _neighbours = Neighbours::new().await?;
    let mut client = connect(&options()).await?;
    let (text, data) = ("ä€😀".repeat(2_000_000), b"pgpooler\0".repeat(2_000_000));
    let query = sqlx::query_as("select $1::text, $2::bytea").bind(&text).bind(&data);
    let row: (String, Vec<u8>) = query.fetch_one(&mut client).await?;
    equal(row == (text, data), true)
}

async fn types() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let mut client = connect(&options()).await?;
    execute(&mut client, "drop type if exists sqlx_mood; create type sqlx_mood as enum ('sad', 'glad')")
        .await?;
    neighbours.stir().await?;
    let document = json!({"ü": [1, null]});
    let prepared = client.prepare(sqlx::SqlStr::from_static("select 'glad'::sqlx_mood as mood")).await?;
    equal(prepared.columns()[0].type_info().name(), "sqlx_mood")?;
    let query =
        sqlx::query_as("select $1::int4[], $2::jsonb, 1.5::float8, null::text, 'glad'::sqlx_mood::text");
    type Row = (Vec<Option<i32>>, Json<serde_json::Value>, f64, Option<String>, String);
    let row: Row = query.bind(vec![Some(1), None]).bind(Json(&document)).fetch_one(&mut client).await?;
    equal(row, (vec![Some(1), None], Json(document), 1.5, None, "glad".to_owned()))?;
    Ok(execute(&mut client, "drop type sqlx_mood").await?)
}

/// Several replicas of an application start at once, and only one may migrate: sqlx takes an advisory lock.
async fn migrations() -> Result<()> {
    let options = options().username(HOLDER).password(HOLDER);
    let mut client = connect(&options).await?;
    execute(&mut client, "drop table if exists sqlx_migrated, _sqlx_migrations").await?;
    try_join_all(
        (0..5)
            .map(async |_| migrator().run(&mut connect(&options).await?).await.map_err(anyhow::Error::from)),
    )
    .await?;
    equal(value::<i64>(&mut client, "select count(*) from sqlx_migrated").await?, 1)?;
    Ok(execute(&mut client, "drop table sqlx_migrated, _sqlx_migrations").await?)
}

fn migrator() -> Migrator {
    let migration = |version, sql: &'static str| {
        let sql = sqlx::SqlStr::from_static(sql);
        Migration::new(version, "a step".into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(vec![
        migration(1, "create table sqlx_migrated (n int)"),
        migration(2, "insert into sqlx_migrated values (1)"),
    ])
}

async fn pool_configures() -> Result<()> {
    let mut neighbours = Neighbours::new().await?;
    let configured = pool(6)
        .after_connect(|client, _| Box::pin(async { execute(client, "set search_path = tenant").await }))
        .before_acquire(|client, _| {
            Box::pin(async { execute(client, "set statement_timeout = '33s'").await.map(|()| true) })
        })
        .after_release(|client, _| {
            Box::pin(async { execute(client, "reset statement_timeout").await.map(|()| true) })
        });
    let pool = configured.connect_with(options()).await?;
    for n in 0..20 {
        let (mut one, mut two) = (pool.acquire().await?, pool.acquire().await?);
        for client in [&mut one, &mut two] {
            equal(setting(client, "search_path").await?, "tenant")?;
        }
        if n % 5 == 0 {
            neighbours.stir().await?;
        }
    }
    pool.close().await;
    Ok(())
}

async fn pool_replaces() -> Result<()> {
    let pool = pool(2).test_before_acquire(true).connect_with(options()).await?;
    for n in 0..3_i32 {
        let killed = sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(&pool).await;
        fails(killed, "57P01", state)?;
        equal(sqlx::query_scalar::<_, i32>("select $1::int4").bind(n).fetch_one(&pool).await?, n)?;
    }
    pool.close().await;
    let again = PgPool::connect_with(options()).await?;
    equal(sqlx::query_scalar::<_, i32>("select 2").fetch_one(&again).await?, 2)?;
    again.close().await;
    Ok(())
}

async fn twenty_workers() -> Result<()> {
    try_join_all((0..20).map(async |worker| tokio::spawn(one_of_twenty(worker)).await?)).await.map(drop)
}

async fn one_of_twenty(worker: i32) -> Result<()> {
    let zone = format!("<W{worker:02}>-{:02}", worker % 12);
    let options = options().application_name(&format!("worker {worker}")).statement_cache_capacity(4);
    let mut client = connect(&options).await?;
    execute(&mut client, &format!("set work_mem = '{}MB'; set timezone = '{zone}'", 100 + worker)).await?;
    for n in 0..100_i32 {
        match n % 4 {
            0 => {
                let mut transaction = client.begin().await?;
                let memory = setting(&mut transaction, "work_mem").await?;
                let name = setting(&mut transaction, "application_name").await?;
                transaction.commit().await?;
                equal((memory, name), (format!("{}MB", 100 + worker), format!("worker {worker}")))?;
            }
            1 => {
                let query = AssertSqlSafe(format!("select $1::int4 * 1000 + {worker}"));
                let got: i32 = sqlx::query_scalar(query).bind(n).fetch_one(&mut client).await?;
                equal(got, n * 1000 + worker)?;
            }
            2 => equal(setting(&mut client, "timezone").await?, zone.as_str())?,
            _ => {
                let raise = format!("do $$ begin raise exception 'mine {worker}'; end $$");
                let error = fails(execute(&mut client, &raise).await, "P0001", state)?;
                let message = error.as_database_error().map(|error| error.message().to_owned());
                equal(message, Some(format!("mine {worker}")))?;
            }
        }
    }
    Ok(client.close().await?)
}

async fn shared_pool() -> Result<()> {
    let pool = pool(10).connect_with(options()).await?;
    let work = async |worker: i32| {
        for n in 0..50_i32 {
            let mut transaction = pool.begin().await?;
            let set = sqlx::query("select set_config('app.worker', $1, true)").bind(worker.to_string());
            set.execute(&mut *transaction).await?;
            let query = AssertSqlSafe(format!("select $1::int4 * 1000 + {}", worker % 7));
            let got: i32 = sqlx::query_scalar(query).bind(n).fetch_one(&mut *transaction).await?;
            let set = setting(&mut transaction, "app.worker").await?;
            transaction.commit().await?;
            equal((got, set), (n * 1000 + worker % 7, worker.to_string()))?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..20).map(work)).await?;
    pool.close().await;
    Ok(())
}
