//! One loop and two before a server that costs nothing, so that the pooler is what everybody waits for.

use anyhow::{Context as _, Result};

use super::{Cell, LOGINS_AT_ONCE, Notes, SERVERS, Security, World, cost};
use crate::{fake::Fake, load::Protocol, peers::Peer};

const CLIENTS: usize = 64;

/// `SELECT 1`, simple and prepared, through so many loops.
pub(super) fn visit(loops: usize, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let fake = Fake::start()?;
    let peer = Peer { workers: loops, ..peer.clone() };
    let started = world.start_before(&peer, fake.port(), SERVERS, None)?;
    let mut load = world.load(&started, Security::Plain)?;
    load.log_in(CLIENTS, LOGINS_AT_ONCE)?;
    for protocol in [Protocol::Simple, Protocol::Prepared] {
        let (tally, used) = cost::measure(protocol, (&peer, &started), &mut load, world)
            .with_context(|| started.log())
            .with_context(|| protocol.name())?;
        let cell = format!("{}, {}", protocol.name(), Cell::Loops(loops).name());
        cost::note(&cell, CLIENTS, &tally, used, notes);
    }
    Ok(())
}
