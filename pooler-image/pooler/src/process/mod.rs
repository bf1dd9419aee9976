//! What all loops of a process share, and how they are spoken to.
//!
//! Nothing here is touched on the path of a transaction but one atomic: whether anybody lacks connections.

mod budget;
mod certificates;
mod control;
mod databases;
mod doorkeeper;
mod drain;
mod peers;
mod presence;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use pgpooler_core::cancel::Request;
use pgpooler_core::pool::{Homes, LoopId, PoolId, Pressure, Size, Slots};
use pgpooler_core::session::{Clock, Settings};
use tokio::sync::{mpsc, oneshot, watch};

use crate::auth::AuthState;
use crate::control::ShutdownMode;
use crate::event_loop::home::Newcomer;
use crate::event_loop::server::Lent;
use crate::reload::{Loaded, Source};
use crate::report::{Detail, LoopReport, LoopUse, Paused, Phase};
use crate::service::ConsoleDoor;

pub(crate) use budget::Budget;
use doorkeeper::Doorkeeper;
pub(crate) use doorkeeper::{Pass, Subject};
pub(crate) use drain::Party;
pub(crate) use peers::Peers;
use presence::Presence;

/// What a loop is told.
pub(crate) enum Mail {
    /// A new connection.
    Client(std::net::TcpStream, Box<Pass>),
    /// A client that has logged in on another loop.
    Newcomer(Box<Newcomer>),
    /// A cancel request for one of its clients, and what is dropped when it is dealt with.
    Cancel(Request, oneshot::Sender<()>),
    /// A server connection with its slot.
    Lent(Box<Lent>),
    /// A slot came free for it.
    SlotFree,
    /// Another loop lacks connections.
    Wanted,
    Report(Detail, oneshot::Sender<LoopReport>),
    /// What its clients use and lack.
    Use(oneshot::Sender<LoopUse>),
    /// What the process may hold has changed.
    Limit,
    /// The process is about to leave: connections that lie idle are of no use.
    Drain,
    /// Clients are to leave when they do not notice.
    Part,
    Settings(Arc<Current>),
    Paused {
        database: Option<String>,
        paused: bool,
    },
    /// All clients and server connections of these go at once, and new clients wait.
    Kill {
        databases: Arc<BTreeSet<String>>,
        epoch: u32,
        done: oneshot::Sender<()>,
    },
    /// One client goes at once.
    KillClient {
        id: u64,
        found: oneshot::Sender<bool>,
    },
    Reconnect {
        database: Option<String>,
        epoch: u32,
    },
    /// Logins to the server succeed again.
    Back,
    /// A connection to this address has been lost, or all of them may be: are those that lie idle still there?
    Doubt(Option<SocketAddr>),
    /// The primary is at this address: elsewhere it is no more.
    Moved(SocketAddr),
    /// Clients are to be closed as they become idle, all of them at the instant.
    Leave {
        at_latest: Instant,
    },
}

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) loaded: Loaded,
    pub(crate) auth: Arc<AuthState>,
    /// Of the process, when they came into force.
    pub(crate) epoch: u32,
}

/// Names of reported parameters with their values, as a login sends them.
pub(crate) type Welcome = Vec<(String, String)>;

/// Welcomes that are remembered; more are asked of the server each time.
const WELCOMES: usize = 1024;

/// One pooler process.
pub(crate) struct Process {
    pub(crate) source: Source,
    current: RwLock<Arc<Current>>,
    certificates: Mutex<certificates::Fault>,
    slots: Mutex<Slots>,
    pressure: AtomicU64,
    directory: Mutex<Directory>,
    homes: Mutex<Homes>,
    /// Logged-in server connections, for each pool that has one.
    servers: Mutex<HashMap<PoolId, u32>>,
    loops: Vec<Post>,
    pub(crate) door: OnceLock<ConsoleDoor>,
    clients: AtomicU32,
    ids: AtomicU64,
    epoch: AtomicU32,
    paused: Mutex<Paused>,
    /// Databases that take no new clients.
    disabled: Mutex<BTreeSet<String>>,
    welcomes: Mutex<HashMap<(PoolId, Settings), Arc<Welcome>>>,
    pub(crate) phase: watch::Sender<Phase>,
    /// How the process is to leave, once it is.
    pub(crate) leaving: watch::Sender<Option<ShutdownMode>>,
    pub(crate) application_name: String,
    pub(crate) statement_secret: [u8; 16],
    /// When statements were parsed, on all loops.
    pub(crate) statement_clock: Arc<Clock>,
    pub(crate) peers: Peers,
    budget: Budget,
    presence: Presence,
    doorkeeper: Doorkeeper,
    drain: drain::Drain,
}

/// The way to a loop.
pub(crate) struct Post {
    mail: mpsc::UnboundedSender<Mail>,
    /// Its connections, logged in or not.
    connections: AtomicU32,
    /// Its idle server connections.
    idle: AtomicU32,
}

impl Post {
    fn new(mail: mpsc::UnboundedSender<Mail>) -> Self {
        Self { mail, connections: AtomicU32::new(0), idle: AtomicU32::new(0) }
    }
}

#[derive(Debug, Default)]
struct Directory {
    ids: HashMap<(String, String), PoolId>,
    names: Vec<(String, String)>,
}

/// Random bytes and names that a process has all its life.
pub(crate) struct Identity {
    pub(crate) application_name: String,
    pub(crate) statement_secret: [u8; 16],
    pub(crate) peers: Peers,
    pub(crate) budget: Budget,
}

const NO_PRESSURE: u64 = 0;
const PRESSURE: u64 = u64::MAX;
const ONLY: u64 = 1 << 63;

impl Process {
    pub(crate) fn new(
        source: Source,
        loaded: Loaded,
        auth: AuthState,
        identity: Identity,
        loops: Vec<mpsc::UnboundedSender<Mail>>,
    ) -> Self {
        let terms = identity.budget.terms();
        let paused = Paused { all: loaded.document.paused, ..Paused::default() };
        let doorkeeper = Doorkeeper::new(&loaded.document);
        let current = Current { loaded, auth: Arc::new(auth), epoch: 0 };
        Self {
            source,
            current: RwLock::new(Arc::new(current)),
            certificates: Mutex::default(),
            slots: Mutex::new(Slots::new(terms)),
            pressure: AtomicU64::new(NO_PRESSURE),
            directory: Mutex::default(),
            homes: Mutex::default(),
            servers: Mutex::default(),
            loops: loops.into_iter().map(Post::new).collect(),
            door: OnceLock::new(),
            clients: AtomicU32::new(0),
            ids: AtomicU64::new(1),
            epoch: AtomicU32::new(0),
            paused: Mutex::new(paused),
            disabled: Mutex::default(),
            welcomes: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting),
            leaving: watch::Sender::new(None),
            application_name: identity.application_name,
            statement_secret: identity.statement_secret,
            statement_clock: Arc::default(),
            peers: identity.peers,
            budget: identity.budget,
            presence: Presence::default(),
            doorkeeper,
            drain: drain::Drain::default(),
        }
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One loop's part of what all loops have together.
    pub(crate) fn loop_share(&self, all: u64) -> usize {
        usize::try_from(all).unwrap_or(usize::MAX) / self.loops.len().max(1)
    }

    /// Brings settings into force, in all loops; the epoch that begins with them.
    pub(crate) fn follow(&self, loaded: Loaded, auth: AuthState) -> u32 {
        let epoch = self.new_epoch();
        if self.current().loaded.document.target != loaded.document.target {
            self.forget_target();
        }
        self.budget(|holder| holder.document_limit(loaded.document.max_server_connections));
        self.doorkeeper.follow(&loaded.document);
        let current = Arc::new(Current { loaded, auth: Arc::new(auth), epoch });
        self.put_in_force(&current);
        epoch
    }

    /// Reads or changes the account of slots.
    pub(crate) fn slots<T>(&self, act: impl FnOnce(&mut Slots) -> T) -> T {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = act(&mut slots);
        let pressure = match slots.pressure() {
            Pressure::None => NO_PRESSURE,
            Pressure::Some => PRESSURE,
            Pressure::Only((id, pool)) => ONLY | u64::from(id.0) << 32 | u64::from(pool.0),
        };
        // a loop that sees an old value keeps a connection for one transaction too long
        self.pressure.store(pressure, Ordering::Relaxed);
        outcome
    }

    pub(crate) fn pressure(&self) -> Pressure {
        match self.pressure.load(Ordering::Relaxed) {
            NO_PRESSURE => Pressure::None,
            PRESSURE => Pressure::Some,
            only => Pressure::Only((LoopId((only >> 32) as u16), PoolId(only as u32))),
        }
    }

    /// Asks the other loops that have idle connections to spare some. A loop that gets one at this very moment may be
    /// missed: its janitor looks too.
    pub(crate) fn call_for_slots(&self, me: LoopId) {
        for (id, post) in self.loops.iter().enumerate() {
            if id != usize::from(me.0) && post.idle.load(Ordering::Relaxed) > 0 {
                // a loop that has ended has nothing to spare
                let _ = post.mail.send(Mail::Wanted);
            }
        }
    }

    /// How many server connections lie idle on a loop.
    pub(crate) fn note_idle(&self, me: LoopId, idle: usize) {
        if let Some(post) = self.loops.get(usize::from(me.0)) {
            post.idle.store(idle as u32, Ordering::Relaxed);
        }
    }

    /// The letter comes back when the loop has ended.
    pub(crate) fn send(&self, to: LoopId, mail: Mail) -> Result<(), Mail> {
        match self.loops.get(usize::from(to.0)) {
            Some(post) => post.mail.send(mail).map_err(|refused| refused.0),
            None => Err(mail),
        }
    }

    pub(crate) fn tell_all(&self, mut mail: impl FnMut() -> Mail) {
        for post in &self.loops {
            let _ = post.mail.send(mail());
        }
    }

    /// As [`Self::tell_all`], but for the loop that speaks.
    fn tell_others(&self, me: LoopId, mut mail: impl FnMut() -> Mail) {
        for (id, post) in self.loops.iter().enumerate() {
            if id != usize::from(me.0) {
                let _ = post.mail.send(mail());
            }
        }
    }

    /// The loop that has the fewest connections; one more from now on.
    pub(crate) fn choose_loop(&self) -> Option<LoopId> {
        // loops end one by one while others still have clients
        let open = self.loops.iter().enumerate().filter(|(_, post)| !post.mail.is_closed());
        let (id, post) = open.min_by_key(|(_, post)| post.connections.load(Ordering::Relaxed))?;
        post.connections.fetch_add(1, Ordering::Relaxed);
        Some(LoopId(id as u16))
    }

    /// All loops but this one are no more.
    pub(crate) fn others_have_ended(&self, me: LoopId) -> bool {
        self.loops.iter().enumerate().all(|(id, post)| id == usize::from(me.0) || post.mail.is_closed())
    }

    /// Some loop is no more.
    pub(crate) fn some_loop_has_ended(&self) -> bool {
        self.loops.iter().any(|post| post.mail.is_closed())
    }

    /// The loop that a client of this pool is served on, having logged in `here`. It counts there from now on.
    pub(crate) fn home(&self, pool: PoolId, here: LoopId, connections: u32) -> LoopId {
        if self.loops.len() < 2 {
            return here;
        }
        let pools = self.directory.lock().unwrap_or_else(PoisonError::into_inner).names.len() as u32;
        let size = Size { loops: self.loops.len() as u16, pools, connections };
        let home = self.homes.lock().unwrap_or_else(PoisonError::into_inner).place(pool, here, size);
        match self.loops.get(usize::from(home.0)) {
            // while the process leaves, loops end one by one
            Some(post) if home != here && !post.mail.is_closed() => {
                post.connections.fetch_add(1, Ordering::Relaxed);
                home
            }
            _ => here,
        }
    }

    /// Until all loops have ended.
    pub(crate) async fn loops_ended(&self) {
        for post in &self.loops {
            post.mail.closed().await;
        }
    }

    pub(crate) fn connection_ended(&self, of: LoopId) {
        if let Some(post) = self.loops.get(usize::from(of.0)) {
            post.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn pool_id(&self, database: &str, user: &str) -> PoolId {
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let names = (database.to_owned(), user.to_owned());
        if let Some(id) = directory.ids.get(&names) {
            return *id;
        }
        let id = PoolId(directory.names.len() as u32);
        directory.names.push(names.clone());
        directory.ids.insert(names, id);
        id
    }

    /// Database and user of a pool.
    pub(crate) fn pool_names(&self, id: PoolId) -> Option<(String, String)> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        directory.names.get(id.0 as usize).cloned()
    }

    /// Databases that clients have asked for.
    fn databases(&self) -> BTreeSet<String> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        // pools of replication connections have a name with a zero byte
        directory.names.iter().map(|(database, _)| database.trim_end_matches('\0').to_owned()).collect()
    }

    /// What PostgreSQL reports at login to a client of a pool with these settings, if that is known.
    pub(crate) fn welcome(&self, pool: PoolId, settings: &Settings) -> Option<Arc<Welcome>> {
        let welcomes = self.welcomes.lock().unwrap_or_else(PoisonError::into_inner);
        welcomes.get(&(pool, settings.clone())).map(Arc::clone)
    }

    pub(crate) fn remember_welcome(&self, pool: PoolId, settings: Settings, welcome: Arc<Welcome>) {
        let mut welcomes = self.welcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if welcomes.len() >= WELCOMES {
            welcomes.clear();
        }
        welcomes.insert((pool, settings), welcome);
    }

    /// A server connection of a pool is there, or is there no more.
    pub(crate) fn note_server(&self, pool: PoolId, came: bool) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = servers.entry(pool).or_default();
        *count = if came { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            servers.remove(&pool);
        }
    }

    /// The process has a server connection of this pool, on whatever loop.
    pub(crate) fn has_server(&self, pool: PoolId) -> bool {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&pool)
    }

    pub(crate) fn client_arrived(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn client_left(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn client_count(&self) -> u32 {
        self.clients.load(Ordering::Relaxed)
    }

    /// A number that nothing else in the process has.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Connections opened now belong to it.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(crate) fn new_epoch(&self) -> u32 {
        self.epoch.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Defaults may have changed, or the server: what logins say is asked again.
    pub(crate) fn forget_welcomes(&self) {
        self.welcomes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn is_paused(&self, database: &str) -> bool {
        self.with_paused(|paused| paused.covers(database))
    }

    pub(crate) fn with_paused<T>(&self, act: impl FnOnce(&mut Paused) -> T) -> T {
        act(&mut self.paused.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
