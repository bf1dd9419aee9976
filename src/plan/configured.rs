//! The conditions `ConfigApplied` and `Paused`: what pods say that they run, against what they should.

use crate::api::{ConditionType, Reason};

use super::Verdict;
use super::conditions::{Finding, Seen};
use super::facts::{Life, PodAccount, PodFact};
use super::push::Configuration;

/// Every pod runs the configuration that the spec asks for.
pub fn config_applied(seen: Seen<'_>) -> Finding {
    let Verdict { configuration: Some(wanted), template_hash: Some(template), step: Some(step), .. } =
        seen.verdict
    else {
        return Finding::not(
            Reason::Held,
            "pods keep the configuration they have until the rest is in order".to_owned(),
        );
    };
    if step.waits {
        return Finding::not(Reason::WaitingForBudget, waiting_for(seen));
    }
    let (current, old): (Vec<_>, Vec<_>) = alive(seen).partition(|pod| pod.template_hash == *template);
    if (current.len(), old.len(), step.replicas) == (0, 0, 0) {
        return Finding::unknown(
            Reason::NoPods,
            format!("no pod is there to run configuration {}", wanted.hash),
        );
    }
    if !old.is_empty() {
        return Finding::not(
            Reason::RollingOut,
            format!(
                "{} pods are to be replaced: image, pod template or a setting that needs a restart",
                old.len()
            ),
        );
    }
    if (current.len() as u64) < u64::from(step.replicas) {
        return Finding::not(
            Reason::RollingOut,
            format!("{} of {} pods exist", current.len(), step.replicas),
        );
    }
    told(seen, wanted, &current)
}

/// All pods that are there are made from the template that is wanted.
fn told(seen: Seen<'_>, wanted: &Configuration, pods: &[&PodFact]) -> Finding {
    let says = |pick: fn(&PodAccount) -> Option<String>| {
        pods.iter().find_map(|pod| Some((&pod.name, pick(account(seen, pod)?)?)))
    };
    if let Some((pod, message)) = says(|pod| pod.configured.rejected.clone()) {
        return Finding::not(
            Reason::Rejected,
            format!("pod {pod} refuses configuration {}: {message}", wanted.hash),
        );
    }
    let behind = behind(seen, wanted);
    if let Some(first) = behind.first() {
        let why = account(seen, first).and_then(|pod| pod.configured.fault.clone());
        let why = why.map(|why| format!("; {}: {why}", first.name)).unwrap_or_default();
        let message = format!(
            "{} of {} pods are still to be told configuration {}{why}",
            behind.len(),
            pods.len(),
            wanted.hash
        );
        return Finding::not(Reason::Pushing, message);
    }
    let restart = |pod: &PodAccount| {
        (!pod.configured.needs_restart.is_empty()).then(|| pod.configured.needs_restart.join(", "))
    };
    match says(restart) {
        Some((pod, settings)) => Finding::not(
            Reason::NeedsRestart,
            format!("pod {pod} started with older settings and must be deleted to have: {settings}"),
        ),
        None => Finding::yes(
            Reason::Applied,
            format!("all {} pods run configuration {}", pods.len(), wanted.hash),
        ),
    }
}

/// Pods that do not run it.
///
/// A pod that this operator has not heard yet counts as one that does where the last status says that all did and the
/// configuration is still the same: it has started with it, or was told by the operator before.
fn behind<'a>(seen: Seen<'a>, wanted: &Configuration) -> Vec<&'a PodFact> {
    let status = seen.object.status.as_ref();
    let holds = |type_: ConditionType| {
        let conditions = status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|one| one.type_ == type_.as_str() && one.status == "True")
    };
    let told_before = status.is_some_and(|status| status.config_hash.as_ref() == Some(&wanted.hash))
        && holds(ConditionType::ConfigApplied);
    let is_behind = |pod: &&PodFact| match account(seen, pod).map(|account| &account.configured) {
        Some(configured) if configured.hash.is_some() => configured.hash.as_ref() != Some(&wanted.hash),
        Some(configured) if configured.fault.is_some() && pod.life == Life::Ready => true,
        _ => !told_before,
    };
    alive(seen).filter(is_behind).collect()
}

/// No client is served, since the spec says so.
pub fn paused(seen: Seen<'_>) -> Finding {
    if !seen.object.spec.paused {
        return Finding::not(Reason::NotPaused, "spec.paused is false".to_owned());
    }
    let wanted = seen.verdict.configuration.as_ref();
    let behind = wanted.map_or_else(|| alive(seen).collect(), |wanted| behind(seen, wanted)).len();
    if behind > 0 || !wanted.is_some_and(|wanted| wanted.paused) {
        return Finding::not(Reason::Pausing, format!("{behind} pods are still to be told"));
    }
    let active = seen.facts.account.as_ref().map_or(0, |account| account.total(|pod| pod.active));
    match active {
        0 => Finding::yes(Reason::Paused, "clients wait: spec.paused is true".to_owned()),
        some => Finding::not(Reason::Pausing, format!("{some} server connections are still in use")),
    }
}

fn waiting_for(seen: Seen<'_>) -> String {
    let draining = seen.facts.pods.iter().filter(|pod| pod.is_terminating()).count();
    match &seen.facts.account {
        Some(account) => format!(
            "{} connections are given out ({draining} pods drain); more pods come when enough is given back",
            account.charged()
        ),
        None => format!("{draining} pods still drain; more pods come when they have ended"),
    }
}

fn alive(seen: Seen<'_>) -> impl Iterator<Item = &PodFact> {
    seen.facts.pods.iter().filter(|pod| !pod.is_terminating())
}

fn account<'a>(seen: Seen<'a>, pod: &PodFact) -> Option<&'a PodAccount> {
    let account = seen.facts.account.as_ref()?;
    account.pods.iter().find(|one| one.name == pod.name)
}
