//! A fleet with sqlx's pool, which tests a connection when it hands it out.

use std::time::Duration;

use anyhow::{Result, ensure};
use drivers::fleet::{self, Work};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgConnectOptions, postgres::PgPoolOptions};

struct Sqlx(PgPool);

#[tokio::main]
async fn main() -> Result<()> {
    let options = PgConnectOptions::new().application_name(&fleet::name()?);
    let pool = PgPoolOptions::new()
        .min_connections(fleet::workers())
        .max_connections(fleet::workers())
        .connect_with(options)
        .await?;
    fleet::run(Sqlx(pool)).await
}

impl Work for Sqlx {
    async fn execute(&self, sql: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.0).await?;
        Ok(())
    }

    async fn total(&self, sql: &str) -> Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.0).await?)
    }

    async fn prepared(&self, worker: i32) -> Result<()> {
        let got: i32 = sqlx::query_scalar("select $1::int + 1").bind(worker).fetch_one(&self.0).await?;
        ensure!(got == worker + 1, "got {got}");
        Ok(())
    }

    async fn book(&self, sql: &str, worker: i32, sleeps: Duration) -> Result<()> {
        let mut transaction = self.0.begin().await?;
        sqlx::query(AssertSqlSafe(sql.to_owned())).bind(worker).execute(&mut *transaction).await?;
        if !sleeps.is_zero() {
            sqlx::query("select pg_sleep($1)").bind(sleeps.as_secs_f64()).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}
