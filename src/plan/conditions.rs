//! The status: from the plan's reasons and the objects that were applied. Pure; what did not change keeps its time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::{
    BudgetStatus, ConditionType, EndpointStatus, PgPooler, PgPoolerStatus, Reason, TargetStatus,
};
use crate::names;

use super::checks::Blocked;
use super::facts::{Facts, Life, LookupFact, ServerFact};
use super::objects::{Applied, Objects};
use super::{Verdict, configured, fence, figures, within};

/// Messages of conditions may have 32768 characters; nobody reads so many.
const LONGEST_MESSAGE: usize = 1000;

/// A certificate is renewed before it has so many seconds left.
const EXPIRING: i64 = 14 * 24 * 3600;

/// What is found about one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// In the closed vocabulary.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Finding {
    /// It holds.
    pub fn yes(reason: Reason, message: String) -> Self {
        Self { status: "True", reason, message }
    }

    /// It does not hold.
    pub fn not(reason: Reason, message: String) -> Self {
        Self { status: "False", reason, message }
    }

    /// Nobody knows.
    pub fn unknown(reason: Reason, message: String) -> Self {
        Self { status: "Unknown", reason, message }
    }
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
        replicas: facts.pods.iter().filter(|pod| !pod.is_terminating()).count() as i32,
        ready_replicas: ready as i32,
        ready: Some(format!("{ready}/{}", object.spec.replicas)),
        selector: object.metadata.name.as_deref().map(selector),
        target: target(verdict, old.target),
        endpoint: endpoint(seen, old.endpoint),
        budget: figures::budget(seen).or(last),
        // carried along: others write it
        ledger: old.ledger,
        clients: figures::clients(facts).or(old.clients),
        pods: figures::pods(facts),
        fence: fence::status(seen),
        recommendation: figures::recommendation(seen),
        config_hash: verdict.configuration.as_ref().map(|wanted| wanted.hash.clone()).or(old.config_hash),
        conditions: conditions(seen, &old.conditions, now),
    }
}

/// The Service, as soon as there is one.
fn endpoint(seen: Seen<'_>, old: Option<EndpointStatus>) -> Option<EndpointStatus> {
    let Ok(applied) = seen.applied else { return old };
    let service = applied.service.as_deref()?;
    let (name, namespace) = (service.metadata.name.as_deref()?, service.metadata.namespace.as_deref()?);
    let secret_name = applied.connection.as_deref().and_then(|secret| secret.metadata.name.clone());
    let port = seen.object.spec.service.port;
    Some(EndpointStatus { host: format!("{name}.{namespace}.svc"), port, secret_name })
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
        (ConditionType::WithinBudget, within::within_budget(seen)),
        (ConditionType::ConfigApplied, configured::config_applied(seen)),
        (ConditionType::Available, available(seen)),
        (ConditionType::LookupReady, lookup_ready(seen)),
    ];
    let ready = ready(seen, findings.iter().map(|(_, finding)| finding));
    // not among those that `Ready` sums up
    let others = [
        (ConditionType::Fenced, fence::fenced(seen)),
        (ConditionType::CertificatesValid, certificates_valid(seen, now.0.as_second())),
        (ConditionType::Paused, configured::paused(seen)),
        (ConditionType::Ready, ready),
    ];
    let mut all: Vec<_> = findings.iter().chain(&others).collect();
    all.sort_by_key(|(type_, _)| *type_);
    all.into_iter().map(|(type_, finding)| condition(seen.object, *type_, finding, old, now)).collect()
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
        return Finding::not(blocked.reason, blocked.message.clone());
    }
    if let Some(blocked) = &seen.verdict.blocked {
        return Finding::not(blocked.reason, blocked.message.clone());
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
        // as was asked for
        Reason::Observing => false,
        _ => finding.status != "True",
    };
    if let Some(first) = findings.find(counts) {
        return Finding::not(first.reason, first.message.clone());
    }
    let (ready, wanted) = (ready_pods(seen.facts), seen.object.spec.replicas);
    if i64::from(ready) >= i64::from(wanted) {
        Finding::yes(Reason::Ready, format!("{ready} of {wanted} pods are ready"))
    } else {
        Finding::not(Reason::PodsNotReady, format!("{ready} of {wanted} pods are ready"))
    }
}

fn target_reachable(seen: Seen<'_>) -> Finding {
    match (&seen.facts.server, &seen.verdict.blocked) {
        (ServerFact::Seen(server), _) => {
            let address = seen.verdict.address.as_deref().unwrap_or_default();
            Finding::yes(Reason::Reachable, format!("PostgreSQL {} at {address}", server.version))
        }
        (ServerFact::Failed { reason, message }, _) => Finding::not(*reason, message.clone()),
        (ServerFact::NotAsked, Some(blocked)) => Finding::not(blocked.reason, blocked.message.clone()),
        (ServerFact::NotAsked, None) => {
            Finding::unknown(Reason::Unreachable, "the target was not asked yet".to_owned())
        }
    }
}

fn available(seen: Seen<'_>) -> Finding {
    match (ready_pods(seen.facts), seen.object.spec.replicas) {
        (_, 0) => Finding::not(Reason::ScaledToZero, "spec.replicas is 0".to_owned()),
        (0, _) => Finding::not(Reason::NoPodReady, "no pod serves clients".to_owned()),
        (ready, _) => Finding::yes(Reason::PodsReady, format!("{ready} pods serve clients")),
    }
}

/// The certificate that ends first says it for all.
fn certificates_valid(seen: Seen<'_>, now: i64) -> Finding {
    if let Some(blocked) = &seen.verdict.blocked
        && blocked.reason == Reason::CertificateInvalid
    {
        return Finding::not(Reason::CertificateInvalid, blocked.message.clone());
    }
    let first = seen.verdict.expiries.iter().min_by_key(|expiry| expiry.not_after);
    let Some(first) = first else {
        return Finding::yes(Reason::NoCertificates, "no certificate of somebody else is in use".to_owned());
    };
    let days = (first.not_after - now).div_euclid(24 * 3600);
    if first.not_after < now {
        let text = format!("the certificate of {} has ended; renew it", first.whose);
        return Finding::not(Reason::CertificateExpired, text);
    }
    if first.not_after - now < EXPIRING {
        let text = format!("the certificate of {} ends in {days} days; renew it", first.whose);
        return Finding::not(Reason::CertificateExpiring, text);
    }
    // no number of days, so that it does not change every day
    let text = format!("the first to end is that of {}, at {}", first.whose, date(first.not_after));
    Finding::yes(Reason::CertificatesValid, text)
}

fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "a time far off".to_owned(), |time| time.to_string())
}

fn lookup_ready(seen: Seen<'_>) -> Finding {
    match (&seen.facts.lookup, &seen.object.spec.auth.query) {
        (_, None) => Finding::yes(Reason::NoLookup, "spec.auth.query is not set".to_owned()),
        (LookupFact::Works, Some(_)) => {
            Finding::yes(Reason::LookupWorks, "roles can be looked up".to_owned())
        }
        (LookupFact::Failed { reason, message }, _) => Finding::not(*reason, message.clone()),
        // the other conditions say why
        (LookupFact::NotAsked, Some(_)) => {
            Finding::unknown(Reason::LookupFailed, "nobody could be asked yet".to_owned())
        }
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

fn ready_pods(facts: &Facts) -> u32 {
    facts.pods.iter().filter(|pod| pod.life == Life::Ready).count() as u32
}

fn selector(name: &str) -> String {
    let pairs: Vec<_> = names::selector(name).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}
