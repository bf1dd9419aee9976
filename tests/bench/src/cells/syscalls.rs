//! System calls per transaction, counted by strace.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pgpooler_test_support::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use super::{LOGINS_AT_ONCE, Notes, SERVERS, Security, World};
use crate::{load::Protocol, peers::Peer};

/// Transactions that are counted: enough that what a pooler does now and then does not show.
const TRANSACTIONS: u64 = 4_000;

/// Every protocol in turn, by so many clients.
pub(super) fn visit(clients: usize, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
    let started = world.start(peer, SERVERS, Security::Plain)?;
    let mut load = world.load(&started, Security::Plain)?;
    load.log_in(clients, LOGINS_AT_ONCE)?;
    for protocol in Protocol::ALL {
        if let Some(preparation) = protocol.preparation() {
            load.each(&preparation)?;
        }
        let request = protocol.select_1();
        load.run(&request, world.pace.warm_up)?;
        load.settle(&request)?;
        let trace = Trace::begin(started.pid())?;
        let tally = load.bounded(&request, if world.pace.quick { TRANSACTIONS / 8 } else { TRANSACTIONS })?;
        let calls = trace.end()?;
        let per_transaction = |calls: u64| calls as f64 / tally.done().max(1) as f64;
        if tally.errors.count() > 0 {
            notes.errors.push(format!("{} under strace: {}", protocol.name(), tally.errors));
        }
        notes.add(protocol.name(), clients, "syscalls", per_transaction(calls.iter().map(|(_, n)| n).sum()));
        for (name, calls) in calls.iter().filter(|(_, calls)| per_transaction(*calls) >= 0.05) {
            notes.add(protocol.name(), clients, &format!("syscalls {name}"), per_transaction(*calls));
        }
    }
    Ok(())
}

/// strace, attached to a process.
struct Trace {
    child: Child,
    summary: NamedTempFile,
}

impl Trace {
    fn begin(pid: u32) -> Result<Self> {
        let summary = NamedTempFile::new()?;
        let child = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-o"])
            .arg(summary.path())
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run strace")?;
        let mut trace = Self { child, summary };
        let attached = || all_traced(pid).unwrap_or(false);
        wait_until("strace's attaching", Duration::from_secs(10), attached, || {
            ensure!(matches!(trace.child.try_wait(), Ok(None)), "strace could not attach");
            Ok(())
        })?;
        Ok(trace)
    }

    /// Detaches; every call's name and count.
    fn end(mut self) -> Result<Vec<(String, u64)>> {
        self.signal(Signal::INT)?;
        self.child.wait()?;
        Ok(parse(&fs::read_to_string(self.summary.path())?))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("strace's process")?;
        kill_process(pid, signal).context("cannot signal strace")
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // killed, it would leave the process stopped
            let _ = self.signal(Signal::INT);
            let _ = self.child.wait();
        }
    }
}

fn all_traced(pid: u32) -> Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        if status
            .lines()
            .any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() == "0"))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn parse(summary: &str) -> Vec<(String, u64)> {
    let call = |line: &str| {
        let mut words = line.split_whitespace();
        let calls = words.next()?.parse().ok()?;
        Some((words.next()?.to_owned(), calls))
    };
    summary.lines().filter_map(call).filter(|(name, _)| name != "total").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_gives_calls_without_their_total() {
        let summary = "    calls syscall\n--------- ----------------\n     4002 recvfrom\n       17 futex\n\
                       --------- ----------------\n     4019 total\n";
        assert_eq!(parse(summary), [("recvfrom".to_owned(), 4002), ("futex".to_owned(), 17)]);
    }
}
