//! What the event loops tell about themselves: plain data, filled by each loop, added up for the
//! console and for `/metrics`.
//!
//! Only sums, no pointers into a loop: a report crosses threads, a session never does. Databases, users and
//! statistics are views of the pools, so a loop fills each figure once.

mod counts;
mod histogram;
mod presence;
mod sockets;

pub use counts::{
    ClientCounts, ErrorCounts, Failure, LoginCounts, LookupCounts, Refused, ServerCounts, SqlstateClass,
    Traffic,
};
pub use histogram::{BOUNDS, Histogram};
pub use presence::{AbsenceReport, PresenceReport};
pub use sockets::{ClientReport, ClientState, ServerReport, ServerState, SocketReport};

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgpooler_config::PoolMode;
use pgpooler_core::drain::{Application, Departures};
use pgpooler_core::pool::PoolId;
use pgpooler_core::session::Holds;

/// How much a report is to contain: lists of sockets cost memory in proportion to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Pools and counters alone.
    Counters,
    /// And every client.
    Clients,
    /// And every server connection.
    Servers,
    /// And every client and every server connection.
    Sockets,
}

impl Detail {
    /// Whether clients are listed.
    pub fn has_clients(self) -> bool {
        matches!(self, Self::Clients | Self::Sockets)
    }

    /// Whether server connections are listed.
    pub fn has_servers(self) -> bool {
        matches!(self, Self::Servers | Self::Sockets)
    }
}

/// One event loop's part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoopReport {
    /// Its pools, in any order.
    pub pools: Vec<PoolReport>,
    /// Its clients, if asked for.
    pub clients: Vec<ClientReport>,
    /// Its server connections, if asked for.
    pub servers: Vec<ServerReport>,
    /// Clients that have not finished logging in; they belong to no pool yet.
    pub login_clients: u32,
    /// Sessions on the admin console.
    pub console_clients: u32,
    /// How logins ended, since start.
    pub logins: LoginCounts,
    /// Errors that clients were sent, since start.
    pub errors: ErrorCounts,
    /// Bytes held for peers that have not taken them.
    pub buffered_bytes: u64,
}

/// What the clients of one loop use and lack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoopUse {
    /// Server connections that clients have.
    pub active: u32,
    /// Clients that wait for one, by pool.
    pub waiting: BTreeMap<PoolId, u32>,
}

impl LoopUse {
    /// Adds another loop's.
    pub fn merge(&mut self, other: Self) {
        self.active += other.active;
        for (pool, clients) in other.waiting {
            *self.waiting.entry(pool).or_default() += clients;
        }
    }
}

/// One (database, user) pool of one loop, or of all loops together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolReport {
    /// Database that clients ask for.
    pub database: String,
    /// User that clients log in as.
    pub user: String,
    /// Name of the rule in the document that the pool follows, if one matched.
    pub rule: Option<String>,
    /// When a server connection goes back.
    pub pool_mode: PoolMode,
    /// Most server connections of this pool, when its rule sets one.
    pub pool_size: Option<u32>,
    /// Clients by state.
    pub clients: ClientCounts,
    /// Server connections by state.
    pub servers: ServerCounts,
    /// Server connections that are closed as soon as they are released.
    pub close_needed: u32,
    /// How long the oldest client in the queue has waited.
    pub max_wait: Duration,
    /// Clients that keep their server connection between transactions, by [`Holds::ALL`].
    pub pinned: [u32; Holds::ALL.len()],
    /// What went through, since start.
    pub traffic: Traffic,
}

/// What is known once for the whole process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessReport {
    /// Slots of PostgreSQL's connection table.
    pub ledger: LedgerReport,
    /// Serving or leaving.
    pub phase: Phase,
    /// What `PAUSE` has stopped.
    pub paused: Paused,
    /// Databases that take no new clients.
    pub disabled: BTreeSet<String>,
    /// Cancel requests that are passed on to other processes.
    pub peer_pools: Vec<PeerPoolReport>,
    /// What one of each takes.
    pub sizes: Sizes,
    /// Which server there is, or since when there is none.
    pub server: PresenceReport,
    /// Who has left while clients were to leave.
    pub drain: DrainReport,
}

/// Clients that left while the process drained or shed some.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DrainReport {
    /// How those left that are gone.
    pub departures: Departures,
    /// Those that are there, as they were counted last; none are counted while nobody is to leave.
    pub stay: BTreeMap<Application, u32>,
}

/// Cancel requests that are passed on to one other process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerPoolReport {
    /// The other's `peer_id`; none: it was found by `peers_dns`, and so were all others that are counted here.
    pub peer_id: Option<u16>,
    /// On their way, or awaiting the answer.
    pub active: u32,
    /// Waiting for a turn.
    pub waiting: u32,
}

/// Bytes of memory, without what hangs on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Of a client.
    pub client: usize,
    /// Of a server connection.
    pub server: usize,
    /// Of a pool.
    pub pool: usize,
}

/// The process-wide ledger of slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerReport {
    /// Most slots the process may hold.
    pub limit: u32,
    /// Slots held: logins, active, idle and closing connections.
    pub held: u32,
    /// Requests for a slot that wait for one.
    pub waiting: u32,
    /// Slots that the process was told it may hold; while it does not know its server, it holds fewer.
    pub told: u32,
    /// Slots that it may hold without hearing from anybody.
    pub floor: u32,
    /// Logins that PostgreSQL refused because it was full.
    pub refused: u64,
}

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not listening yet.
    #[default]
    Starting,
    /// Serving.
    Active,
    /// Takes no new client, finishes what it has.
    Draining,
}

/// What `PAUSE` has stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paused {
    /// `PAUSE` without a name.
    pub all: bool,
    /// `PAUSE db`.
    pub databases: BTreeSet<String>,
}

impl Paused {
    /// Whether clients of `database` must wait for `RESUME`.
    pub fn covers(&self, database: &str) -> bool {
        self.all || self.databases.contains(database)
    }
}

/// The whole process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What is known once.
    pub process: ProcessReport,
    /// How many loops answered.
    pub loops: u32,
    /// All loops added up: one entry a (database, user) pool, ordered by name.
    pub work: LoopReport,
}

impl Report {
    /// Adds the loops up.
    pub fn gather(process: ProcessReport, loops: impl IntoIterator<Item = LoopReport>) -> Self {
        let mut report = Self { process, ..Self::default() };
        let mut pools = BTreeMap::new();
        for part in loops {
            report.loops += 1;
            report.work.absorb(part, &mut pools);
        }
        report.work.pools = pools.into_values().collect();
        report
    }
}

type Pools = BTreeMap<(String, String), PoolReport>;

impl LoopReport {
    /// Adds another loop's; its pools go to `pools`.
    fn absorb(&mut self, other: Self, pools: &mut Pools) {
        let Self {
            pools: others,
            clients,
            servers,
            login_clients,
            console_clients,
            logins,
            errors,
            buffered_bytes,
        } = other;
        for pool in others {
            add_pool(pools, pool);
        }
        self.clients.extend(clients);
        self.servers.extend(servers);
        self.login_clients += login_clients;
        self.console_clients += console_clients;
        self.logins.merge(&logins);
        self.errors.merge(&errors);
        self.buffered_bytes += buffered_bytes;
    }
}

fn add_pool(pools: &mut Pools, pool: PoolReport) {
    match pools.entry((pool.database.clone(), pool.user.clone())) {
        Entry::Vacant(entry) => {
            entry.insert(pool);
        }
        Entry::Occupied(mut entry) => entry.get_mut().merge(&pool),
    }
}

impl PoolReport {
    fn merge(&mut self, other: &Self) {
        self.clients.merge(&other.clients);
        self.servers.merge(&other.servers);
        self.close_needed += other.close_needed;
        self.max_wait = self.max_wait.max(other.max_wait);
        self.pinned.iter_mut().zip(other.pinned).for_each(|(sum, count)| *sum += count);
        self.traffic.merge(&other.traffic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(database: &str, user: &str, waiting: u32, max_wait: u64) -> PoolReport {
        PoolReport {
            database: database.into(),
            user: user.into(),
            clients: ClientCounts { waiting, ..ClientCounts::default() },
            max_wait: Duration::from_secs(max_wait),
            ..PoolReport::default()
        }
    }

    #[test]
    fn a_pool_that_lives_on_two_loops_is_one_entry_with_the_longest_wait() {
        let one =
            LoopReport { pools: vec![pool("b", "u", 2, 5), pool("a", "u", 1, 0)], ..LoopReport::default() };
        let two = LoopReport { pools: vec![pool("b", "u", 3, 4)], login_clients: 1, ..LoopReport::default() };
        let report = Report::gather(ProcessReport::default(), [one, two]);
        assert_eq!(report.loops, 2);
        assert_eq!(report.work.login_clients, 1);
        assert_eq!(report.work.pools, [pool("a", "u", 1, 0), pool("b", "u", 5, 5)]);
    }

    #[test]
    fn pools_of_one_database_and_two_users_stay_apart() {
        let one =
            LoopReport { pools: vec![pool("a", "u", 1, 0), pool("a", "v", 1, 0)], ..LoopReport::default() };
        assert_eq!(Report::gather(ProcessReport::default(), [one]).work.pools.len(), 2);
    }

    #[test]
    fn a_pause_of_everything_covers_every_database() {
        let all = Paused { all: true, ..Paused::default() };
        let one = Paused { databases: ["a".to_owned()].into(), ..Paused::default() };
        assert!(all.covers("b"));
        assert!(one.covers("a"));
        assert!(!one.covers("b"));
    }
}
