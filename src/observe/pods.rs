//! The pods of all `PgPoolers`, found by the one that they belong to: a reconciliation looks at its own only.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};
use kube::ResourceExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{Error, Event};

use tokio::sync::watch;

use crate::api::PgPooler;
use crate::names;
use crate::plan::facts::{Life, PodFact};

/// All pods that a watch has seen.
#[derive(Clone)]
pub struct Pods {
    store: Store<Pod>,
    /// A pod may be missing in the store, or belong to another one by now, but none is missing here.
    by_owner: Arc<Mutex<HashMap<ObjectRef<PgPooler>, BTreeSet<String>>>>,
    vanished: Arc<Mutex<Vanished>>,
    /// The first list is complete.
    listed: Arc<watch::Sender<bool>>,
}

/// What is known of the pods of one `PgPooler`. A pod that is in neither list, and was in one before, has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Those that have not ended, by name.
    pub exists: Vec<PodFact>,
    /// Those whose object is gone although nobody has said that they ended: deleted by force, or gone while nobody
    /// watched. They may still run.
    pub vanished: Vec<PodFact>,
}

impl Pods {
    /// Filled by `watch` while what is returned beside it is polled.
    pub fn filled_by<W>(watch: W) -> (Self, impl Stream<Item = Result<Pod, Error>> + use<W>)
    where
        W: Stream<Item = Result<Event<Pod>, Error>>,
    {
        let (store, writer) = reflector::store();
        let pods = Self {
            store,
            by_owner: Arc::default(),
            vanished: Arc::default(),
            listed: Arc::new(watch::Sender::new(false)),
        };
        let (before, after) = (pods.clone(), pods.clone());
        // a pod is known as vanished before it leaves the store, and the index is thinned out by what the store has
        let watch = watch
            .modify(slim)
            .inspect_ok(move |event| lock(&before.vanished).note(event, &before.store))
            .reflect(writer)
            .inspect_ok(move |event| after.note(event));
        (pods, watch.touched_objects())
    }

    /// Waits until the first list is complete. Cancel-safe.
    pub async fn ready(&self) {
        let mut listed = self.listed.subscribe();
        // the sender lives as long as this
        let _ = listed.wait_for(|listed| *listed).await;
    }

    /// The pods of a `PgPooler` that have not ended, by name.
    pub fn of(&self, pooler: &ObjectRef<PgPooler>) -> Vec<PodFact> {
        let selector = names::selector(&pooler.name);
        let ours = |pod: &Arc<Pod>| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
        let pods = self.indexed(pooler).into_iter().filter(ours);
        pods.filter_map(|pod| pod_fact(&pod)).collect()
    }

    /// The same, and those that may still run without their object.
    pub fn observed(&self, pooler: &PgPooler) -> Observed {
        // in this order: what leaves the one list is in the other already
        let exists = self.of(&ObjectRef::from_obj(pooler));
        let vanished = lock(&self.vanished).pods.get(&ObjectRef::from_obj(pooler)).cloned();
        Observed { exists, vanished: vanished.unwrap_or_default() }
    }

    /// A vanished pod is gone for good.
    pub fn forget(&self, pooler: &ObjectRef<PgPooler>, uid: &str) {
        let mut vanished = lock(&self.vanished);
        if let Some(pods) = vanished.pods.get_mut(pooler) {
            pods.retain(|pod| pod.uid != uid);
        }
        vanished.pods.retain(|_, pods| !pods.is_empty());
    }

    fn indexed(&self, owner: &ObjectRef<PgPooler>) -> Vec<Arc<Pod>> {
        let index = lock(&self.by_owner);
        let names = index.get(owner).into_iter().flatten();
        let mut key = ObjectRef::<Pod>::new("");
        key.namespace.clone_from(&owner.namespace);
        names
            .filter_map(|name| {
                key.name.clone_from(name);
                self.store.get(&key)
            })
            .collect()
    }

    fn note(&self, event: &Event<Pod>) {
        let mut index = lock(&self.by_owner);
        match event {
            Event::Init => {}
            Event::InitApply(pod) | Event::Apply(pod) => {
                if let Some(owner) = pooler_of(pod) {
                    index.entry(owner).or_default().insert(pod.name_any());
                }
            }
            Event::Delete(pod) => {
                if let Some(owner) = pooler_of(pod)
                    && let Some(names) = index.get_mut(&owner)
                {
                    names.remove(&pod.name_any());
                    if names.is_empty() {
                        index.remove(&owner);
                    }
                }
            }
            // what went while nobody watched is in no event
            Event::InitDone => {
                index.retain(|owner, names| {
                    let mut key = ObjectRef::<Pod>::new("");
                    key.namespace.clone_from(&owner.namespace);
                    names.retain(|name| {
                        key.name.clone_from(name);
                        self.store.get(&key).is_some()
                    });
                    !names.is_empty()
                });
                self.listed.send_replace(true);
            }
        }
    }
}

/// The pods that went without having ended.
#[derive(Default)]
struct Vanished {
    pods: HashMap<ObjectRef<PgPooler>, Vec<PodFact>>,
    /// Of a list that is not complete yet.
    listed: HashSet<String>,
}

impl Vanished {
    /// `store` is as it was before the event.
    fn note(&mut self, event: &Event<Pod>, store: &Store<Pod>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.insert(pod.uid().unwrap_or_default());
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let is_listed = |pod: &Pod| pod.uid().is_some_and(|uid| listed.contains(&uid));
                store.state().iter().filter(|pod| !is_listed(pod)).for_each(|pod| self.went(pod));
            }
            Event::Apply(pod) => {
                // another one of the same name
                let before = store.get(&ObjectRef::from_obj(pod));
                before.filter(|before| before.uid() != pod.uid()).iter().for_each(|before| self.went(before));
            }
            Event::Delete(pod) => self.went(pod),
        }
    }

    /// A pod that no node has seen cannot run.
    fn went(&mut self, pod: &Pod) {
        if let (Some(owner), Some(fact), Some(_)) = (pooler_of(pod), pod_fact(pod), node(pod)) {
            let pods = self.pods.entry(owner).or_default();
            if pods.iter().all(|known| known.uid != fact.uid) {
                pods.push(fact);
            }
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `PgPooler` that a pod belongs to, by its labels.
pub fn pooler_of(pod: &Pod) -> Option<ObjectRef<PgPooler>> {
    let name = pod.labels().get(names::INSTANCE)?;
    Some(ObjectRef::new(name).within(pod.metadata.namespace.as_deref()?))
}

/// A pod that has ended holds no connection.
fn pod_fact(pod: &Pod) -> Option<PodFact> {
    if has_ended(pod) {
        return None;
    }
    let annotation = |key: &str| pod.annotations().get(key).cloned().unwrap_or_default();
    Some(PodFact {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        address: pod.status.as_ref().and_then(|status| status.pod_ip.clone()),
        node: node(pod).map(str::to_owned),
        floor: annotation(names::FLOOR).parse().unwrap_or(0),
        template_hash: annotation(names::TEMPLATE_HASH),
        life: life(pod),
    })
}

fn life(pod: &Pod) -> Life {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        Life::Terminating
    } else if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        Life::Ready
    } else {
        Life::Starting
    }
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

/// Its kubelet says that no process of it runs or will run again.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// It was told to end, and every container of it has: nothing starts them again, whatever its phase still says.
fn all_containers_ended(pod: &Pod) -> bool {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let has_ended = |container: &ContainerStatus| {
        container.state.as_ref().is_some_and(|state| state.terminated.is_some())
    };
    let containers = containers.unwrap_or_default();
    pod.metadata.deletion_timestamp.is_some() && !containers.is_empty() && containers.iter().all(has_ended)
}

/// Only labels, annotations, node, phase, address and readiness count.
fn slim(pod: &mut Pod) {
    pod.managed_fields_mut().clear();
    let ended = all_containers_ended(pod);
    let node = node(pod).map(str::to_owned);
    pod.spec = node.map(|node| PodSpec { node_name: Some(node), ..PodSpec::default() });
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
        status.init_container_statuses = None;
        if ended {
            status.phase = Some("Succeeded".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use futures::{FutureExt as _, StreamExt as _};
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, owner: &str, name: &str) -> Pod {
        let metadata = json!({"namespace": namespace, "name": name, "labels": names::selector(owner)});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn after(events: Vec<Event<Pod>>) -> Pods {
        let (pods, watch) = Pods::filled_by(futures::stream::iter(events.into_iter().map(Ok)));
        watch.collect::<Vec<_>>().now_or_never().unwrap();
        pods
    }

    fn listed(pods: Vec<Pod>) -> Vec<Event<Pod>> {
        let pods = pods.into_iter().map(Event::InitApply);
        [Event::Init].into_iter().chain(pods).chain([Event::InitDone]).collect()
    }

    /// What is looked at for `shop/orders`.
    fn orders(pods: &Pods) -> Vec<String> {
        let found = pods.indexed(&ObjectRef::new("orders").within("shop"));
        found.iter().map(|pod| pod.name_any()).collect()
    }

    #[test]
    fn only_the_pods_of_one_pgpooler_are_looked_at() {
        let mut foreign = pod("shop", "orders", "c");
        foreign.labels_mut().insert("app.kubernetes.io/component".into(), "other".into());
        let events = listed(vec![
            pod("shop", "orders", "b"),
            pod("shop", "orders", "a"),
            pod("shop", "bills", "d"),
            pod("other", "orders", "e"),
            foreign,
        ]);
        let pods = after(events);
        assert_eq!(orders(&pods), ["a", "b", "c"]);
        let pooler = json!({
            "apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler",
            "metadata": {"name": "orders", "namespace": "shop"}, "spec": {"target": {"secretRef": {"name": "db"}}},
        });
        let facts = pods.observed(&serde_json::from_value(pooler).unwrap()).exists;
        assert_eq!(facts.into_iter().map(|pod| pod.name).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test]
    async fn however_many_wait_for_the_first_list_all_go_on() {
        let (pods, watch) = Pods::filled_by(futures::stream::iter(listed(vec![]).into_iter().map(Ok)));
        let waits = |_| {
            let pods = pods.clone();
            tokio::spawn(async move { pods.ready().await })
        };
        let waiting = futures::future::join_all((0..3).map(waits));
        // all of them have asked
        tokio::task::yield_now().await;
        watch.for_each(|_| std::future::ready(())).await;
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await;
        assert!(ended.is_ok(), "somebody waits for ever");
    }

    #[test]
    fn pods_that_come_and_go_are_followed() {
        let mut events = listed(vec![pod("shop", "orders", "a")]);
        events.push(Event::Apply(pod("shop", "orders", "b")));
        events.push(Event::Delete(pod("shop", "orders", "a")));
        assert_eq!(orders(&after(events.clone())), ["b"]);
        events.push(Event::Delete(pod("shop", "orders", "b")));
        assert!(after(events).by_owner.lock().unwrap().is_empty());
    }

    #[test]
    fn pods_that_went_while_nobody_watched_are_forgotten_with_the_next_list() {
        let before = listed(vec![pod("shop", "orders", "a"), pod("shop", "bills", "d")]);
        let half = [before.clone(), vec![Event::Init, Event::InitApply(pod("shop", "orders", "b"))]].concat();
        assert_eq!(orders(&after(half)), ["a"], "half a list changes nothing");
        let pods = after([before, listed(vec![pod("shop", "orders", "b")])].concat());
        assert_eq!(orders(&pods), ["b"]);
        assert_eq!(pods.by_owner.lock().unwrap().len(), 1);
    }

    /// A pod of `shop/orders` on a node, as `status` and `told_to_end` say.
    fn placed(uid: &str, told_to_end: bool, status: &serde_json::Value) -> Pod {
        let mut metadata = json!({
            "namespace": "shop", "name": uid, "uid": uid, "labels": names::selector("orders"),
            "annotations": {names::FLOOR: "2"},
        });
        if told_to_end {
            metadata["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        }
        let spec = json!({"nodeName": "node-1", "containers": []});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn running(uid: &str) -> Pod {
        placed(uid, false, &json!({"phase": "Running", "containerStatuses": [container("running")]}))
    }

    fn container(state: &str) -> serde_json::Value {
        json!({
            "name": "pgpooler", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {state: if state == "terminated" { json!({"exitCode": 0}) } else { json!({}) }},
        })
    }

    /// Names of those that exist, and of those that vanished, of `shop/orders`.
    fn seen(pods: &Pods) -> (Vec<String>, Vec<String>) {
        let pooler = json!({
            "apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler",
            "metadata": {"name": "orders", "namespace": "shop"}, "spec": {"target": {"secretRef": {"name": "db"}}},
        });
        let observed = pods.observed(&serde_json::from_value(pooler).unwrap());
        let names = |pods: Vec<PodFact>| pods.into_iter().map(|pod| pod.name).collect();
        (names(observed.exists), names(observed.vanished))
    }

    #[test]
    fn a_pod_whose_containers_have_ended_has_ended_though_its_object_is_there() {
        let status = |state| json!({"phase": "Running", "containerStatuses": [container(state)]});
        let pods = after(listed(vec![
            placed("crashed", false, &status("terminated")),
            placed("drains", true, &status("running")),
            placed("ended", true, &status("terminated")),
            placed("evicted", false, &json!({"phase": "Failed"})),
            placed("unknown", true, &json!({"phase": "Running"})),
        ]));
        let seen = seen(&pods);
        assert_eq!(seen.0, ["crashed", "drains", "unknown"], "a container that crashed is started again");
        assert_eq!(seen.1, Vec::<String>::new());
    }

    #[test]
    fn a_pod_that_is_deleted_by_force_may_still_run() {
        let ended = json!({"phase": "Running", "containerStatuses": [container("terminated")]});
        let mut waits = pod("shop", "orders", "waits");
        waits.metadata.uid = Some("waits".into());
        let mut events = listed(vec![running("a"), running("b"), waits.clone()]);
        events.push(Event::Delete(running("a")));
        events.push(Event::Delete(placed("b", true, &ended)));
        events.push(Event::Delete(waits));
        let pods = after(events);
        assert_eq!(seen(&pods), (vec![], vec!["a".to_owned()]), "no node had seen the one that waits");
        pods.forget(&ObjectRef::new("orders").within("shop"), "a");
        assert_eq!(seen(&pods).1, Vec::<String>::new());
    }

    #[test]
    fn a_pod_that_went_while_nobody_watched_may_still_run() {
        let before =
            listed(vec![running("a"), running("b"), placed("c", true, &json!({"phase": "Succeeded"}))]);
        let pods = after([before, listed(vec![running("b")])].concat());
        assert_eq!(seen(&pods), (vec!["b".to_owned()], vec!["a".to_owned()]));
    }
}
