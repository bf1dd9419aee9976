//! What `SELECT 1` costs: CPU time of the peer, throughput, latency.

use anyhow::{Context as _, Result};

use super::{LOGINS_AT_ONCE, Notes, SERVERS, World, load};
use crate::{
    load::{Load, Protocol, Tally},
    peers::{Kind, Peer, Started},
    proc::Cpu,
};

/// Every protocol in turn, with the same clients.
pub(super) fn visit(clients: usize, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let started = world.start(peer, SERVERS)?;
    let mut load = load(&started)?;
    load.log_in(clients, LOGINS_AT_ONCE)?;
    let mut protocols = Protocol::ALL;
    // what comes first finds the servers new
    protocols.rotate_left(world.round % Protocol::ALL.len());
    for protocol in protocols {
        measure(protocol, clients, (peer, &started), &mut load, world, notes)
            .with_context(|| started.log())
            .with_context(|| protocol.name())?;
    }
    load.leave();
    Ok(())
}

fn measure(
    protocol: Protocol,
    clients: usize,
    (peer, started): (&Peer, &Started),
    load: &mut Load,
    world: &World,
    notes: &mut Notes,
) -> Result<()> {
    if let Some(preparation) = protocol.preparation() {
        let tally = load.each(&preparation)?;
        anyhow::ensure!(tally.errors.count() == 0, "preparing failed: {}", tally.errors);
    }
    let request = protocol.select_1();
    load.run(&request, world.pace.warm_up)?;
    let before = used(peer, started)?;
    let tally = load.run(&request, world.pace.measure)?;
    let used = used(peer, started)? - before;
    load.settle(&request)?;
    note(protocol.name(), clients, &tally, used, notes);
    Ok(())
}

/// CPU time of a peer; of PostgreSQL itself with all its processes.
pub(super) fn used(peer: &Peer, started: &Started) -> Result<Cpu> {
    if peer.kind == Kind::Direct { Cpu::of_family(started.pid()) } else { Cpu::of(started.pid()) }
}

/// Takes down what a load and the CPU time of its peer say.
pub(super) fn note(cell: &str, clients: usize, tally: &Tally, used: Cpu, notes: &mut Notes) {
    if tally.errors.count() > 0 {
        notes.errors.push(format!("{cell}: {}", tally.errors));
    }
    let done = tally.done() as f64;
    if done == 0.0 {
        return;
    }
    let latency = |share: f64| tally.latencies.quantile(share).as_secs_f64() * 1e6;
    notes.add(cell, clients, "cpu_us", used.seconds() * 1e6 / done);
    notes.add(cell, clients, "user_share", used.user / (used.user + used.system).max(0.01));
    notes.add(cell, clients, "tps", done / tally.took.as_secs_f64());
    notes.add(cell, clients, "p50_us", latency(0.5));
    notes.add(cell, clients, "p95_us", latency(0.95));
    notes.add(cell, clients, "p99_us", latency(0.99));
    notes.add(cell, clients, "errors", tally.errors.count() as f64);
}
