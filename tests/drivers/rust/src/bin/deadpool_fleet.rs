//! A fleet with deadpool: as it is (`Fast`: a connection whose task has ended is thrown away), or `Verified`.

use std::time::Duration;

use anyhow::{Result, ensure};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use drivers::{
    fleet::{self, Work},
    variable,
};
use tokio_postgres::NoTls;

struct Deadpool(Pool);

#[tokio::main]
async fn main() -> Result<()> {
    let name = fleet::name()?;
    let mut config = tokio_postgres::Config::new();
    config
        .host(variable("PGHOST")?)
        .port(variable("PGPORT")?.parse()?)
        .user(variable("PGUSER")?)
        .password(variable("PGPASSWORD")?)
        .dbname(variable("PGDATABASE")?)
        .application_name(&name);
    let verified = name == "deadpool-verified";
    let recycling_method = if verified { RecyclingMethod::Verified } else { RecyclingMethod::Fast };
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
    fleet::run(Deadpool(Pool::builder(manager).max_size(fleet::workers() as usize).build()?)).await
}

impl Work for Deadpool {
    async fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.0.get().await?.batch_execute(sql).await?)
    }

    async fn total(&self, sql: &str) -> Result<i64> {
        Ok(self.0.get().await?.query_one(sql, &[]).await?.try_get(0)?)
    }

    async fn prepared(&self, worker: i32) -> Result<()> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached("select $1::int + 1").await?;
        let got: i32 = client.query_one(&statement, &[&worker]).await?.try_get(0)?;
        ensure!(got == worker + 1, "got {got}");
        Ok(())
    }

    async fn book(&self, sql: &str, worker: i32, sleeps: Duration) -> Result<()> {
        let mut client = self.0.get().await?;
        let transaction = client.transaction().await?;
        transaction.execute(sql, &[&worker]).await?;
        if !sleeps.is_zero() {
            transaction.execute("select pg_sleep($1)", &[&sleeps.as_secs_f64()]).await?;
        }
        Ok(transaction.commit().await?)
    }
}
