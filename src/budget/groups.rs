//! Which `PgPoolers` share a server.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use pgpooler_core::budget::{Belief, Ledger, MemberId, PodId};

use crate::plan::backends::{Departed, Roles};
use crate::plan::facts::{Looked, Server, ServerFact};

/// A PostgreSQL server, as far as slots go.
///
/// A primary and its standbys have one system identifier, and each its own slots: they are told apart by role. All
/// standbys of one cluster count as one server, and copies that were promoted too: what is shared needlessly is safe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerKey {
    /// Of this database cluster, in this role: `Primary` or `Standby`.
    Cluster(String, String),
    /// The system identifier is not to be had: it is known by its address.
    Address(String),
}

impl ServerKey {
    pub(super) fn of(server: &Server, address: &str) -> Self {
        match &server.system_identifier {
            Some(identifier) => {
                let role = if server.in_recovery { "Standby" } else { "Primary" };
                Self::Cluster(identifier.clone(), role.to_owned())
            }
            None => Self::Address(address.to_owned()),
        }
    }

    /// As last written into a status.
    pub(super) fn remembered(status: &crate::api::PgPoolerStatus) -> Option<Self> {
        let target = status.target.as_ref()?;
        match (&target.system_identifier, &target.role) {
            (Some(identifier), Some(role)) => Some(Self::Cluster(identifier.clone(), role.clone())),
            _ => Some(Self::Address(target.address.clone())),
        }
    }

    pub(super) fn seen(fact: &ServerFact, address: Option<&str>) -> Option<Self> {
        match fact {
            ServerFact::Seen(server) => Some(Self::of(server, address?)),
            ServerFact::NotAsked | ServerFact::Failed { .. } => None,
        }
    }
}

/// One server, and what is known of it.
pub(super) struct Group {
    pub(super) ledger: Ledger,
    pub(super) belief: Belief,
    /// Something happened since the ledger last decided.
    pub(super) news: News,
    /// As the server last said.
    pub(super) max_connections: Option<u32>,
    /// What all pods may have together as soon as it is written down.
    pub(super) budget: u32,
    /// Most slots of each `PgPooler`.
    caps: HashMap<MemberId, u32>,
    /// When this operator began to keep it.
    begun: Instant,
    /// Where processes ran that run no more.
    graves: HashMap<(PodId, Option<u64>), Grave>,
}

/// Where a process ran that runs no more.
#[derive(Debug, Clone, Copy)]
struct Grave {
    address: Option<IpAddr>,
    /// By our clock, when it was known to have ended: what begins later is another's.
    buried: Instant,
}

/// Whether the ledger has something to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    None,
    Some,
}

impl Group {
    pub(super) fn new(epoch: u64, committed: u32) -> Self {
        Self {
            ledger: Ledger::begin(epoch, committed),
            belief: Belief::default(),
            news: News::Some,
            max_connections: None,
            budget: committed,
            caps: HashMap::new(),
            begun: Instant::now(),
            graves: HashMap::new(),
        }
    }

    /// What the server bears for all, and no more than the `PgPoolers` may have together.
    pub(super) fn set_server(&mut self, max_connections: u32, budget: u32) {
        self.max_connections = Some(max_connections);
        let caps = self.caps.values().fold(0, |sum: u32, cap| sum.saturating_add(*cap));
        self.budget = budget.min(caps);
        self.ledger.set_server(max_connections, self.budget);
    }

    pub(super) fn set_cap(&mut self, member: MemberId, cap: u32) {
        self.caps.insert(member, cap);
    }

    pub(super) fn leaves(&mut self, member: MemberId) {
        self.ledger.remove_member(member);
        self.caps.remove(&member);
        self.news = News::Some;
    }

    /// Whether there is a grave.
    pub(super) fn mourns(&self) -> bool {
        !self.graves.is_empty()
    }

    /// What a process left on the server is looked for from now on.
    pub(super) fn bury(&mut self, pod: PodId, address: Option<&str>, now: Instant) {
        let address = address.and_then(|address| address.parse().ok());
        for departed in self.ledger.departed().iter().filter(|departed| departed.pod == pod) {
            let key = (departed.pod, departed.incarnation);
            self.graves.entry(key).or_insert(Grave { address, buried: now });
        }
    }

    /// Takes note of what the server still has of processes that run no more. `living`: addresses of pods that exist.
    pub(super) fn look_at_graves(&mut self, looked: &Looked, living: &BTreeSet<IpAddr>, roles: &Roles) {
        let Looked { asked, backends } = looked;
        let known: Vec<IpAddr> = living.iter().copied().chain(self.addresses()).collect();
        let addresses = backends.addresses(&known);
        for ((pod, incarnation), grave) in self.graves.iter().filter(|(_, grave)| grave.buried <= *asked) {
            // the server has looked at its clock after we had asked: a little late rather than too early
            let gone_at = backends.now - (*asked - grave.buried).as_secs_f64();
            // one that never had an address never held anything
            let count = grave
                .address
                .map_or(0, |address| backends.could_be_of(&Departed { address, gone_at }, roles, addresses));
            self.ledger.backends(*pod, *incarnation, count);
        }
        let ledger = &self.ledger;
        let counts = |key: &(PodId, Option<u64>)| {
            ledger.departed().iter().any(|one| (one.pod, one.incarnation) == *key)
        };
        self.graves.retain(|key, _| counts(key));
        self.news = News::Some;
    }

    /// Takes note of what the server has of processes that died before this operator led, for one `PgPooler`. `living`:
    /// its pods' addresses, and when their processes started.
    pub(super) fn look_back(&mut self, member: MemberId, looked: &Looked, living: &[(IpAddr, Instant)]) {
        let Looked { asked, backends } = looked;
        let id = PodId::before(member);
        if !self.ledger.departed().iter().any(|departed| departed.pod == id) {
            return;
        }
        let by_server =
            |moment: Instant| backends.now - asked.saturating_duration_since(moment).as_secs_f64();
        let living: Vec<_> =
            living.iter().map(|(address, started)| (*address, by_server(*started))).collect();
        self.ledger.backends(id, None, backends.left_before(&living, by_server(self.begun)));
        self.news = News::Some;
    }

    /// Where processes ran of which the server may still have something.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.graves.values().filter_map(|grave| grave.address)
    }
}
