//! The configuration of pods: pushed to whoever runs another one, on the connection on which budgets are told.
//!
//! A pod says what it runs when it is met and whenever that changes (`LISTEN configuration`), so it does not matter who
//! changed it, or whether its process started anew. What is pushed is always the newest; what came between is skipped.

use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use zeroize::Zeroizing;

use super::Budgets;
use super::state::State;
use crate::api::PgPooler;
use crate::plan::facts::Configured;
use crate::plan::push::Configuration;

/// A pod that has refused a configuration is asked again.
const AGAIN: Duration = Duration::from_mins(1);

/// A configuration, as it is pushed.
pub(super) struct Push {
    pub(super) hash: String,
    /// `CONFIGURE`, with all secrets in it.
    pub(super) command: Zeroizing<String>,
}

/// The newest; `None`: not known yet.
pub(super) type Newest = watch::Sender<Option<Arc<Push>>>;

/// What one conversation knows of its pod.
pub(super) struct Mind {
    newest: watch::Receiver<Option<Arc<Push>>>,
    /// What the pod runs; `None`: it has not said.
    running: Option<String>,
    refused: Option<(String, Instant)>,
}

impl Mind {
    pub(super) fn new(newest: watch::Receiver<Option<Arc<Push>>>) -> Self {
        Self { newest, running: None, refused: None }
    }

    /// Another process may be behind the next connection.
    pub(super) fn forget(&mut self) {
        (self.running, self.refused) = (None, None);
    }

    pub(super) fn runs(&mut self, hash: &str) {
        self.running = Some(hash.to_owned());
    }

    pub(super) fn refused(&mut self, hash: &str, now: Instant) {
        self.refused = Some((hash.to_owned(), now));
    }

    /// What the pod should run and does not, unless it has just refused it.
    pub(super) fn lacks(&mut self, now: Instant) -> Option<Arc<Push>> {
        let newest = self.newest.borrow_and_update().clone()?;
        let running = self.running.as_ref()?;
        let in_vain = self
            .refused
            .as_ref()
            .is_some_and(|(hash, at)| *hash == newest.hash && now.saturating_duration_since(*at) < AGAIN);
        (*running != newest.hash && !in_vain).then_some(newest)
    }

    /// Ready when there is something newer. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.newest.changed().await.is_err() {
            // its `PgPooler` is no more, and the commands end with it
            std::future::pending::<()>().await;
        }
    }
}

impl Budgets {
    /// What the pods of a `PgPooler` should run from now on: every pod that does not is told.
    pub fn configure(&self, object: &PgPooler, wanted: &Configuration) {
        if self.state().is_newest(object, &wanted.hash) {
            return;
        }
        let literal = wanted.bundle.to_text().replace('\'', "''");
        let literal = Zeroizing::new(literal);
        let command = Zeroizing::new(format!("CONFIGURE '{}' EPOCH {}", *literal, self.epoch));
        self.state().configure(object, Push { hash: wanted.hash.clone(), command });
    }

    /// A pod has said what it runs.
    pub(super) fn configured(&self, uid: &str, configured: Configured) {
        self.note(uid, |known| *known = configured);
    }

    /// A pod refuses what it should run.
    pub(super) fn rejected(&self, uid: &str, message: String) {
        tracing::warn!(uid, message, "a pod refuses its configuration");
        self.note(uid, |known| (known.rejected, known.fault) = (Some(message), None));
    }

    /// A pod cannot be reached, or not any more. What it has said last still holds.
    pub(super) fn lost(&self, uid: &str, why: String) {
        self.state().lost(uid);
        self.note(uid, |known| known.fault = Some(why));
    }

    /// Whoever has to know is told when it is news for them.
    fn note(&self, uid: &str, change: impl FnOnce(&mut Configured)) {
        if self.state().note_configured(uid, change) {
            self.wake.notify_one();
        }
    }
}

impl State {
    fn is_newest(&self, object: &PgPooler, hash: &str) -> bool {
        let pooler = self.poolers.get(&object.uid().unwrap_or_default());
        pooler.is_some_and(|pooler| pooler.newest.borrow().as_ref().is_some_and(|newest| newest.hash == hash))
    }

    fn configure(&mut self, object: &PgPooler, push: Push) {
        let uid = object.uid().unwrap_or_default();
        let Some(pooler) = self.poolers.get(&uid) else { return };
        pooler.newest.send_if_modified(|newest| {
            let is_new = newest.as_ref().is_none_or(|known| known.hash != push.hash);
            if is_new {
                *newest = Some(Arc::new(push));
            }
            is_new
        });
    }

    /// Whether that is news. Of a pod that has been heard it is none that its connection has ended, nor with which error a
    /// pod cannot be reached this time.
    fn note_configured(&mut self, uid: &str, change: impl FnOnce(&mut Configured)) -> bool {
        let Some(pod) = self.pods.get_mut(uid) else { return false };
        let before = pod.configured.clone();
        change(&mut pod.configured);
        let told = |known: &Configured| {
            let fault = known.hash.is_none() && known.fault.is_some();
            (known.hash.clone(), known.needs_restart.clone(), known.rejected.clone(), fault)
        };
        let is_new = told(&before) != told(&pod.configured);
        if is_new {
            self.changed.insert(pod.pooler.clone());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as it is sent")]
    fn push(hash: &str) -> Option<Arc<Push>> {
        Some(Arc::new(Push { hash: hash.to_owned(), command: Zeroizing::default() }))
    }

    #[test]
    fn a_pod_lacks_what_is_newest_once_it_has_said_what_it_runs() {
        let (newest, now) = (Newest::new(push("a")), Instant::now());
        let mut mind = Mind::new(newest.subscribe());
        let mut lacks = |act: &dyn Fn(&mut Mind), now| {
            act(&mut mind);
            mind.lacks(now).map(|push| push.hash.clone())
        };
        assert_eq!(lacks(&|_| {}, now), None, "it has not said");
        assert_eq!(lacks(&|mind| mind.runs("b"), now), Some("a".into()));
        assert_eq!(lacks(&|mind| mind.refused("a", now), now), None);
        assert_eq!(lacks(&|_| {}, now + AGAIN), Some("a".into()), "it may have been something else");
        newest.send_replace(push("b"));
        assert_eq!(lacks(&|_| {}, now), None, "it runs that");
        newest.send_replace(push("c"));
        assert_eq!(lacks(&|_| {}, now), Some("c".into()));
        assert_eq!(lacks(&|mind| mind.forget(), now), None);
    }
}
