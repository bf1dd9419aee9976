//! What must hold before anything is rendered: an ordered chain of pure checks. The first that fails says why, and
//! the pods that run stay as they are.

use crate::api::{Budget, BudgetMode, PgPooler, Reason};

use super::Settings;
use super::budget::{self, Sum, Terms};
use super::facts::{Facts, Kinds, SecretFact, Served, Server, ServerFact};
use super::fence::{self, Place};
use super::materials::{self, Materials, References};
use super::pooler::Pooler;
use super::render;
use super::target::{self, Target};

/// Why nothing new is put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// In the closed vocabulary.
    pub reason: Reason,
    /// For people: what is wrong, and what to do.
    pub message: String,
}

/// How far the checks came; what comes later needs what came before.
#[derive(Debug, Default)]
pub struct Checked<'a> {
    /// The spec, parsed.
    pub pooler: Option<Pooler>,
    /// The target, known.
    pub target: Option<Target>,
    /// What else the spec names, read.
    pub materials: Option<Materials>,
    /// The server, seen.
    pub server: Option<&'a Server>,
    /// The sum, reckoned.
    pub sum: Option<Sum>,
    /// What stopped the chain.
    pub blocked: Option<Blocked>,
}

/// Runs the chain. `standing_floor` is that of the pods which the Deployment makes now.
pub fn check<'a>(
    object: &PgPooler,
    facts: &'a Facts,
    settings: &Settings,
    standing_floor: Option<u32>,
) -> Checked<'a> {
    let mut checked = Checked::default();
    checked.blocked = chain(object, facts, settings, standing_floor, &mut checked).err();
    checked
}

fn chain<'a>(
    object: &PgPooler,
    facts: &'a Facts,
    settings: &Settings,
    standing_floor: Option<u32>,
    checked: &mut Checked<'a>,
) -> Result<(), Blocked> {
    let pooler = Pooler::parse(object, settings).map_err(|e| blocked(Reason::SpecInvalid, e.to_string()))?;
    let pooler = checked.pooler.insert(pooler);
    let target = checked.target.insert(target(object, &facts.secret, &facts.references)?);
    kinds(object, facts.kinds)?;
    let materials = checked.materials.insert(materials::materials(object, &facts.references)?);
    let server = *checked.server.insert(server(facts)?);
    conflicts(&facts.conflicts)?;
    let terms = Terms {
        spec: &object.spec.budget,
        max_replicas: pooler.max_replicas,
        role: &target.user,
        database: &target.database,
        standing_floor,
    };
    let own = fence::own(object, &Place::of(object, target), server);
    let role_limit = fence::bound(server.role_limit, own, &facts.fence);
    let unfenced = Server { role_limit, ..server.clone() };
    let sum = budget::reckon(terms, &unfenced, &facts.sharing);
    let sum = checked.sum.insert(sum.ok_or_else(|| no_number(&object.spec.budget))?);
    if pooler.mode == BudgetMode::Enforce {
        enough(sum)?;
    }
    let document = pooler.document(target, sum, materials);
    document.map_err(|error| blocked(Reason::SpecInvalid, error.to_string()))?;
    let template = render::deployment::template(pooler, sum.floor, "");
    template.map_err(|error| blocked(Reason::SpecInvalid, error.to_string()))?;
    Ok(())
}

fn no_number(spec: &Budget) -> Blocked {
    let text = format!(
        "spec.budget: `{}`, keepFree {} or weight {} is no number of connections",
        spec.server_connections, spec.keep_free, spec.weight
    );
    blocked(Reason::SpecInvalid, text)
}

/// The target as far as spec and Secrets tell; also what observing starts with.
pub fn target(object: &PgPooler, secret: &SecretFact, references: &References) -> Result<Target, Blocked> {
    let name = object.spec.target.secret_name();
    let SecretFact::Found(data) = secret else {
        let text = format!(
            "Secret `{name}` does not exist in this namespace; create it or change spec.target.secretRef"
        );
        return Err(blocked(Reason::SecretMissing, text));
    };
    let target = target::resolve(&object.spec.target, data)
        .map_err(|error| blocked(Reason::SecretInvalid, format!("Secret `{name}` {error}")))?;
    let tls = materials::server_tls(object, references)?;
    Ok(Target { tls, monitor: materials::monitor(object, references)?, ..target })
}

/// Without cert-manager nobody would ever deliver the certificate.
fn kinds(object: &PgPooler, kinds: Kinds) -> Result<(), Blocked> {
    let tls = object.spec.clients.tls.as_ref();
    let orders = tls.is_some_and(|tls| tls.issuer_ref.is_some());
    if !orders || kinds.certificate == Served::Present {
        return Ok(());
    }
    let text = "spec.clients.tls.issuerRef needs cert-manager, whose kind Certificate the API server does not have; \
                install it, or bring a certificate by spec.clients.tls.secretRef";
    Err(blocked(Reason::KindMissing, text.to_owned()))
}

fn conflicts(names: &[String]) -> Result<(), Blocked> {
    if names.is_empty() { Ok(()) } else { Err(conflict(&names.join(", "))) }
}

/// An object of the same name belongs to somebody else.
pub fn conflict(names: &str) -> Blocked {
    let text = format!(
        "{names} already exists and is not this PgPooler's; nothing was changed: delete or rename one of them"
    );
    blocked(Reason::NameConflict, text)
}

fn server(facts: &Facts) -> Result<&Server, Blocked> {
    match &facts.server {
        ServerFact::Seen(server) => Ok(server),
        ServerFact::Failed { reason, message } => Err(blocked(*reason, message.clone())),
        ServerFact::NotAsked => Err(blocked(Reason::Unreachable, "the target was not asked yet".to_owned())),
    }
}

fn enough(sum: &Sum) -> Result<(), Blocked> {
    if sum.floor > 0 {
        return Ok(());
    }
    let text = format!(
        "{}; one pod needs 3 (itself, its successor and one that drains): raise max_connections or \
         spec.budget.serverConnections, or lower spec.budget.keepFree",
        sum.explain()
    );
    Err(blocked(Reason::BudgetTooSmall, text))
}

fn blocked(reason: Reason, message: String) -> Blocked {
    Blocked { reason, message }
}
