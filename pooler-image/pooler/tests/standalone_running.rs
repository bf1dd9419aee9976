//! The program on its own, while it runs: signals, console, exit codes. No PostgreSQL is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, path};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    child: Child,
    folder: TempDir,
    port: u16,
    http_port: u16,
}

impl Running {
    /// A program that listens, with a document that has `more` in it.
    fn start(more: &str) -> Self {
        let running = Self::spawn(free_port(), more);
        let ready =
            || http(running.http_port, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
        wait_until("it is ready", ready);
        running
    }

    fn spawn(port: u16, more: &str) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_pgpooler")), port, more)
    }

    fn spawn_by(mut command: Command, port: u16, more: &str) -> Self {
        let http_port = free_port();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("userlist.txt"), "\"ann\" \"secret\"\n\"bob\" \"secret\"\n").unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        write_document(folder.path(), port, http_port, more);
        let child = command
            .args(["--config", "pgpooler.toml"])
            .current_dir(folder.path())
            .env_remove("PGPOOLER_LOG")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder, port, http_port }
    }

    fn change(&self, more: &str) {
        write_document(self.folder.path(), self.port, self.http_port, more);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn wait_for_log(&self, text: &str) {
        wait_until(text, || self.log().contains(text));
    }

    fn wait(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let mut status = None;
        wait_until("it has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), start.elapsed())
    }

    async fn console(&self, user: &str, database: &str) -> Result<tokio_postgres::Client, String> {
        let port = self.port;
        let config = format!("host=127.0.0.1 port={port} user={user} password=secret dbname={database}");
        let (client, connection) =
            tokio_postgres::connect(&config, NoTls).await.map_err(|error| format!("{error:?}"))?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_document(folder: &path::Path, port: u16, http_port: u16, more: &str) {
    let mut document = format!("listen_addr = '127.0.0.1'\nlisten_port = {port}\n");
    write!(document, "http_addr = '127.0.0.1'\nhttp_port = {http_port}\nadmin_users = ['ann']\n{more}\n")
        .unwrap();
    document.push_str("[target]\nhost = '127.0.0.1'\nport = 1\n");
    fs::write(folder.join("pgpooler.toml"), document).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn http(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn sigterm_ends_the_process_cleanly() {
    let mut running = Running::start("");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().0.code(), Some(0));
}

#[test]
fn a_process_that_leaves_says_that_it_is_not_ready() {
    let running = Running::start("");
    running.signal(Signal::TERM);
    let says_so = || http(running.http_port, "/readyz").is_some_and(|answer| answer.contains(" 503 "));
    wait_until("it says that it drains", says_so);
}

#[test]
fn sigquit_and_a_second_sigint_end_the_process_at_once() {
    let mut running = Running::start("");
    running.signal(Signal::QUIT);
    let (status, took) = running.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");

    let mut running = Running::start("");
    running.signal(Signal::INT);
    running.wait_for_log("WaitForServers");
    running.signal(Signal::INT);
    let (status, took) = running.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn an_address_in_use_is_exit_code_one_with_a_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut running = Running::spawn(taken.local_addr().unwrap().port(), "");
    assert_eq!(running.wait().0.code(), Some(1));
    let log = running.log();
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{}", running.port)), "{log}");
    assert!(log.contains("in use"), "{log}");
}

#[test]
fn sighup_reloads_a_good_document_and_keeps_the_old_one_when_the_new_one_is_faulty() {
    let running = Running::start("max_client_conn = 10");
    running.change("max_client_conn = 11");
    running.signal(Signal::HUP);
    running.wait_for_log("configuration reloaded");
    running.change("max_clients = 12");
    running.signal(Signal::HUP);
    running.wait_for_log("pgpooler.toml:6:1: unknown field `max_clients`");
    let metrics = http(running.http_port, "/metrics").unwrap();
    assert!(metrics.contains("\npgpooler_clients_limit 11\n"), "{metrics}");
}

#[test]
fn the_log_can_be_json() {
    let running = Running::start("log_format = 'json'");
    let log = running.log();
    assert!(log.lines().count() > 0);
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
}

#[test]
fn there_is_a_loop_for_each_core_that_the_process_may_use() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = allowed.trim().split([',', '-']).next().unwrap();
    let mut only = Command::new("taskset");
    only.args(["-c", first, env!("CARGO_BIN_EXE_pgpooler")]);
    Running::spawn_by(only, free_port(), "").wait_for_log("workers=1 ");
    let all = std::thread::available_parallelism().unwrap();
    Running::spawn(free_port(), "").wait_for_log(&format!("workers={all} "));
}

#[tokio::test]
async fn an_admin_logs_in_on_the_console_under_both_names() {
    let running = Running::start("");
    for database in ["pgpooler", "pgbouncer"] {
        let client = running.console("ann", database).await.unwrap();
        let messages = client.simple_query("SHOW VERSION").await.unwrap();
        let version = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        assert_eq!(version.as_deref(), Some(concat!("pgpooler ", env!("CARGO_PKG_VERSION"))));
    }
}

#[tokio::test]
async fn a_user_who_is_neither_admin_nor_stats_user_is_not_let_in_on_the_console() {
    let running = Running::start("");
    let refusal = running.console("bob", "pgpooler").await.err().unwrap();
    assert!(refusal.contains("42501") || refusal.contains("28000"), "{refusal}");
}

#[tokio::test]
async fn a_shutdown_from_the_console_ends_the_process_cleanly() {
    let mut running = Running::start("");
    let client = running.console("ann", "pgpooler").await.unwrap();
    client.simple_query("SHUTDOWN").await.unwrap();
    let status = tokio::task::spawn_blocking(move || running.wait().0).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_reload_on_the_console_says_what_changed_and_where_a_fault_is() {
    let running = Running::start("");
    let client = running.console("ann", "pgpooler").await.unwrap();
    running.change("max_client_conn = 11");
    client.simple_query("RELOAD").await.unwrap();
    running.change("max_client_conn = 'x'");
    let error = client.simple_query("RELOAD").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "F0000");
    assert!(error.message().contains("pgpooler.toml:6:19: "), "{}", error.message());
}

#[tokio::test]
async fn a_process_with_a_floor_is_ready_when_an_operator_has_spoken() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgpooler"));
    command.env("PGPOOLER_FLOOR", "3").env("PGPOOLER_START_GRACE", "1h");
    let running = Running::spawn_by(command, free_port(), "max_server_connections = 20");
    let answer = || http(running.http_port, "/readyz").unwrap_or_default();
    wait_until("it says why it is not ready", || answer().contains("no server connections granted yet"));
    assert!(answer().starts_with("HTTP/1.1 503"));
    let limit = |limit| {
        let metrics = http(running.http_port, "/metrics").unwrap();
        metrics.lines().any(|found| found == format!("pgpooler_server_connections_limit {limit}"))
    };
    assert!(limit(0));
    let operator = running.console("ann", "pgpooler").await.unwrap();
    operator.simple_query("CLAIM EPOCH 1").await.unwrap();
    assert!(answer().starts_with("HTTP/1.1 200"));
    assert!(limit(3));
}

#[test]
fn the_limit_of_the_document_holds_without_an_operator() {
    let running = Running::start("max_server_connections = 5");
    let metrics = http(running.http_port, "/metrics").unwrap();
    for line in
        ["pgpooler_server_connections_limit 5", "pgpooler_budget_limit 5", "pgpooler_server_refusals_total 0"]
    {
        assert!(metrics.lines().any(|found| found == line), "no {line}");
    }
}

#[test]
fn a_floor_of_nothing_is_wrong_usage() {
    let out =
        Command::new(env!("CARGO_BIN_EXE_pgpooler")).args(["-c", "x", "--floor", "0"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}
