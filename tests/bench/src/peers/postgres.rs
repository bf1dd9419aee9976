//! The one PostgreSQL behind all poolers.

use std::{fs::File, io::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pgpooler_test_support::{Login, RawClient, free_port, wait_until};
use rustix::process::Signal;

use super::{
    config::NAME,
    place::{Folder, Program, Running},
};

/// The superuser's name and password.
const SUPERUSER: &str = "postgres";
/// Most connections: what direct clients and pools share.
pub(crate) const MAX_CONNECTIONS: usize = 100;

/// A running server with the role and the database of the bench.
#[derive(Debug)]
pub(crate) struct Postgres {
    running: Running,
    port: u16,
    verifier: String,
    _folder: Folder,
}

impl Postgres {
    /// Makes a data folder and starts a server on it; `program` is its `postgres`.
    pub(crate) fn start(program: &Program) -> Result<Self> {
        let folder = program.folder()?;
        initdb(program, &folder)?;
        let port = free_port()?;
        File::options()
            .append(true)
            .open(folder.host("data/postgresql.conf"))?
            .write_all(settings(port).as_bytes())?;
        let data = folder.inside("data");
        let mut running = program.start(&folder, &["-D".as_ref(), data.as_os_str()], Signal::QUIT)?;
        let login = Login::new(port, SUPERUSER, SUPERUSER, "postgres");
        wait_until(
            "PostgreSQL's first login",
            Duration::from_secs(30),
            || RawClient::login(&login).is_ok(),
            || {
                ensure!(running.runs(), "postgres ended:\n{}", folder.log());
                Ok(())
            },
        )?;
        let mut superuser = RawClient::login(&login)?;
        superuser.rows(&format!("CREATE ROLE {NAME} LOGIN PASSWORD '{NAME}'"))?;
        superuser.rows(&format!("CREATE DATABASE {NAME} OWNER {NAME}"))?;
        let stored =
            superuser.rows(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{NAME}'"))?;
        let verifier = stored.into_iter().flatten().next().context("PostgreSQL stores no password")?;
        Ok(Self { running, port, verifier, _folder: folder })
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its first process; the others are its children.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it stores of the role's password.
    pub(crate) fn verifier(&self) -> &str {
        &self.verifier
    }

    /// Runs SQL in the bench's database as its owner.
    pub(crate) fn sql(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        RawClient::login(&Login::new(self.port, NAME, NAME, NAME))?.rows(sql)
    }
}

fn settings(port: u16) -> String {
    format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
         max_connections = {MAX_CONNECTIONS}\nshared_buffers = '256MB'\nfsync = off\nsynchronous_commit = off\n\
         full_page_writes = off\nautovacuum = off\nwal_level = minimal\nmax_wal_senders = 0\n\
         max_wal_size = '4GB'\npassword_encryption = 'scram-sha-256'\n"
    )
}

fn initdb(program: &Program, folder: &Folder) -> Result<()> {
    let password = program.write(folder, "password", SUPERUSER)?;
    let output = program
        .sibling("initdb")
        .command()
        .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"])
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--pwfile"])
        .arg(password)
        .arg("-D")
        .arg(folder.inside("data"))
        .output()
        .context("initdb")?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
