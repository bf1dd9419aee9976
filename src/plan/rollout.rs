//! When pods may come: so that the shares of all pods that exist, those that still drain included, never add up to
//! more than the budget.
//!
//! A Deployment with one surge pod and `maxUnavailable: 0` replaces pods at its own pace and does not wait for those
//! that drain. So the operator looks ahead: before it replaces the template or raises the replicas, every pod that
//! exists is counted with its share, and every pod that the change could bring too. What does not fit waits.
//!
//! Not in the operator's hand are pods that others delete: each is replaced at once while it still drains. The budget
//! is shared out for `2 x maxReplicas + 1` pods, which leaves room for that outside a rollout.

use super::facts::PodFact;

/// The Deployment as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Its replicas.
    pub replicas: u32,
    /// Hash of its pod template.
    pub template_hash: String,
    /// Share that its pod template gives each pod.
    pub share: u32,
}

/// The Deployment as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its replicas.
    pub replicas: u32,
    /// Hash of its pod template.
    pub template_hash: &'a str,
    /// Share that its pod template gives each pod.
    pub share: u32,
}

/// What to do with the Deployment's pod template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Leave it as it stands.
    Keep,
    /// Put the wanted one in its place.
    Replace,
}

/// The next step towards what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Replicas for now.
    pub replicas: u32,
    /// The template for now.
    pub template: Template,
    /// More is wanted than fits for now.
    pub waits: bool,
}

/// The next step. `mounted` is the share in the `ConfigMap` that the pods mount: a container that starts again reads it.
pub fn next_step(
    pods: &[PodFact],
    mounted: u32,
    deployed: Option<&Deployed>,
    wanted: Wanted<'_>,
    budget: u32,
) -> Step {
    match deployed {
        None => create(pods, mounted, wanted, budget),
        Some(deployed) if deployed.template_hash == wanted.template_hash => {
            scale(pods, mounted, deployed, wanted.replicas, budget)
        }
        Some(deployed) => replace(pods, mounted, deployed, wanted, budget),
    }
}

/// The next step while nothing new may be put in place: fewer pods at once, more where they fit.
pub fn scale(pods: &[PodFact], mounted: u32, deployed: &Deployed, replicas: u32, budget: u32) -> Step {
    let current = alive(pods).filter(|pod| pod.template_hash == deployed.template_hash).count() as u32;
    let more = room(pods, mounted, deployed.share, budget);
    // pods that run are never taken away for the budget's sake, only pods to come
    let running = deployed.replicas.min(alive(pods).count() as u32);
    let fits = current.saturating_add(more).max(running);
    Step { replicas: replicas.min(fits), template: Template::Keep, waits: fits < replicas }
}

/// Pods of an earlier `PgPooler` of the same name may still drain.
fn create(pods: &[PodFact], mounted: u32, wanted: Wanted<'_>, budget: u32) -> Step {
    let replicas = wanted.replicas.min(room(pods, mounted.max(wanted.share), wanted.share, budget));
    Step { replicas, template: Template::Replace, waits: replicas < wanted.replicas }
}

/// In the worst case every old pod still drains when every new one serves.
fn replace(pods: &[PodFact], mounted: u32, deployed: &Deployed, wanted: Wanted<'_>, budget: u32) -> Step {
    let mounted = mounted.max(wanted.share);
    let replicas = wanted.replicas.min(room(pods, mounted, wanted.share, budget));
    // with the new template old pods read the new share when their containers start again
    let all_fit = replicas == wanted.replicas && charged(pods, mounted) <= budget;
    let none_left = alive(pods).next().is_none();
    let draining = pods.iter().any(|pod| pod.terminating);
    if all_fit || none_left || (replicas > 0 && !draining) {
        return Step { replicas, template: Template::Replace, waits: !all_fit };
    }
    let keep = wanted.replicas.min(deployed.replicas);
    let replicas = if draining { keep } else { keep.min(thin_out(pods, wanted.share, mounted, budget)) };
    Step { replicas, template: Template::Keep, waits: true }
}

/// The old pods are too large to let even one new pod in: how many of them may stay so that it fits, one at least.
fn thin_out(pods: &[PodFact], share: u32, mounted: u32, budget: u32) -> u32 {
    let largest = pods.iter().map(|pod| charge(pod, mounted)).max().unwrap_or(0);
    let stay = budget.saturating_sub(share).checked_div(largest).unwrap_or(u32::MAX);
    // with one pod left and no room beside it nothing can be done without an interruption; that is for people
    if stay == 0 { u32::MAX } else { stay }
}

/// How many pods of `share` fit beside those that exist.
fn room(pods: &[PodFact], mounted: u32, share: u32, budget: u32) -> u32 {
    budget.saturating_sub(charged(pods, mounted)).checked_div(share).unwrap_or(0)
}

/// What all pods that exist could hold together.
pub fn charged(pods: &[PodFact], mounted: u32) -> u32 {
    pods.iter().map(|pod| charge(pod, mounted)).fold(0, u32::saturating_add)
}

/// What a pod could hold. One that drains does not start its container again, so it never reads another share.
fn charge(pod: &PodFact, mounted: u32) -> u32 {
    if pod.terminating { pod.share } else { pod.share.max(mounted) }
}

fn alive(pods: &[PodFact]) -> impl Iterator<Item = &PodFact> {
    pods.iter().filter(|pod| !pod.terminating)
}
