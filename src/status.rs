//! The only place that writes status: one patch where something differs, and an event for each condition that turned.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::{ConditionType, FenceStatus, PgPooler, PgPoolerStatus, Reason};
use crate::fence::Places;
use crate::names;
use crate::plan::fence::Place;
use crate::plan::figures::FIGURES;

/// Notes of events may have 1024 bytes.
const LONGEST_NOTE: usize = 1000;

/// The status could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the status")]
pub struct StatusError(#[source] pub kube::Error);

/// Whether a status says all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It does.
    All,
    /// Figures have moved, and it is too early to write them.
    Later,
}

/// Writes status and events.
pub struct StatusWriter {
    client: Client,
    recorder: Recorder,
    /// What was written last: the cache may not have seen it yet, and an event must not come twice.
    written: Mutex<HashMap<ObjectRef<PgPooler>, Written>>,
    places: std::sync::Mutex<Places>,
}

/// A status, and the object that it was written to: one of the same name may come after it.
struct Written {
    uid: Option<String>,
    status: PgPoolerStatus,
    at: Instant,
}

impl StatusWriter {
    /// `instance` is the name of the operator's pod.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: names::MANAGER.to_owned(), instance };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            written: Mutex::default(),
            places: std::sync::Mutex::default(),
        }
    }

    /// The object with its status as last written, if that is known better than the cache does.
    pub async fn latest(&self, object: &PgPooler) -> PgPooler {
        let written = self.written.lock().await;
        let written = written.get(&ObjectRef::from_obj(object));
        let mut object = object.clone();
        if let Some(written) = written.filter(|written| written.uid == object.metadata.uid) {
            object.status = Some(written.status.clone());
        }
        self.note(&object);
        object
    }

    /// Takes note of the fence that a status speaks of.
    pub fn note(&self, object: &PgPooler) {
        self.note_fence(object, object.status.as_ref().and_then(|status| status.fence.as_ref()));
    }

    fn note_fence(&self, object: &PgPooler, fence: Option<&FenceStatus>) {
        self.places().note(&(object.namespace().unwrap_or_default(), object.name_any()), fence);
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Namespaces and names of all whose fence may be about this role on this server.
    pub fn near(
        &self,
        place: &Place,
        system_identifier: Option<&str>,
    ) -> impl Iterator<Item = (String, String)> {
        self.places().near(place, system_identifier).into_iter()
    }

    /// The fence of its status as last written, without all the rest of it.
    pub async fn fence(&self, object: &PgPooler) -> Option<FenceStatus> {
        let written = self.written.lock().await;
        let written = written.get(&ObjectRef::from_obj(object));
        match written.filter(|written| written.uid == object.metadata.uid) {
            Some(written) => written.status.fence.clone(),
            None => object.status.as_ref()?.fence.clone(),
        }
    }

    /// Forgets an object that is no more.
    pub async fn forget(&self, object: &ObjectRef<PgPooler>) {
        self.written.lock().await.remove(object);
        self.places().forget(&(object.namespace.clone().unwrap_or_default(), object.name.clone()));
    }

    /// Writes `status` if it is not the one that `object` has, figures only now and then. The events come after it, so that a write that failed
    /// and is tried again tells of each transition once.
    pub async fn write(&self, object: &PgPooler, status: PgPoolerStatus) -> Result<Told, StatusError> {
        let key = ObjectRef::from_obj(object);
        let since = self.written.lock().await.get(&key).map(|written| written.at.elapsed());
        if !is_due(object.status.as_ref(), &status, since) {
            let is_same = object.status.as_ref() == Some(&status);
            return Ok(if is_same { Told::All } else { Told::Later });
        }
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<PgPooler> = Api::namespaced(self.client.clone(), &namespace);
        let patch = serde_json::json!({
            "apiVersion": PgPooler::api_version(&()),
            "kind": PgPooler::kind(&()),
            "metadata": { "name": object.name_any(), "namespace": namespace },
            "status": PgPoolerStatus { ledger: None, ..status.clone() },
        });
        let params = PatchParams::apply(names::MANAGER).force();
        match api.patch_status(&object.name_any(), &params, &Patch::Apply(patch)).await {
            Err(kube::Error::Api(answer)) if answer.is_not_found() => return Ok(Told::All),
            answer => answer.map_err(StatusError)?,
        };
        tracing::debug!(name = object.name_any(), namespace, "status written");
        let old = object.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice());
        let turned: Vec<_> = turned(old, &status.conditions).cloned().collect();
        self.note_fence(object, status.fence.as_ref());
        let written = Written { uid: object.uid(), status, at: Instant::now() };
        self.written.lock().await.insert(key, written);
        for condition in turned {
            self.tell(object, &condition).await;
        }
        Ok(Told::All)
    }

    /// Warns of something that is no condition.
    pub async fn warn(&self, object: &PgPooler, reason: Reason, note: &str) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.as_str().to_owned(),
            note: Some(shortened(note)),
            action: ConditionType::Fenced.as_str().to_owned(),
            secondary: None,
        };
        self.publish(object, &event).await;
    }

    /// An event that cannot be written is no reason to do anything again.
    async fn tell(&self, object: &PgPooler, condition: &Condition) {
        let event = Event {
            type_: severity(condition),
            reason: condition.reason.clone(),
            note: Some(shortened(&condition.message)),
            action: condition.type_.clone(),
            secondary: None,
        };
        self.publish(object, &event).await;
    }

    async fn publish(&self, object: &PgPooler, event: &Event) {
        if let Err(error) = self.recorder.publish(event, &object.object_ref(&())).await {
            tracing::warn!(%error, reason = event.reason, "cannot write an event");
        }
    }
}

/// Whether there is something to write. What people wait for is written at once, figures when the last were written long
/// enough ago.
fn is_due(old: Option<&PgPoolerStatus>, new: &PgPoolerStatus, since: Option<Duration>) -> bool {
    match old {
        None => true,
        Some(old) if old == new => false,
        Some(old) => {
            since.is_none_or(|since| since >= FIGURES) || old.without_figures() != new.without_figures()
        }
    }
}

/// The conditions whose status or reason is another than before; at the very first only what somebody must do
/// something about.
fn turned<'a>(old: &'a [Condition], new: &'a [Condition]) -> impl Iterator<Item = &'a Condition> {
    let before = |condition: &Condition| old.iter().find(|old| old.type_ == condition.type_);
    new.iter().filter(move |condition| match before(condition) {
        _ if repeats(condition, new) => false,
        Some(old) => old.status != condition.status || old.reason != condition.reason,
        None => condition.status == "False" && !waits(condition),
    })
}

/// The summary says what another condition says too.
fn repeats(condition: &Condition, all: &[Condition]) -> bool {
    let same = |other: &Condition| other.type_ != condition.type_ && other.reason == condition.reason;
    condition.type_ == ConditionType::Ready.as_str() && all.iter().any(same)
}

/// Nobody is warned of what is under way.
fn severity(condition: &Condition) -> EventType {
    if condition.status == "False" && !waits(condition) { EventType::Warning } else { EventType::Normal }
}

/// Time alone will mend it.
fn waits(condition: &Condition) -> bool {
    let waiting = [
        Reason::NoPodReady,
        Reason::PodsNotReady,
        Reason::RollingOut,
        Reason::Held,
        Reason::Pushing,
        Reason::Pausing,
        Reason::NotPaused,
        Reason::ScaledToZero,
        // as most roles are, and nothing that is needed
        Reason::FenceLoose,
    ];
    waiting.iter().any(|reason| reason.as_str() == condition.reason)
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(LONGEST_NOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BudgetStatus, PodStatus};

    fn status(used: i32, budget: i32) -> PgPoolerStatus {
        let pods = vec![PodStatus { held: used, ..PodStatus::default() }];
        let budget = Some(BudgetStatus { budget, used, ..BudgetStatus::default() });
        PgPoolerStatus { budget, pods, ..PgPoolerStatus::default() }
    }

    #[test]
    fn figures_are_written_now_and_then_and_all_else_at_once() {
        let due = |new, seconds| is_due(Some(&status(5, 77)), &new, Some(Duration::from_secs(seconds)));
        assert!(!due(status(9, 77), 28));
        assert!(due(status(9, 77), 29));
        assert!(due(status(5, 60), 0));
        assert!(!due(status(5, 77), 3600));
        assert!(is_due(None, &status(5, 77), None));
        assert!(is_due(Some(&status(5, 77)), &status(9, 77), None), "nobody knows when");
    }
}
