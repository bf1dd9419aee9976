//! Real drivers of five languages, as their users install them: each program's scenarios run directly on PostgreSQL,
//! which proves that they are right, and then through a pooler, which must make no difference.

mod language;
mod prepare;
mod scenarios;

use std::{path::Path, process::Command, time::Instant};

use anyhow::Result;
use pgpooler_test_support::{Pooler, PoolerOptions, Postgres, PostgresOptions};

use crate::{postgres, ui, workspace};

use super::Count;
use language::{Language, Ready};
use prepare::Prepared;
use scenarios::Outcomes;

/// A program that uses one driver.
struct Driver {
    /// As its users call it.
    name: &'static str,
    language: Language,
    /// Its file, without the ending.
    program: &'static str,
}

const DRIVERS: &[Driver] = &[
    Driver { name: "psycopg", language: Language::Python, program: "psycopg_driver" },
    Driver { name: "asyncpg", language: Language::Python, program: "asyncpg_driver" },
    Driver { name: "SQLAlchemy", language: Language::Python, program: "sqlalchemy_driver" },
    Driver { name: "node-postgres", language: Language::Node, program: "pg_driver" },
    Driver { name: "postgres.js", language: Language::Node, program: "postgres_driver" },
    Driver { name: "pgx", language: Language::Go, program: "pgx_driver" },
    Driver { name: "lib/pq", language: Language::Go, program: "pq_driver" },
    Driver { name: "pgjdbc", language: Language::Java, program: "PgjdbcDriver" },
    Driver { name: "tokio-postgres", language: Language::Rust, program: "tokio_postgres_driver" },
    Driver { name: "sqlx", language: Language::Rust, program: "sqlx_driver" },
];

/// The user whose pool has [`FEW`] server connections, and the one who may have as many as it needs.
const APP: &str = "app";
const HOLDER: &str = "holder";
const DATABASE: &str = "drivers";
/// So few that clients have to share them.
const FEW: u32 = 3;

/// Runs all of them.
pub(crate) fn run() -> Result<Count> {
    postgres::programs()?;
    let prepared = Prepared::new(&workspace::root().join("target/drivers"))?;
    let server = server()?;
    let mut count = Count::default();
    for driver in DRIVERS {
        count += match prepared.language(driver.language) {
            Ok(ready) => compare(driver, ready, &server, &prepared.pooler)?,
            Err(error) => failed(driver, &format!("{error:#}")),
        };
    }
    Ok(count)
}

fn server() -> Result<Postgres> {
    let server = Postgres::start(&PostgresOptions::default())?;
    for user in [APP, HOLDER] {
        server.create_user(user, user)?;
    }
    server.sql(&format!("CREATE DATABASE {DATABASE} OWNER {APP}"))?;
    Ok(server)
}

fn pooler(server: &Postgres, program: &Path) -> Result<Pooler> {
    let rule = format!("[[pools]]\nname = \"few\"\nusers = [\"{APP}\"]\npool_size = {FEW}\n");
    let options = PoolerOptions::before(server)
        .user(APP, APP)
        .user(HOLDER, HOLDER)
        .setting("workers", "2")
        .setting("max_server_connections", "30")
        // shorter than a scenario may take, so that one that waits for ever says for what
        .setting("query_wait_timeout", "\"30s\"")
        .tables(&rule);
    Pooler::start(program, &options)
}

/// Runs a program both ways; a scenario passes if it does so twice.
fn compare(driver: &Driver, ready: &Ready, server: &Postgres, program: &Path) -> Result<Count> {
    let start = Instant::now();
    let direct = scenarios::run(&mut at(ready.command(driver.program), server.port()))?;
    let pooler = pooler(server, program)?;
    let pooled = scenarios::run(&mut at(ready.command(driver.program), pooler.port()))?;
    let count = report(driver, &direct, &pooled);
    if count.failed > 0 {
        eprintln!("{}the pooler's log:\n{}", pooled.complaints, pooler.log());
    }
    ui::say(&format!(
        "{}: {} passed, {} failed, {:.0} s",
        driver.name,
        count.passed,
        count.failed,
        start.elapsed().as_secs_f64()
    ));
    Ok(count)
}

fn report(driver: &Driver, direct: &Outcomes, pooled: &Outcomes) -> Count {
    let mut count = Count::default();
    for (scenario, verdict) in direct.compared_with(pooled) {
        match verdict {
            Ok(()) => {
                println!("{}: {scenario} ... ok", driver.name);
                count.passed += 1;
            }
            Err(why) => count += failed(driver, &format!("{scenario}: {why}")),
        }
    }
    count
}

fn failed(driver: &Driver, why: &str) -> Count {
    println!("{}: {} {why}", driver.name, ui::bad("FAILED"));
    Count { passed: 0, failed: 1 }
}

/// The variables of libpq, which every driver's program reads.
fn at(mut program: Command, port: u16) -> Command {
    program.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).envs([
        ("PGUSER", APP),
        ("PGPASSWORD", APP),
        ("PGDATABASE", DATABASE),
    ]);
    program
}
