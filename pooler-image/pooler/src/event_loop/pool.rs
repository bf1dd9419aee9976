//! One (database, user) pool, as one loop sees it.

use std::cell::{Cell, Ref, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgpooler_config::{DEFAULT_WEIGHT, Document, PoolMode, SessionState};
use pgpooler_core::pool::{PoolId, PoolLimits, PoolSize, PoolTerms};
use pgpooler_core::session::{Catalog, Holds, Tally};

use crate::auth::User;
use crate::report::Traffic;

/// One (database, user) pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) database: String,
    pub(crate) user_name: String,
    pub(crate) kind: Kind,
    user: RefCell<Arc<User>>,
    rule: RefCell<Rule>,
    /// Connections opened in an earlier epoch of the process are closed at release.
    pub(crate) epoch: Cell<u32>,
    pub(crate) paused: Cell<bool>,
    /// When a connection was last given back in good order.
    pub(crate) proven: Cell<Option<Instant>>,
    traffic: RefCell<Traffic>,
    /// What the server connections opened by this loop have learnt of the database.
    pub(crate) catalog: Arc<Catalog>,
}

/// Who opens a pool's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The loop, for whoever comes.
    Shared,
    /// The one client that it is for, whose slot alone is waited for: replication.
    Dedicated,
}

/// What the document says of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) name: Option<String>,
    pub(crate) mode: PoolMode,
    pub(crate) session_state: SessionState,
    pub(crate) size: PoolSize,
    minimum: PoolSize,
    weight: u32,
    pub(crate) query_wait_timeout: Duration,
    pub(crate) limits: PoolLimits,
}

impl Rule {
    pub(crate) fn of(document: &Document, database: &str, user: &str) -> Self {
        let rule = document.rule_for(database, user);
        Self {
            name: rule.map(|rule| rule.name.clone()),
            mode: rule.and_then(|rule| rule.pool_mode).unwrap_or(document.pool_mode),
            session_state: rule.and_then(|rule| rule.session_state).unwrap_or(document.session_state),
            size: PoolSize {
                own: rule.and_then(|rule| rule.pool_size),
                total: rule.and_then(|rule| rule.pool_size_total),
            },
            minimum: PoolSize {
                own: Some(rule.and_then(|rule| rule.min_pool_size).unwrap_or(document.min_pool_size)),
                total: rule.and_then(|rule| rule.min_pool_size_total),
            },
            weight: rule.map_or(DEFAULT_WEIGHT, |rule| rule.weight),
            query_wait_timeout: rule
                .and_then(|rule| rule.query_wait_timeout)
                .unwrap_or(document.query_wait_timeout)
                .as_duration(),
            limits: PoolLimits { idle_timeout: document.server_idle_timeout.as_duration() },
        }
    }

    /// What the pool may have of the process's connections. A dedicated pool has none of its own that it could keep.
    pub(crate) fn terms(&self, kind: Kind) -> PoolTerms {
        let minimum = if kind == Kind::Shared { self.minimum } else { PoolSize::default() };
        PoolTerms { size: self.size, minimum, weight: self.weight }
    }

    /// Whether there is anything to keep.
    pub(crate) fn keeps_some(&self) -> bool {
        [self.minimum.own, self.minimum.total].into_iter().flatten().any(|size| size > 0)
    }
}

impl Pool {
    pub(crate) fn new(id: PoolId, kind: Kind, database: &str, user: Arc<User>, rule: Rule) -> Self {
        Self {
            id,
            database: database.to_owned(),
            user_name: user.name().to_owned(),
            kind,
            user: RefCell::new(user),
            rule: RefCell::new(rule),
            epoch: Cell::new(0),
            paused: Cell::new(false),
            proven: Cell::new(None),
            traffic: RefCell::default(),
            catalog: Arc::default(),
        }
    }

    pub(crate) fn mode(&self) -> PoolMode {
        self.rule.borrow().mode
    }

    pub(crate) fn rule(&self) -> Ref<'_, Rule> {
        self.rule.borrow()
    }

    pub(crate) fn user(&self) -> Arc<User> {
        Arc::clone(&self.user.borrow())
    }

    /// A client has logged in with what may be a newer secret: the next connections are opened with that. Those which
    /// are open stay, as in PostgreSQL.
    pub(crate) fn adopt(&self, user: &Arc<User>) {
        if !Arc::ptr_eq(&self.user.borrow(), user) {
            *self.user.borrow_mut() = Arc::clone(user);
        }
    }

    /// Follows a changed document or user list. Logins made with an old secret do not outlive their client.
    pub(crate) fn follow(&self, rule: Rule, user: Option<&Arc<User>>, epoch: u32) {
        *self.rule.borrow_mut() = rule;
        let Some(user) = user else { return self.renew(epoch) };
        if !Arc::ptr_eq(&self.user.borrow(), user) {
            *self.user.borrow_mut() = Arc::clone(user);
            self.renew(epoch);
        }
    }

    /// All connections opened before `epoch` are to be closed when they are released.
    pub(crate) fn renew(&self, epoch: u32) {
        self.epoch.set(epoch);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic.borrow().clone()
    }

    pub(crate) fn note_received(&self, bytes: usize) {
        self.traffic.borrow_mut().received += bytes as u64;
    }

    pub(crate) fn note_sent(&self, bytes: usize) {
        self.traffic.borrow_mut().sent += bytes as u64;
    }

    pub(crate) fn note_login(&self) {
        self.traffic.borrow_mut().client_logins += 1;
    }

    /// A server connection goes to another loop.
    pub(crate) fn note_lend(&self) {
        self.traffic.borrow_mut().lends += 1;
    }

    /// A client is tied to its server connection by other state than before.
    pub(crate) fn note_pin(&self, before: Holds, now: Holds) {
        let mut traffic = self.traffic.borrow_mut();
        for ((kind, _), count) in Holds::ALL.into_iter().zip(&mut traffic.pins) {
            *count += u64::from(now.contains(kind) && !before.contains(kind));
        }
    }

    /// All replies that were owed have come, `took` after the first was.
    pub(crate) fn note_queries(&self, tally: Tally, took: Duration) {
        let mut traffic = self.traffic.borrow_mut();
        traffic.queries.record(took);
        count(&mut traffic, tally);
    }

    /// A link has ended.
    pub(crate) fn note_link(&self, tally: Tally, waited: Duration, held: Duration) {
        let mut traffic = self.traffic.borrow_mut();
        traffic.waits.record(waited);
        traffic.transactions.record(held);
        count(&mut traffic, tally);
    }
}

fn count(traffic: &mut Traffic, tally: Tally) {
    traffic.client_parses += tally.client_parses;
    traffic.server_parses += tally.server_parses;
    traffic.binds += tally.binds;
    traffic.probes += tally.probes;
}
