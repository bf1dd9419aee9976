//! What the watches of one scope have seen: no reconciliation reads from the API server what is here.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use crate::api::{CaKind, Certificate, Monitor, PgPooler};
use crate::names;
use crate::plan::facts::{Children, Kinds, Served};
use crate::plan::render::meta::is_owned_by;

use super::guard::{Stored, readable};
use super::pods::Pods;

/// Objects as they come, each once when it appears, changes or goes.
pub type Touched<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// The caches of one scope.
pub struct Caches {
    /// The objects that are reconciled.
    pub poolers: Store<PgPooler>,
    service_accounts: Store<ServiceAccount>,
    auths: Store<Secret>,
    configs: Store<ConfigMap>,
    services: Store<Service>,
    disruption_budgets: Store<PodDisruptionBudget>,
    network_policies: Store<NetworkPolicy>,
    certificates: Store<Certificate>,
    pod_monitors: Store<Monitor>,
    deployments: Store<Deployment>,
    /// Which kinds of other operators there are.
    pub kinds: watch::Receiver<Kinds>,
    /// Their pods.
    pub pods: Pods,
    /// Names and versions of all Secrets; what is in them is read only where a `PgPooler` names them.
    pub secrets: Store<PartialObjectMeta<Secret>>,
    /// The same of all `ConfigMaps`.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
    /// How many caches have not been filled yet.
    unfilled: Arc<watch::Sender<usize>>,
}

/// What fills the caches; nothing happens unless they are polled.
pub struct Watches {
    /// The objects that are reconciled.
    pub poolers: Touched<PgPooler>,
    /// Children.
    pub service_accounts: Touched<ServiceAccount>,
    /// Children.
    pub auths: Touched<Secret>,
    /// Children.
    pub configs: Touched<ConfigMap>,
    /// Children.
    pub services: Touched<Service>,
    /// Children.
    pub disruption_budgets: Touched<PodDisruptionBudget>,
    /// Children.
    pub network_policies: Touched<NetworkPolicy>,
    /// Children.
    pub certificates: Touched<Certificate>,
    /// Children.
    pub pod_monitors: Touched<Monitor>,
    /// Children.
    pub deployments: Touched<Deployment>,
    /// Their pods.
    pub pods: Touched<Pod>,
    /// All Secrets.
    pub secrets: Touched<PartialObjectMeta<Secret>>,
    /// All `ConfigMaps`.
    pub config_maps: Touched<PartialObjectMeta<ConfigMap>>,
}

/// The caches of one namespace, or of all. `relisted` is told when a watch had to begin anew.
pub fn open(
    client: &Client,
    namespace: Option<&str>,
    kinds: watch::Receiver<Kinds>,
    relisted: &Arc<Notify>,
) -> (Caches, Watches) {
    let ours = watcher::Config::default().labels(&names::watched());
    let any = watcher::Config::default();
    let unfilled = Arc::new(watch::Sender::new(0));
    let cached = Source { client, namespace, relisted, unfilled: &unfilled };
    let (poolers, poolers_watch) = poolers(cached);
    let (service_accounts, service_accounts_watch) = cache(cached, &ours, |_| {});
    let (auths, auths_watch) = cache(cached, &ours, |_| {});
    let (configs, configs_watch) = cache(cached, &ours, |_| {});
    let (services, services_watch) = cache(cached, &ours, |_| {});
    let (disruption_budgets, disruption_budgets_watch) = cache(cached, &ours, |_| {});
    let (network_policies, network_policies_watch) = cache(cached, &ours, |_| {});
    let (certificates, certificates_watch) = maybe(&kinds, |kinds| kinds.certificate, cached, &ours);
    let (pod_monitors, pod_monitors_watch) = maybe(&kinds, |kinds| kinds.pod_monitor, cached, &ours);
    let (deployments, deployments_watch) = cache(cached, &ours, |_| {});
    let (pods, pods_watch) = Pods::filled_by(watcher(api(client, namespace), ours).default_backoff());
    let (secrets, secrets_watch) = cache(cached, &any, bare);
    let (config_maps, config_maps_watch) = cache(cached, &any, bare);
    (
        Caches {
            poolers,
            service_accounts,
            auths,
            configs,
            services,
            disruption_budgets,
            network_policies,
            certificates,
            pod_monitors,
            deployments,
            kinds,
            pods,
            secrets,
            config_maps,
            unfilled,
        },
        Watches {
            poolers: poolers_watch,
            service_accounts: service_accounts_watch,
            auths: auths_watch,
            configs: configs_watch,
            services: services_watch,
            disruption_budgets: disruption_budgets_watch,
            network_policies: network_policies_watch,
            certificates: certificates_watch,
            pod_monitors: pod_monitors_watch,
            deployments: deployments_watch,
            pods: pods_watch.boxed(),
            secrets: secrets_watch,
            config_maps: config_maps_watch,
        },
    )
}

impl Caches {
    /// Version of an object of somebody's that a `PgPooler` may name; `None`: there is none.
    pub fn version(&self, kind: CaKind, namespace: &str, name: &str) -> Option<String> {
        match kind {
            CaKind::Secret => self.secrets.get(&ObjectRef::new(name).within(namespace))?.resource_version(),
            CaKind::ConfigMap => {
                self.config_maps.get(&ObjectRef::new(name).within(namespace))?.resource_version()
            }
        }
    }

    /// Waits until every cache has been filled once; a plan made earlier would take children for absent. Cancel-safe, and
    /// for as many as like: of those that wait for one store by kube's own means, only the last one is woken.
    pub async fn ready(&self) {
        let mut unfilled = self.unfilled.subscribe();
        // the sender lives as long as this
        let _ = unfilled.wait_for(|unfilled| *unfilled == 0).await;
        self.pods.ready().await;
    }

    /// The children of a `PgPooler`, and the names that objects of others hold.
    pub fn children(&self, pooler: &PgPooler) -> (Children, Vec<String>) {
        let mut taken = Vec::new();
        let name = pooler.name_any();
        let children = Children {
            service_account: child(
                &self.service_accounts,
                pooler,
                &names::service_account(&name),
                &mut taken,
            ),
            auth: child(&self.auths, pooler, &names::auth(&name), &mut taken),
            config: child(&self.configs, pooler, &names::config(&name), &mut taken),
            peers: child(&self.services, pooler, &names::peers(&name), &mut taken),
            service: child(&self.services, pooler, &names::workload(&name), &mut taken),
            disruption_budget: child(&self.disruption_budgets, pooler, &names::workload(&name), &mut taken),
            network_policy: child(&self.network_policies, pooler, &names::workload(&name), &mut taken),
            connection: self.connection(pooler, &mut taken),
            certificate: child(&self.certificates, pooler, &names::client_tls(&name), &mut taken),
            pod_monitor: child(&self.pod_monitors, pooler, &names::workload(&name), &mut taken),
            deployment: child(&self.deployments, pooler, &names::workload(&name), &mut taken),
        };
        (children, taken)
    }
}

impl Caches {
    /// The Secret for applications: the one that was written, otherwise the one that is wanted.
    fn connection(&self, pooler: &PgPooler, taken: &mut Vec<String>) -> Option<Arc<Secret>> {
        let written =
            pooler.status.as_ref().and_then(|status| status.endpoint.as_ref()?.secret_name.as_ref());
        // one that has another owner by now is not ours to remove
        let written = written.and_then(|name| child(&self.auths, pooler, name, &mut Vec::new()));
        let wanted = pooler.spec.connection_secret.as_ref();
        written.or_else(|| child(&self.auths, pooler, &wanted?.name, taken))
    }
}

/// The cache of a kind that may not be there: then it is empty, and filled, until the kind has come.
fn maybe<K>(
    kinds: &watch::Receiver<Kinds>,
    which: fn(&Kinds) -> Served,
    source: Source<'_>,
    ours: &watcher::Config,
) -> (Store<K>, Touched<K>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + reflector::Lookup<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    if which(&kinds.borrow()) == Served::Present {
        return cache(source, ours, |_| {});
    }
    let (store, writer) = reflector::store();
    let nothing = futures::stream::iter([Ok(watcher::Event::Init), Ok(watcher::Event::InitDone)]);
    let (mut kinds, api, ours) = (kinds.clone(), api(source.client, source.namespace), ours.clone());
    let begin = async move {
        if kinds.wait_for(|kinds| which(kinds) == Served::Present).await.is_err() {
            // nobody will ask any more
            std::future::pending::<()>().await;
        }
        watcher(api, ours).default_backoff()
    };
    let watch = nothing.chain(futures::stream::once(begin).flatten());
    let watch = watch.modify(|object: &mut K| object.managed_fields_mut().clear()).reflect(writer);
    (store, watch.map_ok(told(source)).touched_objects().boxed())
}

fn child<K>(store: &Store<K>, owner: &PgPooler, name: &str, taken: &mut Vec<String>) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    let key = ObjectRef::<K>::new(name).within(&owner.namespace()?);
    let found = store.get(&key)?;
    if is_owned_by(&*found, owner) {
        return Some(found);
    }
    taken.push(format!("{} `{name}`", <K as Resource>::kind(&())));
    None
}

/// What all caches are filled from.
#[derive(Clone, Copy)]
struct Source<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    relisted: &'a Arc<Notify>,
    unfilled: &'a Arc<watch::Sender<usize>>,
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn poolers(source: Source<'_>) -> (Store<PgPooler>, Touched<PgPooler>) {
    let (store, writer) = reflector::store();
    let api: Api<Stored> = api(source.client, source.namespace);
    let watch = readable(watcher(api, watcher::Config::default()).default_backoff(), store.clone());
    let drop_fields = |object: &mut PgPooler| object.managed_fields_mut().clear();
    let watch = watch.modify(drop_fields).reflect(writer).map_ok(told(source));
    (store, watch.touched_objects().boxed())
}

fn cache<K>(source: Source<'_>, config: &watcher::Config, slim: fn(&mut K)) -> (Store<K>, Touched<K>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + reflector::Lookup<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
    K: Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let drop_fields = move |object: &mut K| {
        object.managed_fields_mut().clear();
        slim(object);
    };
    let api: Api<K> = api(source.client, source.namespace);
    let watch = watcher(api, config.clone()).default_backoff().modify(drop_fields).reflect(writer);
    (store, watch.map_ok(told(source)).touched_objects().boxed())
}

/// What is in no event of a watch is told beside it: what went while nobody watched, and that an object which is deleted
/// without a grace period, and looks as it did before, is gone.
fn told<K: Resource>(source: Source<'_>) -> impl FnMut(watcher::Event<K>) -> watcher::Event<K> + use<K> {
    let (relisted, unfilled) = (Arc::clone(source.relisted), Arc::clone(source.unfilled));
    unfilled.send_modify(|unfilled| *unfilled += 1);
    let mut lists = 0_u64;
    move |event| match event {
        watcher::Event::InitDone => {
            lists += 1;
            if lists > 1 {
                relisted.notify_one();
            } else {
                unfilled.send_modify(|unfilled| *unfilled -= 1);
            }
            watcher::Event::InitDone
        }
        watcher::Event::Delete(mut object) => {
            object.meta_mut().deletion_timestamp.get_or_insert(Time(Timestamp::UNIX_EPOCH));
            watcher::Event::Delete(object)
        }
        event => event,
    }
}

/// The annotation that `kubectl apply` leaves holds what is in the Secret.
fn bare<K>(object: &mut PartialObjectMeta<K>) {
    object.metadata.annotations = None;
    object.metadata.labels = None;
}
