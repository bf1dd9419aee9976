//! What a change of the spec does: the operator's own plan, made for the spec as it is and as it would be, in one and the
//! same world. Pure; whatever the operator does with a field, this says what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use pgpooler_operator::api::{PgPooler, PgPoolerSpec};
use pgpooler_operator::names;
use pgpooler_operator::plan::budget::Sum;
use pgpooler_operator::plan::facts::{
    Children, Facts, Hidden, InternalTls, Kinds, SecretFact, Server, ServerFact, Sharing,
};
use pgpooler_operator::plan::materials;
use pgpooler_operator::plan::objects::{Fate, Objects, Rendered};
use pgpooler_operator::plan::{Plan, Settings, Upgrade, plan, sum};
use serde::Serialize;
use serde_json::{Value, json};

use super::fields::{Difference, differences};

/// Where both plans are made.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The server, as far as it is known.
    pub server: Option<Server>,
    /// Who shares it.
    pub sharing: Sharing,
    /// The Deployment as it stands: its pods have a floor already.
    pub deployment: Option<Arc<Deployment>>,
    /// Pods that are there and stay.
    pub pods: usize,
    /// Image of poolers whose spec names none.
    pub image: String,
    /// Which kinds of other operators are there.
    pub kinds: Kinds,
    /// Stands for every certificate and authority that a spec names.
    pub certificate: InternalTls,
}

/// What applying a manifest would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Namespace and name.
    pub name: String,
    /// There is none of that name yet.
    pub is_new: bool,
    /// What the API server says to it; it will not be applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The fields that change.
    pub fields: Vec<Field>,
    /// What becomes of the pods.
    pub pods: Pods,
    /// The sum now and then.
    pub budget: Vec<Figure>,
    /// Children that come, change or go.
    pub children: Vec<Child>,
    /// What to know before.
    pub warnings: Vec<String>,
    /// What could not be seen.
    pub unseen: Vec<String>,
}

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Below `spec`.
    pub field: String,
    /// What it is; unset: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
    /// What it would be; unset: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Value>,
    /// What this field alone does.
    pub effect: Effect,
}

/// What a change of one field does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The operator reads it; no child differs.
    Operator,
    /// Children differ, and no pod is replaced.
    Live,
    /// There are more or fewer pods.
    Scale,
    /// Pods are replaced.
    Rollout,
    /// Alone it would not be put in place.
    Together,
    /// It would not be put in place at all.
    Held,
}

/// What becomes of the pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Those that are replaced.
    pub replaced: usize,
    /// How many are wanted now; nothing if it is new.
    pub now: i32,
    /// How many would be.
    pub then: i32,
}

/// A line of the sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// What it is.
    pub what: &'static str,
    /// What it is now; unset: it is not known, or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<u32>,
    /// What it would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<u32>,
}

/// A child that comes, changes or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// What it is.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `comes`, `changes` or `goes`.
    pub becomes: &'static str,
}

/// Compares; `now`: `None` if there is none of that name.
pub fn compare(now: Option<&PgPooler>, then: &PgPooler, world: &World) -> Change {
    let before = now.map(|now| planned(now, world));
    let after = planned(then, world);
    let mut change = Change {
        name: name(then),
        is_new: now.is_none(),
        children: children(before.as_ref().map(|plan| &plan.objects), &after.objects),
        pods: Pods { replaced: 0, now: now.map_or(0, |now| now.spec.replicas), then: then.spec.replicas },
        budget: figures(now, then, world),
        ..Change::default()
    };
    if let (Some(now), Some(before)) = (now, &before) {
        change.fields = fields(now, then, before, world);
        if after.verdict.blocked.is_some() {
            for field in change.fields.iter_mut().filter(|field| field.effect == Effect::Together) {
                field.effect = Effect::Held;
            }
        } else if template(before) != template(&after) || floor_moves(&change.budget, world) {
            change.pods.replaced = world.pods.min(usize::try_from(then.spec.replicas).unwrap_or(0));
        }
    }
    warn(&mut change, &after, then, world);
    change
}

fn name(object: &PgPooler) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&object.metadata.namespace), part(&object.metadata.name))
}

/// The plan for an empty place, so that everything is rendered. Secrets are made up, and the same in both plans.
fn planned(object: &PgPooler, world: &World) -> Plan {
    let mut object = object.clone();
    // an object from a manifest has none yet
    object.metadata.uid.get_or_insert_with(|| "made-up".to_owned());
    object.status = None;
    plan(
        &object,
        &facts(&object, world),
        &Settings { pooler_image: world.image.clone(), namespace: None, upgrade: Upgrade::default() },
    )
}

fn facts(object: &PgPooler, world: &World) -> Facts {
    let data = made_up(object, world);
    let references = materials::references(object).into_iter();
    let references = references.map(|reference| (reference, SecretFact::Found(data.clone()))).collect();
    // any will do where the sum is not known: nothing that is rendered follows it
    let server = world.server.clone().unwrap_or(Server { max_connections: 1000, ..Server::default() });
    Facts {
        secret: SecretFact::Found(data),
        references,
        kinds: world.kinds,
        internal_tls: world.certificate.clone(),
        server: ServerFact::Seen(server),
        sharing: world.sharing.clone(),
        admin_password: Hidden("made-up".to_owned()),
        peer_secret: Hidden("made-up".to_owned()),
        ..Facts::default()
    }
}

/// What every Secret and `ConfigMap` is taken to hold.
fn made_up(object: &PgPooler, world: &World) -> BTreeMap<String, Vec<u8>> {
    let InternalTls { ca, certificate, key } = &world.certificate;
    let spec = &object.spec;
    let client_ca = spec.clients.tls.as_ref().and_then(|tls| tls.client_ca_ref.clone());
    let authorities =
        spec.target.ca().into_iter().chain(client_ca).map(|authority| (authority.key, ca.clone()));
    let fixed = [
        ("username", "app"),
        ("password", "made-up"),
        ("host", "made-up"),
        ("dbname", "app"),
        ("tls.crt", certificate),
        ("tls.key", &key.0),
    ];
    let fixed = fixed.map(|(key, value)| (key.to_owned(), value.to_owned()));
    authorities.chain(fixed).map(|(key, value)| (key, value.into_bytes())).collect()
}

fn template(plan: &Plan) -> Option<&String> {
    plan.verdict.template_hash.as_ref()
}

fn fields(now: &PgPooler, then: &PgPooler, before: &Plan, world: &World) -> Vec<Field> {
    let spec = |object: &PgPooler| serde_json::to_value(&object.spec).unwrap_or_default();
    let old = spec(now);
    let effect = |difference: &Difference| {
        let Ok(alone) = serde_json::from_value::<PgPoolerSpec>(difference.apply(&old)) else {
            return Effect::Together;
        };
        let alone = planned(&PgPooler { spec: alone, ..now.clone() }, world);
        effect(before, &alone)
    };
    let field = |difference: Difference| Field {
        field: difference.name(),
        effect: effect(&difference),
        now: difference.now,
        then: difference.then,
    };
    differences(&old, &spec(then)).into_iter().map(field).collect()
}

fn effect(before: &Plan, after: &Plan) -> Effect {
    if after.verdict.blocked.is_some() && before.verdict.blocked.is_none() {
        return Effect::Together;
    }
    if template(before) != template(after) {
        return Effect::Rollout;
    }
    let differing: BTreeSet<_> =
        children(Some(&before.objects), &after.objects).into_iter().map(|child| child.kind).collect();
    if differing.contains("Deployment") {
        Effect::Scale
    } else if !differing.is_empty() || before.verdict.sum != after.verdict.sum {
        Effect::Live
    } else {
        Effect::Operator
    }
}

fn children(before: Option<&Objects<Rendered>>, after: &Objects<Rendered>) -> Vec<Child> {
    let before: Vec<_> = before.map(Objects::fates).unwrap_or_default();
    let mut found = Vec::new();
    for (kind, then) in after.fates() {
        let now = before.iter().find(|(other, _)| *other == kind).map(|(_, fate)| fate);
        let (becomes, object) = match (now, &then) {
            (Some(now), then) if now == then => continue,
            (Some(Fate::Apply(_)), Fate::Apply(object)) => ("changes", object),
            (_, Fate::Apply(object)) => ("comes", object),
            (Some(Fate::Apply(object)), Fate::Remove) => ("goes", object),
            _ => continue,
        };
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        found.push(Child { kind, name: name.to_owned(), becomes });
    }
    found
}

/// Of the real Deployment: pods keep the floor that they have for as long as it fits.
fn reckoned(object: &PgPooler, world: &World) -> Option<Sum> {
    world.server.as_ref()?;
    let children = Children { deployment: world.deployment.clone(), ..Children::default() };
    let mut object = object.clone();
    object.metadata.uid.get_or_insert_with(|| "made-up".to_owned());
    object.status = None;
    sum(
        &object,
        &Facts { children, ..facts(&object, world) },
        &Settings { pooler_image: world.image.clone(), namespace: None, upgrade: Upgrade::default() },
    )
}

fn figures(now: Option<&PgPooler>, then: &PgPooler, world: &World) -> Vec<Figure> {
    let then = reckoned(then, world);
    let now = now.and_then(|now| reckoned(now, world));
    if now.is_none() && then.is_none() {
        return Vec::new();
    }
    let figure =
        |what, of: fn(&Sum) -> u32| Figure { what, now: now.as_ref().map(of), then: then.as_ref().map(of) };
    vec![
        figure("usable", |sum| sum.places.usable),
        figure("kept free", |sum| sum.places.keep_free),
        figure("server budget", |sum| sum.places.budget),
        figure("budget", |sum| sum.cap),
        figure("part", |sum| sum.part),
        figure("maxReplicas", |sum| sum.max_replicas),
        figure("most pods", |sum| sum.max_pods),
        figure("floor", |sum| sum.floor),
        figure("floors in all", Sum::reserve),
    ]
}

/// A floor that does not fit any more is in the template.
fn floor_moves(figures: &[Figure], world: &World) -> bool {
    let annotations = world
        .deployment
        .as_ref()
        .and_then(|live| live.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref());
    let standing =
        annotations.and_then(|all| all.get(names::FLOOR)).and_then(|floor| floor.parse::<u32>().ok());
    let then = figures.iter().find(|figure| figure.what == "floor").and_then(|figure| figure.then);
    standing.zip(then).is_some_and(|(standing, then)| standing > 0 && then > 0 && standing != then)
}

fn warn(change: &mut Change, after: &Plan, then: &PgPooler, world: &World) {
    if let Some(blocked) = &after.verdict.blocked {
        change.warnings.push(format!(
            "nothing new would be put in place ({}): {}",
            blocked.reason.as_str(),
            blocked.message
        ));
    }
    let moved = |field: &Field| field.field.starts_with("target.");
    if change.fields.iter().any(moved) {
        change.warnings.push(
            "the target changes: the sum then is that of the server that was seen last, unless the new one is described with \
             --max-connections and the like"
                .to_owned(),
        );
    }
    let most =
        change.budget.iter().find(|figure| figure.what == "maxReplicas").and_then(|figure| figure.then);
    if let Some(most) = most.filter(|most| i64::from(*most) < i64::from(then.spec.max_replicas)) {
        let text = format!("the budget bears {most} pods, fewer than maxReplicas {}", then.spec.max_replicas);
        change.warnings.push(text);
    }
    if change.pods.replaced > 0 && world.pods == 1 {
        change.warnings.push(
            "there is one pod: while it is replaced both are there, and clients of the old one connect again"
                .to_owned(),
        );
    }
}

/// For those who want it whole.
pub fn as_json(changes: &[Change]) -> Value {
    json!({ "changes": changes })
}
