//! The status: from the plan's reasons and the objects that were applied. Pure; what did not change keeps its time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::{
    BudgetStatus, ClientsStatus, ConditionType, PgPooler, PgPoolerStatus, Reason, TargetStatus,
};
use crate::names;

use super::Verdict;
use super::budget::Sum;
use super::checks::Blocked;
use super::facts::{Facts, Load, PodFact, Server, ServerFact};
use super::objects::{Applied, Objects};

/// Messages of conditions may have 32768 characters; nobody reads so many.
const LONGEST_MESSAGE: usize = 1000;

/// What is found about one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    status: &'static str,
    reason: Reason,
    message: String,
}

/// What the status speaks of.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The object.
    pub object: &'a PgPooler,
    /// What was seen before the plan was made.
    pub facts: &'a Facts,
    /// Why the plan is as it is.
    pub verdict: &'a Verdict,
    /// The children as the API server has them; `Err`: the first that could not be applied.
    pub applied: Result<&'a Objects<Applied>, &'a Blocked>,
}

/// The status to write.
pub fn status(seen: Seen<'_>, now: &Time) -> PgPoolerStatus {
    let Seen { object, facts, verdict, .. } = seen;
    let old = object.status.clone().unwrap_or_default();
    let last = last_budget(object, verdict.address.as_deref()).cloned();
    let ready = ready_pods(facts);
    PgPoolerStatus {
        observed_generation: object.metadata.generation,
        replicas: facts.pods.iter().filter(|pod| !pod.terminating).count() as i32,
        ready_replicas: ready as i32,
        ready: Some(format!("{ready}/{}", object.spec.replicas)),
        selector: object.metadata.name.as_deref().map(selector),
        target: target(verdict, old.target),
        budget: verdict.sum.as_ref().map(|sum| budget(sum, verdict.server.as_ref(), facts.load)).or(last),
        clients: facts.load.waiting.map(|waiting| ClientsStatus { waiting: number(waiting) }).or(old.clients),
        conditions: conditions(seen, &old.conditions, now),
    }
}

/// The budget last reckoned, unless it was that of another server.
pub fn last_budget<'a>(object: &'a PgPooler, address: Option<&str>) -> Option<&'a BudgetStatus> {
    let status = object.status.as_ref()?;
    let last = status.target.as_ref().map(|target| target.address.as_str());
    let same = address.is_none() || address == last;
    status.budget.as_ref().filter(|_| same)
}

fn conditions(seen: Seen<'_>, old: &[Condition], now: &Time) -> Vec<Condition> {
    let findings = [
        (ConditionType::TargetReachable, target_reachable(seen)),
        (ConditionType::WithinBudget, within_budget(seen)),
        (ConditionType::ConfigApplied, config_applied(seen)),
        (ConditionType::Available, available(seen)),
    ];
    let ready = ready(seen, findings.iter().map(|(_, finding)| finding));
    let of = |type_| match findings.iter().find(|(other, _)| *other == type_) {
        Some((_, finding)) => finding,
        None => &ready,
    };
    ConditionType::ALL.into_iter().map(|type_| condition(seen.object, type_, of(type_), old, now)).collect()
}

fn condition(
    object: &PgPooler,
    type_: ConditionType,
    finding: &Finding,
    old: &[Condition],
    now: &Time,
) -> Condition {
    let old = old.iter().find(|old| old.type_ == type_.as_str() && old.status == finding.status);
    Condition {
        type_: type_.as_str().to_owned(),
        status: finding.status.to_owned(),
        reason: finding.reason.as_str().to_owned(),
        message: finding.message.chars().take(LONGEST_MESSAGE).collect(),
        observed_generation: object.metadata.generation,
        last_transition_time: old.map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
    }
}

/// The first thing that is not as it should be.
fn ready<'a>(seen: Seen<'_>, mut findings: impl Iterator<Item = &'a Finding>) -> Finding {
    if let Err(blocked) = seen.applied {
        return not(blocked.reason, blocked.message.clone());
    }
    if let Some(blocked) = &seen.verdict.blocked {
        return not(blocked.reason, blocked.message.clone());
    }
    // `maxReplicas` may be out of reach while every pod that is wanted now fits
    let all_fit = seen
        .verdict
        .sum
        .as_ref()
        .is_some_and(|sum| i64::from(sum.max_replicas) >= i64::from(seen.object.spec.replicas));
    let counts = |finding: &&Finding| match finding.reason {
        Reason::ScaleExceedsBudget => !all_fit,
        // `Available` says why there are none
        Reason::NoPods => false,
        _ => finding.status != "True",
    };
    if let Some(first) = findings.find(counts) {
        return not(first.reason, first.message.clone());
    }
    let (ready, wanted) = (ready_pods(seen.facts), seen.object.spec.replicas);
    if i64::from(ready) >= i64::from(wanted) {
        yes(Reason::Ready, format!("{ready} of {wanted} pods are ready"))
    } else {
        not(Reason::PodsNotReady, format!("{ready} of {wanted} pods are ready"))
    }
}

fn target_reachable(seen: Seen<'_>) -> Finding {
    match (&seen.facts.server, &seen.verdict.blocked) {
        (ServerFact::Seen(server), _) => {
            let address = seen.verdict.address.as_deref().unwrap_or_default();
            yes(Reason::Reachable, format!("PostgreSQL {} at {address}", server.version))
        }
        (ServerFact::Failed { reason, message }, _) => not(*reason, message.clone()),
        (ServerFact::NotAsked, Some(blocked)) => not(blocked.reason, blocked.message.clone()),
        (ServerFact::NotAsked, None) => {
            unknown(Reason::Unreachable, "the target was not asked yet".to_owned())
        }
    }
}

fn within_budget(seen: Seen<'_>) -> Finding {
    let Some(sum) = &seen.verdict.sum else {
        return unknown(
            Reason::BudgetUnknown,
            "nothing can be reckoned before the target answers".to_owned(),
        );
    };
    let pods = seen.facts.pods.len();
    let charged = seen.verdict.charged;
    let line =
        format!("{} pods x {} = {} <= {}", sum.max_pods, sum.share, sum.max_pods * sum.share, sum.budget);
    if let Some(blocked) = seen.verdict.blocked.as_ref().filter(|b| b.reason == Reason::BudgetTooSmall) {
        return not(blocked.reason, blocked.message.clone());
    }
    if charged > sum.budget && pods as u64 > u64::from(sum.max_pods) {
        let text = format!(
            "{pods} pods exist where {} were reckoned with, and could hold {charged} of {}; wait until the old ones \
             have drained before deleting more",
            sum.max_pods, sum.budget
        );
        return not(Reason::TooManyPods, text);
    }
    if charged > sum.budget {
        let text = format!(
            "pods that run could hold {charged}, the budget is {}; if it stays so, scale to 0 and back, or raise the \
             budget ({})",
            sum.budget,
            sum.explain()
        );
        return not(Reason::BudgetShrank, text);
    }
    if i64::from(sum.max_replicas) < i64::from(seen.object.spec.max_replicas) {
        let text = format!(
            "maxReplicas {} would need {} connections (2 x {} + 1 pods), the budget is {}: at most {} pods run; raise \
             the budget or lower maxReplicas ({}; {line})",
            seen.object.spec.max_replicas,
            2 * seen.object.spec.max_replicas + 1,
            seen.object.spec.max_replicas,
            sum.budget,
            sum.max_replicas,
            sum.explain()
        );
        return not(Reason::ScaleExceedsBudget, text);
    }
    yes(Reason::WithinBudget, format!("{}; {line}", sum.explain()))
}

fn config_applied(seen: Seen<'_>) -> Finding {
    let Verdict { config_hash: Some(hash), template_hash: Some(template), step: Some(step), .. } =
        seen.verdict
    else {
        return not(
            Reason::Held,
            "pods keep the configuration they have until the rest is in order".to_owned(),
        );
    };
    let is_current = |pod: &&PodFact| pod.template_hash == *template;
    let alive = seen.facts.pods.iter().filter(|pod| !pod.terminating);
    let (current, old): (Vec<_>, Vec<_>) = alive.partition(is_current);
    if step.waits {
        let text = format!(
            "older pods could still hold {} connections; more pods come when they have ended",
            seen.verdict.charged
        );
        return not(Reason::WaitingForBudget, text);
    }
    let (current, old) = (current.len(), old.len());
    if (current, old, step.replicas) == (0, 0, 0) {
        return unknown(Reason::NoPods, format!("no pod is there to run configuration {hash}"));
    }
    if old > 0 {
        return not(Reason::RollingOut, format!("{old} pods are of an older image or configuration"));
    }
    if (current as u64) < u64::from(step.replicas) {
        not(Reason::RollingOut, format!("{current} of {} pods exist", step.replicas))
    } else {
        yes(Reason::Applied, format!("all {current} pods run configuration {hash}"))
    }
}

fn available(seen: Seen<'_>) -> Finding {
    match (ready_pods(seen.facts), seen.object.spec.replicas) {
        (_, 0) => not(Reason::ScaledToZero, "spec.replicas is 0".to_owned()),
        (0, _) => not(Reason::NoPodReady, "no pod serves clients".to_owned()),
        (ready, _) => yes(Reason::PodsReady, format!("{ready} pods serve clients")),
    }
}

fn target(verdict: &Verdict, old: Option<TargetStatus>) -> Option<TargetStatus> {
    let Some(address) = verdict.address.clone() else { return old };
    let Some(server) = &verdict.server else {
        return Some(match old {
            Some(old) if old.address == address => old,
            _ => TargetStatus { address, ..TargetStatus::default() },
        });
    };
    Some(TargetStatus {
        address,
        server_version: Some(server.version.clone()),
        system_identifier: server.system_identifier.clone(),
        role: Some(if server.in_recovery { "Standby" } else { "Primary" }.to_owned()),
    })
}

fn budget(sum: &Sum, server: Option<&Server>, load: Load) -> BudgetStatus {
    let (of_role, of_others) = server.map_or((0, 0), |server| (server.of_role, server.of_others));
    // pods that do not answer may hold any of the role's sessions
    let used = load.held.unwrap_or(of_role);
    BudgetStatus {
        max_connections: number(sum.max_connections),
        reserved: number(sum.reserved),
        usable: number(sum.usable),
        keep_free: number(sum.keep_free),
        role_limit: sum.role_limit.map(number),
        database_limit: sum.database_limit.map(number),
        budget: number(sum.budget),
        max_replicas: number(sum.max_replicas),
        max_pods: number(sum.max_pods),
        share: number(sum.share),
        foreign: number((of_role + of_others).saturating_sub(used)),
        used: number(used),
    }
}

fn ready_pods(facts: &Facts) -> u32 {
    facts.pods.iter().filter(|pod| pod.ready && !pod.terminating).count() as u32
}

fn selector(name: &str) -> String {
    let pairs: Vec<_> = names::selector(name).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn yes(reason: Reason, message: String) -> Finding {
    Finding { status: "True", reason, message }
}

fn not(reason: Reason, message: String) -> Finding {
    Finding { status: "False", reason, message }
}

fn unknown(reason: Reason, message: String) -> Finding {
    Finding { status: "Unknown", reason, message }
}
