//! The sums, as people can check them.

use super::pod::Standing;
use super::{Ledger, Member, MemberId, Mood, PodId};

/// The account, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Totals {
    /// What may be held together.
    pub budget: u32,
    /// The largest budget that is written down.
    pub committed: u32,
    /// The most that all pods could be holding.
    pub charged: u32,
    /// Of it, by processes that run no more.
    pub departed: u32,
    /// Of it, by pods that have not answered this leader.
    pub unheard: u32,
    /// Floors of pods that could still come.
    pub aside: u32,
}

impl Totals {
    /// What could be given out; negative while pods are asked to give back.
    pub fn free(&self) -> i64 {
        i64::from(self.budget) - i64::from(self.charged) - i64::from(self.aside)
    }

    /// The sum holds.
    pub fn is_covered(&self) -> bool {
        self.free() >= 0
    }
}

/// What one pod is charged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Charge {
    /// The pod.
    pub pod: PodId,
    /// Its `PgPooler`.
    pub member: MemberId,
    /// Its floor.
    pub floor: u32,
    /// What it says of itself; `None`: it has not answered this leader.
    pub said: Option<Said>,
    /// What it needs, by its use of late.
    pub want: u32,
    /// The most that it could be holding.
    pub charge: u32,
}

/// What a pod has said last, and was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Said {
    /// Its limit.
    pub limit: u32,
    /// Slots held.
    pub held: u32,
    /// The limit that it was told.
    pub aim: u32,
    /// On its way out, or not.
    pub mood: Mood,
}

/// What is one `PgPooler`'s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Part {
    /// Most slots of all its pods together, now.
    pub budget: u32,
    /// Floors of its pods that could still come.
    pub aside: u32,
    /// Charged for its processes that run no more.
    pub departed: u32,
}

impl Ledger {
    /// What a `PgPooler` brings, as last said.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// What is one `PgPooler`'s.
    pub fn part(&self, id: MemberId) -> Part {
        let Some(member) = self.members.get(&id) else { return Part::default() };
        Part {
            budget: member.cap.min(self.budget.in_force()),
            aside: self.aside(id, member),
            departed: self.departed_charge(|of| of == id),
        }
    }

    /// The account, added up.
    pub fn totals(&self) -> Totals {
        let known: u32 = self.pods.values().map(super::pod::Pod::known_charge).sum();
        let departed = self.departed_charge(|_| true);
        let unheard = self.unheard_charge();
        Totals {
            budget: self.budget.in_force(),
            committed: self.budget.committed,
            charged: known + departed + unheard,
            departed,
            unheard,
            aside: self.members.iter().map(|(id, member)| self.aside(*id, member)).sum(),
        }
    }

    /// What each pod is charged with.
    pub fn charges(&self) -> impl Iterator<Item = Charge> {
        self.pods.iter().map(|(id, pod)| charge(*id, pod))
    }

    /// What one pod is charged with.
    pub fn charge_of(&self, id: PodId) -> Option<Charge> {
        self.pods.get(&id).map(|pod| charge(id, pod))
    }

    /// By processes that run no more.
    pub(super) fn departed_charge(&self, of: impl Fn(MemberId) -> bool) -> u32 {
        self.departed.iter().filter(|one| of(one.member)).filter_map(|one| one.charge).sum()
    }

    /// Pods that have not answered: all that they may have together, and their floors at the least.
    pub(super) fn unheard_charge(&self) -> u32 {
        self.unheard.max(self.unheard_floors(|_| true))
    }

    pub(super) fn unheard_floors(&self, of: impl Fn(MemberId) -> bool) -> u32 {
        let silent = self.pods.values().filter(|pod| matches!(pod.standing, Standing::Inherited));
        silent.filter(|pod| of(pod.member)).map(|pod| pod.floor).sum()
    }

    /// Floors of pods of this `PgPooler` that could still come: one that has gone has left its place when the server
    /// holds nothing of it.
    pub(super) fn aside(&self, id: MemberId, member: &Member) -> u32 {
        let pods = self.pods.values().filter(|pod| pod.member == id).map(|pod| pod.floor);
        let departed = self.departed.iter().filter(|one| one.member == id).map(|one| one.floor);
        let taken: u32 = pods.chain(departed).sum();
        (member.floor * member.most_pods).saturating_sub(taken)
    }
}

fn charge(id: PodId, pod: &super::pod::Pod) -> Charge {
    let (said, charge) = match &pod.standing {
        Standing::Inherited | Standing::Newborn => (None, pod.floor),
        Standing::Moved(charge) => (None, *charge),
        Standing::Met(met) => {
            let said = Said { limit: met.limit, held: met.held, aim: met.aim(), mood: met.mood };
            (Some(said), met.charge(pod.floor))
        }
    };
    Charge { pod: id, member: pod.member, floor: pod.floor, said, want: pod.want, charge }
}

impl super::pod::Pod {
    /// What it could hold, if that is known of it alone.
    fn known_charge(&self) -> u32 {
        match &self.standing {
            Standing::Inherited => 0,
            Standing::Newborn => self.floor,
            Standing::Moved(charge) => *charge,
            Standing::Met(met) => met.charge(self.floor),
        }
    }
}
