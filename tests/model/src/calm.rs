//! What becomes of a state when nothing more goes wrong: whoever has the Lease leads alone, every message arrives.

use pgpooler_core::budget::{Command, Effect, Ledger, PodId};

use crate::faults::Rule;
use crate::operator::{MAX_CONNECTIONS, Operator, Turn};
use crate::world::World;
use crate::{Begin, Scene};

/// By then all must be at rest.
const ROUNDS: usize = 16;

/// How a scene begins.
pub(crate) fn begin(scene: &Scene) -> World {
    let mut world = World::new(scene);
    if scene.begin == Begin::Nothing {
        return world;
    }
    let kind = Scene { broken: None, ..scene.clone() };
    let Some(mut operator) = world.operators.pop() else { return world };
    for _ in 0..ROUNDS {
        let Some((next, done)) = round(&kind, &mut world, operator) else { return world };
        operator = next;
        if let Some(ledger) = &mut operator.ledger {
            ledger.want(PodId(0), scene.budgets[0]);
        }
        if done {
            break;
        }
    }
    world.operators.push(operator);
    // most are idle and have been closed: what can happen from here on needs fewer steps
    world.pods.iter_mut().for_each(|pod| pod.held = pod.held.min(1));
    world
}

/// Whether all is given out in the end, to those who need it.
pub fn comes_to_rest(scene: &Scene, world: &World) -> bool {
    // with a broken rule it is the budget that must not hold
    if scene.broken.is_some_and(|rule| rule != Rule::AskTheServer) {
        return true;
    }
    let mut world = world.clone();
    let disk_lease = world.disk.lease;
    world.operators.retain(|operator| operator.epoch == disk_lease);
    world.messages.clear();
    let mut operator = world.operators.pop().unwrap_or_else(|| Operator::wins(&mut world.disk));
    for _ in 0..ROUNDS {
        match round(scene, &mut world, operator) {
            None => return false,
            Some((next, true)) => {
                return next.ledger.as_ref().is_some_and(is_well_shared) && all_can_be_opened(&world);
            }
            Some((next, false)) => operator = next,
        }
    }
    false
}

/// One round of everything; whether nothing was left to do.
fn round(scene: &Scene, world: &mut World, mut operator: Operator) -> Option<(Operator, bool)> {
    if operator.ledger.is_none() {
        let pods: Vec<_> =
            world.pods.iter().filter(|pod| pod.exists).map(|pod| (pod.id, pod.member)).collect();
        operator.looks(scene, &world.disk, world.server, &pods);
    }
    for turn in [Turn::Confirm, Turn::Confirm, Turn::Commit, Turn::Commit, Turn::Confirm, Turn::Confirm] {
        operator = operator.turns(turn, &mut world.disk)?;
    }
    let (epoch, server) = (operator.epoch, usize::from(world.server));
    let ledger = operator.ledger.as_mut()?;
    ledger.set_server(MAX_CONNECTIONS[server], scene.budgets[server]);
    hears(world, ledger);
    for pod in world.pods.iter_mut().filter(|pod| pod.exists) {
        let link = ledger.link(pod.id);
        operator.links.insert(pod.id, (link, pod.incarnation));
        let _ = pod.holder.obey(Command::Claim { epoch });
        pod.opens(MAX_CONNECTIONS[server]);
        pod.held = pod.held.min(pod.holder.allowed());
        pod.opens(MAX_CONNECTIONS[server]);
        let report = pod.report();
        ledger.reported(pod.id, link, &report);
    }
    let effects = ledger.decide();
    let done = effects.is_empty();
    for effect in effects {
        if let Some(Effect::Send(id, command)) = operator.takes_effect(scene, effect) {
            let pod = world.pods.iter_mut().find(|pod| pod.id == id)?;
            pod.holder.obey(command).ok()?;
        }
    }
    Some((operator, done))
}

fn hears(world: &mut World, ledger: &mut Ledger) {
    for pod in &mut world.pods {
        pod.left_behind.clear();
        if pod.exists {
            ledger.add_pod(pod.id, pod.member, 1);
        } else {
            ledger.remove_pod(pod.id);
        }
    }
    for departed in ledger.departed().to_vec() {
        ledger.backends(departed.pod, departed.incarnation, 0);
    }
}

/// What was given out can be had.
fn all_can_be_opened(world: &World) -> bool {
    world.pods.iter().filter(|pod| pod.exists).all(|pod| pod.holder.allowed() == pod.holder.limit())
}

/// Nothing is left over, and nobody has more than it needs while somebody lacks something.
fn is_well_shared(ledger: &Ledger) -> bool {
    let totals = ledger.totals();
    let all_out = totals.free() == 0 || ledger.pods().next().is_none();
    let limit = |charge: &pgpooler_core::budget::Charge| charge.said.map_or(0, |said| said.limit);
    let lacks = ledger.charges().any(|charge| charge.want > limit(&charge));
    let spares = ledger.charges().any(|charge| limit(&charge) > charge.want.max(charge.floor));
    all_out && !(lacks && spares)
}
