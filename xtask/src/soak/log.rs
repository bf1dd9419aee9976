//! PostgreSQL's log of connections: how many there were at once, none missed.

use std::collections::{BTreeMap, HashMap};

/// What the log tells, read in several pieces: each process of the server begins anew.
#[derive(Debug)]
pub(crate) struct Log {
    size: u64,
    /// Connections of the pools.
    pub(crate) connections: u64,
    /// The most at once, for each `max_connections`.
    pub(crate) peaks: BTreeMap<u64, u64>,
    /// Logins that the server refused since it was full.
    pub(crate) refused: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { size: 100, connections: 0, peaks: BTreeMap::new(), refused: 0 }
    }
}

impl Log {
    /// What follows is of a server with so many connections.
    pub(crate) fn restarted(&mut self, size: u64) {
        self.size = size;
    }

    /// Reads the whole log of one process of the server: `SECONDS [PID] LOG:  ...`
    pub(crate) fn read(&mut self, text: &str) {
        let mut open: HashMap<u64, Vec<f64>> = HashMap::new();
        let mut changes: Vec<(f64, i64)> = Vec::new();
        let mut received: HashMap<u64, f64> = HashMap::new();
        for line in text.lines() {
            let Some((at, pid, message)) = parse(line) else { continue };
            if message.contains("connection received:") {
                received.insert(pid, at);
            } else if message.contains("connection authorized: user=app ")
                && !message.contains("pgpooler-operator")
            {
                // the place is taken before the login is over
                open.entry(pid).or_default().push(received.get(&pid).copied().unwrap_or(at));
            } else if message.contains("disconnection:")
                && let Some(since) = open.get_mut(&pid).and_then(Vec::pop)
            {
                changes.extend([(since, 1), (at, -1)]);
            } else if is_refusal(message) {
                self.refused += 1;
            }
        }
        changes.extend(open.into_values().flatten().map(|since| (since, 1)));
        self.connections += changes.iter().filter(|(_, change)| *change > 0).count() as u64;
        let peak = self.peaks.entry(self.size).or_default();
        *peak = most_at_once(changes).max(*peak);
    }
}

fn parse(line: &str) -> Option<(f64, u64, &str)> {
    let (at, rest) = line.split_once(" [")?;
    let (pid, message) = rest.split_once("] ")?;
    Some((at.parse().ok()?, pid.parse().ok()?, message))
}

fn is_refusal(message: &str) -> bool {
    message.contains("FATAL")
        && ["too many clients", "remaining connection slots", "too many connections"]
            .iter()
            .any(|part| message.contains(part))
}

/// What ends and begins at the same instant was not there at once: the log has milliseconds.
fn most_at_once(mut changes: Vec<(f64, i64)>) -> u64 {
    changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut now = 0;
    let counts = changes.iter().map(|(_, change)| {
        now += change;
        now
    });
    counts.max().unwrap_or(0).try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
1.000 [7] LOG:  connection received: host=a port=1
1.001 [8] LOG:  connection received: host=a port=2
1.005 [7] LOG:  connection authorized: user=app database=app
1.006 [8] LOG:  connection authorized: user=app database=app application_name=fleet
1.007 [9] LOG:  connection received: host=a port=3
1.008 [9] LOG:  connection authorized: user=app database=app application_name=pgpooler-operator
1.009 [10] FATAL:  sorry, too many clients already
2.000 [7] LOG:  disconnection: session time: 0:00:01.000 user=app database=app host=a port=1
2.000 [11] LOG:  connection received: host=a port=4
2.001 [11] LOG:  connection authorized: user=app database=app
";

    #[test]
    fn connections_that_overlap_are_counted_and_the_operators_own_are_not() {
        let mut log = Log::default();
        log.read(LOG);
        assert_eq!((log.connections, log.refused), (3, 1));
        assert_eq!(log.peaks, [(100, 2)].into());
    }
}
