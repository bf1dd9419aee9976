//! Clients that leave while the process drains, or has too many of them: whose turn it is, and who has gone.
//!
//! Touched only while it does: the lock is on nobody's path else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pgpooler_core::drain::{Application, Departures, Pacer, Way};
use pgpooler_core::pool::LoopId;

use super::{Mail, Process};
use crate::report::DrainReport;

/// A pool of connections, as far as that can be told: an application at one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Party {
    pub(crate) application: Application,
    pub(crate) address: IpAddr,
}

/// Applications that are remembered as testing their connections.
const MOST_TESTERS: usize = 1000;

/// What loops have together while clients leave.
#[derive(Debug, Default)]
pub(super) struct Drain(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    course: Course,
    pacer: Pacer<Party>,
    /// How many clients there are of each, as each loop last counted them.
    parties: HashMap<LoopId, HashMap<Party, u32>>,
    departures: Departures,
    /// Those that were seen testing a connection: their pools do not notice that a silent one has gone.
    testers: HashSet<Application>,
}

/// Whether clients are to leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Course {
    #[default]
    Stay,
    /// So many, and the process goes on: nobody has to go, so only those do that certainly do not notice.
    Shed(u32),
    /// All.
    Leave { by: Instant },
}

impl State {
    fn clients_of(&self, party: &Party) -> u32 {
        self.parties.values().filter_map(|counts| counts.get(party)).sum()
    }

    fn who_stays(&self) -> BTreeMap<Application, u32> {
        let mut stay: BTreeMap<Application, u32> = BTreeMap::new();
        for (party, count) in self.parties.values().flatten() {
            *stay.entry(party.application.clone()).or_default() += count;
        }
        stay
    }
}

impl Process {
    fn drain_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.drain.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on all clients leave as they do not notice, those that can.
    pub(crate) fn part_with_all(&self, by: Instant) {
        self.drain_state(|state| state.course = Course::Leave { by });
        self.tell_all(|| Mail::Part);
    }

    /// So many clients are to leave as they do not notice, in place of those that were; 0: none. A process that drains
    /// goes on draining.
    pub(super) fn shed(&self, clients: u32) {
        self.drain_state(|state| {
            if !matches!(state.course, Course::Leave { .. }) {
                state.course = if clients == 0 { Course::Stay } else { Course::Shed(clients) };
            }
        });
        self.tell_all(|| Mail::Part);
    }

    /// Clients are to leave.
    pub(crate) fn is_parting(&self) -> bool {
        self.drain_state(|state| state.course != Course::Stay)
    }

    /// Whether a client of this party may be closed now in this way; if so, it is the caller's to close.
    pub(crate) fn lets_go(&self, party: &Party, way: Way, now: Instant) -> bool {
        self.drain_state(|state| {
            if way == Way::LivenessTest && state.testers.len() < MOST_TESTERS {
                state.testers.insert(party.application.clone());
            }
            let left = match state.course {
                Course::Stay => return false,
                Course::Shed(_) if way == Way::Silence && !state.testers.contains(&party.application) => {
                    return false;
                }
                Course::Shed(_) => None,
                Course::Leave { by } => Some(by.saturating_duration_since(now)),
            };
            let clients = state.clients_of(party);
            if !state.pacer.lets_go(party, clients, left, now) {
                return false;
            }
            if let Course::Shed(left) = &mut state.course {
                *left -= 1;
                if *left == 0 {
                    state.course = Course::Stay;
                }
            }
            true
        })
    }

    /// What time the loops have for each of their parties.
    pub(crate) fn time_to_part(&self, now: Instant) -> Option<std::time::Duration> {
        self.drain_state(|state| match state.course {
            Course::Leave { by } => Some(by.saturating_duration_since(now)),
            Course::Stay | Course::Shed(_) => None,
        })
    }

    /// The clients that a loop has.
    pub(crate) fn note_parties(&self, of: LoopId, parties: HashMap<Party, u32>, now: Instant) {
        self.drain_state(|state| {
            state.pacer.trim(now);
            state.parties.insert(of, parties);
        });
    }

    /// Nobody counts any more.
    pub(crate) fn forget_parties(&self, of: LoopId) {
        self.drain_state(|state| state.parties.remove(&of));
    }

    /// A client has left.
    pub(crate) fn note_departure(&self, application: &Application, way: Way) {
        self.drain_state(|state| state.departures.count(application, way));
    }

    /// Who has left and who is there.
    pub(crate) fn drain_report(&self) -> DrainReport {
        self.drain_state(|state| DrainReport {
            departures: state.departures.clone(),
            stay: state.who_stays(),
        })
    }
}
