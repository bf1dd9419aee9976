//! Counts the system calls of a process while something happens, by attaching strace to it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

use pgpooler_test_support::Pooler;
use rustix::process::{Pid, Signal, kill_process};

const READS: &[&str] = &["read", "readv", "recvfrom", "recvmsg"];
const WRITES: &[&str] = &["write", "writev", "sendto", "sendmsg"];

/// System calls by name: how many, and how many of them failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(BTreeMap<String, (u64, u64)>);

impl Calls {
    /// Those of all threads of the pooler while `work` runs.
    pub(crate) fn of(pooler: &Pooler, work: impl FnOnce()) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let summary = folder.path().join("summary");
        let mut strace = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,errors,name", "-o"])
            .arg(&summary)
            .args(["-p", &pooler.pid().unwrap().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("no strace, which counts system calls: apt-get install strace");
        let mut said = String::new();
        // read to its end: what strace says of threads that come and go must have somewhere to go
        let mut stderr = BufReader::new(strace.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        assert!(said.contains("attached"), "strace may not trace another process (CAP_SYS_PTRACE): {said}");
        work();
        // it detaches and writes its summary
        kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
        stderr.read_to_string(&mut said).unwrap();
        let status = strace.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "strace ended by itself: {status}, {said}");
        Self::parse(&fs::read_to_string(&summary).unwrap())
    }

    fn parse(summary: &str) -> Self {
        let row = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let (calls, failed, name) = match words.as_slice() {
                [calls, name] => (calls, &"0", name),
                [calls, failed, name] => (calls, failed, name),
                _ => return None,
            };
            Some(((*name).to_owned(), (calls.parse().ok()?, failed.parse().ok()?)))
        };
        Self(summary.lines().filter_map(row).filter(|(name, _)| name != "total").collect())
    }

    /// All of them.
    pub(crate) fn all(&self) -> u64 {
        self.0.values().map(|(calls, _)| calls).sum()
    }

    /// Those that move bytes.
    pub(crate) fn transfers(&self) -> u64 {
        self.of_transfers().map(|(calls, _)| calls).sum()
    }

    /// Those that move bytes and moved none: nothing was there, or there was no room.
    pub(crate) fn vain_transfers(&self) -> u64 {
        self.of_transfers().map(|(_, failed)| failed).sum()
    }

    fn of_transfers(&self) -> impl Iterator<Item = (u64, u64)> {
        let moves_bytes = |name: &str| READS.contains(&name) || WRITES.contains(&name);
        self.0.iter().filter(move |(name, _)| moves_bytes(name)).map(|(_, counts)| *counts)
    }
}

#[test]
fn a_summary_is_read_with_and_without_failures() {
    let summary = "     calls    errors syscall\n--------- --------- ----------------\n\
                   \x20     100        3 recvfrom\n       50           sendto\n       20           epoll_wait\n\
                   --------- --------- ----------------\n      170         3 total\n";
    let calls = Calls::parse(summary);
    assert_eq!((calls.all(), calls.transfers(), calls.vain_transfers()), (170, 150, 3));
}
