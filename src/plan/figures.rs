//! Figures of the status: what the budget was reckoned from, and what of it is in use.

use std::time::Duration;

use crate::api::{BudgetMode, BudgetStatus, ClientsStatus, PodStatus, Recommendation};

use super::budget::Sum;
use super::conditions::Seen;
use super::facts::{Account, Facts, PodAccount};

/// Figures that move by themselves are not written more often.
pub const FIGURES: Duration = Duration::from_secs(29);
/// Longer lists are for the metrics.
const MOST_PODS: usize = 32;
/// The least that is kept free for people who look after the server.
const PEOPLE: u32 = 3;

/// The sum, and who has what of it.
pub fn budget(seen: Seen<'_>) -> Option<BudgetStatus> {
    let Seen { facts, verdict, .. } = seen;
    let sum = verdict.sum.as_ref()?;
    let none = Account::default();
    let account = facts.account.as_ref().unwrap_or(&none);
    let used = used(seen);
    Some(BudgetStatus {
        max_connections: number(sum.places.max_connections),
        reserved: number(sum.places.reserved),
        usable: number(sum.places.usable),
        hidden: number(sum.places.hidden),
        keep_free: number(sum.places.keep_free),
        foreign: number(foreign(seen, used)),
        foreign_peak: number(sum.places.foreign_peak),
        server_budget: number(sum.places.budget),
        role_limit: sum.role_limit.map(number),
        database_limit: sum.database_limit.map(number),
        budget: number(sum.cap),
        part: number(sum.part),
        shared_with: facts.sharing.others.iter().map(|other| other.name.clone()).collect(),
        max_replicas: number(sum.max_replicas),
        max_pods: number(sum.max_pods),
        floor: number(sum.floor),
        aside: number(account.aside),
        granted: number(account.total(|pod| pod.limit)),
        charged: number(account.charged()),
        used: number(used),
    })
}

/// Clients that wait; `None`: nobody knows.
pub fn clients(facts: &Facts) -> Option<ClientsStatus> {
    let account = facts.account.as_ref()?;
    Some(ClientsStatus { waiting: number(account.total(|pod| pod.waiting)) })
}

/// The pods, by name.
pub fn pods(facts: &Facts) -> Vec<PodStatus> {
    let of = |pod: &PodAccount| PodStatus {
        name: pod.name.clone(),
        phase: pod.phase.as_str().to_owned(),
        floor: number(pod.floor),
        limit: number(pod.limit),
        held: number(pod.held),
        charge: number(pod.charge),
        config_hash: pod.configured.hash.clone(),
    };
    facts.account.iter().flat_map(|account| &account.pods).take(MOST_PODS).map(of).collect()
}

/// What was needed, and a quarter more.
pub fn recommendation(seen: Seen<'_>) -> Option<Recommendation> {
    let sum = seen.verdict.sum.as_ref()?;
    if seen.object.spec.budget.mode == BudgetMode::Enforce {
        return None;
    }
    let peak = seen.facts.account.as_ref().map(|account| account.peak)?;
    let foreign = sum.places.foreign_peak;
    let (connections, keep_free) = recommended(sum, peak);
    let left = sum.places.usable.saturating_sub(sum.places.hidden);
    let fits = if connections.saturating_add(keep_free) <= left {
        "fits"
    } else {
        "does not fit: raise max_connections, or expect clients to wait"
    };
    let message = format!(
        "clients needed {peak} server connections at once, others had {foreign}; a quarter more of each is {connections} + \
         {keep_free} of {left} usable: {fits}"
    );
    Some(Recommendation { server_connections: number(connections), keep_free: number(keep_free), message })
}

fn recommended(sum: &Sum, peak: u32) -> (u32, u32) {
    let with_room = |count: u32| count.saturating_add(count.div_ceil(4));
    (with_room(peak).max(sum.max_pods), with_room(sum.places.foreign_peak).max(PEOPLE))
}

/// Pods that nobody keeps account of may hold any of the role's sessions.
fn used(seen: Seen<'_>) -> u32 {
    let of_role = seen.verdict.server.as_ref().map_or(0, |server| server.of_role);
    match &seen.facts.account {
        Some(account) => account.total(|pod| pod.held),
        None => of_role,
    }
}

fn foreign(seen: Seen<'_>, used: u32) -> u32 {
    let all = seen.verdict.server.as_ref().map_or(0, |server| server.of_role + server.of_others);
    seen.facts.sharing.foreign.unwrap_or_else(|| all.saturating_sub(used))
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
