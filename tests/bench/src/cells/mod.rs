//! What is done with each peer, and what is measured of it.

mod cost;

use std::time::Duration;

use anyhow::Result;

use crate::{
    load::{Credentials, Load, Target},
    options::{Group, Options},
    peers::{Kind, MAX_CONNECTIONS, Peer, Postgres, Started, Wish, config::NAME},
};

/// Server connections of a pool.
const SERVERS: usize = 20;
/// Logins at once where they are not what is measured.
const LOGINS_AT_ONCE: usize = 32;

/// What one visit of a peer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    /// `SELECT 1` in every protocol by so many clients.
    Cost(usize),
}

/// What every visit shares.
#[derive(Debug)]
pub(crate) struct World {
    /// The server behind all peers.
    pub(crate) postgres: Postgres,
    /// How long a cell measures.
    pub(crate) pace: Pace,
    /// From 1.
    pub(crate) round: usize,
}

/// How long a cell warms up and measures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    /// What counts.
    pub(crate) measure: Duration,
}

/// Takes down the figures of a visit.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Cell, clients, metric, value.
    pub(crate) figures: Vec<(String, usize, String, f64)>,
    /// What went wrong without ending the visit.
    pub(crate) errors: Vec<String>,
}

impl Notes {
    /// A figure.
    pub(crate) fn add(&mut self, cell: &str, clients: usize, metric: &str, value: f64) {
        self.figures.push((cell.to_owned(), clients, metric.to_owned(), value));
    }
}

impl Cell {
    /// Every cell that was asked for.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let mut cells = Vec::new();
        if options.wants(Group::Cost) {
            cells.extend(options.clients.iter().map(|clients| Self::Cost(*clients)));
        }
        cells
    }

    /// Its name, for progress and failures.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cost(clients) => format!("cost, {clients} clients"),
        }
    }

    /// Whether it can be done with this peer at all.
    pub(crate) fn fits(&self, peer: &Peer) -> bool {
        match self {
            // some connections are the superuser's
            Self::Cost(clients) => peer.kind != Kind::Direct || *clients + 5 < MAX_CONNECTIONS,
        }
    }

    /// Does it with a peer.
    pub(crate) fn visit(&self, peer: &Peer, world: &World, notes: &mut Notes) -> Result<()> {
        match self {
            Self::Cost(clients) => cost::visit(*clients, peer, world, notes),
        }
    }
}

impl World {
    fn start(&self, peer: &Peer, servers: usize) -> Result<Started> {
        let wish = Wish {
            server_port: self.postgres.port(),
            verifier: self.postgres.verifier(),
            servers,
            tls: None,
        };
        peer.start(&self.postgres, &wish)
    }
}

fn load(started: &Started) -> Result<Load> {
    let target = Target { port: started.port(), tls: None };
    Load::new(target, Credentials::new(NAME, NAME, NAME))
}
