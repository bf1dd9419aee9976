//! The fence, carried out: SQL over the monitor session, and the finalizer. What is done is decided in
//! [`plan::fence`].

mod places;
mod sql;

pub(crate) use places::Places;

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::{FenceStatus, PgPooler, Reason};
use crate::names;
use crate::observe::postgres::Sessions;
use crate::observe::target_from_here;
use crate::plan::budget::Sum;
use crate::plan::facts::{Facts, Fencing, Guard, Server, ServerFact};
use crate::plan::fence::{self, Limit, Needs, Outcome, Place, Sight, Step};
use crate::plan::target::Target;
use crate::plan::{self, Settings};
use crate::status::{StatusError, StatusWriter};

/// What was refused is tried again so often: somebody may have granted it.
const RETRY: Duration = Duration::from_mins(1);
/// A deleted `PgPooler` is kept so long for a server that does not answer.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// Claim, set, done.
const MOST_STEPS: usize = 3;

/// The fence could not be seen to.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The finalizer.
    #[error("cannot change the finalizers")]
    Finalizer(#[source] kube::Error),
    /// What was there before could not be written down.
    #[error("cannot write the fence into the status")]
    Status(#[from] StatusError),
}

/// What is remembered, and the turn: one fence is seen to at a time, since several `PgPoolers` may have one role.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<String, Known>>);

/// By uid of the `PgPooler`.
#[derive(Default)]
struct Known {
    /// The Secret may go before the `PgPooler`.
    target: Option<Target>,
    failed: Option<(Step, Outcome, Instant)>,
}

/// All that is needed to see to the fences of one scope.
#[derive(Clone, Copy)]
pub struct Fences<'a> {
    /// The API server.
    pub client: &'a Client,
    /// All `PgPoolers` of the scope.
    pub poolers: &'a Store<PgPooler>,
    /// To the targets.
    pub sessions: &'a Sessions,
    /// Tells.
    pub status: &'a StatusWriter,
    /// Remembers.
    pub memory: &'a Memory,
}

impl Fences<'_> {
    /// The sum, with the limit as it should be for it. Where it cannot be so, the limit as it is bounds the budget.
    pub async fn sum(
        &self,
        object: PgPooler,
        facts: &mut Facts,
        settings: &Settings,
    ) -> Result<(PgPooler, Option<Sum>), FenceError> {
        facts.fence.others = self.others(&object, facts).await;
        let sum = plan::sum(&object, facts, settings);
        // large, and seldom needed
        let object = Box::pin(self.keep(object, facts, sum.as_ref())).await?;
        let sum = if facts.fence.is_stuck() { plan::sum(&object, facts, settings) } else { sum };
        Ok((object, sum))
    }

    /// Others that log in as the same role on the same server, by what their status says.
    async fn others(&self, object: &PgPooler, facts: &Facts) -> Vec<Guard> {
        let (Some(target), ServerFact::Seen(server)) =
            (target_from_here(object, &facts.secret, &facts.references), &facts.server)
        else {
            return Vec::new();
        };
        let place = Place::of(object, &target);
        self.guards(object, &place, server.system_identifier.as_deref()).await
    }

    async fn guards(&self, object: &PgPooler, place: &Place, id: Option<&str>) -> Vec<Guard> {
        let mut guards = Vec::new();
        for (namespace, name) in self.status.near(place, id) {
            let Some(other) = self.poolers.get(&ObjectRef::new(&name).within(&namespace)) else { continue };
            if other.metadata.uid == object.metadata.uid {
                continue;
            }
            let leaving = other.metadata.deletion_timestamp.is_some();
            let Some(status) = self.status.fence(&other).await else { continue };
            if place.is_meant(&status, id) {
                let needs = u32::try_from(status.needs).unwrap_or(0);
                guards.push(Guard { needs, original: fence::claim(Some(&status)), leaving });
            }
        }
        guards
    }

    /// Brings the limit to what it should be, as far as it may; what became of it is in `facts`. Every step can be
    /// repeated: what was there before is in the status, and the finalizer set, before anything is changed.
    async fn keep(
        &self,
        mut object: PgPooler,
        facts: &mut Facts,
        sum: Option<&Sum>,
    ) -> Result<PgPooler, FenceError> {
        let (Some(target), ServerFact::Seen(server)) =
            (target_from_here(&object, &facts.secret, &facts.references), facts.server.clone())
        else {
            return Ok(object);
        };
        let place = Place::of(&object, &target);
        let strange =
            |object: &PgPooler| claimed(object).is_some() && fence::own(object, &place, &server).is_none();
        if !strange(&object) && fence::next(sight(&object, facts, sum, server.role_limit)) == Step::Keep {
            return Ok(object);
        }
        let mut memory = self.memory.0.lock().await;
        facts.fence.others = self.others(&object, facts).await;
        if strange(&object) {
            self.leave_behind(&mut object, &mut memory).await?;
        }
        let known = memory.entry(object.uid().unwrap_or_default()).or_default();
        known.target = Some(target.clone());
        for _ in 0..MOST_STEPS {
            let limit = match sql::limit(self.sessions, &target).await {
                Ok(limit) => limit,
                Err(outcome) => {
                    // nothing is known of it, or it binds nobody
                    facts.fence.outcome =
                        (fence::asked(&object) == crate::api::Fence::Manage).then_some(outcome);
                    break;
                }
            };
            match fence::next(sight(&object, facts, sum, limit)) {
                Step::Keep => {
                    facts.fence.outcome.get_or_insert(Outcome::Set(limit));
                    break;
                }
                Step::Claim(original) => {
                    self.claim(&mut object, &place, &server, original).await?;
                }
                step => {
                    self.write_ahead(step, &mut object, facts, sum).await?;
                    if !self.carry_out(step, &mut object, &target, known, &mut facts.fence).await? {
                        break;
                    }
                }
            }
        }
        Ok(object)
    }

    /// Others must know what is needed here before the limit is set, or they would set it back.
    async fn write_ahead(
        &self,
        step: Step,
        object: &mut PgPooler,
        facts: &Facts,
        sum: Option<&Sum>,
    ) -> Result<(), FenceError> {
        let known = object.status.as_ref().and_then(|status| status.fence.clone());
        let (Step::Set(_), Some(known), Some(sum)) = (step, known, sum) else { return Ok(()) };
        let needs = Needs::of(object, sum);
        let wanted = needs.wanted(&facts.fence.others, fence::claim(Some(&known)));
        let [needs, wanted] = [needs.own, wanted].map(|count| fence::number_of(Some(count)));
        self.write(object, Some(FenceStatus { needs, wanted, ..known })).await
    }

    /// Whether there may be more to do.
    async fn carry_out(
        &self,
        step: Step,
        object: &mut PgPooler,
        target: &Target,
        known: &mut Known,
        fencing: &mut Fencing,
    ) -> Result<bool, FenceError> {
        if let Some((failed, outcome, at)) = &known.failed
            && *failed == step
            && at.elapsed() < RETRY
        {
            fencing.outcome = Some(outcome.clone());
            return Ok(false);
        }
        let limit = match step {
            Step::Set(limit) => Some(Some(limit)),
            Step::Restore(limit) => Some(limit),
            Step::Keep | Step::Claim(_) | Step::Forget => None,
        };
        if let Some(limit) = limit {
            let outcome = sql::set(self.sessions, target, &target.user, limit).await;
            let failed = matches!(outcome, Outcome::Failed { .. });
            known.failed = failed.then(|| (step, outcome.clone(), Instant::now()));
            fencing.outcome = Some(outcome);
            if failed {
                return Ok(false);
            }
        }
        if matches!(step, Step::Restore(_) | Step::Forget) {
            self.forget_claim(object).await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn claim(
        &self,
        object: &mut PgPooler,
        place: &Place,
        server: &Server,
        original: Limit,
    ) -> Result<(), FenceError> {
        self.finalizers(object, &[names::FENCE]).await?;
        let old = object.status.as_ref().and_then(|status| status.fence.clone()).unwrap_or_default();
        let claim = FenceStatus {
            role: place.role.clone(),
            address: place.address.clone(),
            system_identifier: server.system_identifier.clone(),
            original: Some(fence::number_of(original)),
            ..old
        };
        self.write(object, Some(claim)).await
    }

    async fn forget_claim(&self, object: &mut PgPooler) -> Result<(), FenceError> {
        self.write(object, None).await?;
        self.finalizers(object, &[]).await
    }

    async fn write(&self, object: &mut PgPooler, fence: Option<FenceStatus>) -> Result<(), FenceError> {
        let mut status = object.status.clone().unwrap_or_default();
        status.fence = fence;
        self.status.write(object, status.clone()).await?;
        object.status = Some(status);
        Ok(())
    }

    /// The target is another one now: what was set on the old one is put back there if the way is still known.
    async fn leave_behind(
        &self,
        object: &mut PgPooler,
        memory: &mut HashMap<String, Known>,
    ) -> Result<(), FenceError> {
        let target = memory.remove(&object.uid().unwrap_or_default()).and_then(|known| known.target);
        if !self.put_back(object, target.as_ref()).await {
            self.warn_of_abandoned(object).await;
        }
        self.forget_claim(object).await
    }

    /// The end of a `PgPooler`; false: not yet. A server that cannot be reached does not keep it for longer than
    /// two minutes: an Event says what stays as it is.
    pub async fn end(
        &self,
        object: &PgPooler,
        target: Option<Target>,
        now: Timestamp,
    ) -> Result<bool, FenceError> {
        if !object.finalizers().iter().any(|name| name == names::FENCE) {
            return Ok(true);
        }
        let mut memory = self.memory.0.lock().await;
        let uid = object.uid().unwrap_or_default();
        let known = memory.get(&uid).and_then(|known| known.target.clone());
        let done =
            self.put_back(object, target.as_ref()).await || self.put_back(object, known.as_ref()).await;
        if !done {
            let deleted = object.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
            if now.duration_since(deleted) < PATIENCE {
                return Ok(false);
            }
            self.warn_of_abandoned(object).await;
        }
        memory.remove(&uid);
        self.finalizers(object, &[]).await.map(|()| true)
    }

    /// Puts back what was there; true also if there is nothing to put back.
    async fn put_back(&self, object: &PgPooler, target: Option<&Target>) -> bool {
        let Some((status, original)) = claimed(object) else { return true };
        let id = status.system_identifier.as_deref();
        let place = Place { role: status.role.clone(), address: status.address.clone() };
        let others = self.guards(object, &place, id).await;
        let Step::Restore(limit) = fence::release(original, &others) else { return true };
        let Some(target) = target else { return false };
        let ServerFact::Seen(server) = self.sessions.observe(target, &ObjectRef::from_obj(object)).await
        else {
            return false;
        };
        let there = Place { address: target.address(), ..place };
        if !there.is_meant(status, server.system_identifier.as_deref()) {
            return false;
        }
        // it was never changed
        let unchanged = status.role == target.user && server.role_limit == limit;
        unchanged || matches!(sql::set(self.sessions, target, &status.role, limit).await, Outcome::Set(_))
    }

    async fn warn_of_abandoned(&self, object: &PgPooler) {
        let Some((FenceStatus { role, address, wanted, .. }, original)) = claimed(object) else { return };
        let put_back = fence::number_of(original);
        let note = format!(
            "the CONNECTION LIMIT of role `{role}` at {address} could not be put back: it stays {wanted}, before it was \
             {put_back}; run: ALTER ROLE {} CONNECTION LIMIT {put_back}",
            fence::identifier(role)
        );
        self.status.warn(object, Reason::FenceAbandoned, &note).await;
    }

    /// A field manager of its own: others keep their finalizers.
    async fn finalizers(&self, object: &PgPooler, finalizers: &[&str]) -> Result<(), FenceError> {
        let api: Api<PgPooler> =
            Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let patch = serde_json::json!({
            "apiVersion": PgPooler::api_version(&()),
            "kind": PgPooler::kind(&()),
            // the uid, so that none is made anew
            "metadata": { "name": object.name_any(), "uid": object.uid(), "finalizers": finalizers },
        });
        let params = PatchParams::apply(names::FENCE).force();
        match api.patch_metadata(&object.name_any(), &params, &Patch::Apply(patch)).await {
            Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(()),
            answer => answer.map(|_| ()).map_err(FenceError::Finalizer),
        }
    }
}

fn sight<'a>(object: &PgPooler, facts: &'a Facts, sum: Option<&Sum>, limit: Limit) -> Sight<'a> {
    Sight {
        fence: fence::asked(object),
        claim: claimed(object).map(|(_, original)| original),
        others: &facts.fence.others,
        limit,
        needs: sum.map(|sum| Needs::of(object, sum)),
    }
}

fn claimed(object: &PgPooler) -> Option<(&FenceStatus, Limit)> {
    let status = object.status.as_ref()?.fence.as_ref()?;
    Some((status, fence::claim(Some(status))?))
}
