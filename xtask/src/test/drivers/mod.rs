//! Real drivers of five languages, as their users install them: each program's scenarios run directly on PostgreSQL,
//! which proves that they are right, and then through a pooler, which must make no difference.

mod language;
mod scenarios;

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};
use pgpooler_test_support::{Pooler, PoolerOptions, Postgres, PostgresOptions};

use crate::{command, postgres, ui, workspace};

use super::Count;
use language::{Language, Ready};
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
    let cache = workspace::root().join("target/drivers");
    let (pooler, ready) = prepare(&cache);
    let (pooler, server) = (pooler?, server()?);
    let mut count = Count::default();
    for driver in DRIVERS {
        let ready = ready.iter().find(|(language, _)| *language == driver.language);
        count += match ready {
            Some((_, Ok(ready))) => compare(driver, ready, &server, &pooler)?,
            Some((_, Err(error))) => failed(driver, &format!("{error:#}")),
            None => failed(driver, "its language was not prepared"),
        };
    }
    Ok(count)
}

type Prepared = Vec<(Language, Result<Ready>)>;

/// The pooler is compiled while packages are fetched: one needs the processor, the other the network.
fn prepare(cache: &Path) -> (Result<PathBuf>, Prepared) {
    // apt-get bears no company
    let mut languages: Vec<_> =
        Language::ALL.iter().map(|language| (*language, language.ensure_installed())).collect();
    thread::scope(|scope| {
        let workers: Vec<_> = languages
            .drain(..)
            .map(|(language, installed)| {
                (language, scope.spawn(move || installed.and_then(|()| told(language, cache))))
            })
            .collect();
        let pooler = build_pooler();
        let prepared = workers.into_iter().map(|(language, worker)| {
            let ready = worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("its preparation panicked")));
            (language, ready)
        });
        (pooler, prepared.collect())
    })
}

fn told(language: Language, cache: &Path) -> Result<Ready> {
    let start = Instant::now();
    ui::say(&format!("{}: {}", language.name(), language.what()));
    let ready = language.prepare(cache).with_context(|| format!("cannot prepare {}", language.name()))?;
    ui::say(&format!("{}: ready after {:.0} s", language.name(), start.elapsed().as_secs_f64()));
    Ok(ready)
}

fn build_pooler() -> Result<PathBuf> {
    let mut build = command::cargo(&[
        "build",
        "--locked",
        "--package=pgpooler",
        "--message-format=json-render-diagnostics",
    ]);
    let programs = command::executables(&mut build)?;
    programs.get("pgpooler").cloned().context("cargo built no pgpooler")
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
