//! Leader election over a Lease, so that one operator at a time writes.
//!
//! As client-go does it: a Lease counts as abandoned when it has not changed for its duration on *our* clock, since
//! clocks of nodes differ; and a leader that could not renew in two thirds of it stops before others may start.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a Lease holds without renewal.
const DURATION: Duration = Duration::from_secs(15);
/// After so long without a renewal the leader stops.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between attempts to get or renew.
const PERIOD: Duration = Duration::from_secs(2);

/// A candidate, and later the leader.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// The Lease is ours.
pub struct Leadership {
    election: Election,
    lease: Lease,
}

/// Somebody wants to be sure that we lead: answered once the Lease has been renewed after the question.
pub type Question = oneshot::Sender<()>;

impl Election {
    /// `identity` must differ between operators: the name of the pod.
    pub fn new(client: Client, namespace: &str, name: String, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name, identity }
    }

    /// Waits until the Lease is ours. Cancel-safe: what may be left is a Lease of ours that runs out.
    pub async fn win(self) -> Leadership {
        let mut seen: Option<(Option<LeaseSpec>, Instant)> = None;
        loop {
            match self.attempt(&mut seen).await {
                Ok(Some(lease)) => return Leadership { election: self, lease },
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "cannot get the Lease"),
            }
            sleep(PERIOD).await;
        }
    }

    async fn attempt(
        &self,
        seen: &mut Option<(Option<LeaseSpec>, Instant)>,
    ) -> Result<Option<Lease>, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.taken(None)) };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let unchanged_since = match seen {
            Some((spec, since)) if *spec == lease.spec => *since,
            _ => seen.insert((lease.spec.clone(), Instant::now())).1,
        };
        if !self.is_free(lease.spec.as_ref(), unchanged_since.elapsed()) {
            return Ok(None);
        }
        lease.spec = Some(self.taken(lease.spec.as_ref()));
        // the resource version in it lets only one candidate through
        won(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn is_free(&self, spec: Option<&LeaseSpec>, unchanged: Duration) -> bool {
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        holder.is_empty() || holder == self.identity || unchanged >= duration
    }

    fn taken(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = old.and_then(|old| old.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        }
    }
}

impl Leadership {
    /// Rises with every leader: whoever has a lower one leads no more.
    pub fn epoch(&self) -> u64 {
        let transitions = self.lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        u64::try_from(transitions.unwrap_or(0)).unwrap_or(0)
    }

    /// The next leader's epoch will be above this one: pods have seen it, so the Lease must have been made anew since.
    pub async fn raise(&mut self, epoch: u64) {
        if let Some(spec) = &mut self.lease.spec {
            spec.lease_transitions = Some(i32::try_from(epoch).unwrap_or(i32::MAX - 1));
        }
        if let Err(error) = self.write().await {
            tracing::warn!(%error, epoch, "cannot raise the epoch in the Lease");
        }
    }

    /// Renews the Lease, at once where there is a question; returns when it is lost, or may be by the time another
    /// leads. Cancel-safe: a renewal that was carried out without our hearing of it ends as lost.
    pub async fn keep(&mut self, questions: &mut mpsc::UnboundedReceiver<Question>) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < DEADLINE {
            let mut asked = Vec::new();
            tokio::select! {
                () = sleep_until(renewed + PERIOD) => {}
                Some(question) = questions.recv() => asked.push(question),
            }
            while let Ok(question) = questions.try_recv() {
                asked.push(question);
            }
            let started = Instant::now();
            match timeout(DEADLINE.saturating_sub(renewed.elapsed()), self.renew()).await {
                Ok(Ok(())) => {
                    renewed = started;
                    // whoever asks no more needs no answer
                    for question in asked {
                        let _ = question.send(());
                    }
                }
                Ok(Err(kube::Error::Api(answer))) if answer.is_conflict() => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot renew the Lease");
                    sleep(PERIOD).await;
                }
                Err(_) => return,
            }
        }
    }

    /// Lets the next operator lead at once.
    pub async fn release(mut self) {
        if let Some(spec) = &mut self.lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        if let Err(error) = self.write().await {
            tracing::warn!(%error, "cannot release the Lease; it runs out by itself");
        }
    }

    async fn renew(&mut self) -> Result<(), kube::Error> {
        if let Some(spec) = &mut self.lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        self.write().await
    }

    async fn write(&mut self) -> Result<(), kube::Error> {
        let Election { api, name, .. } = &self.election;
        self.lease = api.replace(name, &PostParams::default(), &self.lease).await?;
        Ok(())
    }
}

/// Another candidate was faster: that is no failure.
fn won(answer: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match answer {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election() -> Election {
        let (service, _handle) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        Election::new(Client::new(service, "ns"), "ns", "lease".into(), "me".into())
    }

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn a_lease_is_free_when_nobody_holds_it_or_its_holder_has_been_silent() {
        let election = election();
        assert!(election.is_free(None, Duration::ZERO));
        assert!(election.is_free(Some(&held_by("")), Duration::ZERO));
        assert!(election.is_free(Some(&held_by("me")), Duration::ZERO));
        assert!(!election.is_free(Some(&held_by("other")), Duration::from_secs(14)));
        assert!(election.is_free(Some(&held_by("other")), Duration::from_secs(15)));
    }

    #[tokio::test]
    async fn every_leader_has_a_higher_number_than_the_one_before() {
        let election = election();
        let first = election.taken(None);
        assert_eq!(election.taken(Some(&first)).lease_transitions, Some(2));
    }
}
