//! What to do, as a pure function of what was seen: no client, no clock, no random source below this line.

pub mod backends;
pub mod budget;
pub mod checks;
pub mod conditions;
pub mod configured;
pub mod explain;
pub mod facts;
pub mod fence;
pub mod figures;
pub mod materials;
pub mod objects;
pub mod pooler;
pub mod push;
pub mod render;
pub mod rest;
pub mod rollout;
pub mod target;
pub mod within;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{self, PgPooler};
use crate::names;

use budget::Sum;
use checks::{Blocked, Checked};
use facts::{Facts, Served, Server};
use materials::{Expiry, Materials};
use objects::{Child, Objects, Rendered};
use pooler::Pooler;
use push::Configuration;
use rollout::{Deployed, Room, Step, Template, Wanted};

/// What the operator was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of poolers whose spec names none.
    pub pooler_image: String,
    /// The operator's own namespace, where it is known.
    pub namespace: Option<String>,
    /// When pods of a former operator are replaced.
    pub upgrade: Upgrade,
}

/// When pods that a former operator has made are replaced by such as this one makes: another image, another template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Upgrade {
    /// When they are replaced for another reason: the spec was changed.
    #[default]
    OnSpecChange,
    /// At once, one after the other.
    Always,
}

/// What to do.
#[derive(Debug)]
pub struct Plan {
    /// The children.
    pub objects: Objects<Rendered>,
    /// Why, for the conditions.
    pub verdict: Verdict,
}

/// Why a plan is as it is.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Nothing new is put in place.
    pub blocked: Option<Blocked>,
    /// Host and port of the target.
    pub address: Option<String>,
    /// The server.
    pub server: Option<Server>,
    /// The sum.
    pub sum: Option<Sum>,
    /// The step.
    pub step: Option<Step>,
    /// What pods should run.
    pub configuration: Option<Configuration>,
    /// Hash of the pod template that pods should be made from.
    pub template_hash: Option<String>,
    /// Largest floor of pods that could come: of those that the Deployment makes now, and of those wanted.
    pub largest_floor: u32,
    /// Certificates of others that are in use.
    pub expiries: Vec<Expiry>,
    /// What the fence is about.
    pub place: Option<fence::Place>,
}

/// The sum alone: what the ledger has to know before the rest is planned.
pub fn sum(object: &PgPooler, facts: &Facts, settings: &Settings) -> Option<Sum> {
    let deployed = facts.children.deployment.as_deref().and_then(deployed);
    checks::check(object, facts, settings, deployed.map(|deployed| deployed.floor)).sum
}

/// Decides.
///
/// Flow: parse the spec, resolve the target, reckon the budget, look how far the rollout may go, render. Guarantees:
/// equal arguments give an equal plan; a plan applied and observed again gives the same plan; where a check fails,
/// pods that run are neither replaced nor given another configuration, but for a pause and its end. So a password that is
/// wrong never reaches them: the operator has logged in with it first.
pub fn plan(object: &PgPooler, facts: &Facts, settings: &Settings) -> Plan {
    let live = facts.children.deployment.as_deref();
    let deployed = live.and_then(deployed);
    let checked = checks::check(object, facts, settings, deployed.as_ref().map(|deployed| deployed.floor));
    let verdict = Verdict {
        blocked: checked.blocked.clone(),
        address: checked.target.as_ref().map(target::Target::address),
        place: checked.target.as_ref().map(|target| fence::Place::of(object, target)),
        server: checked.server.cloned(),
        expiries: checked.materials.as_ref().map_or_else(Vec::new, |found| found.expiries.clone()),
        sum: checked.sum.clone(),
        largest_floor: deployed.as_ref().map_or(0, |deployed| deployed.floor),
        ..Verdict::default()
    };
    match checked {
        Checked {
            pooler: Some(pooler),
            target: Some(target),
            materials: Some(materials),
            sum: Some(sum),
            blocked: None,
            ..
        } => {
            let seen = Seen { target: &target, materials: &materials, facts };
            go_on(&pooler, seen, sum, deployed.as_ref(), verdict)
        }
        Checked { pooler: Some(pooler), .. } if facts.conflicts.is_empty() => {
            hold(object, &pooler, facts, deployed.as_ref(), verdict)
        }
        _ => Plan { objects: leave(), verdict },
    }
}

/// What everything is rendered from, besides the spec.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The target, known.
    pub target: &'a target::Target,
    /// What else the spec names, read.
    pub materials: &'a Materials,
    /// All that was seen.
    pub facts: &'a Facts,
}

fn go_on(
    pooler: &Pooler,
    seen: Seen<'_>,
    mut sum: Sum,
    deployed: Option<&Deployed>,
    mut verdict: Verdict,
) -> Plan {
    let facts = seen.facts;
    // the chain of checks has rendered it once without fault
    let Ok(mut draft) = Draft::new(pooler, seen, &sum) else {
        return Plan { objects: leave(), verdict };
    };
    if deployed.is_none_or(|deployed| deployed.template_hash != draft.hash()) && sum.floor != sum.fresh_floor
    {
        // pods are replaced for another reason: they can as well have the floor that fits best
        sum.floor = sum.fresh_floor;
        if let Ok(fresh) = Draft::new(pooler, seen, &sum) {
            draft = fresh;
        }
    }
    let step = draft.step(pooler, &sum, facts, deployed);
    let is_current = deployed.is_some_and(|deployed| deployed.template_hash == draft.hash());
    let is_of_another = deployed.is_some_and(|deployed| deployed.made_by.as_ref() != Some(&pooler.maker));
    verdict.step = Some(step);
    verdict.template_hash = Some(draft.hash().to_owned());
    verdict.largest_floor = verdict.largest_floor.max(draft.floor);
    verdict.sum = Some(sum);
    let auth = render::auth::render(pooler, seen);
    let config = render::config_map::render(pooler, &draft.document);
    verdict.configuration = Configuration::of(&config, &auth);
    let deployment = match step.template {
        Template::Keep if !is_current || is_of_another => {
            rescaled(pooler, facts.children.deployment.as_deref(), step.replicas)
        }
        // the same template, with nothing waiting: rendered anew, so that what others changed is put right
        Template::Keep | Template::Replace => {
            let maker = Some(pooler.maker.clone());
            Child::Apply(Box::new(render::deployment::render(pooler, step.replicas, draft.template, maker)))
        }
    };
    let objects = Objects {
        // what pods are told is no part of the budget, and waits for no rollout
        auth: Child::Apply(Box::new(auth)),
        config: Child::Apply(Box::new(config)),
        connection: connection(pooler, seen),
        deployment,
        ..surroundings(pooler, facts)
    };
    Plan { objects, verdict }
}

/// What pods are made from.
struct Draft {
    document: pgpooler_config::Document,
    template: PodTemplateSpec,
    floor: u32,
}

impl Draft {
    fn new(pooler: &Pooler, seen: Seen<'_>, sum: &Sum) -> Result<Self, pooler::SpecError> {
        let mut document = pooler.document(seen.target, sum, seen.materials)?;
        let floor = pooler.floor(sum);
        if seen.facts.pods.iter().any(|pod| pod.floor == 0) {
            // nobody tells them what they may hold but their document, until others have come for them
            document.max_server_connections = sum.places.usable.max(1);
        }
        let restart_hash = push::restart_hash(&document, seen.facts);
        let template = render::deployment::template(pooler, floor, &restart_hash)?;
        Ok(Self { document, template, floor })
    }

    fn hash(&self) -> &str {
        annotation(self.template.metadata.as_ref(), names::TEMPLATE_HASH).unwrap_or_default()
    }

    fn step(&self, pooler: &Pooler, sum: &Sum, facts: &Facts, deployed: Option<&Deployed>) -> Step {
        let (replicas, room) = match pooler.mode {
            api::BudgetMode::Observe => (pooler.replicas, Room::BOUNDLESS),
            api::BudgetMode::Enforce => (
                pooler.replicas.min(sum.max_replicas),
                Room {
                    reserve: sum.reserve(),
                    part: sum.part,
                    max_pods: sum.max_pods,
                    coverage: facts.account.as_ref().map(|account| account.coverage),
                },
            ),
        };
        let wanted = Wanted { replicas, template_hash: self.hash(), floor: self.floor };
        rollout::next_step(&facts.pods, deployed, wanted, room)
    }
}

/// Everything around the pods is put right; the pods and what they read stay, but for their number.
fn hold(
    object: &PgPooler,
    pooler: &Pooler,
    facts: &Facts,
    deployed: Option<&Deployed>,
    mut verdict: Verdict,
) -> Plan {
    let live = facts.children.deployment.as_deref();
    let mut deployment = Child::Leave;
    if let Some(deployed) = deployed {
        let (wanted, room) = match pooler.mode {
            api::BudgetMode::Observe => (pooler.replicas, Room::BOUNDLESS),
            api::BudgetMode::Enforce => last_room(object, facts, &verdict, pooler.replicas, deployed),
        };
        let mut step = rollout::scale(&facts.pods, deployed, wanted, room);
        // what was granted stays: pods that are just being moved must not be lost for want of a Secret
        step.replicas = step.replicas.max(wanted.min(deployed.replicas));
        deployment = rescaled(pooler, live, step.replicas);
        verdict.step = Some(step);
    }
    let config = pause(object, pooler, facts);
    verdict.configuration = stored(&config, facts);
    Plan { objects: Objects { config, deployment, ..surroundings(pooler, facts) }, verdict }
}

/// A pause, or its end, is what people want while the target is away: of the document nothing else changes.
fn pause(object: &PgPooler, pooler: &Pooler, facts: &Facts) -> Child<ConfigMap> {
    let live = facts.children.config.as_deref();
    let document = live.and_then(|live| push::with_pause(live, object.spec.paused));
    document.map_or(Child::Leave, |document| {
        Child::Apply(Box::new(render::config_map::render(pooler, &document)))
    })
}

/// What pods have run all the while.
fn stored(config: &Child<ConfigMap>, facts: &Facts) -> Option<Configuration> {
    let config = match config {
        Child::Apply(config) => config,
        Child::Leave | Child::Remove => facts.children.config.as_deref()?,
    };
    Configuration::of(config, facts.children.auth.as_deref()?)
}

/// With the target out of sight what was last set aside still holds; without one nothing is added.
fn last_room(
    object: &PgPooler,
    facts: &Facts,
    verdict: &Verdict,
    replicas: u32,
    deployed: &Deployed,
) -> (u32, Room) {
    let last = conditions::last_budget(object, verdict.address.as_deref());
    let known = |pick: fn(&api::BudgetStatus) -> i32| last.map_or(0, |sum| pick(sum).max(0) as u32);
    let max_pods = known(|sum| sum.max_pods);
    let most = known(|sum| sum.max_replicas).max(deployed.replicas);
    let room = Room {
        reserve: known(|sum| sum.floor).saturating_mul(max_pods),
        part: 0,
        max_pods,
        coverage: facts.account.as_ref().map(|account| account.coverage),
    };
    (replicas.min(most), room)
}

/// What does not touch the pods.
fn surroundings(pooler: &Pooler, facts: &Facts) -> Objects<Rendered> {
    Objects {
        service_account: Child::Apply(Box::new(render::service_account::render(pooler))),
        auth: Child::Leave,
        config: Child::Leave,
        peers: Child::Apply(Box::new(render::service::peers(pooler))),
        service: Child::Apply(Box::new(render::service::render(pooler))),
        disruption_budget: wanted(render::disruption_budget::render(pooler)),
        network_policy: wanted(render::network_policy::render(pooler)),
        connection: Child::Leave,
        certificate: served(facts.kinds.certificate, wanted(render::certificate::render(pooler))),
        pod_monitor: served(facts.kinds.pod_monitor, wanted(render::pod_monitor::render(pooler))),
        deployment: Child::Leave,
    }
}

fn leave() -> Objects<Rendered> {
    Objects {
        service_account: Child::Leave,
        auth: Child::Leave,
        config: Child::Leave,
        peers: Child::Leave,
        service: Child::Leave,
        disruption_budget: Child::Leave,
        network_policy: Child::Leave,
        connection: Child::Leave,
        certificate: Child::Leave,
        pod_monitor: Child::Leave,
        deployment: Child::Leave,
    }
}

fn wanted<K>(child: Option<K>) -> Child<K> {
    child.map_or(Child::Remove, |child| Child::Apply(Box::new(child)))
}

/// Of a kind that may not be there.
fn served<K>(kind: Served, child: Child<K>) -> Child<K> {
    match kind {
        Served::Present => child,
        Served::Absent => Child::Leave,
    }
}

/// The Secret for applications. One of another name goes first.
fn connection(pooler: &Pooler, seen: Seen<'_>) -> Child<Secret> {
    let name = |secret: &Secret| secret.metadata.name.clone();
    let live = seen.facts.children.connection.as_deref().and_then(name);
    if live.is_some() && live != pooler.connection_secret {
        return Child::Remove;
    }
    wanted(render::connection::render(pooler, seen))
}

/// The Deployment with the pod template as it stands and another number of pods.
fn rescaled(pooler: &Pooler, live: Option<&Deployment>, replicas: u32) -> Child<Deployment> {
    let Some(spec) = live.and_then(|live| live.spec.as_ref()) else { return Child::Leave };
    if spec.replicas == Some(replicas as i32) {
        Child::Leave
    } else {
        let maker = live.and_then(|live| annotation(Some(&live.metadata), names::MADE_BY)).map(str::to_owned);
        Child::Apply(Box::new(render::deployment::render(pooler, replicas, spec.template.clone(), maker)))
    }
}

/// The Deployment as it stands; `None` if it has lost our annotations, so that it is rendered anew.
fn deployed(deployment: &Deployment) -> Option<Deployed> {
    let spec = deployment.spec.as_ref()?;
    let metadata = spec.template.metadata.as_ref();
    Some(Deployed {
        replicas: u32::try_from(spec.replicas.unwrap_or(1)).ok()?,
        template_hash: annotation(metadata, names::TEMPLATE_HASH)?.to_owned(),
        made_by: annotation(Some(&deployment.metadata), names::MADE_BY).map(str::to_owned),
        floor: annotation(metadata, names::FLOOR).and_then(|floor| floor.parse().ok()).unwrap_or(0),
    })
}

fn annotation<'a>(metadata: Option<&'a ObjectMeta>, key: &str) -> Option<&'a str> {
    metadata?.annotations.as_ref()?.get(key).map(String::as_str)
}
