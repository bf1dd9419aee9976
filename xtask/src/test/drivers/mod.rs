//! Real drivers of five languages, as their users install them: each program's scenarios run directly on PostgreSQL,
//! which proves that they are right, and then through a pooler, which must make no difference.

pub(crate) mod fleets;
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
pub(super) use prepare::compile;
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
    // so that it may create tables, too
    server.sql(&format!("GRANT {APP} TO {HOLDER}"))?;
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
    let through_it = scenarios::run(&mut at(ready.command(driver.program), pooler.port()))?;
    let count = report(driver, &direct, &through_it);
    if count.failed > 0 {
        eprintln!("{}the pooler's log:\n{}", through_it.complaints, pooler.log());
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// File of versions, and what stands before the version of a package that the page names.
    const PINNED: &[(&str, &[&str])] = &[
        ("python/requirements.txt", &["psycopg[binary]==", "psycopg-pool==", "asyncpg==", "SQLAlchemy=="]),
        (
            "node/package.json",
            &[
                "\"pg\": \"",
                "\"pg-cursor\": \"",
                "\"pg-query-stream\": \"",
                "\"pg-copy-streams\": \"",
                "\"postgres\": \"",
            ],
        ),
        ("go/go.mod", &["github.com/jackc/pgx/v5 v", "github.com/lib/pq v"]),
        (
            "java/pom.xml",
            &[
                "<artifactId>postgresql</artifactId>\n      <version>",
                "<artifactId>HikariCP</artifactId>\n      <version>",
                "<artifactId>commons-dbcp2</artifactId>\n      <version>",
            ],
        ),
        (
            "rust/Cargo.toml",
            &[
                "deadpool-postgres = { version = \"=",
                "tokio-postgres = { version = \"=",
                "sqlx = { version = \"=",
            ],
        ),
    ];

    #[test]
    fn the_page_about_drivers_names_the_versions_that_are_tested() {
        let read =
            |path: &str| fs::read_to_string(workspace::root().join(path)).expect("a file of the repository");
        let page = read("docs/drivers.md");
        for (file, packages) in PINNED {
            let text = read(&format!("tests/drivers/{file}"));
            for package in *packages {
                let (_, rest) = text.split_once(package).expect("a pinned package");
                let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
                let version = &rest[..end.unwrap_or(rest.len())];
                assert!(page.contains(version), "docs/drivers.md lacks {package}{version}");
            }
        }
    }

    #[test]
    fn every_language_has_its_folder_and_its_driver() {
        for language in Language::ALL {
            assert!(
                DRIVERS.iter().any(|driver| driver.language == *language),
                "no driver of {}",
                language.name()
            );
        }
    }
}
