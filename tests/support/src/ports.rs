//! Ports of the loopback interface that nobody listens on.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Below the ports that the kernel gives to outgoing connections: those come and go all the time while tests run.
const RANGE: Range<u16> = 10_000..32_000;

/// A port on which nobody listened a moment ago; no two calls of a process give the same one soon.
pub fn free_port() -> Result<u16> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // processes that run at the same time begin at different places
    let start = std::process::id().wrapping_mul(7919);
    for _ in RANGE {
        let at = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % RANGE.len() as u32;
        let port = RANGE.start + at as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1")
}

/// Calls `probe` until it says yes; `alive` says why going on is pointless.
pub fn wait_until(
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
