//! Many clients in one instant.

use anyhow::{Context as _, Result, ensure};

use super::{Notes, Security, World, cost};
use crate::{
    load::Protocol,
    peers::{Kind, MAX_CONNECTIONS, Peer},
};

/// Server connections of the crowd.
const CROWD_SERVERS: usize = 50;
/// Clients of the storm.
const STORM: usize = 1_000;
/// Transactions of each.
const STORM_TRANSACTIONS: u64 = 5;

/// Ten thousand clients arrive at once; then all ask at once.
pub(super) fn crowd(peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let clients = world.pace.many;
    let started = world.start(peer, CROWD_SERVERS, Security::Plain)?;
    let mut load = world.load(&started, Security::Plain)?;
    let (refused, arrival) = load.try_log_in(clients, clients).with_context(|| started.log())?;
    let before = cost::used(peer, &started)?;
    let tally = load.each(&Protocol::Simple.select_1()).with_context(|| started.log())?;
    let used = cost::used(peer, &started)? - before;
    for errors in [&refused, &tally.errors].into_iter().filter(|errors| errors.count() > 0) {
        notes.errors.push(errors.to_string());
    }
    notes.add("crowd", clients, "arrival_s", arrival.as_secs_f64());
    notes.add("crowd", clients, "queries_s", tally.took.as_secs_f64());
    notes.add("crowd", clients, "cpu_us", used.seconds() * 1e6 / tally.done().max(1) as f64);
    notes.add("crowd", clients, "errors", (refused.count() + tally.errors.count()) as f64);
    Ok(())
}

/// A thousand clients arrive at once where PostgreSQL takes a hundred, and each has something to do.
pub(super) fn storm(peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let started = world.start(peer, MAX_CONNECTIONS / 5, Security::Plain)?;
    let mut load = world.load(&started, Security::Plain)?;
    let (refused, arrival) = load.try_log_in(STORM, STORM).with_context(|| started.log())?;
    let wanted = STORM_TRANSACTIONS * STORM as u64;
    let served = STORM_TRANSACTIONS * (STORM as u64).saturating_sub(refused.count());
    let tally = load.bounded(&Protocol::Simple.select_1(), served)?;
    let lost = wanted.saturating_sub(tally.done());
    if peer.kind == Kind::Direct {
        ensure!(refused.count() > 0, "PostgreSQL took more clients than it may");
    } else if lost > 0 {
        notes.errors.push(format!("{lost} transactions lost: {refused} {}", tally.errors));
    }
    notes.add("storm", STORM, "arrival_s", arrival.as_secs_f64());
    notes.add("storm", STORM, "refused", refused.count() as f64);
    notes.add("storm", STORM, "lost", lost as f64);
    Ok(())
}
