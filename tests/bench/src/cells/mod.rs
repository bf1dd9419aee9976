//! What is done with each peer, and what is measured of it.

mod connect;
mod cost;
mod crowd;
mod large;
mod loops;
mod memory;
mod syscalls;

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use pgpooler_test_support::{Certified, TlsOptions, client_config};
use rustls::{ClientConfig, client::Resumption};

use crate::{
    load::{Credentials, Load, Target},
    options::{Group, Options},
    peers::{Kind, MAX_CONNECTIONS, Peer, Postgres, Started, Wish, config::NAME},
};

/// Server connections of a pool.
const SERVERS: usize = 20;
/// Logins at once where they are not what is measured.
const LOGINS_AT_ONCE: usize = 32;
/// Rounds of what hardly differs between them and takes long.
const FEW_ROUNDS: usize = 2;

/// What one visit of a peer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// `SELECT 1` in every protocol by so many clients.
    Cost(usize),
    /// The same by one client, with load, peer and PostgreSQL on one core.
    OneCore,
    /// The same in one protocol through TLS.
    CostTls,
    /// System calls per transaction by so many clients.
    Syscalls(usize),
    /// A connection for each transaction.
    Connect(Security),
    /// Memory of many clients.
    Memory(Security),
    /// Very many clients at once.
    Crowd,
    /// More clients at once than PostgreSQL takes.
    Storm,
    /// Large results and COPY.
    Large,
    /// So many loops before a server that costs nothing.
    Loops(usize),
}

/// Whether clients use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// No.
    Plain,
    /// Yes.
    Tls,
}

/// What every visit shares.
#[derive(Debug)]
pub(crate) struct World {
    /// The server behind all peers.
    pub(crate) postgres: Postgres,
    /// Of every pooler.
    identity: Certified,
    /// Of every client with TLS.
    tls: Arc<ClientConfig>,
    /// How long a cell measures.
    pub(crate) pace: Pace,
    /// From 1.
    pub(crate) round: usize,
}

/// How much a cell does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    /// What counts.
    pub(crate) measure: Duration,
    /// How many clients very many are.
    pub(crate) many: usize,
    /// Large things are small.
    pub(crate) quick: bool,
}

/// Takes down the figures of a visit.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What was measured.
    pub(crate) figures: Vec<Figure>,
    /// What went wrong without ending the visit.
    pub(crate) errors: Vec<String>,
}

/// One figure of a visit.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What was done.
    pub(crate) cell: String,
    /// By how many clients.
    pub(crate) clients: usize,
    /// What was measured.
    pub(crate) metric: String,
    /// The figure.
    pub(crate) value: f64,
}

impl Notes {
    /// A figure.
    pub(crate) fn add(&mut self, cell: &str, clients: usize, metric: &str, value: f64) {
        self.figures.push(Figure { cell: cell.to_owned(), clients, metric: metric.to_owned(), value });
    }
}

impl Security {
    /// The cell's name with it.
    fn named(self, cell: &str) -> String {
        match self {
            Self::Plain => cell.to_owned(),
            Self::Tls => format!("{cell}, TLS"),
        }
    }
}

impl Cell {
    /// Every cell that was asked for.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let cost = options.clients.iter().map(|clients| Self::Cost(*clients)).collect();
        let both = [Security::Plain, Security::Tls];
        let groups: [(Group, Vec<Self>); 9] = [
            (Group::Cost, cost),
            (Group::Cost, vec![Self::OneCore]),
            (Group::Tls, vec![Self::CostTls]),
            (Group::Connect, both.map(Self::Connect).into()),
            (Group::Crowd, vec![Self::Crowd, Self::Storm]),
            (Group::Large, vec![Self::Large]),
            (Group::Loops, vec![Self::Loops(1), Self::Loops(2)]),
            (Group::Syscalls, vec![Self::Syscalls(1), Self::Syscalls(64)]),
            (Group::Memory, both.map(Self::Memory).into()),
        ];
        let wanted = groups.into_iter().filter(|(group, _)| options.wants(*group));
        wanted.flat_map(|(_, cells)| cells).collect()
    }

    /// Its name, for progress and failures.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Cost(clients) => format!("cost, {clients} clients"),
            Self::OneCore => "cost, 1 client on one core".to_owned(),
            Self::CostTls => "cost, TLS".to_owned(),
            Self::Syscalls(clients) => format!("system calls, {clients} clients"),
            Self::Connect(security) => security.named("connect"),
            Self::Memory(security) => security.named("memory"),
            Self::Crowd => "crowd".to_owned(),
            Self::Storm => "storm".to_owned(),
            Self::Large => "large results".to_owned(),
            Self::Loops(1) => "free server, 1 loop".to_owned(),
            Self::Loops(loops) => format!("free server, {loops} loops"),
        }
    }

    /// Whether it is done in a round.
    pub(crate) fn is_due(self, round: usize) -> bool {
        round <= FEW_ROUNDS || !matches!(self, Self::Syscalls(_))
    }

    /// Whether it can be done with this peer at all.
    pub(crate) fn fits(self, peer: &Peer) -> bool {
        match (self, peer.kind) {
            // some connections are the superuser's
            (Self::Cost(clients), Kind::Direct) => clients + 5 < MAX_CONNECTIONS,
            (Self::OneCore | Self::Connect(Security::Plain) | Self::Storm | Self::Large, Kind::Direct) => {
                true
            }
            (_, Kind::Direct) => false,
            (Self::Cost(_) | Self::OneCore | Self::Syscalls(_) | Self::Loops(1), Kind::Floor) => true,
            (_, Kind::Floor) => false,
            (Self::Loops(loops), kind) => loops == 1 || kind != Kind::PgBouncer,
            _ => true,
        }
    }

    /// Does it with a peer.
    pub(crate) fn visit(self, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
        match self {
            Self::Cost(clients) => cost::visit(clients, peer, world, notes),
            Self::OneCore => cost::visit_one_core(peer, world, notes),
            Self::CostTls => cost::visit_tls(peer, world, notes),
            Self::Syscalls(clients) => syscalls::visit(clients, peer, world, notes),
            Self::Connect(security) => connect::visit(security, peer, world, notes),
            Self::Memory(security) => memory::visit(security, peer, world, notes),
            Self::Crowd => crowd::crowd(peer, world, notes),
            Self::Storm => crowd::storm(peer, world, notes),
            Self::Large => large::visit(peer, world, notes),
            Self::Loops(loops) => loops::visit(loops, peer, world, notes),
        }
    }
}

impl World {
    /// Before the first round.
    pub(crate) fn new(postgres: Postgres, pace: Pace) -> Result<Self> {
        let mut tls = client_config(&TlsOptions::default())?;
        // every login is a whole one
        tls.resumption = Resumption::disabled();
        let identity = Certified::self_signed("localhost", &["localhost"])?;
        Ok(Self { postgres, identity, tls: Arc::new(tls), pace, round: 0 })
    }

    /// Starts a peer before PostgreSQL.
    fn start(&self, peer: &Peer, servers: usize, security: Security) -> Result<Started> {
        let tls = (security == Security::Tls).then_some(&self.identity);
        self.start_before(peer, self.postgres.port(), servers, tls)
    }

    fn start_before(
        &self,
        peer: &Peer,
        server_port: u16,
        servers: usize,
        tls: Option<&Certified>,
    ) -> Result<Started> {
        peer.start(&self.postgres, &Wish { server_port, verifier: self.postgres.verifier(), servers, tls })
    }

    /// A load without clients for a peer.
    fn load(&self, started: &Started, security: Security) -> Result<Load> {
        let tls = (security == Security::Tls).then(|| Arc::clone(&self.tls));
        Load::new(Target { port: started.port(), tls }, Credentials::new(NAME, NAME, NAME))
    }
}
