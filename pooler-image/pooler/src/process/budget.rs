//! What the process may hold: what it was told, and what it has seen of the server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgpooler_core::budget::{Holder, Phase, Refused, Report, Use};
use pgpooler_core::pool::{PoolId, Slots, Terms};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::{Mail, Process};
use crate::control::{Order, RefusedOrder};
use crate::report::{LedgerReport, LoopUse};

/// How long a loop may take to say what its clients use; one that takes longer is left out.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The process's side of the budget.
pub(crate) struct Budget {
    holder: Mutex<Holder>,
    /// Drawn at random.
    incarnation: u64,
    started: Instant,
    /// Logins that PostgreSQL refused because it was full.
    refused: AtomicU64,
    /// How long an operator may take to speak.
    grace: Duration,
}

impl Budget {
    /// `grace`: how long an operator may take to speak.
    pub(crate) fn new(holder: Holder, incarnation: u64, grace: Duration) -> Self {
        Self {
            holder: Mutex::new(holder),
            incarnation,
            started: Instant::now(),
            refused: AtomicU64::new(0),
            grace,
        }
    }

    pub(super) fn terms(&self) -> Terms {
        terms(&self.holder.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// While nobody knows which server the next connection comes to, the limit is still that of the connections which are
/// open: they are on the server that was known, or at their end.
fn terms(holder: &Holder) -> Terms {
    let unknown_server = holder.is_server_unknown().then(|| holder.floor());
    let limit = if unknown_server.is_some() { holder.limit() } else { holder.allowed() };
    Terms { limit, unknown_server, part: holder.part() }
}

impl Process {
    /// Reads or changes what may be held. What changes holds at once: loops close what is too much, and serve who waits.
    pub(super) fn budget<T>(&self, act: impl FnOnce(&mut Holder) -> T) -> T {
        let mut holder = self.budget.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = act(&mut holder);
        // under the lock, so that a report never shows one without the other
        let changed = self.slots(|slots| slots.set_terms(terms(&holder)));
        drop(holder);
        if changed {
            self.tell_all(|| Mail::Limit);
        }
        outcome
    }

    /// A connection has ended without being asked to, or none is left: the next may come to another server.
    pub(crate) fn server_lost(&self) {
        self.budget(Holder::server_lost);
    }

    /// Whether a login must ask for `max_connections` before its connection is used.
    pub(crate) fn must_ask_server(&self) -> bool {
        self.budget.holder.lock().unwrap_or_else(PoisonError::into_inner).must_ask_server()
    }

    /// The server has said how large it is.
    pub(crate) fn server_seen(&self, max_connections: u32) {
        self.budget(|holder| holder.server_seen(max_connections));
    }

    /// PostgreSQL was full.
    pub(crate) fn note_refused(&self) {
        self.budget.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) -> u64 {
        self.budget.refused.load(Ordering::Relaxed)
    }

    /// How long it waits for an operator.
    pub(crate) fn grace(&self) -> Duration {
        self.budget.grace
    }

    /// No operator has spoken in time.
    pub(crate) fn give_up_waiting(&self) {
        let floor = self.budget(|holder| {
            let before = holder.allowed();
            holder.give_up_waiting();
            (before != holder.allowed()).then(|| holder.floor())
        });
        if let Some(floor) = floor {
            warn!(floor, "no operator has spoken: serving from the floor");
        }
    }

    /// The process is about to leave.
    pub(super) fn drain(&self) {
        self.budget(Holder::drain);
        self.tell_all(|| Mail::Drain);
    }

    /// It waits for an operator, and holds nothing.
    pub(super) fn is_awaiting(&self) -> bool {
        self.budget(|holder| holder.phase() == Phase::Awaiting)
    }

    pub(super) fn ledger_report(&self, waiting: u32) -> LedgerReport {
        let (told, floor) = self.budget(|holder| (holder.limit(), holder.floor()));
        let refused = self.refused();
        self.slots(|slots| LedgerReport {
            limit: slots.limit(),
            held: slots.held(),
            waiting,
            told,
            floor,
            refused,
        })
    }

    /// What clients use and lack, asked of every loop.
    async fn usage(&self) -> (u32, u32) {
        let mut answers = Vec::new();
        self.tell_all(|| {
            let (answer, usage) = oneshot::channel();
            answers.push(usage);
            Mail::Use(answer)
        });
        let mut all = LoopUse::default();
        let deadline = tokio::time::Instant::now() + ANSWER_LIMIT;
        for answer in answers {
            if let Ok(Ok(usage)) = tokio::time::timeout_at(deadline, answer).await {
                all.merge(usage);
            }
        }
        // who waits for a pool that is full is not helped by a larger limit
        let helped = |slots: &mut Slots| {
            all.waiting.iter().map(|(pool, clients): (&PoolId, &u32)| slots.room(*pool).min(*clients)).sum()
        };
        (all.active, self.slots(helped))
    }

    pub(super) async fn tell_budget(&self) -> Report {
        let (active, waiting) = self.usage().await;
        self.budget(|holder| self.report_of(holder, active, waiting))
    }

    fn report_of(&self, holder: &mut Holder, active: u32, waiting: u32) -> Report {
        let held = self.slots(|slots| slots.held());
        let uptime = u64::try_from(self.budget.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let usage = Use { held, active, waiting, refused: self.refused() };
        let report = holder.report(self.budget.incarnation, uptime, usage);
        Report { clients: Some(self.client_count()), ..report }
    }

    pub(super) async fn obey(&self, order: Order) -> Result<Report, RefusedOrder> {
        let outcome: Result<(), Refused> = self.budget(|holder| match order {
            Order::Command(command) => holder.obey(command),
            Order::Lower(limit) => holder.lower(limit),
            Order::Shed { epoch, .. } => epoch.map_or(Ok(()), |epoch| holder.follows(epoch)),
        });
        if let (Order::Shed { clients, .. }, Ok(())) = (order, outcome) {
            self.shed(clients);
        }
        let report = self.tell_budget().await;
        match outcome {
            Ok(()) => {
                debug!(?order, limit = report.limit, held = report.usage.held, "limit of server connections");
                Ok(report)
            }
            Err(refused) => Err(RefusedOrder { refused, report: Box::new(report) }),
        }
    }
}
