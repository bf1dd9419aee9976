//! What the ledger knows of one `PgPooler`, as data for the plan.

use std::net::IpAddr;

use kube::ResourceExt as _;
use pgpooler_core::budget::{Charge, MemberId, Phase, Report};
use tokio::time::Instant;

use super::groups::{Group, ServerKey};
use super::state::{Pod, State};
use crate::api::PgPooler;
use crate::plan::facts::{Account, Coverage, Facts, PodAccount, PodPhase, Sharing};

impl State {
    /// The others on the server, and what is believed of it.
    pub(super) fn sharing(&mut self, object: &PgPooler, facts: &Facts, now: Instant) -> Sharing {
        let uid = self.note(object, facts);
        let Some((server, pooler)) = self.poolers.get(&uid).and_then(|one| Some((one.server.clone()?, one)))
        else {
            return Sharing::default();
        };
        let others = self.poolers_on(&server).filter(|one| one.member != pooler.member);
        let mut others: Vec<_> = others.map(|one| one.neighbour.clone()).collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        let foreign = self.foreign(&server, facts);
        if let Some(pooler) = self.poolers.get_mut(&uid) {
            pooler.foreign = foreign.or(pooler.foreign);
        }
        let Some(group) = self.groups.get_mut(&server) else { return Sharing::default() };
        if let Some(foreign) = foreign {
            group.belief.note_foreign(foreign, now.into_std());
        }
        Sharing {
            others,
            hidden: group.belief.hidden(now.into_std()),
            foreign,
            foreign_peak: group.belief.foreign_peak(),
        }
    }

    /// Whether processes that run no more may still have sessions on the server of this one; also while it is not known
    /// which server that is.
    pub(super) fn mourns(&self, object: &PgPooler) -> bool {
        let server = object.uid().and_then(|uid| self.poolers.get(&uid)?.server.as_ref());
        server.and_then(|server| self.groups.get(server)).is_none_or(Group::mourns)
    }

    /// Whether its budget is written down as soon as the ledger has decided.
    pub(super) fn is_about_to_write(&self, object: &PgPooler) -> bool {
        let pooler = object.uid().and_then(|uid| self.poolers.get(&uid));
        let group = pooler.and_then(|pooler| self.groups.get(pooler.server.as_ref()?));
        pooler.zip(group).is_some_and(|(pooler, group)| {
            let committed = group.ledger.totals().committed;
            group.max_connections.is_some() && (committed < group.budget || pooler.committed < committed)
        })
    }

    /// Sessions that are not of any pooler.
    fn foreign(&self, server: &ServerKey, facts: &Facts) -> Option<u32> {
        let (backends, group) = (&facts.backends.as_ref()?.backends, self.groups.get(server)?);
        let living = self.on(server).filter_map(|pod| pod.fact.address.as_ref()?.parse::<IpAddr>().ok());
        let addresses: Vec<IpAddr> = living.chain(group.addresses()).collect();
        let roles = self.roles_on(server);
        // what pods could hold rather than what they said last: a connection that has just been opened is nobody else's
        Some(backends.foreign(&addresses, &roles, group.ledger.totals().charged))
    }

    /// What the ledger knows of one `PgPooler`.
    pub(super) fn account(&self, object: &PgPooler, facts: &Facts) -> Option<Account> {
        let uid = object.uid()?;
        let pooler = self.poolers.get(&uid)?;
        let group = self.groups.get(pooler.server.as_ref()?)?;
        let mut pods: Vec<PodAccount> = self.pods_of(pooler).map(|pod| one(pod, group)).collect();
        for pod in &mut pods {
            if facts.vanished.iter().any(|vanished| vanished.name == pod.name) {
                pod.phase = PodPhase::Vanished;
            }
        }
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        let part = group.ledger.part(pooler.member);
        Some(Account {
            budget: part.budget,
            aside: part.aside,
            departed: part.departed,
            coverage: coverage(group, pooler.member),
            pods,
            peak: pooler.peak,
        })
    }
}

/// Room for pods to come is what the ledger has set aside, unless it has yet to get something back for it.
fn coverage(group: &Group, member: MemberId) -> Coverage {
    match group.ledger.member(member) {
        Some(member) if group.ledger.totals().is_covered() => {
            Coverage::Covered { pods: member.most_pods, floor: member.floor }
        }
        _ => Coverage::Short,
    }
}

fn one(pod: &Pod, group: &Group) -> PodAccount {
    let charge = group.ledger.charge_of(pod.id);
    let usage = pod.report.map(|report| report.usage).unwrap_or_default();
    PodAccount {
        name: pod.fact.name.clone(),
        phase: phase(pod.report.as_ref(), charge.as_ref()),
        reach: pod.reach,
        floor: pod.fact.floor,
        limit: pod.report.map_or(0, |report| report.limit),
        held: usage.held,
        active: usage.active,
        waiting: usage.waiting,
        charge: charge.map_or(0, |charge| charge.charge),
        configured: pod.configured.clone(),
    }
}

fn phase(report: Option<&Report>, charge: Option<&Charge>) -> PodPhase {
    let heard = charge.is_none_or(|charge| charge.said.is_some());
    match report.filter(|_| heard).map(|report| report.phase) {
        None => PodPhase::Unheard,
        Some(Phase::Awaiting) => PodPhase::Awaiting,
        Some(Phase::Floor) => PodPhase::Floor,
        Some(Phase::Serving) => PodPhase::Serving,
        Some(Phase::Draining) => PodPhase::Draining,
        Some(Phase::Standalone) => PodPhase::Standalone,
    }
}
