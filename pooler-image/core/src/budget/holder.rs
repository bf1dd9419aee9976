//! The pod's side: what it may hold, by what it was told and what it has seen of the server.

use super::protocol::{Command, Phase, Report, Stamp, Use};

/// Why a command was not obeyed; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Another leader has spoken since.
    #[error("epoch {0} has claimed this pod")]
    Superseded(u64),
    /// Its epoch has not claimed the pod.
    #[error("claim this pod first: its epoch is {0}")]
    NotClaimed(u64),
    /// A later command was obeyed already.
    #[error("sequence {0} was obeyed already")]
    Outdated(u64),
    /// Only the operator may give more, since it knows what others have.
    #[error("by hand the limit can only be lowered; it is {0}")]
    NotLower(u32),
}

/// What one process may hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    floor: u32,
    heard: Heard,
    life: Life,
    stamp: Stamp,
    /// As the server said, since the connections to it were last lost.
    max_connections: Option<u32>,
    reports: u64,
}

/// Who has said what may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Heard {
    /// There is no operator.
    Document { limit: u32 },
    /// Nobody, and it waits.
    Nobody,
    /// Nobody in time.
    TooLate,
    /// The operator.
    Operator(Terms),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Terms {
    limit: u32,
    budget: u32,
    max_connections: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Life {
    Serving,
    Draining,
}

impl Holder {
    /// A process without an operator: `limit` is its document's.
    pub fn standalone(limit: u32) -> Self {
        Self::new(limit, Heard::Document { limit })
    }

    /// A pod that waits for its operator.
    pub fn awaiting(floor: u32) -> Self {
        Self::new(floor, Heard::Nobody)
    }

    fn new(floor: u32, heard: Heard) -> Self {
        let stamp = Stamp::default();
        Self { floor, heard, life: Life::Serving, stamp, max_connections: None, reports: 0 }
    }

    /// Obeys, or says why not.
    pub fn obey(&mut self, command: Command) -> Result<(), Refused> {
        match command {
            Command::Claim { epoch } => self.claim(epoch),
            Command::Limit { stamp, limit, budget, max_connections } => {
                if stamp.epoch < self.stamp.epoch {
                    return Err(Refused::Superseded(self.stamp.epoch));
                }
                if stamp.epoch > self.stamp.epoch {
                    return Err(Refused::NotClaimed(self.stamp.epoch));
                }
                if stamp.sequence <= self.stamp.sequence {
                    return Err(Refused::Outdated(self.stamp.sequence));
                }
                self.stamp = stamp;
                self.heard = Heard::Operator(Terms { limit, budget, max_connections });
                Ok(())
            }
        }
    }

    fn claim(&mut self, epoch: u64) -> Result<(), Refused> {
        if epoch < self.stamp.epoch {
            return Err(Refused::Superseded(self.stamp.epoch));
        }
        if epoch > self.stamp.epoch {
            self.stamp = Stamp { epoch, sequence: 0 };
        }
        // somebody is there: what it may hold is its floor until it is told more
        if matches!(self.heard, Heard::Nobody) {
            self.heard = Heard::TooLate;
        }
        Ok(())
    }

    /// Whether an operator of this epoch may still say anything.
    pub fn follows(&self, epoch: u64) -> Result<(), Refused> {
        if epoch < self.stamp.epoch { Err(Refused::Superseded(self.stamp.epoch)) } else { Ok(()) }
    }

    /// A person lowers the limit; the operator, if there is one, soon puts it right.
    pub fn lower(&mut self, limit: u32) -> Result<(), Refused> {
        let old = self.limit();
        match &mut self.heard {
            Heard::Document { limit: set } => *set = limit,
            Heard::Operator(terms) if limit <= old => terms.limit = limit,
            _ => return Err(Refused::NotLower(old)),
        }
        Ok(())
    }

    /// The document's limit has changed; only a process without an operator cares.
    pub fn document_limit(&mut self, to: u32) {
        if let Heard::Document { limit } = &mut self.heard {
            (*limit, self.floor) = (to, to);
        }
    }

    /// No operator has spoken in time: serves from the floor.
    pub fn give_up_waiting(&mut self) {
        if matches!(self.heard, Heard::Nobody) {
            self.heard = Heard::TooLate;
        }
    }

    /// The process was told to end.
    pub fn drain(&mut self) {
        self.life = Life::Draining;
    }

    /// The last connection that had logged in has gone, or one has without being asked to: when the next is opened the
    /// server may be another, or the same with another `max_connections`.
    pub fn server_lost(&mut self) {
        self.max_connections = None;
    }

    /// What the server said of itself.
    pub fn server_seen(&mut self, max_connections: u32) {
        self.max_connections = Some(max_connections);
    }

    /// Every login should ask for `max_connections`: what may be held depends on it, and the server behind a name can be
    /// another one at any time.
    pub fn must_ask_server(&self) -> bool {
        !matches!(self.heard, Heard::Document { .. })
    }

    /// What it may hold without hearing from anybody.
    pub fn floor(&self) -> u32 {
        self.floor
    }

    /// Its limit was reckoned for a server that it does not know, or not any more.
    pub fn is_server_unknown(&self) -> bool {
        matches!(self.heard, Heard::Operator(_)) && self.max_connections.is_none()
    }

    /// What it was told that it may hold.
    pub fn limit(&self) -> u32 {
        match self.heard {
            Heard::Document { limit } => limit,
            Heard::Nobody | Heard::TooLate => self.floor,
            Heard::Operator(terms) => terms.limit,
        }
    }

    /// What it may hold now: of a limit that was reckoned for a larger server, no more than its floor.
    pub fn allowed(&self) -> u32 {
        match self.heard {
            Heard::Nobody => 0,
            Heard::Operator(terms)
                if self.max_connections.is_none_or(|most| most < terms.max_connections) =>
            {
                terms.limit.min(self.floor)
            }
            _ => self.limit(),
        }
    }

    /// Part of what all pods together may have, for limits of pools: so many of so many; `None`: all.
    pub fn part(&self) -> Option<(u32, u32)> {
        match self.heard {
            Heard::Document { .. } => None,
            Heard::Nobody | Heard::TooLate => Some((self.floor, u32::MAX)),
            Heard::Operator(terms) => Some((terms.limit, terms.budget)),
        }
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        match (self.life, self.heard) {
            (Life::Draining, _) => Phase::Draining,
            (Life::Serving, Heard::Document { .. }) => Phase::Standalone,
            (Life::Serving, Heard::Nobody) => Phase::Awaiting,
            (Life::Serving, Heard::TooLate) => Phase::Floor,
            (Life::Serving, Heard::Operator(_)) => Phase::Serving,
        }
    }

    /// What it says of itself, `uptime` milliseconds after its start; each report has a higher number.
    pub fn report(&mut self, incarnation: u64, uptime: u64, usage: Use) -> Report {
        self.reports += 1;
        Report {
            incarnation,
            uptime,
            number: self.reports,
            stamp: self.stamp,
            phase: self.phase(),
            floor: self.floor,
            limit: self.limit(),
            max_connections: self.max_connections,
            usage,
            clients: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(epoch: u64, sequence: u64, limit: u32) -> Command {
        Command::Limit { stamp: Stamp { epoch, sequence }, limit, budget: 77, max_connections: 100 }
    }

    fn claimed(epoch: u64) -> Holder {
        let mut holder = Holder::awaiting(2);
        holder.obey(Command::Claim { epoch }).expect("the first");
        holder.server_seen(100);
        holder
    }

    #[test]
    fn a_pod_that_nobody_has_spoken_to_holds_nothing_and_later_its_floor() {
        let mut holder = Holder::awaiting(2);
        assert_eq!((holder.allowed(), holder.phase()), (0, Phase::Awaiting));
        holder.give_up_waiting();
        assert_eq!((holder.allowed(), holder.phase()), (2, Phase::Floor));
    }

    #[test]
    fn a_later_command_wins_and_an_earlier_one_is_refused() {
        let mut holder = claimed(3);
        assert_eq!(holder.obey(limit(3, 2, 20)), Ok(()));
        assert_eq!(holder.obey(limit(3, 2, 30)), Err(Refused::Outdated(2)));
        assert_eq!(holder.obey(limit(3, 1, 30)), Err(Refused::Outdated(2)));
        assert_eq!(holder.limit(), 20);
    }

    #[test]
    fn an_earlier_leader_is_refused_and_a_later_one_must_claim() {
        let mut holder = claimed(3);
        assert_eq!(holder.obey(Command::Claim { epoch: 2 }), Err(Refused::Superseded(3)));
        assert_eq!(holder.obey(limit(2, 9, 30)), Err(Refused::Superseded(3)));
        assert_eq!(holder.obey(limit(4, 1, 30)), Err(Refused::NotClaimed(3)));
        assert_eq!(holder.obey(Command::Claim { epoch: 4 }), Ok(()));
        assert_eq!(holder.obey(limit(4, 1, 30)), Ok(()));
    }

    #[test]
    fn after_a_restart_of_the_server_the_floor_is_all_until_the_server_has_said_that_it_is_as_large() {
        let mut holder = claimed(1);
        holder.obey(limit(1, 1, 30)).expect("claimed");
        assert_eq!(holder.allowed(), 30);
        holder.server_lost();
        assert_eq!(holder.allowed(), 2);
        holder.server_seen(60);
        assert_eq!(holder.allowed(), 2);
        holder.server_seen(200);
        assert_eq!(holder.allowed(), 30);
    }

    #[test]
    fn what_was_opened_from_the_floor_has_seen_the_server_before_more_is_given() {
        let mut holder = Holder::awaiting(1);
        holder.give_up_waiting();
        assert!(
            holder.must_ask_server(),
            "else the floor would be all for ever: nothing more could be opened to ask"
        );
        assert!(!Holder::standalone(9).must_ask_server());
    }

    #[test]
    fn a_person_can_take_but_not_give() {
        let mut holder = claimed(1);
        assert_eq!(holder.lower(1), Err(Refused::NotLower(2)));
        holder.obey(limit(1, 1, 30)).expect("claimed");
        assert_eq!(holder.lower(31), Err(Refused::NotLower(30)));
        assert_eq!(holder.lower(5), Ok(()));
        assert_eq!(holder.allowed(), 5);
        let mut alone = Holder::standalone(20);
        assert_eq!(alone.lower(40), Ok(()));
        assert_eq!(alone.allowed(), 40);
    }
}
