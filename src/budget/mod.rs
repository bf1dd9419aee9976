//! The keeper of the budgets: one ledger for each PostgreSQL server, one conversation with each pod.
//!
//! ```text
//! reconcile -> what is wanted, which pods exist ---\
//! pods      -> reports, by one session each --------+-> State (ledgers) -> commands, confirmations, writings
//! PostgreSQL -> sessions of pods that have gone ---/
//! ```
//!
//! All decisions are [`pgpooler_core::budget`]'s. Nothing of it costs the API server anything at rest: a grant is a
//! command on a pod's admin console. What is written are budgets that change, and what is asked is whether this
//! operator still leads, when a pod is met for the first time.

mod account;
mod balance;
mod duties;
mod groups;
mod hear;
mod index;
mod push;
mod state;
mod talk;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use pgpooler_core::budget::{Link, Mark, Report};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::api::PgPooler;
use crate::plan::budget::Sum;
use crate::plan::facts::{Account, Facts, PodFact, Sharing};

pub use groups::ServerKey;
use state::{Order, State};

/// Reports that come together are answered together.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often what falls by itself is looked at.
const TICK: Duration = Duration::from_millis(500);
/// After a write or a question that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// Poolers that must be looked at and have not been yet.
const BACKLOG: usize = 4096;

/// Asks whether this operator leads; ready when the Lease has been renewed after the question, or with `false`.
pub type Confirm = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// A question to the keeper of the Lease, as [`Confirm`].
pub fn ask(questions: mpsc::UnboundedSender<oneshot::Sender<()>>) -> Confirm {
    Arc::new(move || {
        let (answer, answered) = oneshot::channel();
        let asked = questions.send(answer).is_ok();
        Box::pin(async move { asked && answered.await.is_ok() })
    })
}

/// Without an election nobody else leads, as whoever turned it off has said.
pub fn alone() -> Confirm {
    Arc::new(|| Box::pin(std::future::ready(true)))
}

/// All budgets of one operator.
pub struct Budgets {
    client: Client,
    confirm: Confirm,
    epoch: u64,
    state: Mutex<State>,
    wake: Notify,
    /// Scopes whose pods are not known yet.
    closed: watch::Sender<usize>,
    superseded: watch::Sender<u64>,
    changed: broadcast::Sender<ObjectRef<PgPooler>>,
}

impl Budgets {
    /// Of a leader with this epoch; nothing happens before each of `scopes` has been opened.
    pub fn new(client: Client, confirm: Confirm, epoch: u64, scopes: usize) -> Arc<Self> {
        Arc::new(Self {
            client,
            confirm,
            epoch,
            state: Mutex::new(State::new(epoch)),
            wake: Notify::new(),
            closed: watch::Sender::new(scopes),
            superseded: watch::Sender::new(0),
            changed: broadcast::Sender::new(BACKLOG),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch of the leader.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// All `PgPoolers` of one scope with the pods that exist, read after the Lease was won.
    pub fn open(&self, found: &[(Arc<PgPooler>, Vec<PodFact>)]) {
        let mut state = self.state();
        for (pooler, pods) in found {
            state.inherit(pooler, pods);
        }
        self.closed.send_modify(|closed| *closed = closed.saturating_sub(1));
        if *self.closed.borrow() == 0 {
            state.listed();
        }
    }

    /// Until every scope is open.
    pub async fn opened(&self) {
        let mut closed = self.closed.subscribe();
        // the sender lives as long as this
        let _ = closed.wait_for(|closed| *closed == 0).await;
    }

    /// The other `PgPoolers` on the server, and what is believed of it.
    pub fn sharing(&self, object: &PgPooler, facts: &Facts) -> Sharing {
        self.state().sharing(object, facts, Instant::now())
    }

    /// Whether the server is looked through for what pods that have gone left there.
    pub fn mourns(&self, object: &PgPooler) -> bool {
        self.state().mourns(object)
    }

    /// Takes note of what is wanted and of the pods that exist; what the ledger knows after it.
    pub fn account(self: &Arc<Self>, object: &PgPooler, facts: &Facts, sum: Option<&Sum>) -> Option<Account> {
        let mut state = self.state();
        let news = state.reconcile(object, facts, sum, Instant::now());
        let account = state.account(object, facts);
        let greetings = state.greetings(object);
        drop(state);
        for greeting in greetings {
            talk::begin(self, greeting);
        }
        if news {
            self.wake.notify_one();
        }
        account
    }

    /// Whether the budget of a `PgPooler` is to be written down before anything is given to its pods.
    pub fn is_about_to_write(&self, object: &PgPooler) -> bool {
        self.state().is_about_to_write(object)
    }

    /// A `PgPooler` is no more; `pods` of it still exist.
    pub fn forget(&self, key: &ObjectRef<PgPooler>, pods: &[PodFact]) {
        self.state().forget(key, pods, Instant::now());
        self.wake.notify_one();
    }

    /// A pod has said something.
    fn heard(&self, uid: &str, link: Link, report: &Report) {
        let other = self.state().heard(uid, link, report, Instant::now());
        if let Some(epoch) = other {
            tracing::warn!(uid, epoch, "a pod follows another leader");
            self.superseded.send_replace(epoch);
        }
        self.wake.notify_one();
    }

    /// `PgPoolers` that should be looked at, since the ledger has news of them.
    pub fn changes(&self) -> broadcast::Receiver<ObjectRef<PgPooler>> {
        self.changed.subscribe()
    }

    /// Ready when a pod follows another leader: with the epoch that it follows.
    pub async fn superseded(&self) -> u64 {
        let mut receiver = self.superseded.subscribe();
        match receiver.wait_for(|epoch| *epoch > 0).await {
            Ok(epoch) => *epoch,
            // the sender lives as long as this
            Err(_) => std::future::pending().await,
        }
    }

    /// What went unnoticed is noticed: every `PgPooler` is looked at soon.
    pub fn look_at_all(&self) {
        self.state().doubt_all();
        self.wake.notify_one();
    }

    /// Keeps the ledgers; never returns.
    pub async fn keep(self: Arc<Self>) {
        self.opened().await;
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = self.wake.notified() => sleep(TOGETHER).await,
                _ = ticks.tick() => {
                    let mut state = self.state();
                    state.tick(Instant::now());
                    state.balance(Instant::now());
                }
            }
            let (orders, changed) = {
                let mut state = self.state();
                (state.decide(), state.take_changed())
            };
            for key in changed {
                // nobody listens before the controllers run
                let _ = self.changed.send(key);
            }
            for order in orders {
                self.carry_out(order);
            }
        }
    }

    fn carry_out(self: &Arc<Self>, order: Order) {
        let budgets = Arc::clone(self);
        match order {
            Order::Confirm(server, mark) => drop(tokio::spawn(budgets.confirm(server, mark))),
            Order::Commit(server, budget) => drop(tokio::spawn(budgets.commit(server, budget))),
        }
    }

    async fn confirm(self: Arc<Self>, server: ServerKey, mark: Mark) {
        let leads = (self.confirm)().await;
        if !leads {
            sleep(AGAIN).await;
        }
        self.state().confirmed(&server, mark, leads);
        self.wake.notify_one();
    }

    async fn commit(self: Arc<Self>, server: ServerKey, budget: u32) {
        let members = self.state().members(&server);
        let written = write::commit(&self.client, &members, self.epoch, budget).await;
        if let Err(write::WriteError::Superseded(epoch)) = &written {
            self.superseded.send_replace(*epoch);
        }
        if let Err(error) = &written {
            tracing::warn!(error = crate::error::chain(error), budget, "cannot write the budget down");
            sleep(AGAIN).await;
        }
        self.state().written(&server, budget, &members, written.is_ok());
        self.wake.notify_one();
    }
}
