//! An operator: the ledger, and its dealings with the API server.

use std::collections::BTreeMap;

use pgpooler_core::budget::{Effect, Ledger, Link, Mark, Member, MemberId, PodId};

use crate::Scene;
use crate::faults::Rule;
use crate::world::World;

/// `max_connections` when the server is large, and when it is small.
pub(crate) const MAX_CONNECTIONS: [u32; 2] = [100, 60];

/// What is written in the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Disk {
    /// The largest budget that may be in use.
    pub committed: u32,
    /// Of the leader that wrote it: an earlier one does not write over it.
    pub epoch: u64,
    /// Of the holder of the Lease.
    pub lease: u64,
}

/// An operator that believes that it leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operator {
    /// Its epoch.
    pub epoch: u64,
    /// What it knows; `None`: it has won the Lease, and has not looked yet.
    pub ledger: Option<Ledger>,
    /// The process that each of its connections leads to.
    pub links: BTreeMap<PodId, (Link, u64)>,
    /// Asked of the API server.
    pub confirm: Request<Mark>,
    /// Asked of the API server.
    pub commit: Request<u32>,
}

/// A request to the API server: it may be carried out long before the answer is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request<T> {
    /// None.
    None,
    /// Sent.
    Asked(T),
    /// Carried out.
    Done(T),
}

/// What happens next to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    /// The renewal of the Lease.
    Confirm,
    /// The budget's writing.
    Commit,
}

impl Operator {
    pub(crate) fn wins(disk: &mut Disk) -> Self {
        disk.lease += 1;
        let links = BTreeMap::new();
        Self { epoch: disk.lease, ledger: None, links, confirm: Request::None, commit: Request::None }
    }

    /// Looks at what is there, after it has won.
    pub(crate) fn looks(&mut self, scene: &Scene, disk: &Disk, server: u8, pods: &[(PodId, MemberId)]) {
        let committed = if scene.broken == Some(Rule::ChargeTheUnheard) { 0 } else { disk.committed };
        let mut ledger = Ledger::begin(self.epoch, committed);
        ledger.set_server(MAX_CONNECTIONS[usize::from(server)], scene.budgets[usize::from(server)]);
        for member in 0..scene.members {
            let most_pods = scene.most_pods;
            ledger.set_member(MemberId(member), Member { floor: 1, most_pods, weight: 1, cap: u32::MAX });
        }
        for member in 0..scene.members {
            ledger.suspect(MemberId(member));
        }
        for (pod, member) in pods {
            ledger.add_pod(*pod, *member, 1);
        }
        ledger.listed();
        if scene.broken == Some(Rule::ChargeTheUnheard) {
            ledger.written(scene.budgets[usize::from(server)]);
            ledger.confirmed(Mark(u64::MAX));
        }
        self.ledger = Some(ledger);
    }

    pub(crate) fn takes_effect(&mut self, scene: &Scene, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Confirm(mark) if scene.broken == Some(Rule::ConfirmBeforeGrant) => {
                self.ledger.as_mut()?.confirmed(mark);
            }
            Effect::Confirm(mark) => self.confirm = Request::Asked(mark),
            Effect::Commit(budget) if scene.broken == Some(Rule::WriteAhead) => {
                let ledger = self.ledger.as_mut()?;
                ledger.written(budget);
                ledger.confirmed(Mark(u64::MAX));
            }
            Effect::Commit(budget) => self.commit = Request::Asked(budget),
            Effect::Send(..) => return Some(effect),
        }
        None
    }

    /// The API server carries a request out, or its answer is heard. `None`: the operator leads no more, and ends.
    pub(crate) fn turns(mut self, turn: Turn, disk: &mut Disk) -> Option<Self> {
        match turn {
            Turn::Confirm => match self.confirm {
                Request::Asked(_) if disk.lease != self.epoch => return None,
                Request::Asked(mark) => self.confirm = Request::Done(mark),
                Request::Done(mark) => {
                    self.confirm = Request::None;
                    self.ledger.as_mut()?.confirmed(mark);
                }
                Request::None => {}
            },
            Turn::Commit => match self.commit {
                Request::Asked(_) if disk.epoch > self.epoch => return None,
                Request::Asked(budget) => {
                    (disk.committed, disk.epoch) = (budget, self.epoch);
                    self.commit = Request::Done(budget);
                }
                Request::Done(budget) => {
                    self.commit = Request::None;
                    self.ledger.as_mut()?.written(budget);
                }
                Request::None => {}
            },
        }
        Some(self)
    }

    pub(crate) fn has_request(&self, turn: Turn) -> bool {
        match turn {
            Turn::Confirm => self.confirm != Request::None,
            Turn::Commit => self.commit != Request::None,
        }
    }

    /// What it can see of the world, and has not seen yet.
    pub(crate) fn knows(&self, world: &World, pod: PodId) -> bool {
        let exists = world.pods.iter().any(|one| one.id == pod && one.exists);
        let listed = self.ledger.as_ref().is_some_and(|ledger| ledger.pods().any(|one| one == pod));
        exists == listed
    }
}
