//! Who is on the console. In `SHOW` the console is a database with clients, as in PgBouncer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::AdminClient;
use crate::report::{ClientCounts, ClientReport, ClientState, PoolReport, Traffic};

/// What the console is called where databases and users are listed.
pub(super) const CONSOLE: &str = "pgbouncer";

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    there: Mutex<BTreeMap<u64, Arc<Entry>>>,
    traffic: Mutex<Traffic>,
}

#[derive(Debug)]
struct Entry {
    client: AdminClient,
    /// When it last asked for something.
    asked: Mutex<SystemTime>,
    killed: Notify,
}

/// One session; it is listed as long as this is there.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    sessions: &'a Sessions,
    entry: Arc<Entry>,
}

impl Sessions {
    /// Lists a session that begins.
    pub(super) fn enter(&self, client: &AdminClient) -> Listed<'_> {
        let entry = Arc::new(Entry {
            client: client.clone(),
            asked: Mutex::new(client.socket.connected),
            killed: Notify::new(),
        });
        lock(&self.there).insert(client.id, Arc::clone(&entry));
        lock(&self.traffic).client_logins += 1;
        Listed { sessions: self, entry }
    }

    /// Ends the session with this id; `false`: there is none.
    pub(super) fn kill(&self, id: u64) -> bool {
        let there = lock(&self.there);
        let entry = there.get(&id);
        if let Some(entry) = entry {
            // kept for a session that is busy
            entry.killed.notify_one();
        }
        entry.is_some()
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        lock(&self.there).len() as u32
    }

    /// How many there are by user.
    pub(super) fn by_user(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for entry in lock(&self.there).values() {
            *counts.entry(entry.client.user.clone()).or_default() += 1;
        }
        counts
    }

    /// The console as a pool: every command counts as a transaction with one query, which takes no time.
    pub(super) fn pool(&self) -> PoolReport {
        PoolReport {
            database: CONSOLE.to_owned(),
            user: CONSOLE.to_owned(),
            clients: ClientCounts { active: self.count(), ..ClientCounts::default() },
            traffic: lock(&self.traffic).clone(),
            ..PoolReport::default()
        }
    }

    /// The sessions as clients.
    pub(super) fn clients(&self) -> Vec<ClientReport> {
        lock(&self.there).values().map(|entry| entry.report()).collect()
    }
}

impl Entry {
    fn report(&self) -> ClientReport {
        let AdminClient { user, id, socket, .. } = &self.client;
        ClientReport {
            id: *id,
            database: CONSOLE.to_owned(),
            user: user.clone(),
            state: ClientState::Idle,
            socket: socket.clone(),
            requested: Some(*lock(&self.asked)),
            wait: Duration::ZERO,
            link: None,
            application_name: String::new(),
            prepared_statements: 0,
            pinned: pgpooler_core::session::Holds::default(),
        }
    }
}

impl Listed<'_> {
    /// It asks for so many things.
    pub(super) fn asks(&self, commands: usize) {
        *lock(&self.entry.asked) = crate::wall::now();
        let mut traffic = lock(&self.sessions.traffic);
        for _ in 0..commands {
            traffic.transactions.record(Duration::ZERO);
            traffic.queries.record(Duration::ZERO);
        }
    }

    /// Ready when the session is to end. Cancel-safe.
    pub(super) async fn killed(&self) {
        self.entry.killed.notified().await;
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        lock(&self.sessions.there).remove(&self.entry.client.id);
    }
}

/// A panic while it was held cannot leave any of them half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
