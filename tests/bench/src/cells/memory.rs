//! Memory per client: idle after its login, after a query, and what is left when all have gone.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{LOGINS_AT_ONCE, Notes, SERVERS, Security, World, cost};
use crate::{load::Protocol, peers::Peer, proc};

/// How long a pooler has to notice that its clients have left, and to give memory back.
const AFTERMATH: Duration = Duration::from_secs(10);
/// How long clients are idle before their memory counts: time to give back what a login or a query took.
const REST: Duration = Duration::from_millis(500);
const MEGABYTE: f64 = 1e6;

/// Ten thousand clients log in, ask once each, and leave.
pub(super) fn visit(security: Security, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let clients = world.pace.many;
    let cell = security.named("memory");
    let started = world.start(peer, SERVERS, security)?;
    let mut load = world.load(&started, security)?;
    let files = files(started.pid())?;
    let (empty, before) = (proc::memory(started.pid())?, cost::used(peer, &started)?);
    let took = load.log_in(clients, LOGINS_AT_ONCE).with_context(|| started.log())?;
    let after = cost::used(peer, &started)?;
    let idle = rested(started.pid())?;
    let tally = load.each(&Protocol::Simple.select_1())?;
    ensure!(tally.errors.count() == 0, "queries failed: {}", tally.errors);
    let queried = rested(started.pid())?;
    load.leave();
    let left = aftermath(started.pid(), files, empty)?;
    let per_client = |memory: u64| (memory as f64 - empty as f64) / clients as f64;
    notes.add(&cell, clients, "empty_mb", empty as f64 / MEGABYTE);
    notes.add(&cell, clients, "idle_bytes", per_client(idle));
    notes.add(&cell, clients, "queried_bytes", per_client(queried));
    notes.add(&cell, clients, "left_mb", (left as f64 - empty as f64) / MEGABYTE);
    notes.add(&cell, clients, "login_cpu_us", (after - before).seconds() * 1e6 / clients as f64);
    notes.add(&cell, clients, "logins_per_s", clients as f64 / took.as_secs_f64());
    Ok(())
}

/// Memory of clients that have done nothing for a while.
fn rested(pid: u32) -> Result<u64> {
    std::thread::sleep(REST);
    proc::memory(pid)
}

/// Memory once the clients' sockets are closed and nothing is given back any more, or the time is up.
fn aftermath(pid: u32, files_before: usize, empty: u64) -> Result<u64> {
    let began = Instant::now();
    let mut memory = proc::memory(pid)?;
    let mut steady = Instant::now();
    // server connections may have been opened meanwhile
    while began.elapsed() < AFTERMATH {
        std::thread::sleep(Duration::from_millis(100));
        let now = proc::memory(pid)?;
        if now != memory || files(pid)? > files_before + SERVERS {
            (memory, steady) = (now, Instant::now());
        }
        if steady.elapsed() > AFTERMATH / 4 || now <= empty {
            break;
        }
    }
    Ok(memory)
}

fn files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).context("open files")?.count())
}
