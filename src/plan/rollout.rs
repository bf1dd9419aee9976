//! When pods may come: so that the floors of all pods that exist, those that still drain included, never add up to more
//! than what is set aside for them.
//!
//! A Deployment with one surge pod and `maxUnavailable: 0` replaces pods at its own pace and does not wait for those
//! that drain. So the operator looks ahead: before it replaces the template or raises the replicas, every pod that
//! exists is counted with its floor, and every pod that the change could bring too. What does not fit waits. It also
//! waits while the ledger has not set aside enough for what could come.
//!
//! Not in the operator's hand are pods that others delete: each is replaced at once while it still drains. Floors are
//! set aside for `2 x maxReplicas + 1` pods, which leaves room for that outside a rollout.

use super::facts::{Coverage, PodFact};

/// The Deployment as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Its replicas.
    pub replicas: u32,
    /// Hash of its pod template.
    pub template_hash: String,
    /// Which operator has made it.
    pub made_by: Option<String>,
    /// Floor that its pod template gives each pod; 0: nobody limits them.
    pub floor: u32,
}

/// The Deployment as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its replicas.
    pub replicas: u32,
    /// Hash of its pod template.
    pub template_hash: &'a str,
    /// Floor that its pod template gives each pod; 0: nobody limits them.
    pub floor: u32,
}

/// What there is for pods to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All floors may add up to so much.
    pub reserve: u32,
    /// More than the reserve only while floors shrink: then so much.
    pub part: u32,
    /// Most pods that can exist at once.
    pub max_pods: u32,
    /// By the ledger; `None`: there is none to ask.
    pub coverage: Option<Coverage>,
}

impl Room {
    /// For pods that nobody limits.
    pub const BOUNDLESS: Self =
        Self { reserve: u32::MAX, part: u32::MAX, max_pods: u32::MAX, coverage: None };

    fn covers(&self, floor: u32) -> bool {
        match self.coverage {
            None => true,
            Some(Coverage::Short) => false,
            Some(Coverage::Covered { pods, floor: covered }) => pods >= self.max_pods && covered >= floor,
        }
    }
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

/// The next step.
pub fn next_step(pods: &[PodFact], deployed: Option<&Deployed>, wanted: Wanted<'_>, room: Room) -> Step {
    match deployed {
        None => create(pods, wanted, room),
        Some(deployed) if deployed.template_hash == wanted.template_hash => {
            scale(pods, deployed, wanted.replicas, room)
        }
        Some(deployed) => replace(pods, deployed, wanted, room),
    }
}

/// The next step while nothing new may be put in place: fewer pods at once, more where they fit.
pub fn scale(pods: &[PodFact], deployed: &Deployed, replicas: u32, room: Room) -> Step {
    let current = alive(pods).filter(|pod| pod.template_hash == deployed.template_hash).count() as u32;
    let more = fitting(pods, deployed.floor, room.reserve);
    // pods that run are never taken away for the budget's sake, only pods to come
    let running = deployed.replicas.min(alive(pods).count() as u32);
    let mut fits = current.saturating_add(more).max(running);
    if !room.covers(deployed.floor) {
        // what the Deployment replaces by itself is set aside already
        fits = fits.min(deployed.replicas);
    }
    Step { replicas: replicas.min(fits), template: Template::Keep, waits: fits < replicas }
}

/// Pods of an earlier `PgPooler` of the same name may still drain.
fn create(pods: &[PodFact], wanted: Wanted<'_>, room: Room) -> Step {
    let more = if room.covers(wanted.floor) { fitting(pods, wanted.floor, room.reserve) } else { 0 };
    let replicas = wanted.replicas.min(more);
    Step { replicas, template: Template::Replace, waits: replicas < wanted.replicas }
}

/// In the worst case every old pod still drains when every new one serves.
fn replace(pods: &[PodFact], deployed: &Deployed, wanted: Wanted<'_>, room: Room) -> Step {
    let keep = wanted.replicas.min(deployed.replicas);
    let covered = room.covers(wanted.floor);
    // smaller floors are what makes it fit
    if !covered && wanted.floor >= deployed.floor {
        return Step { replicas: keep, template: Template::Keep, waits: true };
    }
    let most = room.while_replacing(deployed.floor, wanted.floor);
    let replicas = if covered { wanted.replicas } else { keep };
    let replicas = replicas.min(fitting(pods, wanted.floor, most));
    let all_fit = replicas == wanted.replicas && floors(pods) <= most;
    let none_left = alive(pods).next().is_none();
    let draining = pods.iter().any(PodFact::is_terminating);
    if all_fit || none_left || (replicas > 0 && !draining) {
        return Step { replicas, template: Template::Replace, waits: !all_fit };
    }
    let replicas = if draining { keep } else { keep.min(thin_out(pods, wanted.floor, most)) };
    Step { replicas, template: Template::Keep, waits: true }
}

impl Room {
    /// Larger floors of old pods would leave no room for new ones with smaller floors.
    fn while_replacing(&self, old: u32, new: u32) -> u32 {
        if new < old {
            old.saturating_mul(self.max_pods).min(self.part).max(self.reserve)
        } else {
            self.reserve
        }
    }
}

/// The old floors are too large to let even one new pod in: how many of the old pods may stay so that it fits, one at
/// least.
fn thin_out(pods: &[PodFact], floor: u32, reserve: u32) -> u32 {
    let largest = pods.iter().map(|pod| pod.floor).max().unwrap_or(0);
    let stay = reserve.saturating_sub(floor).checked_div(largest).unwrap_or(u32::MAX);
    // with one pod left and no room beside it nothing can be done without an interruption; that is for people
    if stay == 0 { u32::MAX } else { stay }
}

/// How many pods of this floor fit beside those that exist.
fn fitting(pods: &[PodFact], floor: u32, reserve: u32) -> u32 {
    reserve.saturating_sub(floors(pods)).checked_div(floor).unwrap_or(u32::MAX)
}

/// The floors of all pods that exist.
pub fn floors(pods: &[PodFact]) -> u32 {
    pods.iter().map(|pod| pod.floor).fold(0, u32::saturating_add)
}

fn alive(pods: &[PodFact]) -> impl Iterator<Item = &PodFact> {
    pods.iter().filter(|pod| !pod.is_terminating())
}
