//! The peers: PostgreSQL itself, PgBouncer, Odyssey, and one or more builds of pgpooler.

pub(crate) mod config;
mod place;
mod postgres;

use std::{ffi::OsStr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pgpooler_test_support::{Certified, Login, RawClient, TlsOptions, free_port, wait_until};
use rustix::process::Signal;

use config::{NAME, Setup};
pub(crate) use place::Program;
use place::{Folder, Running};
pub(crate) use postgres::{MAX_CONNECTIONS, Postgres};

/// Which program a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PostgreSQL, without a pooler.
    Direct,
    /// PgBouncer: what ratios are to.
    PgBouncer,
    /// Odyssey.
    Odyssey,
    /// The least that a pool can cost.
    Floor,
    /// Ours.
    Pgpooler,
}

/// A program to measure.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its name in reports.
    pub(crate) name: String,
    /// Which program it is.
    pub(crate) kind: Kind,
    /// Where it is.
    pub(crate) program: Program,
    /// Its threads.
    pub(crate) workers: usize,
}

/// How a peer is set up for a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Port of the server behind it.
    pub(crate) server_port: u16,
    /// What the server stores of the password.
    pub(crate) verifier: &'a str,
    /// Server connections.
    pub(crate) servers: usize,
    /// For clients with TLS.
    pub(crate) tls: Option<&'a Certified>,
}

/// A peer that takes clients.
#[derive(Debug)]
pub(crate) struct Started {
    port: u16,
    pid: u32,
    running: Option<(Running, Folder)>,
}

impl Peer {
    /// Starts it and waits until it has passed on a query.
    pub(crate) fn start(&self, postgres: &Postgres, wish: &Wish<'_>) -> Result<Started> {
        if self.kind == Kind::Direct {
            return Ok(Started { port: postgres.port(), pid: postgres.pid(), running: None });
        }
        let setup = Setup {
            port: free_port()?,
            server_port: wish.server_port,
            servers: wish.servers,
            workers: self.workers,
            verifier: wish.verifier.to_owned(),
            tls: wish.tls.is_some(),
        };
        let folder = self.program.folder()?;
        let configuration = self.configure(&setup, wish, &folder)?;
        let numbers = [setup.port, setup.server_port, setup.servers as u16].map(|number| number.to_string());
        let arguments: Vec<&OsStr> = match self.kind {
            Kind::Floor => {
                [OsStr::new("--floor")].into_iter().chain(numbers.iter().map(OsStr::new)).collect()
            }
            Kind::Pgpooler => vec!["--config".as_ref(), configuration.as_os_str()],
            _ => vec![configuration.as_os_str()],
        };
        let mut running = self.program.start(&folder, &arguments, Signal::KILL)?;
        wait_for(&setup, &mut running, &folder).with_context(|| format!("{} did not start", self.name))?;
        Ok(Started { port: setup.port, pid: running.pid(), running: Some((running, folder)) })
    }

    fn configure(&self, setup: &Setup, wish: &Wish<'_>, folder: &Folder) -> Result<std::path::PathBuf> {
        let write = |name: &str, text: &str| self.program.write(folder, name, text);
        if let Some(certified) = wish.tls {
            write("server.crt", &certified.certificate)?;
            write("server.key", &certified.key)?;
        }
        write("userlist.txt", &config::userlist(setup))?;
        let inside = folder.inside("");
        let inside: &Path = &inside;
        match self.kind {
            Kind::Odyssey => write("odyssey.conf", &config::odyssey(setup, inside)),
            Kind::Pgpooler => write("pgpooler.toml", &config::pgpooler(setup, free_port()?)),
            Kind::PgBouncer | Kind::Direct | Kind::Floor => {
                write("pgbouncer.ini", &config::pgbouncer(setup, inside))
            }
        }
    }
}

impl Started {
    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The end of what it has said.
    pub(crate) fn log(&self) -> String {
        self.running.as_ref().map(|(_, folder)| folder.log()).unwrap_or_default()
    }
}

fn wait_for(setup: &Setup, running: &mut Running, folder: &Folder) -> Result<()> {
    let login = Login::new(setup.port, NAME, NAME, NAME);
    let login = if setup.tls { login.secure(TlsOptions::default()) } else { login };
    let answers = || RawClient::login(&login).and_then(|mut client| client.rows("SELECT 1"));
    wait_until(
        "its first answer",
        Duration::from_secs(20),
        || answers().is_ok(),
        || {
            ensure!(running.runs(), "it ended:\n{}", folder.log());
            Ok(())
        },
    )
    .with_context(|| folder.log())
}
