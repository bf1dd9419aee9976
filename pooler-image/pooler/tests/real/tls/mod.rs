//! TLS on both sides of the pooler, with libpq and PostgreSQL at its ends.

mod binding;
mod cert;
mod clients;
mod drain;
mod internal;
mod peers;
mod refused;
mod reload;
mod replication;
mod servers;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use pgpooler_test_support::{
    Authority, Certified, PoolerOptions, Postgres, PostgresOptions, Programs, RawClient, TlsOptions, wire,
};
use tempfile::TempDir;

use crate::value;

/// Signs what is good.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("pgpooler test").unwrap());

/// A folder with the files of a test.
struct Files(TempDir);

impl Files {
    /// With the pooler's certificate, its key, and the authority.
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.certify("pooler", &certified("pooler", &["localhost"]));
        std::fs::write(files.path("ca.crt"), AUTHORITY.pem()).unwrap();
        files
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn certify(&self, name: &str, certified: &Certified) {
        certified.write(self.folder(), name).unwrap();
    }

    fn toml(&self, name: &str) -> String {
        format!("\"{}\"", self.path(name).display())
    }

    /// The pooler with TLS towards its clients.
    fn clients(&self, options: PoolerOptions, mode: &str) -> PoolerOptions {
        options
            .setting("client_tls_sslmode", &format!("\"{mode}\""))
            .setting("client_tls_cert_file", &self.toml("pooler.crt"))
            .setting("client_tls_key_file", &self.toml("pooler.key"))
    }
}

fn certified(name: &str, hosts: &[&str]) -> Certified {
    AUTHORITY.certify(name, hosts).unwrap()
}

/// PostgreSQL with TLS, and how its user `app` may come: a word of `pg_hba.conf`.
fn postgres(certified: &Certified, app: &str) -> Postgres {
    let line = |kind: &str, user: &str| format!("{kind} all {user} 127.0.0.1/32 scram-sha-256");
    let options = PostgresOptions {
        tls: Some(certified.clone()),
        hba: vec![line("host", "postgres"), line(app, "app")],
        ..PostgresOptions::default()
    };
    let server = Postgres::start(&options).unwrap();
    server.create_user("app", "app").unwrap();
    server
}

fn over_tls() -> TlsOptions {
    TlsOptions::default()
}

/// What psql says when it logs in as `app` with these connection parameters: `\conninfo` and the value of `sql`.
fn psql(port: u16, parameters: &str, sql: &str) -> Result<String, String> {
    let conninfo =
        format!("hostaddr=127.0.0.1 port={port} user=app password=app dbname=postgres {parameters}");
    let output = Command::new(Programs::find(None).unwrap().path("psql"))
        .args(["-X", "-A", "-t", "-c", "\\conninfo", "-c", sql])
        .arg(conninfo)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A port that passes on what clients send, and keeps it: of each connection one entry.
fn record(to: u16) -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let records: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&records);
    std::thread::spawn(move || {
        for (index, client) in listener.incoming().enumerate() {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
            kept.lock().unwrap().push(Vec::new());
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    kept.lock().unwrap()[index].extend_from_slice(&buffer[..length]);
                    let _ = server.write_all(&buffer[..length]);
                }
                let _ = server.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    (port, records)
}

/// A port that passes on to another one byte at a time what a client sends.
fn drip(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            for byte in &buffer[..length] {
                server.write_all(&[*byte]).unwrap();
            }
        }
    });
    port
}

/// 50 rows of 1 MB to a client that does not read at first, and a query of 20 MB.
fn large_goes_both_ways(client: &mut RawClient) {
    client.send(&wire::query("SELECT repeat('0123456789', 100000) FROM generate_series(1, 50)")).unwrap();
    // the pooler has to keep what the socket does not take
    std::thread::sleep(Duration::from_millis(300));
    let messages = client.read_through(b'Z').unwrap();
    let rows = messages.iter().filter(|message| message.tag == b'D');
    assert!(rows.clone().all(|row| row.columns().concat() == "0123456789".repeat(100_000)));
    assert_eq!(rows.count(), 50);
    let long = "z".repeat(20_000_000);
    assert_eq!(value(client, &format!("SELECT length('{long}')")), "20000000");
}
