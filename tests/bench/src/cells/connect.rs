//! A connection for each transaction: what a login costs.

use anyhow::{Context as _, Result};

use super::{Notes, SERVERS, Security, World, cost};
use crate::{
    load::Protocol,
    peers::{Kind, Peer},
};

/// Clients that come and go side by side.
const AT_ONCE: usize = 16;

/// Every client logs in, asks once and leaves.
pub(super) fn visit(security: Security, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let started = world.start(peer, SERVERS, security)?;
    let mut load = world.load(&started, security)?;
    let request = Protocol::Simple.select_1();
    load.churn(&request, AT_ONCE, world.pace.warm_up)?;
    let before = cost::used(peer, &started)?;
    let tally = load.churn(&request, AT_ONCE, world.pace.measure).with_context(|| started.log())?;
    let used = cost::used(peer, &started)? - before;
    let cell = security.named("connect");
    // PostgreSQL itself counts a child's time when it has ended, and refuses a client while others leave
    if peer.kind != Kind::Direct && tally.errors.count() > 0 {
        notes.errors.push(format!("{cell}: {}", tally.errors));
    }
    let done = tally.done() as f64;
    anyhow::ensure!(done > 0.0, "nobody got through: {}", tally.errors);
    notes.add(&cell, AT_ONCE, "cpu_us", used.seconds() * 1e6 / done);
    notes.add(&cell, AT_ONCE, "tps", done / tally.took.as_secs_f64());
    notes.add(&cell, AT_ONCE, "errors", tally.errors.count() as f64);
    Ok(())
}
