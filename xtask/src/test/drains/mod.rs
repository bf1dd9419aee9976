//! A drain costs no application a unit of work: real drivers with their pools are at work while poolers behind a
//! balancer are replaced, scaled and reloaded.
//!
//! Nobody may lose anything whose pool tests each connection that it hands out. Others lose nothing before the deadline of
//! a drain, which is a short one here; what they lose there is shown.

mod balancer;
mod replicas;
mod verdict;

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use pgpooler_test_support::{Authority, PoolerOptions, Postgres, PostgresOptions};

use crate::{postgres, ui};

use super::{
    Count,
    drivers::{
        self,
        fleets::{Fleets, Notice, Programs, chosen},
    },
};
use replicas::{Replicas, now_ms};
use verdict::{Course, Verdicts};

const APP: &str = "app";
/// The password before and after its change.
const PASSWORDS: [&str; 2] = ["before", "after"];
const DATABASE: &str = "ledgers";
/// Fleets at work, nothing else.
const QUIET: Duration = Duration::from_secs(5);
/// From PostgreSQL's new password until the poolers have it: what an operator takes.
const UNTOLD: Duration = Duration::from_secs(2);

/// Some of the fleets, through everything.
struct Pass {
    what: &'static str,
    has: fn(Notice) -> bool,
    /// `PGSSLMODE`; none: what each driver does by itself.
    sslmode: Option<&'static str>,
    drain_timeout: Duration,
}

const PASSES: &[Pass] = &[
    Pass {
        what: "pools that learn of a close, over TLS where their drivers speak it by themselves",
        has: |notice| notice != Notice::Never,
        sslmode: None,
        drain_timeout: Duration::from_secs(20),
    },
    Pass {
        what: "pools that learn of a close, without TLS",
        has: |notice| notice != Notice::Never,
        sslmode: Some("disable"),
        drain_timeout: Duration::from_secs(20),
    },
    Pass {
        what: "pools that never test, which stay until the deadline",
        has: |notice| notice == Notice::Never,
        sslmode: Some("disable"),
        drain_timeout: Duration::from_secs(6),
    },
];

/// Runs all fleets through everything, or those that `PGPOOLER_FLEETS` names, divided by commas.
pub(super) fn run() -> Result<Count> {
    postgres::programs()?;
    let program = drivers::compile()?;
    let wanted = std::env::var("PGPOOLER_FLEETS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    let wanted = chosen(&wanted)?;
    let names: Vec<_> = wanted.iter().map(|fleet| fleet.name).collect();
    let programs = Programs::prepare(&names)?;
    let mut count = Count::default();
    for pass in PASSES {
        let mine = wanted.iter().filter(|fleet| (pass.has)(fleet.notice));
        let names: Vec<_> = mine.map(|fleet| fleet.name).collect();
        if !names.is_empty() {
            count += pass.run(&program, &programs, &names).with_context(|| pass.what)?;
        }
    }
    Ok(count)
}

impl Pass {
    fn run(&self, program: &Path, programs: &Programs, names: &[&str]) -> Result<Count> {
        ui::heading(self.what);
        let (server, tls) = (server()?, Tls::new()?);
        let mut replicas = Replicas::start(program, options(&server, &tls), self.drain_timeout, 2)?;
        let port = replicas.port().to_string();
        let mut environment = vec![
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", port.as_str()),
            ("PGUSER", APP),
            ("PGPASSWORD", PASSWORDS[0]),
            ("PGDATABASE", DATABASE),
        ];
        environment.extend(self.sslmode.map(|mode| ("PGSSLMODE", mode)));
        let fleets = Fleets::start(programs, names, &environment)?;
        let done = steps(&mut replicas, &server, &tls).with_context(|| replicas.logs());
        let reports = fleets.stop();
        let course =
            Course { drains: &replicas.drains, drain_timeout: self.drain_timeout, new_password_ms: done? };
        let verdicts = Verdicts::new(&reports?, &course);
        println!("{}:\n{verdicts}", self.what);
        for drain in &replicas.drains {
            let seconds = (drain.to_ms - drain.from_ms) as f64 / 1000.0;
            println!(
                "a drain of {seconds:.1} s {}",
                drain.deadline.as_deref().unwrap_or("without a deadline")
            );
        }
        Ok(verdicts.count())
    }
}

/// What people do to their poolers; gives when poolers knew another password, in milliseconds since 1970.
fn steps(replicas: &mut Replicas, server: &Postgres, tls: &Tls) -> Result<u64> {
    quiet("at work");
    step("a rollout: two are replaced, one after the other", || replicas.replace_all())?;
    step("scaled from 2 to 4", || replicas.add(2))?;
    step("another certificate, and other settings by SIGHUP", || {
        tls.renew()?;
        replicas.reload(|options| {
            options.setting("max_server_connections", "25").setting("query_wait_timeout", "\"40s\"")
        })
    })?;
    quiet("four of them, with the new settings");
    step("scaled from 4 to 2", || replicas.remove(2))?;
    step("another password in PostgreSQL", || {
        server.sql(&format!("ALTER ROLE {APP} PASSWORD '{}'", PASSWORDS[1])).map(drop)
    })?;
    thread::sleep(UNTOLD);
    let new_password_ms = now_ms();
    step("the poolers know it, too", || {
        replicas.reload(|mut options| {
            options.users.retain(|(user, _)| user != APP);
            options.user(APP, PASSWORDS[1])
        })
    })?;
    quiet("with it");
    Ok(new_password_ms)
}

fn step(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    ui::say(what);
    work().with_context(|| what.to_owned())
}

fn quiet(what: &str) {
    ui::say(what);
    thread::sleep(QUIET);
}

fn server() -> Result<Postgres> {
    let options = PostgresOptions { max_connections: 150, ..PostgresOptions::default() };
    let server = Postgres::start(&options)?;
    server.create_user(APP, PASSWORDS[0])?;
    server.sql(&format!("CREATE DATABASE {DATABASE} OWNER {APP}"))?;
    Ok(server)
}

fn options(server: &Postgres, tls: &Tls) -> PoolerOptions {
    PoolerOptions::before(server)
        .user(APP, PASSWORDS[0])
        .setting("workers", "1")
        .setting("max_server_connections", "30")
        // longer than a unit may wait on a busy machine
        .setting("query_wait_timeout", "\"30s\"")
        .setting("client_tls_sslmode", "\"allow\"")
        .setting("client_tls_cert_file", &format!("\"{}\"", tls.certificate.display()))
        .setting("client_tls_key_file", &format!("\"{}\"", tls.key.display()))
}

/// The certificate of the poolers. Drivers that speak TLS when it is offered do so.
#[derive(Debug)]
struct Tls {
    authority: Authority,
    folder: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    fn new() -> Result<Self> {
        let (authority, folder) = (Authority::new("drains")?, tempfile::tempdir()?);
        let (certificate, key) =
            authority.certify("pooler", &["127.0.0.1"])?.write(folder.path(), "pooler")?;
        Ok(Self { authority, folder, certificate, key })
    }

    /// Another one, in the same files, as Kubernetes renews a mounted Secret: the poolers look by themselves.
    fn renew(&self) -> Result<()> {
        self.authority.certify("pooler", &["127.0.0.1"])?.write(self.folder.path(), "pooler")?;
        Ok(())
    }
}
