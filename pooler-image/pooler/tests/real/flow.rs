//! Large messages, slow peers, and connections that break at every point.

mod cut;
mod faults;
mod memory;
mod slow;

use std::io::Read as _;

use pgpooler_test_support::{Pooler, RawClient};

/// Tags and lengths of messages, bodies thrown away, until `ready` ReadyForQuery have come.
fn skim(client: &RawClient, ready: usize) -> Vec<(u8, usize)> {
    let mut stream = client.stream();
    let (mut messages, mut chunk, mut seen) = (Vec::new(), vec![0; 1 << 16], 0);
    while seen < ready {
        let mut head = [0; 5];
        stream.read_exact(&mut head).expect("a message");
        let [tag, length @ ..] = head;
        let mut rest = u32::from_be_bytes(length) as usize - 4;
        messages.push((tag, rest));
        while rest > 0 {
            let here = rest.min(chunk.len());
            stream.read_exact(&mut chunk[..here]).expect("a message's body");
            rest -= here;
        }
        seen += usize::from(tag == b'Z');
    }
    messages
}

fn tags_of(messages: &[(u8, usize)]) -> String {
    messages.iter().map(|(tag, _)| char::from(*tag)).collect()
}

/// A figure of /proc/PID/status, in bytes.
fn status(pooler: &Pooler, name: &str) -> usize {
    let pid = pooler.pid().expect("a running pooler");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.expect("a figure") * 1024
}

/// By how much the process's memory was larger at its worst while `act` ran.
pub(super) fn growth<T>(pooler: &Pooler, act: impl FnOnce() -> T) -> (usize, T) {
    let pid = pooler.pid().expect("a running pooler");
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak is reset");
    let before = status(pooler, "VmRSS");
    let outcome = act();
    (status(pooler, "VmHWM").saturating_sub(before), outcome)
}
