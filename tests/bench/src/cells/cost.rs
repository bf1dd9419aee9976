//! What `SELECT 1` costs: CPU time of the peer, throughput, latency.

use anyhow::{Context as _, Result, ensure};

use super::{LOGINS_AT_ONCE, Notes, SERVERS, Security, World};
use crate::{
    load::{Load, Protocol, Tally},
    peers::{Kind, Peer, Started},
    pin::Pin,
    proc::Cpu,
};

const TLS_CLIENTS: usize = 64;

/// Every protocol in turn, with the same clients.
pub(super) fn visit(clients: usize, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    every_protocol(clients, "", peer, world, notes)
}

/// One client, with load, peer and PostgreSQL on one core.
///
/// Elsewhere the latency of a single client is mostly what it takes to wake a core that has gone idle, several
/// times a transaction, and depends on where the scheduler puts whom. Here it is the work of all three.
pub(super) fn visit_one_core(peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let _pin = Pin::to_one_core(world.postgres.pid())?;
    every_protocol(1, ", one core", peer, world, notes)
}

fn every_protocol(clients: usize, suffix: &str, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let started = world.start(peer, SERVERS, Security::Plain)?;
    let mut load = world.load(&started, Security::Plain)?;
    load.log_in(clients, LOGINS_AT_ONCE)?;
    let mut protocols = Protocol::ALL;
    // what comes first finds the servers new
    protocols.rotate_left(world.round % Protocol::ALL.len());
    let mut measured = Vec::new();
    for protocol in protocols {
        let (tally, used) = measure(protocol, (peer, &started), &mut load, world)
            .with_context(|| started.log())
            .with_context(|| protocol.name())?;
        measured.push((protocol, tally, used));
    }
    measured.sort_by_key(|(protocol, ..)| *protocol);
    for (protocol, tally, used) in &measured {
        note(&format!("{}{suffix}", protocol.name()), clients, tally, *used, notes);
    }
    Ok(())
}

/// The simple protocol through TLS.
pub(super) fn visit_tls(peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let started = world.start(peer, SERVERS, Security::Tls)?;
    let mut load = world.load(&started, Security::Tls)?;
    load.log_in(TLS_CLIENTS, LOGINS_AT_ONCE)?;
    let (tally, used) =
        measure(Protocol::Simple, (peer, &started), &mut load, world).with_context(|| started.log())?;
    note("simple, TLS", TLS_CLIENTS, &tally, used, notes);
    Ok(())
}

/// Runs a protocol for a while: what the load saw and the peer used.
pub(super) fn measure(
    protocol: Protocol,
    (peer, started): (&Peer, &Started),
    load: &mut Load,
    world: &World,
) -> Result<(Tally, Cpu)> {
    if let Some(preparation) = protocol.preparation() {
        let tally = load.each(&preparation)?;
        ensure!(tally.errors.count() == 0, "preparing failed: {}", tally.errors);
    }
    let request = protocol.select_1();
    load.run(&request, world.pace.warm_up)?;
    let before = used(peer, started)?;
    let tally = load.run(&request, world.pace.measure)?;
    let used = used(peer, started)? - before;
    load.settle(&request)?;
    Ok((tally, used))
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
