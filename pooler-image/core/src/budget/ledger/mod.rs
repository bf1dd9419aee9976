//! The operator's side: who may hold what on one PostgreSQL server, and what to tell whom next.
//!
//! The sum that holds at every moment: `charged` (the most that all pods could be holding) + `aside` (floors of pods
//! that could still come) <= the budget, whatever is lost on the way, whoever else believes to lead. It rests on seven
//! rules, each of them found necessary by the model:
//!
//! 1. A pod's charge falls only by what the pod says, and only by reports of its present incarnation, in their order.
//! 2. First others are told to shrink; what they have let go of can be given on.
//! 3. A pod that is met for the first time is given more than its floor only after the API server has confirmed that
//!    this operator still leads, and has done so after the pod has answered: whoever leads later then knows of the pod.
//! 4. What a dead process held is free when the server has nothing of it, and when it has been confirmed after that that
//!    this operator still leads: a later leader may have counted the process as it was.
//! 5. On a new connection nothing is sent before the process behind it has said which one it is.
//! 6. Pods that existed when this operator began to lead and have not answered it may have, together, all of the budget
//!    that the answers of the others leave.
//! 7. A budget is written down before it is used when it rises, and after it is in force when it falls.

mod decide;
mod pod;
mod sums;

use std::collections::BTreeMap;

use super::protocol::{Command, Phase, Report, Stamp};
use pod::{Contact, Met, Pod, Standing};
pub use sums::{Charge, Part, Said, Totals};

/// A `PgPooler` on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// A pod, whatever runs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(pub u64);

impl PodId {
    /// All pods of a `PgPooler` that died before its operator led.
    pub fn before(member: MemberId) -> Self {
        Self(u64::MAX - u64::from(member.0))
    }

    fn is_before(self) -> bool {
        self.0 > u64::MAX - u64::from(u32::MAX) - 1
    }
}

/// A connection to a pod: a later one has a higher number, and leads to the same process or to a later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u64);

/// The API server is asked to confirm that this operator leads; a later mark covers the earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

/// What a `PgPooler` brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// What each of its pods may hold without hearing from anybody.
    pub floor: u32,
    /// Most pods of it that can exist at once.
    pub most_pods: u32,
    /// Its part, compared with others, when all want more.
    pub weight: u32,
    /// Most slots of all its pods together.
    pub cap: u32,
}

/// A pod is on its way out, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mood {
    /// It may be given more than it needs.
    Serving,
    /// What it does not need it must give back.
    Draining,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Tell a pod.
    Send(PodId, Command),
    /// Renew the Lease, and say so with [`Ledger::confirmed`] when it is done.
    Confirm(Mark),
    /// Write down that the budget may be so large, and say so with [`Ledger::written`] when it is done.
    Commit(u32),
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It counts.
    Noted,
    /// Something later is known.
    Old,
    /// The pod follows another leader, of this epoch.
    Superseded(u64),
}

/// A process that runs no more; what it held is on the server until that has noticed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Departed {
    /// The pod that it ran in.
    pub pod: PodId,
    /// Of the process; `None`: it never answered.
    pub incarnation: Option<u64>,
    member: MemberId,
    floor: u32,
    /// `None`: part of what pods that have not answered may have together.
    charge: Option<u32>,
    /// What the server has of it, and the mark that must be confirmed before it counts.
    seen: Option<(u32, Mark)>,
}

/// The account of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ledger {
    epoch: u64,
    sequence: u64,
    max_connections: u32,
    budget: Budget,
    /// What pods that existed at the beginning and have not answered may have together.
    unheard: u32,
    listing: Listing,
    members: BTreeMap<MemberId, Member>,
    pods: BTreeMap<PodId, Pod>,
    departed: Vec<Departed>,
    last_mark: Mark,
    asked_mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Listing {
    /// Pods that are added have been there before this operator led.
    Open,
    /// Pods that are added are new.
    Done,
}

/// What may be given out, and what is written down of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    wanted: u32,
    committed: u32,
    writing: Option<u32>,
    /// Written, and not yet confirmed.
    written: Option<(u32, Mark)>,
}

impl Budget {
    fn in_force(&self) -> u32 {
        self.wanted.min(self.committed)
    }
}

impl Ledger {
    /// Of a leader that begins; `committed` is the largest budget that an earlier one may have used, as it was written
    /// down, read after the Lease was won.
    pub fn begin(epoch: u64, committed: u32) -> Self {
        Self {
            epoch,
            sequence: 0,
            max_connections: 0,
            budget: Budget { wanted: committed, committed, writing: None, written: None },
            unheard: committed,
            listing: Listing::Open,
            members: BTreeMap::new(),
            pods: BTreeMap::new(),
            departed: Vec::new(),
            last_mark: Mark::default(),
            asked_mark: Mark::default(),
        }
    }

    /// Pods of this `PgPooler` may have died before this operator led, without anybody knowing: until
    /// [`Self::backends`] of [`PodId::before`] says what the server has of them, they are among those that have not answered.
    pub fn suspect(&mut self, member: MemberId) {
        let pod = PodId::before(member);
        if self.unheard > 0 && self.departed.iter().all(|departed| departed.pod != pod) {
            let departed = Departed { pod, incarnation: None, member, floor: 0, charge: None, seen: None };
            self.departed.push(departed);
        }
    }

    /// All pods that existed when the Lease was won have been added.
    pub fn listed(&mut self) {
        self.listing = Listing::Done;
        self.settle_unheard();
    }

    /// What the server bears: `budget` slots, by its `max_connections`.
    pub fn set_server(&mut self, max_connections: u32, budget: u32) {
        self.max_connections = max_connections;
        self.budget.wanted = budget;
    }

    /// A `PgPooler` comes or changes.
    pub fn set_member(&mut self, id: MemberId, member: Member) {
        self.members.insert(id, member);
    }

    /// A `PgPooler` is no more; its pods stay until they are gone.
    pub fn remove_member(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            (member.most_pods, member.floor) = (0, 0);
        }
        self.forget_members();
    }

    /// A pod exists. Nothing happens if it is known.
    pub fn add_pod(&mut self, id: PodId, member: MemberId, floor: u32) {
        let standing = match self.listing {
            Listing::Open => Standing::Inherited,
            Listing::Done => Standing::Newborn,
        };
        self.pods.entry(id).or_insert(Pod {
            member,
            floor,
            standing,
            want: floor,
            link: Link::default(),
            contact: Contact::Opening,
        });
    }

    /// A pod comes from another server, where it could hold `charge`. Nothing happens if it is known.
    pub fn move_pod(&mut self, id: PodId, member: MemberId, floor: u32, charge: u32) {
        self.add_pod(id, member, floor);
        if let Some(pod) = self.pods.get_mut(&id)
            && matches!(pod.standing, Standing::Newborn)
        {
            pod.standing = Standing::Moved(charge.max(floor));
        }
    }

    /// What a pod is charged with; 0: it is not known.
    pub fn charge(&self, id: PodId) -> u32 {
        self.charges().find(|charge| charge.pod == id).map_or(0, |charge| charge.charge)
    }

    /// A pod is no more: its kubelet says so, or its node is gone for good. What it held counts on until
    /// [`Self::backends`] says that the server holds none of it.
    pub fn remove_pod(&mut self, id: PodId) {
        let Some(pod) = self.pods.remove(&id) else { return };
        let (incarnation, charge) = match &pod.standing {
            Standing::Inherited => (None, None),
            Standing::Newborn => (None, Some(pod.floor)),
            Standing::Moved(charge) => (None, Some(*charge)),
            Standing::Met(met) => (Some(met.incarnation), Some(met.charge(pod.floor))),
        };
        self.depart(Departed {
            pod: id,
            incarnation,
            member: pod.member,
            floor: pod.floor,
            charge,
            seen: None,
        });
    }

    fn depart(&mut self, departed: Departed) {
        self.departed.push(departed);
        self.settle_unheard();
    }

    /// The server holds at most so many connections of a process that runs no more. It counts when the Lease has been
    /// confirmed.
    pub fn backends(&mut self, id: PodId, incarnation: Option<u64>, count: u32) {
        // a process that is not known yet may die after this look and before it is met
        let silent = self
            .pods
            .values()
            .any(|pod| PodId::before(pod.member) == id && matches!(pod.standing, Standing::Inherited));
        if silent {
            return;
        }
        let mark = Mark(self.last_mark.0 + 1);
        for departed in &mut self.departed {
            let of_it = departed.pod == id && departed.incarnation == incarnation;
            let falls = match departed.charge {
                // what nobody knew is known from then on
                None => count == 0 || id.is_before(),
                Some(charge) => count < charge,
            };
            if of_it && falls && departed.seen.is_none_or(|(seen, _)| count < seen) {
                departed.seen = Some((count, mark));
                self.last_mark = mark;
            }
        }
    }

    fn confirm_departed(&mut self, mark: Mark) {
        for departed in &mut self.departed {
            if let Some((count, _)) = departed.seen.take_if(|(_, needed)| *needed <= mark) {
                departed.charge = Some(departed.charge.map_or(count, |charge| charge.min(count)));
            }
        }
        self.departed.retain(|departed| departed.charge != Some(0));
        self.settle_unheard();
        self.forget_members();
    }

    /// A connection to a pod is about to be opened; the one before is closed, and what was sent on it may be lost. It can
    /// still arrive. On the new one the pod is claimed first.
    pub fn link(&mut self, id: PodId) -> Link {
        let Some(pod) = self.pods.get_mut(&id) else { return Link::default() };
        if let Standing::Met(met) = &mut pod.standing {
            met.lose();
        }
        pod.link.0 += 1;
        pod.contact = Contact::Opening;
        pod.link
    }

    /// What a pod says on a connection: its answer to a claim of this leader or to a command, or without being asked.
    pub fn reported(&mut self, id: PodId, link: Link, report: &Report) -> Answer {
        if report.stamp.epoch > self.epoch {
            return Answer::Superseded(report.stamp.epoch);
        }
        // what a pod says before it has heard this leader another one may still change
        if report.stamp.epoch < self.epoch {
            return Answer::Old;
        }
        let Some(pod) = self.pods.get_mut(&id).filter(|pod| pod.link == link) else { return Answer::Old };
        pod.contact = Contact::Made;
        if let Standing::Met(met) = &mut pod.standing
            && met.incarnation == report.incarnation
        {
            return met.note(report);
        }
        self.meet(id, report);
        Answer::Noted
    }

    /// The first report of a process.
    fn meet(&mut self, id: PodId, report: &Report) {
        let mark = self.next_mark();
        // another ledger of this leader may have told it something
        self.sequence = self.sequence.max(report.stamp.sequence);
        let Some(pod) = self.pods.get_mut(&id) else { return };
        let met = Standing::Met(Met::new(report, mark));
        match std::mem::replace(&mut pod.standing, met) {
            Standing::Newborn | Standing::Moved(_) => {}
            Standing::Inherited => {
                self.unheard = self.unheard.saturating_sub(report.charge());
                self.settle_unheard();
            }
            // the container has started again
            Standing::Met(before) => {
                let (incarnation, charge) = (Some(before.incarnation), Some(before.charge(pod.floor)));
                let (member, floor) = (pod.member, pod.floor);
                self.depart(Departed { pod: id, incarnation, member, floor, charge, seen: None });
            }
        }
    }

    /// What a pod needs, by its use of late.
    pub fn want(&mut self, id: PodId, slots: u32) {
        if let Some(pod) = self.pods.get_mut(&id) {
            pod.want = slots;
        }
    }

    /// The API server has renewed the Lease, asked after [`Effect::Confirm`] with this mark.
    pub fn confirmed(&mut self, mark: Mark) {
        for pod in self.pods.values_mut() {
            if let Standing::Met(met) = &mut pod.standing {
                met.confirm(mark);
            }
        }
        self.confirm_departed(mark);
        if let Some((budget, written)) = self.budget.written
            && written <= mark
        {
            self.budget.committed = budget;
            self.budget.written = None;
        }
    }

    /// The budget of [`Effect::Commit`] is written down.
    pub fn written(&mut self, budget: u32) {
        if self.budget.writing == Some(budget) {
            self.budget.writing = None;
        }
        if budget > self.budget.committed {
            self.budget.written = Some((budget, self.next_mark()));
        } else {
            self.budget.committed = budget;
        }
    }

    /// It could not be written: it is asked for again.
    pub fn not_written(&mut self) {
        self.budget.writing = None;
    }

    /// The Lease could not be renewed in time: it is asked for again.
    pub fn not_confirmed(&mut self) {
        self.asked_mark = Mark::default();
    }

    fn next_mark(&mut self) -> Mark {
        self.last_mark.0 += 1;
        self.last_mark
    }

    fn settle_unheard(&mut self) {
        let open = self.listing == Listing::Open
            || self.pods.values().any(|pod| matches!(pod.standing, Standing::Inherited))
            || self.departed.iter().any(|departed| departed.charge.is_none());
        if !open {
            self.unheard = 0;
        }
    }

    /// The pods of a `PgPooler` have another server now: what they hold is not on this one.
    pub fn forget_departed(&mut self, member: MemberId) {
        self.departed.retain(|departed| departed.member != member);
        self.settle_unheard();
    }

    fn forget_members(&mut self) {
        let used = |id: &MemberId| {
            self.pods.values().any(|pod| pod.member == *id)
                || self.departed.iter().any(|one| one.member == *id)
        };
        self.members.retain(|id, member| member.most_pods > 0 || used(id));
    }

    /// Of the leader that keeps it.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The pods that are known.
    pub fn pods(&self) -> impl Iterator<Item = PodId> {
        self.pods.keys().copied()
    }

    /// Processes that run no more and still count.
    pub fn departed(&self) -> &[Departed] {
        &self.departed
    }

    fn stamp(&mut self) -> Stamp {
        self.sequence += 1;
        Stamp { epoch: self.epoch, sequence: self.sequence }
    }
}

impl From<Phase> for Mood {
    fn from(phase: Phase) -> Self {
        if phase == Phase::Draining { Self::Draining } else { Self::Serving }
    }
}

#[cfg(test)]
mod tests;
