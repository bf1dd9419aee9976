//! The driver: observe -> plan -> apply -> status, for every `PgPooler` of one scope.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::ready;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Client, Resource, ResourceExt as _};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep};

use crate::api::{CaKind, PgPooler};
use crate::apply::{self, ApplyError, OwnWrites, Writer};
use crate::budget::Budgets;
use crate::error::{Error, chain};
use crate::fence::{Fences, Memory};
use crate::metrics::Metrics;
use crate::names;
use crate::observe::Observer;
use crate::observe::caches::{self, Caches, Touched, Watches};
use crate::observe::kinds;
use crate::observe::pods::pooler_of;
use crate::observe::postgres::Age;
use crate::plan::conditions::{self, Seen};
use crate::plan::facts::{Facts, Kinds};
use crate::plan::objects::{Applied, Objects};
use crate::plan::{self, Settings, Verdict, materials, rest};
use crate::status::{StatusWriter, Told};

/// How often a `PgPooler` is looked at that is not as it should be, though what it waits for is watched.
const UNREST: Duration = Duration::from_secs(30);
/// How often one is looked at of which nobody has any news.
const REST: Duration = Duration::from_mins(10);
/// How soon a `PgPooler` that waits for something without a watch is looked at again.
const WAIT: Duration = Duration::from_secs(5);
/// The longest pause after failures in a row.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Several events of one rollout make one reconciliation.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Reconciliations at once.
const CONCURRENCY: u16 = 16;

/// What all reconciliations share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator was started with.
    pub settings: Settings,
    /// Sees.
    pub observer: Observer,
    /// Tells.
    pub status: StatusWriter,
    /// Remembers what was done in PostgreSQL.
    pub fences: Memory,
    /// Counts.
    pub metrics: Metrics,
    /// Keeps what each pod may hold.
    pub budgets: Arc<Budgets>,
    /// What was written of children.
    own: OwnWrites,
    /// Failures in a row.
    failures: Mutex<HashMap<ObjectRef<PgPooler>, u32>>,
}

impl Context {
    /// With nothing seen yet.
    pub fn new(
        client: Client,
        settings: Settings,
        instance: Option<String>,
        metrics: Metrics,
        budgets: Arc<Budgets>,
    ) -> Self {
        Self {
            observer: Observer::new(client.clone()),
            status: StatusWriter::new(client.clone(), instance),
            client,
            settings,
            fences: Memory::default(),
            metrics,
            budgets,
            own: OwnWrites::default(),
            failures: Mutex::default(),
        }
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<ObjectRef<PgPooler>, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the reconciliations of one scope share.
struct Scope {
    context: Arc<Context>,
    caches: Caches,
    /// A kind of another operator is wanted and not there, or a watch has failed.
    doubt: Notify,
}

impl Scope {
    /// The ledgers begin with all pods that existed when the Lease was won.
    async fn open(&self) {
        self.caches.ready().await;
        let pods = |pooler: &Arc<PgPooler>| {
            let seen = self.caches.pods.observed(pooler);
            seen.exists.into_iter().chain(seen.vanished).collect()
        };
        let poolers = self.caches.poolers.state();
        for pooler in &poolers {
            self.context.status.note(pooler);
        }
        let found: Vec<_> = poolers.iter().map(|pooler| (Arc::clone(pooler), pods(pooler))).collect();
        tracing::info!(pgpoolers = found.len(), "watching");
        self.context.budgets.open(&found);
    }

    /// What went while a watch was down is in none of its events.
    async fn look_again(&self, relisted: &Notify) {
        loop {
            relisted.notified().await;
            self.context.budgets.look_at_all();
        }
    }

    /// Somebody may install another operator at any time, or remove it.
    async fn look_for_kinds(&self, known: &watch::Sender<Kinds>) {
        loop {
            self.doubt.notified().await;
            let before = *known.borrow();
            let kinds = kinds::ask(&self.context.client, before).await;
            if known.send_if_modified(|known| std::mem::replace(known, kinds) != kinds) {
                tracing::info!(?kinds, "the API server has other kinds than before");
                self.context.budgets.look_at_all();
            }
            sleep(WAIT).await;
        }
    }

    /// Writes the status; when to look again.
    async fn tell(
        &self,
        object: &PgPooler,
        facts: &Facts,
        verdict: &Verdict,
        applied: &Result<Objects<Applied>, ApplyError>,
    ) -> Result<Duration, Error> {
        let waits = verdict.blocked.is_some() || verdict.step.is_some_and(|step| step.waits);
        let soon = if waits { WAIT } else { UNREST };
        let blocked = applied.as_ref().err().and_then(ApplyError::blocked);
        let applied = match (applied, &blocked) {
            (Ok(applied), _) => Ok(applied),
            (Err(_), Some(blocked)) => Err(blocked),
            (Err(_), None) => return Ok(soon),
        };
        let status = conditions::status(Seen { object, facts, verdict, applied }, &Time(Timestamp::now()));
        let namespace = object.namespace().unwrap_or_default();
        self.context.metrics.told(&namespace, &object.name_any(), Some(&status));
        let lacks_kind = facts.kinds.lack(object);
        if lacks_kind {
            self.doubt.notify_one();
        }
        let rests = !waits && !lacks_kind && rest::rests(&status, facts);
        let told = self.context.status.write(object, status).await?;
        Ok(if rests && told == Told::All { REST } else { soon })
    }

    fn fences(&self) -> Fences<'_> {
        let Self { context, caches, .. } = self;
        Fences {
            client: &context.client,
            poolers: &caches.poolers,
            sessions: context.observer.sessions(),
            status: &context.status,
            memory: &context.fences,
        }
    }
}

/// Reconciles one namespace, or all, until `shutdown` says so; reconciliations under way are finished.
pub async fn run(context: Arc<Context>, namespace: Option<&str>, mut shutdown: watch::Receiver<bool>) {
    let (known, kinds) = watch::channel(kinds::ask(&context.client, Kinds::default()).await);
    let relisted = Arc::new(Notify::new());
    let (caches, watches) = caches::open(&context.client, namespace, kinds, &relisted);
    let poolers = caches.poolers.clone();
    let scope = Arc::new(Scope { context: Arc::clone(&context), caches, doubt: Notify::new() });
    let of_scope = || namespace.map(str::to_owned);
    let changes = futures::stream::select(
        changes(context.observer.sessions().changes(), of_scope()),
        changes(context.budgets.changes(), of_scope()),
    );
    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let (opening, kept) = (Arc::clone(&scope), Arc::clone(&scope));
    let open = tokio::spawn(async move {
        opening.open().await;
        tokio::select! {
            () = opening.look_again(&relisted) => {}
            () = opening.look_for_kinds(&known) => {}
        }
    });
    controller(watches, poolers, &context)
        .reconcile_on(changes)
        .with_config(config)
        .graceful_shutdown_on(async move {
            // a sender that is gone is a shutdown too
            let _ = shutdown.wait_for(|down| *down).await;
        })
        .run(reconcile, on_error, Arc::clone(&scope))
        .for_each(|result| after(&context, &kept, result.map(|_| ())))
        .await;
    open.abort();
}

/// The `PgPoolers` of one scope whose server has changed.
fn changes(
    receiver: broadcast::Receiver<ObjectRef<PgPooler>>,
    namespace: Option<String>,
) -> impl Stream<Item = ObjectRef<PgPooler>> {
    let changes = futures::stream::unfold(receiver, async |mut receiver| {
        loop {
            match receiver.recv().await {
                Ok(key) => return Some((key, receiver)),
                // those are looked at again half a minute later
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    changes.filter(move |key| ready(namespace.is_none() || key.namespace == namespace))
}

/// What of a reconciliation's end nobody has seen to yet.
async fn after(
    context: &Context,
    scope: &Scope,
    result: Result<(), controller::Error<Error, watcher::Error>>,
) {
    match result {
        Err(controller::Error::ObjectNotFound(gone)) => {
            let mut key = ObjectRef::new(&gone.name);
            key.namespace.clone_from(&gone.namespace);
            context.failures().remove(&key);
            context.observer.sessions().forget(&key).await;
            context.status.forget(&key).await;
            let namespace = key.namespace.as_deref().unwrap_or_default();
            context.metrics.accounted(namespace, &key.name, None);
            context.metrics.told(namespace, &key.name, None);
            context.budgets.forget(&key, &scope.caches.pods.of(&key));
        }
        Err(controller::Error::QueueError(error)) => {
            tracing::warn!(error = chain(&error), "a watch failed, it is tried again");
            scope.doubt.notify_one();
        }
        // told where it happened
        Ok(()) | Err(_) => {}
    }
}

fn controller(watches: Watches, poolers: Store<PgPooler>, context: &Arc<Context>) -> Controller<PgPooler> {
    let (by_secret, by_config_map) = (poolers.clone(), poolers.clone());
    // our own status patches must not start the next reconciliation
    let meant = predicates::generation.combine(going);
    let changed = watches.poolers.predicate_filter(meant, PredicateConfig::default());
    Controller::for_stream(changed, poolers)
        .owns_stream(by_others(watches.service_accounts, context))
        .owns_stream(by_others(watches.auths, context))
        .owns_stream(by_others(watches.configs, context))
        .owns_stream(by_others(watches.services, context))
        .owns_stream(by_others(watches.disruption_budgets, context))
        .owns_stream(by_others(watches.network_policies, context))
        .owns_stream(by_others(watches.certificates, context))
        .owns_stream(by_others(watches.pod_monitors, context))
        .owns_stream(by_others(watches.deployments, context))
        .watches_stream(watches.pods, |pod| pooler_of(&pod))
        .watches_stream(watches.secrets, move |secret| poolers_with(&by_secret, CaKind::Secret, &secret))
        .watches_stream(watches.config_maps, move |map| poolers_with(&by_config_map, CaKind::ConfigMap, &map))
}

/// Children that somebody else has made, changed or deleted. Nothing is read from their status.
fn by_others<K>(
    watch: Touched<K>,
    context: &Arc<Context>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let context = Arc::clone(context);
    // what has no generation has no status either
    let wanted = predicates::generation.fallback(predicates::resource_version);
    let beside = predicates::labels.combine(predicates::annotations);
    watch
        .predicate_filter(wanted.combine(beside).combine(going), PredicateConfig::default())
        .try_filter(move |child| ready(!context.own.is_echo(child.meta())))
}

/// Whether it is on its way out, or gone.
#[expect(clippy::unnecessary_wraps, reason = "the signature is kube's")]
fn going<K: Resource>(child: &K) -> Option<u64> {
    Some(child.meta().deletion_timestamp.is_some().into())
}

/// Those that name an object.
fn poolers_with<K: Resource<DynamicType = ()>>(
    poolers: &Store<PgPooler>,
    kind: CaKind,
    object: &PartialObjectMeta<K>,
) -> Vec<ObjectRef<PgPooler>> {
    let (name, namespace) = (object.name_any(), &object.metadata.namespace);
    let reference = (kind, name);
    let uses = |pooler: &PgPooler| {
        pooler.metadata.namespace == *namespace && materials::references(pooler).contains(&reference)
    };
    poolers.state_filter(uses).iter().map(|pooler| ObjectRef::from_obj(&**pooler)).collect()
}

async fn reconcile(object: Arc<PgPooler>, scope: Arc<Scope>) -> Result<Action, Error> {
    let started = Instant::now();
    // large, and there are sixteen at most
    let result = Box::pin(step(&object, &scope)).await;
    tracing::debug!(ok = result.is_ok(), "looked at");
    scope.context.metrics.reconciled(started.elapsed(), result.as_ref().err().map(Error::label));
    if result.is_ok() {
        scope.context.failures().remove(&ObjectRef::from_obj(&*object));
    }
    result
}

/// Forgets vanished pods that somebody knows to run no more.
fn release(object: &PgPooler, caches: &Caches) {
    let Some(released) = object.annotations().get(names::RELEASED_PODS) else { return };
    let key = ObjectRef::from_obj(object);
    for pod in caches.pods.observed(object).vanished {
        if released.split(',').any(|name| name.trim() == pod.name) {
            tracing::info!(pod = pod.name, "a vanished pod was released");
            caches.pods.forget(&key, &pod.uid);
        }
    }
}

/// The whole of it.
async fn step(object: &PgPooler, scope: &Scope) -> Result<Action, Error> {
    let Scope { context, caches, .. } = scope;
    caches.ready().await;
    if object.metadata.deletion_timestamp.is_some() {
        return end(object, scope).await;
    }
    context.budgets.opened().await;
    let object = context.status.latest(object).await;
    release(&object, caches);
    let age = if context.budgets.mourns(&object) { Age::Now } else { Age::Last };
    let mut facts = context.observer.facts(caches, &object, age).await?;
    facts.sharing = context.budgets.sharing(&object, &facts);
    // the fence comes before what it guards
    let (object, sum) = scope.fences().sum(object, &mut facts, &context.settings).await?;
    facts.account = context.budgets.account(&object, &facts, sum.as_ref());
    if object.status.is_none() && context.budgets.is_about_to_write(&object) {
        // nothing could be given to its pods before, and it is looked at again at once
        return Ok(Action::requeue(WAIT));
    }
    let namespace = object.namespace().unwrap_or_default();
    context.metrics.accounted(&namespace, &object.name_any(), facts.account.as_ref());
    let plan = plan::plan(&object, &facts, &context.settings);
    let writer = Writer { client: &context.client, own: &context.own };
    let applied = apply::apply(writer, &object, plan.objects, &facts.children).await;
    // what a process that starts anew would read is stored first
    if let Some(wanted) = plan.verdict.configuration.as_ref()
        && applied.as_ref().err().is_none_or(ApplyError::spares_configuration)
    {
        context.budgets.configure(&object, wanted);
    }
    let pause = scope.tell(&object, &facts, &plan.verdict, &applied).await?;
    applied?;
    Ok(Action::requeue(pause))
}

/// An object goes when what was set in PostgreSQL is put back, or cannot be.
async fn end(object: &PgPooler, scope: &Scope) -> Result<Action, Error> {
    let Scope { context, caches, .. } = scope;
    let object = context.status.latest(object).await;
    let target = context.observer.target(caches, &object).await?;
    if !scope.fences().end(&object, target, Timestamp::now()).await? {
        return Ok(Action::requeue(WAIT));
    }
    context.status.forget(&ObjectRef::from_obj(&object)).await;
    Ok(Action::await_change())
}

/// Twice as long after every failure in a row.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn on_error(object: Arc<PgPooler>, error: &Error, scope: Arc<Scope>) -> Action {
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    tracing::warn!(namespace, name, error = chain(error), "reconciliation failed");
    let mut failures = scope.context.failures();
    let count = failures.entry(ObjectRef::from_obj(&*object)).or_default();
    *count = count.saturating_add(1);
    let pause = Duration::from_secs(1 << (*count).min(6));
    Action::requeue(pause.min(LONGEST_PAUSE))
}
