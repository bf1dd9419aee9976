//! Signals, as a Unix daemon takes them.
//!
//! SIGHUP reloads. SIGTERM and SIGINT leave when running transactions have ended; the second of either leaves at once,
//! and so does SIGQUIT.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::{Control, ShutdownMode};

/// The signals, taken from the moment this exists: before it, SIGHUP would end the process.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Reload,
    Leave,
    LeaveNow,
}

impl Signals {
    /// Takes the signals; needs a tokio runtime with IO.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Passes signals on; never returns. May be dropped at any time; a reload that has begun goes on.
    pub async fn drive(mut self, control: Arc<dyn Control>) {
        let mut leaving = None;
        loop {
            match self.next().await {
                // beside this task: a reload that is stuck must not keep the process from leaving
                Request::Reload => drop(tokio::spawn(reload(control.clone()))),
                request @ (Request::Leave | Request::LeaveNow) => {
                    let mode = shutdown_mode(request, leaving);
                    tracing::info!(?mode, "leaving on a signal");
                    control.shutdown(mode);
                    leaving = Some(mode);
                }
            }
        }
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            _ = self.quit.recv() => Request::LeaveNow,
            _ = self.terminate.recv() => Request::Leave,
            _ = self.interrupt.recv() => Request::Leave,
            _ = self.hangup.recv() => Request::Reload,
        }
    }
}

fn shutdown_mode(request: Request, leaving: Option<ShutdownMode>) -> ShutdownMode {
    match (request, leaving) {
        (Request::Leave, None) => ShutdownMode::WaitForServers,
        _ => ShutdownMode::Immediate,
    }
}

async fn reload(control: Arc<dyn Control>) {
    match control.reload().await {
        Ok(outcome) => {
            let (changed, needs_restart) = (outcome.changed.join(", "), outcome.needs_restart.join(", "));
            tracing::info!(hash = outcome.hash, changed, "configuration reloaded");
            if !needs_restart.is_empty() {
                tracing::warn!(needs_restart, "these settings change with the next restart");
            }
        }
        Err(error) => tracing::error!(%error, "reload failed, the settings in force stay"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_request_to_leave_is_carried_out_at_once() {
        let first = shutdown_mode(Request::Leave, None);
        assert_eq!(first, ShutdownMode::WaitForServers);
        assert_eq!(shutdown_mode(Request::Leave, Some(first)), ShutdownMode::Immediate);
        assert_eq!(shutdown_mode(Request::LeaveNow, None), ShutdownMode::Immediate);
    }
}
