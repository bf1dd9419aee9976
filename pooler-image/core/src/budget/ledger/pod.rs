//! What is known of one pod.

use super::super::protocol::Report;
use super::{Answer, Link, Mark, MemberId, Mood};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pod {
    pub(super) member: MemberId,
    /// What it may hold when it starts, whoever is there.
    pub(super) floor: u32,
    pub(super) standing: Standing,
    /// What it needs.
    pub(super) want: u32,
    /// The latest connection to it; 0: there was none yet.
    pub(super) link: Link,
    pub(super) contact: Contact,
}

/// Whether it is known which process the latest connection leads to. Before that nothing is sent on it: what was meant
/// for the process before must not reach the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Contact {
    Opening,
    Made,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// It was there before, and has not answered.
    Inherited,
    /// It has come since, and has not answered.
    Newborn,
    /// It comes from another server, where it could hold so much, and has not answered.
    Moved(u32),
    /// It has answered.
    Met(Met),
}

/// A process that has answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Met {
    pub(super) incarnation: u64,
    number: u64,
    pub(super) trust: Trust,
    pub(super) mood: Mood,
    pub(super) limit: u32,
    pub(super) held: u32,
    /// `max_connections` that the limit was reckoned for; `None`: an earlier leader knows.
    pub(super) basis: Option<u32>,
    pub(super) sent: Option<Sent>,
}

/// Whether a later leader would know of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// Not sure before this mark is confirmed.
    Unconfirmed(Mark),
    Confirmed,
}

/// Commands that have not been acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    sequence: u64,
    /// Of the last one.
    pub(super) aim: u32,
    /// Of all of them: any may be the one that was obeyed.
    most: u32,
    pub(super) basis: u32,
    pub(super) delivery: Delivery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Delivery {
    UnderWay,
    /// It has to be sent again.
    Lost,
}

impl Met {
    pub(super) fn new(report: &Report, mark: Mark) -> Self {
        Self {
            incarnation: report.incarnation,
            number: report.number,
            trust: Trust::Unconfirmed(mark),
            mood: report.phase.into(),
            limit: report.limit,
            held: report.usage.held,
            basis: None,
            sent: None,
        }
    }

    pub(super) fn note(&mut self, report: &Report) -> Answer {
        if report.number <= self.number {
            return Answer::Old;
        }
        self.number = report.number;
        self.mood = report.phase.into();
        self.limit = report.limit;
        self.held = report.usage.held;
        if let Some(sent) = self.sent.filter(|sent| report.stamp.sequence >= sent.sequence) {
            self.basis = Some(sent.basis);
            self.sent = None;
        }
        Answer::Noted
    }

    pub(super) fn confirm(&mut self, mark: Mark) {
        if matches!(self.trust, Trust::Unconfirmed(needed) if needed <= mark) {
            self.trust = Trust::Confirmed;
        }
    }

    pub(super) fn send(&mut self, sequence: u64, aim: u32, basis: u32) {
        let most = self.sent.map_or(aim, |sent| sent.most.max(aim));
        self.sent = Some(Sent { sequence, aim, most, basis, delivery: Delivery::UnderWay });
    }

    pub(super) fn lose(&mut self) {
        if let Some(sent) = &mut self.sent {
            sent.delivery = Delivery::Lost;
        }
    }

    /// What it was last told that it may hold.
    pub(super) fn aim(&self) -> u32 {
        self.sent.map_or(self.limit, |sent| sent.aim)
    }

    /// `max_connections` that it was last told.
    pub(super) fn last_basis(&self) -> Option<u32> {
        self.sent.map_or(self.basis, |sent| Some(sent.basis))
    }

    /// The most that it could be holding. Its container can start again at any moment, and then has its floor.
    pub(super) fn charge(&self, floor: u32) -> u32 {
        let sent = self.sent.map_or(0, |sent| sent.most);
        self.limit.max(self.held).max(sent).max(floor)
    }
}
