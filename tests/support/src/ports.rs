//! Ports of the loopback interface that nobody listens on.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A port on which nobody listened a moment ago.
///
/// The kernel hands out ephemeral ports in a random order, so two tests that ask at once practically never
/// get the same one.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Calls `probe` until it says yes; `alive` says why going on is pointless.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> bool,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    while !probe() {
        alive()?;
        if start.elapsed() > limit {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
