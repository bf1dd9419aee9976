//! Programs that were made for PgBouncer, as Debian has them: `check_postgres` (package check-postgres) and
//! `prometheus-pgbouncer-exporter`. Where one is not installed, its test says so and does nothing;
//! `cargo xtask test` installs both.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgpooler_test_support::{Pooler, RawClient, free_port, wait_until};

use super::{app, options, start, value};

const LIMIT: Duration = Duration::from_mins(1);

/// Whether a program is there; if not, the test is skipped.
fn is_installed(program: &str, package: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: no {program}; apt-get install {package}");
    }
    there
}

fn pooler() -> Pooler {
    start(&options(4).setting("stats_users", "[\"other\"]"))
}

/// Exit code and output of one check.
fn check(pooler: &Pooler, action: &str, more: &[&str]) -> (i32, String) {
    let output = Command::new("check_postgres")
        .args([&format!("--action={action}"), "--host=127.0.0.1", &format!("--port={}", pooler.port())])
        .args(["--dbuser=other", "--dbpass=other"])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

/// What `check_postgres` can check of a PgBouncer, as it says itself.
fn actions() -> Vec<String> {
    let help = Command::new("check_postgres").arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let words = help.split_whitespace().filter(|word| word.starts_with("pgb"));
    words
        .map(str::to_owned)
        .filter(|word| word.starts_with("pgb_") || word.starts_with("pgbouncer_"))
        .collect()
}

#[test]
fn every_check_of_check_postgres_for_pgbouncer_is_fine_with_a_pooler_at_ease() {
    if !is_installed("check_postgres", "check-postgres") {
        return;
    }
    let pooler = pooler();
    let mut client = app(&pooler);
    assert_eq!(value(&mut client, "select 1"), "1");
    let mut actions = actions();
    actions.retain(|action| action != "pgbouncer_checksum");
    assert!(actions.len() >= 9, "{actions:?}");
    for action in actions {
        let (code, said) = check(&pooler, &action, &["--warning=90", "--critical=95"]);
        assert_eq!(code, 0, "{action}: {said}");
        assert!(said.starts_with(&format!("POSTGRES_{} OK: ", action.to_uppercase())), "{said}");
    }
}

#[test]
fn checks_of_check_postgres_count_what_there_is() {
    if !is_installed("check_postgres", "check-postgres") {
        return;
    }
    let pooler = pooler();
    let mut clients: Vec<RawClient> = (0..3).map(|_| app(&pooler)).collect();
    for client in &mut clients[..2] {
        client.query("begin").unwrap();
    }
    for (action, count) in [("pgb_pool_cl_active", 3), ("pgb_pool_sv_active", 2)] {
        let limit = format!("--critical={count}");
        let (code, said) = check(&pooler, action, &["--warning=1", &limit, "--include=postgres"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(&format!("postgres={count}")), "{said}");
    }
    let (code, said) = check(&pooler, "pgbouncer_backends", &["--warning=1", "--critical=2"]);
    assert_eq!(code, 2, "{said}");
    // three of the pool and the check itself
    assert!(said.contains("4 of 10000 connections"), "{said}");
}

#[test]
fn the_checksum_of_check_postgres_changes_with_the_settings() {
    if !is_installed("check_postgres", "check-postgres") {
        return;
    }
    let pooler = pooler();
    let (code, said) = check(&pooler, "pgbouncer_checksum", &["--critical=0"]);
    assert_eq!(code, 3, "{said}");
    let checksum = said.split_once("checksum: ").unwrap().1.split_whitespace().next().unwrap().to_owned();
    let expected = format!("--critical={checksum}");
    assert_eq!(check(&pooler, "pgbouncer_checksum", &[&expected]).0, 0);
    let mut admin = RawClient::login(&pgpooler_test_support::Login {
        database: "pgbouncer".to_owned(),
        ..pooler.superuser()
    })
    .unwrap();
    admin.query("SET max_client_conn = 77").unwrap();
    assert_eq!(check(&pooler, "pgbouncer_checksum", &[&expected]).0, 2);
}

/// All that the exporter has. From PgBouncer 1.8 and later it gets nothing: it wants the columns `total_requests` and
/// `reserve_pool`, which only earlier versions and we have.
const FAMILIES: [&str; 20] = [
    "active_clients",
    "databases",
    "dns_names",
    "dns_pending",
    "dns_queries",
    "dns_zones",
    "free_clients",
    "free_servers",
    "login_clients",
    "pool_size",
    "pools",
    "query_microseconds_total",
    "received_bytes_total",
    "requests_total",
    "reserve_pool",
    "sent_bytes_total",
    "used_clients",
    "used_servers",
    "users",
    "waiting_clients",
];

struct Exporter {
    process: Child,
    port: u16,
}

impl Exporter {
    fn start(pooler: &Pooler) -> Self {
        let port = free_port().unwrap();
        let process = Command::new("prometheus-pgbouncer-exporter")
            .args(["--host=127.0.0.1", &format!("--port={port}"), "--pgbouncer-host=127.0.0.1"])
            .args([&format!("--pgbouncer-port={}", pooler.port()), "--pgbouncer-user=other"])
            .env("PGPASSWORD", "other")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut exporter = Self { process, port };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let alive = || match exporter.process.try_wait()? {
            Some(status) => anyhow::bail!("the exporter has ended: {status}"),
            None => Ok(()),
        };
        wait_until("the exporter's start", LIMIT, listens, alive).unwrap();
        exporter
    }

    /// Its own metrics, one a line, without the prefix.
    fn metrics(&self) -> Vec<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        answer.lines().filter_map(|line| line.strip_prefix("pgbouncer_")).map(str::to_owned).collect()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_exporter_finds_all_of_its_metrics() {
    if !is_installed("prometheus-pgbouncer-exporter", "prometheus-pgbouncer-exporter") {
        return;
    }
    let pooler = pooler();
    let mut client = app(&pooler);
    for _ in 0..5 {
        assert_eq!(value(&mut client, "select 1"), "1");
    }
    client.query("begin").unwrap();
    let metrics = Exporter::start(&pooler).metrics();
    let mut families: Vec<_> =
        metrics.iter().map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
    families.sort();
    families.dedup();
    assert_eq!(families, FAMILIES);
    let value = |metric: &str| metrics.iter().find_map(|line| line.strip_prefix(metric)).unwrap().trim();
    assert_eq!(value("active_clients{database=\"postgres\",user=\"app\"}"), "1.0");
    assert_eq!(value("requests_total{database=\"postgres\"}"), "6.0");
    assert_eq!(value("waiting_clients{database=\"postgres\",user=\"app\"}"), "0.0");
    assert_ne!(value("sent_bytes_total{database=\"postgres\"}"), "0.0");
    // the client, and the exporter's own session
    assert_eq!((value("used_clients"), value("used_servers")), ("2.0", "1.0"));
}
