//! What the watches of one scope have seen: no reconciliation reads from the API server what is here.

use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

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
    /// Which kinds of other operators there were when the watches began.
    pub kinds: Kinds,
    /// Their pods.
    pub pods: Pods,
    /// Names and versions of all Secrets; what is in them is read only where a `PgPooler` names them.
    pub secrets: Store<PartialObjectMeta<Secret>>,
    /// The same of all `ConfigMaps`.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
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

/// The caches of one namespace, or of all.
pub fn open(client: &Client, namespace: Option<&str>, kinds: Kinds) -> (Caches, Watches) {
    let ours = watcher::Config::default().labels(&names::watched());
    let (poolers, poolers_watch) = poolers(api(client, namespace));
    let (service_accounts, service_accounts_watch) = cache(api(client, namespace), ours.clone(), |_| {});
    let (auths, auths_watch) = cache(api(client, namespace), ours.clone(), |_| {});
    let (configs, configs_watch) = cache(api(client, namespace), ours.clone(), |_| {});
    let (services, services_watch) = cache(api(client, namespace), ours.clone(), |_| {});
    let (disruption_budgets, disruption_budgets_watch) = cache(api(client, namespace), ours.clone(), |_| {});
    let (network_policies, network_policies_watch) = cache(api(client, namespace), ours.clone(), |_| {});
    let (certificates, certificates_watch) = maybe(kinds.certificate, client, namespace, &ours);
    let (pod_monitors, pod_monitors_watch) = maybe(kinds.pod_monitor, client, namespace, &ours);
    let (deployments, deployments_watch) = cache(api(client, namespace), ours.clone(), |_| {});
    let (pods, pods_watch) = Pods::filled_by(watcher(api(client, namespace), ours).default_backoff());
    let (secrets, secrets_watch) = cache(api(client, namespace), watcher::Config::default(), bare);
    let (config_maps, config_maps_watch) = cache(api(client, namespace), watcher::Config::default(), bare);
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

    /// Waits until every cache has been filled once; a plan made earlier would take children for absent.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        tokio::try_join!(
            self.poolers.wait_until_ready(),
            self.service_accounts.wait_until_ready(),
            self.auths.wait_until_ready(),
            self.configs.wait_until_ready(),
            self.services.wait_until_ready(),
            self.disruption_budgets.wait_until_ready(),
            self.network_policies.wait_until_ready(),
            self.certificates.wait_until_ready(),
            self.pod_monitors.wait_until_ready(),
            self.deployments.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.secrets.wait_until_ready(),
            self.config_maps.wait_until_ready(),
        )?;
        Ok(())
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

/// The cache of a kind that may not be there: then it is empty, and filled at once.
fn maybe<K>(
    kind: Served,
    client: &Client,
    namespace: Option<&str>,
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
    if kind == Served::Present {
        return cache(api(client, namespace), ours.clone(), |_| {});
    }
    let (store, writer) = reflector::store();
    let nothing = futures::stream::iter([Ok(watcher::Event::Init), Ok(watcher::Event::InitDone)]);
    let watch = nothing.chain(futures::stream::pending()).reflect(writer).touched_objects();
    (store, watch.boxed())
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

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn poolers(api: Api<Stored>) -> (Store<PgPooler>, Touched<PgPooler>) {
    let (store, writer) = reflector::store();
    let watch = readable(watcher(api, watcher::Config::default()).default_backoff(), store.clone());
    let drop_fields = |object: &mut PgPooler| object.managed_fields_mut().clear();
    (store, watch.modify(drop_fields).reflect(writer).touched_objects().boxed())
}

fn cache<K>(api: Api<K>, config: watcher::Config, slim: fn(&mut K)) -> (Store<K>, Touched<K>)
where
    K: Resource<DynamicType = ()>
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
    let watch = watcher(api, config).default_backoff().modify(drop_fields).reflect(writer).touched_objects();
    (store, watch.boxed())
}

/// The annotation that `kubectl apply` leaves holds what is in the Secret.
fn bare<K>(object: &mut PartialObjectMeta<K>) {
    object.metadata.annotations = None;
    object.metadata.labels = None;
}
